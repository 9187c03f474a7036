"""Alpha and beta: against numpy and statsmodels, laws of the regression, and calibrated errors."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade import metrics
from peak_trade.core.errors import DataError
from peak_trade.metrics.dependence import long_run_variance
from tests.examples import examples
from tests.tolerances import RTOL_REFERENCE

DAYS_A_YEAR = 365.0
few = settings(max_examples=examples(10), deadline=None)
seeds = st.integers(0, 10_000)


def pair(seed, n=500):
    """Returns with alpha 1e-4 a bar and beta 0.7, and the benchmark; the noise grows with the benchmark's moves."""
    rng = np.random.default_rng(seed)
    passive = rng.normal(3e-4, 0.02, n)
    return 1e-4 + 0.7 * passive + rng.normal(0.0, 0.01, n) * (0.5 + 40.0 * np.abs(passive)), passive


@few
@given(seeds)
def test_the_line_is_that_of_lstsq_and_the_errors_are_those_of_the_sandwich_formula(seed):
    returns, passive = pair(seed)
    n = returns.size
    design = np.column_stack([np.ones(n), passive])
    line, *_ = np.linalg.lstsq(design, returns, rcond=None)
    scores = design * (returns - design @ line)[:, None]
    influence = scores @ np.linalg.inv(design.T @ design / n)
    errors = [math.sqrt(long_run_variance(column.copy()).variance / n) for column in influence.T]
    fit = metrics.alpha_beta(returns, passive, DAYS_A_YEAR)
    assert fit.alpha.value == pytest.approx(line[0] * DAYS_A_YEAR, rel=RTOL_REFERENCE)
    assert fit.beta.value == pytest.approx(line[1], rel=RTOL_REFERENCE)
    assert fit.alpha.stderr == pytest.approx(errors[0] * DAYS_A_YEAR, rel=RTOL_REFERENCE)
    assert fit.beta.stderr == pytest.approx(errors[1], rel=RTOL_REFERENCE)
    assert fit.r_squared.value == pytest.approx(np.corrcoef(returns, passive)[0, 1] ** 2, rel=RTOL_REFERENCE)


@pytest.mark.long
def test_a_short_sample_has_the_classical_errors_of_statsmodels():
    from statsmodels.api import OLS, add_constant

    returns, passive = pair(1, n=100)
    theirs = OLS(returns, add_constant(passive)).fit()
    fit = metrics.alpha_beta(returns, passive, DAYS_A_YEAR)
    assert [fit.alpha.stderr / DAYS_A_YEAR, fit.beta.stderr] == pytest.approx(theirs.bse.tolist(), rel=RTOL_REFERENCE)
    assert fit.r_squared.value == pytest.approx(theirs.rsquared, rel=RTOL_REFERENCE)
    assert fit.beta.note == "standard error: classical least squares"


@few
@given(seeds, st.floats(0.1, 10.0), st.floats(-0.01, 0.01))
def test_leverage_scales_alpha_and_beta_and_a_constant_return_adds_to_alpha_alone(seed, leverage, constant):
    returns, passive = pair(seed)
    plain = metrics.alpha_beta(returns, passive, DAYS_A_YEAR)
    moved = metrics.alpha_beta(leverage * returns + constant, passive, DAYS_A_YEAR)
    assert moved.beta.value == pytest.approx(leverage * plain.beta.value, rel=RTOL_REFERENCE)
    assert moved.beta.stderr == pytest.approx(leverage * plain.beta.stderr, rel=RTOL_REFERENCE)
    gained = moved.alpha.value - leverage * plain.alpha.value
    assert gained == pytest.approx(constant * DAYS_A_YEAR, rel=RTOL_REFERENCE, abs=RTOL_REFERENCE * moved.alpha.stderr)


@pytest.mark.long
@pytest.mark.parametrize("coefficient", [0.3, 0.0])
def test_95_percent_intervals_hold_the_true_line_in_about_95_percent_of_dependent_samples(coefficient):
    rng, held, n = np.random.default_rng(11), np.zeros(2), 400
    for _ in range(400):
        shocks = rng.normal(0.0, 0.01, (2, n + 50))
        for place in range(1, n + 50):
            shocks[:, place] += coefficient * shocks[:, place - 1]
        passive, noise = shocks[:, 50:]
        fit = metrics.alpha_beta(1e-4 + 0.7 * passive + noise, passive, DAYS_A_YEAR)
        held += [
            abs(fit.alpha.value - 0.0365) < 1.96 * fit.alpha.stderr,
            abs(fit.beta.value - 0.7) < 1.96 * fit.beta.stderr,
        ]
    assert (held / 400 > 0.915).all()  # 3 standard errors of a share of 400 below 95 %
    assert (held / 400 < 0.983).all()


def test_what_no_line_can_be_fitted_to_has_no_value_or_is_refused():
    returns, passive = pair(1)
    assert metrics.alpha_beta(returns[:29], passive[:29], DAYS_A_YEAR).beta.note == "too few: 29 returns, 30 needed"
    flat = metrics.alpha_beta(returns, np.full(500, 0.01), DAYS_A_YEAR)
    assert {each.note for each in flat} == {"the benchmark's returns do not vary"}
    with pytest.raises(DataError, match="500 returns and 499 of the benchmark"):
        metrics.alpha_beta(returns, passive[1:], DAYS_A_YEAR)
