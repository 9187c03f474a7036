"""Construction of sleeves: a strategy and its sizing, evaluated on the market's grid or at one close after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bar_frame import COLUMNS, BarColumns
from peak_trade.core.bars import Bars
from peak_trade.core.compute import Compute, compute
from peak_trade.core.errors import ConfigError
from peak_trade.core.settings import Settings
from peak_trade.engine.market import Market
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.indicators.ranges import atr
from peak_trade.portfolio.sizing import FixedNotional, FixedRisk
from peak_trade.strategies.base import BaseStrategy, Strategy, check_exposure, strategy_errors
from peak_trade.strategies.incremental import Continuation, IncrementalStrategy, is_incremental
from peak_trade.strategies.panel import Panel, PanelStrategy, check_panel_exposure
from peak_trade.strategies.stateful import Follower, StatefulStrategy, Stepper
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


class Targets(NamedTuple):
    """Exposure, multiplier of the sizing rule and average true range at closes; None where the settings have none."""

    exposure: FloatArray
    scale: FloatArray | None
    atr: FloatArray | None

    def between(self, first: int, last: int) -> Targets:
        """Return the targets from one close to before another, by their places."""
        exposure, scale, atr = (None if values is None else values[first:last] for values in self)
        assert exposure is not None
        return Targets(exposure, scale, atr)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The evaluation of a strategy on its symbols, in sorted order; a panel strategy has several.

    `name` is that of the strategy in the events, `max_gross` the largest sum of the absolute exposures of a close of a
    panel strategy; see `check_panel_exposure`.
    """

    strategy: Strategy | PanelStrategy
    name: str
    symbols: tuple[str, ...]
    settings: BacktestSettings
    max_gross: float = 1.0

    def over(self, bars: Sequence[Bars]) -> list[Targets]:
        """Return the targets over the bars of each symbol, as of a backtest; exposure 0 of a stateful strategy.

        Flat until a required range is known.
        """
        return [
            _sized(exposure, part.columns, part.timeframe.bars_per_year, self.settings, compute)
            for exposure, part in zip(self._exposures(bars), bars, strict=True)
        ]

    def _exposures(self, bars: Sequence[Bars]) -> list[FloatArray]:
        strategy, label = self.strategy, f"{self.name} on {', '.join(self.symbols)}"
        if isinstance(strategy, StatefulStrategy):
            return [np.zeros(len(bars[0]))]
        if isinstance(strategy, Strategy):
            with strategy_errors(label):
                one: Any = strategy.exposure(bars[0].for_strategy(extra_columns_of(strategy)))
            return [check_exposure(one, bars[0].times, strategy.warm_up, label)]
        panel = Panel.of(bars, extra_columns_of(strategy))
        with strategy_errors(label):
            target = strategy.exposure(panel)
        exposure = check_panel_exposure(target, panel, strategy.warm_up, self.max_gross, label)
        return [column[np.searchsorted(panel.times, part.times)] for column, part in zip(exposure.T, bars, strict=True)]

    def continued(self, bars_per_year: float) -> ContinuedEvaluation | None:
        """Return the evaluation of new bars alone; None for a strategy that is neither incremental nor stateful."""
        if isinstance(self.strategy, PanelStrategy):
            return None
        if not isinstance(self.strategy, StatefulStrategy) and not is_incremental(self.strategy):
            return None
        return ContinuedEvaluation(self.strategy, self.settings, bars_per_year, f"{self.name} on {self.symbols[0]}")

    def stepper(
        self,
        times: IntArray,
        columns: tuple[FloatArray, ...],
        extra: Mapping[str, FloatArray] | None = None,
    ) -> Stepper | None:
        """Return the stepper over arrays, which may grow; None unless the strategy decides by its position."""
        if not isinstance(self.strategy, StatefulStrategy):
            return None
        return Stepper(self.strategy, times, columns, max(self.strategy.warm_up, self.n_without_range), extra)

    def follower(self, times: IntArray, columns: tuple[FloatArray, ...]) -> Follower | None:
        """Return the follower over arrays that grow; None unless the strategy decides by its position."""
        if not isinstance(self.strategy, StatefulStrategy):
            return None
        return Follower(Stepper(self.strategy, times, columns, self.strategy.warm_up))

    @property
    def n_without_range(self) -> int:
        """Number of bars at the start at which the exposure is 0, because a required range is not known."""
        return self.settings.execution.atr_window if self.settings.execution.needs_atr else 0


def sleeves_of(
    evaluation: Evaluation, bars: Sequence[Bars], market: Market, weight: float = 1.0, priority: int = 0
) -> list[Sleeve]:
    """Evaluate a strategy over the bars of its symbols and return one sleeve per symbol on the market's grid.

    Bars before the first one of the market are known to the strategy and have no place on the grid. The exposure of a
    stateful strategy is filled in by the event loop.
    """
    ordered = sorted(bars, key=lambda part: part.symbol)
    sleeves = []
    for targets, part in zip(evaluation.over(ordered), ordered, strict=True):
        sleeve = _placed(targets, evaluation.name, part, market, weight, priority)
        if isinstance(evaluation.strategy, StatefulStrategy):
            columns = tuple(np.ascontiguousarray(part.frame[column].to_numpy()) for column in COLUMNS)
            extra = {name: part.extra_column(name).at(part.times) for name in extra_columns_of(evaluation.strategy)}
            sleeve.stepper = evaluation.stepper(part.times, columns, extra)
        sleeves.append(sleeve)
    return sleeves


def sleeve_for(
    strategy: Strategy,
    name: str,
    bars: Bars,
    market: Market,
    settings: BacktestSettings,
    weight: float,
    priority: int,
) -> Sleeve:
    """Return the sleeve of a strategy on one symbol; see `sleeves_of`."""
    (sleeve,) = sleeves_of(Evaluation(strategy, name, (bars.symbol,), settings), [bars], market, weight, priority)
    return sleeve


def followed_exposure(strategy: StatefulStrategy, bars: Bars, market: Market, settings: BacktestSettings) -> FloatArray:
    """Return the exposure on the market's grid where every target is reached at the next open; see `followed`."""
    followed = strategy.followed(bars.frame_with(extra_columns_of(strategy)))
    targets = _sized(followed, bars.columns, bars.timeframe.bars_per_year, settings, compute)
    return _placed(targets, strategy.name, bars, market).exposure


def _placed(targets: Targets, name: str, bars: Bars, market: Market, weight: float = 1.0, priority: int = 0) -> Sleeve:
    """Return the sleeve of targets over bars of its symbol on the market's grid."""
    first = int(np.searchsorted(bars.times, market.times[0]))
    is_whole = len(bars) - first == len(market)
    rows = np.arange(len(market)) if is_whole else np.searchsorted(market.times, bars.times[first:])
    n_rows = len(market)
    return Sleeve(
        name,
        bars.symbol,
        _carried(targets.exposure[first:], rows, n_rows),
        weight,
        None if targets.scale is None else _carried(targets.scale[first:], rows, n_rows),
        None if targets.atr is None else _carried(targets.atr[first:], rows, n_rows),
        priority,
    )


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
