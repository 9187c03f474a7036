"""Runs are recorded once, found again, and compared."""

import errno
import json
import os
import shutil
import sqlite3
import sys
import time
import warnings
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.metrics import Measure
from peak_trade.site import explorer
from peak_trade.site.explorer import run_rows
from peak_trade.tracking import (
    DIGEST_NAMES,
    RunRecord,
    compare_runs,
    count_runs,
    entries,
    list_runs,
    record_run,
    show_run,
)
from peak_trade.tracking.entries import local_note
from peak_trade.tracking.queries import notes_of, read_run
from peak_trade.tracking.record import sync_runs


def run_of(run_id, **changes):
    values = {
        "run_type": "backtest",
        "strategy": "ma_crossover",
        "symbol": "BTC/USDT",
        "timeframe": "1h",
        "start": "2024-01-01 01:00:00Z",
        "end": "2024-06-30 00:00:00Z",
        "digests": dict.fromkeys(DIGEST_NAMES, "d1"),
        "parameters": {"strategy": {"fast": 20, "slow": 50}, "fee_bps": 10.0},
        "metrics": {"total_return": 0.25},
    } | changes
    return RunRecord(run_id=run_id, **values)


def test_a_run_recorded_twice_is_one_row(registry):
    record_run(run_of("aa11"))
    record_run(run_of("aa11", metrics={"total_return": 9.0}))
    runs = list_runs()
    assert runs["run_id"].tolist() == ["aa11"]
    assert runs["total_return"].tolist() == [0.25]


def test_a_note_of_a_run_is_read_without_mlflow(registry, home):
    record_run(run_of("aa11", notes={"causality": "no look-ahead"}))
    record_run(run_of("bb22", notes={"causality": "LOOKS AHEAD"}))
    assert [local_note(run_id, "causality") for run_id in ("aa11", "bb22", "cc33")] == [
        "no look-ahead",
        "LOOKS AHEAD",
        "",
    ]


READS_A_FILE = """
from pathlib import Path

from peak_trade.strategies.base import Strategy
from tests.examples import mostly_long


class Own(Strategy):
    @property
    def warm_up(self):
        return 0

    def exposure(self, bars):
        return bars["close"].to_numpy() * 0.0 + float(Path("level.txt").read_text())
"""


@pytest.mark.long
def test_a_run_with_other_events_than_the_recorded_one_of_its_id_is_refused(registry, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    save_bars(sample_bars("BTC/USDT", n_bars=60))
    (tmp_path / "reads_a_file.py").write_text(READS_A_FILE)
    (tmp_path / "level.txt").write_text("0.5")
    asked = ["backtest", "--strategy", "reads_a_file:Own", "--symbol", "BTC/USDT", "--no-causality-check"]
    assert main(asked) == main(asked) == 0
    recorded = show_run(list_runs()["run_id"][0])
    (tmp_path / "level.txt").write_text("0.25")
    capsys.readouterr()
    assert main(asked) == 1
    shown = capsys.readouterr()
    assert "events" in shown.out
    (line,) = shown.err.splitlines()
    run_id, events = recorded.columns[0], recorded.loc[("tag", "digest.events"), recorded.columns[0]]
    assert f"run {run_id} is recorded with the events {events[:16]}, this run has " in line
    assert len(list_runs()) == 1
    pd.testing.assert_frame_equal(show_run(run_id), recorded)
    sys.modules.pop("reads_a_file")


def test_everything_recorded_comes_back(registry, tmp_path):
    note = tmp_path / "journal.jsonl"
    note.write_text("{}\n")
    measures = {
        "sharpe": Measure(1.5, n=900, stderr=0.4),
        "win_rate": Measure(None, n=3, note="too few: 3 trades, 10 needed"),
    }
    record_run(run_of("aa11", metrics=measures, artifacts=(note,)))
    shown = show_run("aa11")["aa11"]
    assert shown["metric"].to_dict() == {"sharpe": 1.5, "sharpe_stderr": 0.4}
    assert shown["parameter"].to_dict() == {"strategy.fast": "20", "strategy.slow": "50", "fee_bps": "10.0"}
    assert shown["tag", "note.win_rate"] == "too few: 3 trades, 10 needed"
    assert shown["tag", "symbol"] == "BTC/USDT"
    assert all(shown["tag", f"digest.{name}"] == "d1" for name in DIGEST_NAMES)
    assert read_run("aa11").files == {"journal.jsonl": b"{}\n"}
    sync_runs()
    assert [path.read_text() for path in (registry / "mlartifacts").rglob("journal.jsonl")] == ["{}\n"]


def test_a_run_whose_recording_fails_is_recorded_anew(registry, tmp_path):
    with pytest.raises(ConfigError, match="missing: No such file"):
        record_run(run_of("aa11", metrics={"total_return": 1.0}, artifacts=(tmp_path / "missing",)))
    assert list_runs().empty
    record_run(run_of("aa11"))
    assert list_runs()["total_return"].tolist() == [0.25]


def test_filters_narrow_the_list_and_the_newest_run_comes_first(registry):
    record_run(run_of("a1"))
    record_run(run_of("b2", symbol="ETH/USDT"))
    record_run(run_of("c3", run_type="sweep"))
    assert list_runs()["run_id"].tolist() == ["c3", "b2", "a1"]
    assert list_runs(symbol="ETH/USDT")["run_id"].tolist() == ["b2"]
    assert list_runs(run_type="sweep", strategy="ma_crossover", timeframe="1h")["run_id"].tolist() == ["c3"]
    assert list_runs(limit=2)["run_id"].tolist() == ["c3", "b2"]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert list_runs(since=tomorrow).empty
    assert len(list_runs(until=tomorrow)) == 3


def test_runs_are_compared_side_by_side_and_found_by_the_beginning_of_their_id(registry):
    record_run(run_of("aa11"))
    record_run(run_of("bb22", metrics={"total_return": 0.5, "sharpe": 1.0}))
    both = compare_runs(["bb", "aa11"])
    assert both.columns.tolist() == ["bb22", "aa11"]
    assert both.loc[("metric", "total_return")].tolist() == [0.5, 0.25]
    assert pd.isna(both.loc[("metric", "sharpe"), "aa11"])


def test_an_unknown_run_is_refused_and_the_nearest_named(registry):
    record_run(run_of("aa11111"))
    record_run(run_of("aa22222"))
    for asked, says in (
        ("aa11112", "Did you mean aa11111"),
        ("aa", "could be any of 2 runs"),
        ("zz", "The latest is aa22222"),
        ("a_", "not recorded"),
        ("", "the run id was empty"),
        (" ", "the run id was empty"),
    ):
        with pytest.raises(ConfigError, match=says):
            show_run(asked)


def test_a_workspace_without_runs_is_empty_and_stays_untouched(home):
    assert list_runs().empty
    with pytest.raises(ConfigError, match="no runs yet"):
        show_run("aa")
    assert not home.exists()


def test_a_workspace_that_is_replaced_under_a_running_kernel_is_read_anew(registry, empty_registry):
    record_run(run_of("aa11"))
    shutil.rmtree(registry)
    assert list_runs().empty
    registry.mkdir()
    shutil.copy(empty_registry, registry / "mlflow.db")
    record_run(run_of("bb22"))
    assert list_runs()["run_id"].tolist() == ["bb22"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"run_type": "backtst"}, "Did you mean backtest"), ({"digests": {"config": "d"}}, "give exactly config, data")],
)
def test_a_record_that_could_not_be_found_again_is_refused(changes, says):
    with pytest.raises(ConfigError, match=says):
        run_of("aa11", **changes)


def test_mlflow_tracking_uri_is_honoured_and_an_unusable_one_is_one_line(registry, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere.db"
    elsewhere.write_bytes((registry / "mlflow.db").read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    record_run(run_of("aa11"))
    assert len(list_runs()) == 1
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert list_runs().empty
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    with pytest.raises(ConfigError, match=r"run registry nonsense://x: .*MLFLOW_TRACKING_URI"):
        list_runs()


def test_the_runs_command_lists_shows_and_compares(registry, capsys):
    record_run(run_of("aa11aa11aa11aa11"))
    record_run(run_of("bb22bb22bb22bb22", symbol="ETH/USDT", metrics={"total_return": 0.5}))
    assert main(["runs", "list"]) == 0
    table = capsys.readouterr()
    assert "aa11aa11aa11" in table.out
    assert "2 runs" in table.out
    assert table.err == ""
    assert main(["runs", "list", "--symbol", "ETH/USDT", "--json"]) == 0
    assert [run["run_id"] for run in json.loads(capsys.readouterr().out)] == ["bb22bb22bb22bb22"]
    assert main(["runs", "show", "aa11", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["aa11aa11aa11aa11"]["metric"] == {"total_return": 0.25}
    assert main(["runs", "compare", "aa11", "bb22", "--differences"]) == 0
    compared = capsys.readouterr().out
    assert "ETH/USDT" in compared
    assert "ma_crossover" not in compared


def test_differences_are_exactly_the_entries_that_differ_in_any_of_the_runs(registry, capsys):
    record_run(run_of("aa11aa11aa11aa11"))
    record_run(run_of("bb22bb22bb22bb22", parameters={"strategy": {"fast": 21, "slow": 50}, "fee_bps": 10.0}))
    record_run(run_of("cc33cc33cc33cc33", metrics={"total_return": 0.25, "sharpe": 1.0}))
    ids = ["aa11aa11aa11aa11", "bb22bb22bb22bb22", "cc33cc33cc33cc33"]
    assert main(["runs", "compare", *ids, "--differences", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [shown[run_id] for run_id in ids] == [
        {"parameter": {"strategy.fast": "20"}, "metric": {"sharpe": None}},
        {"parameter": {"strategy.fast": "21"}, "metric": {"sharpe": None}},
        {"parameter": {"strategy.fast": "20"}, "metric": {"sharpe": 1.0}},
    ]
    record_run(run_of("dd44dd44dd44dd44"))
    assert main(["runs", "compare", "aa11", "dd44", "--differences"]) == 0
    assert capsys.readouterr().out == "The runs do not differ.\n"
    assert main(["runs", "compare", "aa11", "aa11aa"]) == 2
    assert "are one run, aa11aa11aa11aa11: name two runs or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["list", "--type", "backtset"], "Did you mean backtest?"),
        (["list", "--since", "yesterday"], "--since was 'yesterday'"),
        (["show", "zz"], "no runs yet"),
        (["compare", "aa"], "name two runs or more"),
    ],
)
def test_bad_input_to_the_runs_command_is_one_line_and_exit_code_2(home, capsys, arguments, says):
    assert main(["runs", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def numbered(count):
    for n in range(count):
        yield run_of(f"{n:04x}", strategy=f"s{n % 3}", metrics={"total_return": n / 7.0, f"m{n % 2}": 1.0})


@pytest.mark.long
def test_the_database_and_mlflow_give_the_same_runs(registry, tmp_path, monkeypatch):
    """The registry of a workspace is read from its tables; one at MLFLOW_TRACKING_URI through MLflow."""
    for run in numbered(5):
        record_run(run)
        time.sleep(0.002)  # runs of one millisecond have no order
    record_run(run_of("ffff", notes={"chain_head": "abc"}))
    sync_runs()
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    def answers():
        frames = [
            list_runs(),
            list_runs(limit=2),
            list_runs(strategy="s1", symbol="BTC/USDT"),
            list_runs(since=tomorrow),
            list_runs(until=tomorrow),
            compare_runs(["0003", "0001", "ffff"]),
        ]
        return frames, count_runs(), notes_of("chain_head")

    frames, *others = answers()
    monkeypatch.setattr(entries, "is_database", lambda: False)
    expected, *other_expected = answers()
    for frame, wanted in zip(frames, expected, strict=True):
        pd.testing.assert_frame_equal(frame, wanted, check_like=True)
    assert others == other_expected == [6, {"ffff": "abc"}]


def test_a_workspace_that_can_not_be_written_is_read(registry, monkeypatch):
    record_run(run_of("aa11"))
    sync_runs()
    record_run(run_of("bb22"))
    before = {path: path.stat().st_mtime_ns for path in registry.rglob("*")}
    opened = os.open

    def read_only(path, flags, *arguments, **options):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return opened(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", read_only)
    assert list_runs()["run_id"].tolist() == ["bb22", "aa11"]
    assert show_run("aa11")["aa11"]["metric", "total_return"] == 0.25
    assert main(["runs", "list"]) == 0
    assert {path: path.stat().st_mtime_ns for path in registry.rglob("*")} == before


def test_a_registry_that_was_not_completed_has_no_runs(home):
    home.mkdir()
    sqlite3.connect(home / "mlflow.db").close()
    (home / "mlflow.db").touch()
    assert list_runs().empty
    assert count_runs() == 0


def test_the_explorer_has_the_newest_runs_and_the_number_of_all(registry, monkeypatch):
    monkeypatch.setattr(explorer, "MAX_RUNS", 2)
    for run in numbered(3):
        record_run(run)
        time.sleep(0.002)  # runs of one millisecond have no order
    rows, n_left_out = run_rows([])
    assert ([row.run_id for row in rows], n_left_out) == (["0002", "0001"], 1)
    monkeypatch.setattr(explorer, "is_database", lambda: False)
    monkeypatch.setattr(explorer, "RECENT", 1)
    assert [len(rows) for rows in run_rows([])[:1]] == [1]


def test_what_a_killed_process_wrote_in_part_is_undone_when_runs_are_read(registry, tmp_path, monkeypatch):
    """SQLite keeps what it replaces in a journal, which only a connection that may write can put back."""
    record_run(run_of("aa11"))
    sync_runs()
    killed = tmp_path / "killed"
    killed.mkdir()
    with closing(sqlite3.connect(registry / "mlflow.db")) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("UPDATE alembic_version SET version_num = 'x'")
        connection.executemany("INSERT INTO tags VALUES (?, ?, '')", [(f"k{n}", "v" * 4_000) for n in range(50)])
        for name in ("mlflow.db", "mlflow.db-journal"):
            shutil.copy(registry / name, killed / name)
        connection.rollback()
    monkeypatch.setenv("PEAK_TRADE_HOME", str(killed))
    assert list_runs()["run_id"].tolist() == ["aa11"]
    record_run(run_of("bb22"))
    assert count_runs() == 2


def test_a_registry_appears_whole_in_its_workspace(home, empty_registry, monkeypatch):
    """A part of one, which a kill leaves, could not be completed by MLflow."""

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.store.tracking import sqlalchemy_store

    class Store(sqlalchemy_store.SqlAlchemyStore):
        def __init__(self, uri, *arguments):
            path = Path(uri.removeprefix("sqlite:///"))
            if path.name != "mlflow.db":
                assert not (home / "mlflow.db").exists()
                shutil.copy(empty_registry, path)
            super().__init__(uri, *arguments)

    monkeypatch.setattr(sqlalchemy_store, "SqlAlchemyStore", Store)
    home.mkdir()
    for name in (".mlflow.db.0badcafe", ".mlflow.db.0badcafe-journal"):
        (home / name).write_bytes(b"a part")
    record_run(run_of("aa11"))
    assert sync_runs().n_written == 1
    assert list_runs()["status"].tolist() == ["done"]
    assert not list(home.glob(".mlflow*"))
