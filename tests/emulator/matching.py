"""The common part of both emulated exchanges: markets driven by recorded bars, a clock and matching of orders.

Nothing here knows of HTTP or of an exchange's words; subclasses keep the account and implement the protocol. Prices
follow the recorded bars: open, low or high, high or low, close, a quarter of the bar apart. Everything random (book
sizes, partial fills, latency) comes from one seed.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import Any

import numpy as np

from peak_trade.core.bars import Bars

OPEN_STATES = ("NEW", "PARTIALLY_FILLED")


@dataclass
class Order:
    """One order on the book of the emulator; amounts are Decimal."""

    order_id: int
    symbol: str
    client_id: str
    side: str
    kind: str
    time_in_force: str
    price: Decimal
    quantity: Decimal
    time: int
    executed: Decimal = Decimal(0)
    quote: Decimal = Decimal(0)
    status: str = "NEW"
    updated: int = 0
    fills: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """True if the order can still trade."""
        return self.status in OPEN_STATES


class Prices:
    """The market of one symbol: its bars, and the price at an instant."""

    def __init__(self, bars: Bars) -> None:
        self.bars, self.frame = bars, bars.frame.to_numpy()
        self.length_ms = bars.timeframe.seconds * 1_000
        self.opens_ms = bars.times // 1_000_000 - self.length_ms

    def at(self, now_ms: int) -> float:
        """Return the price at an instant."""
        row = min(max(int(np.searchsorted(self.opens_ms, now_ms, side="right")) - 1, 0), len(self.frame) - 1)
        opened, high, low, close = self.frame[row][:4]
        first, second = (low, high) if close >= opened else (high, low)
        phase = min(3, max(0, (now_ms - int(self.opens_ms[row])) * 4 // self.length_ms))
        return float((opened, first, second, close)[phase])


class Matching(ABC):
    """Markets of one timeframe and quote currency, and one account.

    Parameters
    ----------
    markets : mapping of str to Bars
        What the market of each symbol does, by the exchange's own name. The first one starts the clock.
    tick, step : Decimal
        Grid of prices and of quantities, of all symbols.
    seed : int
    fee : float
        Commission as a fraction.
    latency_ms : (int, int)
        Bounds of the time on the exchange's clock before it acts on a request.
    partial_share : float
        Largest fraction of a resting order that one touch fills; the rest fills at the next touch.

    """

    def __init__(
        self,
        markets: Mapping[str, Bars],
        tick: Decimal,
        step: Decimal,
        *,
        seed: int,
        fee: float,
        partial_share: float,
        latency_ms: tuple[int, int],
    ) -> None:
        self.markets = {name: Prices(bars) for name, bars in markets.items()}
        self.symbol, first = next(iter(self.markets.items()))
        self.bars, self.length_ms, self.tick, self.step = first.bars, first.length_ms, tick, step
        self.now_ms = int(first.opens_ms[0])
        self.random, self.delays, self.latency_ms = random.Random(seed), random.Random(seed), latency_ms
        self.fee, self.partial_share = Decimal(str(fee)), Decimal(str(partial_share))
        self.trades_lag_ms = 0
        self.orders: list[Order] = []
        self.trades: list[dict[str, Any]] = []
        self._traded_at: list[int] = []

    def advance_to(self, now_ms: int) -> None:
        """Advance the clock; resting orders meet the prices on the way."""
        while self.now_ms < now_ms:
            quarter = self.length_ms // 4
            self.now_ms = min(now_ms, (self.now_ms // quarter + 1) * quarter)
            for order in self.orders:
                if order.is_open:
                    self.meet(order)

    def travel(self) -> None:
        """Wait for the latency of a request."""
        self.advance_to(self.now_ms + self.delays.randint(*self.latency_ms))

    def price(self, symbol: str = "") -> Decimal:
        """The price of a symbol now; of the first one by default."""
        return down(Decimal(repr(self.markets[symbol or self.symbol].at(self.now_ms))), self.tick)

    def touch(self, side: str, symbol: str = "") -> Decimal:
        """The best price that an order of a side meets."""
        return self.price(symbol) + (self.tick if side == "BUY" else -self.tick)

    def levels(self, symbol: str, limit: int) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
        """Bids and asks, best first: price and quantity."""
        price, sizes = self.price(symbol), random.Random(f"{self.now_ms}")

        def side(sign: int) -> list[tuple[Decimal, Decimal]]:
            return [(price + sign * self.tick * n, Decimal(str(round(sizes.uniform(0.1, 5.0), 5))))
                    for n in range(1, limit + 1)]  # fmt: skip

        return side(-1), side(1)

    def known_rows(self, symbol: str, start: int | None, end: int | None) -> list[int]:
        """Rows of the bars of a symbol that have opened by now, between two opens in ms."""
        opens_ms = self.markets[symbol].opens_ms
        known = opens_ms <= self.now_ms
        if start is not None:
            known &= opens_ms >= start
        if end is not None:
            known &= opens_ms <= end
        return [int(row) for row in np.flatnonzero(known)]

    def candle(self, symbol: str, row: int) -> list[float]:
        """Open, high, low, close, volume of a bar, as far as it has come."""
        market = self.markets[symbol]
        opened, high, low, close, volume = (float(value) for value in market.frame[row])
        if int(market.opens_ms[row]) + market.length_ms <= self.now_ms:
            return [opened, high, low, close, volume]
        last = float(self.price(symbol))
        return [opened, max(opened, last), min(opened, last), last, volume]

    def take(self, order: Order) -> None:
        """Put a new order on the book: it meets the market, and an IOC order ends there."""
        self.orders.append(order)
        if order.kind == "MARKET":
            self._sweep(order)
        else:
            self.meet(order)
            if order.time_in_force == "IOC" and order.is_open:
                self.end(order, "EXPIRED")

    def meet(self, order: Order) -> None:
        """Fill a resting order where the price touches it."""
        if not self.is_met(order):
            return
        left = order.quantity - order.executed
        share = max(down(order.quantity * self.partial_share, self.step), self.step)
        self.fill(order, min(left, share), order.price if order.time < self.now_ms else self.touch_of(order))

    def is_met(self, order: Order) -> bool:
        """Return whether the price reaches a limit order."""
        touch = self.touch_of(order)
        return touch <= order.price if order.side == "BUY" else touch >= order.price

    def touch_of(self, order: Order) -> Decimal:
        """The best price that an order meets."""
        return self.touch(order.side, order.symbol)

    def end(self, order: Order, status: str) -> None:
        """End an order with what it has traded."""
        order.status, order.updated = status, self.now_ms

    def told_trades(self) -> list[dict[str, Any]]:
        """The trades that the exchange reports by now: `trades_lag_ms` late."""
        return [trade for trade, when in zip(self.trades, self._traded_at, strict=True)
                if when + self.trades_lag_ms <= self.now_ms]  # fmt: skip

    @abstractmethod
    def account_for(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        """Change the account by a trade, and note it in `trades` and `order.fills`."""

    def _sweep(self, order: Order) -> None:
        """A market order takes one to three levels of the book."""
        n_levels = self.random.choice((1, 1, 2, 3))
        left = order.quantity
        for level in range(n_levels):
            share = left if level == n_levels - 1 else down(left / 2, self.step)
            if share > 0:
                sign = 1 if order.side == "BUY" else -1
                self.fill(order, share, self.touch_of(order) + sign * self.tick * level)
                left -= share

    def fill(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        """Fill a part of an order."""
        order.executed += quantity
        order.quote += quantity * price
        order.updated = self.now_ms
        order.status = "FILLED" if order.executed == order.quantity else "PARTIALLY_FILLED"
        self._traded_at.append(self.now_ms)
        self.account_for(order, quantity, price)


def down(amount: Decimal, step: Decimal) -> Decimal:
    """Round toward zero to a step."""
    return (amount / step).to_integral_value(ROUND_DOWN) * step
