"""Logs of somebody else's making as events of ours: what they say, and nothing that they do not.

An order is REQUESTED and SUBMITTED when the log submits it. A fill implies that it was ACCEPTED, then and not before.
What the log does not say is marked: events that only follow from others have the reason `implied`, and decision and
arrival prices, which no such log knows, are 0.0.
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
_JESSE_BESIDE = frozenset(
    {"OTHER", "DAILY_BALANCE", "REALIZED_PNL", "POSITION_OPENED", "POSITION_INCREASED", "POSITION_REDUCED",
     "POSITION_CLOSED"}
)  # fmt: skip
"""Rows that tell of no order: what they say of the account follows from the fills, or is not ours to record."""

ORDER_COLUMNS = ("order_id", "time", "end_time", "symbol", "side", "type", "quantity", "status", "executed", "price")
"""Columns that a table of orders must have; a map names them otherwise. `price` is what it traded at, on average."""

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
    """What became of a log's rows: each is in the events, beside them, or refused.

    `beside` counts rows that tell of no order, by their kind; `refused` are (row counted from 1, reason).
    """

    events: list[OrderEvent] = field(default_factory=list)
    n_used: int = 0
    beside: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[int, str]] = field(default_factory=list)
    states: OrderStates = field(default_factory=OrderStates)

    def add(self, row: int, events: list[OrderEvent]) -> bool:
        """Take the events of one row, all or, with the reason, none; return whether they were taken."""
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
        """Leave a row out, with the reason."""
        self.refused.append((row, reason))


def read_jesse(frame: pd.DataFrame, strategy: str) -> ExternalLog:
    """Return the orders of a paper session's log lines, as jesse writes them.

    A line that ends an order names no id: it ends the oldest open order of its symbol, type, side, quantity and price.
    A fee belongs to the fill before it. ConfigError when a column is missing.
    """
    _check_columns(frame, _JESSE_COLUMNS, {})
    log = ExternalLog()
    waiting: dict[tuple[Any, ...], list[OrderEvent]] = {}
    last_fill = -1
    for row, record in enumerate(frame.to_dict(orient="records"), start=1):
        kind = str(record["event"])
        if kind in _JESSE_BESIDE:
            log.beside[kind] += 1
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
                asked = _jesse_order(record, f"row-{row}", strategy)
            except (ValueError, OverflowError) as error:
                log.refuse(row, f"{error}.")
                continue
            like = (asked.symbol, asked.order_type, asked.side, asked.quantity, float(record["price"]))
            if kind == "SUBMITTED":
                if log.add(row, _beginning(asked)):
                    waiting.setdefault(like, []).append(asked)
            elif not waiting.get(like):
                log.refuse(row, f"no open order is like it: {record['raw']}")
            else:
                begun = waiting[like][0]
                price = float(record["price"])
                traded = begun.quantity if kind == "EXECUTED" else 0.0
                if log.add(row, _end(begun, _JESSE_ENDS[kind], asked.ts_event, traded, price, 0.0)):
                    waiting[like].pop(0)
                    last_fill = len(log.events) - 1 if traded else last_fill
        else:
            log.refuse(row, f"event {kind} is not known: {record['raw']}")
    return log


def read_orders(frame: pd.DataFrame, strategy: str, names: Mapping[str, str]) -> ExternalLog:
    """Return the orders of an exchange's export, a row an order, as text.

    `names` maps our columns to the file's where they differ; times are UTC, numbers plain. ConfigError when a column is
    missing or not known.
    """
    _check_columns(frame, ORDER_COLUMNS, names)
    log = ExternalLog()
    columns = [name for name in (*ORDER_COLUMNS, *OPTIONAL_COLUMNS) if names.get(name, name) in frame.columns]
    for row, record in enumerate(frame.to_dict(orient="records"), start=1):
        cells = {name: str(record[names.get(name, name)]).strip() for name in columns}
        try:
            log.add(row, _whole_order(cells, strategy))
        except (ValueError, OverflowError) as error:
            log.refuse(row, f"{error}.")
    log.events.sort(key=lambda event: event.ts_event)
    return log


def _check_columns(frame: pd.DataFrame, wanted: tuple[str, ...], names: Mapping[str, str]) -> None:
    for name in names:
        if name not in (*ORDER_COLUMNS, *OPTIONAL_COLUMNS):
            raise ConfigError(f"column {name} is not one. {did_you_mean(name, (*ORDER_COLUMNS, *OPTIONAL_COLUMNS))}")
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


def _whole_order(cells: Mapping[str, str], strategy: str) -> list[OrderEvent]:
    status = cells["status"].upper().replace(" ", "_")
    if status not in _STATUSES:
        raise ValueError(f"status {cells['status']!r} is not known")
    asked = _request(
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
    if not asked.order_id or not asked.symbol:
        raise ValueError("it has no order id or no symbol")
    end, traded = _STATUSES[status], _number(cells["executed"] or "0")
    if end is None and traded == 0.0:
        return _beginning(asked)
    ended = _time(cells["end_time"])
    if ended < asked.ts_event:
        raise ValueError(f"it ended at {cells['end_time']}, before it began")
    fee = _number(cells["fee"]) if cells.get("fee") else 0.0
    if end is Kind.FILLED and not math.isclose(traded, asked.quantity, rel_tol=1e-9):
        raise ValueError(f"it was filled, but traded {traded} of {asked.quantity}")
    price = _number(cells["price"]) if traded else 0.0
    return _beginning(asked) + _end(asked, end, ended, traded, price, fee)


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
        raise ValueError(f"its quantity was {quantity}")
    return OrderEvent(
        now, order_id, strategy, symbol, Kind.REQUESTED, side, order_type, TimeInForce.GTC, quantity, 0.0, quantity,
        UNKNOWN_PRICE, UNKNOWN_PRICE, limit_price=limit_price, stop_price=stop_price, reason="implied",
    )  # fmt: skip


def _beginning(asked: OrderEvent) -> list[OrderEvent]:
    return [asked, replace(asked, event=Kind.SUBMITTED, reason="imported")]


def _end(asked: OrderEvent, end: Kind | None, now: int, traded: float, price: float, fee: float) -> list[OrderEvent]:
    """Return the events from acceptance on; an order that traded and ended otherwise was partially filled before."""
    at = replace(asked, ts_event=now, reason="imported")
    events = []
    if traded or end is None:
        events.append(replace(at, event=Kind.ACCEPTED, reason="implied"))
    done = replace(at, cumulative=traded, leaves=asked.quantity - traded)
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
        raise ValueError(f"{text!r:.40} is no plain number") from None
    if not (math.isfinite(number) and number >= 0.0):
        raise ValueError(f"{text!r:.40} is no quantity or price")
    return number


def _time(moment: Any) -> int:
    import pandas as pd

    try:
        found = pd.Timestamp(moment)
    except (ValueError, TypeError):
        raise ValueError(f"{moment!r:.40} is no time") from None
    if pd.isna(found):
        raise ValueError(f"{moment!r:.40} is no time")
    utc = found.tz_localize("UTC") if found.tzinfo is None else found
    return int(utc.as_unit("ns").value)
