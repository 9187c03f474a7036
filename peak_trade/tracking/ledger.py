"""The file of the trial ledger: append-only, hash-chained JSON lines that several processes extend.

Each line holds the SHA-256 of the line before it, so a line that is missing, moved or changed is noticed. The head of
the ledger is the SHA-256 of its last line; run records keep it, so that a ledger that was cut or replaced is noticed
too.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from peak_trade.core.digest import canonical_json, digest_bytes
from peak_trade.core.errors import ConfigError
from peak_trade.core.files import make_folder, open_binary, reason_of, sync_folder, write_all
from peak_trade.core.lock import held_lock
from peak_trade.data.workspace import workspace
from peak_trade.tracking.assets import Closes

LEDGER = "trials.jsonl"
EARLIER_LEDGER = "trials.db"
"""Ledger of earlier versions: an SQLite table of pairs of digests."""
LOCK_WAIT_SECONDS = 30.0
"""Seconds that a process waits for another one that writes to the ledger."""
LEDGER_VERSION = 1
"""Version of the ledger, which its first line states."""
Line = dict[str, Any]
"""Content of a line."""
TrialKey = tuple[str, str, str]
"""Configuration, code and data digest of a trial."""
Signature = tuple[int, int, int]
"""Inode, size and time of the last change of a file, ns."""
_TYPES: dict[str, dict[str, type]] = {
    "start": {"version": int, "ts_recorded": int},
    "data": {"id": str, "symbol": str, "exchange": str, "timeframe": str, "step_ns": int, "first_step": int,
             "values": str},
    "trials": {"configs": list, "code": str, "data": str, "series": list, "first": int, "last": int, "bar_ns": int,
               "n": int, "per_year": float, "first_week": int, "sharpe": str, "skewness": str, "kurtosis": str,
               "weeks": str},
}  # fmt: skip
"""Kind of line to its fields and their types."""
_LARGEST = 2**62
_NO_LINE = "0" * 64


class TrialLedger:
    """The lines of one file, of which this process has read a part or all; `refresh` reads what was added.

    `trials` maps configuration, code and data digest of each trial to its line and its place in it; `series` maps the
    id of each data set to its closes. `heads` maps the SHA-256 of every line to its number, and `faults` has one
    sentence per break of the chain. `since` is the time of the first line, ns UTC, None without one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mutex = threading.RLock()
        self._seen: Signature | None = None
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
    def ledger_id(self) -> str:
        """SHA-256 of the first line, which has the time at which the ledger was made; empty without one."""
        return next(iter(self.heads), "")

    def is_new(self, trial: TrialKey, has_returns: bool) -> bool:
        """Return whether a trial adds to the ledger: it is not in it, or only without returns."""
        line, _ = self.trials.get(trial, (None, 0))
        return line is None or (has_returns and not line["weeks"])

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
            if self._version > LEDGER_VERSION:
                raise ConfigError(
                    f"trial ledger {self._path}: its version is {self._version}; this version of peak_trade reads "
                    f"versions up to {LEDGER_VERSION}. Use the version that wrote it."
                )

    @contextmanager
    def extending(self) -> Iterator[None]:
        """Hold the lock of the ledger for the time of a block that calls `append`; the lines are up to date in it.

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

        The first lines of a new ledger follow a line with its version and the time.
        """
        start = {"kind": "start", "version": LEDGER_VERSION, "ts_recorded": time.time_ns()}
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
        self.trials: dict[TrialKey, tuple[Line, int]] = {}
        self.series: dict[str, Closes] = {}
        self.since: int | None = None
        self.heads: dict[str, int] = {}
        self.faults: list[str] = []
        self._head, self._n_lines, self._end, self._version = _NO_LINE, 0, 0, LEDGER_VERSION
        self._seen = None

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
                self.faults.append(f"line {self._n_lines:,} of the trial ledger cannot be read")
            elif content.get("previous") != self._head:
                self.faults.append(f"line {self._n_lines:,} of the trial ledger does not follow from the one before it")
            self._head = digest_bytes(line)
            self.heads[self._head] = self._n_lines

    def _index(self, content: Line) -> bool:
        """Add a line to `trials` or `series`; return whether it is a line of a ledger."""
        if not _is_line(content):
            return False
        if content["kind"] == "trials":
            for place, config in enumerate(content["configs"]):
                key = config, content["code"], content["data"]
                if self.is_new(key, bool(content["weeks"])):
                    self.trials[key] = content, place
        elif content["kind"] == "data":
            try:
                self.series[content["id"]] = Closes.decode(content)
            except ValueError:
                return False
        else:
            self._version = content["version"]
            self.since = content["ts_recorded"] if self.since is None else self.since
        return True

    def _error(self, error: OSError) -> ConfigError:
        if isinstance(error, TimeoutError):
            return ConfigError(f"trial ledger {error}. Wait for that process, or stop it.")
        return ConfigError(
            f"trial ledger {self._path}: {reason_of(error)}. Check its disk and its permissions, or choose another "
            "place with PEAK_TRADE_HOME."
        )


def trial_ledger() -> TrialLedger:
    """Return the ledger of the workspace; one object per file and process, so that a forked one inherits no lock."""
    return _ledger_at((workspace() / LEDGER).absolute(), os.getpid())


def n_earlier_trials() -> int | None:
    """Return the number of trials in the workspace's ledger of an earlier version, 0 without one; None: unreadable."""
    path = (workspace() / EARLIER_LEDGER).absolute()
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM trials").fetchone()[0])
    except sqlite3.Error:
        return None


@cache
def _ledger_at(path: Path, _process: int) -> TrialLedger:
    return TrialLedger(path)


def _signature(status: os.stat_result) -> Signature:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _is_line(content: Line) -> bool:
    types = _TYPES.get(str(content.get("kind")), {"": None})
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
