"""Rebalancing: when holdings return to their targets."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from peak_trade.core.arrays import BoolArray, IntArray
from peak_trade.core.calendar import Period, period_of
from peak_trade.core.settings import Settings


class Rebalancing(Settings):
    """Rules that trade an unchanged target. Without a rule a position is kept until its target changes."""

    every: Period | None = None
    """Return every sleeve to its target at the first close of each period, UTC."""

    drift_band: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Rebalance a sleeve at the close where its notional differs from its target by more than this fraction of it."""


def first_closes(times: IntArray, every: Period) -> BoolArray:
    """Mark the first close of each calendar period: the first one whose next bar can open in that period.

    Parameters
    ----------
    times : int64 array of shape (n,), close times, ns UTC, strictly increasing
    every : Period
        A close at exactly 00:00 is the first of the period that begins there: the order of that decision fills in the
        bar that opens then. The bar that closes there belongs to the period before.

    Returns
    -------
    bool array of shape (n,); the first close is always marked

    Notes
    -----
    Causal: value t is computed from times t - 1 and t.

    Examples
    --------
    >>> day = 86_400_000_000_000
    >>> first_closes(np.array([0, day // 2, day, day + 1]), "day").tolist()
    [True, False, True, False]

    """
    periods = period_of(times, every)
    marked = np.ones(times.size, dtype=bool)
    marked[1:] = periods[1:] != periods[:-1]
    return marked
