"""The database of a freqtrade bot, and the result of a freqtrade backtest.

Layout of the database, `tradesv3.sqlite` or `tradesv3.dryrun.sqlite`: the table `orders` has the orders and `trades`
their fees, strategy and funding. Columns that only some versions have may be missing. Key: pair and order id. Times
are UTC without a zone. `ft_price`, the price that the bot asked for, is the decision price. Left out: single fills, and
the fee of an order, which is the rate of its trade; only the first entry and the first exit have an exact cost. A fee
in a third currency is therefore unknown for the other orders. The table `wallet_history`, which only new versions
have, gives the balance before the first order.

Layout of a backtest result, `backtest-result-DATE.zip` or its JSON: `strategy`, by name with a list of `trades`, each
with `pair`, `fee_open`, `fee_close` (rates), `is_short`, `orders` with `amount`, `safe_price`, `ft_is_entry`,
`order_filled_timestamp`, or in old results only `open_rate`, `close_rate`, `open_date`, `close_date`; and with
`starting_balance` and `stake_currency`. Key: number of the trade and of the order. Left out: orders without a fill,
order types, and what the bot would have asked for.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peak_trade.core.errors import ConfigError, excerpt, listed
from peak_trade.core.values import OrderType, Side, quote_of
from peak_trade.journal.events import CashFlowEvent, OrderEventKind
from peak_trade.journal.formats.balances import BalanceCheck
from peak_trade.journal.formats.ccxt import ENDS, type_of
from peak_trade.journal.formats.external_log import ExternalLog
from peak_trade.journal.formats.log_file import FileKind, LogFile
from peak_trade.journal.formats.log_row import Row
from peak_trade.journal.formats.logged_orders import Fees, LoggedFill, LoggedOrder, check_trade
from peak_trade.journal.log_times import stated_format

ORDER_COLUMNS = (
    "id",
    "ft_trade_id",
    "ft_order_side",
    "ft_pair",
    "order_id",
    "status",
    "amount",
    "filled",
    "order_date",
)
TRADE_COLUMNS = ("id", "pair", "fee_open", "fee_close", "is_open", "open_date", "close_date", "close_profit_abs")
WALLET_COLUMNS = ("timestamp", "currency", "quote_currency", "balance")
_OTHER_ORDER_COLUMNS = (
    "side", "order_type", "price", "average", "stop_price", "order_filled_date", "order_update_date", "ft_fee_base",
    "ft_price", "ft_is_open",
)  # fmt: skip
_OTHER_TRADE_COLUMNS = (
    "stake_currency", "fee_open_cost", "fee_open_currency", "fee_close_cost", "fee_close_currency", "strategy",
    "is_short", "funding_fees",
)  # fmt: skip
_RESULT = re.compile(r"(?!.*_config\.json$)[^/]+\.json")
_ISO, _MILLISECONDS = stated_format("iso"), stated_format("ms")
_ROUNDING = 1e-9
"""Part of the turnover up to which two sums of PnL are equal."""


def is_database(file: LogFile) -> str:
    """Return why a file is the database of a freqtrade bot; empty if it is not."""
    found = {"ft_pair", "ft_order_side"} <= set(file.tables.get("orders", ())) and "trades" in file.tables
    return "it is an SQLite database with the tables trades and orders of freqtrade" if found else ""


def is_backtest(file: LogFile) -> str:
    """Return why a file is the result of a freqtrade backtest; empty if it is not."""
    if file.kind is FileKind.ZIP and any(name.startswith("backtest-result") for name in _result_names(file)):
        return "it is a zip archive with a backtest-result in JSON"
    if file.kind is FileKind.JSON and {"strategy", "strategy_comparison"} <= set(file.columns):
        return "it is an object with strategy and strategy_comparison"
    return ""


def read_database(file: LogFile, log: ExternalLog) -> None:
    """Add the orders and the funding of a database; ConfigError when a table lacks a column."""
    file.require(ORDER_COLUMNS, "orders")
    file.require(TRADE_COLUMNS, "trades")
    log.times = _ISO.name
    profits: dict[str, _Profit] = defaultdict(_Profit)
    paid: set[tuple[str, bool]] = set()
    for row in file.query(_joined(file)):
        try:
            order, is_entry = _database_order(row, paid)
            log.add_order(order)
            _profit_of(profits, order.symbol).add_order(row, order, is_entry)
        except (ValueError, OverflowError) as error:
            log.refuse_fault(row.number, error)
    for row in file.query(_closed(file)):
        profit = _profit_of(profits, row.text("pair"))
        profit.stated += row.signed("close_profit_abs") if row.has("close_profit_abs") else 0.0
        _add_funding(row, log, profit)
    log.balances += [profit.check(quote) for quote, profit in sorted(profits.items())]
    _add_first_balances(file, log)


def _add_first_balances(file: LogFile, log: ExternalLog) -> None:
    """Add the last balances of the stake currencies before the first order; only new databases have them."""
    if not set(file.tables.get("wallet_history", ())) >= set(WALLET_COLUMNS):
        return
    query = (
        "SELECT currency, max(timestamp) AS timestamp, balance FROM wallet_history WHERE currency = quote_currency AND "
        "timestamp <= (SELECT min(order_date) FROM orders) GROUP BY currency"
    )
    for row in file.query(query):
        log.add_first_balance(row.text("currency").upper(), row.time("timestamp", _ISO), row.signed("balance"))


def read_backtest(file: LogFile, log: ExternalLog) -> None:
    """Add the fills of the trades of a backtest; ConfigError when it has several strategies and none is named."""
    strategies = _strategies(file)
    name = log.options.strategy or next(iter(strategies), "")
    if name not in strategies or (len(strategies) > 1 and not log.options.strategy):
        raise ConfigError(f"{file.path}: it has the strategies {listed(strategies)}. Choose one with --strategy.")
    trades = strategies[name].get("trades") if isinstance(strategies[name], dict) else None
    if not isinstance(trades, list):
        raise ConfigError(f"{file.path}: strategy {name} has no list of trades.")
    log.times = _MILLISECONDS.name
    content = Row(0, strategies[name])
    if content.has("starting_balance") and content.has("stake_currency"):
        log.add_first_balance(content.text("stake_currency").upper(), 0, content.signed("starting_balance"))
    profits: dict[str, _Profit] = defaultdict(_Profit)
    for number, trade in enumerate(trades, start=1):
        row = Row(number, trade if isinstance(trade, dict) else {}, fault="" if isinstance(trade, dict) else "no trade")
        try:
            fills = list(_backtest_fills(row, name))
            for fill, _ in fills:
                check_trade(fill)
            profit = _profit_of(profits, row.text("pair"))
            for part, (fill, is_entry) in enumerate(fills):
                log.add_fill(f"{name}|{number}|{part}", fill)
                rate = _rate(row, is_entry)
                if not row.cells.get("is_open"):
                    profit.add(fill.side, fill.quantity, fill.price, rate)
            if not row.cells.get("is_open"):
                profit.stated += row.signed("profit_abs")
            _add_funding(row, log, profit, name)
        except (ValueError, OverflowError, AttributeError, TypeError) as error:
            log.refuse_fault(number, error)
    log.balances += [profit.check(quote) for quote, profit in sorted(profits.items())]


@dataclass(slots=True)
class _Profit:
    """PnL of the closed trades of one quote currency: as the fills give it with freqtrade's rates, and as stated."""

    from_fills: float = 0.0
    stated: float = 0.0
    turnover: float = 0.0

    def add(self, side: Side, quantity: float, price: float, rate: float) -> None:
        worth = quantity * price
        self.turnover += worth
        self.from_fills += (-1.0 if side is Side.BUY else 1.0) * worth - worth * rate

    def add_order(self, row: Row, order: LoggedOrder, is_entry: bool) -> None:
        if order.executed and not row.cells.get("is_open"):
            kept = order.executed - (row.optional("ft_fee_base") or 0.0) if is_entry else order.executed
            self.add(order.side, kept, order.price, _rate(row, is_entry))

    def check(self, quote: str) -> BalanceCheck:
        tolerance = 1e-7 + _ROUNDING * self.turnover
        return BalanceCheck(f"{quote}, PnL of closed trades", self.from_fills, self.stated, tolerance)


def _profit_of(profits: dict[str, _Profit], pair: str) -> _Profit:
    return profits[quote_of(pair) or "quote currency"]


def _rate(row: Row, is_entry: bool) -> float:
    column = "fee_open" if is_entry else "fee_close"
    return row.signed(column) if row.has(column) else math.nan


def _joined(file: LogFile) -> str:
    """Return the query of all orders with what their trade knows; columns that a version lacks are NULL."""
    wanted = [("o", "orders", name) for name in (*ORDER_COLUMNS, *_OTHER_ORDER_COLUMNS)]
    wanted += [("t", "trades", name) for name in (*TRADE_COLUMNS[2:], *_OTHER_TRADE_COLUMNS)]
    chosen = ", ".join(
        f"{table}.{name} AS {name}" if name in file.tables[full] else f"NULL AS {name}" for table, full, name in wanted
    )
    return f"SELECT {chosen} FROM orders o LEFT JOIN trades t ON t.id = o.ft_trade_id ORDER BY o.id"


def _closed(file: LogFile) -> str:
    held = file.tables["trades"]
    others = ", ".join(name if name in held else f"NULL AS {name}" for name in ("funding_fees", "strategy"))
    return f"SELECT id, pair, open_date, close_date, close_profit_abs, is_open, {others} FROM trades ORDER BY id"


def _database_order(row: Row, paid: set[tuple[str, bool]]) -> tuple[LoggedOrder, bool]:
    """Return an order and whether it is an entry; `paid` has the trades whose exact fee an earlier order took."""
    status = row.text("status").lower()
    executed = row.optional("filled")
    if status not in ENDS and status:
        raise ValueError(f"column status: {excerpt(status)!r} is not known")
    end = ENDS.get(status, None if row.cells.get("ft_is_open") else OrderEventKind.CANCELED)
    quantity = row.unsigned("amount")
    if executed is None:
        executed = quantity if end is OrderEventKind.FILLED else 0.0
    if end is OrderEventKind.FILLED and executed < quantity * (1.0 - 1e-8):
        end = OrderEventKind.CANCELED
    entry = Side.SELL if row.cells.get("is_short") else Side.BUY
    named = row.text("ft_order_side").lower()
    side = _opposite(entry) if named == "stoploss" else row.member("ft_order_side", Side)
    is_entry = side is entry
    price = row.optional("average") or row.optional("price") or 0.0
    order_type = type_of(row, "order_type")
    start = row.time("order_date", _ISO)
    last = next((name for name in ("order_filled_date", "order_update_date") if row.has(name)), "order_date")
    is_limit = order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    order = LoggedOrder(
        (row.number,), row.text("order_id"), start, row.text("ft_pair"), side, order_type, quantity, end,
        max(start, row.time(last, _ISO)), executed, price, _order_fees(row, is_entry, executed, price, paid),
        row.optional("price") if is_limit else None, row.optional("stop_price"), row.text("strategy"),
        row.optional("ft_price") or 0.0,
    )  # fmt: skip
    if not order.order_id or not order.symbol:
        raise ValueError("column order_id or ft_pair: it is empty")
    return order, is_entry


def _order_fees(row: Row, is_entry: bool, executed: float, price: float, paid: set[tuple[str, bool]]) -> Fees:
    kind = "open" if is_entry else "close"
    base, _, quote = row.text("ft_pair").partition(":")[0].partition("/")
    currency, cost = row.text(f"fee_{kind}_currency").upper(), row.optional(f"fee_{kind}_cost")
    in_base = row.optional("ft_fee_base")
    trade = (row.text("ft_trade_id"), is_entry)
    is_first = trade not in paid and executed > 0.0
    if is_first:
        paid.add(trade)
    if in_base:
        return ((in_base, base),)
    if currency and cost is not None and is_first:
        return ((cost, currency),)
    rate = _rate(row, is_entry)
    if math.isnan(rate) or currency not in ("", base, quote):
        return ()
    return ((rate * executed, base),) if currency == base else ((rate * executed * price, quote),)


def _add_funding(row: Row, log: ExternalLog, profit: _Profit, strategy: str = "") -> None:
    amount = row.signed("funding_fees") if row.has("funding_fees") else 0.0
    if not amount:
        return
    column, form = ("close_timestamp", _MILLISECONDS) if row.has("close_timestamp") else ("close_date", _ISO)
    if not row.has(column):
        column = "open_date"
    name = log.options.strategy or row.text("strategy") or strategy or "unknown"
    log.add_cash_flow((), CashFlowEvent(row.time(column, form), name, row.text("pair"), "funding", amount))
    if not row.cells.get("is_open"):
        profit.from_fills += amount


def _result_names(file: LogFile) -> list[str]:
    return [name for name in file.members() if _RESULT.fullmatch(name)]


def _strategies(file: LogFile) -> Mapping[str, Any]:
    if file.kind is FileKind.ZIP:
        found = [name for name in _result_names(file) if name.startswith("backtest-result")]
        content = file.member_document(found[0])
    else:
        content = file.document()
    strategies = content.get("strategy") if isinstance(content, dict) else None
    if not isinstance(strategies, dict) or not strategies:
        raise ConfigError(f"{file.path}: there is no strategy in this result.")
    return strategies


def _backtest_fills(row: Row, strategy: str) -> Iterator[tuple[LoggedFill, bool]]:
    pair, number = row.text("pair"), row.number
    if not pair:
        raise ValueError("column pair: it is empty")
    entry = Side.SELL if row.cells.get("is_short") else Side.BUY
    quote = quote_of(pair)
    orders = row.cells.get("orders") or list(_entry_and_exit(row))
    rows: tuple[int, ...] = (number,)
    for part, content in enumerate(orders):
        order = Row(number, content)
        if not order.has("order_filled_timestamp"):
            continue
        is_entry = bool(content.get("ft_is_entry", content.get("ft_order_side") == entry))
        quantity, price = order.unsigned("amount"), order.unsigned("safe_price")
        rate = _rate(row, is_entry)
        fees: Fees = () if math.isnan(rate) else ((rate * quantity * price, quote),)
        side = entry if is_entry else _opposite(entry)
        time = order.time("order_filled_timestamp", _MILLISECONDS)
        yield LoggedFill(rows, f"{number}-{part}", time, pair, side, quantity, price, fees, strategy=strategy), is_entry
        rows = ()
    if rows:
        raise ValueError("no order of this trade was filled")


def _entry_and_exit(row: Row) -> Iterator[dict[str, Any]]:
    for column, rate, is_entry in (("open", "open_rate", True), ("close", "close_rate", False)):
        if row.has(f"{column}_timestamp"):
            time = row.time(f"{column}_timestamp", _MILLISECONDS)
        elif row.has(f"{column}_date"):
            time = row.time(f"{column}_date", _ISO)
        else:
            continue
        yield {
            "amount": row.unsigned("amount"), "safe_price": row.unsigned(rate), "ft_is_entry": is_entry,
            "order_filled_timestamp": time // 10**6,
        }  # fmt: skip


def _opposite(side: Side) -> Side:
    return Side.SELL if side is Side.BUY else Side.BUY
