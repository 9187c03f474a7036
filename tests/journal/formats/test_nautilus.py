"""The fills and orders reports of nautilus_trader."""

from __future__ import annotations

import csv
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.journal.formats.histories import START, History, Trade, assert_same, collapsed, histories, orders_of, read


def when(second: int, is_iso: bool) -> str:
    text = datetime.fromtimestamp(START + second, UTC).strftime("%Y-%m-%d %H:%M:%S.000000000+00:00")
    return text if is_iso else str((START + second) * 10**9)


def fill_row(order: History, fill: Trade, is_iso: bool) -> dict[str, Any]:
    return {
        "client_order_id": order.name, "strategy_id": "EMA-001", "instrument_id": f"{order.base}{order.quote}.BINANCE",
        "trade_id": str(fill.number), "order_side": order.side.upper(), "order_type": "MARKET",
        "last_qty": f"{fill.quantity:.6f}", "last_px": f"{fill.price:.5f}", "currency": order.quote,
        "commission": f"{fill.fee:.8f} {fill.currency}", "liquidity_side": "TAKER",
        "ts_event": when(fill.second, is_iso), "ts_init": when(fill.second, is_iso), "info": "{}",
        "reconciliation": "False",
    }  # fmt: skip


def order_row(order: History, is_iso: bool) -> dict[str, Any]:
    fees = [f"{fill.fee:.8f} {fill.currency}" for fill in order.fills]
    return {
        "client_order_id": order.name, "instrument_id": f"{order.base}{order.quote}.BINANCE", "strategy_id": "EMA-001",
        "side": order.side.upper(), "type": "LIMIT", "quantity": f"{order.quantity:.6f}",
        "filled_qty": f"{order.traded:.6f}", "avg_px": repr(order.average) if order.fills else "", "price": "1.0",
        "commissions": str(fees), "status": "FILLED" if order.is_filled else "CANCELED",
        "ts_init": when(order.second, is_iso), "ts_last": when(order.last, is_iso),
    }  # fmt: skip


def write(folder: str | Path, name: str, rows: list[dict[str, Any]]) -> Path:
    path = Path(folder, name)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@given(histories(), st.booleans())
@settings(max_examples=examples(20), deadline=None)
def test_reports_are_read_as_they_were_written(wanted, is_iso):
    fills = [fill_row(order, fill, is_iso) for order in wanted for fill in order.fills]
    with tempfile.TemporaryDirectory() as folder:
        orders = write(folder, "orders.csv", [order_row(order, is_iso) for order in wanted])
        assert_same(read(orders), [collapsed(order) for order in wanted])
        if fills:
            path = write(folder, "fills.csv", fills)
            assert_same(read(orders, path), wanted)
            log = read(path)
            assert_same(log, [order.only_traded for order in wanted if order.fills])
            assert log.strategies == {"EMA-001"}


def test_a_fill_of_a_reconciliation_is_marked(tmp_path):
    row = fill_row(History(1, 1, "BTC/USDT", "buy", (), 0.0), Trade(1, 1, 2.0, 3.0, 0.1, "USDT"), is_iso=True)
    made_up = row | {"trade_id": "2", "client_order_id": "b", "reconciliation": "True",
                     "instrument_id": "BTCUSDT-PERP.BINANCE"}  # fmt: skip
    log = read(write(tmp_path, "fills.csv", [row, made_up]))
    assert [events[-1].reason for events in orders_of(log).values()] == ["imported", "reconciliation"]
    assert log.symbols == {"BTC/USDT", "BTC/USDT:USDT"}
    assert log.notes == {"fill that a reconciliation after a restart made up": 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"commission": "much"}, "column commission"), ({"last_qty": "0"}, "quantity was 0, not"),
     ({"last_px": "-1"}, "column last_px: -1 is negative"), ({"order_side": "NO"}, "column order_side"),
     ({"ts_event": "x"}, "column ts_event"), ({"instrument_id": ""}, "column instrument_id")],
)  # fmt: skip
def test_a_row_that_can_not_be_read_is_named_with_its_column(tmp_path, change, reason):
    row = fill_row(History(1, 1, "BTC/USDT", "buy", (), 0.0), Trade(1, 1, 2.0, 3.0, 0.1, "USDT"), is_iso=True)
    log = read(write(tmp_path, "fills.csv", [row, row | {"trade_id": "2", "client_order_id": "b"} | change]))
    assert log.refused[0][0] == 2
    assert reason in log.refused[0][1]
