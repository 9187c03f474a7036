"""The part of a journal that an exchange wrote: read when a session resumes and when it is replayed.

A journal has no field that says who ended an order: the reason does. This module holds that spelling, and the one of
the first comparison, for the venue that writes them and for the reader.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

from peak_trade.journal.events import BarEvent, Event, OrderEvent, OrderEventKind, ReconciliationEvent

_BY_EXCHANGE = "by the exchange"
_BASELINE = "baseline"
TRADES = (OrderEventKind.PARTIALLY_FILLED, OrderEventKind.FILLED)


def reason_of_exchange(detail: str) -> str:
    """Return the recorded reason of an order that the exchange ended or rejected."""
    return f"{_BY_EXCHANGE}: {detail}"[:200]


def is_of_exchange(event: OrderEvent) -> bool:
    """Return whether the exchange caused an event, by a trade or by ending the order."""
    return event.event in TRADES or event.reason.startswith(_BY_EXCHANGE)


def baseline_event(now: int, subject: str, amount: float) -> ReconciliationEvent:
    """Return the first comparison of a holding, which takes it as given."""
    return ReconciliationEvent(now, subject, amount, amount, is_equal=True, detail=_BASELINE)


def baseline_of(recorded: Sequence[Event]) -> tuple[dict[str, float], int]:
    """Return the holdings at the first comparison, and its instant: ns UTC, 0 when there was none."""
    found = [event for event in recorded if isinstance(event, ReconciliationEvent) and event.detail == _BASELINE]
    return {event.subject: event.observed for event in found}, found[0].ts_event if found else 0


def exchange_events(recorded: Sequence[Event]) -> tuple[dict[int, list[OrderEvent]], deque[OrderEvent]]:
    """Return the events that the exchange caused: those reported with a bar, by its close in ns UTC, and the others."""
    with_bars: dict[int, list[OrderEvent]] = {}
    between: deque[OrderEvent] = deque()
    bar_time: int | None = None
    for event in recorded:
        if isinstance(event, BarEvent):
            bar_time = event.ts_event
        elif not (isinstance(event, OrderEvent) and is_of_exchange(event)):
            bar_time = None
        elif bar_time is None:
            between.append(event)
        else:
            with_bars.setdefault(bar_time, []).append(event)
    return with_bars, between


def events_by_order(recorded: Sequence[Event]) -> dict[str, list[OrderEvent]]:
    """Return the events of each order by its id."""
    by_id: dict[str, list[OrderEvent]] = defaultdict(list)
    for event in recorded:
        if isinstance(event, OrderEvent):
            by_id[event.order_id].append(event)
    return dict(by_id)
