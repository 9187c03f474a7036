"""Logs of orders as exchanges and bots export them, written from the events of our own runs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from peak_trade.core.time import iso
from peak_trade.journal.events import Event, OrderEvent, OrderEventKind
from peak_trade.journal.formats.external_log import ExternalLog, LogOptions
from peak_trade.journal.formats.log_file import LogFile
from peak_trade.wiring.log_formats import FORMATS as LOG_FORMATS
from peak_trade.wiring.log_formats import recognise

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


def read_log_text(text: str, form: str) -> list[Event]:
    """The events of the text of a log, as an import reads them."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log.txt"
        path.write_text(text, encoding="utf-8")
        file = LogFile(path)
        recognised = recognise([file], form)
        log = ExternalLog(LogOptions("bot"))
        recognised.layouts[0].read(file, log)
        LOG_FORMATS[recognised.name].join(log)
        log.finish()
        assert not log.refused
        return list(log.events())


WRITERS: dict[str, Callable[[Sequence[LoggedOrder]], str]] = {"orders-csv": as_csv, "ccxt": as_ccxt}
"""Writer of each format of logs."""
