"""Labels are held as long as they must be, and bull stays bull across refits."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError
from peak_trade.regimes.states import (
    FilteredRegimes,
    SmoothedRegimes,
    StateParameters,
    count_transitions,
    durations,
    match_states,
    require_filtered,
    state_distance,
    with_min_duration,
)
from tests.examples import examples

PREVIOUS = StateParameters(
    np.array([[-0.01, 1.0], [0.0, 0.2], [0.01, 0.4]]),
    np.array([[1e-4, 0.04], [1e-5, 0.01], [4e-5, 0.02]]),
    np.array([300.0, 500.0, 400.0]),
)
labels_of = st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=80).map(lambda row: np.array(row, dtype=np.int8))


@settings(max_examples=examples(40), deadline=None)
@given(labels_of, st.integers(1, 9), st.integers(1, 80))
def test_a_held_regime_lasts_its_minimum_and_knows_no_future(labels, min_duration, cut):
    held = with_min_duration(labels, min_duration)
    assert (durations(held)[:-1] >= min_duration).all()
    np.testing.assert_array_equal(held[:cut], with_min_duration(labels[:cut], min_duration))
    np.testing.assert_array_equal(with_min_duration(labels, 1), labels)


def test_the_bars_before_the_first_fit_are_not_held():
    labels = np.array([-1, -1, -1, 2, 0, 0, 0, 0], dtype=np.int8)
    assert with_min_duration(labels, 3).tolist() == [-1, -1, -1, 2, 2, 2, 0, 0]


def test_durations_and_transitions_count_stays():
    labels = np.array([-1, -1, 0, 0, 1, 2, 2, 2], dtype=np.int8)
    assert durations(labels).tolist() == [2, 1, 3]
    assert count_transitions(labels) == 2
    assert count_transitions(np.full(4, -1, dtype=np.int8)) == 0


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_states_of_a_refit_are_matched_whatever_their_order(order):
    moved = StateParameters(PREVIOUS.means * 1.05, PREVIOUS.variances * 0.9, PREVIOUS.weights).take(order)
    matched = match_states(moved, PREVIOUS, 0)
    np.testing.assert_array_equal(moved.take(matched).means, PREVIOUS.means * 1.05)
    assert match_states(moved, None, 0) == matched


def test_a_match_is_given_up_where_mean_returns_contradict_it_and_not_for_noise():
    upside_down = StateParameters(PREVIOUS.means * [-1.0, 1.0], PREVIOUS.variances, PREVIOUS.weights)
    assert match_states(upside_down, PREVIOUS, 0) == (2, 1, 0)
    noise = StateParameters(PREVIOUS.means * [-0.01, 1.0], PREVIOUS.variances, PREVIOUS.weights)
    assert match_states(noise, PREVIOUS, 0) == (0, 1, 2)


def test_the_distance_of_a_state_to_itself_is_zero_and_symmetric():
    distance = state_distance(PREVIOUS, PREVIOUS)
    np.testing.assert_array_equal(np.diagonal(distance), 0.0)
    np.testing.assert_allclose(distance, distance.T, rtol=1e-12)


def test_smoothed_regimes_are_refused_where_filtered_ones_are_needed():
    labels = np.zeros(3, dtype=np.int8)
    smoothed = SmoothedRegimes(np.arange(3), labels, np.zeros((3, 3)), 0, "hmm")
    with pytest.raises(ConfigError, match=r"Use filter_regimes\(bars, detector\)"):
        require_filtered(smoothed)
    with pytest.raises(ConfigError, match="regimes were ndarray"):
        require_filtered(labels)
    filtered = FilteredRegimes(np.arange(3), labels, np.zeros((3, 3)), 0, "hmm")
    assert require_filtered(filtered) is filtered
