"""Run a sweep: evaluate many parameter sets, and run the best ones again in the event loop."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from peak_trade.causality.kept_state import KeptState
from peak_trade.causality.short import BUDGET, check_run, naming_look_ahead
from peak_trade.core.arguments import checks_arguments
from peak_trade.core.bars import Bars
from peak_trade.core.calendar import observed_per_year
from peak_trade.core.causality import CausalityOutcome, worst_outcome
from peak_trade.core.digest import digest_of, environment_digest
from peak_trade.core.errors import ConfigError
from peak_trade.core.executor import Executor
from peak_trade.core.extras import require
from peak_trade.core.progress import OnProgress, progress
from peak_trade.core.values import Instrument
from peak_trade.engine.inputs import RunInputs
from peak_trade.engine.kernel import STATISTICS, simulate
from peak_trade.engine.result import BacktestResult
from peak_trade.engine.settings import BacktestSettings
from peak_trade.metrics import fewest_for_ratio, measures_in
from peak_trade.metrics.overfitting import block_count
from peak_trade.metrics.summary import sweep_measures
from peak_trade.risk.limits import RiskLimits
from peak_trade.strategies.base import Strategy
from peak_trade.studies.backtest import backtest
from peak_trade.studies.sweep.evaluation import Evaluator, Findings, Setup, exposures_of
from peak_trade.studies.sweep.result import SweepResult, best_sets
from peak_trade.studies.trials import recorded_trials
from peak_trade.tracking.counting import not_trials
from peak_trade.wiring.digests import code_digest, config_digests, data_digest, digests_once, user_strategies
from peak_trade.wiring.parameter_space import MOST_SETS, MOST_UNCONFIRMED, Grid, ParameterSpace

Method = Literal["grid", "random", "search"]
"""All sets of the grid, some of them chosen at random, or some that a search chooses by the results so far."""
RTOL_EQUITY = 1e-9
"""Largest relative difference in equity between the kernel and the event loop."""
SEARCH_BATCH = 8
"""Sets that a search asks for at a time; a fixed number, so that the result does not depend on the machine."""
_ASKS_PER_SET = 20


@checks_arguments(strategy_class="a subclass of Strategy, not an instance")
@digests_once()
def sweep(
    strategy_class: type[Strategy],
    grid: Grid,
    bars: Bars,
    settings: BacktestSettings | None = None,
    start: datetime | str | None = None,
    *,
    constraints: Sequence[str] = (),
    method: Method = "grid",
    n_sets: Annotated[int, Field(ge=1, le=MOST_SETS)] | None = None,
    seed: Annotated[int, Field(ge=0)] = 0,
    instruments: Mapping[str, Instrument] | None = None,
    risk: RiskLimits | None = None,
    n_best: Annotated[int, Field(ge=1)] = 10,
    is_confirmed: bool = False,
    n_processes: Annotated[int, Field(ge=1)] | None = None,
    cluster: str = "",
    causality_check: bool = True,
) -> SweepResult:
    """Evaluate parameter sets of a strategy and run the best ones in the event loop; see `best_sets`.

    Parameters
    ----------
    strategy_class : subclass of Strategy
    grid : mapping of parameter to values
        For each parameter a list, tuple, range, array of one dimension or Series of values, or a text such as
        "5..50:5", which is 5, 10 … 50.
    bars : Bars
    settings : BacktestSettings
        The array kernel runs market orders with a fraction of equity, fee and slippage; other settings run in the event
        loop. The kernel ignores `max_participation`, the event loop does not; when the limit applies, `difference`
        states where they differ.
    start : datetime or ISO text, optional
        First close time that is traded, UTC; the bars before it warm the strategies up. Defaults to the first bar.
    constraints : sequence of str
        Comparisons of parameters and numbers that every set fulfils, such as "fast < slow" or "slow >= 2 * fast".
    method : grid, random or search
        All sets, n_sets of them with equal chances, or n_sets that Optuna's tree-structured Parzen estimator chooses
        by the Sharpe ratios so far (needs `peak-trade[optuna]`).
    n_sets : int, optional
        Number of sets of a random choice or a search.
    seed : int
        Seed of a random choice or a search.
    instruments : mapping of symbol to Instrument, optional
    risk : RiskLimits, optional
        Rules and limits of `backtest`. With them, the sets run in the event loop.
    n_best : int
        Number of best sets that run again in the event loop and count as results.
    is_confirmed : bool
        Whether a grid of more than MOST_UNCONFIRMED sets may run.
    n_processes : int, optional
        Threads or processes; see `Executor`.
    cluster : str
        Address of the scheduler of a Dask cluster that runs the sets; empty for none.
    causality_check : bool
        Whether to check a user's strategy for look-ahead, in short: the first set before the sweep starts, and each of
        the best `n_best` sets afterwards.

    Returns
    -------
    SweepResult

    Raises
    ------
    ConfigError
        On an unknown parameter (with the closest known name), an invalid value, a grid without a valid set, a grid that
        is too large without confirmation, or a cluster that does not answer.
    StrategyError
        When a strategy breaks its contract.
    WorkerError
        When a process or a cluster has ended, also after repetitions.

    Notes
    -----
    Sets share their indicators, and memory does not grow with the grid beyond about 1 KiB for each set. Every set is a
    trial of the workspace's trial ledger, which gets one line per 1,000 sets. What has finished when a sweep is
    interrupted is kept in the workspace: the same sweep continues there.

    References
    ----------
    Bergstra, Bardenet, Bengio and Kégl (2011), Algorithms for Hyper-Parameter Optimization, NeurIPS 24, for search.

    Examples
    --------
    >>> from peak_trade.wiring.parameter_space import parameter_sets
    >>> from peak_trade.strategies.ma_crossover import MaCrossover
    >>> strategies, n_skipped = parameter_sets(MaCrossover, {"fast": [5, 10], "slow": "10..20:10"})
    >>> len(strategies), n_skipped
    (3, 1)

    """
    settings = settings or BacktestSettings()
    space = ParameterSpace(strategy_class, grid, constraints)
    wanted = _wanted(space, method, n_sets, is_confirmed)
    executor = Executor(n_processes, cluster)
    first = 0 if start is None else len(bars) - len(bars.between(start))
    instrument = (instruments or {}).get(bars.symbol)
    setup = Setup(bars, settings, first, block_count(wanted), instrument, risk)

    job = _Job(setup, executor, causality_check)
    with progress("sweep", "combinations") as on_progress:
        if method == "search":
            chosen = _search(space, wanted, seed, job, on_progress)
        else:
            strategies = space.all_sets() if method == "grid" else space.random_sets(wanted, seed)
            chosen = _evaluate(strategies, job, on_progress)
    table = _table(chosen.strategies, list(grid), setup, chosen.rows)
    best = best_sets(table, n_best)
    checked = chosen.checked
    with chosen.state.as_before(chosen.strategies[0]):
        checked |= _check_sets(chosen.strategies, best, bars, BUDGET, causality_check)
    options: dict[str, Any] = {"instruments": instruments, "risk": risk, "start": start, "causality_check": False}
    with not_trials():
        runs = [backtest(chosen.strategies[row], bars, settings, **options) for row in best]
    chosen.evaluator.finish()
    winner = replace(runs[0], causality=() if not checked else (worst_outcome(checked.values()),))
    count = recorded_trials(winner.digests)
    n_fills = table["n_fills"].to_list()
    found = [_difference(chosen.strategies[row], n_fills[row], setup, run) for row, run in zip(best, runs, strict=True)]
    return SweepResult(
        table=table,
        n_skipped=space.n_skipped,
        winner=winner,
        winner_index=best[0],
        difference=found[0],
        digests=winner.digests | {"config": digest_of(["sweep", *chosen.configs])},
        causality=checked,
        inputs=RunInputs(
            "sweep",
            {"strategy_class": strategy_class, "grid": grid, "settings": settings, "n_best": n_best}
            | _without_defaults(constraints, method, n_sets, seed, instruments, risk),
            (chosen.strategies[0], chosen.strategies[best[0]]),
            (bars,),
            start=setup.start,
        ),
        n_trials=None if count is None else count.n,
        moments=chosen.rows.moments,
        weeks=chosen.rows.weeks,
        results=_results(table, list(grid), best, runs, found),
        equal_sets=_equal_sets(chosen.rows),
        engine="array kernel" if chosen.evaluator.is_kernel else "event loop",
        engine_reason="" if chosen.evaluator.is_kernel else f"the kernel does not support {setup.beyond_kernel}",
        execution=chosen.execution(executor),
        method=method,
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """How the sets of a sweep are evaluated, however they are chosen."""

    setup: Setup
    executor: Executor
    causality_check: bool

    def configs(self, strategies: Sequence[Strategy]) -> list[str]:
        setup = self.setup
        rules = [setup.instrument or Instrument(setup.bars.symbol)]
        return config_digests([[each] for each in strategies], setup.settings, rules, setup.risk, setup.start)

    def evaluator(self, probe: Strategy, plan: Sequence[Any]) -> Evaluator:
        identity = [*plan, data_digest([self.setup.bars]), code_digest([probe]), environment_digest()]
        return Evaluator(self.setup, self.executor, digest_of(identity))


class _Chosen:
    """The sets of a sweep as they are evaluated."""

    def __init__(self, strategies: Sequence[Strategy], job: _Job) -> None:
        self.strategies = list(strategies)
        self.state = KeptState(strategies[0])
        self.checked = _check_sets(strategies, [0], job.setup.bars, BUDGET / 5.0, job.causality_check)
        self.configs: list[str] = []
        self.rows: Findings
        self.evaluator: Evaluator

    def execution(self, executor: Executor) -> str:
        kept = self.evaluator.n_kept
        return executor.summary + (f"; {kept:,} sets were kept from an interrupted sweep" if kept else "")


def _wanted(space: ParameterSpace, method: Method, n_sets: int | None, is_confirmed: bool) -> int:
    """Return the number of sets that are chosen; ConfigError if it is missing or takes a confirmation."""
    if method != "grid":
        if n_sets is None:
            raise ConfigError(f"{space.name}: the method {method} needs the number of sets to try, n_sets.")
        return n_sets
    if n_sets is not None:
        raise ConfigError(f"{space.name}: n_sets was {n_sets}, but a grid runs all sets. Choose random or search.")
    if MOST_UNCONFIRMED < space.n_sets <= MOST_SETS and not is_confirmed:
        raise ConfigError(
            f"{space.name}: the grid has {space.n_sets:,} sets, more than {MOST_UNCONFIRMED:,}. Confirm it with --yes "
            "(is_confirmed=True), give fewer values, or choose some at random."
        )
    return max(min(space.n_sets, MOST_SETS), 1)


def _evaluate(strategies: Sequence[Strategy], job: _Job, on_progress: OnProgress) -> _Chosen:
    chosen = _Chosen(strategies, job)
    chosen.configs = job.configs(strategies)
    chosen.evaluator = job.evaluator(strategies[0], chosen.configs)
    with naming_look_ahead(chosen.checked.values()):
        chosen.rows = chosen.evaluator.evaluate(
            strategies, chosen.configs, lambda done: on_progress(done, len(strategies))
        )
    return chosen


def _search(space: ParameterSpace, n_sets: int, seed: int, job: _Job, on_progress: OnProgress) -> _Chosen:
    require("the method search", "optuna")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    chosen: _Chosen | None = None
    scores: dict[str, float] = {}
    n_asked = 0
    while len(scores) < min(n_sets, space.n_sets) and n_asked < _ASKS_PER_SET * n_sets:
        asked: list[tuple[Any, str]] = []
        new: dict[str, Strategy] = {}
        while len(asked) < SEARCH_BATCH and len(scores) + len(new) < n_sets and n_asked < _ASKS_PER_SET * n_sets:
            trial = study.ask()
            n_asked += 1
            strategy = space.set_of([_suggested(trial, name, choices) for name, choices in space.lists.items()])
            if strategy is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                continue
            (config,) = job.configs([strategy])
            asked.append((trial, config))
            if config not in scores:
                new[config] = strategy
        if new:
            sets, configs, n_before = list(new.values()), list(new), len(scores)
            if chosen is None:
                chosen = _Chosen(sets, job)
                lists = {name: [repr(value) for value in choices] for name, choices in space.lists.items()}
                chosen.evaluator = job.evaluator(sets[0], ["search", configs[0], lists, n_sets, seed])
            else:
                chosen.strategies += sets
            chosen.configs += configs
            with naming_look_ahead(chosen.checked.values()):
                rows = chosen.evaluator.evaluate(sets, configs, lambda done: on_progress(n_before + done, n_sets))  # noqa: B023
            chosen.rows = Findings.joined([chosen.rows, rows]) if n_before else rows
            scores |= dict(zip(configs, rows.statistics[:, STATISTICS.index("sharpe")].tolist(), strict=True))
        for trial, config in asked:
            study.tell(trial, scores[config])
    space.require([] if chosen is None else chosen.strategies)
    assert chosen is not None
    return chosen


def _suggested(trial: Any, name: str, choices: Sequence[Any]) -> Any:
    """Return the value that a search suggests: one of numbers in order by its place, of others by itself."""
    is_ordered = all(isinstance(each, int | float) and not isinstance(each, bool) for each in choices)
    if is_ordered and all(a < b for a, b in pairwise(choices)):
        return choices[trial.suggest_int(name, 0, len(choices) - 1)]
    return choices[trial.suggest_categorical(name, list(range(len(choices))))]


def _without_defaults(
    constraints: Sequence[str],
    method: Method,
    n_sets: int | None,
    seed: int,
    instruments: Mapping[str, Instrument] | None,
    risk: RiskLimits | None,
) -> dict[str, Any]:
    """Return the arguments that differ from their defaults, so that the record of a plain sweep stays as it was."""
    given = {"constraints": list(constraints), "instruments": dict(instruments or {})}
    chosen = {} if method == "grid" else {"method": method, "n_sets": n_sets, "seed": seed}
    limits = {} if risk is None else {"risk": risk}
    return {name: value for name, value in given.items() if value} | chosen | limits


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


def _table(strategies: Sequence[Strategy], parameters: Sequence[str], setup: Setup, rows: Findings) -> pd.DataFrame:
    per_year = observed_per_year(setup.times, setup.bars.timeframe.bars_per_year)
    annual = math.sqrt(per_year) if setup.times.size > fewest_for_ratio(per_year) else math.nan
    columns: dict[str, Any] = {name: [getattr(strategy, name) for strategy in strategies] for name in parameters}
    found = dict(zip(STATISTICS, rows.statistics.T, strict=True))
    found["sharpe"] = found["sharpe"] * annual
    columns |= {name: found[name] for name in measures_in("sweep")}
    columns["n_fills"] = found["n_fills"].astype(np.int64)
    return pd.DataFrame(columns)


def _results(
    table: pd.DataFrame,
    parameters: Sequence[str],
    best: Sequence[int],
    runs: Sequence[BacktestResult],
    differences: Sequence[str],
) -> pd.DataFrame:
    columns: dict[str, Any] = {"run_id": [run.run_id for run in runs]}
    columns |= {name: table[name].iloc[list(best)].to_list() for name in parameters}
    per_year = runs[0].market.timeframe.bars_per_year
    measures = [sweep_measures(run.equity, len(run.fill_list), per_year) for run in runs]
    for name in measures_in("sweep"):
        values = [each[name].value for each in measures]
        columns[name] = [math.nan if value is None else value for value in values]
    columns["n_fills"] = [int(value) for value in columns["n_fills"]]
    columns["difference"] = list(differences)
    return pd.DataFrame(columns, index=list(best))


def _equal_sets(rows: Findings) -> tuple[tuple[int, ...], ...]:
    digests = [digest.tobytes() for digest in rows.digests]
    if len(set(digests)) == len(digests):
        return ()
    groups: dict[bytes, list[int]] = {}
    for row, digest in enumerate(digests):
        groups.setdefault(digest, []).append(row)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _difference(strategy: Strategy, n_fills: int, setup: Setup, run: BacktestResult) -> str:
    """Return the first difference between a run in the event loop and the same set on the kernel, with its fills."""
    if setup.beyond_kernel:
        return ""
    opened, close = setup.prices
    exposure = exposures_of(setup, strategy)
    equity, _ = simulate(opened, close, exposure, setup.settings.costs, setup.settings.initial_cash)
    if n_fills != len(run.fill_list):
        return f"the event loop has {len(run.fill_list):,} fills, the kernel {n_fills:,}"
    apart = np.flatnonzero(~(np.abs(equity - run.equity_values) <= RTOL_EQUITY * np.abs(run.equity_values)))
    if apart.size:
        bar = int(apart[0])
        return (
            f"equity at {run.index[bar]:%Y-%m-%d %H:%M} is {run.equity_values[bar]!r} in the event loop and "
            f"{equity[bar]!r} in the kernel"
        )
    return ""
