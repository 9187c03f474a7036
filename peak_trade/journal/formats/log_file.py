"""A file of an external log: its kind by its content, its columns, and its rows one by one.

Tables of text are read with a comma, semicolon, tab or bar between the cells, in UTF-8 or UTF-16, with or without a
byte-order mark. Only few rows at a time are in memory, except of a JSON object and of an archive.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO, TypeVar

from peak_trade.core.digest import digest_chunks
from peak_trade.core.errors import ConfigError, did_you_mean, excerpt
from peak_trade.core.files import open_binary
from peak_trade.journal.log_times import TimeFormat

E = TypeVar("E", bound=StrEnum)
_LARGEST = 1e15
"""Largest number of a log: above it, neighbouring floats are further apart than 0.1."""

_CHUNK = 1 << 20
_SAMPLE = 200
"""Rows that decide whether a comma is a decimal comma."""
_DECIMAL_COMMA = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+")
_THOUSANDS = {
    ".": re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?"),
    ",": re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+(?:,\d*)?"),
}
_AMOUNT = re.compile(r"([+-]?[\d.,]+(?:[eE][+-]?\d+)?)\s*([A-Za-z0-9._-]*)")
_PREAMBLE = re.compile(r"(?:sep=|UID:)", re.IGNORECASE)


class FileKind(StrEnum):
    """Kind of a file by its content."""

    TABLE = "table of text"
    JSON = "JSON"
    SQLITE = "SQLite database"
    ZIP = "zip archive"
    PARQUET = "Parquet table"


class Row:
    """A row of a log: its number, counted from 1 without the header, and its cells by column.

    A cell that is not what is asked for is a ValueError that names the column.
    """

    __slots__ = ("cells", "decimal", "fault", "number")

    def __init__(self, number: int, cells: Mapping[str, Any], decimal: str = ".", fault: str = "") -> None:
        self.number, self.cells, self.decimal, self.fault = number, cells, decimal, fault

    def text(self, column: str) -> str:
        """Return a cell as text without blanks around it; empty without the column or a value."""
        if self.fault:
            raise ValueError(self.fault)
        value = self.cells.get(column)
        return "" if value is None else str(value).strip()

    def has(self, column: str) -> bool:
        """Return whether a cell has a value."""
        return self.text(column) not in ("", "nan", "None", "NaN")

    def signed(self, column: str) -> float:
        """Return a cell as a number with its sign."""
        value = self.cells.get(column)
        try:
            number = float(value) if type(value) in (int, float) else self._parse(self.text(column))  # type: ignore[arg-type]
            if not abs(number) < _LARGEST:
                raise ValueError(f"{excerpt(value)} is not finite, or too large")
        except (ValueError, OverflowError) as error:
            raise ValueError(f"column {column}: {error}") from None
        return number

    def unsigned(self, column: str) -> float:
        """Return a cell as a number that is not negative."""
        number = self.signed(column)
        if number < 0.0:
            raise ValueError(f"column {column}: {excerpt(self.cells.get(column))} is negative")
        return number

    def optional(self, column: str) -> float | None:
        """Return a cell as a number that is not negative, None without a value."""
        return self.unsigned(column) if self.has(column) else None

    def amount(self, column: str, units: Iterable[str] = ()) -> tuple[float, str]:
        """Return a cell as a number and the unit behind it, empty without one; `units` are tried first."""
        text = self.text(column).upper()
        unit = next((each for each in units if each and text.endswith(each)), "")
        match = _AMOUNT.fullmatch(text.removesuffix(unit) + f" {unit}" if unit else text)
        try:
            if match is None:
                raise ValueError(f"{excerpt(text)!r} is not an amount")
            number = self._parse(match[1])
            if not 0.0 <= number < _LARGEST:
                raise ValueError(f"{excerpt(text)!r} is negative, not finite, or too large")
        except ValueError as error:
            raise ValueError(f"column {column}: {error}") from None
        return number, match[2]

    def time(self, column: str, times: TimeFormat) -> int:
        """Return a cell as a time, ns UTC."""
        try:
            return times.read(self.text(column))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"column {column}: {error}") from None

    def member(self, column: str, members: type[E] | Mapping[str, E]) -> E:
        """Return the member of an enumeration that a cell names in any case, or that a mapping has for it."""
        text = re.sub("[ -]", "_", self.text(column).lower())
        try:
            return members[text] if isinstance(members, Mapping) else members(text)
        except (KeyError, ValueError):
            raise ValueError(f"column {column}: {excerpt(self.text(column))!r} is not known") from None

    def _parse(self, text: str) -> float:
        if "," in text or self.decimal == ",":
            if _THOUSANDS[self.decimal].fullmatch(text):
                text = text.replace("," if self.decimal == "." else ".", "")
            if self.decimal == ",":
                text = text.replace(",", ".")
        try:
            if "_" in text:
                raise ValueError
            return float(text)
        except ValueError:
            raise ValueError(f"{text!r:.40} is not a number") from None


class LogFile:
    """A file of an external log.

    Raises
    ------
    ConfigError
        When the file can not be read, is empty, or ends in the middle of a value; so do the methods.

    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        with self._explained(), open_binary(path) as file:
            head = file.read(4096)
        if not head.strip(b"\xef\xbb\xbf \t\r\n\0"):
            raise ConfigError(f"{path}: the file is empty.")
        self.encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        self.kind = self._kind_of(head)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns of a table, keys of the first record or of the object of a JSON file; empty for other kinds."""
        if self.kind is FileKind.TABLE:
            with self._text() as file:
                return self._header(file)[0]
        if self.kind is FileKind.JSON:
            first: Any = next(self._items(), (0, {}))[1]
            return tuple(first) if isinstance(first, dict) else ()
        if self.kind is FileKind.PARQUET:
            with self._explained():
                import pyarrow.parquet as pq

                return tuple(pq.ParquetFile(self.path).schema_arrow.names)
        return ()

    @cached_property
    def tables(self) -> dict[str, tuple[str, ...]]:
        """Columns of each table of an SQLite database."""
        if self.kind is not FileKind.SQLITE:
            return {}
        names = [row.text("name") for row in self.query("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: tuple(row.text("name") for row in self.query("SELECT name FROM pragma_table_info(?)", name))
            for name in names
        }

    def digest(self) -> str:
        """Return the SHA-256 of the content; that of a database includes its write-ahead log."""
        with self._explained():
            return digest_chunks(self._chunks())

    def require(self, columns: Iterable[str], where: str = "") -> None:
        """Raise a ConfigError that names the first of the columns that is missing."""
        held = self.tables.get(where, ()) if where else self.columns
        for name in columns:
            if name not in held:
                place = f"{self.path}: table {where}" if where else f"{self.path}"
                raise ConfigError(f"{place}: column {name} is missing. {did_you_mean(name, held)}")

    def rows(self) -> Iterator[Row]:
        """Yield the rows of a table, or the items of a list in JSON."""
        if self.kind is FileKind.TABLE:
            yield from self._table_rows()
        elif self.kind is FileKind.JSON:
            for number, item in self._items():
                fault = "" if isinstance(item, dict) else f"{excerpt(item)} is not a record"
                yield Row(number, {} if fault else item, fault=fault)
        else:
            yield from self._parquet_rows()

    def query(self, sql: str, *values: object) -> Iterator[Row]:
        """Yield the rows of a query on an SQLite database, which is opened for reading only."""
        with self._explained(), closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)) as base:
            found = base.execute(sql, values)
            names = [part[0] for part in found.description]
            for number, cells in enumerate(found, start=1):
                yield Row(number, dict(zip(names, cells, strict=True)))

    def document(self) -> Any:
        """Return the whole content of a JSON file."""
        with self._explained(), self._text() as file:
            return json.load(file)

    def members(self) -> list[str]:
        """Return the names of the files of a zip archive."""
        with self._explained(), zipfile.ZipFile(self.path) as archive:
            return archive.namelist()

    def member_document(self, name: str) -> Any:
        """Return the whole content of a JSON file of a zip archive."""
        with self._explained(), zipfile.ZipFile(self.path) as archive:
            return json.loads(archive.read(name))

    def _kind_of(self, head: bytes) -> FileKind:
        for magic, kind in (
            (b"SQLite format 3\0", FileKind.SQLITE),
            (b"PK\3\4", FileKind.ZIP),
            (b"PAR1", FileKind.PARQUET),
        ):
            if head.startswith(magic):
                return kind
        text = head.decode(self.encoding, errors="replace").lstrip()
        return FileKind.JSON if text[:1] in ("[", "{") else FileKind.TABLE

    def _chunks(self) -> Iterator[bytes]:
        write_ahead = self.path.with_name(f"{self.name}-wal")
        is_open = self.kind is FileKind.SQLITE and write_ahead.exists()
        for path in (self.path, write_ahead) if is_open else (self.path,):
            with open_binary(path) as file:
                yield from iter(lambda file=file: file.read(_CHUNK), b"")  # type: ignore[misc]

    @contextmanager
    def _text(self) -> Iterator[TextIO]:
        with self._explained(), open_binary(self.path) as file:
            yield io.TextIOWrapper(file, encoding=self.encoding, newline="")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or "it is damaged"
        except UnicodeDecodeError:
            reason = f"{self._undecoded()} is not {self.encoding.removesuffix('-sig').upper()} text; save it as UTF-8"
        except (sqlite3.Error, zipfile.BadZipFile, json.JSONDecodeError, KeyError, EOFError, csv.Error) as error:
            reason = f"it is damaged: {str(error).splitlines()[0]}"
        except ValueError as error:
            reason = str(error).splitlines()[0]
        else:
            return
        raise ConfigError(f"{self.path}: could not be read ({reason}).") from None

    def _undecoded(self) -> str:
        """Return the place of the first text that is not in the encoding."""
        with open_binary(self.path) as file:
            for number, line in enumerate(file if self.encoding == "utf-8-sig" else ()):
                try:
                    line.decode()
                except UnicodeDecodeError:
                    return f"row {number}" if number else "the header"
        return "a part of it"

    def _header(self, file: TextIO) -> tuple[tuple[str, ...], str]:
        line = file.readline()
        while line and (not line.strip() or _PREAMBLE.match(line.strip().strip('"'))):
            line = file.readline()
        outside = re.sub(r'"[^"]*"', "", line)
        delimiter = max(",;\t|", key=outside.count)
        names: list[str] = []
        for cell in next(csv.reader([line], delimiter=delimiter), []):
            name = cell.strip()
            names.append(f"{name} {names.count(name) + 1}" if name in names else name)
        return tuple(names), delimiter

    def _table_rows(self) -> Iterator[Row]:
        decimal = self._decimal()
        with self._text() as file:
            columns, delimiter = self._header(file)
            number = 0
            try:
                for cells in csv.reader(file, delimiter=delimiter, strict=True):
                    if not any(cells):
                        continue
                    number += 1
                    extra = any(cell.strip() for cell in cells[len(columns) :])
                    is_whole = len(cells) >= len(columns) and not extra
                    fault = "" if is_whole else f"it has {len(cells)} cells, the header has {len(columns)}"
                    yield Row(number, dict(zip(columns, cells, strict=False)), decimal, fault)
            except csv.Error as error:
                raise ConfigError(f"{self.path}: row {number + 1} could not be read ({error}).") from None

    def _decimal(self) -> str:
        with self._text() as file:
            _, delimiter = self._header(file)
            if delimiter == ",":
                return "."
            sample = (file.readline() for _ in range(_SAMPLE))
            cells = (cell.strip() for row in csv.reader(sample, delimiter=delimiter) for cell in row)
            return "," if any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells) else "."

    def _items(self) -> Iterator[tuple[int, Any]]:
        """Yield the items of a list in JSON one by one, the items of JSON lines, or one object."""
        decode = json.JSONDecoder().raw_decode
        with self._text() as file:
            text, place, number, is_end = file.read(_CHUNK).lstrip(), 0, 0, False
            is_list = text.startswith("[")
            place = int(is_list)
            while True:
                match = _BETWEEN.match(text, place)
                place = match.end() if match else place
                if place < len(text) and text[place] == "]" and is_list:
                    return
                try:
                    if place >= len(text):
                        raise json.JSONDecodeError("the file ends", text, place)
                    item, end = decode(text, place)
                    if end >= len(text) - 1 and not is_end and not isinstance(item, dict | list):
                        raise json.JSONDecodeError("a value may go on", text, place)
                except json.JSONDecodeError:
                    more = file.read(max(_CHUNK, len(text) - place))
                    if more:
                        text, place = text[place:] + more, 0
                        continue
                    if place >= len(text) and not is_list:
                        return
                    raise ConfigError(
                        f"{self.path}: the JSON is damaged or cut off in row {number + 1}: "
                        f"{excerpt(text[place : place + 40]) or 'the file ends'}."
                    ) from None
                number, place = number + 1, end
                yield number, item

    def _parquet_rows(self) -> Iterator[Row]:
        with self._explained():
            import pyarrow.parquet as pq

            number = 0
            for batch in pq.ParquetFile(self.path).iter_batches(batch_size=10_000):
                for cells in batch.to_pylist():
                    number += 1
                    yield Row(number, cells)


_BETWEEN = re.compile(r"[\s,]*")
