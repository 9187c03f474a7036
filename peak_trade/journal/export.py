"""The audit trail as one table, with one row per event and the fields of every kind as columns, written row by row."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO, get_args, get_type_hints

from peak_trade.core.errors import ConfigError, did_you_mean
from peak_trade.core.files import reason_of, replacing, sync_file
from peak_trade.core.time import iso
from peak_trade.journal.codec import Line, event_to_dict, spell_out
from peak_trade.journal.events import EVENT_CLASSES, OrderEvent

HEAD = ("session_id", "sequence", "kind", "time", "ts_event", "ts_recorded", "ord_status", "exec_type")
FORMATS = (".csv", ".json", ".parquet")
KINDS = tuple(event_class.kind for event_class in EVENT_CLASSES)
_LISTS = ("denials", "bids", "asks", "strategies", "symbols")
_BATCH = 50_000
"""Number of rows that a Parquet file takes at a time."""

Row = dict[str, Any]


def columns() -> tuple[str, ...]:
    """Return the columns of the trail: number and time, then every field of every event once."""
    names = dict.fromkeys(name for event_class in EVENT_CLASSES for name in event_class.__struct_fields__)
    return (*HEAD, *(name for name in names if name not in HEAD))


def write_trail(
    trails: Iterable[tuple[str, Iterable[Line]]],
    path: Path,
    kinds: Collection[str] = (),
    names: Sequence[str] = (),
) -> int:
    """Write trails to a .csv, .json or .parquet file, whole or not at all, and return the number of rows.

    `time` is `ts_event` as text in UTC, `ord_status` and `exec_type` are FIX names, denials, levels and lists are JSON
    text. A value is empty where a kind does not have the field. Few rows at a time are in memory.

    Parameters
    ----------
    trails : iterable of (session id, lines)
    path : Path
        A file in a folder that exists.
    kinds : collection of str
        Kinds of the events that are written; empty: all.
    names : sequence of str
        Columns that are written, in this order; empty: all.

    Raises
    ------
    ConfigError
        When the suffix, a kind or a column is another, or the file can not be written.

    """
    if path.suffix not in FORMATS:
        raise ConfigError(f"output was {path}: its name must end in {', '.join(FORMATS)}.")
    for asked, known, what in ((kinds, KINDS, "kind"), (names, columns(), "columns")):
        unknown = next((each for each in asked if each not in known), None)
        if unknown is not None:
            raise ConfigError(f"{what} was {unknown!r:.80}. {did_you_mean(unknown, known)}")
    if not path.parent.is_dir():
        raise ConfigError(f"output was {path}: there is no folder {path.parent}. Make it first.")
    chosen = tuple(dict.fromkeys(names)) or columns()
    rows = (_row(name, line) for name, lines in trails for line in lines if not kinds or line.event.kind in kinds)
    try:
        with replacing(path) as draft:
            n_rows = _WRITERS[path.suffix](rows, chosen, draft)
            sync_file(draft)
    except OSError as error:
        raise ConfigError(f"output was {path}: it could not be written ({reason_of(error)}).") from None
    return n_rows


def write_parquet(rows: Iterable[Row], names: Sequence[str], path: Path) -> int:
    """Write rows to a Parquet file and return their number."""
    import pyarrow as pa
    from pyarrow import parquet

    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    schema = pa.schema([(name, types[_TYPES[name]]) for name in names])
    n_rows, rows = 0, iter(rows)
    with parquet.ParquetWriter(path, schema) as writer:
        while batch := list(islice(rows, _BATCH)):
            values = {name: [row.get(name) for row in batch] for name in names}
            writer.write_table(pa.table(values, schema=schema))
            n_rows += len(batch)
    return n_rows


def rows_of(session_id: str, lines: Iterable[Line]) -> Iterator[Row]:
    """Yield the row of each line, with the columns that its kind has."""
    return (_row(session_id, line) for line in lines)


def _write_csv(rows: Iterable[Row], names: Sequence[str], path: Path) -> int:
    def write(file: TextIO) -> int:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        n_rows = 0
        for row in rows:
            writer.writerow([_text(row.get(name)) for name in names])
            n_rows += 1
        return n_rows

    return _with_text_file(path, write)


def _write_json(rows: Iterable[Row], names: Sequence[str], path: Path) -> int:
    def write(file: TextIO) -> int:
        n_rows = 0
        for n_rows, row in enumerate(rows, start=1):
            values = {name: row[name] for name in names if not _is_empty(row.get(name))}
            file.write(("[\n" if n_rows == 1 else ",\n") + json.dumps(spell_out(values), allow_nan=False))
        file.write("\n]\n" if n_rows else "[]\n")
        return n_rows

    return _with_text_file(path, write)


def _with_text_file(path: Path, write: Callable[[TextIO], int]) -> int:
    with path.open("x", encoding="utf-8", newline="") as file:
        return write(file)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(value: Any) -> Any:
    return "" if _is_empty(value) else value


def _row(session_id: str, line: Line) -> Row:
    row = event_to_dict(line.event)
    row |= {"session_id": session_id, "sequence": line.sequence, "ts_recorded": line.ts_recorded}
    row["time"] = iso(line.event.ts_event)
    if isinstance(line.event, OrderEvent):
        row |= {"ord_status": line.event.ord_status, "exec_type": line.event.exec_type}
    for name in _LISTS:
        if name in row:
            row[name] = json.dumps(spell_out(row[name]))
    return row


def _type_of(hint: Any) -> type:
    options = {hint, *get_args(hint)} - {type(None)}
    return next((kind for kind in (bool, int, float) if options == {kind} or options == {hint, kind}), str)


_TYPES: dict[str, type] = {"sequence": int, "ts_recorded": int} | {
    name: _type_of(hint)
    for event_class in EVENT_CLASSES
    for name, hint in get_type_hints(event_class).items()
    if name in event_class.__struct_fields__
}
_TYPES |= {name: str for name in (*HEAD, *_LISTS) if name not in _TYPES or name in _LISTS}

_WRITERS: dict[str, Callable[[Iterable[Row], Sequence[str], Path], int]] = {
    ".csv": _write_csv,
    ".json": _write_json,
    ".parquet": write_parquet,
}
