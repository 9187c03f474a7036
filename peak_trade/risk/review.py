"""Review an order: it is approved only if no gate denies it."""

from __future__ import annotations

from dataclasses import dataclass

from peak_trade.core.values import AccountView, Denial, MarketView, Order
from peak_trade.risk.gate import GateChain, Proposal
from peak_trade.risk.limits import RiskLimits

_SEAL = object()


@dataclass(frozen=True, slots=True, init=False)
class ApprovedOrder:
    """An order that passed every gate. Only the functions of this module create one; a venue accepts nothing else."""

    order: Order

    def __init__(self, order: Order, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("an ApprovedOrder comes from review() only")
        object.__setattr__(self, "order", order)


def review(
    order: Order, account: AccountView, market: MarketView, gates: GateChain, limits: RiskLimits
) -> ApprovedOrder | tuple[Denial, ...]:
    """Return the approved order, or the denials of all gates that deny it; every gate is always asked."""
    return review_proposal(Proposal(order, account, market, limits), gates)


def review_proposal(proposal: Proposal, gates: GateChain) -> ApprovedOrder | tuple[Denial, ...]:
    """Return the approved order of a proposal, or the denials of all gates that deny it."""
    return gates.denials_of(proposal) or ApprovedOrder(proposal.order, _SEAL)
