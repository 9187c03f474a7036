"""Crossings: exposure that one line above or below another one decides, for one strategy or many at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    _fill(line, other, *_sides(direction), np.nan, exposure)
    return exposure


def crossing_exposures(
    lines: Sequence[tuple[FloatArray, FloatArray, Direction]], fraction: float, out: FloatArray
) -> None:
    """Write the exposure of each of k crossings × `fraction` into `out`, shape (k, n_bars); 0 where a line is unknown.

    `lines` are the arguments of `crossing_exposure`. Python's lock is released meanwhile.
    """
    for row, (line, other, direction) in enumerate(lines):
        above, below = _sides(direction)
        _fill(line, other, above * fraction, below * fraction, 0.0, out[row])


def _sides(direction: Direction) -> tuple[float, float]:
    return 0.0 if direction == "short" else 1.0, 0.0 if direction == "long" else -1.0


@njit(types.void(*2 * (READ_ONLY,), *3 * (float64,), float64[::1]), cache=True, nogil=True)
def _fill(line: FloatArray, other: FloatArray, above: float, below: float, unknown: float, out: FloatArray) -> None:
    for row in range(out.size):
        gap = line[row] - other[row]
        side = above if gap > 0.0 else below if gap < 0.0 else unknown
        out[row] = 0.0 if abs(gap) <= TIE_RTOL * other[row] else side
