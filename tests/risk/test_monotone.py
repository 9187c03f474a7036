"""Tightening a limit never turns a denial into an approval, for any order near the limit."""

from dataclasses import fields, is_dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.history import ReturnHistory
from peak_trade.core.values import Value
from peak_trade.risk.codes import DenialCode
from peak_trade.wiring.gates import GATES
from tests.examples import examples, mostly_long
from tests.replacing import replace
from tests.risk.cases import CASES

GATE = {gate.code: gate for gate in GATES}
LIMITED = [case for case in CASES if case.looser is not None]
PARTS = ("order", "account", "market")
N_EXAMPLES = max(25, examples(40))  # each law needs a draw on which its two thresholds differ


def moved(value, other, share):
    """Return a value between two values, or beyond either; one of the two for types without an order."""
    if isinstance(value, bool) or type(value) is not type(other):
        return value if share < 0.5 else other
    if isinstance(value, int):
        return round(value + share * (other - value))
    if isinstance(value, float):
        return value + share * (other - value)
    if isinstance(value, Value) or (is_dataclass(value) and not isinstance(value, ReturnHistory)):
        names = value.__struct_fields__ if isinstance(value, Value) else [part.name for part in fields(value)]
        return type(value)(*(moved(getattr(value, name), getattr(other, name), share) for name in names))
    if isinstance(value, dict):
        return {key: moved(value[key], other.get(key, value[key]), share) for key in value}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(*pair, share) for pair in zip(value, other, strict=True)))
    if isinstance(value, tuple):
        if len(value) == len(other):
            return tuple(moved(*pair, share) for pair in zip(value, other, strict=True))
        n_entries = round(len(value) + share * (len(other) - len(value)))
        return (value if share < 0.5 else other)[: max(n_entries, 0)]
    return value if share < 0.5 else other


def inputs_between(case, share):
    """Return inputs between those that pass (0) and those that are denied (1)."""
    passed, denied = case.inputs(case.passed), case.inputs(case.denied)
    return tuple(moved(good, bad, share) for good, bad in zip(passed, denied, strict=True))


def threshold_between(case, share):
    value = case.tighter + share * (case.looser - case.tighter)
    return max(value, 1e-6) if isinstance(case.looser, float) else max(round(value), 1)


def answers(case, shares, thresholds):
    """Return (denied at the looser, denied at the tighter) limit for inputs at each fraction."""
    gate = GATE[case.code]
    is_looser_first = sorted(thresholds, key=lambda share: -share)
    loose, tight = (case.risk_limits(threshold_between(case, share)) for share in is_looser_first)
    inputs = [inputs_between(case, share) for share in shares]
    return [tuple(gate(*views, limits) is not None for limits in (loose, tight)) for views in inputs]


def test_the_path_between_both_orders_of_a_case_ends_at_each():
    for case in LIMITED:
        for share, changes in ((0.0, case.passed), (1.0, case.denied)):
            assert inputs_between(case, share) == case.inputs(changes)


@pytest.mark.parametrize("case", mostly_long(LIMITED, 2), ids=lambda case: case.code.value)
def test_tightening_a_limit_never_turns_a_denial_into_an_approval(case):
    seen = set()

    @settings(max_examples=N_EXAMPLES, deadline=None)
    @given(
        shares=st.lists(st.floats(-1.0, 2.0), min_size=4, max_size=4),
        thresholds=st.tuples(st.floats(0.0, 1.5), st.floats(0.0, 1.5)),
    )
    def hold(shares, thresholds):
        for denied_before, denied_after in answers(case, shares, thresholds):
            assert denied_after or not denied_before
            seen.update([("loose", denied_before), ("tight", denied_after), ("both", denied_before != denied_after)])

    hold()
    assert {("loose", True), ("loose", False), ("tight", True), ("tight", False)} <= seen
    assert ("both", True) in seen, "no draw on which the two thresholds differ: the law was not put to the test"


def test_every_gate_with_a_limit_is_tested_for_monotony():
    without = {case.code for case in CASES} - {case.code for case in LIMITED}
    assert without == {gate.code for gate in GATES if not gate.setting} | {DenialCode.VAR_MODEL}
    assert {gate.setting for gate in GATES if gate.code in without} == {"", "var.refuse_red_zone"}


def with_ramp(views, limits, share):
    order, account, market = views
    return order, replace(account, ramp=share), market, limits


def with_market_order_share(views, limits, share):
    rules = limits.liquidity and limits.liquidity.model_copy(update={"market_order_share": share})
    return *views, limits.model_copy(update={"liquidity": rules})


@pytest.mark.parametrize("shared", [with_ramp, with_market_order_share], ids=lambda shared: shared.__name__)
def test_a_smaller_fraction_of_a_limit_never_turns_a_denial_into_an_approval(shared):
    n_both = 0
    for case in LIMITED:
        limits, views = case.risk_limits(), inputs_between(case, 0.0)
        passes = [GATE[case.code](*shared(views, limits, share)) is None for share in (0.05, 0.3, 0.6, 1.0)]
        assert passes == sorted(passes)
        n_both += len(set(passes)) == 2
    assert n_both >= 4
