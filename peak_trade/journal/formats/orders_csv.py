"""Any table of orders with one row per order, whose columns have our names or are mapped to them.

Layout: `order_id`, `time`, `end_time`, `symbol`, `side`, `type`, `quantity`, `status`, `executed` and `price` (the
average price of the fills) are mandatory; `limit_price`, `stop_price`, `fee` and `fee_currency` are optional. All
times have one format. Key: symbol and order id. Left out: single fills, since a row has only their average.
"""

from __future__ import annotations

import math

from peak_trade.core.errors import ConfigError, did_you_mean, excerpt
from peak_trade.core.values import OrderType, Side
from peak_trade.journal.events import OrderEventKind
from peak_trade.journal.formats.ccxt import TYPES
from peak_trade.journal.formats.external_log import ExternalLog
from peak_trade.journal.formats.log_file import FileKind, LogFile, signature
from peak_trade.journal.formats.log_row import Row
from peak_trade.journal.formats.logged_orders import Fees, LoggedOrder
from peak_trade.journal.log_times import TimeFormat

ORDER_COLUMNS = ("order_id", "time", "end_time", "symbol", "side", "type", "quantity", "status", "executed", "price")
"""Mandatory columns of a table of orders, or the columns mapped to them. `price` is the average fill price."""

ORDERS = signature(FileKind.TABLE, ORDER_COLUMNS)
OPTIONAL_COLUMNS = ("limit_price", "stop_price", "fee", "fee_currency")
STATUSES = {
    "FILLED": OrderEventKind.FILLED,
    "CANCELED": OrderEventKind.CANCELED,
    "CANCELLED": OrderEventKind.CANCELED,
    "REJECTED": OrderEventKind.REJECTED,
    "EXPIRED": OrderEventKind.EXPIRED,
    "NEW": None,
    "PARTIALLY_FILLED": None,
}
"""How the status of an order ends it; None while it is open."""


def is_orders(file: LogFile) -> str:
    """Return why a file is a table with our columns; empty if it is not."""
    found = ORDERS.fits(file)
    return "it has the columns order_id, time, end_time, executed and the others of a table of orders" if found else ""


def read_orders(file: LogFile, log: ExternalLog) -> None:
    """Add the orders of a table.

    ConfigError when a column is missing or unknown, the times have several formats, or the currency of the fees is not
    stated. An empty fee is unknown.
    """
    names = log.options.columns
    for name in names:
        if name not in (*ORDER_COLUMNS, *OPTIONAL_COLUMNS):
            raise ConfigError(f"column {name} is unknown. {did_you_mean(name, (*ORDER_COLUMNS, *OPTIONAL_COLUMNS))}")
    file.require(names.get(name, name) for name in (*ORDER_COLUMNS, *names))
    theirs = {name: names.get(name, name) for name in (*ORDER_COLUMNS, *OPTIONAL_COLUMNS)}
    if log.options.fee_currency and theirs["fee"] not in file.columns:
        raise ConfigError(
            f"{file.name}: it has no column fee. Name it with --column fee=NAME, or leave out --fee-currency."
        )
    if "fee_currency" not in names and "fee_currency" not in file.columns and not log.options.fee_currency:
        _require_no_fees(file, theirs["fee"])
    cells = (row.cells.get(theirs[name]) or "" for row in file.rows() for name in ("time", "end_time"))
    times = log.options.times(cells)
    log.times = times.name
    for row in file.rows():
        try:
            log.add_order(_order(row, theirs, times, log.options.fee_currency))
        except (ValueError, OverflowError) as error:
            log.refuse_fault(row.number, error)


def _require_no_fees(file: LogFile, column: str) -> None:
    if column in file.columns and any(str(row.cells.get(column) or "").strip() for row in file.rows()):
        raise ConfigError(
            f"{file.name}: the currency of its fees is not stated. Name its column with --column "
            "fee_currency=NAME, or state it with --fee-currency, like --fee-currency USDT."
        )


def _order(row: Row, names: dict[str, str], times: TimeFormat, fee_currency: str) -> LoggedOrder:
    status = row.text(names["status"]).upper().replace(" ", "_")
    if status not in STATUSES:
        raise ValueError(f"column {names['status']}: status {excerpt(status)} is not known")
    order_id, symbol = row.text(names["order_id"]), row.text(names["symbol"])
    if not order_id or not symbol:
        raise ValueError("the order id or the symbol is empty")
    start, end = row.time(names["time"], times), STATUSES[status]
    executed = row.optional(names["executed"]) or 0.0
    is_open = end is None and not executed
    end_time = start if is_open else row.time(names["end_time"], times)
    if end_time < start:
        raise ValueError(f"the end time {excerpt(row.text(names['end_time']))} is before the start")
    fees: Fees = ()
    fee = row.optional(names["fee"])
    if fee is not None:
        fees = ((fee, row.text(names["fee_currency"]) or fee_currency),)
    quantity = row.unsigned(names["quantity"])
    if not (math.isfinite(quantity) and quantity > 0.0):
        raise ValueError(f"column {names['quantity']}: quantity was {quantity}, not above zero")
    return LoggedOrder(
        (row.number,), order_id, start, symbol, row.member(names["side"], Side),
        row.member(names["type"], TYPES | {name.value: name for name in OrderType}), quantity, end, end_time, executed,
        row.unsigned(names["price"]) if executed else 0.0, fees, row.optional(names["limit_price"]),
        row.optional(names["stop_price"]),
    )  # fmt: skip
