"""Measures of the order and the account: state, data, rate, price, size and loss."""

from __future__ import annotations

from typing import Any

from peak_trade.core.rounding import ceil_to, is_on_grid
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import AccountView, Order, OrderType, TimeInForce, TradingState
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.gate import (
    GateChain,
    Proposal,
    RiskGate,
    UnreadableError,
    instant,
    not_negative,
    number,
    positive,
    reduces,
    side_sign,
)
from peak_trade.risk.state import SEVERITY

_PRICES = {
    OrderType.MARKET: (False, False, False),
    OrderType.LIMIT: (True, False, False),
    OrderType.STOP: (False, True, False),
    OrderType.STOP_LIMIT: (True, True, False),
    OrderType.TRAILING_STOP: (False, False, True),
}
"""Whether an order of each type has a limit price, a stop price and a trail."""
LEVERAGE_RTOL = 1e-9
"""Fraction of the largest exposure by which rounding may exceed it."""
_MARKET, _ACTIVE = OrderType.MARKET, TradingState.ACTIVE


def trading_state(proposal: Proposal) -> tuple[float, float]:
    """Measure the severity of the trading state: 0 active, 1 reducing, 2 halted; a reducing order passes up to 1."""
    state = proposal.account.state
    if state is _ACTIVE:
        return 0.0, 0.0
    return float(SEVERITY[state]), 1.0 if reduces(proposal.order, proposal.account) else 0.0


def strategy_disabled(proposal: Proposal) -> tuple[float, float]:
    """Measure whether the throttle has disabled the order's strategy: 1 or 0."""
    strategy, throttled = _text(proposal.order.strategy), _tuple(proposal.account.throttled)
    return float(sum([_text(name) == strategy for name in throttled])) if throttled else 0.0, 0.0


def missing_data(proposal: Proposal) -> tuple[float, float]:
    """Count market values from the future or of another symbol; a value that cannot be read denies at once."""
    market = proposal.market
    positive(market.decision_price)
    not_negative(market.bar_volume)
    as_of = instant(market.as_of)
    n_faults = (instant(market.bar_time) > as_of) + (market.instrument.symbol != proposal.order.symbol)
    return float(n_faults), 0.0


def stale_data(proposal: Proposal) -> tuple[float, float]:
    """Measure the age of the newest bar, seconds."""
    market = proposal.market
    age = not_negative((instant(market.as_of) - instant(market.bar_time)) / NS_PER_SECOND)
    return age, number(proposal.limits.max_data_age)


def order_shape(proposal: Proposal) -> tuple[float, float]:
    """Count prices that the order's type needs and lacks, does not have, or that are off the tick."""
    order = proposal.order
    kind = order.order_type
    if not (
        kind.__class__ is OrderType
        and order.time_in_force.__class__ is TimeInForce
        and order.order_id.__class__ is str
        and order.reason.__class__ is str
        and order.is_reducing.__class__ is bool
    ):
        raise UnreadableError(f"{order!r} has a field of another type")
    limit, stop, trail = order.limit_price, order.stop_price, order.trail
    if limit is None and stop is None and trail is None:
        return 0.0 if kind is _MARKET else 1.0, 0.0
    has = (limit is not None, stop is not None, trail is not None)
    n_faults = sum(is_there is not is_needed for is_there, is_needed in zip(has, _PRICES[kind], strict=True))
    tick = not_negative(proposal.market.instrument.tick_size)
    for price in (limit, stop):
        n_faults += price is not None and not is_on_grid(positive(price), tick)
    n_faults += trail is not None and positive(trail) >= 1.0
    return float(n_faults), 0.0


def quantity(proposal: Proposal) -> tuple[float, float]:
    """Measure the quantity against one lot, or against the next whole lot; without lots against zero."""
    amount, lot = positive(proposal.order.quantity), not_negative(proposal.market.instrument.lot_size)
    if lot == 0.0 or (amount / lot).is_integer() or is_on_grid(amount, lot):
        return amount, lot
    return amount, max(ceil_to(amount, lot), lot)


def min_notional(proposal: Proposal) -> tuple[float, float]:
    """Measure the notional at the last close against the exchange's minimum, which applies to exits too.

    Without a price an exit of all whole lots of a position passes.
    """
    order, market = proposal.order, proposal.market
    amount = positive(order.quantity)
    least = not_negative(market.instrument.min_notional)
    if order.is_reducing is True and _price_or_zero(market.decision_price) == 0.0:
        left = abs(number(proposal.account.positions.get(order.symbol, 0.0))) - amount
        if left == 0.0 or 0.0 < left < not_negative(market.instrument.lot_size):
            return 0.0, 0.0
    return amount * positive(market.decision_price), least


def not_shortable(proposal: Proposal) -> tuple[float, float]:
    """Measure the position after the order and the pending orders on its side, if the instrument allows no shorts."""
    if proposal.market.instrument.is_shortable is True:
        return 0.0, 0.0
    order, account = proposal.order, proposal.account
    held, signed = number(account.positions.get(order.symbol, 0.0)), side_sign(order) * positive(order.quantity)
    if signed < 0.0 and _tuple(account.pending):
        held = min(held, reachable_positions(order, account)[order.symbol][0] - signed)
    return held + signed, 0.0


def max_leverage(proposal: Proposal) -> tuple[float, float]:
    """Measure the largest exposure to the symbol with all pending orders, if the order enlarges it; fraction of equity.

    An order that leaves the position nearer to zero is measured as the limit at most, and so is one that exceeds the
    limit by rounding.
    """
    order, account, market = proposal.order, proposal.account, proposal.market
    limit = positive(market.instrument.max_leverage)
    held, signed = number(account.positions.get(order.symbol, 0.0)), side_sign(order) * positive(order.quantity)
    low, high = min(held, held + signed), max(held, held + signed)
    if _tuple(account.pending):
        low, high = reachable_positions(order, account)[order.symbol]
    reached = max(-low if signed < 0.0 else high, abs(held + signed))
    exposure = reached * positive(market.decision_price) / positive(account.equity)
    if reached <= abs(held) or exposure <= limit * (1.0 + LEVERAGE_RTOL):
        return min(exposure, limit), limit
    return exposure, limit


LEVERAGE_GATE = RiskGate(DenialCode.MAX_LEVERAGE, "", max_leverage)
INSTRUMENT_GATES = GateChain(
    (
        RiskGate(DenialCode.QUANTITY, "", quantity, is_floor=True, relieves=False),
        RiskGate(DenialCode.MIN_NOTIONAL, "", min_notional, is_floor=True, relieves=False),
        RiskGate(DenialCode.NOT_SHORTABLE, "", not_shortable, is_floor=True, relieves=False),
        LEVERAGE_GATE,
    )
)
"""The rules of the instrument: the only gates of a run without limits."""


def duplicate_order(proposal: Proposal) -> tuple[float, float]:
    """Count earlier orders with the same id, and similar ones within the window; an unreadable one is not similar."""
    order = proposal.order
    earliest = instant(order.decided_at) - positive(proposal.limits.duplicate_window) * NS_PER_SECOND
    amount, sign = positive(order.quantity), side_sign(order)
    n_duplicates = 0
    for past in _tuple(proposal.account.recent_orders):
        try:
            n_duplicates += past.order_id == order.order_id or (
                instant(past.decided_at) >= earliest
                and number(past.quantity) == amount
                and past.symbol == order.symbol
                and past.strategy == order.strategy
                and past.reason == order.reason
                and side_sign(past) == sign
            )
        except (UnreadableError, AttributeError):
            continue
    return float(n_duplicates), 0.0


def order_rate(proposal: Proposal) -> tuple[float, float]:
    """Count the orders within the window, including this one and those whose time cannot be read."""
    earliest = instant(proposal.order.decided_at) - positive(proposal.limits.order_window) * NS_PER_SECOND
    n_orders = 1.0
    for past in _tuple(proposal.account.recent_orders):
        try:
            n_orders += instant(past.decided_at) > earliest
        except (UnreadableError, AttributeError):
            n_orders += 1.0
    return n_orders, number(proposal.limits.max_orders)


def repeated_execution(proposal: Proposal) -> tuple[float, float]:
    """Count the strategy's fills on the order's side within the window, including this order and unreadable fills."""
    order = proposal.order
    earliest = instant(order.decided_at) - positive(proposal.limits.fill_window) * NS_PER_SECOND
    sign, strategy = side_sign(order), _text(order.strategy)
    n_fills = 1.0
    for past in _tuple(proposal.account.recent_fills):
        try:
            n_fills += instant(past.ts_event) > earliest and side_sign(past) == sign and past.strategy == strategy
        except (UnreadableError, AttributeError):
            n_fills += 1.0
    return n_fills, number(proposal.limits.max_same_side_fills)


def order_notional(proposal: Proposal) -> tuple[float, float]:
    """Measure quantity times decision price, quote currency."""
    notional = positive(proposal.order.quantity) * positive(proposal.market.decision_price)
    return notional, number(proposal.limits.max_order_notional)


def price_collar(proposal: Proposal) -> tuple[float, float]:
    """Measure the largest distance of the order's prices from the market price, fraction."""
    order = proposal.order
    market_price = positive(proposal.market.decision_price)
    distance = abs(positive(order.decision_price) / market_price - 1.0)
    for price in (order.limit_price, order.stop_price):
        if price is not None:
            distance = max(distance, abs(positive(price) / market_price - 1.0))
    return distance, number(proposal.limits.max_price_deviation)


def symbol_exposure(proposal: Proposal) -> tuple[float, float]:
    """Measure the largest exposure to the order's symbol with all pending orders, fraction of equity."""
    return proposal.shared(exposures)[0], number(proposal.limits.max_symbol_exposure)


def gross_exposure(proposal: Proposal) -> tuple[float, float]:
    """Measure the largest sum of unsigned exposures with the order and all pending orders, fraction of equity."""
    return proposal.shared(exposures)[1], number(proposal.limits.max_gross_exposure)


def net_exposure(proposal: Proposal) -> tuple[float, float]:
    """Measure the largest unsigned sum of signed exposures with the order and all pending ones, fraction of equity."""
    return proposal.shared(exposures)[2], number(proposal.limits.max_net_exposure)


def concentration(proposal: Proposal) -> tuple[float, float]:
    """Measure the largest sum of squared exposures with the order and all pending orders."""
    return proposal.shared(exposures)[3], number(proposal.limits.max_concentration)


def open_orders(proposal: Proposal) -> tuple[float, float]:
    """Count the open orders, including this one."""
    return not_negative(proposal.account.n_open_orders) + 1.0, number(proposal.limits.max_open_orders)


def daily_loss(proposal: Proposal) -> tuple[float, float]:
    """Measure the loss since the start of the UTC day, quote currency; 0 for a profit."""
    return _loss(proposal.account), number(proposal.limits.max_daily_loss)


def daily_loss_fraction(proposal: Proposal) -> tuple[float, float]:
    """Measure the loss since the start of the UTC day as a fraction of the equity at that time."""
    account = proposal.account
    return _loss(account) / positive(account.day_start_equity), number(proposal.limits.max_daily_loss_fraction)


def drawdown(proposal: Proposal) -> tuple[float, float]:
    """Measure the fraction of the peak equity that is lost."""
    equity, peak = number(proposal.account.equity), positive(proposal.account.peak_equity)
    return 1.0 - equity / peak if equity < peak else 0.0, number(proposal.limits.max_drawdown)


def exposures(proposal: Proposal) -> tuple[float, float, float, float]:
    """Return the largest exposures that an order and any of the pending orders can lead to, fractions of equity.

    Returns
    -------
    (float, float, float, float)
        Unsigned exposure to the order's symbol, sum of unsigned exposures, unsigned sum of signed exposures, and sum of
        squared exposures.

    """
    reachable = _reachable_exposures(proposal)
    gross = low_sum = high_sum = squares = 0.0
    for low, high in reachable:
        largest = high if high > -low else -low
        gross += largest
        squares += largest * largest
        low_sum += low
        high_sum += high
    symbol = max(abs(reachable[0][0]), abs(reachable[0][1]))
    return symbol, gross, max(abs(low_sum), abs(high_sum)), squares


def reachable_positions(order: Order, account: AccountView) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest position of each symbol that the order and any of the pending orders can lead to.

    Positions are signed, in base units.
    """
    signed = side_sign(order) * positive(order.quantity)
    positions = {symbol: (number(held), held) for symbol, held in account.positions.items()}
    own = order.symbol
    low, high = positions.get(own, (0.0, 0.0))
    positions[own] = (low + signed, high) if signed < 0.0 else (low, high + signed)
    for symbol, leaves in _tuple(account.pending):
        low, high = positions.get(symbol, (0.0, 0.0))
        positions[symbol] = (low + leaves, high) if number(leaves) < 0.0 else (low, high + leaves)
    return positions


def _reachable_exposures(proposal: Proposal) -> list[tuple[float, float]]:
    """Return the lowest and highest exposure of each symbol, the order's symbol first."""
    order, account = proposal.order, proposal.account
    equity, own, marks = positive(account.equity), order.symbol, account.marks
    scale = positive(proposal.market.decision_price) / equity
    if account.pending:
        reachable = reachable_positions(order, account)
        low, high = reachable.pop(own)
        others = [(symbol, *ends) for symbol, ends in reachable.items()]
    else:
        _tuple(account.pending)
        low = high = number(account.positions.get(own, 0.0))
        signed = side_sign(order) * positive(order.quantity)
        low, high = (low + signed, high) if signed < 0.0 else (low, high + signed)
        others = [(symbol, number(held), held) for symbol, held in account.positions.items() if symbol != own]
    found = [(low * scale, high * scale)]
    for symbol, least, most in others:
        if least or most:
            symbol_scale = positive(marks[symbol]) / equity
            found.append((least * symbol_scale, most * symbol_scale))
    return found


def _loss(account: AccountView) -> float:
    lost = positive(account.day_start_equity) - number(account.equity)
    return lost if lost > 0.0 else 0.0


def _tuple(entries: object) -> tuple[Any, ...]:
    if isinstance(entries, tuple):
        return entries
    raise UnreadableError(f"{entries!r} is not a tuple")


def _text(name: object) -> str:
    if isinstance(name, str):
        return name
    raise UnreadableError(f"{name!r} is not a name")


def _price_or_zero(price: object) -> float:
    try:
        return positive(price)
    except UnreadableError:
        return 0.0
