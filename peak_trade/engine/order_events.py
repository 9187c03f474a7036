"""Events and fills made from orders and executions."""

from __future__ import annotations

from peak_trade.core.values import Fill, Order
from peak_trade.engine.venue import Execution
from peak_trade.journal.events import OrderEvent, OrderEventKind


def fill_of(execution: Execution) -> Fill:
    """Return what an execution traded."""
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
) -> OrderEvent:
    """Return a step in an order's life that traded nothing; `leaves` is the whole quantity unless given."""
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
    """Return the event of an order that the venue ended with something left."""
    return order_event(
        execution.order,
        OrderEventKind.CANCELED,
        execution.ts_event,
        cumulative=execution.cumulative,
        leaves=0.0,
        reason=execution.ended,
    )
