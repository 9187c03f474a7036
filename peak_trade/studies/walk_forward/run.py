"""Walk-forward: choose a parameter set again and again on past bars, and trade each choice on the bars that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field, SerializeAsAny

from peak_trade.causality.short import check_run
from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import index_ns
from peak_trade.core.bars import Bars
from peak_trade.core.causality import worst_outcome
from peak_trade.core.digest import digest_of
from peak_trade.core.errors import ConfigError
from peak_trade.core.executor import Executor
from peak_trade.core.progress import progress
from peak_trade.core.time import from_ns
from peak_trade.core.values import Instrument
from peak_trade.core.windows import Length, Scheme, Window, make_windows, n_bars_of
from peak_trade.engine.inputs import RunInputs
from peak_trade.engine.settings import BacktestSettings
from peak_trade.metrics import Measure
from peak_trade.risk.limits import RiskLimits
from peak_trade.strategies.base import Strategy
from peak_trade.studies.backtest import backtest
from peak_trade.studies.sweep.result import best_sets
from peak_trade.studies.sweep.run import sweep
from peak_trade.studies.trials import recorded_trials
from peak_trade.studies.walk_forward.result import COMPARED, Fold, WalkForward
from peak_trade.tracking.counting import CollectedTrials, collected
from peak_trade.wiring.parameter_space import Grid, parameter_sets


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


@dataclass(frozen=True, slots=True)
class _Search:
    """What the windows share: they are independent of each other."""

    strategies: Sequence[Strategy]
    grid: Grid
    bars: Bars
    settings: BacktestSettings
    options: Mapping[str, Any]
    is_remote: bool = False
    """Whether windows run on other machines, which have another trial ledger."""

    def known(self, window: Window) -> Bars:
        """Return the bars that the choice of a window may know."""
        bars = self.bars
        known = bars.frame.iloc[: window.train[1]]
        return Bars.over(known, bars.symbol, bars.timeframe, bars.exchange, bars.notes, bars.extra)


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
    cluster: str = "",
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
    cluster : str
        Address of the scheduler of a Dask cluster that runs the windows; empty for none.
    causality_check : bool
        Whether to check a user's strategy for look-ahead, in short: the choice of the last window.

    Returns
    -------
    WalkForward

    Raises
    ------
    ConfigError
        On windows that are longer than the bars, a purge that leaves no training bars, an empty grid, an unknown
        parameter, a grid that is too large without confirmation, or a cluster that does not answer.
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
        key: n_bars_of(key, length, bars.timeframe)
        for key, length in {"train": train, "test": test, "purge": purge, "embargo": embargo}.items()
    }
    windows = make_windows(len(bars), **lengths, scheme=scheme, first=first, where=f"{bars.symbol} {bars.timeframe}")
    executor = Executor(n_processes, cluster)
    rules: dict[str, Any] = {"instruments": dict(instruments or {}), "risk": risk}
    options = {**rules, "constraints": tuple(constraints), "n_best": n_best, "is_confirmed": is_confirmed}
    search = _Search(strategies, grid, bars, settings, options, is_remote=bool(cluster))
    folds = _chosen(search, windows, executor)
    stitched = Stitched(
        members=tuple(fold.strategy for fold in folds),
        starts=tuple(int(bars.times[fold.window.test[0]]) for fold in folds),
    )
    outcomes = check_run([(folds[-1].strategy, bars)], is_wanted=causality_check)
    result = backtest(stitched, bars, settings, start=from_ns(stitched.starts[0]), causality_check=False, **rules)
    result = replace(result, causality=() if not outcomes else (worst_outcome(outcomes),))
    count = recorded_trials(result.digests)
    opening = int(bars.times[first]) if first else None
    plan = [scheme, lengths, n_best, list(constraints), opening or 0, result.digests["config"]]
    sets = [each.digest() for each in strategies]
    arguments = {"strategy_class": strategy_class, "grid": grid, "settings": settings, "scheme": scheme}
    return WalkForward(
        folds=folds,
        result=result,
        scheme=scheme,
        grid=tuple(grid),
        digests=result.digests | {"config": digest_of(["walk_forward", *plan, *sets])},
        n_trials=None if count is None else count.n,
        inputs=RunInputs(
            "walk_forward", {**arguments, **lengths, **options}, (strategies[0], stitched), (bars,), start=opening
        ),
        execution=executor.summary,
    )


def _chosen(search: _Search, windows: Sequence[Window], executor: Executor) -> tuple[Fold, ...]:
    """Return the choice of each window, in order; trials that a cluster collected are recorded as they arrive."""
    folds: dict[int, Fold] = {}
    with progress("walk-forward", "windows") as on_progress:
        for place, (fold, trials) in executor.run(choose, search, windows):
            trials.record([search.known(windows[place])])
            folds[place] = fold
            on_progress(len(folds), len(windows))
    return tuple(folds[place] for place in range(len(windows)))


def choose(search: _Search, window: Window) -> tuple[Fold, CollectedTrials]:
    """Return the choice of a window, from the bars before its test window only, and its trials if it runs elsewhere."""
    first, after = window.train
    trials = CollectedTrials()
    with collected(trials) if search.is_remote else nullcontext():
        found = sweep(
            type(search.strategies[0]),
            search.grid,
            search.known(window),
            search.settings,
            from_ns(int(search.bars.times[first])),
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
        for name in COMPARED
    }
    fold = Fold(
        window, search.strategies[row], in_sample, len(found.table), found.engine_sentence, str(chosen["difference"])
    )
    return fold, trials
