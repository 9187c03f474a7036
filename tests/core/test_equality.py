"""Values that hold NaN equal their own copies on every Python version."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import get_args, get_type_hints

import pytest

from peak_trade.core.values import AccountView, Denial, Instrument, MarketView, equal_values
from peak_trade.journal.events import (
    AlertEvent,
    AlertLevel,
    ReconciliationEvent,
    SessionEvent,
    SessionPhase,
    SnapshotEvent,
    TradingStateEvent,
)
from peak_trade.risk.state import Control, TradingState

VALUES = [
    Denial("code", 1.0, 2.0),
    AccountView(1.0, 1.0, {"A": 1.0}, {"A": 2.0}),
    MarketView(0, Instrument("A/USD"), 1.0, 1.0, 0),
    Control(),
    TradingStateEvent(0, TradingState.HALTED, "kill switch", 1.0, 2.0),
    SessionEvent(0, SessionPhase.STARTED, "paper", "", 1.0),
    AlertEvent(0, AlertLevel.WARNING, "code", "message", 1.0, 2.0),
    ReconciliationEvent(0, "cash", 1.0, 1.0, True),
    SnapshotEvent(0, "A/USD", 1.0),
]


def floats_of(value):
    hints = get_type_hints(type(value), localns={"OrderBook": object, "ReturnHistory": object})
    return [part.name for part in fields(value) if hints[part.name] is float or float in get_args(hints[part.name])]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_with_nan_equals_its_copy(value):
    names = floats_of(value)
    assert names
    one, other = (replace(value, **{name: float("nan") for name in names}) for _ in range(2))
    assert one == other


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_changed_number_makes_a_value_differ(value):
    for name in floats_of(value):
        assert replace(value, **{name: -7.5}) != value, name
        assert replace(value, **{name: math.nan}) != replace(value, **{name: -7.5}), name


def test_values_of_two_classes_differ():
    assert Denial("code", 1.0, 2.0) != ("code", 1.0, 2.0)
    assert not equal_values(Denial("code", 1.0, 2.0), Control())
