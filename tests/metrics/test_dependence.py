"""Standard error and annualisation of a Sharpe ratio of returns that depend on earlier ones."""

import math

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade import metrics
from peak_trade.core.errors import DataError
from peak_trade.metrics.dependence import aggregation_factor, long_run_variance, parzen_variance
from tests.examples import examples
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME


def autoregression(rng, n, coefficient, mean=0.0):
    """n numbers of an autoregression of order 1 with standard deviation 1."""
    shocks = rng.standard_normal(n + 100) * math.sqrt(1.0 - coefficient**2)
    return scipy.signal.lfilter([1.0], [1.0, -coefficient], shocks)[100:] + mean


def coverage(n, coefficient, ratio, n_series, seed, stderr=None):
    """Share of series whose 95 % interval of the Sharpe ratio holds the true one."""
    rng = np.random.default_rng([seed, n])
    found = [
        metrics.sharpe(autoregression(rng, n, coefficient, ratio), 1.0, stderr=stderr)
        for _ in range(n_series)
    ]  # fmt: skip
    return float(np.mean([abs(each.value - ratio) <= 1.959964 * each.stderr for each in found]))


def four_errors(share, n):
    return 4.0 * math.sqrt(share * (1.0 - share) / n)


@pytest.mark.parametrize(("n", "least"), [(250, 0.91), (1_000, 0.92)])
def test_the_default_interval_covers_a_dependent_ratio_where_the_iid_one_does_not(n, least):
    n_series = 400
    assert coverage(n, 0.3, 0.1, n_series, seed=1) >= least
    assert coverage(n, 0.3, 0.1, n_series, seed=1, stderr="iid") <= 0.85 + four_errors(0.85, n_series)


@pytest.mark.long
@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.1])
@pytest.mark.parametrize(("n", "least"), [(120, 0.91), (250, 0.91), (1_000, 0.92)])
def test_the_default_interval_covers_over_many_series(n, least, ratio):
    n_series = 4_000
    assert coverage(n, 0.3, ratio, n_series, seed=2) - four_errors(least, n_series) >= least
    for coefficient in (-0.3, 0.0):
        share = coverage(n, coefficient, ratio, n_series, seed=3)
        assert 0.93 <= share <= 0.96


def test_the_standard_error_is_robust_from_120_returns():
    returns = autoregression(np.random.default_rng(4), 120, 0.3)
    assert metrics.sharpe(returns, 365.0) == metrics.sharpe(returns, 365.0, stderr="robust")
    assert metrics.sharpe(returns[1:], 365.0) == metrics.sharpe(returns[1:], 365.0, stderr="iid")


@pytest.mark.long
@given(st.integers(0, 2**32), st.integers(0, 60))
@settings(max_examples=examples(15), deadline=None)
def test_the_kernel_sum_is_that_of_arch(seed, bandwidth):
    from arch.covariance.kernel import Parzen

    values = autoregression(np.random.default_rng(seed), 200, 0.5)
    values -= values.mean()
    theirs = Parzen(values, bandwidth=bandwidth, center=False).cov.long_run.item()
    assert parzen_variance(values, bandwidth + 1.0) == pytest.approx(theirs, rel=RTOL_REFERENCE)  # arch adds the one


@pytest.mark.parametrize("coefficient", [-0.5, 0.0, 0.3, 0.8])
def test_the_long_run_variance_of_an_autoregression_is_known(coefficient):
    values = autoregression(np.random.default_rng(5), 200_000, coefficient)
    expected = (1.0 + coefficient) / (1.0 - coefficient)
    assert long_run_variance(values - values.mean()).variance == pytest.approx(expected, rel=0.05)


@given(st.floats(-0.9, 0.9), st.integers(2, 60))
def test_the_annualisation_of_an_autoregression_follows_lo_2002(coefficient, q):
    """Lo (2002) states η(q) of an autoregression of order 1 in closed form; the autocorrelations are its own here."""
    closed = math.sqrt(q / (1.0 + 2.0 * coefficient / (1.0 - coefficient)
                       * (1.0 - (1.0 - coefficient**q) / (q * (1.0 - coefficient)))))  # fmt: skip
    summed = q / math.sqrt(q + 2.0 * sum((q - k) * coefficient**k for k in range(1, q)))
    assert summed == pytest.approx(closed, rel=RTOL_REFERENCE)


def test_the_factor_uses_the_sample_autocorrelations_and_is_the_root_of_the_number_for_independent_returns():
    values = autoregression(np.random.default_rng(6), 400_000, 0.3)
    expected = 12.0 / math.sqrt(12.0 + 2.0 * sum((12 - k) * 0.3**k for k in range(1, 12)))
    assert aggregation_factor(values, 12.0) == pytest.approx(expected, rel=0.02)
    assert aggregation_factor(values, 1.0) == 1.0
    independent = np.random.default_rng(7).standard_normal(400_000)
    assert aggregation_factor(independent, 12.0) == pytest.approx(math.sqrt(12.0), rel=0.02)


def test_the_factor_of_three_returns_is_worked_by_hand():
    # mean 0, squares 2, products of lag 1: -1 and of lag 2: 0 -> rho_1 = -0.5; q = 2: 2 / sqrt(2 + 2 * (-0.5))
    assert aggregation_factor([1.0, -1.0, 0.0], 2.0) == pytest.approx(2.0, rel=RTOL_SAME)


@pytest.mark.parametrize(("returns", "n"), [([0.1], 12.0), ([0.1, 0.2], 0.0), ([0.1, 0.2], math.inf)])
def test_a_factor_without_a_meaning_is_refused(returns, n):
    with pytest.raises(DataError, match="a factor needs"):
        aggregation_factor(returns, n)


def test_constant_returns_have_no_factor_and_no_variance():
    assert math.isnan(aggregation_factor(np.full(50, 0.1), 12.0))
    assert long_run_variance(np.zeros(50)).variance == 0.0
