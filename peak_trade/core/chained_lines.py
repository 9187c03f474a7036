"""Files of hash-chained JSON lines: append-only, and extended by several processes.

Each line holds the SHA-256 of the line before it, so a line that is missing, moved or changed is noticed. The head of a
file is the SHA-256 of its last line; what is kept elsewhere, such as in run records, shows that a file was cut or
replaced.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peak_trade.core.digest import canonical_json, digest_bytes
from peak_trade.core.errors import ConfigError
from peak_trade.core.files import make_folder, open_binary, reason_of, sync_folder, write_all
from peak_trade.core.lock import held_lock

LOCK_WAIT_SECONDS = 30.0
"""Seconds that a process waits for another one that writes to the file."""
FieldTypes = dict[str, dict[str, type]]
"""Kind of line to its fields and their types."""
START: FieldTypes = {"start": {"version": int, "ts_recorded": int}}
"""The first line of every file."""
Line = dict[str, Any]
"""Content of a line."""
_LARGEST = 2**62
_NO_LINE = "0" * 64
_Signature = tuple[int, int, int]
"""Inode, size and time of the last change of a file, ns."""


class ChainedLines:
    """The lines of one file, of which this process has read a part or all; `refresh` reads what was added.

    `heads` maps the SHA-256 of every line to its number, and `faults` has one sentence per break of the chain. `since`
    is the time of the first line, ns UTC, None without one. A subclass names the file in `what`, the latest `version`
    that it can read, the `types` of its lines, and keeps what it needs of them in `take_line`.

    Parameters
    ----------
    path : Path

    """

    what = "chained file"
    version = 1
    types: FieldTypes = START

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mutex = threading.RLock()
        self._seen: _Signature | None = None
        self._forget()

    @property
    def n_lines(self) -> int:
        """Number of lines, those that cannot be read included."""
        return self._n_lines

    @property
    def head(self) -> str:
        """SHA-256 of the last line; zeros without one."""
        return self._head

    @property
    def file_id(self) -> str:
        """SHA-256 of the first line, which has the time at which the file was made; empty without one."""
        return next(iter(self.heads), "")

    def forget_lines(self) -> None:
        """Forget what `take_line` has kept."""

    def take_line(self, content: Line) -> bool:
        """Keep what is needed of a line whose fields have the right types; return whether its content is valid."""
        return True

    def refresh(self) -> None:
        """Read the lines that were added since the last call, or the whole file when it was replaced.

        Raises
        ------
        ConfigError
            When the file cannot be read, or was written by a later version.

        """
        with self._mutex:
            try:
                self._read()
            except OSError as error:
                raise self._error(error) from None
            if self._version > self.version:
                raise ConfigError(
                    f"{self.what} {self._path}: its version is {self._version}; this version of peak_trade reads "
                    f"versions up to {self.version}. Use the version that wrote it."
                )

    @contextmanager
    def extending(self) -> Iterator[None]:
        """Hold the lock of the file for the time of a block that calls `append`; the lines are up to date in it.

        Raises
        ------
        ConfigError
            When the lock is held by another process for too long, or the file cannot be read or written.

        """
        try:
            make_folder(self._path.parent)
            with self._mutex, held_lock(self._path.with_name(f".{self._path.name}.lock"), LOCK_WAIT_SECONDS):
                self.refresh()
                yield
        except OSError as error:
            raise self._error(error) from None

    def append(self, contents: Sequence[Line]) -> None:
        """Append lines and bring them to disk with one sync, within `extending`; an unfinished last line is replaced.

        The first lines of a new file follow a line with its version and the time.
        """
        start = {"kind": "start", "version": self.version, "ts_recorded": time.time_ns()}
        added, head = [], self._head
        for content in contents if self._n_lines else [start, *contents]:
            added.append(canonical_json({**content, "previous": head}).encode())
            head = digest_bytes(added[-1])
        text = b"\n".join(added) + b"\n"
        descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            if os.fstat(descriptor).st_size > self._end:
                os.ftruncate(descriptor, self._end)
            os.lseek(descriptor, self._end, os.SEEK_SET)
            write_all(descriptor, text)
            os.fsync(descriptor)
            if self._end == 0:
                sync_folder(self._path.parent)
            self._take(text)
            self._seen = _signature(os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def _forget(self) -> None:
        self.since: int | None = None
        self.heads: dict[str, int] = {}
        self.faults: list[str] = []
        self._head, self._n_lines, self._end, self._version = _NO_LINE, 0, 0, self.version
        self._seen = None
        self.forget_lines()

    def _read(self) -> None:
        try:
            seen = _signature(os.stat(self._path))
        except FileNotFoundError:
            self._forget()
            return
        if seen == self._seen:
            return
        inode, size, _ = seen
        if self._seen is None or self._seen[0] != inode or size <= self._end:
            self._forget()
        with open_binary(self._path) as file:
            file.seek(self._end)
            added = file.read()
            if self._end and b"\n" in added and _previous(added[: added.index(b"\n")]) != self._head:
                self._forget()
                file.seek(0)
                added = file.read()
        self._take(added)
        self._seen = seen

    def _take(self, text: bytes) -> None:
        for line in text.split(b"\n")[:-1]:
            self._n_lines += 1
            self._end += len(line) + 1
            content = _content(line)
            if content is None or not self._index(content):
                self.faults.append(f"line {self._n_lines:,} of the {self.what} cannot be read")
            elif content.get("previous") != self._head:
                self.faults.append(f"line {self._n_lines:,} of the {self.what} does not follow from the one before it")
            self._head = digest_bytes(line)
            self.heads[self._head] = self._n_lines

    def _index(self, content: Line) -> bool:
        """Take a line; return whether it is one of this file."""
        types = self.types.get(str(content.get("kind")))
        if types is None or not _has_types(content, types):
            return False
        if content["kind"] == "start":
            self._version = content["version"]
            self.since = content["ts_recorded"] if self.since is None else self.since
            return True
        return self.take_line(content)

    def _error(self, error: OSError) -> ConfigError:
        if isinstance(error, TimeoutError):
            return ConfigError(f"{self.what} {error}. Wait for that process, or stop it.")
        return ConfigError(
            f"{self.what} {self._path}: {reason_of(error)}. Check its disk and its permissions, or choose another "
            "place with PEAK_TRADE_HOME."
        )


def _signature(status: os.stat_result) -> _Signature:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _has_types(content: Line, types: dict[str, type]) -> bool:
    values = [content.get(name) for name in types]
    return (
        all(type(value) is kind for value, kind in zip(values, types.values(), strict=True))
        and all(abs(value) < _LARGEST for value in values if isinstance(value, int | float))
        and all(isinstance(each, str) for value in values if isinstance(value, list) for each in value)
    )


def _content(line: bytes) -> Line | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _previous(line: bytes) -> str | None:
    content = _content(line)
    return None if content is None else content.get("previous")
