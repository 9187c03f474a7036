"""Walk-forward: choose a parameter set again and again on past bars, and trade each choice on the bars that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, SerializeAsAny

from peak_trade.causality.short import check_run
from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import Bars, index_ns
from peak_trade.core.causality import worst_outcome
from peak_trade.core.described import Described
from peak_trade.core.digest import digest_of
from peak_trade.core.errors import ConfigError
from peak_trade.core.executor import Executor
from peak_trade.core.progress import progress
from peak_trade.core.time import Timeframe, from_ns, iso, parse_seconds
from peak_trade.core.values import Instrument
from peak_trade.engine.inputs import RunInputs
from peak_trade.engine.result import BacktestResult
from peak_trade.engine.settings import BacktestSettings
from peak_trade.metrics import Measure, format_measure, sharpe, simple_returns
from peak_trade.metrics.drawdowns import drawdown_measures
from peak_trade.metrics.resampling import SharpeDifference, equity_sharpe_difference
from peak_trade.risk.limits import RiskLimits
from peak_trade.strategies.base import Strategy
from peak_trade.studies.backtest import backtest
from peak_trade.studies.sweep.result import best_sets
from peak_trade.studies.sweep.run import sweep
from peak_trade.studies.trials import recorded_trials
from peak_trade.wiring.parameter_space import Grid, parameter_sets

Scheme = Literal["rolling", "anchored"]
"""Training windows of one length, or all from the same first bar."""
Length = int | str
"""A number of bars, or a length of time such as 90d."""
MOST_DIGITS = 12
"""Largest number of digits of a number of bars."""
SMALLEST_EFFICIENCY = 0.5
"""Least part of the Sharpe ratio in sample that a promoted strategy keeps out of sample."""
WIDE = 1.96
"""Standard errors on each side of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Window:
    """One step of a walk-forward: indices of bars, of which the first belongs to the window and the last does not.

    The set that is chosen on the training bars decides at the closes of the test bars.
    """

    train: tuple[int, int]
    test: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """The choice of one window: the strategy with the chosen parameters, and its measures on the training bars.

    `in_sample` are the measures of the event loop. `n_sets` is the number of sets that were tried, and `engine` a
    sentence on which engine tried them. `difference` is the first difference of the chosen one between event loop and
    array kernel, empty when they agree.
    """

    window: Window
    strategy: Strategy
    in_sample: Mapping[str, Measure]
    n_sets: int
    engine: str
    difference: str


@dataclass(frozen=True, slots=True)
class Requirement:
    """A requirement of a promotion: its name, whether it is met (None: it can not be said), and what was found."""

    name: str
    is_met: bool | None
    found: str


class Stitched(Strategy):
    """The strategies of a walk-forward, one after another: each decides from its first close on, until the next one.

    The position is carried over a seam: a new strategy with the same target sends no order, and one with another target
    trades the difference and pays its costs.
    """

    members: Annotated[tuple[SerializeAsAny[Strategy], ...], Field(min_length=1)]
    """The strategies, in order."""

    starts: Annotated[tuple[int, ...], Field(min_length=1)]
    """First close at which each one decides, ns UTC, increasing."""

    @property
    def name(self) -> str:
        """Name of the strategies."""
        return self.members[0].name

    @property
    def warm_up(self) -> int:
        """Number of bars before the first decision that are flat, or the warm-up of the slowest strategy."""
        return max(member.warm_up for member in self.members)

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        """Return the exposure of each strategy in its window, from bars up to the end of that window; flat before."""
        times = index_ns(bars.index)
        bounds = [*np.searchsorted(times, self.starts).tolist(), len(times)]
        found = np.zeros(len(times))
        for member, first, after in zip(self.members, bounds, bounds[1:], strict=False):
            if first < after:
                found[first:after] = member.exposure(bars.iloc[:after])[first:]
        return found


@dataclass(frozen=True, eq=False, repr=False)
class WalkForward(Described):
    """A finished walk-forward. `result` is the run of all test windows in one event loop, `folds` are the choices.

    `n_trials` is the number of trials on the asset and the span of the test windows so far, those of the training
    windows included; None if the trial ledger could not be written. `grid` names the parameters that were chosen.
    """

    folds: tuple[Fold, ...]
    result: BacktestResult
    scheme: Scheme
    grid: tuple[str, ...]
    digests: dict[str, str]
    n_trials: int | None
    inputs: RunInputs
    execution: str = ""
    """Where the windows ran."""

    def description(self) -> tuple[str, dict[str, object]]:
        """Return the windows, the measures in and out of sample, and the verdict."""
        stats = self.result.stats()
        return (
            f"WalkForward: {', '.join(self.result.strategies)} on {', '.join(self.result.market.symbols)}",
            {
                "windows": f"{len(self.folds):,}, {self.scheme}",
                "sharpe in sample": f"{self.in_sample_sharpe:.2f}, mean of the windows",
                "sharpe out of sample": format_measure("sharpe", stats["sharpe"]),
                "total return": format_measure("total_return", stats["total_return"]),
                "seams with another set": f"{self.n_changes:,} of {len(self.folds) - 1:,}",
                "verdict": self.verdict,
                "run id": self.run_id,
            },
        )

    @property
    def run_id(self) -> str:
        """First 16 hex digits of the digest of the five digests."""
        return digest_of(self.digests)[:16]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per window.

        Columns: train_from, train_to, test_from and test_to (close times, UTC), the chosen parameters, and return
        (fraction), Sharpe ratio (annualised, NaN below 30 returns or 30 days) and maximum drawdown (fraction, never
        negative) with the prefix `is_` in sample and `oos_` out of sample, and `n_fills` out of sample. A return
        belongs to the set that decided at the close before it.
        """
        bars = self.inputs.bars[0]
        index = pd.DatetimeIndex(bars.frame.index)
        rows = []
        for fold in self.folds:
            (first, after), (begin, end) = fold.window.train, fold.window.test
            row: dict[str, Any] = {
                "train_from": index[first],
                "train_to": index[after - 1],
                "test_from": index[begin],
                "test_to": index[end - 1],
            }
            row |= {name: getattr(fold.strategy, name) for name in self.grid}
            row |= {f"is_{name}": float(fold.in_sample[name]) for name in _COMPARED}
            row |= {f"oos_{name}": float(measure) for name, measure in self._out_of_sample(begin, end).items()}
            seam = int(bars.times[end]) if end < len(bars) else int(bars.times[-1]) + 1
            row["n_fills"] = sum(bars.times[begin] <= fill.ts_event < seam for fill in self.result.fill_list)
            rows.append(row)
        return pd.DataFrame(rows)

    @property
    def in_sample_sharpe(self) -> float:
        """Mean Sharpe ratio of the chosen sets over the training windows that have one; NaN if none has."""
        ratios = [float(fold.in_sample["sharpe"]) for fold in self.folds if fold.in_sample["sharpe"].value is not None]
        return float(np.mean(ratios)) if ratios else float("nan")

    @property
    def efficiency(self) -> Measure:
        """Sharpe ratio out of sample over the mean one in sample; no value unless the latter is above 0."""
        outside, inside, n = self.result.stats()["sharpe"], self.in_sample_sharpe, len(self.folds)
        if outside.value is None:
            return Measure(None, n, note=outside.note)
        if not inside > 0.0:
            return Measure(None, n, note="the Sharpe ratio in sample is not above 0")
        return Measure(outside.value / inside, n)

    @property
    def n_changes(self) -> int:
        """Number of seams at which another set was chosen than before."""
        return sum(one.strategy != other.strategy for one, other in zip(self.folds, self.folds[1:], strict=False))

    def stability(self) -> pd.DataFrame:
        """Return one row per parameter: distinct values, the most frequent one, its share, and the share of seams kept.

        `kept` is the share of the seams at which the value stayed, NaN with one window.
        """
        rows = []
        for name in self.grid:
            values = [getattr(fold.strategy, name) for fold in self.folds]
            keys = [repr(value) for value in values]
            commonest = max(dict.fromkeys(keys), key=keys.count)
            seams = [one == other for one, other in pairwise(keys)]
            share = keys.count(commonest) / len(keys)
            kept = float(np.mean(seams)) if seams else float("nan")
            rows.append((name, len(set(keys)), values[keys.index(commonest)], share, kept))
        return pd.DataFrame(rows, columns=["parameter", "distinct", "most_frequent", "share", "kept"])

    @cached_property
    def less_holding(self) -> SharpeDifference:
        """Sharpe ratio out of sample − that of buying and holding over the same bars, with its test."""
        run = self.result
        return equity_sharpe_difference(run.equity_values, run.benchmark.equity_values, run.market.bars_per_year)

    @cached_property
    def requirements(self) -> tuple[Requirement, ...]:
        """The requirements of a promotion, all of which have to be met."""
        ratio, gap, kept = self.result.stats()["sharpe"], self.less_holding, self.efficiency
        low = None if ratio.value is None or ratio.stderr is None else ratio.value - WIDE * ratio.stderr
        gains = self.table["oos_total_return"].to_numpy()
        n_gains = int((gains > 0.0).sum())
        own = ratio.note if low is None else f"95 % interval of the Sharpe ratio starts at {low:.2f}"
        beaten = (
            gap.difference.note
            if gap.low is None
            else f"95 % interval of the Sharpe difference starts at {gap.low:.2f}"
        )
        return (
            Requirement("edge out of sample", None if low is None else low > 0.0, own),
            Requirement("better than holding", None if gap.low is None else gap.low > 0.0, beaten),
            Requirement(
                "keeps its edge",
                None if kept.value is None else kept.value >= SMALLEST_EFFICIENCY,
                kept.note
                if kept.value is None
                else f"{kept.value:.1%} of the Sharpe ratio in sample, {SMALLEST_EFFICIENCY:.0%} needed",
            ),
            Requirement(
                "gains in most windows", n_gains > len(gains) / 2, f"{n_gains:,} of {len(gains):,} test windows gained"
            ),
        )

    @property
    def is_promoted(self) -> bool:
        """Whether every requirement of a promotion is met."""
        return all(each.is_met is True for each in self.requirements)

    @property
    def verdict(self) -> str:
        """Promoted or rejected and why, in words."""
        if self.is_promoted:
            return f"Promoted: {'; '.join(each.found for each in self.requirements)}."
        missed = [f"{each.name} ({each.found})" for each in self.requirements if each.is_met is not True]
        return f"Rejected, for lack of: {'; '.join(missed)}."

    def _out_of_sample(self, begin: int, end: int) -> dict[str, Measure]:
        """Return the measures of the returns that the set of a test window decided."""
        first = self.folds[0].window.test[0]
        equity = self.result.equity_values[begin - first : min(end, first + len(self.result.market) - 1) - first + 1]
        n = equity.size - 1
        if n < 1 or not equity[0] > 0.0:
            return dict.fromkeys(_COMPARED, Measure(None, max(n, 0), note="no equity"))
        if not (equity > 0.0).all():
            ratio = Measure(None, n, note="the account went bankrupt")
        else:
            ratio = sharpe(simple_returns(equity), self.result.market.bars_per_year)
        return {
            "total_return": Measure(float(equity[-1] / equity[0] - 1.0), n),
            "sharpe": ratio,
            "max_drawdown": drawdown_measures(equity)[0],
        }


_COMPARED = ("total_return", "sharpe", "max_drawdown")


@dataclass(frozen=True, slots=True)
class _Search:
    """What the windows share: they are independent of each other."""

    strategies: Sequence[Strategy]
    grid: Grid
    bars: Bars
    settings: BacktestSettings
    options: Mapping[str, Any]


@checks_arguments(strategy_class="a subclass of Strategy, not an instance")
def walk_forward(
    strategy_class: type[Strategy],
    grid: Grid,
    bars: Bars,
    settings: BacktestSettings | None = None,
    start: datetime | str | None = None,
    *,
    train: Length,
    test: Length,
    scheme: Scheme = "rolling",
    purge: Length = 0,
    embargo: Length = 0,
    constraints: Sequence[str] = (),
    instruments: Mapping[str, Instrument] | None = None,
    risk: RiskLimits | None = None,
    n_best: Annotated[int, Field(ge=1)] = 5,
    is_confirmed: bool = False,
    n_processes: Annotated[int, Field(ge=1)] | None = None,
    causality_check: bool = True,
) -> WalkForward:
    """Choose the best parameter set on each training window, and trade it on the test window that follows.

    Parameters
    ----------
    strategy_class : subclass of Strategy
    grid : mapping of parameter to values
        As of `sweep`, which runs on the training bars of each window: the array kernel screens all sets, and the event
        loop runs the best ones. The choice is the best one in the event loop.
    bars : Bars
    settings : BacktestSettings, optional
    start : datetime or ISO text, optional
        First close that is used for training, UTC; the bars before it warm strategies up. Defaults to the first bar.
    train, test : int or str
        Length of a training window, of the first one if they are anchored, and of a test window: bars, or a time such
        as 180d. The last test window may be shorter.
    scheme : rolling or anchored
        Rolling training windows have one length; anchored ones all begin at the first bar.
    purge : int or str
        Bars that are left out at the end of a training window, which gets shorter.
    embargo : int or str
        Bars between a training window and its test window; the training window ends earlier and keeps its length.
    constraints, instruments, risk, is_confirmed
        As of `sweep`.
    n_best : int
        Number of best sets of a window that run in the event loop.
    n_processes : int, optional
        Number of processes that run windows; see `Executor`.
    causality_check : bool
        Whether to check a user's strategy for look-ahead, in short: the choice of the last window.

    Returns
    -------
    WalkForward

    Raises
    ------
    ConfigError
        On windows that are longer than the bars, a purge that leaves no training bars, an empty grid, an unknown
        parameter, or a grid that is too large without confirmation.
    StrategyError
        When a strategy breaks its contract.

    Notes
    -----
    Causal: the choice of a window is computed from the bars before its test window only, and the exposure in a test
    window from the bars up to its end. Strategies know all bars before a window, so their indicators are warm.

    All test windows are one run of the event loop with one account. The position is carried over a seam: the next
    set trades the difference to its target, with costs. With one parameter set the result is therefore that of a plain
    backtest that starts at the first test bar.

    Every set of every window is a trial of the trial ledger, and so is the result.

    References
    ----------
    Pardo (2008), The Evaluation and Optimization of Trading Strategies, chapter 11, for walk-forward and efficiency.
    López de Prado (2018), Advances in Financial Machine Learning, chapter 7, for purge and embargo.

    """
    settings = settings or BacktestSettings()
    name = f"walk-forward of {strategy_class.__name__}"
    if not grid:
        raise ConfigError(f"{name}: the grid is empty. Give values for at least one parameter.")
    strategies, _ = parameter_sets(strategy_class, grid, constraints)
    first = 0 if start is None else len(bars) - len(bars.between(start))
    lengths = {
        key: _n_bars(key, length, bars.timeframe)
        for key, length in {"train": train, "test": test, "purge": purge, "embargo": embargo}.items()
    }
    windows = make_windows(len(bars), **lengths, scheme=scheme, first=first, where=f"{bars.symbol} {bars.timeframe}")
    executor = Executor(n_processes)
    rules: dict[str, Any] = {"instruments": dict(instruments or {}), "risk": risk}
    options = {**rules, "constraints": tuple(constraints), "n_best": n_best, "is_confirmed": is_confirmed}
    search = _Search(strategies, grid, bars, settings, options)
    with progress("walk-forward", "windows") as on_progress:
        folds = executor.map(choose, search, windows, on_progress)
    stitched = Stitched(
        members=tuple(fold.strategy for fold in folds),
        starts=tuple(int(bars.times[fold.window.test[0]]) for fold in folds),
    )
    outcomes = check_run([(folds[-1].strategy, bars)], is_wanted=causality_check)
    result = backtest(stitched, bars, settings, start=from_ns(stitched.starts[0]), causality_check=False, **rules)
    result = replace(result, causality=() if not outcomes else (worst_outcome(outcomes),))
    count = recorded_trials(result.digests)
    arguments = {"strategy_class": strategy_class, "grid": grid, "settings": settings, "scheme": scheme}
    arguments |= {**lengths, **options}
    plan = [scheme, lengths, n_best, list(constraints), first and int(bars.times[first]), result.digests["config"]]
    sets = [each.digest() for each in strategies]
    return WalkForward(
        folds=tuple(folds),
        result=result,
        scheme=scheme,
        grid=tuple(grid),
        digests=result.digests | {"config": digest_of(["walk_forward", *plan, *sets])},
        n_trials=None if count is None else count.n,
        inputs=RunInputs(
            "walk_forward",
            arguments,
            (strategies[0], stitched),
            (bars,),
            start=int(bars.times[first]) if first else None,
        ),
        execution=executor.summary,
    )


def make_windows(
    n_bars: int,
    train: int,
    test: int,
    purge: int = 0,
    embargo: int = 0,
    *,
    scheme: Scheme = "rolling",
    first: int = 0,
    where: str = "the bars",
) -> list[Window]:
    """Return the windows over bars `first` to `n_bars`, all in numbers of bars; see `walk_forward`.

    The test windows follow each other without a gap, up to the last bar; the last one may be shorter, or a bar longer.
    ConfigError when there is no room for one.

    Examples
    --------
    >>> [(each.train, each.test) for each in make_windows(10, train=4, test=3, purge=1)]
    [((0, 3), (4, 7)), ((3, 6), (7, 10))]

    """
    for name, length, least in (("train", train, 2), ("test", test, 1), ("purge", purge, 0), ("embargo", embargo, 0)):
        if length < least:
            raise ConfigError(f"walk-forward: {name} was {length:,} bars: give at least {least}.")
    if train - purge < 2:
        raise ConfigError(
            f"walk-forward: a purge of {purge:,} bars leaves {max(train - purge, 0):,} of {train:,} training bars. Use "
            "a shorter purge or longer training windows."
        )
    begin = first + train + embargo
    if begin + test > n_bars:
        gap = f", an embargo of {embargo:,}" if embargo else ""
        raise ConfigError(
            f"walk-forward: a training window of {train:,} bars{gap} and a test window of {test:,} are longer than the "
            f"{n_bars - first:,} bars of {where}. Use shorter windows or more bars."
        )
    places = list(range(begin, n_bars, test))
    if places[1:] and n_bars - places[-1] == 1:  # one bar has no return
        places.pop()
    return [
        Window((first if scheme == "anchored" else place - embargo - train, place - embargo - purge), (place, end))
        for place, end in zip(places, [*places[1:], n_bars], strict=True)
    ]


def choose(search: _Search, window: Window) -> Fold:
    """Return the choice of a window, from the bars before its test window only."""
    bars = search.bars
    first, after = window.train
    known = Bars.over(bars.frame.iloc[:after], bars.symbol, bars.timeframe, bars.exchange, bars.notes)
    found = sweep(
        type(search.strategies[0]),
        search.grid,
        known,
        search.settings,
        from_ns(int(bars.times[first])),
        n_processes=1,
        causality_check=False,
        **search.options,
    )
    row = best_sets(found.results, 1)[0]
    chosen: dict[Any, Any] = found.results.loc[row].to_dict()
    in_sample = {
        name: Measure(None, after - first, note="too few bars")
        if np.isnan(chosen[name])
        else Measure(float(chosen[name]), after - first)
        for name in _COMPARED
    }
    return Fold(
        window, search.strategies[row], in_sample, len(found.table), found.engine_sentence, str(chosen["difference"])
    )


def seam_sentence(found: WalkForward) -> str:
    """Return how the account passes from one window to the next, for a page or a terminal."""
    n = len(found.folds) - 1
    return (
        f"The test windows are one run with one account. Positions are carried over the {n:,} seams; at "
        f"{found.n_changes:,} of them another set was chosen, which trades the difference to its target, with costs."
    )


def window_sentence(found: WalkForward) -> str:
    """Return the number and the span of the windows, for a page or a terminal."""
    one, bars = found.folds[0].window, found.inputs.bars[0]
    first, last = int(bars.times[one.test[0]]), int(bars.times[-1])
    return (
        f"{len(found.folds):,} {found.scheme} windows: {one.train[1] - one.train[0]:,} bars of training in the first "
        f"one, {one.test[1] - one.test[0]:,} bars of test, {iso(first)} to {iso(last)}; "
        f"{found.folds[0].n_sets:,} sets each."
    )


def _n_bars(name: str, length: Length, timeframe: Timeframe) -> int:
    if isinstance(length, int):
        return length
    if length.isascii() and length.isdigit() and len(length) <= MOST_DIGITS:
        return int(length)
    seconds = parse_seconds(length)
    if seconds is None:
        raise ConfigError(f"walk-forward: {name} was {length!r}: give a number of bars, or a length such as 90d.")
    if seconds % timeframe.seconds or timeframe.months:
        raise ConfigError(f"walk-forward: {name} was {length}: that is no whole number of {timeframe} bars.")
    return seconds // timeframe.seconds
