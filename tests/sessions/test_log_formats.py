"""External logs are read strictly: one format of times per file, and no fee in a currency that is not its own."""

from __future__ import annotations

import json
import math
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError, LedgerError
from peak_trade.core.time import to_ns
from peak_trade.journal.codec import decode_event, encode_event
from peak_trade.journal.events import OrderEvent
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.journal.formats.external_log import ExternalLog
from peak_trade.journal.formats.jesse import read_log_lines
from peak_trade.journal.formats.log_file import LogFile
from peak_trade.journal.formats.logged_orders import Fee, LogOptions
from peak_trade.journal.formats.orders_csv import read_orders
from peak_trade.journal.ledger_from_events import ledger_from_events
from peak_trade.journal.log_times import recognised_format, stated_format
from peak_trade.sessions.store import session_ids, sessions_folder
from tests.examples import examples

HEAD = "order_id,time,end_time,symbol,side,type,quantity,status,executed,price,fee,fee_currency"
LENGTHS = {"seconds": 10**9, "milliseconds": 10**6, "microseconds": 10**3, "nanoseconds": 1}
moments = st.integers(1, 80_000 * 86_400 * 10**6).map(
    lambda us: datetime(1980, 1, 2, tzinfo=UTC) + timedelta(microseconds=us)
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path / "home"))
    return tmp_path


def row(order_id: int, time: object, fee: str = "1", currency: str = "USDT", symbol: str = "BTC/USDT") -> str:
    return f"{order_id},{time},{time},{symbol},BUY,MARKET,2,FILLED,2,100,{fee},{currency}"


def read(*rows: str, head: str = HEAD, **options: str) -> ExternalLog:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "orders.csv")
        path.write_text("\n".join((head, *rows)) + "\n")
        log = ExternalLog(LogOptions("s", **options))
        read_orders(LogFile(path), log)
    log.finish()
    return log


def fills(log: ExternalLog) -> list[OrderEvent]:
    return [event for event in log.events() if event.last_quantity]


NOON = to_ns(datetime(2024, 3, 4, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("2024-03-04 12:00:00", ""),
        ("2024-03-04T12:00:00.000000000Z", ""),
        ("2024-03-04 13:00:00+01:00", ""),
        ("1709553600", ""),
        ("1709553600.0", ""),
        ("1709553600000", ""),
        ("1709553600000000", ""),
        ("1709553600000000000", ""),
        ("04.03.2024 12:00", "%d.%m.%Y %H:%M"),
        ("03/04/2024 13:00 +0100", "%m/%d/%Y %H:%M %z"),
        ("1709553600000", "ms"),
        ("2024-03-04T12:00", "iso"),
    ],
)
def test_each_format_of_times_is_read(text, stated):
    log = read(row(1, text), time_format=stated)
    assert not log.refused
    assert {event.ts_event for event in log.events()} == {NOON}
    assert log.times


@given(moments, st.sampled_from(sorted(LENGTHS)))
@settings(max_examples=examples(60), deadline=None)
@example(datetime(1980, 1, 2, tzinfo=UTC), "milliseconds")
def test_a_number_is_read_in_the_unit_of_its_magnitude(moment, unit):
    """Seconds below 1e11 are instants up to 5138; every other unit begins in 1973."""
    ns = to_ns(moment) // LENGTHS[unit] * LENGTHS[unit]
    form = recognised_format([str(ns // LENGTHS[unit])], "log")
    assert form.name == f"{unit} since 1970"
    assert form.read(str(ns // LENGTHS[unit])) == ns


@given(moments, st.sampled_from(["", "Z", "+00:00"]), st.sampled_from("T "))
@settings(max_examples=examples(40), deadline=None)
def test_iso_times_are_read_to_the_last_digit(moment, zone, between):
    text = moment.strftime(f"%Y-%m-%d{between}%H:%M:%S.%f") + "123" + zone
    assert recognised_format([text], "log").read(text) == to_ns(moment) + 123


@pytest.mark.parametrize(
    "second",
    ["1709553600", "1709553600000", "2024-03-04T12:00:00Z", "1709553600000000000"],
)
def test_two_formats_in_one_file_are_refused(second):
    with pytest.raises(ConfigError, match=r"its times have several formats.*--time-format"):
        read(row(1, "2024-03-04 12:00:00"), row(2, second))
    log = read(row(1, "2024-03-04 12:00:00"), row(2, second), time_format="%Y-%m-%d %H:%M:%S")
    assert [number for number, _ in log.refused] == [2]


@pytest.mark.parametrize("text", ["03/04/2024 12:00", "4 Mar 2024", "yesterday", "1.7e12", "20240304", "12", "0"])
def test_a_time_in_no_known_format_needs_a_stated_one(text):
    with pytest.raises(ConfigError, match="--time-format"):
        read(row(1, text))
    log = read(row(1, "1709553600"), row(2, text))
    assert [number for number, _ in log.refused] == [2]


@pytest.mark.parametrize("text", ["%Q", "%H:%M", "nothing", "%Y", "%", "%d.%m"])
def test_a_format_that_names_no_day_is_refused(text):
    with pytest.raises(ConfigError, match="--time-format was"):
        stated_format(text)


@pytest.mark.parametrize("text", ["2024-13-01", "2024-02-30 00:00", "1920-01-01", "2024-01-01 25:00"])
def test_an_impossible_time_is_refused_by_its_row(text):
    log = read(row(1, "2024-01-01"), row(2, text))
    assert [number for number, _ in log.refused] == [2]


@pytest.mark.parametrize(
    ("symbol", "currency", "fee"),
    [
        ("BTC/USDT", "USDT", Fee(0.5)),
        ("BTC/USDT", "BTC", Fee(50.0, 0.5)),
        ("BTC-USDT", "btc", Fee(50.0, 0.5)),
        ("BTCUSDT", "USDT", Fee(0.5)),
        ("BTCUSDT", "BTC", Fee(50.0, 0.5)),
        ("BTC/USDT:USDT", "USDT", Fee(0.5)),
        ("BTC/USDT", "BNB", Fee(0.0, 0.0, 0.5, "BNB")),
        ("BTCUSDT", "BNB", Fee(0.0, 0.0, 0.5, "BNB")),
    ],
)
def test_a_fee_is_booked_where_it_was_paid(symbol, currency, fee):
    (fill,) = fills(read(row(1, "2024-03-04", "0.5", currency, symbol)))
    assert (fill.fee, fill.fee_in_base, fill.fee_paid, fill.fee_currency) == fee
    assert decode_event(json.loads(encode_event(fill))) == fill
    ledger = ledger_from_events([fill], 1_000.0)
    assert ledger.cash == 1_000.0 - 200.0 - (0.5 if fee.fee == 0.5 else 0.0)
    assert ledger.quantity(symbol) == 2.0 - fee.fee_in_base


@given(st.floats(0.0, 1e6), st.sampled_from(["BNB", "KFEE", "ETH"]))
@settings(max_examples=examples(30), deadline=None)
def test_a_fee_in_a_third_currency_never_touches_the_cash(amount, currency):
    fee = Fee.of(amount, currency, "BTC/USDT", 100.0)
    assert (fee.fee, fee.fee_in_base) == (0.0, 0.0)
    assert fee.fee_paid == amount


@pytest.mark.parametrize(("fee", "currency"), [("", "USDT"), ("", ""), ("0.5", "")])
def test_an_unknown_fee_is_not_zero(fee, currency):
    log = read(row(1, "2024-03-04", fee, currency))
    (fill,) = fills(log)
    assert math.isnan(fill.fee)
    assert log.n_unknown_fees == 1
    assert decode_event(json.loads(encode_event(fill))) == fill
    with pytest.raises(LedgerError):
        ledger_from_events([fill], 1_000.0)


def test_a_file_with_fees_states_their_currency():
    head = HEAD.removesuffix(",fee_currency")
    bare = row(1, "2024-03-04").removesuffix(",USDT")
    with pytest.raises(ConfigError, match="--fee-currency"):
        read(bare, head=head)
    assert fills(read(bare, head=head, fee_currency="USDT"))[0].fee == 1.0
    without = head.removesuffix(",fee")
    with pytest.raises(ConfigError, match=r"it has no column fee\. Name it with --column fee=NAME"):
        read(bare.rpartition(",")[0], head=without, fee_currency="USDT")
    assert math.isnan(fills(read(bare.removesuffix("1"), head=head))[0].fee)
    without = read(bare.removesuffix(",1"), head=head.removesuffix(",fee"))
    assert math.isnan(fills(without)[0].fee)


def test_a_fee_that_takes_the_whole_quantity_is_refused():
    log = read(row(1, "2024-03-04", "2", "BTC"), row(2, "2024-03-04"))
    assert [number for number, _ in log.refused] == [1]
    assert log.n_used == 1


def test_the_fee_of_a_jesse_line_is_in_the_currency_of_its_balance(tmp_path):
    lines = [
        {"timestamp": "2024-03-04 12:00:00", "event": event, "raw": raw, "symbol": "BTC-USDT", "order_type": "MARKET",
         "side": "sell", "qty": -2.0, "price": 100.0, "amount": 0.5}
        for event, raw in (("SUBMITTED", ""), ("EXECUTED", ""),
                           ("FEE", "Charged 0.5 as fee. Balance for BNB on Binance changed from 2 to 1.5"),
                           ("SUBMITTED", ""), ("EXECUTED", ""))
    ]  # fmt: skip
    pd.DataFrame(lines).to_parquet(tmp_path / "lines.parquet")
    log = ExternalLog(LogOptions("s", "USDT"))
    read_log_lines(LogFile(tmp_path / "lines.parquet"), log)
    log.finish()
    first, second = fills(log)
    assert (first.fee, first.fee_paid, first.fee_currency) == (0.0, 0.5, "BNB")
    assert math.isnan(second.fee)


def test_at_most_twenty_refused_rows_are_printed(here, capsys):
    rows = [row(number, "2024-03-04" if number < 5 else f"bad {'x' * 500}") for number in range(70)]
    Path("orders.csv").write_text("\n".join((HEAD, *rows)))
    assert main(["audit", "import", "orders.csv"]) == 1
    said = capsys.readouterr().out.splitlines()
    shown = [line for line in said if "was left out" in line]
    assert len(shown) == 20
    assert max(map(len, shown)) < 300
    assert "45 more rows were left out." in said
    assert "Times: ISO 8601 without a time zone, read as UTC." in said
    imported = read_manifest(sessions_folder() / session_ids()[0])["imported"]
    assert len(imported["refused"]) == 65
    assert imported["times"].startswith("ISO 8601")


def test_fees_that_are_unknown_or_not_converted_are_stated(here, capsys):
    rows = [row(1, "2024-03-04", "0.5", "BNB"), row(2, "2024-03-05", "", ""), row(3, "2024-03-06")]
    Path("orders.csv").write_text("\n".join((HEAD, *rows)))
    assert main(["audit", "import", "orders.csv", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_unknown_fees"], found["fees_not_converted"], found["n_refused"]) == (1, {"BNB": 0.5}, 0)
    folder = sessions_folder() / session_ids()[0]
    trades = [event for event in read_events(folder) if isinstance(event, OrderEvent) and event.last_quantity]
    assert [event.fee_currency for event in trades] == ["BNB", "", ""]
    for verb in (["audit", "verify", folder.name], ["session", "show", folder.name],
                 ["audit", "export", "--session", folder.name, "--output", "trail.csv"]):  # fmt: skip
        assert main(verb) == 0
    trail = pd.read_csv("trail.csv")
    fees = trail.loc[trail["last_quantity"] > 0.0, "fee"].tolist()
    assert fees[::2] == [0.0, 1.0]
    assert math.isnan(fees[1])


@pytest.mark.parametrize(
    "options",
    [["--time-format", "%H:%M"], ["--time-format", "ms"], ["--fee-currency"]],
    ids=["no-day", "other-unit", "no-value"],
)
def test_options_that_do_not_fit_leave_nothing_behind(here, options, capsys):
    Path("orders.csv").write_text("\n".join((HEAD, row(1, "2024-03-04"))))
    assert main(["audit", "import", "orders.csv", *options]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert session_ids() == []
