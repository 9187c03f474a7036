"""Import of bar files: recognition of columns and times, validation, and merge into the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bars import COLUMNS, Bars
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import Timeframe, iso
from peak_trade.data.quality import FaultKind, Gap, QualityReport, check_quality, find_faults, find_gaps
from peak_trade.data.store import SaveResult, save_bars

Stamp = Literal["open", "close"]

TIME_NAMES = ("timestamp", "time", "datetime", "date", "unix", "ts", "t", "timestampms", "unixtime", "unixtimestamp")
OPEN_TIME_NAMES = ("opentime", "timeopen", "starttime", "timestart", "klineopentime")
CLOSE_TIME_NAMES = ("closetime", "timeclose", "endtime", "timeend", "klineclosetime")
PRICE_NAMES = {
    "open": ("open", "o", "openprice", "priceopen"),
    "high": ("high", "h", "highprice", "pricehigh", "max"),
    "low": ("low", "l", "lowprice", "pricelow", "min"),
    "close": ("close", "c", "closeprice", "priceclose"),
    "volume": ("volume", "v", "vol", "basevolume", "volumebase", "volumetraded", "amount"),
}
_HEADERLESS = {
    6: "time open high low close volume",
    7: "time open high low close volume trades",
    8: "time open high low close vwap volume trades",
    12: "open_time open high low close volume close_time quote_volume trades taker_base taker_quote ignore",
}
_REMEDY = {
    FaultKind.DUPLICATE: "Drop one of the two",
    FaultKind.BACKWARDS: "Sort the rows by time",
    FaultKind.OFF_GRID: "Check --timeframe and --stamp, or drop the row",
    FaultKind.NOT_A_NUMBER: "Drop or fix the row",
    FaultKind.PRICE: "Drop or fix the row",
    FaultKind.VOLUME: "Drop or fix the row",
    FaultKind.OHLC: "Drop or fix the row",
}
_MIN_BARS_TO_JUDGE_STEP = 10
_UNITS = (
    (1e11, "seconds", 1_000_000_000),
    (1e14, "milliseconds", 1_000_000),
    (1e17, "microseconds", 1_000),
    (np.inf, "nanoseconds", 1),
)
"""Upper bound of each unit for instants between 1973 and 5138, its name, and its length in ns."""
_EARLIEST, _LATEST = (np.datetime64(day, "ns").astype(np.int64) for day in ("1980-01-01", "2200-01-01"))


@dataclass(frozen=True, slots=True)
class RawBars:
    """The rows of a file before validation: stamps in ns UTC, values of shape (n_rows, 5), and how both were read.

    `columns` maps standard names to the names in the file. `stamp` is the meaning of the stamps, if the name of their
    column states it. `first_line` is the number of the first row in the file: a line of CSV, a row (from 0) of Parquet.
    """

    path: Path
    stamps: IntArray
    values: FloatArray
    text: pd.DataFrame
    columns: dict[str, str]
    time_unit: str
    stamp: Stamp | None
    first_line: int

    def place(self, row: int) -> str:
        """Return the place of a row (from 0) in its file, as text."""
        return _place(row, self.first_line)

    def close_times(self, timeframe: Timeframe, stamp: Stamp) -> IntArray:
        """Return close times, ns UTC: the stamps, or the stamps plus the timeframe."""
        return self.stamps if stamp == "close" else self.stamps + timeframe.ns


@dataclass(frozen=True, slots=True)
class ImportResult:
    """Result of an import: how the file was read, and what changed in the store."""

    n_rows: int
    columns: dict[str, str]
    time_unit: str
    stamp: Stamp
    gaps: tuple[Gap, ...]
    saved: SaveResult


def import_file(
    path: Path, symbol: str, timeframe: Timeframe, exchange: str, stamp: Stamp | None = None
) -> ImportResult:
    """Import a CSV or Parquet file into the store; after an error nothing is stored.

    Parameters
    ----------
    path : Path
    symbol, exchange : str
        For example BTC/USDT and binance.
    timeframe : Timeframe
        Length of a bar.
    stamp : {"open", "close"}, optional
        Meaning of the times in the file; required unless the name of their column states it (open_time, close_time).

    Raises
    ------
    DataError
        On the first fault, with the file, the line, the value and a remedy.
    ConfigError
        When the meaning of the stamps is unknown, or contradicts the name of the column.

    """
    raw = read_raw(path, symbol, stamp)
    meaning = stamp_meaning(raw, stamp)
    times = raw.close_times(timeframe, meaning)
    faults = find_faults(times, raw.values, timeframe)
    if faults:
        fault = faults[0]
        more = f" ({len(faults) - 1} more: see `peak-trade data check {path}`)" if faults[1:] else ""
        time, observed = iso(int(raw.stamps[fault.row])), _observed(raw, fault.row, fault.kind, fault.was)
        raise DataError(f"{path}, {raw.place(fault.row)} ({time}): {observed}. {_REMEDY[fault.kind]}{more}.")
    _check_step(path, times, timeframe)
    index = pd.DatetimeIndex(times, name="close_time").tz_localize("UTC")
    bars = Bars(pd.DataFrame(raw.values, columns=list(COLUMNS), index=index), symbol, timeframe, exchange)
    saved = save_bars(bars)
    return ImportResult(len(bars), raw.columns, raw.time_unit, meaning, tuple(find_gaps(times, timeframe)), saved)


def check_file(
    path: Path, timeframe: Timeframe | None = None, stamp: Stamp | None = None, symbol: str = ""
) -> QualityReport:
    """Return a quality report on a file; the default timeframe is the most common step.

    Stamps of unknown meaning are taken as open times, which only shifts the reported times.
    """
    raw = read_raw(path, symbol, stamp)
    step = timeframe or _most_common_step(raw)
    times = raw.close_times(step, stamp or raw.stamp or "open")
    return check_quality(times, raw.values, step, str(path))


def stamp_meaning(raw: RawBars, stamp: Stamp | None) -> Stamp:
    """Return the meaning of a file's stamps; ConfigError when it is not stated, or stated in contradictory ways."""
    if stamp is None and raw.stamp is None:
        raise ConfigError(
            f"{raw.path}: column {raw.columns['time']} may hold open times or close times. "
            "Pass --stamp open (most exchanges) or --stamp close."
        )
    if stamp and raw.stamp and stamp != raw.stamp:
        raise ConfigError(
            f"{raw.path}: column {raw.columns['time']} holds {raw.stamp} times, --stamp was {stamp}. "
            f"Pass --stamp {raw.stamp}."
        )
    return stamp or raw.stamp or "open"


def read_raw(path: Path, symbol: str = "", stamp: Stamp | None = None) -> RawBars:
    """Read a CSV or Parquet file of bars without validating its values; DataError when it is another file."""
    text, first_line = _read_frame(path)
    columns, meaning = _recognize_columns(path, [str(name) for name in text.columns], symbol, stamp)
    picked = text[list(columns.values())].set_axis(list(columns), axis=1)
    if len(picked) == 0:
        raise DataError(f"{path}: the file has a header and no rows. Give at least one bar.")
    stamps, unit = read_stamps(picked["time"], f"{path}", lambda row: _place(row, first_line))
    values = np.column_stack(
        [pd.to_numeric(picked[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan) for name in COLUMNS]
    )
    return RawBars(path, stamps, values, picked, columns, unit, meaning, first_line)


def _place(row: int, first_line: int) -> str:
    return f"line {row + first_line}" if first_line else f"row {row}"


def _read_frame(path: Path) -> tuple[pd.DataFrame, int]:
    if not path.exists():
        raise DataError(f"{path}: there is no such file. Check the path.")
    if path.is_dir():
        raise DataError(f"{path}: this is a folder. Name one CSV or Parquet file.")
    try:
        with path.open("rb") as source:
            magic = source.read(4)
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror}).") from None
    if not magic:
        raise DataError(f"{path}: the file is empty. Give a CSV or Parquet file with at least one bar.")
    if magic == b"PAR1":
        return _read_parquet(path), 0
    if path.suffix.lower() in {".parquet", ".pq"}:
        raise DataError(f"{path}: this is not a Parquet file despite its name. Give CSV or Parquet.")
    if magic[:2] in {b"PK", b"\x1f\x8b"}:
        raise DataError(f"{path}: the file is compressed. Unpack it first.")
    return _read_csv(path)


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa

    try:
        frame = pd.read_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: could not be read as Parquet ({error}). Export it again.") from None
    if isinstance(frame.index, pd.RangeIndex):
        return frame
    named = frame.index.rename(frame.index.name or "time")
    return frame.set_axis(named, axis=0).reset_index()


def _read_csv(path: Path) -> tuple[pd.DataFrame, int]:
    try:
        with path.open(encoding="utf-8-sig") as source:
            head = [line for _, line in zip(range(10), source, strict=False)]
        first = next((row for row, line in enumerate(head) if max(map(line.count, ",;\t")) >= 4), None)
        if first is None:
            shown = next((line.strip() for line in head if line.strip()), "")
            raise DataError(
                f"{path}: no row of time, open, high, low, close, volume; the file begins {shown[:60]!r}. "
                "Give comma-, semicolon- or tab-separated bars."
            )
        separator = max(",;\t", key=head[first].count)
        cells = [cell.strip().strip('"') for cell in head[first].split(separator)]
        names = _names_without_header(path, cells)
        frame = pd.read_csv(
            path,
            sep=separator,
            skiprows=first,
            header=None if names else 0,
            names=names,
            dtype=str,
            encoding="utf-8-sig",
            skip_blank_lines=False,
            index_col=False,
            on_bad_lines="error",
        )
    except UnicodeDecodeError:
        raise DataError(f"{path}: this is neither UTF-8 text nor Parquet. Export it as CSV or Parquet.") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataError(f"{path}: could not be read as CSV ({str(error).strip()}). Fix that line.") from None
    blank = frame.isna().all(axis=1).to_numpy()
    n_rows = len(frame) - int(np.cumprod(blank[::-1]).sum())
    return frame.iloc[:n_rows], first + (1 if names else 2)


def _names_without_header(path: Path, cells: list[str]) -> list[str] | None:
    if not cells[0].replace(".", "", 1).isdigit():
        return None
    if len(cells) not in _HEADERLESS:
        raise DataError(
            f"{path}: the first line has {len(cells)} numbers and no column names. "
            "Add a header line: timestamp,open,high,low,close,volume."
        )
    return _HEADERLESS[len(cells)].split()


def _recognize_columns(
    path: Path, names: list[str], symbol: str, stamp: Stamp | None
) -> tuple[dict[str, str], Stamp | None]:
    plain: dict[str, list[str]] = {}
    for name in names:
        plain.setdefault("".join(c for c in name.lower() if c.isalnum()), []).append(name)
    base = symbol.partition("/")[0].lower()
    wanted: dict[str, tuple[str, ...]] = {"time": _time_names(stamp), **PRICE_NAMES}
    if base:
        wanted["volume"] = (f"volume{base}", *wanted["volume"])
    columns: dict[str, str] = {}
    for ours, candidates in wanted.items():
        key = next((candidate for candidate in candidates if candidate in plain), None)
        if key is None:
            raise DataError(
                f"{path}: no column for {ours}; the columns are {', '.join(names)}. "
                f"Name it {'timestamp' if ours == 'time' else ours}."
            )
        if len(plain[key]) > 1:
            raise DataError(f"{path}: columns {' and '.join(plain[key])} could both be {ours}. Drop one.")
        columns[ours] = plain[key][0]
        if ours == "time":
            meaning: Stamp | None = "open" if key in OPEN_TIME_NAMES else "close" if key in CLOSE_TIME_NAMES else None
    return columns, meaning


def _time_names(stamp: Stamp | None) -> tuple[str, ...]:
    if stamp == "close":
        return (*CLOSE_TIME_NAMES, *TIME_NAMES, *OPEN_TIME_NAMES)
    return (*OPEN_TIME_NAMES, *TIME_NAMES, *CLOSE_TIME_NAMES)


def _observed(raw: RawBars, row: int, kind: FaultKind, was: str) -> str:
    if kind is FaultKind.DUPLICATE:
        earlier = int(np.flatnonzero(raw.stamps == raw.stamps[row])[0])
        return f"the time appears in {raw.place(earlier)} already"
    if kind is FaultKind.BACKWARDS:
        return f"the time is before that of {raw.place(row - 1)}, {iso(int(raw.stamps[row - 1]))}"
    if kind is not FaultKind.NOT_A_NUMBER:
        return was
    column = int(np.flatnonzero(~np.isfinite(raw.values[row]))[0])
    cell: Any = raw.text[COLUMNS[column]].iloc[row]
    shown = f"{cell!r}" if isinstance(cell, str) else "empty" if pd.isna(cell) else f"{cell}"
    return f"{COLUMNS[column]} was {shown}, not a number"


def _most_common_step(raw: RawBars) -> Timeframe:
    steps = np.diff(np.unique(raw.stamps))
    if len(steps) == 0:
        raise ConfigError(f"{raw.path}: the timeframe can not be inferred from one bar. Pass --timeframe.")
    lengths, counts = np.unique(steps, return_counts=True)
    seconds = int(lengths[counts.argmax()]) // 1_000_000_000
    if seconds == 0:
        raise DataError(f"{raw.path}: most stamps are less than a second apart; these are not bars.")
    return Timeframe(seconds)


def _check_step(path: Path, times: IntArray, timeframe: Timeframe) -> None:
    if len(times) < _MIN_BARS_TO_JUDGE_STEP:
        return
    common = int(np.gcd.reduce(np.diff(times)))
    if common > timeframe.ns:
        coarse = Timeframe(common // 1_000_000_000)
        raise DataError(f"{path}: every step is a multiple of {coarse}, but --timeframe was {timeframe}. Check it.")


def read_stamps(column: pd.Series[Any], where: str, place: Callable[[int], str]) -> tuple[IntArray, str]:
    """Return the times of a column as int64 ns UTC, and how they were read.

    Parameters
    ----------
    column : Series of shape (n_rows,)
        Numbers since 1970 in seconds, milliseconds, microseconds or nanoseconds (recognized by their size), ISO 8601
        text, or datetimes. Times without a time zone are taken as UTC.
    where : str
        The file.
    place : callable
        Returns the place of a row in the file.

    Raises
    ------
    DataError
        On the first row that is not a time, has another unit than the first row, or is outside 1980 to 2200.

    """
    empty = column.isna().to_numpy()
    if empty.any():
        raise DataError(f"{where}, {place(_first(empty))}: the time was empty. Drop or fix the row.")
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        zone = str(column.dtype.tz)
        said = "datetimes in UTC" if zone == "UTC" else f"datetimes in {zone}, converted to UTC"
        instants = column.dt.tz_convert("UTC")
    elif pd.api.types.is_datetime64_dtype(column):
        instants, said = column.dt.tz_localize("UTC"), "datetimes without a time zone, taken as UTC"
    else:
        numbers = pd.to_numeric(column, errors="coerce")
        if bool(numbers.notna().all()):
            return _from_numbers(numbers, where, place)
        if bool(numbers.notna().iloc[0]):
            row = _first(numbers.isna().to_numpy())
            raise DataError(f"{where}, {place(row)}: the time was {column.iloc[row]!r}, not a number as above. Fix it.")
        return _from_text(column, where, place)
    return _to_ns(instants, where, place), said


def _from_numbers(numbers: pd.Series[Any], where: str, place: Callable[[int], str]) -> tuple[IntArray, str]:
    size = np.abs(numbers.to_numpy(dtype=np.float64))
    units = np.searchsorted([bound for bound, _, _ in _UNITS], size, side="right").clip(max=len(_UNITS) - 1)
    other = units != units[0]
    _, name, ns = _UNITS[int(units[0])]
    if other.any():
        row = _first(other)
        raise DataError(
            f"{where}, {place(row)}: the time {numbers.iloc[row]} is in {_UNITS[int(units[row])][1]}, "
            f"those above in {name}. Convert them to one unit."
        )
    whole = np.floor(numbers.to_numpy()) if numbers.dtype.kind == "f" else numbers.to_numpy()
    part = np.rint((numbers.to_numpy() - whole) * ns).astype(np.int64)
    outside = (whole < _EARLIEST // ns) | (whole > _LATEST // ns)
    if outside.any():
        row = _first(outside)
        raise DataError(
            f"{where}, {place(row)}: the time {numbers.iloc[row]}, read as {name} since 1970, is outside "
            "1980 to 2200. Write ISO dates, or seconds, ms, us or ns since 1970."
        )
    return whole.astype(np.int64) * ns + part, f"{name} since 1970, UTC"


def _from_text(column: pd.Series[Any], where: str, place: Callable[[int], str]) -> tuple[IntArray, str]:
    text = column.astype(str).str.strip()
    instants = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    wrong = instants.isna().to_numpy()
    if wrong.any():
        row = _first(wrong)
        raise DataError(
            f"{where}, {place(row)}: the time was {text.iloc[row]!r}. "
            "Write ISO dates like 2024-03-10 01:00, or numbers since 1970."
        )
    has_zone = text.str.contains(r"(?:Z|UTC|[+-]\d{2}:?\d{2})$", regex=True).to_numpy()
    if has_zone.all():
        return _to_ns(instants, where, place), "ISO text with its own offset"
    if has_zone.any():
        row = _first(has_zone != has_zone[0])
        raise DataError(
            f"{where}, {place(row)}: some times have an offset and some do not ({text.iloc[row]!r}). Use one form."
        )
    return _to_ns(instants, where, place), "ISO text without an offset, taken as UTC"


def _to_ns(instants: pd.Series[Any], where: str, place: Callable[[int], str]) -> IntArray:
    years = instants.dt.year.to_numpy()
    outside = (years < 1980) | (years >= 2200)
    if outside.any():
        row = _first(outside)
        raise DataError(f"{where}, {place(row)}: the time was {instants.iloc[row]}, outside 1980 to 2200. Fix it.")
    times: IntArray = pd.DatetimeIndex(instants).as_unit("ns").asi8
    return times


def _first(holds: np.ndarray[Any, np.dtype[np.bool_]]) -> int:
    return int(np.flatnonzero(holds)[0])
