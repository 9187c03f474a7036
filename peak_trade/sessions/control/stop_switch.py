"""How a session is asked to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LOOK_SECONDS = 0.5
"""How often somebody who waits looks whether to stop."""


class StopSwitch:
    """Asks a session to stop after the bar it is at; waiting for the next bar ends at once.

    `look` is called again and again while somebody waits: it may call `stop`.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""
        self.look: Callable[[], None] = lambda: None

    def stop(self, reason: str) -> None:
        """Ask for a clean stop."""
        self.reason = self.reason or reason
        self._event.set()

    @property
    def is_stopping(self) -> bool:
        """Whether somebody asked."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait, at most until somebody asks to stop; return whether somebody did."""
        end = time.monotonic() + seconds
        while not self.is_stopping:
            self.look()
            left = end - time.monotonic()
            if self._event.wait(min(max(left, 0.0), LOOK_SECONDS)) or left <= LOOK_SECONDS:
                break
        return self.is_stopping
