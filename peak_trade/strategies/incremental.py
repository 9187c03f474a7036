"""Strategies that keep all of their memory in the indicators that they compute: new bars continue the earlier ones."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns
from peak_trade.core.calendar import trailing_per_year
from peak_trade.core.compute import Compute, Memory, compute
from peak_trade.core.errors import StrategyError
from peak_trade.indicators.dispersion import rolling_std
from peak_trade.indicators.means import ema, hide_head, lag, sma, wilder
from peak_trade.indicators.ranges import highest
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.hysteresis import held, held_scale

MEMORY: dict[Callable[..., Any], str] = {
    ema: "the average and the number of values",
    held: "the side and the number of bars",
    held_scale: "the scale",
    hide_head: "the number of bars",
    highest: "the last window - 1 values",
    lag: "the last n_bars values",
    rolling_std: "sum and sum of squares with their rounding errors, and the last window values",
    sma: "the sum with its rounding error, and the last window values",
    trailing_per_year: "the last window close times",
    wilder: "the average and the number of values",
}
"""Functions that depend on earlier values, and what they remember. All else is made of one bar or of these."""


class IncrementalStrategy(Strategy):
    """A strategy that keeps all of its memory in what it computes by `compute`.

    Subclasses define `evaluate` in place of `exposure`. A session then evaluates each new bar alone: a bar costs the
    same after a day and after a year. `peak-trade check strategy` compares both evaluations, bit for bit.

    Examples
    --------
    >>> class AboveMean(IncrementalStrategy):
    ...     window: int = 20
    ...     @property
    ...     def warm_up(self) -> int:
    ...         return self.window - 1
    ...     def evaluate(self, columns, compute):
    ...         mean = compute(sma, columns.close, self.window)
    ...         return np.where(np.isnan(mean), np.nan, columns.close > mean)
    >>> AboveMean().is_incremental
    True

    """

    @property
    def is_incremental(self) -> bool:
        """Whether new bars continue the earlier ones; a strategy with members that do not is evaluated as a whole."""
        return True

    @abstractmethod
    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        """Return the target exposure after each close, as `exposure` does.

        Each row is a function of the same row of `columns` and of what `compute` returns. `compute` takes the functions
        in MEMORY, NumPy's elementwise ones, and those that take `by=compute`, with the same calls at every evaluation.
        """

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        """Return the target exposure held after each close; see `Strategy.exposure`."""
        return self.exposure_by(bars, compute)

    def exposure_by(self, bars: pd.DataFrame, compute: Compute) -> FloatArray:
        """Return `exposure`, with the indicators taken from `compute`."""
        return self.evaluate(BarColumns.of(bars), compute)


def is_incremental(strategy: Strategy) -> bool:
    """Return whether new bars continue the earlier ones of a strategy."""
    return isinstance(strategy, IncrementalStrategy) and strategy.is_incremental


class Continuation:
    """A `Compute` that continues with new bars what it computed from earlier ones.

    The n-th call after `begin` continues the n-th call of the evaluation before.
    """

    def __init__(self) -> None:
        self._known: list[tuple[Callable[..., FloatArray], Memory]] = []
        self._place = 0

    def begin(self) -> None:
        """Begin the evaluation of the next bars."""
        self._place = 0

    def __call__(self, indicator: Callable[..., FloatArray], values: NDArray[Any], *others: Any) -> FloatArray:
        """Return indicator(values, *others) for new bars.

        Raises
        ------
        StrategyError
            If the indicator can not be continued, or the calls differ from those of the evaluation before.

        """
        if isinstance(indicator, np.ufunc):
            elementwise: FloatArray = indicator(values, *others)
            return elementwise
        if indicator not in MEMORY:
            if not _takes_compute(indicator):
                raise StrategyError(
                    f"{getattr(indicator, '__name__', indicator)} can not be continued with new bars: it is none of "
                    "the functions in MEMORY and has no parameter `by`. Subclass Strategy instead."
                )
            return indicator(values, *others, by=self)
        if self._place == len(self._known):
            self._known.append((indicator, Memory()))
        known, memory = self._known[self._place]
        if known is not indicator:
            raise StrategyError(
                f"call {self._place + 1} of compute was {known.__name__} at the first bars and is {indicator.__name__} "
                "now: make the same calls at every evaluation."
            )
        self._place += 1
        return indicator(values, *others, memory=memory)


@cache
def _takes_compute(indicator: Callable[..., Any]) -> bool:
    return "by" in inspect.signature(indicator).parameters
