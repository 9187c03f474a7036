"""The trades of a hummingbot, as CSV and in its database with numbers × 1,000,000."""

from __future__ import annotations

import csv
import json
import math
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from tests.examples import examples
from tests.journal.formats.histories import START, History, Trade, assert_same, histories, orders_of, read

COLUMNS = [
    "exchange_trade_id", "config_file_path", "strategy", "market", "symbol", "base_asset", "quote_asset", "timestamp",
    "order_id", "trade_type", "order_type", "price", "amount", "leverage", "trade_fee", "trade_fee_in_quote",
    "position", "age",
]  # fmt: skip
ORDERS = [
    "id", "config_file_path", "strategy", "market", "symbol", "base_asset", "quote_asset", "creation_timestamp",
    "order_type", "amount", "leverage", "price", "last_status", "last_update_timestamp", "exchange_order_id",
    "position",
]  # fmt: skip


def trade_row(order: History, fill: Trade) -> dict[str, Any]:
    fee = {"fee_type": "AddedToCost", "percent": "0", "percent_token": None,
           "flat_fees": [{"token": fill.currency, "amount": repr(fill.fee)}]}  # fmt: skip
    return {
        "exchange_trade_id": str(fill.number), "strategy": "pmm", "market": "binance",
        "symbol": f"{order.base}-{order.quote}", "timestamp": fill.ms, "order_id": order.name,
        "trade_type": order.side.upper(), "order_type": "LIMIT_MAKER", "price": fill.price, "amount": fill.quantity,
        "leverage": 1, "trade_fee": json.dumps(fee), "trade_fee_in_quote": 0.0, "position": "NIL", "age": "n/a",
    }  # fmt: skip


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_database(path: Path, rows: list[dict[str, Any]], orders: list[dict[str, Any]]) -> Path:
    with closing(sqlite3.connect(path)) as base, base:
        for table, columns, content in (("TradeFill", COLUMNS, rows), ("Order", ORDERS, orders)):
            base.execute(f'CREATE TABLE "{table}" ({", ".join(columns)})')
            for row in content:
                scaled = row | {name: round(row[name] * 10**6) for name in ("price", "amount") if name in row}
                marks = ", ".join("?" * len(columns))
                base.execute(f'INSERT INTO "{table}" VALUES ({marks})', [scaled.get(name) for name in columns])
    base.close()
    return path


def order_row(order: History) -> dict[str, Any]:
    verb = order.side.capitalize()
    return {
        "id": order.name, "symbol": f"{order.base}-{order.quote}", "creation_timestamp": order.ms,
        "order_type": "LIMIT", "amount": order.quantity, "price": 1.0,
        "last_update_timestamp": (START + order.last) * 1_000,
        "last_status": f"{verb}OrderCompleted" if order.is_filled else f"{verb}OrderCancelled",
    }  # fmt: skip


@given(histories())
@settings(max_examples=examples(20), deadline=None)
def test_trades_are_read_as_they_were_written(wanted):
    rows = [trade_row(order, fill) for order in wanted for fill in order.fills]
    with tempfile.TemporaryDirectory() as folder:
        base = write_database(Path(folder, "bot.sqlite"), rows, [order_row(order) for order in wanted])
        log = read(base)
        assert_same(log, wanted)
        if rows:
            assert "pmm" in log.strategies
            path = write_csv(Path(folder, "trades_bot.csv"), rows)
            assert_same(read(path, path), [order.only_traded for order in wanted if order.fills])


@pytest.mark.parametrize(
    ("fee", "side", "wanted"),
    [
        ({"fee_type": "AddedToCost", "percent": "0.001"}, "BUY", (0.2, 0.0)),
        ({"fee_type": "DeductedFromReturns", "percent": "0.001"}, "BUY", (0.2, 0.002)),
        ({"fee_type": "DeductedFromReturns", "percent": "0.001"}, "SELL", (0.2, 0.0)),
        ({"percent": "0.001", "percent_token": "BTC", "flat_fees": []}, "SELL", (0.2, 0.002)),
        ({"percent": "0"}, "SELL", (0.0, 0.0)),
    ],
)
def test_a_percentage_is_of_what_is_received_or_of_the_notional(tmp_path, fee, side, wanted):
    row = trade_row(History(1, 1, "BTC/USDT", side.lower(), (), 0.0), Trade(1, 1, 2.0, 100.0, 0.0, "USDT"))
    ((*_, fill),) = orders_of(read(write_csv(tmp_path / "t.csv", [row | {"trade_fee": json.dumps(fee)}]))).values()
    assert (fill.fee, fill.fee_in_base) == pytest.approx(wanted)


def test_a_price_that_the_database_cut_to_zero_is_named(tmp_path):
    row = trade_row(History(1, 1, "PEPE/USDT", "buy", (), 0.0), Trade(1, 1, 2.0, 3e-7, 0.0, "USDT"))
    log = read(write_database(tmp_path / "bot.sqlite", [row, row | {"order_id": "2", "price": 1.0}], []))
    assert log.refused == [(1, "price was 0, not above zero.")]


@pytest.mark.parametrize("fee", ["{", "[]", '{"flat_fees": [{"token": "BNB"}]}', '{"percent": "nan"}'])
def test_a_fee_that_can_not_be_read_refuses_its_row(tmp_path, fee):
    row = trade_row(History(1, 1, "BTC/USDT", "buy", (), 0.0), Trade(1, 1, 2.0, 3.0, 0.0, "USDT"))
    log = read(write_csv(tmp_path / "t.csv", [row, row | {"trade_fee": fee, "exchange_trade_id": "x"}]))
    assert [number for number, _ in log.refused] == [2]


@pytest.mark.parametrize(
    ("cells", "fee"),
    [
        ({"trade_fee": "", "trade_fee_in_quote": 0.3}, (0.3, 0.0)),
        (
            {"trade_fee": json.dumps({"percent": "0.001", "percent_token": "BNB"}), "trade_fee_in_quote": 0.4},
            (0.4, 0.0),
        ),
        ({"trade_fee": json.dumps({"percent": "0.001", "percent_token": "BNB"}), "trade_fee_in_quote": ""}, None),
        ({"trade_fee": "", "trade_fee_in_quote": ""}, None),
    ],
)
def test_a_fee_in_quote_currency_is_taken_where_its_parts_are_not_known(tmp_path, cells, fee):
    row = trade_row(History(1, 1, "BTC/USDT", "buy", (), 0.0), Trade(1, 1, 2.0, 100.0, 0.0, "USDT"))
    ((*_, fill),) = orders_of(read(write_csv(tmp_path / "t.csv", [row | cells]))).values()
    if fee is None:
        assert math.isnan(fill.fee)
    else:
        assert (fill.fee, fill.fee_in_base) == pytest.approx(fee)


@pytest.mark.parametrize(
    ("name", "side"),
    [("buy://BTC-USDT/1", "buy"), ("sell-2", "sell"), ("x-XEKWYICX-BBTUT52", "buy"), ("x-1-SBT", "sell")],
)
def test_the_id_of_an_order_says_its_side_where_its_status_does_not(tmp_path, name, side):
    row = order_row(History(1, 1, "BTC/USDT", "buy", (), 1.0)) | {"last_status": "OrderCancelled", "amount": 1.0}
    log = read(write_database(tmp_path / "bot.sqlite", [], [row | {"id": name}, row | {"id": "x-1-?"}]))
    ((request, *_),) = orders_of(log).values()
    assert request.side == side
    assert log.refused == [(2, "column id: it does not say whether the order buys or sells.")]


def test_a_database_without_orders_and_a_fill_without_an_order_are_read(tmp_path):
    row = trade_row(History(1, 1, "BTC/USDT", "buy", (), 0.0), Trade(1, 1, 2.0, 100.0, 0.0, "USDT"))
    path = write_database(tmp_path / "bot.sqlite", [row, row | {"order_id": "", "exchange_trade_id": "2"}], [])
    with closing(sqlite3.connect(path)) as base, base:
        base.execute('DROP TABLE "Order"')
    log = read(path)
    assert log.n_fills == 1
    assert log.refused == [(2, "column order_id or symbol: it is empty.")]
