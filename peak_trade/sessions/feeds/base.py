"""Where a session's bars come from: closed bars in order, with every fault of the source as an event beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol

from peak_trade.core.bars import COLUMNS, Bars
from peak_trade.core.time import NS_PER_SECOND, Timeframe, iso
from peak_trade.journal.events import BarEvent, ClockOffsetEvent, FeedFault, FeedFaultEvent, SnapshotEvent

FeedItem = BarEvent | FeedFaultEvent | ClockOffsetEvent | SnapshotEvent
FROZEN_AFTER = 30
"""Equal bars in a row after which a price counts as frozen."""


class Feed(Protocol):
    """A source of bars of one symbol and one timeframe."""

    def history(self) -> list[BarEvent]:
        """Return the closed bars before the session starts: known to the strategy, never traded on."""

    def items(self, after: int) -> Iterator[FeedItem]:
        """Give the bars that close after `after` (ns UTC), oldest first, and the faults and measurements between.

        A snapshot stands before the bar that it belongs to.
        """


class BarCheck:
    """Holds each bar of a source against the bar contract and the bars before it."""

    def __init__(self, symbol: str, timeframe: Timeframe) -> None:
        self._symbol, self._timeframe = symbol, timeframe
        self._last: BarEvent | None = None
        self._last_time = 0
        self._n_equal = 0

    def known_until(self, time: int) -> None:
        """Take bars up to `time` (ns UTC) as seen by a session before it was taken up."""
        self._last_time = max(self._last_time, time)

    def faults(self, bar: BarEvent) -> tuple[list[FeedFaultEvent], bool]:
        """Return what is wrong with the next bar, and whether it can be used."""
        why = _malformed(bar)
        if why:
            return [self._fault(bar, FeedFault.MALFORMED, 1, why)], False
        last, since = self._last, self._last_time
        if since and bar.ts_event == since:
            detail = "the same again" if bar == last else "other prices than before; the first ones stand"
            return [self._fault(bar, FeedFault.DUPLICATE, 1, detail)], False
        if bar.ts_event < since:
            return [self._fault(bar, FeedFault.OUT_OF_ORDER, 1, f"came after the bar of {iso(since)}")], False
        found = []
        n_missing = (bar.ts_event - since) // self._timeframe.ns - 1 if since else 0
        if n_missing > 0:
            detail = f"no bar between {iso(since)} and {iso(bar.ts_event)}"
            found.append(self._fault(bar, FeedFault.GAP, n_missing, detail))
        if last is not None:
            is_equal = (bar.open, bar.high, bar.low, bar.close) == (last.open, last.high, last.low, last.close)
            self._n_equal = self._n_equal + 1 if is_equal else 0
            if self._n_equal == FROZEN_AFTER:
                found.append(self._fault(bar, FeedFault.FROZEN, self._n_equal, f"every price is {bar.close:g}"))
        self._last, self._last_time = bar, bar.ts_event
        return found, True

    def _fault(self, bar: BarEvent, fault: FeedFault, n_bars: int, detail: str) -> FeedFaultEvent:
        return FeedFaultEvent(bar.ts_event, self._symbol, fault, n_bars, detail)


class RecordedFeed:
    """Bars from the store, at full speed or paced: at `pace` 60 an hour of bars takes a minute.

    `wait` waits some seconds and returns whether the session is to stop: the bar that was waited for is not given then.
    Bars that close at or before `starts_at` (ns UTC) are history; None trades from the first bar on.
    """

    def __init__(
        self,
        bars: Bars,
        *,
        starts_at: int | None = None,
        pace: float | None = None,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._bars, self._pace, self._wait = bars, pace, wait
        self._n_history = 0 if starts_at is None else int((bars.times <= starts_at).sum())
        self._events = bar_events(bars)

    def history(self) -> list[BarEvent]:
        """Return the bars up to the start."""
        return self._events[: self._n_history]

    def items(self, after: int) -> Iterator[FeedItem]:
        """Give the rest of the recording, until `wait` returns True."""
        check = BarCheck(self._bars.symbol, self._bars.timeframe)
        previous: int | None = None
        for place, bar in enumerate(self._events):
            faults, _ = check.faults(bar)
            if place < self._n_history or bar.ts_event <= after:
                continue
            if previous is not None and self._is_stopped_before(bar.ts_event - previous):
                return
            previous = bar.ts_event
            yield from faults
            yield bar

    def _is_stopped_before(self, passed: int) -> bool:
        if self._pace is None or self._wait is None:
            return False
        return self._wait(passed / NS_PER_SECOND / self._pace) is True


def bar_events(bars: Bars) -> list[BarEvent]:
    """Return bars as events."""
    columns = [bars.frame[name].to_numpy().tolist() for name in COLUMNS]
    return [
        BarEvent(time, bars.symbol, *values)
        for time, *values in zip(bars.times.tolist(), *columns, strict=True)
    ]  # fmt: skip


def _malformed(bar: BarEvent) -> str:
    prices = (bar.open, bar.high, bar.low, bar.close)
    if not all(math.isfinite(value) for value in (*prices, bar.volume)):
        return f"open {bar.open}, high {bar.high}, low {bar.low}, close {bar.close}, volume {bar.volume}"
    if min(prices) <= 0.0 or bar.volume < 0.0:
        return f"a price or volume below zero: low {bar.low:g}, volume {bar.volume:g}"
    if bar.high < max(prices) or bar.low > min(prices):
        return f"high {bar.high:g} and low {bar.low:g} do not hold open {bar.open:g} and close {bar.close:g}"
    return ""
