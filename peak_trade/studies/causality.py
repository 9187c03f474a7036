"""Check that a strategy or function does not look ahead: change the bars after t, compare the results up to t."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bars import Bars, as_bars, immutable_frame
from peak_trade.core.errors import ConfigError, StrategyError
from peak_trade.core.time import Timeframe, iso
from peak_trade.strategies.base import Strategy, check_exposure, strategy_errors

Results = dict[str, FloatArray]
DRIFT_TOLERANCE = 1e-9
"""Absolute difference above which two results count as different in the drift table."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A kind of rewriting for which a result at or before the cut changed.

    `cut_time` is the close of the last unchanged bar, `bar_time` that of the first bar whose result changed, both ns
    UTC. `bar` is the index of that bar, `before` and `after` are its results. `n_cuts` counts the cuts with a change.
    """

    kind: str
    column: str
    cut_time: int
    bar_time: int
    bar: int
    before: float
    after: float
    n_cuts: int

    def __str__(self) -> str:
        what = f"{self.column} " if self.column else ""
        return (
            f"{self.kind}: with the bars after {iso(self.cut_time)} rewritten, {what}at {iso(self.bar_time)} "
            f"(bar {self.bar}) changed from {self.before:g} to {self.after:g}"
        )


@dataclass(frozen=True, slots=True)
class FailedRewrite:
    """A kind of rewriting on which the subject raised an error; it is no evidence for or against causality."""

    kind: str
    n_cuts: int
    error: str


@dataclass(frozen=True, slots=True)
class Drift:
    """Difference of the results when history starts `n_dropped` bars later, without the warm-up of the later start.

    `n_compared` and `n_different` count bars, `largest` is the largest absolute difference. `settled_after` is the
    number of bars from the end of the later warm-up after which the two never differ again.
    """

    n_dropped: int
    n_compared: int
    n_different: int
    largest: float
    settled_after: int


@dataclass(frozen=True, slots=True)
class CausalityReport:
    """Result of `check_causality`."""

    name: str
    n_bars: int
    n_cuts: int
    n_rewrites: int
    leaks: tuple[Leak, ...]
    failed_rewrites: tuple[FailedRewrite, ...]
    drift: tuple[Drift, ...]

    @property
    def is_causal(self) -> bool:
        """Whether no result up to any cut changed."""
        return not self.leaks


def check_causality(
    subject: Strategy | Callable[[pd.DataFrame], Any],
    bars: Bars | pd.DataFrame,
    *,
    warm_up: int | None = None,
    n_cuts: int = 12,
    seed: int = 0,
) -> CausalityReport:
    """Rewrite the bars after several cuts in every way of REWRITES, and report the results up to a cut that changed.

    Parameters
    ----------
    subject : Strategy, or function of a bar frame
        A function returns one value per bar: an array, a Series, a DataFrame, or a tuple of arrays.
    bars : Bars or DataFrame of shape (n_bars, 5), n_bars at least warm_up + 20
        A few thousand bars on which the subject enters and exits are enough.
    warm_up : int, bars
        Warm-up of a function, which the drift table leaves out; that of a strategy is its own.
    n_cuts : int
        Cuts spread over the bars. Up to six cuts next to changes of the result and one before the last bar are added.
    seed : int
        Seed of the cuts and of the noise.

    Returns
    -------
    CausalityReport
        Results are compared bit by bit, with NaN equal to NaN. The unchanged bars are evaluated twice: a subject with
        two different results is reported as the leak `repeated`. A kind of rewriting on which the subject raises an
        error (NaN prices, fewer bars) is listed under `failed_rewrites` and is not a leak.

    Raises
    ------
    StrategyError
        If the result on the unchanged bars breaks the contract of a strategy and there is no leak, or if every
        rewriting of some cut failed, so that there is nothing to compare.
    ConfigError
        If there are too few bars.

    """
    if not isinstance(bars, Bars):
        bars = as_bars(bars)
    name = subject.name if isinstance(subject, Strategy) else getattr(subject, "__name__", type(subject).__name__)
    head = subject.warm_up if isinstance(subject, Strategy) else (warm_up or 0)
    if len(bars) < head + 20:
        raise ConfigError(f"{name}: {len(bars)} bars are too few for a warm-up of {head}. Give at least {head + 20}.")
    frame, times = bars.frame, bars.times
    breach = _breach(subject, frame, times, head, name)
    truth = _results(subject, frame, name)
    leaks: dict[str, Leak] = {}
    failed: dict[str, FailedRewrite] = {}

    def compare(kind: str, cut: int, results: Results) -> None:
        found = _first_difference(truth, results, cut + 1)
        if found is None:
            return
        column, bar = found
        before, after = float(truth[column][bar]), float(results.get(column, np.full(bar + 1, np.nan))[bar])
        leak = Leak(kind, column, int(times[cut]), int(times[bar]), bar, before, after, 1)
        known = leaks.setdefault(kind, leak)
        if known is not leak:
            earliest = min(known, leak, key=lambda each: (each.bar_time, each.cut_time))
            leaks[kind] = replace(earliest, n_cuts=known.n_cuts + 1)

    compare("repeated", len(bars) - 1, _results(subject, frame, name))
    cuts = _cuts(truth, head, len(bars), n_cuts, seed)
    for cut in cuts:
        n_failed = 0
        for kind, rewrite in REWRITES.items():
            try:
                results = _results(subject, rewrite(frame, cut, np.random.default_rng([seed, cut])), name)
            except _WrongShapeError:
                raise
            except Exception as error:
                n_failed += 1
                earlier = failed.get(kind)
                failed[kind] = FailedRewrite(
                    kind, 1 + (earlier.n_cuts if earlier else 0), f"{type(error).__name__}: {error}"
                )
                continue
            compare(kind, cut, results)
        if n_failed == len(REWRITES):
            raise StrategyError(
                f"{name}: every rewriting of the bars after {iso(int(times[cut]))} raised "
                f"({next(iter(failed.values())).error}); there is nothing to compare."
            )
    if breach is not None and not leaks:
        raise breach
    return CausalityReport(
        name=name,
        n_bars=len(bars),
        n_cuts=len(cuts),
        n_rewrites=len(cuts) * len(REWRITES),
        leaks=tuple(leaks.values()),
        failed_rewrites=tuple(failed.values()),
        drift=_drift(subject, frame, truth, head, name),
    )


def synthetic_bars(n_bars: int = 3_000, seed: int = 0) -> Bars:
    """Return seeded hourly bars: a random walk whose volatility and drift change every 60 bars."""
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
"""Kinds of rewriting the bars after a cut: removed, NaN, prices with noise, prices times and over three, mirrored."""


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
        with strategy_errors(name):
            exposure = subject.exposure(immutable_frame(frame))
        try:
            check_exposure(exposure, times, head, name)
        except StrategyError as error:
            return error
    return None


def _results(subject: Strategy | Callable[[pd.DataFrame], Any], frame: pd.DataFrame, name: str) -> Results:
    evaluate = subject.exposure if isinstance(subject, Strategy) else subject
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        outcome = evaluate(immutable_frame(frame))
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
    results = {key: np.asarray(part) for key, part in columns.items()}
    for part in results.values():
        if part.shape != (len(frame),) or part.dtype.kind not in "fiub":
            raise _WrongShapeError(
                f"{name}: the result over {len(frame)} bars has shape {part.shape} and dtype {part.dtype}; "
                "return one number per bar."
            )
    return {key: np.ascontiguousarray(part, dtype=np.float64) for key, part in results.items()}


def _first_difference(truth: Results, results: Results, n_bars: int) -> tuple[str, int] | None:
    first: tuple[str, int] | None = None
    for column, whole in truth.items():
        before = whole[:n_bars]
        after = results.get(column, np.full(n_bars, np.nan))[:n_bars]
        is_same = (before.view(np.int64) == after.view(np.int64)) | (np.isnan(before) & np.isnan(after))
        changed = np.flatnonzero(~is_same)
        if changed.size and (first is None or changed[0] < first[1]):
            first = (column, int(changed[0]))
    return first


def _cuts(truth: Results, head: int, n_bars: int, n_cuts: int, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    edges = np.linspace(head, n_bars - 1, n_cuts + 1)
    cuts = {int(rng.integers(int(low), max(int(high), int(low) + 1))) for low, high in pairwise(edges)}
    changes = np.unique(np.concatenate([np.flatnonzero(np.diff(part[head:])) + head for part in truth.values()]))
    for change in rng.choice(changes, min(3, changes.size), replace=False) if changes.size else ():
        cuts |= {int(change), int(change) + 1}
    cuts.add(n_bars - 2)
    return sorted(cut for cut in cuts if cut <= n_bars - 2)


def _drift(
    subject: Strategy | Callable[[pd.DataFrame], Any], frame: pd.DataFrame, truth: Results, head: int, name: str
) -> tuple[Drift, ...]:
    n_bars = len(frame)
    rows = []
    for n_dropped in sorted({1, 24, 7 * 24, n_bars // 4, n_bars // 2}):
        start = n_dropped + head
        if start >= n_bars:
            continue
        later = _results(subject, frame.iloc[n_dropped:], name)
        gaps = np.zeros(n_bars - start)
        for column, whole in truth.items():
            before, after = whole[start:], later[column][head:]
            gap = np.where(np.isnan(before) & np.isnan(after), 0.0, np.abs(before - after))
            gaps = np.maximum(gaps, np.where(np.isnan(gap), np.inf, gap))
        different = np.flatnonzero(gaps > DRIFT_TOLERANCE)
        settled = int(different[-1]) + 1 if different.size else 0
        rows.append(Drift(n_dropped, gaps.size, int(different.size), float(gaps.max()), settled))
    return tuple(rows)
