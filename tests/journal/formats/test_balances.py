"""Balances before the first order, which each format states in its own way, and the prices that an equity implies."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.journal.formats.balances import OpenPosition, PriceRange, StatedEquity
from tests.examples import examples
from tests.journal.formats import test_freqtrade as freqtrade
from tests.journal.formats import test_kraken as kraken
from tests.journal.formats import test_nautilus as nautilus
from tests.journal.formats.histories import START, History, Trade, read

SECOND = 10**9
prices = st.floats(1.0, 1e5)


@st.composite
def positions(draw) -> tuple[list[OpenPosition], list[float]]:
    """Open positions and their mark prices."""
    n = draw(st.integers(1, 4))
    quantities = st.floats(0.01, 100.0).map(lambda each: round(each, 3))
    found = [
        OpenPosition(f"S{i}/USDT", draw(quantities) * draw(st.sampled_from([1, -1])), draw(prices)) for i in range(n)
    ]
    return found, [draw(prices) for _ in found]


@given(positions(), st.floats(0.0, 0.1), st.floats(-1.0, 1.0))
@settings(max_examples=examples(50), deadline=None)
def test_the_implied_prices_contain_the_mark_prices(held, spread, rounding):
    """The range of a single position is as wide as the rounding, and no wider."""
    found, marks = held
    unrealised = math.fsum(position.pnl(mark) for position, mark in zip(found, marks, strict=True))
    scale = math.fsum(abs(each.quantity) * max(each.entry_price, mark) for each, mark in zip(found, marks, strict=True))
    tolerance = 0.01 + 1e-9 * scale
    stated = StatedEquity(START * SECOND, "USDT", 500.0 + unrealised + 0.01 * rounding, 500.0, tuple(found), tolerance)
    known = {
        position.symbol: PriceRange(mark * (1.0 - spread), mark * (1.0 + spread))
        for position, mark in zip(found, marks, strict=True)
    }
    implied = stated.implied_prices(known)
    for position, mark in zip(found, marks, strict=True):
        low, high = implied[position.symbol]
        assert low <= mark * (1.0 + 1e-9)
        assert high >= mark * (1.0 - 1e-9)
    if len(found) == 1:
        assert math.isclose(high - low, 2.0 * tolerance / abs(found[0].quantity), rel_tol=1e-3)
    known.pop(found[0].symbol)
    assert stated.implied_prices(known).keys() == {found[0].symbol}


FILL = Trade(1, 60, 2.0, 3.0, 0.1, "USDT")
ORDER = History(1, 60, "BTC/USDT", "buy", (FILL,), 0.0)


def ledger(second: int, kind: str, asset: str, amount: float, balance: float) -> dict[str, object]:
    return {"txid": f"L{second}{asset}", "refid": "T1", "time": kraken.when(second), "type": kind, "asset": asset,
            "amount": str(amount), "fee": "0.1" if asset == "USDT" else "0", "balance": str(balance)}  # fmt: skip


@pytest.mark.parametrize("is_reversed", [False, True])
def test_ledgers_state_the_balances_before_the_first_trade(tmp_path: Path, is_reversed):
    rows = [
        ledger(1, "deposit", "USDT", 500.1, 500.0),
        ledger(60, "trade", "USDT", -6.0, 493.9),
        ledger(60, "trade", "XXBT", 2.0, 2.5),
        ledger(90, "deposit", "USDT", 100.1, 593.9),
    ]
    trades = kraken.write(tmp_path, "trades.csv", kraken.OLD, [kraken.trade_row(ORDER, FILL)])
    path = kraken.write(tmp_path, "ledgers.csv", kraken.LEDGER_OLD, rows[::-1] if is_reversed else rows)
    assert read(trades, path).starting_balances == {"BTC": 0.5, "USDT": 500.0}
    assert read(trades).starting_balances == {}


def test_ledgers_of_a_later_time_state_no_initial_cash(tmp_path: Path):
    trades = kraken.write(tmp_path, "trades.csv", kraken.OLD, [kraken.trade_row(ORDER, FILL)])
    path = kraken.write(tmp_path, "ledgers.csv", kraken.LEDGER_OLD, [ledger(999, "trade", "USDT", -6.0, 493.9)])
    log = read(trades, path)
    assert log.starting_balances == {}
    assert any("the first balance of USDT" in note for note in log.notes)


def test_a_database_with_a_history_of_its_wallet_states_them(tmp_path: Path):
    path = freqtrade.write(tmp_path / "t.sqlite", [freqtrade.order_row(ORDER, 1)], [freqtrade.trade_row(ORDER, 1)])
    assert read(path).starting_balances == {}
    rows = [(freqtrade.when(second), currency, "USDT", balance)
            for second, currency, balance in ((-90, "USDT", 900.0), (0, "USDT", 1_000.0), (0, "BTC", 3.0),
                                              (80, "USDT", 994.0))]  # fmt: skip
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("CREATE TABLE wallet_history (timestamp, currency, quote_currency, balance)")
        base.executemany("INSERT INTO wallet_history VALUES (?, ?, ?, ?)", rows)
    base.close()
    assert read(path).starting_balances == {"USDT": 1_000.0}


def test_a_backtest_result_states_them(tmp_path: Path):
    order = {"amount": 2.0, "safe_price": 3.0, "ft_is_entry": True, "order_filled_timestamp": FILL.ms}
    trade = {"pair": "BTC/USDT", "fee_open": 0.001, "is_short": False, "is_open": True, "orders": [order]}
    content = freqtrade.result([trade], "Sample")
    content["strategy"]["Sample"] |= {"starting_balance": 1_000, "stake_currency": "USDT"}
    (tmp_path / "result.json").write_text(json.dumps(content))
    assert read(tmp_path / "result.json").starting_balances == {"USDT": 1_000.0}


def test_an_account_report_states_them(tmp_path: Path):
    fills = nautilus.write(tmp_path, "fills.csv", [nautilus.fill_row(ORDER, FILL, is_iso=True)])
    states = [
        {"": nautilus.when(second, is_iso=True), "total": total, "locked": "0", "free": total, "currency": "USDT",
         "account_id": "SIM-001"}
        for second, total in ((0, "1000.00000000"), (60, "993.90000000"))
    ]  # fmt: skip
    account = nautilus.write(tmp_path, "account.csv", states)
    log = read(fills, account)
    assert log.starting_balances == {"USDT": 1_000.0}
    assert log.ignored == {"state of the account": 2}


def log_line(second: int, event: str, balance: float = math.nan, amount: float = math.nan) -> dict[str, object]:
    return {"timestamp": f"2024-01-01 00:00:{second:02d}", "event": event, "raw": "Balance for USDT on X",
            "symbol": "BTC-USDT", "order_type": "MARKET", "side": "buy", "qty": "2", "price": 100.0,
            "amount": amount, "balance_after": balance}  # fmt: skip


def test_log_lines_state_them_and_the_unrealised_pnl_of_a_daily_balance(tmp_path: Path):
    lines = [log_line(0, "DAILY_BALANCE", 500.0), log_line(1, "SUBMITTED"), log_line(2, "EXECUTED"),
             log_line(2, "FEE", 499.9, 0.1), log_line(9, "DAILY_BALANCE", 503.9)]  # fmt: skip
    pd.DataFrame(lines).to_parquet(tmp_path / "a.parquet")
    log = read(tmp_path / "a.parquet")
    assert log.starting_balances == {"USDT": 500.0}
    first, stated = log.equities
    assert (first.positions, first.cash, first.is_possible) == ((), 500.0, True)
    assert stated.positions == (OpenPosition("BTC/USDT", 2.0, 100.0),)
    low, high = stated.implied_prices({})["BTC/USDT"]
    assert math.isclose(low, 101.995)
    assert math.isclose(high, 102.005)
    assert all(check.is_equal for check in log.balances)
    lines[0]["balance_after"] = 500.01
    pd.DataFrame(lines).to_parquet(tmp_path / "b.parquet")
    assert not read(tmp_path / "b.parquet").equities[0].is_possible


@pytest.mark.parametrize(("equity", "is_possible"), [(503.9, True), (509.9, True), (510.0, False), (495.8, False)])
def test_an_equity_is_possible_at_prices_between_the_resting_orders(equity, is_possible, tmp_path):
    """A position of 2 from 100 with a stop at 98 and a limit at 105 has an unrealised PnL of -4 to 10."""
    entry = [log_line(1, "SUBMITTED"), log_line(2, "EXECUTED"), log_line(2, "FEE", 499.9, 0.1)]
    exits = [
        log_line(3, "SUBMITTED") | {"side": "sell", "order_type": order_type, "price": price}
        for order_type, price in (("STOP", 98.0), ("LIMIT", 105.0), ("LIMIT", 110.0))
    ]
    pd.DataFrame([*entry, *exits, log_line(9, "DAILY_BALANCE", equity)]).to_parquet(tmp_path / "a.parquet")
    (stated,) = read(tmp_path / "a.parquet").equities
    assert stated.positions[0].resting == PriceRange(98.0, 105.0)
    assert stated.is_possible is is_possible


def test_the_price_of_one_position_follows_from_the_resting_orders_of_the_other():
    one = OpenPosition("BTC/USDT", 1.0, 100.0, PriceRange(90.0, 110.0))
    two = OpenPosition("ETH/USDT", -2.0, 50.0)
    stated = StatedEquity(0, "USDT", 1_000.0, 1_000.0, (one, two), 0.0)
    assert stated.implied_prices({}) == {"ETH/USDT": PriceRange(45.0, 55.0)}
    assert stated.implied_prices({"ETH/USDT": PriceRange(60.0, 60.0)})["BTC/USDT"] == PriceRange(120.0, 120.0)
    assert stated.is_possible
