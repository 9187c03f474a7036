"""Refused exits are asked again alike in backtests, paper sessions and at an exchange, with one alert per episode."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.bars import Bars
from peak_trade.engine.market import Market
from peak_trade.engine.result import run_sleeves
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.codec import encode_event
from peak_trade.journal.events import AlertEvent, BarEvent, Event, OrderEvent, OrderEventKind
from peak_trade.journal.files import read_events
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.sessions.feeds.base import FeedItem, RecordedFeed
from peak_trade.sessions.runner import LOOP_EVENTS, Session
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.wiring.sleeves import sleeve_for
from tests.engine.test_refused_exits import denying
from tests.examples import examples, mostly_long
from tests.sessions import running
from tests.sessions.running import BTC, part_of, wavy
from tests.sessions.trading import N_BARS, N_HISTORY, assert_accounts_agree, orders_of, run

ORDER = "/api/v3/order"
FAST = MaCrossover(fast=3, slow=8)


def paper(folder: Path, key: WorkspaceKey, bars: Bars, share: float, seed: int) -> Session:
    session = running.open_session(folder, key, FAST, bars)
    session.risk_engine = denying(share, seed)
    session.__post_init__()
    return session


def alerts_of(events: list[Event]) -> list[AlertEvent]:
    return [event for event in events if isinstance(event, AlertEvent)]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.5, 0.9]))
@settings(max_examples=examples(15), deadline=None)
def test_a_paper_session_asks_again_as_the_backtest_does_under_random_denials(
    key: WorkspaceKey, seed: int, share: float
) -> None:
    bars, chosen = wavy(), BacktestSettings()
    market = Market.of([bars], {bars.symbol: BTC})
    sleeve = sleeve_for(FAST, FAST.name, bars, market, chosen, 1.0, 0)
    result = run_sleeves(market, [sleeve], chosen, risk_engine=denying(share, seed))
    with tempfile.TemporaryDirectory() as folder:
        session = paper(Path(folder) / "s", key, bars, share, seed)
        session.run(RecordedFeed(bars))
        events = read_events(Path(folder) / "s")
    recorded = [encode_event(event) for event in events if isinstance(event, LOOP_EVENTS)]
    assert recorded == [encode_event(event) for event in result.events]
    assert session.equity == result.equity_values.tolist()
    n_sells = sum(each.event is OrderEventKind.DENIED and each.side == "sell" for each in orders_of_loop(events))
    assert bool(alerts_of(events)) == bool(n_sells)
    assert len(alerts_of(events)) <= n_sells


def orders_of_loop(events: list[Event]) -> list[OrderEvent]:
    return [event for event in events if isinstance(event, OrderEvent)]


class Killed(BaseException):
    """Simulates a kill: nothing catches it."""


class CutFeed(RecordedFeed):
    """Feeds some bars, then the session is killed."""

    n_bars = 0

    def items(self, after: int) -> Iterator[FeedItem]:
        """Yield the first bars."""
        yield from islice(super().items(after), self.n_bars)
        raise Killed


@pytest.mark.parametrize("n_bars", mostly_long([10, 13, 15, 52, 90], 1))
def test_a_session_that_was_killed_has_the_same_alerts_once_it_was_resumed(
    tmp_path: Path, key: WorkspaceKey, n_bars: int
) -> None:
    bars = wavy()
    paper(tmp_path / "whole", key, bars, 0.6, 2).run(RecordedFeed(bars))
    feed = CutFeed(bars)
    feed.n_bars = n_bars
    killed = paper(tmp_path / "s", key, bars, 0.6, 2)
    with pytest.raises(Killed):
        killed.run(feed)
    killed.journal.commit()
    killed.journal._lock.release()
    paper(tmp_path / "s", key, bars, 0.6, 2).run(RecordedFeed(bars), read_events(tmp_path / "s"))
    kept = (*LOOP_EVENTS, AlertEvent, BarEvent)
    whole, parts = (
        [event for event in read_events(tmp_path / name) if isinstance(event, kept)] for name in ("whole", "s")
    )
    assert parts == whole
    assert len(alerts_of(parts)) >= 2


def test_an_exit_that_the_exchange_rejects_is_asked_again_at_each_close(tmp_path, key, btc_1m):
    """The market is closed for three sells and for one buy: the sells are asked again, the buy is not."""
    market = part_of(btc_1m, 900, N_HISTORY + N_BARS + 5)
    left = {"SELL": 3, "BUY": 0}

    def prepare(emulator, clock):
        answer = emulator.answer

        def closed(method, path, query, is_signed):
            side = query.get("side", "")
            if (method, path) == ("POST", ORDER) and left.get(side, 0) > 0:
                left[side] -= 1
                left["BUY"] += left == {"SELL": 0, "BUY": 0} and side == "SELL"
                return 400, {"code": -1013, "msg": "Market is closed."}
            return answer(method, path, query, is_signed)

        emulator.answer = closed

    events, session, emulator = run(tmp_path / "s", key, market, prepare=prepare)
    closes = [event.ts_event for event in events if isinstance(event, BarEvent)]
    rejected = orders_of(events, OrderEventKind.REJECTED)
    sells = [event for event in rejected if event.side == "sell"]
    (buy,) = [event for event in rejected if event.side == "buy"]
    assert [closes.index(event.ts_event) for event in sells] == [closes.index(sells[0].ts_event) + n for n in range(3)]
    taken = [event for event in orders_of(events, OrderEventKind.ACCEPTED) if event.side == "sell"]
    assert closes.index(taken[0].ts_event) == closes.index(sells[0].ts_event) + 3
    later = [event.ts_event for event in orders_of(events, OrderEventKind.REQUESTED) if event.side == "buy"]
    assert closes[closes.index(buy.ts_event) + 1] not in later
    (alert,) = alerts_of(events)
    assert (alert.code, alert.ts_event) == ("exit_refused", sells[0].ts_event)
    assert "Market is closed" in alert.message
    assert_accounts_agree(events, session, emulator)
