"""Logs of jesse: the log lines of a live or paper session, and the closed trades of a backtest.

Layout of the log lines, a Parquet table: `timestamp`, `event`, `raw`, `symbol`, `order_type`, `side`, `qty`, `price`,
`amount`, and possibly `balance_after`. A line does not identify its order: a line that ends an order ends the oldest
open order of its symbol, type, side, quantity and price. A fee belongs to the fill before it, in the currency of the
balance that its text names. Left out: order ids, partial fills, and the exact fees, which are rounded to cents.

Layout of closed trades, `storage/csv/SESSION.csv` or `{"trades": […]}` in `storage/json/SESSION.json`: `id`,
`strategy_name`, `symbol`, `exchange`, `type`, `entry_price`, `exit_price`, `qty`, `fee`, `opened_at`, `closed_at`
(ms). A trade becomes two market orders. Left out: single orders and fills, canceled orders, and how the fee of a trade
is divided between them: each gets the part of its notional. Key: `id`, or the row.

Layout of live orders, the table `order` of jesse's PostgreSQL database as CSV: `id`, `symbol`, `side`, `type`, `qty`,
`filled_qty`, `price`, `status`, `created_at`, `executed_at`, `canceled_at` (ms), and possibly `fee`. Left out: single
fills, and the price of a market order before its fill.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from peak_trade.core.errors import ConfigError, excerpt
from peak_trade.core.ledger import Ledger
from peak_trade.core.values import Fill, OrderType, Side, quote_of
from peak_trade.journal.events import OrderEventKind
from peak_trade.journal.formats.balances import BalanceCheck, OpenPosition, PriceRange, StatedEquity
from peak_trade.journal.formats.ccxt import type_of
from peak_trade.journal.formats.external_log import ExternalLog
from peak_trade.journal.formats.log_file import FileKind, LogFile, signature
from peak_trade.journal.formats.log_row import Row
from peak_trade.journal.formats.logged_orders import Fees, LoggedFill, LoggedOrder, check_trade
from peak_trade.journal.log_times import TimeFormat, stated_format

LINE_COLUMNS = ("timestamp", "event", "raw", "symbol", "order_type", "side", "qty", "price", "amount")
ORDER_COLUMNS = (
    "id", "symbol", "side", "type", "qty", "filled_qty", "price", "status", "created_at", "executed_at", "canceled_at",
)  # fmt: skip
TRADE_COLUMNS = ("symbol", "type", "entry_price", "exit_price", "qty", "fee", "opened_at", "closed_at")
LOG_LINES = signature(FileKind.PARQUET, ("event", "raw", "qty"))
TRADES = signature(FileKind.TABLE, TRADE_COLUMNS)
ORDERS = signature(FileKind.TABLE, ("filled_qty", "executed_at", "canceled_at"))
_ENDS = {"EXECUTED": OrderEventKind.FILLED, "CANCELED": OrderEventKind.CANCELED}
_BALANCE = re.compile(r"Balance for (\w+) on ")
"""Currency of a fee in the text of its line."""

_IGNORED = frozenset(
    {"OTHER", "DAILY_BALANCE", "REALIZED_PNL", "POSITION_OPENED", "POSITION_INCREASED", "POSITION_REDUCED",
     "POSITION_CLOSED"}
)  # fmt: skip
"""Kinds of rows that are not about an order. Account rows follow from the fills."""

_MILLISECONDS = stated_format("ms")
_CENT = 0.01
_HALF_CENT = _CENT / 2.0 + 1e-9
"""How far a number that is rounded to cents may be from the exact one."""
_DUST = 1e-9
"""Quantity in base units up to which a position is closed."""
_SIDES = {"long": Side.BUY, "short": Side.SELL}


def is_log_lines(file: LogFile) -> str:
    """Return why a file is a table of log lines of jesse; empty if it is not."""
    found = LOG_LINES.fits(file)
    return "it is a Parquet table with the columns event, raw and qty" if found else ""


def is_trades(file: LogFile) -> str:
    """Return why a file has closed trades of jesse; empty if it has none."""
    if TRADES.fits(file):
        return "it has the columns entry_price, exit_price and opened_at of closed trades"
    found = file.kind is FileKind.JSON and set(file.columns) >= {"trades", "considering_timeframes"}
    return "it is an object with trades and considering_timeframes" if found else ""


def is_orders(file: LogFile) -> str:
    """Return why a file is the table of live orders of jesse; empty if it is not."""
    found = ORDERS.fits(file)
    return "it has the columns filled_qty, executed_at and canceled_at of live orders" if found else ""


def read_log_lines(file: LogFile, log: ExternalLog) -> None:
    """Add the orders of log lines, and compare fees, PnL and balances; ConfigError when a column is missing."""
    file.require(LINE_COLUMNS)
    stamps = (row.cells["timestamp"] for row in file.rows())
    times = log.options.times("" if str(stamp) in ("NaT", "None") else stamp for stamp in stamps)
    log.times = times.name
    lines = _LogLines(log, times)
    account = _Account(log, times, lines)
    for row in file.rows():
        filled = lines.read(row)
        if filled is not None:
            account.book(filled)
        account.read(row)
    lines.close()
    account.close()


class _LogLines:
    """Open orders of a log, and the order that was filled last, which the next fee belongs to."""

    def __init__(self, log: ExternalLog, times: TimeFormat) -> None:
        self._log, self._times = log, times
        self._open: dict[tuple[Any, ...], list[LoggedOrder]] = defaultdict(list)
        self._filled: LoggedOrder | None = None

    def read(self, row: Row) -> LoggedOrder | None:
        """Take a line; return the order that it fills, if it fills one."""
        kind = row.text("event")
        if kind in _IGNORED:
            self._log.skip(kind)
            return None
        try:
            if kind == "FEE":
                self._add_fee(row)
            elif kind == "SUBMITTED":
                order = self._order(row)
                self._open[self._key(order)].append(order)
            elif kind in _ENDS:
                return self._end(row, _ENDS[kind])
            else:
                raise ValueError(f"event {excerpt(kind)} is not known: {excerpt(row.text('raw'))}")
        except (ValueError, OverflowError) as error:
            self._log.refuse_fault(row.number, error)
        return None

    def resting_prices(self, symbol: str) -> PriceRange:
        """Return the prices between which no open order of a symbol is triggered."""
        low, high = 0.0, math.inf
        for order in (order for orders in self._open.values() for order in orders if order.symbol == symbol):
            is_above = (order.side is Side.SELL) == (order.order_type is OrderType.LIMIT)
            if order.order_type is not OrderType.MARKET:
                low, high = (low, min(high, order.price)) if is_above else (max(low, order.price), high)
        return PriceRange(low, high)

    def close(self) -> None:
        """Add what is left at the end of the log."""
        self._flush()
        for order in (order for orders in self._open.values() for order in orders):
            self._log.add_order(order)

    def _flush(self) -> None:
        if self._filled is not None:
            self._log.add_order(self._filled)
        self._filled = None

    def _add_fee(self, row: Row) -> None:
        if self._filled is None or self._filled.fees:
            raise ValueError("this fee follows no fill")
        named = _BALANCE.search(row.text("raw"))
        fees: Fees = ((row.unsigned("amount"), named[1] if named else self._log.options.fee_currency),)
        self._filled = replace(self._filled, fees=fees, rows=(*self._filled.rows, row.number))
        self._flush()

    def _end(self, row: Row, end: OrderEventKind) -> LoggedOrder | None:
        ended = self._order(row)
        key = self._key(ended)
        if not self._open[key]:
            raise ValueError(f"no open order matches: {excerpt(row.text('raw'))}")
        opened = self._open[key].pop(0)
        done = opened.quantity if end is OrderEventKind.FILLED else 0.0
        rows = (*opened.rows, row.number)
        order = replace(opened, rows=rows, end=end, end_time=ended.time, executed=done, price=row.unsigned("price"))
        if end is OrderEventKind.CANCELED:
            self._log.add_order(order)
            return None
        self._flush()
        self._filled = order
        return order

    def _order(self, row: Row) -> LoggedOrder:
        order_type, price = row.member("order_type", OrderType), row.unsigned("price")
        quantity = abs(row.signed("qty"))
        if not (math.isfinite(quantity) and quantity > 0.0):
            raise ValueError(f"column qty: quantity was {quantity}, not above zero")
        time = row.time("timestamp", self._times)
        order = LoggedOrder(
            (row.number,), f"row-{row.number}", time, row.text("symbol").replace("-", "/"), row.member("side", Side),
            order_type, quantity, None, time, price=price,
            limit_price=price if order_type is OrderType.LIMIT else None,
            stop_price=price if order_type is OrderType.STOP else None,
        )  # fmt: skip
        check_trade(order)
        return order

    @staticmethod
    def _key(order: LoggedOrder) -> tuple[Any, ...]:
        return order.symbol, order.order_type, order.side, order.quantity, order.price


class _Account:
    """Fees, PnL and balances of log lines, next to those that follow from the fills.

    Every number of a line is rounded to cents. A daily balance is the cash and the unrealised PnL of the open positions
    at their current prices, which the log does not hold: `save_daily_portfolio_balance` of jesse adds both.
    """

    def __init__(self, log: ExternalLog, times: TimeFormat, lines: _LogLines) -> None:
        self._log, self._times, self._lines = log, times, lines
        self._early: list[tuple[int, float]] = []
        self._ledger = Ledger(1.0)
        self._realised, self._last = 0.0, math.nan
        self._checks: dict[str, tuple[int, BalanceCheck]] = {}
        """Number of the comparisons of a kind, and that with the largest difference."""

        self._asset = "quote currency"

    def book(self, order: LoggedOrder) -> None:
        fill = Fill(
            order.order_id, order.end_time, "", order.symbol, order.side, order.executed, order.price, 0.0, order.price,
            order.price, "",
        )  # fmt: skip
        self._realised += self._ledger.apply(fill)

    def read(self, row: Row) -> None:
        if "balance_after" not in row.cells or not row.has("balance_after"):
            return
        if row.text("event") == "DAILY_BALANCE":
            self._read_daily(row)
        if row.text("event") not in _ACCOUNT_LINES:
            return
        named = _BALANCE.search(row.text("raw"))
        self._asset = named[1] if named else self._asset
        amount, balance = row.signed("amount"), row.signed("balance_after")
        change = -amount if row.text("event") == "FEE" else amount
        if math.isnan(self._last):
            self._last = round(balance - change, 2)
            if named:
                self._log.add_first_balance(self._asset, row.time("timestamp", self._times), self._last)
            for time, equity in self._early:
                self._add_equity(time, equity, ())
        self._compare("changes by fees and PnL", change, balance - self._last, 1.5 * _CENT + 1e-9)
        self._last = balance
        if row.text("event") == "REALIZED_PNL":
            self._compare(_GAINS, self._realised, amount, _HALF_CENT)
            self._realised = 0.0

    def _read_daily(self, row: Row) -> None:
        equity, time = row.signed("balance_after"), row.time("timestamp", self._times)
        if math.isnan(self._last):
            self._early.append((time, equity))
            return
        positions = tuple(
            OpenPosition(symbol, each.quantity, each.average_price, self._lines.resting_prices(symbol))
            for symbol, each in self._ledger.positions.items()
            if abs(each.quantity) > _DUST
        )
        self._add_equity(time, equity, positions)

    def _add_equity(self, time: int, equity: float, positions: tuple[OpenPosition, ...]) -> None:
        tolerance = _CENT if positions else _HALF_CENT
        self._log.equities.append(StatedEquity(time, self._asset, equity, self._last, positions, tolerance))

    def close(self) -> None:
        """Add the comparisons of all lines."""
        if self._checks and abs(self._realised) > _HALF_CENT:
            self._compare(_GAINS, self._realised, 0.0, _HALF_CENT)
        for name, (number, worst) in self._checks.items():
            self._log.balances.append(
                dataclasses.replace(worst, asset=f"{self._asset}, the worst of {number:,} {name}")
            )

    def _compare(self, name: str, expected: float, observed: float, tolerance: float) -> None:
        check = BalanceCheck(self._asset, expected, observed, tolerance)
        number, worst = self._checks.get(name, (0, check))
        self._checks[name] = number + 1, max(worst, check, key=lambda each: abs(each.expected - each.observed))


_ACCOUNT_LINES = ("FEE", "REALIZED_PNL")
_GAINS = "realised PnLs"


def read_trades(file: LogFile, log: ExternalLog) -> None:
    """Add the entry and the exit of each closed trade."""
    times = log.options.times_in(lambda: (row.cells.get("opened_at") for row in _trade_rows(file)), _MILLISECONDS)
    log.times = times.name
    for row in _trade_rows(file):
        try:
            fills = list(_trade_fills(row, times, log.options.fee_currency))
            for fill in fills:
                check_trade(fill)
            for fill in fills:
                log.add_fill(fill.order_id, fill)
            log.accounts.add(row.text("exchange"))
        except (ValueError, OverflowError) as error:
            log.refuse_fault(row.number, error)


def read_orders(file: LogFile, log: ExternalLog) -> None:
    """Add the orders of the table of live orders; ConfigError when a column is missing."""
    file.require(ORDER_COLUMNS)
    times = log.options.times_in(lambda: (row.cells.get("created_at") for row in file.rows()), _MILLISECONDS)
    log.times = times.name
    for row in file.rows():
        try:
            log.add_order(_live_order(row, times, log.options.fee_currency))
            log.accounts.add(row.text("exchange"))
        except (ValueError, OverflowError) as error:
            log.refuse_fault(row.number, error)


def _live_order(row: Row, times: TimeFormat, fee_currency: str) -> LoggedOrder:
    status = row.text("status").upper().replace(" ", "_")
    if status not in _LIVE_ENDS:
        raise ValueError(f"column status: {excerpt(row.text('status'))!r} is not known")
    end, start = _LIVE_ENDS[status], row.time("created_at", times)
    symbol, order_type = row.text("symbol").replace("-", "/"), type_of(row, "type")
    if not symbol or not row.text("id"):
        raise ValueError("column id or symbol: it is empty")
    last = next((name for name in ("executed_at", "canceled_at", "updated_at") if row.has(name)), "created_at")
    side = row.member("side", Side)
    executed, price = _quantity(row, "filled_qty", side) if row.has("filled_qty") else 0.0, row.optional("price") or 0.0
    quantity, fee = _quantity(row, "qty", side), row.optional("fee")
    executed = executed or (quantity if end is OrderEventKind.FILLED else 0.0)
    fees: Fees = () if fee is None else ((fee, fee_currency or quote_of(symbol)),)
    return LoggedOrder(
        (row.number,), row.text("id"), start, symbol, side, order_type, quantity, end,
        max(start, row.time(last, times)), executed, price, fees,
        price if order_type is OrderType.LIMIT else None, price if order_type is OrderType.STOP else None,
    )  # fmt: skip


def _quantity(row: Row, column: str, side: Side) -> float:
    """Return a quantity without its sign, which jesse gives the sales."""
    quantity = row.signed(column)
    if quantity < 0.0 and side is Side.BUY:
        raise ValueError(f"column {column}: {quantity:g} is negative, and the order buys")
    return abs(quantity)


_LIVE_ENDS = {
    "EXECUTED": OrderEventKind.FILLED, "CANCELED": OrderEventKind.CANCELED, "REJECTED": OrderEventKind.REJECTED,
    "LIQUIDATED": OrderEventKind.FILLED, "ACTIVE": None, "QUEUED": None, "PARTIALLY_FILLED": None,
}  # fmt: skip


def _trade_rows(file: LogFile) -> Iterator[Row]:
    if file.kind is FileKind.TABLE:
        file.require(TRADE_COLUMNS)
        yield from file.rows()
        return
    trades = file.document().get("trades")
    if not isinstance(trades, list):
        raise ConfigError(f"{file.path}: trades is not a list.")
    for number, cells in enumerate(trades, start=1):
        fault = "" if isinstance(cells, dict) else f"{excerpt(cells)} is not a record"
        yield Row(number, {} if fault else cells, fault=fault)


def _trade_fills(row: Row, times: TimeFormat, fee_currency: str) -> Iterator[LoggedFill]:
    symbol = row.text("symbol").replace("-", "/")
    entry = row.member("type", _SIDES)
    quantity, fee = row.unsigned("qty"), row.optional("fee")
    prices = row.unsigned("entry_price"), row.unsigned("exit_price")
    name = row.text("id") or f"row-{row.number}"
    sides = (entry, Side.SELL if entry is Side.BUY else Side.BUY)
    currency = fee_currency or quote_of(symbol)
    for part, side, price, column in zip(("entry", "exit"), sides, prices, ("opened_at", "closed_at"), strict=True):
        fees: Fees = () if fee is None else ((fee * price / sum(prices), currency),)
        rows = (row.number,) if part == "entry" else ()
        yield LoggedFill(
            rows, f"{name}-{part}", row.time(column, times), symbol, side, quantity, price, fees,
            strategy=row.text("strategy_name"),
        )  # fmt: skip
