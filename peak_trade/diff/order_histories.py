"""Order histories, bars, signals and cash flows of one recording, in the form that a diff compares."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from peak_trade.core.values import OrderType, Side, TimeInForce
from peak_trade.journal import events
from peak_trade.journal.events import Event, OrderEventKind

Sleeve = tuple[str, str]
"""Strategy and symbol; the strategy is empty when both runs have one strategy only."""


TARGET = "target"
"""Reason of the orders that follow a target."""
UNKNOWN_REASON = "unknown"
"""Reason of an order of an external log, until it has that of its counterpart."""
PROTECTIVE_REASONS = frozenset({"stop_loss", "take_profit", "trailing_stop"})
"""Reasons of the orders that protect a position. An order with any other reason is not understood."""


class BarValues(NamedTuple):
    """Prices in quote currency and volume in base units of one bar; the volume is NaN where it is not recorded."""

    open: float
    high: float
    low: float
    close: float
    volume: float


class Entry(NamedTuple):
    """Entry of the position that a sleeve holds.

    `price` is the average entry price, `ts_event` the time of the last fill that opened or enlarged the position, and
    `since` the close at which the order that opened it was requested. A flat sleeve has `NO_ENTRY`.
    """

    price: float
    ts_event: int
    since: int


NO_ENTRY = Entry(0.0, 0, 0)


class Holding(NamedTuple):
    """Position of a sleeve (signed base units) and its entry after a fill in the bar that closed at `close_time`.

    `order_id` is the order that was filled.
    """

    close_time: int
    position: float
    entry: Entry
    order_id: str = ""


@dataclass(frozen=True, slots=True)
class OrderFill:
    """A fill of an order: signed quantity in base units, fee in quote currency.

    `close_time` is the close of the bar in which it happened. `fee_in_base` is the part of the fee that was taken from
    the position, in base units.
    """

    ts_event: int
    close_time: int
    quantity: float
    price: float
    fee: float
    fee_in_base: float = 0.0


@dataclass(slots=True, kw_only=True)
class OrderHistory:
    """Events of one order, and the account at the time of its request.

    `close_time` is the close of the last bar known at the request, `last_close` its closing price. `position` (signed
    base units), `equity` and `cash` (quote currency) and `target` are as of the request; they are corrected where an
    exit of the whole position shows that an earlier fill in the log is wrong. `entry` is the entry of that position.
    `event_times` are the kinds and times of the events, `event_indices` their indices in the recording. A liquidation
    is the part of a bankruptcy that closes a position; it has no order events.
    """

    order_id: str
    strategy: str
    symbol: str
    sleeve: Sleeve
    side: Side
    order_type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.GTC
    quantity: float
    decided_at: int
    decision_price: float
    arrival_price: float
    limit_price: float | None = None
    stop_price: float | None = None
    reason: str = TARGET
    close_time: int
    position: float
    equity: float
    cash: float
    target: float
    last_close: float
    outcome: OrderEventKind | None = None
    end_cause: events.EndCause | None = None
    end_reason: str = ""
    cash_before_last_fill: float = 0.0
    fills: list[OrderFill] = field(default_factory=list)
    event_times: tuple[tuple[OrderEventKind, int], ...] = ()
    event_indices: tuple[int, ...] = ()
    entry: Entry = NO_ENTRY
    is_liquidation: bool = False

    @property
    def signed_quantity(self) -> float:
        """Ordered quantity, negative for a sale, base units."""
        return self.quantity * self.side.sign

    @property
    def filled(self) -> float:
        """Filled quantity without sign, base units."""
        return sum(abs(fill.quantity) for fill in self.fills)

    @property
    def fee(self) -> float:
        """Fees paid, quote currency."""
        return sum(fill.fee for fill in self.fills)

    @property
    def price(self) -> float:
        """Average fill price; 0.0 without a fill."""
        filled = self.filled
        return sum(abs(fill.quantity) * fill.price for fill in self.fills) / filled if filled else 0.0

    @property
    def has_mixed_sides(self) -> bool:
        """Whether a fill has the opposite direction of the order."""
        return any(fill.quantity * self.side.sign < 0.0 for fill in self.fills)

    @property
    def follows_target(self) -> bool:
        """Whether the order follows a target."""
        return self.reason == TARGET

    @property
    def is_protective(self) -> bool:
        """Whether the order protects a position: a stop loss, a take profit or a trailing stop."""
        return self.reason in PROTECTIVE_REASONS

    @property
    def closes_position(self) -> bool:
        """Whether the order closes the whole position that was held at its request."""
        return math.isclose(self.signed_quantity, -self.position, rel_tol=1e-9, abs_tol=1e-12)

    @property
    def was_replaced(self) -> bool:
        """Whether the order was withdrawn because the target changed."""
        return self.end_cause is events.EndCause.TARGET_CHANGED

    @property
    def ended_by_other_fill(self) -> bool:
        """Whether the order was withdrawn because another order of the position was filled."""
        return self.end_cause is events.EndCause.OTHER_FILLED


@dataclass(frozen=True, slots=True)
class Signal:
    """A change of the target at `ts_event`, on the bar that closed at `close_time`."""

    ts_event: int
    close_time: int
    exposure: float
    event_index: int


@dataclass(frozen=True, slots=True)
class CashFlow:
    """Cash that moved without a fill, with the position and the price from which it was computed.

    `amount` is in quote currency, `position` in base units.
    """

    ts_event: int
    close_time: int
    sleeve: Sleeve
    reason: str
    amount: float
    position: float
    mark: float
    event_index: int


@dataclass(frozen=True, slots=True)
class DuplicateEvent:
    """An event that a log contains twice; a duplicate fill trades `quantity` (signed) at `price` for `fee` again."""

    event: Event
    event_index: int
    close_time: int
    symbol: str
    quantity: float
    price: float
    fee: float

    def pnl(self, last_close: float) -> float:
        """Return the PnL of the duplicate fill, quote currency; 0.0 for other events."""
        return self.quantity * (last_close - self.price) - self.fee


@dataclass(frozen=True, slots=True)
class StateChange:
    """A change of the trading state, on the bar that closed at `close_time`."""

    event: events.TradingStateEvent
    event_index: int
    close_time: int
