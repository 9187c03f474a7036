"""An unreadable input is a denial: never an approval, never an exception. A spy records the inputs of each gate."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError
from peak_trade.core.history import WeightHistory
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import AccountView, Instrument, MarketView, Order, OrderType, PastFill, PastOrder, Side
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import LiquidityLimits, RiskLimits, StressLimits, VarLimits
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.wiring.gates import GATES, gate_chain
from tests.examples import examples, mostly_long
from tests.replacing import replace
from tests.risk.cases import ACCOUNT, BTC, CASES, ETH, MARKET, NOW, ORDER, SELL, Case, _liquidity
from tests.risk.garbage import (
    BELOW_ZERO,
    NOT_FINITE,
    NOT_NAMES,
    NOT_NUMBERS,
    garbage_for,
    paths_read,
    value_at,
    with_value,
)

VIEWS = {"order": Order, "account": AccountView, "market": MarketView}
SWITCHES = {"size_to_limits", "refuse_red_zone"}
RELIES_ON = {
    ("order", "quantity"),
    ("order", "side"),
    ("order", "symbol"),
    ("account", "positions"),
    ("account", "positions", BTC),
}
"""The inputs that decide whether an order reduces: if one is unreadable, nothing is relieved."""
GATE = {gate.code: gate for gate in GATES}
ALL_CASES = (
    *CASES,
    Case(DenialCode.SPREAD, _liquidity("max_spread", 0.005), {}, {}),
    Case(DenialCode.SLIPPAGE, _liquidity("max_slippage", 0.01, book="declared"), {}, {}),
)
BUSY = {
    "account": {
        "positions": {BTC: 1.0, ETH: 0.5},
        "pending": ((ETH, 0.1), (BTC, -0.1)),
        "recent_orders": (PastOrder("o-1", NOW - NS_PER_SECOND, "rsi", BTC, Side.BUY, 7.0),),
        "recent_fills": (PastFill(NOW - NS_PER_SECOND, "ma", BTC, Side.BUY),),
        "throttled": ("rsi",),
        "n_open_orders": 1,
        "ramp": 0.75,
        "daily_weights": WeightHistory(NOW, [BTC, ETH], np.tile([0.3, -0.2], (250, 1)).T),
    }
}
SCENES = {
    "as in its case": {},
    "busy": BUSY,
    "after one alike but for its reason": {
        "account": {"recent_orders": (PastOrder("o-1", NOW - NS_PER_SECOND, "ma", BTC, Side.BUY, 1.0, "stop_loss"),)}
    },
    "with other holdings": {"account": {"positions": {BTC: 1.0, ETH: 0.5}}},
    "with both prices": {"order": {"order_type": OrderType.STOP_LIMIT, "limit_price": 100.5, "stop_price": 100.2}},
    "selling what can't be shorted": {
        "order": {"side": Side.SELL, "quantity": 0.5},
        "market": {"instrument": Instrument(BTC, 0.01, 0.001, 5.0, is_shortable=False)},
    },
    "selling beside a pending sale": {
        "order": {"side": Side.SELL, "quantity": 0.5},
        "account": {"pending": ((BTC, -0.1),)},
        "market": {"instrument": Instrument(BTC, 0.01, 0.001, 5.0, is_shortable=False)},
    },
}
EXCUSED = {
    ("order", "is_reducing"): "anything but True relieves nothing: the gate asks on",
    ("market", "instrument", "is_shortable"): "anything but True forbids shorts: the gate asks on",
    ("order", "order_type"): "what is no order type is held to the share of market orders, the smaller one",
    ("order", "symbol"): "missing_data, which is always asked, refuses a symbol that is not the instrument's",
    ("order", "order_id"): "an id of another type equals none before it",
    ("order", "reason"): "a reason of another type equals none before it",
    ("account", "daily_weights"): "without them the model is tested on the symbols alone, as in earlier records",
}
"""Inputs for which not every unreadable value denies at each gate that reads them, with the reason why it is safe.

Also: an order without a limit price, stop price or trail has None there; an empty container of another type has no
pending orders; the depth of a book adds sizes and skips prices; levels behind the touch are read, but count only
within its width; strategy_disabled denies a strategy that is not a text; an earlier order or fill that cannot be read
counts as one more, and denies no other order by itself.
"""


def scenes():
    """Yield every gate with inputs that pass, one per scene."""
    for case in ALL_CASES:
        gate, limits = GATE[case.code], case.risk_limits()
        for name, changes in SCENES.items():
            views = zip(("order", "account", "market"), case.inputs(case.passed), strict=True)
            parts = {view: replace(part, **changes.get(view, {})) for view, part in views} | {"limits": limits}
            if gate(*parts.values()) is None:
                yield case.code, name, gate, parts


SCENE_LIST = list(scenes())
SCENE_IDS = [f"{code.value}-{name}" for code, name, *_ in SCENE_LIST]


def is_excused(gate, parts, path, passed):
    if path[-1] in ("limit_price", "stop_price", "trail"):
        return passed in ([], [None])
    if path[-1] == "daily_weights":
        return passed == [None]
    if path[-1] == "pending":
        return not any(passed)
    if gate.code is DenialCode.BOOK_DEPTH and "book" in path and path[-1] == 0:
        return True
    if gate.code is DenialCode.TOUCH_DEPTH and "book" in path and path[-2] != 0:
        return True
    if path[-1] in ("recent_orders", "recent_fills"):
        return all(isinstance(entries, tuple) for entries in passed)
    if gate.code is DenialCode.DUPLICATE_ORDER and path == ("order", "strategy"):
        return True
    return path in EXCUSED or not passed


@pytest.mark.parametrize(("code", "name", "gate", "parts"), mostly_long(SCENE_LIST, 20), ids=SCENE_IDS)
def test_an_unreadable_input_of_a_gate_is_a_denial(code, name, gate, parts):
    for path in paths_read(gate, parts):
        denials = [(bad, gate(*with_value(parts, path, bad).values())) for bad in garbage_for(parts, path)]
        assert {denial.code for _, denial in denials if denial is not None} <= {code}
        passed = [bad for bad, denial in denials if denial is None]
        assert is_excused(gate, parts, path, passed), f"{path} passed as {passed}"


def test_every_gate_reads_inputs_and_every_input_is_read():
    read = {(code, path[:2]) for code, _, gate, parts in SCENE_LIST for path in paths_read(gate, parts)}
    assert {code for code, _ in read} == set(DenialCode)
    known = {(name, field) for name, view in VIEWS.items() for field in view.__struct_fields__}
    assert known - {path for _, path in read} == {("account", "cash")}


@pytest.mark.parametrize("missing", ["order", "account", "market", "limits"])
@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.code.value)
def test_missing_views_never_raise_and_are_never_approved(case, missing):
    gate, limits = GATE[case.code], case.risk_limits()
    parts = dict(zip(("order", "account", "market"), case.inputs(case.passed), strict=True)) | {"limits": limits}
    chain = gate_chain(limits)
    reads = {path[0] for path in paths_read(gate, parts)}
    denial = gate(*(parts | {missing: None}).values())
    assert denial is not None or missing not in reads | ({"limits"} if gate.setting else set())
    if missing != "limits":
        order, account, market, _ = (parts | {missing: None}).values()
        assert not isinstance(review(order, account, market, chain, limits), ApprovedOrder)
    assert all(gate(None, None, None, None) is not None for gate in chain)


@pytest.mark.parametrize("path", sorted(EXCUSED), ids=".".join)
def test_an_unreadable_value_that_one_gate_passes_never_approves_an_order(path):
    """If one gate passes an unreadable value, the chain must deny at least as much as with the worst valid value."""
    limits = RiskLimits(max_order_notional=1.0, duplicate_window=1.0)
    parts = {"order": ORDER, "account": ACCOUNT, "market": MARKET}
    for bad in garbage_for(parts, path):
        answer = review(*with_value(parts, path, bad).values(), gate_chain(limits), limits)
        assert DenialCode.ORDER_NOTIONAL in [denial.code for denial in answer]


@pytest.mark.parametrize("bad", NOT_NAMES, ids=repr)
def test_a_symbol_that_is_not_a_text_is_denied_by_every_chain(bad):
    limits = RiskLimits()
    answer = review(replace(ORDER, symbol=bad), ACCOUNT, MARKET, gate_chain(limits), limits)
    assert DenialCode.MISSING_DATA in [denial.code for denial in answer]


LIMIT_NAMES = [
    (table, name)
    for table, model in {"": RiskLimits, "liquidity": LiquidityLimits, "var": VarLimits, "stress": StressLimits}.items()
    for name, about in model.model_fields.items()
    if isinstance(about.default, (int, float)) or name.startswith(("max_", "min_")) or name.endswith("_window")
]


@pytest.mark.parametrize(("table", "name"), LIMIT_NAMES)
def test_no_limit_can_be_set_to_garbage(table, name):
    """A limit of 1e308 is valid in a file and denies every order, because its gate cannot read it."""
    garbage = [bad for bad in (*NOT_FINITE, *BELOW_ZERO, *NOT_NUMBERS) if bad is not None]
    if name in SWITCHES:
        garbage = [bad for bad in garbage if not isinstance(bad, bool)]
    elif not name.endswith("_window"):
        garbage.remove(1e308)
    for bad in garbage:
        with pytest.raises(ConfigError):
            RiskLimits.parse({"var": {}} | ({table: {name: bad}} if table else {name: bad}), "test")


amounts = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.sampled_from([0.0, -0.0, 1e308, -1e308, math.nan, math.inf, -math.inf, 5e-324]),
    st.none(),
    st.text(max_size=3),
    st.booleans(),
    st.integers(),
    st.complex_numbers(),
    st.lists(st.floats(), max_size=2),
)


@settings(max_examples=examples(300))
@given(scene=st.sampled_from(SCENE_LIST), data=st.data())
def test_no_gate_raises_or_passes_a_number_that_is_not_finite_or_too_large(scene, data):
    code, _, gate, parts = scene
    path = data.draw(st.sampled_from(sorted(paths_read(gate, parts), key=str)))
    bad = data.draw(amounts)
    denial = gate(*with_value(parts, path, bad).values())
    assert denial is None or denial.code == code
    is_amount = isinstance(value_at(parts, path), (int, float)) and not isinstance(value_at(parts, path), bool)
    is_number = isinstance(bad, (int, float)) and not isinstance(bad, bool) and abs(bad) < 1e15
    if is_amount and not is_number and denial is None:
        assert is_excused(gate, parts, path, [bad])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code.value)
def test_an_unreadable_input_relieves_a_reducing_order_only_as_the_contract_states(case):
    gate, limits = GATE[case.code], case.risk_limits()
    _, account, market = case.inputs(case.passed)
    account = replace(account, positions={BTC: 1.0, ETH: 0.0}, state=ACCOUNT.state)
    parts = {"order": SELL, "account": account, "market": market, "limits": limits}
    for path in paths_read(gate, parts | {"order": ORDER}):
        is_what_reduces = path in RELIES_ON
        for bad in garbage_for(parts, path):
            denial = gate(*with_value(parts, path, bad).values())
            if gate.relieves and not is_what_reduces:
                assert denial is None, (path, bad)
