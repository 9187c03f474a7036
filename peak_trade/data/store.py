"""The store of bars in the workspace: one series for each exchange, symbol and timeframe; see `data.series`.

One lock covers all writes; the system releases it when the process that holds it ends.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars, span_ns
from peak_trade.core.errors import ConfigError, DataError, did_you_mean
from peak_trade.core.files import reason_of, require_regular
from peak_trade.core.lock import held_lock
from peak_trade.core.time import Timeframe, iso
from peak_trade.data.extra_columns import load_columns
from peak_trade.data.holdout import admit, opening_holdout
from peak_trade.data.merging import shared_rows
from peak_trade.data.places import check_names, place_of
from peak_trade.data.plausibility import SMALLEST_STEP
from peak_trade.data.series import (
    DESCRIPTION,
    PART_DIGEST,
    Origin,
    Part,
    StoredSeries,
    add_bars,
    damaged,
    former_file,
    in_stretches,
    read_bars,
    read_series,
    remove_leftovers,
    remove_series,
    write_series,
)
from peak_trade.data.workspace import workspace

LOCK_WAIT_SECONDS = 3.0


StoreScan = tuple[list[StoredSeries], dict[Path, DataError]]
"""Every stored series, in order of the names, and the error of each damaged or misplaced file."""


@dataclass(frozen=True, slots=True)
class SaveResult:
    """Result of a save: numbers of new bars, of bars already stored and of those that were replaced, and the series."""

    n_added: int
    n_known: int
    series: StoredSeries
    n_replaced: int = 0


@dataclass(frozen=True, slots=True)
class JoinResult:
    """Result of a join. `last_close` of the earlier symbol is in units of the later one, `first_open` is the latter's.

    `n_shared` bars are in both series; `shared_ratio` is the median of earlier close / later close, 1.0 without any.
    """

    note: str
    last_close: float
    first_open: float
    n_shared: int
    shared_ratio: float
    saved: SaveResult


def bars_folder() -> Path:
    """Return the folder of the store."""
    return workspace() / "bars"


def save_bars(bars: Bars, *, replace: bool = False, origin: Origin | None = None) -> SaveResult:
    """Merge bars into the store.

    Saving the same bars twice changes nothing. Bars that overlap stored bars must be equal to them, unless they are to
    replace them. Bars with an origin take the place of the whole stored series.

    Raises
    ------
    DataError
        When an overlapping bar differs (the first one is named), the new bars do not fit the stored ones, or another
        process is writing. Nothing is written.
    ConfigError
        When the symbol or the exchange is malformed.

    """
    check_names(bars.exchange, bars.symbol)
    folder = bars_folder() / place_of(bars.exchange, bars.symbol, bars.timeframe)
    with _writing():
        path = next((path for path in (folder / DESCRIPTION, former_file(folder)) if path.exists()), None)
        stored = None if path is None else read_series(path)
        try:
            if stored is None:
                return SaveResult(len(bars), 0, write_series(folder, bars, origin, in_stretches(bars).values()))
            series, n_added, n_replaced = add_bars(stored, folder, bars, replace, origin)
            return SaveResult(n_added, len(bars) - n_added - n_replaced, series, n_replaced)
        except OSError as error:
            raise DataError(f"{folder}: could not be written ({error}). The stored bars are unchanged.") from None


def remove_bars(symbol: str, timeframe: Timeframe, exchange: str | None = None) -> StoredSeries:
    """Remove one stored series and return its description; DataError when there is none, or there are several."""
    with _writing():
        found = find_series(symbol, timeframe, exchange)
        try:
            remove_series(found)
        except OSError as error:
            raise DataError(f"{found.path}: could not be removed ({error.strerror}).") from None
        return found


def join_earlier(
    symbol: str, earlier: str, ratio: float, timeframe: Timeframe, exchange: str | None = None
) -> JoinResult:
    """Store the bars of an earlier symbol before the first bar of a symbol, converted to its units.

    Parameters
    ----------
    symbol, earlier : str
        For example POL/USDT and MATIC/USDT, both in the store.
    ratio : float, from 1e-12 to 1e12
        Base units of `symbol` for one base unit of `earlier`: prices are divided by it, volumes multiplied.
    timeframe : Timeframe
    exchange : str, optional
        Required only when the symbol is stored from several exchanges.

    Raises
    ------
    ConfigError
        When the ratio is outside its range, or the quote currencies differ.
    DataError
        When a series is missing, there is no earlier bar, or the prices do not fit: their ratio on shared bars, or
        else that of the first open and the last close, is above 1.49 or below 1 / 1.49. Nothing is written then.

    """
    if not 1e-12 <= ratio <= 1e12:
        raise ConfigError(f"ratio was {ratio:g}: give the units of {symbol} for one of {earlier}, from 1e-12 to 1e12.")
    if symbol.partition("/")[2] != earlier.partition("/")[2]:
        raise ConfigError(f"{symbol} and {earlier} have different quote currencies. Join bars in one quote currency.")
    found = find_series(symbol, timeframe, exchange)
    later = read_file(found.path)
    former = admit(read_file(find_series(earlier, timeframe, found.exchange).path, None, int(later.times[-1]) + 1))
    where, first = f"{found.exchange} {earlier} {timeframe}", int(later.times[0])
    n_earlier = int(np.searchsorted(former.times, first))
    if n_earlier == 0:
        raise DataError(f"{where}: no bar is before {iso(first)}, the first of {symbol}. There is nothing to join.")
    frame = former.for_strategy()
    for name in COLUMNS:
        frame[name] = frame[name] * ratio if name == "volume" else frame[name] / ratio
    _, rows, rows_former = shared_rows(later, former)
    closes = later.frame["close"].to_numpy()[rows], frame["close"].to_numpy()[rows_former]
    shared_ratio = float(np.median(closes[1] / closes[0])) if rows.size else 1.0
    last_close, first_open = float(frame["close"].iloc[n_earlier - 1]), float(later.frame["open"].iloc[0])
    wrong = shared_ratio if rows.size else last_close / first_open
    if abs(math.log(wrong)) > SMALLEST_STEP:
        raise DataError(
            f"{where}: with a ratio of {ratio:g} its prices are {wrong:.4g} times those of {symbol}. Nothing was "
            f"written; check the ratio, {ratio * wrong:.4g} would fit."
        )
    note = (
        f"Up to {iso(int(former.times[n_earlier - 1]))}, {symbol} is {earlier} at {ratio:g} "
        f"{symbol.partition('/')[0]} for each {earlier.partition('/')[0]}."
    )
    joined = Bars(frame.iloc[:n_earlier], symbol, timeframe, found.exchange, (*former.notes, note))
    return JoinResult(note, last_close, first_open, int(rows.size), shared_ratio, save_bars(joined))


@checks_arguments()
def load_bars(
    symbol: str,
    timeframe: str | Timeframe,
    exchange: str | None = None,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    *,
    open_holdout: str | None = None,
    columns: Sequence[str] = (),
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
    open_holdout : str, optional
        Purpose for which sealed bars are loaded; it is recorded for good. See `data.holdout.opening_holdout`.
    columns : sequence of str
        Names of stored extra columns of the symbol, which the bars get; see `Bars.with_column`.

    Returns
    -------
    Bars
        `notes` state that bars are outdated: that they were resampled from bars that have changed since; and when a
        hold-out of the data set was sealed and how often it was opened.

    Raises
    ------
    DataError
        When there is no such series or column (the closest stored name is suggested), no bar is in the span, the span
        shares time with a sealed hold-out that is not opened, or the content of a file does not match its digest.
        Only the files of the span are read.
    ConfigError
        When start is not before end, or the timeframe is malformed.

    """
    step = Timeframe.parse(timeframe)
    scan = scan_store()
    found = find_series(symbol, step, exchange, scan)
    bars = read_file(found.path, *span_ns(start, end))
    with nullcontext() if open_holdout is None else opening_holdout(open_holdout):
        bars = admit(bars)
    if columns:
        bars = bars.with_columns(*load_columns(symbol, found.exchange, columns))
    if found.origin is None or not is_outdated(found, scan[0]):
        return bars
    note = f"The {step} bars of {symbol} were resampled from {found.origin.timeframe} bars that have changed since."
    return dataclasses.replace(bars, notes=(*bars.notes, note))


def is_outdated(series: StoredSeries, stored: Iterable[StoredSeries]) -> bool:
    """Return whether a stored series was resampled from stored bars that have changed since."""
    if series.origin is None:
        return False
    source = series.exchange, series.symbol, series.origin.timeframe
    digests = {item.digest for item in stored if (item.exchange, item.symbol, item.timeframe) == source}
    return bool(digests) and series.origin.digest not in digests


def find_series(
    symbol: str, timeframe: Timeframe, exchange: str | None = None, scan: StoreScan | None = None
) -> StoredSeries:
    """Return the stored series of these names; DataError, with the closest stored name, when there is none.

    `scan` is the content of the store, if the caller has scanned it.
    """
    stored = select_series(symbol, timeframe, exchange, scan)
    if len(stored) > 1:
        raise DataError(
            f"{symbol} {timeframe} is stored from {' and '.join(item.exchange for item in stored)}. "
            "Choose one with --exchange."
        )
    return stored[0]


def select_series(
    symbol: str | None = None,
    timeframe: Timeframe | None = None,
    exchange: str | None = None,
    scan: StoreScan | None = None,
) -> list[StoredSeries]:
    """Return every stored series that matches, None matching any name.

    DataError when there is none, or a file at the place of one is damaged or misplaced.
    """
    paths = files_at(symbol, timeframe, exchange)
    if scan is None and paths:
        return _in_order(map(read_series, paths))
    stored, refused = scan_store() if scan is None else scan
    for path in paths:
        if path in refused:
            raise refused[path]
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
    """Return every stored series, ordered by exchange, symbol and timeframe; files that are none are left out."""
    return scan_store()[0]


def scan_store() -> StoreScan:
    """Return every stored series, in order of the names, and the error of each damaged or misplaced file."""
    stored, refused = [], {}
    for path in files_at():
        try:
            stored.append(read_series(path))
        except DataError as error:
            refused[path] = error
    for path in _former_files():
        if (path.with_suffix("") / DESCRIPTION).exists():
            refused[path] = DataError(
                f"{path}: this file of an earlier version is not used, the series is in folder {path.stem}. Delete it."
            )
    return _in_order(stored), refused


def damaged_parts(stored: Iterable[StoredSeries]) -> list[DataError]:
    """Return the error of each part of some series that is missing, unfinished, or that of other bars.

    No bars are read: a part whose bars were changed within the file is found when they are loaded.
    """
    found = []
    for series in stored:
        for part in series.parts:
            path = series.path.with_name(part.name)
            why = _damage_of(path, part)
            found += [damaged(path, why)] if why else []
    return found


def _damage_of(path: Path, part: Part) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        require_regular(path)
        about = pq.read_metadata(path)
    except OSError as error:
        return reason_of(error)
    except pa.ArrowException as error:
        return str(error)
    held = (about.metadata or {}).get(PART_DIGEST.encode(), part.digest.encode()).decode()
    return "" if (about.num_rows, held) == (part.n_bars, part.digest) else "it has other bars than its name says"


def _in_order(stored: Iterable[StoredSeries]) -> list[StoredSeries]:
    return sorted(stored, key=lambda item: (item.exchange, item.symbol, item.timeframe))


_LONGEST_NAME = 255
"""Largest number of characters of a file name; no series is stored under a longer one."""


def files_at(symbol: str | None = None, timeframe: Timeframe | None = None, exchange: str | None = None) -> list[Path]:
    """Return the descriptions of series at the place of these names, in order, None matching any name.

    A series that an earlier version stored is in one file. No content is read.
    """
    given = exchange is not None, symbol is not None, timeframe is not None
    names = place_of(exchange or "", symbol or "", timeframe or Timeframe(1)).parts
    if any(len(name) > _LONGEST_NAME for name in names):
        return []
    place = "/".join(name if is_given else "*" for is_given, name in zip(given, names, strict=True))
    described = set(bars_folder().glob(f"{place}/{DESCRIPTION}"))
    former = {path for path in _former_files(place) if path.with_suffix("") / DESCRIPTION not in described}
    return sorted(described | former)


def _former_files(place: str = "*/*/*") -> list[Path]:
    return [path for path in bars_folder().glob(f"{place}.parquet") if not path.name.startswith(".")]


def read_file(path: Path, first: int | None = None, after: int | None = None) -> Bars:
    """Return the bars of a series with first <= close_time < after, ns UTC, after a check of their digests."""
    series = read_series(path)
    while True:
        try:
            return read_bars(series, first, after)
        except DataError:
            latest = read_series(path)
            if latest == series:
                raise
            series = latest


@contextmanager
def _writing() -> Iterator[None]:
    folder = bars_folder()
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(held_lock(folder / ".lock", LOCK_WAIT_SECONDS))
        except TimeoutError as error:
            raise DataError(f"store of bars {error}. Nothing was written; try again when it is done.") from None
        except OSError as error:
            raise DataError(f"{folder}: the store can not be written ({error.strerror}). Check the folder.") from None
        remove_leftovers(folder)
        yield


def _nearest_symbol(symbol: str, stored: set[str]) -> str:
    same = [name for name in sorted(stored) if _letters(name) == _letters(symbol)]
    return f"Did you mean {same[0]}?" if same else did_you_mean(symbol.upper().replace("-", "/"), stored)


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.upper()))
