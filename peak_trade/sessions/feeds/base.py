"""The feed port, the check of a feed's bars, and the feed of a recording."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Literal, Protocol

from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars
from peak_trade.core.time import NS_PER_SECOND, Timeframe, iso, parse_utc, to_ns
from peak_trade.journal.events import BarEvent, ClockOffsetEvent, FeedFault, FeedFaultEvent, SnapshotEvent
from peak_trade.risk.limits import RiskLimits
from peak_trade.sessions.config import SessionContext

FeedItem = BarEvent | FeedFaultEvent | ClockOffsetEvent | SnapshotEvent
FROZEN_AFTER = 30
"""Number of equal bars in a row after which a price counts as frozen."""

Snapshot = Literal["nothing", "age", "book"]
"""Part of a live market that is recorded with each bar for the gates: the exchange's clock, or also its order book."""


def snapshot_for(limits: RiskLimits | None) -> Snapshot:
    """Return the part of a live market that limits need in addition to the bars."""
    if limits is None:
        return "nothing"
    if limits.liquidity is not None and limits.liquidity.book == "declared":
        return "book"
    return "nothing" if limits.max_data_age is None else "age"


class Feed(Protocol):
    """A source of closed bars of one timeframe.

    The bars of one close come together. Where some symbols have none, the fault INCOMPLETE follows; a history has no
    faults.
    """

    def history(self) -> list[BarEvent]:
        """Return the closed bars before the session starts. The strategy knows them; they are not traded."""

    def items(self, after: int) -> Iterator[FeedItem]:
        """Yield the bars that close after `after` (ns UTC), oldest first, with faults and measurements in between.

        A snapshot precedes its bar.
        """


class BarCheck:
    """Checks each bar of a source against the bar contract and the bars before it.

    Without volume, only the prices of a bar are checked.
    """

    def __init__(self, symbol: str, timeframe: Timeframe, has_volume: bool = True) -> None:
        self._symbol, self._timeframe, self._has_volume = symbol, timeframe, has_volume
        self._last: BarEvent | None = None
        self._last_time = 0
        self._n_equal = 0

    def known_until(self, time: int) -> None:
        """Treat bars up to `time` (ns UTC) as checked: a resumed session has them."""
        self._last_time = max(self._last_time, time)

    def faults(self, bar: BarEvent) -> tuple[list[FeedFaultEvent], bool]:
        """Return the faults of the next bar, and whether the bar can be used."""
        problem = fault_of(bar, bar.volume if self._has_volume else 0.0)
        if problem:
            return [self._fault(bar, FeedFault.MALFORMED, 1, problem)], False
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


def open_recording(context: SessionContext) -> RecordedFeed:
    """Open the feed of a session over the store's bars."""
    assert context.recording is not None
    start = context.config.start
    return RecordedFeed(
        *context.recording,
        starts_at=None if start is None else to_ns(parse_utc(start, "start")) - 1,
        pace=context.config.pace,
        wait=context.wait,
    )


class RecordedFeed:
    """Bars of the store, one Bars per symbol, at full speed or paced.

    At a `pace` of 60, an hour of bars takes a minute. `wait` waits some seconds and returns True if the session is to
    stop; the bars that it waited for are then left out. Bars that close at or before `starts_at` (ns UTC) are history;
    None: all bars are traded. The bars of one close come in the order of their symbols. Symbols that have none at it
    are named by one fault after them.
    """

    def __init__(
        self,
        *bars: Bars,
        starts_at: int | None = None,
        pace: float | None = None,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._bars, self._pace, self._wait = sorted(bars, key=lambda part: part.symbol), pace, wait
        self._starts_at = -1 if starts_at is None else starts_at
        events = [event for part in self._bars for event in bar_events(part)]
        self._events = events if len(bars) == 1 else sorted(events, key=lambda event: (event.ts_event, event.symbol))

    def history(self) -> list[BarEvent]:
        """Return the bars up to the start."""
        return [bar for bar in self._events if bar.ts_event <= self._starts_at]

    def items(self, after: int) -> Iterator[FeedItem]:
        """Yield the other bars of the recording, until `wait` returns True."""
        checks = {part.symbol: BarCheck(part.symbol, part.timeframe, part.has_volume) for part in self._bars}
        previous: int | None = None
        for time, bars in groupby(self._events, lambda bar: bar.ts_event):
            found = [(checks[bar.symbol].faults(bar)[0], bar) for bar in bars]
            if time <= max(self._starts_at, after):
                continue
            if previous is not None and self._is_stopped_before(time - previous):
                return
            previous = time
            for faults, bar in found:
                yield from faults
                yield bar
            if len(found) < len(checks):
                yield incomplete(time, [symbol for symbol in checks if symbol not in {bar.symbol for _, bar in found}])

    def _is_stopped_before(self, passed: int) -> bool:
        if self._pace is None or self._wait is None:
            return False
        return self._wait(passed / NS_PER_SECOND / self._pace) is True


def incomplete(time: int, missing: Sequence[str]) -> FeedFaultEvent:
    """Return the fault of a close, ns UTC, at which some symbols have no bar."""
    return FeedFaultEvent(time, ", ".join(missing), FeedFault.INCOMPLETE, len(missing), "no bar at this close")


def bar_events(bars: Bars) -> list[BarEvent]:
    """Return bars as events."""
    columns = [bars.frame[name].to_numpy().tolist() for name in COLUMNS]
    return [
        BarEvent(time, bars.symbol, *values)
        for time, *values in zip(bars.times.tolist(), *columns, strict=True)
    ]  # fmt: skip


def fault_of(bar: BarEvent, volume: float) -> str:
    """Return which part of the bar contract a bar breaks, empty if none; `volume` is that of the bar, 0.0 for none."""
    prices = (bar.open, bar.high, bar.low, bar.close)
    if not all(math.isfinite(value) for value in (*prices, volume)):
        return f"open {bar.open}, high {bar.high}, low {bar.low}, close {bar.close}, volume {volume}"
    if min(prices) <= 0.0 or volume < 0.0:
        return f"a price or volume below zero: low {bar.low:g}, volume {volume:g}"
    if bar.high < max(prices) or bar.low > min(prices):
        return f"high {bar.high:g} and low {bar.low:g} do not hold open {bar.open:g} and close {bar.close:g}"
    return ""
