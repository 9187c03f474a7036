"""Backtests of a VaR model: published tables, size and power by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory
from peak_trade.risk.var_backtest import (
    christoffersen_conditional_coverage,
    christoffersen_independence,
    cumulative_probability,
    kupiec_pof,
    most_yellow,
    traffic_light,
)
from peak_trade.risk.walk_forward import complete_walk
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

CRITICAL_1, CRITICAL_2 = 3.841, 5.991
"""95 % points of the chi-squared distribution with one and two degrees of freedom (any statistical table)."""


def hits_of(n_hits: int, n_days: int) -> np.ndarray:
    hits = np.zeros(n_days, dtype=bool)
    hits[np.linspace(0, n_days - 1, n_hits).astype(int)] = True
    return hits


BASEL = dict(enumerate((8.11, 28.58, 54.32, 75.81, 89.22, 95.88, 98.63, 99.60, 99.89, 99.97, 99.99)))
"""Basel Committee (1996), table 2: cumulative probability in percent, 250 days, 99 % coverage."""


@pytest.mark.parametrize(("count", "percent"), BASEL.items())
def test_cumulative_probabilities_are_those_of_the_basel_table(count, percent):
    assert round(100.0 * cumulative_probability(count, 250, 0.99), 2) == pytest.approx(percent, abs=0.011)


def test_zones_are_those_of_the_basel_table():
    zones = [traffic_light(count) for count in range(16)]
    assert zones == ["green"] * 5 + ["yellow"] * 5 + ["red"] * 6
    assert most_yellow() == 9


def test_zones_at_another_level_follow_the_binomial_distribution():
    for count in range(40):
        below = stats.binom.cdf(count, 250, 0.05)
        expected = "red" if below >= 0.9999 else "yellow" if below >= 0.95 else "green"
        assert traffic_light(count, 250, 0.95) == expected


KUPIEC = [(255, 0.99, 7, "lower"), (510, 0.99, 11, "lower"), (255, 0.95, 6, "upper"), (255, 0.95, 21, "lower")]
"""Kupiec (1995), not rejected at 5 %: N < 7 of 255 and 1 < N < 11 of 510 at 99 %, 6 < N < 21 of 255 at 95 %."""


@pytest.mark.parametrize(("n_days", "level", "edge", "side"), KUPIEC)
def test_kupiec_rejects_outside_the_published_regions_and_not_inside(n_days, level, edge, side):
    inside, outside = (edge - 1, edge) if side == "lower" else (edge + 1, edge)
    assert kupiec_pof(hits_of(inside, n_days), level).statistic < CRITICAL_1
    assert kupiec_pof(hits_of(outside, n_days), level).statistic > CRITICAL_1


def test_p_values_are_those_of_the_chi_squared_distribution():
    hits = np.random.default_rng(1).random(500) < 0.08
    for test, degrees in (
        (kupiec_pof(hits, 0.95), 1),
        (christoffersen_independence(hits), 1),
        (christoffersen_conditional_coverage(hits, 0.95), 2),
    ):
        assert test.p_value == pytest.approx(stats.chi2.sf(test.statistic, degrees), rel=RTOL_REFERENCE)
        assert test.degrees_of_freedom == degrees
    assert stats.chi2.isf(0.05, [1, 2]) == pytest.approx([CRITICAL_1, CRITICAL_2], abs=5e-4)


def test_coverage_is_the_sum_of_both_ratios():
    hits = np.random.default_rng(2).random(300) < 0.1
    total = kupiec_pof(hits, 0.95).statistic + christoffersen_independence(hits).statistic
    assert christoffersen_conditional_coverage(hits, 0.95).statistic == pytest.approx(total, rel=RTOL_SAME)


def test_exceptions_in_a_row_are_not_independent():
    scattered, bunched = np.zeros(250, dtype=bool), np.zeros(250, dtype=bool)
    scattered[10:250:20] = True
    bunched[100:112] = True
    assert christoffersen_independence(bunched).p_value < 1e-6
    assert christoffersen_independence(scattered).p_value > 0.05
    assert kupiec_pof(bunched, 0.95) == kupiec_pof(scattered, 0.95)


@pytest.mark.parametrize("hits", [np.zeros(250, dtype=bool), np.ones(250, dtype=bool)], ids=["none", "all"])
def test_no_or_only_exceptions_give_finite_statistics(hits):
    for test in (kupiec_pof(hits, 0.95), christoffersen_independence(hits)):
        assert math.isfinite(test.statistic)
        assert 0.0 <= test.p_value <= 1.0


@pytest.mark.parametrize("hits", [np.zeros(250), np.zeros((2, 2), dtype=bool), np.zeros(1, dtype=bool)])
def test_exceptions_that_are_not_a_boolean_series_are_an_error(hits):
    with pytest.raises(DataError, match="as bool"):
        kupiec_pof(hits, 0.95)


@pytest.mark.long
def test_the_size_of_the_tests_is_five_percent_and_a_halved_var_is_found():
    n_runs, n_days, level = 1_000, 2_000, 0.95
    rng = np.random.default_rng(20)
    error = 4.0 * math.sqrt(0.05 * 0.95 / n_runs)
    true = rng.random((n_runs, n_days)) < 1.0 - level
    size = np.mean([kupiec_pof(hits, level).p_value < 0.05 for hits in true])
    joint = np.mean([christoffersen_conditional_coverage(hits, level).p_value < 0.05 for hits in true])
    assert size == pytest.approx(0.05, abs=error)
    assert joint == pytest.approx(0.05, abs=error)
    halved = stats.norm.sf(stats.norm.isf(0.05) / 2.0)
    power = np.mean([kupiec_pof(hits, level).p_value < 0.05 for hits in rng.random((200, 250)) < halved])
    assert power > 0.99
    assert traffic_light(round(250 * halved), 250, level) == "red"


def test_the_walk_forward_uses_only_days_before_the_estimated_one():
    rng = np.random.default_rng(3)
    returns = rng.normal(0, 0.02, (1, 400))
    history = ReturnHistory("run", 10**18, ["A/USDT"], returns)
    (walk,) = complete_walk(np.ones(1), history, "historical", (0.95,))
    hits, stated = walk.exceptions, walk.value_at_risk
    later = returns.copy()
    later[0, 300:] = -0.5
    (after,) = complete_walk(np.ones(1), ReturnHistory("run", 10**18, ["A/USDT"], later), "historical", (0.95,))
    hits_after, stated_after = after.exceptions, after.value_at_risk
    np.testing.assert_array_equal(stated[:151], stated_after[:151])
    np.testing.assert_array_equal(hits[:150], hits_after[:150])
    assert stated[0] == pytest.approx(-np.quantile(returns[0, :150], 0.05), rel=RTOL_REFERENCE)
    assert hits_after[150]
    assert hits.sum() == (-returns[0, 150:] > stated).sum()
