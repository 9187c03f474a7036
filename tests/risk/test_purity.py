"""Gates are pure: a result depends on the inputs alone, and account views are immutable."""

from __future__ import annotations

import pytest
from msgspec import structs

from peak_trade.risk.codes import DenialCode
from peak_trade.wiring.gates import GATES
from tests.replacing import replace
from tests.risk.cases import ACCOUNT, BTC, CASES, ETH, MARKET, ORDER

GATE = {gate.code: gate for gate in GATES}
CASE = {case.code: case for case in CASES}
READ_POSITIONS = [
    DenialCode.SYMBOL_EXPOSURE,
    DenialCode.GROSS_EXPOSURE,
    DenialCode.NET_EXPOSURE,
    DenialCode.CONCENTRATION,
    DenialCode.VALUE_AT_RISK,
    DenialCode.EXPECTED_SHORTFALL,
    DenialCode.STRESS_LOSS,
    DenialCode.PROJECTED_DRAWDOWN,
]


@pytest.mark.parametrize("code", READ_POSITIONS)
def test_a_gate_reads_the_position_that_the_account_has_now(code):
    """The same account object with another position gives the result of a new account with that position."""
    limits, account, changed = CASE[code].risk_limits(), replace(ACCOUNT), replace(ACCOUNT, positions={BTC: 51.0})
    before = GATE[code].read(ORDER, account, MARKET, limits).observed
    structs.force_setattr(account, "positions", {BTC: 51.0})
    after = GATE[code].read(ORDER, account, MARKET, limits).observed
    assert after == GATE[code].read(ORDER, changed, MARKET, limits).observed
    assert after > before


@pytest.mark.parametrize("name", ["positions", "marks"])
def test_an_account_view_can_not_be_changed(name):
    source = {BTC: 1.0, ETH: 0.0}
    account = replace(ACCOUNT, **{name: source})
    with pytest.raises(TypeError):
        getattr(account, name)[BTC] = 51.0
    source[BTC] = 51.0
    assert getattr(account, name) == {BTC: 1.0, ETH: 0.0}
