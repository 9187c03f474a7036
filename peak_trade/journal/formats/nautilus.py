"""Reports of nautilus_trader as CSV: the fills report, the orders report, and the account report.

Layout of the fills report: the index `client_order_id`, and `strategy_id`, `instrument_id` (BTCUSDT.BINANCE),
`trade_id`, `order_side`, `order_type`, `last_qty`, `last_px`, `currency` (of the price), `commission` (0.50 USDT),
`liquidity_side`, `ts_event` (ISO 8601 or ns), `reconciliation`. Key: instrument and trade id. A fill that a
reconciliation after a restart made up has `reconciliation` as its reason, and is counted.

Layout of the orders report: the index `client_order_id`, and `instrument_id`, `strategy_id`, `side`, `type`,
`quantity`, `filled_qty`, `avg_px`, `commissions`, `status`, `ts_init`, `ts_last`. Key: instrument and order.

Layout of the account report: the index, which is the time, and `total`, `free`, `locked`, `currency`, `account_id`. Its
first state of each currency is the balance before the first fill.

Left out: decision prices, canceled orders in the fills report, and single fills in the orders report.
"""

from __future__ import annotations

import re

from peak_trade.core.errors import excerpt
from peak_trade.core.values import OrderType, Side
from peak_trade.journal.events import OrderEventKind
from peak_trade.journal.formats.ccxt import split_symbol, type_of
from peak_trade.journal.formats.external_log import ExternalLog
from peak_trade.journal.formats.log_file import FileKind, LogFile, signature
from peak_trade.journal.formats.log_row import Row
from peak_trade.journal.formats.logged_orders import Fees, LoggedFill, LoggedOrder
from peak_trade.journal.log_times import TimeFormat

FILL_COLUMNS = ("client_order_id", "instrument_id", "trade_id", "order_side", "last_qty", "last_px", "ts_event")
ORDER_COLUMNS = (
    "client_order_id",
    "instrument_id",
    "side",
    "type",
    "quantity",
    "filled_qty",
    "status",
    "ts_init",
    "ts_last",
)
FILLS = signature(FileKind.TABLE, ("instrument_id", "last_qty", "last_px", "trade_id"))
ORDERS = signature(FileKind.TABLE, ("instrument_id", "filled_qty", "ts_init", "status"))
ACCOUNT_COLUMNS = ("total", "free", "locked", "currency", "account_id")
ACCOUNT = signature(FileKind.TABLE, ACCOUNT_COLUMNS)
_ENDS = {
    "FILLED": OrderEventKind.FILLED, "CANCELED": OrderEventKind.CANCELED, "EXPIRED": OrderEventKind.EXPIRED,
    "REJECTED": OrderEventKind.REJECTED, "DENIED": OrderEventKind.REJECTED,
}  # fmt: skip
_OPEN = frozenset(
    {"INITIALIZED", "SUBMITTED", "ACCEPTED", "PARTIALLY_FILLED", "TRIGGERED", "PENDING_UPDATE", "PENDING_CANCEL",
     "RELEASED", "EMULATED"}
)  # fmt: skip
_MONEY = re.compile(r"(-?[\d_.,]+(?:[eE][+-]?\d+)?) ([A-Za-z0-9]+)")


def is_fills(file: LogFile) -> str:
    """Return why a file is a fills report of nautilus_trader; empty if it is not."""
    found = FILLS.fits(file)
    return "it has the columns instrument_id, last_qty and last_px of a fills report" if found else ""


def is_orders(file: LogFile) -> str:
    """Return why a file is an orders report of nautilus_trader; empty if it is not."""
    found = ORDERS.fits(file)
    return "it has the columns instrument_id, filled_qty and ts_init of an orders report" if found else ""


def is_account(file: LogFile) -> str:
    """Return why a file is an account report of nautilus_trader; empty if it is not."""
    found = ACCOUNT.fits(file)
    return "it has the columns total, free, locked and account_id of an account report" if found else ""


def read_fills(file: LogFile, log: ExternalLog) -> None:
    """Add the fills of a report; ConfigError when a column is missing, or the times have several formats."""
    file.require(FILL_COLUMNS)
    times = log.options.times(row.cells.get("ts_event") or "" for row in file.rows())
    log.times = times.name
    for row in file.rows():
        try:
            symbol = _symbol(row)
            is_invented = row.text("reconciliation").lower() == "true"
            fill = LoggedFill(
                (row.number,), row.text("client_order_id"), row.time("ts_event", times), symbol,
                row.member("order_side", Side), row.unsigned("last_qty"), row.unsigned("last_px"),
                _fees(row, "commission"), type_of(row, "order_type"), row.text("strategy_id"),
                reason="reconciliation" if is_invented else "imported",
            )  # fmt: skip
            log.add_fill(f"{symbol}|{row.text('trade_id')}", fill)
            log.accounts.add(row.text("account_id"))
            if is_invented:
                log.notes["fill that a reconciliation after a restart made up"] += 1
        except (ValueError, OverflowError) as error:
            log.refuse_fault(row.number, error)


def read_orders(file: LogFile, log: ExternalLog) -> None:
    """Add the orders of a report; ConfigError when a column is missing, or the times have several formats."""
    file.require(ORDER_COLUMNS)
    times = log.options.times(row.cells.get(name) or "" for row in file.rows() for name in ("ts_init", "ts_last"))
    log.times = times.name
    for row in file.rows():
        try:
            log.add_order(_order(row, times))
            log.accounts.add(row.text("account_id"))
        except (ValueError, OverflowError) as error:
            log.refuse_fault(row.number, error)


def read_account(file: LogFile, log: ExternalLog) -> None:
    """Add the first balance of each currency; ConfigError when a column is missing."""
    file.require(ACCOUNT_COLUMNS)
    column = file.columns[0]
    times = log.options.times(row.cells.get(column) or "" for row in file.rows())
    for row in file.rows():
        try:
            log.add_first_balance(row.text("currency").upper(), row.time(column, times), row.signed("total"))
            log.skip("state of the account")
        except (ValueError, OverflowError) as error:
            log.refuse_fault(row.number, error)


def _order(row: Row, times: TimeFormat) -> LoggedOrder:
    status = row.text("status").upper()
    if status not in _ENDS and status not in _OPEN:
        raise ValueError(f"column status: {excerpt(status)!r} is not known")
    start, order_type = row.time("ts_init", times), type_of(row, "type")
    is_limit = order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    return LoggedOrder(
        (row.number,), row.text("client_order_id"), start, _symbol(row), row.member("side", Side), order_type,
        row.unsigned("quantity"), _ENDS.get(status), max(start, row.time("ts_last", times)),
        row.optional("filled_qty") or 0.0, row.optional("avg_px") or 0.0, _fees(row, "commissions"),
        row.optional("price") if is_limit else None, row.optional("trigger_price"), row.text("strategy_id"),
    )  # fmt: skip


def _symbol(row: Row) -> str:
    """Return base/quote of an instrument, base/quote:quote of a perpetual future; the currency is the quote."""
    name = row.text("instrument_id").rpartition(".")[0].upper() or row.text("instrument_id").upper()
    quote, is_perpetual = row.text("currency").upper(), name.endswith("-PERP")
    if not name or not row.text("client_order_id"):
        raise ValueError("column instrument_id or client_order_id: it is empty")
    name = name.removesuffix("-PERP")
    symbol = split_symbol(name, (quote,)) if quote else split_symbol(name)
    return f"{symbol}:{symbol.partition('/')[2]}" if is_perpetual and "/" in symbol else symbol


def _fees(row: Row, column: str) -> Fees:
    text = row.text(column)
    found = [(row.number_in(amount.replace("_", "")), currency) for amount, currency in _MONEY.findall(text)]
    if not found and row.has(column) and text not in ("[]", "{}"):
        raise ValueError(f"column {column}: {excerpt(text)!r} is not an amount with its currency")
    return tuple(found)
