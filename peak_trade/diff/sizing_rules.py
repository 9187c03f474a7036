"""The laws that sizes, fills and denials are made by: a difference that keeps them follows from another one."""

from __future__ import annotations

import math

from peak_trade.core.values import Side
from peak_trade.diff.order_histories import Life, SideLog
from peak_trade.journal.events import OrderEventKind

Kind = OrderEventKind
_RTOL = 1e-9
LAW_RTOL = 1e-6
"""How closely a size must follow from the equity that a log adds up to."""
_NEARLY = 0.95
"""Share of a buy that is filled when its costs alone were not in the cash."""
_UNKNOWN_MARGIN = 0.05
"""A denial whose numbers are not recorded may follow from inputs that differ by this share or more."""


def follows_sizing(one: Life, other: Life, lot: float) -> bool:
    """Return whether two sizes are the same share of equity, the same notional, the same position or the whole of it.

    Up to a lot and 1e-6: then they differ because equity, price or position do, and not by themselves.
    """
    if all(is_close(life.quantity * life.side.sign, -life.held) for life in (one, other)):
        return True
    if one.reason != "target" or not (one.target and other.target):
        return False
    for keep in (1.0, 0.0):
        wanted = [keep * life.held + life.quantity * life.side.sign for life in (one, other)]
        if not all(wanted):
            continue
        slack = LAW_RTOL + sum(lot / abs(want) for want in wanted)
        for measure in (per_equity, per_target):
            shares = [measure(life, want) for life, want in zip((one, other), wanted, strict=True)]
            if abs(shares[0] / shares[1] - 1.0) <= slack:
                return True
    return False


def spends_its_cash(life: Life, lot: float) -> bool:
    """Return whether an order filled whole or nearly so, or was a buy that ended with its cash spent."""
    if life.outcome is Kind.FILLED:
        return is_close(life.filled, life.quantity)
    if life.end_reason != "cash" or life.side is not Side.BUY or not life.fills:
        return False
    if life.filled >= _NEARLY * life.quantity:
        return True
    last = life.fills[-1]
    unit = last.price * (1.0 + last.fee / (abs(last.quantity) * last.price))
    left = life.cash_before - abs(last.quantity) * unit
    return abs(left) <= lot * unit + LAW_RTOL * abs(life.cash_before)


def per_equity(life: Life, wanted: float) -> float:
    """Return the share of equity that a wanted position is, for a target of one."""
    return wanted * life.close / (life.target * life.equity) if life.equity else math.nan


def per_target(life: Life, wanted: float) -> float:
    """Return the notional of a wanted position, for a target of one, quote currency."""
    return wanted * life.close / life.target


def margin(side: SideLog, life: Life) -> float:
    """Return how far the inputs would have to move, as a share, for a denied order to pass."""
    decision = side.decisions.get(life.order_id)
    if decision is None or not decision.denials:
        return _UNKNOWN_MARGIN
    gaps = [
        abs(denial.observed - denial.limit) / abs(denial.limit) if denial.limit else math.inf
        for denial in decision.denials
    ]
    return max(gaps)


def is_close(one: float, other: float) -> bool:
    """Return whether two numbers are equal up to rounding."""
    return math.isclose(one, other, rel_tol=_RTOL, abs_tol=1e-12)
