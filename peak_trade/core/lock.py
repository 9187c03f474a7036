"""Locks between processes, with a time-out that names the process that holds the lock."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from peak_trade.core.time import NS_PER_SECOND, iso

_RETRY_SECONDS = 0.005
_LONGEST = 200
"""Longest name of a holder, bytes."""


@contextmanager
def held_lock(path: Path, timeout_seconds: float) -> Iterator[None]:
    """Hold the lock of a file for the time of a block, and wait for the process or thread that holds it.

    The file holds the number and the program of the process that locked it last, and its time is that of the locking.
    It stays when the lock is released, because another process may wait for it. The system releases the lock of a
    process that ends.

    Raises
    ------
    TimeoutError
        When another process or thread holds the lock all the time; the message names it, and since when.
    OSError
        When the file cannot be made. Its folder must exist.

    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        acquire(descriptor, path, timeout_seconds)
        try:
            with suppress(OSError):  # on a full disk the lock holds without a name
                _name_holder(descriptor)
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child has the descriptor too
    finally:
        with suppress(OSError):  # the lock is released already
            os.close(descriptor)


def _name_holder(descriptor: int) -> None:
    """Write this process to the file of its lock; a process that locks it again and again writes once."""
    holder = f"process {os.getpid()} ({Path(sys.argv[0]).name or 'python'})".encode()[:_LONGEST]
    os.utime(descriptor)
    if os.pread(descriptor, _LONGEST, 0) != holder:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder, 0)


def acquire(descriptor: int, path: Path, timeout_seconds: float) -> None:
    """Lock an open file until it is closed; TimeoutError as of `held_lock`."""
    end = time.monotonic() + timeout_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= end:
                holder = os.pread(descriptor, _LONGEST, 0).decode(errors="replace") or "another process"
                since = f"since {locked_since(descriptor)} (waited {timeout_seconds:g} s)"
                raise TimeoutError(f"{path}: {holder} has held the lock {since}") from None
        time.sleep(_RETRY_SECONDS)


def locked_since(descriptor: int) -> str:
    """Return the time of the locking of a file that is locked, in UTC to the second."""
    return iso(os.fstat(descriptor).st_mtime_ns // NS_PER_SECOND * NS_PER_SECOND)


def database_holder(path: Path) -> str:
    """Return the process that has locked an SQLite database, such as `process 123 (mlflow)`; empty if unknown."""
    with suppress(OSError, ValueError, IndexError):
        inode = path.stat().st_ino
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[1:4] == ["POSIX", "ADVISORY", "WRITE"] and int(words[5].split(":")[2]) == inode:
                process = Path("/proc") / words[4]
                if any(file.samefile(path) for file in (process / "fd").iterdir() if file.exists()):
                    return f"process {words[4]} ({(process / 'comm').read_text(encoding='utf-8').strip()})"
    return ""
