"""Import of bar files: read what the file says, state how it was read, refuse the first bar that is wrong."""

from __future__ import annotations

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
from peak_trade.data.stamps import read_stamps
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
    FaultKind.NOT_A_NUMBER: "Drop or mend the row",
    FaultKind.PRICE: "Drop or mend the row",
    FaultKind.VOLUME: "Drop or mend the row",
    FaultKind.OHLC: "Drop or mend the row",
}
_MIN_BARS_TO_JUDGE_STEP = 10


@dataclass(frozen=True, slots=True)
class RawBars:
    """The rows of a file as they came: stamps in ns UTC, values (n_rows, 5), and how both were read.

    `columns` maps our names to the file's. `stamp` is what the stamps mean, when their column's name says it.
    `first_line` is the number of the first row in the file: a line of a CSV file, a row (from 0) of Parquet.
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
        """Name a row (from 0) as its file counts it."""
        return f"line {row + self.first_line}" if self.first_line else f"row {row}"

    def close_times(self, timeframe: Timeframe, stamp: Stamp) -> IntArray:
        """Return close times, ns UTC: the stamp itself, or open + timeframe."""
        return self.stamps if stamp == "close" else self.stamps + timeframe.ns


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import read and what it changed in the store."""

    n_rows: int
    columns: dict[str, str]
    time_unit: str
    stamp: Stamp
    gaps: tuple[Gap, ...]
    saved: SaveResult


def import_file(
    path: Path, symbol: str, timeframe: Timeframe, exchange: str, stamp: Stamp | None = None
) -> ImportResult:
    """Import a CSV or Parquet file into the store; all of it or nothing.

    Parameters
    ----------
    path : Path
    symbol, exchange : str
        For example BTC/USDT and binance.
    timeframe : Timeframe
        Length of a bar.
    stamp : {"open", "close"}, optional
        What the file's times mean; needed unless their column says it (open_time, close_time).

    Raises
    ------
    DataError
        On the first fault: file, line, what it was, what to do.
    ConfigError
        When the stamp is not known, or contradicts the name of the column.

    """
    raw = read_raw(path, symbol, stamp)
    meaning = stamp_meaning(raw, stamp)
    times = raw.close_times(timeframe, meaning)
    faults = find_faults(times, raw.values, timeframe)
    if faults:
        fault = faults[0]
        more = f" ({len(faults) - 1} more: see `peak-trade data check {path}`)" if faults[1:] else ""
        was = _was(raw, fault.row, fault.kind, fault.was)
        raise DataError(
            f"{path}, {raw.place(fault.row)} ({iso(int(raw.stamps[fault.row]))}): {was}. {_REMEDY[fault.kind]}{more}."
        )
    _refuse_coarser_step(path, times, timeframe)
    index = pd.DatetimeIndex(times, name="close_time").tz_localize("UTC")
    bars = Bars(pd.DataFrame(raw.values, columns=list(COLUMNS), index=index), symbol, timeframe, exchange)
    saved = save_bars(bars)
    return ImportResult(len(bars), raw.columns, raw.time_unit, meaning, tuple(find_gaps(times, timeframe)), saved)


def check_file(
    path: Path, timeframe: Timeframe | None = None, stamp: Stamp | None = None, symbol: str = ""
) -> QualityReport:
    """Report what is wrong with a file before it is imported; the timeframe is its commonest step unless named.

    Stamps whose meaning is not known are taken as opens, which shifts the reported times and nothing else.
    """
    raw = read_raw(path, symbol, stamp)
    step = timeframe or _commonest_step(raw)
    times = raw.close_times(step, stamp or raw.stamp or "open")
    return check_quality(times, raw.values, step, str(path))


def stamp_meaning(raw: RawBars, stamp: Stamp | None) -> Stamp:
    """Return what the stamps of a file mean; ConfigError when nobody says, or two say different things."""
    if stamp is None and raw.stamp is None:
        raise ConfigError(
            f"{raw.path}: column {raw.columns['time']} does not say whether it holds opens or closes. "
            "Say --stamp open (most exchanges) or --stamp close."
        )
    if stamp and raw.stamp and stamp != raw.stamp:
        raise ConfigError(
            f"{raw.path}: column {raw.columns['time']} holds {raw.stamp} times, --stamp was {stamp}. "
            f"Say --stamp {raw.stamp}."
        )
    return stamp or raw.stamp or "open"


def read_raw(path: Path, symbol: str = "", stamp: Stamp | None = None) -> RawBars:
    """Read a CSV or Parquet file of bars without judging its values; DataError when it is no such file."""
    text, first_line = _read_frame(path)
    columns, means = _recognise(path, [str(name) for name in text.columns], symbol, stamp)
    picked = text[list(columns.values())].set_axis(list(columns), axis=1)
    if len(picked) == 0:
        raise DataError(f"{path}: the file has a header and no rows. Give at least one bar.")
    unplaced = RawBars(path, np.empty(0, np.int64), np.empty((0, 5)), picked, columns, "", means, first_line)
    stamps, unit = read_stamps(picked["time"], f"{path}", unplaced.place)
    values = np.column_stack(
        [pd.to_numeric(picked[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan) for name in COLUMNS]
    )
    return RawBars(path, stamps, values, picked, columns, unit, means, first_line)


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
        raise DataError(f"{path}: this is not a Parquet file, whatever its name says. Give CSV or Parquet.")
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
        raise DataError(f"{path}: could not be read as CSV ({str(error).strip()}). Mend that line.") from None
    blank = frame.isna().all(axis=1).to_numpy()
    n_rows = len(frame) - int(np.cumprod(blank[::-1]).sum())
    return frame.iloc[:n_rows], first + (1 if names else 2)


def _names_without_header(path: Path, cells: list[str]) -> list[str] | None:
    if not cells[0].replace(".", "", 1).isdigit():
        return None
    if len(cells) not in _HEADERLESS:
        raise DataError(
            f"{path}: the first line has {len(cells)} numbers and no names. "
            "Add a header line: timestamp,open,high,low,close,volume."
        )
    return _HEADERLESS[len(cells)].split()


def _recognise(path: Path, names: list[str], symbol: str, stamp: Stamp | None) -> tuple[dict[str, str], Stamp | None]:
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
            means: Stamp | None = "open" if key in OPEN_TIME_NAMES else "close" if key in CLOSE_TIME_NAMES else None
    return columns, means


def _time_names(stamp: Stamp | None) -> tuple[str, ...]:
    if stamp == "close":
        return (*CLOSE_TIME_NAMES, *TIME_NAMES, *OPEN_TIME_NAMES)
    return (*OPEN_TIME_NAMES, *TIME_NAMES, *CLOSE_TIME_NAMES)


def _was(raw: RawBars, row: int, kind: FaultKind, was: str) -> str:
    if kind is FaultKind.DUPLICATE:
        earlier = int(np.flatnonzero(raw.stamps == raw.stamps[row])[0])
        return f"the time appears in {raw.place(earlier)} already"
    if kind is FaultKind.BACKWARDS:
        return f"the time lies before that of {raw.place(row - 1)}, {iso(int(raw.stamps[row - 1]))}"
    if kind is not FaultKind.NOT_A_NUMBER:
        return was
    column = int(np.flatnonzero(~np.isfinite(raw.values[row]))[0])
    cell: Any = raw.text[COLUMNS[column]].iloc[row]
    shown = f"{cell!r}" if isinstance(cell, str) else "empty" if pd.isna(cell) else f"{cell}"
    return f"{COLUMNS[column]} was {shown}, not a number"


def _commonest_step(raw: RawBars) -> Timeframe:
    steps = np.diff(np.unique(raw.stamps))
    if len(steps) == 0:
        raise ConfigError(f"{raw.path}: one bar has no step to tell its timeframe by. Say --timeframe.")
    lengths, counts = np.unique(steps, return_counts=True)
    seconds = int(lengths[counts.argmax()]) // 1_000_000_000
    if seconds == 0:
        raise DataError(f"{raw.path}: most stamps lie less than a second apart; these are not bars.")
    return Timeframe(seconds)


def _refuse_coarser_step(path: Path, times: IntArray, timeframe: Timeframe) -> None:
    if len(times) < _MIN_BARS_TO_JUDGE_STEP:
        return
    common = int(np.gcd.reduce(np.diff(times)))
    if common > timeframe.ns:
        coarse = Timeframe(common // 1_000_000_000)
        raise DataError(f"{path}: every step is a multiple of {coarse}, --timeframe was {timeframe}. Check it.")
