"""Cache of computed indicators, which the parameter sets of a sweep share."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peak_trade.core.arrays import FloatArray

SHARED_BYTES = 8 * 2**20
"""Default size of a cache."""


class IndicatorCache:
    """Cache of computed indicators that drops the least recently used ones beyond `max_bytes`."""

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
