"""The simulated venue, which fills orders from bars.

An order that was submitted before a bar opened is filled by the bar as follows:

- market: at the open, plus slippage;
- limit: at the open if the open is at least as good, otherwise at the limit if the bar touches it, without slippage;
- stop: at the open if that is beyond the stop, otherwise at the stop if the bar touches it, plus slippage;
- stop-limit: triggered like a stop, then filled within its limit only; otherwise it rests as a limit from the next bar;
- trailing stop: a stop whose level follows the best price of the earlier bars.

An order that came at the open or within the bar fills inside the bar's range. At most `max_participation` of the bar's
volume is filled for all orders together, any size if the bars have no volume; the rest stays open (gtc) or is canceled
(ioc).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from peak_trade.core.arrays import BoolArray
from peak_trade.core.rounding import ceil_to, floor_to
from peak_trade.core.values import Order, OrderType, Side, TimeInForce
from peak_trade.costs.model import Costs
from peak_trade.engine.market import Market, SymbolBars
from peak_trade.engine.venue import BuyingPower, Execution, Phase, Resting, Venue
from peak_trade.risk.review import ApprovedOrder

_FIRST_CHUNK = 64
_DUST = 1e-12
"""A remainder below this fraction of the order counts as nothing."""


class SimulatedVenue(Venue):
    """Fills orders from bars by the rules above; the only part of the account that it knows is the buying power.

    `worst_first` takes the stop before the target if a bar reaches both.
    """

    def __init__(self, market: Market, costs: Costs, *, worst_first: bool = True) -> None:
        self._market = market
        self._costs = costs
        self._column_of = {symbol: place for place, symbol in enumerate(market.symbols)}
        self._orders: dict[str, Resting] = {}
        self._worst_first = worst_first
        self._volume_left: dict[int, float] = {}

    def submit(self, approved: ApprovedOrder, bar: int, phase: Phase = Phase.AFTER_CLOSE) -> str:
        """Rest an order: from the next bar on, or within this bar if it came at its open or within it."""
        order = approved.order
        followed_to = bar - 1 if phase is Phase.AT_OPEN else bar
        self._orders[order.order_id] = Resting(
            order, bar, phase, self._column_of[order.symbol], order.quantity, order.decision_price, followed_to
        )
        return ""

    def cancel(self, order_id: str) -> Resting | None:
        """Cancel an order and return it; None if it no longer rests."""
        return self._orders.pop(order_id, None)

    def resting(self) -> list[Resting]:
        """Return the open orders, oldest first."""
        return list(self._orders.values())

    def match(self, bar: int, buying_power: BuyingPower) -> Iterator[Execution]:
        """Yield the executions of a bar: at its open, within it, and the orders that end with it."""
        if not self._orders:
            return
        self._volume_left.clear()
        for held in self._orders.values():
            self._follow(held, bar - 1)
        for phase in (Phase.AT_OPEN, Phase.WITHIN):
            seen: set[str] = set()
            while waiting := [held for order_id, held in self._orders.items() if order_id not in seen]:
                for held in sorted(waiting, key=self._rank) if len(waiting) > 1 else waiting:
                    order_id = held.order.order_id
                    seen.add(order_id)
                    if order_id in self._orders:
                        execution = self._execute(held, bar, phase, buying_power)
                        if execution is not None:
                            yield execution
        for held in self.resting():
            if self._market.columns[held.column].has_bar(bar):
                if held.order.time_in_force is TimeInForce.IOC and held.since < bar:
                    del self._orders[held.order.order_id]
                    yield self._ended(held, bar, "ioc")
                else:
                    self._follow(held, bar)

    def next_touch(self, bar: int, stop: int) -> int:
        """Return the first bar in (bar, stop) at which an order may execute or end, or `stop`."""
        for held in self._orders.values():
            if held.touch <= bar:
                held.touch = self._first_touch(held, bar, stop)
            stop = min(stop, held.touch)
        return stop

    def _rank(self, held: Resting) -> bool:
        return (held.order.order_type is OrderType.LIMIT) is self._worst_first

    def _execute(self, held: Resting, bar: int, phase: Phase, buying_power: BuyingPower) -> Execution | None:
        bars = self._market.columns[held.column]
        if not bars.has_bar(bar):
            return None
        self._follow(held, bar - 1)
        if phase is Phase.AT_OPEN:
            if held.since >= bar:
                return None
            opened = float(bars.open[bar])
            found = self._price_at_open(held, opened)
        else:
            found = self._price_within(held, bars, bar)
        if found is None:
            return None
        reference, is_taker = found
        return self._fill(held, bar, phase, reference, is_taker, buying_power)

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

    def _price_within(self, held: Resting, bars: SymbolBars, bar: int) -> tuple[float, bool] | None:
        order = held.order
        if order.order_type is OrderType.MARKET:
            return None
        is_buy = order.side is Side.BUY
        low, high = float(bars.low[bar]), float(bars.high[bar])
        came_within = held.since == bar and held.phase is Phase.WITHIN
        if order.order_type is OrderType.LIMIT or held.is_triggered:
            if order.limit_price is None:
                return None
            reached = low <= order.limit_price if is_buy else high >= order.limit_price
            if not reached or (came_within and self._worst_first):
                return None
            if is_buy:
                price = min(order.limit_price, high if came_within else float(bars.open[bar]))
            else:
                price = max(order.limit_price, low if came_within else float(bars.open[bar]))
            return price, price != order.limit_price
        level = _stop_level(held)
        if not (high >= level if is_buy else low <= level):
            return None
        held.is_triggered = True
        if is_buy:
            price = max(level, low if came_within else float(bars.open[bar]))
        else:
            price = min(level, high if came_within else float(bars.open[bar]))
        if order.limit_price is not None and order.side.sign * (order.limit_price - price) < 0.0:
            return None
        return price, True

    def _fill(
        self, held: Resting, bar: int, phase: Phase, reference: float, is_taker: bool, buying_power: BuyingPower
    ) -> Execution | None:
        order, costs = held.order, self._costs
        bars = self._market.columns[held.column]
        lot = bars.instrument.lot_size
        price = self._slipped(order, reference, bars.instrument.tick_size) if is_taker else reference
        rate = costs.taker_rate if is_taker else costs.maker_rate
        quantity, ended = held.leaves, ""
        if costs.max_participation is not None and not np.isnan(bars.volume[bar]):
            left = self._volume_left.get(held.column)
            if left is None:
                left = costs.max_participation * float(bars.volume[bar])
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
        ts_event = int(self._market.times[bar]) - (self._market.timeframe.ns if phase is Phase.AT_OPEN else 0)
        arrival = reference if held.since == bar else self._arrival_price(held)
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

    def _ended(self, held: Resting, bar: int, reason: str) -> Execution:
        ts_event = int(self._market.times[bar])
        arrival = self._arrival_price(held)
        return Execution(held.order, Phase.WITHIN, ts_event, 0.0, 0.0, 0.0, 0.0, arrival, held.cumulative, reason)

    def _arrival_price(self, held: Resting) -> float:
        bars = self._market.columns[held.column]
        return float(bars.open[bars.next_bar(held.since)])

    def _follow(self, held: Resting, bar: int) -> None:
        if held.order.order_type is OrderType.TRAILING_STOP and bar > held.followed_to:
            bars = self._market.columns[held.column]
            span = slice(held.followed_to + 1, bar + 1)
            if held.order.side is Side.SELL:
                held.best_price = float(np.fmax.reduce(bars.high[span], initial=held.best_price))
            else:
                held.best_price = float(np.fmin.reduce(bars.low[span], initial=held.best_price))
            held.followed_to = bar

    def _first_touch(self, held: Resting, bar: int, stop: int) -> int:
        order, bars = held.order, self._market.columns[held.column]
        acts_at_once = order.order_type is OrderType.MARKET or order.time_in_force is TimeInForce.IOC
        if acts_at_once or (held.is_triggered and order.limit_price is None):
            return bars.next_bar(bar)
        if order.order_type is OrderType.TRAILING_STOP:
            self._follow(held, bar)
        best, start, size = held.best_price, bar + 1, _FIRST_CHUNK
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
