"""The feeds of a session by name; to add one, write its file and its entry."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """A feed: the `module:function` that opens it from a session's context, and what its bars are."""

    place: str
    clock: str
    """The clock of its bars, for the manifest."""

    is_recorded: bool = False
    """Whether it reads bars of the store: only then a session has a start, an end and a pace."""

    is_live: bool = False
    """Whether bars close as time passes, at an exchange whose client the context holds."""

    def open(self, context: Any) -> Any:
        """Open the feed of a session."""
        return pkgutil.resolve_name(self.place)(context)


FEEDS: dict[str, FeedEntry] = {
    "recorded": FeedEntry(
        "peak_trade.sessions.feeds.base:open_recording", "the recording's close times", is_recorded=True
    ),
    "live": FeedEntry("peak_trade.sessions.feeds.live:open_live", "the machine's, offset measured", is_live=True),
    "follow": FeedEntry(
        "peak_trade.sessions.feeds.following:open_follower",
        "the machine's, offset not measured: the bars are those of the session that is followed",
    ),
}
