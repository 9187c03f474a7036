"""The effective number of trials: of copies 1, of independent trials their number, of groups that of the groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.metrics import selection
from peak_trade.metrics.selection import effective_trials
from tests.tolerances import RTOL_SAME


def noise(n_trials: int, n_weeks: int = 300, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.02, (n_trials, n_weeks))


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9])
def test_equally_correlated_trials_have_the_number_of_their_eigenvalues(correlation):
    """Eigenvalues 1 + (n - 1) c once and 1 - c, n - 1 times: the formula of Galwey (2009) on the true matrix."""
    n, weeks = 10, 20_000
    shared = noise(1, weeks, 1)
    returns = np.sqrt(correlation) * shared + np.sqrt(1.0 - correlation) * noise(n, weeks)
    roots = np.sqrt(1.0 + (n - 1) * correlation) + (n - 1) * np.sqrt(1.0 - correlation)
    assert effective_trials(returns) == pytest.approx(roots**2 / n, rel=0.01)


@given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 100), st.floats(0.1, 50.0))
def test_copies_in_any_scale_add_nothing(n_groups, n_copies, seed, scale):
    once = noise(n_groups, 400, seed)
    copies = np.concatenate([once * scale**place for place in range(n_copies)])
    assert effective_trials(copies) == pytest.approx(effective_trials(once), rel=1e-6)
    assert 1.0 - RTOL_SAME <= effective_trials(once) <= n_groups * (1.0 + RTOL_SAME)


def test_two_trials_are_compared_on_the_weeks_that_both_have():
    one = noise(1)[0]
    early, late = one.copy(), one.copy()
    early[200:], late[:100] = np.nan, np.nan
    assert effective_trials(np.array([early, late])) == pytest.approx(1.0)
    late[:195] = np.nan  # five shared weeks are too few to compare
    assert effective_trials(np.array([early, late])) == pytest.approx(2.0)


def test_trials_without_returns_count_each_and_flat_ones_once():
    returns = noise(2)
    nothing, flat = np.full((3, 300), np.nan), np.zeros((4, 300))
    assert effective_trials(nothing) == 3.0
    assert effective_trials(flat) == 1.0
    both = effective_trials(returns)
    assert effective_trials(np.concatenate([returns, nothing, flat])) == pytest.approx(both + 3.0 + 1.0)
    assert effective_trials(np.empty((0, 0))) == 0.0


def test_many_trials_have_the_same_number_by_the_shorter_matrix(monkeypatch):
    returns = noise(60, 40)
    pairs = effective_trials(returns)
    monkeypatch.setattr(selection, "MOST_PAIRED", 10)
    assert effective_trials(returns) == pytest.approx(pairs, rel=1e-9)
    returns[:30, :10] = np.nan
    rough = effective_trials(returns)
    monkeypatch.undo()
    assert rough == pytest.approx(effective_trials(returns), rel=0.2)
