"""Sinks of a journal and the dispatch of its lines to them.

A sink receives lines once they are on disk, and is dropped when it fails.
"""

from __future__ import annotations

import contextlib
import json
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TextIO
from urllib.parse import SplitResult, urlsplit

from pydantic import Field

from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.core.files import replacing, sync_file
from peak_trade.core.network import is_protected, place_of
from peak_trade.core.settings import Settings
from peak_trade.journal.codec import Line, encode_event, encode_line
from peak_trade.journal.events import (
    AlertEvent,
    AlertLevel,
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
from peak_trade.journal.export import columns, rows_of, write_parquet

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
        with replacing(self._path) as draft:
            write_parquet(rows_of(self._path.parent.name, self._lines, columns()), columns(), draft)
            sync_file(draft)


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


_TIMEOUT = 3.0
"""Timeout of one step of a request, seconds."""

_RETRY_DELAYS = (0.0, 0.5, 1.0)
"""Delay before each attempt, seconds."""

_CLOSE_SECONDS = 8.0
"""Time that the end of a session waits for pending alerts, seconds."""


class WebhookSettings(Settings):
    """Webhook for alerts and changes of the trading state, posted as JSON."""

    enabled: bool = False
    """Enable the webhook."""

    level: Literal["warning", "critical"] = "warning"
    """Lowest level of the posted alerts; changes of the trading state are always posted."""

    url_variable: Annotated[str, Field(min_length=1)] = "PEAK_TRADE_WEBHOOK_URL"
    """Environment variable with the URL (https, or http to loopback); a URL may be a secret, so it is not in a file."""


def webhook_url(settings: WebhookSettings, environment: Mapping[str, str]) -> SplitResult | None:
    """Return the URL of an enabled webhook; ConfigError, which does not print the URL, when it can not be used."""
    if not settings.enabled:
        return None
    name = settings.url_variable
    text = environment.get(name, "")
    if not text:
        raise ConfigError(
            f"sinks.webhook is enabled, and {name} is not set. Set it to the URL, or disable the webhook."
        )
    try:
        url = urlsplit(text)
        is_plain = url.username is None and (url.port is None or url.port > 0)
    except ValueError:
        raise ConfigError(f"{name} is not a URL.") from None
    is_readable = text.isascii() and text.isprintable() and " " not in text
    if not (is_protected(text) and is_plain and is_readable):
        raise ConfigError(
            f"{name} is not a usable URL: write https://…, or http:// to this machine, without a user name."
        )
    return url


class WebhookSink:
    """A sink that posts alerts in order, with up to three attempts each. It is dropped after the first failed alert.

    The body is `{"event":{…},"sequence":n,"session_id":"…","ts_recorded":ns}`. A lost response repeats the request: a
    receiver detects duplicates by session and sequence.
    """

    def __init__(self, url: SplitResult, session_id: str, level: Literal["warning", "critical"]) -> None:
        self._url, self._session_id, self._level = url, session_id, level
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._fault = ""
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._post_all, name="webhook", daemon=True)

    def start(self, lines: Sequence[Line]) -> None:
        """Start the thread; lines that are already in the journal are skipped."""
        self._thread.start()

    def write(self, lines: Sequence[Line]) -> None:
        """Queue the alerts among the lines; SessionError after a failed delivery."""
        if self._fault:
            raise SessionError(self._fault)
        for line in lines:
            if self._is_wanted(line):
                self._queue.put(self._body(line))

    def close(self) -> None:
        """Wait for pending alerts; SessionError when one was not delivered in time."""
        self._is_closing.set()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            raise SessionError(f"alerts were still pending {_CLOSE_SECONDS:g} s after the end")
        if self._fault:
            raise SessionError(self._fault)

    def _is_wanted(self, line: Line) -> bool:
        if isinstance(line.event, AlertEvent):
            return self._level == "warning" or line.event.level is AlertLevel.CRITICAL
        return isinstance(line.event, TradingStateEvent)

    def _body(self, line: Line) -> bytes:
        record = {
            "event": json.loads(encode_event(line.event)),
            "sequence": line.sequence,
            "session_id": self._session_id,
            "ts_recorded": line.ts_recorded,
        }
        return json.dumps(record).encode()

    def _post_all(self) -> None:
        while (body := self._queue.get()) is not None:
            self._fault = self._post(body)
            if self._fault:
                return

    def _post(self, body: bytes) -> str:
        fault = ""
        for delay in _RETRY_DELAYS:
            self._is_closing.wait(delay)
            try:
                status, target = self._status_of(body)
            except Exception as error:
                fault = f"an alert could not be delivered in {len(_RETRY_DELAYS)} tries ({type(error).__name__})"
                continue
            if 200 <= status < 300:
                return ""
            if 300 <= status < 400:
                return (
                    f"an alert was not delivered: HTTP {status} redirects to {target}, and redirects are not followed"
                )
            fault = f"an alert was not accepted (HTTP {status})"
            if status < 500 and status != HTTPStatus.TOO_MANY_REQUESTS:
                return fault
        return fault

    def _status_of(self, body: bytes) -> tuple[int, str]:
        """Return the status of the response, and scheme and host of its redirect."""
        import http.client
        import ssl

        host, port = self._url.hostname or "", self._url.port
        connection: http.client.HTTPConnection
        if self._url.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
        target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        try:
            connection.request("POST", target, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, place_of(response.headers.get("Location", ""))
        finally:
            connection.close()
