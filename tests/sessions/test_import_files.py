"""`peak-trade audit import`: recognition, several files, fees in other currencies, and imports that fail."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from peak_trade.cli import main
from peak_trade.core.errors import SessionError
from peak_trade.core.progress import progress_shown
from peak_trade.journal.events import OrderEvent, SessionEvent
from peak_trade.journal.files import is_sealed, read_events, read_manifest
from peak_trade.journal.formats import external_log
from peak_trade.journal.formats.logged_orders import LogOptions
from peak_trade.journal.writer import JournalWriter
from peak_trade.sessions.import_log import import_log
from peak_trade.sessions.store import check_journal, session_ids, sessions_folder
from tests.forking import exit_code, fork

TRADES = """Date(UTC),Pair,Side,Price,Executed,Amount,Fee
2024-01-01 00:30:00,BTCUSDT,BUY,"42,000.0",0.5BTC,21000USDT,0.01BNB
2024-01-01 02:30:00,ETHUSDT,SELL,2000,2ETH,4000USDT,4USDT
2024-01-01 03:30:00,ETHBTC,BUY,0.05,2ETH,0.1BTC,0.01BNB
"""
BARS = """timestamp,open,high,low,close,volume
2024-01-01 00:00:00,300,310,290,300,5
2024-01-01 01:00:00,300,330,300,320,5
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path / "home"))
    Path("trades.csv").write_text(TRADES)
    return tmp_path


def imported(capsys, *arguments: str) -> dict:
    capsys.readouterr()
    assert main(["audit", "import", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments: str) -> str:
    capsys.readouterr()
    assert main(["audit", "import", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def fills(name: str) -> list[OrderEvent]:
    events = read_events(sessions_folder() / name)
    return [event for event in events if isinstance(event, OrderEvent) and event.last_quantity]


def test_the_format_is_recognised_and_the_reason_is_printed(capsys):
    assert main(["audit", "import", "trades.csv"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("trades.csv: binance, Trade History: it has the columns")
    assert "Fees in BNB are not included." in " ".join(said)
    (name,) = session_ids()
    assert check_journal(sessions_folder() / name).finding == "intact"
    (start,) = [event for event in read_events(sessions_folder() / name) if isinstance(event, SessionEvent)][:1]
    assert start.symbols == ("BTC/USDT", "ETH/BTC", "ETH/USDT")
    file = read_manifest(sessions_folder() / name)["imported"]["files"][0]
    assert (file["layout"], file["why"][:18]) == ("Trade History", "it has the columns")


def test_a_second_import_of_the_same_content_adds_nothing(capsys):
    name = imported(capsys, "trades.csv")["session_id"]
    Path("renamed.csv").write_text(TRADES)
    chain = (sessions_folder() / "chain.jsonl").read_bytes()
    for path in ("trades.csv", "renamed.csv"):
        assert f"was imported already, as {name}; nothing was added" in refused(capsys, path)
    assert session_ids() == [name]
    assert (sessions_folder() / "chain.jsonl").read_bytes() == chain
    assert imported(capsys, "trades.csv", "--strategy", "mine")["session_id"] == f"{name}-2"


def test_files_of_one_log_overlap(capsys):
    Path("older.csv").write_text("\n".join(TRADES.splitlines()[:2]))
    found = imported(capsys, "older.csv", "trades.csv")
    assert (found["n_fills"], found["n_duplicates"], found["n_rows"]) == (3, 1, 4)


def test_a_file_that_two_formats_fit_is_refused_with_both(capsys):
    head = "order_id,time,end_time,symbol,side,type,quantity,status,executed,price"
    both = "exchange_trade_id,trade_type,timestamp,order_type,amount"
    Path("both.csv").write_text(f"{head},{both}\n" + ",".join("x" * 15) + "\n")
    said = refused(capsys, "both.csv")
    assert "several formats fit: hummingbot, because" in said
    assert "orders-csv, because" in said
    assert "--format" in said
    assert session_ids() == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty"),
        ("\ufeff\n", "the file is empty"),
        ("a,b\n1,2\n", "no format fits: its columns are a, b"),
        (TRADES.splitlines()[0] + "\n", "there is no order in its 0 rows"),
        (
            "UTC_Time,Account,Operation,Coin,Change,Remark\n2024-01-01 00:00:00,Spot,Buy,BTC,1,\n",
            "has no prices: import it together with Trade",
        ),
        ('[{"id": 1', "cut off in row 1"),
        ("[costs]\nfee_bps = 10.0\n", "this is a text without columns, not a log. Formats: ccxt, "),
        ("timestamp,Open,High,Low,Close\n1,1,1,1,1\n", "these are bars, not orders"),
        (TRADES.replace("Executed", "Filled"), "nearest to binance, Trade History, but lacks the column Executed."),
        ("txid,type,pair,time\na,b,c,d\n", "nearest to kraken, trades.csv, but lacks the columns ordertxid, vol."),
        (
            '[{"symbol": "A", "side": "buy", "price": 1, "amount": 1}]',
            "nearest to ccxt, trades, but lacks the columns id",
        ),
        (TRADES.replace("ETHBTC", "\udce9THBTC"), "row 3 is not UTF-8 text"),
        ('a,b\n"1,2\n', "no format fits"),
    ],
)
def test_a_file_without_orders_leaves_nothing_behind(content, words, capsys):
    Path("bad.csv").write_text(content, errors="surrogateescape")
    assert words in refused(capsys, "bad.csv")
    assert session_ids() == []


def test_a_stated_format_that_does_not_fit_is_named(capsys):
    said = refused(capsys, "trades.csv", "--format", "kraken")
    assert "this is no file of kraken (trades.csv or ledgers.csv): its columns are Date(UTC), Pair" in said
    assert said.endswith("Leave out --format to recognise it.")


def test_files_of_two_formats_are_refused_with_both(capsys):
    Path("trades.json").write_text('[{"symbol": "BTCUSDT", "id": 1, "orderId": 1, "price": "1", "qty": "1", '
                                   '"commission": "0", "commissionAsset": "BNB", "time": 1700000000000}]')  # fmt: skip
    said = refused(capsys, "trades.csv", "trades.json")
    assert "trades.csv (binance), trades.json (binance-api)" in said


def test_fees_in_another_currency_are_converted_at_a_stored_series(capsys):
    Path("bnb.csv").write_text(BARS)
    bars = ["--symbol", "BNB/USDT", "--timeframe", "1h", "--stamp", "open", "--exchange", "binance"]
    assert main(["data", "import", "bnb.csv", *bars]) == 0
    found = imported(capsys, "trades.csv", "--fee-price", "BNB=BNB/USDT")
    assert found["fees_not_converted"] == {"BNB": 0.02}, "no close is known before 01:00, and none in BTC"
    Path("trades.csv").write_text(TRADES.replace("00:30:00", "02:10:00"))
    found = imported(capsys, "trades.csv", "--fee-price", "BNB=BNB/USDT 1h")
    assert found["fees_converted"] == {"BNB": {"paid": 0.01, "value": pytest.approx(3.2)}}
    assert found["fees_not_converted"] == {"BNB": 0.01}
    by_symbol = {fill.symbol: fill for fill in fills(found["session_id"])}
    assert by_symbol["BTC/USDT"].fee_value == pytest.approx(3.2)
    assert (by_symbol["BTC/USDT"].fee, by_symbol["ETH/BTC"].fee_value) == (0.0, 0.0)
    assert read_manifest(sessions_folder() / found["session_id"])["imported"]["fee_series"] == {"BNB": "BNB/USDT 1h"}
    said = refused(capsys, "trades.csv", "--fee-price", "BNB=BNB/EUR")
    assert "--fee-price BNB: there are no bars of BNB/EUR" in said
    assert "Without it, fees in BNB are not included." in said


@pytest.mark.parametrize("error", [SessionError("no space"), KeyboardInterrupt()])
def test_an_import_that_fails_leaves_no_session(error, capsys, monkeypatch):
    append = JournalWriter.append

    def failing(self, event):
        if self.sequence == 4:
            raise error
        return append(self, event)

    monkeypatch.setattr(JournalWriter, "append", failing)
    assert main(["audit", "import", "trades.csv"]) != 0
    assert session_ids() == []
    monkeypatch.undo()
    assert main(["audit", "verify"]) == 0
    assert "chain of sessions is intact" in capsys.readouterr().out


def test_an_import_that_was_killed_is_replaced(capsys, monkeypatch):
    append = JournalWriter.append

    def killed(self, event):
        if self.sequence == 4:
            self.commit()
            os._exit(9)
        return append(self, event)

    def work():
        JournalWriter.append = killed
        main(["audit", "import", "trades.csv"])

    assert exit_code(fork(work)) == 9
    (left,) = session_ids()
    assert not is_sealed(sessions_folder() / left)
    assert imported(capsys, "trades.csv")["session_id"] == left
    assert check_journal(sessions_folder() / left).finding == "intact"
    assert session_ids() == [left]
    assert main(["audit", "verify"]) == 0


def test_a_full_disk_of_temporary_files_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(external_log, "_TABLES", f"PRAGMA max_page_count = 4; {external_log._TABLES}")
    Path("trades.csv").write_text(TRADES + "".join(
        f"2024-01-02 00:00:{n:02},BTCUSDT,BUY,42000,{n}BTC,1USDT,0.01BNB\n" for n in range(1, 60)))  # fmt: skip
    assert "temporary database of the import failed (database or disk is full)" in refused(capsys, "trades.csv")
    assert session_ids() == []


def test_the_order_of_the_rows_does_not_matter(capsys):
    """Exports list the newest row first."""
    rows = TRADES.splitlines()
    Path("reversed.csv").write_text("\n".join([rows[0], *rows[:0:-1]]))
    one, two = imported(capsys, "trades.csv"), imported(capsys, "reversed.csv")
    assert fills(one["session_id"]) == fills(two["session_id"])


def test_the_progress_of_a_long_import_is_shown(capsys):
    shown: dict[str, list[tuple[int, int]]] = {}

    @contextmanager
    def display(task, unit):
        yield lambda done, total: shown.setdefault(f"{task} {unit}", []).append((done, total))

    rows = (
        f"2024-01-02 {n // 3600:02}:{n // 60 % 60:02}:{n % 60:02},BTCUSDT,BUY,42000,1BTC,1USDT,1USDT"
        for n in range(1_100)
    )
    Path("trades.csv").write_text("\n".join([TRADES.splitlines()[0], *rows]))
    with progress_shown(display):
        import_log([Path("trades.csv")], 1, LogOptions())
    assert list(shown) == ["read MB", "join rows", "write events"]
    assert [done for done, _ in shown["join rows"]] == [999]
    assert shown["write events"][-1] == (4_000, 4_400)
    assert all(done <= total for each in shown.values() for done, total in each)


def test_a_balance_that_is_not_equal_is_exit_code_1(capsys):
    line = {"timestamp": "2024-01-01 00:00:00", "raw": "Balance for USDT on X", "symbol": "BTC-USDT", "side": "buy",
            "order_type": "MARKET", "qty": "1", "price": 100.0, "amount": 0.1}  # fmt: skip
    balances = {"DAILY_BALANCE": 1_000.01, "SUBMITTED": None, "EXECUTED": None, "FEE": 999.9}
    lines = [line | {"event": event, "balance_after": balance} for event, balance in balances.items()]
    pd.DataFrame(lines).to_parquet("lines.parquet")
    assert main(["audit", "import", "lines.parquet"]) == 1
    assert "1,000.01 USDT in the log, 1,000.00 by the cash: NOT EQUAL" in capsys.readouterr().out
    assert len(session_ids()) == 1


def test_only_the_equities_that_say_something_are_printed_of_many(capsys):
    line = {"timestamp": "2024-01-01 00:00:00", "raw": "Balance for USDT on X", "symbol": "BTC-USDT", "side": "buy",
            "order_type": "MARKET", "qty": "1", "price": 100.0, "amount": 0.1}  # fmt: skip
    days = [line | {"event": "DAILY_BALANCE", "balance_after": 1_000.0 + (day == 7)} for day in range(40)]
    trade = [line | {"event": event, "balance_after": balance}
             for event, balance in (("SUBMITTED", None), ("EXECUTED", None), ("FEE", 999.9))]  # fmt: skip
    pd.DataFrame([*days, *trade]).to_parquet("lines.parquet")
    assert main(["audit", "import", "lines.parquet"]) == 1
    said = [each for each in capsys.readouterr().out.splitlines() if "quit" in each]
    assert [each[:40] for each in said] == [
        "Equity of 2024-01-01 00:00:00: 1,001.00 ",
        "39 more equities are in --json.",
    ]


TRADE = {"id": "1", "order": "o", "timestamp": 1_700_000_000_000, "symbol": "BTC/USDT", "side": "buy", "price": 10.0,
         "amount": 1.0, "takerOrMaker": "taker"}  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [{"result": [TRADE]}, {"code": "0", "data": [TRADE]}, {"retCode": 0, "result": {"list": [TRADE]}, "time": 5}],
)
def test_the_records_of_an_answer_are_read(answer, capsys):
    Path("answer.json").write_text(json.dumps(answer, indent=1))
    assert imported(capsys, "answer.json")["n_fills"] == 1
    Path("pages.json").write_text("\n".join(json.dumps(answer) for _ in range(2)))
    found = imported(capsys, "pages.json")
    assert (found["n_fills"], found["n_duplicates"]) == (1, 1)


def test_an_answer_without_records_is_named(capsys):
    Path("answer.json").write_text('{"retCode": 10001, "result": {}}')
    assert "no format fits: its columns are retCode, result." in refused(capsys, "answer.json")


def test_several_accounts_in_a_log_are_named(capsys):
    head = "exchange_trade_id,order_id,trade_type,symbol,timestamp,order_type,price,amount,market"
    rows = [
        f"t{n},o{n},BUY,BTC-USDT,170000000000{n},MARKET,10,1,{market}" for n, market in enumerate(("kraken", "binance"))
    ]
    Path("fills.csv").write_text("\n".join([head, *rows]))
    assert main(["audit", "import", "fills.csv"]) == 0
    assert "Accounts: binance, kraken. Their orders are one log" in capsys.readouterr().out
    Path("fills.csv").write_text("\n".join([head, rows[0]]))
    assert imported(capsys, "fills.csv")["accounts"] == ["kraken"]
