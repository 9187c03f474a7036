"""The switch that asks a session to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

POLL_SECONDS = 0.5
"""Time between two polls while waiting."""


class StopSwitch:
    """Asks a session to stop after the current bar. Waiting for the next bar then ends at once.

    `poll` is called repeatedly while the session waits; it may call `stop`.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""
        self.poll: Callable[[], None] = lambda: None

    def stop(self, reason: str) -> None:
        """Ask for a clean stop."""
        self.reason = self.reason or reason
        self._event.set()

    @property
    def is_stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until the time is over or a stop is asked for; return whether one was."""
        end = time.monotonic() + seconds
        while not self.is_stopping:
            self.poll()
            left = end - time.monotonic()
            if self._event.wait(min(max(left, 0.0), POLL_SECONDS)) or left <= POLL_SECONDS:
                break
        return self.is_stopping
