"""The live feed: closed bars of an exchange by the exchange's clock; gaps are found, and filled after an outage.

The bars of several symbols are joined by their close: a close is complete once every symbol has its bar, or LATE_AFTER
after it. A bar that comes later is not used, and recorded as out of order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from peak_trade.core.time import NS_PER_SECOND, Timeframe, iso
from peak_trade.journal.events import BarEvent, ClockOffsetEvent, FeedFault, FeedFaultEvent, SnapshotEvent
from peak_trade.sessions.config import SessionContext
from peak_trade.sessions.feeds.base import BarCheck, FeedItem, Snapshot, incomplete, snapshot_for
from peak_trade.sessions.sandbox.client import ask, pause

_NS_PER_MS = 1_000_000
PAGE = 1_000
MEASURE_EVERY = 60
"""Number of bars between two measurements of the clock offset."""

POLL_SECONDS = 1.0
LATE_AFTER = 10.0
"""Seconds after a close, by the exchange's clock, for which a session of several symbols waits for all bars of it."""

BOOK_LEVELS = 20
"""Recorded levels of each side of the order book."""


def open_live(context: SessionContext) -> LiveFeed:
    """Open the feed of a session on an exchange's public data."""
    config = context.config
    return LiveFeed(
        context.client,
        config.symbol_names,
        Timeframe.parse(config.timeframe),
        context.clock,
        context.wait,
        config.n_history,
        max_age=None if config.risk is None else config.risk.state.max_feed_age,
        snapshot=snapshot_for(config.risk),
    )


class LiveFeed:
    """Polls an exchange for the bars of each close once they should have closed.

    Parameters
    ----------
    client
        A ccxt client.
    symbols : sequence of str
    timeframe : Timeframe
    clock : callable
        Returns now by the machine's clock, ns UTC. The exchange's clock decides which bars have closed.
    wait : callable
        Waits some seconds; returns True if the session is to stop.
    n_history : int
        Number of closed bars of each symbol before the start.
    max_age : float or None
        Age of the newest bar by the exchange's clock, seconds, above which the feed is stale. Reported once each time.
    snapshot : {"nothing", "age", "book"}
        What is yielded before each bar for the gates: nothing, the exchange's clock, or also its order book.

    """

    def __init__(
        self,
        client: Any,
        symbols: Sequence[str],
        timeframe: Timeframe,
        clock: Callable[[], int],
        wait: Callable[[float], bool],
        n_history: int,
        *,
        max_age: float | None = None,
        snapshot: Snapshot = "nothing",
    ) -> None:
        self._client, self._symbols, self._timeframe = client, tuple(sorted(symbols)), timeframe
        self._clock, self._wait, self._n_history = clock, wait, n_history
        self._checks = {symbol: BarCheck(symbol, timeframe) for symbol in self._symbols}
        self._last: dict[str, int] = {}
        self._waiting: dict[int, dict[str, BarEvent]] = {}
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
        found: list[BarEvent] = []
        for symbol in self._symbols:
            check = BarCheck(symbol, self._timeframe)
            bars = ask(partial(self._closed_after, symbol, start), self._wait, "history")
            found += [bar for bar in bars if check.faults(bar)[1]][-self._n_history :]
        return sorted(found, key=lambda bar: bar.ts_event)

    def items(self, after: int) -> Iterator[FeedItem]:
        """Yield bars as they close, until `wait` returns True."""
        import ccxt

        decided = after if after > 0 else self._clock() - self._clock() % self._timeframe.ns - self._timeframe.ns
        for symbol, check in self._checks.items():
            check.known_until(decided)
            self._last[symbol] = decided
        self._newest = max(after, 0)
        n_failures, n_until_measured = 0, 0
        while True:
            try:
                if n_until_measured <= 0 or n_failures:
                    yield self.measure()
                    n_until_measured = MEASURE_EVERY
                yield from self._stale()
                polled = [self._closed_after(symbol, self._last[symbol]) for symbol in self._symbols]
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
                n_closes = max(map(len, polled))
                if n_closes > 1:
                    yield self._fault(FeedFault.BACK_FILLED, n_closes, "bars of the outage, asked for afterwards")
            shown: dict[str, SnapshotEvent] = {}
            for bar in [*_by_close(polled), None]:
                if bar is not None:
                    yield from self._take(bar, decided)
                for time, close in self._complete(has_late=bar is None):
                    decided, n_until_measured = time, n_until_measured - 1
                    yield from self._close(time, close, shown)
            if (yield from self._pause(self._until_next(max(decided, min(self._last.values()))))):
                return

    def _take(self, bar: BarEvent, decided: int) -> Iterator[FeedItem]:
        """Keep a bar until its close is complete, and yield its faults; a bar that is not usable is dropped."""
        self._last[bar.symbol] = max(self._last[bar.symbol], bar.ts_event)
        if len(self._symbols) > 1 and bar.ts_event <= decided:
            detail = "came after the session had decided on its close without it"
            yield FeedFaultEvent(bar.ts_event, bar.symbol, FeedFault.OUT_OF_ORDER, 1, detail)
            return
        faults, is_usable = self._checks[bar.symbol].faults(bar)
        yield from faults
        if is_usable:
            self._waiting.setdefault(bar.ts_event, {})[bar.symbol] = bar

    def _close(self, time: int, bars: Mapping[str, BarEvent], shown: dict[str, SnapshotEvent]) -> Iterator[FeedItem]:
        """Yield the bars of a complete close, each after its snapshot, and the symbols that have none."""
        for symbol, bar in bars.items():
            if self._snapshot != "nothing":
                snapshot = shown[symbol] = shown.get(symbol) or self._market_now(symbol)
                now = max(self._now(), snapshot.book_time)
                yield replace(snapshot, ts_event=now, feed_age=(now - time) / NS_PER_SECOND)
            self._newest, self._is_stale = time, False
            yield bar
        missing = [symbol for symbol in self._symbols if symbol not in bars]
        if missing:
            yield incomplete(time, missing)

    def _complete(self, *, has_late: bool) -> list[tuple[int, dict[str, BarEvent]]]:
        """Return the closes that wait for no bar any more, oldest first, each with its bars by symbol in their order.

        With `has_late` also those whose bars are late.
        """
        found = []
        for time in sorted(self._waiting):
            is_late = has_late and self._now() - time > LATE_AFTER * NS_PER_SECOND
            if not is_late and any(last < time for last in self._last.values()):
                break
            held = self._waiting.pop(time)
            found.append((time, {symbol: held[symbol] for symbol in self._symbols if symbol in held}))
        return found

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
            yield FeedFaultEvent(now, ", ".join(self._symbols), FeedFault.STALE, 0, f"no bar since {iso(self._newest)}")

    def _market_now(self, symbol: str) -> SnapshotEvent:
        """Return the exchange's clock and book. One attempt: without an answer there is no book and its gates deny."""
        import ccxt

        asked = self._now()
        nothing = SnapshotEvent(asked, symbol, 0.0)
        if self._snapshot != "book":
            return nothing
        try:
            answer = self._client.fetch_order_book(symbol, BOOK_LEVELS)
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

    def _closed_after(self, symbol: str, last: int) -> list[BarEvent]:
        """Return the bars of a symbol that close after `last` and have closed by the exchange's clock."""
        now = self._now()
        since = (last // _NS_PER_MS) if last > 0 else None
        rows = self._client.fetch_ohlcv(symbol, str(self._timeframe), since=since, limit=PAGE)
        bars = [self._bar(symbol, row) for row in rows]
        return [bar for bar in bars if last < bar.ts_event <= now]

    def _bar(self, symbol: str, row: list[Any]) -> BarEvent:
        close_time = int(row[0]) * _NS_PER_MS + self._timeframe.ns
        values = [math.nan if value is None else float(value) for value in row[1:6]]
        return BarEvent(close_time, symbol, *values)

    def _until_next(self, last: int) -> float:
        due = last + self._timeframe.ns - self._now()
        return max(due / NS_PER_SECOND, 0.0) + 0.2 if due > 0 else POLL_SECONDS

    def _fault(self, fault: FeedFault, n_bars: int, detail: str) -> FeedFaultEvent:
        return FeedFaultEvent(self._clock(), ", ".join(self._symbols), fault, n_bars, detail)


def _by_close(polled: Sequence[Sequence[BarEvent]]) -> list[BarEvent]:
    """Return the bars of several symbols by their close; those of one symbol stay as they came."""
    bars = [bar for part in polled for bar in part]
    return bars if len(polled) == 1 else sorted(bars, key=lambda bar: bar.ts_event)
