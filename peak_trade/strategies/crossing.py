"""Crossings: exposure that one line above or below another one decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import float64, njit, types

from peak_trade.core.arrays import FloatArray
from peak_trade.indicators.means import READ_ONLY, TIE_RTOL
from peak_trade.strategies.base import Direction


class Line(NamedTuple):
    """An indicator of a column of the bars, with its windows and other numbers."""

    indicator: Callable[..., FloatArray]
    numbers: tuple[float, ...]
    column: str = "close"


class Crossing(NamedTuple):
    """The rule that a strategy is long above, short below and flat on a tie, on the sides that `direction` allows."""

    line: Line
    other: Line
    direction: Direction


def crossing_exposure(line: FloatArray, other: FloatArray, direction: Direction) -> FloatArray:
    """Return 1 where a line is above the other one, -1 below, 0 on a tie, NaN where one is unknown.

    Both lines have shape (n_bars,) and one unit; they tie within TIE_RTOL of `other`. A side that `direction` does not
    allow is 0. Causal.
    """
    exposure = np.empty(line.shape)
    fill_exposure(line, other, *sides_of(direction), np.nan, exposure)
    return exposure


def sides_of(direction: Direction) -> tuple[float, float]:
    """Return the exposure above and below that a direction allows."""
    return 0.0 if direction == "short" else 1.0, 0.0 if direction == "long" else -1.0


@njit(types.void(*2 * (READ_ONLY,), *3 * (float64,), float64[::1]), cache=True, nogil=True)
def fill_exposure(
    line: FloatArray, other: FloatArray, above: float, below: float, unknown: float, out: FloatArray
) -> None:
    """Write `above`, `below`, 0 on a tie, or `unknown` where a line is unknown, for each bar."""
    for row in range(out.size):
        gap = line[row] - other[row]
        side = above if gap > 0.0 else below if gap < 0.0 else unknown
        out[row] = 0.0 if abs(gap) <= TIE_RTOL * other[row] else side
