"""Compute: the call through which indicators and strategies compute all that depends on earlier values.

It computes at once, takes the result from a cache, or continues from a memory of the earlier values.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from peak_trade.core.arrays import FloatArray

SHARED_BYTES = 8 * 2**20
"""Default size of an `IndicatorCache`."""


class Compute(Protocol):
    """Call of an indicator on an array with its window and other arguments.

    A sweep caches the results. A session continues with the values of new bars what it computed from earlier ones.
    """

    def __call__(self, indicator: Callable[..., FloatArray], values: NDArray[Any], *others: Any) -> FloatArray:
        """Return indicator(values, *others)."""


def compute(indicator: Callable[..., FloatArray], values: NDArray[Any], *others: Any) -> FloatArray:
    """Return indicator(values, *others), computed from these values alone."""
    return indicator(values, *others)


class IndicatorCache:
    """Cache of computed indicators that drops the least recently used ones beyond `max_bytes`.

    The parameter sets of a sweep share one.
    """

    def __init__(self, max_bytes: int = SHARED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[Any, ...], tuple[FloatArray, FloatArray]] = OrderedDict()
        self._left = max_bytes

    def __call__(self, indicator: Callable[..., FloatArray], values: NDArray[Any], *numbers: Any) -> FloatArray:
        """Return indicator(values, *numbers), read-only; arrays are compared by their memory, not by content.

        Indicators of values that can be written to are not kept.
        """
        if values.flags.writeable:
            return indicator(values, *numbers)
        key = (indicator, values.ctypes.data, values.strides, values.size, *numbers)
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
                return found[1]
        indicated = indicator(values, *numbers)
        is_fresh = indicator.__module__.startswith("peak_trade.indicators") and indicated.flags.c_contiguous
        content = memoryview(indicated.data).toreadonly() if is_fresh else indicated.tobytes()
        computed = np.frombuffer(content, indicated.dtype).reshape(indicated.shape)
        with self._lock:
            former = self._known.pop(key, None)
            self._known[key] = values, computed
            self._left -= computed.nbytes - (0 if former is None else former[1].nbytes)
            while self._left < 0:
                _, (_, dropped) = self._known.popitem(last=False)
                self._left += dropped.nbytes
        return computed

    def __reduce__(self) -> tuple[type[IndicatorCache], tuple[int]]:
        """Return an empty cache for another process."""
        return IndicatorCache, (self._max_bytes,)


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
