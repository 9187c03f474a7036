"""A session that was killed is listed as it stood, verifies, and resumes from its journal."""

from __future__ import annotations

import json
import math
import shutil

import pytest

from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.data.store import save_bars
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.codec import chain_hash, encode_event, encode_line, split_line
from peak_trade.journal.events import (
    AlertEvent,
    AlertLevel,
    BarEvent,
    OrderEvent,
    OrderEventKind,
    SessionEvent,
    SessionPhase,
)
from peak_trade.journal.files import CHECKPOINTS, EVENTS, is_sealed, read_checkpoints, read_events, read_manifest
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.sinks import ParquetSink, SqliteSink
from peak_trade.journal.verify import VerdictKind
from peak_trade.sessions.feeds.base import RecordedFeed
from peak_trade.sessions.options import make_config
from peak_trade.sessions.replay import replay
from peak_trade.sessions.run import run_session
from peak_trade.sessions.runner import Session
from peak_trade.sessions.store import check_journal, find_session, session_ids, summary
from tests.examples import mostly_long
from tests.replacing import replace
from tests.sessions.running import RUN, wavy

ASKED = {"mode": "paper", "strategy": "ma_crossover", "symbol": "BTC/USDT", "timeframe": "1h", "feed": "recorded"}
FAST = {"fast": 3, "slow": 8}


class Killed(BaseException):
    """Simulates a kill: nothing catches it."""


@pytest.fixture
def killed(stored, monkeypatch):
    """Starts a session, kills it at its n-th bar (0: before its first event) and returns its id."""
    items = RecordedFeed.items

    def run(n_bars, *options):
        def until(self, after):
            for n, item in enumerate(items(self, after)):
                if n == n_bars:
                    raise Killed
                yield item

        def at_once(self, feed, events=()):
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(RecordedFeed, "items", until)
            if n_bars == 0:
                patch.setattr(Session, "run", at_once)
            with pytest.raises(Killed):
                main([*RUN, *options])
        (name,) = session_ids()
        return name

    return run


def test_a_session_that_was_killed_at_its_start_resumes(killed, capsys):
    name = killed(0)
    folder = find_session(name)
    (folder / EVENTS).unlink()
    first, *_ = (folder / CHECKPOINTS).read_bytes().splitlines(keepends=True)
    (folder / CHECKPOINTS).write_bytes(first)
    capsys.readouterr()
    assert main(["audit", "verify", name]) == 0
    assert "unsealed" in capsys.readouterr().out
    assert main(["session", "list"]) == 0
    assert "nan" not in capsys.readouterr().out
    assert main(["session", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (listed["state"], listed["equity"]) == ("interrupted", 10_000.0)
    assert main(["replay", "--session", name]) == 0
    assert main(["session", "resume", name, "--quiet", "--no-record"]) == 0
    assert check_journal(folder).finding is VerdictKind.INTACT


def test_a_session_that_decides_by_its_position_resumes_and_replays(stored, monkeypatch):
    asked = ASKED | {"strategy": "tests.strategies.stepping:Watches"}
    whole = run_session(make_config(asked, {}, None, None)).folder
    items = RecordedFeed.items

    def until(self, after):
        for n, item in enumerate(items(self, after)):
            if n == 57:
                raise Killed
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(RecordedFeed, "items", until)
        with pytest.raises(Killed):
            run_session(make_config(asked, {}, None, None))
    (name,) = {*session_ids()} - {whole.name}
    assert main(["session", "resume", name, "--quiet", "--no-record"]) == 0
    assert main(["replay", "--session", name]) == 0
    resumed = [event for event in read_events(find_session(name)) if isinstance(event, OrderEvent | BarEvent)]
    assert resumed == [event for event in read_events(whole) if isinstance(event, OrderEvent | BarEvent)]
    assert any(isinstance(event, OrderEvent) for event in resumed)


def test_a_session_is_seen_only_once_it_is_signed(stored, monkeypatch):
    def killed(self, content):
        assert session_ids() == []
        raise Killed

    monkeypatch.setattr(WorkspaceKey, "sign", killed)
    with pytest.raises(Killed):
        main(RUN)
    assert session_ids() == []
    assert main(["session", "list"]) == 0


@pytest.mark.parametrize("n_bars", mostly_long([3, 60, 90], 1))
def test_a_session_that_was_killed_is_listed_with_its_own_equity(killed, n_bars):
    """Cash and position at the last bar, not the cash it began with."""
    name = killed(n_bars)
    shown = summary(find_session(name))
    whole = run_session(make_config(ASKED, FAST, None, None), on_status=(statuses := []).append).folder
    assert (shown.state, shown.n_bars) == ("interrupted", n_bars)
    assert shown.equity == statuses[n_bars - 1].equity
    assert (shown.equity != 10_000.0) == (n_bars > 3)
    assert summary(whole).equity == statuses[-1].equity


def test_a_summary_counts_denials_and_a_manifest_names_the_seed(stored, tmp_path):
    (tmp_path / "run.toml").write_text("[risk]\nmax_order_notional = 100.0\n")
    settings = BacktestSettings(seed=7)
    config = make_config(ASKED, FAST, None, tmp_path / "run.toml").model_copy(update={"trading": settings})
    folder = run_session(config).folder
    denied = [e for e in read_events(folder) if isinstance(e, OrderEvent) and e.event is OrderEventKind.DENIED]
    assert summary(folder).n_denials == len(denied) > 0
    assert read_manifest(folder)["seed"] == 7


def test_a_session_does_not_resume_on_other_bars(killed, stored, capsys):
    """Interrupted, then the store holds other bars: refused; with the right bars it resumes."""
    name = killed(60)
    bars = wavy()
    other = bars.frame.copy()
    other.iloc[100, other.columns.get_loc("close")] += 0.25
    shutil.rmtree(stored / "bars")
    save_bars(Bars(other, bars.symbol, bars.timeframe, bars.exchange))
    capsys.readouterr()
    assert main(["session", "resume", name]) == 2
    assert "the store's bars are not the ones" in capsys.readouterr().err
    assert not is_sealed(find_session(name))
    shutil.rmtree(stored / "bars")
    save_bars(bars)
    assert main(["session", "resume", name, "--quiet", "--no-record"]) == 0
    assert replay(name).is_identical


def test_a_session_over_bars_without_volume_resumes(killed, stored, capsys):
    bars = wavy()
    shutil.rmtree(stored / "bars")
    save_bars(replace(bars, frame=bars.frame.assign(volume=math.nan)))
    name = killed(60)
    assert main(["session", "resume", name, "--quiet", "--no-record"]) == 0
    assert replay(name).is_identical


def forge(folder, event):
    """Append a line that follows from the last one, as anyone can who reads the file."""
    *_, last = (folder / EVENTS).read_bytes().splitlines()
    raw = split_line(last)
    line_hash = chain_hash(raw.hash, encode_event(event), raw.sequence + 1, raw.ts_recorded)
    with (folder / EVENTS).open("ab") as file:
        file.write(encode_line(encode_event(event), line_hash, raw.sequence + 1, raw.ts_recorded))


def test_an_appended_bar_is_compared_with_the_store(killed, capsys):
    name = killed(60)
    folder = find_session(name)
    last = [event for event in read_events(folder) if isinstance(event, BarEvent)][-1]
    forge(
        folder, replace(last, ts_event=last.ts_event + 3_600 * 10**9, close=last.close * 1.001, high=last.close * 2.0)
    )
    assert check_journal(folder).finding is VerdictKind.UNSEALED
    capsys.readouterr()
    assert main(["session", "resume", name]) == 2
    assert "holds a bar of 2024-01-03 13:00:00Z that is not the store's" in capsys.readouterr().err
    assert not is_sealed(folder)


def test_a_copy_outside_the_workspace_does_not_resume(killed, tmp_path, capsys):
    """A session has one history: a copy would be a second one, signed with the same key."""
    name = killed(10)
    copy = tmp_path / "copies" / name
    shutil.copytree(find_session(name), copy)
    content = (copy / EVENTS).read_bytes()
    capsys.readouterr()
    assert main(["session", "resume", str(copy), "--quiet", "--no-record"]) == 2
    assert "outside the workspace" in capsys.readouterr().err
    assert [path.name for path in copy.parent.iterdir()] == [name]
    assert (copy / EVENTS).read_bytes() == content
    assert main(["session", "resume", str(find_session(name)), "--quiet", "--no-record"]) == 0


def test_events_that_the_key_does_not_vouch_for_are_counted_when_a_session_is_resumed(killed, capsys):
    name = killed(60)
    folder = find_session(name)
    signed = read_checkpoints(folder)[-1].sequence
    for n in range(2):
        forge(folder, AlertEvent(n, AlertLevel.WARNING, "forged", "by somebody without the key", 1.0, 0.0))
    n_unsigned = len(read_events(folder)) - signed
    assert n_unsigned >= 2
    capsys.readouterr()
    assert main(["session", "resume", name, "--quiet", "--no-record"]) == 0
    assert f"{n_unsigned} events at the end of the journal were not signed" in capsys.readouterr().out
    (resumed,) = [e for e in read_events(folder) if isinstance(e, SessionEvent) and e.phase is SessionPhase.RESUMED]
    assert f"{n_unsigned} events" in resumed.reason


def test_a_session_whose_copies_fail_ends_and_says_so(stored, capsys, tmp_path, monkeypatch):
    (tmp_path / "telemetry.toml").write_text("[sinks.parquet]\nenabled = true\n[sinks.sqlite]\nenabled = true\n")
    monkeypatch.setattr(ParquetSink, "close", lambda self: (tmp_path / "no" / "folder").write_text(""))
    monkeypatch.setattr(SqliteSink, "write", lambda self, lines: lines and 1 / 0)
    assert main([*RUN, "--telemetry", "telemetry.toml"]) == 0
    (name,) = session_ids()
    shown = capsys.readouterr().out
    assert "SqliteSink: division by zero" in shown
    assert "ParquetSink: " in shown
    assert check_journal(find_session(name)).finding is VerdictKind.INTACT
    alerts = [event.message for event in read_events(find_session(name)) if isinstance(event, AlertEvent)]
    assert alerts == ["SqliteSink: division by zero"]
    assert main(["session", "list"]) == 0
