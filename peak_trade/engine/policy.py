"""Apply the execution policy: the orders for a change of position, and the orders that protect a position."""

from __future__ import annotations

import math

from peak_trade.core.rounding import floor_difference, limit_to, stop_to
from peak_trade.core.values import Instrument, Order, OrderType, Side, TimeInForce, Value
from peak_trade.engine.settings import ExecutionPolicy


class Leg(Value, frozen=True):
    """An order without its id, strategy and time. The quantity is signed, in base units."""

    quantity: float
    order_type: OrderType = OrderType.MARKET
    limit_price: float | None = None
    stop_price: float | None = None
    trail: float | None = None
    reason: str = "target"
    follows_exit: bool = False
    """Whether it opens the other side of a flip: it is sent together with the exit, and assumes that the exit fills."""


def entry_legs(
    policy: ExecutionPolicy, instrument: Instrument, held: float, delta: float, price: float
) -> tuple[Leg, ...]:
    """Return the legs that move a position by `delta` from `held`: exits at market, entries by the policy.

    A flip is one market order under a market policy, otherwise a market exit and a separate entry.
    """
    closing = math.copysign(min(abs(held), abs(delta)), delta) if held * delta < 0.0 else 0.0
    if policy.order_type is OrderType.MARKET or closing == delta:
        return (Leg(delta),)
    sign = 1 if delta > 0.0 else -1
    away = price * policy.stop_offset_bps / 10_000.0
    better = price * policy.limit_offset_bps / 10_000.0
    stop = limit = None
    if policy.order_type is OrderType.LIMIT:
        limit = limit_to(price - sign * better, sign, instrument.tick_size)
    elif policy.order_type is not OrderType.TRAILING_STOP:
        stop = stop_to(price + sign * away, sign, instrument.tick_size)
        if policy.order_type is OrderType.STOP_LIMIT:
            limit = limit_to(stop + sign * better, sign, instrument.tick_size)
    opening = floor_difference(delta, closing, instrument.lot_size)
    entry = Leg(opening, policy.order_type, limit, stop, policy.trail, follows_exit=closing != 0.0)
    return (Leg(closing), entry) if closing else (entry,)


def protective_legs(
    policy: ExecutionPolicy, instrument: Instrument, position: float, entry_price: float, atr: float
) -> tuple[Leg, ...]:
    """Return the stop-loss, take-profit and trailing stop of a position; each one closes the whole position."""
    sign = 1 if position > 0.0 else -1
    legs = []
    stop = policy.stop_loss if policy.stop_loss_atr is None else policy.stop_loss_atr * atr / entry_price
    if stop is not None:
        level = stop_to(entry_price * (1.0 - sign * stop), -sign, instrument.tick_size)
        if level > 0.0:
            legs.append(Leg(-position, OrderType.STOP, stop_price=level, reason="stop_loss"))
    if policy.trailing_stop is not None:
        legs.append(Leg(-position, OrderType.TRAILING_STOP, trail=policy.trailing_stop, reason="trailing_stop"))
    target = policy.take_profit if policy.take_profit_atr is None else policy.take_profit_atr * atr / entry_price
    if target is not None:
        level = limit_to(entry_price * (1.0 + sign * target), -sign, instrument.tick_size)
        if level > 0.0:
            legs.append(Leg(-position, OrderType.LIMIT, limit_price=level, reason="take_profit"))
    return tuple(legs)


def as_order(
    leg: Leg,
    policy: ExecutionPolicy,
    *,
    order_id: str,
    decided_at: int,
    strategy: str,
    symbol: str,
    held: float,
    price: float,
) -> Order:
    """Return a leg as an order. The policy's time in force applies to target orders; protective orders always rest."""
    return Order(
        order_id=order_id,
        decided_at=decided_at,
        strategy=strategy,
        symbol=symbol,
        side=Side.BUY if leg.quantity > 0.0 else Side.SELL,
        quantity=abs(leg.quantity),
        decision_price=price,
        order_type=leg.order_type,
        time_in_force=policy.time_in_force if leg.reason == "target" else TimeInForce.GTC,
        limit_price=leg.limit_price,
        stop_price=leg.stop_price,
        trail=leg.trail,
        is_reducing=not leg.follows_exit and held * leg.quantity < 0.0 and abs(leg.quantity) <= abs(held),
        reason=leg.reason,
    )
