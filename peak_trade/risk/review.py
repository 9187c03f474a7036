"""Ask every gate about one order; approve it only when none denies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from peak_trade.core.values import AccountView, Denial, MarketView, Order, Side
from peak_trade.risk.gate import GateChain

Gate = Callable[[Order, AccountView, MarketView, Any], Denial | None]
"""A pure, total question about one order under the limits given last."""

_SEAL = object()


@dataclass(frozen=True, slots=True, init=False)
class ApprovedOrder:
    """An order that passed every gate. Only `review` can make one, and a venue takes nothing else."""

    order: Order

    def __init__(self, order: Order, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("an ApprovedOrder comes from review() only")
        object.__setattr__(self, "order", order)


def review(
    order: Order, account: AccountView, market: MarketView, gates: Sequence[Gate], limits: Any
) -> ApprovedOrder | tuple[Denial, ...]:
    """Return the order approved, or the denials of all gates that refuse it; every gate is always asked."""
    if isinstance(gates, GateChain):
        denials = gates.denials(order, account, market, limits)
    else:
        denials = tuple(denial for gate in gates if (denial := gate(order, account, market, limits)) is not None)
    return denials or ApprovedOrder(order, _SEAL)


def instrument_rules(order: Order, account: AccountView, market: MarketView, limits: Any) -> Denial | None:
    """Deny what the exchange would not take: nothing, below the minimum notional, a short of what can't be shorted."""
    instrument = market.instrument
    if not order.quantity > 0.0:
        return Denial("quantity", order.quantity, 0.0)
    notional = order.quantity * market.decision_price
    closes_all = order.is_reducing and order.quantity == abs(account.positions.get(order.symbol, 0.0))
    if not notional >= instrument.min_notional and not closes_all:
        return Denial("min_notional", notional, instrument.min_notional)
    if not instrument.is_shortable:
        after = account.positions.get(order.symbol, 0.0) + order.signed_quantity
        if order.side is Side.SELL:
            after += sum(min(leaves, 0.0) for symbol, leaves in account.pending if symbol == order.symbol)
        if not after >= 0.0:
            return Denial("not_shortable", after, 0.0)
    return None
