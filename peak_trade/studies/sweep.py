"""Screen a grid of parameters on the array kernel, and compare its winner with the event loop."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial
from itertools import product
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError

from peak_trade.causality.kept_state import KeptState
from peak_trade.causality.short import BUDGET, check_run, naming_look_ahead
from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bars import Bars
from peak_trade.core.calendar import observed_per_year, period_of
from peak_trade.core.causality import CausalityOutcome, CausalityVerdict, worst_outcome
from peak_trade.core.described import Described
from peak_trade.core.digest import digest_of
from peak_trade.core.errors import ConfigError, did_you_mean
from peak_trade.core.former_names import HasFormerNames
from peak_trade.core.progress import OnProgress, progress
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Instrument, OrderType
from peak_trade.engine.inputs import RunInputs
from peak_trade.engine.kernel import INITIAL_CASH, Screen, screen, simulate
from peak_trade.engine.result import BacktestResult
from peak_trade.engine.settings import BacktestSettings
from peak_trade.metrics import Measure, fewest_for_ratio, format_measure, measures_in
from peak_trade.metrics.overfitting import Overfitting, block_count, block_moments, overfitting_of_moments
from peak_trade.portfolio.sizing import FractionOfEquity
from peak_trade.strategies.base import Strategy, check_exposure, strategy_errors
from peak_trade.studies.backtest import backtest
from peak_trade.studies.trials import recorded_trials
from peak_trade.tracking.counting import counted, not_trials
from peak_trade.tracking.trials import Evaluation, Observations, week_ends, weekly_returns
from peak_trade.wiring.digests import config_digest, data_digest, user_code_digest, user_strategies

Grid = Mapping[str, Sequence[Any] | np.ndarray[Any, Any] | pd.Series | pd.Index]
"""Parameter name to its values, in order; other parameters keep their defaults."""
RTOL_EQUITY = 1e-9
"""Largest relative difference in equity between the kernel and the event loop."""
MOST_SETS = 1_000_000
"""Most parameter sets of one grid."""
CHUNK_SETS = 1_000
"""Sets whose trials are one line of the trial ledger."""
_SHARED_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False, repr=False)
class SweepResult(Described, HasFormerNames):
    """A finished sweep.

    `table` has one row per parameter set, in the order of the grid: its parameters, then total_return (fraction),
    sharpe (annualised, 0.0 when the returns do not vary, NaN below 30 returns or 30 days), max_drawdown (fraction,
    never negative) and n_fills.
    `n_skipped` counts the sets that are not valid, such as fast >= slow. `n_trials` counts the distinct trials on the
    asset and the span of these bars so far, those of this sweep included; the significance of the best Sharpe ratio
    depends on it. It is None if the trial ledger could not be written.
    """

    former_names: ClassVar = {"winner_row": "winner_index"}

    table: pd.DataFrame
    n_skipped: int
    winner: BacktestResult
    """Run in the event loop of the best set; see `best_sets`."""
    winner_index: int
    difference: str
    """First difference between the event loop and the kernel; empty when they agree."""
    digests: dict[str, str]
    """Digests of config (of all sets), data, code, seed and environment."""
    n_trials: int | None = None
    causality: Mapping[int, CausalityOutcome] = field(default_factory=dict)
    """Outcome of the check for look-ahead of each checked set of a user's strategy, by its row in the table."""
    inputs: RunInputs | None = None
    """The inputs of the sweep."""
    moments: FloatArray = field(default_factory=lambda: np.empty((0, 2, 3)), repr=False)
    """Moments of the daily returns (UTC) of each set by block of time; see `block_moments`."""

    def description(self) -> tuple[str, dict[str, object]]:
        """Return the best set and the number of those that were tried."""
        best = self.best(1)
        ratio = format_measure("sharpe", self.winner.stats()["sharpe"])
        return (
            f"SweepResult: {', '.join(self.winner.strategies)} on {', '.join(self.winner.market.symbols)}",
            {
                "combinations": f"{len(self.table):,}" + (f", {self.n_skipped:,} skipped" if self.n_skipped else ""),
                "trials": "" if self.n_trials is None else f"{self.n_trials:,}",
                "best": ", ".join(f"{name}={best[name].iloc[0]}" for name in self.parameter_names),
                "its sharpe": ratio,
                "event loop": "agrees" if self.agrees else f"differs: {self.difference}",
                "run id": self.run_id,
            },
        )

    @cached_property
    def overfitting(self) -> Overfitting:
        """Probability that the choice of the best set is overfitted, from daily returns; computed on first access."""
        return overfitting_of_moments(self.moments)

    @property
    def causality_sentence(self) -> str:
        """How many sets were checked for look-ahead, and what was found; empty for a strategy of this package."""
        if not self.causality:
            return ""
        checked = [each for each in self.causality.values() if each.verdict is not CausalityVerdict.NOT_CHECKED]
        found = [each for each in checked if each.verdict is CausalityVerdict.LOOKS_AHEAD]
        count = f"{len(checked):,} of {len(self.table):,} parameter sets were checked for look-ahead"
        if not checked:
            return f"{count}: the check was switched off."
        if found:
            return f"{count}, the first and the best ones: {len(found):,} LOOK AHEAD. {found[0].sentence}"
        return f"{count}, the first and the best ones. {worst_outcome(checked).sentence}"

    @property
    def ranking(self) -> str:
        """Why the sets are ranked by total return instead of Sharpe ratio; empty when they are not."""
        ratio = self.winner.stats()["sharpe"]
        is_short = self.table["sharpe"].isna().all()
        return f"No Sharpe ratio ({ratio.note}): the sets are ranked by total return." if is_short else ""

    @property
    def agrees(self) -> bool:
        """Whether event loop and kernel agree on the winner's fills and, within RTOL_EQUITY, on its equity."""
        return not self.difference

    @property
    def parameter_names(self) -> list[str]:
        """Names of the grid's parameters, in order."""
        return [str(name) for name in self.table.columns if name not in measures_in("sweep")]

    def overfitting_measures(self) -> dict[str, Measure]:
        """Return probability_of_overfitting and probability_of_loss; see `Overfitting`."""
        found = self.overfitting
        return dict(zip(measures_in("overfitting"), (found.probability, found.loss), strict=True))

    @property
    def overfitting_sentence(self) -> str:
        """How often the best set of one half of the time is a poor one in the other half, for a page or a terminal."""
        probability, loss = self.overfitting.probability, self.overfitting.loss
        if probability.value is None:
            return f"No probability of overfitting: {probability.note}."
        return (
            f"Probability of overfitting {format_measure('probability_of_overfitting', probability)}: in so many of "
            f"{probability.note} the best combination of one half of the days is below the median in the other half. "
            f"In {format_measure('probability_of_loss', loss)} it loses there."
        )

    @property
    def run_id(self) -> str:
        """First 16 hex digits of the digest of the five digests."""
        return digest_of(self.digests)[:16]

    def best(self, n_sets: int = 10) -> pd.DataFrame:
        """Return the best sets, the best one first; see `best_sets`."""
        return self.table.loc[best_sets(self.table, n_sets)]


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


@checks_arguments(strategy_class="a subclass of Strategy, not an instance")
def sweep(
    strategy_class: type[Strategy],
    grid: Grid,
    bars: Bars,
    settings: BacktestSettings | None = None,
    start: datetime | str | None = None,
    *,
    n_best: Annotated[int, Field(ge=1)] = 10,
    causality_check: bool = True,
) -> SweepResult:
    """Screen every parameter set of a grid and run the best one in the event loop; see `best_sets`.

    Parameters
    ----------
    strategy_class : subclass of Strategy
    grid : mapping of parameter to values
        A list, tuple, range, array of one dimension or Series of values for each parameter.
    bars : Bars
    settings : BacktestSettings
        Settings that the kernel supports: market orders, a fraction of equity, fee and slippage. The kernel ignores
        `max_participation`, the event loop does not; when the limit applies, `difference` states where they differ.
    start : datetime or ISO text, optional
        First close time that is traded, UTC; the bars before it warm the strategies up. Defaults to the first bar.
    n_best : int
        Number of best sets that count as results.
    causality_check : bool
        Whether to check a user's strategy for look-ahead, in short: the first set before the sweep starts, and each of
        the best `n_best` sets afterwards.

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
    Sets run one at a time and share their indicators, so that memory does not grow with the grid. Every set is a trial
    of the workspace's trial ledger, which gets one line per 1,000 sets.

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
    first = 0 if start is None else len(bars) - len(bars.between(start))
    configs = _configs(strategies, bars, settings, first)
    state = KeptState(strategies[0])
    checked = _check_sets(strategies, [0], bars, BUDGET / 5.0, causality_check)
    with naming_look_ahead(checked.values()), progress("sweep", "combinations") as on_progress:
        screens, moments = _screen_trials(strategies, configs, bars, settings, first, on_progress)
    table = _table(strategies, list(grid), bars, first, screens)
    best = best_sets(table, 1)[0]
    with state.as_before(strategies[0]):
        checked |= _check_sets(strategies, best_sets(table, n_best), bars, BUDGET, causality_check)
    with not_trials():
        winner = backtest(strategies[best], bars, settings, start=start, causality_check=False)
    count = recorded_trials(winner.digests)
    winner = replace(winner, causality=() if not checked else (worst_outcome(checked.values()),))
    return SweepResult(
        table=table,
        n_skipped=n_skipped,
        winner=winner,
        winner_index=best,
        difference=_difference(strategies[best], bars, settings, winner, first),
        digests=winner.digests | {"config": digest_of(["sweep", *configs])},
        causality=checked,
        inputs=RunInputs(
            "sweep",
            {"strategy_class": strategy_class, "grid": grid, "settings": settings, "n_best": n_best},
            (strategies[0], strategies[best]),
            (bars,),
            start=int(bars.times[first]) if first else None,
        ),
        n_trials=None if count is None else count.n,
        moments=moments,
    )


def best_sets(table: pd.DataFrame, n_sets: int) -> list[int]:
    """Return the places of the best sets, the best one first, equal ones in the grid's order.

    Sets are ranked by Sharpe ratio, or by total return on bars too short for one.
    """
    ranking = "total_return" if table["sharpe"].isna().all() else "sharpe"
    return [int(row) for row in table[ranking].sort_values(ascending=False, kind="stable").index[:n_sets]]


def _check_sets(
    strategies: Sequence[Strategy], rows: Sequence[int], bars: Bars, budget: float, is_wanted: bool
) -> dict[int, CausalityOutcome]:
    if not user_strategies(strategies[0]):
        return {}
    checked: dict[int, CausalityOutcome] = {}
    until = time.perf_counter() + budget
    for n_done, row in enumerate(rows):
        outcomes = check_run(
            [(strategies[row], bars)],
            is_wanted=is_wanted,
            budget=max(until - time.perf_counter(), 0.0) / (len(rows) - n_done),
            n_runs=max(len(strategies) // (2 * len(rows)), 1),
        )
        checked[row] = worst_outcome(outcomes)
    return checked


def parameter_sets(strategy_class: type[Strategy], grid: Grid) -> tuple[list[Strategy], int]:
    """Return the strategies of a grid, with the last parameter varying fastest, and the number of skipped sets.

    Raises
    ------
    ConfigError
        See `sweep`.

    """
    name = f"sweep of {strategy_class.__name__}"
    lists: dict[str, list[Any]] = {}
    for parameter, values in grid.items():
        if parameter not in strategy_class.model_fields:
            known = did_you_mean(parameter, strategy_class.model_fields)
            raise ConfigError(f"{name}: {parameter} is not a parameter. {known}")
        is_array = isinstance(values, np.ndarray | pd.Series | pd.Index) and values.ndim == 1
        is_list = isinstance(values, Sequence) and not isinstance(values, str)
        lists[parameter] = list(values) if is_array or is_list else []
        if not lists[parameter]:
            raise ConfigError(f"{name}: {parameter} was {values!r}; give a list of the values to try.")
    n_sets = math.prod(map(len, lists.values()))
    if n_sets > MOST_SETS:
        raise ConfigError(f"{name}: the grid has {n_sets:,} sets, more than {MOST_SETS:,}. Give fewer values.")
    strategies: list[Strategy] = []
    n_skipped, reason = 0, ""
    for values in product(*lists.values()):
        parameters = dict(zip(lists, values, strict=True))
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


def _table(
    strategies: Sequence[Strategy], parameters: Sequence[str], bars: Bars, first: int, screens: Sequence[Screen]
) -> pd.DataFrame:
    per_year = observed_per_year(bars.times[first:], bars.timeframe.bars_per_year)
    annual = math.sqrt(per_year) if len(bars) - first > fewest_for_ratio(per_year) else math.nan
    columns: dict[str, Any] = {name: [getattr(strategy, name) for strategy in strategies] for name in parameters}
    columns |= {name: [getattr(each, name) for each in screens] for name in measures_in("sweep")}
    columns["sharpe"] = [sharpe * annual for sharpe in columns["sharpe"]]
    return pd.DataFrame(columns)


def _screen_trials(
    strategies: Sequence[Strategy],
    configs: Sequence[str],
    bars: Bars,
    settings: BacktestSettings,
    first: int,
    on_progress: OnProgress,
) -> tuple[list[Screen], FloatArray]:
    """Screen each strategy, and record them as trials, CHUNK_SETS at a time; return the screens and the moments."""
    opened, close = _prices(bars, first)
    times, data, code = bars.times[first:], data_digest([bars]), user_code_digest(strategies[:1])
    week, ends = week_ends(times, bars.timeframe)
    days = np.flatnonzero(np.append(np.diff(period_of(times - bars.timeframe.ns, "day")) != 0, True))
    exposures = _exposures(strategies, bars, settings, first)
    screens: list[Screen] = []
    moments, n_blocks = [], block_count(len(strategies))
    for begin in range(0, len(strategies), CHUNK_SETS):
        chunk = configs[begin : begin + CHUNK_SETS]
        at_days = np.zeros((len(chunk), days.size))
        with counted(Evaluation.of(chunk, code, data, [bars], times)) as trial:
            for trial.n_started, equity in enumerate(at_days, start=1):
                screens.append(screen(opened, close, next(exposures), settings.costs, days, equity))
                on_progress(len(screens), len(strategies))
            at_ends = at_days[:, np.searchsorted(days, ends)]
            trial.observe = partial(_observed, screens[begin:], times, bars.timeframe, week, ends, at_ends)
        moments.append(block_moments(_daily_returns(at_days), n_blocks))
    return screens, np.concatenate(moments)


def _daily_returns(at_days: FloatArray) -> FloatArray:
    """Return the return of each day from equity at its last close, shape (k, n_days); 0.0 after a bankruptcy."""
    before = np.column_stack([np.full(len(at_days), INITIAL_CASH), at_days[:, :-1]])
    growth: FloatArray = np.divide(at_days, before, out=np.ones_like(before), where=before > 0.0)
    return growth - 1.0


def _observed(
    screens: Sequence[Screen], times: IntArray, timeframe: Timeframe, week: int, ends: IntArray, at_ends: FloatArray
) -> Observations:
    sharpe, skewness, kurtosis = np.array([(each.sharpe, each.skewness, each.kurtosis) for each in screens]).T
    per_year = observed_per_year(times, timeframe.bars_per_year)
    sharpe = np.where(np.isnan(kurtosis) | (times.size <= fewest_for_ratio(per_year)), np.nan, sharpe)
    weeks = weekly_returns(at_ends, INITIAL_CASH, ends)
    return Observations(times.size - 1, per_year, week, sharpe, skewness, kurtosis, weeks)


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


def _configs(strategies: Sequence[Strategy], bars: Bars, settings: BacktestSettings, first: int) -> list[str]:
    start = int(bars.times[first]) if first else None
    return [config_digest([each], settings, [Instrument(bars.symbol)], start=start) for each in strategies]


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
