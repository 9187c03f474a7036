"""Telemetry settings, the choice of sinks, and the retention of sealed sessions."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TextIO

from pydantic import Field

from peak_trade.core.calendar import NS_PER_DAY
from peak_trade.core.files import read_bytes, rename, write_bytes
from peak_trade.core.settings import Positive, Settings
from peak_trade.journal.files import EVENTS, is_sealed, read_checkpoints
from peak_trade.journal.keys import Signer
from peak_trade.journal.lock import is_open
from peak_trade.journal.session_chain import append_tombstone
from peak_trade.journal.sinks import (
    Level,
    ParquetSink,
    Sink,
    SqliteSink,
    StreamSink,
    WebhookSettings,
    WebhookSink,
    webhook_url,
)


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


@dataclass(frozen=True, slots=True)
class TidiedSession:
    """A compressed or deleted session, and the bytes that this freed."""

    session_id: str
    action: Literal["compressed", "deleted"]
    n_bytes: int


def tidy(sessions: Path, settings: Retention, now: int, signer: Callable[[], Signer]) -> list[TidiedSession]:
    """Compress or delete the sealed sessions that are old enough at `now` (ns UTC) and return them.

    A line of the chain, signed by `signer`, says that a session is deleted before it is.
    """
    for path in sessions.glob(f".*{_DELETED}"):
        shutil.rmtree(path)
    done = []
    for folder in sorted(path for path in sessions.glob("[!.]*") if path.is_dir()):
        if not is_sealed(folder) or is_open(folder):
            continue
        age = (now - _sealed_at(folder)) / NS_PER_DAY
        if settings.delete_after_days is not None and age >= settings.delete_after_days:
            append_tombstone(folder, signer(), now)
            done.append(TidiedSession(folder.name, "deleted", _delete(folder)))
        elif settings.compress_after_days is not None and age >= settings.compress_after_days:
            freed = _compress(folder)
            if freed:
                done.append(TidiedSession(folder.name, "compressed", freed))
    return done


def _sealed_at(folder: Path) -> int:
    last = read_checkpoints(folder)[-1]
    assert last is not None
    return last.ts_recorded


def _compress(folder: Path) -> int:
    path = folder / EVENTS
    if not path.exists():
        return 0
    content, target = read_bytes(path), folder / f"{EVENTS}.gz"
    packed = read_bytes(target) if target.exists() else gzip.compress(content, mtime=0)
    try:
        is_equal = gzip.decompress(packed) == content
    except (OSError, EOFError, zlib.error):
        is_equal = False
    if not is_equal:
        return 0
    if not target.exists():
        write_bytes(target, packed)
    path.unlink()
    return len(content) - len(packed)


_DELETED = ".deleted"
"""End of the name of a folder while it is deleted: a crash leaves no part of a session under its name."""


def _delete(folder: Path) -> int:
    n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    leaving = folder.with_name(f".{folder.name}{_DELETED}")
    rename(folder, leaving)
    shutil.rmtree(leaving)
    return n_bytes
