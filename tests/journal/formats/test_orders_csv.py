"""Tables of orders with our columns, or with columns that the user names."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from peak_trade.core.errors import ConfigError
from peak_trade.journal.formats.external_log import ExternalLog
from tests.journal.formats.histories import orders_of, read

ROW = {
    "order_id": "1", "time": "2024-03-04 12:00:00", "end_time": "2024-03-04 12:00:05", "symbol": "BTC/USDT",
    "side": "BUY", "type": "LIMIT", "quantity": "2", "status": "FILLED", "executed": "2", "price": "100", "fee": "0.2",
    "fee_currency": "USDT", "limit_price": "101",
}  # fmt: skip


def log_of(folder: Path, *rows: dict[str, str], **options: object) -> ExternalLog:
    path = folder / "orders.csv"
    path.write_text("\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n")
    return read(path, form="orders-csv", **options)


def test_an_order_is_read_with_its_states_prices_and_fee(tmp_path):
    log = log_of(tmp_path, ROW, ROW | {"order_id": "2", "status": "NEW", "executed": "", "end_time": "", "price": ""},
                 ROW | {"order_id": "3", "status": "Cancelled", "executed": "0.5", "fee": ""})  # fmt: skip
    filled, is_open, canceled = orders_of(log).values()
    assert [event.event for event in filled] == ["REQUESTED", "SUBMITTED", "ACCEPTED", "FILLED"]
    assert (filled[-1].last_price, filled[-1].fee, filled[-1].limit_price) == (100.0, 0.2, 101.0)
    assert filled[-1].ts_event - filled[0].ts_event == 5 * 10**9
    assert [event.event for event in is_open] == ["REQUESTED", "SUBMITTED"]
    assert [event.event for event in canceled][-2:] == ["PARTIALLY_FILLED", "CANCELED"]
    assert math.isnan(canceled[-2].fee)


def test_columns_of_the_file_are_named_by_the_user(tmp_path):
    theirs = {"order_id": "No", "symbol": "Pair", "fee": "Commission"}
    row = {theirs.get(name, name): value for name, value in ROW.items() if name != "fee_currency"}
    ((*_, fill),) = orders_of(log_of(tmp_path, row, columns=theirs, fee_currency="USDT")).values()
    assert (fill.symbol, fill.fee) == ("BTC/USDT", 0.2)
    with pytest.raises(ConfigError, match="the currency of its fees is not stated"):
        log_of(tmp_path, row, columns=theirs)
    with pytest.raises(ConfigError, match=r"column order_di is unknown\. Did you mean order_id"):
        log_of(tmp_path, row, columns={"order_di": "No"})
    with pytest.raises(ConfigError, match="column Nr is missing"):
        log_of(tmp_path, row, columns=theirs | {"order_id": "Nr"}, fee_currency="USDT")
    with pytest.raises(ConfigError, match="it has no column fee"):
        log_of(tmp_path, row, columns={"order_id": "No", "symbol": "Pair"}, fee_currency="USDT")


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"status": "DONE"}, "column status: status DONE is not known."),
        ({"order_id": ""}, "the order id or the symbol is empty."),
        ({"end_time": "2024-03-04 11:59:59"}, "the end time 2024-03-04 11:59:59 is before the start."),
        ({"quantity": "0"}, "column quantity: quantity was 0.0, not above zero."),
        ({"executed": "3"}, "the order is filled, but traded 3 of 2."),
        ({"side": "HOLD"}, "column side: 'HOLD' is not known."),
        ({"fee": "5", "fee_currency": "BTC"}, "the fee of 5 in base units is not below the quantity 2."),
    ],
)
def test_an_order_that_can_not_be_is_refused_with_the_reason(tmp_path, cells, reason):
    log = log_of(tmp_path, ROW, ROW | {"order_id": "2"} | cells)
    assert log.refused == [(2, reason)]
    assert log.n_orders == 1
