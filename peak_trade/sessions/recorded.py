"""What the journal of a testnet session that is taken up or replayed holds of its exchange."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from peak_trade.journal.events import (
    ActEvent,
    BarEvent,
    Event,
    FeedFaultEvent,
    OrderEvent,
    OrderEventKind,
    ReconciliationEvent,
    SessionEvent,
)

BY_EXCHANGE = "by the exchange"
"""Opens the reason of every end that the exchange, not we, brought about."""

BASELINE = "baseline"
"""Detail of the first comparison, which takes what the account holds as given."""

TRADES = (OrderEventKind.PARTIALLY_FILLED, OrderEventKind.FILLED)


def is_of_exchange(event: OrderEvent) -> bool:
    """Return whether the exchange, not we, brought an event about: a trade, or an end of its own."""
    return event.event in TRADES or event.reason.startswith(BY_EXCHANGE)


def by_bar(recorded: Sequence[Event]) -> dict[int, list[Event]]:
    """Return by the close of a bar (ns UTC) the order events after it, and what parts them: resumptions and inputs."""
    script: dict[int, list[Event]] = {}
    bar_time = -1
    for event in recorded:
        if isinstance(event, BarEvent):
            bar_time = event.ts_event
            script[bar_time] = []
        elif isinstance(event, OrderEvent | SessionEvent | ActEvent | FeedFaultEvent) and script:
            script[bar_time].append(event)
    return script


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
