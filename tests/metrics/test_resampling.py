"""Block bootstraps: laws, size under the null, and errors known in closed form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import DataError
from peak_trade.metrics.resampling import (
    _studentised_gaps,
    bootstrap_interval,
    sharpe_difference,
    superior_ability,
    superior_series,
)
from tests.examples import examples
from tests.metrics.test_dependence import autoregression, four_errors
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME


def normal(seed, n, n_series=1):
    return 0.01 * np.random.default_rng([seed, 9]).standard_normal((n, n_series))


def ratio(returns):
    return returns.mean() / returns.std(ddof=1)


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.9])
def test_the_error_of_a_difference_of_independent_normal_returns_is_that_of_memmel_2003(correlation):
    """Jobson and Korkie (1981) as corrected by Memmel (2003): the asymptotic variance of the difference."""
    first, second = 0.2, 0.05
    drawn = np.random.default_rng(11).standard_normal((200_000, 2))
    left = drawn[:, 0] + first
    right = correlation * drawn[:, 0] + math.sqrt(1.0 - correlation**2) * drawn[:, 1] + second
    variance = (
        2.0 - 2.0 * correlation
        + 0.5 * (first**2 + second**2 - 2.0 * first * second * correlation**2)
    )  # fmt: skip
    found = sharpe_difference(left, right, 365.0, n_draws=19).difference
    assert found.stderr == pytest.approx(math.sqrt(variance / 200_000 * 365.0), rel=0.02)


@given(st.integers(0, 2**32))
@settings(max_examples=examples(10), deadline=None)
def test_swapping_the_two_mirrors_the_difference(seed):
    left, right = normal(seed, 150, 2).T
    ours, theirs = sharpe_difference(left, right, 365.0, n_draws=99), sharpe_difference(right, left, 365.0, n_draws=99)
    assert theirs.difference.value == pytest.approx(-ours.difference.value, rel=RTOL_SAME)
    assert theirs.difference.stderr == pytest.approx(ours.difference.stderr, rel=RTOL_REFERENCE)
    assert theirs.p_value == ours.p_value
    assert (theirs.low, theirs.high) == pytest.approx((-ours.high, -ours.low), rel=RTOL_REFERENCE)
    assert ours.low < ours.difference.value < ours.high


def test_the_draws_are_those_of_a_plain_loop_over_blocks():
    pair, length, n_draws = normal(4, 60, 2).T, 7, 5
    gap = ratio(pair[0]) - ratio(pair[1])
    n_blocks = 60 // length
    starts = np.random.default_rng(3).integers(0, 60, (n_draws, n_blocks))
    expected = []
    for row in starts:
        places = np.concatenate([np.arange(start, start + length) % 60 for start in row])
        drawn = pair[:, places]
        scores = [(each - each.mean()) / each.std() for each in drawn]
        plain = [each.mean() / each.std() for each in drawn]
        influence = [z - 0.5 * r * (z * z - 1.0) for z, r in zip(scores, plain, strict=True)]
        blocks = (influence[0] - influence[1]).reshape(n_blocks, length).sum(axis=1)
        error = math.sqrt(float(blocks @ blocks)) / len(places)
        expected.append(abs(ratio(drawn[0]) - ratio(drawn[1]) - gap) / error)
    assert _studentised_gaps(pair, gap, length, n_draws, 3) == pytest.approx(expected, rel=RTOL_REFERENCE)


def size_of_the_test(n, coefficient, n_pairs):
    """Share of pairs with equal Sharpe ratios whose p-value is at most 5 %."""
    rejected = 0
    for seed in range(n_pairs):
        rng = np.random.default_rng([seed, 10])
        left = autoregression(rng, n, coefficient, 0.1)
        right = (left + autoregression(rng, n, coefficient, 0.1)) / math.sqrt(2.0)
        right += 0.1 - 0.1 * math.sqrt(2.0)
        rejected += sharpe_difference(left, right, 365.0, n_draws=199, seed=seed).p_value <= 0.05
    return rejected / n_pairs


def test_equal_ratios_are_told_apart_as_rarely_as_stated():
    assert size_of_the_test(250, 0.3, 150) <= 0.05 + four_errors(0.05, 150)


@pytest.mark.long
@pytest.mark.parametrize("coefficient", [0.0, 0.3])
def test_equal_ratios_are_told_apart_as_rarely_as_stated_over_many_pairs(coefficient):
    assert abs(size_of_the_test(500, coefficient, 2_000) - 0.05) <= 0.01 + four_errors(0.05, 2_000)


def test_a_real_difference_is_found():
    left, right = normal(5, 1_000, 2).T
    found = sharpe_difference(left + 0.003, right, 365.0)
    assert found.p_value < 0.01
    assert found.low > 0.0


@pytest.mark.parametrize(
    ("left", "right", "says"),
    [
        (normal(6, 29)[:, 0], normal(7, 29)[:, 0], "too few: 29 returns"),
        (normal(6, 90)[:, 0], np.full(90, 0.01), "do not vary"),
    ],
)
def test_there_is_no_difference_where_none_can_be_measured(left, right, says):
    found = sharpe_difference(left, right, 365.0)
    assert found.difference.value is found.low is found.high is found.p_value is None
    assert says in found.difference.note


@pytest.mark.parametrize("leverage", [1.0, 2.0])
def test_equal_and_levered_returns_do_not_differ(leverage):
    returns = normal(6, 90)[:, 0]
    found = sharpe_difference(leverage * returns, returns, 365.0)
    assert (found.difference.value, found.difference.stderr, found.low, found.high, found.p_value) == (0, 0, 0, 0, 1)


def test_the_interval_of_a_dependent_series_is_wider_than_that_of_a_shuffled_one():
    returns = autoregression(np.random.default_rng(12), 2_000, 0.6)
    shuffled = np.random.default_rng(13).permutation(returns)
    wide, narrow = (bootstrap_interval(each, np.mean, n_draws=400) for each in (returns, shuffled))
    assert wide.block_length > narrow.block_length
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
    expected = 2.0 * 1.959964 * math.sqrt((1.0 + 0.6) / (1.0 - 0.6) / 2_000)
    assert wide.high - wide.low == pytest.approx(expected, rel=0.2)


@pytest.mark.long
def test_the_interval_of_a_short_dependent_series_holds_the_ratio_in_about_92_percent():
    """docs/honesty.md states it."""
    n_series, held = 400, 0
    for seed in range(n_series):
        returns = autoregression(np.random.default_rng(seed), 250, 0.3, 0.05)
        interval = bootstrap_interval(returns, lambda part: float(part.mean() / part.std(ddof=1)), seed=seed)
        held += interval.low <= 0.05 <= interval.high
    assert held / n_series == pytest.approx(0.92, abs=4.0 * np.sqrt(0.92 * 0.08 / n_series))


def test_a_planted_series_is_found_and_noise_is_not():
    returns = normal(14, 500, 20)
    assert superior_ability(returns, n_draws=200).consistent > 0.05
    assert superior_series(returns, n_draws=200) == []
    returns[:, 4] += 0.004
    found = superior_ability(returns, n_draws=200)
    assert found.lower <= found.consistent <= found.upper <= 0.05
    assert superior_series(returns, n_draws=200) == [4]
    assert superior_series(returns, benchmark=returns[:, 4], n_draws=200) == []


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: bootstrap_interval(normal(1, 29)[:, 0], np.mean), "29 rows"),
        (lambda: bootstrap_interval(normal(1, 99)[:, 0], np.mean, 1.0), "confidence is 1"),
        (lambda: sharpe_difference(np.zeros(40), np.zeros(41), 365.0), "40 returns and right 41"),
        (lambda: sharpe_difference(np.full(40, np.nan), np.zeros(40), 365.0), "left has a nan"),
        (lambda: sharpe_difference(np.zeros(40), np.zeros(40), 365.0, 0.0), "confidence is 0"),
        (lambda: superior_ability(np.zeros(40)), "one column per"),
        (lambda: superior_ability(np.zeros((40, 2)), np.zeros(39)), "one column per"),
        (lambda: superior_ability(np.full((40, 2), np.inf)), "infinity"),
        (lambda: superior_ability(np.zeros((20, 2))), "20 rows"),
        (lambda: superior_series(np.zeros((40, 2)), size=1.0), "size is 1"),
    ],
)
def test_returns_that_no_bootstrap_can_use_are_refused(call, says):
    with pytest.raises(DataError, match=says):
        call()
