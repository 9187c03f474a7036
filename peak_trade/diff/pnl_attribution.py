"""How alike two PnL series are, by the regulator's P&L attribution test.

Basel Committee, MAR32.4-32.19 (2019, revised 2020): the Spearman correlation of the two series and the Kolmogorov-
Smirnov distance of their distributions. Green: correlation at least 0.80 and distance at most 0.09; red: below 0.70 or
above 0.12; amber in between. The rule asks for 250 days; here the unit is a bar, and `MIN_BARS` the least.
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
class Parity:
    """The parity score: `zone` is none where there is nothing to score, and `note` says why.

    `n_bars` counts the bars over which at least one side's equity changed; `spearman` is in [-1, 1], `ks` in [0, 1].
    """

    zone: Zone
    n_bars: int
    spearman: float
    ks: float
    note: str


def parity(shadow: pd.Series[float], live: pd.Series[float], n_trades: tuple[int, int]) -> Parity:
    """Return the parity score of two equity curves.

    Parameters
    ----------
    shadow, live : Series of shape (n_bars,), in quote currency
        Equity at the closes that both sides saw.
    n_trades : tuple of int
        Fills on either side.

    """
    if not any(n_trades):
        return _none(0, "No fill on either side: both did nothing, and there is no PnL to compare.")
    if not all(n_trades):
        silent = "shadow" if n_trades[0] == 0 else "live side"
        return _none(0, f"No fill on the {silent}: its PnL is zero throughout, and no correlation exists.")
    changes = np.column_stack([np.diff(shadow.to_numpy()), np.diff(live.to_numpy())])
    moved = changes[(changes != 0.0).any(axis=1)]
    if len(moved) < MIN_BARS:
        return _none(len(moved), f"{len(moved)} bars with a PnL; a score needs at least {MIN_BARS}.")
    if (np.ptp(moved, axis=0) == 0.0).any():
        return _none(len(moved), "One side's PnL is the same over every bar: no correlation exists.")
    from scipy import stats

    spearman = float(stats.spearmanr(moved[:, 0], moved[:, 1]).statistic)
    ks = float(stats.ks_2samp(moved[:, 0], moved[:, 1]).statistic)
    return Parity(_zone(spearman, ks), len(moved), spearman, ks, f"Over {len(moved):,} bars with a PnL on either side.")


def _zone(spearman: float, ks: float) -> Zone:
    if spearman < RED_SPEARMAN or ks > RED_KS:
        return "red"
    return "green" if spearman >= GREEN_SPEARMAN and ks <= GREEN_KS else "amber"


def _none(n_bars: int, note: str) -> Parity:
    return Parity("none", n_bars, math.nan, math.nan, note)
