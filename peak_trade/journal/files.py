"""File names of a session's folder, and readers of its manifest, events and checkpoints."""

from __future__ import annotations

import gzip
import json
import os
import re
import threading
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from peak_trade.core.digest import canonical_json, digest_bytes
from peak_trade.core.errors import SessionError
from peak_trade.core.files import open_binary, read_bytes
from peak_trade.journal.codec import Line, complete_lines, read_line
from peak_trade.journal.events import Event
from peak_trade.journal.versions import JOURNAL_VERSION

MANIFEST = "manifest.json"
EVENTS = "events.jsonl"
CHECKPOINTS = "checkpoints.jsonl"
LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed statement that the line `sequence` has this hash.

    `manifest` is the digest of the manifest. A final checkpoint is the seal of the session: no line follows.
    """

    sequence: int
    hash: str
    manifest: str
    ts_recorded: int
    is_final: bool
    public_key: str
    signature: str = ""

    def signed_content(self) -> bytes:
        """Return the bytes that are signed."""
        return canonical_json({name: getattr(self, name) for name in _SIGNED}).encode()

    def encode_line(self) -> bytes:
        """Return the line of checkpoints.jsonl, with its newline."""
        record = {name: getattr(self, name) for name in (*_SIGNED, "signature")}
        return canonical_json(record).encode() + b"\n"


_SIGNED = ("sequence", "hash", "manifest", "ts_recorded", "is_final", "public_key")
_CHECKPOINT = re.compile(
    rb'\{"hash":"([0-9a-f]{64})","is_final":(true|false),"manifest":"([0-9a-f]{64})","public_key":"([0-9a-f]{64})",'
    rb'"sequence":(0|[1-9][0-9]{0,17}),"signature":"([0-9a-f]{128})","ts_recorded":(0|[1-9][0-9]{0,18})\}'
)
_TYPES = {"sequence": int, "hash": str, "manifest": str, "ts_recorded": int, "is_final": bool, "public_key": str,
          "signature": str}  # fmt: skip


def read_checkpoints(folder: Path) -> list[Checkpoint | None]:
    """Return the checkpoints of a session, with None for a complete line that is not a checkpoint."""
    path = folder / CHECKPOINTS
    if not path.exists():
        return []
    return [parse_checkpoint(text) for text in complete_lines(_bytes_of(path))]


def parse_checkpoint(text: bytes) -> Checkpoint | None:
    """Return the checkpoint of a line (without its newline), or None when it is not one."""
    match = _CHECKPOINT.fullmatch(text)
    if match is not None:  # as the writer spells it
        line_hash, final, manifest, key, sequence, signature, now = match.groups()
        return Checkpoint(
            int(sequence),
            line_hash.decode(),
            manifest.decode(),
            int(now),
            final == b"true",
            key.decode(),
            signature.decode(),
        )
    try:
        record = json.loads(text)
        checkpoint = Checkpoint(**record)
        is_one = all(type(getattr(checkpoint, name)) is kind for name, kind in _TYPES.items())
        return checkpoint if is_one and checkpoint.encode_line() == text + b"\n" else None
    except (ValueError, TypeError, RecursionError):
        return None


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a session; SessionError when it is missing or malformed."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(_bytes_of(path), parse_constant=_refuse_constant)
        json.dumps(manifest, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise SessionError(f"{path}: this is not JSON ({error!r:.80}). Run `peak-trade audit verify` on it.") from None
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(name, {}), dict) for name in _TABLES):
        raise SessionError(f"{path}: this is not the manifest of a session. Run `peak-trade audit verify` on it.")
    return manifest


_TABLES = ("config", "digests")


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _bytes_of(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except FileNotFoundError:
        raise SessionError(f"{path.parent}: there is no {path.name}; this is not the folder of a session.") from None
    except OSError as error:
        raise SessionError(f"{path}: could not be read ({error.strerror}).") from None


def manifest_digest(folder: Path) -> str:
    """Return the SHA-256 of the manifest's bytes, the start of the hash chain."""
    return digest_bytes(_bytes_of(folder / MANIFEST))


def journal_version(folder: Path) -> int:
    """Return the version of a session's journal; SessionError when it is not one that this package reads.

    Manifests of imported logs of version 1 do not state it.
    """
    version = read_manifest(folder).get("version", 1)
    if type(version) is not int or version not in range(1, JOURNAL_VERSION + 1):
        raise SessionError(
            f"{folder / MANIFEST}: version was {version!r:.40}; this version of peak_trade reads journals of the "
            f"versions 1 to {JOURNAL_VERSION}. Read it with the version that wrote it."
        )
    return version


def events_path(folder: Path) -> Path:
    """Return the file of the events: plain, or compressed by the retention rule."""
    packed = folder / f"{EVENTS}.gz"
    return packed if packed.exists() else folder / EVENTS


def read_texts(path: Path) -> Iterator[bytes]:
    """Yield the lines of a journal's file with their newlines, decompressed; the last one may lack its newline.

    No file is an empty one. SessionError when the file can not be read or decompressed.
    """
    if not path.exists():
        return
    with _explaining(path), open_binary(path) as file:
        yield from gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise SessionError(
            f"{path}: could not be decompressed. Run `peak-trade audit verify` on the session."
        ) from None
    except OSError as error:
        raise SessionError(f"{path}: could not be read ({error.strerror}).") from None


class LineIndex:
    """The places of the complete lines of a journal's file: a page is read without the lines before it.

    It keeps one place per `STEP` bytes of lines; that of a compressed file has 40 kB, the state of the decompressor.
    A file that has grown is read from its last place on; one that is smaller, replaced or rewritten, from its start.
    One index may be used by several threads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_packed = path.suffix == ".gz"
        self._state = (0, 0, 0)
        self._places: list[_Place] = []
        self._n_lines = 0
        self._lock = threading.Lock()
        self.n_starts = 0
        """How often the file was read from its start: the lines may be others than before."""

    def page(self, offset: int, limit: int) -> tuple[int, list[bytes]]:
        """Return the number of complete lines, and `limit` lines without their newlines from the place `offset` on.

        No file is an empty one. SessionError when the file can not be read or decompressed.
        """
        if not self._path.exists():
            return 0, []
        with _explaining(self._path), open_binary(self._path) as file:
            with self._lock:
                self._extend(file)
                n_lines, places = self._n_lines, self._places[:]
            if offset >= n_lines:
                return n_lines, []
            start = places[max(bisect_left(places, offset, key=lambda place: place.n_before) - 1, 0)]
            n_wanted = offset - start.n_before + min(limit, n_lines - offset)
            parts: list[bytes] = []
            n_found = 0
            for _, content in self._read(file, start):
                parts.append(content)
                n_found += content.count(b"\n")
                if n_found >= n_wanted:
                    break
        return n_lines, b"".join(parts).split(b"\n")[offset - start.n_before : n_wanted]

    def _extend(self, file: BinaryIO) -> None:
        stat = os.fstat(file.fileno())
        state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if state == self._state:
            return
        is_longer = stat.st_ino == self._state[0] and stat.st_size > self._state[1] and not self._is_packed
        places = self._places[:]
        if not is_longer:
            self.n_starts += 1
            places = [_Place(0, 0, zlib.decompressobj(_GZIP) if self._is_packed else None)]
        n_lines, n_bytes = places[-1].n_before, 0
        for place, content in self._read(file, places[-1]):
            if n_bytes >= STEP:
                places.append(place)
                n_bytes = 0
            n_lines += content.count(b"\n")
            n_bytes += len(content)
        self._places, self._n_lines, self._state = places, n_lines, state

    def _read(self, file: BinaryIO, place: _Place) -> Iterator[tuple[_Place, bytes]]:
        """Yield the places of a file from one on, each with the bytes between it and the next one."""
        file.seek(place.position)
        n_before, position = place.n_before, place.position
        unpacker = place.unpacker and place.unpacker.copy()
        while read := file.read(_BLOCK):
            before = unpacker and unpacker.copy()
            content = read if unpacker is None else unpacker.decompress(read)
            while unpacker is not None and unpacker.eof and unpacker.unused_data:  # the next member of the file
                rest, unpacker = unpacker.unused_data, zlib.decompressobj(_GZIP)
                content += unpacker.decompress(rest)
            yield _Place(n_before, position, before), content
            n_before, position = n_before + content.count(b"\n"), position + len(read)
        if unpacker is not None and not unpacker.eof:
            raise EOFError


STEP = 2 << 20
_BLOCK = 1 << 16
_GZIP = 31
"""The `wbits` of zlib for the format of gzip."""


class _Place(NamedTuple):
    """A position in a file, the number of line ends before it, and the decompressor there."""

    n_before: int
    position: int
    unpacker: Any


def read_since(path: Path, start: int) -> bytes:
    """Return the bytes of a growing file from a position on; no file is an empty one. Errors as of `read_bytes`."""
    try:
        with open_binary(path) as file:
            file.seek(start)
            return file.read()
    except FileNotFoundError:
        return b""


def read_content(folder: Path) -> bytes:
    """Return the decompressed bytes of the journal; see `read_texts`."""
    return b"".join(read_texts(events_path(folder)))


def read_lines(folder: Path) -> Iterator[Line]:
    """Yield every complete line of a session in order. The hash chain is not checked; see `verify`."""
    path, version = events_path(folder), journal_version(folder)
    name = str(path)
    for n, text in enumerate(read_texts(path), start=1):
        if text.endswith(b"\n"):
            yield read_line(text[:-1], f"{name}:{n}", version)


def stream_events(folder: Path) -> Iterator[Event]:
    """Yield the events of a session in order."""
    return (line.event for line in read_lines(folder))


def read_events(folder: Path) -> list[Event]:
    """Return the events of a session in order."""
    return list(stream_events(folder))


def is_sealed(folder: Path) -> bool:
    """Return whether the session is sealed: its last checkpoint is final."""
    checkpoints = read_checkpoints(folder)
    return bool(checkpoints) and checkpoints[-1] is not None and checkpoints[-1].is_final
