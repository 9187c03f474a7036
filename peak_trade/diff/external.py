"""Recording of an external log of orders, on bars that are not part of the log.

A log holds no bars, signals, targets or settings. The bars are those of the other run or of the store. The decision
price of an order is the last close before it was submitted. Its arrival price is interpolated in time between the open
and the close of the finest bar that contains its submission. A fee in a third currency is converted with bars of that
currency, or it is not compared.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

import numpy as np
from msgspec.structs import replace

from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars
from peak_trade.core.errors import SessionError
from peak_trade.core.values import OrderType, quote_of
from peak_trade.costs.model import Costs
from peak_trade.diff.bar_prices import BarPrices
from peak_trade.diff.order_histories import TARGET, UNKNOWN_REASON, OrderHistory
from peak_trade.diff.packed import PackedEvents
from peak_trade.diff.recording import LogFacts, Recording
from peak_trade.diff.tolerances import LOG_TOLERANCE
from peak_trade.journal.events import TERMINAL, BarEvent, CashFlowEvent, Event, OrderEvent, OrderEventKind

MODE = "imported"
_MAX_DECIMALS = 12
_HOUR_NS = 3_600 * 10**9
_BASIS_BPS = 50.0
"""Distance of a fill from its bar from which on slippage or a basis is unlikely, bps."""
_MOST_OUTSIDE = 0.5
"""Fraction of the fills outside of their bars from which on another time zone is tried."""
_MOST_INSIDE = 0.9
"""Fraction of the fills inside of their bars with which a time zone fits."""
_NO_SIGNALS = "the log holds no signals: causes before the order are `signal or timing`"


def matching_symbol(name: str, known: Iterable[str]) -> str:
    """Return the symbol among `known` that a log calls `name`, or the name itself.

    Separators and the settlement currency of a derivative are ignored.

    Examples
    --------
    >>> matching_symbol("BTCUSDT", ["BTC/USDT", "ETH/USDT"])
    'BTC/USDT'
    >>> matching_symbol("BTC/USDT:USDT", ["BTC/USDT"])
    'BTC/USDT'

    """
    if name in known:
        return name
    wanted = _letters(name.partition(":")[0])
    return next((symbol for symbol in known if _letters(symbol) == wanted), name)


def _letters(name: str) -> str:
    return "".join(letter for letter in name.upper() if letter.isalnum())


@dataclass(frozen=True, slots=True)
class LogBars:
    """Bars for a log by symbol: those of the comparison, and the finest ones.

    `unit_prices` are bars of the currencies of fees in quote currency, by currency, such as those of BNB/USDT for BNB.
    """

    bars: Mapping[str, Bars]
    finest: Mapping[str, Bars]
    unit_prices: Mapping[str, Bars] = field(default_factory=dict)


def recording_of_log(
    name: str,
    events: Sequence[Event],
    held: LogBars,
    settings: Mapping[str, Any],
    fee_bps: float | None = None,
    notes: Sequence[str] = (),
) -> Recording:
    """Return the recording of an external log.

    Parameters
    ----------
    name : str
    events : sequence of Event
        Events of the log; orders and cash flows are used.
    held : LogBars
        Orders of symbols without bars, or outside of their span, are left out and named in the notes.
    settings : mapping
        Settings of the log by dotted name, as far as they are known.
    fee_bps : float, optional
        Rate of the fills whose fee is unknown or could not be converted, bps of the notional. Defaults to 0.
    notes : sequence of str
        Further sentences about the log, without a full stop.

    Raises
    ------
    SessionError
        If the log has no order in a symbol with bars, or the bars have several timeframes.

    """
    if not held.bars:
        raise SessionError(f"{name}: no bars are held of its symbols. Import or fetch them with `peak-trade data`.")
    timeframes = {bars.timeframe for bars in held.bars.values()}
    if len(timeframes) > 1:
        raise SessionError(f"{name}: its bars have the timeframes {', '.join(sorted(map(str, timeframes)))}; use one.")
    log = _Log(name, held, fee_bps)
    kept = [event for event in (log.on_bars(order) for order in _orders(events)) if event]
    if not kept:
        raise SessionError(f"{name}: no order can be compared. {log.notes()[0]}.")
    flows = [event for event in events if isinstance(event, CashFlowEvent)]
    placed = log.placed(chain.from_iterable(kept), flows)
    arrival = max(bars.timeframe for symbol, bars in held.finest.items() if symbol in log.used)
    exchanges = ", ".join(dict.fromkeys(bars.exchange for bars in held.bars.values()))
    facts = LogFacts(arrival, (_NO_SIGNALS, *notes, *log.notes(), *log.price_notes(chain.from_iterable(kept))))
    return Recording(name, MODE, timeframes.pop(), settings, "", placed, exchange=exchanges, log=facts)


def lot_sizes_of(histories: Sequence[OrderHistory]) -> dict[str, float]:
    """Return the step of the quantities of each symbol, base units: the decimal place of the finest one.

    Quantities that are all equal show no step: theirs is at most 1 % of the quantity, so that another quantity is not
    taken for a rounded one.
    """
    quantities: dict[str, set[float]] = {}
    for history in histories:
        quantities.setdefault(history.symbol, set()).add(history.quantity)
    steps = {symbol: 10.0 ** -max(map(decimals, each)) for symbol, each in quantities.items()}
    return {
        symbol: steps[symbol] if len(each) > 1 else min(steps[symbol], 0.01 * min(each))
        for symbol, each in quantities.items()
    }


def decimals(number: float) -> int:
    """Return the number of decimal places with which a number is written, at most 12."""
    return len(f"{number:.{_MAX_DECIMALS}f}".rstrip("0").partition(".")[2])


def span_of(events: Iterable[Event]) -> tuple[int, int]:
    """Return the times of the first and the last order event, ns UTC; SessionError without any."""
    times = [event.ts_event for event in events if isinstance(event, OrderEvent)]
    if not times:
        raise SessionError("the log has no orders; choose a log with orders.")
    return min(times), max(times)


def main_quote(symbols: Iterable[str]) -> str:
    """Return the quote currency of most symbols, empty without any."""
    quotes = [quote_of(symbol) for symbol in symbols]
    return max(quotes, key=quotes.count, default="")


def _orders(events: Iterable[Event]) -> list[list[OrderEvent]]:
    orders: dict[str, list[OrderEvent]] = {}
    for event in events:
        if isinstance(event, OrderEvent):
            orders.setdefault(event.order_id, []).append(event)
    return list(orders.values())


class _Log:
    """Orders of a log, moved onto bars; orders that cannot be compared are counted."""

    def __init__(self, name: str, held: LogBars, fee_bps: float | None) -> None:
        self._name, self._held = name, held
        self._prices = {symbol: BarPrices(bars) for symbol, bars in held.bars.items()}
        self._finest = {symbol: BarPrices(bars) for symbol, bars in held.finest.items()}
        self._unit_prices = {coin: BarPrices(bars) for coin, bars in held.unit_prices.items()}
        self._rate = (fee_bps or 0.0) / 1e4
        self._left_out: Counter[str] = Counter()
        self._n_unknown_fees = 0
        self._other_fees: dict[str, float] = {}
        self._converted: dict[str, float] = {}
        self._inside: list[OrderEvent] = []
        self.used: set[str] = set()
        self._quote = main_quote(held.bars)

    def on_bars(self, order: Sequence[OrderEvent]) -> list[OrderEvent]:
        """Return the events of one order with the symbol of the bars, prices and fees; empty if there are no bars."""
        known = list(self._held.bars)
        symbol = matching_symbol(order[0].symbol, known)
        if symbol not in known:
            self._left_out[f"{order[0].symbol}: no bars held"] += 1
            return []
        if symbol.partition("/")[2] != self._quote:
            self._left_out[f"{symbol}: not quoted in {self._quote}, as the other symbols are"] += 1
            return []
        prices = self._prices[symbol]
        first, last = int(prices.times[0]) - prices.step, int(prices.times[-1]) + prices.step
        if order[0].ts_event < first or order[-1].ts_event > last:
            self._left_out[f"{symbol}: no bars held at their time"] += 1
            return []
        self.used.add(symbol)
        submitted = order[0].ts_event
        decision = prices.last_close(submitted)
        finest = self._finest.get(symbol, prices)
        arrival = finest.price_at(submitted)
        gap = int(finest.times[finest.bar_at(submitted)]) - submitted
        if order[0].order_type is OrderType.MARKET and gap < (1.0 - LOG_TOLERANCE) * finest.step:
            self._inside.append(replace(order[0], symbol=symbol))
        moved = [
            self._with_fee(
                replace(event, symbol=symbol, decision_price=event.decision_price or decision, arrival_price=arrival)
            )
            for event in order
        ]
        return [replace(moved[0], reason=UNKNOWN_REASON), *moved[1:]]

    def _with_fee(self, event: OrderEvent) -> OrderEvent:
        if not event.last_quantity:
            return event
        if event.fee_currency:
            currency = event.fee_currency
            value = event.fee_value
            prices = self._unit_prices.get(currency)
            if prices is not None and not value:
                self._converted[currency] = self._converted.get(currency, 0.0) + event.fee_paid
                value = event.fee_paid * float(prices.close[prices.bar_at(event.ts_event)])
            if value:
                return replace(event, fee=event.fee + value, fee_paid=0.0, fee_currency="", fee_value=0.0)
            self._other_fees[currency] = self._other_fees.get(currency, 0.0) + event.fee_paid
        elif math.isnan(event.fee):
            self._n_unknown_fees += 1
        else:
            return event
        assumed = event.last_quantity * event.last_price * self._rate
        return replace(event, fee=assumed, fee_in_base=0.0, fee_paid=0.0, fee_currency="")

    def placed(self, orders: Iterable[OrderEvent], flows: Iterable[CashFlowEvent]) -> Sequence[Event]:
        """Return bars and events in the order of a recording: each bar before the events of that bar."""
        bars = {symbol: self._held.bars[symbol] for symbol in sorted(self._held.bars)}
        times = np.unique(np.concatenate([self._prices[symbol].times for symbol in bars]))
        keyed: list[_Keyed] = []
        latest: dict[str, int] = {}
        moved: list[OrderEvent | CashFlowEvent] = [*orders, *flows]
        for number, event in enumerate(moved):
            place = int(np.searchsorted(times, event.ts_event, side="right"))
            if isinstance(event, OrderEvent):
                place = place if event.last_quantity else place - 1
                place = latest[event.order_id] = max(place, latest.get(event.order_id, place))
            keyed.append(((min(place, len(times) - 1), 1, event.ts_event, number), event))
        keyed.sort(key=itemgetter(0))
        series = [_keyed_bars(number, each, times) for number, each in enumerate(bars.values())]
        return PackedEvents(event for _, event in merge(keyed, *series, key=itemgetter(0)))

    def notes(self) -> list[str]:
        """Return what was left out or assumed, as sentences without a full stop."""
        found = [f"{count} order{'s' * (count != 1)} of {what}" for what, count in sorted(self._left_out.items())]
        rate = f"the rate of {self._rate * 1e4:g} bps is taken for them"
        if self._n_unknown_fees:
            found.append(f"{self._n_unknown_fees} fills of {self._name} state no fee; {rate}")
        found += [
            f"fees of {paid:g} {coin} are not converted: no bars of {coin} are held; {rate}"
            for coin, paid in sorted(self._other_fees.items())
        ]
        found += [
            f"fees of {paid:g} {coin} are converted with the {self._held.unit_prices[coin].timeframe} closes of "
            f"{self._held.unit_prices[coin].symbol}"
            for coin, paid in sorted(self._converted.items())
        ]
        return found

    def price_notes(self, events: Iterable[OrderEvent]) -> list[str]:
        """Return a sentence per series of bars: its origin, and how far the fills of the log are outside of it."""
        fills = sorted(
            (event for event in events if event.last_quantity), key=lambda event: (event.symbol, event.ts_event)
        )
        found = []
        for symbol, group in groupby(fills, key=lambda event: event.symbol):
            bars = self._held.finest.get(symbol, self._held.bars[symbol])
            prices = self._finest.get(symbol, self._prices[symbol])
            beyond = []
            fills_here = list(group)
            for fill in fills_here:
                bar, price = prices.bar_at(fill.ts_event), fill.last_price
                beyond.append(1e4 * (max(price / prices.high[bar], 1.0) + min(price / prices.low[bar], 1.0) - 2))
            outside = [each for each in beyond if each]
            text = f"{symbol}: prices of the {bars.timeframe} bars of {bars.exchange or 'an unnamed exchange'}; "
            n_inside = sum(each.symbol == symbol for each in self._inside)
            if n_inside:
                orders = "order" if n_inside == 1 else "orders"
                text += f"{n_inside} {orders} came inside of a bar, at a price that is interpolated; "
            if outside:
                worst = max(outside, key=abs)
                text += f"{len(outside)} of {len(beyond)} fills are outside of their bar, by up to {worst:+.1f} bps: "
                hours = _hours_of_zone(prices, fills_here) if len(outside) > _MOST_OUTSIDE * len(beyond) else None
                likely = (
                    "slippage or a basis" if abs(worst) < _BASIS_BPS else "another market, or times that are not UTC"
                )
                text += (
                    likely
                    if hours is None
                    else f"they fit if the times are those of UTC{hours:+d}, which the import has to know"
                )
            else:
                text += f"all {len(beyond)} fills are inside of their bar"
            found.append(text)
        return found


def _hours_of_zone(bars: BarPrices, fills: Sequence[OrderEvent]) -> int | None:
    """Return the offset from UTC, in hours, with which nearly all fills are inside of their bars; None without one."""
    times = np.array([fill.ts_event for fill in fills], dtype=np.int64)
    prices = np.array([fill.last_price for fill in fills])
    for hours in (hours for distance in range(1, 15) for hours in (distance, -distance)):
        places = np.minimum(np.searchsorted(bars.times, times - hours * _HOUR_NS, side="right"), len(bars) - 1)
        if np.mean((prices >= bars.low[places]) & (prices <= bars.high[places])) >= _MOST_INSIDE:
            return hours
    return None


_Keyed = tuple[tuple[int, int, int, int], Event]
"""An event with its place: that of its bar, after the bars themselves, by time, and by number."""


def _keyed_bars(number: int, bars: Bars, times: np.ndarray[Any, np.dtype[np.int64]]) -> Iterator[_Keyed]:
    """Yield the bars of a symbol with their places; at one time, those of several symbols are in order of `number`."""
    columns = [bars.frame[name].to_list() for name in COLUMNS]
    places = np.searchsorted(times, bars.times).tolist()
    for place, time, *values in zip(places, bars.times.tolist(), *columns, strict=True):
        yield (place, 0, 0, number), BarEvent(time, bars.symbol, *values)


def simulated_orders(log: Recording, held: LogBars, settings: Mapping[str, Any], costs: Costs) -> Recording:
    """Return the recording of the orders of a log as the simulation fills them on bars.

    A market order is filled at its arrival price plus slippage, at the time of its submission. A limit order is filled
    at its limit in the first of the finest bars after its submission that reaches it, unless the log cancelled it
    before; a stop order at its stop plus slippage. The limit of participation is not applied.
    """
    orders = _orders(log.events)
    prices = {symbol: BarPrices(held.finest.get(symbol, bars)) for symbol, bars in held.bars.items()}
    bars = [event for event in log.events if isinstance(event, BarEvent)]
    times = sorted({event.ts_event for event in bars})
    keyed: list[tuple[int, int, int, int, Event]] = [
        (bisect_left(times, event.ts_event), 0, 0, number, event) for number, event in enumerate(bars)
    ]
    for order in orders:
        for event in _simulated(order, prices[order[0].symbol], costs):
            place = bisect_right(times, event.ts_event) - (not event.last_quantity)
            keyed.append((min(place, len(times) - 1), 1, event.ts_event, len(keyed), event))
    keyed.sort(key=lambda entry: entry[:4])
    events = [entry[4] for entry in keyed]
    return Recording(f"{log.name} on bars", "backtest", log.timeframe, settings, "", events, exchange=log.exchange)


def _simulated(order: Sequence[OrderEvent], bars: BarPrices, costs: Costs) -> list[OrderEvent]:
    request = replace(order[0], reason=TARGET)
    last = order[-1]
    is_filled = last.event is OrderEventKind.FILLED
    opening = [replace(request, event=kind) for kind in (OrderEventKind.SUBMITTED, OrderEventKind.ACCEPTED)]
    until = None if is_filled or last.event not in TERMINAL else last.ts_event
    found = _simulated_fill(request, bars, costs, until)
    if found is None:
        end = OrderEventKind.CANCELED if is_filled or until is None else last.event
        closed = replace(request, event=end, ts_event=last.ts_event, leaves=0.0)
        return [request, *opening, closed]
    time, price, rate = found
    quantity = request.quantity
    fill = replace(
        request, event=OrderEventKind.FILLED, ts_event=time, cumulative=quantity, leaves=0.0, last_quantity=quantity,
        last_price=price, fee=quantity * price * rate,
    )  # fmt: skip
    return [request, *opening, fill]


def _simulated_fill(
    request: OrderEvent, bars: BarPrices, costs: Costs, until: int | None
) -> tuple[int, float, float] | None:
    """Return time, price and fee rate of the fill of an order; None if it is not filled until it ends."""
    sign = request.side.sign
    if request.order_type is OrderType.MARKET:
        price = request.arrival_price * (1.0 + sign * costs.slippage_rate)
        return request.ts_event, price, costs.taker_rate
    level = request.limit_price if request.order_type is OrderType.LIMIT else request.stop_price
    if level is None:
        return None
    is_limit = request.order_type is OrderType.LIMIT
    bar = bars.first_reaching(level, bars.bar_at(request.ts_event), is_low=(sign > 0.0) == is_limit)
    if bar is None or (until is not None and int(bars.times[bar]) > until):
        return None
    time = max(int(bars.times[bar]) - 1, request.ts_event)
    if is_limit:
        return time, level, costs.maker_rate
    return time, level * (1.0 + sign * costs.slippage_rate), costs.taker_rate
