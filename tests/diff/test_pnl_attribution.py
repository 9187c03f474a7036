"""The P&L attribution test: its zones, and the reason where there is no score."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from peak_trade.diff import pnl as module
from peak_trade.diff.pnl import MIN_BARS, ks_distance, pnl_attribution, spearman_correlation
from tests.tolerances import RTOL_SAME


def curve(changes) -> pd.Series:
    index = pd.date_range("2024-01-01", periods=len(changes) + 1, freq="h", tz="UTC")
    return pd.Series(10_000.0 + np.concatenate([[0.0], np.cumsum(changes)]), index=index)


def test_equal_runs_are_green_and_independent_ones_red():
    rng = np.random.default_rng(0)
    changes = rng.normal(size=500)
    assert pnl_attribution(curve(changes), curve(changes), (5, 5)).zone == "green"
    assert pnl_attribution(curve(changes), curve(rng.normal(size=500)), (5, 5)).zone == "red"
    assert pnl_attribution(curve(changes), curve(2.0 * changes), (5, 5)).zone == "red"


@pytest.mark.parametrize(
    ("n_bars", "n_fills", "reason"),
    [
        (100, (0, 0), "Neither run has a fill"),
        (100, (0, 4), "The shadow run has no fill"),
        (100, (4, 0), "The live run has no fill"),
        (MIN_BARS - 1, (4, 4), "needs at least 30"),
    ],
)
def test_a_missing_score_has_a_reason(n_bars, n_fills, reason):
    changes = np.random.default_rng(1).normal(size=n_bars)
    score = pnl_attribution(curve(changes), curve(changes), n_fills)
    assert score.zone == "none"
    assert math.isnan(score.spearman)
    assert reason in score.note


@pytest.mark.parametrize(
    ("spearman", "ks", "zone"),
    [
        (0.81, 0.08, "green"),
        (0.80, 0.08, "amber"),
        (0.81, 0.09, "amber"),
        (0.70, 0.12, "amber"),
        (0.69, 0.08, "red"),
        (0.81, 0.13, "red"),
    ],
)
def test_a_value_equal_to_a_threshold_is_amber(spearman, ks, zone, monkeypatch):
    """MAR32.42: green is above 0.80 and below 0.09, red is below 0.70 or above 0.12."""
    monkeypatch.setattr(module, "spearman_correlation", lambda *_: spearman)
    monkeypatch.setattr(module, "ks_distance", lambda *_: ks)
    changes = np.random.default_rng(2).normal(size=60)
    assert pnl_attribution(curve(changes), curve(changes), (5, 5)).zone == zone


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=2, max_size=40))
def test_both_statistics_are_those_of_scipy(pairs):
    one, other = np.array(pairs, dtype=np.float64).T
    assert ks_distance(one, other[1:]) == pytest.approx(stats.ks_2samp(one, other[1:]).statistic, rel=RTOL_SAME)
    if np.ptp(one) and np.ptp(other):
        reference = stats.spearmanr(one, other).statistic
        assert 2.0 + spearman_correlation(one, other) == pytest.approx(2.0 + reference, rel=RTOL_SAME)
