"""After a recovery the ramp scales every size limit and no other limit."""

import math

import pytest

from peak_trade.risk.codes import DenialCode
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.wiring.gate_page import codes_table
from peak_trade.wiring.gates import GATES, gate_chain
from tests.replacing import replace
from tests.risk.cases import CASES

RAMPED = {
    DenialCode.ORDER_NOTIONAL,
    DenialCode.SYMBOL_EXPOSURE,
    DenialCode.GROSS_EXPOSURE,
    DenialCode.NET_EXPOSURE,
    DenialCode.CONCENTRATION,
    DenialCode.VALUE_AT_RISK,
    DenialCode.EXPECTED_SHORTFALL,
    DenialCode.STRESS_LOSS,
    DenialCode.PROJECTED_DRAWDOWN,
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code.value)
def test_a_ramp_scales_the_size_limits_and_no_other(case):
    gate = next(gate for gate in GATES if gate.code == case.code)
    limits = case.risk_limits()
    order, account, market = case.inputs(case.passed)
    plain = gate.read(order, account, market, limits)
    half = gate.read(order, replace(account, ramp=0.5), market, limits)
    share = 0.5 if case.code in RAMPED else 1.0
    assert (half.observed, half.limit) == (plain.observed, share * plain.limit)
    asked = review(order, replace(account, ramp=1e-6), market, gate_chain(limits), limits)
    assert isinstance(asked, ApprovedOrder) is (case.code not in RAMPED)


def test_a_ramp_outside_zero_to_one_denies_all_that_it_scales():
    cases = [case for case in CASES if case.code in RAMPED]
    assert len(cases) == len(RAMPED)
    for case in cases:
        limits = case.risk_limits()
        order, account, market = case.inputs(case.passed)
        for bad in (math.nan, math.inf, 0.0, -0.5, 1.1, None, "1", True):
            answer = review(order, replace(account, ramp=bad), market, gate_chain(limits), limits)
            assert [denial.code for denial in answer] == [case.code], bad


def test_the_page_lists_the_limits_that_ramp():
    header, _, *rows = codes_table().splitlines()
    assert header.split(" | ")[-1] == "ramps |"
    assert {row.split("`")[1] for row in rows if row.endswith("| yes |")} == set(RAMPED)
