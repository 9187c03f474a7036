"""P&L attribution test of the Basel market-risk standard, applied to the equity curves of two runs.

The test (Basel Committee, MAR32.20 and following) uses the Spearman correlation of two PnL series and the
Kolmogorov-Smirnov distance of their distributions. By MAR32.42 a desk is green with a correlation above 0.80 and a
distance below 0.09, red with a correlation below 0.70 or a distance above 0.12, and amber otherwise; a value equal to a
threshold is amber. The standard requires 250 days. Here the unit is a bar, and `MIN_BARS` bars are required.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

MIN_BARS = 30
GREEN_SPEARMAN, RED_SPEARMAN = 0.80, 0.70
GREEN_KS, RED_KS = 0.09, 0.12

Zone = Literal["green", "amber", "red", "none"]


@dataclass(frozen=True, slots=True)
class PnlAttribution:
    """Result of the test: the zone is "none" without a score, and `note` gives the reason.

    `n_bars` counts the bars on which the equity of at least one run changed; `spearman` is in [-1, 1], `ks` in [0, 1].
    """

    zone: Zone
    n_bars: int
    spearman: float
    ks: float
    note: str


def pnl_attribution(shadow: pd.Series[float], live: pd.Series[float], n_fills: tuple[int, int]) -> PnlAttribution:
    """Return the result of the P&L attribution test of two equity curves.

    Parameters
    ----------
    shadow, live : Series of shape (n_bars,), in quote currency
        Equity at the closes that both runs have.
    n_fills : tuple of int
        Number of fills in the shadow and in the live run.

    """
    if not any(n_fills):
        return _none(0, "Neither run has a fill, so there is no PnL to compare.")
    if not all(n_fills):
        idle = "shadow" if n_fills[0] == 0 else "live"
        return _none(0, f"The {idle} run has no fill: its PnL is always zero, and the correlation is undefined.")
    changes = np.column_stack([np.diff(shadow.to_numpy()), np.diff(live.to_numpy())])
    moved = changes[(changes != 0.0).any(axis=1)]
    if len(moved) < MIN_BARS:
        return _none(len(moved), f"The PnL is nonzero on {len(moved)} bars; a score needs at least {MIN_BARS}.")
    if (np.ptp(moved, axis=0) == 0.0).any():
        return _none(len(moved), "The PnL of one run is equal on all bars, and the correlation is undefined.")
    from scipy import stats

    spearman = float(stats.spearmanr(moved[:, 0], moved[:, 1]).statistic)
    ks = float(stats.ks_2samp(moved[:, 0], moved[:, 1]).statistic)
    return PnlAttribution(
        _zone(spearman, ks), len(moved), spearman, ks, f"Computed on {len(moved):,} bars with a nonzero PnL."
    )


def _zone(spearman: float, ks: float) -> Zone:
    if spearman < RED_SPEARMAN or ks > RED_KS:
        return "red"
    return "green" if spearman > GREEN_SPEARMAN and ks < GREEN_KS else "amber"


def _none(n_bars: int, note: str) -> PnlAttribution:
    return PnlAttribution("none", n_bars, math.nan, math.nan, note)
