"""Base class of strategies and checks of the exposure that they return."""

from __future__ import annotations

import re
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.compute import Compute
from peak_trade.core.errors import PeakTradeError, StrategyError
from peak_trade.core.settings import Settings
from peak_trade.core.time import iso

Direction = Literal["long", "short", "both"]
"""Which sides a strategy may hold; exposure on a side that is not allowed is flat instead."""


class BaseStrategy(Settings, ABC):
    """A frozen set of parameters that turns bars into target exposure: a `Strategy`, or a `PanelStrategy`."""

    noun: ClassVar[str] = "strategy"
    """Word for a value of such a field."""
    sees: ClassVar[str]
    """What a decision depends on; this is the kind of the strategy."""
    extra_columns: ClassVar[tuple[str, ...]] = ()
    """Names of the extra columns that it reads, such as ("funding_rate",). Bars without one of them are refused."""

    @property
    def name(self) -> str:
        """Class name in snake case: MaCrossover is ma_crossover."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    @property
    @abstractmethod
    def warm_up(self) -> int:
        """Number of bars at the start whose exposure may be NaN, which means flat."""


class Strategy(BaseStrategy):
    """A frozen set of parameters that turns the bars of one symbol into target exposure.

    Subclasses declare the parameters as fields and define `warm_up` and `exposure`.

    Examples
    --------
    >>> class AboveMean(Strategy):
    ...     window: int = 20
    ...     @property
    ...     def warm_up(self) -> int:
    ...         return self.window - 1
    ...     def exposure(self, bars):
    ...         mean = bars["close"].rolling(self.window).mean().to_numpy()
    ...         return np.where(np.isnan(mean), np.nan, bars["close"].to_numpy() > mean)
    >>> AboveMean(window=3).warm_up
    2

    """

    sees: ClassVar[str] = "one symbol"

    @abstractmethod
    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        """Return the target exposure held after each close.

        Parameters
        ----------
        bars : DataFrame of shape (n_bars, 5 + number of extra columns)
            Checked bars of one symbol, index `close_time` in UTC; after them each of `extra_columns` with the latest
            value that was known at the close, NaN before the first one. The frame belongs to this call: columns may
            be added or changed without any effect on fills or other strategies. Its arrays are read-only.

        Returns
        -------
        float64 array of shape (n_bars,), in [-1, 1]
            A state, not an event: 1 is fully long, 0 flat, -1 fully short. NaN only within the warm-up.

        Notes
        -----
        Causal: value t is computed from bars up to t. `peak-trade check strategy` tests it.

        """

    def from_bars(self) -> Strategy:
        """Return the strategy that computes everything from its bars, which a check for look-ahead evaluates."""
        return self

    def exposure_by(self, bars: pd.DataFrame, compute: Compute) -> FloatArray:
        """Return `exposure` with indicators from `compute`, so that the parameter sets of a sweep can share them.

        A subclass that overrides this method returns the same values from `exposure`.
        """
        return self.exposure(bars)


def allow(exposure: FloatArray, direction: Direction) -> FloatArray:
    """Return exposure with the sides that `direction` does not allow set to flat; NaN stays NaN."""
    if direction == "long":
        return np.where(exposure < 0.0, 0.0, exposure)
    if direction == "short":
        return np.where(exposure > 0.0, 0.0, exposure)
    return exposure


def check_windows(fast: int, slow: int) -> None:
    """Raise ValueError unless the fast window is shorter than the slow one, both in bars; pydantic reports it."""
    if fast >= slow:
        raise ValueError(f"fast was {fast}, slow {slow}: fast must be the smaller.")


@contextmanager
def strategy_errors(name: str) -> Iterator[None]:
    """Convert exceptions of a strategy's code to a StrategyError that names the line."""
    try:
        yield
    except PeakTradeError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[:3][-1]
        line = f"{Path(place.filename).name}, line {place.lineno}"
        raise StrategyError(f"{name}: exposure raised {type(error).__name__} ({error}) at {line}.") from error


def check_exposure(exposure: Any, times: IntArray, warm_up: int, name: str, n_before: int = 0) -> FloatArray:
    """Return the exposure as a read-only float64 array with NaN in the warm-up set to 0.0.

    `n_before` is the number of bars before the first one of `times`.

    Raises
    ------
    StrategyError
        On a wrong type or length, a value outside [-1, 1], or NaN after the warm-up. The message names the bar.

    """
    values = np.asarray(exposure)
    if values.dtype != np.float64:
        raise StrategyError(
            f"{name}: exposure has dtype {values.dtype}; return float64 (for example array.astype(float))."
        )
    if values.shape != times.shape:
        raise StrategyError(
            f"{name}: exposure has shape {values.shape}, the bars {times.shape}; return one value per bar."
        )
    n_head = max(warm_up - n_before, 0)
    head, body = values[:n_head], values[n_head:]
    unknown = np.isnan(head)
    is_sound = bool((unknown | (np.abs(head) <= 1.0)).all())
    if body.size:
        is_sound = is_sound and bool(body.min() >= -1.0 and body.max() <= 1.0)
    if not is_sound:
        _refuse(values, times, warm_up, name, n_before)
    filled: FloatArray = values.copy()
    filled[:n_head][unknown] = 0.0
    filled.flags.writeable = False
    return filled


def _refuse(values: FloatArray, times: IntArray, warm_up: int, name: str, n_before: int) -> NoReturn:
    outside = np.flatnonzero(~np.isnan(values) & ~(np.abs(values) <= 1.0))
    if outside.size:
        row = int(outside[0])
        raise StrategyError(f"{name}: exposure was {values[row]} at {iso(int(times[row]))}; it must lie in [-1, 1].")
    n_head = max(warm_up - n_before, 0)
    row = int(np.flatnonzero(np.isnan(values[n_head:]))[0]) + n_head
    bar = n_before + row
    raise StrategyError(
        f"{name}: exposure is NaN at {iso(int(times[row]))}, bar {bar}, after the warm-up of {warm_up} bars; "
        "return 0.0 to be flat, or state a longer warm-up."
    )
