"""The audit trail as one table, with one row per event and the fields of every kind as columns, written row by row."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import attrgetter, itemgetter, ne
from pathlib import Path
from typing import Any, TextIO, get_args, get_type_hints

from peak_trade.core.errors import ConfigError, did_you_mean
from peak_trade.core.files import reason_of, replacing, sync_file
from peak_trade.core.time import iso
from peak_trade.journal.codec import Line, event_to_dict, spell_out
from peak_trade.journal.events import EVENT_CLASSES, Event, OrderEvent

HEAD = ("session_id", "sequence", "kind", "time", "ts_event", "ts_recorded", "ord_status", "exec_type")
FORMATS = (".csv", ".json", ".parquet")
KINDS = tuple(event_class.kind for event_class in EVENT_CLASSES)
_LISTS = ("denials", "bids", "asks", "strategies", "symbols")
_BATCH = 50_000
"""Number of rows that a Parquet file takes at a time."""

_N_TEXTS = 100
"""Number of rows that a CSV file takes at a time."""

Row = tuple[Any, ...]


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
    picked = ((name, _of_kinds(lines, kinds) if kinds else lines) for name, lines in trails)
    rows = chain.from_iterable(rows_of(name, lines, chosen) for name, lines in picked)
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
        while parts := [_table(part, schema) for part in _parts(islice(rows, _BATCH))]:
            batch = pa.concat_tables(parts).combine_chunks()
            writer.write_table(batch)
            n_rows += batch.num_rows
    return n_rows


def _table(rows: Sequence[Row], schema: Any) -> Any:
    import pyarrow as pa

    columns = zip(zip(*rows, strict=True), schema.types, strict=True)
    return pa.table([pa.array(values, kind) for values, kind in columns], schema=schema)


def _parts(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while part := list(islice(rows, _BATCH // 10)):
        yield part


def rows_of(session_id: str, lines: Iterable[Line], names: Sequence[str]) -> Iterator[Row]:
    """Yield the row of each line: the values of the columns `names`, None where the kind does not have the column."""
    pickers = {event_class: _picker_of(event_class, names) for event_class in EVENT_CLASSES}
    ts_event, time = 0, iso(0)
    for line in lines:
        event = line.event
        if event.ts_event != ts_event:
            ts_event, time = event.ts_event, iso(event.ts_event)
        values_of, pick = pickers[type(event)]
        yield pick((None, session_id, line.sequence, line.ts_recorded, time, *values_of(event)))


def _write_csv(rows: Iterable[Row], names: Sequence[str], path: Path) -> int:
    def write(file: TextIO) -> int:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        n_rows, left = 0, iter(rows)
        while batch := [_without_nan(row) for row in islice(left, _N_TEXTS)]:
            writer.writerows(batch)
            n_rows += len(batch)
        return n_rows

    return _with_text_file(path, write)


def _write_json(rows: Iterable[Row], names: Sequence[str], path: Path) -> int:
    def write(file: TextIO) -> int:
        n_rows = 0
        for n_rows, row in enumerate(rows, start=1):
            values = {name: value for name, value in zip(names, _without_nan(row), strict=True) if value is not None}
            file.write(("[\n" if n_rows == 1 else ",\n") + json.dumps(spell_out(values), allow_nan=False))
        file.write("\n]\n" if n_rows else "[]\n")
        return n_rows

    return _with_text_file(path, write)


def _with_text_file(path: Path, write: Callable[[TextIO], int]) -> int:
    with path.open("x", encoding="utf-8", newline="") as file:
        return write(file)


def _without_nan(row: Row) -> Row:
    if any(map(ne, row, row)):
        return tuple(None if value != value else value for value in row)
    return row


def _of_kinds(lines: Iterable[Line], kinds: Collection[str]) -> Iterator[Line]:
    return (line for line in lines if line.event.kind in kinds)


def _picker_of(event_class: type[Event], names: Sequence[str]) -> tuple[Callable[[Any], Row], Callable[[Row], Row]]:
    """Return the values of an event in some order, and those of the columns from them, after the ones of its line."""
    known, values_of = _VALUES[event_class]
    places = {name: place for place, name in enumerate((*_OF_LINE, *known), start=1)}
    chosen = [places.get(name, 0) for name in names]
    return values_of, itemgetter(*chosen) if len(chosen) > 1 else itemgetter(slice(chosen[0], chosen[0] + 1))


def _values_of(event_class: type[Event]) -> tuple[tuple[str, ...], Callable[[Any], Row]]:
    names = ("kind", *event_class.__struct_fields__)
    if event_class is OrderEvent:
        names = (*names, "ord_status", "exec_type")
    return names, attrgetter(*names) if set(_LISTS).isdisjoint(names) else _values_with_lists


def _values_with_lists(event: Event) -> Row:
    values = event_to_dict(event)
    return tuple(json.dumps(spell_out(value)) if name in _LISTS else value for name, value in values.items())


_OF_LINE = ("session_id", "sequence", "ts_recorded", "time")
_VALUES = {event_class: _values_of(event_class) for event_class in EVENT_CLASSES}


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
