"""Values that hold NaN equal their own copies on every Python version."""

from __future__ import annotations

import json
import math
from typing import get_args, get_type_hints

import pytest
from msgspec.structs import fields

from peak_trade.core.values import (
    AccountView,
    Denial,
    Fill,
    Instrument,
    MarketView,
    Order,
    OrderBook,
    OrderType,
    Side,
    TimeInForce,
    equal_parts,
)
from peak_trade.journal.codec import decode_event, encode_event
from peak_trade.journal.events import (
    EVENT_CLASSES,
    AlertEvent,
    AlertLevel,
    AllocationEvent,
    BankruptcyEvent,
    BarEvent,
    CashFlowEvent,
    ClockOffsetEvent,
    DecisionEvent,
    LatencyEvent,
    OrderEvent,
    OrderEventKind,
    ReconciliationEvent,
    SessionEvent,
    SessionPhase,
    SignalEvent,
    SnapshotEvent,
    TradingStateEvent,
)
from peak_trade.journal.inputs import DecisionInputs
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.state import Control, TradingState
from tests.replacing import replace

ORDER = Order("o-1", 0, "s", "A/USD", Side.BUY, 1.0, 1.0, limit_price=1.0, stop_price=1.0, trail=1.0)
FILLED = OrderEvent(
    0, "o-1", "s", "A/USD", OrderEventKind.FILLED, Side.BUY, OrderType.MARKET, TimeInForce.GTC, *[1.0] * 10, "", 1.0
)
VALUES = [
    Denial("code", 1.0, 2.0),
    ORDER,
    Fill("o-1", 0, "s", "A/USD", Side.BUY, 1.0, 1.0, 0.0, 1.0, 1.0),
    AccountView(1.0, 1.0, {"A": 1.0}, {"A": 2.0}),
    MarketView(0, Instrument("A/USD"), 1.0, 1.0, 0),
    Control(),
    TradingStateEvent(0, TradingState.HALTED, "kill switch", 1.0, 2.0),
    SessionEvent(0, SessionPhase.STARTED, "paper", "", 1.0),
    AlertEvent(0, AlertLevel.WARNING, "code", "message", 1.0, 2.0),
    ReconciliationEvent(0, "cash", 1.0, 1.0, True),
    SnapshotEvent(0, "A/USD", 1.0),
    SignalEvent(0, "s", "A/USD", 1.0),
    FILLED,
    CashFlowEvent(0, "s", "A/USD", "funding", 1.0),
    AllocationEvent(0, "o-1", "s", "A/USD", 1.0, 1.0, 0.0),
    BankruptcyEvent(0, 1.0, 0.0),
    BarEvent(0, "A/USD", 1.0, 1.0, 1.0, 1.0, 1.0),
    ClockOffsetEvent(0, "A", 1.0, 1.0),
    LatencyEvent(0, "feed", 1.0),
]


LOCAL = dict.fromkeys(("OrderBook", "ReturnHistory", "WeightHistory"), object)


def floats_of(value):
    hints = get_type_hints(type(value), localns=LOCAL)
    return [name for name in value.__struct_fields__ if hints[name] is float or float in get_args(hints[name])]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_with_nan_equals_its_copy(value):
    names = floats_of(value)
    assert names
    one, other = (replace(value, **{name: float("nan") for name in names}) for _ in range(2))
    assert one == other
    assert not one != other  # noqa: SIM202 — `!=` is a method of its own
    if not isinstance(value, AccountView | MarketView | Control):
        assert len({one, other}) == 1
        assert hash(one) != hash(value)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_changed_number_makes_a_value_differ(value):
    for name in floats_of(value):
        assert replace(value, **{name: -7.5}) != value, name
        assert replace(value, **{name: math.nan}) != replace(value, **{name: -7.5}), name


def test_values_of_two_classes_differ():
    assert Denial("code", 1.0, 2.0) != ("code", 1.0, 2.0)
    assert Denial("code", 1.0, 2.0) != Control()


def test_every_event_with_numbers_is_among_the_values():
    with_numbers = {kind for kind in EVENT_CLASSES if any("float" in str(part.type) for part in fields(kind))}
    assert with_numbers <= {type(value) for value in VALUES}


@pytest.mark.parametrize("value", [value for value in VALUES if type(value) in EVENT_CLASSES], ids=lambda v: v.kind)
def test_an_event_with_nan_equals_what_is_read_from_its_journal(value):
    event = replace(value, **{name: float("nan") for name in floats_of(value)})
    assert decode_event(json.loads(encode_event(event))) == event


def decision(number: float, tick: float = 0.5) -> DecisionEvent:
    account = AccountView(number, 1.0, {"A/USD": number}, {"A/USD": 1.0}, pending=(("A/USD", number),))
    book = OrderBook(0, bids=((number, 1.0),))
    market = MarketView(0, Instrument("A/USD", tick), 1.0, number, 0, book=book)
    inputs = DecisionInputs(replace(ORDER, quantity=number), account, market, RiskLimits())
    return DecisionEvent(0, "o-1", False, (Denial("code", number, 1.0),), inputs)


def test_nan_inside_the_parts_of_a_decision_equals_its_copy():
    assert decision(float("nan")) == decision(float("nan"))
    assert decision(float("nan")) != decision(1.0)
    assert decision(float("nan")) != decision(float("nan"), tick=0.25)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1.0, math.nan), (1.0,)),
        ([math.nan], (math.nan,)),
        ({"a": math.nan}, {"b": math.nan}),
        ({"a": math.nan}, {"a": math.nan, "b": 1.0}),
        (math.nan, None),
        ("ab", ("a", "b")),
    ],
    ids=["length", "kind", "key", "keys", "missing", "text"],
)
def test_parts_of_another_shape_differ(one, other):
    assert not equal_parts(one, other)
    assert not equal_parts(other, one)
