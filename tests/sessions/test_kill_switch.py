"""The kill switch works on a broken machine: processes are told first, and what could not be written is one line."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import SessionError
from peak_trade.core.values import TradingState
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.journal.events import CommandEvent, SessionEvent, SessionPhase
from peak_trade.journal.files import LOCK, is_sealed, read_events
from peak_trade.journal.lock import acquire_lock, holder_of, identify, is_open
from peak_trade.journal.writer import create_session
from peak_trade.risk.state import Control
from peak_trade.sessions.control.commands import (
    kill_session,
    kill_workspace,
    new_command,
    pending_commands,
    write_command,
)
from peak_trade.sessions.control.state import read_control, write_control
from peak_trade.sessions.control.stop_switch import TERMINATED, StopSwitch
from peak_trade.sessions.store import session_ids, sessions_folder
from tests.core.faults import Calls
from tests.emulator.server import emulated
from tests.forking import start_forked
from tests.replacing import replace
from tests.sessions.running import part_of
from tests.sessions.trading import N_HISTORY, STRATEGY, EmulatedTime, end_of, exchange_at, hang_up, open_testnet

SESSION = (
    "session run --mode paper --strategy ma_crossover --symbol BTC/USDT --timeframe 1h --feed recorded --pace 1x "
    "--no-record --quiet -p fast=3 -p slow=8"
)
DEADLINE = 20.0
RESTING = BacktestSettings(initial_cash=5_000.0, execution=ExecutionPolicy(order_type="limit", limit_offset_bps=300.0))
FULL = OSError(errno.ENOSPC, "No space left on device")


def wait_until(condition):
    """Wait until something is so; fail after the deadline."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_started(folder):
    events = read_events(folder)
    return any(isinstance(event, SessionEvent) and event.phase is SessionPhase.STARTED for event in events)


@pytest.fixture
def running(stored):
    """A session in a process of its own that waits for its next bar."""
    process = start_forked(lambda: sys.exit(main(SESSION.split())))
    wait_until(lambda: session_ids() and is_started(sessions_folder() / session_ids()[0]))
    yield process, sessions_folder() / session_ids()[0]
    process.kill()
    process.join()


def end_of_process(process):
    """Wait for a process until the deadline, and return its exit code."""
    process.join(DEADLINE)
    return process.exitcode


@pytest.mark.long
def test_a_kill_ends_a_waiting_session_and_names_the_person(running, capsys):
    process, folder = running
    assert main(["risk", "kill", "--session", folder.name, "--by", "ada", "--reason", "enough"]) == 0
    assert f"applies it at once; process {process.pid} was told to halt." in capsys.readouterr().out
    assert end_of_process(process) == 0
    (command,) = [event for event in read_events(folder) if isinstance(event, CommandEvent)]
    assert (command.actor, command.reason) == ("ada", "enough")
    assert read_events(folder)[-1].reason == "kill switch"


@pytest.mark.long
def test_a_kill_on_a_full_disk_ends_the_session_all_the_same(running, capsys, monkeypatch):
    process, folder = running

    def full(*_):
        raise FULL

    monkeypatch.setattr("peak_trade.core.files.create_file", full)
    assert main(["risk", "kill", "--by", "ada"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    told = f"process {process.pid} was told to halt"
    assert line == f"{told}; the state could not be saved: No space left on device"
    assert end_of_process(process) == 0
    assert is_sealed(folder)
    assert read_events(folder)[-1].reason == TERMINATED.reason
    assert read_control(folder.parents[1]) == Control()


@contextlib.contextmanager
def locked_by_another(folder, *, holds=True, **changes):
    """Yield another process that holds the lock of a session, or not; the lock file names it, with changes."""
    with (folder / LOCK).open("w+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        shared = (file.fileno(),) if holds else ()
        other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=shared)
        json.dump(asdict(replace(identify(other.pid), **changes)), file)
        file.flush()
        yield other
    other.kill()
    other.communicate()


@pytest.mark.parametrize("field", ["pid", "started", "boot", "holds", "nothing"])
def test_only_the_process_that_matches_in_all_three_and_holds_the_lock_is_signalled(stored, key, field):
    """A lock file can be left over from another boot, and a number can belong to another process by now."""
    folder = sessions_folder() / "20240101_000000_paper_ma_BTC-USDT_1h"
    create_session(folder, {"session_id": folder.name}, key, lambda: 1)
    changed = {
        "pid": {"pid": os.getppid()},
        "started": {"started": 1},
        "boot": {"boot": "other"},
        "holds": {"holds": False},
        "nothing": {},
    }
    with locked_by_another(folder, **changed[field]) as other:
        told = kill_session(folder.name, "ada", 1, "enough")
        if field == "nothing":
            assert told.pids == (other.pid,)
            assert other.wait(DEADLINE) == -signal.SIGTERM
        else:
            assert (told.pids, told.unknown, told.fault) == ((), (folder.name,), "")
            assert other.poll() is None


def test_a_process_without_the_lock_is_not_signalled(stored, key):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    folder = sessions_folder() / "20240101_000000_paper_ma_BTC-USDT_1h"
    create_session(folder, {"session_id": folder.name}, key, lambda: 1)
    (folder / LOCK).write_text(json.dumps(asdict(identify(other.pid))))
    assert kill_workspace("ada", 1, "enough").pids == ()
    assert other.poll() is None
    other.kill()
    other.communicate()


DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"pid": "x"}',
        b"\xff",
        b'{"pid": 1, "started": 1, "boot": 1}',
        b'{"pid": null, "started": 1, "boot": "x"}',
        pytest.param(DEEP, id="deep"),
    ],
)
def test_a_damaged_lock_file_names_nobody(tmp_path, content):
    lock = acquire_lock(tmp_path)
    assert holder_of(tmp_path) == identify(os.getpid())
    (tmp_path / LOCK).write_bytes(content)
    assert holder_of(tmp_path) is None
    assert is_open(tmp_path)
    lock.release()
    assert not is_open(tmp_path)


def test_a_lock_that_can_not_be_read_does_not_protect_the_other_sessions(stored, key, capsys, monkeypatch):
    """The kill tells the others, saves the state, and says which session it could not tell."""
    first, second = (sessions_folder() / f"2024010{n}_000000_paper_ma_BTC-USDT_1h" for n in (1, 2))
    for folder in (first, second):
        create_session(folder, {"session_id": folder.name}, key, lambda: 1)
    (first / LOCK).symlink_to(LOCK)
    with locked_by_another(second) as other:
        told = kill_workspace("ada", 1, "enough")
        assert other.wait(DEADLINE) == -signal.SIGTERM
    assert (told.pids, told.unknown, told.is_running, told.fault) == ((other.pid,), (first.name,), True, "")
    assert read_control(sessions_folder().parent).state is TradingState.HALTED

    def full(*_):
        raise FULL

    monkeypatch.setattr("peak_trade.core.files.create_file", full)
    assert main(["risk", "kill", "--by", "ada"]) == 1
    assert f"session {first.name} is running, and its process is not known: it was not told" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", DEEP], ids=["cut", "list", "bytes", "deep"])
def test_a_state_or_a_command_that_can_not_be_read_halts(tmp_path, content):
    for path in (tmp_path / "trading_state.json", tmp_path / "acts" / "1.json"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    assert read_control(tmp_path).state is TradingState.HALTED
    assert [command.kind for command in pending_commands(tmp_path)] == ["kill"]


def test_a_writer_that_does_not_get_the_lock_leaves_the_name_of_its_holder(tmp_path):
    lock = acquire_lock(tmp_path)
    with pytest.raises(SessionError, match=rf"process {os.getpid()} \(.+\) has been running this session since 20"):
        acquire_lock(tmp_path)
    assert holder_of(tmp_path) == identify(os.getpid())
    lock.release()


def test_a_signal_stops_and_the_former_handler_returns():
    switch, before = StopSwitch(), signal.getsignal(signal.SIGTERM)
    with switch.on_terminate():
        os.kill(os.getpid(), signal.SIGTERM)
        assert switch.wait(DEADLINE)
    assert signal.getsignal(signal.SIGTERM) is before
    switch.poll = lambda: switch.stop("kill switch")
    assert switch.ending().reason == "kill switch"


@pytest.mark.parametrize(
    "ask",
    [lambda switch: signal.raise_signal(signal.SIGTERM), lambda switch: switch.stop("Ctrl-C")],
    ids=["kill", "stop"],
)
def test_a_signal_at_any_line_of_a_wait_stops_it(ask):
    """A handler runs between two lines of the thread that waits: a lock that this thread holds must not block it."""

    def stuck(*_):
        raise TimeoutError

    def wait_with_signal(at_line):
        switch, n_lines = StopSwitch(), 0

        def trace(frame, event, _):
            nonlocal n_lines
            if event == "line" and Path(frame.f_code.co_filename).name in ("threading.py", "stop_switch.py"):
                n_lines += 1
                if n_lines == at_line:
                    sys.settrace(None)
                    ask(switch)
            return trace

        tracing = sys.gettrace()
        with switch.on_terminate():
            sys.settrace(trace)
            try:
                assert switch.wait(0.002) is (n_lines >= at_line)
            finally:
                sys.settrace(tracing)
        return n_lines

    before = signal.signal(signal.SIGALRM, stuck)
    signal.alarm(int(DEADLINE))
    try:
        at_line = 1
        while wait_with_signal(at_line) >= at_line:
            at_line += 1
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert at_line > 20


def test_open_orders_are_canceled_when_the_journal_can_not_be_written(tmp_path, key, btc_1m, monkeypatch):
    """A session whose disk is full can record nothing any more, and leaves no order at the exchange."""
    market = part_of(btc_1m, 900, 105)
    exchange = exchange_at(market, N_HISTORY)
    clock = EmulatedTime(exchange, end_of(market))
    with emulated(exchange) as emulator:
        session, feed, events = open_testnet(tmp_path / "s", key, STRATEGY, emulator, clock, settings=RESTING)
        seen = []

        def on_status(status):
            if status.n_open_orders and not seen:
                seen.append(len(exchange.open_orders({"symbol": "BTCUSDT"})))

                def full(*_):
                    raise FULL

                monkeypatch.setattr("peak_trade.journal.writer.write_all", full)
                session.journal.append((session.journal.orders and events) or feed.history()[0])
                session.journal.commit()

        session.on_status = on_status
        with pytest.raises(SessionError, match="No space left"):
            session.run(feed, events)
        hang_up(session)
        assert seen == [1]
        assert exchange.open_orders({"symbol": "BTCUSDT"}) == []
    assert not is_sealed(tmp_path / "s")


def test_an_order_that_was_sent_without_an_answer_is_canceled_when_a_kill_arrives(tmp_path, key, btc_1m):
    """The exchange has the order, its answer is lost, and the kill arrives before the order is looked up."""
    market = part_of(btc_1m, 900, 105)
    exchange = exchange_at(market, N_HISTORY)
    clock = EmulatedTime(exchange, end_of(market))
    with emulated(exchange) as emulator:
        session, feed, events = open_testnet(tmp_path / "s", key, STRATEGY, emulator, clock, settings=RESTING)
        emulator.fail("POST", "/api/v3/order", "drop_after")
        emulator.fail("GET", "/api/v3/order", "drop")
        n_open = []

        def killed():
            if emulator.placed():
                n_open.append(len(exchange.open_orders({"symbol": "BTCUSDT"})))
                session.switch.stop("kill switch")
                clock.until = 0

        clock.crash = killed
        with pytest.raises(SessionError, match="stopped while the exchange did not answer"):
            session.run(feed, events)
        hang_up(session)
    assert n_open[0] == 1
    assert exchange.open_orders({"symbol": "BTCUSDT"}) == []


WRITERS = {
    "trading state": (
        lambda folder: write_control(folder, Control(state=TradingState.HALTED, reason="new", changed_at=1)),
        lambda folder: read_control(folder).state,
        {TradingState.ACTIVE, TradingState.HALTED},
    ),
    "command": (
        lambda folder: write_command(folder, new_command("kill", "ada", 1)),
        lambda folder: tuple(command.actor for command in pending_commands(folder)),
        {(), ("ada",)},
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_failure_anywhere_leaves_the_old_or_the_new_state(tmp_path, name):
    """Every open, write, sync, close and rename fails once."""
    write, read, states = WRITERS[name]
    outcomes, n_calls = set(), 1
    for fails_at in range(100):
        folder = tmp_path / str(fails_at)
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            calls = Calls(patch, fails_at)
            try:
                write(folder)
                failed = False
            except OSError:
                failed = True
        n_calls = len(calls.seen)
        outcomes.add(read(folder))
        assert read(folder) in states
        if not failed and fails_at >= n_calls:
            break
    assert outcomes == states
    assert fails_at >= 5


def test_a_session_is_created_whole_or_not_at_all(tmp_path, key):
    for fails_at in range(100):
        folder = tmp_path / str(fails_at) / "session"
        folder.parent.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            calls = Calls(patch, fails_at)
            with contextlib.suppress(SessionError, OSError):
                create_session(folder, {"session_id": "session"}, key, lambda: 1)
        names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
        assert names in ([], ["checkpoints.jsonl", "manifest.json"])
        if fails_at >= len(calls.seen):
            break
    assert names
    assert fails_at >= 8
