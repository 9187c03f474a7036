"""Telemetry settings, the optional sinks of a journal, and the retention of sealed sessions."""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

from pydantic import Field

from peak_trade.core.files import write_bytes
from peak_trade.core.settings import Positive, Settings
from peak_trade.core.time import NS_PER_SECOND
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
from peak_trade.journal.files import EVENTS, is_sealed, read_checkpoints
from peak_trade.journal.lock import is_open
from peak_trade.journal.sinks import Sink
from peak_trade.journal.webhook import WebhookSettings, WebhookSink, webhook_url

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
_NS_PER_DAY = 86_400 * NS_PER_SECOND


class SinkSettings(Settings):
    """An optional sink of the journal."""

    enabled: bool = False
    """Enable the sink."""

    level: Level = "replay"
    """Events written. orders: orders, decisions, cash flows, trading states, operator commands and alerts. replay: in
    addition bars, signals and feed faults. full: in addition latencies."""


class Sinks(Settings):
    """Optional copies of the journal for convenience. The signed and verified original is the JSON lines."""

    sqlite: SinkSettings = SinkSettings()
    """SQLite database events.db in the session's folder."""

    parquet: SinkSettings = SinkSettings()
    """Parquet file events.parquet in the session's folder, written when the session is closed."""

    stdout: SinkSettings = SinkSettings()
    """JSON lines on standard output."""

    webhook: WebhookSettings = WebhookSettings()
    """Alerts and changes of the trading state, posted as JSON."""

    def check(self) -> None:
        """Raise a ConfigError when an enabled sink can not be made: a webhook without a URL."""
        webhook_url(self.webhook, os.environ)


class Retention(Settings):
    """Rules of `audit tidy` for sealed sessions. Open and interrupted sessions are never changed."""

    compress_after_days: Annotated[float, Field(ge=0.0)] | None = 30.0
    """Age at which the events are compressed with gzip; they verify and replay as before. None: never."""

    delete_after_days: Annotated[float, Field(ge=0.0)] | None = None
    """Age at which the session is deleted. None: never."""


class TelemetrySettings(Settings):
    """Recording of sessions."""

    level: Literal["replay", "full"] = "full"
    """Events in the JSON lines; replay omits latencies."""

    commit_seconds: Annotated[Positive, Field(le=1.0)] = 0.5
    """Longest time until an event other than an order is on disk, seconds."""

    checkpoint_every: Annotated[int, Field(ge=1)] = 10_000
    """Number of events after which the chain is signed, also within the commit interval."""

    sinks: Sinks = Sinks()
    retention: Retention = Retention()


def level_filter(level: Level) -> Callable[[Event], bool]:
    """Return a function that says whether an event belongs to a level."""
    if level == "orders":
        return lambda event: isinstance(event, _ORDERS)
    if level == "replay":
        return lambda event: not isinstance(event, LatencyEvent)
    return lambda event: True


def make_sinks(settings: Sinks, folder: Path, stream: TextIO | None = None) -> list[Sink]:
    """Return the enabled sinks of a session's folder."""
    sinks: list[Sink] = []
    if settings.sqlite.enabled:
        sinks.append(SqliteSink(folder / "events.db", settings.sqlite.level))
    if settings.parquet.enabled:
        sinks.append(ParquetSink(folder / "events.parquet", settings.parquet.level))
    if settings.stdout.enabled:
        sinks.append(StreamSink(stream or sys.stdout, settings.stdout.level))
    url = webhook_url(settings.webhook, os.environ)
    if url is not None:
        sinks.append(WebhookSink(url, folder.name, settings.webhook.level))
    return sinks


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


@dataclass(frozen=True, slots=True)
class TidiedSession:
    """A compressed or deleted session, and the bytes that this freed."""

    session_id: str
    action: Literal["compressed", "deleted"]
    n_bytes: int


def tidy(sessions: Path, settings: Retention, now: int) -> list[TidiedSession]:
    """Compress or delete the sealed sessions that are old enough at `now` (ns UTC) and return them."""
    done = []
    for folder in sorted(path for path in sessions.glob("*") if path.is_dir()):
        if not is_sealed(folder) or is_open(folder):
            continue
        age = (now - _sealed_at(folder)) / _NS_PER_DAY
        if settings.delete_after_days is not None and age >= settings.delete_after_days:
            done.append(TidiedSession(folder.name, "deleted", _delete(folder)))
        elif settings.compress_after_days is not None and age >= settings.compress_after_days:
            freed = _compress(folder)
            if freed:
                done.append(TidiedSession(folder.name, "compressed", freed))
    return done


def _row(line: Line) -> tuple[Any, ...]:
    event = line.event
    symbol, order_id = (getattr(event, name, None) for name in ("symbol", "order_id"))
    return line.sequence, line.ts_recorded, event.ts_event, event.kind, symbol, order_id, encode_event(event).decode()


def _sealed_at(folder: Path) -> int:
    last = read_checkpoints(folder)[-1]
    assert last is not None
    return last.ts_recorded


def _compress(folder: Path) -> int:
    path = folder / EVENTS
    if not path.exists():
        return 0
    content = path.read_bytes()
    packed = gzip.compress(content, mtime=0)
    if gzip.decompress(packed) != content:
        return 0
    write_bytes(folder / f"{EVENTS}.gz", packed)
    path.unlink()
    return len(content) - len(packed)


def _delete(folder: Path) -> int:
    n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder)
    return n_bytes
