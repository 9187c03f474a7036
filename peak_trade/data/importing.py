"""Import of bar files: reading, validation, and merge into the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import time_ns

import numpy as np
import pandas as pd

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import IntArray
from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars, most_common_step
from peak_trade.core.calendar import close_times, grid_place, open_times
from peak_trade.core.described import Described
from peak_trade.core.errors import ConfigError, DataError, excerpt
from peak_trade.core.time import NS_PER_SECOND, Timeframe, iso
from peak_trade.data.columns import Stamp
from peak_trade.data.plausibility import Implausible, find_implausible
from peak_trade.data.quality import Fault, FaultKind, Gap, QualityReport, check_quality, find_faults, find_gaps
from peak_trade.data.reading import RawBars, ReadOptions, read_raw
from peak_trade.data.stamps import from_last_instants
from peak_trade.data.store import SaveResult, save_bars

_REMEDY = {
    FaultKind.DUPLICATE: "Drop one of the two",
    FaultKind.BACKWARDS: "Sort the rows by time",
    FaultKind.OFF_GRID: "Check --timeframe and --stamp, or drop the row",
    FaultKind.FUTURE: "Check the time zone and the unit of the times",
}
_MIN_BARS_TO_JUDGE_STEP = 10


@dataclass(frozen=True, slots=True, repr=False)
class ImportResult(Described):
    """Result of an import: how the file was read, and what changed in the store.

    `said` lists every decision about the file. `open_bars` are the close times, ns UTC, of the bars that were still
    open and left out; `n_skipped` rows had no prices.
    """

    n_rows: int
    columns: dict[str, str]
    time_unit: str
    stamp: Stamp
    said: tuple[str, ...]
    open_bars: tuple[int, ...]
    n_skipped: int
    gaps: tuple[Gap, ...]
    implausible: tuple[Implausible, ...]
    saved: SaveResult

    def description(self) -> tuple[str, dict[str, object]]:
        """Return where the bars are stored, and what is missing or implausible."""
        series = self.saved.series
        return (
            f"ImportResult: {series.symbol} {series.timeframe} ({series.exchange})",
            {
                "rows": f"{self.n_rows:,}",
                "added": f"{self.saved.n_added:,}",
                "stored": f"{series.n_bars:,} bars, {iso(series.first)} to {iso(series.last)}",
                "times": f"{self.time_unit}, stamps are the bars' {self.stamp}s",
                "gaps": f"{len(self.gaps):,}",
                "implausible": f"{len(self.implausible):,}" if self.implausible else "",
                "skipped": f"{self.n_skipped:,} rows without prices" if self.n_skipped else "",
                "still open": f"{len(self.open_bars):,} bars left out" if self.open_bars else "",
            },
        )


@checks_arguments()
def import_file(
    path: Path | str,
    symbol: str,
    timeframe: str | Timeframe,
    exchange: str,
    stamp: Stamp | None = None,
    options: ReadOptions | None = None,
    *,
    replace: bool = False,
    clock: Callable[[], int] = time_ns,
) -> ImportResult:
    """Import a file of bars into the store; after an error nothing is stored.

    Parameters
    ----------
    path : Path or str
        CSV, JSON, Parquet or Feather, also in a gzip or zip file.
    symbol, exchange : str
        For example BTC/USDT and binance.
    timeframe : str or Timeframe
        Length of a bar, for example 1h.
    stamp : {"open", "close"}, optional
        Meaning of the times in the file; required unless the name of their column states it (open_time, close_time).
    options : ReadOptions, optional
    replace : bool
        Whether bars of the file replace stored bars that differ from them.
    clock : callable
        Returns the current time, ns UTC. A bar that is still open then is left out.

    Raises
    ------
    DataError
        On the first fault, with the file, the line, the value and a remedy.
    ConfigError
        When the meaning of the stamps is unknown, or contradicts the name of the column.

    """
    file, step, options = Path(path), Timeframe.parse(timeframe), options or ReadOptions()
    raw = read_raw(file, symbol, stamp, options)
    meaning = stamp_meaning(raw, stamp)
    raw, times, still_open, now = _closed_bars(raw, step, meaning, options, clock)
    faults = find_faults(times, raw.values, step, now=now, anchor=options.anchor_ns, place=raw.place)
    if not options.no_volume and np.isnan(raw.values[:, 4]).all():
        raise DataError(f"{path}: no row has a volume. Pass --no-volume to import bars without volume.")
    if faults:
        raise _refusal(raw, times, step, faults)
    _check_step(file, times, step)
    gaps = tuple(find_gaps(times, step, options.anchor_ns))
    implausible = tuple(find_implausible(times, raw.values, step.ns))
    index = pd.DatetimeIndex(times, name="close_time").tz_localize("UTC")
    frame = pd.DataFrame(raw.values, columns=list(COLUMNS), index=index, copy=False)
    columns, time_unit, said, n_skipped = raw.columns, raw.time_unit, raw.said, raw.n_skipped
    del raw, times, index  # a long file need not be in memory twice while its bars are saved
    bars = Bars(frame, symbol, step, exchange)
    del frame
    return ImportResult(
        n_rows=len(bars),
        columns=columns,
        time_unit=time_unit,
        stamp=meaning,
        said=said,
        open_bars=tuple(still_open.tolist()),
        n_skipped=n_skipped,
        gaps=gaps,
        implausible=implausible,
        saved=save_bars(bars, replace=replace),
    )


def check_file(
    path: Path,
    timeframe: Timeframe | None = None,
    stamp: Stamp | None = None,
    symbol: str = "",
    options: ReadOptions | None = None,
    clock: Callable[[], int] = time_ns,
) -> QualityReport:
    """Return a quality report on a file; the default timeframe is the most common step.

    Stamps of unknown meaning are taken as open times, which only shifts the reported times. A bar that is still open is
    left out, as in an import.
    """
    options = options or ReadOptions()
    raw = read_raw(path, symbol, stamp, options)
    step = timeframe or most_common_step(np.unique(raw.stamps), f"{path}", "Pass --timeframe")
    meaning = stamp or raw.stamp or "open"
    raw, times, _, now = _closed_bars(raw, step, meaning, options, clock)
    return check_quality(times, raw.values, step, f"{path}", now=now, anchor=options.anchor_ns, rows=raw.rows)


def stamp_meaning(raw: RawBars, stamp: Stamp | None) -> Stamp:
    """Return the meaning of a file's stamps; ConfigError when it is not stated, or stated in contradictory ways."""
    name = excerpt(raw.columns["time"])
    if stamp is None and raw.stamp is None:
        raise ConfigError(
            f"{raw.path}: column {name} may hold open times or close times. "
            "Pass --stamp open (most exchanges) or --stamp close."
        )
    if stamp and raw.stamp and stamp != raw.stamp:
        raise ConfigError(
            f"{raw.path}: column {name} holds {raw.stamp} times, --stamp was {stamp}. Pass --stamp {raw.stamp}."
        )
    return stamp or raw.stamp or "open"


def _closed_bars(
    raw: RawBars, timeframe: Timeframe, stamp: Stamp, options: ReadOptions, clock: Callable[[], int]
) -> tuple[RawBars, IntArray, IntArray, int]:
    """Return the rows that are not an open bar with their close times, the close times of open bars, and the clock."""
    times, now = raw.stamps if stamp == "close" else close_times(raw.stamps, timeframe), clock()
    if stamp == "close":
        times, instant = from_last_instants(times, timeframe, options.anchor_ns or 0)
        said = f"times are the last {instant} of each bar, moved to its close"
        raw = dataclasses.replace(raw, said=(*raw.said, said)) if instant else raw
    is_open = (times > now) & (open_times(times, timeframe) <= now)
    if is_open.all():
        raise DataError(f"{raw.path}: every bar is still open, now is {iso(now)}. Import the file when one has closed.")
    still_open = times[is_open]
    if still_open.size:
        listed = f"{len(still_open)} open bar left out, it closes at {iso(int(still_open[0]))}"
        raw, times = raw.take(np.flatnonzero(~is_open), listed), times[~is_open]
    return raw, times, still_open, now


def _refusal(raw: RawBars, times: IntArray, timeframe: Timeframe, faults: list[Fault]) -> DataError:
    """Return the error of the first of several faults: its place, what it was, and a remedy."""
    fault = faults[0]
    remedy = _REMEDY.get(fault.kind, "Drop or fix the row")
    phases = np.unique(grid_place(times, timeframe)[1])
    if fault.kind is FaultKind.OFF_GRID and len(phases) == 1 and phases[0] % (60 * NS_PER_SECOND) == 0:
        hours, minutes = divmod(int(phases[0]) // (60 * NS_PER_SECOND), 60)
        remedy = f"No bar is; check --timeframe and --stamp, or pass --anchor {hours:02}:{minutes:02}"
    if fault.kind is FaultKind.NOT_A_NUMBER:
        empty = int(np.isnan(raw.values[:, :4]).all(axis=1).sum())
        if np.isnan(raw.values[fault.row, :4]).all():
            remedy = f"Pass --skip-empty to leave out the {empty:,} rows without prices"
        elif np.isfinite(raw.values[fault.row, :4]).all():
            remedy = "Drop or fix the row, or pass --no-volume"
    more = f" ({len(faults) - 1} more: see `peak-trade data check {raw.path}`)" if faults[1:] else ""
    time, observed = iso(int(raw.stamps[fault.row])), _observed(raw, fault)
    return DataError(f"{raw.path}, {raw.place(fault.row)} ({time}): {observed}. {remedy}{more}.")


def _observed(raw: RawBars, fault: Fault) -> str:
    if fault.kind is not FaultKind.NOT_A_NUMBER:
        return fault.was
    row = fault.row
    column = int(np.flatnonzero(~np.isfinite(raw.values[row]))[0])
    cell = raw.cell(row, COLUMNS[column])
    is_empty = np.ndim(cell) == 0 and bool(pd.isna(cell))
    shown = f"{excerpt(cell)!r}" if isinstance(cell, str) else "empty" if is_empty else excerpt(cell)
    return f"{COLUMNS[column]} was {shown}, not a number"


def _check_step(path: Path, times: IntArray, timeframe: Timeframe) -> None:
    if len(times) < _MIN_BARS_TO_JUDGE_STEP:
        return
    common = int(np.gcd.reduce(np.diff(times)))
    if common > timeframe.ns:
        coarse = Timeframe(common // NS_PER_SECOND)
        raise DataError(f"{path}: every step is a multiple of {coarse}, but --timeframe was {timeframe}. Check it.")
