"""The database of a freqtrade bot and the result of a backtest: orders, fees, funding and PnL."""

from __future__ import annotations

import json
import math
import re
import sqlite3
import tempfile
import zipfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError
from peak_trade.journal.events import CashFlowEvent
from tests.examples import examples
from tests.journal.formats.histories import START, History, Trade, assert_same, collapsed, histories, orders_of, read

ORDERS = (
    "id, ft_trade_id, ft_order_side, ft_pair, ft_is_open, order_id, status, order_type, side, price, average, amount, "
    "filled, remaining, cost, stop_price, order_date, order_filled_date, order_update_date, ft_fee_base, ft_price"
)
TRADES = (
    "id, exchange, pair, stake_currency, is_open, fee_open, fee_open_cost, fee_open_currency, fee_close, "
    "fee_close_cost, fee_close_currency, open_date, close_date, close_profit_abs, strategy, is_short, funding_fees"
)
BASE = {"exchange": "binance", "fee_open": 0.001, "fee_close": 0.001, "is_open": 1, "is_short": 0, "strategy": "Sample"}


def when(second: int) -> str:
    return datetime.fromtimestamp(START + second, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def write(path: Path, orders: list[dict[str, Any]], trades: list[dict[str, Any]], without: str = "") -> Path:
    with closing(sqlite3.connect(path)) as base, base:
        for name, columns, rows in (("orders", ORDERS, orders), ("trades", TRADES, trades)):
            names = [each for each in columns.split(", ") if each != without]
            base.execute(f"CREATE TABLE {name} ({', '.join(names)})")
            marks = ", ".join("?" * len(names))
            base.executemany(
                f"INSERT INTO {name} VALUES ({marks})", [[row.get(column) for column in names] for row in rows]
            )
    base.close()
    return path


def order_row(order: History, trade: int) -> dict[str, Any]:
    in_base = order.fills[0].fee if order.fills and order.fills[0].currency == order.base else None
    return {
        "id": order.number + 1, "ft_trade_id": trade, "ft_order_side": order.side, "ft_pair": order.symbol,
        "ft_is_open": 0, "order_id": order.name, "status": "closed" if order.is_filled else "canceled",
        "order_type": "limit", "side": order.side, "price": 9.0, "average": order.average or None,
        "amount": order.quantity, "filled": order.traded, "order_date": when(order.second),
        "order_filled_date": when(order.last) if order.fills else None, "order_update_date": when(order.last),
        "ft_fee_base": in_base, "ft_price": 9.5,
    }  # fmt: skip


def trade_row(order: History, number: int) -> dict[str, Any]:
    fee = order.fills[0] if order.fills else None
    return BASE | {
        "id": number, "pair": order.symbol, "is_short": int(order.side == "sell"), "open_date": when(order.second),
        "fee_open_cost": fee.fee if fee else None, "fee_open_currency": fee.currency if fee else None,
    }  # fmt: skip


@given(histories())
@settings(max_examples=examples(20), deadline=None)
def test_a_database_is_read_as_it_was_written(wanted):
    wanted = [collapsed(order) for order in wanted]
    with tempfile.TemporaryDirectory() as folder:
        rows = [order_row(order, number) for number, order in enumerate(wanted)]
        path = write(Path(folder, "tradesv3.sqlite"), rows, [trade_row(each, n) for n, each in enumerate(wanted)])
        log = read(path)
        assert_same(log, wanted)
        assert log.strategies == {"Sample"}
        assert all(event.decision_price == 9.5 for each in orders_of(log).values() for event in each)
        assert all(check.is_equal for check in log.balances)


@st.composite
def closed_trades(draw: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Orders and trades of a bot that closed every trade, with the PnL that freqtrade would state."""
    orders, trades = [], []
    for number in range(draw(st.integers(1, 4))):
        is_short, quantity = draw(st.booleans()), draw(st.integers(1, 10**6)) / 1_000
        opened, closed = draw(st.integers(1, 10**7)) / 1_000, draw(st.integers(1, 10**7)) / 1_000
        funding = draw(st.sampled_from([0.0, -0.25, 0.5]))
        sides = ("sell", "buy") if is_short else ("buy", "sell")
        for part, (side, price) in enumerate(zip(sides, (opened, closed), strict=True)):
            orders.append({
                "id": len(orders) + 1, "ft_trade_id": number, "ft_order_side": side, "ft_pair": "ETH/USDT",
                "ft_is_open": 0, "order_id": f"{number}-{part}", "status": "closed", "order_type": "market",
                "average": price, "amount": quantity, "filled": quantity, "order_date": when(number * 1_000 + part),
                "order_filled_date": when(number * 1_000 + part * 60 + 1),
            })  # fmt: skip
        sign = -1.0 if is_short else 1.0
        profit = sign * quantity * (closed - opened) - 0.001 * quantity * (opened + closed) + funding
        trades.append(BASE | {
            "id": number, "pair": "ETH/USDT", "is_open": 0, "is_short": int(is_short), "close_profit_abs": profit,
            "open_date": when(number * 1_000), "close_date": when(number * 1_000 + 61), "funding_fees": funding,
        })  # fmt: skip
    return orders, trades


@given(closed_trades())
@settings(max_examples=examples(20), deadline=None)
def test_the_pnl_of_closed_trades_follows_from_the_fills(rows):
    orders, trades = rows
    with tempfile.TemporaryDirectory() as folder:
        log = read(write(Path(folder, "a.sqlite"), orders, trades))
        (check,) = log.balances
        assert check.is_equal
        assert math.isclose(check.observed, math.fsum(trade["close_profit_abs"] for trade in trades), abs_tol=1e-9)
        flows = [event.amount for event in log.events() if isinstance(event, CashFlowEvent)]
        assert sorted(flows) == sorted(trade["funding_fees"] for trade in trades if trade["funding_fees"])
        orders[0]["average"] += 1.0
        assert not read(write(Path(folder, "b.sqlite"), orders, trades)).balances[0].is_equal


def test_the_exact_fee_belongs_to_the_first_entry_and_the_rate_to_the_others(tmp_path):
    orders = [
        {"id": number, "ft_trade_id": 1, "ft_order_side": "buy", "ft_pair": "ETH/USDT", "order_id": str(number),
         "status": "closed", "average": 100.0, "amount": 2.0, "filled": 2.0, "order_date": when(number)}
        for number in (1, 2)
    ]  # fmt: skip
    for currency, second in (("USDT", 0.2), ("BNB", math.nan)):
        trade = BASE | {"id": 1, "pair": "ETH/USDT", "fee_open_cost": 0.3, "fee_open_currency": currency}
        log = read(write(tmp_path / f"{currency}.sqlite", orders, [trade | {"open_date": when(0)}]))
        one, two = (events[-1] for events in orders_of(log).values())
        assert one.fee + one.fee_paid == 0.3
        assert two.fee == second or math.isnan(second)
        assert math.isnan(two.fee) == math.isnan(second)


@pytest.mark.parametrize("column", ["ft_fee_base", "ft_price", "stop_price", "funding_fees", "is_short"])
def test_an_older_database_is_read(tmp_path, column):
    orders = [{"id": 1, "ft_trade_id": 1, "ft_order_side": "stoploss", "ft_pair": "ETH/USDT", "order_id": "x",
               "status": "closed", "average": 100.0, "amount": 2.0, "filled": 2.0, "order_date": when(1)}]  # fmt: skip
    trades = [BASE | {"id": 1, "pair": "ETH/USDT", "open_date": when(0)}]
    ((*_, fill),) = orders_of(read(write(tmp_path / "old.sqlite", orders, trades, without=column))).values()
    assert (fill.side, fill.last_quantity, fill.fee) == ("sell", 2.0, 0.2)


def test_a_missing_column_and_a_torn_database_are_named(tmp_path):
    path = write(tmp_path / "old.sqlite", [], [], without="order_date")
    with pytest.raises(ConfigError, match=r"table orders: column order_date is missing. Did you mean"):
        read(path)
    whole = write(
        tmp_path / "whole.sqlite", [order_row(History(1, 1, "A/B", "buy", (), 1.0), 1)] * 500, []
    ).read_bytes()
    torn = tmp_path / "torn.sqlite"
    torn.write_bytes(whole[:9_000])
    with pytest.raises(ConfigError, match=r"torn.sqlite: could not be read \(it is damaged"):
        read(torn, form="freqtrade")


def result(trades: list[dict[str, Any]], *names: str) -> dict[str, Any]:
    return {"strategy": {name: {"trades": trades} for name in names}, "strategy_comparison": []}


def archive(path: Path, content: object) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("backtest-result-2026.json", json.dumps(content))
        file.writestr("backtest-result-2026_config.json", "{}")
        file.writestr("backtest-result-2026_signals.pkl", b"never read")
    return path


@given(histories(cancels=False, currencies=("quote",)), st.booleans())
@settings(max_examples=examples(20), deadline=None)
def test_a_backtest_is_read_as_it_was_written(wanted, is_zip):
    trades = []
    for order in wanted:
        rate = order.fills[0].fee / (order.fills[0].quantity * order.fills[0].price)
        trades.append({
            "pair": order.symbol, "fee_open": rate, "fee_close": 0.0, "is_short": order.side == "sell", "is_open": True,
            "orders": [{"amount": fill.quantity, "safe_price": fill.price, "ft_is_entry": True,
                        "order_filled_timestamp": fill.ms} for fill in order.fills],
        })  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "result.json")
        path.write_text(json.dumps(result(trades, "Sample")))
        log = read(archive(Path(folder, "backtest-result-2026.zip"), result(trades, "Sample")) if is_zip else path)
    found = orders_of(log)
    for number, order in enumerate(wanted, start=1):
        for part, fill in enumerate(order.fills):
            last = found[f"{number}-{part}"][-1]
            assert (last.symbol, last.side, last.strategy) == (order.symbol, order.side, "Sample")
            assert (last.ts_event, last.last_quantity, last.last_price) == (fill.ms * 10**6, fill.quantity, fill.price)
            assert math.isclose(last.fee, trades[number - 1]["fee_open"] * fill.quantity * fill.price)
    assert len(found) == sum(len(order.fills) for order in wanted)


def test_an_old_backtest_has_an_entry_and_an_exit_for_each_trade(tmp_path):
    trade = {"pair": "ETH/USDT", "amount": 2.0, "open_rate": 100.0, "close_rate": 110.0, "fee_open": 0.001,
             "fee_close": 0.001, "open_date": "2026-01-01 00:00:00+00:00", "close_date": "2026-01-02 00:00:00+00:00",
             "profit_abs": 20.0 - 0.42, "funding_fees": 0.0}  # fmt: skip
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result([trade], "A", "B")))
    with pytest.raises(ConfigError, match=r"strategies A, B\. Choose one with --strategy"):
        read(path)
    log = read(path, strategy="B")
    assert [events[-1].side for events in orders_of(log).values()] == ["buy", "sell"]
    assert log.balances[0].is_equal
    path.write_text(json.dumps(result([trade, trade | {"open_date": "soon"}, "x"], "B")))
    log = read(path)
    assert [row for row, _ in log.refused] == [2, 3]
    assert "soon" in log.refused[0][1]


def test_a_database_that_is_cut_off_is_refused(tmp_path):
    rows = [{"id": n, "ft_trade_id": 1, "ft_order_side": "buy", "ft_pair": "ETH/USDT", "order_id": f"{n}" * 300,
             "status": "closed", "amount": 1.0, "filled": 1.0, "average": 2.0, "order_date": when(n)}
            for n in range(1, 60)]  # fmt: skip
    path = write(tmp_path / "a.sqlite", rows, [BASE | {"id": 1, "pair": "ETH/USDT", "open_date": when(0)}])
    path.write_bytes(path.read_bytes()[:-1_000])
    with pytest.raises(ConfigError, match="it is damaged"):
        read(path)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"status": "done"}, "column status: 'done' is not known."),
        ({"order_id": ""}, "column order_id or ft_pair: it is empty."),
        ({"ft_order_side": "both"}, "column ft_order_side: 'both' is not known."),
    ],
)
def test_an_order_that_can_not_be_read_is_refused(tmp_path, cells, reason):
    rows = [order_row(History(n, n, "ETH/USDT", "buy", (Trade(n, n, 1.0, 9.0, 0.1, "USDT"),), 0.0), n) for n in (1, 2)]
    log = read(write(tmp_path / "a.sqlite", [rows[0], rows[1] | cells], []))
    assert log.refused == [(2, reason)]
    assert log.n_orders == 1


@pytest.mark.parametrize(
    ("cells", "end", "filled"),
    [
        ({"status": "closed", "filled": None}, "FILLED", 2.0),
        ({"status": "closed", "filled": 0.5}, "CANCELED", 0.5),
        ({"status": "", "ft_is_open": 1, "filled": None, "average": None}, "SUBMITTED", 0.0),
        ({"status": "", "ft_is_open": 0, "filled": None, "average": None}, "CANCELED", 0.0),
    ],
)
def test_the_end_of_an_order_follows_from_its_status_and_what_is_filled(tmp_path, cells, end, filled):
    row = order_row(History(1, 1, "ETH/USDT", "buy", (Trade(1, 1, 2.0, 9.0, 0.1, "USDT"),), 0.0), 1) | cells
    (events,) = orders_of(read(write(tmp_path / "a.sqlite", [row], []))).values()
    assert (events[-1].event, events[-1].cumulative) == (end, filled)


def test_the_funding_of_an_open_trade_is_of_its_opening_and_not_part_of_the_pnl_of_closed_ones(tmp_path):
    trade = BASE | {"id": 1, "pair": "ETH/USDT", "open_date": when(5), "funding_fees": -0.5, "is_open": 1}
    row = order_row(History(1, 1, "ETH/USDT", "buy", (Trade(1, 1, 2.0, 9.0, 0.1, "USDT"),), 0.0), 1)
    log = read(write(tmp_path / "a.sqlite", [row], [trade]))
    (flow,) = (event for event in log.events() if isinstance(event, CashFlowEvent))
    assert (flow.amount, flow.ts_event) == (-0.5, (START + 5) * 10**9)
    assert [(check.expected, check.is_equal) for check in log.balances] == [(0.0, True)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"strategy": {}, "strategy_comparison": []}, "there is no strategy in this result"),
        ({"strategy": {"A": {}, "B": {}}, "strategy_comparison": []}, "it has the strategies A, B. Choose one with"),
        ({"strategy": {"A": {"trades": 5}}, "strategy_comparison": []}, "strategy A has no list of trades"),
    ],
)
def test_a_result_without_the_trades_of_one_strategy_is_refused(tmp_path, content, reason):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=re.escape(reason)):
        read(tmp_path / "a.json")


def test_trades_that_can_not_be_read_are_refused_by_their_number(tmp_path):
    order = {"amount": 1.0, "safe_price": 9.0, "ft_is_entry": True, "order_filled_timestamp": START * 1_000}
    whole = {"pair": "ETH/USDT", "fee_open": 0.001, "is_open": True, "orders": [order]}
    bare = {"pair": "ETH/USDT", "is_open": True, "open_date": when(9), "open_rate": 9.0, "amount": 1.0}
    unfilled = whole | {"orders": [order | {"order_filled_timestamp": None}]}
    trades = [whole, 5, whole | {"pair": ""}, unfilled, bare]
    (tmp_path / "a.json").write_text(json.dumps(result(trades, "A")))
    log = read(tmp_path / "a.json")
    assert log.refused == [
        (2, "no trade."), (3, "column pair: it is empty."), (4, "no order of this trade was filled."),
    ]  # fmt: skip
    one, two = (events[-1] for events in orders_of(log).values())
    assert one.fee == pytest.approx(0.009)
    assert math.isnan(two.fee)
    assert two.ts_event == (START + 9) * 10**9
