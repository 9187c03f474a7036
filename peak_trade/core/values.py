"""Orders, fills, instruments and the views a gate sees: frozen values with stated units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from peak_trade.core.history import ReturnHistory


class Side(StrEnum):
    """Direction of an order."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self is Side.BUY else -1


class OrderType(StrEnum):
    """How an order meets the market."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"


class TimeInForce(StrEnum):
    """How long an order may rest: until canceled, or for one bar only."""

    GTC = "gtc"
    IOC = "ioc"


class TradingState(StrEnum):
    """What the account may do: trade, only reduce, or nothing but cancel."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


@dataclass(frozen=True, slots=True)
class Instrument:
    """What an exchange trades under a symbol, and on which grid.

    `tick_size` is in quote currency, `lot_size` in base units, `min_notional` in quote currency; 0 means none.
    """

    symbol: str
    tick_size: float = 0.0
    lot_size: float = 0.0
    min_notional: float = 0.0
    is_shortable: bool = True

    @property
    def base(self) -> str:
        """Currency that is bought and sold: BTC of BTC/USDT."""
        return self.symbol.partition("/")[0]

    @property
    def quote(self) -> str:
        """Currency that prices and cash are in: USDT of BTC/USDT."""
        return self.symbol.partition("/")[2].partition(":")[0]


@dataclass(frozen=True, slots=True)
class Order:
    """A request that we make. Quantity is in base units and positive; prices are in quote currency.

    `decision_price` is the close on which it was decided, `decided_at` that bar's close in ns UTC. A purely
    reducing order brings the position nearer to zero and never across it.
    """

    order_id: str
    decided_at: int
    strategy: str
    symbol: str
    side: Side
    quantity: float
    decision_price: float
    order_type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.GTC
    limit_price: float | None = None
    stop_price: float | None = None
    trail: float | None = None
    is_reducing: bool = False
    reason: str = "target"

    @property
    def signed_quantity(self) -> float:
        """Quantity with the sign of the side."""
        return self.quantity if self.side is Side.BUY else -self.quantity


@dataclass(frozen=True, slots=True)
class Fill:
    """What really traded: price in quote currency, quantity positive in base units, fee in quote currency.

    `reference_price` is the price before slippage; `ts_event` is when it traded, ns UTC. `fee_in_base` is what an
    exchange took as its fee in base units, 0.0 where it took quote currency; `fee` is then its worth at the price.
    """

    order_id: str
    ts_event: int
    strategy: str
    symbol: str
    side: Side
    quantity: float
    price: float
    fee: float
    reference_price: float
    decision_price: float
    reason: str = "target"
    fee_in_base: float = 0.0

    @property
    def signed_quantity(self) -> float:
        """Quantity with the sign of the side."""
        return self.quantity if self.side is Side.BUY else -self.quantity

    @property
    def position_change(self) -> float:
        """What it adds to the position, signed base units: a fee in base units is gone from it."""
        return self.signed_quantity - self.fee_in_base


@dataclass(frozen=True, slots=True)
class Denial:
    """One gate's refusal: which rule, what it saw and the limit it held that against."""

    code: str
    observed: float
    limit: float


class PastOrder(NamedTuple):
    """An order that was requested before: what the rate and duplicate gates look back on."""

    order_id: str
    decided_at: int
    strategy: str
    symbol: str
    side: Side
    quantity: float
    reason: str = "target"


class PastFill(NamedTuple):
    """A fill that happened before: what the repeated-execution throttle looks back on."""

    ts_event: int
    strategy: str
    symbol: str
    side: Side


@dataclass(frozen=True, slots=True)
class AccountView:
    """What a gate may know of the account at the decision.

    Money is in quote currency. `positions` are signed base units by symbol, `marks` the last known close.
    `pending` holds (symbol, signed base units still open) of every open order that may open or enlarge a position, and
    of the exits that an order which may do so comes on top of.
    `recent_orders` and `recent_fills` reach back as far as the longest window of the limits, oldest first.
    `throttled` names the strategies that stay disabled until a named act; `ramp` is the share of the size limits in
    force after a recovery, 1 in normal trade.
    """

    equity: float
    cash: float
    positions: Mapping[str, float]
    marks: Mapping[str, float]
    peak_equity: float = math.nan
    day_start_equity: float = math.nan
    n_open_orders: int = 0
    state: TradingState = TradingState.ACTIVE
    pending: tuple[tuple[str, float], ...] = ()
    recent_orders: tuple[PastOrder, ...] = ()
    recent_fills: tuple[PastFill, ...] = ()
    throttled: tuple[str, ...] = ()
    ramp: float = 1.0

    def __post_init__(self) -> None:
        if self.positions.__class__ is dict:
            object.__setattr__(self, "positions", MappingProxyType(dict(self.positions)))
        if self.marks.__class__ is dict:
            object.__setattr__(self, "marks", MappingProxyType(dict(self.marks)))


@dataclass(frozen=True, slots=True)
class MarketView:
    """What a gate may know of the market at the decision: the bar that closed at `as_of`, ns UTC.

    `decision_price` is the symbol's last close, whatever price an order was decided on; `bar_time` is the close of its
    newest bar. `book` holds bid and ask levels as (price, quantity) where a source is declared, else None.
    `average_daily_volume` is in base units a day and `daily_volatility` the standard deviation of daily returns, both
    over complete past days; `returns` is the declared history of daily returns. What no configured limit needs may be
    left out.
    """

    as_of: int
    instrument: Instrument
    decision_price: float
    bar_volume: float
    bar_time: int
    book: OrderBook | None = None
    average_daily_volume: float = math.nan
    daily_volatility: float = math.nan
    returns: ReturnHistory | None = None


@dataclass(frozen=True, slots=True)
class OrderBook:
    """Levels of one moment, best first: (price, quantity) in quote currency and base units."""

    ts_event: int
    bids: tuple[tuple[float, float], ...] = field(default=())
    asks: tuple[tuple[float, float], ...] = field(default=())
