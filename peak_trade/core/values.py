"""Orders, fills, instruments and the views that gates receive: frozen values with stated units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from peak_trade.core.settings import Leverage, NonNegative

if TYPE_CHECKING:
    from peak_trade.core.history import ReturnHistory, WeightHistory


class Side(StrEnum):
    """Direction of an order."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self is Side.BUY else -1


class OrderType(StrEnum):
    """Type of an order."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"


class TimeInForce(StrEnum):
    """Lifetime of a resting order: until canceled (GTC), or one bar (IOC)."""

    GTC = "gtc"
    IOC = "ioc"


class TradingState(StrEnum):
    """Permitted actions of the account: trade (active), reduce positions (reducing), cancel orders (halted)."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


def equal_parts(one: Any, other: Any) -> bool:
    """Return whether two values are equal, where NaN equals NaN, also inside tuples, lists and mappings.

    Python compares the parts of a tuple by identity first, so that a tuple with a NaN equals itself and differs from
    its own copy. Everything that compares decisions, events or states by value uses this function.
    """
    if one is other or one == other:
        return True
    if one.__class__ is other.__class__ and isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(equal_parts, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(equal_parts(one[key], other[key]) for key in one)
    return isinstance(one, float) and isinstance(other, float) and one != one and other != other


class Value(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Base of frozen values that are equal if their fields are, by `equal_parts`, and then have equal hashes.

    A value is made many times faster than a frozen dataclass; `msgspec.structs.replace` returns a changed copy. The
    garbage collector does not follow values, so a field must not lead back to the value.
    """

    def __eq__(self, other: object) -> bool:
        if self.__class__ is not other.__class__:
            return False
        return all(equal_parts(getattr(self, name), getattr(other, name)) for name in self.__struct_fields__)

    def __ne__(self, other: object) -> bool:
        return not self == other  # Struct has a `!=` of its own

    def __hash__(self) -> int:
        return hash((self.__class__, *(_hashable(getattr(self, name)) for name in self.__struct_fields__)))


def _hashable(value: Any) -> Any:
    """Return a value of which equal ones, by `equal_parts`, have one hash."""
    if isinstance(value, tuple):
        return tuple(map(_hashable, value))
    return None if isinstance(value, float) and value != value else value


@dataclass(frozen=True, slots=True)
class Instrument:
    """A tradable symbol and its trading rules.

    `tick_size` is in quote currency, `lot_size` in base units, `min_notional` in quote currency; 0 means no such rule.
    `max_leverage` is the largest exposure to the symbol, in multiples of equity. A run checks the types of the
    fields; gates deny orders on values that they can not read.
    """

    symbol: str
    tick_size: NonNegative = 0.0
    lot_size: NonNegative = 0.0
    min_notional: NonNegative = 0.0
    is_shortable: bool = True
    max_leverage: Leverage = 1.0

    @property
    def base(self) -> str:
        """Currency that is bought and sold: BTC of BTC/USDT."""
        return self.symbol.partition("/")[0]

    @property
    def quote(self) -> str:
        """Currency that prices and cash are in: USDT of BTC/USDT, `quote currency` of one without it."""
        return quote_of(self.symbol) or "quote currency"


def quote_of(symbol: str) -> str:
    """Return the quote currency of a symbol: USDT of BTC/USDT and of BTC/USDT:USDT, empty for one without it."""
    return symbol.partition("/")[2].partition(":")[0]


class Order(Value, frozen=True):
    """A proposed order. Quantity is in base units and positive; prices are in quote currency.

    `decision_price` is the close of the bar on which the order was decided, `decided_at` the close time of that bar, ns
    UTC. A reducing order moves the position toward zero and never across it.
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


class Fill(Value, frozen=True):
    """An executed trade: price in quote currency, quantity positive in base units, fee in quote currency.

    `reference_price` is the price before slippage; `ts_event` is the time of the trade, ns UTC. `fee_in_base` is a fee
    that the exchange charged in base units, else 0.0; `fee` is then its value at the fill price.
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
        """Change of the position, signed base units, after a fee in base units."""
        return self.signed_quantity - self.fee_in_base


class Denial(Value, frozen=True):
    """Refusal of an order by one gate: the code of the rule, the observed value and the limit."""

    code: str
    observed: float
    limit: float


class PastOrder(NamedTuple):
    """An earlier order request, for the rate and duplicate gates."""

    order_id: str
    decided_at: int
    strategy: str
    symbol: str
    side: Side
    quantity: float
    reason: str = "target"


class PastFill(NamedTuple):
    """An earlier fill, for the repeated-execution throttle."""

    ts_event: int
    strategy: str
    symbol: str
    side: Side


class AccountView(Value, frozen=True):
    """State of the account at the decision, as gates receive it.

    Money is in quote currency. `positions` are signed base units by symbol, `marks` the last known closes.
    `pending` holds (symbol, signed base units still open) of every open order that may open or enlarge a position, and
    of the exits that are open at the same time as such an order.
    `recent_orders` and `recent_fills` cover the longest window of the limits, oldest first.
    `open_exits` is the unsigned quantity of the open exits by target on a reducing order's symbol and side, base units.
    `throttled` names the strategies that stay disabled until an operator enables them; `ramp` is the fraction of the
    size limits that applies after a recovery, 1 in normal trading.
    `daily_weights` are the exposures at the start of each of the last days, for the backtest of the VaR model; None if
    no limit needs them, and in records of earlier versions.
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
    open_exits: float = 0.0
    daily_weights: WeightHistory | None = None

    def __post_init__(self) -> None:
        if self.positions.__class__ is dict:
            msgspec.structs.force_setattr(self, "positions", MappingProxyType(dict(self.positions)))
        if self.marks.__class__ is dict:
            msgspec.structs.force_setattr(self, "marks", MappingProxyType(dict(self.marks)))


class MarketView(Value, frozen=True):
    """State of the market at the decision, as gates receive it: the bar that closed at `as_of`, ns UTC.

    `decision_price` is the last close of the symbol, also when the order was decided at another price; `bar_time` is
    the close time of the newest bar. `book` holds the order book where a source is declared, else None.
    `average_daily_volume` is in base units per day and `daily_volatility` is the standard deviation of daily returns,
    both over complete past days; `returns` is the declared history of daily returns. Values that no configured limit
    needs may be missing.
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


class OrderBook(Value, frozen=True):
    """Order book at one instant: levels of (price in quote currency, quantity in base units), best first."""

    ts_event: int
    bids: tuple[tuple[float, float], ...] = ()
    asks: tuple[tuple[float, float], ...] = ()
