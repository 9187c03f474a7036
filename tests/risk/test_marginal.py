"""Marginal value at risk is the derivative of the estimate, and satisfies Euler's theorem."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory
from peak_trade.risk.var import component_var, estimate, ledoit_wolf, marginal_var
from peak_trade.studies.risk.value_at_risk import VAR_METHODS
from tests.examples import examples
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

SYMBOLS = ["S0/USDT", "S1/USDT", "S2/USDT"]


def skewed(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (np.eye(3) + 0.6) @ (rng.standard_t(9, size=(3, 500)) - 0.3 * rng.exponential(1.0, (3, 500))) * 0.02


THREE = ReturnHistory("run", 10**18, SYMBOLS, skewed(5))
shares = st.lists(st.floats(-1.0, 1.0).filter(lambda share: abs(share) > 0.05), min_size=3, max_size=3).map(np.array)


@pytest.mark.parametrize("level", [0.95, 0.99])
@pytest.mark.parametrize("method", VAR_METHODS)
@settings(max_examples=examples(10), deadline=None)
@given(weights=shares)
def test_weights_times_marginal_var_sum_to_the_var(method, level, weights):
    try:
        var = estimate(weights, THREE, method, level)[0]
    except DataError:
        with pytest.raises(DataError, match="domain"):
            marginal_var(weights, THREE, method, level)
        return
    assert (weights * marginal_var(weights, THREE, method, level)).sum() == pytest.approx(var, rel=RTOL_REFERENCE)


@pytest.mark.parametrize("method", VAR_METHODS)
@settings(max_examples=examples(10), deadline=None)
@given(weights=shares.filter(lambda weights: weights.sum() > 0.3))
def test_marginal_var_is_the_slope_of_the_estimate(method, weights):
    slopes = []
    for row in range(3):
        step = np.zeros(3)
        step[row] = 1e-7
        up, down = (estimate(weights + sign * step, THREE, method, 0.95)[0] for sign in (1.0, -1.0))
        slopes.append((up - down) / 2e-7)
    assert marginal_var(weights, THREE, method, 0.95) == pytest.approx(slopes, rel=1e-5, abs=1e-8)


def test_thin_tails_are_treated_as_normal_and_so_is_their_derivative():
    thin = ReturnHistory("run", 10**18, SYMBOLS, np.random.default_rng(2).uniform(-0.03, 0.03, (3, 500)))
    weights, step = np.array([0.5, 0.3, -0.2]), np.array([1e-7, 0.0, 0.0])
    up, down = (estimate(weights + sign * step, thin, "cornish_fisher", 0.95)[0] for sign in (1.0, -1.0))
    slope = marginal_var(weights, thin, "cornish_fisher", 0.95)[0]
    assert slope == pytest.approx((up - down) / 2e-7, rel=1e-5)


@pytest.mark.parametrize("share", [0.7, -0.7])
def test_the_marginal_var_of_one_asset_is_the_var_of_one_unit(share):
    one = THREE.select(("S0/USDT",))
    mean, deviation = one.returns.mean(), math.sqrt(ledoit_wolf(one)[0, 0])
    expected = -mean - math.copysign(1.0, share) * norm.ppf(0.05) * deviation
    assert marginal_var(np.array([share]), one, "parametric", 0.95) == pytest.approx([expected], rel=RTOL_REFERENCE)


def test_without_movement_the_marginal_var_is_the_negative_mean():
    still = ReturnHistory("run", 10**18, SYMBOLS[:1], np.full((1, 30), 0.001))
    assert marginal_var(np.ones(1), still, "parametric", 0.95) == pytest.approx([-0.001], rel=RTOL_SAME)


def test_an_unknown_day_is_an_error():
    holed = ReturnHistory("run", 10**18, SYMBOLS[:1], [[0.01, math.nan, 0.02]])
    with pytest.raises(DataError, match="not finite"):
        marginal_var(np.ones(1), holed, "historical", 0.95)


@pytest.mark.parametrize("level", [0.95, 0.99])
def test_component_var_sums_to_the_parametric_var(level):
    weights = np.array([0.4, -0.2, 0.3])
    parts = component_var(weights, THREE, level)
    assert parts.sum() == pytest.approx(estimate(weights, THREE, "parametric", level)[0], rel=RTOL_SAME)
    assert parts[1] < 0.0
