"""Logs of orders as exchanges and bots export them, written from the events of our own runs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from peak_trade.core.time import NS_PER_SECOND, iso
from peak_trade.journal.events import Event, OrderEvent, OrderEventKind
from tests.journal.formats import test_binance as binance
from tests.journal.formats import test_freqtrade as freqtrade
from tests.journal.formats import test_hummingbot as hummingbot
from tests.journal.formats import test_jesse as jesse
from tests.journal.formats import test_kraken as kraken
from tests.journal.formats import test_nautilus as nautilus
from tests.journal.formats.histories import START, History, Trade, read

COLUMNS = ("order_id", "time", "end_time", "symbol", "side", "type", "quantity", "status", "executed", "price", "fee",
           "fee_currency", "limit_price", "stop_price")  # fmt: skip


@dataclass(frozen=True, slots=True)
class LoggedOrder:
    """One order as a log states it; times are ns UTC, the fee is in `fee_currency`."""

    order_id: str
    symbol: str
    side: str
    kind: str
    quantity: float
    submitted: int
    ended: int
    status: str
    executed: float
    price: float
    fee: float
    fee_currency: str
    limit_price: float | None = None
    stop_price: float | None = None


def orders_in(events: Iterable[Event], latency_ns: int = 0) -> list[LoggedOrder]:
    """Orders of a run that reached its venue, each `latency_ns` later than in the run."""
    by_id: dict[str, list[OrderEvent]] = {}
    for event in events:
        if isinstance(event, OrderEvent):
            by_id.setdefault(event.order_id, []).append(event)
    logged = []
    for number, (order, *rest) in enumerate(by_id.values(), start=1):
        last = rest[-1] if rest else order
        if last.event is OrderEventKind.DENIED:
            continue
        fills = [event for event in rest if event.last_quantity]
        traded = sum(fill.last_quantity for fill in fills)
        price = sum(fill.last_quantity * fill.last_price for fill in fills) / traded if traded else 0.0
        status = {OrderEventKind.FILLED: "FILLED", OrderEventKind.REJECTED: "REJECTED"}.get(last.event, "CANCELED")
        ended = (fills[-1] if fills else last).ts_event + latency_ns
        logged.append(
            LoggedOrder(
                f"x-{number}", order.symbol, str(order.side), str(order.order_type), order.quantity,
                order.ts_event + latency_ns, ended, status, traded, price, sum(fill.fee for fill in fills),
                order.symbol.partition("/")[2], order.limit_price, order.stop_price,
            )
        )  # fmt: skip
    return logged


def as_csv(orders: Sequence[LoggedOrder]) -> str:
    """A table of orders, one row per order, that `--format orders-csv` reads."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for each in orders:
        table.writerow(
            [each.order_id, iso(each.submitted), iso(each.ended), each.symbol, each.side.upper(), each.kind.upper(),
             repr(each.quantity), each.status, repr(each.executed), repr(each.price), repr(each.fee), each.fee_currency,
             *("" if level is None else repr(level) for level in (each.limit_price, each.stop_price))]
        )  # fmt: skip
    return text.getvalue()


def as_ccxt(orders: Sequence[LoggedOrder]) -> str:
    """The list of `fetch_orders` of ccxt as JSON; its times are milliseconds."""
    statuses = {"FILLED": "closed", "CANCELED": "canceled", "REJECTED": "rejected"}
    return json.dumps(
        [
            {
                "id": each.order_id, "clientOrderId": None, "timestamp": each.submitted // 1_000_000,
                "datetime": iso(each.submitted), "lastTradeTimestamp": each.ended // 1_000_000,
                "status": statuses[each.status], "symbol": each.symbol, "type": each.kind, "timeInForce": "GTC",
                "side": each.side, "price": each.limit_price, "average": each.price or None, "amount": each.quantity,
                "filled": each.executed, "remaining": each.quantity - each.executed, "cost": each.executed * each.price,
                "stopPrice": each.stop_price, "fee": {"cost": each.fee, "currency": each.fee_currency}, "trades": [],
            }
            for each in orders
        ]
    )  # fmt: skip


def _history(number: int, each: LoggedOrder) -> History:
    """The order in whole seconds and lots of 0.0001, which the web exports of exchanges have."""
    ended = each.ended // NS_PER_SECOND - START
    fill = Trade(number, ended, round(each.executed, 4), each.price, each.fee, each.fee_currency)
    return History(number, each.submitted // NS_PER_SECOND - START, each.symbol, each.side, (fill,), 0.0)


def _text(write: Callable[[Sequence[LoggedOrder]], str]) -> Callable[[Path, Sequence[LoggedOrder]], Path]:
    def written(folder: Path, orders: Sequence[LoggedOrder]) -> Path:
        path = folder / "log.txt"
        path.write_text(write(orders), encoding="utf-8")
        return path

    return written


def _filled(write: Callable[[Path, list[History]], Path]) -> Callable[[Path, Sequence[LoggedOrder]], Path]:
    def written(folder: Path, orders: Sequence[LoggedOrder]) -> Path:
        return write(folder, [_history(number, each) for number, each in enumerate(orders, start=1) if each.executed])

    return written


def _freqtrade(folder: Path, orders: list[History]) -> Path:
    rows = [freqtrade.order_row(order, order.number) | {"order_type": "market"} for order in orders]
    return freqtrade.write(
        folder / "tradesv3.sqlite", rows, [freqtrade.trade_row(order, order.number) for order in orders]
    )


def _freqtrade_backtest(folder: Path, orders: list[History]) -> Path:
    trades = []
    for order in orders:
        (fill,) = order.fills
        trades.append({
            "pair": order.symbol, "fee_open": fill.fee / (fill.quantity * fill.price), "fee_close": 0.0,
            "is_short": order.side == "sell", "is_open": True,
            "orders": [{"amount": fill.quantity, "safe_price": fill.price, "ft_is_entry": True,
                        "order_filled_timestamp": fill.ms}],
        })  # fmt: skip
    return freqtrade.archive(folder / "backtest-result-2026.zip", freqtrade.result(trades, "Sample"))


def _binance(folder: Path, orders: list[History]) -> Path:
    rows = [
        binance.trade_row(order, fill, binance.UNITS, binance.when(fill.second))
        for order in orders
        for fill in order.fills
    ]
    return binance.write(folder, "trades.csv", f"Date(UTC),{binance.UNITS}", rows)


def _kraken(folder: Path, orders: list[History]) -> Path:
    rows = [
        kraken.trade_row(order, fill) | {"ordertype": "market", "ledgers": ""}
        for order in orders
        for fill in order.fills
    ]
    return kraken.write(folder, "trades.csv", kraken.OLD, rows)


def _hummingbot(folder: Path, orders: list[History]) -> Path:
    rows = [hummingbot.trade_row(order, fill) | {"order_type": "MARKET"} for order in orders for fill in order.fills]
    return hummingbot.write_csv(folder / "trades_pmm.csv", rows)


def _nautilus(folder: Path, orders: list[History]) -> Path:
    rows = [nautilus.fill_row(order, fill, is_iso=True) for order in orders for fill in order.fills]
    return nautilus.write(folder, "fills.csv", rows)


def _jesse(folder: Path, orders: list[History]) -> Path:
    return jesse.write(folder / "orders.csv", [jesse.live_order(order) | {"type": "MARKET"} for order in orders])


WRITERS: dict[str, Callable[[Path, Sequence[LoggedOrder]], Path]] = {
    "orders-csv": _text(as_csv),
    "ccxt": _text(as_ccxt),
    "freqtrade": _filled(_freqtrade),
    "freqtrade-backtest": _filled(_freqtrade_backtest),
    "binance": _filled(_binance),
    "kraken": _filled(_kraken),
    "hummingbot": _filled(_hummingbot),
    "nautilus": _filled(_nautilus),
    "jesse": _filled(_jesse),
}
"""Writer of a file of each format of logs."""


def written_and_read(orders: Sequence[LoggedOrder], form: str) -> list[Event]:
    """The events of orders that were written in a format and read as an import reads them."""
    with TemporaryDirectory() as folder:
        path = WRITERS[form](Path(folder), orders)
        log = read(path, form=form, **({"fee_currency": orders[0].fee_currency} if form == "jesse" else {}))
        assert not log.refused, log.refused[:3]
        return list(log.events())
