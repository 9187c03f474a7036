"""The dynamic quantile test: its statistic by another formula, its size, and clusters that other tests do not find."""

import math

import numpy as np
import pytest
from scipy import linalg, stats

from peak_trade.core.errors import DataError
from peak_trade.risk.var_backtest import christoffersen_independence, dynamic_quantile, kupiec_pof
from tests.examples import mostly_long
from tests.tolerances import RTOL_REFERENCE

LEVEL = 0.95


def volatilities(n_days: int, seed: int) -> np.ndarray:
    """Return volatilities that persist for months, known the day before."""
    shocks = np.random.default_rng(seed).normal(0.0, 0.1, n_days)
    logs = np.zeros(n_days)
    for day in range(1, n_days):
        logs[day] = 0.98 * logs[day - 1] + shocks[day]
    return 0.03 * np.exp(logs)


def test_the_statistic_is_the_wald_statistic_of_the_least_squares_fit():
    rng = np.random.default_rng(1)
    hits, stated = rng.random(600) < 0.07, volatilities(600, 2)
    centred = hits - 0.05
    regressors = np.column_stack([np.ones(596), stated[4:], *(centred[4 - lag : 600 - lag] for lag in range(1, 5))])
    slopes = linalg.lstsq(regressors, centred[4:])[0]
    wald = slopes @ (regressors.T @ regressors) @ slopes / (0.05 * 0.95)
    test = dynamic_quantile(hits, stated, LEVEL)
    assert test.statistic == pytest.approx(wald, rel=RTOL_REFERENCE)
    assert test.p_value == pytest.approx(stats.chi2.sf(wald, 6), rel=RTOL_REFERENCE)
    assert (test.degrees_of_freedom, test.n_days, test.n_exceptions) == (6, 596, hits[4:].sum())
    assert dynamic_quantile(hits, 1e6 * stated, LEVEL).statistic == pytest.approx(wald, rel=RTOL_REFERENCE)


@pytest.mark.parametrize("n_lags", range(1, 7))
def test_p_values_are_those_of_the_chi_squared_distribution(n_lags):
    hits, stated = np.random.default_rng(3).random(400) < 0.08, volatilities(400, 4)
    test = dynamic_quantile(hits, stated, LEVEL, n_lags)
    assert test.degrees_of_freedom == n_lags + 2
    assert test.p_value == pytest.approx(stats.chi2.sf(test.statistic, n_lags + 2), rel=RTOL_REFERENCE)


def test_a_constant_var_has_one_degree_of_freedom_less():
    hits = np.random.default_rng(5).random(400) < 0.05
    assert dynamic_quantile(hits, np.full(400, 0.04), LEVEL).degrees_of_freedom == 5


@pytest.mark.parametrize("hits", [np.zeros(250, dtype=bool), np.ones(250, dtype=bool)], ids=["none", "all"])
def test_no_or_only_exceptions_have_a_finite_statistic(hits):
    test = dynamic_quantile(hits, volatilities(250, 6), LEVEL)
    assert math.isfinite(test.statistic)
    assert 0.0 <= test.p_value <= 1.0


@pytest.mark.parametrize(
    ("n_days", "stated", "match"),
    [(300, np.ones(299), "shape"), (300, np.full(300, np.nan), "finite"), (33, np.ones(33), "too few")],
    ids=["shapes", "nan", "short"],
)
def test_days_that_cannot_be_tested_are_an_error(n_days, stated, match):
    with pytest.raises(DataError, match=match):
        dynamic_quantile(np.zeros(n_days, dtype=bool), stated, LEVEL)


@pytest.mark.long
@pytest.mark.parametrize(("level", "stated_size"), mostly_long([(0.95, 0.05), (0.99, 0.10)], 1))
def test_the_size_at_five_percent_is_as_the_page_states(level, stated_size):
    n_runs, n_days, rng = 1_000, 1_000, np.random.default_rng(7)
    stated = volatilities(n_days, 8)
    hits = rng.random((n_runs, n_days)) < 1.0 - level
    size = np.mean([dynamic_quantile(days, stated, level).p_value < 0.05 for days in hits])
    assert size == pytest.approx(stated_size, abs=4.0 * math.sqrt(stated_size * (1.0 - stated_size) / n_runs))


@pytest.mark.long
def test_the_simulated_p_value_keeps_its_size_where_the_asymptotic_one_does_not():
    n_runs, n_days, rng = 100, 250, np.random.default_rng(9)
    stated, hits = volatilities(n_days, 8), rng.random((n_runs, n_days)) < 0.01
    found = [dynamic_quantile(days, stated, 0.99, n_simulated=39).p_value for days in hits]
    assert np.mean(np.array(found) <= 0.05) < 0.05 + 4.0 * math.sqrt(0.05 * 0.95 / n_runs)
    strange = np.zeros(n_days, dtype=bool)
    strange[[100, 102, 104, 106]] = True
    assert dynamic_quantile(strange, stated, 0.99, n_simulated=99).p_value == 0.01


def test_exceptions_that_follow_a_constant_var_through_volatile_months_are_found():
    n_runs, n_days, found = 100, 1_000, {"dynamic quantile": 0, "independence": 0, "frequency": 0}
    for seed in range(n_runs):
        losses = volatilities(n_days, seed) * np.random.default_rng(10_000 + seed).normal(size=n_days)
        hits = losses > np.quantile(losses, LEVEL)
        found["dynamic quantile"] += dynamic_quantile(hits, np.full(n_days, 0.05), LEVEL).p_value < 0.05
        found["independence"] += christoffersen_independence(hits).p_value < 0.05
        found["frequency"] += kupiec_pof(hits, LEVEL).p_value < 0.05
    assert found["dynamic quantile"] > found["independence"] + 10
    assert found["dynamic quantile"] > 60
    assert found["frequency"] == 0
