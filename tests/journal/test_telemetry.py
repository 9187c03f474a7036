"""Sinks, retention, and the specification generated from the event classes."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from peak_trade.core.errors import ConfigError
from peak_trade.core.values import Denial, OrderType, Side, TimeInForce
from peak_trade.journal.events import (
    EVENT_CLASSES,
    FIX,
    BarEvent,
    DecisionEvent,
    LatencyEvent,
    OrderEvent,
    OrderEventKind,
)
from peak_trade.journal.export import write_trail
from peak_trade.journal.files import EVENTS, read_events, read_lines
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.lock import is_open
from peak_trade.journal.sinks import ParquetSink, level_filter
from peak_trade.journal.spec import FIX_TAGS, RTS_24, RTS_24_EVENTS, telemetry_spec
from peak_trade.journal.telemetry import Retention, Sinks, TelemetrySettings, make_sinks, tidy
from peak_trade.journal.verify import VerdictKind, verify
from peak_trade.journal.writer import JournalWriter, create_session

ROOT = Path(__file__).parents[2]
DAY = 86_400 * 10**9
ORDER = OrderEvent(
    1, "o-1", "ma_crossover", "BTC/USDT", OrderEventKind.REQUESTED, Side.BUY, OrderType.MARKET, TimeInForce.GTC,
    1.0, 0.0, 1.0, 100.0, 100.0,
)  # fmt: skip
EVENTS_OF_A_RUN = [
    BarEvent(1, "BTC/USDT", 1.0, 1.0, 1.0, 1.0, 0.5),
    ORDER,
    DecisionEvent(1, "o-1", False, (Denial("max_drawdown", 0.3, 0.2),), "{}"),
    LatencyEvent(1, "bar", 0.25),
]


@pytest.fixture
def key(tmp_path):
    return WorkspaceKey(tmp_path / "keys")


def run(folder: Path, key: WorkspaceKey, *, seal: bool = True, **options: object) -> Path:
    if not folder.exists():
        create_session(folder, {"session_id": folder.name}, key, lambda: 1)
    writer = JournalWriter(folder, key, lambda: 10 * DAY, commit_seconds=60.0, **options)
    for event in EVENTS_OF_A_RUN:
        writer.append(event)
    writer.seal() if seal else writer.close()
    return folder


def test_the_shipped_settings_are_the_defaults():
    assert TelemetrySettings.from_toml(ROOT / "config" / "execution_telemetry.toml") == TelemetrySettings()


def test_the_specification_is_generated_from_the_event_classes():
    written = (ROOT / "docs" / "execution" / "TELEMETRY_SPEC.md").read_text(encoding="utf-8")
    assert written == telemetry_spec(), "run `peak-trade audit spec > docs/execution/TELEMETRY_SPEC.md`"
    assert all(f"## `{event_class.kind}`" in written for event_class in EVENT_CLASSES)
    assert all(kind in written for kind in FIX)
    assert all(tag in written for tag in FIX_TAGS.values())


def test_every_rts_24_field_maps_to_a_field_of_an_order():
    rows = [line.split("|")[1:-1] for line in telemetry_spec().splitlines() if line.startswith("|")]
    mapped = {row[0].strip(): row[4].strip() for row in rows if len(row) == 5}
    names = set(OrderEvent.__struct_fields__)
    assert RTS_24.keys() < names
    assert all(mapped[f"`{name}`"] == RTS_24.get(name, "") for name in names)
    assert all(mapped[kind] == RTS_24_EVENTS.get(kind, "") for kind in FIX)
    assert not {"REQUESTED", "DENIED", "SUBMITTED"} & RTS_24_EVENTS.keys(), "no venue has heard of these"


def test_every_sink_gets_what_its_level_keeps(tmp_path, key):
    folder = tmp_path / "s"
    create_session(folder, {}, key, lambda: 1)
    stream = io.StringIO()
    on = {name: {"enabled": True, "level": level} for name, level in
          {"sqlite": "replay", "parquet": "full", "stdout": "orders"}.items()}  # fmt: skip
    run(folder, key, sinks=make_sinks(Sinks.parse(on, "test"), folder, stream))
    with closing(sqlite3.connect(folder / "events.db")) as database, database:
        assert database.execute("select kind, order_id from events").fetchall() == [
            ("bar", None),
            ("order", "o-1"),
            ("decision", "o-1"),
        ]
    database.close()
    assert pd.read_parquet(folder / "events.parquet")["kind"].tolist() == ["bar", "order", "decision", "latency"]
    assert [json.loads(line)["event"]["kind"] for line in stream.getvalue().splitlines()] == ["order", "decision"]


def test_a_sink_that_missed_the_end_of_a_killed_session_gets_it_when_resumed(tmp_path, key):
    folder = tmp_path / "s"
    create_session(folder, {}, key, lambda: 1)
    writer = JournalWriter(folder, key, lambda: 1)
    writer.append(EVENTS_OF_A_RUN[0])
    writer.close()
    on = Sinks.parse({"sqlite": {"enabled": True}}, "test")
    JournalWriter(folder, key, lambda: 1, sinks=make_sinks(on, folder)).close()
    database = sqlite3.connect(folder / "events.db")
    assert database.execute("select count(*) from events").fetchone() == (1,)
    database.close()


@pytest.mark.parametrize("name", ["sqlite", "parquet"])
def test_a_copy_that_can_not_be_written_is_dropped_and_the_session_is_sealed(tmp_path, key, name):
    folder = tmp_path / "s"
    create_session(folder, {}, key, lambda: 1)
    path = folder / {"sqlite": "events.db", "parquet": "events.parquet"}[name]
    path.write_bytes(b"this is no database" * 100) if name == "sqlite" else path.mkdir()
    writer = JournalWriter(
        folder, key, lambda: 1, sinks=make_sinks(Sinks.parse({name: {"enabled": True}}, "test"), folder)
    )
    writer.append(EVENTS_OF_A_RUN[0])
    writer.seal()
    assert [dropped.partition(":")[0] for dropped in writer.dropped_sinks] == [f"{name.capitalize()}Sink"]
    assert verify(folder, key.public).finding is VerdictKind.INTACT
    assert not is_open(folder)


def test_a_copy_in_parquet_is_replaced_as_a_whole(tmp_path, key, monkeypatch):
    def broken(rows, names, path):
        path.write_bytes(b"PAR1 and no more")
        raise OSError("full")

    create_session(tmp_path / "s", {}, key, lambda: 1)
    copy = tmp_path / "s" / "events.parquet"
    copy.write_bytes(b"the copy before")
    before = sorted(path.name for path in copy.parent.iterdir())
    monkeypatch.setattr("peak_trade.journal.sinks.write_parquet", broken)
    with pytest.raises(OSError, match="full"):
        ParquetSink(copy, "full").close()
    assert copy.read_bytes() == b"the copy before"
    assert sorted(path.name for path in copy.parent.iterdir()) == before


def test_a_locked_database_delays_no_order(tmp_path, key):
    folder = tmp_path / "s"
    create_session(folder, {}, key, lambda: 1)
    on = Sinks.parse({"sqlite": {"enabled": True}}, "test")
    writer = JournalWriter(folder, key, lambda: 1, sinks=make_sinks(on, folder), commit_seconds=60.0)
    other = sqlite3.connect(folder / "events.db")
    other.execute("begin exclusive")
    writer.append(ORDER)
    writer.commit()
    assert (writer.committed, writer.dropped_sinks) == (1, [])
    writer.seal()
    other.close()
    assert writer.dropped_sinks == ["SqliteSink: database is locked"]


def test_the_replay_level_leaves_out_latencies_only(tmp_path, key):
    folder = run(tmp_path / "s", key, is_recorded=level_filter("replay"))
    assert read_events(folder) == EVENTS_OF_A_RUN[:3]


def test_retention_never_touches_an_open_or_interrupted_session(tmp_path, key):
    sessions = tmp_path / "sessions"
    run(sessions / "sealed", key)
    run(sessions / "interrupted", key, seal=False)
    create_session(sessions / "open", {}, key, lambda: 1)
    writer = JournalWriter(sessions / "open", key, lambda: 1)
    rules = Retention(compress_after_days=5.0)
    assert tidy(sessions, rules, 14 * DAY, lambda: key) == []
    done = tidy(sessions, rules, 15 * DAY, lambda: key)
    assert [(each.session_id, each.action) for each in done] == [("sealed", "compressed")]
    assert tidy(sessions, rules, 99 * DAY, lambda: key) == []
    assert not (sessions / "sealed" / EVENTS).exists()
    assert verify(sessions / "sealed", key.public).finding is VerdictKind.INTACT
    assert read_events(sessions / "sealed") == EVENTS_OF_A_RUN
    done = tidy(sessions, Retention(delete_after_days=1.0), 15 * DAY, lambda: key)
    assert [(each.session_id, each.action) for each in done] == [("sealed", "deleted")]
    assert sorted(path.name for path in sessions.glob("[!.]*")) == ["chain.jsonl", "interrupted", "open"]
    writer.close()


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_the_trail_holds_every_event_in_each_format(tmp_path, key, suffix):
    folder = run(tmp_path / "s", key)
    path = tmp_path / f"trail{suffix}"
    assert write_trail([("s", read_lines(folder))], path) == 4
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet}.get(suffix)
    rows = read(path).to_dict("records") if read else json.loads(path.read_text())
    assert [row["kind"] for row in rows] == ["bar", "order", "decision", "latency"]
    assert (rows[1]["ord_status"], rows[1]["exec_type"], rows[1]["quantity"]) == ("PendingNew", "PendingNew", 1.0)
    assert json.loads(rows[2]["denials"]) == [["max_drawdown", 0.3, 0.2]]


def test_another_format_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"must end in \.csv"):
        write_trail([], tmp_path / "trail.xlsx")
