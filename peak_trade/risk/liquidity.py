"""Measures of liquidity: the cost of an order and its size relative to the market.

Both come from the order book if one is declared, otherwise from a model.
"""

from __future__ import annotations

import math

from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import Order, OrderBook, OrderType
from peak_trade.risk.gate import BUY, SELL, Proposal, UnreadableError, instant, not_negative, number, positive
from peak_trade.risk.limits import LiquidityLimits, RiskLimits

N_LEVELS = 20
"""Levels of the book that count as its depth."""
_LIMIT, _STOP_LIMIT = OrderType.LIMIT, OrderType.STOP_LIMIT


def impact(quantity: float, average_daily_volume: float, daily_volatility: float, coefficient: float) -> float:
    """Return the square-root estimate of an order's price impact.

    Parameters
    ----------
    quantity, average_daily_volume : float, base units
    daily_volatility : float
        Standard deviation of daily returns, fraction.
    coefficient : float
        About 1 for liquid markets.

    Returns
    -------
    float, fraction of the price, never negative

    References
    ----------
    Almgren, Thum, Hauptmann and Li (2005), "Direct estimation of equity market impact"; Toth et al. (2011),
    "Anomalous price impact and the critical nature of liquidity in financial markets", equation 1.

    """
    return coefficient * daily_volatility * math.sqrt(quantity / average_daily_volume)


def walk(levels: tuple[tuple[float, float], ...], quantity: float) -> float:
    """Return the average price of taking a quantity from the levels, best first; infinity if they hold too little."""
    left, paid = quantity, 0.0
    for price, size in levels:
        taken = min(left, not_negative(size))
        paid += taken * positive(price)
        left -= taken
        if left <= 0.0:
            return paid / quantity
    return math.inf


def mid_price(book: OrderBook) -> float:
    """Return the midpoint of the best bid and the best ask; UnreadableError for a crossed or one-sided book."""
    bid, ask = positive(book.bids[0][0]), positive(book.asks[0][0])
    if bid >= ask:
        raise UnreadableError(f"the book is crossed: bid {bid}, ask {ask}")
    return 0.5 * (bid + ask)


def usable_book(proposal: Proposal) -> OrderBook:
    """Return the order book of a decision.

    Raises
    ------
    UnreadableError
        If there is none, or it is not one of this market: a side is not sorted from the best price on, bids and asks
        cross, or its mid is farther from the decision price than `liquidity.max_book_deviation`.

    """
    market, rules = proposal.market, _liquidity_limits(proposal.limits)
    book = market.book
    if book is None:
        raise UnreadableError("the declared order book is missing")
    distance = abs(mid_price(book) / positive(market.decision_price) - 1.0)
    if not distance <= rules.max_book_deviation:
        raise UnreadableError(f"the mid of the book is {distance:.1%} away from the decision price")
    for levels, sign in ((book.bids, -1.0), (book.asks, 1.0)):
        before = positive(levels[0][0])
        for price, size in levels:
            not_negative(size)
            if sign * (positive(price) - before) < 0.0:
                raise UnreadableError(f"the book is not sorted: {price} comes after {before}")
            before = price
    return book


def depth_within(levels: tuple[tuple[float, float], ...], width: float) -> float:
    """Return the quantity at prices within a width of the best price, base units.

    Parameters
    ----------
    levels : tuple of (price, quantity)
        Best first. Levels after `N_LEVELS`, and after the first one outside the width, do not count.
    width : float, fraction of the best price
        0 for the best price alone.

    """
    best = positive(levels[0][0])
    depth = 0.0
    for price, size in levels[:N_LEVELS]:
        if abs(positive(price) - best) > width * best:
            break
        depth += not_negative(size)
    return depth


def stale_book(proposal: Proposal) -> tuple[float, float]:
    """Measure the age of the order book, seconds; a book from the future cannot be read."""
    market = proposal.market
    age = (instant(market.as_of) - instant(proposal.shared(usable_book).ts_event)) / NS_PER_SECOND
    return not_negative(age), number(_liquidity_limits(proposal.limits).max_book_age)


def spread(proposal: Proposal) -> tuple[float, float]:
    """Measure (ask − bid) / mid, or the assumed spread if there is no order book."""
    rules = _liquidity_limits(proposal.limits)
    limit = number(rules.max_spread) * _limit_fraction(proposal.order, rules)
    if rules.book == "absent":
        return not_negative(rules.model_spread), limit
    book = proposal.shared(usable_book)
    return (book.asks[0][0] - book.bids[0][0]) / mid_price(book), limit


def slippage(proposal: Proposal) -> tuple[float, float]:
    """Measure the estimated cost of the order against mid: a walk through the book, or half the spread plus impact."""
    rules, market = _liquidity_limits(proposal.limits), proposal.market
    limit = number(rules.max_slippage) * _limit_fraction(proposal.order, rules)
    quantity = positive(proposal.order.quantity)
    if rules.book == "absent":
        volume, volatility = positive(market.average_daily_volume), not_negative(market.daily_volatility)
        cost = impact(quantity, volume, volatility, not_negative(rules.impact_coefficient))
        return 0.5 * not_negative(rules.model_spread) + cost, limit
    book = proposal.shared(usable_book)
    return abs(walk(_levels(proposal.order, book), quantity) / mid_price(book) - 1.0), limit


def touch_depth(proposal: Proposal) -> tuple[float, float]:
    """Measure the quantity within the touch's width of the best price, in multiples of the order."""
    rules, order = _liquidity_limits(proposal.limits), proposal.order
    depth = depth_within(_levels(order, proposal.shared(usable_book)), not_negative(rules.touch_width))
    return depth / positive(order.quantity), number(rules.min_touch_depth) / _limit_fraction(order, rules)


def book_depth(proposal: Proposal) -> tuple[float, float]:
    """Measure the quantity over twenty levels, in multiples of the order."""
    rules, order = _liquidity_limits(proposal.limits), proposal.order
    depth = sum(not_negative(size) for _, size in _levels(order, proposal.shared(usable_book))[:N_LEVELS])
    return depth / positive(order.quantity), number(rules.min_book_depth) / _limit_fraction(order, rules)


def daily_volume_share(proposal: Proposal) -> tuple[float, float]:
    """Measure the order as a fraction of the average daily volume."""
    rules, order = _liquidity_limits(proposal.limits), proposal.order
    fraction = positive(order.quantity) / positive(proposal.market.average_daily_volume)
    return fraction, number(rules.max_daily_volume_share) * _limit_fraction(order, rules)


def bar_volume_share(proposal: Proposal) -> tuple[float, float]:
    """Measure the order as a fraction of the decision bar's volume."""
    rules, order = _liquidity_limits(proposal.limits), proposal.order
    fraction = positive(order.quantity) / positive(proposal.market.bar_volume)
    return fraction, number(rules.max_bar_volume_share) * _limit_fraction(order, rules)


def _liquidity_limits(limits: RiskLimits) -> LiquidityLimits:
    if limits.liquidity is None:
        raise UnreadableError("there are no liquidity limits")
    return limits.liquidity


def _levels(order: Order, book: OrderBook) -> tuple[tuple[float, float], ...]:
    if order.side is BUY:
        return book.asks
    if order.side is SELL:
        return book.bids
    raise UnreadableError(f"{order.side!r} is not a side")


def _limit_fraction(order: Order, rules: LiquidityLimits) -> float:
    kind = order.order_type
    if kind is _LIMIT or kind is _STOP_LIMIT:
        return 1.0
    return positive(rules.market_order_share)
