"""The venue port, and the fills and events that executions become."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Protocol

import msgspec

from peak_trade.core.ledger import Ledger
from peak_trade.core.values import Fill, Order, Value
from peak_trade.engine.bar_path import Start
from peak_trade.journal.events import EndCause, Ending, Event, OrderEvent, OrderEventKind, ReconciliationEvent
from peak_trade.risk.review import ApprovedOrder

BuyingPower = Callable[[Order, float], float]
"""(order, cost of one unit including its fee) -> the largest quantity that the account can pay for."""


class Phase(IntEnum):
    """The part of a bar in which an order reached the venue."""

    AFTER_CLOSE = 0
    AT_OPEN = 1
    WITHIN = 2


class Execution(Value, frozen=True):
    """The effect of a bar on an order: a trade if the quantity is above zero, and its end if `has_ended`.

    `cause` and `reason`, its text, are empty for an order that is filled or still open. Without a trade and an end, a
    stop has triggered for which no volume is left. `fee` is in quote currency.
    `fee_in_base` is the part of it that an exchange took in base units, 0.0 if it took quote currency.
    """

    order: Order
    phase: Phase
    ts_event: int
    quantity: float
    price: float
    fee: float
    reference_price: float
    arrival_price: float
    cumulative: float
    has_ended: bool
    fee_in_base: float = 0.0
    cause: EndCause | None = None
    reason: str = ""

    @property
    def is_filled(self) -> bool:
        """Whether the order ended because it is filled."""
        return self.has_ended and self.cause is None


class Resting(msgspec.Struct):
    """An order that rests at a venue, and its state there."""

    order: Order
    since: int
    """Bar in which it was submitted."""
    phase: Phase
    column: int
    """Place of its symbol in the market."""
    leaves: float
    """Quantity that is still open, base units."""
    best_price: float
    """Best price since it rests, for a trailing stop: as of bar `followed_to`."""
    followed_to: int
    is_triggered: bool = False
    start: Start | None = None
    """Point of its bar's path at which it was submitted; None if that was between bars or at an open."""
    touch: int = -1
    """Next bar known to touch it; none lies between the last visited bar and this one."""

    @property
    def cumulative(self) -> float:
        """Quantity that has traded."""
        return self.order.quantity - self.leaves


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A comparison of the account and the open orders with what an exchange reports."""

    holdings: tuple[ReconciliationEvent, ...] = ()
    orders: ReconciliationEvent | None = None
    has_canceled: bool = False
    """Whether an order that the exchange reported open and the venue did not know was canceled."""

    @property
    def events(self) -> list[ReconciliationEvent]:
        """All comparisons, holdings first."""
        return [*self.holdings, *([] if self.orders is None else [self.orders])]

    @property
    def holds_as_expected(self) -> bool:
        """Whether the account holds what the ledger expects."""
        return all(event.is_equal for event in self.holdings)

    @property
    def is_equal(self) -> bool:
        """Whether every comparison is equal."""
        return all(event.is_equal for event in self.events)


class Venue(Protocol):
    """The port that approved orders are sent to. A backtest, a paper session and a sandbox differ in it.

    A simulated venue trades at bars only; it inherits `reconcile`, `apply_recorded`, `resume` and `withdraw_all`,
    which do nothing.
    """

    is_remote: ClassVar[bool] = False
    """Whether it is an exchange, which trades between bars too and may be out of reach."""

    @property
    def n_ambiguous(self) -> int:
        """Number of bars of one symbol that do not show the order of events on which the fills depend."""
        return 0

    def submit(self, approved: ApprovedOrder, bar: int, phase: Phase = Phase.AFTER_CLOSE) -> Ending | None:
        """Accept an order in a bar; return the cause if it is rejected, otherwise None."""

    def cancel(self, order_id: str) -> Resting | None:
        """Cancel an order and return it; None if it no longer rests."""

    def match(self, bar: int, buying_power: BuyingPower) -> Iterator[Execution]:
        """Yield the executions in a bar, in the order in which they happened."""

    def next_touch(self, bar: int, stop: int) -> int:
        """Return the first bar in (bar, stop) at which an order may execute or end, or `stop`."""

    def resting(self) -> list[Resting]:
        """Return the open orders, oldest first."""

    def reconcile(self, ledger: Ledger, now: int) -> Reconciliation:
        """Compare the ledger and the open orders with what the exchange reports at `now`, ns UTC."""
        return Reconciliation()

    def apply_recorded(self, event: Event) -> bool:
        """Take an event of a recorded session; return True if it is a report of the exchange that `match` yields next.

        Until `resume`, executions come from the record and nothing is sent.
        """
        return False

    def resume(self) -> None:
        """Continue with the exchange itself after the last recorded event."""
        return

    def withdraw_all(self) -> None:
        """Cancel the open orders at the exchange, as far as it answers, when nothing can be recorded any more."""
        return


def pending_quantities(venue: Venue, order: Order) -> tuple[tuple[str, float], ...]:
    """Return (symbol, signed open quantity in base units) of each open order that counts when `order` is reviewed.

    Orders that can open or enlarge a position count. If `order` can do so too, the exits on its symbol and side also
    count, because it trades in addition to them.
    """
    return tuple(
        (held.order.symbol, held.order.side.sign * held.leaves)
        for held in venue.resting()
        if not held.order.is_reducing or _is_additional(order, held.order)
    )


def open_exits(venue: Venue, order: Order) -> float:
    """Return the open quantity of the exits by target on the symbol and side of `order`, unsigned, base units."""
    return sum(held.leaves for held in venue.resting() if held.order.is_reducing and _is_alike(order, held.order))


def _is_additional(order: Order, exit_: Order) -> bool:
    return not order.is_reducing and _is_alike(order, exit_)


def _is_alike(order: Order, exit_: Order) -> bool:
    """Return whether an exit follows a target and trades in addition to the order; protective exits end with it."""
    return exit_.reason == "target" and (exit_.symbol, exit_.side) == (order.symbol, order.side)


def fill_of(execution: Execution) -> Fill:
    """Return the fill of an execution."""
    order = execution.order
    return Fill(
        order.order_id,
        execution.ts_event,
        order.strategy,
        order.symbol,
        order.side,
        execution.quantity,
        execution.price,
        execution.fee,
        execution.reference_price,
        order.decision_price,
        order.reason,
        execution.fee_in_base,
    )


def order_event(
    order: Order,
    kind: OrderEventKind,
    now: int,
    *,
    cumulative: float = 0.0,
    leaves: float | None = None,
    reason: str = "",
    cause: EndCause | None = None,
) -> OrderEvent:
    """Return an event of an order that is not a trade; `leaves` is the whole quantity by default."""
    return OrderEvent(
        now,
        order.order_id,
        order.strategy,
        order.symbol,
        kind,
        order.side,
        order.order_type,
        order.time_in_force,
        order.quantity,
        cumulative,
        order.quantity if leaves is None else leaves,
        order.decision_price,
        order.decision_price,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        reason=reason,
        cause=cause,
    )


def trade_event(execution: Execution, kind: OrderEventKind) -> OrderEvent:
    """Return the event of an execution that traded."""
    order = execution.order
    return OrderEvent(
        execution.ts_event,
        order.order_id,
        order.strategy,
        order.symbol,
        kind,
        order.side,
        order.order_type,
        order.time_in_force,
        order.quantity,
        execution.cumulative,
        order.quantity - execution.cumulative,
        order.decision_price,
        execution.arrival_price,
        execution.quantity,
        execution.price,
        execution.fee,
        order.limit_price,
        order.stop_price,
        order.reason,
        execution.fee_in_base,
    )


def end_event(execution: Execution) -> OrderEvent:
    """Return the event of an order that the venue ended before it was filled."""
    return order_event(
        execution.order,
        OrderEventKind.CANCELED,
        execution.ts_event,
        cumulative=execution.cumulative,
        leaves=0.0,
        reason=execution.reason,
        cause=execution.cause,
    )
