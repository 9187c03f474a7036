"""Tables of bars in files: CSV, JSON, Parquet and Feather, plain or in a gzip or zip file."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peak_trade.core.errors import ConfigError, DataError, excerpt, shortened
from peak_trade.core.files import open_binary

SEPARATORS = {"tab": "\t", "pipe": "|", "semicolon": ";", "comma": ","}
"""Separators of CSV by name, in the order in which they are tried: decimal commas never separate the cells of a row."""
_HEAD_BYTES = 200_000
"""Bytes on which the format of a file is decided; other reads take blocks of as many."""
_ROWS_PER_CHUNK = 200_000
_Opened = Callable[[], Any]
_MIN_COLUMNS = 5
_MOST_LINES_ABOVE = 30
_MOST_HEADER_ROWS = 3
_NUMBER = re.compile(r"[+-]?[\d.,]*\d[\d.,]*([eE][+-]?\d+)?|nan", re.IGNORECASE)
_COMPRESSED = (b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!")
_FORMATS = "CSV, JSON, Parquet or Feather"


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of a file before they are understood.

    `cells` has columns 0, 1, … and the number of each row (from 0) as index; `names` is empty for a file without a
    header. `first_line` is the line of row 0 in a text file, and 0 in other files.
    """

    path: Path
    format: str
    names: tuple[str, ...]
    cells: pd.DataFrame
    first_line: int = 0


def place_of_row(row: int, first_line: int) -> str:
    """Return the place of a row, from 0, in a file as text; `first_line` is that of its `Table`."""
    return f"line {row + first_line}" if first_line else f"row {row}"


def read_table(path: Path, separator: str | None = None) -> Table:
    """Read the table of a file; the content decides the format, not the name.

    Parameters
    ----------
    path : Path
    separator : str, optional
        One character, or a name of `SEPARATORS`; by default it is recognized.

    Raises
    ------
    DataError
        If the file can not be read, or holds no table.
    ConfigError
        If the separator is longer than one character.

    """
    opened, suffix = _unpacked(path)
    with opened() as file:
        head = file.read(_HEAD_BYTES)
    if head[:4] == b"PAR1":
        return _from_frame(path, "Parquet", _columnar(path, opened, "Parquet"))
    if head[:6] == b"ARROW1" or head[:4] == b"FEA1":
        return _from_frame(path, "Feather", _columnar(path, opened, "Feather"))
    if suffix in {".parquet", ".pq", ".feather"}:
        named = "Feather" if suffix == ".feather" else "Parquet"
        raise DataError(f"{path}: this is not a {named} file despite its name. Give {_FORMATS}.")
    opened = _as_utf8(path, opened)
    with opened() as file:
        head = file.read(_HEAD_BYTES)
        if head.lstrip()[:1] in {b"[", b"{"}:
            return _from_frame(path, "JSON", _json_frame(path, head + file.read()))
    return _read_csv(path, opened, head, _separator(separator))


def _unpacked(path: Path) -> tuple[_Opened, str]:
    """Return how to open a file without its compression, and the suffix of what was compressed."""
    if not os.path.exists(path):  # False for a name that is too long, too
        raise DataError(f"{shortened(str(path))}: there is no such file. Check the path.")
    if path.is_dir():
        raise DataError(f"{path}: this is a folder. Name one file of bars.")
    opened: _Opened = partial(open_binary, path)
    name, is_empty = path.name, True
    try:
        with opened() as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror}).") from None
    try:
        if head[:2] == b"\x1f\x8b":
            opened, name = partial(gzip.open, path), name.removesuffix(".gz")
        elif head[:2] == b"PK":
            opened, name = _zipped(path)
        with opened() as file:
            head = file.read(_HEAD_BYTES)
            for block in chain((head,), _blocks(file)):
                is_empty = is_empty and not block.strip()
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{path}: could not be unpacked ({excerpt(error)}). Unpack it first.") from None
    if head.startswith(_COMPRESSED):
        raise DataError(f"{path}: this compression can not be read. Unpack the file, or compress it with gzip or zip.")
    if is_empty:
        raise DataError(f"{path}: the file is empty. Give {_FORMATS} with at least one bar.")
    return opened, Path(name).suffix.lower()


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(partial(file.read, _HEAD_BYTES), b"")


def _zipped(path: Path) -> tuple[_Opened, str]:
    with zipfile.ZipFile(path) as archive:
        every = archive.namelist()
    if "[Content_Types].xml" in every:
        raise DataError(f"{path}: this is an Excel workbook. Save its sheet as CSV (UTF-8) first.")
    names = [name for name in every if not name.endswith("/") and not re.search(r"(^|/)(\.|__MACOSX/)", name)]
    if len(names) != 1:
        listed = f" ({excerpt(', '.join(names))})" if names else ""
        raise DataError(f"{path}: the zip file holds {len(names)} files{listed}. Unpack it and import one file.")
    return lambda: zipfile.ZipFile(path).open(names[0]), names[0]


def _as_utf8(path: Path, opened: _Opened) -> _Opened:
    """Return how to open a text in UTF-8 without a byte order mark; DataError when it is none."""
    decoder, is_text = codecs.getincrementaldecoder("utf-8")(), True
    with opened() as file:
        mark = file.read(len(codecs.BOM_UTF8))
        try:
            if mark[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
                text = (mark + file.read()).decode("utf-16")
                return _as_utf8(path, partial(io.BytesIO, text.encode() if text[:80].isascii() else b"\0"))
            for block in chain((mark,), _blocks(file)):
                decoder.decode(block)
                is_text = is_text and b"\0" not in block
            decoder.decode(b"", final=True)
        except UnicodeError:
            is_text = False
    if not is_text:
        raise DataError(f"{path}: this is neither UTF-8 text nor Parquet. Export it as {_FORMATS}.")
    return partial(_skipped, opened, len(mark)) if mark == codecs.BOM_UTF8 else opened


def _skipped(opened: _Opened, n_bytes: int) -> IO[bytes]:
    file: IO[bytes] = opened()
    file.read(n_bytes)
    return file


def _columnar(path: Path, opened: _Opened, kind: str) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.feather as pf
    import pyarrow.parquet as pq

    try:
        with opened() as file:
            source = file if file.seekable() else io.BytesIO(file.read())
            table = pq.read_table(source, pre_buffer=False) if kind == "Parquet" else pf.read_table(source)
            frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
        del table
        pa.default_memory_pool().release_unused()
        return frame
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: could not be read as {kind} ({excerpt(error, 120)}). Export it again.") from None


def _from_frame(path: Path, kind: str, frame: pd.DataFrame) -> Table:
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.set_axis(frame.index.rename(frame.index.name or ""), axis=0).reset_index()
    if all(isinstance(name, int) for name in frame.columns):
        names: tuple[str, ...] = ()
    elif frame.columns.nlevels > 1:
        levels = [[str(part) for part in level] for level in zip(*frame.columns, strict=True)]
        names = (levels[0][0], *_joined(levels)[1:])
    else:
        names = tuple(map(str, frame.columns))
    cells = frame.set_axis(range(frame.shape[1]), axis=1).reset_index(drop=True)
    return Table(path, kind, names, cells)


def _json_frame(path: Path, content: bytes) -> pd.DataFrame:
    try:
        value = json.loads(content)
    except RecursionError:
        raise DataError(f"{path}: the JSON is nested too deep for bars.") from None
    except ValueError as error:
        where = f"line {error.lineno}, column {error.colno}: " if isinstance(error, json.JSONDecodeError) else ""
        why = excerpt(getattr(error, "msg", error))
        raise DataError(f"{path}: could not be read as JSON ({where}{why}). Export it again.") from None
    found = _json_tables(value)
    if len(found) != 1:
        raise DataError(
            f"{path}: the JSON holds {len(found)} lists of bars. Give one list of bars, each a list or an object."
        )
    return found[0]


def _json_tables(value: Any) -> list[pd.DataFrame]:
    """Return every table in a JSON value: a list of lists or of objects, an object of columns, or one within."""
    if isinstance(value, list):
        kinds = {type(row) for row in value}
        if kinds == {list}:
            width = max(map(len, value))
            return [pd.DataFrame([row + [None] * (width - len(row)) for row in value])]
        return [pd.DataFrame(value)] if kinds == {dict} else []
    if not isinstance(value, dict):
        return []
    if {"columns", "data"} <= value.keys() and isinstance(value["columns"], list):
        rows, index = value["data"], value.get("index")
        is_table = isinstance(rows, list) and all(isinstance(row, list) for row in rows)
        if is_table and all(len(row) == len(value["columns"]) for row in rows):
            is_indexed = isinstance(index, list) and len(index) == len(rows)
            return [pd.DataFrame(rows, columns=list(map(str, value["columns"])), index=index if is_indexed else None)]
    columns = {name: part for name, part in value.items() if isinstance(part, list | dict) and _is_flat(part)}
    if len(columns) >= _MIN_COLUMNS and len({len(part) for part in columns.values()}) == 1:
        frame = pd.DataFrame(columns)
        return [frame.reset_index(drop=True) if isinstance(next(iter(columns.values())), list) else frame]
    return [table for part in value.values() for table in _json_tables(part)]


def _is_flat(part: list[Any] | dict[str, Any]) -> bool:
    cells = part if isinstance(part, list) else part.values()
    return not any(isinstance(cell, list | dict) for cell in cells)


def _separator(given: str | None) -> str | None:
    if given is None:
        return None
    separator = SEPARATORS.get(given, "\t" if given == "\\t" else given)
    if len(separator) != 1:
        raise ConfigError(f"--sep was {excerpt(given)!r}: give one character, or {', '.join(SEPARATORS)}.")
    return separator


def _read_csv(path: Path, opened: _Opened, head: bytes, separator: str | None) -> Table:
    lines = head.decode(errors="ignore").splitlines()
    candidates = [separator] if separator else list(SEPARATORS.values())
    start, found = next(
        (
            (line, candidate)
            for line, text in enumerate(lines[:_MOST_LINES_ABOVE])
            for candidate in candidates
            if len(_cells(text, candidate)) >= _MIN_COLUMNS
        ),
        (None, ""),
    )
    if start is None:
        shown = excerpt(next(line for line in lines if line.strip()))
        raise DataError(
            f"{path}: no row of time, open, high, low, close, volume; the file begins {shown!r}. "
            "Give comma-, semicolon-, tab- or pipe-separated bars, or pass --sep."
        )
    header = _cells(lines[start], found)
    is_headed = sum(_NUMBER.fullmatch(cell) is not None for cell in header) < _MIN_COLUMNS - 1
    first = start + is_headed
    n_columns = len(header)
    if is_headed and len(lines) > first:
        below = _cells(lines[first], found)
        if any(below[n_columns:]):
            raise DataError(
                f"{path}, line {first + 1}: {len(below)} cells under a header of {n_columns}. Fix that line."
            )
        n_columns = max(n_columns, len(below))
    cells = _parse_csv(path, opened, found, first, n_columns)
    said = next((name for name, each in SEPARATORS.items() if each == found), repr(found))
    names: tuple[str, ...] = ()
    if is_headed:
        levels = [header + [""] * (n_columns - len(header))]
        while len(levels) < _MOST_HEADER_ROWS and _is_header_row(cells, levels[0]):
            levels.append(["" if pd.isna(cell) else str(cell).strip() for cell in cells.iloc[0]])
            cells = cells.iloc[1:]
        names = _joined(levels)
        is_text = not pd.api.types.is_numeric_dtype(cells[0].dtype)
        repeated = (cells[0].str.strip() == levels[0][0]) & (cells[0] != "") if is_text else np.zeros(1, dtype=bool)
        if repeated.any():
            same = cells[repeated].apply(lambda row: [str(cell).strip() for cell in row] == levels[0], axis=1)
            cells = cells.drop(index=same.index[same])
    return Table(path, f"CSV with the separator {said}", names, cells, first + 1)


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]


def _parse_csv(path: Path, opened: _Opened, separator: str, n_skipped: int, n_columns: int) -> pd.DataFrame:
    def chunks(places: list[int] | None) -> Iterator[pd.DataFrame]:
        with opened() as file, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield from pd.read_csv(
                file,
                sep=separator,
                skiprows=n_skipped,
                header=None,
                names=range(n_columns),
                usecols=places,
                dtype=str,
                skip_blank_lines=False,
                index_col=False,
                on_bad_lines="error",
                chunksize=_ROWS_PER_CHUNK,
            )

    try:
        cells = _joined_chunks(chunks, n_columns)
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError) as error:
        why = excerpt(str(error).removeprefix("Error tokenizing data. C error: "), 120)
        raise DataError(f"{path}: could not be read as CSV ({why}). Fix that line.") from None
    blank = cells.isna().all(axis=1).to_numpy()
    return cells.iloc[: len(cells) - int(np.cumprod(blank[::-1]).sum())]


def _joined_chunks(chunks: Callable[[list[int] | None], Iterator[pd.DataFrame]], n_columns: int) -> pd.DataFrame:
    """Return all chunks as one table; if there are several, a column of which every cell is a number is numbers.

    A column that starts with numbers and goes on with other text is read a second time. `chunks` returns those of some
    columns; for None, those of all columns, and a row with more cells is an error.
    """
    places = range(n_columns)
    read = chunks(None)
    first, second = next(read, pd.DataFrame(columns=places, dtype=str)), next(read, None)
    if second is None:
        return first
    parts: dict[int, list[Any]] = {place: [] for place in places}
    texts = {place for place in places if _numbers(first[place]) is None}
    later: set[int] = set()
    for chunk in chain((first, second), read):
        for place in places:
            part = chunk[place] if place in texts else _numbers(chunk[place])
            parts[place].append(part)
            if part is None:
                later.add(place)
    for place in later:
        parts[place].clear()
    for chunk in chunks(sorted(later)) if later else ():
        for place in later:
            parts[place].append(chunk[place])
    columns: dict[int, Any] = {}
    for place in places:
        is_text = place in texts | later
        columns[place] = pd.concat(parts[place], ignore_index=True) if is_text else np.concatenate(parts[place])
        parts[place].clear()
    return pd.DataFrame(columns, copy=False)


def _numbers(column: pd.Series[Any]) -> NDArray[Any] | None:
    """Return a column of text as numbers; None if a cell is not one, or a zero before its digits could matter."""
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.isna().sum() > column.isna().sum():
        return None
    if numbers.dtype.kind == "i" and column.str.match(r"\s*0\d").any():
        return None
    return numbers.to_numpy() if numbers.dtype.kind in "if" else None


def _is_header_row(cells: pd.DataFrame, header: list[str]) -> bool:
    """Return whether the first row continues a header of several levels, as yfinance writes it."""
    if not len(cells):
        return False
    first, *others = ("" if pd.isna(cell) else str(cell).strip() for cell in cells.iloc[0])
    if any(letter.isdigit() for letter in first) or any(_NUMBER.fullmatch(cell) for cell in others):
        return False
    return len(set(others)) == 1 or len(set(header[1:])) < len(header[1:])


def _joined(levels: list[list[str]]) -> tuple[str, ...]:
    """Return the names of columns of a header of several levels: the levels that differ between columns, joined.

    A last level without names is that of the index; its only cell names the first column.
    """
    if len(levels) == 1:
        return tuple(levels[0])
    index = ""
    if len(levels[-1]) > 1 and not any(levels[-1][1:]):
        index = levels.pop()[0]
    telling = [level[1:] for level in levels if len(set(level[1:])) > 1]
    return (index, *(" ".join(filter(None, parts)) for parts in zip(*telling, strict=True)))
