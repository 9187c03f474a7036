"""The trades of a hummingbot: `trades_CONFIG.csv`, and its database.

Layout of the CSV: `exchange_trade_id`, `config_file_path`, `strategy`, `market`, `symbol` (BTC-USDT), `timestamp` (ms),
`order_id`, `trade_type` (BUY or SELL), `order_type`, `price`, `amount`, `trade_fee` (JSON with `percent`,
`percent_token` and `flat_fees`), `trade_fee_in_quote`. Layout of the database: the tables `TradeFill`, with the same
columns, and `Order`, with `id`, `symbol`, `order_type`, `amount`, `price`, `creation_timestamp`,
`last_update_timestamp`, `last_status`. Numbers of the database are integers, 1,000,000 for 1: a price below 0.000001 is
0 in it and its fill is refused. Key: market, order id and trade id.

Left out: orders in the CSV, decision prices; and some fills of some exchanges, so that an order that the bot calls
completed has the quantity of the fills that are there.
"""

from __future__ import annotations

import json
import math
from typing import Any

from peak_trade.core.values import OrderType, Side
from peak_trade.journal.events import OrderEventKind
from peak_trade.journal.formats.ccxt import split_symbol, type_of
from peak_trade.journal.formats.external_log import ExternalLog
from peak_trade.journal.formats.log_file import FileKind, LogFile, signature
from peak_trade.journal.formats.log_row import Row
from peak_trade.journal.formats.logged_orders import Fees, LoggedFill, LoggedOrder
from peak_trade.journal.log_times import TimeFormat, stated_format

TRADE_COLUMNS = ("symbol", "timestamp", "order_id", "trade_type", "order_type", "price", "amount", "exchange_trade_id")
TRADES = signature(FileKind.TABLE, ("exchange_trade_id", "trade_type", "order_id"))
ORDER_COLUMNS = (
    "id",
    "symbol",
    "order_type",
    "amount",
    "price",
    "creation_timestamp",
    "last_update_timestamp",
    "last_status",
)
_MILLISECONDS = stated_format("ms")
_SCALE = 1e6
_ENDS = (
    ("completed", OrderEventKind.FILLED), ("cancel", OrderEventKind.CANCELED), ("failure", OrderEventKind.REJECTED),
    ("failed", OrderEventKind.REJECTED), ("expired", OrderEventKind.EXPIRED),
)  # fmt: skip
"""Parts of a status such as BuyOrderCompleted or OrderCancelled, and the end of the order; others are open."""


def is_trades(file: LogFile) -> str:
    """Return why a file is the CSV of a hummingbot's trades; empty if it is not."""
    found = TRADES.fits(file)
    return "it has the columns exchange_trade_id and trade_type of hummingbot's trades" if found else ""


def is_database(file: LogFile) -> str:
    """Return why a file is the database of a hummingbot; empty if it is not."""
    return "it is an SQLite database with the table TradeFill of hummingbot" if "TradeFill" in file.tables else ""


def read_trades(file: LogFile, log: ExternalLog) -> None:
    """Add the fills of a CSV; ConfigError when a column is missing."""
    file.require(TRADE_COLUMNS)
    times = log.options.times_in(lambda: (row.cells.get("timestamp") for row in file.rows()), _MILLISECONDS)
    log.times = times.name
    for row in file.rows():
        _add_fill(row, log, times, 1.0)


def read_database(file: LogFile, log: ExternalLog) -> None:
    """Add the fills and the orders of a database; ConfigError when a column is missing."""
    file.require(TRADE_COLUMNS, "TradeFill")
    log.times = _MILLISECONDS.name
    for row in file.query("SELECT * FROM TradeFill"):
        _add_fill(row, log, _MILLISECONDS, _SCALE)
    if "Order" not in file.tables:
        return
    file.require(ORDER_COLUMNS, "Order")
    for row in file.query('SELECT * FROM "Order"'):
        try:
            log.add_order(_order(row))
        except (ValueError, OverflowError) as error:
            log.refuse_fault(row.number, error)


def _add_fill(row: Row, log: ExternalLog, times: TimeFormat, scale: float) -> None:
    try:
        symbol, side = split_symbol(row.text("symbol")), row.member("trade_type", Side)
        price, quantity = row.unsigned("price") / scale, row.unsigned("amount") / scale
        fill = LoggedFill(
            (row.number,), row.text("order_id"), row.time("timestamp", times), symbol, side, quantity, price,
            _fees(row, symbol, side, quantity, price, scale), type_of(row, "order_type"), row.text("strategy"),
        )  # fmt: skip
        if not fill.order_id or not symbol:
            raise ValueError("column order_id or symbol: it is empty")
        log.add_fill(f"{row.text('market')}|{fill.order_id}|{row.text('exchange_trade_id')}", fill)
        log.accounts.add(row.text("market"))
    except (ValueError, OverflowError, AttributeError, TypeError, LookupError) as error:
        log.refuse_fault(row.number, error)


def _fees(row: Row, symbol: str, side: Side, quantity: float, price: float, scale: float) -> Fees:
    """Return the fees of a fill: a percentage of what is received or of the notional, and flat fees in tokens."""
    base, _, quote = symbol.partition("/")
    if not row.has("trade_fee"):
        amount = row.optional("trade_fee_in_quote")
        return () if amount is None else ((amount / scale, quote),)
    content: Any = row.cells["trade_fee"]
    content = json.loads(content) if isinstance(content, str) else content
    found = [(float(each["amount"]), str(each["token"])) for each in content.get("flat_fees") or ()]
    percent = float(content.get("percent") or 0.0)
    if percent:
        received = base if side is Side.BUY and content.get("fee_type") == "DeductedFromReturns" else quote
        token = str(content.get("percent_token") or received).upper()
        if token in (base, quote):
            found.append((percent * quantity * (1.0 if token == base else price), token))
        elif row.has("trade_fee_in_quote"):
            found.append((row.unsigned("trade_fee_in_quote") / scale, quote))
        else:
            return ()
    if not all(math.isfinite(amount) for amount, _ in found):
        raise ValueError("column trade_fee: an amount is not finite")
    return tuple(found) or ((0.0, quote),)


def _order(row: Row) -> LoggedOrder:
    status = row.text("last_status")
    side = Side.BUY if status.startswith("Buy") else Side.SELL if status.startswith("Sell") else _side_of(row)
    end = next((end for part, end in _ENDS if part in status.lower()), None)
    order_type = type_of(row, "order_type")
    start = row.time("creation_timestamp", _MILLISECONDS)
    is_filled = end is OrderEventKind.FILLED
    return LoggedOrder(
        (row.number,), row.text("id"), start, split_symbol(row.text("symbol")), side, order_type,
        math.nan if is_filled else row.unsigned("amount") / _SCALE, end,
        max(start, row.time("last_update_timestamp", _MILLISECONDS)), math.nan,
        limit_price=row.unsigned("price") / _SCALE if order_type is OrderType.LIMIT else None,
        strategy=row.text("strategy"),
    )  # fmt: skip


def _side_of(row: Row) -> Side:
    """Return the side in an id of hummingbot, such as buy://BTC-USDT/1 or x-XEKWYICX-BBTUT52 with a B for buy."""
    order_id = row.text("id")
    name = order_id.lower()
    if name.startswith(("buy", "sell")):
        return Side.BUY if name.startswith("buy") else Side.SELL
    letter = order_id.rpartition("-")[2][:1].upper()
    if letter not in ("B", "S"):
        raise ValueError("column id: it does not say whether the order buys or sells")
    return Side.BUY if letter == "B" else Side.SELL
