"""The exports of Kraken in old and new layouts, and the balances of its ledgers."""

from __future__ import annotations

import csv
import math
import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError
from peak_trade.journal.formats.kraken import asset_of, symbol_of
from tests.examples import examples
from tests.journal.formats.histories import START, History, Trade, assert_same, histories, orders_of, read

OLD = "txid ordertxid pair time type ordertype price cost fee vol margin misc ledgers"
NEW = ("txid ordertxid pair aclass subclass time type ordertype price cost fee vol margin misc ledgers posttxid "
       "posstatuscode cprice ccost cfee cvol cmargin net costusd trades")  # fmt: skip
LEDGER_OLD = "txid refid time type subtype aclass asset amount fee balance"
LEDGER_NEW = "txid refid time type subtype aclass subclass asset wallet amount fee balance amountusd feecurrency"
THEIRS = {"BTC": "XXBT", "ETH": "XETH", "SOL": "SOL", "USDT": "USDT", "EUR": "ZEUR"}
PAIRS = {"BTC/USDT": "XBTUSDT", "ETH/USDT": "ETHUSDT", "SOL/EUR": "SOL/EUR"}


def when(second: int) -> str:
    return datetime.fromtimestamp(START + second, UTC).strftime("%Y-%m-%d %H:%M:%S.0000")


def write(folder: str | Path, name: str, head: str, rows: list[dict[str, object]]) -> Path:
    path = Path(folder, name)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, head.split(), quoting=csv.QUOTE_ALL, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def trade_row(order: History, fill: Trade) -> dict[str, object]:
    return {
        "txid": f"T{fill.number}", "ordertxid": order.name, "pair": PAIRS[order.symbol], "time": when(fill.second),
        "type": order.side, "ordertype": "stop-loss-limit", "price": f"{fill.price:.5f}",
        "cost": f"{fill.price * fill.quantity:.5f}", "fee": f"{fill.fee:.8f}", "vol": f"{fill.quantity:.8f}",
        "margin": "0.00000", "ledgers": "L1,L2",
    }  # fmt: skip


def ledger_rows(orders: list[History]) -> list[dict[str, object]]:
    """Two rows per trade, and a third one where the fee has a coin of its own; deposits come first."""
    balances = dict.fromkeys((*THEIRS, "BNB"), Decimal(10**9))
    rows: list[dict[str, object]] = []

    def add(refid: str, second: int, kind: str, asset: str, amount: Decimal, fee: Decimal) -> None:
        balances[asset] += amount - fee
        rows.append({
            "txid": f"L{len(rows)}", "refid": refid, "time": when(second), "type": kind,
            "asset": THEIRS.get(asset, asset), "wallet": "spot / main",
            "amount": str(amount), "fee": str(fee), "balance": str(balances[asset]),
        })  # fmt: skip

    add("D", 0, "deposit", "EUR", Decimal("5.5"), Decimal("0.1"))
    for order in orders:
        for fill in order.fills:
            quantity = Decimal(repr(fill.quantity)) * (1 if order.side == "buy" else -1)
            changes = {order.base: quantity, order.quote: -quantity * Decimal(repr(fill.price))}
            changes.setdefault(fill.currency, Decimal())
            for asset, amount in changes.items():
                fee = Decimal(repr(fill.fee)) if asset == fill.currency else Decimal()
                add(f"T{fill.number}", fill.second, "trade", asset, amount, fee)
    return rows


@given(histories(cancels=False), st.sampled_from([OLD, NEW]), st.sampled_from([LEDGER_OLD, LEDGER_NEW]), st.booleans())
@settings(max_examples=examples(30), deadline=None)
def test_trades_and_ledgers_are_read_as_they_were_written(wanted, head, ledger_head, is_reversed):
    rows = [trade_row(order, fill) for order in wanted for fill in order.fills]
    ledgers = ledger_rows(wanted)
    with tempfile.TemporaryDirectory() as folder:
        trades = write(folder, "trades.csv", head, rows)
        path = write(folder, "ledgers.csv", ledger_head, ledgers[::-1] if is_reversed else ledgers)
        log = read(trades, path, path)
        assert_same(read(trades, path), wanted)
        alone = [
            History(order.number, order.second, order.symbol, order.side,
                    tuple(Trade(fill.number, fill.second, fill.quantity, fill.price, fill.fee, order.quote)
                          for fill in order.fills), 0.0)
            for order in wanted
        ]  # fmt: skip
        assert_same(read(trades), alone)
        log = read(trades, path)
        assert log.balances
        assert all(check.is_equal for check in log.balances)
        assert all(math.isclose(check.expected, check.observed, abs_tol=1e-8) for check in log.balances)
        assert log.ignored["deposit"] == 1
        ledgers[-1]["amount"] = str(Decimal(str(ledgers[-1]["amount"])) + 1)
        assert not all(check.is_equal for check in read(trades, write(folder, "l.csv", ledger_head, ledgers)).balances)


def test_other_rows_of_ledgers_are_counted_by_kind(tmp_path):
    trades = write(
        tmp_path,
        "trades.csv",
        OLD,
        [trade_row(History(1, 1, "BTC/USDT", "buy", (), 0.0), Trade(1, 1, 1.0, 2.0, 0.0, "USDT"))],
    )
    kinds = [("deposit", "", "L1"), ("withdrawal", "", "L2"), ("transfer", "spottostaking", "L3"),
             ("staking", "", "L4"), ("spend", "", "L5"), ("receive", "dustsweeping", "L6"),
             ("deposit", "", "")]  # fmt: skip
    rows = [{"txid": txid, "refid": "R", "time": when(n), "type": kind, "subtype": sub, "asset": f"A{n}", "amount": "1",
             "fee": "0", "balance": "1"} for n, (kind, sub, txid) in enumerate(kinds)]  # fmt: skip
    log = read(trades, write(tmp_path, "ledgers.csv", LEDGER_OLD, rows))
    assert log.ignored == {"deposit": 1, "withdrawal": 1, "transfer": 1, "staking": 1, "conversion": 1,
                           "dust conversion": 1, "pending": 1}  # fmt: skip
    with pytest.raises(ConfigError, match=r"together with trades\.csv"):
        read(write(tmp_path, "ledgers.csv", LEDGER_OLD, [rows[0] | {"type": "trade"}]))


@pytest.mark.parametrize(
    ("pair", "symbol"),
    [("XETHZGBP", "ETH/GBP"), ("XXBTZEUR", "BTC/EUR"), ("XBTUSDT", "BTC/USDT"), ("ADAEUR", "ADA/EUR"),
     ("ADA/USD", "ADA/USD"), ("XDGUSD", "DOGE/USD"), ("XXDGXXBT", "DOGE/BTC"), ("DOTUSD", "DOT/USD"),
     ("XBT/USD", "BTC/USD"), ("ZRXEUR", "ZRX/EUR")],
)  # fmt: skip
def test_pairs_have_their_usual_names(pair, symbol):
    assert symbol_of(pair) == symbol


@pytest.mark.parametrize(("name", "asset"), [("XXBT", "BTC"), ("ZEUR", "EUR"), ("KFEE", "KFEE"), ("XTZ", "XTZ")])
def test_assets_have_their_usual_names(name, asset):
    assert asset_of(name) == asset


def test_a_trade_that_is_there_twice_counts_once(tmp_path):
    row = trade_row(History(1, 1, "BTC/USDT", "buy", (), 0.0), Trade(1, 1, 1.0, 2.0, 0.1, "USDT"))
    log = read(write(tmp_path, "trades.csv", OLD, [row, row, row | {"price": "3.0"}]))
    assert (log.n_fills, log.n_duplicates) == (1, 1)
    assert log.refused == [(3, "fill T1 is in row 1 too, with other values.")]
    assert len(orders_of(log)) == 1


def test_ledgers_of_margin_trades_are_not_compared(tmp_path):
    row = trade_row(History(1, 1, "BTC/USDT", "buy", (), 0.0), Trade(1, 1, 1.0, 2.0, 0.1, "USDT"))
    trades = write(tmp_path, "trades.csv", OLD, [row | {"margin": "0.4"}])
    fee = {"txid": "L1", "refid": "T1", "time": when(1), "type": "trade", "asset": "USDT", "amount": "0", "fee": "0.1",
           "balance": "9.9"}  # fmt: skip
    log = read(trades, write(tmp_path, "ledgers.csv", LEDGER_OLD, [fee]))
    assert [check.asset for check in log.balances] == ["USDT, all changes"]
    assert log.notes.total() == 1


def test_ledgers_with_decimal_commas_and_rows_that_are_there_twice_give_the_same_fees(tmp_path):
    """A number is read in one way everywhere, and a second row with the txid of the first one adds no fee."""
    order = History(0, 60, "SOL/EUR", "buy", (Trade(0, 60, 1234.5, 95.25, 1.25, "EUR"),), 0.0)
    trades = write(tmp_path, "trades.csv", OLD, [trade_row(order, order.fills[0])])
    rows = ledger_rows([order])
    names = LEDGER_OLD.split()
    lines = [";".join(str(row.get(name, "")).replace(".", ",") for name in names) for row in [*rows, *rows]]
    (tmp_path / "ledgers.csv").write_text("\n".join([";".join(names), *lines]))
    log = read(trades, tmp_path / "ledgers.csv")
    assert_same(log, [order])
    assert log.n_duplicates == len(rows)
    assert all(check.is_equal for check in log.balances)


def test_a_row_of_ledgers_that_is_refused_leaves_the_fee_of_the_trade(tmp_path):
    order = History(0, 60, "SOL/EUR", "buy", (Trade(0, 60, 2.0, 95.25, 1.25, "EUR"),), 0.0)
    trades = write(tmp_path, "trades.csv", OLD, [trade_row(order, order.fills[0])])
    rows = ledger_rows([order])
    changed = [row | {"fee": "?"} if row["asset"] == "ZEUR" and row["refid"] == "T0" else row for row in rows]
    log = read(trades, write(tmp_path, "ledgers.csv", LEDGER_OLD, changed))
    assert log.n_refused == 1
    (events,) = orders_of(log).values()
    assert events[-1].fee == 1.25
