"""Rounding to lots and ticks. A step of 0 leaves a number unchanged."""

from __future__ import annotations

import math
import sys

import numpy as np

from peak_trade.core.arrays import FloatArray

_GRAIN = 1e-9
"""Tolerance, as a fraction of a lot, below a whole lot: 0.3 / 0.1 is 2.9999999999999996 and counts as 3 lots."""

_NOTHING = 1e-12
"""Tolerance of a remainder that counts as zero, as a fraction of the last change."""

_EPSILON = 4.0 * sys.float_info.epsilon


def floor_to(amount: float, step: float) -> float:
    """Round a number toward zero onto the grid of `step`."""
    if step <= 0.0:
        return amount
    ratio = abs(amount) / step
    n_steps = math.floor(ratio + _GRAIN + ratio * _EPSILON)
    return math.copysign(_on_grid(n_steps, step), amount) if n_steps else 0.0


def floor_difference(wanted: float, held: float, step: float) -> float:
    """Return wanted − held, rounded toward zero onto the grid of `step`.

    A difference of two numbers on the grid is exact, although the float noise of large numbers exceeds a small one.
    """
    change = wanted - held
    nearest = nearest_to(change, step)
    return nearest if abs(change - nearest) <= _noise(step, abs(wanted) + abs(held)) else floor_to(change, step)


def ceil_to(amount: float, step: float) -> float:
    """Round a number away from zero onto the grid of `step`; a number on the grid up to float noise stays."""
    if step <= 0.0:
        return amount
    ratio = abs(amount) / step
    n_steps = math.ceil(ratio - _GRAIN - ratio * _EPSILON)
    return math.copysign(_on_grid(n_steps, step), amount) if n_steps else 0.0


def limit_to(price: float, sign: int, tick: float) -> float:
    """Round a limit price to no worse than asked: down for a buy (sign +1), up for a sell (-1)."""
    return floor_to(price, tick) if sign > 0 else ceil_to(price, tick)


def stop_to(level: float, sign: int, tick: float) -> float:
    """Round the level of a stop away from the market: up for a buy (sign +1), down for a sell (-1)."""
    return ceil_to(level, tick) if sign > 0 else floor_to(level, tick)


def stops_to(levels: FloatArray, sign: int, tick: float) -> FloatArray:
    """Return `stop_to` of every level, none of which is negative, bit for bit; shape (n_levels,)."""
    if tick <= 0.0:
        return levels
    ratios = levels / tick
    noise = _GRAIN + ratios * _EPSILON
    inverse = whole_inverse(tick)
    n_steps: FloatArray = np.ceil(ratios - noise) if sign > 0 else np.floor(ratios + noise)
    return n_steps / inverse if inverse else n_steps * tick


def is_on_grid(amount: float, step: float) -> bool:
    """Return whether a number is a multiple of `step` up to float noise; always true when the step is 0."""
    if step <= 0.0:
        return True
    ratio = abs(amount) / step
    return abs(ratio - round(ratio)) <= _GRAIN + ratio * _EPSILON


def remove_noise(amount: float, step: float, last_change: float) -> float:
    """Return a sum of multiples of `step` without float noise; a remainder far below `last_change` is 0.0."""
    if abs(amount) <= _NOTHING * abs(last_change):
        return 0.0
    nearest = nearest_to(amount, step)
    return nearest if abs(amount - nearest) <= _noise(step, abs(amount) + abs(last_change)) else amount


def nearest_to(amount: float, step: float) -> float:
    """Round a number to the nearest point of the grid of `step`."""
    if step <= 0.0:
        return amount
    n_steps = round(abs(amount) / step)
    return math.copysign(_on_grid(n_steps, step), amount) if n_steps else 0.0


def whole_inverse(step: float) -> int:
    """Return n for a step of 1/n, 0 for any other step."""
    inverse = round(1.0 / step)
    return inverse if inverse and abs(inverse * step - 1.0) < _GRAIN else 0


def _noise(step: float, magnitude: float) -> float:
    return _GRAIN * step + _EPSILON * magnitude


def _on_grid(n_steps: int, step: float) -> float:
    inverse = whole_inverse(step)
    return n_steps / inverse if inverse else n_steps * step
