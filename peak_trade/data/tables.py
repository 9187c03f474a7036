"""Tables of bars in files: CSV, JSON, Parquet and Feather, plain or in a gzip or zip file."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.errors import ConfigError, DataError, excerpt

SEPARATORS = {"tab": "\t", "pipe": "|", "semicolon": ";", "comma": ","}
"""Separators of CSV by name, in the order in which they are tried: decimal commas never separate the cells of a row."""
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

    def place(self, row: int) -> str:
        """Return the place in the file of a row, counted from 0 in the file, as text."""
        return f"line {row + self.first_line}" if self.first_line else f"row {row}"


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
    content, suffix = _read(path)
    if content[:4] == b"PAR1":
        return _from_frame(path, "Parquet", _columnar(path, content, "Parquet"))
    if content[:6] == b"ARROW1" or content[:4] == b"FEA1":
        return _from_frame(path, "Feather", _columnar(path, content, "Feather"))
    if suffix in {".parquet", ".pq", ".feather"}:
        named = "Feather" if suffix == ".feather" else "Parquet"
        raise DataError(f"{path}: this is not a {named} file despite its name. Give {_FORMATS}.")
    content = _as_utf8(path, content)
    if content.lstrip()[:1] in {b"[", b"{"}:
        return _from_frame(path, "JSON", _json_frame(path, content))
    return _read_csv(path, content, _separator(separator))


def _read(path: Path) -> tuple[bytes, str]:
    """Return the content of a file without its compression, and the suffix of what was compressed."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file. Check the path.")
    if path.is_dir():
        raise DataError(f"{path}: this is a folder. Name one file of bars.")
    try:
        content, name = path.read_bytes(), path.name
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror}).") from None
    try:
        if content[:2] == b"\x1f\x8b":
            content, name = gzip.decompress(content), name.removesuffix(".gz")
        elif content[:2] == b"PK":
            content, name = _zipped(path, content)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{path}: could not be unpacked ({excerpt(error)}). Unpack it first.") from None
    if content.startswith(_COMPRESSED):
        raise DataError(f"{path}: this compression can not be read. Unpack the file, or compress it with gzip or zip.")
    if not content.strip():
        raise DataError(f"{path}: the file is empty. Give {_FORMATS} with at least one bar.")
    return content, Path(name).suffix.lower()


def _zipped(path: Path, content: bytes) -> tuple[bytes, str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        every = archive.namelist()
        if "[Content_Types].xml" in every:
            raise DataError(f"{path}: this is an Excel workbook. Save its sheet as CSV (UTF-8) first.")
        names = [name for name in every if not name.endswith("/") and not re.search(r"(^|/)(\.|__MACOSX/)", name)]
        if len(names) != 1:
            listed = f" ({excerpt(', '.join(names))})" if names else ""
            raise DataError(f"{path}: the zip file holds {len(names)} files{listed}. Unpack it and import one file.")
        return archive.read(names[0]), names[0]


def _as_utf8(path: Path, content: bytes) -> bytes:
    try:
        if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
            text = content.decode("utf-16")
            content = text.encode() if text[:80].isascii() else b"\0"
        content = content.removeprefix(b"\xef\xbb\xbf")
        content.decode()
        is_text = b"\0" not in content
    except UnicodeError:
        is_text = False
    if not is_text:
        raise DataError(f"{path}: this is neither UTF-8 text nor Parquet. Export it as {_FORMATS}.")
    return content


def _columnar(path: Path, content: bytes, kind: str) -> pd.DataFrame:
    import pyarrow as pa

    read = pd.read_parquet if kind == "Parquet" else pd.read_feather
    try:
        return read(io.BytesIO(content))
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


def _read_csv(path: Path, content: bytes, separator: str | None) -> Table:
    lines = content[:200_000].decode(errors="ignore").splitlines()
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
    cells = _parse_csv(path, content, found, first, n_columns)
    said = next((name for name, each in SEPARATORS.items() if each == found), repr(found))
    names: tuple[str, ...] = ()
    if is_headed:
        levels = [header + [""] * (n_columns - len(header))]
        while len(levels) < _MOST_HEADER_ROWS and _is_header_row(cells, levels[0]):
            levels.append(["" if pd.isna(cell) else str(cell).strip() for cell in cells.iloc[0]])
            cells = cells.iloc[1:]
        names = _joined(levels)
        repeated = (cells[0].str.strip() == levels[0][0]) & (cells[0] != "")
        if repeated.any():
            same = cells[repeated].apply(lambda row: [str(cell).strip() for cell in row] == levels[0], axis=1)
            cells = cells.drop(index=same.index[same])
    return Table(path, f"CSV with the separator {said}", names, cells, first + 1)


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]


def _parse_csv(path: Path, content: bytes, separator: str, n_skipped: int, n_columns: int) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            cells = pd.read_csv(
                io.BytesIO(content),
                sep=separator,
                skiprows=n_skipped,
                header=None,
                names=range(n_columns),
                dtype=str,
                skip_blank_lines=False,
                index_col=False,
                on_bad_lines="error",
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError) as error:
        why = excerpt(str(error).removeprefix("Error tokenizing data. C error: "), 120)
        raise DataError(f"{path}: could not be read as CSV ({why}). Fix that line.") from None
    blank = cells.isna().all(axis=1).to_numpy()
    return cells.iloc[: len(cells) - int(np.cumprod(blank[::-1]).sum())]


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
