"""The lock of a session's folder, held by its writer until the writer is closed or its process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from peak_trade.core.errors import SessionError
from peak_trade.journal.files import LOCK

if TYPE_CHECKING:
    from filelock import BaseFileLock

_LOCK_SECONDS = 0.2
"""Timeout of a writer that waits for the lock; `is_open` holds it for a moment."""


def acquire_lock(folder: Path) -> BaseFileLock:
    """Return the acquired lock of a session; SessionError when another writer holds it."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK, timeout=_LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise SessionError(f"{folder.name}: another process is running this session. Stop that one first.") from None
    return lock


def is_open(folder: Path) -> bool:
    """Return whether any process, this one included, is writing to the session. Safe to call concurrently."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
