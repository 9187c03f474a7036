"""The bars of a session held against its span, its manifest and the store."""

from __future__ import annotations

from pathlib import Path

from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.core.time import iso, parse_utc, to_ns
from peak_trade.journal.events import BarEvent
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.feeds import bar_events
from peak_trade.sessions.store import find_session


def check_span(config: SessionConfig, recording: Bars | None) -> None:
    """Raise ConfigError when a recording has no bar from the start on."""
    if recording is None or config.start is None:
        return
    last = int(recording.times[-1])
    if last < to_ns(parse_utc(config.start, "start")):
        raise ConfigError(f"start was {config.start}: the last bar of the recording closes at {iso(last)}.")


def first_bar(config: SessionConfig, recording: Bars | None, now: int) -> int:
    """Return where the past of a session without history begins, ns UTC; a shadow's is its session's."""
    if recording is not None:
        return int(recording.times[0])
    if config.beside is None:
        return now
    followed = read_manifest(find_session(config.beside)).get("history_start")
    return now if followed is None else to_ns(parse_utc(str(followed), "history_start"))


def hold_against_store(folder: Path, recording: Bars | None) -> None:
    """Raise SessionError when the store's bars are not the manifest's, or a recorded bar is not the store's."""
    if recording is None:
        return
    if recording.digest() != read_manifest(folder).get("digests", {}).get("data"):
        raise SessionError(
            f"{folder.name}: the store's bars are not the ones that the session started on; restore them, "
            "or start a new session."
        )
    true = {bar.ts_event: bar for bar in bar_events(recording)}
    for event in read_events(folder):
        if isinstance(event, BarEvent) and event != true.get(event.ts_event):
            raise SessionError(
                f"{folder.name}: the journal holds a bar of {iso(event.ts_event)} that is not the store's. "
                "Start a new session."
            )
