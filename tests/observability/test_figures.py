"""The figures of a session are what its risk engine saw and what its events say, at every event."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import OrderType, Side, TimeInForce
from peak_trade.journal.events import (
    TERMINAL,
    AlertEvent,
    AlertLevel,
    BarEvent,
    ClockOffsetEvent,
    DecisionEvent,
    EndCause,
    Event,
    FeedFault,
    FeedFaultEvent,
    OrderEvent,
    OrderEventKind,
    ReconciliationEvent,
    SessionEvent,
    SessionPhase,
    TradingStateCause,
    TradingStateEvent,
)
from peak_trade.journal.files import read_lines, read_manifest
from peak_trade.journal.inputs import read_inputs
from peak_trade.journal.orders import ALLOWED_NEXT
from peak_trade.observability.figures import Observations, SessionFigures
from peak_trade.observability.metrics import LABEL_VALUES, ORDER_DENIALS, OTHER, SLIPPAGE
from tests.examples import examples
from tests.observability.following import EACH, NOW, PAPER, counts_of
from tests.replacing import replace

T0 = 1_700_000_000 * NS_PER_SECOND
RTOL_SAME = 1e-12
LISTED = {
    "order_denials_total": LABEL_VALUES["order_denials_total code"],
    "order_rejections_total": LABEL_VALUES["order_rejections_total reason"],
}
"""Values of labels that have a closed list; others count as `other`."""


def figures_of(folder=PAPER) -> SessionFigures:
    """The figures of a recorded session before its first event."""
    return SessionFigures.of_manifest(read_manifest(folder), has_event_times=True)


def gauges(figures: SessionFigures, now: int = NOW) -> dict[tuple[str, ...], float]:
    """Value by the name of a metric and its labels; of a histogram the number of observations."""
    return {
        (metric.short_name, *labels): sum(number.counts) if isinstance(number, Observations) else number
        for metric, series in figures.series(now).items()
        for labels, number in series
    }


@EACH
def test_every_decision_saw_the_account_that_the_metrics_show(recorded):
    """The gates' inputs are recorded with a decision: equity, its peak, the start of the day and the exposures."""
    figures, n_checked = figures_of(recorded), 0
    limit = figures.config.risk.max_gross_exposure
    last_bar = 0
    for line in read_lines(recorded):
        figures.apply(line.event, line.ts_recorded)
        if isinstance(line.event, BarEvent):
            last_bar = line.event.ts_event
        if not (isinstance(line.event, DecisionEvent) and line.event.ts_event == last_bar and line.event.inputs):
            continue
        n_checked += 1
        _, account, _, _ = read_inputs(line.event.inputs)
        now, approx = gauges(figures), lambda number: pytest.approx(number, rel=1e-9, abs=RTOL_SAME)
        assert now["equity_quote",] == approx(account.equity)
        assert now["drawdown_ratio",] == approx(1.0 - account.equity / account.peak_equity)
        assert now["daily_loss_ratio",] == approx(max(1.0 - account.equity / account.day_start_equity, 0.0))
        exposures = [held * account.marks[symbol] / account.equity for symbol, held in account.positions.items()]
        assert now["exposure_ratio", "net"] == approx(sum(exposures))
        gross = sum(map(abs, exposures))
        assert now["exposure_ratio", "gross"] == approx(gross)
        assert now["limit_usage_ratio", "max_gross_exposure"] == approx(gross / (limit * account.ramp))
        assert now["trading_state", account.state] == 1
    assert n_checked >= 15


def test_a_halt_by_drawdown_comes_when_the_metric_reaches_its_limit():
    """The session halts twice, the second time after a recovery, from which the peak starts again."""
    figures, n_halts = figures_of(), 0
    for line in read_lines(PAPER):
        event = line.event
        if isinstance(event, TradingStateEvent) and event.cause is TradingStateCause.DRAWDOWN:
            now, n_halts = gauges(figures), n_halts + 1
            assert now["drawdown_ratio",] == pytest.approx(event.observed, rel=1e-9)
            assert now["limit_usage_ratio", "state.halt_drawdown"] == pytest.approx(event.observed / event.limit)
            assert now["limit_usage_ratio", "state.halt_drawdown"] >= 1.0
        figures.apply(event, line.ts_recorded)
    assert n_halts == 2


def order_events(draw, n: int) -> Iterator[OrderEvent]:
    """Draw the life of an order: any path that the writer of the journal allows."""
    side, quantity = draw(st.sampled_from(Side)), draw(st.sampled_from([0.5, 1.0, 3.0]))
    kind_of_order = draw(st.sampled_from([OrderType.MARKET, OrderType.LIMIT]))
    event = OrderEvent(
        T0, f"o-{n}", "ma_crossover", "BTC/USDT", OrderEventKind.REQUESTED, side, kind_of_order, TimeInForce.GTC,
        quantity, 0.0, quantity, 100.0, 100.0,
    )  # fmt: skip
    yield event
    kind = OrderEventKind.REQUESTED
    while kind not in TERMINAL and draw(st.integers(0, 9)):
        kind = draw(st.sampled_from([*sorted(ALLOWED_NEXT[kind]), *sorted(ALLOWED_NEXT[kind] - TERMINAL) * 4]))
        is_fill = kind in (OrderEventKind.PARTIALLY_FILLED, OrderEventKind.FILLED)
        last = event.leaves if kind is OrderEventKind.FILLED else event.leaves / 2 if is_fill else 0.0
        event = replace(
            event,
            ts_event=event.ts_event + draw(st.integers(0, 90)) * NS_PER_SECOND // 10,
            event=kind,
            cumulative=event.cumulative + last,
            leaves=0.0 if kind in TERMINAL else event.leaves - last,
            last_quantity=last,
            last_price=draw(st.sampled_from([99.0, 100.0, 100.5])) if is_fill else 0.0,
            fee=draw(st.sampled_from([-0.1, 0.0, 0.25])) if is_fill else 0.0,
            reason=", ".join(draw(st.lists(st.sampled_from(["drawdown", "order_rate", "odd"]), min_size=1, max_size=3)))
            if kind is OrderEventKind.DENIED
            else "",
            cause=draw(st.sampled_from([EndCause.EXCHANGE, EndCause.NOT_SENT, EndCause.KILLED])),
        )
        yield event


@st.composite
def journals(draw) -> list[Event]:
    """Events of orders whose lives are interleaved in any way."""
    lives = [list(order_events(draw, n)) for n in range(draw(st.integers(1, 6)))]
    events: list[Event] = []
    while any(lives):
        life = draw(st.sampled_from([life for life in lives if life]))
        events.append(life.pop(0))
    return events


@given(events=journals())
@settings(max_examples=examples(150), deadline=None)
def test_the_counters_of_any_orders_are_their_counts(events):
    figures = figures_of()
    before = gauges(figures)
    for event in events:
        figures.apply(event, T0)
        now = gauges(figures)
        assert all(now[key] >= before[key] for key in before if key[0].endswith("_total"))
        before = now
    for name, expected in counts_of(events).items():
        merged: Counter[tuple[str, ...]] = Counter()
        for labels, number in expected.items():
            is_listed = labels[0] in LISTED.get(name, labels)
            merged[labels if is_listed else (OTHER,)] += number
        assert {key[1:]: number for key, number in now.items() if key[0] == name and number} == merged, name
    requested = {event.order_id for event in events}
    ended = {event.order_id for event in events if event.event in TERMINAL}
    assert now["orders_open",] == len(requested - ended)
    first_fills = {}
    for event in events:
        if event.last_quantity > 0.0 and event.order_type is OrderType.MARKET:
            first_fills.setdefault(event.order_id, event.ts_event)
    assert now["order_latency_seconds",] == len(first_fills)
    assert now["fees_quote_total",] == pytest.approx(sum(max(event.fee, 0.0) for event in events))
    parts = now["pnl_quote", "realised"] + now["pnl_quote", "unrealised"] if ("equity_quote",) in now else 0.0
    assert math.isclose(parts, now.get(("equity_quote",), 10_000.0) - 10_000.0, rel_tol=1e-9, abs_tol=1e-9)


def test_a_terminal_event_that_comes_twice_counts_once():
    figures = figures_of()
    events = (line.event for line in read_lines(PAPER))
    order = next(event for event in events if isinstance(event, OrderEvent))
    denied = replace(order, event=OrderEventKind.DENIED, leaves=0.0, reason="drawdown")
    for event in (order, denied, denied):
        figures.apply(event, T0)
    now = gauges(figures)
    assert (now["orders_total", order.side, "denied"], now["order_denials_total", "drawdown"]) == (1, 1)


def bar(n: int) -> BarEvent:
    return BarEvent(T0 + n * 3600 * NS_PER_SECOND, "BTC/USDT", 100.0, 101.0, 99.0, 100.0, 1.0)


def fault(n: int, kind: FeedFault) -> FeedFaultEvent:
    return FeedFaultEvent(T0 + n * 3600 * NS_PER_SECOND, "BTC/USDT", kind, 1, "")


def test_the_age_of_the_feed_is_the_time_since_the_last_sign_of_it():
    figures = figures_of()
    hour = 3600 * NS_PER_SECOND
    assert ("feed_age_seconds",) not in gauges(figures)
    figures.apply(SessionEvent(T0, SessionPhase.STARTED, "paper", "", 1.0), 0)
    assert gauges(figures, T0 + hour)["feed_age_seconds",] == 3600
    for event, age, is_connected in (
        (bar(1), 0, 1),
        (fault(2, FeedFault.STALE), 3600, 1),
        (fault(3, FeedFault.DISCONNECTED), 7200, 0),
        (fault(4, FeedFault.FROZEN), 10_800, 0),
        (fault(5, FeedFault.RECONNECTED), 0, 1),
        (fault(6, FeedFault.GAP), 0, 1),
        (bar(6), 0, 1),
    ):
        figures.apply(event, 0)
        now = gauges(figures, event.ts_event)
        assert (now["feed_age_seconds",], now["feed_connected",]) == (age, is_connected), event
    sealed = {metric.short_name for metric in figures.series(NOW, is_sealed=True)}
    assert not sealed & {"feed_age_seconds", "feed_connected"}


def test_the_age_of_a_recording_starts_when_its_bar_was_recorded():
    figures = SessionFigures.of_manifest(read_manifest(PAPER))
    figures.apply(bar(1), NOW - 5 * NS_PER_SECOND)
    assert gauges(figures)["feed_age_seconds",] == 5


def test_events_without_an_order_have_their_metric():
    figures = figures_of()
    for event in (
        ClockOffsetEvent(T0, "binance", -250.0, 20.0),
        ReconciliationEvent(T0, "BTC", 1.0, 2.0, False, is_baseline=True),
        ReconciliationEvent(T0, "USDT", 1.0, 2.0, False),
        AlertEvent(T0, AlertLevel.WARNING, "exit_refused", "", 1.0, 2.0),
        AlertEvent(T0, AlertLevel.WARNING, "some_new_code", "", 1.0, 2.0),
    ):
        figures.apply(event, T0)
    now = gauges(figures)
    assert now["clock_offset_seconds",] == -0.25
    assert now["position_mismatch",] == 1
    assert (now["alerts_total", "exit_refused"], now["alerts_total", "other"]) == (1, 1)
    figures.apply(ReconciliationEvent(T0, "USDT", 2.0, 2.0, True), T0)
    assert gauges(figures)["position_mismatch",] == 0


def test_series_do_not_change_with_later_events():
    figures = figures_of()
    for line in read_lines(PAPER):
        before = figures.series(NOW)
        figures.apply(line.event, line.ts_recorded)
        if isinstance(line.event, OrderEvent) and line.event.last_quantity > 0.0:
            after = figures.series(NOW)
            changed = {metric.short_name for metric in before if before[metric] != after[metric]}
            assert {"fills_total", "slippage_bps", "order_latency_seconds"} <= changed
            assert after[ORDER_DENIALS] is before[ORDER_DENIALS], "what did not change is the same object"
            return
    raise AssertionError("no fill")


@pytest.mark.parametrize(("value", "place"), [(-60.0, 0), (-50.0, 0), (0.0, 6), (0.1, 7), (100.0, 13), (101.0, 14)])
def test_an_observation_counts_in_the_bucket_whose_bound_it_does_not_exceed(value, place):
    """The bounds are inclusive, as those of the label `le` are."""
    counts = Observations((0,) * 15).with_one_more(value, SLIPPAGE.buckets).counts
    assert [n for n, count in enumerate(counts) if count] == [place]
