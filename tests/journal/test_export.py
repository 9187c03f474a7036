"""The audit trail is written row by row, whole or not at all, and journals are read without holding them in memory."""

from __future__ import annotations

import gzip
import json
import math
import tracemalloc
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.core.time import iso
from peak_trade.core.values import TradingState
from peak_trade.data.store import save_bars
from peak_trade.journal.codec import Line, event_to_dict, spell_out
from peak_trade.journal.events import (
    EVENT_CLASSES,
    BarEvent,
    FeedFault,
    FeedFaultEvent,
    OrderEvent,
    SessionEvent,
    SessionPhase,
    TradingStateEvent,
)
from peak_trade.journal.export import FORMATS, columns, rows_of, write_trail
from peak_trade.journal.files import EVENTS, read_lines
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.verify import VerdictKind, verify
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.sessions.store import session_ids
from tests.examples import examples, mostly_long
from tests.journal.test_codec import events_of
from tests.replacing import replace
from tests.sessions.running import RUN, wavy

BAR = BarEvent(1, 'a "b", ünïcode', 1.0, 2.5, 1e-7, 1.0, 0.1 + 0.2)
EVENTS_WRITTEN = [
    BAR,
    FeedFaultEvent(2, "BTC/USDT", FeedFault.GAP, 3, "line\nbreak"),
    TradingStateEvent(3, TradingState.HALTED, "drawdown", math.inf, math.nan),
    SessionEvent(4, SessionPhase.STARTED, "paper", "", 1.0, strategies=("a", "b"), symbols=("BTC/USDT",)),
]
LINES = [Line(event, n, 10 * n, "0" * 64) for n, event in enumerate(EVENTS_WRITTEN, start=1)]


def read(path: Path) -> list[dict[str, object]]:
    """The rows of a file, without the empty values."""
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, keep_default_na=False)
    rows = frame.to_dict("records")
    return [{name: value for name, value in row.items() if value not in ("", None) and value == value} for row in rows]


@pytest.mark.parametrize("suffix", FORMATS)
def test_values_come_back_from_each_format(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    assert write_trail([("s", LINES), ("t", LINES[:1])], path) == 5
    rows = read(path)
    assert [row["session_id"] for row in rows] == ["s"] * 4 + ["t"]
    assert (rows[0]["symbol"], float(rows[0]["high"]), float(rows[0]["volume"])) == (BAR.symbol, 2.5, BAR.volume)
    assert (rows[1]["fault"], int(rows[1]["n_bars"]), rows[1]["detail"]) == ("gap", 3, "line\nbreak")
    assert "limit" not in rows[2]
    assert json.loads(rows[3]["strategies"]) == ["a", "b"]


@given(events=st.lists(st.sampled_from(EVENT_CLASSES).flatmap(events_of), max_size=4), data=st.data())
@settings(max_examples=examples(60), deadline=None)
def test_a_row_has_the_fields_of_its_event_in_their_columns(events, data):
    names = data.draw(st.lists(st.sampled_from(columns()), min_size=1, unique=True))
    lines = [Line(event, n, -n, "") for n, event in enumerate(events, start=1)]
    rows = list(rows_of("s", lines, names))
    assert len(rows) == len(lines)
    for line, row in zip(lines, rows, strict=True):
        fields = event_to_dict(line.event) | {"session_id": "s", "sequence": line.sequence}
        fields |= {"ts_recorded": line.ts_recorded, "time": iso(line.event.ts_event)}
        if isinstance(line.event, OrderEvent):
            fields |= {"ord_status": line.event.ord_status, "exec_type": line.event.exec_type}
        lists = {
            name: json.dumps(spell_out(value)) for name, value in fields.items() if isinstance(value, list | tuple)
        }
        assert repr(row) == repr(tuple((fields | lists).get(name) for name in names))


@pytest.mark.parametrize("suffix", FORMATS)
def test_kinds_and_columns_choose_rows_and_columns(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    assert write_trail([("s", LINES)], path, ["bar", "session"], ["kind", "sequence"]) == 2
    assert [list(row.items()) for row in read(path)] == [
        [("kind", "bar"), ("sequence", 1)],
        [("kind", "session"), ("sequence", 4)],
    ]


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_event_is_an_empty_table(tmp_path, suffix):
    assert write_trail([], tmp_path / f"t{suffix}") == 0
    assert read(tmp_path / f"t{suffix}") == []
    if suffix == ".csv":
        assert (tmp_path / "t.csv").read_text(encoding="utf-8") == ",".join(columns()) + "\n"


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("error", [SessionError("damaged"), KeyboardInterrupt(), OSError(28, "No space left")])
def test_an_export_that_fails_leaves_the_file_of_before(tmp_path, suffix, error):
    def failing():
        yield LINES[0]
        raise error

    path = tmp_path / f"t{suffix}"
    path.write_bytes(b"before")
    with pytest.raises(ConfigError if isinstance(error, OSError) else type(error)):
        write_trail([("s", failing())], path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("t.xlsx", {}, r"must end in \.csv"),
        ("no/such/t.csv", {}, r"there is no folder .*no/such. Make it first"),
        ("t.csv", {"kinds": ["ordr"]}, "kind was 'ordr'. Did you mean order"),
        ("t.csv", {"names": ["sequense"]}, "columns was 'sequense'. Did you mean sequence"),
        ("t.csv", {"names": [""]}, "columns was ''"),
    ],
)
def test_what_can_not_be_exported_is_refused_before_anything_is_written(tmp_path, path, options, message):
    with pytest.raises(ConfigError, match=message):
        write_trail([("s", LINES)], tmp_path / path, **options)
    assert list(tmp_path.iterdir()) == []


def test_the_latest_session_is_exported_unless_another_or_all_are_named(home, capsys):
    save_bars(wavy(40))
    for _ in range(2):
        assert main(RUN) == 0
    first, last = session_ids()
    path = home / "trail.csv"

    def exported(*words: str) -> set[str]:
        assert main(["audit", "export", "--output", str(path), *words]) == 0
        return set(pd.read_csv(path)["session_id"])

    assert exported() == {last}
    assert exported("--session", first) == {first}
    assert exported("--all", "--kind", "signal", "--kind", "bar", "--columns", "session_id, kind") == {first, last}
    assert list(pd.read_csv(path)) == ["session_id", "kind"]
    capsys.readouterr()
    assert main(["audit", "export", "--output", str(path), "--all", "--session", first]) == 2
    assert "both given" in capsys.readouterr().err


def test_an_export_without_a_session_says_how_to_start_one(home, capsys):
    assert main(["audit", "export", "--output", "trail.csv"]) == 2
    assert "Start one with" in capsys.readouterr().err


@pytest.fixture(scope="module")
def journals(tmp_path_factory) -> dict[int, Path]:
    """Sealed sessions by their number of bars."""
    home = tmp_path_factory.mktemp("journals")
    key = WorkspaceKey(home / "keys")
    for n_bars in (1_000, 4_000):
        folder = home / str(n_bars)
        create_session(folder, {"session_id": folder.name}, key, lambda: 1)
        with JournalWriter(folder, key, lambda: 1, commit_seconds=60.0) as writer:
            for n in range(n_bars):
                writer.append(replace(BAR, ts_event=n))
            writer.seal()
    return {int(path.name): path for path in home.iterdir() if path.name != "keys"}


def peak(work) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "work",
    mostly_long(
        [
            lambda folder: verify(folder, None),
            lambda folder: write_trail([("s", read_lines(folder))], folder.parent / "t.csv"),
            pytest.param(
                lambda folder: write_trail([("s", read_lines(folder))], folder.parent / "t.json"),
                marks=pytest.mark.long,
            ),
        ],
        1,
    ),
    ids=["verify", "csv", "json"],
)
def test_memory_does_not_grow_with_the_journal(journals, work):
    work(journals[1_000])
    few, many = (peak(lambda folder=folder: work(folder)) for folder in (journals[1_000], journals[4_000]))
    assert many < few + 200_000


@pytest.mark.long
@pytest.mark.parametrize("is_packed", [True, False])
def test_a_fault_of_a_large_journal_is_named_without_holding_it(journals, tmp_path, is_packed):
    texts = (journals[4_000] / EVENTS).read_bytes().splitlines(keepends=True)
    for path in journals[4_000].iterdir():
        if path.name != EVENTS:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    texts[3_500] = texts[3_500].replace(b'"high":2.5', b'"high":3.5')
    content = b"".join(texts)
    name = f"{EVENTS}.gz" if is_packed else EVENTS
    (tmp_path / name).write_bytes(gzip.compress(content, mtime=0) if is_packed else content)
    found = []
    used = peak(lambda: found.append(verify(tmp_path, None)))
    assert (found[0].finding, found[0].line) == (VerdictKind.EDITED, 3_501)
    assert used < len(content)
