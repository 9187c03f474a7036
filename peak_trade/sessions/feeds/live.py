"""The live feed: closed bars of an exchange by the exchange's clock; gaps are found, and filled after an outage."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from typing import Any

from msgspec.structs import replace

from peak_trade.core.time import NS_PER_SECOND, Timeframe, iso
from peak_trade.journal.events import BarEvent, ClockOffsetEvent, FeedFault, FeedFaultEvent, SnapshotEvent
from peak_trade.sessions.config import SessionContext
from peak_trade.sessions.feeds.base import BarCheck, FeedItem, Snapshot, snapshot_for
from peak_trade.sessions.sandbox.client import ask, pause

_NS_PER_MS = 1_000_000
PAGE = 1_000
MEASURE_EVERY = 60
"""Number of bars between two measurements of the clock offset."""

POLL_SECONDS = 1.0
BOOK_LEVELS = 20
"""Recorded levels of each side of the order book."""


def open_live(context: SessionContext) -> LiveFeed:
    """Open the feed of a session on an exchange's public data."""
    config = context.config
    return LiveFeed(
        context.client,
        config.symbol_names[0],
        Timeframe.parse(config.timeframe),
        context.clock,
        context.wait,
        config.n_history,
        max_age=None if config.risk is None else config.risk.state.max_feed_age,
        snapshot=snapshot_for(config.risk),
    )


class LiveFeed:
    """Polls an exchange for each bar once it should have closed.

    Parameters
    ----------
    client
        A ccxt client.
    symbol : str
    timeframe : Timeframe
    clock : callable
        Returns now by the machine's clock, ns UTC. The exchange's clock decides which bars have closed.
    wait : callable
        Waits some seconds; returns True if the session is to stop.
    n_history : int
        Number of closed bars before the start.
    max_age : float or None
        Age of the newest bar by the exchange's clock, seconds, above which the feed is stale. Reported once each time.
    snapshot : {"nothing", "age", "book"}
        What is yielded before each bar for the gates: nothing, the exchange's clock, or also its order book.

    """

    def __init__(
        self,
        client: Any,
        symbol: str,
        timeframe: Timeframe,
        clock: Callable[[], int],
        wait: Callable[[float], bool],
        n_history: int,
        *,
        max_age: float | None = None,
        snapshot: Snapshot = "nothing",
    ) -> None:
        self._client, self._symbol, self._timeframe = client, symbol, timeframe
        self._clock, self._wait, self._n_history = clock, wait, n_history
        self._check = BarCheck(symbol, timeframe)
        self._max_age, self._snapshot = max_age, snapshot
        self._newest = 0
        self._is_stale = False
        self._offset = 0
        self._history: list[BarEvent] | None = None

    def history(self) -> list[BarEvent]:
        """Return the last closed bars at the first call, oldest first; SessionError if the exchange does not answer."""
        if self._history is None:
            self._history = self._fetch_history() if self._n_history else []
        return self._history

    def _fetch_history(self) -> list[BarEvent]:
        offset = ask(self.measure, self._wait, "clock")
        start = offset.ts_event + self._offset - (self._n_history + 1) * self._timeframe.ns
        check = BarCheck(self._symbol, self._timeframe)
        bars = ask(lambda: self._closed_after(start), self._wait, "history")
        return [bar for bar in bars if check.faults(bar)[1]][-self._n_history :]

    def items(self, after: int) -> Iterator[FeedItem]:
        """Yield bars as they close, until `wait` returns True."""
        import ccxt

        last = after if after > 0 else self._clock() - self._clock() % self._timeframe.ns - self._timeframe.ns
        self._check.known_until(last)
        self._newest = max(after, 0)
        n_failures, n_until_measured = 0, 0
        while True:
            try:
                if n_until_measured <= 0 or n_failures:
                    yield self.measure()
                    n_until_measured = MEASURE_EVERY
                yield from self._stale()
                bars = self._closed_after(last)
            except ccxt.OperationFailed as error:
                if n_failures == 0:
                    yield self._fault(FeedFault.DISCONNECTED, 0, f"{type(error).__name__}: {error}"[:200])
                n_failures += 1
                if (yield from self._pause(pause(n_failures - 1))):
                    return
                continue
            if n_failures:
                yield self._fault(FeedFault.RECONNECTED, 0, f"after {n_failures} attempts")
                n_failures = 0
                if len(bars) > 1:
                    yield self._fault(FeedFault.BACK_FILLED, len(bars), "bars of the outage, asked for afterwards")
            shown = self._market_now() if bars and self._snapshot != "nothing" else None
            for bar in bars:
                faults, is_usable = self._check.faults(bar)
                yield from faults
                if is_usable:
                    n_until_measured -= 1
                    if shown is not None:
                        now = max(self._now(), shown.book_time)
                        yield replace(shown, ts_event=now, feed_age=(now - bar.ts_event) / NS_PER_SECOND)
                    self._newest, self._is_stale = bar.ts_event, False
                    yield bar
                last = max(last, bar.ts_event)
            if (yield from self._pause(self._until_next(last))):
                return

    def _now(self) -> int:
        return self._clock() + self._offset

    def _pause(self, seconds: float) -> Generator[FeedItem, None, bool]:
        """Wait and report if the feed becomes stale meanwhile; return whether to stop."""
        if self._newest and self._max_age is not None and not self._is_stale:
            left = self._max_age - (self._now() - self._newest) / NS_PER_SECOND + 0.001
            if left < seconds:
                if self._wait(left):
                    return True
                yield from self._stale()
                seconds -= max(left, 0.0)
        return self._wait(seconds)

    def _stale(self) -> Iterator[FeedItem]:
        if not self._newest or self._max_age is None or self._is_stale:
            return
        now = self._now()
        if (now - self._newest) / NS_PER_SECOND > self._max_age:
            self._is_stale = True
            yield FeedFaultEvent(now, self._symbol, FeedFault.STALE, 0, f"no bar since {iso(self._newest)}")

    def _market_now(self) -> SnapshotEvent:
        """Return the exchange's clock and book. One attempt: without an answer there is no book and its gates deny."""
        import ccxt

        asked = self._now()
        nothing = SnapshotEvent(asked, self._symbol, 0.0)
        if self._snapshot != "book":
            return nothing
        try:
            answer = self._client.fetch_order_book(self._symbol, BOOK_LEVELS)
            stamp = answer.get("timestamp")
            bids, asks = (
                tuple((float(level[0]), float(level[1])) for level in answer[side][:BOOK_LEVELS])
                for side in ("bids", "asks")
            )
        except (ccxt.BaseError, KeyError, IndexError, TypeError, ValueError) as error:
            return replace(nothing, detail=f"{type(error).__name__}: {error}"[:200])
        return replace(nothing, book_time=asked if stamp is None else int(stamp) * _NS_PER_MS, bids=bids, asks=asks)

    def measure(self) -> ClockOffsetEvent:
        """Measure the offset of the exchange's clock from the machine's."""
        sent = self._clock()
        theirs = int(self._client.fetch_time()) * _NS_PER_MS
        received = self._clock()
        self._offset = theirs - (sent + received) // 2
        return ClockOffsetEvent(
            received, str(self._client.id), self._offset / _NS_PER_MS, (received - sent) / _NS_PER_MS
        )

    def _closed_after(self, last: int) -> list[BarEvent]:
        """Return the bars that close after `last` and have closed by the exchange's clock."""
        now = self._now()
        since = (last // _NS_PER_MS) if last > 0 else None
        rows = self._client.fetch_ohlcv(self._symbol, str(self._timeframe), since=since, limit=PAGE)
        bars = [self._bar(row) for row in rows]
        return [bar for bar in bars if last < bar.ts_event <= now]

    def _bar(self, row: list[Any]) -> BarEvent:
        close_time = int(row[0]) * _NS_PER_MS + self._timeframe.ns
        values = [math.nan if value is None else float(value) for value in row[1:6]]
        return BarEvent(close_time, self._symbol, *values)

    def _until_next(self, last: int) -> float:
        due = last + self._timeframe.ns - self._now()
        return max(due / NS_PER_SECOND, 0.0) + 0.2 if due > 0 else POLL_SECONDS

    def _fault(self, fault: FeedFault, n_bars: int, detail: str) -> FeedFaultEvent:
        return FeedFaultEvent(self._clock(), self._symbol, fault, n_bars, detail)
