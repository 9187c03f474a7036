"""The venue port, and the simulated venue that fills orders from bars.

How a bar fills an order that was submitted before it opened:

- market: at the open, plus slippage;
- limit: at the open when the open is already as good, else at the limit when the bar touches it, without slippage;
- stop: at the open when that is beyond the stop, else at the stop when touched, plus slippage either way;
- stop-limit: triggered like a stop, then filled within its limit only; else it rests as a limit from the next bar on;
- trailing stop: a stop whose level follows the best price of the bars before this one.

An order that came at the open or within the bar fills inside the bar's range. At most `max_participation` of the bar's
volume is filled in all; the rest stays open (gtc) or is canceled (ioc).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Protocol

import numpy as np

from peak_trade.core.arrays import BoolArray
from peak_trade.core.ledger import Ledger
from peak_trade.core.rounding import ceil_to, floor_to
from peak_trade.core.values import Order, OrderType, Side, TimeInForce
from peak_trade.costs.model import Costs
from peak_trade.engine.market import Market, SymbolBars
from peak_trade.journal.events import Event, ReconciliationEvent
from peak_trade.risk.review import ApprovedOrder

_FIRST_CHUNK = 64
_DUST = 1e-12
"""A remainder below this share of the order counts as nothing."""

BuyingPower = Callable[[Order, float], float]
"""(order, cost of one unit with its fee) -> the largest quantity that the account can pay for."""


class Phase(IntEnum):
    """When an order reached the venue, seen from the bar in which it did."""

    AFTER_CLOSE = 0
    AT_OPEN = 1
    WITHIN = 2


@dataclass(frozen=True, slots=True)
class Execution:
    """What a bar did to an order: a trade when quantity is above zero, and its end when `ended` is not empty.

    `ended` is filled, ioc (its one bar is over) or cash (the rest could not be paid for). `fee` is in quote currency;
    `fee_in_base` is what an exchange took of it in base units, 0.0 where it took quote currency.
    """

    order: Order
    phase: Phase
    ts_event: int
    quantity: float
    price: float
    fee: float
    reference_price: float
    arrival_price: float
    cumulative: float
    ended: str
    fee_in_base: float = 0.0


@dataclass(slots=True)
class Resting:
    """An order that a venue holds, and what has become of it."""

    order: Order
    since: int
    phase: Phase
    column: int
    leaves: float
    best_price: float
    """Best price since it rests, for a trailing stop: as of row `followed_to`."""
    followed_to: int
    is_triggered: bool = False
    touch: int = -1
    """Next row known to touch it; none lies between the last visited row and this one."""

    @property
    def cumulative(self) -> float:
        """Quantity that has traded."""
        return self.order.quantity - self.leaves


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A comparison of the account and the open orders with what an exchange reports."""

    holdings: tuple[ReconciliationEvent, ...] = ()
    orders: ReconciliationEvent | None = None
    has_canceled: bool = False
    """Whether an order that the exchange reported open and the venue did not know was canceled."""

    @property
    def events(self) -> list[ReconciliationEvent]:
        """All comparisons, holdings first."""
        return [*self.holdings, *([] if self.orders is None else [self.orders])]

    @property
    def holds_as_expected(self) -> bool:
        """Whether the account holds what the ledger expects."""
        return all(event.is_equal for event in self.holdings)

    @property
    def is_equal(self) -> bool:
        """Whether every comparison is equal."""
        return all(event.is_equal for event in self.events)


class Venue(Protocol):
    """Where approved orders go. A backtest, a paper session and a sandbox differ in this port.

    A simulated venue trades at bars only; it inherits `reconcile`, `apply_recorded` and `resume`, which do nothing.
    """

    is_remote: ClassVar[bool] = False
    """Whether it is an exchange, which trades between bars too and may be out of reach."""

    def submit(self, approved: ApprovedOrder, row: int, phase: Phase = Phase.AFTER_CLOSE) -> str:
        """Take an order in the bar of grid row `row`; return why it was rejected, empty when it was taken."""

    def cancel(self, order_id: str) -> Resting | None:
        """Withdraw an order; None when it no longer rests."""

    def match(self, row: int, buying_power: BuyingPower) -> Iterator[Execution]:
        """Yield what happened in the bar of `row`, in the order in which it happened."""

    def next_touch(self, row: int, stop: int) -> int:
        """Return the first row in (row, stop) at which an order may execute or end, or `stop`."""

    def resting(self) -> list[Resting]:
        """Return the open orders, oldest first."""

    def reconcile(self, ledger: Ledger, now: int) -> Reconciliation:
        """Compare the ledger and the open orders with what the exchange reports at `now`, ns UTC."""
        return Reconciliation()

    def apply_recorded(self, event: Event) -> bool:
        """Take an event of a recorded session; return True if it is a report of the exchange that `match` yields next.

        Until `resume`, executions come from the record and nothing is sent.
        """
        return False

    def resume(self) -> None:
        """Continue with the exchange itself after the last recorded event."""
        return


def pending_quantities(venue: Venue, order: Order) -> tuple[tuple[str, float], ...]:
    """Return (symbol, signed open quantity in base units) of each open order that counts when `order` is reviewed.

    Orders that can open or enlarge a position count. If `order` can do so too, the exits on its symbol and side also
    count, because it trades in addition to them.
    """
    return tuple(
        (held.order.symbol, held.order.side.sign * held.leaves)
        for held in venue.resting()
        if not held.order.is_reducing or _is_additional(order, held.order)
    )


def _is_additional(order: Order, exit_: Order) -> bool:
    is_by_target = exit_.reason == "target"
    return is_by_target and not order.is_reducing and (exit_.symbol, exit_.side) == (order.symbol, order.side)


class SimulatedVenue(Venue):
    """Fills orders from bars by the rules above; of the account it knows the buying power only."""

    def __init__(self, market: Market, costs: Costs, *, worst_first: bool = True) -> None:
        self._market = market
        self._costs = costs
        self._column_of = {symbol: place for place, symbol in enumerate(market.symbols)}
        self._orders: dict[str, Resting] = {}
        self._worst_first = worst_first
        self._volume_left: dict[int, float] = {}

    def submit(self, approved: ApprovedOrder, row: int, phase: Phase = Phase.AFTER_CLOSE) -> str:
        """Rest the order: from the next bar on, or within this one when it came at its open or within it."""
        order = approved.order
        followed_to = row - 1 if phase is Phase.AT_OPEN else row
        self._orders[order.order_id] = Resting(
            order, row, phase, self._column_of[order.symbol], order.quantity, order.decision_price, followed_to
        )
        return ""

    def cancel(self, order_id: str) -> Resting | None:
        """Withdraw an order; None when it no longer rests."""
        return self._orders.pop(order_id, None)

    def resting(self) -> list[Resting]:
        """Return the open orders, oldest first."""
        return list(self._orders.values())

    def match(self, row: int, buying_power: BuyingPower) -> Iterator[Execution]:
        """Yield the executions of the bar of `row`: at its open, within it, and orders that end with it."""
        if not self._orders:
            return
        self._volume_left.clear()
        for held in self._orders.values():
            self._follow(held, row - 1)
        for phase in (Phase.AT_OPEN, Phase.WITHIN):
            seen: set[str] = set()
            while waiting := [held for order_id, held in self._orders.items() if order_id not in seen]:
                for held in sorted(waiting, key=self._rank) if len(waiting) > 1 else waiting:
                    order_id = held.order.order_id
                    seen.add(order_id)
                    if order_id in self._orders:
                        execution = self._execute(held, row, phase, buying_power)
                        if execution is not None:
                            yield execution
        for held in self.resting():
            if self._market.columns[held.column].has_bar(row):
                if held.order.time_in_force is TimeInForce.IOC and held.since < row:
                    del self._orders[held.order.order_id]
                    yield self._ended(held, row, "ioc")
                else:
                    self._follow(held, row)

    def next_touch(self, row: int, stop: int) -> int:
        """Return the first row in (row, stop) at which an order may execute or end, or `stop`."""
        for held in self._orders.values():
            if held.touch <= row:
                held.touch = self._first_touch(held, row, stop)
            stop = min(stop, held.touch)
        return stop

    def _rank(self, held: Resting) -> bool:
        return (held.order.order_type is OrderType.LIMIT) is self._worst_first

    def _execute(self, held: Resting, row: int, phase: Phase, buying_power: BuyingPower) -> Execution | None:
        bars = self._market.columns[held.column]
        if not bars.has_bar(row):
            return None
        self._follow(held, row - 1)
        if phase is Phase.AT_OPEN:
            if held.since >= row:
                return None
            opened = float(bars.open[row])
            found = self._price_at_open(held, opened)
        else:
            found = self._price_within(held, bars, row)
        if found is None:
            return None
        reference, is_taker = found
        return self._fill(held, row, phase, reference, is_taker, buying_power)

    def _price_at_open(self, held: Resting, opened: float) -> tuple[float, bool] | None:
        order = held.order
        if order.order_type is OrderType.MARKET:
            return opened, True
        sign = order.side.sign
        if not held.is_triggered and order.order_type is not OrderType.LIMIT:
            if sign * (opened - _stop_level(held)) < 0.0:
                return None
            held.is_triggered = True
        if order.limit_price is not None and sign * (order.limit_price - opened) < 0.0:
            return None
        return opened, True

    def _price_within(self, held: Resting, bars: SymbolBars, row: int) -> tuple[float, bool] | None:
        order = held.order
        if order.order_type is OrderType.MARKET:
            return None
        is_buy = order.side is Side.BUY
        low, high = float(bars.low[row]), float(bars.high[row])
        came_within = held.since == row and held.phase is Phase.WITHIN
        if order.order_type is OrderType.LIMIT or held.is_triggered:
            if order.limit_price is None:
                return None
            reached = low <= order.limit_price if is_buy else high >= order.limit_price
            if not reached or (came_within and self._worst_first):
                return None
            if is_buy:
                price = min(order.limit_price, high if came_within else float(bars.open[row]))
            else:
                price = max(order.limit_price, low if came_within else float(bars.open[row]))
            return price, price != order.limit_price
        level = _stop_level(held)
        if not (high >= level if is_buy else low <= level):
            return None
        held.is_triggered = True
        if is_buy:
            price = max(level, low if came_within else float(bars.open[row]))
        else:
            price = min(level, high if came_within else float(bars.open[row]))
        if order.limit_price is not None and order.side.sign * (order.limit_price - price) < 0.0:
            return None
        return price, True

    def _fill(
        self, held: Resting, row: int, phase: Phase, reference: float, is_taker: bool, buying_power: BuyingPower
    ) -> Execution | None:
        order, costs = held.order, self._costs
        bars = self._market.columns[held.column]
        lot = bars.instrument.lot_size
        price = self._slipped(order, reference, bars.instrument.tick_size) if is_taker else reference
        rate = costs.taker_rate if is_taker else costs.maker_rate
        quantity, ended = held.leaves, ""
        if costs.max_participation is not None:
            left = self._volume_left.get(held.column)
            if left is None:
                left = costs.max_participation * float(bars.volume[row])
            quantity = min(quantity, floor_to(left, lot))
            self._volume_left[held.column] = left - quantity
        if order.side is Side.BUY:
            affordable = floor_to(buying_power(order, price * (1.0 + rate)), lot)
            if affordable < quantity:
                quantity, ended = affordable, "cash"
        if quantity <= 0.0 and not ended:
            return None
        held.leaves -= quantity
        if held.leaves <= _DUST * order.quantity:
            held.leaves, ended = 0.0, "filled"
        if ended:
            del self._orders[order.order_id]
        ts_event = int(self._market.times[row]) - (self._market.timeframe.ns if phase is Phase.AT_OPEN else 0)
        arrival = reference if held.since == row else self._arrival_price(held)
        fee = quantity * price * rate
        return Execution(order, phase, ts_event, quantity, price, fee, reference, arrival, held.cumulative, ended)

    def _slipped(self, order: Order, reference: float, tick: float) -> float:
        sign = order.side.sign
        price = reference * (1.0 + sign * self._costs.slippage_rate)
        if tick > 0.0:
            price = ceil_to(price, tick) if sign > 0 else floor_to(price, tick)
        if order.limit_price is not None:
            price = min(price, order.limit_price) if sign > 0 else max(price, order.limit_price)
        return price

    def _ended(self, held: Resting, row: int, why: str) -> Execution:
        ts_event = int(self._market.times[row])
        arrival = self._arrival_price(held)
        return Execution(held.order, Phase.WITHIN, ts_event, 0.0, 0.0, 0.0, 0.0, arrival, held.cumulative, why)

    def _arrival_price(self, held: Resting) -> float:
        bars = self._market.columns[held.column]
        return float(bars.open[bars.next_row(held.since)])

    def _follow(self, held: Resting, row: int) -> None:
        if held.order.order_type is OrderType.TRAILING_STOP and row > held.followed_to:
            bars = self._market.columns[held.column]
            span = slice(held.followed_to + 1, row + 1)
            if held.order.side is Side.SELL:
                held.best_price = float(np.fmax.reduce(bars.high[span], initial=held.best_price))
            else:
                held.best_price = float(np.fmin.reduce(bars.low[span], initial=held.best_price))
            held.followed_to = row

    def _first_touch(self, held: Resting, row: int, stop: int) -> int:
        order, bars = held.order, self._market.columns[held.column]
        acts_at_once = order.order_type is OrderType.MARKET or order.time_in_force is TimeInForce.IOC
        if acts_at_once or (held.is_triggered and order.limit_price is None):
            return bars.next_row(row)
        if order.order_type is OrderType.TRAILING_STOP:
            self._follow(held, row)
        best, start, size = held.best_price, row + 1, _FIRST_CHUNK
        while start < stop:
            end = min(start + size, stop)
            hits, best = _touches(held, bars, slice(start, end), best)
            if hits.any():
                return start + int(hits.argmax())
            start, size = end, size * 4
        return stop


def _touches(held: Resting, bars: SymbolBars, span: slice, best: float) -> tuple[BoolArray, float]:
    order = held.order
    low, high = bars.low[span], bars.high[span]
    is_buy = order.side is Side.BUY
    if order.order_type is OrderType.TRAILING_STOP:
        assert order.trail is not None
        follow, extreme = (np.fmin, low) if is_buy else (np.fmax, high)
        path = follow.accumulate(np.concatenate(([best], extreme)))
        levels = path[:-1] * (1.0 + order.side.sign * order.trail)
        return (high >= levels if is_buy else low <= levels), float(path[-1])
    if order.order_type is OrderType.LIMIT or held.is_triggered:
        limit = order.limit_price
        assert limit is not None
        return (low <= limit if is_buy else high >= limit), best
    stop = order.stop_price
    assert stop is not None
    return (high >= stop if is_buy else low <= stop), best


def _stop_level(held: Resting) -> float:
    order = held.order
    if order.trail is not None:
        return held.best_price * (1.0 + order.side.sign * order.trail)
    assert order.stop_price is not None
    return order.stop_price
