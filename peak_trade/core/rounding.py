"""Rounding to lots and ticks: a step of 0 leaves the number as it is."""

from __future__ import annotations

import math
import sys

_GRAIN = 1e-9
"""A quantity this share of a lot below a whole lot counts as whole: 0.3 / 0.1 is 2.9999999999999996."""

_EPSILON = 4.0 * sys.float_info.epsilon


def floor_to(amount: float, step: float) -> float:
    """Round a number toward zero onto the grid of `step`."""
    if step <= 0.0:
        return amount
    ratio = abs(amount) / step
    n_steps = math.floor(ratio + _GRAIN + ratio * _EPSILON)
    return math.copysign(_on_grid(n_steps, step), amount) if n_steps else 0.0


def nearest_to(amount: float, step: float) -> float:
    """Round a number to the nearest point of the grid of `step`."""
    if step <= 0.0:
        return amount
    n_steps = round(abs(amount) / step)
    return math.copysign(_on_grid(n_steps, step), amount) if n_steps else 0.0


def _on_grid(n_steps: int, step: float) -> float:
    inverse = round(1.0 / step)
    if inverse and abs(inverse * step - 1.0) < _GRAIN:
        return n_steps / inverse
    return n_steps * step
