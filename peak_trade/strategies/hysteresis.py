"""Hysteresis: exposure from entry and exit conditions."""

from __future__ import annotations

import numpy as np
from numba import njit

from peak_trade.core.arrays import BoolArray, FloatArray
from peak_trade.strategies.base import Direction


def held_exposure(
    enter_long: BoolArray,
    leave_long: BoolArray,
    enter_short: BoolArray,
    leave_short: BoolArray,
    warm_up: int,
    direction: Direction,
) -> FloatArray:
    """Return the exposure that is entered on one condition and kept until another one.

    Parameters
    ----------
    enter_long, leave_long, enter_short, leave_short : bool arrays of shape (n_bars,)
        Conditions at each close. A side is not entered while its exit condition is true. A flip exits and enters on
        one bar. If both sides could be entered, the long side is.
    warm_up : int, bars
        Number of bars at the start that are NaN; the state after them is flat.
    direction : long, short or both

    Returns
    -------
    float64 array of shape (n_bars,): 1, 0 or -1, NaN in the warm-up

    """
    exposure: FloatArray = _held(
        enter_long & ~leave_long & (direction != "short"),
        leave_long,
        enter_short & ~leave_short & (direction != "long"),
        leave_short,
        warm_up,
    )
    return exposure


@njit("float64[::1](boolean[::1], boolean[::1], boolean[::1], boolean[::1], int64)", cache=True)
def _held(
    enter_long: BoolArray, leave_long: BoolArray, enter_short: BoolArray, leave_short: BoolArray, warm_up: int
) -> FloatArray:
    exposure = np.full(enter_long.size, np.nan)
    side = 0.0
    for row in range(warm_up, enter_long.size):
        if (side > 0.0 and leave_long[row]) or (side < 0.0 and leave_short[row]):
            side = 0.0
        if side == 0.0:
            if enter_long[row]:
                side = 1.0
            elif enter_short[row]:
                side = -1.0
        exposure[row] = side
    return exposure
