"""The lock of a session's folder, held by its writer until the writer is closed or its process ends.

The lock file names the process that holds it, so that a kill reaches it although the disk is full.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from peak_trade.core.errors import SessionError
from peak_trade.core.files import read_bytes
from peak_trade.core.lock import acquire, locked_since
from peak_trade.journal.files import LOCK

_LOCK_SECONDS = 0.2
"""Timeout of a writer that waits for the lock; `is_open` holds it for a moment."""

_WRITE_LOCK = re.compile(r"^lock:.*\bFLOCK\b.*\bWRITE\b", re.MULTILINE)
"""A line of the system about an open file whose lock it holds."""


@dataclass(frozen=True, slots=True)
class LockHolder:
    """A process, by its number, its start (clock ticks since boot) and the boot of the machine.

    Numbers are used again; the three together name one process.
    """

    pid: int
    started: int
    boot: str


class SessionLock:
    """A lock that is held until `release`, or until the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def acquire_lock(folder: Path) -> SessionLock:
    """Return the acquired lock of a session; SessionError when another writer holds it.

    The lock file names this process if a signal can stop the session: if this is its main thread.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        acquire(descriptor, folder / LOCK, _LOCK_SECONDS)
    except TimeoutError:
        since, holder = locked_since(descriptor), holder_of(folder)
        os.close(descriptor)
        named = "another process" if holder is None else f"process {holder.pid} ({_program(holder.pid)})"
        raise SessionError(
            f"{folder.name}: {named} has been running this session since {since}. Stop that one first."
        ) from None
    process = identify(os.getpid()) if threading.current_thread() is threading.main_thread() else None
    with suppress(OSError):  # without its name, the process can not be told to halt; the lock holds all the same
        os.utime(descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"" if process is None else json.dumps(asdict(process)).encode(), 0)
    return SessionLock(descriptor)


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid:d}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "ended"


def is_open(folder: Path) -> bool:
    """Return whether any process, this one included, is writing to the session. Safe to call concurrently."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for a writer
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder_of(folder: Path) -> LockHolder | None:
    """Return the process that holds the lock of a session.

    None if the lock is free, or if the process that the lock file names does not run (by number, start and boot) or
    does not hold the lock.
    """
    try:
        process = LockHolder(**json.loads(read_bytes(folder / LOCK)))
        return process if process == identify(process.pid) and _holds(process.pid, folder / LOCK) else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _holds(pid: int, path: Path) -> bool:
    """Return whether a process holds the lock of a file, as the system shows its open files."""
    for file in Path(f"/proc/{pid:d}/fd").iterdir():
        with suppress(OSError):  # a file that was closed in the meantime
            if file.samefile(path) and _WRITE_LOCK.search((file.parents[1] / "fdinfo" / file.name).read_text("ascii")):
                return True
    return False


def identify(pid: int) -> LockHolder | None:
    """Return a running process of this machine; None if there is none, or the system does not show its start."""
    try:
        status = Path(f"/proc/{pid:d}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return LockHolder(pid, int(status.rpartition(")")[2].split()[19]), boot)
    except (OSError, ValueError, IndexError):
        return None
