"""Trades and orders of ccxt: what is written is read, in any mixture of the two."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from peak_trade.core.errors import ConfigError
from tests.examples import examples
from tests.journal.formats.histories import START, History, assert_same, histories, orders_of, read


def trade(order: History, number: int) -> dict[str, object]:
    fill = order.fills[number]
    return {
        "info": {"raw": "ignored"}, "id": str(fill.number), "order": order.name, "timestamp": fill.ms,
        "datetime": "2017-07-12T13:19:09.590Z", "symbol": order.symbol, "type": None, "side": order.side,
        "takerOrMaker": "taker", "price": fill.price, "amount": fill.quantity, "cost": fill.price * fill.quantity,
        "fee": {"cost": fill.fee, "currency": fill.currency}, "fees": [],
    }  # fmt: skip


def order_of(order: History, has_trades: bool = False) -> dict[str, object]:
    trades = [trade(order, number) for number in range(len(order.fills))] if has_trades else []
    return {
        "id": order.name, "clientOrderId": None, "timestamp": order.ms,
        "lastTradeTimestamp": (START + order.last) * 1_000, "symbol": order.symbol, "type": "limit",
        "side": order.side, "status": "closed" if order.is_filled else "canceled", "price": 5.0,
        "average": order.average or None, "amount": order.quantity, "filled": order.traded, "remaining": order.rest,
        "cost": order.average * order.traded, "fee": None, "fees": [], "trades": trades,
    }  # fmt: skip


def write(folder: str, records: object, name: str = "log.json") -> Path:
    path = Path(folder, name)
    path.write_text(json.dumps(records))
    return path


@given(histories())
@settings(max_examples=examples(25), deadline=None)
def test_trades_and_orders_are_read_as_they_were_written(wanted):
    trades = [trade(order, number) for order in wanted for number in range(len(order.fills))]
    with tempfile.TemporaryDirectory() as folder:
        path = write(folder, [order_of(order, has_trades=True) for order in wanted])
        assert_same(read(path), wanted)
        apart = write(folder, [order_of(order) for order in wanted])
        if trades:
            alone = write(folder, trades, "trades.json")
            assert_same(read(apart, alone), wanted)
            assert_same(read(alone, alone), [order.only_traded for order in wanted if order.fills])
            lines = Path(folder, "lines.json")
            lines.write_text("\n".join(map(json.dumps, reversed(trades))))
            assert_same(read(lines), [order.only_traded for order in wanted if order.fills])


def test_an_order_without_trades_has_one_fill_at_its_average(tmp_path):
    order = {"id": "7", "timestamp": 1_700_000_000_000, "symbol": "BTC/USDT", "type": "market", "side": "buy",
             "status": "closed", "price": None, "average": 100.0, "amount": 2.0, "filled": 2.0,
             "fee": {"cost": 0.2, "currency": "USDT"}}  # fmt: skip
    (events,) = orders_of(read(write(str(tmp_path), [order]))).values()
    assert [(each.last_quantity, each.last_price, each.fee) for each in events if each.last_quantity] == [
        (2.0, 100.0, 0.2)
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"price": "1e999"}, "column price: 1e999 is not finite"),
        ({"amount": -1.0}, "column amount: -1.0 is negative"),
        ({"side": "hold"}, "column side: 'hold' is not known"),
        ({"timestamp": 5, "datetime": None}, "column timestamp"),
        ({"symbol": ""}, "column symbol"),
        ({"price": None}, "column price: '' is not a number"),
        ({"fees": [{"cost": 1.0, "currency": "BNB"}, {"cost": 1.0, "currency": "KFEE"}]}, "several currencies"),
        ({"id": "1", "amount": 9.0}, "fill BTC/USDT|1 is in row 1 too, with other values"),
    ],
)
def test_a_record_that_can_not_be_read_is_named(tmp_path, change, reason):
    good = {"id": "1", "order": "o", "timestamp": 1_700_000_000_000, "symbol": "BTC/USDT", "side": "buy",
            "takerOrMaker": "taker", "price": 5.0, "amount": 1.0, "fee": {"cost": 1.0, "currency": "USDT"}}  # fmt: skip
    log = read(write(str(tmp_path), [good, good | {"id": "2", "order": "p"} | change]))
    assert log.refused[0][0] == 2
    assert reason in log.refused[0][1]
    assert log.n_orders == 1


@pytest.mark.parametrize("size", [1, 50, 2_000])
def test_a_torn_file_is_refused_whole(tmp_path, size):
    good = [{"id": str(number), "order": "o", "timestamp": 1_700_000_000_000, "symbol": "BTC/USDT", "side": "buy",
             "takerOrMaker": "taker", "price": 5.0, "amount": 1.0} for number in range(size)]  # fmt: skip
    path = tmp_path / "torn.json"
    path.write_text(json.dumps(good)[:-9])
    with pytest.raises(ConfigError, match=f"cut off in row {size}"):
        read(path, form="ccxt")


def test_contracts_of_a_linear_derivative_become_base_units(tmp_path):
    contract = {"id": "1", "order": "o", "timestamp": 1_700_000_000_000, "symbol": "BTC/USDT:USDT", "side": "sell",
                "takerOrMaker": "maker", "price": 50_000.0, "amount": 30.0, "cost": 15_000.0, "fee": None}  # fmt: skip
    (events,) = orders_of(read(write(str(tmp_path), [contract]))).values()
    assert math.isclose(events[-1].last_quantity, 0.3)
    assert math.isnan(events[-1].fee)


def test_one_id_at_two_symbols_names_two_orders(tmp_path):
    one = {"id": "1", "order": "7", "timestamp": 1_700_000_000_000, "symbol": "BTC/USDT", "side": "buy",
           "takerOrMaker": "taker", "price": 5.0, "amount": 1.0}  # fmt: skip
    assert set(orders_of(read(write(str(tmp_path), [one, one | {"symbol": "ETH/USDT"}])))) == {
        "BTC/USDT:7",
        "ETH/USDT:7",
    }


def test_a_fee_without_a_currency_has_the_stated_one(tmp_path):
    trade = {"id": "1", "order": "o", "timestamp": 1_700_000_000_000, "symbol": "BTC/USDT", "side": "buy",
             "takerOrMaker": "taker", "price": 5.0, "amount": 1.0, "fee": {"cost": 0.5, "currency": None}}  # fmt: skip
    path = write(str(tmp_path), [trade])
    for currency, fee, paid in (("", math.nan, 0.0), ("USDT", 0.5, 0.0), ("BNB", 0.0, 0.5)):
        ((*_, fill),) = orders_of(read(path, fee_currency=currency)).values()
        assert (fill.fee, fill.fee_paid) == pytest.approx((fee, paid), nan_ok=True)


def test_a_closed_order_that_does_not_state_what_was_filled_is_filled(tmp_path):
    order = order_of(History(1, 1, "BTC/USDT", "buy", (), 2.0)) | {"status": "closed", "filled": None, "average": 4.0}
    (events,) = orders_of(read(write(str(tmp_path), [order]))).values()
    assert (events[-1].event, events[-1].cumulative) == ("FILLED", 2.0)
