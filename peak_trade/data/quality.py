"""Quality reports on bars: faults, which break the bar contract, and gaps, runs and implausible bars, which do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from time import time_ns
from typing import Any

import numpy as np

from peak_trade.core.arrays import BoolArray, FloatArray, IntArray
from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars
from peak_trade.core.calendar import NS_PER_DAY, close_times, grid_place, open_times
from peak_trade.core.described import Described
from peak_trade.core.errors import DataError, exact
from peak_trade.core.time import Timeframe, iso
from peak_trade.data.holdout import admit, sealed_from
from peak_trade.data.plausibility import Implausible, find_implausible
from peak_trade.data.series import read_series
from peak_trade.data.store import files_at, read_file, select_series

STALE_BARS = 3
"""Smallest number of consecutive flat bars at one price that is a stale run."""


class FaultKind(StrEnum):
    """Kind of fault of a bar."""

    DUPLICATE = "duplicate"
    BACKWARDS = "backwards"
    OFF_GRID = "off-grid"
    NOT_A_NUMBER = "not-a-number"
    PRICE = "price-not-positive"
    VOLUME = "negative-volume"
    OHLC = "ohlc"
    FUTURE = "in-the-future"


@dataclass(frozen=True, slots=True)
class Fault:
    """A bar that breaks the contract: its row (from 0), its close time (ns UTC) and a description."""

    row: int
    time: int
    kind: FaultKind
    was: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Consecutive missing bars: close times of the first and the last one, ns UTC, and their number."""

    start: int
    end: int
    n_missing: int

    def as_json(self) -> dict[str, Any]:
        """Return plain values; times are ISO 8601 in UTC."""
        return {"start": iso(self.start), "end": iso(self.end), "n_missing": self.n_missing}


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive bars that are `stale` (flat at one price) or `zero-volume`: first close time, ns UTC, and number."""

    kind: str
    start: int
    n_bars: int


@dataclass(frozen=True, slots=True, repr=False)
class QualityReport(Described):
    """Faults (by row), gaps, runs and implausible bars (by time) of the bars of one symbol and timeframe."""

    where: str
    timeframe: Timeframe
    n_bars: int
    first: int
    last: int
    faults: tuple[Fault, ...]
    gaps: tuple[Gap, ...]
    runs: tuple[Run, ...]
    implausible: tuple[Implausible, ...]
    sealed_from: int | None = None
    """First close, ns UTC, from which on bars were left out because they belong to a sealed hold-out or follow it."""

    def description(self) -> tuple[str, dict[str, object]]:
        """Return the numbers of faults, gaps, runs and implausible bars."""
        return (
            f"QualityReport: {self.where} {self.timeframe}",
            {
                "bars": f"{self.n_bars:,}, {iso(self.first)} to {iso(self.last)}",
                "faults": f"{len(self.faults):,}",
                "gaps": f"{len(self.gaps):,}, {self.n_missing:,} bars missing",
                "runs": f"{len(self.runs):,} stale or without volume",
                "implausible": f"{len(self.implausible):,}",
            },
        )

    @property
    def keeps_contract(self) -> bool:
        """Whether there is no fault; gaps, runs and implausible bars are allowed."""
        return not self.faults

    @property
    def n_missing(self) -> int:
        """Number of missing bars in all gaps."""
        return sum(gap.n_missing for gap in self.gaps)

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values; times are ISO 8601 close times in UTC."""
        return {
            "where": self.where,
            "timeframe": str(self.timeframe),
            "n_bars": self.n_bars,
            "first": iso(self.first),
            "last": iso(self.last),
            "keeps_contract": self.keeps_contract,
            "faults": [
                {"row": fault.row, "close_time": iso(fault.time), "kind": str(fault.kind), "was": fault.was}
                for fault in self.faults
            ],
            "n_gaps": len(self.gaps),
            "n_missing": self.n_missing,
            "gaps": [gap.as_json() for gap in self.gaps],
            "runs": [{"kind": run.kind, "start": iso(run.start), "n_bars": run.n_bars} for run in self.runs],
            "implausible": [each.as_json() for each in self.implausible],
            "sealed_from": None if self.sealed_from is None else iso(self.sealed_from),
        }


def check_quality(
    times: IntArray,
    values: FloatArray,
    timeframe: Timeframe,
    where: str,
    *,
    now: int | None = None,
    anchor: int | None = None,
    rows: IntArray | None = None,
) -> QualityReport:
    """Return the quality report of rows in any order.

    Parameters
    ----------
    times : int64 array of shape (n_bars,)
        Close times, ns UTC, in the order of the rows.
    values : float64 array of shape (n_bars, 5)
        open, high, low, close, volume; NaN where a value was not a number. Bars whose volume is NaN in every row have
        no volume.
    timeframe : Timeframe
        Length of a bar; its time grid starts at 1970-01-01 UTC (above a day: at the first bar).
    where : str
        A file, or exchange, symbol and timeframe.
    now : int, optional
        The current time, ns UTC: bars that close later are faults. Defaults to no check.
    anchor : int, optional
        A point of the time grid, ns, for example 16:00 for days that close then.
    rows : int64 array of shape (n_bars,), optional
        Numbers of the rows in the report; by default 0, 1, ….

    Notes
    -----
    Gaps are reported between the first and the last bar. A stale run has at least `STALE_BARS` flat bars at one price,
    a zero-volume run at least one bar. For implausible bars see `find_implausible`.

    """
    order = np.argsort(times, kind="stable")
    return QualityReport(
        where=where,
        timeframe=timeframe,
        n_bars=len(times),
        first=int(times.min()),
        last=int(times.max()),
        faults=tuple(find_faults(times, values, timeframe, now=now, anchor=anchor, rows=rows)),
        gaps=tuple(find_gaps(times, timeframe, anchor)),
        runs=tuple(_find_runs(times, values)),
        implausible=tuple(find_implausible(times[order], values[order], timeframe.ns)),
    )


def check_bars(bars: Bars, now: int | None = None) -> QualityReport:
    """Return the quality report of bars."""
    where, anchor = f"{bars.exchange} {bars.symbol}", int(bars.times[0])
    return check_quality(bars.times, bars.frame.to_numpy(), bars.timeframe, where, now=now, anchor=anchor)


def check_stored(
    symbol: str | None = None,
    timeframe: Timeframe | None = None,
    exchange: str | None = None,
    clock: Callable[[], int] = time_ns,
) -> tuple[list[QualityReport], dict[Path, DataError]]:
    """Report everything that is wrong with the bars of the store, or with those that the arguments select.

    Bars of a sealed hold-out, and those after it, are left out unless the check is within `opening_holdout`. The
    mapping has the error of each damaged or misplaced file. DataError when the arguments select no file.
    """
    reports, refused = [], {}
    for path in files_at(symbol, timeframe, exchange) or [
        item.path for item in select_series(symbol, timeframe, exchange)
    ]:
        try:
            series = read_series(path)
            sealed = sealed_from(series)
            if sealed is None or series.first < sealed:
                bars = admit(read_file(path, None, sealed))
                reports.append(replace(check_bars(bars, clock()), sealed_from=sealed))
        except DataError as error:
            refused[path] = error
    return sorted(reports, key=lambda report: (report.where, report.timeframe)), refused


def find_faults(
    times: IntArray,
    values: FloatArray,
    timeframe: Timeframe,
    *,
    now: int | None = None,
    anchor: int | None = None,
    rows: IntArray | None = None,
    place: Callable[[int], str] = "row {}".format,
) -> list[Fault]:
    """Return every fault, ordered by row; a row may have several.

    `place` names a row in a description. See `check_quality` for the other arguments.
    """
    open_, high, low, close, volume = values.T
    numbers = np.arange(len(times)) if rows is None else rows
    first_row = latest = latest_above = times
    seen_before = is_above = np.zeros(len(times), dtype=bool)
    if not (times[1:] > times[:-1]).all():
        _, first_rows, which = np.unique(times, return_index=True, return_inverse=True)
        first_row = first_rows[which]
        latest = np.maximum.accumulate(times)
        latest_above = np.concatenate((times[:1], latest[:-1]))
        seen_before, is_above = first_row < np.arange(len(times)), times < latest_above
    needed = values[:, :4] if np.isnan(volume).all() else values
    broken = ~np.isfinite(needed).all(axis=1)
    found = {
        FaultKind.DUPLICATE: seen_before,
        FaultKind.BACKWARDS: is_above & ~seen_before,
        FaultKind.OFF_GRID: ~_on_grid(times, timeframe, anchor),
        FaultKind.NOT_A_NUMBER: broken,
        FaultKind.PRICE: (values[:, :4] <= 0.0).any(axis=1) & ~broken,
        FaultKind.VOLUME: (volume < 0.0) & ~broken,
        FaultKind.OHLC: ((high < open_) | (high < close) | (low > open_) | (low > close) | (high < low)) & ~broken,
        FaultKind.FUTURE: times > (np.iinfo(np.int64).max if now is None else now),
    }

    def was(kind: FaultKind, row: int) -> str:
        match kind:
            case FaultKind.DUPLICATE:
                return f"the time appears in {place(int(numbers[first_row[row]]))} already"
            case FaultKind.BACKWARDS:
                above = int(numbers[np.searchsorted(latest, latest_above[row])])
                return f"the time is before that of {place(above)}, {iso(int(latest_above[row]))}"
            case FaultKind.OFF_GRID:
                return f"the time is not on the grid of {timeframe}"
            case FaultKind.FUTURE:
                return f"the bar closes after now, {iso(now or 0)}"
            case _:
                return _wrong_value(kind, values[row])

    faults = [
        Fault(int(numbers[row]), int(times[row]), kind, was(kind, int(row)))
        for kind, holds in found.items()
        for row in np.flatnonzero(holds)
    ]
    return sorted(faults, key=lambda fault: fault.row)


def find_gaps(times: IntArray, timeframe: Timeframe, anchor: int | None = None) -> list[Gap]:
    """Return the gaps between the first and the last close time; times off the grid are ignored."""
    on_grid = np.sort(times[_on_grid(times, timeframe, anchor)])
    missing = np.diff(grid_place(on_grid, timeframe)[0]) - 1
    rows = np.flatnonzero(missing > 0)
    firsts, lasts = close_times(on_grid[rows], timeframe), open_times(on_grid[rows + 1], timeframe)
    return [Gap(*map(int, gap)) for gap in zip(firsts, lasts, missing[rows], strict=True)]


def _find_runs(times: IntArray, values: FloatArray) -> list[Run]:
    open_, high, low, close, volume = values.T
    flat = (open_ == high) & (high == low) & (low == close)
    same_price = np.zeros(len(times), dtype=bool)
    same_price[1:] = flat[1:] & flat[:-1] & (close[1:] == close[:-1])
    stale = [Run("stale", int(times[start - 1]), n + 1) for start, n in _stretches(same_price) if n + 1 >= STALE_BARS]
    empty = [Run("zero-volume", int(times[start]), n) for start, n in _stretches(volume == 0.0)]
    return sorted(stale + empty, key=lambda run: (run.start, run.kind))


def _stretches(holds: BoolArray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], holds, [False]))))
    return [(int(start), int(end - start)) for start, end in edges.reshape(-1, 2)]


def _on_grid(times: IntArray, timeframe: Timeframe, anchor: int | None) -> BoolArray:
    """Return whether close times are on the grid, which has one distance from that of 1970-01-01 UTC."""
    phases = grid_place(times, timeframe)[1]
    phase = 0 if anchor is None else anchor % timeframe.ns
    if timeframe.months:
        phase = 0 if anchor is None else anchor % NS_PER_DAY
    elif timeframe.ns > NS_PER_DAY:
        phase = int(times.min()) % timeframe.ns
    on_grid: BoolArray = phases == phase
    return on_grid


def _wrong_value(kind: FaultKind, row: FloatArray) -> str:
    if kind is FaultKind.OHLC:
        return "open {}, high {}, low {}, close {} contradict each other".format(*map(exact, row[:4]))
    if kind is FaultKind.VOLUME:
        return f"volume was {exact(row[4])}, below zero"
    is_wrong = ~np.isfinite(row) if kind is FaultKind.NOT_A_NUMBER else row[:4] <= 0.0
    column = int(np.flatnonzero(is_wrong)[0])
    return f"{COLUMNS[column]} was {exact(row[column])}" + (", not above zero" if kind is FaultKind.PRICE else "")
