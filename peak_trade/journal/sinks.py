"""Dispatch of journal lines to sinks. A sink receives lines once they are on disk, and is dropped when it fails."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from peak_trade.journal.codec import Line


class Sink(Protocol):
    """A receiver of lines that are on disk. A sink that raises is dropped; the journal continues."""

    def start(self, lines: Sequence[Line]) -> None:
        """Start with the lines that are already in the journal; the sink may have missed the last of them."""

    def write(self, lines: Sequence[Line]) -> None:
        """Write the next lines, in order."""

    def close(self) -> None:
        """Finish pending writes."""


class SinkDispatcher:
    """Queue of lines for several sinks. Errors of a sink are never raised."""

    def __init__(self, sinks: Iterable[Sink]) -> None:
        self.dropped: list[str] = []
        self._sinks = list(sinks)
        self._queue: deque[Line] = deque()
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._sinks)

    def start(self, lines: Sequence[Line]) -> None:
        """Start every sink with the lines that are already in the journal."""
        self._call(lambda sink: sink.start(lines))

    def enqueue(self, lines: Sequence[Line]) -> None:
        """Queue lines for the next flush."""
        self._queue.extend(lines)

    def flush(self) -> None:
        """Write the queued lines to every sink."""
        with self._lock:
            lines = [self._queue.popleft() for _ in range(len(self._queue))]
            if lines:
                self._call(lambda sink: sink.write(lines))

    def close(self) -> None:
        """Flush the queue and close every sink."""
        self.flush()
        self._call(lambda sink: sink.close())
        self._sinks.clear()

    def _call(self, method: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks):
            try:
                method(sink)
            except Exception as error:
                self._sinks.remove(sink)
                self.dropped.append(f"{type(sink).__name__}: {error}")
                with contextlib.suppress(Exception):
                    sink.close()
