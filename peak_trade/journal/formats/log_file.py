"""A file of an external log: its kind by its content, its columns, and its rows one by one.

Tables of text are read with a comma, semicolon, tab or bar between the cells, in UTF-8 or UTF-16, with or without a
byte-order mark. Tables and JSON may be compressed with gzip, or be the only file of a zip archive. Only few rows at a
time are in memory, except of a JSON object and of an archive of several files.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from peak_trade.core.digest import digest_chunks
from peak_trade.core.errors import ConfigError, did_you_mean, excerpt
from peak_trade.core.files import open_binary
from peak_trade.core.progress import OnProgress
from peak_trade.journal.formats.log_row import GAPS, GROUPED, Row

_CHUNK = 1 << 20
_MEGABYTE = 1_000_000
_SAMPLE = 200
"""Rows that decide whether a comma is a decimal comma."""
_FRACTION = {
    mark: re.compile(rf"[+-]?(?:\d+|\d{{1,3}}(?:[{other}{GAPS}]\d{{3}})+)[{mark}]\d+\s*[A-Za-z]*")
    for mark, other in ((".", ","), (",", "."))
}
"""Numbers with a decimal point, and with a decimal comma."""

_PREAMBLE = re.compile(r"(?:sep=|UID:|#)", re.IGNORECASE)
_DELIMITERS = ",;\t|"
_LONGEST_PREAMBLE = 10
"""Most lines above a header that have no delimiter."""

_OTHER_FILES = (
    (b"%PDF", "a PDF document"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file"),
    (b"\x89PNG", "a picture"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"Rar!", "an archive"),
    (b"7z\xbc\xaf", "an archive"),
)
"""Beginnings of files that hold no log, and what such a file is."""
_TAR = slice(257, 262)
_GZIP = b"\x1f\x8b"
_WORKBOOK = "xl/workbook.xml"


class FileKind(StrEnum):
    """Kind of a file by its content."""

    TABLE = "table of text"
    JSON = "JSON"
    SQLITE = "SQLite database"
    ZIP = "zip archive"
    PARQUET = "Parquet table"


class Signature(NamedTuple):
    """What a layout of files is recognised by: their kind, and the columns of one of its versions."""

    kind: FileKind
    versions: tuple[frozenset[str], ...]

    def fits(self, file: LogFile) -> bool:
        """Return whether a file has all columns of a version."""
        return file.kind is self.kind and any(each <= set(file.columns) for each in self.versions)

    def missing(self, file: LogFile) -> frozenset[str] | None:
        """Return the columns that a file lacks of the version of which it has most; None if it has less than half."""
        held = set(file.columns) if file.kind is self.kind else set()
        nearest = min(self.versions, key=lambda each: len(each - held) / len(each))
        return nearest - held if 2 * len(nearest & held) >= len(nearest) else None


def signature(kind: FileKind, *versions: Iterable[str]) -> Signature:
    """Return the signature of a layout with one or more versions of its columns."""
    return Signature(kind, tuple(map(frozenset, versions)))


class LogFile:
    """A file of an external log.

    Raises
    ------
    ConfigError
        When the file can not be read, is empty, or ends in the middle of a value; so do the methods.

    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        self.on_progress: OnProgress = lambda done, total: None
        """Called every 1,000 rows of a text with the MB of the file that are read, and all of them."""

        self.encoding, self._member, self._is_gzip, self._is_checked = "utf-8-sig", "", False, False
        self._source: BinaryIO | None = None
        with self._explained():
            with open_binary(path) as file:
                head = file.read(4096)
            self._is_gzip = head.startswith(_GZIP)
            self._member = self._only_member() if head.startswith(b"PK\3\4") else ""
            if self._is_gzip or self._member:
                with self._opened() as file:
                    head = file.read(4096)
        if not head.strip(b"\xef\xbb\xbf \t\r\n\0"):
            raise ConfigError(f"{path}: the file is empty.")
        self.encoding = _encoding_of(head)
        self.kind = self._kind_of(head)
        if self.kind not in (FileKind.TABLE, FileKind.JSON) and (self._is_gzip or self._member):
            raise ConfigError(f"{path}: it is a compressed {self.kind}. Unpack it, and import the unpacked file.")

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
        if self.kind is FileKind.PARQUET:
            yield from self._parquet_rows()
            return
        n_megabytes = -(-self.path.stat().st_size // _MEGABYTE)
        for row in self._table_rows() if self.kind is FileKind.TABLE else self._item_rows():
            if row.number % 1_000 == 0 and self._source is not None and not self._source.closed:
                self.on_progress(self._source.tell() // _MEGABYTE, n_megabytes)
            yield row

    def query(self, sql: str, *values: object) -> Iterator[Row]:
        """Yield the rows of a query on an SQLite database, which is opened for reading only."""
        with self._explained(), closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)) as base:
            self._check_database(base)
            found = base.execute(sql, values)
            names = [part[0] for part in found.description]
            for number, cells in enumerate(found, start=1):
                yield Row(number, dict(zip(names, cells, strict=True)))

    def _check_database(self, base: sqlite3.Connection) -> None:
        if not self._is_checked:
            (verdict,) = base.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict.splitlines()[-1])
            self._is_checked = True

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
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        other = next((what for magic, what in _OTHER_FILES if start.startswith(magic.lower())), "")
        other = "an archive" if head[_TAR] == b"ustar" else other
        if other:
            remedy = "Unpack it, and import its files." if other == "an archive" else "Save its table as CSV."
            raise ConfigError(f"{self.path}: it is {other}, not a log. {remedy}")
        text = head.decode(self.encoding, errors="replace").lstrip()
        return FileKind.JSON if _JSON.match(text) else FileKind.TABLE

    def _chunks(self) -> Iterator[bytes]:
        write_ahead = self.path.with_name(f"{self.name}-wal")
        is_open = self.kind is FileKind.SQLITE and write_ahead.exists()
        for path in (self.path, write_ahead) if is_open else (self.path,):
            with open_binary(path) as file:
                yield from iter(lambda file=file: file.read(_CHUNK), b"")  # type: ignore[misc]

    def _only_member(self) -> str:
        """Return the name of the only file of a zip archive; empty if it has several."""
        with zipfile.ZipFile(self.path) as archive:
            names = [each.filename for each in archive.infolist() if not each.is_dir()]
        if _WORKBOOK in names:
            raise ValueError("it is an Excel workbook; save its sheet as CSV")
        return names[0] if len(names) == 1 else ""

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """Open the content for reading: that of the file, decompressed, or of the only file of the archive."""
        with open_binary(self.path) as file:
            self._source = file
            if self._is_gzip:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    yield unpacked  # type: ignore[misc]
            elif self._member:
                with zipfile.ZipFile(file) as archive, archive.open(self._member) as unpacked:
                    yield unpacked  # type: ignore[misc]
            else:
                yield file

    @contextmanager
    def _text(self) -> Iterator[TextIO]:
        with self._explained(), self._opened() as file:
            yield io.TextIOWrapper(file, encoding=self.encoding, newline="")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or "it is damaged"
        except UnicodeDecodeError:
            reason = f"{self._undecoded()} is not {self.encoding.removesuffix('-sig').upper()} text; save it as UTF-8"
        except RuntimeError:
            reason = "it needs a password or has an unknown compression; unpack it"
        except (
            sqlite3.Error, zipfile.BadZipFile, zlib.error, json.JSONDecodeError, KeyError, EOFError, csv.Error
        ) as error:  # fmt: skip
            reason = f"it is damaged: {str(error).splitlines()[0]}"
        except ValueError as error:
            reason = str(error).splitlines()[0]
        else:
            return
        raise ConfigError(f"{self.path}: could not be read ({reason}).") from None

    def _undecoded(self) -> str:
        """Return the place of the first text that is not in the encoding."""
        with self._opened() as file:
            for number, line in enumerate(file if self.encoding == "utf-8-sig" else ()):
                try:
                    line.decode()
                except UnicodeDecodeError:
                    return f"row {number}" if number else "the header"
        return "a part of it"

    def _header(self, file: TextIO) -> tuple[tuple[str, ...], str]:
        line, n_lines = file.readline(), 0
        while line and (not line.strip() or _PREAMBLE.match(line.strip().strip('\ufeff"')) or not _has_cells(line)):
            line, n_lines = file.readline(), n_lines + bool(line.strip())
            if n_lines > _LONGEST_PREAMBLE:
                break
        outside = re.sub(r'"[^"]*"', "", line)
        delimiter = max(_DELIMITERS, key=outside.count)
        return _names_in(next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])), delimiter

    def _table_rows(self) -> Iterator[Row]:
        decimal = self._decimal()
        with self._text() as file:
            columns, delimiter = self._header(file)
            number, part = 0, 1
            try:
                for cells in csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True):
                    if not any(cells):
                        continue
                    number += 1
                    if columns[0] in cells[0] and _names_in(cells) == columns:
                        part += 1
                        continue
                    extra = any(cell.strip() for cell in cells[len(columns) :])
                    is_whole = len(cells) >= len(columns) and not extra
                    fault = "" if is_whole else f"it has {len(cells)} cells, the header has {len(columns)}"
                    yield Row(number, dict(zip(columns, cells, strict=False)), decimal, fault, part)
            except csv.Error as error:
                raise ConfigError(f"{self.path}: row {number + 1} could not be read ({error}).") from None

    def _decimal(self) -> str:
        """Return the decimal separator: a comma if numbers of the first rows have one, and none has a point."""
        with self._text() as file:
            _, delimiter = self._header(file)
            sample = (file.readline() for _ in range(_SAMPLE))
            rows = csv.reader(sample, delimiter=delimiter, skipinitialspace=True)
            cells = [cell.strip() for row in rows for cell in row]
        commas, points = (
            any(_FRACTION[mark].fullmatch(cell) and not GROUPED[other].fullmatch(cell) for cell in cells)
            for mark, other in ((",", "."), (".", ","))
        )
        return "," if commas and not points else "."

    def _item_rows(self) -> Iterator[Row]:
        for number, item in self._items():
            fault = "" if isinstance(item, dict) else f"{excerpt(item)} is not a record"
            yield Row(number, {} if fault else item, fault=fault)

    def _items(self) -> Iterator[tuple[int, Any]]:
        """Yield the items of a list in JSON one by one, those of JSON lines or of an answer, or one object."""
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
                place = end
                for part in (item,) if is_list else _unwrapped(item):
                    number += 1
                    yield number, part

    def _parquet_rows(self) -> Iterator[Row]:
        with self._explained():
            import pyarrow.parquet as pq

            number = 0
            for batch in pq.ParquetFile(self.path).iter_batches(batch_size=10_000):
                for cells in batch.to_pylist():
                    number += 1
                    yield Row(number, cells)


_BETWEEN = re.compile(r"[\s,]*")
_JSON = re.compile(r"\{|\[[\s\[]*(?:[]{\"\d-]|true|false|null|$)")
"""Beginning of JSON, which that of a TOML file with a table such as [costs] is not."""
_WRAPPERS = ("result", "data", "list")
"""Keys under which answers of exchanges have their items."""


def _unwrapped(item: Any) -> Iterator[Any]:
    """Yield the items of an answer that has them in a list under one of its keys, or else the answer itself."""
    inner = next((item[key] for key in _WRAPPERS if item.get(key)), None) if isinstance(item, dict) else None
    if isinstance(inner, list):
        yield from inner
    elif isinstance(inner, dict):
        yield from _unwrapped(inner)
    else:
        yield item


def _encoding_of(head: bytes) -> str:
    """Return the encoding of text: UTF-8, or UTF-16 by its mark or by the zero bytes of its characters."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    pairs = len(head) // 2
    if pairs and head[1::2].count(0) > 0.4 * pairs > 4 * head[::2].count(0):
        return "utf-16-le"
    return "utf-16-be" if pairs and head[::2].count(0) > 0.4 * pairs > 4 * head[1::2].count(0) else "utf-8-sig"


def _has_cells(line: str) -> bool:
    return any(delimiter in line for delimiter in _DELIMITERS)


def _names_in(cells: Iterable[str]) -> tuple[str, ...]:
    """Return the names of columns in a header; a name that comes again has its number behind it."""
    names: list[str] = []
    for cell in cells:
        name = cell.strip("\ufeff\u00a0 \t").strip('"').strip()
        names.append(f"{name} {names.count(name) + 1}" if name in names else name)
    return tuple(names)
