"""Trades and orders in the unified structure of ccxt, as `fetch_my_trades` and `fetch_orders` return them, in JSON.

Layout: a list of records, or one record per line. A trade has `id`, `order`, `timestamp` (ms) or `datetime`, `symbol`,
`type`, `side`, `price`, `amount`, `cost`, and `fee` or `fees` with `cost` and `currency`. An order has `id`,
`timestamp`, `lastTradeTimestamp`, `status`, `symbol`, `type`, `side`, `price`, `average`, `amount`, `filled`, and
possibly `trades` and `fee`. Key of a trade: symbol and id.

A trade without an order is an order of its own. On a linear derivative (`BTC/USDT:USDT`) an amount counts contracts:
cost / price is then the quantity in base units. Left out by ccxt: decision prices, rejected orders of most exchanges,
funding, and fees of orders at many exchanges, which their trades have.
"""

from __future__ import annotations

import math
from typing import Any

from peak_trade.core.errors import excerpt
from peak_trade.core.values import OrderType, Side, quote_of
from peak_trade.journal.events import OrderEventKind
from peak_trade.journal.formats.external_log import ExternalLog
from peak_trade.journal.formats.log_file import FileKind, LogFile, signature
from peak_trade.journal.formats.log_row import Row
from peak_trade.journal.formats.logged_orders import Fees, LoggedFill, LoggedOrder, check_trade
from peak_trade.journal.log_times import stated_format

TRADES = signature(FileKind.JSON, ("id", "symbol", "side", "price", "amount", "takerOrMaker"))
ORDERS = signature(FileKind.JSON, ("id", "symbol", "side", "status", "filled", "amount"))
ENDS: dict[str, OrderEventKind | None] = {
    "open": None,
    "closed": OrderEventKind.FILLED,
    "canceled": OrderEventKind.CANCELED,
    "canceling": None,
    "expired": OrderEventKind.EXPIRED,
    "rejected": OrderEventKind.REJECTED,
}
"""How the status of an order in ccxt ends it; None while it is open."""

TYPES = {
    "": OrderType.MARKET, "market": OrderType.MARKET, "limit": OrderType.LIMIT, "limit_maker": OrderType.LIMIT,
    "stop": OrderType.STOP, "stop_loss": OrderType.STOP, "stop_market": OrderType.STOP, "stoploss": OrderType.STOP,
    "stop_limit": OrderType.STOP_LIMIT, "stop_loss_limit": OrderType.STOP_LIMIT, "take_profit": OrderType.STOP,
    "take_profit_limit": OrderType.STOP_LIMIT, "trailing_stop": OrderType.TRAILING_STOP,
    "trailing_stop_market": OrderType.TRAILING_STOP,
}  # fmt: skip
"""Order types in ccxt and at exchanges; a trade without one is taken as of a market order."""

QUOTES = (
    "FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USDP", "USDS", "BIDR", "BVND", "IDRT", "DOGE", "BTC", "ETH", "BNB",
    "XRP", "TRX", "SOL", "DOT", "DAI", "PAX", "VAI", "EUR", "USD", "GBP", "TRY", "RUB", "UAH", "NGN", "AUD", "BRL",
    "PLN", "RON", "ZAR", "ARS", "JPY", "MXN", "CZK", "COP", "CHF", "CAD", "XBT",
)  # fmt: skip
"""Quote currencies of names without a separator such as BTCUSDT; the longest that fits is taken."""

_MILLISECONDS, _ISO = stated_format("ms"), stated_format("iso")


def is_trades(file: LogFile) -> str:
    """Return why a file is a list of trades of ccxt; empty if it is not."""
    found = TRADES.fits(file) and "filled" not in file.columns
    return "its records have takerOrMaker, amount and symbol, as trades of ccxt" if found else ""


def is_orders(file: LogFile) -> str:
    """Return why a file is a list of orders of ccxt; empty if it is not."""
    found = ORDERS.fits(file)
    return "its records have status, filled and amount, as orders of ccxt" if found else ""


def read_ccxt(file: LogFile, log: ExternalLog) -> None:
    """Add the trades and orders of a file; an item that lacks a value is refused."""
    log.times = "milliseconds since 1970"
    for row in file.rows():
        try:
            if "filled" in row.cells:
                _add_order(row, log)
            else:
                fill = _fill(row, (row.number,))
                log.add_fill(_key(row, fill), fill)
        except (ValueError, OverflowError, AttributeError, TypeError) as error:
            log.refuse_fault(row.number, error)


def type_of(row: Row, column: str) -> OrderType:
    """Return the type of an order; one that is not known is a limit order if it is named so, else a market order."""
    text = row.text(column).lower().replace(" ", "_").replace("-", "_")
    return TYPES.get(text, OrderType.LIMIT if "limit" in text else OrderType.MARKET)


def split_symbol(name: str, quotes: tuple[str, ...] = QUOTES) -> str:
    """Return base/quote of a name such as BTCUSDT or BTC-USDT, the name itself if no quote currency fits."""
    name = name.strip().upper().replace("-", "/").replace("_", "/")
    fits = [quote for quote in quotes if name.endswith(quote) and len(name) > len(quote)]
    if "/" in name or not fits:
        return name
    quote = max(fits, key=len)
    return f"{name.removesuffix(quote)}/{quote}"


def time_of(row: Row, column: str = "timestamp", text_column: str = "datetime") -> int:
    """Return the time of an item of ccxt, ns UTC, from its milliseconds or else its text."""
    if row.has(column):
        return row.time(column, _MILLISECONDS)
    return row.time(text_column, _ISO)


def _key(row: Row, fill: LoggedFill) -> str:
    name = row.text("id") or f"{fill.time}|{fill.side}|{fill.price!r}|{fill.quantity!r}"
    return f"{fill.symbol}|{name}"


def _fill(row: Row, rows: tuple[int, ...]) -> LoggedFill:
    symbol = row.text("symbol")
    if not symbol:
        raise ValueError("column symbol: it is empty")
    price, amount = row.unsigned("price"), row.unsigned("amount")
    return LoggedFill(
        rows,
        row.text("order") or f"trade-{row.text('id') or row.number}",
        time_of(row),
        symbol,
        row.member("side", Side),
        _in_base(row, symbol, amount, price),
        price,
        _fees(row),
        type_of(row, "type"),
    )


def _add_order(row: Row, log: ExternalLog) -> None:
    symbol, order_id, status = row.text("symbol"), row.text("id"), row.text("status").lower()
    if not symbol or not order_id:
        raise ValueError("column symbol or id: it is empty")
    if status not in ENDS:
        raise ValueError(f"column status: {excerpt(status)!r} is not known")
    average = row.optional("average") or row.optional("price") or 0.0
    end, start = ENDS[status], time_of(row)
    quantity = _in_base(row, symbol, row.optional("amount") or math.nan, average)
    filled = row.optional("filled")
    if filled is None and end is OrderEventKind.FILLED:
        executed = quantity
    else:
        executed = _in_base(row, symbol, filled or 0.0, average)
    if executed and not row.optional("average") and not row.cells.get("trades"):
        log.notes["order without an average price, which is filled at its price"] += 1
    if end is OrderEventKind.FILLED and executed < quantity * (1.0 - 1e-8):
        end = OrderEventKind.CANCELED
    last = "lastTradeTimestamp" if row.has("lastTradeTimestamp") else "lastUpdateTimestamp"
    end_time = row.time(last, _MILLISECONDS) if row.has(last) else start
    trades = row.cells.get("trades")
    order_type = type_of(row, "type")
    fills = []
    for part in trades if isinstance(trades, list) else ():
        each = Row(row.number, {"order": order_id, "symbol": symbol, "side": row.text("side")} | part)
        fill = _fill(each, rows=())
        check_trade(fill)
        fills.append((_key(each, fill), fill))
    limit = order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    log.add_order(
        LoggedOrder(
            (row.number,), order_id, start, symbol, row.member("side", Side), order_type, quantity, end,
            max(start, end_time), executed, average, _fees(row), row.optional("price") if limit else None,
            row.optional("stopPrice") or row.optional("triggerPrice"),
        )
    )  # fmt: skip
    for key, fill in fills:
        log.add_fill(key, fill)


def _in_base(row: Row, symbol: str, amount: float, price: float) -> float:
    """Return an amount in base units: the contracts of a linear derivative are worth cost / price / amount each."""
    settled = symbol.partition(":")[2].partition("-")[0]
    traded = (row.optional("filled") if "filled" in row.cells else row.optional("amount")) or 0.0
    cost = row.optional("cost") or 0.0
    if settled != quote_of(symbol) or not (cost and traded and price):
        return amount
    size = cost / (price * traded)
    return amount if math.isclose(size, 1.0, rel_tol=0.01) else amount * float(f"{size:.6g}")


def _fees(row: Row) -> Fees:
    parts: Any = row.cells.get("fees") or [row.cells.get("fee")]
    found = []
    for part in parts if isinstance(parts, list) else [parts]:
        fee = Row(row.number, part or {})
        if fee.has("cost"):
            found.append((fee.signed("cost"), fee.text("currency").upper()))
    return tuple(found)
