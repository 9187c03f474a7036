"""The live feed: closed candles of an exchange, by the exchange's clock, with gaps found and filled after an outage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from peak_trade.core.time import NS_PER_SECOND, Timeframe
from peak_trade.journal.events import BarEvent, ClockOffsetEvent, FeedFault, FeedFaultEvent
from peak_trade.sessions.exchange import ask, pause
from peak_trade.sessions.feeds import BarCheck, FeedItem

_NS_PER_MS = 1_000_000
PAGE = 1_000
MEASURE_EVERY = 60
"""Bars between two measurements of the clock offset."""

POLL_SECONDS = 1.0


class LiveFeed:
    """Polls an exchange for candles once each should have closed.

    Parameters
    ----------
    client
        A ccxt client.
    symbol : str
    timeframe : Timeframe
    clock : callable
        Returns our now, ns UTC. It may be wrong: what has closed is decided by the exchange's clock.
    wait : callable
        Waits some seconds; returns True when the session is to stop.
    n_history : int
        Closed bars before the start that are asked for.

    """

    def __init__(
        self,
        client: Any,
        symbol: str,
        timeframe: Timeframe,
        clock: Callable[[], int],
        wait: Callable[[float], bool],
        n_history: int,
    ) -> None:
        self._client, self._symbol, self._timeframe = client, symbol, timeframe
        self._clock, self._wait, self._n_history = clock, wait, n_history
        self._check = BarCheck(symbol, timeframe)
        self._offset = 0
        self._history: list[BarEvent] | None = None

    def history(self) -> list[BarEvent]:
        """Return the last closed bars, oldest first, as of the first call; SessionError when there is no answer."""
        if self._history is None:
            self._history = self._fetch_history() if self._n_history else []
        return self._history

    def _fetch_history(self) -> list[BarEvent]:
        offset = ask(self._measure, self._wait, "clock")
        start = offset.ts_event + self._offset - (self._n_history + 1) * self._timeframe.ns
        check = BarCheck(self._symbol, self._timeframe)
        bars = ask(lambda: self._closed_after(start), self._wait, "history")
        return [bar for bar in bars if check.faults(bar)[1]][-self._n_history :]

    def items(self, after: int) -> Iterator[FeedItem]:
        """Give closed bars as they come, until `wait` says to stop."""
        import ccxt

        last = after if after > 0 else self._clock() - self._clock() % self._timeframe.ns - self._timeframe.ns
        self._check.known_until(last)
        n_failures, n_until_measured = 0, 0
        while True:
            try:
                if n_until_measured <= 0 or n_failures:
                    yield self._measure()
                    n_until_measured = MEASURE_EVERY
                bars = self._closed_after(last)
            except ccxt.OperationFailed as error:
                if n_failures == 0:
                    yield self._fault(FeedFault.DISCONNECTED, 0, f"{type(error).__name__}: {error}"[:200])
                n_failures += 1
                if self._wait(pause(n_failures - 1)):
                    return
                continue
            if n_failures:
                yield self._fault(FeedFault.RECONNECTED, 0, f"after {n_failures} attempts")
                n_failures = 0
                if len(bars) > 1:
                    yield self._fault(FeedFault.BACK_FILLED, len(bars), "bars of the outage, asked for afterwards")
            for bar in bars:
                faults, is_usable = self._check.faults(bar)
                yield from faults
                if is_usable:
                    n_until_measured -= 1
                    yield bar
                last = max(last, bar.ts_event)
            if self._wait(self._until_next(last)):
                return

    def _measure(self) -> ClockOffsetEvent:
        sent = self._clock()
        theirs = int(self._client.fetch_time()) * _NS_PER_MS
        received = self._clock()
        self._offset = theirs - (sent + received) // 2
        return ClockOffsetEvent(
            received, str(self._client.id), self._offset / _NS_PER_MS, (received - sent) / _NS_PER_MS
        )

    def _closed_after(self, last: int) -> list[BarEvent]:
        """Return the bars that close after `last` and have closed by the exchange's clock."""
        now = self._clock() + self._offset
        since = (last // _NS_PER_MS) if last > 0 else None
        rows = self._client.fetch_ohlcv(self._symbol, str(self._timeframe), since=since, limit=PAGE)
        bars = [self._bar(row) for row in rows]
        return [bar for bar in bars if last < bar.ts_event <= now]

    def _bar(self, row: list[Any]) -> BarEvent:
        close_time = int(row[0]) * _NS_PER_MS + self._timeframe.ns
        values = [math.nan if value is None else float(value) for value in row[1:6]]
        return BarEvent(close_time, self._symbol, *values)

    def _until_next(self, last: int) -> float:
        due = last + self._timeframe.ns - (self._clock() + self._offset)
        return max(due / NS_PER_SECOND, 0.0) + 0.2 if due > 0 else POLL_SECONDS

    def _fault(self, fault: FeedFault, n_bars: int, detail: str) -> FeedFaultEvent:
        return FeedFaultEvent(self._clock(), self._symbol, fault, n_bars, detail)
