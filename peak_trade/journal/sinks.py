"""The copies of a journal: sinks that take its lines once they are on disk, and are dropped when they fail."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from peak_trade.journal.codec import Line


class Sink(Protocol):
    """Takes copies of lines once they are on disk; a sink that fails is dropped, the journal goes on."""

    def start(self, lines: Sequence[Line]) -> None:
        """Take note of what the journal held before, in order: the sink may have missed the end of it."""

    def write(self, lines: Sequence[Line]) -> None:
        """Take the next lines, in order."""

    def close(self) -> None:
        """Finish what is being written."""


class SinkDispatcher:
    """Hands lines to sinks, away from whoever writes the journal. Nothing that a sink does is raised."""

    def __init__(self, sinks: Iterable[Sink]) -> None:
        self.dropped: list[str] = []
        self._sinks = list(sinks)
        self._waiting: deque[Line] = deque()
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._sinks)

    def start(self, lines: Sequence[Line]) -> None:
        """Tell every sink what the journal holds."""
        self._ask(lambda sink: sink.start(lines))

    def enqueue(self, lines: Sequence[Line]) -> None:
        """Keep lines for the next handing out."""
        self._waiting.extend(lines)

    def flush(self) -> None:
        """Give every sink the lines that wait."""
        with self._lock:
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if lines:
                self._ask(lambda sink: sink.write(lines))

    def close(self) -> None:
        """Hand out the last lines and close every sink."""
        self.flush()
        self._ask(lambda sink: sink.close())
        self._sinks.clear()

    def _ask(self, act: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks):
            try:
                act(sink)
            except Exception as error:
                self._sinks.remove(sink)
                self.dropped.append(f"{type(sink).__name__}: {error}")
                with contextlib.suppress(Exception):
                    sink.close()
