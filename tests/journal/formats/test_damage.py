"""A file of any format that is damaged is read in part, with each refused row, or refused whole in one line."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError
from peak_trade.journal.formats.log_file import LogFile
from peak_trade.wiring.log_formats import FORMATS, recognise
from tests.examples import examples
from tests.journal.formats.histories import read

TIME = 1_700_000_000_000
LINES = 40


def table(head: str, row: Callable[[int], str]) -> bytes:
    return "\n".join([head, *map(row, range(LINES))]).encode()


def database(*statements: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.sqlite")
        with closing(sqlite3.connect(path)) as base, base:
            for statement in statements:
                base.execute(statement)
        base.close()
        return path.read_bytes()


def freqtrade() -> bytes:
    orders = "id, ft_trade_id, ft_order_side, ft_pair, order_id, status, amount, filled, order_date, average"
    trades = "id, pair, fee_open, fee_close, is_open, open_date, close_date, close_profit_abs"
    row = "(1, 'buy', 'BTC/USDT', 'x' || {n}, 'closed', 1.0, 1.0, '2026-01-01 00:00:00', 5.0)"
    return database(
        f"CREATE TABLE orders ({orders})", f"CREATE TABLE trades ({trades})",
        *(f"INSERT INTO orders SELECT {n}, * FROM (VALUES {row.format(n=n)})" for n in range(LINES)),
        "INSERT INTO trades VALUES (1, 'BTC/USDT', 0.001, 0.001, 1, '2026-01-01 00:00:00', NULL, NULL)",
    )  # fmt: skip


def backtest() -> bytes:
    order = {"amount": 1.0, "safe_price": 2.0, "ft_is_entry": True, "order_filled_timestamp": TIME}
    trade = {"pair": "BTC/USDT", "fee_open": 0.001, "fee_close": 0.001, "is_open": True, "orders": [order]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zip")
        with zipfile.ZipFile(path, "w") as file:
            content = {"strategy": {"A": {"trades": [trade] * LINES}}, "strategy_comparison": []}
            file.writestr("backtest-result-1.json", json.dumps(content))
        return path.read_bytes()


def jesse() -> bytes:
    line = {"timestamp": "2024-01-01 00:00:00", "event": "SUBMITTED", "raw": "", "symbol": "BTC-USDT",
            "order_type": "LIMIT", "side": "buy", "qty": 1.0, "price": 5.0, "amount": None}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        pd.DataFrame([line] * LINES).to_parquet(Path(folder, "a.parquet"))
        return Path(folder, "a.parquet").read_bytes()


@cache
def samples() -> dict[str, bytes]:
    """One small file of each format."""
    trade = {"symbol": "BTC/USDT", "side": "buy", "takerOrMaker": "taker", "price": 5.0, "amount": 1.0,
             "timestamp": TIME, "order": "o"}  # fmt: skip
    answer = {"symbol": "BTCUSDT", "orderId": 1, "price": "5", "qty": "1", "commission": "0.1", "isBuyer": True,
              "commissionAsset": "BNB", "time": TIME}  # fmt: skip
    return {
        "ccxt": json.dumps([trade | {"id": str(n)} for n in range(LINES)]).encode(),
        "freqtrade": freqtrade(),
        "freqtrade-backtest": backtest(),
        "binance": table("Date(UTC),Pair,Side,Price,Executed,Amount,Fee",
                         lambda n: f"2024-01-01 00:00:{n},BTCUSDT,BUY,5,1BTC,5USDT,1BNB"),
        "binance-api": json.dumps([answer | {"id": n} for n in range(LINES)]).encode(),
        "kraken": table('"txid","ordertxid","pair","time","type","ordertype","price","cost","fee","vol"',
                        lambda n: f'"T{n}","O{n}","XXBTZEUR","2024-01-01 00:00:{n}","buy","limit","5","5","0.1","1"'),
        "hummingbot": table(
            "exchange_trade_id,strategy,market,symbol,timestamp,order_id,trade_type,order_type,price,amount,trade_fee",
            lambda n: f"{n},s,m,BTC-USDT,{TIME},o{n},BUY,LIMIT,5,1,\"{{\"\"flat_fees\"\": []}}\"",
        ),
        "nautilus": table(
            "client_order_id,instrument_id,trade_id,order_side,last_qty,last_px,ts_event,currency,commission",
            lambda n: f"o{n},BTCUSDT.BINANCE,{n},BUY,1,5,2024-01-01 00:00:{n:02},USDT,0.1 USDT",
        ),
        "jesse": jesse(),
        "orders-csv": table(
            "order_id,time,end_time,symbol,side,type,quantity,status,executed,price",
            lambda n: f"{n},2024-01-01 00:00:00,2024-01-01 00:00:01,BTC/USDT,buy,market,1,FILLED,1,5",
        ),
    }  # fmt: skip


def test_every_format_has_a_sample():
    assert samples().keys() == FORMATS.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_a_sample_is_recognised_as_its_format_alone(name, tmp_path):
    path = tmp_path / "log"
    path.write_bytes(samples()[name])
    found = recognise([LogFile(path)])
    assert found.name == name
    assert found.reasons[0]
    assert read(path).n_orders > 0


@pytest.mark.parametrize("name", FORMATS)
@given(st.data())
@settings(max_examples=examples(40), deadline=None)
def test_damage_is_a_refused_row_or_one_line(name, data):
    content = bytearray(samples()[name])
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(0, 6))):
        if content:
            place = data.draw(st.integers(0, len(content) - 1))
            some = data.draw(
                st.sampled_from([b"\0", b"\xff", b'"', b",", b"\n", b"9" * 20, b"", b"{", b"-", b"nan", b"e"])
            )
            content[place : place + data.draw(st.integers(0, 3))] = some
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        path.write_bytes(content)
        for form in ("auto", name):
            message, refused = outcome(path, form)
            assert len(message.splitlines()) <= 1
            assert len(message) < 700
            assert all(row > 0 and len(reason) < 400 for row, reason in refused)


def outcome(path: Path, form: str) -> tuple[str, list[tuple[int, str]]]:
    """The message of the refusal of a file, or its refused rows."""
    try:
        return "", read(path, form=form).refused
    except ConfigError as error:
        return str(error), []
