"""Orders and fills as an external log states them, and the events of an order that they become.

An order without a row of its own is REQUESTED and SUBMITTED at its first fill, and has the quantity of its fills. A
fill implies ACCEPTED at the time of the first fill. Implied events have the reason `implied`. Prices that the log does
not state are 0.0, fees that it does not state are NaN.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from peak_trade.core.errors import excerpt
from peak_trade.core.values import OrderType, Side, TimeInForce
from peak_trade.journal.events import OrderEvent, OrderEventKind
from peak_trade.journal.log_times import TimeFormat, recognised_format, stated_format

Kind = OrderEventKind
Fees = tuple[tuple[float, str], ...]
"""Fees of a fill or an order, each with its currency; empty: unknown. A negative fee is a rebate."""


UNKNOWN_PRICE = 0.0
"""Price of an imported order that the log does not state, such as its arrival price."""
UNKNOWN_STRATEGY = "unknown"

_SAME = 1e-8
"""Relative difference up to which the quantities of an order and of its fills are equal: logs round them."""


class LoggedFill(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A fill as a log states it: `time` in ns UTC, `quantity` in base units, `price` in quote currency.

    `rows` are the rows of the file that state it, counted from 1.
    """

    rows: tuple[int, ...]
    order_id: str
    time: int
    symbol: str
    side: Side
    quantity: float
    price: float
    fees: Fees = ()
    order_type: OrderType = OrderType.MARKET
    strategy: str = ""
    decision_price: float = UNKNOWN_PRICE
    reason: str = "imported"


class LoggedOrder(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An order as a log states it; `end` is None while it is open, and `end_time` is the time of its last change.

    `quantity` is NaN where the log does not state it: it is then what was executed. `executed` is NaN where only the
    fills say it. `price` is the average price of its fills, for an order whose fills the log does not list.
    """

    rows: tuple[int, ...]
    order_id: str
    time: int
    symbol: str
    side: Side
    order_type: OrderType
    quantity: float
    end: OrderEventKind | None
    end_time: int
    executed: float = 0.0
    price: float = UNKNOWN_PRICE
    fees: Fees = ()
    limit_price: float | None = None
    stop_price: float | None = None
    strategy: str = ""
    decision_price: float = UNKNOWN_PRICE


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Statements of a user about a log: its strategy, the currency of its fees, and the format of its times.

    Without a strategy that of the log is kept, without a currency a column has to name it, and without a format it is
    recognised. `where` is the file, `columns` are names of our columns with those of the file, and `fee_price` returns
    the price of a currency in another at a time, NaN if it is unknown.
    """

    strategy: str = ""
    fee_currency: str = ""
    time_format: str = ""
    where: str = "the log"
    columns: Mapping[str, str] = field(default_factory=dict)
    fee_price: Callable[[str, str, int], float] = lambda currency, quote, time: math.nan

    def times(self, cells: Iterable[object]) -> TimeFormat:
        """Return the one format of the times of the log; ConfigError if they have several."""
        return stated_format(self.time_format) if self.time_format else recognised_format(cells, self.where)

    def times_in(self, cells: Callable[[], Iterable[object]], usual: TimeFormat) -> TimeFormat:
        """Return the format that the user states, the usual one if the first time is in it, or else the recognised one.

        ConfigError if the times of the log have several formats. `cells` returns them from the first one on.
        """
        if self.time_format:
            return stated_format(self.time_format)
        first = next((cell for cell in cells() if cell is not None and str(cell).strip()), None)
        try:
            usual.read(first)
        except (ValueError, OverflowError):
            return usual if first is None else recognised_format((each or "" for each in cells()), self.where)
        return usual


class Fee(NamedTuple):
    """Fee of a fill in the fields of an order event: in quote currency, in base units, or in another currency.

    An unknown fee is NaN.
    """

    fee: float
    fee_in_base: float = 0.0
    fee_paid: float = 0.0
    fee_currency: str = ""

    @classmethod
    def of(cls, amount: float, currency: str, symbol: str, price: float) -> Fee:
        """Return a fee that was paid in a currency for a fill of a symbol; unknown without a currency."""
        currency = currency.strip().upper()
        if amount == 0.0:
            return cls(0.0)
        if not currency:
            return UNKNOWN_FEE
        base, quote = assets_of(symbol)
        if quote:
            is_quote, is_base = currency == quote, currency == base
        else:
            is_quote = base.endswith(currency)
            is_base = not is_quote and base.startswith(currency)
        if is_quote:
            return cls(amount)
        return cls(amount * price, amount) if is_base else cls(0.0, 0.0, amount, currency)

    @classmethod
    def of_all(cls, fees: Fees, symbol: str, price: float) -> Fee:
        """Return all fees of a fill together; unknown without one. ValueError where an event can not hold them."""
        if not fees:
            return UNKNOWN_FEE
        parts = [cls.of(amount, currency, symbol, price) for amount, currency in fees]
        others = {part.fee_currency for part in parts if part.fee_currency}
        in_base = math.fsum(part.fee_in_base for part in parts)
        if len(others) > 1 or (in_base and any(part.fee and not part.fee_in_base for part in parts)):
            raise ValueError(f"the fees are in several currencies: {', '.join(currency for _, currency in fees)}")
        paid = math.fsum(part.fee_paid for part in parts)
        return cls(math.fsum(part.fee for part in parts), in_base, paid, "".join(others))


UNKNOWN_FEE = Fee(math.nan)


def check_trade(trade: LoggedFill | LoggedOrder) -> None:
    """Raise a ValueError unless the symbol of a fill or an order is one, and the numbers of a fill are above zero."""
    if not (_SYMBOL.fullmatch(trade.symbol) and len(trade.symbol) <= _LONGEST_SYMBOL and trade.symbol.isprintable()):
        raise ValueError(f"the symbol is {excerpt(trade.symbol)!r}, not one like BTC/USDT")
    if isinstance(trade, LoggedFill):
        for name, number in (("quantity", trade.quantity), ("price", trade.price)):
            if not number > 0.0:
                raise ValueError(f"{name} was {number:g}, not above zero")


_PART = r"[^\s/:'\"`()\[\]{}\\,;\u2010-\u2015]*[^\W_][^\s/:'\"`()\[\]{}\\,;\u2010-\u2015]*"
_SYMBOL = re.compile(rf"{_PART}(?:[/:]{_PART})*")
_LONGEST_SYMBOL = 64


def assets_of(symbol: str) -> tuple[str, str]:
    """Return base and quote currency of a symbol; the quote is empty where the symbol does not separate it."""
    base, *others = re.split(r"[/_:-]", symbol.upper())
    return base, others[0] if others else ""


def events_of_order(
    order_id: str, order: LoggedOrder | None, fills: list[LoggedFill], options: LogOptions
) -> list[OrderEvent]:
    """Return the events of an order from what a log states about it; ValueError where that does not add up.

    Parameters
    ----------
    order_id : str
    order : LoggedOrder or None
        None if the log lists its fills only.
    fills : list of LoggedFill
        By time; empty if the log lists none.
    options : LogOptions

    """
    if order is not None and not fills and order.executed > 0.0:
        fills = [_only_fill(order)]
    elif order is not None and order.fees and all(not fill.fees for fill in fills):
        total = math.fsum(fill.quantity for fill in fills)
        fills = [_with_part_of_fees(fill, order.fees, total) for fill in fills]
    traded = math.fsum(fill.quantity for fill in fills)
    stated = order if order is not None else fills[0]
    if len({(fill.side, fill.symbol) for fill in fills} | {(stated.side, stated.symbol)}) > 1:
        raise ValueError(f"the rows of order {order_id} have several sides")
    quantity, end, end_time = traded, Kind.FILLED, fills[-1].time if fills else stated.time
    limit_price = stop_price = None
    if order is not None:
        if not (math.isnan(order.executed) or math.isclose(traded, order.executed, rel_tol=_SAME)):
            raise ValueError(f"the fills of order {order_id} sum to {traded:.12g}, it executed {order.executed:.12g}")
        quantity = traded if math.isnan(order.quantity) else order.quantity
        limit_price, stop_price = order.limit_price, order.stop_price
        end, end_time = order.end, max(order.end_time, end_time)  # type: ignore[assignment]
    is_filled = math.isclose(traded, quantity, rel_tol=_SAME)
    if end is Kind.FILLED and not is_filled:
        raise ValueError(f"the order is filled, but traded {traded:.12g} of {quantity:.12g}")
    if not (math.isfinite(quantity) and quantity > 0.0):
        raise ValueError(f"quantity was {quantity}, not above zero")
    start = min([stated.time, *(fill.time for fill in fills)])
    request = OrderEvent(
        start, order_id, _strategy_of(stated, fills, options), stated.symbol, Kind.REQUESTED,
        stated.side, stated.order_type, TimeInForce.GTC, quantity, 0.0, quantity, stated.decision_price, UNKNOWN_PRICE,
        limit_price=limit_price, stop_price=stop_price, reason="implied",
    )  # fmt: skip
    events = [request, replace(request, event=Kind.SUBMITTED, reason="imported" if order is not None else "implied")]
    if fills:
        events.append(replace(request, ts_event=fills[0].time, event=Kind.ACCEPTED))
    done = 0.0
    for number, fill in enumerate(fills, start=1):
        done += fill.quantity
        is_last = is_filled and number == len(fills)
        trade = replace(
            request, ts_event=fill.time, event=Kind.FILLED if is_last else Kind.PARTIALLY_FILLED, cumulative=done,
            leaves=0.0 if is_last else quantity - done, last_quantity=fill.quantity, last_price=fill.price,
            reason=fill.reason,
        )  # fmt: skip
        events.append(_with_fees(trade, fill.fees, options))
    if end is not None and not is_filled:
        ended = replace(request, ts_event=end_time, event=end, cumulative=done, leaves=0.0, reason="imported")
        events.append(ended)
    return events


def _strategy_of(stated: LoggedOrder | LoggedFill, fills: Sequence[LoggedFill], options: LogOptions) -> str:
    named = (each.strategy for each in (stated, *fills))
    return options.strategy or next(filter(None, named), UNKNOWN_STRATEGY)


def _only_fill(order: LoggedOrder) -> LoggedFill:
    return LoggedFill(
        (), order.order_id, order.end_time, order.symbol, order.side, order.executed, order.price, order.fees
    )


def _with_part_of_fees(fill: LoggedFill, fees: Fees, total: float) -> LoggedFill:
    return replace(fill, fees=tuple((amount * fill.quantity / total, currency) for amount, currency in fees))


def _with_fees(trade: OrderEvent, fees: Fees, options: LogOptions) -> OrderEvent:
    named = tuple((amount, currency or options.fee_currency) for amount, currency in fees)
    fee = Fee.of_all(named, trade.symbol, trade.last_price)
    if abs(fee.fee_in_base) >= trade.last_quantity:
        raise ValueError(
            f"the fee of {fee.fee_in_base:g} in base units is not below the quantity {trade.last_quantity:g}"
        )
    value = 0.0
    if fee.fee_currency:
        value = fee.fee_paid * options.fee_price(fee.fee_currency, assets_of(trade.symbol)[1], trade.ts_event)
    return replace(trade, **fee._asdict(), fee_value=0.0 if math.isnan(value) else value)
