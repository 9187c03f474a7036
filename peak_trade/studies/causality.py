"""The law of causality as an experiment: rewrite the bars after t, and see whether anything up to t moves."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bars import Bars, as_bars
from peak_trade.core.errors import ConfigError, StrategyError
from peak_trade.core.time import Timeframe, iso
from peak_trade.strategies.base import Strategy, check_exposure, naming_its_line

Outcome = dict[str, FloatArray]
DRIFT_TOLERANCE = 1e-9
"""Answers further apart than this count as different in the drift table."""


@dataclass(frozen=True, slots=True)
class Leak:
    """One way of rewriting the future that changed the past.

    `cut` is the close time of the last bar left alone, `bar` the first bar at or before it whose answer moved, both ns
    UTC; `row` is that bar's position, `before` and `after` its answers. `n_cuts` counts the cuts at which this showed.
    """

    kind: str
    column: str
    cut: int
    bar: int
    row: int
    before: float
    after: float
    n_cuts: int

    def __str__(self) -> str:
        what = f"{self.column} " if self.column else ""
        return (
            f"{self.kind}: with the bars after {iso(self.cut)} rewritten, {what}at {iso(self.bar)} (bar {self.row}) "
            f"went from {self.before:g} to {self.after:g}"
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rewriting that the subject raised on: it says nothing about causality, and is not held against it."""

    kind: str
    n_cuts: int
    error: str


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the answers move when history starts `n_dropped` bars later; rows within the later warm-up are left out.

    `settled_after` is the number of bars, counted from the end of the later warm-up, after which the two never differ
    again; `largest` the largest absolute difference.
    """

    n_dropped: int
    n_compared: int
    n_different: int
    largest: float
    settled_after: int


@dataclass(frozen=True, slots=True)
class CausalityReport:
    """What the rewritten futures showed."""

    name: str
    n_bars: int
    n_cuts: int
    n_rewrites: int
    leaks: tuple[Leak, ...]
    refusals: tuple[Refusal, ...]
    drift: tuple[Drift, ...]

    @property
    def is_causal(self) -> bool:
        """Nothing up to any cut moved, whatever came after it."""
        return not self.leaks


def check_causality(
    subject: Strategy | Callable[[pd.DataFrame], Any],
    bars: Bars | pd.DataFrame,
    *,
    warm_up: int | None = None,
    n_cuts: int = 12,
    seed: int = 0,
) -> CausalityReport:
    """Rewrite the bars after several cuts in every way of REWRITES; report what moved at or before the cut.

    Parameters
    ----------
    subject : Strategy, or function of a bar frame
        A function returns one value a bar: an array, a Series, a frame, or a tuple of arrays.
    bars : Bars or frame of shape (n_bars, 5), n_bars at least warm_up + 20
        What it is tried on; a few thousand bars in which it enters and exits.
    warm_up : int, bars
        Rows that the drift table leaves out; a strategy states its own.
    n_cuts : int
        Cuts spread over the bars. Cuts beside changes of the answer and one before the last bar come on top.
    seed : int
        Places the cuts and draws the noise.

    Returns
    -------
    CausalityReport
        Answers are compared bit by bit, NaN equal to NaN. The same bars are also evaluated twice: a subject that does
        not repeat itself is reported as the leak `repeated`. A subject that raises on rewritten bars (NaN prices, a
        shorter frame) is not flagged for it: that rewriting is listed under `refusals`.

    Raises
    ------
    StrategyError
        If the untouched answer breaks the contract without looking ahead (one that looks past the last bar ends in
        NaN: that is a leak), or every rewriting of some cut was refused, so that there is no evidence.

    """
    if not isinstance(bars, Bars):
        bars = as_bars(bars)
    name = subject.name if isinstance(subject, Strategy) else getattr(subject, "__name__", type(subject).__name__)
    head = subject.warm_up if isinstance(subject, Strategy) else (warm_up or 0)
    if len(bars) < head + 20:
        raise ConfigError(f"{name}: {len(bars)} bars are too few for a warm-up of {head}. Give at least {head + 20}.")
    frame, times = bars.frame, bars.times
    breach = _breach(subject, frame, times, head, name)
    truth = _answers(subject, frame, name)
    leaks: dict[str, Leak] = {}
    refusals: dict[str, Refusal] = {}

    def compare(kind: str, cut: int, answers: Outcome) -> None:
        found = _first_difference(truth, answers, cut + 1)
        if found is None:
            return
        column, row = found
        before, after = float(truth[column][row]), float(answers.get(column, np.full(row + 1, np.nan))[row])
        leak = Leak(kind, column, int(times[cut]), int(times[row]), row, before, after, 1)
        known = leaks.setdefault(kind, leak)
        if known is not leak:
            earliest = min(known, leak, key=lambda each: (each.bar, each.cut))
            leaks[kind] = _counted(earliest, known.n_cuts + 1)

    compare("repeated", len(bars) - 1, _answers(subject, frame, name))
    cuts = _cuts(truth, head, len(bars), n_cuts, seed)
    for cut in cuts:
        n_refused = 0
        for kind, rewrite in REWRITES.items():
            try:
                answers = _answers(subject, rewrite(frame, cut, np.random.default_rng([seed, cut])), name)
            except _WrongShapeError:
                raise
            except Exception as error:
                n_refused += 1
                earlier = refusals.get(kind)
                refusals[kind] = Refusal(
                    kind, 1 + (earlier.n_cuts if earlier else 0), f"{type(error).__name__}: {error}"
                )
                continue
            compare(kind, cut, answers)
        if n_refused == len(REWRITES):
            raise StrategyError(
                f"{name}: every rewriting of the bars after {iso(int(times[cut]))} raised "
                f"({next(iter(refusals.values())).error}); there is nothing to compare."
            )
    if breach is not None and not leaks:
        raise breach
    return CausalityReport(
        name=name,
        n_bars=len(bars),
        n_cuts=len(cuts),
        n_rewrites=len(cuts) * len(REWRITES),
        leaks=tuple(leaks.values()),
        refusals=tuple(refusals.values()),
        drift=_drift(subject, frame, truth, head, name),
    )


def specimen_bars(n_bars: int = 3_000, seed: int = 0) -> Bars:
    """Return seeded hourly bars to try strategies on: a walk whose volatility and drift change every few days."""
    rng = np.random.default_rng(seed)
    n_spells = n_bars // 60 + 1
    volatility = np.repeat(rng.choice([0.003, 0.006, 0.015], n_spells), 60)[:n_bars]
    drift = np.repeat(rng.choice([-0.0015, 0.0, 0.0015], n_spells), 60)[:n_bars]
    close = 20_000.0 * np.exp(np.cumsum(drift + volatility * rng.standard_normal(n_bars)))
    open_ = np.concatenate(([20_000.0], close[:-1]))
    reach = np.exp(volatility * np.abs(rng.standard_normal((2, n_bars))) / 2.0)
    frame = pd.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close) * reach[0],
            "low": np.minimum(open_, close) / reach[1],
            "close": close,
            "volume": rng.lognormal(4.0, 1.0, n_bars),
        },
        index=pd.date_range("2021-01-01 01:00", periods=n_bars, freq="h", tz="UTC", unit="ns", name="close_time"),
    )
    return Bars(frame, "SPECIMEN/USD", Timeframe.parse("1h"), "generated")


Rewrite = Callable[[pd.DataFrame, int, np.random.Generator], pd.DataFrame]


def _removed(frame: pd.DataFrame, cut: int, _rng: np.random.Generator) -> pd.DataFrame:
    return frame.iloc[: cut + 1].copy()


def _nan(frame: pd.DataFrame, cut: int, _rng: np.random.Generator) -> pd.DataFrame:
    return _with_future(frame, cut, np.full_like(frame.to_numpy()[cut + 1 :], np.nan))


def _noise(frame: pd.DataFrame, cut: int, rng: np.random.Generator) -> pd.DataFrame:
    future = frame.to_numpy()[cut + 1 :].copy()
    future[:, :4] *= rng.lognormal(0.0, 0.2, (len(future), 1))
    future[:, 4] *= rng.lognormal(0.0, 1.0, len(future))
    return _with_future(frame, cut, future)


def _scaled_up(frame: pd.DataFrame, cut: int, _rng: np.random.Generator) -> pd.DataFrame:
    return _with_future(frame, cut, frame.to_numpy()[cut + 1 :] * 3.0)


def _scaled_down(frame: pd.DataFrame, cut: int, _rng: np.random.Generator) -> pd.DataFrame:
    return _with_future(frame, cut, frame.to_numpy()[cut + 1 :] / 3.0)


def _mirrored(frame: pd.DataFrame, cut: int, _rng: np.random.Generator) -> pd.DataFrame:
    future = frame.to_numpy()[cut + 1 :].copy()
    future[:, :4] = float(frame["close"].iloc[cut]) ** 2 / future[:, [0, 2, 1, 3]]
    return _with_future(frame, cut, future)


REWRITES: dict[str, Rewrite] = {
    "removed": _removed,
    "nan": _nan,
    "noise": _noise,
    "scaled up": _scaled_up,
    "scaled down": _scaled_down,
    "mirrored": _mirrored,
}
"""What the bars after a cut become: none, NaN, prices with noise, three times or a third of them, falls for rises."""


class _WrongShapeError(StrategyError):
    pass


def _with_future(frame: pd.DataFrame, cut: int, future: FloatArray) -> pd.DataFrame:
    values = np.concatenate([frame.to_numpy()[: cut + 1], future])
    return pd.DataFrame(values, index=frame.index, columns=frame.columns)


def _breach(
    subject: Strategy | Callable[[pd.DataFrame], Any],
    frame: pd.DataFrame,
    times: IntArray,
    head: int,
    name: str,
) -> StrategyError | None:
    if isinstance(subject, Strategy):
        with naming_its_line(name):
            exposure = subject.exposure(frame.copy())
        try:
            check_exposure(exposure, times, head, name)
        except StrategyError as error:
            return error
    return None


def _answers(subject: Strategy | Callable[[pd.DataFrame], Any], frame: pd.DataFrame, name: str) -> Outcome:
    evaluate = subject.exposure if isinstance(subject, Strategy) else subject
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        outcome = evaluate(frame.copy())
    columns: dict[str, Any]
    if isinstance(outcome, pd.DataFrame):
        columns = {str(key): outcome[key].to_numpy() for key in outcome.columns}
    elif isinstance(outcome, tuple):
        names = getattr(outcome, "_fields", range(len(outcome)))
        columns = {str(key): part for key, part in zip(names, outcome, strict=True)}
    elif np.ndim(outcome) == 2:
        columns = {str(key): part for key, part in enumerate(np.asarray(outcome).T)}
    else:
        columns = {"": outcome}
    answers = {key: np.asarray(part) for key, part in columns.items()}
    for part in answers.values():
        if part.shape != (len(frame),) or part.dtype.kind not in "fiub":
            raise _WrongShapeError(
                f"{name}: the answer over {len(frame)} bars has shape {part.shape} and dtype {part.dtype}; "
                "return one number a bar."
            )
    return {key: np.ascontiguousarray(part, dtype=np.float64) for key, part in answers.items()}


def _first_difference(truth: Outcome, answers: Outcome, n_rows: int) -> tuple[str, int] | None:
    first: tuple[str, int] | None = None
    for column, whole in truth.items():
        before = whole[:n_rows]
        after = answers.get(column, np.full(n_rows, np.nan))[:n_rows]
        is_same = (before.view(np.int64) == after.view(np.int64)) | (np.isnan(before) & np.isnan(after))
        rows = np.flatnonzero(~is_same)
        if rows.size and (first is None or rows[0] < first[1]):
            first = (column, int(rows[0]))
    return first


def _counted(leak: Leak, n_cuts: int) -> Leak:
    return Leak(leak.kind, leak.column, leak.cut, leak.bar, leak.row, leak.before, leak.after, n_cuts)


def _cuts(truth: Outcome, head: int, n_bars: int, n_cuts: int, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    edges = np.linspace(head, n_bars - 1, n_cuts + 1)
    cuts = {int(rng.integers(int(low), max(int(high), int(low) + 1))) for low, high in pairwise(edges)}
    changes = np.unique(np.concatenate([np.flatnonzero(np.diff(part[head:])) + head for part in truth.values()]))
    for change in rng.choice(changes, min(3, changes.size), replace=False) if changes.size else ():
        cuts |= {int(change), int(change) + 1}
    cuts.add(n_bars - 2)
    return sorted(cut for cut in cuts if cut <= n_bars - 2)


def _drift(
    subject: Strategy | Callable[[pd.DataFrame], Any], frame: pd.DataFrame, truth: Outcome, head: int, name: str
) -> tuple[Drift, ...]:
    n_bars = len(frame)
    rows = []
    for n_dropped in sorted({1, 24, 7 * 24, n_bars // 4, n_bars // 2}):
        start = n_dropped + head
        if start >= n_bars:
            continue
        later = _answers(subject, frame.iloc[n_dropped:], name)
        gaps = np.zeros(n_bars - start)
        for column, whole in truth.items():
            before, after = whole[start:], later[column][head:]
            gap = np.where(np.isnan(before) & np.isnan(after), 0.0, np.abs(before - after))
            gaps = np.maximum(gaps, np.where(np.isnan(gap), np.inf, gap))
        different = np.flatnonzero(gaps > DRIFT_TOLERANCE)
        settled = int(different[-1]) + 1 if different.size else 0
        rows.append(Drift(n_dropped, gaps.size, int(different.size), float(gaps.max()), settled))
    return tuple(rows)
