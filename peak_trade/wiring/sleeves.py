"""Construction of sleeves: a strategy and its sizing, evaluated on the market's grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bars import COLUMNS, Bars
from peak_trade.engine.market import Market
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.indicators.ranges import atr
from peak_trade.portfolio.sizing import FixedNotional, FixedRisk
from peak_trade.strategies.base import Strategy, check_exposure, strategy_errors
from peak_trade.strategies.panel import Panel, PanelStrategy, check_panel_exposure
from peak_trade.strategies.stateful import StatefulStrategy, Stepper


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
        target = strategy.exposure(bars.for_strategy())
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
    n_unknown = settings.execution.atr_window if settings.execution.needs_atr else 0
    sleeve.stepper = Stepper(strategy, bars.times, columns, max(strategy.warm_up, n_unknown))
    return sleeve


def followed_exposure(strategy: StatefulStrategy, bars: Bars, market: Market, settings: BacktestSettings) -> FloatArray:
    """Return the exposure on the market's grid where every target is reached at the next open; see `followed`."""
    return _sleeve(strategy.followed(bars.frame), strategy.name, bars, market, settings).exposure


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
    panel = Panel.of(bars)
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
    ranges = None
    if settings.execution.needs_atr:
        high, low, close = (bars.frame[column].to_numpy() for column in ("high", "low", "close"))
        ranges = atr(high, low, close, settings.execution.atr_window)
        exposure = np.where(np.isnan(ranges), 0.0, exposure)
    scale = _scale(settings, bars, ranges)
    ranges = None if ranges is None else np.nan_to_num(ranges)
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


def _scale(settings: BacktestSettings, bars: Bars, ranges: FloatArray | None) -> FloatArray | None:
    sizing, policy = settings.sizing, settings.execution
    if isinstance(sizing, FixedNotional):
        return None
    if not isinstance(sizing, FixedRisk):
        return sizing.scale(bars)
    fixed = min(
        [distance for distance in (policy.stop_loss, policy.trailing_stop) if distance is not None], default=np.inf
    )
    if policy.stop_loss_atr is None or ranges is None:
        return sizing.scale_for(np.full(len(bars), fixed))
    return sizing.scale_for(np.minimum(policy.stop_loss_atr * ranges / bars.frame["close"].to_numpy(), fixed))


def _carried(values: FloatArray, rows: IntArray, n_rows: int) -> FloatArray:
    if rows.size == n_rows:
        return values
    place = np.searchsorted(rows, np.arange(n_rows), side="right") - 1
    return np.where(place >= 0, values[np.maximum(place, 0)], 0.0)
