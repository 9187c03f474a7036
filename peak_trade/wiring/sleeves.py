"""Construction of sleeves: a strategy and its sizing, evaluated on the market's grid or at one close after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bar_frame import COLUMNS, BarColumns
from peak_trade.core.bars import Bars
from peak_trade.core.compute import Compute, compute
from peak_trade.core.errors import ConfigError
from peak_trade.core.settings import Settings
from peak_trade.core.values import Instrument
from peak_trade.engine.market import Market
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.indicators.ranges import atr
from peak_trade.portfolio.sizing import FixedNotional, FixedRisk
from peak_trade.strategies.base import BaseStrategy, Strategy, check_exposure, strategy_errors
from peak_trade.strategies.incremental import Continuation, IncrementalStrategy, is_incremental
from peak_trade.strategies.panel import Panel, PanelStrategy, check_panel_exposure
from peak_trade.strategies.stateful import StatefulStrategy, Stepper
from peak_trade.wiring.user_code import nested_parts


def extra_columns_of(strategy: BaseStrategy | type[BaseStrategy]) -> tuple[str, ...]:
    """Return the names of the extra columns that a strategy and those within it read, or a class reads.

    ConfigError when they are not a tuple of names, or a class has them as a property.
    """
    parts = nested_parts(strategy) if isinstance(strategy, Settings) else [strategy]
    found: dict[str, None] = {}
    for part in parts:
        names = getattr(part, "extra_columns", ())
        if isinstance(names, property):
            raise ConfigError(
                "extra_columns is a property, whose names a class does not have. Write a tuple of names, or run one "
                "strategy with `backtest`."
            )
        if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"extra_columns was {names!r}: write a tuple of names, like ('funding_rate',).")
        found |= dict.fromkeys(names)
    return tuple(found)


def refuse_extra_columns(strategy: BaseStrategy, where: str) -> None:
    """Raise ConfigError if a strategy reads extra columns, which `where` does not give it."""
    names = extra_columns_of(strategy)
    if names:
        raise ConfigError(
            f"{strategy.name}: it reads the extra column {names[0]}, which {where} does not give. Run it with "
            "`backtest`, `sweep`, `walk-forward` or `portfolio`."
        )


def sleeve_for(
    strategy: Strategy,
    name: str,
    bars: Bars,
    market: Market,
    settings: BacktestSettings,
    weight: float,
    priority: int,
) -> Sleeve:
    """Evaluate a strategy over bars and return its sleeve on the market's grid; flat until a required range is known.

    Bars before the first one of the market are known to the strategy and have no place on the grid.
    """
    if isinstance(strategy, StatefulStrategy):
        return _stepped_sleeve(strategy, name, bars, market, settings, weight, priority)
    label = f"{name} on {bars.symbol}"
    with strategy_errors(label):
        target = strategy.exposure(bars.for_strategy(extra_columns_of(strategy)))
    exposure = check_exposure(target, bars.times, strategy.warm_up, label)
    return _sleeve(exposure, name, bars, market, settings, weight, priority)


def _stepped_sleeve(
    strategy: StatefulStrategy,
    name: str,
    bars: Bars,
    market: Market,
    settings: BacktestSettings,
    weight: float,
    priority: int,
) -> Sleeve:
    """Return a sleeve whose exposure the event loop fills in; flat until a required range is known."""
    sleeve = _sleeve(np.zeros(len(bars)), name, bars, market, settings, weight, priority)
    columns = tuple(np.ascontiguousarray(bars.frame[column].to_numpy()) for column in COLUMNS)
    extra = {name: bars.extra_column(name).at(bars.times) for name in extra_columns_of(strategy)}
    sleeve.stepper = _stepper(strategy, bars.times, columns, settings, extra)
    return sleeve


def followed_exposure(strategy: StatefulStrategy, bars: Bars, market: Market, settings: BacktestSettings) -> FloatArray:
    """Return the exposure on the market's grid where every target is reached at the next open; see `followed`."""
    return _sleeve(
        strategy.followed(bars.frame_with(extra_columns_of(strategy))), strategy.name, bars, market, settings
    ).exposure


def _stepper(
    strategy: StatefulStrategy,
    times: IntArray,
    columns: tuple[FloatArray, ...],
    settings: BacktestSettings,
    extra: Mapping[str, FloatArray] | None = None,
) -> Stepper:
    n_unknown = settings.execution.atr_window if settings.execution.needs_atr else 0
    return Stepper(strategy, times, columns, max(strategy.warm_up, n_unknown), extra)


def panel_sleeves(
    strategy: PanelStrategy,
    name: str,
    bars: Sequence[Bars],
    market: Market,
    settings: BacktestSettings,
    max_gross: float,
) -> list[Sleeve]:
    """Evaluate a panel strategy over the bars of its symbols and return one sleeve per symbol, in sorted order.

    See `sleeve_for`. `max_gross` is the largest sum of the absolute exposures of a close; see `check_panel_exposure`.
    """
    panel = Panel.of(bars, extra_columns_of(strategy))
    label = f"{name} on {', '.join(panel.symbols)}"
    with strategy_errors(label):
        target = strategy.exposure(panel)
    exposure = check_panel_exposure(target, panel, strategy.warm_up, max_gross, label)
    by_symbol = {part.symbol: part for part in bars}
    return [
        _sleeve(
            column[np.searchsorted(panel.times, by_symbol[symbol].times)], name, by_symbol[symbol], market, settings
        )
        for symbol, column in zip(panel.symbols, exposure.T, strict=True)
    ]


def _sleeve(
    exposure: FloatArray,
    name: str,
    bars: Bars,
    market: Market,
    settings: BacktestSettings,
    weight: float = 1.0,
    priority: int = 0,
) -> Sleeve:
    """Return the sleeve of an exposure, shape (n_bars,), over bars of its symbol."""
    first = int(np.searchsorted(bars.times, market.times[0]))
    is_whole = len(bars) - first == len(market)
    rows = np.arange(len(market)) if is_whole else np.searchsorted(market.times, bars.times[first:])
    exposure, scale, ranges = _sized(exposure, bars.columns, bars.timeframe.bars_per_year, settings, compute)
    n_rows = len(market)
    return Sleeve(
        name,
        bars.symbol,
        _carried(exposure[first:], rows, n_rows),
        weight,
        None if scale is None else _carried(scale[first:], rows, n_rows),
        None if ranges is None else _carried(ranges[first:], rows, n_rows),
        priority,
    )


class Targets(NamedTuple):
    """Exposure, multiplier of the sizing rule and average true range at closes; None where the settings have none."""

    exposure: FloatArray
    scale: FloatArray | None
    atr: FloatArray | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The evaluation of the strategy of a session on one symbol."""

    strategy: Strategy
    settings: BacktestSettings
    instrument: Instrument

    def over(self, bars: Bars) -> Sleeve:
        """Evaluate over bars, as a backtest does."""
        market = Market.of([bars], {bars.symbol: self.instrument})
        return sleeve_for(self.strategy, self.strategy.name, bars, market, self.settings, 1.0, 0)

    def continued(self, bars_per_year: float) -> ContinuedEvaluation | None:
        """Return the evaluation of new bars alone; None for a strategy that is neither incremental nor stateful."""
        label = f"{self.strategy.name} on {self.instrument.symbol}"
        is_linear = isinstance(self.strategy, StatefulStrategy) or is_incremental(self.strategy)
        return ContinuedEvaluation(self.strategy, self.settings, bars_per_year, label) if is_linear else None

    def stepper(self, times: IntArray, columns: tuple[FloatArray, ...]) -> Stepper | None:
        """Return the stepper over arrays that grow; None unless the strategy decides by its position."""
        if not isinstance(self.strategy, StatefulStrategy):
            return None
        return _stepper(self.strategy, times, columns, self.settings)


class ContinuedEvaluation:
    """Targets at one close after another, computed from new bars and from what is kept of earlier ones.

    They are equal to those of an evaluation over all bars, bit for bit. The exposure of a stateful strategy is 0: the
    event loop fills it in.
    """

    def __init__(self, strategy: Strategy, settings: BacktestSettings, bars_per_year: float, label: str) -> None:
        self._strategy, self._settings, self._label = strategy, settings, label
        self._bars_per_year = bars_per_year
        self._continuation = Continuation()
        self._n_bars = 0

    def targets(self, columns: BarColumns) -> Targets:
        """Return the targets at bars that follow those of the call before.

        Raises
        ------
        StrategyError
            As of `sleeve_for`.

        """
        self._continuation.begin()
        times = columns.times
        exposure = np.zeros(times.size)
        if isinstance(self._strategy, IncrementalStrategy):
            with strategy_errors(self._label):
                target = self._strategy.evaluate(columns, self._continuation)
            exposure = check_exposure(target, times, self._strategy.warm_up, self._label, self._n_bars)
        self._n_bars += times.size
        return _sized(exposure, columns, self._bars_per_year, self._settings, self._continuation)


def _sized(
    exposure: FloatArray, columns: BarColumns, bars_per_year: float, settings: BacktestSettings, compute: Compute
) -> Targets:
    ranges = None
    if settings.execution.needs_atr:
        ranges = atr(columns.high, columns.low, columns.close, settings.execution.atr_window, compute)
        exposure = np.where(np.isnan(ranges), 0.0, exposure)
    scale = _scale(settings, columns, bars_per_year, ranges, compute)
    return Targets(exposure, scale, None if ranges is None else np.nan_to_num(ranges))


def _scale(
    settings: BacktestSettings,
    columns: BarColumns,
    bars_per_year: float,
    ranges: FloatArray | None,
    compute: Compute,
) -> FloatArray | None:
    sizing, policy = settings.sizing, settings.execution
    if isinstance(sizing, FixedNotional):
        return None
    if not isinstance(sizing, FixedRisk):
        return sizing.scale(columns, bars_per_year, compute)
    fixed = min(
        [distance for distance in (policy.stop_loss, policy.trailing_stop) if distance is not None], default=np.inf
    )
    if policy.stop_loss_atr is None or ranges is None:
        return sizing.scale_for(np.full(columns.close.size, fixed))
    return sizing.scale_for(np.minimum(policy.stop_loss_atr * ranges / columns.close, fixed))


def _carried(values: FloatArray, rows: IntArray, n_rows: int) -> FloatArray:
    if rows.size == n_rows:
        return values
    place = np.searchsorted(rows, np.arange(n_rows), side="right") - 1
    return np.where(place >= 0, values[np.maximum(place, 0)], 0.0)
