"""Rules from which quantities, fills and denials follow; a difference that obeys its rule follows from another one."""

from __future__ import annotations

import math

from peak_trade.core.values import Side
from peak_trade.diff.order_histories import OrderHistory
from peak_trade.diff.run_log import RunLog
from peak_trade.journal.events import EndCause, OrderEventKind

_ROUNDING = 1e-9
RTOL = 1e-6
"""Relative tolerance of a quantity that is computed from the equity of a log."""
_NEARLY_FILLED = 0.95
"""Filled fraction of a buy from which on only its costs can have exceeded the cash."""
_UNKNOWN_MARGIN = 0.05
"""Relative change of the inputs that may explain a denial without recorded numbers."""


def is_kept(one: OrderHistory, other: OrderHistory, lot_size: float) -> bool:
    """Return whether two quantities obey one sizing rule, so that they differ only because their inputs do.

    The rules are: an equal fraction of equity, an equal notional, an equal resulting position, an exit of the whole
    position. Rounding to a lot and a relative difference of 1e-6 are allowed.
    """
    pair = (one, other)
    if all(is_close(history.signed_quantity, -history.position) for history in pair):
        return True
    if not one.follows_target or not (one.target and other.target):
        return False
    for keeps_position in (1.0, 0.0):
        wanted = [keeps_position * history.position + history.signed_quantity for history in pair]
        if not all(wanted):
            continue
        tolerance = RTOL + sum(lot_size / abs(quantity) for quantity in wanted)
        for size_of in (fraction_of_equity, _notional):
            sizes = [size_of(history, quantity) for history, quantity in zip(pair, wanted, strict=True)]
            if abs(sizes[0] / sizes[1] - 1.0) <= tolerance:
                return True
    return False


def filled_what_cash_allowed(history: OrderHistory, lot_size: float) -> bool:
    """Return whether an order was filled completely, or was a buy that spent the available cash."""
    if history.outcome is OrderEventKind.FILLED:
        return is_close(history.filled, history.quantity)
    if history.end_cause is not EndCause.CASH or history.side is not Side.BUY or not history.fills:
        return False
    if history.filled >= _NEARLY_FILLED * history.quantity:
        return True
    last = history.fills[-1]
    unit_cost = last.price * (1.0 + last.fee / (abs(last.quantity) * last.price))
    unspent = history.cash_before_last_fill - abs(last.quantity) * unit_cost
    return abs(unspent) <= lot_size * unit_cost + RTOL * abs(history.cash_before_last_fill)


def fraction_of_equity(history: OrderHistory, position: float) -> float:
    """Return a position as a fraction of equity, divided by the target; NaN without equity."""
    return position * history.last_close / (history.target * history.equity) if history.equity else math.nan


def _notional(history: OrderHistory, position: float) -> float:
    return position * history.last_close / history.target


def denial_margin(run: RunLog, history: OrderHistory) -> float:
    """Return the relative change of the inputs that a denied order needs to pass its gates."""
    decision = run.decisions.get(history.order_id)
    if decision is None or not decision.denials:
        return _UNKNOWN_MARGIN
    margins = [
        abs(denial.observed - denial.limit) / abs(denial.limit) if denial.limit else math.inf
        for denial in decision.denials
    ]
    return max(margins)


def is_close(one: float, other: float) -> bool:
    """Return whether two numbers are equal up to rounding."""
    return math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=1e-12)
