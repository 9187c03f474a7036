"""Closed trades and live orders of jesse, and the balances of its log lines."""

from __future__ import annotations

import csv
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError
from peak_trade.journal.events import OrderEvent
from tests.examples import examples
from tests.journal.formats.histories import START, History, assert_same, collapsed, histories, orders_of, read

FEE_RATE = 0.0004
"""Fee of the recorded paper session, a part of the notional."""


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    return path


def live_order(order: History) -> dict[str, Any]:
    sign = 1 if order.side == "buy" else -1
    return {
        "id": order.name, "session_id": "s", "symbol": f"{order.base}-{order.quote}", "exchange": "Binance",
        "side": order.side, "type": "LIMIT", "qty": sign * order.quantity, "filled_qty": sign * order.traded,
        "price": order.average or 1.0, "status": "EXECUTED" if order.is_filled else "CANCELED", "created_at": order.ms,
        "executed_at": (START + order.last) * 1_000 if order.fills else "",
        "canceled_at": "" if order.is_filled else (START + order.last) * 1_000,
        "fee": math.fsum(fill.fee for fill in order.fills),
    }  # fmt: skip


@given(histories(currencies=("quote",)))
@settings(max_examples=examples(20), deadline=None)
def test_live_orders_are_read_as_they_were_written(wanted):
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder, "orders.csv"), [live_order(order) for order in wanted])
        assert_same(read(path, path), [collapsed(order) for order in wanted])


numbers = st.integers(1, 10**6).map(lambda n: n / 1_000)


@given(st.lists(st.tuples(st.booleans(), numbers, numbers, numbers, numbers), min_size=1, max_size=5), st.booleans())
@settings(max_examples=examples(20), deadline=None)
def test_closed_trades_are_an_entry_and_an_exit(trades, is_csv):
    rows = [
        {"id": str(number), "strategy_name": "Turtle", "symbol": "BTC-USDT", "exchange": "Binance",
         "type": "long" if is_long else "short", "entry_price": opened, "exit_price": closed, "qty": quantity,
         "fee": fee, "opened_at": (START + number) * 1_000, "closed_at": (START + number + 60) * 1_000}
        for number, (is_long, opened, closed, quantity, fee) in enumerate(trades)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trades.json")
        path.write_text(json.dumps({"trades": rows, "considering_timeframes": ["1m"]}))
        log = read(write(Path(folder, "trades.csv"), rows) if is_csv else path)
    found = orders_of(log)
    assert len(found) == 2 * len(trades)
    for number, (is_long, opened, closed, quantity, fee) in enumerate(trades):
        entry, end = found[f"{number}-entry"][-1], found[f"{number}-exit"][-1]
        assert (entry.side, end.side) == (("buy", "sell") if is_long else ("sell", "buy"))
        assert (entry.last_price, end.last_price, entry.last_quantity, end.last_quantity) == (
            opened,
            closed,
            quantity,
            quantity,
        )
        assert math.isclose(entry.fee + end.fee, fee)
        assert end.ts_event - entry.ts_event == 60 * 10**9
        assert entry.strategy == "Turtle"


def test_a_document_without_a_list_of_trades_is_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"trades": 5, "considering_timeframes": []}')
    with pytest.raises(ConfigError, match="trades is not a list"):
        read(tmp_path / "a.json")


def line(event: str, balance: float, amount: float) -> dict[str, Any]:
    return {"timestamp": "2024-01-01 00:00:00", "event": event, "raw": "Balance for USDT on X", "symbol": "BTC-USDT",
            "order_type": "MARKET", "side": "buy", "qty": "1", "price": 100.0, "amount": amount,
            "balance_after": balance}  # fmt: skip


def test_balances_that_do_not_follow_from_the_lines_are_noticed(tmp_path):
    lines = [line("SUBMITTED", math.nan, math.nan), line("EXECUTED", math.nan, math.nan), line("FEE", 999.9, 0.1)]
    pd.DataFrame(lines).to_parquet(tmp_path / "a.parquet")
    assert all(check.is_equal for check in read(tmp_path / "a.parquet").balances)
    lines += [
        line("SUBMITTED", math.nan, math.nan) | {"side": "sell"},
        line("EXECUTED", math.nan, math.nan) | {"side": "sell"},
    ]
    pd.DataFrame([*lines, line("FEE", 990.0, 0.1)]).to_parquet(tmp_path / "b.parquet")
    assert [check.is_equal for check in read(tmp_path / "b.parquet").balances] == [False]
    pd.DataFrame([*lines, line("REALIZED_PNL", 1_004.9, 5.0)]).to_parquet(tmp_path / "c.parquet")
    assert [check.is_equal for check in read(tmp_path / "c.parquet").balances] == [True, False]


def test_a_recorded_paper_session_adds_up_to_the_cent(real_data):
    """Fees, realised PnL and balances of the log follow from the imported fills, each to the cent of its line."""
    path = real_data / "orders" / "paper_session_binancefutures_2021-12.parquet"
    log = read(path)
    assert (log.n_orders, log.outcomes, log.n_refused) == (54, {"filled": 34, "canceled": 20}, 0)
    assert all(check.is_equal for check in log.balances)
    cash, held, cost = 200.0, dict.fromkeys(log.symbols, 0.0), dict.fromkeys(log.symbols, 0.0)
    flat: dict[int, float] = {}
    fees, gains = [], []
    for event in log.events():
        assert isinstance(event, OrderEvent)
        if not event.last_quantity:
            continue
        signed, symbol = (1 if event.side == "buy" else -1) * event.last_quantity, event.symbol
        fee = FEE_RATE * event.last_quantity * event.last_price
        assert abs(event.fee - fee) <= 0.005 + 1e-9
        gain = 0.0
        if held[symbol] * signed < 0.0:
            average = cost[symbol] / held[symbol]
            assert abs(signed) <= abs(held[symbol]) + 1e-12
            gain = -signed * (event.last_price - average)
            cost[symbol] += signed * average
        else:
            cost[symbol] += signed * event.last_price
        held[symbol] = round(held[symbol] + signed, 9)
        cash += gain - fee
        fees.append(cash - gain)
        gains.append((gain, cash) if gain else None)
        if not any(held.values()):
            flat[event.ts_event] = cash
    frame = pd.read_parquet(path)
    stated = frame[frame["event"] == "FEE"]
    assert all(abs(mine - theirs) <= 0.005 + 1e-9 for mine, theirs in zip(fees, stated["balance_after"], strict=True))
    realised = frame[frame["event"] == "REALIZED_PNL"]
    mine = [each for each in gains if each]
    assert len(mine) == len(realised) == 27
    for (gain, balance), amount, after in zip(mine, realised["amount"], realised["balance_after"], strict=True):
        assert abs(gain - amount) <= 0.005 + 1e-9
        assert abs(balance - after) <= 0.005 + 1e-9
    daily = frame[frame["event"] == "DAILY_BALANCE"]
    n_flat = 0
    for moment, balance in zip(daily["timestamp"], daily["balance_after"], strict=True):
        before = [event for event in log.events() if event.ts_event < moment.value and event.last_quantity]
        if before and before[-1].ts_event not in flat:
            continue  # a position is open: the daily balance has its unrealised PnL
        n_flat += 1
        assert abs((flat[before[-1].ts_event] if before else 200.0) - balance) <= 0.005 + 1e-9
    assert n_flat == 13
    assert log.starting_balances == {"USDT": 200.0}
    assert len(log.equities) == 17
    assert all(each.is_possible for each in log.equities)
    open_then = [each for each in log.equities if each.positions]
    assert [round(each.unrealised, 2) for each in open_then] == [2.17, -1.76, 3.72, 0.76]
    held_then = [{position.symbol: position.quantity for position in each.positions} for each in open_then]
    assert [round(held["BNB/USDT"], 9) for held in held_then] == [-0.41, -0.47, 0.49, 0.03]
    assert [sorted(held) for held in held_then] == [["BNB/USDT", "ETH/USDT"]] * 2 + [["BNB/USDT"]] * 2


def test_a_trade_without_a_price_is_refused_whole(tmp_path):
    row = {"id": "1", "symbol": "BTC-USDT", "type": "long", "entry_price": 0, "exit_price": 5.0, "qty": 1.0, "fee": 1.0,
           "opened_at": START * 1_000, "closed_at": START * 1_000}  # fmt: skip
    log = read(write(tmp_path / "trades.csv", [row, row | {"id": "2", "entry_price": 4.0}]))
    assert log.refused == [(1, "price was 0, not above zero.")]
    assert orders_of(log).keys() == {"2-entry", "2-exit"}


def test_a_purchase_of_a_negative_quantity_is_refused(tmp_path):
    row = live_order(History(1, 1, "BTC/USDT", "buy", (), 2.0))
    log = read(write(tmp_path / "orders.csv", [row | {"qty": -2.0}, row | {"id": "o-2"}]))
    assert log.refused == [(1, "column qty: -2 is negative, and the order buys.")]
