"""Compute: the call through which indicators and strategies compute all that depends on earlier values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from peak_trade.core.arrays import FloatArray


class Compute(Protocol):
    """Call of an indicator on an array with its window and other arguments.

    A sweep caches the results. A session continues with the values of new bars what it computed from earlier ones.
    """

    def __call__(self, indicator: Callable[..., FloatArray], values: NDArray[Any], *others: Any) -> FloatArray:
        """Return indicator(values, *others)."""


def compute(indicator: Callable[..., FloatArray], values: NDArray[Any], *others: Any) -> FloatArray:
    """Return indicator(values, *others), computed from these values alone."""
    return indicator(values, *others)


class Memory:
    """The array that one recursion keeps from earlier values for later ones; empty before the first value."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: Any = None

    def array(self, size: int, fill: float) -> Any:
        """Return the array of this memory, which the recursion changes; at first `size` times `fill`, of its type."""
        if self._kept is None:
            self._kept = np.full(size, fill)
        return self._kept


def kept(memory: Memory | None, size: int, fill: float = 0.0) -> Any:
    """Return the array of a memory, or a new one without a memory; see `Memory.array`."""
    return np.full(size, fill) if memory is None else memory.array(size, fill)
