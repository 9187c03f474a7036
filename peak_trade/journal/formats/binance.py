"""Spot logs of Binance: the web exports Trade History, Order History and Transaction History, and its API.

Layout of Trade History, without ids: `Date(UTC)`, `Pair`, `Side`, `Price`, `Executed`, `Amount`, `Fee` with units in
the cells; or `Pair` or `Market`, `Type` (the side), `Price`, `Amount`, `Total`, `Fee`, `Fee Coin`. Key: the whole row
and its number among equal rows. Layout of Order History: `OrderNo`, `Pair`, `Type`, `Side`, `Order Price`, `Order
Amount`, `Time`, `Executed` or `Filled`, `Average Price` or `AvgTrading Price`, `Status`. It has no fees: together with
Trade History, the fills of an order are those of its pair and side between its two times that sum to what it executed.
Without Order History, the fills of one second, pair and side are one order. Layout of Transaction History: `Operation`,
`Coin`, `Change`. It has no prices: it is compared with the fills, and its other rows are counted by kind.

Layout of the API, JSON: `myTrades` and, for futures, `userTrades` (key: symbol and id), and `allOrders`.

The first column of a web export names its zone, `Date(UTC+1)`; times are full seconds. Left out: order ids in Trade
History, fees in Order History, decision prices, and in both the time at which a market order was sent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from itertools import groupby

from peak_trade.core.errors import ConfigError, excerpt
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import OrderType, Side
from peak_trade.journal.events import OrderEventKind
from peak_trade.journal.formats.ccxt import split_symbol, type_of
from peak_trade.journal.formats.external_log import ExternalLog
from peak_trade.journal.formats.log_file import FileKind, LogFile, signature
from peak_trade.journal.formats.log_row import Row
from peak_trade.journal.formats.logged_orders import Fees, LoggedFill, LoggedOrder
from peak_trade.journal.formats.orders_csv import STATUSES
from peak_trade.journal.log_times import TimeFormat, has_zone, stated_format

_ISO, _MILLISECONDS = stated_format("iso"), stated_format("ms")
_ZONE = re.compile(r"(?:Date|Time|UTC_Time)\s*(?:\(\s*(?:UTC|GMT)\s*([+-]\d{1,2})?(?::?(\d\d))?\s*\))?", re.IGNORECASE)
_SHORT_YEAR = re.compile(r"\d\d-\d\d-\d\d(?: |T|$)")
TRADE_HISTORY = signature(
    FileKind.TABLE,
    ("Pair", "Side", "Price", "Executed", "Amount", "Fee"),
    ("Pair", "Type", "Price", "Amount", "Total", "Fee", "Fee Coin"),
    ("Market", "Type", "Price", "Amount", "Total", "Fee", "Fee Coin"),
)
ORDER_HISTORY = signature(FileKind.TABLE, ("OrderNo", "Pair", "Type", "Order Price", "Order Amount"))
TRANSACTION_HISTORY = signature(FileKind.TABLE, ("Operation", "Coin", "Change"))
API_TRADES = signature(
    FileKind.JSON, ("symbol", "id", "orderId", "price", "qty", "commission", "commissionAsset", "time")
)
API_ORDERS = signature(FileKind.JSON, ("symbol", "orderId", "origQty", "executedQty", "status", "type", "side", "time"))
_TRADE_OPERATIONS = frozenset(
    {"buy", "sell", "fee", "transaction buy", "transaction spend", "transaction sold", "transaction revenue",
     "transaction fee", "transaction related"}
)  # fmt: skip
"""Operations of Transaction History that are parts of a trade."""

_OPERATIONS = {
    "small assets exchange bnb": "dust conversion", "deposit": "deposit", "withdraw": "withdrawal",
    "binance convert": "conversion", "large otc trading": "conversion",
}  # fmt: skip
_SECOND = NS_PER_SECOND


def is_trade_history(file: LogFile) -> str:
    """Return why a file is a Trade History of Binance; empty if it is not."""
    found = TRADE_HISTORY.fits(file)
    return "it has the columns Price, Amount, Fee and Pair or Market of Trade History" if found else ""


def is_order_history(file: LogFile) -> str:
    """Return why a file is an Order History of Binance; empty if it is not."""
    found = ORDER_HISTORY.fits(file)
    return "it has the columns OrderNo, Order Price and Order Amount of Order History" if found else ""


def is_transaction_history(file: LogFile) -> str:
    """Return why a file is a Transaction History of Binance; empty if it is not."""
    found = TRANSACTION_HISTORY.fits(file)
    return "it has the columns Operation, Coin and Change of Transaction History" if found else ""


def is_api_trades(file: LogFile) -> str:
    """Return why a file is the answer of the API to a request for trades; empty if it is not."""
    found = API_TRADES.fits(file)
    return "its items have orderId, qty and commissionAsset, as trades of Binance's API" if found else ""


def is_api_orders(file: LogFile) -> str:
    """Return why a file is the answer of the API to a request for orders; empty if it is not."""
    found = API_ORDERS.fits(file)
    return "its items have orderId, origQty and executedQty, as orders of Binance's API" if found else ""


def read_trade_history(file: LogFile, log: ExternalLog) -> None:
    """Add the fills of a Trade History; `join` finds their orders."""
    column, times = _zoned_times(file, log)
    part = 0
    for row in file.rows():
        if row.part != part:
            part = row.part
            log.start_part()
        try:
            fill = _web_fill(row, row.time(column, times))
            log.add_fill_of_row("|".join(row.text(name) for name in file.columns), fill)
        except (ValueError, OverflowError) as error:
            log.refuse_fault(row.number, error)


def read_order_history(file: LogFile, log: ExternalLog) -> None:
    """Add the orders of an Order History."""
    column, times = _zoned_times(file, log)
    for row in file.rows():
        try:
            log.add_order(_web_order(row, column, times))
        except (ValueError, OverflowError) as error:
            log.refuse_fault(row.number, error)


def read_transaction_history(file: LogFile, log: ExternalLog) -> None:
    """Count the rows of a Transaction History by kind, and keep the changes by trades for a comparison."""
    for row in file.rows():
        operation = row.text("Operation")
        log.accounts.add(row.text("User ID"))
        if operation.lower() not in _TRADE_OPERATIONS:
            kind = "transfer" if "transfer" in operation.lower() else operation or "without an operation"
            log.skip(_OPERATIONS.get(operation.lower(), kind))
            continue
        try:
            log.add_change(row.text("Coin").upper(), row.exact("Change"), Decimal("5e-9"))
            log.skip("change of a balance by a trade")
        except ValueError as error:
            log.refuse_fault(row.number, error)


def read_api_trades(file: LogFile, log: ExternalLog) -> None:
    """Add the fills of `myTrades` or `userTrades`."""
    log.times = _MILLISECONDS.name
    for row in file.rows():
        try:
            symbol = split_symbol(row.text("symbol"))
            is_buy = row.cells.get("isBuyer", row.cells.get("buyer"))
            side = row.member("side", Side) if is_buy is None else Side.BUY if is_buy else Side.SELL
            fees = ((row.signed("commission"), row.text("commissionAsset")),) if row.has("commission") else ()
            fill = LoggedFill(
                (row.number,), row.text("orderId"), row.time("time", _MILLISECONDS), symbol,
                side, row.unsigned("qty"), row.unsigned("price"), fees,
                OrderType.LIMIT if row.cells.get("isMaker", row.cells.get("maker")) else OrderType.MARKET,
            )  # fmt: skip
            log.add_fill(f"{symbol}|{row.text('id')}", fill)
        except (ValueError, OverflowError) as error:
            log.refuse_fault(row.number, error)


def read_api_orders(file: LogFile, log: ExternalLog) -> None:
    """Add the orders of `allOrders`."""
    log.times = _MILLISECONDS.name
    for row in file.rows():
        try:
            executed, spent = row.unsigned("executedQty"), row.optional("cummulativeQuoteQty") or 0.0
            average = row.optional("avgPrice") or (spent / executed if executed else 0.0)
            start = row.time("time", _MILLISECONDS)
            end = row.time("updateTime", _MILLISECONDS) if row.has("updateTime") else start
            log.add_order(
                LoggedOrder(
                    (row.number,), row.text("orderId"), start, split_symbol(row.text("symbol")),
                    row.member("side", Side), type_of(row, "type"), row.unsigned("origQty"), _end(row.text("status")),
                    max(start, end), executed, average, (), row.optional("price") or None,
                    row.optional("stopPrice") or None,
                )
            )  # fmt: skip
        except (ValueError, OverflowError) as error:
            log.refuse_fault(row.number, error)


def join(log: ExternalLog) -> None:
    """Find the order of each fill of Trade History; an order whose fills are not there is refused.

    An order before or after all fills of its pair and side keeps its average price, and its fee is unknown.
    """
    if log.ignored and not log.n_used:
        raise ConfigError("Transaction History has no prices: import it together with Trade History of the same time.")
    orders = {symbol: list(each) for symbol, each in groupby(log.orders(), key=lambda order: order.symbol)}
    for symbol, found in groupby(log.fills_without_order(), key=lambda each: each[1].symbol):
        fills: Iterable[tuple[int, LoggedFill]] = found
        if symbol in orders:
            fills = _join_symbol(log, orders[symbol], list(fills))
        for (time, side), group in groupby(fills, key=lambda each: (each[1].time, each[1].side)):
            log.assign(f"{side}-at-{time // NS_PER_SECOND}", [number for number, _ in group])


def _join_symbol(
    log: ExternalLog, orders: list[LoggedOrder], fills: list[tuple[int, LoggedFill]]
) -> list[tuple[int, LoggedFill]]:
    """Give orders of a symbol their fills; return the fills that no order has."""
    for side in Side:
        free = [each for each in fills if each[1].side is side]
        wanted = [order for order in orders if order.side is side and order.executed > 0.0]
        for order in sorted(wanted, key=lambda order: (order.end_time - order.time, order.end_time)):
            inside = [each for each in free if order.time - _SECOND <= each[1].time <= order.end_time + _SECOND]
            found = _run_of(order, inside)
            if found:
                log.assign(order.order_id, [number for number, _ in found])
                taken = {number for number, _ in found}
                free = [each for each in free if each[0] not in taken]
                fills = [each for each in fills if each[0] not in taken]
            elif inside:
                reason = f"no fills between its times sum to the {order.executed:g} that it executed"
                log.remove_order(order, f"{reason}.")
    return fills


def _run_of(order: LoggedOrder, fills: list[tuple[int, LoggedFill]]) -> list[tuple[int, LoggedFill]]:
    """Return the first consecutive fills that sum to what an order executed, at prices that it allows."""
    allowed = [each for each in fills if _is_allowed(order, each[1].price)]
    first, total = 0, 0.0
    for last, (_, fill) in enumerate(allowed):
        total += fill.quantity
        while total > order.executed * (1.0 + 1e-9) and first <= last:
            total -= allowed[first][1].quantity
            first += 1
        if math.isclose(total, order.executed, rel_tol=1e-8) and first <= last:
            return allowed[first : last + 1]
    return []


def _is_allowed(order: LoggedOrder, price: float) -> bool:
    if not order.limit_price:
        return True
    bound = order.limit_price * (1.0 + (1e-9 if order.side is Side.BUY else -1e-9))
    return price <= bound if order.side is Side.BUY else price >= bound


def _zoned_times(file: LogFile, log: ExternalLog) -> tuple[str, TimeFormat]:
    """Return the column of the times and their format, with the zone of the header."""
    column = next((name for name in file.columns if name.startswith(("Date", "Time", "UTC_Time"))), file.columns[0])
    times = log.options.times_in(lambda: (row.cells.get(column) for row in file.rows()), _WEB_TIMES)
    match = _ZONE.fullmatch(column)
    if match is None and not log.options.time_format:
        raise ConfigError(
            f"{file.path}: the time zone of column {excerpt(column)} is not known. Write Date(UTC) or, as an example, "
            "Date(UTC+1)."
        )
    hours, minutes = (int(match[1] or 0), int(match[2] or 0)) if match else (0, 0)
    offset = (hours * 3_600 + int(math.copysign(minutes * 60, hours))) * NS_PER_SECOND

    def read(given: object) -> int:
        return times.read(given) - (0 if has_zone(given) else offset)

    log.times = f"{times.name}; zone of the header UTC{match[1] or ''}" if match and offset else times.name
    return column, TimeFormat(log.times, read) if offset and times.is_local else times


def _read_web_time(given: object) -> int:
    text = str(given).strip()
    return _ISO.read(f"20{text}" if _SHORT_YEAR.match(text) else text)


_WEB_TIMES = TimeFormat("ISO 8601, read as UTC", _read_web_time, is_local=True)


def _web_fill(row: Row, time: int) -> LoggedFill:
    if "Executed" in row.cells:
        symbol, (quantity, _) = _with_units(row, "Pair", "Executed")
        base, _, quote = symbol.partition("/")
        fees: Fees = (row.amount("Fee", (quote, base)),) if row.has("Fee") else ()
        side = row.member("Side", Side)
    else:
        stated = "/".join(row.text(name) for name in ("Base Asset", "Quote Asset") if row.has(name))
        symbol = stated if "/" in stated else split_symbol(row.text("Pair") or row.text("Market"))
        quantity, side = row.unsigned("Amount"), row.member("Type", Side)
        fees = ((row.unsigned("Fee"), row.text("Fee Coin")),) if row.has("Fee") else ()
    if not symbol:
        raise ValueError("column Pair: it is empty")
    return LoggedFill((row.number,), "", time, symbol, side, quantity, row.amount("Price")[0], fees)


def _with_units(row: Row, pair: str, column: str) -> tuple[str, tuple[float, str]]:
    """Return base/quote of a pair, by the unit of an amount of its base where there is one, and the amount."""
    name, text = row.text(pair).upper(), row.text(column).upper()
    prefixes = [name[:length] for length in range(len(name) - 1, 0, -1) if text.endswith(name[:length])]
    for base in prefixes:
        try:
            amount = row.amount(column, (base,))
        except ValueError:
            continue
        return f"{base}/{name.removeprefix(base).lstrip('/-_')}", amount
    return split_symbol(name), row.amount(column)


def _web_order(row: Row, column: str, times: TimeFormat) -> LoggedOrder:
    symbol, (quantity, _) = _with_units(row, "Pair", "Order Amount")
    units = symbol.split("/")
    executed = row.amount("Executed" if "Executed" in row.cells else "Filled", units)[0]
    average = row.amount("Average Price" if "Average Price" in row.cells else "AvgTrading Price", units)[0]
    has_side = "Side" in row.cells
    order_type = type_of(row, "Type") if has_side else OrderType.LIMIT
    limit_price, start = row.amount("Order Price", units)[0], row.time(column, times)
    last = next((name for name in ("Time", "Time 2", "Update Time") if name != column and row.has(name)), column)
    end_time = row.time(last, times)
    if end_time < start:
        raise ValueError(f"column {last}: {excerpt(row.text(last))} is before the start")
    status = row.text("Status") or row.text("status")
    return LoggedOrder(
        (row.number,), row.text("OrderNo"), start, symbol, row.member("Side" if has_side else "Type", Side), order_type,
        quantity or math.nan, _end(status), end_time, executed, average, _NO_FEES,
        limit_price if limit_price and order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None,
    )  # fmt: skip


_NO_FEES: Fees = ()


def _end(status: str) -> OrderEventKind | None:
    name = status.upper().replace(" ", "_")
    if name in STATUSES:
        return STATUSES[name]
    if name in ("EXPIRED_IN_MATCH", "PENDING_CANCEL", "PARTIAL_FILL", "PENDING_NEW"):
        return OrderEventKind.EXPIRED if name.startswith("EXPIRED") else None
    raise ValueError(f"column Status: {excerpt(status)!r} is not known")
