"""Lifecycle of an order: the allowed sequence of its events, the checks on its quantities, and denials by gate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from peak_trade.core.errors import SessionError
from peak_trade.core.time import iso
from peak_trade.journal.events import TERMINAL, Event, OrderEvent, OrderEventKind

Kind = OrderEventKind
ALLOWED_NEXT: dict[OrderEventKind | None, frozenset[OrderEventKind]] = {
    None: frozenset({Kind.REQUESTED}),
    Kind.REQUESTED: frozenset({Kind.DENIED, Kind.SUBMITTED, Kind.CANCELED}),
    Kind.SUBMITTED: frozenset({Kind.ACCEPTED, Kind.REJECTED, Kind.CANCELED, Kind.EXPIRED}),
    Kind.ACCEPTED: frozenset({Kind.PARTIALLY_FILLED, Kind.FILLED, Kind.CANCELED, Kind.EXPIRED}),
    Kind.PARTIALLY_FILLED: frozenset({Kind.PARTIALLY_FILLED, Kind.FILLED, Kind.CANCELED, Kind.EXPIRED}),
}
"""Events that may follow each event of an order; None is a new order. Nothing follows a terminal event."""

_RTOL = 1e-9


@dataclass(frozen=True, slots=True)
class OrderState:
    """State of one order: its last event."""

    last: OrderEvent

    @property
    def is_open(self) -> bool:
        """Whether the order has no terminal event yet."""
        return self.last.event not in TERMINAL


@dataclass(slots=True)
class OrderStates:
    """State of every order of a journal."""

    by_id: dict[str, OrderState] = field(default_factory=dict)

    def apply(self, event: OrderEvent) -> None:
        """Update the state of an order with its next event.

        Raises
        ------
        SessionError
            When the event may not follow the last one, the order changed its side, symbol or quantity, or its
            quantities do not add up. The state is unchanged.

        """
        state = self.by_id.get(event.order_id)
        previous = state.last if state else None
        allowed = ALLOWED_NEXT.get(previous.event if previous else None, frozenset())
        if event.event not in allowed:
            came = previous.event if previous else "nothing"
            raise SessionError(f"{event.order_id}: {event.event} can't follow {came}.")
        fault = _fault(event, previous)
        if fault:
            raise SessionError(f"{event.order_id}: {event.event} {fault}.")
        self.by_id[event.order_id] = OrderState(event)

    def open_orders(self) -> list[OrderEvent]:
        """Return the last event of every order without a terminal event, in order of the requests."""
        return [state.last for state in self.by_id.values() if state.is_open]


@dataclass(frozen=True, slots=True)
class GateDenials:
    """Orders that one gate denied: their number and the times of the first and the last one, ns UTC."""

    gate: str
    n_orders: int
    first: int
    last: int

    def __str__(self) -> str:
        if self.n_orders == 1:
            return f"{self.gate} (1 at {iso(self.first)})"
        return f"{self.gate} ({self.n_orders:,} from {iso(self.first)} to {iso(self.last)})"


def denials_by_gate(events: Iterable[Event]) -> list[GateDenials]:
    """Return the denied orders of each gate, most orders first; an order that several gates denied counts for each."""
    times: dict[str, list[int]] = {}
    for event in events:
        if isinstance(event, OrderEvent) and event.event is Kind.DENIED:
            for gate in event.reason.split(", "):
                times.setdefault(gate, []).append(event.ts_event)
    found = [GateDenials(gate, len(each), min(each), max(each)) for gate, each in times.items()]
    return sorted(found, key=lambda denials: (-denials.n_orders, denials.gate))


def denials_sentence(events: Iterable[Event]) -> str:
    """Return a sentence on the denied orders, their gates and times; empty if no order was denied."""
    orders = [event for event in events if isinstance(event, OrderEvent)]
    n_denied = sum(event.event is Kind.DENIED for event in orders)
    if not n_denied:
        return ""
    n_requested = sum(event.event is Kind.REQUESTED for event in orders)
    gates = ", ".join(map(str, denials_by_gate(orders)))
    return f"{n_denied:,} of {n_requested:,} orders were denied: {gates}."


def _fault(event: OrderEvent, previous: OrderEvent | None) -> str:
    if not (math.isfinite(event.quantity) and event.cumulative >= 0.0 and event.leaves >= 0.0):
        return f"has quantity {event.quantity}, cumulative {event.cumulative}, leaves {event.leaves}"
    if not (math.isfinite(event.decision_price) and math.isfinite(event.arrival_price)):
        return f"has decision price {event.decision_price}, arrival price {event.arrival_price}: both are mandatory"
    is_trade = event.event in (Kind.PARTIALLY_FILLED, Kind.FILLED)
    if is_trade != (event.last_quantity > 0.0):
        return f"has a last quantity of {event.last_quantity}"
    if is_trade and not event.last_price > 0.0:
        return f"has a fill price of {event.last_price}"
    before = previous.cumulative if previous else 0.0
    if not math.isclose(event.cumulative, before + event.last_quantity, rel_tol=_RTOL, abs_tol=0.0):
        return f"has cumulative {event.cumulative}, not {before} + {event.last_quantity}"
    if event.event in TERMINAL:
        if event.leaves != 0.0:
            return f"leaves {event.leaves} open"
    elif not math.isclose(event.cumulative + event.leaves, event.quantity, rel_tol=_RTOL):
        return f"has cumulative {event.cumulative} + leaves {event.leaves}, not its quantity {event.quantity}"
    if event.cumulative > event.quantity * (1.0 + _RTOL):
        return f"has traded {event.cumulative} of {event.quantity}"
    if previous and (event.symbol, event.side, event.quantity) != (previous.symbol, previous.side, previous.quantity):
        last = f"{previous.side} {previous.quantity} {previous.symbol}"
        return f"is {event.side} {event.quantity} {event.symbol}, the previous event was {last}"
    return ""
