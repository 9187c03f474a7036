"""The expected-shortfall backtest Z2: known critical values, its size for each method, and its power."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory
from peak_trade.risk.es_backtest import acerbi_szekely, forecast_quantiles, z2
from peak_trade.risk.var import estimate
from peak_trade.studies.risk.value_at_risk import VAR_METHODS
from tests.examples import mostly_long
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

RNG = np.random.default_rng(11)
HISTORY = ReturnHistory("run", 10**18, ["A/USDT", "B/USDT"], 0.03 * RNG.standard_t(6, (2, 500)))
WEIGHTS = np.array([0.6, -0.3])


def test_z2_of_a_worked_example():
    returns, ones = np.array([-0.05, -0.03, 0.01, 0.02]), np.ones(4)
    assert z2(returns, 0.02 * ones, 0.04 * ones, 0.75) == pytest.approx(1.0 - (0.05 + 0.03) / 0.04 / 4 / 0.25)
    assert z2(returns, 0.06 * ones, 0.08 * ones, 0.75) == 1.0


def t_tail(degrees: float, level: float) -> tuple[float, float]:
    """Return value at risk and shortfall of Student's t (McNeil, Frey and Embrechts 2015, example 2.15)."""
    q = stats.t.ppf(level, degrees)
    return q, stats.t.pdf(q, degrees) / (1.0 - level) * (degrees + q * q) / (degrees - 1.0)


KNOWN = [
    pytest.param(math.inf, 250, 0.05, -0.700, id="normal, 250 days"),
    pytest.param(3.0, 250, 0.05, -0.816, id="t with 3 degrees, 250 days"),
    pytest.param(math.inf, 1_966, 0.01, -0.34639, id="normal, MATLAB's page of unconditionalNormal"),
    pytest.param(
        3.0, 1_966, 0.01, -0.42986, id="t with 3 degrees, MATLAB's page of unconditionalT", marks=pytest.mark.long
    ),
]
"""Critical values at 97.5 %. Those of 250 days are of this file's own simulation, from two million paths."""


def simulated_values(degrees: float, n_days: int, n_paths: int, seed: int) -> np.ndarray:
    """Return sorted values of Z2 at 97.5 % from the number of losses beyond the VaR and the losses given it."""
    rng, tail = np.random.default_rng(seed), 0.025
    law = stats.norm if math.isinf(degrees) else stats.t(degrees)
    counts = rng.binomial(n_days, tail, n_paths)
    losses = -law.ppf(tail * rng.random(counts.sum()))
    totals = np.diff(np.concatenate(([0.0], np.cumsum(losses)))[np.concatenate(([0], np.cumsum(counts)))])
    mean_tail_loss = -integrate.quad(law.ppf, 0.0, tail)[0] / tail
    return np.sort(1.0 - totals / (n_days * tail * mean_tail_loss))


@pytest.mark.long
@pytest.mark.parametrize(("degrees", "n_days", "size", "known"), KNOWN)
def test_the_known_critical_values_are_those_of_an_independent_simulation(degrees, n_days, size, known):
    n_paths = 400_000
    drawn = simulated_values(degrees, n_days, n_paths, 15)
    spread = 4.0 * math.sqrt(size * (1.0 - size) * n_paths)
    low, high = (drawn[round(size * n_paths + sign * spread)] for sign in (-1.0, 1.0))
    assert low - 0.0005 <= known <= high + 0.0005
    assert high - low < 0.025


@pytest.mark.parametrize(("degrees", "n_days", "size", "known"), mostly_long(KNOWN, 1))
def test_critical_values_are_the_known_ones(degrees, n_days, size, known):
    n_paths, level, rng = 2_000, 0.975, np.random.default_rng(12)
    if math.isinf(degrees):
        var = stats.norm.ppf(level)
        shortfall = stats.norm.pdf(var) / (1.0 - level)
        paths = rng.normal(size=(n_paths, n_days))
    else:
        (var, shortfall), paths = t_tail(degrees, level), rng.standard_t(degrees, (n_paths, n_days))
    ones = np.ones(n_days)
    found = acerbi_szekely(paths[0], var * ones, shortfall * ones, paths, level, size).critical_value
    drawn = np.sort(z2(paths, var * ones, shortfall * ones, level))
    spread = 4.0 * math.sqrt(size * (1.0 - size) * n_paths)
    low, high = (drawn[round(size * n_paths + sign * spread)] for sign in (-1.0, 1.0))
    assert low - 0.005 <= known <= high + 0.005
    assert found == pytest.approx(known, abs=0.08)


@pytest.mark.parametrize("method", VAR_METHODS)
def test_the_size_is_five_percent_under_the_forecast_of_each_method(method):
    n_days, n_paths, n_runs, rng = 250, 1_000, 1_000, np.random.default_rng(13)
    for level in (0.95, 0.99):
        var, shortfall = (value * np.ones(n_days) for value in estimate(WEIGHTS, HISTORY, method, level))
        drawn, own = (
            forecast_quantiles(WEIGHTS, HISTORY, method, rng.random(n * n_days)).reshape(n, n_days)
            for n in (n_paths, n_runs)
        )
        critical = acerbi_szekely(own[0], var, shortfall, drawn, level).critical_value
        rejected = z2(own, var, shortfall, level) < critical
        error = 4.0 * math.sqrt(0.05 * 0.95 * (1.0 / n_runs + 1.0 / n_paths))
        assert np.mean(rejected) == pytest.approx(0.05, abs=error)


@pytest.mark.parametrize("method", VAR_METHODS)
def test_the_quantiles_have_the_value_at_risk_and_the_shortfall_of_the_method(method):
    places = (np.arange(200_000) + 0.5) / 200_000
    drawn = np.sort(forecast_quantiles(WEIGHTS, HISTORY, method, places))
    var, shortfall = estimate(WEIGHTS, HISTORY, method, 0.95)
    assert -drawn[:10_000].mean() == pytest.approx(shortfall, rel=5e-3)
    assert -drawn[9_999] == pytest.approx(var, rel=2e-2)


def test_a_shortfall_that_is_too_small_is_found_and_one_that_is_too_large_is_not():
    n_days, rng, level = 500, np.random.default_rng(14), 0.95
    var, shortfall = (value * np.ones(n_days) for value in estimate(WEIGHTS, HISTORY, "historical", level))
    drawn = forecast_quantiles(WEIGHTS, HISTORY, "historical", rng.random(1_000 * n_days)).reshape(1_000, n_days)
    own = forecast_quantiles(WEIGHTS, HISTORY, "historical", rng.random(200 * n_days)).reshape(200, n_days)
    critical = acerbi_szekely(own[0], var, shortfall, drawn, level).critical_value
    assert np.mean(z2(1.5 * own, var, shortfall, level) < critical) > 0.99
    assert np.mean(z2(own / 1.5, var, shortfall, level) < critical) < 0.01


def test_the_p_value_counts_the_observed_path_among_the_simulated_ones():
    paths, ones = -np.arange(1.0, 20.0)[:, None] * np.ones(4), np.ones(4)
    for place, path in enumerate(paths):
        test = acerbi_szekely(path, 0.5 * ones, ones, paths, 0.5)
        assert test.p_value == (20 - place) / 20


@given(st.floats(0.01, 100.0), st.integers(0, 999))
def test_the_test_does_not_depend_on_the_size_of_the_position(scale, seed):
    rng = np.random.default_rng(seed)
    returns, drawn = rng.normal(size=60), rng.normal(size=(50, 60))
    var, shortfall = rng.uniform(0.5, 1.5, 60), rng.uniform(1.5, 2.5, 60)
    one = acerbi_szekely(returns, var, shortfall, drawn, 0.9)
    other = acerbi_szekely(scale * returns, scale * var, scale * shortfall, scale * drawn, 0.9)
    assert other.statistic == pytest.approx(one.statistic, rel=RTOL_REFERENCE, abs=RTOL_SAME)
    assert other.critical_value == pytest.approx(one.critical_value, rel=RTOL_REFERENCE, abs=RTOL_SAME)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"returns": np.zeros(9)}, "one value per day"),
        ({"simulated": np.zeros((0, 10))}, "at least one path"),
        ({"value_at_risk": np.full(10, np.nan)}, "not finite"),
        ({"expected_shortfall": np.zeros(10)}, "not above zero"),
    ],
    ids=["shapes", "no-path", "nan", "flat"],
)
def test_days_that_cannot_be_tested_are_an_error(change, match):
    right = {"returns": np.zeros(10), "value_at_risk": np.ones(10), "expected_shortfall": np.ones(10)}
    right["simulated"] = np.zeros((5, 10))
    with pytest.raises(DataError, match=match):
        acerbi_szekely(**right | change, level=0.95)
