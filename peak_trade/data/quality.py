"""Quality reports on bars: faults, which break the bar contract, and gaps and runs, which do not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from peak_trade.core.arrays import BoolArray, FloatArray, IntArray
from peak_trade.core.bars import COLUMNS, Bars
from peak_trade.core.time import Timeframe, iso
from peak_trade.data.store import load_bars, select_series

STALE_BARS = 3
"""Smallest number of consecutive flat bars at one price that is a stale run."""
_DAY_NS = 86_400 * 1_000_000_000


class FaultKind(StrEnum):
    """Kind of fault of a bar."""

    DUPLICATE = "duplicate"
    BACKWARDS = "backwards"
    OFF_GRID = "off-grid"
    NOT_A_NUMBER = "not-a-number"
    PRICE = "price-not-positive"
    VOLUME = "negative-volume"
    OHLC = "ohlc"


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


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive bars that are `stale` (flat at one price) or `zero-volume`: first close time, ns UTC, and number."""

    kind: str
    start: int
    n_bars: int


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Faults (ordered by row), gaps and runs (ordered by time) of the bars of one symbol and timeframe."""

    where: str
    timeframe: Timeframe
    n_bars: int
    first: int
    last: int
    faults: tuple[Fault, ...]
    gaps: tuple[Gap, ...]
    runs: tuple[Run, ...]

    @property
    def keeps_contract(self) -> bool:
        """Whether there is no fault; gaps and runs are allowed."""
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
            "gaps": [{"start": iso(gap.start), "end": iso(gap.end), "n_missing": gap.n_missing} for gap in self.gaps],
            "runs": [{"kind": run.kind, "start": iso(run.start), "n_bars": run.n_bars} for run in self.runs],
        }


def check_quality(times: IntArray, values: FloatArray, timeframe: Timeframe, where: str) -> QualityReport:
    """Return the quality report of rows in any order.

    Parameters
    ----------
    times : int64 array of shape (n_bars,)
        Close times, ns UTC, in the order of the rows.
    values : float64 array of shape (n_bars, 5)
        open, high, low, close, volume; NaN where a value was not a number.
    timeframe : Timeframe
        Length of a bar; its time grid starts at 1970-01-01 UTC (above a day: at the first bar).
    where : str
        A file, or exchange, symbol and timeframe.

    Notes
    -----
    Gaps are reported between the first and the last bar. A stale run has at least `STALE_BARS` flat bars at one price,
    a zero-volume run at least one bar.

    """
    return QualityReport(
        where=where,
        timeframe=timeframe,
        n_bars=len(times),
        first=int(times.min()),
        last=int(times.max()),
        faults=tuple(find_faults(times, values, timeframe)),
        gaps=tuple(find_gaps(times, timeframe)),
        runs=tuple(_find_runs(times, values)),
    )


def check_bars(bars: Bars) -> QualityReport:
    """Return the quality report of bars."""
    return check_quality(bars.times, bars.frame.to_numpy(), bars.timeframe, f"{bars.exchange} {bars.symbol}")


def check_stored(
    symbol: str | None = None, timeframe: Timeframe | None = None, exchange: str | None = None
) -> list[QualityReport]:
    """Report everything that is wrong with the bars of the store, or with those that the arguments select."""
    chosen = select_series(symbol, timeframe, exchange)
    return [check_bars(load_bars(item.symbol, item.timeframe, item.exchange)) for item in chosen]


def find_faults(times: IntArray, values: FloatArray, timeframe: Timeframe) -> list[Fault]:
    """Return every fault, ordered by row; a row may have several. See `check_quality` for the arguments."""
    open_, high, low, close, volume = values.T
    _, first_rows, which = np.unique(times, return_index=True, return_inverse=True)
    first_row = first_rows[which]
    latest_above = np.concatenate((times[:1], np.maximum.accumulate(times)[:-1]))
    seen_before = first_row < np.arange(len(times))
    broken = ~np.isfinite(values).all(axis=1)
    body_high, body_low = np.maximum(open_, close), np.minimum(open_, close)
    found = {
        FaultKind.DUPLICATE: seen_before,
        FaultKind.BACKWARDS: (times < latest_above) & ~seen_before,
        FaultKind.OFF_GRID: (times - _grid_phase(times, timeframe)) % timeframe.ns != 0,
        FaultKind.NOT_A_NUMBER: broken,
        FaultKind.PRICE: (values[:, :4] <= 0.0).any(axis=1) & ~broken,
        FaultKind.VOLUME: (volume < 0.0) & ~broken,
        FaultKind.OHLC: ((high < body_high) | (low > body_low) | (high < low)) & ~broken,
    }

    def was(kind: FaultKind, row: int) -> str:
        match kind:
            case FaultKind.DUPLICATE:
                return f"the time appears in row {first_row[row]} already"
            case FaultKind.BACKWARDS:
                return f"the time is before {iso(int(latest_above[row]))} of a row above"
            case FaultKind.OFF_GRID:
                return f"the time is not on the grid of {timeframe}"
            case _:
                return _wrong_value(kind, values[row])

    faults = [
        Fault(int(row), int(times[row]), kind, was(kind, int(row)))
        for kind, rows in found.items()
        for row in np.flatnonzero(rows)
    ]
    return sorted(faults, key=lambda fault: fault.row)


def find_gaps(times: IntArray, timeframe: Timeframe) -> list[Gap]:
    """Return the gaps between the first and the last close time; times off the grid are ignored."""
    on_grid = np.unique(times[(times - _grid_phase(times, timeframe)) % timeframe.ns == 0])
    missing = np.diff(on_grid) // timeframe.ns - 1
    return [
        Gap(int(on_grid[row]) + timeframe.ns, int(on_grid[row + 1]) - timeframe.ns, int(missing[row]))
        for row in np.flatnonzero(missing)
    ]


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


def _grid_phase(times: IntArray, timeframe: Timeframe) -> int:
    return int(times.min()) % timeframe.ns if timeframe.ns > _DAY_NS else 0


def _wrong_value(kind: FaultKind, row: FloatArray) -> str:
    if kind is FaultKind.OHLC:
        return "open {:.12g}, high {:.12g}, low {:.12g}, close {:.12g} contradict each other".format(*row[:4])
    if kind is FaultKind.VOLUME:
        return f"volume was {row[4]:.12g}, below zero"
    is_wrong = ~np.isfinite(row) if kind is FaultKind.NOT_A_NUMBER else row[:4] <= 0.0
    column = int(np.flatnonzero(is_wrong)[0])
    return f"{COLUMNS[column]} was {row[column]:.12g}" + (", not above zero" if kind is FaultKind.PRICE else "")
