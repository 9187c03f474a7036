"""Rounding to lots and ticks. A step of 0 leaves a number unchanged."""

from __future__ import annotations

import math
import sys

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


def ceil_to(amount: float, step: float) -> float:
    """Round a number away from zero onto the grid of `step`; a number on the grid up to float noise stays."""
    if step <= 0.0:
        return amount
    ratio = abs(amount) / step
    n_steps = math.ceil(ratio - _GRAIN - ratio * _EPSILON)
    return math.copysign(_on_grid(n_steps, step), amount) if n_steps else 0.0


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
    return nearest if abs(amount - nearest) <= _GRAIN * step else amount


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
