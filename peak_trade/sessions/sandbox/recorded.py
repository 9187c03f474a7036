"""What the journal of a testnet session that is taken up or replayed holds of its exchange."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

from peak_trade.journal.events import BarEvent, Event, OrderEvent, OrderEventKind, ReconciliationEvent

BY_EXCHANGE = "by the exchange"
"""Opens the reason of every end that the exchange, not we, brought about."""

BASELINE = "baseline"
"""Detail of the first comparison, which takes what the account holds as given."""

TRADES = (OrderEventKind.PARTIALLY_FILLED, OrderEventKind.FILLED)


def is_of_exchange(event: OrderEvent) -> bool:
    """Return whether the exchange, not we, brought an event about: a trade, or an end of its own."""
    return event.event in TRADES or event.reason.startswith(BY_EXCHANGE)


def told_by_exchange(recorded: Sequence[Event]) -> tuple[dict[int, list[OrderEvent]], deque[OrderEvent]]:
    """Return what the exchange told with each bar, by its close (ns UTC), and what it told between bars, in order."""
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


def by_order(recorded: Sequence[Event]) -> dict[str, list[OrderEvent]]:
    """Return the events of each order by its id."""
    lives: dict[str, list[OrderEvent]] = defaultdict(list)
    for event in recorded:
        if isinstance(event, OrderEvent):
            lives[event.order_id].append(event)
    return dict(lives)


def baseline_of(recorded: Sequence[Event]) -> tuple[dict[str, float], int]:
    """Return what the account held when the session was first compared with it, and when that was: ns UTC, 0 never."""
    found = [event for event in recorded if isinstance(event, ReconciliationEvent) and event.detail == BASELINE]
    return {event.subject: event.observed for event in found}, found[0].ts_event if found else 0
