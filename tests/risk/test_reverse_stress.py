"""Reverse stress: closed forms for one asset, and the gates on both sides of every shock."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import DataError
from peak_trade.core.values import Side
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.stress import reverse_stress
from peak_trade.wiring.gates import GATES
from tests.examples import examples
from tests.replacing import replace
from tests.risk.cases import ACCOUNT, BTC, ETH, HISTORY, MARKET, ORDER
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

EQUITY = 10_000.0
ONE = HISTORY.select((BTC,))
GATE_OF = {
    "max_drawdown": "drawdown",
    "max_daily_loss": "daily_loss",
    "max_daily_loss_fraction": "daily_loss_fraction",
    "max_symbol_exposure": "symbol_exposure",
    "max_gross_exposure": "gross_exposure",
    "max_net_exposure": "net_exposure",
    "max_concentration": "concentration",
    "var.max_var": "value_at_risk",
    "var.max_expected_shortfall": "expected_shortfall",
    "stress.max_stress_loss": "stress_loss",
    "stress.max_projected_drawdown": "projected_drawdown",
}
SETTINGS = [name for name in GATE_OF if name != "max_daily_loss"]
BIT = 1e-6
"""Relative distance from a shock at which its limit is kept or broken; larger than the effect of the proposed order."""


def only(setting: str, limit: float) -> RiskLimits:
    """Return limits of which only one is set."""
    table, _, name = setting.rpartition(".")
    alone = {"max_var": None, "refuse_red_zone": False}
    if table == "stress":
        return RiskLimits.parse({"var": alone, "stress": {"max_stress_loss": None, name: limit}}, "test")
    if table == "var":
        return RiskLimits.parse({"var": alone | {name: limit}}, "test")
    return RiskLimits.parse({table: {name: limit}} if table else {name: limit}, "test")


def shock_of(weights, setting, limit, **lost):
    weights = np.asarray(weights, dtype=float)
    (found,) = reverse_stress(weights, HISTORY if weights.size == 2 else ONE, only(setting, limit), EQUITY, **lost)
    assert found.setting == setting
    return found.shock


def gate_denies(weights, setting, limit, move) -> bool:
    """Ask the gate after all prices moved, with a very small order that enlarges the largest position."""
    prices = {BTC: 100.0 * (1.0 + move), ETH: 50.0 * (1.0 + move)}
    shares = dict(zip((BTC, ETH), weights, strict=True))
    held = {symbol: share * EQUITY / (prices[symbol] / (1.0 + move)) for symbol, share in shares.items()}
    account = replace(ACCOUNT, equity=EQUITY * (1.0 + sum(weights) * move), positions=held, marks=prices)
    symbol = max(shares, key=lambda name: abs(shares[name]))
    side = Side.BUY if shares[symbol] > 0.0 else Side.SELL
    order = replace(ORDER, symbol=symbol, side=side, quantity=1e-9, decision_price=prices[symbol])
    gate = next(gate for gate in GATES if gate.code == GATE_OF[setting])
    reading = gate.read(order, account, replace(MARKET, decision_price=prices[symbol]), only(setting, limit))
    assert math.isfinite(reading.observed)
    return reading.is_denied


@pytest.mark.parametrize(
    ("weight", "setting", "limit", "shock"),
    [
        (0.5, "max_drawdown", 0.2, -0.4),
        (2.0, "max_drawdown", 0.2, -0.1),
        (-0.5, "max_drawdown", 0.2, 0.4),
        (-0.1, "max_drawdown", 0.2, 2.0),
        (0.1, "max_drawdown", 0.2, None),
        (0.5, "max_daily_loss_fraction", 0.05, -0.1),
        (0.5, "max_daily_loss", 1_000.0, -0.2),
        (0.5, "state.halt_drawdown", 0.3, -0.6),
        (0.5, "state.reduce_daily_loss", 0.1, -0.2),
        (0.5, "max_symbol_exposure", 0.6, 0.5),
        (-0.5, "max_gross_exposure", 0.75, 0.5 / 1.75),
        (2.0, "max_net_exposure", 3.0, -0.25),
        (1.0, "max_gross_exposure", 1.1, None),
        (0.5, "max_concentration", 0.36, 0.5),
        (0.5, "max_gross_exposure", 1.0, None),
        (0.5, "max_gross_exposure", 0.4, 0.0),
        (0.0, "max_gross_exposure", 0.4, None),
        (0.0, "max_drawdown", 0.4, None),
    ],
)
def test_the_shock_of_one_asset_equals_the_closed_form(weight, setting, limit, shock):
    expected = None if shock is None else pytest.approx(shock, rel=RTOL_REFERENCE)
    assert shock_of([weight], setting, limit) == expected


@pytest.mark.parametrize("method", ["historical", "parametric", "cornish_fisher", "filtered_historical"])
def test_the_value_at_risk_of_a_short_grows_with_its_exposure(method):
    rules = {"method": method, "max_var": 0.06, "max_expected_shortfall": 0.09, "refuse_red_zone": False}
    found = reverse_stress(np.array([-0.5]), ONE, RiskLimits.parse({"var": rules}, "test"), EQUITY)
    assert [each.setting for each in found] == ["var.max_var", "var.max_expected_shortfall"]
    for each in found:
        growth = each.limit / each.observed
        assert (1.0 + each.shock) / (1.0 - 0.5 * each.shock) == pytest.approx(growth, rel=RTOL_REFERENCE)


exposures = st.tuples(*[st.floats(-1.5, 1.5).filter(lambda share: abs(share) > 0.05)] * 2)


@pytest.mark.parametrize("setting", SETTINGS)
@settings(max_examples=examples(12), deadline=None)
@given(weights=exposures, room=st.floats(1.02, 3.0))
def test_the_gate_passes_below_the_shock_and_denies_above_it(setting, weights, room):
    (now,) = reverse_stress(np.array(weights), HISTORY, only(setting, 0.5), EQUITY)
    limit = room * now.observed if now.observed else 0.05 * room
    assume(abs(sum(weights) - 1.0) > 1e-3)
    assume(limit < 1.0 or not setting.startswith(("var", "stress")))
    shock = shock_of(weights, setting, limit)
    if shock is None:
        for move in (-0.9, -0.5, 0.5, 3.0, 50.0):
            if 1.0 + sum(weights) * move > 0.0:
                assert not gate_denies(weights, setting, limit, move)
        return
    assert shock > -1.0
    assert not gate_denies(weights, setting, limit, shock * (1.0 - BIT))
    assert gate_denies(weights, setting, limit, shock * (1.0 + BIT))
    assert not gate_denies(weights, setting, limit, -min(abs(shock), 0.9) * math.copysign(1.0, shock))


@pytest.mark.parametrize("setting", SETTINGS)
@settings(max_examples=examples(10), deadline=None)
@given(weights=exposures, limit=st.floats(0.02, 0.95), tighter=st.floats(0.1, 1.0))
def test_a_tighter_limit_breaks_at_a_smaller_shock(setting, weights, limit, tighter):
    loose, tight = shock_of(weights, setting, limit), shock_of(weights, setting, tighter * limit)
    assert loose is None or abs(tight) <= abs(loose)


@given(weight=st.floats(0.4, 2.0), lost=st.floats(-0.5, 0.09))
def test_losses_before_the_move_count(weight, lost):
    shock = shock_of([weight], "max_daily_loss_fraction", 0.1, daily_loss=lost)
    if shock is not None:
        assert 1.0 - (1.0 - lost) * (1.0 + weight * shock) == pytest.approx(0.1, rel=RTOL_REFERENCE)
    in_money = shock_of([weight], "max_daily_loss", 0.1 * EQUITY / (1.0 - lost), daily_loss=lost)
    assert in_money == (None if shock is None else pytest.approx(shock, rel=RTOL_SAME))


def test_a_profit_of_the_day_is_observed_as_zero_loss():
    limits = RiskLimits(max_daily_loss_fraction=0.1, max_drawdown=0.2)
    found = reverse_stress(np.array([0.5]), ONE, limits, EQUITY, drawdown=0.15, daily_loss=-0.02)
    assert [each.observed for each in found] == [0.15, 0.0]


def test_no_move_breaks_a_limit_of_a_flat_account():
    limits = RiskLimits(max_drawdown=0.2, max_daily_loss_fraction=0.05, max_gross_exposure=0.8)
    assert [each.shock for each in reverse_stress(np.array([0.0]), ONE, limits, EQUITY)] == [None, None, None]


def test_prices_that_never_fall_have_no_projected_drawdown_at_any_size():
    rising = type(HISTORY)("run", HISTORY.as_of, [BTC], np.full((1, 400), 0.001))
    (found,) = reverse_stress(np.array([0.5]), rising, only("stress.max_projected_drawdown", 0.1), EQUITY)
    assert (found.observed, found.shock) == (0.0, None)


@pytest.mark.parametrize(("equity", "lost"), [(0.0, 0.0), (math.nan, 0.0), (1.0, 1.0), (1.0, math.nan)])
def test_an_impossible_account_is_an_error(equity, lost):
    with pytest.raises(DataError, match="equity was"):
        reverse_stress(np.array([0.5]), ONE, RiskLimits(max_drawdown=0.2), equity, drawdown=lost)
