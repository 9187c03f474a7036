"""The gates' view of a live market is recorded before the decision; a stale feed stops enlarging orders."""

from __future__ import annotations

import json

import pytest

from peak_trade.core.errors import ConfigError
from peak_trade.core.time import NS_PER_SECOND, Timeframe
from peak_trade.core.values import Order, OrderType, Side, TradingState
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.engine.venue import Phase, Resting, order_event
from peak_trade.journal.codec import encode_event
from peak_trade.journal.events import (
    BarEvent,
    DecisionEvent,
    FeedFault,
    FeedFaultEvent,
    OrderEvent,
    OrderEventKind,
    SessionEvent,
    SnapshotEvent,
    TradingStateEvent,
)
from peak_trade.journal.files import read_events
from peak_trade.journal.writer import JournalWriter
from peak_trade.risk.limits import LiquidityLimits, RiskLimits, StateLimits
from peak_trade.sessions.bar_buffer import BarBuffer
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.feeds.base import RecordedFeed, bar_events
from peak_trade.sessions.feeds.live import BOOK_LEVELS
from peak_trade.sessions.replay import replay
from peak_trade.sessions.runner import LOOP_EVENTS
from peak_trade.sessions.sandbox.venue import SandboxVenue
from peak_trade.strategies.ma_crossover import MaCrossover
from tests.emulator.server import emulated
from tests.examples import mostly_long
from tests.replacing import replace
from tests.sessions.running import BTC, open_session, part_of

DEPTH, KLINES = "/api/v3/depth", "/api/v3/klines"
BOOK = RiskLimits(
    liquidity=LiquidityLimits(book="declared", max_daily_volume_share=None, min_touch_depth=None, min_book_depth=None)
)
AGE = RiskLimits(max_data_age=30.0)
STALE = RiskLimits(max_gross_exposure=2.0, state=StateLimits(max_feed_age=150.0))
RESTING = BacktestSettings(
    initial_cash=5_000.0, execution=ExecutionPolicy(order_type="limit", limit_offset_bps=60.0, time_in_force="gtc")
)


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


def of(folder, *kinds):
    return [event for event in read_events(folder) if isinstance(event, kinds)]


def loop_events(folder):
    return [encode_event(event) for event in of(folder, *LOOP_EVENTS)]


def market_of(decision):
    return json.loads(decision.inputs)["market"]


def codes(decision):
    return {denial.code for denial in decision.denials}


def age_at(folder, fault):
    """Seconds from the close of the newest bar before a fault to the fault."""
    events = of(folder, BarEvent, FeedFaultEvent)
    before = events[: events.index(fault)]
    return (fault.ts_event - max(bar.ts_event for bar in before if isinstance(bar, BarEvent))) / NS_PER_SECOND


def silence(emulator, seconds, kind="silent"):
    """Return a function that silences the feed for a while, from its first call."""
    exchange, until = emulator.exchange, []
    answer = emulator.answer

    def answered(method, path, query, is_signed):
        if path == KLINES and until and exchange.now_ms < until[0]:
            return (200, []) if kind == "silent" else (503, {"code": -1000, "msg": "away"})
        return answer(method, path, query, is_signed)

    emulator.answer = answered

    def begin():
        if not until:
            until.append(exchange.now_ms + seconds * 1_000)

    return begin


@pytest.mark.long
def test_a_declared_book_is_fetched_recorded_before_its_bar_and_seen_by_the_gates(live):
    run, exchange, _ = live
    with emulated(exchange) as emulator:
        outcome = run(emulator, BOOK)
    events = of(outcome.folder, BarEvent, SnapshotEvent, SessionEvent)
    started = next(n for n, event in enumerate(events) if isinstance(event, SessionEvent))
    shown = events[started + 1 : -1]
    assert {type(event) for event in shown[::2]} == {SnapshotEvent}
    for snapshot, bar in zip(shown[::2], shown[1::2], strict=True):
        assert snapshot.feed_age == (snapshot.ts_event - bar.ts_event) / NS_PER_SECOND
        assert len(snapshot.bids) == len(snapshot.asks) == BOOK_LEVELS
        assert snapshot.bids[0][0] < snapshot.asks[0][0]
        assert bar.ts_event <= snapshot.book_time <= snapshot.ts_event
    by_bar = {bar.ts_event: snapshot for snapshot, bar in zip(shown[::2], shown[1::2], strict=True)}
    decisions = of(outcome.folder, DecisionEvent)
    assert any(decision.is_approved for decision in decisions)
    for decision in decisions:
        market, seen = market_of(decision), by_bar[decision.ts_event]
        assert market["as_of"] == seen.ts_event
        assert market["bar_time"] == decision.ts_event
        assert market["book"]["asks"] == [list(level) for level in seen.asks]
    assert replay(outcome.folder.name).is_identical


@pytest.mark.long
def test_a_snapshot_counts_for_its_own_bar_only(tmp_path, key, btc_1m):
    bars = part_of(btc_1m, 0, 200)

    class Shown(RecordedFeed):
        def items(self, after):
            for n, bar in enumerate(super().items(after)):
                if n % 2:
                    levels = ((bar.close - 0.01, 9.0),), ((bar.close + 0.01, 9.0),)
                    yield SnapshotEvent(bar.ts_event + 7, bar.symbol, 7e-9, bar.ts_event + 6, *levels)
                yield bar

    session = open_session(tmp_path / "s", key, MaCrossover(fast=3, slow=9), bars, risk=BOOK)
    session.run(Shown(bars))
    shown = {event.ts_event - 7 for event in of(tmp_path / "s", SnapshotEvent)}
    decisions = of(tmp_path / "s", DecisionEvent)
    assert {event.ts_event in shown for event in decisions} == {True, False}
    for event in decisions:
        market = market_of(event)
        assert (market["book"] is not None) == (event.ts_event in shown)
        assert market["as_of"] == event.ts_event + 7 * (event.ts_event in shown)


@pytest.mark.parametrize(
    ("risk", "n_sleeves"), mostly_long([(AGE, 0), (RiskLimits(max_gross_exposure=2.0), 0), (None, 0)], 1)
)
def test_nothing_is_fetched_or_recorded_that_no_limit_needs(live, risk, n_sleeves):
    run, exchange, _ = live
    with emulated(exchange) as emulator:
        outcome = run(emulator, risk, duration=600)
        assert sum(path == DEPTH for _, path, _ in emulator.requests) == n_sleeves
    snapshots = of(outcome.folder, SnapshotEvent)
    assert bool(snapshots) == (risk is AGE)
    assert all(event.bids == () and event.book_time == 0 and event.detail == "" for event in snapshots)


@pytest.mark.long
@pytest.mark.parametrize("fault", [{"kind": "drop"}, {"kind": "status"}, {"kind": "error", "status": 400}])
def test_a_book_that_cannot_be_fetched_denies_and_the_session_goes_on(live, fault):
    run, exchange, _ = live
    with emulated(exchange) as emulator:
        emulator.fail("GET", DEPTH, times=1_000, **fault)
        outcome = run(emulator, BOOK)
    decisions = of(outcome.folder, DecisionEvent)
    opening = [decision for decision in decisions if not json.loads(decision.inputs)["order"]["is_reducing"]]
    assert opening
    assert all({"stale_book", "spread", "slippage"} <= codes(decision) for decision in opening)
    assert all(event.detail and event.book_time == 0 for event in of(outcome.folder, SnapshotEvent))
    assert outcome.reason == "end of the recording"
    assert replay(outcome.folder.name).is_identical


def test_orders_on_bars_that_were_asked_for_after_an_outage_are_denied_as_stale(live):
    run, exchange, _ = live
    with emulated(exchange) as emulator:
        begin = silence(emulator, 1_500, "away")
        outcome = run(emulator, AGE, on_status=lambda status: begin())
    stale = {event.ts_event for event in of(outcome.folder, DecisionEvent) if "stale_data" in codes(event)}
    bars = of(outcome.folder, BarEvent)
    ages = {}
    pending = None
    for event in of(outcome.folder, BarEvent, SnapshotEvent):
        if isinstance(event, SnapshotEvent):
            pending = event
        elif pending is not None:
            ages[event.ts_event] = pending.feed_age
    assert stale
    assert all(ages[time] > 30.0 for time in stale)
    assert FeedFault.BACK_FILLED in [event.fault for event in of(outcome.folder, FeedFaultEvent)]
    assert len(bars) == len({bar.ts_event for bar in bars})
    assert replay(outcome.folder.name).is_identical


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "mode"),
    [("away", "testnet"), ("away", "paper"), ("silent", "paper"), ("silent", "testnet")],
)
def test_a_feed_gone_stale_reduces_when_it_happens_and_cancels_what_could_enlarge(live, mode, kind):
    run, exchange, _ = live
    with emulated(exchange) as emulator:
        begin = silence(emulator, 200, kind)

        def on_status(status):
            if status.n_open_orders and status.position == 0.0:
                begin()

        outcome = run(emulator, STALE, RESTING, on_status=on_status, mode=mode)
        resting = [order for order in exchange.orders if order.status in ("NEW", "PARTIALLY_FILLED")]
        assert resting == []
    (fault,) = [event for event in of(outcome.folder, FeedFaultEvent) if event.fault is FeedFault.STALE]
    (state,) = [event for event in of(outcome.folder, TradingStateEvent)]
    age = age_at(outcome.folder, fault)
    assert 150.0 < age < 152.0
    assert (state.state, state.reason, state.ts_event) == (TradingState.REDUCING, "stale feed", fault.ts_event)
    assert (state.observed, state.limit) == (age, 150.0)
    (canceled,) = [
        event for event in of(outcome.folder, OrderEvent)
        if event.event is OrderEventKind.CANCELED and event.reason == "trading is reducing"
    ]  # fmt: skip
    if mode == "testnet" and kind == "away":
        (back,) = [event for event in of(outcome.folder, FeedFaultEvent) if event.fault is FeedFault.RECONNECTED]
        assert canceled.ts_event == back.ts_event
    else:
        assert canceled.ts_event == fault.ts_event
    later = [event for event in of(outcome.folder, DecisionEvent) if event.ts_event > fault.ts_event]
    assert all("trading_state" in codes(event) for event in later)
    assert replay(outcome.folder.name).is_identical


def traded(venue):
    return [execution.quantity for execution in venue.match(1, lambda order, cost: 0.0)]


def test_a_fill_that_was_reported_after_the_feed_went_stale_is_replayed_after_it(btc_1m):
    """A partial fill came with a bar, the rest when the session ended; the feed went stale in between."""
    bars = bar_events(part_of(btc_1m, 0, 2))
    sale = Order("pt-1", bars[0].ts_event, "ma", "BTC/USDT", Side.SELL, 1.0, 100.0, OrderType.LIMIT, limit_price=101.0)

    def report(kind, quantity, leaves):
        event = order_event(sale, kind, bars[1].ts_event, leaves=leaves, cumulative=1.0 - leaves)
        return replace(event, last_quantity=quantity, last_price=101.0)

    recorded = [
        bars[0],
        order_event(sale, OrderEventKind.ACCEPTED, bars[0].ts_event),
        bars[1],
        report(OrderEventKind.PARTIALLY_FILLED, 0.4, 0.6),
        FeedFaultEvent(bars[1].ts_event + 1, "BTC/USDT", FeedFault.STALE, 0, ""),
        report(OrderEventKind.FILLED, 0.6, 0.0),
    ]
    buffer = BarBuffer(BTC, Timeframe.parse("1m"), 2, "binance")
    for bar in bars:
        buffer.add(bar)
    venue = SandboxVenue(None, buffer.market, "pt-", lambda seconds: None, recorded)
    venue._orders["pt-1"] = Resting(sale, 0, Phase.AFTER_CLOSE, 0, 1.0, 100.0, 0)
    assert traded(venue) == [0.4]
    assert [venue.apply_recorded(event) for event in recorded] == [False] * 5 + [True]
    assert traded(venue) == pytest.approx([0.6])


@pytest.mark.long
@pytest.mark.parametrize(
    ("mode", "moment"),
    [("paper", "before"), ("paper", "after"), ("testnet", "after"), ("testnet", "before")],
)
def test_a_session_killed_as_its_feed_goes_stale_resumes_reducing(live, monkeypatch, mode, moment):
    run, exchange, _ = live
    append = JournalWriter.append

    def dying(self, event):
        if isinstance(event, TradingStateEvent) and moment == "before":
            self.commit()
            raise Killed
        result = append(self, event)
        if isinstance(event, TradingStateEvent):
            self.commit()
            raise Killed
        return result

    folders = []
    with emulated(exchange) as emulator:
        begin = silence(emulator, 200)

        def on_status(status):
            folders.append(status.session_id)
            if status.n_open_orders and status.position == 0.0:
                begin()

        with monkeypatch.context() as patched:
            patched.setattr(JournalWriter, "append", dying)
            with pytest.raises(Killed):
                run(emulator, STALE, RESTING, on_status=on_status, mode=mode)
        outcome = run(emulator, STALE, RESTING, resumes=folders[-1], mode=mode)
        assert [order for order in exchange.orders if order.status in ("NEW", "PARTIALLY_FILLED")] == []
    states = of(outcome.folder, TradingStateEvent)
    assert [event.state for event in states] == [TradingState.REDUCING]
    assert [event.reason for event in of(outcome.folder, OrderEvent) if event.event is OrderEventKind.CANCELED] == [
        "trading is reducing"
    ]
    assert replay(outcome.folder.name).is_identical


@pytest.mark.long
def test_a_shadow_of_a_live_session_has_the_same_snapshots(live):
    run, exchange, _ = live
    risk = BOOK.model_copy(update={"state": StateLimits(max_feed_age=150.0)})
    with emulated(exchange) as emulator:
        begin = silence(emulator, 200)
        outcome = run(emulator, risk, on_status=lambda status: begin() if status.n_bars == 20 else None)
        shadow = run(emulator, risk, mode="shadow", feed="follow", follow=outcome.folder.name)
    kinds = (SnapshotEvent, BarEvent)
    assert of(shadow.folder, *kinds) == of(outcome.folder, *kinds)
    assert loop_events(shadow.folder) == loop_events(outcome.folder)
    assert of(shadow.folder, TradingStateEvent)
    assert replay(shadow.folder.name).is_identical


def test_a_shadow_records_no_snapshot_that_its_own_limits_do_not_need(live):
    run, exchange, _ = live
    with emulated(exchange) as emulator:
        outcome = run(emulator, BOOK, duration=600)
        shadow = run(emulator, None, mode="shadow", feed="follow", follow=outcome.folder.name)
    assert of(outcome.folder, SnapshotEvent)
    assert not of(shadow.folder, SnapshotEvent)


def test_a_feed_age_that_every_bar_reaches_is_refused():
    asked = {"mode": "paper", "strategy": "cash", "symbol": "BTC/USDT", "timeframe": "1h", "exchange": "binance"}
    risk = {"state": {"max_feed_age": 3_600.0}}
    with pytest.raises(ConfigError, match="Use more than the length of a bar"):
        SessionConfig.parse(asked | {"risk": risk}, "session")
    SessionConfig.parse(asked | {"risk": risk, "feed": "recorded"}, "session")


@pytest.mark.parametrize("skew_ms", mostly_long([-20_000, 20_000], 1))
def test_the_age_of_a_feed_counts_on_the_exchanges_clock(live, skew_ms):
    run, exchange, _ = live
    with emulated(exchange) as emulator:
        begin = silence(emulator, 200)
        outcome = run(emulator, STALE, on_status=lambda status: begin(), skew_ms=skew_ms, duration=300)
    (fault,) = [event for event in of(outcome.folder, FeedFaultEvent) if event.fault is FeedFault.STALE]
    assert 150.0 < age_at(outcome.folder, fault) < 152.0
    assert of(outcome.folder, TradingStateEvent)[0].observed == age_at(outcome.folder, fault)
