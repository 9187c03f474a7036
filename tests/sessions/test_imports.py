"""An external order log becomes a session: every row is used, ignored or refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from peak_trade.cli import main
from peak_trade.journal.events import TERMINAL, OrderEvent, OrderEventKind
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.journal.formats.external_log import ExternalLog
from peak_trade.journal.formats.jesse import read_log_lines
from peak_trade.journal.formats.log_file import LogFile
from peak_trade.journal.formats.logged_orders import LogOptions
from peak_trade.sessions.store import check_journal, session_ids, sessions_folder

ORDERS = """order_id,Date(UTC),end_time,symbol,side,type,quantity,status,executed,price,limit_price,fee
1,2024-01-01 00:00:00,2024-01-01 00:00:01,BTC/USDT,BUY,MARKET,0.5,FILLED,0.5,42000,,21
2,2024-01-01 00:01:00,2024-01-01 00:09:00,BTC/USDT,SELL,LIMIT,0.5,CANCELED,0.2,43000,43000,8.6
3,2024-01-01 00:02:00,,BTC/USDT,SELL,LIMIT,0.3,NEW,0,,44000,
4,2024-01-01 00:03:00,2024-01-01 00:03:00,BTC/USDT,SELL,LIMIT,0.3,REJECTED,0,,45000,
"""
BAD = """5,2024-01-01 00:04:00,2024-01-01 00:03:00,BTC/USDT,SELL,LIMIT,0.3,CANCELED,0,,45000,
6,2024-01-01 00:04:00,2024-01-01 00:05:00,BTC/USDT,SELL,LIMIT,0.3BTC,CANCELED,0,,45000,
7,2024-01-01 00:04:00,2024-01-01 00:05:00,BTC/USDT,SELL,LIMIT,0.3,WHO_KNOWS,0,,45000,
1,2024-01-01 00:04:00,2024-01-01 00:05:00,BTC/USDT,SELL,LIMIT,0.3,CANCELED,0,,45000,
8,2024-01-01 00:04:00,2024-01-01 00:05:00,BTC/USDT,SELL,LIMIT,0.3,FILLED,0.2,45000,45000,
"""
TIME = ["--column", "time=Date(UTC)", "--fee-currency", "USDT"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path / "home"))
    return tmp_path


def lives(events: list[OrderEvent]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for event in events:
        found.setdefault(event.order_id, []).append(event.event)
    return found


def submitted(price: float = 100.0, event: str = "SUBMITTED", **changes: object) -> dict[str, object]:
    return {"timestamp": pd.Timestamp("2024-01-01", tz="UTC"), "event": event, "raw": "a line", "symbol": "BTC-USDT",
            "order_type": "LIMIT", "side": "sell", "qty": -1.0, "price": price, "amount": 0.1} | changes  # fmt: skip


def read_lines(folder: Path, rows: list[dict[str, object]]) -> ExternalLog:
    pd.DataFrame(rows).astype({"qty": str}).to_parquet(folder / "lines.parquet")
    log = ExternalLog(LogOptions("s", "USDT"))
    read_log_lines(LogFile(folder / "lines.parquet"), log)
    log.finish()
    return log


def test_a_real_paper_session_ends_every_order_once(here, real_data: Path, capsys):
    path = real_data / "orders" / "paper_session_binancefutures_2021-12.parquet"
    assert main(["audit", "import", str(path), "--format", "jesse", "--strategy", "OB5F_LS"]) == 0
    assert "54 orders" in capsys.readouterr().out
    name = session_ids()[0]
    folder = sessions_folder() / name
    orders = [event for event in read_events(folder) if isinstance(event, OrderEvent)]
    ends = Counter(event.event for event in orders if event.event in TERMINAL)
    assert ends == {OrderEventKind.FILLED: 34, OrderEventKind.CANCELED: 20}
    assert all(sum(kind in TERMINAL for kind in life) == 1 for life in lives(orders).values())
    frame = pd.read_parquet(path)
    imported = read_manifest(folder)["imported"]
    assert (
        imported["n_used"] + sum(imported["ignored"].values()) + len(imported["refused"])
        == len(frame)
        == imported["n_rows"]
    )
    fees = frame.loc[frame["event"] == "FEE", "amount"]
    assert sum(event.fee for event in orders) == pytest.approx(fees.sum(), rel=1e-12)
    assert {event.decision_price for event in orders} == {0.0}
    assert check_journal(folder).finding == "intact"
    for verb in (["session", "show", name], ["session", "list"], ["audit", "verify", name],
                 ["audit", "export", "--session", name, "--output", "trail.csv"]):  # fmt: skip
        assert main(verb) == 0
    capsys.readouterr()
    assert main(["audit", "import", str(path), "--strategy", "OB5F_LS"]) == 2
    assert f"was imported already, as {name}; nothing was added." in capsys.readouterr().err
    assert session_ids() == [name]


def test_an_export_of_orders_becomes_order_histories(here):
    Path("orders.csv").write_text(ORDERS)
    assert main(["audit", "import", "orders.csv", *TIME]) == 0
    orders = [event for event in read_events(sessions_folder() / session_ids()[0]) if isinstance(event, OrderEvent)]
    begun = ["REQUESTED", "SUBMITTED"]
    assert lives(orders) == {
        "1": [*begun, "ACCEPTED", "FILLED"],
        "2": [*begun, "ACCEPTED", "PARTIALLY_FILLED", "CANCELED"],
        "3": begun,
        "4": [*begun, "REJECTED"],
    }
    assert [(event.last_quantity, event.last_price, event.fee) for event in orders if event.last_quantity] == [
        (0.5, 42000.0, 21.0),
        (0.2, 43000.0, 8.6),
    ]
    assert [event.ts_event for event in orders] == sorted(event.ts_event for event in orders)


def test_rows_that_can_not_be_are_listed_and_left_out(here, capsys):
    Path("orders.csv").write_text(ORDERS + BAD)
    assert main(["audit", "import", "orders.csv", *TIME]) == 1
    said = capsys.readouterr().out
    assert all(f"Row {row} was left out" in said for row in range(5, 10))
    assert [row for row, _ in read_manifest(sessions_folder() / session_ids()[0])["imported"]["refused"]] == [
        5, 6, 7, 8, 9,
    ]  # fmt: skip


def test_a_line_that_ends_no_open_order_is_refused(tmp_path):
    rows = [submitted(), submitted(event="EXECUTED", price=101.0), submitted(event="SOMETHING"), submitted(event="FEE"),
            submitted(event="EXECUTED"), submitted(event="FEE"), submitted(event="CANCELED"),
            submitted(timestamp=pd.NaT), submitted(qty="much")]  # fmt: skip
    log = read_lines(tmp_path, rows)
    assert [row for row, _ in log.refused] == [2, 3, 4, 7, 8, 9]
    assert log.n_used == 3
    last = list(log.events())[-1]
    assert (last.fee, last.event) == (0.1, OrderEventKind.FILLED)


def test_equal_orders_end_oldest_first(tmp_path):
    rows = [submitted(), submitted(), submitted(event="CANCELED"), submitted(event="EXECUTED")]
    found = lives(list(read_lines(tmp_path, rows).events()))
    assert [found[name][-1] for name in ("row-1", "row-2")] == ["CANCELED", "FILLED"]


def test_an_import_has_nothing_to_replay_or_compare(here, capsys):
    Path("orders.csv").write_text(ORDERS)
    assert main(["audit", "import", "orders.csv", *TIME]) == 0
    name = session_ids()[0]
    for verb in (["replay", "--session", name], ["diff", name, name], ["session", "resume", name]):
        capsys.readouterr()
        assert main(verb) == 2
        assert "imported" in capsys.readouterr().err


@pytest.mark.parametrize(
    "asked",
    [
        ["nowhere.csv"],
        ["orders.csv"],
        ["orders.csv", "--format", "fix"],
        ["orders.csv", "--format", "jesse"],
        ["orders.csv", "--column", "time"],
        ["orders.csv", *TIME, "--fee-price", "BNB=ETH/USDT"],
        ["orders.csv", "orders.csv"],
        ["orders.csv", *TIME, "--column", "sied=side"],
        ["empty.csv", *TIME],
    ],
    ids=lambda part: "_".join(part[:3]),
)
def test_what_can_not_be_imported_leaves_nothing_behind(here, asked, capsys):
    Path("orders.csv").write_text(ORDERS)
    Path("empty.csv").write_text(ORDERS.splitlines()[0] + "\n")
    assert main(["audit", "import", *asked]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert session_ids() == []
