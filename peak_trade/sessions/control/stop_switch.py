"""The switch that asks a session to stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from peak_trade.journal.events import EndCause, Ending

POLL_SECONDS = 0.5
"""Time between two polls while waiting."""

TERMINATED = Ending(EndCause.STOPPED, "terminated by a signal")

_GRACE_SECONDS = 1.0
"""Time that a terminated session waits for the kill that the signal announces."""

_GRACE_STEP = 0.02


class StopSwitch:
    """Asks a session to stop after the current bar. Waiting for the next bar then ends at once.

    `poll` is called repeatedly while the session waits; it may call `stop`. The handler of a signal may call `stop`
    too, at any point of `wait`: the lock of the condition is reentrant, which that of a `threading.Event` is not.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_stopping = False
        self._ending: Ending | None = None
        self.poll: Callable[[], None] = lambda: None

    def stop(self, reason: str, cause: EndCause = EndCause.STOPPED) -> None:
        """Ask for a clean stop; the first cause counts."""
        self._ending = self._ending or Ending(cause, reason)
        self._ask_to_stop()

    @property
    def is_stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._is_stopping

    @contextmanager
    def on_terminate(self) -> Iterator[None]:
        """Stop on SIGTERM while the block runs; in a thread that is not the main one, signals are left alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def terminate(_number: int, _frame: Any) -> None:
            self._ask_to_stop()

        before = signal.signal(signal.SIGTERM, terminate)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def ending(self) -> Ending:
        """Return the cause of the stop that was asked for.

        A kill signals the process before it writes its record. After a signal, the cause is the kill if its record
        arrives within a second, otherwise TERMINATED.
        """
        end = time.monotonic() + _GRACE_SECONDS
        while self._ending is None and time.monotonic() < end:
            self.poll()
            time.sleep(_GRACE_STEP)
        self._ending = self._ending or TERMINATED
        return self._ending

    def wait(self, seconds: float) -> bool:
        """Wait until the time is over or a stop is asked for; return whether one was."""
        end = time.monotonic() + seconds
        while not self.is_stopping:
            self.poll()
            left = end - time.monotonic()
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopping, min(max(left, 0.0), POLL_SECONDS))
            if left <= POLL_SECONDS:
                break
        return self.is_stopping

    def _ask_to_stop(self) -> None:
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
