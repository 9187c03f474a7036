"""Strategies that see several symbols at once: the panel of their bars, and the checks of their exposure."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from peak_trade.core.arrays import BoolArray, FloatArray, IntArray
from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars
from peak_trade.core.errors import StrategyError
from peak_trade.core.time import Timeframe, iso
from peak_trade.data.resampling import at_timeframe
from peak_trade.strategies.base import BaseStrategy

GROSS_RTOL = 1e-9
"""Relative tolerance of the gross exposure: three targets of 1/3 are allowed."""


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Bars of several symbols on the union of their close times.

    `open`, `high`, `low`, `close` and `volume` are DataFrames of shape (n_bars, n_symbols): index `close_time` in UTC,
    columns the symbols in sorted order, NaN where a symbol has no bar. The frames belong to the call that gets them;
    their arrays are read-only.
    """

    timeframe: Timeframe
    open: pd.DataFrame
    high: pd.DataFrame
    low: pd.DataFrame
    close: pd.DataFrame
    volume: pd.DataFrame
    extra: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """The extra columns by name; see `column`."""

    @classmethod
    def of(cls, bars: Sequence[Bars], names: Sequence[str] = ()) -> Panel:
        """Return the panel of the bars of several symbols, one each, all of one timeframe.

        `names` are those of extra columns; ConfigError when a symbol does not have one of them.
        """
        ordered = sorted(bars, key=lambda part: part.symbol)
        times = ordered[0].times
        for part in ordered[1:]:
            times = np.union1d(times, part.times)
        index = pd.DatetimeIndex(times, tz="UTC", name="close_time")
        places = [np.searchsorted(times, part.times) for part in ordered]
        frames: dict[str, Any] = {}
        for name in COLUMNS:
            values = np.full((len(ordered), times.size), np.nan)
            for row, part, place in zip(values, ordered, places, strict=True):
                row[place] = part.frame[name].to_numpy()
            values.flags.writeable = False
            frames[name] = pd.DataFrame(values.T, index, [part.symbol for part in ordered], copy=False)
        extra = {}
        for name in names:
            known = np.vstack([part.extra_column(name).at(times) for part in ordered])
            known.flags.writeable = False
            extra[name] = pd.DataFrame(known.T, index, [part.symbol for part in ordered], copy=False)
        return cls(ordered[0].timeframe, **frames, extra=extra)

    def column(self, name: str) -> pd.DataFrame:
        """Return an extra column, shape (n_bars, n_symbols): the latest values known at each close.

        NaN before the first value of a symbol. At a close without a bar of a symbol the value is known too. A panel of
        a coarser timeframe has no extra columns.

        Raises
        ------
        StrategyError
            When the strategy does not name the column in `extra_columns`.

        """
        if name not in self.extra:
            raise StrategyError(f"the panel has no column {name}. Name it in extra_columns of the strategy.")
        return self.extra[name]

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols in the order of the columns."""
        return tuple(self.close.columns)

    @property
    def times(self) -> IntArray:
        """Close times, shape (n_bars,), ns UTC."""
        times: IntArray = pd.DatetimeIndex(self.close.index).as_unit("ns").asi8
        return times

    @property
    def has_bar(self) -> BoolArray:
        """Whether a symbol has a bar, shape (n_bars, n_symbols)."""
        known: BoolArray = ~np.isnan(self.close.to_numpy())
        return known

    def at(self, timeframe: str | Timeframe) -> Panel:
        """Return, for each close and symbol, the last coarse bar that had closed; see `at_timeframe`."""
        frames: dict[str, Any] = {name: pd.DataFrame(np.nan, self.close.index, list(self.symbols)) for name in COLUMNS}
        for place, symbol in enumerate(self.symbols):
            own = pd.DataFrame({name: getattr(self, name)[symbol] for name in COLUMNS})[self.has_bar[:, place]]
            coarse = at_timeframe(own, timeframe).reindex(self.close.index).ffill()
            for name in COLUMNS:
                frames[name][symbol] = coarse[name]
        return Panel(Timeframe.parse(timeframe), **frames)

    def is_due(self, every: int) -> BoolArray:
        """Return whether a close is one of each `every` ones, shape (n_bars,).

        They are counted from 1970, so that they do not depend on the first bar.
        """
        due: BoolArray = self.times // self.timeframe.ns % every == 0
        return due

    def __len__(self) -> int:
        return len(self.close)


class PanelStrategy(BaseStrategy):
    """A frozen set of parameters that turns the bars of several symbols into one target exposure for each.

    Subclasses declare the parameters as fields and define `warm_up` and `exposure`. A portfolio file names such a
    strategy with `symbols` in place of `symbol`.

    Examples
    --------
    >>> class Strongest(PanelStrategy):
    ...     window: int = 24
    ...     @property
    ...     def warm_up(self) -> int:
    ...         return self.window
    ...     def exposure(self, panel):
    ...         change = panel.close / panel.close.shift(self.window)
    ...         return change.eq(change.max(axis=1), axis=0).where(change.notna()).astype(float)
    >>> Strongest(window=3).warm_up
    3

    """

    sees: ClassVar[str] = "several symbols"

    @abstractmethod
    def exposure(self, panel: Panel) -> FloatArray | pd.DataFrame:
        """Return the target exposures of all symbols held after each close.

        Parameters
        ----------
        panel : Panel of n_bars closes and n_symbols symbols
            Checked bars, NaN where a symbol has none.

        Returns
        -------
        float64 array or DataFrame of shape (n_bars, n_symbols), in [-1, 1]
            A DataFrame has the panel's columns in any order. The sum of the absolute values of a row is at most the
            gross exposure that the portfolio allows, 1 by default. Values where a symbol has no bar are not read: it
            keeps its target. NaN, which means flat, only within the warm-up of the panel or of a symbol that is listed
            later.

        Notes
        -----
        Causal: row t is computed from the bars of all symbols up to t.

        """


def held_since(exposure: FloatArray, due: IntArray) -> FloatArray:
    """Return an exposure that stays, from each close that is due, until the next one; before them that of bar 0."""
    latest = np.zeros(len(exposure), dtype=np.int64)
    latest[due] = due
    kept: FloatArray = exposure[np.maximum.accumulate(latest)]
    return kept


def check_panel_exposure(exposure: Any, panel: Panel, warm_up: int, max_gross: float, name: str) -> FloatArray:
    """Return the target exposures that are held, shape (n_bars, n_symbols), float64, read-only and without NaN.

    A symbol without a bar keeps its target, 0 before its first bar, and its part of the gross exposure: where that
    leaves less room than the others ask for, their targets are scaled down to it.

    Raises
    ------
    StrategyError
        On a wrong type, shape or column, a value outside [-1, 1], a gross exposure above `max_gross`, or NaN after the
        warm-up. The message names symbol and close.

    """
    values = _as_array(exposure, panel, name)
    has_bar = panel.has_bar
    is_warming = np.cumsum(has_bar, axis=0) <= warm_up
    is_warming[:warm_up] = True
    _check_values(values, panel, has_bar, is_warming, name)
    asked = np.where(has_bar & ~np.isnan(values), values, 0.0)
    gross = np.abs(asked).sum(axis=1)
    above = np.flatnonzero(gross > max_gross * (1.0 + GROSS_RTOL))
    if above.size:
        raise StrategyError(
            f"{name}: the gross exposure was {gross[above[0]]:.6g} at {iso(int(panel.times[above[0]]))}; it must be at "
            f"most {max_gross:g}. Return smaller exposures, or set max_gross of the strategy in the portfolio."
        )
    for row in np.flatnonzero(~has_bar.all(axis=1)):
        if row:
            is_kept = ~has_bar[row]
            asked[row, is_kept] = asked[row - 1, is_kept]
            room = max(max_gross - float(np.abs(asked[row, is_kept]).sum()), 0.0)
            if gross[row] > room:
                asked[row, ~is_kept] *= room / gross[row]
    asked.flags.writeable = False
    return asked


def _as_array(exposure: Any, panel: Panel, name: str) -> FloatArray:
    if isinstance(exposure, pd.DataFrame):
        if set(exposure.columns) != set(panel.symbols) or len(exposure.columns) != len(panel.symbols):
            raise StrategyError(
                f"{name}: exposure has the columns {', '.join(map(str, exposure.columns))}; return one column for each "
                f"of {', '.join(panel.symbols)}."
            )
        exposure = exposure[list(panel.symbols)].to_numpy()
    values = np.asarray(exposure)
    if values.dtype != np.float64:
        raise StrategyError(
            f"{name}: exposure has dtype {values.dtype}; return float64 (for example array.astype(float))."
        )
    if values.shape != panel.close.shape:
        raise StrategyError(
            f"{name}: exposure has shape {values.shape}, the panel {panel.close.shape}; return one row per close "
            "and one column per symbol."
        )
    return values


def _check_values(values: FloatArray, panel: Panel, has_bar: BoolArray, is_warming: BoolArray, name: str) -> None:
    missing = np.isnan(values)
    for is_wrong, reason in (
        (has_bar & ~missing & ~(np.abs(values) <= 1.0), "it must lie in [-1, 1]"),
        (has_bar & missing & ~is_warming, "return 0.0 to be flat, or state a longer warm-up"),
    ):
        if is_wrong.any():
            row, column = (int(part) for part in np.argwhere(is_wrong)[0])
            raise StrategyError(
                f"{name}: exposure of {panel.symbols[column]} was {values[row, column]} at "
                f"{iso(int(panel.times[row]))}; {reason}."
            )
