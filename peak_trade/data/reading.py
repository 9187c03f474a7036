"""The rows of a file of bars: times and numbers as they are in the file, before their validation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.errors import ConfigError, DataError, excerpt
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.data.columns import Columns, Stamp, TimeColumn, recognize_columns
from peak_trade.data.numbers import read_numbers
from peak_trade.data.stamps import read_stamps
from peak_trade.data.tables import Table, place_of_row, read_table


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a file of bars does not say by itself.

    `columns` maps date, time, open, high, low, close or volume to a column, by its name or its number from 1. `anchor`
    is a time of the day in UTC at which bars close, as HH:MM. `skip_empty` leaves out rows without prices, `no_volume`
    the column of volume.
    """

    separator: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    time_format: str | None = None
    anchor: str | None = None
    skip_empty: bool = False
    no_volume: bool = False

    @property
    def anchor_ns(self) -> int | None:
        """The anchor in ns since midnight; ConfigError when it is not a time of the day."""
        if self.anchor is None:
            return None
        match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", self.anchor)
        if match is None:
            raise ConfigError(f"--anchor was {excerpt(self.anchor)!r}: write a time of the day in UTC, such as 16:00.")
        return (int(match[1]) * 3_600 + int(match[2]) * 60) * NS_PER_SECOND


@dataclass(frozen=True, slots=True)
class RawBars:
    """The rows of a file before validation, oldest first if they are sorted, and how they were read.

    `stamps` are ns UTC, `values` of shape (n_rows, 5), and `rows` the numbers of the rows in the file, from 0.
    `columns` maps standard names to the names in the file, and `cells` to the cells of each row with a value that is
    not finite, by the number of the row in the file. `stamp` is the meaning of the stamps, if the name of their column
    states it. `said` lists every decision. `first_line` is that of `Table`.
    """

    path: Path
    first_line: int
    stamps: IntArray
    values: FloatArray
    rows: IntArray
    columns: dict[str, str]
    cells: dict[str, pd.Series[Any]]
    time_unit: str
    stamp: Stamp | None
    said: tuple[str, ...]
    n_skipped: int

    def place(self, row: int) -> str:
        """Return the place of a row (from 0) in its file, as text."""
        return place_of_row(int(self.rows[row]), self.first_line)

    def cell(self, row: int, name: str) -> Any:
        """Return a cell of a row (from 0) with a value that is not finite."""
        return self.cells[name].loc[self.rows[row]]

    def take(self, rows: IntArray, why: str) -> RawBars:
        """Return some rows in an order, and why as one more decision."""
        return replace(
            self,
            stamps=self.stamps[rows],
            values=self.values[rows],
            rows=self.rows[rows],
            said=(*self.said, why),
        )


def read_raw(path: Path, symbol: str = "", stamp: Stamp | None = None, options: ReadOptions | None = None) -> RawBars:
    """Read a file of bars without validating its values; DataError when it is another file."""
    raw = _read_raw(path, symbol, stamp, options or ReadOptions())
    _release_memory()
    return raw


def _release_memory() -> None:
    """Return the memory of columns of text, which may be as large as the bars, to the system."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _read_raw(path: Path, symbol: str, stamp: Stamp | None, options: ReadOptions) -> RawBars:
    table = read_table(path, options.separator)
    columns = recognize_columns(table, symbol, stamp, options.columns, volume=not options.no_volume)
    if not len(table.cells):
        raise DataError(f"{path}: the file has a header and no rows. Give at least one bar.")
    cells, n_skipped = table.cells, 0
    if options.skip_empty:
        is_empty = cells[[columns.positions[name] for name in COLUMNS[:4]]].isna().all(axis=1)
        cells, n_skipped = cells[~is_empty], int(is_empty.sum())
        if not len(cells):
            raise DataError(f"{path}: every row is without prices. Give at least one bar.")
    rows: IntArray = cells.index.to_numpy(dtype=np.int64)
    stamps, unit, column = _read_times(table, cells, columns, rows, options.time_format)
    picked = {name: cells[columns.positions[name]] for name in COLUMNS if name in columns.positions}
    table_format, first_line = table.format, table.first_line
    del table, cells  # the other columns of a long file need not be in memory together with the values
    _release_memory()
    numbers, commas = read_numbers(list(picked.values()), f"{path}", table_format)
    values = np.full((len(rows), len(COLUMNS)), np.nan)
    for place, number in enumerate(numbers):
        values[:, place] = number
    is_odd = ~np.isfinite(values[:, : len(numbers)]).all(axis=1)
    odd = {name: column[is_odd] for name, column in picked.items()}
    said = [table_format, f"time = {excerpt(column.name) or 'the unnamed column'} ({unit})", *columns.said]
    said += [commas] if commas else []
    said += ["without volume"] if options.no_volume else []
    said += [f"{n_skipped:,} rows without prices left out"] if n_skipped else []
    names = {"time": column.name} | {name: columns.names[columns.positions[name]] for name in picked}
    raw = RawBars(path, first_line, stamps, values, rows, names, odd, unit, column.stamp, tuple(said), n_skipped)
    if len(rows) > 1 and (np.diff(stamps) < 0).all():
        raw = raw.take(np.arange(len(rows))[::-1], "newest first, sorted")
    return raw


def _read_times(
    table: Table, cells: pd.DataFrame, columns: Columns, rows: IntArray, time_format: str | None
) -> tuple[IntArray, str, TimeColumn]:
    """Return the stamps of the first column of time that can be read, their unit and the column."""
    refusal: DataError | None = None

    def place(row: int) -> str:
        return place_of_row(int(rows[row]), table.first_line)

    for column in columns.times:
        parts = [cells[position] for position in column.positions]
        text = parts[0] if len(parts) == 1 else _joined(*parts)
        try:
            stamps, unit = read_stamps(
                text, f"{table.path}", lambda row: place_of_row(int(rows[row]), table.first_line), time_format
            )
        except DataError as error:
            refusal = refusal or error
        else:
            return stamps, unit, column
    assert refusal is not None
    raise refusal


def _joined(dates: pd.Series[Any], clocks: pd.Series[Any]) -> pd.Series[Any]:
    """Return dates and times of day as one text; without colons these are hours, or HHMM or HHMMSS without zeros."""
    clock = clocks.astype("str").str.strip()
    width = int(clock.str.len().max())
    padded = clock.str.zfill(2) + "00" if width <= 2 else clock.str.zfill(4 if width <= 4 else 6)
    return dates.astype("str").str.strip() + " " + clock.where(clock.str.contains(":", regex=False), padded)
