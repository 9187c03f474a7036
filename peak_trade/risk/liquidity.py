"""What an order costs and how much of the market it is: from the book where one is declared, else from a model."""

from __future__ import annotations

import math

from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import AccountView, MarketView, Order, OrderBook, OrderType
from peak_trade.risk.gate import BUY, SELL, UnreadableError, instant, not_negative, number, positive
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
    """Return the average price of taking a quantity from the levels, best first; infinity when they hold too little."""
    left, paid = quantity, 0.0
    for price, size in levels:
        taken = min(left, not_negative(size))
        paid += taken * positive(price)
        left -= taken
        if left <= 0.0:
            return paid / quantity
    return math.inf


def mid_price(book: OrderBook) -> float:
    """Return the middle of best bid and best ask; UnreadableError for a crossed or one-sided book."""
    bid, ask = positive(book.bids[0][0]), positive(book.asks[0][0])
    if bid >= ask:
        raise UnreadableError(f"the book is crossed: bid {bid}, ask {ask}")
    return 0.5 * (bid + ask)


def depth_within(levels: tuple[tuple[float, float], ...], width: float) -> float:
    """Return the quantity at prices within a width of the best one, base units.

    Parameters
    ----------
    levels : tuple of (price, quantity)
        Best first; of more than `N_LEVELS` the rest does not count, nor does what lies behind the first one outside.
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


def stale_book(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the age of the book, seconds; one from the future is unreadable."""
    age = (instant(market.as_of) - instant(_book(market).ts_event)) / NS_PER_SECOND
    return not_negative(age), number(_limits(limits).max_book_age)


def spread(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure ask less bid over mid, or the assumed spread without a book."""
    rules = _limits(limits)
    limit = number(rules.max_spread) * _share(order, rules)
    if rules.book == "absent":
        return not_negative(rules.model_spread), limit
    book = _book(market)
    return (book.asks[0][0] - book.bids[0][0]) / mid_price(book), limit


def slippage(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the estimated cost of the order against mid: the walk through the book, or half the spread and impact."""
    rules = _limits(limits)
    limit = number(rules.max_slippage) * _share(order, rules)
    quantity = positive(order.quantity)
    if rules.book == "absent":
        volume, volatility = positive(market.average_daily_volume), not_negative(market.daily_volatility)
        cost = impact(quantity, volume, volatility, not_negative(rules.impact_coefficient))
        return 0.5 * not_negative(rules.model_spread) + cost, limit
    book = _book(market)
    return abs(walk(_levels(order, book), quantity) / mid_price(book) - 1.0), limit


def touch_depth(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the quantity within the touch's width of the best price in multiples of the order."""
    rules = _limits(limits)
    depth = depth_within(_levels(order, _book(market)), not_negative(rules.touch_width))
    return depth / positive(order.quantity), number(rules.min_touch_depth) / _share(order, rules)


def book_depth(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the quantity over twenty levels in multiples of the order."""
    rules = _limits(limits)
    depth = sum(not_negative(size) for _, size in _levels(order, _book(market))[:N_LEVELS])
    return depth / positive(order.quantity), number(rules.min_book_depth) / _share(order, rules)


def daily_volume_share(
    order: Order, account: AccountView, market: MarketView, limits: RiskLimits
) -> tuple[float, float]:
    """Measure the order as a share of the average daily volume."""
    rules = _limits(limits)
    share = positive(order.quantity) / positive(market.average_daily_volume)
    return share, number(rules.max_daily_volume_share) * _share(order, rules)


def bar_volume_share(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the order as a share of the decision bar's volume."""
    rules = _limits(limits)
    share = positive(order.quantity) / positive(market.bar_volume)
    return share, number(rules.max_bar_volume_share) * _share(order, rules)


def _limits(limits: RiskLimits) -> LiquidityLimits:
    rules = limits.liquidity
    if rules is None:
        raise UnreadableError("there are no liquidity limits")
    return rules


def _book(market: MarketView) -> OrderBook:
    if market.book is None:
        raise UnreadableError("the declared order book is missing")
    return market.book


def _levels(order: Order, book: OrderBook) -> tuple[tuple[float, float], ...]:
    if order.side is BUY:
        return book.asks
    if order.side is SELL:
        return book.bids
    raise UnreadableError(f"{order.side!r} is not a side")


def _share(order: Order, rules: LiquidityLimits) -> float:
    kind = order.order_type
    if kind is _LIMIT or kind is _STOP_LIMIT:
        return 1.0
    return positive(rules.market_order_share)
