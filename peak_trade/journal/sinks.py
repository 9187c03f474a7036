"""Sinks of a journal and the dispatch of its lines to them.

A sink receives lines once they are on disk, and is dropped when it fails.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO

from peak_trade.journal.codec import Line, encode_event, encode_line
from peak_trade.journal.events import (
    AlertEvent,
    AllocationEvent,
    BankruptcyEvent,
    CashFlowEvent,
    CommandEvent,
    DecisionEvent,
    Event,
    LatencyEvent,
    OrderEvent,
    ReconciliationEvent,
    SessionEvent,
    TradingStateEvent,
)
from peak_trade.journal.export import trail_frame

Level = Literal["orders", "replay", "full"]
_ORDERS = (
    OrderEvent,
    DecisionEvent,
    CashFlowEvent,
    AllocationEvent,
    TradingStateEvent,
    BankruptcyEvent,
    SessionEvent,
    CommandEvent,
    ReconciliationEvent,
    AlertEvent,
)


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


def level_filter(level: Level) -> Callable[[Event], bool]:
    """Return a function that says whether an event belongs to a level."""
    if level == "orders":
        return lambda event: isinstance(event, _ORDERS)
    if level == "replay":
        return lambda event: not isinstance(event, LatencyEvent)
    return lambda event: True


_LOCK_SECONDS = 0.25
"""Timeout of a locked database; the sink is then dropped."""


class SqliteSink:
    """Writer of an SQLite table `events` with one row per event; the column `event` is its JSON."""

    def __init__(self, path: Path, level: Level) -> None:
        self._path, self._is_recorded = path, level_filter(level)
        self._database: sqlite3.Connection | None = None

    def start(self, lines: Sequence[Line]) -> None:
        """Open the database and write the missing lines."""
        self._database = sqlite3.connect(self._path, timeout=_LOCK_SECONDS, check_same_thread=False)
        self._database.execute(
            "create table if not exists events (sequence integer primary key, ts_recorded integer, ts_event integer, "
            "kind text, symbol text, order_id text, event text)"
        )
        self.write(lines)

    def write(self, lines: Sequence[Line]) -> None:
        """Write one row per line."""
        assert self._database is not None
        rows = [_row(line) for line in lines if self._is_recorded(line.event)]
        with self._database:
            self._database.executemany("insert or ignore into events values (?, ?, ?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()


class ParquetSink:
    """Writer of one Parquet file, at the end of the session."""

    def __init__(self, path: Path, level: Level) -> None:
        self._path, self._is_recorded = path, level_filter(level)
        self._lines: list[Line] = []

    def start(self, lines: Sequence[Line]) -> None:
        """Collect the lines that are already in the journal."""
        self.write(lines)

    def write(self, lines: Sequence[Line]) -> None:
        """Collect lines."""
        self._lines += [line for line in lines if self._is_recorded(line.event)]

    def close(self) -> None:
        """Write the file; an interrupted session has one after it was resumed and closed."""
        trail_frame(self._path.parent.name, self._lines).to_parquet(self._path, index=False)


class StreamSink:
    """Writer of the JSON lines to a stream."""

    def __init__(self, stream: TextIO, level: Level) -> None:
        self._stream, self._is_recorded = stream, level_filter(level)

    def start(self, lines: Sequence[Line]) -> None:
        """Skip the lines that are already in the journal."""

    def write(self, lines: Sequence[Line]) -> None:
        """Write lines."""
        for line in lines:
            if self._is_recorded(line.event):
                text = encode_line(encode_event(line.event), line.hash, line.sequence, line.ts_recorded)
                self._stream.write(text.decode())

    def close(self) -> None:
        """Flush the stream."""
        self._stream.flush()


def _row(line: Line) -> tuple[Any, ...]:
    event = line.event
    symbol, order_id = (getattr(event, name, None) for name in ("symbol", "order_id"))
    return line.sequence, line.ts_recorded, event.ts_event, event.kind, symbol, order_id, encode_event(event).decode()
