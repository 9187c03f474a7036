"""Exits that were denied or rejected: when they are asked again, and which were below the minimum notional."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from peak_trade.core.rounding import floor_to
from peak_trade.core.time import iso
from peak_trade.engine.market import Market, SymbolBars
from peak_trade.engine.policy import Leg
from peak_trade.engine.sleeve import Sleeve
from peak_trade.journal.events import AlertEvent, AlertLevel, Event, OrderEvent, OrderEventKind
from peak_trade.risk.codes import DenialCode

ALERT = "exit_refused"
"""Code of the alert on an exit that was refused."""
_NOISE = 1e-9
"""Fraction of a quantity that is rounding noise."""


@dataclass(slots=True)
class _Refusal:
    is_dust: bool
    """Whether the exit was worth less than the exchange's minimum notional."""
    is_whole: bool
    """Whether the exit closes the position."""


class RefusedExits:
    """The exits that were denied or rejected and that the target still asks for, one per holder of a position.

    They are asked again at each close. One that was below the exchange's minimum notional is asked again only at a
    close at which it is worth the minimum. An episode lasts from the first refusal until the exit is sent or no longer
    wanted, or the target changes.
    """

    def __init__(self, market: Market) -> None:
        self._columns = dict(zip(market.symbols, market.columns, strict=True))
        self._by_holder: dict[Sleeve, _Refusal] = {}

    def __contains__(self, holder: Sleeve) -> bool:
        return holder in self._by_holder

    def __bool__(self) -> bool:
        return bool(self._by_holder)

    def add(self, holder: Sleeve, leg: Leg, reason: str, now: int, close: float) -> AlertEvent | None:
        """Note a refused exit; return the alert of its episode at the first refusal, None later.

        `now` is the time of the close, ns UTC, `close` its price and `reason` the codes of the gates or the text of the
        exchange.
        """
        quantity, column = abs(leg.quantity), self._columns[holder.symbol]
        is_new = holder not in self._by_holder
        is_dust = DenialCode.MIN_NOTIONAL in reason.split(", ")
        self._by_holder[holder] = _Refusal(is_dust, math.isclose(quantity, _whole(holder, column)))
        if not is_new:
            return None
        notional, least = quantity * close, column.instrument.min_notional
        when = f"when it is worth the minimum of {least:g}" if is_dust else "at each close"
        message = (
            f"an exit of {quantity:g} {holder.symbol} worth {notional:,.2f} was refused ({reason[:80]}); it is asked "
            f"again {when}"
        )
        return AlertEvent(now, AlertLevel.WARNING, ALERT, message, notional, least)

    def remove(self, holder: Sleeve) -> None:
        """Forget a refused exit, if there is one."""
        self._by_holder.pop(holder, None)

    def due(self, bar: int) -> list[Sleeve]:
        """Return the holders whose exits may be asked again at the close of a bar."""
        return [holder for holder, refusal in self._by_holder.items() if self._is_due(holder, refusal, bar)]

    def is_sendable(self, holder: Sleeve, leg: Leg, bar: int) -> bool:
        """Return whether a leg only reduces the position and is no dust."""
        column = self._columns[holder.symbol]
        is_dust = self._by_holder[holder].is_dust
        worth = abs(leg.quantity) * float(column.close[bar])
        return not holder.opens(leg) and not (is_dust and worth < column.instrument.min_notional)

    def next_bar(self, bar: int, stop: int) -> int:
        """Return the first bar in (bar, stop) at which an exit may be asked again, or `stop`."""
        for holder, refusal in self._by_holder.items():
            column = self._columns[holder.symbol]
            if refusal.is_dust and refusal.is_whole:
                worth = _whole(holder, column) * column.close[bar + 1 : stop]
                is_enough = worth >= column.instrument.min_notional
                stop = bar + 1 + int(is_enough.argmax()) if is_enough.any() else stop
            else:
                stop = min(stop, column.next_bar(bar))
        return stop

    def _is_due(self, holder: Sleeve, refusal: _Refusal, bar: int) -> bool:
        column = self._columns[holder.symbol]
        if holder.is_closing or not column.has_bar(bar):
            return False
        if not (refusal.is_dust and refusal.is_whole):
            return True
        return bool(_whole(holder, column) * column.close[bar] >= column.instrument.min_notional)


def _whole(holder: Sleeve, column: SymbolBars) -> float:
    """Return the whole lots of a position, unsigned, base units."""
    return abs(floor_to(holder.position, column.instrument.lot_size))


@dataclass(frozen=True, slots=True)
class SmallExits:
    """Exits on one symbol that were denied for their notional.

    `first` and `last` are the times of the first and the last denial, ns UTC. `quantity` (base units) and `notional`
    (quote currency, at the close of the decision) are those of the last one. `is_held` says whether that strategy has
    not traded the symbol since.
    """

    symbol: str
    n_orders: int
    first: int
    last: int
    quantity: float
    notional: float
    is_held: bool

    def __str__(self) -> str:
        count = "1 exit" if self.n_orders == 1 else f"{self.n_orders:,} exits"
        return (
            f"{count} of {self.symbol}, the last one at {iso(self.last)} of {self.quantity:g} worth "
            f"{self.notional:,.2f}, which {'is still held' if self.is_held else 'has traded since'}"
        )


def exits_below_minimum(events: Iterable[Event]) -> list[SmallExits]:
    """Return the exits that were denied for their notional, one entry per symbol, sorted by symbol.

    An exit is an order against the position that the fills of its strategy have led to, and not larger than it.
    """
    held: dict[tuple[str, str], float] = {}
    found: dict[str, list[OrderEvent]] = {}
    untraded: set[tuple[str, str]] = set()
    for event in events:
        if not isinstance(event, OrderEvent):
            continue
        key, sign = (event.strategy, event.symbol), event.side.sign
        position = held.get(key, 0.0)
        if event.last_quantity > 0.0:
            held[key] = position + sign * event.last_quantity - event.fee_in_base
            untraded.discard(key)
        elif event.event is OrderEventKind.DENIED and DenialCode.MIN_NOTIONAL in event.reason.split(", "):
            is_exit = position * sign < 0.0 and event.quantity <= abs(position) * (1.0 + _NOISE)
            if is_exit:
                found.setdefault(event.symbol, []).append(event)
                untraded.add(key)
    return [_summary(denied, (denied[-1].strategy, symbol) in untraded) for symbol, denied in sorted(found.items())]


def small_exits_sentence(events: Iterable[Event]) -> str:
    """Return a sentence on the exits that were denied for their notional; empty if there are none."""
    found = exits_below_minimum(events)
    return f"Below the exchange's minimum notional: {'; '.join(map(str, found))}." if found else ""


def _summary(denied: list[OrderEvent], is_held: bool) -> SmallExits:
    last = denied[-1]
    notional = last.quantity * last.decision_price
    return SmallExits(last.symbol, len(denied), denied[0].ts_event, last.ts_event, last.quantity, notional, is_held)
