"""The feed that a session's configuration names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe, parse_utc, to_ns
from peak_trade.risk.limits import RiskLimits
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.feeds.base import Feed, RecordedFeed
from peak_trade.sessions.feeds.following import FollowerFeed
from peak_trade.sessions.feeds.live import LiveFeed, Shows
from peak_trade.sessions.store import find_session


def feed_of(
    config: SessionConfig,
    recording: Bars | None,
    client: Any,
    clock: Callable[[], int],
    wait: Callable[[float], bool],
) -> Feed:
    """Return the feed of a session: its recording, the session it follows or the exchange of `client`.

    `clock` returns now, ns UTC; `wait` waits some seconds and returns whether the session is to stop.
    """
    if recording is not None:
        starts_at = None if config.start is None else to_ns(parse_utc(config.start, "start")) - 1
        return RecordedFeed(recording, starts_at=starts_at, pace=config.pace, wait=wait)
    shows = shows_for(config.risk)
    if config.follow is not None:
        return FollowerFeed(find_session(config.follow), wait, sees_snapshots=shows != "nothing")
    return LiveFeed(
        client,
        config.symbol,
        Timeframe.parse(config.timeframe),
        clock,
        wait,
        config.n_history,
        max_age=None if config.risk is None else config.risk.state.max_feed_age,
        shows=shows,
    )


def shows_for(limits: RiskLimits | None) -> Shows:
    """Return what limits need to be shown of a live market beside its bars."""
    if limits is None:
        return "nothing"
    if limits.liquidity is not None and limits.liquidity.book == "declared":
        return "book"
    return "nothing" if limits.max_data_age is None else "age"
