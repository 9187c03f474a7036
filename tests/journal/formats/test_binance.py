"""The exports of Binance's web page and the answers of its API, in old and new layouts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError
from tests.examples import examples
from tests.journal.formats.histories import START, History, Trade, assert_same, histories, orders_of, read

UNITS = "Pair,Side,Price,Executed,Amount,Fee"
COINS = "Pair,Base Asset,Quote Asset,Type,Price,Amount,Total,Fee,Fee Coin"
OLDER = "Market,Type,Price,Amount,Total,Fee,Fee Coin"
ORDERS = "OrderNo,Pair,Type,Side,Order Price,Order Amount,Time,Executed,Average Price,Trading total,Status"
SHORT = "%y-%m-%d %H:%M:%S"
LONG = "%Y-%m-%d %H:%M:%S"


def when(second: int, hours: int = 0, pattern: str = LONG) -> str:
    return (datetime.fromtimestamp(START + second, UTC) + timedelta(hours=hours)).strftime(pattern)


def exact(number: float) -> str:
    return f"{number:.10f}"


def trade_row(order: History, fill: Trade, head: str, time: str) -> str:
    pair, total = order.base + order.quote, exact(fill.price * fill.quantity)
    if head == UNITS:
        cells = [pair, order.side.upper(), f"{fill.price:,.10f}", exact(fill.quantity) + order.base,
                 total + order.quote, exact(fill.fee) + fill.currency]  # fmt: skip
        return ",".join([time, *(f'"{cell}"' if "," in cell else cell for cell in cells)])
    names = [f"{order.base}/{order.quote}", order.base, order.quote] if head == COINS else [pair]
    return ",".join([time, *names, order.side.upper(), exact(fill.price), exact(fill.quantity), total, exact(fill.fee),
                     fill.currency])  # fmt: skip


def write(folder: str | Path, name: str, head: str, rows: Iterable[str]) -> Path:
    path = Path(folder, name)
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def apart(orders: list[History]) -> list[History]:
    """Orders of which the fills of no two are in one second, pair and side."""
    seen, found = set(), []
    for order in orders:
        names = {(fill.second, order.symbol, order.side) for fill in order.fills}
        if not names & seen:
            found.append(order)
            seen |= names
    return found


@given(
    histories(cancels=False).map(apart), st.sampled_from([UNITS, COINS, OLDER]), st.sampled_from([0, 1, -5]),
    st.sampled_from([LONG, SHORT]), st.booleans(),
)  # fmt: skip
@settings(max_examples=examples(40), deadline=None)
def test_trades_are_read_as_they_were_written(wanted, head, hours, pattern, is_reversed):
    """Without order ids, each second of a pair and a side is an order."""
    zone = f"(UTC{hours:+d})" if hours else "(UTC)"
    rows = [trade_row(order, fill, head, when(fill.second, hours, pattern)) for order in wanted for fill in order.fills]
    expected = [
        History(0, second, order.symbol, order.side, tuple(fill for fill in order.fills if fill.second == second), 0.0)
        for order in wanted
        for second in {fill.second for fill in order.fills}
    ]
    ids: dict[str, set[str]] = {}
    for each in expected:
        ids.setdefault(f"{each.side}-at-{START + each.second}", set()).add(each.symbol)

    def name(order: History) -> str:
        plain = f"{order.side}-at-{START + order.second}"
        return f"{order.symbol}:{plain}" if len(ids[plain]) > 1 else plain

    with tempfile.TemporaryDirectory() as folder:
        path = write(folder, "trades.csv", f"Date{zone},{head}", rows[::-1] if is_reversed else rows)
        assert_same(read(path), expected, name)
        log = read(path, write(folder, "half.csv", f"Date{zone},{head}", rows[: len(rows) // 2]))
        assert log.n_fills == len(rows)
        assert log.n_duplicates == len(rows) // 2


def order_row(order: History) -> str:
    status = "FILLED" if order.is_filled else "CANCELED"
    cells = [order.name, order.base + order.quote, "Limit", order.side.upper(), "0", exact(order.quantity) + order.base,
             when(order.last), exact(order.traded) + order.base, exact(order.average),
             exact(order.average * order.traded) + order.quote, status]  # fmt: skip
    return ",".join([when(order.second), *cells])


@given(histories())
@settings(max_examples=examples(30), deadline=None)
def test_orders_find_their_fills(wanted):
    """Orders do not overlap here, so that their fills are certain."""
    wanted = [order for number, order in enumerate(wanted) if all(
        order.second > before.last + 1 or before.symbol != order.symbol for before in wanted[:number])]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        trades = [trade_row(order, fill, COINS, when(fill.second)) for order in wanted for fill in order.fills]
        orders = write(folder, "orders.csv", f"Date(UTC),{ORDERS}", map(order_row, wanted))
        if trades:
            assert_same(read(orders, write(folder, "trades.csv", f"Date(UTC),{COINS}", trades)), wanted)
        log = read(orders)
        assert log.n_unknown_fees == log.n_fills == sum(bool(order.fills) for order in wanted)


def test_an_order_whose_fills_do_not_add_up_is_refused_and_its_fills_stay(tmp_path):
    orders = write(tmp_path, "orders.csv", f"Time,{ORDERS.replace('Time', 'Time')}", [
        "2024-01-01 10:00:00,1,BTCUSDT,Market,BUY,0,2BTC,2024-01-01 10:00:00,2BTC,100,200USDT,FILLED",
        "2024-01-01 12:00:00,2,BTCUSDT,Market,BUY,0,1BTC,2024-01-01 12:00:01,1BTC,100,100USDT,FILLED",
    ])  # fmt: skip
    trades = write(
        tmp_path, "trades.csv", f"Date(UTC),{UNITS}", ["2024-01-01 10:00:00,BTCUSDT,BUY,100,1BTC,100USDT,1BNB"]
    )
    log = read(orders, trades)
    assert log.refused == [(1, "no fills between its times sum to the 2 that it executed.")]
    assert {name: events[-1].cumulative for name, events in orders_of(log).items()} == {
        "2": 1.0, "buy-at-1704103200": 1.0,
    }  # fmt: skip


def test_the_older_order_history_has_the_side_as_its_type(tmp_path):
    head = "Date(UTC),OrderNo,Pair,Type,Order Price,Order Amount,AvgTrading Price,Filled,Total,status"
    path = write(
        tmp_path,
        "orders.csv",
        head,
        ["2020-01-01 10:00:00,7,1INCHBTC,SELL,5.0,0.50001INCH,5.0,0.50001INCH,2.5BTC,Filled"],
    )
    ((*_, fill),) = orders_of(read(path)).values()
    assert (fill.symbol, fill.side, fill.last_quantity, fill.last_price) == ("1INCH/BTC", "sell", 0.5, 5.0)


def test_transactions_are_compared_and_counted_by_kind(tmp_path):
    trades = write(
        tmp_path, "trades.csv", f"Date(UTC),{UNITS}", ["2024-01-01 10:00:00,BTCUSDT,BUY,100,1BTC,100USDT,0.01BNB"]
    )
    rows = [("Transaction Buy", "BTC", "1"), ("Transaction Spend", "USDT", "-100"), ("Transaction Fee", "BNB", "-0.01"),
            ("Deposit", "USDT", "500"), ("Small Assets Exchange BNB", "BNB", "0.1"), ("Withdraw", "BTC", "-0.5"),
            ("Transfer Between Main Account/Futures", "USDT", "-5")]  # fmt: skip
    head = "User ID,Time,Account,Operation,Coin,Change,Remark"
    path = write(tmp_path, "all.csv", head, [f'1,24-01-01 10:00:00,Spot,{a},{b},{c},""' for a, b, c in rows])
    log = read(trades, path)
    assert log.ignored == {"change of a balance by a trade": 3, "deposit": 1, "dust conversion": 1, "withdrawal": 1,
                           "transfer": 1}  # fmt: skip
    assert [(check.asset, check.is_equal) for check in log.balances] == [
        ("BNB, trades", True), ("BTC, trades", True), ("USDT, trades", True),
    ]  # fmt: skip
    path.write_text(path.read_text().replace("-100", "-101"))
    assert not read(trades, path).balances[2].is_equal


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("2024-01-01", "2024-13-01"), "column Date(UTC): 2024-13-01 10:00:01 is not a time"),
        ((",BUY,", ",HOLD,"), "column Side: 'HOLD' is not known"),
        (("200USDT", "1e400USDT"), ""),
        (("1BTC", "1e99BTC"), "column Executed: '1E99BTC' is negative, not finite, or too large"),
        (("1BTC", "BTC"), "column Executed"),
        (("200.5,", "abc,"), "column Price: 'ABC' is not an amount"),
        ((",0.1BNB", ""), "it has 6 cells, the header has 7"),
        (("0.1BNB", '"0,1BNB"'), "column Fee: '0,1' is not a number"),
    ],
)
def test_a_row_that_can_not_be_read_is_named_with_its_column(tmp_path, change, reason):
    good = "2024-01-01 10:00:0{},BTCUSDT,BUY,200.5,1BTC,200USDT,0.1BNB"
    rows = [good.format(0), good.format(1).replace(*change)]
    log = read(write(tmp_path, "trades.csv", f"Date(UTC),{UNITS}", rows))
    assert [row for row, _ in log.refused] == ([2] if reason else [])
    assert not reason or reason in log.refused[0][1]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_encodings_and_separators_are_recognised(tmp_path, encoding, delimiter):
    decimal = "," if delimiter != "," else "."
    rows = [f"Date(UTC),{UNITS}", "2024-01-01 10:00:00,BTCUSDT,BUY,1200#5,0#5BTC,600#25USDT,0#1BNB"]
    text = "\r\n".join(rows).replace(",", delimiter).replace("#", decimal)
    (tmp_path / "trades.csv").write_bytes(text.encode(encoding))
    ((*_, fill),) = orders_of(read(tmp_path / "trades.csv")).values()
    assert (fill.last_price, fill.last_quantity, fill.fee_paid) == (1200.5, 0.5, 0.1)


def test_an_unknown_zone_is_refused(tmp_path):
    path = write(tmp_path, "trades.csv", f"Date(CET),{UNITS}", ["2024-01-01 10:00:00,BTCUSDT,BUY,1,1BTC,1USDT,0BNB"])
    with pytest.raises(ConfigError, match=r"zone of column Date\(CET\) is not known"):
        read(path)


@given(histories())
@settings(max_examples=examples(20), deadline=None)
def test_answers_of_the_api_are_read_as_they_were_written(wanted):
    trades: list[dict[str, Any]] = [
        {"symbol": order.base + order.quote, "id": fill.number, "orderId": order.name, "price": exact(fill.price),
         "qty": exact(fill.quantity), "quoteQty": "0", "commission": exact(fill.fee), "commissionAsset": fill.currency,
         "time": fill.ms, "isBuyer": order.side == "buy", "isMaker": False, "isBestMatch": True}
        for order in wanted for fill in order.fills
    ]  # fmt: skip
    orders = [
        {"symbol": order.base + order.quote, "orderId": order.name, "price": "0.00", "origQty": exact(order.quantity),
         "executedQty": exact(order.traded), "cummulativeQuoteQty": exact(order.traded * order.average),
         "status": "FILLED" if order.is_filled else "CANCELED", "type": "MARKET", "side": order.side.upper(),
         "time": order.ms, "updateTime": (START + order.last) * 1_000}
        for order in wanted
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, "orders.json"), Path(folder, "trades.json")]
        for path, items in zip(paths, (orders, trades), strict=True):
            path.write_text(json.dumps(items))
        if trades:
            assert_same(read(*paths), wanted)


def test_futures_trades_have_a_side_and_a_rebate(tmp_path):
    trade = {"symbol": "BTCUSDT", "id": 1, "orderId": 2, "price": "7819.01", "qty": "0.002", "commission": "-0.0781901",
             "commissionAsset": "USDT", "time": 1569514978020, "buyer": False, "maker": True, "side": "SELL",
             "realizedPnl": "-0.9", "positionSide": "SHORT"}  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps([trade]))
    ((*_, fill),) = orders_of(read(tmp_path / "a.json")).values()
    assert (fill.side, fill.fee, fill.order_type) == ("sell", -0.0781901, "limit")


def test_a_trade_without_a_side_is_refused(tmp_path):
    """Trades of futures have `side`, those of spot `isBuyer`; without both of them nothing says what was traded."""
    trade = {"symbol": "BTCUSDT", "id": 1, "orderId": 1, "price": "5", "qty": "1", "commission": "0.1",
             "commissionAsset": "USDT", "time": START * 1_000}  # fmt: skip
    (tmp_path / "trades.json").write_text(json.dumps([trade, trade | {"id": 2, "orderId": 2, "side": "BUY"}]))
    log = read(tmp_path / "trades.json")
    assert log.refused == [(1, "column side: '' is not known.")]
    assert [events[0].side for events in orders_of(log).values()] == ["buy"]


@pytest.mark.parametrize("cell", ["2024-01-01 01:00:00", "01.01.2024 01:00:00", "2024-01-01T00:00:00Z", "1704067200"])
def test_the_zone_of_the_header_applies_to_times_without_a_zone(tmp_path, cell):
    path = write(tmp_path, "trades.csv", f"Date(UTC+1),{UNITS}", [f"{cell},BTCUSDT,BUY,100,1BTC,100USDT,1BNB"])
    (events,) = orders_of(read(path)).values()
    assert events[0].ts_event == 1_704_067_200 * 10**9
    if cell.startswith("01."):
        (events,) = orders_of(read(path, time_format="%d.%m.%Y %H:%M:%S")).values()
        assert events[0].ts_event == 1_704_067_200 * 10**9


def test_equal_rows_are_fills_of_their_own_and_are_counted(tmp_path):
    row = "2024-01-01 10:00:00,BTCUSDT,BUY,100,1BTC,100USDT,1BNB"
    log = read(write(tmp_path, "trades.csv", f"Date(UTC),{UNITS}", [row, row]))
    assert log.n_fills == 2
    assert log.notes == {"row that is equal to an earlier one of the file, and a fill of its own": 1}


def test_equal_rows_of_two_files_are_counted_in_each(tmp_path):
    """The second of two equal rows is a duplicate of the second one in the other file; a third one is new."""
    row = "2024-01-01 10:00:00,BTCUSDT,BUY,100,1BTC,100USDT,1BNB"
    one, two = (write(tmp_path, f"{n}.csv", f"Date(UTC),{UNITS}", [row] * n) for n in (2, 3))
    for files in ((one, two), (two, one)):
        log = read(*files)
        assert (log.n_fills, log.n_used, log.n_duplicates) == (3, 3, 2)
