"""Reduce a position or an order to the size that the limits allow, instead of having it denied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec.structs import replace

from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory
from peak_trade.core.rounding import floor_to
from peak_trade.core.values import AccountView, MarketView, Order
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.gate import Proposal, RiskGate, UnreadableError, ramp_of, side_sign
from peak_trade.risk.limits import RiskLimits, VarLimits
from peak_trade.risk.portfolio_gates import portfolios_after
from peak_trade.risk.var import estimate

_N_HALVINGS = 40
_N_HALVINGS_OF_AN_ORDER = 12
TARGET_FRACTION = 0.999
"""Fraction of the limit that is sized to; the rest is a margin for lots and rounding."""
SIZE_CODES = frozenset(
    {
        DenialCode.MAX_LEVERAGE,
        DenialCode.ORDER_NOTIONAL,
        DenialCode.SYMBOL_EXPOSURE,
        DenialCode.GROSS_EXPOSURE,
        DenialCode.NET_EXPOSURE,
        DenialCode.CONCENTRATION,
        DenialCode.SLIPPAGE,
        DenialCode.TOUCH_DEPTH,
        DenialCode.BOOK_DEPTH,
        DenialCode.DAILY_VOLUME_SHARE,
        DenialCode.BAR_VOLUME_SHARE,
        DenialCode.VALUE_AT_RISK,
        DenialCode.EXPECTED_SHORTFALL,
        DenialCode.STRESS_LOSS,
        DenialCode.PROJECTED_DRAWDOWN,
    }
)
"""Codes of the gates that deny a large order and let a smaller one pass."""


def size_to_var(
    symbol: str, target: float, others: Mapping[str, float], history: ReturnHistory, rules: VarLimits
) -> float:
    """Return the target exposure, reduced if the portfolio would exceed the VaR limit.

    Parameters
    ----------
    symbol : str
    target : float, signed target exposure, fraction of equity
    others : mapping of symbol to signed exposure of the other positions, fractions of equity
    history : ReturnHistory
        Must hold every symbol with an exposure.
    rules : VarLimits
        `max_var` and its estimator. The target is returned if there is no `max_var`.

    Returns
    -------
    float, signed exposure: `target` times a fraction in [0, 1]
        0.0 if the other positions alone use up the limit and this one does not reduce the risk.

    Raises
    ------
    DataError
        If the history lacks a symbol or has days that are not finite.

    Notes
    -----
    Causal: only the history is read. The fraction is found by bisection from below, so the result does not exceed the
    limit even if the estimate is not convex in the exposure.

    """
    if rules.max_var is None or target == 0.0:
        return target
    exposures = {name: exposure for name, exposure in others.items() if exposure and name != symbol}
    names = tuple(sorted({*exposures, symbol}))
    missing = [name for name in names if name not in history.symbols]
    if missing:
        raise DataError(f"{history!r} has no returns of {', '.join(missing)}. Declare a history that has them.")
    part = history.select(names)
    if not np.isfinite(part.returns).all():
        raise DataError(f"{part!r} has days that are not finite; size from a complete history.")
    place = names.index(symbol)
    weights = np.array([exposures.get(name, 0.0) for name in names])
    limit = TARGET_FRACTION * rules.max_var

    def is_within(fraction: float) -> bool:
        weights[place] = fraction * target
        return estimate(weights, part, rules.method, rules.level, rules.ewma_decay)[0] <= limit

    if is_within(1.0):
        return target
    low, high = 0.0, 1.0
    for _ in range(_N_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if is_within(middle) else (low, middle)
    return low * target


def size_to_limits(
    order: Order, account: AccountView, market: MarketView, gates: Sequence[RiskGate], limits: RiskLimits
) -> Order:
    """Return the order, reduced to the largest number of whole lots that every size limit allows.

    `size_to_var` gives the size for the limit on value at risk, whether or not the pending orders fill. If another
    limit is tighter, the size is found by bisection.

    Parameters
    ----------
    order, account, market, limits
        As the gates will see them.
    gates : sequence of RiskGate
        The gate chain; only the gates of SIZE_CODES are asked.

    Returns
    -------
    Order
        The same order if it passes as it is. Also if no smaller order passes: the gate chain then denies it.

    """
    asked = [gate for gate in gates if gate.code in SIZE_CODES]

    def is_within(quantity: float) -> bool:
        smaller = Proposal(replace(order, quantity=quantity), account, market, limits)
        return all(gate.check(smaller) is None for gate in asked)

    if not asked or is_within(order.quantity):
        return order
    low, high = 0.0, _within_var(order, account, market, limits)
    if is_within(high):
        low = high
    else:
        for _ in range(_N_HALVINGS_OF_AN_ORDER):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if is_within(middle) else (low, middle)
    reduced = floor_to(low, market.instrument.lot_size)
    return replace(order, quantity=reduced) if reduced > 0.0 else order


def _within_var(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> float:
    """Return the quantity that `size_to_var` leaves of an order, or all of it if there is no such limit or estimate."""
    rules = limits.var
    if rules is None or rules.max_var is None:
        return order.quantity
    try:
        in_force = rules.model_copy(update={"max_var": rules.max_var * ramp_of(account)})
        change = side_sign(order) * order.quantity * market.decision_price / account.equity
        fractions = []
        for weights, history in portfolios_after(Proposal(order, account, market, limits)):
            others = dict(zip(history.symbols, weights.tolist(), strict=True))
            target = others.pop(order.symbol, 0.0)
            sized = size_to_var(order.symbol, target, others, history, in_force)
            fractions.append(1.0 + (sized - target) / change)
    except (DataError, UnreadableError, KeyError):  # the gate chain denies the order
        return order.quantity
    fraction = min(fractions)
    return fraction * order.quantity if 0.0 < fraction < 1.0 else order.quantity
