"""Parts that only the tests know: a strategy, a detector, an allocator, a feed, a venue and an exchange."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import index_ns
from peak_trade.core.bars import Bars
from peak_trade.core.ledger import Ledger
from peak_trade.core.values import Order
from peak_trade.costs.model import Costs
from peak_trade.engine.market import Market
from peak_trade.engine.simulated_venue import SimulatedVenue
from peak_trade.journal.events import BarEvent
from peak_trade.regimes.detector import Detector
from peak_trade.regimes.states import FilteredRegimes, Regime, SmoothedRegimes
from peak_trade.sessions.config import SessionContext
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.feeds.base import FeedItem, bar_events
from peak_trade.sessions.sandbox.base import Access, ExchangeOrder, ExchangeTrade, Sandbox
from peak_trade.strategies.base import Strategy
from tests.sessions.running import wavy

NS_PER_MS = 1_000_000


class HalfLong(Strategy):
    """Half long after every close."""

    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return np.full(len(bars), 0.5)


class AlwaysBull(Detector):
    """A bull regime at every bar."""

    @property
    def warm_up(self) -> int:
        return 0

    def filter(self, bars: pd.DataFrame) -> FilteredRegimes:
        labels, probabilities = self._bull(len(bars))
        return FilteredRegimes(index_ns(bars.index), labels, probabilities, 0, self.name)

    def smooth(self, bars: pd.DataFrame) -> SmoothedRegimes:
        labels, probabilities = self._bull(len(bars))
        return SmoothedRegimes(index_ns(bars.index), labels, probabilities, 0, self.name)

    def _bull(self, n_bars: int) -> tuple[np.ndarray, FloatArray]:
        return np.full(n_bars, Regime.BULL, dtype=np.int8), np.tile([0.0, 0.0, 1.0], (n_bars, 1))


def rising(past_returns: FloatArray, max_weight: float) -> FloatArray:
    """Return weights in the ratio 1, 2, 3 …, whatever the returns."""
    raw = np.arange(1.0, past_returns.shape[1] + 1.0)
    weights: FloatArray = raw / raw.sum()
    return weights


class WavyFeed:
    """Sixty bars of a wave, the first twenty of them as history."""

    def history(self) -> list[BarEvent]:
        return bar_events(wavy(60))[:20]

    def items(self, after: int) -> Iterator[FeedItem]:
        yield from (bar for bar in bar_events(wavy(60)) if bar.ts_event > after)


def open_wave(context: SessionContext) -> WavyFeed:
    return WavyFeed()


def open_free(context: SessionContext, market: Market) -> SimulatedVenue:
    """A venue that fills without slippage and takes no fee."""
    return SimulatedVenue(market, Costs(fee_bps=0.0, slippage_bps=0.0))


class ToyClient:
    """The client of an exchange with one symbol, whose clock stands still until somebody waits."""

    def __init__(self, bars: Bars, n_closed: int) -> None:
        self.id, self.bars, self.options = "toy", bars, {}
        self.now_ms = int(bars.times[n_closed - 1]) // NS_PER_MS
        self.orders: dict[str, dict[str, Any]] = {}
        self.session = SimpleNamespace(close=lambda: None)
        self.urls = {"api": {"public": "http://127.0.0.1:1"}}
        self.apiKey = self.secret = "toy"

    def load_markets(self) -> dict[str, Any]:
        return {self.bars.symbol: {"precision": {"price": 0.01, "amount": 0.001}, "limits": {}}}

    def milliseconds(self) -> int:
        return self.now_ms

    fetch_time = milliseconds

    def fetch_ohlcv(self, symbol: str, timeframe: str, since: int, limit: int) -> list[list[float]]:
        opens = (self.bars.times - self.bars.timeframe.ns) // NS_PER_MS
        rows = zip(opens.tolist(), self.bars.frame.itertuples(index=False), strict=True)
        return [[opened, *values] for opened, values in rows if since <= opened <= self.now_ms][:limit]

    def fetch_order_book(self, symbol: str, limit: int) -> dict[str, list[tuple[float, float]]]:
        return {"bids": [(self.price - 1.0, 5.0)], "asks": [(self.price + 1.0, 5.0)]}

    @property
    def price(self) -> float:
        closed = self.bars.times // NS_PER_MS <= self.now_ms
        return float(self.bars.frame["close"].to_numpy()[closed][-1])

    def create_order(
        self, symbol: str, kind: str, side: str, quantity: float, price: float | None, parameters: dict[str, str]
    ) -> dict[str, Any]:
        """Fill the whole order at once at the last close."""
        order = {"id": parameters["id"], "status": "closed", "quantity": quantity, "price": self.price, "side": side}
        self.orders[parameters["id"]] = order | {"ms": self.now_ms}
        return order


class ToySandbox(Sandbox):
    """A sandbox whose orders are always filled whole, without a fee."""

    access = Access("sandbox.example.org", ("public",), "TOY_KEY", "TOY_SECRET")

    def parameters(self, order: Order) -> dict[str, str]:
        return {"id": order.order_id}

    def find(self, symbol: str, order_id: str, since: int) -> ExchangeOrder | None:
        order = self.client.orders.get(order_id)
        if order is None:
            return None
        return ExchangeOrder(order_id, "closed", order["quantity"], order["ms"] * NS_PER_MS)

    def trades(self, symbol: str, exchange_id: str, since: int) -> list[ExchangeTrade]:
        order = self.client.orders[exchange_id]
        return [ExchangeTrade(order["ms"] * NS_PER_MS, order["quantity"], order["price"], 0.0)]

    def open_ids(self) -> dict[str, str]:
        return {}

    def holdings(self, since: int) -> dict[str, float]:
        signs = {"buy": 1.0, "sell": -1.0}
        return {"position": sum(signs[order["side"]] * order["quantity"] for order in self.client.orders.values())}

    def moved(self, ledger: Ledger) -> dict[str, float]:
        (symbol,) = self.instruments
        return {"position": ledger.quantity(symbol)}


class ToyClock(StopSwitch):
    """Waiting moves the client's clock on; a session stops when the clock reaches the last bar but three."""

    def __init__(self, client: ToyClient) -> None:
        super().__init__()
        self.client = client

    def now(self) -> int:
        return self.client.now_ms * NS_PER_MS

    def wait(self, seconds: float) -> bool:
        self.client.now_ms += max(1, int(seconds * 1_000))
        if self.now() >= int(self.client.bars.times[-3]):
            self.stop("end of the recording")
        return self.is_stopping
