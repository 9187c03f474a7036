"""Probabilistic and deflated Sharpe ratio and minimum track record length: printed numbers and laws."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import purgedcv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.selection import N_SWEEPS, RATIOS, crossover_returns, share_found, sweep_returns, table
from peak_trade import metrics
from peak_trade.core.errors import DataError
from peak_trade.metrics import selection
from peak_trade.metrics.selection import SharpeSample
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

ROOT = Path(__file__).resolve().parents[2]
# Bailey and López de Prado (2014), The Deflated Sharpe Ratio, the numerical example: 250 days a year, five years.
DAILY = SharpeSample(2.5 / math.sqrt(250.0), 1_250, skewness=-3.0, kurtosis=10.0)
VARIANCE = 0.5 / 250.0
# López de Prado, Lipton and Zoonekynd (2025), How to Use the Sharpe Ratio, the numerical examples.
MONTHLY = SharpeSample(0.036 / 0.079, 24, skewness=-2.448, kurtosis=10.164)
LARGEST_SHARE = 0.05 + 4.0 * math.sqrt(0.05 * 0.95 / 400)
"""5 % and four standard errors of a share of 400 sweeps."""


def printed(digits):
    """Half a unit of the last printed digit."""
    return 0.5000001 * 10.0**-digits


@pytest.mark.parametrize(
    ("sample", "n_trials", "expected", "digits"),
    [
        (DAILY, 100, 0.9004, 4),
        (DAILY, 46, 0.9505, 4),
        (SharpeSample(DAILY.ratio, DAILY.n), 88, 0.95, 2),
    ],
)
def test_deflated_sharpe_at_the_estimate_is_that_of_bailey_and_lopez_de_prado_2014(sample, n_trials, expected, digits):
    value = selection.deflated_sharpe(sample, n_trials, VARIANCE).value
    assert value == pytest.approx(expected, rel=0.0, abs=printed(digits))


def test_track_records_at_the_estimate_are_those_of_bailey_and_lopez_de_prado_2012():
    month, day = math.sqrt(12.0), math.sqrt(250.0)
    monthly = SharpeSample(2.0 / month, 134, skewness=-0.72, kurtosis=5.78)
    assert selection.minimum_track_length(monthly, 1.0 / month).value == pytest.approx(59.895, abs=printed(3))
    daily = SharpeSample(2.0 / day, 1_000)
    years = selection.minimum_track_length(daily, 1.0 / day).value / 250.0
    assert years == pytest.approx(2.73, abs=printed(2))


@pytest.mark.parametrize(("threshold", "expected", "length"), [(0.0, 0.987, 13.029), (0.1, 0.939, 27.109)])
def test_probability_and_track_record_at_the_null_are_those_of_the_2025_paper(threshold, expected, length):
    value = selection.probabilistic_sharpe(MONTHLY, threshold, "null").value
    assert value == pytest.approx(expected, abs=printed(3))
    assert selection.minimum_track_length(MONTHLY, threshold, error="null").value == pytest.approx(
        length, abs=printed(3)
    )


def test_deflated_sharpe_at_the_null_uses_the_deviation_of_the_maximum():
    assert selection.expected_maximum_sharpe(10, 0.1) == pytest.approx(0.498, abs=printed(3))
    assert selection.maximum_deviation(10) == pytest.approx(0.58681, abs=printed(5))
    assert selection.deflated_sharpe(MONTHLY, 10, 0.1, "null").value == pytest.approx(0.416, abs=printed(3))


def test_the_maximum_of_one_or_two_normal_numbers_is_known_exactly():
    assert selection.expected_maximum_sharpe(1, 0.1) == 0.0
    assert selection.maximum_deviation(1) == pytest.approx(1.0, rel=RTOL_SAME)
    assert selection.maximum_deviation(2) == pytest.approx(math.sqrt(1.0 - 1.0 / math.pi), rel=RTOL_SAME)


SHARPES = st.floats(-0.5, 0.5)
SAMPLES = st.builds(
    lambda ratio, n, skewness, more: SharpeSample(ratio, n, skewness, 1.5 + skewness**2 + more),
    SHARPES, st.integers(30, 100_000), st.floats(-3.0, 3.0), st.floats(0.0, 20.0),
)  # fmt: skip
ERRORS = st.sampled_from(["estimate", "null"])


@given(SAMPLES, ERRORS, SHARPES)
def test_the_probability_is_one_half_at_the_observed_ratio_and_above_it_below(sample, error, threshold):
    assert selection.probabilistic_sharpe(sample, sample.ratio, error).value == pytest.approx(0.5, rel=RTOL_SAME)
    value = selection.probabilistic_sharpe(sample, threshold, error).value
    assert 0.0 <= value <= 1.0
    assert (value >= 0.5) == (sample.ratio >= threshold) or math.isclose(value, 0.5)


@given(SAMPLES, st.floats(1.0, 1e6), st.floats(1.0, 10.0), st.floats(0.0, 0.1))
def test_more_trials_never_raise_the_deflated_sharpe_ratio(sample, n_trials, times, variance):
    few, many = (selection.deflated_sharpe(sample, n, variance).value for n in (n_trials, n_trials * times))
    assert many <= few * (1.0 + RTOL_SAME)
    alone = selection.deflated_sharpe(sample, 1.0, variance, "null").value
    assert alone == pytest.approx(selection.probabilistic_sharpe(sample, 0.0, "null").value, rel=RTOL_REFERENCE)


@given(SAMPLES, st.floats(0.02, 0.1), ERRORS, st.floats(0.9, 0.99))
def test_a_record_of_the_minimum_length_just_reaches_the_confidence(sample, ratio, error, confidence):
    sample = replace(sample, ratio=ratio)
    length = selection.minimum_track_length(sample, 0.0, confidence, error).value
    longer, shorter = replace(sample, n=math.ceil(length)), replace(sample, n=math.floor(length))
    assert selection.probabilistic_sharpe(longer, 0.0, error).value >= confidence * (1.0 - RTOL_REFERENCE)
    assert selection.probabilistic_sharpe(shorter, 0.0, error).value <= confidence * (1.0 + RTOL_REFERENCE)


def test_the_sample_of_returns_has_their_ratio_and_moments():
    returns = np.random.default_rng(3).exponential(0.01, 200_000) - 0.009
    sample = SharpeSample.of(returns)
    assert sample.n == 200_000
    assert sample.ratio == pytest.approx(metrics.sharpe(returns, 1.0).value, rel=RTOL_SAME)
    assert sample.skewness == pytest.approx(2.0, rel=0.05)
    assert sample.kurtosis == pytest.approx(9.0, rel=0.1)


def test_the_summary_states_what_stands_beside_a_sharpe_ratio():
    returns = np.random.default_rng(5).normal(0.001, 0.01, 400)
    equity = 100.0 * np.cumprod(np.concatenate([[1.0], 1.0 + returns]))
    none = pd.DataFrame({"pnl": [], "fees": [], "quantity": [], "price": []})
    stats = metrics.summary(equity, none, none, np.ones(401), 365.0)
    sample = SharpeSample.of(metrics.simple_returns(equity))
    assert stats["probabilistic_sharpe"] == selection.probabilistic_sharpe(sample)
    assert stats["minimum_track_length"] == selection.minimum_track_length(sample)
    factor = metrics.aggregation_factor(metrics.simple_returns(equity), 365.0)
    assert stats["sharpe_aggregated"].value == pytest.approx(sample.ratio * factor, rel=RTOL_SAME)
    short = metrics.summary(equity[:25], none, none, np.ones(25), 365.0)
    for name in ("sharpe", "sharpe_aggregated", "probabilistic_sharpe", "minimum_track_length"):
        assert short[name].value is None
        assert short[name].note == "too few: 24 returns, 30 needed"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: SharpeSample.of(np.arange(29.0)), "29 values"),
        (lambda: SharpeSample.of(np.full(99, 0.01)), "do not vary"),
        (lambda: SharpeSample(0.1, 1), "n = 1"),
        (lambda: SharpeSample(math.nan, 100), "finite"),
        (lambda: SharpeSample(0.1, 100, 0.0, 0.0), "not the excess"),
        (lambda: selection.deflated_sharpe(DAILY, 0.5, VARIANCE), "n_trials is 0.5"),
        (lambda: selection.deflated_sharpe(DAILY, math.nan, VARIANCE), "n_trials is nan"),
        (lambda: selection.deflated_sharpe(DAILY, 10, -0.1), "not negative"),
        (lambda: selection.probabilistic_sharpe(DAILY, math.inf), "benchmark is inf"),
        (lambda: selection.probabilistic_sharpe(DAILY, 0.0, "mean"), "choose estimate or null"),
        (lambda: selection.minimum_track_length(DAILY, 0.0, 1.0), "confidence is 1"),
    ],
)
def test_numbers_that_no_sample_can_have_are_refused(call, says):
    with pytest.raises(DataError, match=says):
        call()


def test_there_is_no_track_record_below_the_benchmark_and_no_probability_without_an_error():
    assert selection.minimum_track_length(DAILY, DAILY.ratio).value is None
    two_points = SharpeSample(1.0, 100, skewness=2.0, kurtosis=5.0)
    assert selection.probabilistic_sharpe(two_points).value is None


@pytest.mark.long
def test_one_best_set_of_noise_rarely_reaches_95_percent():
    """50 sets of noise over a year of days, 400 times; the benchmark script states size and power over four years."""
    for variant, share in share_found(400, partial(sweep_returns, 0.0, n_days=365)).items():
        assert share <= LARGEST_SHARE, variant


@pytest.mark.long
def test_one_best_crossover_of_noise_rarely_reaches_95_percent_at_the_estimate():
    """49 sets that resemble each other, as those of a sweep do; at the null more than the nominal 5 % reach it."""
    shares = share_found(400, partial(crossover_returns, n_days=365))
    assert shares["estimate"] <= LARGEST_SHARE < shares["null"]


@pytest.mark.long
def test_size_and_power_over_four_years():
    noise = share_found(400, partial(sweep_returns, 0.0))
    power = [share_found(400, partial(sweep_returns, ratio), 0) for ratio in RATIOS if ratio]
    for variant, share in noise.items():
        assert share <= LARGEST_SHARE, variant
        found = [each[variant] for each in power]
        assert found == sorted(found)
        assert found[-1] >= 0.8


@pytest.mark.long
def test_the_documents_state_the_size_and_power_that_the_script_finds():
    assert table(N_SWEEPS) in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("seed", "n_trials", "variance"), [(1, 2, 0.001), (2, 50, 0.004), (3, 10_000, 0.0001)])
def test_values_at_the_estimate_are_those_of_purgedcv(seed, n_trials, variance):
    returns = np.random.default_rng(seed).standard_t(8, 300) * 0.01 + 0.001
    # purgedcv divides by the deviation with n below, and corrects skewness and kurtosis for bias
    ratio, moments = float(returns.mean() / returns.std()), {"bias": False}
    sample = SharpeSample(ratio, 300, stats.skew(returns, **moments), stats.kurtosis(returns, fisher=False, **moments))
    ours = selection.probabilistic_sharpe(sample, 0.01).value
    assert ours == pytest.approx(purgedcv.probabilistic_sharpe_ratio(returns, 0.01), rel=RTOL_REFERENCE)
    ours = selection.deflated_sharpe(sample, n_trials, variance).value
    assert ours == pytest.approx(purgedcv.deflated_sharpe_ratio(returns, n_trials, variance), rel=RTOL_REFERENCE)
    ours = selection.minimum_track_length(sample, ratio - 0.05).value
    theirs = purgedcv.min_track_record_length(ratio, ratio - 0.05, 0.05, sample.skewness, sample.kurtosis)
    assert math.ceil(ours) == theirs
