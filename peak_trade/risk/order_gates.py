"""Measures of the order and the account: state, data, pace, price, size and loss."""

from __future__ import annotations

from peak_trade.core.rounding import ceil_to, is_on_grid
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import AccountView, MarketView, Order, OrderType, TimeInForce, TradingState
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.gate import (
    GateChain,
    RiskGate,
    UnreadableError,
    instant,
    not_negative,
    number,
    positive,
    reduces,
    side_sign,
)
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.state import SEVERITY

_PRICES = {
    OrderType.MARKET: (False, False, False),
    OrderType.LIMIT: (True, False, False),
    OrderType.STOP: (False, True, False),
    OrderType.STOP_LIMIT: (True, True, False),
    OrderType.TRAILING_STOP: (False, False, True),
}
"""Whether an order of each type has a limit price, a stop price and a trail: these, and no others."""
_MARKET, _ACTIVE = OrderType.MARKET, TradingState.ACTIVE


def trading_state(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure how far trading is stopped: 0 active, 1 reducing, 2 halted; a reducing order passes up to 1."""
    if account.state is _ACTIVE:
        return 0.0, 0.0
    return float(SEVERITY[account.state]), 1.0 if reduces(order, account) else 0.0


def strategy_disabled(
    order: Order, account: AccountView, market: MarketView, limits: RiskLimits
) -> tuple[float, float]:
    """Measure whether the throttle has disabled the order's strategy: 1 or 0."""
    strategy, throttled = _text(order.strategy), _tuple(account.throttled)
    return float(sum([_text(name) == strategy for name in throttled])) if throttled else 0.0, 0.0


def missing_data(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Count market values that are from the future or of another symbol; unreadable ones refuse at once."""
    positive(market.decision_price)
    not_negative(market.bar_volume)
    as_of = instant(market.as_of)
    n_faults = (instant(market.bar_time) > as_of) + (market.instrument.symbol != order.symbol)
    return float(n_faults), 0.0


def stale_data(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the age of the newest bar, seconds."""
    return _age(market.as_of, market.bar_time), number(limits.max_data_age)


def order_shape(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Count prices that the order's type lacks or can't have, or off the tick; another type of field is unreadable."""
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
    tick = not_negative(market.instrument.tick_size)
    for price in (limit, stop):
        n_faults += price is not None and not is_on_grid(positive(price), tick)
    n_faults += trail is not None and positive(trail) >= 1.0
    return float(n_faults), 0.0


def quantity(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the order's quantity against the smallest lot, or the next whole one; without lots against zero."""
    amount, lot = positive(order.quantity), not_negative(market.instrument.lot_size)
    if lot == 0.0 or (amount / lot).is_integer() or is_on_grid(amount, lot):
        return amount, lot
    return amount, max(ceil_to(amount, lot), lot)


def min_notional(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the notional against the exchange's least; closing all whole lots of a position is always enough."""
    amount = positive(order.quantity)
    least = not_negative(market.instrument.min_notional)
    if order.is_reducing is True:
        left = abs(number(account.positions.get(order.symbol, 0.0))) - amount
        if left == 0.0 or 0.0 < left < not_negative(market.instrument.lot_size):
            least = 0.0
    return amount * positive(market.decision_price), least


def not_shortable(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the position after the order, and after pending ones on its side, where there are no shorts."""
    if market.instrument.is_shortable is True:
        return 0.0, 0.0
    held, signed = number(account.positions.get(order.symbol, 0.0)), side_sign(order) * positive(order.quantity)
    if signed < 0.0 and _tuple(account.pending):
        held = min(held, reach(order, account)[order.symbol][0] - signed)
    return held + signed, 0.0


INSTRUMENT_GATES = GateChain(
    (
        RiskGate(DenialCode.QUANTITY, "", quantity, is_floor=True, relieves=False),
        RiskGate(DenialCode.MIN_NOTIONAL, "", min_notional, is_floor=True, relieves=False),
        RiskGate(DenialCode.NOT_SHORTABLE, "", not_shortable, is_floor=True, relieves=False),
    )
)
"""The rules of the instrument: the only gates of a run without limits."""


def duplicate_order(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Count earlier orders with the same id, or alike within the window."""
    earliest = instant(order.decided_at) - positive(limits.duplicate_window) * NS_PER_SECOND
    amount, side_sign_ = positive(order.quantity), side_sign(order)
    n_alike = 0
    for past in _tuple(account.recent_orders):
        n_alike += past.order_id == order.order_id or (
            instant(past.decided_at) >= earliest
            and number(past.quantity) == amount
            and past.symbol == order.symbol
            and past.strategy == order.strategy
            and past.reason == order.reason
            and side_sign(past) == side_sign_
        )
    return float(n_alike), 0.0


def order_rate(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Count the orders within the window, this one included."""
    earliest = instant(order.decided_at) - positive(limits.order_window) * NS_PER_SECOND
    n_orders = 1.0
    for past in _tuple(account.recent_orders):
        n_orders += instant(past.decided_at) > earliest
    return n_orders, number(limits.max_orders)


def repeated_execution(
    order: Order, account: AccountView, market: MarketView, limits: RiskLimits
) -> tuple[float, float]:
    """Count the strategy's fills on the order's side within the window, this order included."""
    earliest = instant(order.decided_at) - positive(limits.fill_window) * NS_PER_SECOND
    sign, strategy = side_sign(order), _text(order.strategy)
    n_fills = 1.0
    for past in _tuple(account.recent_fills):
        n_fills += instant(past.ts_event) > earliest and side_sign(past) == sign and past.strategy == strategy
    return n_fills, number(limits.max_same_side_fills)


def order_notional(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure quantity times decision price, quote currency."""
    notional = positive(order.quantity) * positive(market.decision_price)
    return notional, number(limits.max_order_notional)


def price_collar(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the largest distance of the order's prices from the market's, fraction."""
    market_price = positive(market.decision_price)
    distance = abs(positive(order.decision_price) / market_price - 1.0)
    for price in (order.limit_price, order.stop_price):
        if price is not None:
            distance = max(distance, abs(positive(price) / market_price - 1.0))
    return distance, number(limits.max_price_deviation)


def symbol_exposure(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the exposure to the order's symbol that it and all pending orders can lead to, fraction of equity."""
    return _exposures(order, account, market)[0], number(limits.max_symbol_exposure)


def gross_exposure(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the sum of unsigned exposures that the order and all pending ones can lead to, fraction of equity."""
    return _exposures(order, account, market)[1], number(limits.max_gross_exposure)


def net_exposure(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the unsigned sum of signed exposures that can be reached, fraction of equity."""
    return _exposures(order, account, market)[2], number(limits.max_net_exposure)


def concentration(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the sum of squared exposures that can be reached."""
    return _exposures(order, account, market)[3], number(limits.max_concentration)


def open_orders(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Count the open orders, this one included."""
    return not_negative(account.n_open_orders) + 1.0, number(limits.max_open_orders)


def daily_loss(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the loss since the start of the UTC day, quote currency; a profit is no loss."""
    return _loss(account), number(limits.max_daily_loss)


def daily_loss_fraction(
    order: Order, account: AccountView, market: MarketView, limits: RiskLimits
) -> tuple[float, float]:
    """Measure the loss since the start of the UTC day as a fraction of equity then."""
    return _loss(account) / positive(account.day_start_equity), number(limits.max_daily_loss_fraction)


def drawdown(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the fraction of the peak equity that is lost."""
    equity, peak = number(account.equity), positive(account.peak_equity)
    return 1.0 - equity / peak if equity < peak else 0.0, number(limits.max_drawdown)


def reach(order: Order, account: AccountView) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest position of each symbol once the order and any of the pending ones have filled."""
    signed = side_sign(order) * positive(order.quantity)
    positions = {symbol: (number(held), held) for symbol, held in account.positions.items()}
    own = order.symbol
    low, high = positions.get(own, (0.0, 0.0))
    positions[own] = (low + signed, high) if signed < 0.0 else (low, high + signed)
    for symbol, leaves in _tuple(account.pending):
        low, high = positions.get(symbol, (0.0, 0.0))
        positions[symbol] = (low + leaves, high) if number(leaves) < 0.0 else (low, high + leaves)
    return positions


def _exposures(order: Order, account: AccountView, market: MarketView) -> tuple[float, float, float, float]:
    """Return what can be reached at the worst: exposure to the order's symbol, gross, net, and the sum of squares.

    Four gates ask for the same: the last answer is kept, for these very objects, which never change.
    """
    global _last
    last_order, last_account, last_market, exposures = _last
    if last_order is order and last_account is account and last_market is market:
        return exposures
    reached = _reached_exposures(order, account, market)
    gross = low_sum = high_sum = squares = 0.0
    for low, high in reached:
        gross += max(-low, high)
        low_sum += low
        high_sum += high
        squares += max(low * low, high * high)
    own = max(abs(reached[0][0]), abs(reached[0][1]))
    exposures = own, gross, max(abs(low_sum), abs(high_sum)), squares
    _last = order, account, market, exposures
    return exposures


_NOBODY = object()
_last: tuple[object, object, object, tuple[float, float, float, float]] = (_NOBODY, _NOBODY, _NOBODY, (0.0,) * 4)


def _reached_exposures(order: Order, account: AccountView, market: MarketView) -> list[tuple[float, float]]:
    equity, own, marks = positive(account.equity), order.symbol, account.marks
    scale = positive(market.decision_price) / equity
    if account.pending:
        reached = reach(order, account)
        low, high = reached.pop(own)
        others = [(symbol, *ends) for symbol, ends in reached.items()]
    else:
        _tuple(account.pending)
        low = high = number(account.positions.get(own, 0.0))
        signed = side_sign(order) * positive(order.quantity)
        low, high = (low + signed, high) if signed < 0.0 else (low, high + signed)
        others = [(symbol, number(held), held) for symbol, held in account.positions.items() if symbol != own]
    exposures = [(low * scale, high * scale)]
    for symbol, least, most in others:
        if least or most:
            share = positive(marks[symbol]) / equity
            exposures.append((least * share, most * share))
    return exposures


def _loss(account: AccountView) -> float:
    lost = positive(account.day_start_equity) - number(account.equity)
    return lost if lost > 0.0 else 0.0


def _age(now: int, then: int) -> float:
    return not_negative((instant(now) - instant(then)) / NS_PER_SECOND)


def _tuple(entries: object) -> tuple:  # type: ignore[type-arg]
    if isinstance(entries, tuple):
        return entries
    raise UnreadableError(f"{entries!r} is not a tuple")


def _text(name: object) -> str:
    if isinstance(name, str):
        return name
    raise UnreadableError(f"{name!r} is not a name")
