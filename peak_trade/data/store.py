"""The store of bars: one Parquet file per exchange, symbol and timeframe, in the workspace.

Files are replaced atomically, so a reader sees either the old bars or the new ones. One lock covers all writes; the
system releases it when the process that holds it ends.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arrays import BoolArray, FloatArray, IntArray
from peak_trade.core.bars import COLUMNS, Bars
from peak_trade.core.errors import ConfigError, DataError, did_you_mean
from peak_trade.core.files import write_bytes
from peak_trade.core.time import Timeframe, iso, parse_utc
from peak_trade.data.workspace import workspace

LOCK_WAIT_SECONDS = 3.0
_METADATA = b"peak_trade"
_SYMBOL = re.compile(r"[A-Z0-9.]+/[A-Z0-9.]+(:[A-Z0-9.]+)?")
_EXCHANGE = re.compile(r"[a-z0-9_]+")


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """Description of one stored series of bars; `first` and `last` are close times, ns UTC."""

    exchange: str
    symbol: str
    timeframe: Timeframe
    n_bars: int
    first: int
    last: int
    digest: str
    path: Path


@dataclass(frozen=True, slots=True)
class SaveResult:
    """Result of a save: numbers of new bars, of bars already stored and of those that were replaced, and the series."""

    n_added: int
    n_known: int
    series: StoredSeries
    n_replaced: int = 0


def bars_folder() -> Path:
    """Return the folder of the store."""
    return workspace() / "bars"


def save_bars(bars: Bars, *, replace: bool = False) -> SaveResult:
    """Merge bars into the store.

    Saving the same bars twice changes nothing. Bars that overlap stored bars must be equal to them, unless they are to
    replace them.

    Raises
    ------
    DataError
        When an overlapping bar differs (the first one is named), the new bars do not fit the stored ones, or another
        process is writing. Nothing is written.
    ConfigError
        When the symbol or the exchange is malformed.

    """
    path = _path(bars.exchange, bars.symbol, bars.timeframe)
    with _writing():
        stored = read_file(path) if path.exists() else None
        merged = bars if stored is None else merge(stored, bars, replace=replace)
        n_added = len(merged) - (0 if stored is None else len(stored))
        n_replaced = 0 if stored is None or not replace else _n_different(stored, bars)
        if n_added or n_replaced:
            try:
                _write(merged, path)
            except OSError as error:
                raise DataError(f"{path}: could not be written ({error}). The stored bars are unchanged.") from None
        return SaveResult(n_added, len(bars) - n_added - n_replaced, _series(path), n_replaced)


def remove_bars(symbol: str, timeframe: Timeframe, exchange: str | None = None) -> StoredSeries:
    """Remove one stored series and return its description; DataError when there is none, or there are several."""
    with _writing():
        found = find_series(symbol, timeframe, exchange)
        try:
            found.path.unlink()
            for folder in (found.path.parent, found.path.parent.parent):
                if any(folder.iterdir()):
                    break
                folder.rmdir()
        except OSError as error:
            raise DataError(f"{found.path}: could not be removed ({error.strerror}).") from None
        return found


def merge(stored: Bars, new: Bars, *, replace: bool = False) -> Bars:
    """Return the union of two series in order; bars in both must be equal, unless the new ones `replace` the others.

    Raises
    ------
    DataError
        When a bar differs (the message names the first one, its column and both values), when only one of the two has a
        volume, or when they close at different times of the day.

    """
    where = f"{new.exchange} {new.symbol} {new.timeframe}"
    remedy = "use another exchange name, or remove the stored bars with `peak-trade data remove`"
    if stored.has_volume != new.has_volume:
        with_volume = "stored" if stored.has_volume else "new"
        raise DataError(f"{where}: only the {with_volume} bars have a volume. Nothing was written; {remedy}.")
    if (int(new.times[0]) - int(stored.times[0])) % new.timeframe.ns:
        raise DataError(
            f"{where}: the stored bars close at {iso(int(stored.times[0]))}, the new ones at {iso(int(new.times[0]))}, "
            f"not whole multiples of {new.timeframe} apart. Nothing was written; {remedy}."
        )
    shared, rows_stored, rows_new = _shared(stored, new)
    if not replace and _n_different(stored, new):
        values_stored, values_new = stored.frame.to_numpy()[rows_stored], new.frame.to_numpy()[rows_new]
        differ = _differ(values_stored, values_new)
        row, column = (int(part) for part in np.argwhere(differ)[0])
        raise DataError(
            f"{where}: the bar of {iso(int(shared[row]))} is stored with "
            f"{COLUMNS[column]} {values_stored[row, column]:.12g}, the new one has {values_new[row, column]:.12g} "
            f"({int(differ.any(axis=1).sum())} of {len(shared)} shared bars differ). Nothing was written; "
            f"pass --replace to keep the new bars, or {remedy}."
        )
    kept = np.setdiff1d(np.arange(len(stored)), rows_stored, assume_unique=True) if replace else np.arange(len(stored))
    fresh = np.arange(len(new)) if replace else np.setdiff1d(np.arange(len(new)), rows_new, assume_unique=True)
    if len(fresh) == 0:
        return stored
    frame = pd.concat([stored.frame.iloc[kept], new.frame.iloc[fresh]]).sort_index()
    return Bars(frame, stored.symbol, stored.timeframe, stored.exchange)


def _shared(stored: Bars, new: Bars) -> tuple[IntArray, IntArray, IntArray]:
    """Return the close times of both series, and their rows in each."""
    return np.intersect1d(stored.times, new.times, assume_unique=True, return_indices=True)


def _differ(first: FloatArray, second: FloatArray) -> BoolArray:
    differs: BoolArray = (first != second) & ~(np.isnan(first) & np.isnan(second))
    return differs


def _n_different(stored: Bars, new: Bars) -> int:
    """Return the number of bars of both series that differ."""
    _, rows_stored, rows_new = _shared(stored, new)
    differ = _differ(stored.frame.to_numpy()[rows_stored], new.frame.to_numpy()[rows_new])
    return int(differ.any(axis=1).sum())


def load_bars(
    symbol: str,
    timeframe: str | Timeframe,
    exchange: str | None = None,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
) -> Bars:
    """Load bars with start <= close_time < end from the store.

    Parameters
    ----------
    symbol : str
        For example BTC/USDT.
    timeframe : str or Timeframe
        For example 1h.
    exchange : str, optional
        Required only when the symbol is stored from several exchanges.
    start, end : datetime or ISO text, optional
        Instants without an offset are taken as UTC. `start` is inclusive, `end` exclusive.

    Raises
    ------
    DataError
        When there is no such series (the closest stored name is suggested), no bar is in the span, or the content of
        the file does not match its digest.
    ConfigError
        When start is not before end, or the timeframe is malformed.

    """
    step = timeframe if isinstance(timeframe, Timeframe) else Timeframe.parse(timeframe)
    first, after = _moment(start, "start"), _moment(end, "end")
    bars = read_file(find_series(symbol, step, exchange).path)
    return bars if first is None and after is None else bars.between(first, after)


def find_series(symbol: str, timeframe: Timeframe, exchange: str | None = None) -> StoredSeries:
    """Return the stored series of these names; DataError, with the closest stored name, when there is none."""
    stored = select_series(symbol, timeframe, exchange)
    if len(stored) > 1:
        raise DataError(
            f"{symbol} {timeframe} is stored from {' and '.join(item.exchange for item in stored)}. "
            "Choose one with --exchange."
        )
    return stored[0]


def select_series(
    symbol: str | None = None, timeframe: Timeframe | None = None, exchange: str | None = None
) -> list[StoredSeries]:
    """Return every stored series that matches, None matching any name; DataError when there is none."""
    stored = list_bars()
    if not stored:
        raise DataError(
            f"the store at {bars_folder()} is empty. Import bars with `peak-trade data import FILE`, "
            "or make sample bars with `peak-trade data sample`."
        )
    if exchange is not None:
        exchanges = {item.exchange for item in stored}
        if exchange not in exchanges:
            raise DataError(f"there are no bars from exchange {exchange}. {did_you_mean(exchange, exchanges)}")
        stored = [item for item in stored if item.exchange == exchange]
    if symbol is not None:
        symbols = {item.symbol for item in stored}
        if symbol not in symbols:
            origin = f" from {exchange}" if exchange else ""
            raise DataError(f"there are no bars of {symbol}{origin}. {_nearest_symbol(symbol, symbols)}")
        stored = [item for item in stored if item.symbol == symbol]
    timeframes = sorted({item.timeframe for item in stored})
    if timeframe is not None and timeframe not in timeframes:
        raise DataError(
            f"there are no bars of {symbol or 'any symbol'} at {timeframe}, only at {', '.join(map(str, timeframes))}. "
            "Import them, or make them from finer bars with `peak-trade data resample`."
        )
    return [item for item in stored if timeframe in (None, item.timeframe)]


def list_bars() -> list[StoredSeries]:
    """Return every stored series, ordered by exchange, symbol and timeframe."""
    paths = [path for path in bars_folder().glob("*/*/*.parquet") if not path.name.startswith(".")]
    return sorted(map(_series, paths), key=lambda item: (item.exchange, item.symbol, item.timeframe))


def read_file(path: Path) -> Bars:
    """Return the bars of one file of the store, after a check of their digest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = _about(path)
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, str(error)) from None
    index = pd.DatetimeIndex(table["close_time"].to_numpy(), name="close_time").tz_localize("UTC")
    frame = pd.DataFrame({name: table[name].to_numpy() for name in COLUMNS}, index=index)
    bars = Bars(frame, about["symbol"], Timeframe.parse(about["timeframe"]), about["exchange"])
    if bars.digest() != about["digest"]:
        raise _unreadable(path, "its bars do not match their digest")
    return bars


def _write(bars: Bars, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {
        "symbol": bars.symbol,
        "timeframe": str(bars.timeframe),
        "exchange": bars.exchange,
        "digest": bars.digest(),
        "n_bars": len(bars),
        "first": int(bars.times[0]),
        "last": int(bars.times[-1]),
    }
    columns = {"close_time": pa.array(bars.times, type=pa.timestamp("ns", tz="UTC"))}
    columns |= {name: pa.array(bars.frame[name].to_numpy()) for name in COLUMNS}
    table = pa.table(columns).replace_schema_metadata({_METADATA: json.dumps(about, sort_keys=True).encode()})
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    write_bytes(path, buffer.getvalue())


@contextmanager
def _writing() -> Iterator[None]:
    from filelock import FileLock, Timeout

    folder = bars_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=LOCK_WAIT_SECONDS)
        lock.acquire()
    except Timeout:
        raise DataError(
            f"{folder}: another process is writing to the store (waited {LOCK_WAIT_SECONDS:g} s). "
            "Nothing was written; try again when it is done."
        ) from None
    except OSError as error:
        raise DataError(f"{folder}: the store can not be written ({error.strerror}). Check the folder.") from None
    try:
        yield
    finally:
        lock.release()


def _about(path: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, str(error)) from None
    if _METADATA not in metadata:
        raise _unreadable(path, "it was not written by this store")
    about: dict[str, Any] = json.loads(metadata[_METADATA])
    return about


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(f"{path}: this file of the store is damaged ({why}). Delete it and import its bars again.")


def _series(path: Path) -> StoredSeries:
    about = _about(path)
    return StoredSeries(
        exchange=about["exchange"],
        symbol=about["symbol"],
        timeframe=Timeframe.parse(about["timeframe"]),
        n_bars=about["n_bars"],
        first=about["first"],
        last=about["last"],
        digest=about["digest"],
        path=path,
    )


def _path(exchange: str, symbol: str, timeframe: Timeframe) -> Path:
    if not _SYMBOL.fullmatch(symbol):
        raise ConfigError(f"symbol was {symbol!r}: write base and quote in capitals, like BTC/USDT.")
    if not _EXCHANGE.fullmatch(exchange):
        raise ConfigError(f"exchange was {exchange!r}: write a lower-case name, like binance.")
    return bars_folder() / exchange / symbol.replace("/", "-").replace(":", "_") / f"{timeframe}.parquet"


def _nearest_symbol(symbol: str, stored: set[str]) -> str:
    spelled = symbol.upper().replace("-", "/").replace("_", "/")
    if spelled in stored:
        return f"Did you mean {spelled}?"
    joined = {name for name in stored if name.replace("/", "") == spelled}
    return f"Did you mean {joined.pop()}?" if joined else did_you_mean(spelled, stored)


def _moment(moment: datetime | str | None, what: str) -> datetime | None:
    if moment is None:
        return None
    if isinstance(moment, str):
        return parse_utc(moment, what)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
