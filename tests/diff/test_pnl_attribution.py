"""The P&L attribution test: its zones, and the reason where there is no score."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from peak_trade.diff.pnl_attribution import MIN_BARS, pnl_attribution


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
