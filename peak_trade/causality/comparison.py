"""Comparison of results on rewritten bars with those on the unchanged ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.causality.report import LARGEST_ROUNDING, FailedRewrite, Leak
from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.errors import StrategyError
from peak_trade.core.time import iso

Results = dict[str, FloatArray]


class Comparison:
    """Compares results with those on the unchanged bars, and collects what differs by kind of rewriting."""

    def __init__(self, truth: Results, times: IntArray, name: str) -> None:
        self.leaks: dict[str, Leak] = {}
        self.roundings: dict[str, Leak] = {}
        self.failed: dict[str, FailedRewrite] = {}
        self._truth, self._times, self._name = truth, times, name

    def compare(self, kind: str, cut: int, results: Results) -> None:
        """Compare the results up to and including the cut."""
        found = difference(self._truth, results, cut + 1)
        if found is None:
            return
        cut_time, bar_time = int(self._times[cut]), int(self._times[found.bar])
        leak = Leak(kind, found.column, cut_time, bar_time, found.bar, found.before, found.after, 1, found.ulps)
        collected = self.roundings if found.is_rounding else self.leaks
        known = collected.get(kind)
        if known is not None:
            earliest = min(known, leak, key=lambda each: (each.bar_time, each.cut_time))
            leak = replace(earliest, n_cuts=known.n_cuts + 1, ulps=max(known.ulps, leak.ulps))
        collected[kind] = leak

    def fail(self, kind: str, error: Exception) -> None:
        """Count an error that the subject raised on rewritten bars."""
        n_earlier = self.failed[kind].n_cuts if kind in self.failed else 0
        self.failed[kind] = FailedRewrite(kind, 1 + n_earlier, f"{type(error).__name__}: {error}")

    def nothing(self, cut: int) -> StrategyError:
        """Return the error that every rewriting at a cut raised."""
        return StrategyError(
            f"{self._name}: every rewriting of the bars after {iso(int(self._times[cut]))} raised "
            f"({next(iter(self.failed.values())).error}); there is nothing to compare."
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """First bar at which two results differ, with both values, and the largest difference in ulps.

    `is_rounding` says whether all differences are rounding; see `CausalityReport.roundings`.
    """

    column: str
    bar: int
    before: float
    after: float
    ulps: float
    is_rounding: bool


def as_results(outcome: Any, n_bars: int, name: str) -> Results:
    """Return the columns of what a subject returned as float64 arrays; StrategyError when that can not be."""
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
        if part.shape != (n_bars,) or part.dtype.kind not in "fiub":
            raise StrategyError(
                f"{name}: the result over {n_bars} bars has shape {part.shape} and dtype {part.dtype}; "
                "return one number per bar."
            )
    return {key: np.ascontiguousarray(part, dtype=np.float64) for key, part in results.items()}


def difference(truth: Results, results: Results, n_bars: int) -> Difference | None:
    """Return how results differ from the truth in the first `n_bars` bars; None when they are the same bit by bit."""
    found: list[Difference] = []
    for column, whole in truth.items():
        before = whole[:n_bars]
        after = results.get(column, np.full(n_bars, np.nan))[:n_bars]
        changed = np.flatnonzero(~_is_same(before, after))
        if changed.size:
            bar = int(changed[0])
            ulps = _ulps(whole, before[changed], after[changed])
            is_rounding = ulps <= LARGEST_ROUNDING and _has_same_orders(before, after)
            found.append(Difference(column, bar, float(before[bar]), float(after[bar]), ulps, is_rounding))
    return min(found, key=lambda each: (each.is_rounding, each.bar), default=None)


def _is_same(before: FloatArray, after: FloatArray) -> Any:
    return (before.view(np.int64) == after.view(np.int64)) | (np.isnan(before) & np.isnan(after))


def _ulps(whole: FloatArray, before: FloatArray, after: FloatArray) -> float:
    finite = whole[np.isfinite(whole)]
    largest = float(np.abs(finite).max()) if finite.size else 0.0
    with np.errstate(all="ignore"):
        gaps = np.abs(after - before)
        largest_gap = float(gaps.max() / np.spacing(largest))
    return float("inf") if not np.isfinite(gaps).all() else largest_gap


def _has_same_orders(before: FloatArray, after: FloatArray) -> bool:
    """Return whether two exposures have the same sides, and change at the same bars: a change is an order."""
    is_order_before, is_order_after = (np.diff(np.nan_to_num(each)) != 0.0 for each in (before, after))
    return bool(
        (is_order_before == is_order_after).all() and (np.sign(before) == np.sign(after))[~np.isnan(before)].all()
    )
