"""Screen a grid of parameters on the array kernel, and compare its winner with the event loop."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import Bars
from peak_trade.core.digest import digest_of
from peak_trade.core.errors import ConfigError, did_you_mean
from peak_trade.core.values import Instrument, OrderType
from peak_trade.engine.kernel import screen, simulate
from peak_trade.engine.result import BacktestResult
from peak_trade.engine.settings import BacktestSettings
from peak_trade.metrics import measures_in
from peak_trade.portfolio.sizing import FractionOfEquity
from peak_trade.strategies.base import Strategy, check_exposure, strategy_errors
from peak_trade.studies.backtest import backtest, traded_from
from peak_trade.tracking.trials import count_trials, record_trials
from peak_trade.wiring.digests import config_digest, data_digest

Grid = Mapping[str, Sequence[Any]]
"""Parameter name to its values, in order; other parameters keep their defaults."""
RTOL_EQUITY = 1e-9
"""Largest relative difference in equity between the kernel and the event loop."""
_SHARED_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class SweepResult:
    """A finished sweep.

    `table` has one row per parameter set, in the order of the grid: its parameters, then total_return (fraction),
    sharpe (annualised, 0.0 when the returns do not vary), max_drawdown (fraction, never negative) and n_fills.
    `n_skipped` counts the sets that are not valid, such as fast >= slow. `n_trials` counts the distinct trials on these
    bars so far, those of this sweep included; the significance of the best Sharpe ratio depends on it.
    """

    table: pd.DataFrame
    n_skipped: int
    n_trials: int
    winner: BacktestResult
    """Run in the event loop of the set with the highest Sharpe ratio, the first of equal ones."""
    winner_index: int
    difference: str
    """First difference between the event loop and the kernel; empty when they agree."""
    digests: dict[str, str]
    """Digests of config (of all sets), data, code, seed and environment."""

    @property
    def agrees(self) -> bool:
        """Whether event loop and kernel agree on the winner's fills and, within RTOL_EQUITY, on its equity."""
        return not self.difference

    @property
    def parameter_names(self) -> list[str]:
        """Names of the grid's parameters, in order."""
        return [str(name) for name in self.table.columns if name not in measures_in("sweep")]

    @property
    def run_id(self) -> str:
        """First 16 hex digits of the digest of the five digests."""
        return digest_of(self.digests)[:16]

    def best(self, n_sets: int = 10) -> pd.DataFrame:
        """Return the sets with the highest Sharpe ratios, highest first, equal ones in the order of the grid."""
        return self.table.sort_values("sharpe", ascending=False, kind="stable").head(n_sets)


class IndicatorCache:
    """Cache of computed indicators that drops the least recently used ones beyond `max_bytes`."""

    def __init__(self, max_bytes: int = _SHARED_BYTES) -> None:
        self._known: OrderedDict[tuple[Any, ...], tuple[FloatArray, FloatArray]] = OrderedDict()
        self._left = max_bytes

    def __call__(self, indicator: Callable[..., FloatArray], values: FloatArray, *numbers: float) -> FloatArray:
        """Return indicator(values, *numbers), read-only; arrays are compared by their memory, not by content."""
        key = (indicator, values.ctypes.data, values.strides, values.size, *numbers)
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            return found[1]
        indicated = indicator(values, *numbers)
        computed = np.frombuffer(indicated.tobytes(), indicated.dtype).reshape(indicated.shape)
        self._known[key] = values, computed
        self._left -= computed.nbytes
        while self._left < 0:
            _, (_, dropped) = self._known.popitem(last=False)
            self._left += dropped.nbytes
        return computed


def sweep(
    strategy_class: type[Strategy],
    grid: Grid,
    bars: Bars,
    settings: BacktestSettings | None = None,
    start: datetime | str | None = None,
) -> SweepResult:
    """Screen every parameter set of a grid and run the one with the highest Sharpe ratio in the event loop.

    Parameters
    ----------
    strategy_class : subclass of Strategy
    grid : mapping of parameter to values
    bars : Bars
    settings : BacktestSettings
        Settings that the kernel supports: market orders, a fraction of equity, fee and slippage. The kernel ignores
        `max_participation`, the event loop does not; when the limit applies, `difference` states where they differ.
    start : datetime or ISO text, optional
        First close time that is traded, UTC; the bars before it warm the strategies up. Defaults to the first bar.

    Returns
    -------
    SweepResult

    Raises
    ------
    ConfigError
        On an unknown parameter (with the closest known name), an invalid value, a grid without a valid set, or settings
        that the kernel does not support.
    StrategyError
        When a strategy breaks its contract.

    Notes
    -----
    Sets run one at a time and share their indicators, so that memory does not grow with the grid. Every set is recorded
    as a trial in the workspace's trial ledger.

    Examples
    --------
    >>> from peak_trade.data.sample import sample_bars
    >>> from peak_trade.strategies.ma_crossover import MaCrossover
    >>> strategies, n_skipped = parameter_sets(MaCrossover, {"fast": [5, 10], "slow": [10, 20]})
    >>> len(strategies), n_skipped
    (3, 1)

    """
    settings = settings or BacktestSettings()
    _check_settings(settings)
    strategies, n_skipped = parameter_sets(strategy_class, grid)
    first = 0 if start is None else len(bars) - len(traded_from(bars, start))
    table = screen_each(strategies, list(grid), bars, settings, first)
    trials = list(_trials(strategies, bars, settings, first))
    record_trials(trials)
    best = int(table["sharpe"].to_numpy().argmax())
    winner = backtest(strategies[best], bars, settings, start=start)
    return SweepResult(
        table=table,
        n_skipped=n_skipped,
        n_trials=count_trials(trials[0][1]),
        winner=winner,
        winner_index=best,
        difference=_difference(strategies[best], bars, settings, winner, first),
        digests=winner.digests | {"config": digest_of(["sweep", *(config for config, _ in trials)])},
    )


def parameter_sets(strategy_class: type[Strategy], grid: Grid) -> tuple[list[Strategy], int]:
    """Return the strategies of a grid, with the last parameter varying fastest, and the number of skipped sets.

    Raises
    ------
    ConfigError
        See `sweep`.

    """
    name = f"sweep of {strategy_class.__name__}"
    for parameter, values in grid.items():
        if parameter not in strategy_class.model_fields:
            known = did_you_mean(parameter, strategy_class.model_fields)
            raise ConfigError(f"{name}: {parameter} is not a parameter. {known}")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ConfigError(f"{name}: {parameter} was {values!r}; give a list of the values to try.")
    strategies: list[Strategy] = []
    n_skipped, reason = 0, ""
    for values in product(*grid.values()):
        parameters = dict(zip(grid, values, strict=True))
        try:
            strategies.append(strategy_class.model_validate(parameters))
        except ValidationError as error:
            if any(detail["loc"] for detail in error.errors(include_url=False)):
                strategy_class.parse(parameters, name)
            n_skipped += 1
            reason = reason or str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    if not strategies:
        raise ConfigError(f"{name}: none of the {n_skipped:,} sets can be run. The first: {reason}")
    return strategies, n_skipped


def screen_each(
    strategies: Sequence[Strategy],
    parameters: Sequence[str],
    bars: Bars,
    settings: BacktestSettings,
    first: int = 0,
) -> pd.DataFrame:
    """Return one row per strategy: the named parameters, then the measures of the array kernel from bar `first` on.

    A DataFrame of shape (n_strategies, n_parameters + 4), with the columns of `SweepResult.table`.
    """
    opened, close = _prices(bars, first)
    exposures = _exposures(strategies, bars, settings, first)
    rows = [screen(opened, close, exposure, settings.costs) for exposure in exposures]
    annual = math.sqrt(bars.bars_per_year)
    columns: dict[str, Any] = {name: [getattr(strategy, name) for strategy in strategies] for name in parameters}
    columns |= {name: [getattr(row, name) for row in rows] for name in measures_in("sweep")}
    columns["sharpe"] = [sharpe * annual for sharpe in columns["sharpe"]]
    return pd.DataFrame(columns)


def _prices(bars: Bars, first: int) -> tuple[FloatArray, FloatArray]:
    opened, close = (np.ascontiguousarray(bars.frame[column].to_numpy()[first:]) for column in ("open", "close"))
    return opened, close


def _exposures(
    strategies: Sequence[Strategy], bars: Bars, settings: BacktestSettings, first: int
) -> Iterator[FloatArray]:
    shared, times = IndicatorCache(), bars.times
    fraction = getattr(settings.sizing, "fraction", 1.0)
    for strategy in strategies:
        label = f"{strategy!r} on {bars.symbol}"
        with strategy_errors(label):
            target = strategy.exposure_by(bars.for_strategy(), shared)
        checked = check_exposure(target, times, strategy.warm_up, label)[first:]
        yield checked if fraction == 1.0 else checked * fraction


def _check_settings(settings: BacktestSettings) -> None:
    execution, costs = settings.execution, settings.costs
    beyond = [
        ("execution.order_type", execution.order_type is not OrderType.MARKET),
        ("execution's protective orders", execution.has_protection),
        ("execution.no_trade_band", execution.no_trade_band != 0.0),
        (f"sizing {settings.sizing.kind}", not isinstance(settings.sizing, FractionOfEquity)),
        ("costs.funding_bps_per_8h", costs.funding_bps_per_8h != 0.0),
        ("costs.borrow_rate", costs.borrow_rate != 0.0),
    ]
    for what, is_set in beyond:
        if is_set:
            raise ConfigError(f"sweep: the array kernel does not support {what}. Leave it out, or backtest each set.")


def _trials(
    strategies: Sequence[Strategy], bars: Bars, settings: BacktestSettings, first: int
) -> Iterator[tuple[str, str]]:
    data, start = data_digest([bars]), int(bars.times[first]) if first else None
    for strategy in strategies:
        yield config_digest([strategy], settings, [Instrument(bars.symbol)], start=start), data


def _difference(strategy: Strategy, bars: Bars, settings: BacktestSettings, winner: BacktestResult, first: int) -> str:
    opened, close = _prices(bars, first)
    (exposure,) = _exposures([strategy], bars, settings, first)
    equity, _ = simulate(opened, close, exposure, settings.costs, settings.initial_cash)
    n_fills = screen(opened, close, exposure, settings.costs).n_fills
    if n_fills != len(winner.fill_list):
        return f"the event loop has {len(winner.fill_list):,} fills, the kernel {n_fills:,}"
    apart = np.flatnonzero(~(np.abs(equity - winner.equity_values) <= RTOL_EQUITY * np.abs(winner.equity_values)))
    if apart.size:
        bar = int(apart[0])
        return (
            f"equity at {winner.index[bar]:%Y-%m-%d %H:%M} is {winner.equity_values[bar]!r} in the event loop and "
            f"{equity[bar]!r} in the kernel"
        )
    return ""
