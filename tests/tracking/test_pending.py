"""Runs are recorded without MLflow, every reader shows them as it does when MLflow has them, and none is lost.

`test_kills.py` kills processes.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from threading import Thread

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient

from peak_trade.cli import main
from peak_trade.core import errors, files
from peak_trade.core.errors import ConfigError
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.metrics import Measure
from peak_trade.site.explorer import run_rows
from peak_trade.tracking import compare_runs, count_runs, list_runs, pending, record, record_run, show_run
from peak_trade.tracking.entries import TAGS, local_note, local_notes
from peak_trade.tracking.pending import pending_ids
from peak_trade.tracking.queries import find_run, latest_entries, notes_of, page_runs, read_run
from peak_trade.tracking.record import sync_runs
from tests.examples import examples, mostly_long
from tests.tracking.test_registry import run_of

SORTED_BY = ("recorded_at", *TAGS, "total_return", "sharpe")
texts = st.text(st.characters(exclude_categories=()), max_size=8)
numbers = st.sampled_from([0.25, -1.5, 1e-320, -1e308, 0.1 + 0.2])


@st.composite
def runs(draw):
    """Return a run that is recorded at one of two times, with values that a database could change."""
    return draw(st.sampled_from([1_700_000_000_000, 1_700_000_000_001])), run_of(
        draw(st.sampled_from(["aa11", "aa1", "b-2", "B_2", "c3"])),
        strategy=draw(st.sampled_from(["macd", "ma_crossover", "é"])),
        symbol=draw(st.sampled_from(["BTC/USDT", "ETH/USDT"])),
        start="",
        parameters=draw(st.dictionaries(st.sampled_from(["a", "b.c", "B"]), texts | st.integers() | st.none())),
        metrics=draw(st.dictionaries(st.sampled_from(["total_return", "sharpe", "m"]), numbers | st.none())),
        notes=draw(st.dictionaries(st.sampled_from(["chain_head", "remarks"]), texts)),
    )


def answers():
    """Return what every reader says of the runs, as text, in which equal values are equal."""
    ids = list_runs()["run_id"].tolist()
    found: list[object] = [list_runs(), list_runs(limit=2), list_runs(strategy="macd", symbol="BTC/USDT"), count_runs()]
    found += [compare_runs(ids), [show_run(run_id) for run_id in ids]] if ids else []
    found += [[find_run(run_id) for run_id in ids], [read_run(run_id) for run_id in ids]]
    found += [notes_of("chain_head"), sorted(local_notes("remarks")), [local_note(each, "remarks") for each in ids]]
    for name in SORTED_BY:
        for sort in (name, f"-{name}"):
            page = page_runs({"symbol": "BTC/USDT"} if name == "end" else {}, None, None, sort, offset=1, limit=3)
            found += [page.n_runs, list(page.runs.values())]
    found += [run_rows([]), [(each.run_id, each.status, each.recorded_at) for each in latest_entries(3)]]
    return [each.to_json(date_format="iso") if isinstance(each, pd.DataFrame) else repr(each) for each in found]


def in_mlflow(home: Path) -> list[tuple[str, str]]:
    """Return run id and status of each entry in MLflow that was not discarded."""
    words = (
        "SELECT value, status FROM runs JOIN tags USING (run_uuid) WHERE key = 'run_id' AND lifecycle_stage = 'active'"
    )
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        return sorted(connection.execute(words))


@pytest.mark.long
@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(runs() | st.just("sync"), min_size=2, max_size=6))
def test_every_reader_says_the_same_before_and_after_runs_are_moved_to_mlflow(registry, empty_registry, steps):
    shutil.rmtree(registry)
    registry.mkdir()
    shutil.copy(empty_registry, registry / "mlflow.db")
    for step in steps:
        if step == "sync":
            sync_runs()
            continue
        now, run = step
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time_ns", lambda now=now: now * 1_000_000)
            record_run(run)
    before, n_pending = answers(), len(pending_ids())
    assert sync_runs().n_written == n_pending
    assert answers() == before
    assert pending_ids() == []
    assert in_mlflow(registry) == sorted({(step[1].run_id, "FINISHED") for step in steps if step != "sync"})


def with_file(tmp_path, run_id="aa11", **changes):
    """Return a run with a file and with a folder that has one."""
    (tmp_path / "sources" / "inner").mkdir(parents=True, exist_ok=True)
    (tmp_path / "sources" / "inner" / "own.py").write_text("x = 1\n")
    (tmp_path / "table.csv").write_text("a\n")
    return run_of(run_id, artifacts=(tmp_path / "table.csv", tmp_path / "sources"), **changes)


FILES = {"table.csv": b"a\n", "sources/inner/own.py": b"x = 1\n"}


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs but what ends a process."""


def kill_at(place, name, n_calls, patch, *, after=False):
    """Stop the process at a call of a function, before or after it."""
    former, n_seen = getattr(place, name), 0

    def stopping(*arguments, **options):
        nonlocal n_seen
        n_seen += 1
        if n_seen == n_calls and not after:
            raise Killed
        answer = former(*arguments, **options)
        if n_seen == n_calls:
            raise Killed
        return answer

    patch.setattr(place, name, stopping)


MOVING = [
    (files, "create_file", 1, False),
    (MlflowClient, "set_terminated", 1, True),
    (pending, "rename", 1, True),
    (MlflowClient, "create_run", 1, False),
    (MlflowClient, "create_run", 1, True),
    (MlflowClient, "log_batch", 2, False),
    (record, "store_artifacts", 1, True),
    (MlflowClient, "set_terminated", 1, False),
]


@pytest.mark.parametrize(("place", "name", "n_calls", "after"), mostly_long(MOVING, 1))
def test_a_move_to_mlflow_that_is_killed_changes_no_answer_and_is_done_once(
    place, name, n_calls, after, registry, tmp_path, monkeypatch
):
    record_run(with_file(tmp_path))
    before = answers()
    with monkeypatch.context() as patch:
        kill_at(place, name, n_calls, patch, after=after)
        with pytest.raises(Killed):
            sync_runs()
    assert answers() == before
    record_run(with_file(tmp_path))
    sync_runs()
    assert answers() == before
    assert in_mlflow(registry) == [("aa11", "FINISHED")]
    assert read_run("aa11").files == FILES
    assert len(list((registry / "mlartifacts").glob("*"))) == 1
    record_run(run_of("bb22"))
    assert sorted(path.name for path in (registry / "pending").iterdir()) == [".lock", "bb22"]


RECORDING = [
    ("copy_into", False),
    ("copy_into", True),
    ("create_file", False),
    ("create_file", True),
    ("replace_folder", False),
]


@pytest.mark.parametrize(("name", "after"), RECORDING)
def test_a_recording_that_is_killed_leaves_no_run_and_is_done_again(name, after, registry, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(pending.shutil, "rmtree", lambda *_, **__: None)
        kill_at(pending, name, 1, patch, after=after)
        with pytest.raises(Killed):
            record_run(with_file(tmp_path))
    assert list_runs().empty
    assert count_runs() == 0
    assert [path.name[:6] for path in (registry / "pending").iterdir() if path.is_dir()] == [".aa11."]
    record_run(with_file(tmp_path))
    assert read_run("aa11").files == FILES
    assert sorted(path.name for path in (registry / "pending").iterdir()) == [".lock", "aa11"]


def test_a_run_is_on_disk_before_it_has_its_name(registry, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    renamed = pending.replace_folder

    def replacing(source, target):
        written = {str(path) for path in [source, *source.rglob("*")]}
        assert written <= set(synced)
        assert len(written) == 7
        synced.clear()
        renamed(source, target)
        assert synced[-1] == str(target.parent)
        synced.clear()

    monkeypatch.setattr(pending, "replace_folder", replacing)
    record_run(with_file(tmp_path))
    assert synced == []
    sync_runs()
    stored = next((registry / "mlartifacts").glob("*/artifacts"))
    assert {str(path) for path in [stored, *stored.rglob("*")]} <= set(synced)


@pytest.mark.long
def test_runs_that_are_recorded_while_others_are_moved_are_all_there_once(registry):
    ids, seen = [f"r{n:02}" for n in range(12)], []
    writer = Thread(target=lambda: [record_run(run_of(run_id)) for run_id in ids])
    second = Thread(target=lambda: [record_run(run_of(run_id)) for run_id in reversed(ids)])
    for thread in (writer, second):
        thread.start()
    while writer.is_alive() or second.is_alive():
        sync_runs()
        seen.append(list_runs())
    sync_runs()
    assert set(list_runs()["run_id"]) == set(ids)
    assert in_mlflow(registry) == [(run_id, "FINISHED") for run_id in ids]
    assert all(each["run_id"].is_unique for each in seen)
    assert all(set(each["status"]) <= {"done"} for each in seen)


@pytest.mark.parametrize(
    "damage",
    mostly_long(
        [
            lambda path: path.write_bytes(path.read_bytes()[:-9]),
            lambda path: path.write_text(path.read_text().replace("aa11", "aa12")),
            lambda path: path.write_text(path.read_text().replace('"format":1', '"format":2')),
            lambda path: path.write_bytes(b"\xff\xfe"),
            lambda path: path.unlink(),
        ],
        1,
    ),
    ids=["cut", "other-run", "later-version", "no-text", "gone"],
)
def test_a_damaged_record_is_one_line_and_the_others_are_listed(damage, registry, capsys, caplog):
    record_run(run_of("aa11"))
    record_run(run_of("bb22"))
    path = registry / "pending" / "aa11" / "entry.json"
    damage(path)
    errors.warn_once.cache_clear()
    assert main(["runs", "list", "--json"]) == 0
    assert [run["run_id"] for run in json.loads(capsys.readouterr().out)] == ["bb22"]
    (line,) = caplog.messages
    assert f"{path}: the record of a run is damaged: " in line
    assert count_runs() == 1
    assert main(["runs", "sync"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "Wrote 1 run to MLflow.\n"
    assert f"peak-trade: 1 run could not be written to MLflow: {path}: the record" in shown.err
    assert shown.err.count("\n") == 1
    record_run(run_of("aa11"))
    assert main(["runs", "sync"]) == 0
    assert in_mlflow(registry) == [("aa11", "FINISHED"), ("bb22", "FINISHED")]


@pytest.mark.long
def test_a_move_that_fails_keeps_the_run_and_says_so(registry, monkeypatch, capsys):
    record_run(run_of("aa11"))
    before = answers()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", full)
        assert main(["runs", "sync"]) == 2
    line = capsys.readouterr().err
    assert "run aa11 is not in MLflow yet: [Errno 28] No space left on device. It is kept in " in line
    assert answers() == before
    assert sync_runs().n_written == 1
    assert answers() == before


BACKTEST = ["backtest", "--strategy", "ma_crossover", "--symbol", "BTC/USDT"]


def test_a_recorded_backtest_needs_no_mlflow(home, monkeypatch, capsys):
    save_bars(sample_bars("BTC/USDT", n_bars=200))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(record, "open_registry", lambda: pytest.fail("MLflow was loaded"))
    assert main(BACKTEST) == main(BACKTEST) == 0
    assert list_runs()["status"].tolist() == ["done"]
    assert not (home / "mlflow.db").exists()


@pytest.mark.parametrize("name", mostly_long(["create_file", "replace_folder", "make_folder"], 1))
def test_a_run_that_can_not_be_stored_is_one_line_and_exit_code_2(name, home, monkeypatch, capsys):
    save_bars(sample_bars("BTC/USDT", n_bars=200))

    def full(path, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(pending, name, full)
        assert main(BACKTEST) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device. The run was not recorded: free the disk or make the folder writable" in line
    assert list_runs().empty
    assert not [path for path in home.glob("pending/*") if path.name != ".lock"]
    assert main(BACKTEST) == 0
    assert len(list_runs()) == 1


def test_a_recording_that_waits_too_long_names_the_process(registry, monkeypatch):
    monkeypatch.setattr("peak_trade.tracking.registry.LOCK_WAIT_SECONDS", 0.01)
    with pending.changing(), pytest.raises(ConfigError, match=rf"process {os.getpid()} .*Wait for that process"):
        record_run(run_of("aa11"))


@pytest.mark.long
@pytest.mark.parametrize("is_in_mlflow", mostly_long([False, True], 1), ids=["pending", "mlflow"])
def test_a_later_check_for_look_ahead_replaces_one_that_was_not_made(registry, tmp_path, is_in_mlflow):
    def outcome(verdict):
        return {"causality": f"it is {verdict}", "causality_verdict": verdict, "remarks": f"of {verdict}"}

    record_run(with_file(tmp_path, notes=outcome("not checked")))
    recorded_at = list_runs()["recorded_at"].tolist()
    if is_in_mlflow:
        sync_runs()
    record_run(run_of("bb22"))
    record_run(with_file(tmp_path, notes=outcome("clean"), metrics={"total_return": 9.0}))
    record_run(with_file(tmp_path, notes=outcome("not checked")))
    assert show_run("aa11")["aa11"]["tag", "note.causality"] == "it is clean"
    assert local_note("aa11", "remarks") == "of clean"
    assert list_runs(strategy="ma_crossover")["recorded_at"].tolist()[-1:] == recorded_at
    assert read_run("aa11").files == FILES
    assert (pending_ids() == []) is is_in_mlflow  # the command that loads MLflow moves the others
    before = answers()
    sync_runs()
    assert answers() == before


def test_a_registry_elsewhere_has_a_run_at_once_and_no_pending_ones(registry, tmp_path, monkeypatch, capsys):
    record_run(run_of("aa11"))
    elsewhere = tmp_path / "elsewhere.db"
    shutil.copy(registry / "mlflow.db", elsewhere)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    assert list_runs().empty
    record_run(run_of("bb22"))
    assert list_runs()["run_id"].tolist() == ["bb22"]
    assert main(["runs", "sync"]) == 2
    assert "MLFLOW_TRACKING_URI is set: its runs are written at once, and none waits for it." in capsys.readouterr().err
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert list_runs()["run_id"].tolist() == ["aa11"]
    assert in_mlflow(registry) == []


@pytest.mark.parametrize("name", ["", "..", "a/b", ".a", "a" * 65, "é", "a'b"])
def test_a_run_id_that_is_no_name_is_refused(name):
    with pytest.raises(ConfigError, match="1 to 64 letters, digits, - and _"):
        run_of(name)


@pytest.mark.parametrize("name", ["a;b", "/a", "../a", "a//b", "a" * 251, ""])
def test_a_name_that_mlflow_refuses_is_refused_when_the_run_is_recorded(name, registry):
    for changes in ({"parameters": {name: 1}}, {"metrics": {name: Measure(1.0, 1)}}):
        with pytest.raises(ConfigError, match="Rename that parameter"):
            record_run(run_of("aa11", **changes))
    assert list_runs().empty
