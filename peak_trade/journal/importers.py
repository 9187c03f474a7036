"""Importers of external order logs.

An order is REQUESTED and SUBMITTED at the time at which the log submits it. A fill implies ACCEPTED at the time of the
fill. Missing information is marked: implied events have the reason `implied`, and decision and arrival prices, which
external logs do not have, are 0.0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from peak_trade.core.errors import ConfigError, SessionError, did_you_mean
from peak_trade.core.values import OrderType, Side, TimeInForce
from peak_trade.journal.events import OrderEvent, OrderEventKind
from peak_trade.journal.orders import OrderStates

if TYPE_CHECKING:
    import pandas as pd

Kind = OrderEventKind
UNKNOWN_PRICE = 0.0
"""Decision and arrival price of an imported order."""

_JESSE_COLUMNS = ("timestamp", "event", "raw", "symbol", "order_type", "side", "qty", "price", "amount")
_JESSE_ENDS = {"EXECUTED": Kind.FILLED, "CANCELED": Kind.CANCELED}
_JESSE_IGNORED = frozenset(
    {"OTHER", "DAILY_BALANCE", "REALIZED_PNL", "POSITION_OPENED", "POSITION_INCREASED", "POSITION_REDUCED",
     "POSITION_CLOSED"}
)  # fmt: skip
"""Kinds of rows that are not about an order. Account rows follow from the fills."""

ORDER_COLUMNS = ("order_id", "time", "end_time", "symbol", "side", "type", "quantity", "status", "executed", "price")
"""Mandatory columns of a table of orders, or the columns mapped to them. `price` is the average fill price."""

OPTIONAL_COLUMNS = ("limit_price", "stop_price", "fee")
_STATUSES = {
    "FILLED": Kind.FILLED,
    "CANCELED": Kind.CANCELED,
    "CANCELLED": Kind.CANCELED,
    "REJECTED": Kind.REJECTED,
    "EXPIRED": Kind.EXPIRED,
    "NEW": None,
    "PARTIALLY_FILLED": None,
}


@dataclass(slots=True)
class ExternalLog:
    """Events of an external log. Each row is used, ignored or refused.

    `ignored` counts the rows that are not about an order, by kind; `refused` holds (row counted from 1, reason).
    """

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


def read_jesse(frame: pd.DataFrame, strategy: str) -> ExternalLog:
    """Return the orders of the log lines of a jesse paper session.

    A line that ends an order has no order id: it ends the oldest open order of the same symbol, type, side, quantity
    and price. A fee belongs to the fill before it. ConfigError when a column is missing.
    """
    _check_columns(frame, _JESSE_COLUMNS, {})
    log = ExternalLog()
    open_orders: dict[tuple[Any, ...], list[OrderEvent]] = {}
    last_fill = -1
    for row, record in enumerate(frame.to_dict(orient="records"), start=1):
        kind = str(record["event"])
        if kind in _JESSE_IGNORED:
            log.ignored[kind] += 1
        elif kind == "FEE":
            try:
                fee = _number(str(record["amount"]))
            except ValueError as error:
                log.refuse(row, f"{error}.")
                continue
            if last_fill < 0:
                log.refuse(row, "this fee follows no fill.")
                continue
            log.events[last_fill] = replace(log.events[last_fill], fee=fee)
            log.n_used, last_fill = log.n_used + 1, -1
        elif kind == "SUBMITTED" or kind in _JESSE_ENDS:
            try:
                request = _jesse_order(record, f"row-{row}", strategy)
            except (ValueError, OverflowError) as error:
                log.refuse(row, f"{error}.")
                continue
            key = (request.symbol, request.order_type, request.side, request.quantity, float(record["price"]))
            if kind == "SUBMITTED":
                if log.add(row, _opening_events(request)):
                    open_orders.setdefault(key, []).append(request)
            elif not open_orders.get(key):
                log.refuse(row, f"no open order matches: {record['raw']}")
            else:
                opened = open_orders[key][0]
                price = float(record["price"])
                traded = opened.quantity if kind == "EXECUTED" else 0.0
                if log.add(row, _closing_events(opened, _JESSE_ENDS[kind], request.ts_event, traded, price, 0.0)):
                    open_orders[key].pop(0)
                    last_fill = len(log.events) - 1 if traded else last_fill
        else:
            log.refuse(row, f"event {kind} is not known: {record['raw']}")
    return log


def read_orders(frame: pd.DataFrame, strategy: str, names: Mapping[str, str]) -> ExternalLog:
    """Return the orders of an exchange's export: a table of text with one row per order.

    `names` maps `ORDER_COLUMNS` and `OPTIONAL_COLUMNS` to column names of the file where they differ. Times are UTC.
    ConfigError when a column is missing or unknown.
    """
    _check_columns(frame, ORDER_COLUMNS, names)
    log = ExternalLog()
    columns = [name for name in (*ORDER_COLUMNS, *OPTIONAL_COLUMNS) if names.get(name, name) in frame.columns]
    for row, record in enumerate(frame.to_dict(orient="records"), start=1):
        cells = {name: str(record[names.get(name, name)]).strip() for name in columns}
        try:
            log.add(row, _order_events(cells, strategy))
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


def _jesse_order(record: Mapping[Any, Any], order_id: str, strategy: str) -> OrderEvent:
    order_type = OrderType(str(record["order_type"]).lower())
    price = float(record["price"])
    return _request(
        _time(record["timestamp"]),
        order_id,
        strategy,
        str(record["symbol"]).replace("-", "/"),
        Side(str(record["side"])),
        order_type,
        abs(float(record["qty"])),
        price if order_type is OrderType.LIMIT else None,
        price if order_type is OrderType.STOP else None,
    )


def _order_events(cells: Mapping[str, str], strategy: str) -> list[OrderEvent]:
    status = cells["status"].upper().replace(" ", "_")
    if status not in _STATUSES:
        raise ValueError(f"status {cells['status']!r} is not known")
    request = _request(
        _time(cells["time"]),
        cells["order_id"],
        strategy,
        cells["symbol"],
        Side(cells["side"].lower()),
        OrderType(cells["type"].lower().replace(" ", "_")),
        _number(cells["quantity"]),
        _number(cells["limit_price"]) if cells.get("limit_price") else None,
        _number(cells["stop_price"]) if cells.get("stop_price") else None,
    )
    if not request.order_id or not request.symbol:
        raise ValueError("the order id or the symbol is empty")
    end, traded = _STATUSES[status], _number(cells["executed"] or "0")
    if end is None and traded == 0.0:
        return _opening_events(request)
    ended = _time(cells["end_time"])
    if ended < request.ts_event:
        raise ValueError(f"the end time {cells['end_time']} is before the start")
    fee = _number(cells["fee"]) if cells.get("fee") else 0.0
    if end is Kind.FILLED and not math.isclose(traded, request.quantity, rel_tol=1e-9):
        raise ValueError(f"the order is filled, but traded {traded} of {request.quantity}")
    price = _number(cells["price"]) if traded else 0.0
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
    request: OrderEvent, end: Kind | None, now: int, traded: float, price: float, fee: float
) -> list[OrderEvent]:
    """Return the events from acceptance on; an order that traded but was not filled has a partial fill."""
    at = replace(request, ts_event=now, reason="imported")
    events = []
    if traded or end is None:
        events.append(replace(at, event=Kind.ACCEPTED, reason="implied"))
    done = replace(at, cumulative=traded, leaves=request.quantity - traded)
    trade = replace(done, last_quantity=traded, last_price=price, fee=fee)
    if end is Kind.FILLED:
        return [*events, replace(trade, event=end, leaves=0.0)]
    if traded:
        events.append(replace(trade, event=Kind.PARTIALLY_FILLED))
    return events if end is None else [*events, replace(done, event=end, leaves=0.0)]


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r:.40} is not a number") from None
    if not (math.isfinite(number) and number >= 0.0):
        raise ValueError(f"{text!r:.40} is negative or not finite")
    return number


def _time(moment: Any) -> int:
    import pandas as pd

    try:
        time = pd.Timestamp(moment)
    except (ValueError, TypeError):
        raise ValueError(f"{moment!r:.40} is not a time") from None
    if pd.isna(time):
        raise ValueError(f"{moment!r:.40} is not a time")
    utc = time.tz_localize("UTC") if time.tzinfo is None else time
    return int(utc.as_unit("ns").value)
