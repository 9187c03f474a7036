"""Orders in one run only: explained by what the other run lacks a reason for, otherwise unexplained."""

from __future__ import annotations

import math
import random
from itertools import product

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import SessionError
from peak_trade.core.values import OrderType, Side
from peak_trade.diff.causes import Cause
from peak_trade.diff.recording import Recording
from peak_trade.diff.result import diff
from peak_trade.journal.events import BarEvent, CashFlowEvent, OrderEvent, OrderEventKind, SignalEvent
from tests.diff.measuring import group_of, measure, planted_pair, wrongly_explained
from tests.diff.planting import FOREIGN_REASONS, LOG_FAULTS, ORDER_FAULTS, PROTECTED, SIMULATED_FAULTS, bars_of, run
from tests.examples import mostly_long
from tests.replacing import replace

PAIRS = [
    pair for pair in product(ORDER_FAULTS, [*ORDER_FAULTS, *LOG_FAULTS, *SIMULATED_FAULTS])
    if pair[1] not in ORDER_FAULTS or pair[0] < pair[1]
]  # fmt: skip
SAMPLE = random.Random(5).sample(PAIRS, 12)


@pytest.fixture(scope="module")
def clean() -> Recording:
    """A run with protective orders."""
    return run(bars_of(0), PROTECTED)


def fills(recording: Recording, reason: str = "") -> list[tuple[int, OrderEvent]]:
    ids = {
        event.order_id
        for event in recording.events
        if isinstance(event, OrderEvent) and event.event is OrderEventKind.REQUESTED and event.reason == reason
    }
    return [
        (index, event)
        for index, event in enumerate(recording.events)
        if isinstance(event, OrderEvent) and event.last_quantity and (event.order_id in ids or not reason)
    ]


def with_an_order(recording: Recording, index: int, **changes: object) -> Recording:
    """Insert the four events of a filled order after an event."""
    known = next(event for event in recording.events if isinstance(event, OrderEvent) and event.last_quantity)
    at = recording.events[index]
    request = replace(
        known, ts_event=at.ts_event, order_id="x-1", event=OrderEventKind.REQUESTED, cumulative=0.0, last_quantity=0.0,
        last_price=0.0, fee=0.0, **changes,
    )  # fmt: skip
    request = replace(request, leaves=request.quantity)
    opening = [replace(request, event=kind) for kind in (OrderEventKind.SUBMITTED, OrderEventKind.ACCEPTED)]
    filled = replace(
        request, event=OrderEventKind.FILLED, cumulative=request.quantity, leaves=0.0, last_quantity=request.quantity,
        last_price=request.decision_price * 0.9,
    )  # fmt: skip
    events = list(recording.events)
    events[index + 1 : index + 1] = [request, *opening, filled]
    return replace(recording, events=events)


def without(recording: Recording, order_id: str) -> Recording:
    kept = [each for each in recording.events if not (isinstance(each, OrderEvent) and each.order_id == order_id)]
    return replace(recording, events=kept)


@pytest.mark.parametrize("reason", ["stop_loss", *FOREIGN_REASONS])
def test_a_late_stamp_at_the_same_price_explains_no_extra_order(clean, reason):
    index, event = fills(clean, "target")[4]
    late = list(clean.events)
    late[index] = replace(event, ts_event=event.ts_event + 7 * 10**9)
    place = index + 12
    live = with_an_order(
        replace(clean, events=late), place, side=Side.SELL, quantity=0.1, order_type=OrderType.STOP, reason=reason
    )
    result = diff(clean, live)
    roots = {(each.cause, each.kind) for each in result.roots}
    assert roots == {(Cause.TIMING, "fill time"), (Cause.UNEXPLAINED, "order")}
    assert not result.is_explained
    assert "The diff fails: 1 order in one run only unexplained" in result.verdict


def test_an_unexplained_order_without_pnl_fails_the_diff_too(clean):
    stops = [event.order_id for event in clean.events if isinstance(event, OrderEvent) and event.reason == "stop_loss"]
    result = diff(clean, without(clean, stops[2]))
    assert result.unexplained_pnl == 0.0
    assert [(each.cause, each.shadow_order) for each in result.roots] == [(Cause.UNEXPLAINED, stops[2])]
    assert not result.is_explained


def test_a_missing_and_an_extra_order_are_two_roots(clean):
    index, event = fills(clean, "target")[6]
    lost = without(clean, event.order_id)
    at = next(place for place, each in enumerate(lost.events) if each == clean.events[index - 1])
    live = with_an_order(
        lost, at, side=event.side, quantity=event.quantity * 0.4, order_type=OrderType.MARKET, reason="target"
    )
    result = diff(clean, live)
    lone = {(each.shadow_order, each.live_order) for each in result.unexplained_orders}
    assert lone == {(event.order_id, ""), ("", "x-1")}
    assert {each.cause for each in result.roots} == {Cause.UNEXPLAINED}


@pytest.mark.long
def test_protective_orders_follow_from_an_entry_of_another_size(clean):
    live = run(bars_of(0), {**PROTECTED, "costs": {"max_participation": 1e-6}})
    result = diff(clean, live)
    assert any(each.kind == "order" for each in result.differences)
    assert {each.cause for each in result.roots} == {Cause.PARTIAL_FILL}


def test_protective_orders_follow_from_their_setting():
    one, other = run(bars_of(0)), run(bars_of(0), {"execution": {"stop_loss": 0.2}})
    result = diff(one, other)
    lone = [each for each in result.differences if each.kind == "order"]
    assert lone
    assert {result.differences[each.root - 1].subject for each in lone} == {"trading.execution.stop_loss"}


@pytest.mark.parametrize(
    ("fault", "seed"), mostly_long([(fault, seed) for fault in ORDER_FAULTS for seed in (0, 1)], 2)
)
def test_an_extra_or_missing_order_is_the_one_root(fault, seed):
    assert measure((fault,), seed).is_perfect


@pytest.mark.parametrize("faults", mostly_long([(pair,) for pair in SAMPLE], 1), ids=" ".join)
def test_no_other_fault_explains_an_extra_or_missing_order(faults):
    assert measure(faults, 0).n_wrongly_explained == 0


@pytest.mark.long
@pytest.mark.parametrize("fault", ORDER_FAULTS)
def test_no_fault_of_any_kind_explains_an_extra_or_missing_order(fault):
    for pair in PAIRS:
        if pair[0] == fault:
            assert measure(pair, 1).n_wrongly_explained == 0, pair


@pytest.mark.long
def test_a_measure_of_wrong_explanations_sees_one():
    shadow, live, planted, ids = planted_pair(("missing-order-target", "other-fee"), 0)
    result = diff(shadow, live)
    wrong = [replace(each, cause=Cause.FEE) for each in result.differences]
    assert not wrongly_explained(result, planted, ids)
    assert wrongly_explained(replace(result, differences=wrong), planted, ids) == [planted[-1].order_id]
    assert group_of("missing-order-target") == "order"


NUMBERS = [
    (BarEvent, "close"),
    (SignalEvent, "exposure"),
    (OrderEvent, "quantity"),
    (OrderEvent, "last_price"),
    (OrderEvent, "fee"),
    (OrderEvent, "decision_price"),
    (OrderEvent, "stop_price"),
]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=lambda part: getattr(part, "__name__", part))
def test_a_number_that_is_none_is_not_comparable(clean, kind, name, value):
    events = list(clean.events)
    index = [place for place, event in enumerate(events) if isinstance(event, kind)][5]
    events[index] = replace(events[index], **{name: value})
    for pair in ((clean, replace(clean, events=events)), (replace(clean, events=events), clean)):
        with pytest.raises(SessionError, match=rf"{name} of .* is {value}"):
            diff(*pair)


def test_a_setting_that_is_nan_is_not_comparable(clean):
    broken = replace(clean, settings={**clean.settings, "trading.costs.fee_bps": math.nan})
    with pytest.raises(SessionError, match=r"trading\.costs\.fee_bps is NaN"):
        diff(broken, broken)


def test_bars_without_volume_are_comparable(clean):
    events = [replace(each, volume=math.nan) if isinstance(each, BarEvent) else each for each in clean.events]
    fresh = [replace(each, volume=float("nan")) if isinstance(each, BarEvent) else each for each in clean.events]
    assert diff(replace(clean, events=events), replace(clean, events=fresh)).is_equal


def test_an_order_in_a_symbol_without_bars_is_named(clean):
    live = with_an_order(clean, 100, symbol="ETH/USDT", quantity=1.0)
    with pytest.raises(SessionError, match="order x-1 is in ETH/USDT, of which the run has no bars"):
        diff(clean, live)
    flow = CashFlowEvent(clean.events[100].ts_event, "ma_crossover", "BTC/USDT", "funding", math.nan)
    with pytest.raises(SessionError, match="amount of a cash_flow event"):
        diff(replace(clean, events=[*clean.events, flow]), clean)


def test_runs_that_are_not_comparable_exit_with_code_2(monkeypatch, capsys, clean):
    monkeypatch.setattr(
        "peak_trade.studies.diff.read_recording",
        lambda name: replace(clean, events=[replace(clean.events[0], close=math.nan), *clean.events[1:]]),
    )
    assert main(["diff", "one", "other"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "is nan; nothing can be compared with it" in line
