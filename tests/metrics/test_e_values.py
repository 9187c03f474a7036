"""E-processes: an edge that does not exist is claimed in at most 5 % of the sessions, whenever one looks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from peak_trade.core.errors import ConfigError, DataError
from peak_trade.metrics.e_values import THRESHOLD, WARM_UP, EdgeTest, e_value_paths, e_values
from tests.examples import mostly_long

DAYS = 365.0
RETURNS = arrays(np.float64, st.integers(1, 80), elements=st.floats(-0.2, 0.4))
TESTS = st.builds(EdgeTest, claimed_sharpe=st.sampled_from([0.5, 1.0, 3.0, 20.0]), loss_bound=st.just(0.25))


def clustered(n_sessions: int, n: int, seed: int, volatility: float = 0.02) -> np.ndarray:
    """Returns with mean 0, fat tails (Student's t with 4 degrees of freedom) and clusters of volatility (GARCH)."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_t(4.0, (n_sessions, n)) / math.sqrt(2.0)
    variance, returns = np.full(n_sessions, volatility**2), np.empty((n_sessions, n))
    for bar in range(n):
        returns[:, bar] = np.sqrt(variance) * shocks[:, bar]
        variance = 0.02 * volatility**2 + 0.08 * returns[:, bar] ** 2 + 0.9 * variance
    return returns


def trend_following(returns: np.ndarray) -> np.ndarray:
    """The returns of a position that follows the last ten bars: its size depends on the past, its mean is 0."""
    held = np.zeros_like(returns)
    total = np.cumsum(returns, axis=1)
    held[:, 11:] = np.sign(total[:, 10:-1] - total[:, :-11])
    return held * returns


def crossed(excess: np.ndarray, claimed: float, per_year: float) -> float:
    values, _ = e_value_paths(excess, EdgeTest(claimed_sharpe=claimed), per_year)
    return float((values >= THRESHOLD).any(axis=1).mean())


NULLS = {
    "fat tails and clusters": lambda k, n: clustered(k, n, 1),
    "a position that follows the past": lambda k, n: trend_following(clustered(k, n, 2)),
    "costs": lambda k, n: clustered(k, n, 3) - 0.0003,
    "skewed": lambda k, n: (0.03 - np.random.default_rng(4).exponential(0.03, (k, n))).clip(-0.25, None) - 0.0001,
}


def check_null(name: str, n_sessions: int, n: int, claimed: float) -> None:
    found = crossed(NULLS[name](n_sessions, n), claimed, DAYS)
    assert found <= 0.05 + 4.0 * math.sqrt(0.05 * 0.95 / n_sessions)


@pytest.mark.parametrize("claimed", mostly_long([1.0, 4.0], 1))
@pytest.mark.parametrize("name", mostly_long(NULLS, 1))
def test_sessions_without_an_edge_rarely_reach_the_threshold(name, claimed):
    check_null(name, 2_000, 500, claimed)


@pytest.mark.long
@pytest.mark.parametrize("claimed", [0.5, 1.0, 2.0, 4.0, 10.0])
@pytest.mark.parametrize("name", NULLS)
def test_many_long_sessions_without_an_edge_rarely_reach_the_threshold(name, claimed):
    check_null(name, 3_000, 3_650, claimed)


def test_bets_that_know_the_bar_would_be_noticed():
    """The simulation finds a test that is not valid: here bets are made only on bars that gain."""
    excess = clustered(2_000, 500, 1)
    assert crossed(np.where(excess > -0.02, excess, 0.0), 1.0, DAYS) > 0.5


@pytest.mark.long
@pytest.mark.parametrize(("ratio", "years"), mostly_long([(2.0, 4), (3.0, 2)], 1))
def test_a_planted_edge_grows_at_least_as_fast_as_stated(ratio, years):
    """The log grows by about ratio ** 2 / 2 a year, so that 20 takes 2 ln(20) / ratio ** 2 years."""
    rng = np.random.default_rng(7)
    excess = rng.normal(ratio * 0.03 / math.sqrt(DAYS), 0.03, (2_000, int(DAYS * years)))
    test = EdgeTest(claimed_sharpe=ratio, loss_bound=0.15)
    values, _ = e_value_paths(excess, test, DAYS)
    growth = np.log(values[:, -1]) / years
    error = growth.std() / math.sqrt(len(growth))
    assert growth.mean() == pytest.approx(ratio**2 / 2.0, abs=0.15 * ratio**2 / 2.0 + 4.0 * error)
    assert test.years_expected == pytest.approx({2.0: 1.5, 3.0: 0.67}[ratio], abs=0.01)


def test_the_expected_time_is_about_six_years_at_a_ratio_of_one():
    assert EdgeTest().years_expected == pytest.approx(5.99, abs=0.01)


@given(RETURNS, TESTS, st.integers(0, 79))
def test_bets_and_values_do_not_change_with_later_bars(excess, test, cut):
    whole, part = e_values(excess, test, DAYS), e_values(excess[: cut + 1], test, DAYS)
    n = len(part.values)
    np.testing.assert_array_equal(whole.values[:n], part.values)
    other = e_values([*excess[:n], 0.3], test, DAYS)
    np.testing.assert_array_equal(whole.bets[: n + 1], other.bets[: len(whole.bets)])  # fixed before the next bar


@given(RETURNS, TESTS)
def test_bets_are_capped_and_values_stay_above_zero_within_the_bound(excess, test):
    found = e_values(excess, test, DAYS)
    assert (found.bets >= 0.0).all()
    assert (found.bets <= test.stake / test.loss_bound).all()
    assert (found.bets[:WARM_UP] == 0.0).all()
    assert (found.values > 0.0).all()
    product = np.cumprod(1.0 + found.bets * np.minimum(excess, test.loss_bound))
    np.testing.assert_allclose(found.values, product, rtol=1e-9)


@given(RETURNS, TESTS)
def test_a_gain_above_the_bound_counts_as_the_bound(excess, test):
    """The value of a bar with a gain is never above that of a gain of the bound."""
    found = e_values(excess, test, DAYS)
    before = np.append(1.0, found.values[:-1])
    assert (found.values <= before * (1.0 + found.bets * test.loss_bound) * (1.0 + 1e-12)).all()


def test_a_loss_beyond_the_bound_sets_the_value_to_zero_for_good():
    rng = np.random.default_rng(0)
    excess = rng.normal(0.002, 0.01, 200)
    excess[120] = -0.26
    found = e_values(excess, EdgeTest(), DAYS)
    assert found.broken_at == 120
    assert (found.values[:120] > 0.0).all()
    assert (found.values[120:] == 0.0).all()
    assert e_values(np.where(excess < -0.25, -0.25, excess), EdgeTest(), DAYS).broken_at is None


def test_the_first_bar_at_the_threshold_is_known_and_an_empty_process_is_one():
    excess = np.full(400, 0.01) * np.where(np.arange(400) % 2, 1.5, 0.5)
    found = e_values(excess, EdgeTest(claimed_sharpe=5.0), DAYS)
    assert found.reached_at is not None
    assert found.values[found.reached_at] >= THRESHOLD > found.values[found.reached_at - 1]
    assert e_values([], EdgeTest(), DAYS).value == 1.0


@pytest.mark.parametrize("given_", [{"claimed_sharpe": 0.0}, {"loss_bound": 1.5}, {"stake": 1.0}, {"claimed": 1.0}])
def test_settings_outside_their_range_are_refused(given_):
    with pytest.raises(ConfigError):
        EdgeTest(**given_)


def test_returns_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="finite"):
        e_values([0.1, math.nan], EdgeTest(), DAYS)
