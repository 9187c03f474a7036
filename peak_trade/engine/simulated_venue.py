"""The simulated venue, which fills orders from bars.

An order that was submitted before a bar opened is filled by the bar as follows:

- market: at the open, plus slippage;
- limit: at the open if the open is at least as good, otherwise at the limit if the bar touches it; without slippage and
  with the maker fee;
- stop: at the open if that is beyond the stop, otherwise at the stop if the bar touches it, plus slippage;
- stop-limit: triggered like a stop, then filled within its limit only; otherwise it rests as a limit from the next bar;
- trailing stop: a stop whose level follows the best price of the earlier bars.

An order that came at the open or within the bar is filled by the rest of the bar's path (`bar_path`). Of the levels on
one side of the open, the nearest is crossed first. At most `max_participation` of the bar's volume is filled for all
orders together, any size if the bars have no volume; the rest stays open (gtc) or is canceled (ioc). What the volume
leaves of a triggered stop comes first in the next bars: it fills at the open if that is not better than its level,
otherwise at its level, or at the bar's worst price if the whole bar is better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from peak_trade.core.arrays import BoolArray
from peak_trade.core.calendar import open_times
from peak_trade.core.rounding import ceil_to, floor_to, stop_to, stops_to
from peak_trade.core.values import Order, OrderType, Side, TimeInForce
from peak_trade.costs.model import Costs
from peak_trade.engine.bar_path import Start, is_reached
from peak_trade.engine.market import Market, SymbolBars
from peak_trade.engine.venue import BuyingPower, Execution, Phase, Resting, Venue
from peak_trade.journal.events import EndCause, Ending
from peak_trade.risk.review import ApprovedOrder

_FIRST_CHUNK = 64
_DUST = 1e-12
"""A remainder below this fraction of the order counts as nothing."""


@dataclass(frozen=True, slots=True)
class _Touch:
    """An order whose level a bar reaches within: the price of its fill, and the point of the path at which it is."""

    held: Resting
    price: float
    is_taker: bool
    way: int
    start: Start
    """Point of the path from which the order was open."""
    end: Start
    """Point of the path at which it trades."""
    is_known: bool
    """Whether the bar shows that the level is reached after the start."""

    @property
    def sleeve(self) -> tuple[str, int]:
        """Strategy and column of the order."""
        return self.held.order.strategy, self.held.column

    @property
    def is_move(self) -> bool:
        """Whether the price has to move from the start to the level."""
        return self.end is not self.start


class SimulatedVenue(Venue):
    """Fills orders from bars by the rules above; the only part of the account that it knows is the buying power.

    Where a bar does not show the order of events, `worst_first` assumes that the stop comes before the target, and that
    a level is reached if it is a stop; otherwise the opposite.
    """

    def __init__(self, market: Market, costs: Costs, *, worst_first: bool = True) -> None:
        self._market = market
        self._costs = costs
        self._column_of = {symbol: place for place, symbol in enumerate(market.symbols)}
        self._orders: dict[str, Resting] = {}
        self._worst_first = worst_first
        self._volume_left: dict[int, float] = {}
        self._paths: dict[int, Start] = {}
        self._ambiguous: set[tuple[int, int]] = set()

    @property
    def n_ambiguous(self) -> int:
        """Number of bars of one symbol that do not show the order of events on which the fills depend."""
        return len(self._ambiguous)

    def submit(self, approved: ApprovedOrder, bar: int, phase: Phase = Phase.AFTER_CLOSE) -> Ending | None:
        """Rest an order: from the next bar on, or within this bar if it came at its open or within it."""
        order = approved.order
        followed_to = bar - 1 if phase is Phase.AT_OPEN else bar
        column = self._column_of[order.symbol]
        held = Resting(order, bar, phase, column, order.quantity, order.decision_price, followed_to)
        held.start = self._paths.get(column) if phase is Phase.WITHIN else None
        self._orders[order.order_id] = held
        return None

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
        self._paths.clear()
        for held in self._orders.values():
            self._follow(held, bar - 1)
        yield from self._match_at_open(bar, buying_power)
        yield from self._match_within(bar, buying_power)
        for held in self.resting():
            if self._market.columns[held.column].has_bar(bar):
                if held.order.time_in_force is TimeInForce.IOC and held.since < bar:
                    del self._orders[held.order.order_id]
                    yield self._without_trade(held, bar, Phase.WITHIN, Ending(EndCause.TIME_IN_FORCE, "ioc"))
                else:
                    self._follow(held, bar)

    def next_touch(self, bar: int, stop: int) -> int:
        """Return the first bar in (bar, stop) at which an order may execute or end, or `stop`."""
        for held in self._orders.values():
            if held.touch <= bar:
                held.touch = self._first_touch(held, bar, stop)
            stop = min(stop, held.touch)
        return stop

    def _match_at_open(self, bar: int, buying_power: BuyingPower) -> Iterator[Execution]:
        waiting = [held for held in self._orders.values() if held.since < bar and self._has_bar(held, bar)]
        for held in sorted(waiting, key=_rank_at_open) if len(waiting) > 1 else waiting:
            if held.order.order_id in self._orders:
                was_triggered = held.is_triggered
                found = self._price_at_open(held, bar)
                if found is not None:
                    yield from self._trade(held, bar, Phase.AT_OPEN, *found, was_triggered, buying_power)

    def _match_within(self, bar: int, buying_power: BuyingPower) -> Iterator[Execution]:
        seen: set[str] = set()
        while waiting := [held for order_id, held in self._orders.items() if order_id not in seen]:
            seen.update(held.order.order_id for held in waiting)
            found = [self._touch(held, bar) for held in waiting if self._has_bar(held, bar)]
            for touch in self._in_order([touch for touch in found if touch is not None], bar):
                held = touch.held
                if held.order.order_id not in self._orders:
                    continue
                was_triggered = held.is_triggered
                held.is_triggered = was_triggered or _is_stop(held)
                if _allows(held.order, touch.price):
                    self._paths[held.column] = touch.end
                    yield from self._trade(
                        held, bar, Phase.WITHIN, touch.price, touch.is_taker, was_triggered, buying_power
                    )

    def _in_order(self, touches: list[_Touch], bar: int) -> list[_Touch]:
        """Return the touches in the order in which the bar crosses them; note the bar if it does not show it."""
        moves = {(*touch.sleeve, touch.way) for touch in touches if touch.is_move and not _is_rest(touch.held)}
        both_ways = {(strategy, column) for strategy, column, way in moves if (strategy, column, -way) in moves}
        unknown = {touch.sleeve for touch in touches if not touch.is_known}
        self._ambiguous.update((bar, column) for _, column in both_ways | unknown)
        assumed = [touch for touch in touches if touch.is_known or _is_stop(touch.held) is self._worst_first]

        def rank(touch: _Touch) -> tuple[bool, bool, bool, float]:
            held = touch.held
            is_first = (_is_stop(held) is held.order.is_reducing) is self._worst_first
            is_later = touch.sleeve in both_ways and not is_first
            return not _is_rest(held), touch.is_move, is_later, abs(touch.end.price / touch.start.price - 1.0)

        return sorted(assumed, key=rank)

    def _has_bar(self, held: Resting, bar: int) -> bool:
        return self._market.columns[held.column].has_bar(bar)

    def _price_at_open(self, held: Resting, bar: int) -> tuple[float, bool] | None:
        order, bars = held.order, self._market.columns[held.column]
        opened = float(bars.open[bar])
        if order.order_type is OrderType.MARKET:
            return opened, True
        is_stop = _is_stop(held)
        if is_stop:
            if order.side.sign * (opened - _stop_level(held, bars)) < 0.0:
                return None
            held.is_triggered = True
        return (opened, is_stop) if _allows(order, opened) else None

    def _touch(self, held: Resting, bar: int) -> _Touch | None:
        """Return where the bar touches a stop or a limit order; None if it does not."""
        order, bars = held.order, self._market.columns[held.column]
        if order.order_type is OrderType.MARKET:
            return None
        self._follow(held, bar - 1)
        came_at = held.start if held.since == bar else None
        start = came_at or Start(float(bars.open[bar]))
        low, high = float(bars.low[bar]), float(bars.high[bar])
        if _is_stop(held):
            level, way, is_taker = _stop_level(held, bars), order.side.sign, True
            price = start.price if start.is_beyond(level, way) else level
            if _is_rest(held):
                price = min(max(price, low), high)
        else:
            assert order.limit_price is not None
            level, way = order.limit_price, -order.side.sign
            price, is_taker = level, False
            if start.is_beyond(level, way):
                if came_at is None:
                    price, is_taker = start.price, held.since == bar and start.price != level
                elif not low <= level <= high:
                    return None
        reached = is_reached(bars, bar, start, price, way)
        if reached is False:
            return None
        return _Touch(held, price, is_taker, way, start, start.moved(price, way), reached is True)

    def _trade(
        self,
        held: Resting,
        bar: int,
        phase: Phase,
        reference: float,
        is_taker: bool,
        was_triggered: bool,
        buying_power: BuyingPower,
    ) -> Iterator[Execution]:
        """Yield the fill of an order, or that a stop has triggered for which the bar has no volume left."""
        execution = self._fill(held, bar, phase, reference, is_taker, buying_power)
        if execution is not None:
            yield execution
        elif held.is_triggered and not was_triggered:
            yield self._without_trade(held, bar, phase, None)

    def _fill(
        self, held: Resting, bar: int, phase: Phase, reference: float, is_taker: bool, buying_power: BuyingPower
    ) -> Execution | None:
        order, costs = held.order, self._costs
        bars = self._market.columns[held.column]
        lot = bars.instrument.lot_size
        price = self._slipped(order, reference, bars.instrument.tick_size) if is_taker else reference
        rate = costs.taker_rate if is_taker else costs.maker_rate
        quantity = held.leaves
        cause: EndCause | None = None
        if costs.max_participation is not None and not np.isnan(bars.volume[bar]):
            left = self._volume_left.get(held.column)
            if left is None:
                left = costs.max_participation * float(bars.volume[bar])
            quantity = min(quantity, floor_to(max(left - self._claimed(held), 0.0), lot))
            self._volume_left[held.column] = left - quantity
        if order.side is Side.BUY:
            affordable = floor_to(buying_power(order, price * (1.0 + rate)), lot)
            if affordable < quantity:
                quantity, cause = affordable, EndCause.CASH
        if quantity <= 0.0 and cause is None:
            return None
        held.leaves -= quantity
        if held.leaves <= _DUST * order.quantity:
            held.leaves, cause = 0.0, None
        has_ended = held.leaves == 0.0 or cause is not None
        if has_ended:
            del self._orders[order.order_id]
        ts_event = self._time(bar, phase)
        arrival = reference if held.since == bar else self._arrival_price(held)
        fee = quantity * price * rate
        return Execution(
            order,
            phase,
            ts_event,
            quantity,
            price,
            fee,
            reference,
            arrival,
            held.cumulative,
            has_ended,
            cause=cause,
            reason="" if cause is None else "cash",
        )

    def _claimed(self, held: Resting) -> float:
        """Return the open quantity of the triggered stops that come before an order."""
        if _is_rest(held):
            return 0.0
        return sum(other.leaves for other in self._orders.values() if other.column == held.column and _is_rest(other))

    def _slipped(self, order: Order, reference: float, tick: float) -> float:
        sign = order.side.sign
        price = reference * (1.0 + sign * self._costs.slippage_rate)
        if tick > 0.0:
            price = ceil_to(price, tick) if sign > 0 else floor_to(price, tick)
        if order.limit_price is not None:
            price = min(price, order.limit_price) if sign > 0 else max(price, order.limit_price)
        return price

    def _without_trade(self, held: Resting, bar: int, phase: Phase, end: Ending | None) -> Execution:
        arrival = held.order.decision_price if held.since == bar else self._arrival_price(held)
        return Execution(
            held.order,
            phase,
            self._time(bar, phase),
            0.0,
            0.0,
            0.0,
            0.0,
            arrival,
            held.cumulative,
            end is not None,
            cause=None if end is None else end.cause,
            reason="" if end is None else end.reason,
        )

    def _time(self, bar: int, phase: Phase) -> int:
        closed = int(self._market.times[bar])
        return int(open_times(closed, self._market.timeframe)) if phase is Phase.AT_OPEN else closed

    def _arrival_price(self, held: Resting) -> float:
        bars = self._market.columns[held.column]
        return float(bars.open[bars.next_bar(held.since)])

    def _follow(self, held: Resting, bar: int) -> None:
        if held.order.order_type is OrderType.TRAILING_STOP and bar > held.followed_to and not held.is_triggered:
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
        sign = order.side.sign
        levels = stops_to(path[:-1] * (1.0 + sign * order.trail), sign, bars.instrument.tick_size)
        return (high >= levels if is_buy else low <= levels), float(path[-1])
    if order.order_type is OrderType.LIMIT or held.is_triggered:
        limit = order.limit_price
        assert limit is not None
        return (low <= limit if is_buy else high >= limit), best
    stop = order.stop_price
    assert stop is not None
    return (high >= stop if is_buy else low <= stop), best


def _is_stop(held: Resting) -> bool:
    """Return whether an order waits for a stop level or has passed it as a market order."""
    if held.order.order_type in (OrderType.MARKET, OrderType.LIMIT):
        return False
    return held.order.limit_price is None or not held.is_triggered


def _is_rest(held: Resting) -> bool:
    """Return whether an order is what the volume has left of a triggered stop."""
    return held.is_triggered and held.order.limit_price is None


def _rank_at_open(held: Resting) -> tuple[bool, bool]:
    return not _is_rest(held), held.order.order_type is OrderType.LIMIT


def _allows(order: Order, price: float) -> bool:
    """Return whether a price is no worse than the limit of an order, if it has one."""
    return order.limit_price is None or order.side.sign * (order.limit_price - price) >= 0.0


def _stop_level(held: Resting, bars: SymbolBars) -> float:
    order, sign = held.order, held.order.side.sign
    if order.trail is not None:
        return stop_to(held.best_price * (1.0 + sign * order.trail), sign, bars.instrument.tick_size)
    assert order.stop_price is not None
    return order.stop_price
