"""kill -9 at random instants: nothing acknowledged is lost, nothing is sent twice, and both accounts agree."""

from __future__ import annotations

import json
import math
import random
import socket

import pytest

from peak_trade.journal.codec import encode_event
from peak_trade.journal.files import read_events
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.ledger_from_events import ledger_from_events
from peak_trade.journal.verify import VerdictKind, verify
from peak_trade.sessions.feeds.base import RecordedFeed
from peak_trade.sessions.runner import LOOP_EVENTS
from peak_trade.strategies.ma_crossover import MaCrossover
from tests.emulator.server import emulated
from tests.forking import exit_code, fork
from tests.sessions import victim
from tests.sessions.running import open_session, part_of, run_session
from tests.sessions.trading import (
    NS_PER_MS,
    EmulatedTime,
    account_of,
    as_perpetual,
    assert_accounts_agree,
    exchange_at,
    hang_up,
    open_testnet,
)

STRATEGY = MaCrossover(fast=3, slow=9)
N_KILLS = [pytest.param(5, id="five"), pytest.param(50, id="fifty", marks=pytest.mark.crash)]


@pytest.fixture(scope="module")
def victims():
    """A forked process that forks a session for each request and reports how it ended; sessions share an admission."""
    ours, theirs = socket.socketpair()

    def serve():
        ours.close()
        with theirs.makefile() as orders, theirs.makefile("w") as answers:
            victim.serve(orders, answers)

    process = fork(serve)
    theirs.close()
    with ours, ours.makefile() as answers:

        def run(order):
            ours.sendall(f"{json.dumps(order)}\n".encode())
            return answers.readline().strip()

        yield run
        ours.shutdown(socket.SHUT_WR)
        assert exit_code(process) == 0


def acknowledged(folder):
    path = folder / "acknowledged"
    return max(map(int, path.read_text().split()), default=0) if path.exists() else 0


def loop_events(events):
    return [encode_event(event) for event in events if isinstance(event, LOOP_EVENTS)]


def survive(run, folder, key, keys, bars, n_kills, longest, *, url="", until=0):
    """Run a session that is killed again and again, first once its folder can be seen; return how often it was."""
    bars.frame.to_parquet(folder.parent / "bars.parquet")
    instants = random.Random(n_kills)
    order = {
        "folder": str(folder), "keys": str(keys), "bars": str(folder.parent / "bars.parquet"),
        "timeframe": str(bars.timeframe), "symbol": bars.symbol, "exchange": bars.exchange, "url": url, "until": until,
    }  # fmt: skip
    n_killed = 0
    for _ in range(n_kills):
        outcome = run(order | {"seconds": instants.uniform(0.0, longest) if folder.exists() else None})
        n_killed += outcome == "killed"
        if not folder.exists():
            continue
        held = read_events(folder)
        assert len(held) >= acknowledged(folder)
        assert verify(folder, key.public).is_intact
        if outcome != "killed":
            assert outcome == "ended 0"
            break
    return n_killed


@pytest.mark.parametrize("n_kills", N_KILLS)
def test_a_paper_session_survives_being_killed(victims, tmp_path, key, btc_1m, n_kills):
    bars = part_of(btc_1m, 0, 200 + 60 * n_kills)
    run_session(tmp_path / "whole", key, STRATEGY, bars)
    whole = read_events(tmp_path / "whole")
    keys = tmp_path / "keys"
    folder = tmp_path / "killed"
    own = WorkspaceKey(keys)
    n_killed = survive(victims, folder, own, keys, bars, n_kills, 0.1)
    assert n_killed >= n_kills // 2
    if verify(folder, own.public).finding is not VerdictKind.INTACT:
        session = open_session(folder, own, STRATEGY, bars)
        session.run(RecordedFeed(bars), read_events(folder))
    assert loop_events(read_events(folder)) == loop_events(whole)
    assert verify(folder, own.public).finding is VerdictKind.INTACT


@pytest.mark.long
@pytest.mark.parametrize(
    ("is_perpetual", "n_kills"),
    [
        pytest.param(False, 5, id="binance-five"),
        pytest.param(False, 50, id="binance-fifty", marks=pytest.mark.crash),
        pytest.param(True, 50, id="krakenfutures-fifty", marks=pytest.mark.crash),
    ],
)
def test_a_testnet_session_survives_being_killed(victims, tmp_path, btc_1m, n_kills, is_perpetual):
    n_bars = 20 + 4 * n_kills
    bars = part_of(btc_1m, 900, 60 + n_bars + 5)
    bars = as_perpetual(bars) if is_perpetual else bars
    exchange = exchange_at(bars, 60)
    until = int(bars.times[60 + n_bars - 1]) // NS_PER_MS + 500
    own = WorkspaceKey(tmp_path / "keys")
    folder = tmp_path / "s"
    with emulated(exchange, over_http=True) as emulator:
        n_killed = survive(victims, folder, own, tmp_path / "keys", bars, n_kills, 0.15, url=emulator.url, until=until)
        assert n_killed >= n_kills // 2
        if verify(folder, own.public).finding is not VerdictKind.INTACT:
            clock = EmulatedTime(exchange, until)
            session, feed, events = open_testnet(folder, own, STRATEGY, emulator, clock)
            session.run(feed, events)
            hang_up(session)
            assert_accounts_agree(read_events(folder), session, emulator)
        placed = emulator.placed()
    ledger = ledger_from_events(read_events(folder), 5_000.0)
    for held, there in account_of(exchange, ledger, bars.symbol):
        assert math.isclose(held, there, abs_tol=1e-6)
    ids = [order.client_id for order in exchange.orders]
    assert len(ids) == len(set(ids)) > 0
    assert len(placed) == len(set(placed))
    assert verify(folder, own.public).finding is VerdictKind.INTACT
