"""The files of a stored series of bars: a description, and the bars in parts.

    bars/binance/BTC-USDT/1m/series.json                          names, notes, and the digest of each part
    bars/binance/BTC-USDT/1m/20240115-0f3a5c7e9b1d2f48.parquet    a part

A part has the bars of one stretch of the time grid, which has 65,536 steps and starts at a multiple of them since 1970.
The digest of a series is `Bars.digest` of all of its bars, whatever the order in which they were stored.

Parts never change. A write adds new parts, replaces the description, and removes the parts that it does not name. A
reader therefore sees the old bars or the new ones, also after the process was killed. Earlier versions stored a series
in one file, `BTC-USDT/1m.parquet`; it is read, and replaced by parts at the first write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from peak_trade.core.arrays import IntArray
from peak_trade.core.bar_frame import COLUMNS, frame_over, values_digest
from peak_trade.core.bars import Bars, no_bar_in_span
from peak_trade.core.digest import digest_bytes, digest_of
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.files import read_bytes, require_regular, sync_folder, write_bytes
from peak_trade.core.time import Timeframe, from_ns
from peak_trade.data.merging import check_fit, conflict, merge, overlap_of
from peak_trade.data.places import place_of

BARS_PER_PART = 65_536
"""Steps of the time grid in a stretch, and the most bars in a part."""
DESCRIPTION = "series.json"
_VERSION = 2
_METADATA = b"peak_trade"
_ENCODING: dict[str, Any] = {
    "compression": "lz4",
    "column_encoding": dict.fromkeys(COLUMNS, "BYTE_STREAM_SPLIT") | {"close_time": "DELTA_BINARY_PACKED"},
}
"""Encoding of parts, as small as that of pyarrow and read in less than half of its time."""
_OURS = re.compile(r"\d{8}-[0-9a-f]{16}\.parquet|\..+\.[0-9a-f]{8}")
"""Names of parts and of unfinished files."""


@dataclass(frozen=True, slots=True)
class Part:
    """The bars of one stretch: their number, first and last close time (ns UTC) and digest."""

    n_bars: int
    first: int
    last: int
    digest: str

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{from_ns(self.first):%Y%m%d}-{self.digest[:16]}.parquet"


PART_DIGEST = "digest"
"""Name of the digest of a part within the metadata of its file."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The stored bars of the same symbol that others were resampled from: their timeframe, and their digest then."""

    timeframe: Timeframe
    digest: str


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """Description of one stored series of bars; `first` and `last` are close times, ns UTC.

    `notes` states what was done to the bars before they were stored, such as a join of two histories. `origin` is None
    unless all bars were resampled from one series. `path` is the file of the description, or the file of an earlier
    version, which has no `parts`.
    """

    exchange: str
    symbol: str
    timeframe: Timeframe
    n_bars: int
    first: int
    last: int
    digest: str
    path: Path
    notes: tuple[str, ...] = ()
    origin: Origin | None = None
    parts: tuple[Part, ...] = ()


def former_file(folder: Path) -> Path:
    """Return the file in which earlier versions stored the series of a folder."""
    return folder.with_name(f"{folder.name}.parquet")


def held_stretches(series: StoredSeries) -> dict[int, Part | Bars]:
    """Return the part of each stretch of a series, or, of a series of an earlier version, its bars."""
    if not series.parts:
        return {number: bars for number, bars in in_stretches(read_bars(series)).items()}
    return {part.first // series.timeframe.ns // BARS_PER_PART: part for part in series.parts}


def bars_in(series: StoredSeries, stretch: Part | Bars) -> Bars:
    """Return the bars of a stretch, read from its part after a check of their digest."""
    return _bars_of(series, [_read_part(series, stretch)]) if isinstance(stretch, Part) else stretch


def in_stretches(bars: Bars) -> dict[int, Bars]:
    """Return the bars of each stretch, in order, without a copy."""
    numbers = bars.times // bars.timeframe.ns // BARS_PER_PART
    starts = np.flatnonzero(np.concatenate(([True], numbers[1:] != numbers[:-1])))
    ends = np.append(starts[1:], len(numbers))
    names = bars.symbol, bars.timeframe, bars.exchange, bars.notes
    return {
        int(numbers[start]): Bars.over(bars.frame.iloc[start:end], *names)
        for start, end in zip(starts, ends, strict=True)
    }


def read_series(path: Path) -> StoredSeries:
    """Return the description of a series; DataError when it is damaged, or that of another place."""
    is_former = path.name != DESCRIPTION
    try:
        series = _former_series(path) if is_former else _described_series(path)
    except OSError as error:
        raise damaged(path, str(error), is_former) from None
    except (ValueError, LookupError, TypeError, AttributeError, ConfigError):
        raise damaged(path, "its description can not be read", is_former) from None
    place = place_of(series.exchange, series.symbol, series.timeframe)
    if (path.with_suffix("") if is_former else path.parent).parts[-3:] != place.parts:
        raise DataError(
            f"{path}: this file has the bars of {series.exchange} {series.symbol} {series.timeframe}, whose place is "
            f"{place}. Move it there, or delete it."
        )
    return series


def read_bars(series: StoredSeries, first: int | None = None, after: int | None = None) -> Bars:
    """Return the bars of a series with first <= close_time < after, ns UTC; only the parts of this span are read.

    Raises
    ------
    DataError
        When a part is damaged or missing, or no bar is in the span.

    """
    blocks = (
        [_read_former(series)]
        if not series.parts
        else [
            _read_part(series, part)
            for part in series.parts
            if (after is None or part.first < after) and (first is None or part.last >= first)
        ]
    )
    for place in (0, -1) if blocks else ():
        chosen = _inside(blocks[place]["close_time"], first, after)
        blocks[place] = {name: column[chosen] for name, column in blocks[place].items()}
    if not sum(len(block["close_time"]) for block in blocks):
        raise no_bar_in_span(series.symbol, series.timeframe, series.first, series.last)
    return _bars_of(series, blocks)


def write_series(folder: Path, like: Bars, origin: Origin | None, parts: Iterable[Part | Bars]) -> StoredSeries:
    """Write a series of some parts of a folder and of new bars, each those of one stretch, in order.

    The names and notes are those of `like`. After an error the series is as it was.
    """
    path = folder / DESCRIPTION
    written: list[Part] = []
    try:
        for part in parts:
            written.append(part if isinstance(part, Part) else _write_part(folder, part))
        about: dict[str, Any] = {
            "version": _VERSION,
            "digest": _digest(folder, like, written),
            "exchange": like.exchange,
            "symbol": like.symbol,
            "timeframe": str(like.timeframe),
            "notes": list(like.notes),
            "origin": origin and {"timeframe": str(origin.timeframe), "digest": origin.digest},
            "parts": [asdict(part) for part in written],
        }
        write_bytes(path, (json.dumps(about | {"checksum": digest_of(about)}, indent=1) + "\n").encode())
    except BaseException:
        with suppress(DataError):
            _keep_only(folder, read_series(path).parts if path.exists() else ())
        raise
    _keep_only(folder, written)
    with suppress(OSError):
        former_file(folder).unlink(missing_ok=True)
    return read_series(path)


def add_bars(
    stored: StoredSeries, folder: Path, bars: Bars, replace: bool, origin: Origin | None
) -> tuple[StoredSeries, int, int]:
    """Add bars to a stored series, or, if they have an origin, put them in its place; only changed parts are written.

    Return its new description, and the numbers of bars that were added and replaced. DataError when bars differ from
    stored ones that they are not to replace, or do not fit them; see `merge`. Nothing is written then.
    """
    if stored.parts:
        _keep_only(folder, stored.parts)
        _remove_former(folder, stored)
    held, new = held_stretches(stored), in_stretches(bars)
    if origin is None:
        check_fit(stored.first, bars_in(stored, held[max(held)]), bars)
    overlaps = {number: overlap_of(bars_in(stored, held[number]), new[number]) for number in new.keys() & held.keys()}
    n_added = len(bars) - sum(overlap.n_shared for overlap in overlaps.values())
    n_different = sum(overlap.n_different for overlap in overlaps.values())
    if n_different and not replace and origin is None:
        raise conflict(bars, overlaps)

    def merged() -> Iterator[Part | Bars]:
        for number in sorted(held | new):
            overlap = overlaps.get(number)
            if number not in new or (overlap and overlap.n_shared == len(new[number]) and not overlap.n_different):
                yield held[number]
            elif overlap is None:
                yield new[number]
            else:
                yield merge(bars_in(stored, held[number]), new[number], replace=replace)

    def renewed() -> Iterator[Part | Bars]:
        for number, part in new.items():
            former = held.get(number)
            yield former if isinstance(former, Part) and former.digest == part.digest() else part

    if origin is not None and (n_added or n_different or (stored.n_bars, stored.origin) != (len(bars), origin)):
        stored = write_series(folder, bars, origin, renewed())
    elif origin is None and (n_added or n_different):
        notes = tuple(dict.fromkeys((*stored.notes, *bars.notes)))
        stored = write_series(
            folder, Bars.over(bars.frame, bars.symbol, bars.timeframe, bars.exchange, notes), None, merged()
        )
    return stored, n_added, n_different


def remove_series(series: StoredSeries) -> None:
    """Remove the files of a series, and the folders that are empty then."""
    folder = series.path.parent
    series.path.unlink()
    sync_folder(folder)
    if series.parts:
        _keep_only(folder, ())
    else:
        _remove_empty(folder)


def remove_leftovers(store: Path) -> None:
    """Remove the unfinished files of writes that were killed; no other write goes on."""
    for path in store.glob("*/*/*"):
        with suppress(OSError):
            if not path.is_dir():
                if _OURS.fullmatch(path.name) and path.name.startswith("."):
                    path.unlink()
            elif not (path / DESCRIPTION).exists():
                _keep_only(path, ())
            else:
                for draft in path.glob(".*"):
                    if _OURS.fullmatch(draft.name):
                        draft.unlink()


def damaged(path: Path, why: str, is_former: bool = False) -> DataError:
    """Return the error of a damaged file of the store; a file of an earlier version is a whole series."""
    what = "it" if is_former else "its folder"
    return DataError(f"{path}: this file of the store is damaged ({why}). Delete {what} and import its bars again.")


def _described_series(path: Path) -> StoredSeries:
    about: dict[str, Any] = json.loads(read_bytes(path))
    checksum = about.pop("checksum")
    if checksum != digest_of(about):
        raise damaged(path, "it does not match its checksum")
    if about["version"] != _VERSION:
        raise DataError(f"{path}: this was written by a later version of peak_trade. Update peak_trade to read it.")
    names = about["exchange"], about["symbol"], Timeframe.parse(about["timeframe"])
    parts = tuple(Part(**part) for part in about["parts"])
    n_bars, first, last = sum(part.n_bars for part in parts), parts[0].first, parts[-1].last
    notes = tuple(about["notes"])
    return StoredSeries(*names, n_bars, first, last, about["digest"], path, notes, _origin(about), parts)


def _former_series(path: Path) -> StoredSeries:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        require_regular(path)
        metadata: Mapping[bytes, bytes] = pq.read_schema(path).metadata or {}
    except pa.ArrowException as error:
        raise damaged(path, str(error), is_former=True) from None
    if _METADATA not in metadata:
        raise damaged(path, "it was not written by this store", is_former=True)
    about = json.loads(metadata[_METADATA])
    names = about["exchange"], about["symbol"], Timeframe.parse(about["timeframe"])
    figures = about["n_bars"], about["first"], about["last"], about["digest"]
    return StoredSeries(*names, *figures, path, tuple(about.get("notes", ())), _origin(about))


def _origin(about: Mapping[str, Any]) -> Origin | None:
    origin = about.get("origin")
    return None if origin is None else Origin(Timeframe.parse(origin["timeframe"]), origin["digest"])


_Block = dict[str, Any]
"""The arrays of close_time, int64 ns UTC, and of the columns of bars."""


def _read_former(series: StoredSeries) -> _Block:
    block = _read_block(series.path, is_former=True)
    header = f"{series.symbol} {series.timeframe} {series.exchange}".encode()
    digests = _digest_of(series, block), digest_bytes(header, *(column.tobytes() for column in block.values()))
    times = block["close_time"]
    if series.digest not in digests or (len(times), *times[[0, -1]]) != (series.n_bars, series.first, series.last):
        raise damaged(series.path, "its bars do not match their digest", is_former=True)
    return block


def _read_part(series: StoredSeries, part: Part) -> _Block:
    path = series.path.with_name(part.name)
    block = _read_block(path)
    if _digest_of(series, block) != part.digest:
        raise damaged(path, "its bars do not match their digest")
    return block


def _digest_of(series: StoredSeries, block: _Block) -> str:
    return values_digest(series.symbol, series.timeframe, series.exchange, lambda name: (block[name],))


def _digest(folder: Path, new: Bars, parts: list[Part]) -> str:
    """Return the digest of all bars of a series after a write of new bars, reading one column of a part at a time."""
    if len(parts) == 1:
        return parts[0].digest
    if sum(part.n_bars for part in parts) == len(new):
        return new.digest()

    def chunks(name: str) -> Iterator[Any]:
        for part in parts:
            yield _read_block(folder / part.name, columns=(name,))[name]

    return values_digest(new.symbol, new.timeframe, new.exchange, chunks)


def _read_block(path: Path, *, is_former: bool = False, columns: tuple[str, ...] = ("close_time", *COLUMNS)) -> _Block:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        require_regular(path)
        with pq.ParquetFile(path, pre_buffer=False) as file:
            if file.schema_arrow.remove_metadata() != _schema():
                raise damaged(path, "its columns are not those of bars", is_former)
            table = file.read(list(columns), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, str(error), is_former) from None
    block = {name: table[name].to_numpy() for name in columns}
    return block | {name: block[name].view(np.int64) for name in columns if name == "close_time"}


def _write_part(folder: Path, bars: Bars) -> Part:
    import pyarrow as pa
    import pyarrow.parquet as pq

    part = Part(len(bars), int(bars.times[0]), int(bars.times[-1]), bars.digest())
    columns = [pa.array(bars.times, type=pa.timestamp("ns", tz="UTC"))]
    columns += [pa.array(np.ascontiguousarray(bars.frame[name].to_numpy())) for name in COLUMNS]
    buffer = pa.BufferOutputStream()
    schema = _schema().with_metadata({PART_DIGEST: part.digest})
    pq.write_table(pa.table(columns, schema=schema), buffer, use_dictionary=False, **_ENCODING)
    write_bytes(folder / part.name, buffer.getvalue())
    return part


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema([("close_time", pa.timestamp("ns", tz="UTC")), *((name, pa.float64()) for name in COLUMNS)])


def _inside(times: IntArray, first: int | None, after: int | None) -> slice:
    """Return the rows of increasing times with first <= time < after."""
    before = 0 if first is None else int((times < first).sum())
    return slice(before, len(times) if after is None else int((times < after).sum()))


def _bars_of(series: StoredSeries, blocks: list[_Block]) -> Bars:
    times = b"".join(block["close_time"] for block in blocks)
    frame = frame_over(times, b"".join(block[name] for name in COLUMNS for block in blocks))
    return Bars.over(frame, series.symbol, series.timeframe, series.exchange, series.notes)


def _keep_only(folder: Path, parts: Iterable[Part]) -> None:
    """Remove the parts and the unfinished files of a folder, except some parts."""
    kept = {part.name for part in parts}
    with suppress(OSError):
        for path in folder.iterdir():
            if _OURS.fullmatch(path.name) and path.name not in kept:
                path.unlink()
    _remove_empty(folder)


def _remove_former(folder: Path, series: StoredSeries) -> None:
    """Remove the file of an earlier version that a killed write left, if each of its bars is in the parts."""
    path = former_file(folder)
    if path.exists():
        with suppress(DataError, OSError):
            bars = read_bars(read_series(path))
            held = read_bars(series, int(bars.times[0]), int(bars.times[-1]) + 1)
            if overlap_of(held, bars) == (len(bars), 0, None):
                path.unlink()


def _remove_empty(folder: Path) -> None:
    """Remove a folder of the store and those above it, as far as they are empty; the one of the lock never is."""
    with suppress(OSError):
        for empty in (folder, *folder.parents):
            empty.rmdir()
