"""Importers of external order logs.

An order is REQUESTED and SUBMITTED at the time at which the log submits it. A fill implies ACCEPTED at the time of the
fill. Missing information is marked: implied events have the reason `implied`, and decision and arrival prices, which
external logs do not have, are 0.0. A fee that the log does not state is NaN.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from msgspec.structs import replace

from peak_trade.core.errors import ConfigError, SessionError, did_you_mean, excerpt
from peak_trade.core.values import OrderType, Side, TimeInForce
from peak_trade.journal.events import OrderEvent, OrderEventKind
from peak_trade.journal.log_times import TimeFormat, recognised_format, stated_format
from peak_trade.journal.orders import OrderStates

if TYPE_CHECKING:
    import pandas as pd

Kind = OrderEventKind
E = TypeVar("E", bound=StrEnum)
UNKNOWN_PRICE = 0.0
"""Decision and arrival price of an imported order."""

_JESSE_COLUMNS = ("timestamp", "event", "raw", "symbol", "order_type", "side", "qty", "price", "amount")
_JESSE_ENDS = {"EXECUTED": Kind.FILLED, "CANCELED": Kind.CANCELED}
_JESSE_BALANCE = re.compile(r"Balance for (\w+) on ")
"""Currency of a fee in the text of its line."""
_JESSE_IGNORED = frozenset(
    {"OTHER", "DAILY_BALANCE", "REALIZED_PNL", "POSITION_OPENED", "POSITION_INCREASED", "POSITION_REDUCED",
     "POSITION_CLOSED"}
)  # fmt: skip
"""Kinds of rows that are not about an order. Account rows follow from the fills."""

ORDER_COLUMNS = ("order_id", "time", "end_time", "symbol", "side", "type", "quantity", "status", "executed", "price")
"""Mandatory columns of a table of orders, or the columns mapped to them. `price` is the average fill price."""

OPTIONAL_COLUMNS = ("limit_price", "stop_price", "fee", "fee_currency")
_STATUSES = {
    "FILLED": Kind.FILLED,
    "CANCELED": Kind.CANCELED,
    "CANCELLED": Kind.CANCELED,
    "REJECTED": Kind.REJECTED,
    "EXPIRED": Kind.EXPIRED,
    "NEW": None,
    "PARTIALLY_FILLED": None,
}


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Statements of a user about a log: its strategy, the currency of its fees, and the format of its times.

    Without a currency a column has to name it, and without a format it is recognised. `where` is the file.
    """

    strategy: str
    fee_currency: str = ""
    time_format: str = ""
    where: str = "the log"

    def times(self, cells: Any) -> TimeFormat:
        """Return the one format of the times of the log; ConfigError if they have several."""
        return stated_format(self.time_format) if self.time_format else recognised_format(cells, self.where)


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
        base, *others = re.split(r"[/_:-]", symbol.upper())
        if others:
            is_quote, is_base = currency == others[0], currency == base
        else:
            is_quote = base.endswith(currency)
            is_base = not is_quote and base.startswith(currency)
        if is_quote:
            return cls(amount)
        return cls(amount * price, amount) if is_base else cls(0.0, 0.0, amount, currency)


UNKNOWN_FEE = Fee(math.nan)


@dataclass(slots=True)
class ExternalLog:
    """Events of an external log. Each row is used, ignored or refused.

    `ignored` counts the rows that are not about an order, by kind; `refused` holds (row counted from 1, reason).
    `times` is the format of the times.
    """

    times: str = ""
    events: list[OrderEvent] = field(default_factory=list)
    n_used: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[int, str]] = field(default_factory=list)
    states: OrderStates = field(default_factory=OrderStates)

    def add(self, row: int, events: list[OrderEvent]) -> bool:
        """Add the events of one row and return True, or refuse the whole row and return False."""
        before = dict(self.states.by_id)
        try:
            for event in events:
                self.states.apply(event)
        except SessionError as error:
            self.states.by_id = before
            self.refuse(row, str(error))
            return False
        self.events += events
        self.n_used += 1
        return True

    def refuse(self, row: int, reason: str) -> None:
        """Skip a row and keep the reason."""
        self.refused.append((row, reason))

    @property
    def n_unknown_fees(self) -> int:
        """Number of fills whose fee the log does not state."""
        return sum(event.last_quantity > 0.0 and math.isnan(event.fee) for event in self.events)

    @property
    def other_fees(self) -> dict[str, float]:
        """Fees in currencies that are neither base nor quote, by currency; they are not converted."""
        totals: dict[str, float] = {}
        for event in self.events:
            if event.fee_currency:
                totals[event.fee_currency] = totals.get(event.fee_currency, 0.0) + event.fee_paid
        return totals


def read_jesse(frame: pd.DataFrame, options: LogOptions) -> ExternalLog:
    """Return the orders of the log lines of a jesse paper session.

    A line that ends an order has no order id: it ends the oldest open order of the same symbol, type, side, quantity
    and price. A fee belongs to the fill before it, in the currency of the balance that its text names; a fill without
    one has an unknown fee. ConfigError when a column is missing, or the times have several formats.
    """
    _check_columns(frame, _JESSE_COLUMNS, {})
    times = _times_of_table(frame["timestamp"], options)
    log = ExternalLog(times.name)
    open_orders: dict[tuple[Any, ...], list[OrderEvent]] = {}
    last_fill = -1
    for row, record in enumerate(frame.to_dict(orient="records"), start=1):
        kind = str(record["event"])
        if kind in _JESSE_IGNORED:
            log.ignored[kind] += 1
        elif kind == "FEE":
            if last_fill < 0:
                log.refuse(row, "this fee follows no fill.")
                continue
            fill = log.events[last_fill]
            named = _JESSE_BALANCE.search(str(record["raw"]))
            try:
                amount = _number(str(record["amount"]))
                fee = Fee.of(amount, named[1] if named else options.fee_currency, fill.symbol, fill.last_price)
                log.events[last_fill] = _with_fee(fill, fee)
            except ValueError as error:
                log.refuse(row, f"{error}.")
                continue
            log.n_used, last_fill = log.n_used + 1, -1
        elif kind == "SUBMITTED" or kind in _JESSE_ENDS:
            try:
                request = _jesse_order(record, f"row-{row}", options.strategy, times)
            except (ValueError, OverflowError) as error:
                log.refuse(row, f"{error}.")
                continue
            key = (request.symbol, request.order_type, request.side, request.quantity, float(record["price"]))
            if kind == "SUBMITTED":
                if log.add(row, _opening_events(request)):
                    open_orders.setdefault(key, []).append(request)
            elif not open_orders.get(key):
                log.refuse(row, f"no open order matches: {excerpt(record['raw'])}")
            else:
                opened = open_orders[key][0]
                price = float(record["price"])
                traded = opened.quantity if kind == "EXECUTED" else 0.0
                events = _closing_events(opened, _JESSE_ENDS[kind], request.ts_event, traded, price, UNKNOWN_FEE)
                if log.add(row, events):
                    open_orders[key].pop(0)
                    last_fill = len(log.events) - 1 if traded else last_fill
        else:
            log.refuse(row, f"event {excerpt(kind)} is not known: {excerpt(record['raw'])}")
    return log


def read_orders(frame: pd.DataFrame, options: LogOptions, names: Mapping[str, str]) -> ExternalLog:
    """Return the orders of an exchange's export: a table of text with one row per order.

    `names` maps `ORDER_COLUMNS` and `OPTIONAL_COLUMNS` to column names of the file where they differ. An empty fee is
    unknown. ConfigError when a column is missing or unknown, the times have several formats, or the currency of the
    fees is not stated.
    """
    _check_columns(frame, ORDER_COLUMNS, names)
    columns = [name for name in (*ORDER_COLUMNS, *OPTIONAL_COLUMNS) if names.get(name, name) in frame.columns]
    has_fees = "fee" in columns and frame[names.get("fee", "fee")].astype(str).str.strip().ne("").any()
    if has_fees and "fee_currency" not in columns and not options.fee_currency:
        raise ConfigError(
            f"{options.where}: the currency of its fees is not stated. Name its column with --column "
            "fee_currency=NAME, or state it with --fee-currency, like --fee-currency USDT."
        )
    pairs = zip(*(frame[names.get(name, name)].astype(str) for name in ("time", "end_time")), strict=True)
    times = options.times(chain.from_iterable(pairs))
    log = ExternalLog(times.name)
    for row, record in enumerate(frame.to_dict(orient="records"), start=1):
        cells = {name: str(record[names.get(name, name)]).strip() for name in columns}
        try:
            log.add(row, _order_events(cells, options, times))
        except (ValueError, OverflowError) as error:
            log.refuse(row, f"{error}.")
    log.events.sort(key=lambda event: event.ts_event)
    return log


def _check_columns(frame: pd.DataFrame, wanted: tuple[str, ...], names: Mapping[str, str]) -> None:
    for name in names:
        if name not in (*ORDER_COLUMNS, *OPTIONAL_COLUMNS):
            raise ConfigError(f"column {name} is unknown. {did_you_mean(name, (*ORDER_COLUMNS, *OPTIONAL_COLUMNS))}")
    for name in (*wanted, *names):
        if names.get(name, name) not in frame.columns:
            raise ConfigError(f"column {names.get(name, name)} is missing. {did_you_mean(name, map(str, frame))}")


def _times_of_table(column: pd.Series[Any], options: LogOptions) -> TimeFormat:
    """Return the format of a column of datetimes, text or numbers."""
    import pandas as pd

    if not pd.api.types.is_datetime64_any_dtype(column):
        return options.times("" if pd.isna(cell) else cell for cell in column)

    def read(moment: object) -> int:
        time = pd.Timestamp(cast(Any, moment))
        if pd.isna(time):
            raise ValueError(f"{moment} is not a time")
        return int((time.tz_localize("UTC") if time.tzinfo is None else time).as_unit("ns").value)

    return TimeFormat("datetimes, without a time zone read as UTC", read)


def _jesse_order(record: Mapping[Any, Any], order_id: str, strategy: str, times: TimeFormat) -> OrderEvent:
    order_type = _member(OrderType, str(record["order_type"]).lower(), "type")
    price = float(record["price"])
    return _request(
        times.read(record["timestamp"]),
        order_id,
        strategy,
        str(record["symbol"]).replace("-", "/"),
        _member(Side, str(record["side"]), "side"),
        order_type,
        abs(float(record["qty"])),
        price if order_type is OrderType.LIMIT else None,
        price if order_type is OrderType.STOP else None,
    )


def _order_events(cells: Mapping[str, str], options: LogOptions, times: TimeFormat) -> list[OrderEvent]:
    status = cells["status"].upper().replace(" ", "_")
    if status not in _STATUSES:
        raise ValueError(f"status {excerpt(cells['status'])} is not known")
    request = _request(
        times.read(cells["time"]),
        cells["order_id"],
        options.strategy,
        cells["symbol"],
        _member(Side, cells["side"].lower(), "side"),
        _member(OrderType, cells["type"].lower().replace(" ", "_"), "type"),
        _number(cells["quantity"]),
        _number(cells["limit_price"]) if cells.get("limit_price") else None,
        _number(cells["stop_price"]) if cells.get("stop_price") else None,
    )
    if not request.order_id or not request.symbol:
        raise ValueError("the order id or the symbol is empty")
    end, traded = _STATUSES[status], _number(cells["executed"] or "0")
    if end is None and traded == 0.0:
        return _opening_events(request)
    ended = times.read(cells["end_time"])
    if ended < request.ts_event:
        raise ValueError(f"the end time {excerpt(cells['end_time'])} is before the start")
    if end is Kind.FILLED and not math.isclose(traded, request.quantity, rel_tol=1e-9):
        raise ValueError(f"the order is filled, but traded {traded} of {request.quantity}")
    price = _number(cells["price"]) if traded else 0.0
    fee = UNKNOWN_FEE
    if cells.get("fee"):
        currency = cells.get("fee_currency") or options.fee_currency
        fee = Fee.of(_number(cells["fee"]), currency, request.symbol, price)
    return _opening_events(request) + _closing_events(request, end, ended, traded, price, fee)


def _request(
    now: int,
    order_id: str,
    strategy: str,
    symbol: str,
    side: Side,
    order_type: OrderType,
    quantity: float,
    limit_price: float | None,
    stop_price: float | None,
) -> OrderEvent:
    if not (math.isfinite(quantity) and quantity > 0.0):
        raise ValueError(f"quantity was {quantity}, not above zero")
    return OrderEvent(
        now, order_id, strategy, symbol, Kind.REQUESTED, side, order_type, TimeInForce.GTC, quantity, 0.0, quantity,
        UNKNOWN_PRICE, UNKNOWN_PRICE, limit_price=limit_price, stop_price=stop_price, reason="implied",
    )  # fmt: skip


def _opening_events(request: OrderEvent) -> list[OrderEvent]:
    return [request, replace(request, event=Kind.SUBMITTED, reason="imported")]


def _closing_events(
    request: OrderEvent, end: Kind | None, now: int, traded: float, price: float, fee: Fee
) -> list[OrderEvent]:
    """Return the events from acceptance on; an order that traded but was not filled has a partial fill."""
    at = replace(request, ts_event=now, reason="imported")
    events = []
    if traded or end is None:
        events.append(replace(at, event=Kind.ACCEPTED, reason="implied"))
    done = replace(at, cumulative=traded, leaves=request.quantity - traded)
    trade = replace(done, last_quantity=traded, last_price=price)
    if end is Kind.FILLED:
        return [*events, _with_fee(replace(trade, event=end, leaves=0.0), fee)]
    if traded:
        events.append(_with_fee(replace(trade, event=Kind.PARTIALLY_FILLED), fee))
    return events if end is None else [*events, replace(done, event=end, leaves=0.0)]


def _with_fee(trade: OrderEvent, fee: Fee) -> OrderEvent:
    if fee.fee_in_base >= trade.last_quantity:
        raise ValueError(
            f"the fee of {fee.fee_in_base:g} in base units is not below the quantity {trade.last_quantity:g}"
        )
    return replace(trade, **fee._asdict())


def _member(names: type[E], text: str, what: str) -> E:
    try:
        return names(text)
    except ValueError:
        raise ValueError(f"{what} {excerpt(text)} is not known") from None


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r:.40} is not a number") from None
    if not (math.isfinite(number) and number >= 0.0):
        raise ValueError(f"{text!r:.40} is negative or not finite")
    return number
