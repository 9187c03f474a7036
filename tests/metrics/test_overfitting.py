"""Probability of backtest overfitting: a second implementation, laws, and its size on noise and with a planted set."""

import math

import numpy as np
import purgedcv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import DataError
from peak_trade.metrics import overfitting
from peak_trade.metrics.overfitting import (
    MOST_RATIOS,
    block_count,
    block_moments,
    overfitting_of_moments,
    probability_of_overfitting,
)
from tests.examples import examples
from tests.tolerances import RTOL_REFERENCE

DAYS, N_SETS = 1_460, 50


def noise(seed, n=DAYS, n_sets=N_SETS):
    return 0.01 * np.random.default_rng([seed, 8]).standard_normal((n, n_sets))


def planted(seed):
    """Four years of days of 50 sets, one of which has an annual Sharpe ratio of 3."""
    returns = noise(seed)
    returns[:, 7] += 0.01 * 3.0 / math.sqrt(365.0)
    return returns


def mean_probability(draw, n_draws, n_blocks):
    return float(
        np.mean([probability_of_overfitting(draw(seed), n_blocks).probability.value for seed in range(n_draws)])
    )


@given(st.integers(0, 2**32), st.integers(61, 150), st.integers(2, 9), st.sampled_from([2, 4, 6]))
@settings(max_examples=examples(25), deadline=None)
def test_logits_and_shares_are_those_of_purgedcv(seed, n, n_sets, n_blocks):
    length = n // n_blocks * n_blocks  # blocks of equal length, which both divide alike
    returns = noise(seed, length, n_sets)
    ours = probability_of_overfitting(returns, n_blocks)
    if length < 60:
        assert ours.probability.value is None
        return
    theirs = purgedcv.probability_of_backtest_overfitting(returns.T, n_blocks)
    assert sorted(ours.logits) == pytest.approx(sorted(theirs.logits), rel=RTOL_REFERENCE, abs=RTOL_REFERENCE)
    at_the_median = np.mean(np.abs(theirs.logits) < RTOL_REFERENCE)
    below = np.mean(theirs.logits < -RTOL_REFERENCE)
    assert ours.probability.value == pytest.approx(below + 0.5 * at_the_median, rel=RTOL_REFERENCE)
    assert ours.loss.value == np.mean(theirs.is_oos_performance[:, 1] < 0.0)


@given(st.integers(0, 2**32), st.floats(0.5, 20.0))
@settings(max_examples=examples(20), deadline=None)
def test_neither_the_order_of_the_sets_nor_leverage_matters(seed, leverage):
    returns = noise(seed, 120, 6)
    shuffled = np.random.default_rng(seed).permutation(6)
    ours = probability_of_overfitting(returns, 4)
    theirs = probability_of_overfitting(leverage * returns[:, shuffled], 4)
    assert theirs.probability == ours.probability
    np.testing.assert_allclose(theirs.logits, ours.logits, rtol=RTOL_REFERENCE)


@pytest.mark.parametrize(("n", "n_blocks"), [(100, 16), (1_460, 16), (64, 6)])
def test_the_blocks_hold_every_return_once(n, n_blocks):
    returns = noise(1, n, 1)[:, 0]
    (moments,) = block_moments(returns[None], n_blocks)
    assert moments.shape == (n_blocks, 3)
    assert moments[:, 0].sum() == n
    assert np.ptp(moments[:, 0]) <= 1
    assert moments[:, 1].sum() == pytest.approx(returns.sum(), rel=1e-9, abs=1e-12)
    assert moments[:, 2].sum() == pytest.approx(returns @ returns, rel=1e-9)


def test_a_set_that_never_trades_has_a_ratio_of_zero():
    returns = -np.abs(noise(2, 120, 3))
    returns[:, 1] = 0.0
    found = probability_of_overfitting(returns, 4)
    assert found.probability.value == 0.0
    assert found.loss.value == 0.0


@pytest.mark.parametrize(
    ("shape", "says"), [((500, 1), "1 sets, 2 needed"), ((59, 5), "59 returns, 60 needed"), ((500, 0), "0 sets")]
)
def test_a_choice_without_alternatives_or_time_has_no_probability(shape, says):
    found = probability_of_overfitting(noise(3, *shape), 4)
    assert found.probability.value is None
    assert says in found.probability.note
    assert found.logits.size == 0


@pytest.mark.parametrize(
    ("returns", "n_blocks", "says"),
    [
        (np.zeros(500), 4, "one column per parameter set"),
        (np.zeros((500, 5)), 3, "n_blocks is 3"),
        (np.zeros((500, 5)), 0, "n_blocks is 0"),
        (np.full((500, 5), np.nan), 4, "returns has a nan"),
    ],
)
def test_returns_that_can_not_be_split_are_refused(returns, n_blocks, says):
    with pytest.raises(DataError, match=says):
        probability_of_overfitting(returns, n_blocks)


@given(st.integers(1, 1_000_000))
def test_the_splits_of_any_grid_stay_within_the_largest_number_of_ratios(n_sets):
    n_blocks = block_count(n_sets)
    assert n_blocks % 2 == 0
    assert math.comb(n_blocks, n_blocks // 2) * n_sets <= max(MOST_RATIOS, 2 * n_sets)
    assert n_sets > 3_000 or n_blocks == 16


def test_large_grids_are_ranked_in_parts(monkeypatch):
    moments = block_moments(noise(5, 240, 30).T, 8)
    whole = overfitting_of_moments(moments)
    monkeypatch.setattr(overfitting, "_AT_ONCE", 100)
    parts = overfitting_of_moments(moments)
    assert (parts.probability, parts.loss) == (whole.probability, whole.loss)
    np.testing.assert_allclose(sorted(parts.logits), sorted(whole.logits), rtol=RTOL_REFERENCE)


def test_choices_on_noise_are_overfitted_half_of_the_time_and_a_planted_set_is_found():
    assert 0.35 <= mean_probability(noise, 25, 8) <= 0.65
    assert mean_probability(planted, 10, 8) <= 0.1


@pytest.mark.long
def test_the_probability_over_many_draws_and_all_splits():
    assert 0.35 <= mean_probability(noise, 100, 16) <= 0.65
    assert mean_probability(planted, 100, 16) <= 0.1
