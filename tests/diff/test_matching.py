"""Matching without ids, the common span, runs that have none, and a sandbox session with its shadow."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest

from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.diff.causes import Cause
from peak_trade.diff.recording import Recording, flat_settings
from peak_trade.diff.result import diff
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.events import BarEvent, OrderEvent
from peak_trade.journal.files import read_events
from peak_trade.sessions.feeds.base import RecordedFeed
from peak_trade.strategies.ma_crossover import MaCrossover
from tests.diff.planting import bars_of, run
from tests.replacing import replace
from tests.sessions.running import BTC, open_session, part_of


def renamed(recording: Recording, prefix: str) -> Recording:
    events = [
        replace(event, order_id=prefix + event.order_id) if isinstance(event, OrderEvent) else event
        for event in recording.events
    ]
    return replace(recording, events=events)


def test_orders_without_a_common_id_are_matched_heuristically():
    clean = run(bars_of(0))
    result = diff(clean, renamed(clean, "venue-"))
    assert result.is_equal
    assert {pair.rule for pair in result.matches} == {"side, symbol and time"}
    assert {pair.confidence for pair in result.matches} == {0.99}


def test_a_heuristic_match_of_a_later_order_has_less_confidence():
    clean = run(bars_of(0))
    late = [
        replace(event, order_id=f"v-{event.order_id}", ts_event=event.ts_event + 600 * 10**9)
        if isinstance(event, OrderEvent) and event.order_id == "o-5"
        else event
        for event in clean.events
    ]
    result = diff(clean, replace(clean, events=late))
    (pair,) = [pair for pair in result.matches if pair.confidence < 1.0]
    assert pair.rule == "side, symbol and window"
    assert 0.85 < pair.confidence < 0.95
    assert [each.cause for each in result.roots] == [Cause.TIMING]


def test_an_unexplained_order_in_one_run_only_fails_the_diff():
    clean = run(bars_of(0))
    kept = [event for event in clean.events if not (isinstance(event, OrderEvent) and event.order_id == "o-5")]
    result = diff(clean, replace(clean, events=kept))
    assert [(each.cause, each.kind, each.live) for each in result.roots] == [(Cause.UNEXPLAINED, "order", None)]
    assert not result.is_explained
    assert "The diff fails" in result.verdict


def test_only_the_common_span_is_compared():
    bars = bars_of(1)
    early = Bars(bars.frame.iloc[:500], bars.symbol, bars.timeframe, bars.exchange)
    result = diff(run(bars), run(early))
    assert result.n_outside > 0
    assert {each.cause for each in result.roots} <= {Cause.CONFIGURATION}
    later = Bars(bars.frame.iloc[600:], bars.symbol, bars.timeframe, bars.exchange)
    with pytest.raises(SessionError, match="do not overlap"):
        diff(run(early), run(later))


def test_runs_of_other_timeframes_or_without_bars_are_rejected():
    clean = run(bars_of(0))
    with pytest.raises(SessionError, match="choose two runs of one timeframe"):
        diff(clean, replace(clean, timeframe=type(clean.timeframe)(60)))
    with pytest.raises(SessionError, match="has no bars"):
        diff(clean, replace(clean, events=[event for event in clean.events if not isinstance(event, BarEvent)]))
    with pytest.raises(ConfigError, match="tolerance_bps was nan"):
        diff(clean, clean, tolerance_bps=math.nan)


@pytest.mark.long
def test_a_sandbox_session_differs_from_its_shadow_by_the_venue_alone(tmp_path, key, btc_1m):
    from tests.emulator.server import emulated
    from tests.sessions.trading import NS_PER_MS, EmulatedTime, exchange_at, open_testnet

    start, n_bars = 60, 90
    bars = part_of(btc_1m, 900, start + n_bars + 5)
    strategy = MaCrossover(fast=3, slow=9)
    trading = BacktestSettings(initial_cash=5_000.0)
    exchange = exchange_at(bars, start, fee=0.002)
    clock = EmulatedTime(exchange, int(bars.times[start + n_bars - 1]) // NS_PER_MS + 500)
    with emulated(exchange) as emulator:
        session, feed, events = open_testnet(tmp_path / "live", key, strategy, emulator, clock, settings=trading)
        session.run(feed, events)
    seen = part_of(bars, 0, start + n_bars)
    shadow = open_session(tmp_path / "shadow", key, strategy, seen, trading)
    shadow.run(RecordedFeed(seen, starts_at=int(bars.times[start - 1])))
    settings = flat_settings(
        strategy.name,
        strategy.model_dump(mode="json"),
        trading.model_dump(mode="json"),
        {"BTC/USDT": asdict(BTC)},
        None,
    )
    sides = [
        Recording(name, mode, bars.timeframe, settings, "", read_events(tmp_path / name))
        for name, mode in (("shadow", "shadow"), ("live", "testnet"))
    ]
    result = diff(*sides)
    assert all(pair.shadow is not None and pair.live is not None for pair in result.matches)
    venue = {Cause.FEE, Cause.PRICE, Cause.PARTIAL_FILL, Cause.SLIPPAGE_BIAS, Cause.LATENCY_BIAS}
    assert {each.cause for each in result.roots} <= venue
    (fee,) = [each for each in result.roots if each.cause is Cause.FEE]
    assert fee.live == pytest.approx(20.0, abs=0.01)
    assert fee.total_pnl < 0.0
    assert result.live_pnl == pytest.approx(session.equity[-1] - 5_000.0, rel=1e-9)
    assert result.live_pnl - result.shadow_pnl == pytest.approx(result.waterfall["amount"].iloc[1:-1].sum())
