"""The feed of a shadow: the bars that another session records, as it records them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from peak_trade.journal.events import BarEvent, Event, SessionEvent, SessionPhase
from peak_trade.journal.files import EVENTS, events_path, is_sealed, read_content
from peak_trade.journal.lines import read_line, whole_lines
from peak_trade.journal.lock import is_open
from peak_trade.sessions.feeds import FeedItem

POLL_SECONDS = 0.2


class BesideFeed:
    """Follows the journal of a session until it ends, or `wait` says to stop."""

    def __init__(self, folder: Path, wait: Callable[[float], bool]) -> None:
        self._folder, self._wait = folder, wait

    def history(self) -> list[BarEvent]:
        """Return the bars that were history to the session that is followed, once it has started."""
        bars: list[BarEvent] = []
        for event in self._events():
            if isinstance(event, SessionEvent) and event.phase is SessionPhase.STARTED:
                break
            if isinstance(event, BarEvent):
                bars.append(event)
        return bars

    def items(self, after: int) -> Iterator[FeedItem]:
        """Give each bar once it is on disk, until the session ends."""
        is_started = False
        for event in self._events():
            if isinstance(event, SessionEvent) and event.phase is SessionPhase.STARTED:
                is_started = True
            elif isinstance(event, BarEvent) and is_started and event.ts_event > after:
                yield event

    def _events(self) -> Iterator[Event]:
        read = 0
        while True:
            is_over = is_sealed(self._folder) or not is_open(self._folder)
            content = read_content(self._folder) if is_over else _tail(self._folder, read)
            fresh = content[read:] if is_over else content
            for text in whole_lines(fresh):
                yield read_line(text, str(events_path(self._folder))).event
                read += len(text) + 1
            if is_over or self._wait(POLL_SECONDS):
                return


def _tail(folder: Path, start: int) -> bytes:
    path = folder / EVENTS
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(start, os.SEEK_SET)
        return file.read()
