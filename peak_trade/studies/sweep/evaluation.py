"""Evaluation of parameter sets: on the array kernel or in the event loop, here, in processes or on a cluster.

Sets are evaluated in slices, whose results do not depend on where or in which order they run. What is kept of a set
does not grow with the number of bars beyond its weekly returns.
"""

from __future__ import annotations

import hashlib
import io
import logging
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bars import Bars
from peak_trade.core.calendar import observed_per_year, period_of
from peak_trade.core.compute import SHARED_BYTES, IndicatorCache
from peak_trade.core.errors import WorkerError
from peak_trade.core.executor import Executor
from peak_trade.core.files import make_folder, read_bytes, write_bytes
from peak_trade.core.values import Instrument, OrderType
from peak_trade.data.workspace import workspace
from peak_trade.engine.kernel import INITIAL_CASH, STATISTICS, screen_crossings, screen_sets
from peak_trade.engine.settings import BacktestSettings
from peak_trade.metrics import fewest_for_ratio
from peak_trade.metrics.overfitting import block_moments
from peak_trade.portfolio.sizing import FractionOfEquity
from peak_trade.risk.limits import RiskLimits
from peak_trade.strategies.base import Strategy, check_exposure, strategy_errors
from peak_trade.strategies.crossing import Crossing, Line, sides_of
from peak_trade.studies.backtest import backtest
from peak_trade.tracking.counting import counted, not_trials
from peak_trade.tracking.trials import Evaluation, Observations, week_ends, weekly_returns
from peak_trade.wiring.digests import data_digest, user_code_digest
from peak_trade.wiring.sleeves import extra_columns_of

CHUNK_SETS = 1_000
"""Sets whose trials are one line of the trial ledger."""
SLICE_SETS = 128
"""Sets of the array kernel that are one task."""
TILE_LINES = 16
"""Lines of each side of the crossings of one task, so that few lines serve many sets."""
SECONDS_BETWEEN_PARTS = 5.0
"""Time after which the finished sets of a long sweep are kept in the workspace."""
_SHARED_LINES = 32
_LINE_BYTES = 64 * 2**20
_PADDED_ROWS = 16
_DIGEST_BYTES = 16


@dataclass(frozen=True, eq=False)
class Findings:
    """What is kept of k sets: the columns of STATISTICS, moments by block, weekly returns, a digest."""

    statistics: FloatArray
    moments: FloatArray
    weeks: FloatArray
    digests: np.ndarray[Any, np.dtype[np.uint8]]

    @classmethod
    def blank(cls, n_sets: int, setup: Setup) -> Findings:
        """Return room for the findings of sets."""
        return cls(
            np.empty((n_sets, len(STATISTICS))),
            np.empty((n_sets, setup.n_blocks, 3)),
            np.empty((n_sets, setup.weeks[1].size), np.float32),
            np.empty((n_sets, _DIGEST_BYTES), np.uint8),
        )

    def put(self, places: Sequence[int], found: Findings) -> None:
        """Write the findings of some sets to their places."""
        for each in fields(self):
            getattr(self, each.name)[list(places)] = getattr(found, each.name)

    @classmethod
    def joined(cls, parts: Sequence[Findings]) -> Findings:
        """Return the findings of all parts, in order."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    def at(self, places: Sequence[int]) -> Findings:
        """Return those of some sets, in that order."""
        return Findings(*(getattr(self, each.name)[list(places)] for each in fields(self)))


@dataclass(frozen=True, eq=False)
class Setup:
    """What all sets of a sweep share.

    `first` is the index of the first traded bar, `n_blocks` that of `block_moments`.
    """

    bars: Bars
    settings: BacktestSettings
    first: int = 0
    n_blocks: int = 16
    instrument: Instrument | None = None
    risk: RiskLimits | None = None

    @cached_property
    def cache(self) -> IndicatorCache:
        """Indicators that the sets share."""
        return IndicatorCache(max(SHARED_BYTES, _SHARED_LINES * 8 * len(self.bars)))

    @property
    def start(self) -> int | None:
        """The first traded close, ns UTC; None if all bars are traded."""
        return int(self.bars.times[self.first]) if self.first else None

    @cached_property
    def times(self) -> IntArray:
        """The traded closes, ns UTC."""
        return self.bars.times[self.first :]

    @cached_property
    def days(self) -> IntArray:
        """Index of the last traded bar of each day, UTC."""
        opens = self.times - self.bars.timeframe.ns
        return np.flatnonzero(np.append(np.diff(period_of(opens, "day")) != 0, True))

    @cached_property
    def weeks(self) -> tuple[int, IntArray]:
        """Number of the first week, and the index of the last bar of each; see `week_ends`."""
        return week_ends(self.times, self.bars.timeframe)

    @cached_property
    def week_days(self) -> IntArray:
        """Place in `days` of the last traded bar of each week."""
        return np.searchsorted(self.days, self.weeks[1])

    @cached_property
    def prices(self) -> tuple[FloatArray, FloatArray]:
        """Open and close of the traded bars."""
        opened, close = (np.ascontiguousarray(self.column(name)[self.first :]) for name in ("open", "close"))
        return opened, close

    def column(self, name: str) -> FloatArray:
        """Return a column of all bars, always at the same place in memory."""
        return self._columns[name]

    @cached_property
    def _columns(self) -> dict[str, FloatArray]:
        return {str(name): self.bars.frame[name].to_numpy() for name in self.bars.frame.columns}

    @property
    def fraction(self) -> float:
        """Fraction of equity of a full exposure."""
        return float(getattr(self.settings.sizing, "fraction", 1.0))

    @cached_property
    def beyond_kernel(self) -> str:
        """What the array kernel does not support in these settings; empty if it supports all of them."""
        execution, costs, rules = self.settings.execution, self.settings.costs, self.instrument
        beyond = [
            ("risk limits", self.risk is not None),
            ("rules of an instrument", rules is not None and rules != Instrument(rules.symbol)),
            ("execution.order_type", execution.order_type is not OrderType.MARKET),
            ("execution's protective orders", execution.has_protection),
            ("execution.no_trade_band", execution.no_trade_band != 0.0),
            (f"sizing {self.settings.sizing.kind}", not isinstance(self.settings.sizing, FractionOfEquity)),
            ("costs.funding_bps_per_8h", costs.funding_bps_per_8h != 0.0),
            ("costs.borrow_rate", costs.borrow_rate != 0.0),
        ]
        return next((what for what, is_set in beyond if is_set), "")

    def kept(self, statistics: FloatArray, at_days: FloatArray, initial_cash: float) -> Findings:
        """Return the findings of sets from their statistics and their equity at the close of each of `days`."""
        n_sets, n_days = at_days.shape
        growth = np.ones((-(-n_sets // _PADDED_ROWS) * _PADDED_ROWS, n_days))  # no sum depends on the number of sets
        np.divide(at_days[:, :1], initial_cash, out=growth[:n_sets, :1])
        before = at_days[:, :-1]
        is_alive = before > 0.0
        np.divide(at_days[:, 1:], before, out=growth[:n_sets, 1:], where=True if is_alive.all() else is_alive)
        growth -= 1.0
        digests = bytearray()
        for row, days in zip(statistics, at_days, strict=True):
            state = hashlib.sha256(row)
            state.update(days)
            digests += state.digest()[:_DIGEST_BYTES]
        return Findings(
            statistics,
            block_moments(growth, self.n_blocks)[:n_sets],
            weekly_returns(at_days[:, self.week_days], initial_cash, self.weeks[1]).astype(np.float32),
            np.frombuffer(digests, np.uint8).reshape(n_sets, _DIGEST_BYTES),
        )


@dataclass(frozen=True, eq=False)
class Crossings:
    """k crossings of some lines: places of the two lines of each, (k, 2), and its exposure above and below, (k, 2)."""

    lines: Sequence[Line]
    pairs: IntArray
    sides: FloatArray

    @classmethod
    def of(cls, strategies: Sequence[Strategy], fraction: float) -> Crossings:
        """Return the crossings of strategies, with that fraction of equity as a full exposure."""
        places: dict[Line, int] = {}
        pairs: list[int] = []
        sides: list[float] = []
        for strategy in strategies:
            line, other, direction = strategy.crossing  # type: ignore[attr-defined]
            pairs += places.setdefault(line, len(places)), places.setdefault(other, len(places))
            sides += sides_of(direction)
        return cls(list(places), np.array(pairs).reshape(-1, 2), np.array(sides).reshape(-1, 2) * fraction)

    def __len__(self) -> int:
        return len(self.pairs)

    def at(self, places: Sequence[int]) -> Crossings:
        """Return some of the crossings, with the lines that they need."""
        used, pairs = np.unique(self.pairs[places], return_inverse=True)
        lines = [self.lines[each] for each in used.tolist()]
        return Crossings(lines, pairs.reshape(-1, 2).astype(np.int64), self.sides[places])


Slice = Sequence[Strategy] | Crossings
"""Sets that are one task."""
Answer = tuple[Findings, Exception | None]
"""The findings of the first sets of a slice, and the exception of the set after them, if there was one."""


def screened(setup: Setup, sets: Slice) -> Answer:
    """Return the findings of sets that ran on the array kernel."""
    at_days = np.zeros((len(sets), setup.days.size))
    statistics = np.zeros((len(sets), len(STATISTICS)))
    opened, close = setup.prices
    costs, days = setup.settings.costs, setup.days
    n_done, problem = 0, None
    try:
        if isinstance(sets, Crossings):
            lines = np.empty((len(sets.lines), close.size))
            for row, line in zip(lines, sets.lines, strict=True):
                row[:] = setup.cache(line.indicator, setup.column(line.column), *line.numbers)[setup.first :]
            statistics[:] = screen_crossings(opened, close, lines, sets.pairs, sets.sides, costs, days, at_days)
            n_done = len(sets)
        else:
            for targets in _exposures(setup, sets):
                done = slice(n_done, n_done + 1)
                statistics[done] = screen_sets(opened, close, targets, costs, days, at_days[done])
                n_done += 1
    except Exception as error:
        problem = error
    return setup.kept(statistics[:n_done], at_days[:n_done], INITIAL_CASH), problem


def run_in_event_loop(setup: Setup, strategies: Sequence[Strategy]) -> Answer:
    """Return the findings of sets that ran in the event loop."""
    rows: list[Findings] = []
    problem: Exception | None = None
    for strategy in strategies:
        try:
            with not_trials():
                result = backtest(
                    strategy,
                    setup.bars,
                    setup.settings,
                    instruments=None if setup.instrument is None else {setup.bars.symbol: setup.instrument},
                    risk=setup.risk,
                    start=None if setup.start is None else setup.bars.frame.index[setup.first],
                    causality_check=False,
                )
        except Exception as error:
            problem = error
            break
        equity = result.equity_values
        statistics = statistics_of(equity, len(result.fill_list), setup.settings.initial_cash)
        rows.append(setup.kept(statistics[None], equity[None, setup.days], setup.settings.initial_cash))
    return Findings.joined([Findings.blank(0, setup), *rows]), problem


def statistics_of(equity: FloatArray, n_fills: int, initial_cash: float) -> FloatArray:
    """Return STATISTICS of a path of equity, as the array kernel defines them."""
    path = np.maximum(equity, 0.0)
    before = np.append(initial_cash, path[:-1])
    changes = np.divide(path, before, out=np.ones_like(path), where=before > 0.0) - 1.0
    peaks = np.maximum.accumulate(np.maximum(path, initial_cash))
    n, mean = changes.size - 1, changes.sum() / max(changes.size - 1, 1)
    centred = (changes**2).sum() - n * mean**2
    sharpe, skewness, kurtosis = 0.0, np.nan, np.nan
    if n > 1 and centred > 1e-12 * (changes**2).sum():
        variance = centred / n
        sharpe = mean / np.sqrt(centred / (n - 1))
        powers = (changes**2).sum() / n, (changes**3).sum() / n, (changes**4).sum() / n
        skewness = (powers[1] - 3.0 * mean * powers[0] + 2.0 * mean**3) / variance**1.5
        kurtosis = (powers[2] - 4.0 * mean * powers[1] + 6.0 * mean**2 * powers[0] - 3.0 * mean**4) / variance**2
    drawdown = float((1.0 - path / peaks).max())
    return np.array([path[-1] / initial_cash - 1.0, sharpe, drawdown, float(n_fills), skewness, kurtosis])


def has_crossings(strategies: Sequence[Strategy]) -> bool:
    """Return whether strategies of one class are crossings of this package, whose kernels release the GIL."""
    if not strategies or not type(strategies[0]).__module__.startswith("peak_trade."):
        return False
    return isinstance(getattr(strategies[0], "crossing", None), Crossing)


def _exposures(setup: Setup, strategies: Sequence[Strategy]) -> Iterator[FloatArray]:
    for strategy in strategies:
        label = f"{strategy!r} on {setup.bars.symbol}"
        with strategy_errors(label):
            target = strategy.exposure_by(setup.bars.for_strategy(extra_columns_of(strategy)), setup.cache)
        checked = check_exposure(target, setup.bars.times, strategy.warm_up, label)[None, setup.first :]
        yield checked if setup.fraction == 1.0 else checked * setup.fraction


def exposures_of(setup: Setup, strategy: Strategy) -> FloatArray:
    """Return the exposure of one set on the traded bars, a fraction of equity."""
    exposure: FloatArray = next(_exposures(setup, [strategy]))[0]
    return exposure


def slices(setup: Setup, strategies: Sequence[Strategy], is_kernel: bool) -> list[tuple[list[int], Slice]]:
    """Return the sets of each task and their places: one in the event loop, else as many as their lines have memory.

    Crossings of the same lines are one task, so that they are computed once and few of them are in memory.
    """
    size = SLICE_SETS if is_kernel else 1
    if not (is_kernel and has_crossings(strategies)):
        parts = [range(len(strategies))[begin : begin + size] for begin in range(0, len(strategies), size)]
        return [(list(part), [strategies[place] for place in part]) for part in parts]
    crossings = Crossings.of(strategies, setup.fraction)
    tiles = np.stack([_ranks(side) for side in crossings.pairs.T]) // TILE_LINES
    most_lines = max(_LINE_BYTES // (8 * len(setup.bars)), 2)
    left = np.lexsort(tiles[::-1])
    found: list[tuple[list[int], Slice]] = []
    while left.size:
        n_sets = size
        while n_sets > 1 and np.unique(crossings.pairs[left[:n_sets]]).size > most_lines:
            n_sets //= 2
        places = np.sort(left[:n_sets]).tolist()
        found.append((places, crossings.at(places)))
        left = left[n_sets:]
    return found


def _ranks(values: IntArray) -> IntArray:
    """Return for each value how many other ones occur before its first occurrence."""
    _, firsts, inverse = np.unique(values, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(firsts))[inverse]


class Evaluator:
    """Evaluate sets once each: count them as trials, and keep those of an interrupted sweep in the workspace.

    `plan` is the digest of all that decides the sets and their results; the sets that an earlier sweep of the same plan
    has finished are not evaluated again. `n_kept` counts them.
    """

    def __init__(self, setup: Setup, executor: Executor, plan: str) -> None:
        self.setup = setup
        self.is_kernel = not setup.beyond_kernel
        self._executor = executor
        self._store = _Store(plan)
        self._kept: dict[str, tuple[Findings, int]] = {}
        for configs, rows in self._store.read():
            self._kept |= {config: (rows, row) for row, config in enumerate(configs)}
        self.n_kept = len(self._kept)

    def evaluate(
        self, strategies: Sequence[Strategy], configs: Sequence[str], on_done: Callable[[int], None]
    ) -> Findings:
        """Return the findings of sets with the digests `configs`; `on_done` gets the number of finished ones.

        Raises
        ------
        Exception
            That of the first set that fails; the sets that have finished are counted and kept.

        """
        found = Findings.blank(len(configs), self.setup)
        new: list[int] = []
        for place, config in enumerate(configs):
            if config in self._kept:
                rows, row = self._kept[config]
                found.put([place], rows.at([row]))
            else:
                new.append(place)
        pending = _Pending(self.setup, self._store, strategies, configs, found)
        n_done = len(configs) - len(new)
        parts = slices(self.setup, [strategies[place] for place in new], self.is_kernel)
        places_of, tasks = [[new[place] for place in places] for places, _ in parts], [sets for _, sets in parts]
        function: Callable[[Setup, Any], Answer] = screened if self.is_kernel else run_in_event_loop
        releases_gil = self.is_kernel and has_crossings(strategies)
        try:
            for task, (rows, problem) in self._executor.run(function, self.setup, tasks, releases_gil=releases_gil):
                places = places_of[task]
                found.put(places[: len(rows.statistics)], rows)
                pending.add(places[: len(rows.statistics)])
                n_done += len(places)
                on_done(n_done)
                if problem is not None:
                    pending.fail(places[len(rows.statistics)])
                    raise problem
        except (KeyboardInterrupt, SystemExit, WorkerError):
            pending.flush()
            self._store.write()
            logging.getLogger("peak_trade").warning(
                f"sweep interrupted: {n_done:,} of {len(configs):,} sets are kept, and the same sweep continues there."
            )
            raise
        finally:
            pending.flush()
        return found

    def finish(self) -> None:
        """Drop what was kept of an interrupted sweep."""
        self._store.drop()


class _Pending:
    """Finished sets that are not in the trial ledger yet; `found` has their findings."""

    def __init__(
        self, setup: Setup, store: _Store, strategies: Sequence[Strategy], configs: Sequence[str], found: Findings
    ) -> None:
        self._setup, self._store, self._configs, self._found = setup, store, configs, found
        self._code, self._data = user_code_digest(strategies[:1]), data_digest([setup.bars])
        self._places: list[int] = []
        self._flushed_at = time.monotonic()

    def add(self, places: Sequence[int]) -> None:
        self._places += places
        while len(self._places) >= CHUNK_SETS:
            self._flush(CHUNK_SETS)
        if time.monotonic() - self._flushed_at >= SECONDS_BETWEEN_PARTS:
            self.flush()

    def fail(self, place: int) -> None:
        """Count a set that failed."""
        with counted(self._evaluation([place])):
            pass

    def flush(self) -> None:
        """Count and keep the sets that have finished."""
        if self._places:
            self._flush(len(self._places))

    def _flush(self, n_sets: int) -> None:
        places, self._places = self._places[:n_sets], self._places[n_sets:]
        with counted(self._evaluation(places)) as trial:
            trial.observe = lambda: _observed(self._setup, self._found.at(places))
        self._store.add([self._configs[place] for place in places], self._found, places)
        self._flushed_at = time.monotonic()

    def _evaluation(self, places: Sequence[int]) -> Evaluation:
        configs = [self._configs[place] for place in places]
        return Evaluation.of(configs, self._code, self._data, [self._setup.bars], self._setup.times)


def _observed(setup: Setup, rows: Findings) -> Observations:
    columns = dict(zip(STATISTICS, rows.statistics.T, strict=True))
    per_year = observed_per_year(setup.times, setup.bars.timeframe.bars_per_year)
    is_short = setup.times.size <= fewest_for_ratio(per_year)
    sharpe = np.where(np.isnan(columns["kurtosis"]) | is_short, np.nan, columns["sharpe"])
    weeks = rows.weeks.astype(np.float64)
    n_returns = setup.times.size - 1
    return Observations(n_returns, per_year, setup.weeks[0], sharpe, columns["skewness"], columns["kurtosis"], weeks)


class _Store:
    """The finished sets of a sweep in the workspace, in parts, until it ends."""

    def __init__(self, plan: str) -> None:
        self._folder: Path = workspace() / "cache" / "sweeps" / plan
        self._written_at = time.monotonic()
        self._waiting: list[tuple[Sequence[str], Findings, Sequence[int]]] = []

    def read(self) -> Iterator[tuple[list[str], Findings]]:
        for path in sorted(self._folder.glob("*.npz")):
            try:
                with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as part:
                    rows = Findings(*(part[each.name] for each in fields(Findings)))
                    configs = [bytes(each).hex() for each in part["configs"]]
            except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
                continue  # a damaged part: its sets run again
            yield configs, rows

    def add(self, configs: Sequence[str], found: Findings, places: Sequence[int]) -> None:
        self._waiting.append((configs, found, places))
        if time.monotonic() - self._written_at >= SECONDS_BETWEEN_PARTS:
            self.write()

    def write(self) -> None:
        if not self._waiting:
            return
        rows = Findings.joined([found.at(places) for _, found, places in self._waiting])
        configs = [bytes.fromhex(config) for part, _, _ in self._waiting for config in part]
        content = io.BytesIO()
        arrays = {each.name: getattr(rows, each.name) for each in fields(Findings)}
        np.savez(content, configs=np.frombuffer(b"".join(configs), np.uint8).reshape(len(configs), -1), **arrays)
        make_folder(self._folder)
        write_bytes(self._folder / f"{len(list(self._folder.glob('*.npz'))):06}.npz", content.getvalue())
        self._waiting, self._written_at = [], time.monotonic()

    def drop(self) -> None:
        for path in self._folder.glob("*.npz"):
            path.unlink(missing_ok=True)
        if self._folder.is_dir():
            self._folder.rmdir()
