"""Hysteresis: exposure from entry and exit conditions, and a scale that ignores small changes."""

from __future__ import annotations

import numpy as np
from numba import njit

from peak_trade.core.arrays import BoolArray, FloatArray
from peak_trade.core.compute import Compute, Memory, compute, kept
from peak_trade.strategies.base import Direction


def held_exposure(
    enter_long: BoolArray,
    leave_long: BoolArray,
    enter_short: BoolArray,
    leave_short: BoolArray,
    warm_up: int,
    direction: Direction,
    by: Compute = compute,
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
    by : Compute

    Returns
    -------
    float64 array of shape (n_bars,): 1, 0 or -1, NaN in the warm-up

    """
    opens_long = enter_long & ~leave_long & (direction != "short")
    opens_short = enter_short & ~leave_short & (direction != "long")
    return by(held, opens_long, leave_long, opens_short, leave_short, warm_up)


def held(
    opens_long: BoolArray,
    leave_long: BoolArray,
    opens_short: BoolArray,
    leave_short: BoolArray,
    warm_up: int,
    memory: Memory | None = None,
) -> FloatArray:
    """Return the exposure of conditions of which none opens a side and leaves it; see `held_exposure`."""
    exposure: FloatArray = _held(opens_long, leave_long, opens_short, leave_short, warm_up, kept(memory, 2))
    return exposure


def held_scale(wanted: FloatArray, band: float, memory: Memory | None = None) -> FloatArray:
    """Return a scale that is kept until the wanted one differs by more than `band`, a fraction of the kept one."""
    scales: FloatArray = _held_scale(wanted, band, kept(memory, 1, np.nan))
    return scales


@njit("float64[::1](boolean[::1], boolean[::1], boolean[::1], boolean[::1], int64, float64[::1])", cache=True)
def _held(
    enter_long: BoolArray,
    leave_long: BoolArray,
    enter_short: BoolArray,
    leave_short: BoolArray,
    warm_up: int,
    memory: FloatArray,
) -> FloatArray:
    exposure = np.full(enter_long.size, np.nan)
    n_seen, side = int(memory[0]), memory[1]
    for row in range(max(warm_up - n_seen, 0), enter_long.size):
        if (side > 0.0 and leave_long[row]) or (side < 0.0 and leave_short[row]):
            side = 0.0
        if side == 0.0:
            if enter_long[row]:
                side = 1.0
            elif enter_short[row]:
                side = -1.0
        exposure[row] = side
    memory[0], memory[1] = n_seen + enter_long.size, side
    return exposure


@njit("float64[::1](float64[::1], float64, float64[::1])", cache=True)
def _held_scale(wanted: FloatArray, band: float, memory: FloatArray) -> FloatArray:
    kept = np.full(wanted.size, np.nan)
    scale = memory[0]
    for row in range(wanted.size):
        if not abs(wanted[row] - scale) <= band * scale:
            scale = wanted[row]
        kept[row] = scale
    memory[0] = scale
    return kept
