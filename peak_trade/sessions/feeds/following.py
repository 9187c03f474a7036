"""The feed of a shadow: the bars that another session records, as it records them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeGuard

from peak_trade.journal.codec import complete_lines, read_line
from peak_trade.journal.events import (
    BarEvent,
    Event,
    FeedFault,
    FeedFaultEvent,
    SessionEvent,
    SessionPhase,
    SnapshotEvent,
)
from peak_trade.journal.files import EVENTS, events_path, is_sealed, journal_version, read_content, read_since
from peak_trade.journal.lock import is_open
from peak_trade.sessions.config import SessionContext
from peak_trade.sessions.feeds.base import FeedItem, snapshot_for
from peak_trade.sessions.store import find_session

POLL_SECONDS = 0.2


def open_follower(context: SessionContext) -> FollowerFeed:
    """Open the feed of a session that follows another one."""
    config = context.config
    assert config.follow is not None
    sees_snapshots = snapshot_for(config.risk) != "nothing"
    return FollowerFeed(find_session(config.follow), context.wait, sees_snapshots=sees_snapshots)


class FollowerFeed:
    """Follows the journal of a session until that session ends, or `wait` returns True.

    With `sees_snapshots` it also yields the snapshots that the other session recorded for its gates. It always yields
    that the other session's feed is stale, and which symbols have no bar at a close.
    """

    def __init__(self, folder: Path, wait: Callable[[float], bool], *, sees_snapshots: bool = False) -> None:
        self._folder, self._wait, self._sees_snapshots = folder, wait, sees_snapshots

    def history(self) -> list[BarEvent]:
        """Return the history of the session that is followed, once that session has started."""
        bars: list[BarEvent] = []
        for event in self._events():
            if isinstance(event, SessionEvent) and event.phase is SessionPhase.STARTED:
                break
            if isinstance(event, BarEvent):
                bars.append(event)
        return bars

    def items(self, after: int) -> Iterator[FeedItem]:
        """Yield each bar once it is on disk, until the session ends."""
        is_started, last = False, -1
        for event in self._events():
            if isinstance(event, SessionEvent) and event.phase is SessionPhase.STARTED:
                is_started = True
            elif isinstance(event, BarEvent):
                last = event.ts_event
                if is_started and last > after:
                    yield event
            elif is_started and last >= after and self._is_relevant(event, after):
                yield event

    def _is_relevant(self, event: Event, after: int) -> TypeGuard[FeedFaultEvent | SnapshotEvent]:
        if isinstance(event, FeedFaultEvent):
            return event.fault is FeedFault.STALE or (event.fault is FeedFault.INCOMPLETE and event.ts_event > after)
        return isinstance(event, SnapshotEvent) and self._sees_snapshots

    def _events(self) -> Iterator[Event]:
        read, version = 0, journal_version(self._folder)
        while True:
            is_over = is_sealed(self._folder) or not is_open(self._folder)
            content = read_content(self._folder) if is_over else read_since(self._folder / EVENTS, read)
            fresh = content[read:] if is_over else content
            for text in complete_lines(fresh):
                yield read_line(text, str(events_path(self._folder)), version).event
                read += len(text) + 1
            if is_over or self._wait(POLL_SECONDS):
                return
