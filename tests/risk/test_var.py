"""Value at risk and expected shortfall: properties, closed forms and reference values."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory
from peak_trade.risk.limits import EWMA_DECAY
from peak_trade.risk.var import (
    cornish_fisher,
    estimate,
    filtered_returns,
    historical,
    ledoit_wolf,
    normal,
    portfolio_returns,
)
from tests.examples import examples
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

METHODS = ["historical", "parametric", "cornish_fisher", "filtered_historical"]


def history_of(returns: np.ndarray) -> ReturnHistory:
    return ReturnHistory("run", 10**18, [f"S{row}/USDT" for row in range(len(returns))], returns)


MIXING = np.eye(3) + 0.6
THREE = history_of(MIXING @ np.random.default_rng(5).standard_t(12, size=(3, 500)) * 0.02)
tails = st.lists(st.floats(-0.5, 0.5), min_size=20, max_size=300).map(np.array)


@settings(max_examples=examples(50), deadline=None)
@given(tails, st.sampled_from([0.9, 0.95, 0.975, 0.99]))
def test_the_historical_quantile_is_that_of_numpy_and_the_shortfall_is_at_least_as_large(returns, level):
    var, shortfall = historical(returns, level)
    assert var == pytest.approx(-np.quantile(returns, 1.0 - level), rel=RTOL_REFERENCE, abs=1e-15)
    assert shortfall >= -np.sort(returns)[: max(int(returns.size * (1.0 - level)), 1) + 1].max() - 1e-12


@settings(max_examples=examples(50), deadline=None)
@given(tails, st.floats(0.01, 3.0), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_estimate_of_one_symbol_is_that_of_its_days_bit_for_bit(returns, weight, level):
    """Long and short, with days of any return, days without a loss and days without a gain."""
    rises = np.abs(returns) * (np.arange(returns.size) % 3 > 0)
    for days, sign, method in product((returns + 0.001, rises, -rises), (1.0, -1.0), ("historical", METHODS[-1])):
        history, weights = history_of(np.append(np.full(20, 0.01), days)[None, :]), np.array([sign * weight])
        used = history.returns if method == "historical" else filtered_returns(history, EWMA_DECAY)
        expected = historical(portfolio_returns(weights, used), level)
        assert np.array(estimate(weights, history, method, level)).tobytes() == np.array(expected).tobytes()


def test_the_historical_shortfall_counts_the_last_day_in_part():
    returns = np.array([-0.10, -0.06, -0.02] + [0.01] * 47)
    assert historical(returns, 0.95)[1] == pytest.approx((0.10 + 0.06 + 0.5 * 0.02) / 2.5, rel=RTOL_SAME)


def test_the_normal_estimates_are_the_published_ones():
    var, shortfall = normal(0.0, 1.0, 0.95)
    assert var == pytest.approx(1.6448536269514722, rel=RTOL_REFERENCE)
    assert shortfall == pytest.approx(2.0627128075074257, rel=RTOL_REFERENCE)


def test_cornish_fisher_without_skew_and_kurtosis_is_normal():
    assert cornish_fisher(0.001, 0.02, 0.0, 0.0, 0.99) == pytest.approx(normal(0.001, 0.02, 0.99), rel=RTOL_SAME)


@pytest.mark.parametrize(("skewness", "kurtosis"), [(-0.5, 1.5), (0.3, 2.0), (0.0, 4.0)])
def test_the_cornish_fisher_shortfall_is_the_mean_of_its_quantiles_beyond_the_level(skewness, kurtosis):
    tail = 0.05
    var, shortfall = cornish_fisher(0.0, 1.0, skewness, kurtosis, 1.0 - tail)
    probabilities = (np.arange(200_000) + 0.5) / 200_000 * tail
    z = stats.norm.ppf(probabilities)
    s, k = skewness, kurtosis
    quantiles = z + (z**2 - 1) * s / 6 + (z**3 - 3 * z) * k / 24 - (2 * z**3 - 5 * z) * s**2 / 36
    assert var == pytest.approx(-quantiles[-1], rel=1e-4)
    assert shortfall == pytest.approx(-quantiles.mean(), rel=1e-4)


@pytest.mark.parametrize(("skewness", "kurtosis"), [(3.0, 1.0), (-4.0, 3.0), (0.0, -1.0)])
def test_cornish_fisher_outside_its_domain_is_an_error(skewness, kurtosis):
    with pytest.raises(DataError, match="domain"):
        cornish_fisher(0.0, 1.0, skewness, kurtosis, 0.95)


def test_the_shrunk_covariance_is_that_of_scikit_learn():
    from sklearn.covariance import ledoit_wolf as reference

    expected, _ = reference(THREE.returns.T)
    np.testing.assert_allclose(ledoit_wolf(THREE), expected, rtol=RTOL_REFERENCE)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=examples(10), deadline=None)
@given(share=st.floats(0.01, 5.0))
def test_var_grows_in_proportion_to_the_position(method, share):
    weights = np.array([0.4, -0.1, 0.3])
    once, scaled = (estimate(k * weights, THREE, method, 0.95) for k in (1.0, share))
    assert scaled == pytest.approx((share * once[0], share * once[1]), rel=RTOL_REFERENCE)


@pytest.mark.parametrize("method", METHODS)
def test_estimators_agree_on_normal_returns(method):
    rng = np.random.default_rng(11)
    history = history_of(rng.normal(0.0, 0.02, size=(1, 8_000)))
    density = stats.norm.pdf(stats.norm.ppf(0.05)) / 0.02
    error = 4.0 * math.sqrt(0.05 * 0.95 / 8_000) / density
    var, _ = estimate(np.ones(1), history, method, 0.95, 0.999)
    assert var == pytest.approx(1.6448536 * 0.02, abs=error * (4.0 if method == "filtered_historical" else 1.0))


def test_filtered_returns_are_the_plain_recursion():
    scaled = filtered_returns(THREE, 0.94)
    for row, returns in enumerate(THREE.returns):
        variance = [float((returns[:20] ** 2).mean())]
        for value in returns:
            variance.append(0.94 * variance[-1] + 0.06 * value * value)
        expected = [value * math.sqrt(variance[-1] / before) for value, before in zip(returns, variance, strict=False)]
        np.testing.assert_allclose(scaled[row], expected, rtol=RTOL_SAME)


def test_filtered_var_follows_the_current_volatility():
    calm, wild = (np.random.default_rng(seed).normal(0, size, 250) for seed, size in ((1, 0.01), (2, 0.05)))
    rising, falling = history_of(np.array([[*calm, *wild]])), history_of(np.array([[*wild, *calm]]))
    one = np.ones(1)
    assert estimate(one, rising, "filtered_historical", 0.95) > estimate(one, rising, "historical", 0.95)
    assert estimate(one, falling, "filtered_historical", 0.95) < estimate(one, falling, "historical", 0.95)


def test_a_portfolio_return_is_the_weighted_sum():
    weights = np.array([0.5, 0.2, -0.1])
    np.testing.assert_allclose(
        portfolio_returns(weights, THREE.returns), weights @ THREE.returns, rtol=1e-9, atol=1e-15
    )
