"""Runs of a registry that MLFLOW_TRACKING_URI names: several writers, and runs that it does not take at first.

An SQLite database stands for the server. `test_postgresql.py` has a server with PostgreSQL.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError, ReproductionError
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.tracking import list_runs, record, record_run, registry
from peak_trade.tracking.pending import pending_ids
from peak_trade.tracking.queries import page_runs, read_run
from peak_trade.tracking.record import sync_runs
from tests.examples import mostly_long
from tests.tracking.test_pending import BACKTEST, FILES, in_mlflow, with_file
from tests.tracking.test_registry import run_of

NOBODY = "http://127.0.0.1:9"
"""Port of the discard protocol, which no machine serves."""


@pytest.fixture
def server(home: Path, empty_registry: Path, _schema_is_read_once: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a registry at MLFLOW_TRACKING_URI, which is not that of the workspace."""
    folder = home.with_name("server")
    folder.mkdir()
    shutil.copy(empty_registry, folder / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return folder


def test_a_run_that_a_server_does_not_take_is_kept_and_written_there_once(server, home, monkeypatch, capsys):
    save_bars(sample_bars("BTC/USDT", n_bars=200))
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", NOBODY)
        assert main(BACKTEST) == 2
        (line,) = capsys.readouterr().err.splitlines()
        (run_id,) = pending_ids()
        assert line.startswith(f"peak-trade: run registry {NOBODY}: ")
        assert line.endswith(f"Run {run_id} is kept in {home / 'unsent'}; `peak-trade runs sync` writes it.")
        assert main(["runs", "sync"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"peak-trade: run registry {NOBODY}: ")
        assert pending_ids() == [run_id]
    before = list_runs()
    assert before["run_id"].tolist() == [run_id]
    assert main(["runs", "sync"]) == 0
    assert "Wrote 1 run to MLflow." in capsys.readouterr().out
    assert list_runs().equals(before)
    assert in_mlflow(server) == [(run_id, "FINISHED")]
    assert pending_ids() == []
    assert main(["runs", "sync"]) == 2
    assert "none waits for it" in capsys.readouterr().err


def test_readers_of_a_server_merge_the_runs_that_it_has_not_taken(server, tmp_path, monkeypatch):
    record_run(with_file(tmp_path, "aa11", metrics={"sharpe": 1.0}))
    record_run(run_of("bb22", symbol="ETH/USDT", metrics={"sharpe": 3.0}))
    monkeypatch.setattr("peak_trade.tracking.entries.is_database", lambda: False)
    monkeypatch.setattr("peak_trade.tracking.queries.is_database", lambda: False)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", lambda *_, **__: (_ for _ in ()).throw(MlflowException("no bucket")))
        for run in (with_file(tmp_path, "cc33", metrics={"sharpe": 2.0}), run_of("dd44", metrics={})):
            with pytest.raises(ConfigError, match=r"no bucket\..* is kept in "):
                record_run(run)
    assert read_run("cc33").files == FILES
    before = list_runs()
    page = page_runs({}, sort="sharpe")
    assert page.n_runs == 4
    assert [row["run_id"] for row in page.runs.values()] == ["aa11", "cc33", "bb22", "dd44"]
    assert sync_runs().n_written == 2
    assert list_runs().equals(before)
    assert read_run("cc33").tags["run_id"] == "cc33"


@pytest.mark.parametrize(
    ("name", "after"),
    mostly_long(
        [
            ("set_terminated", False),
            ("create_run", False),
            ("create_run", True),
            ("log_batch", True),
            ("set_terminated", True),
        ],
        2,
    ),
)
def test_equal_runs_of_two_writers_at_a_server_make_one_entry(name, after, server, monkeypatch):
    """The second writer records the run within a call of the first one, before or after what that call does."""
    monkeypatch.setattr(registry, "_held", lambda _uri: nullcontext())
    former = getattr(MlflowClient, name)

    def interrupted(*arguments, **options):
        monkeypatch.setattr(MlflowClient, name, former)
        answer = former(*arguments, **options) if after else None
        record_run(run_of("aa11"))
        return answer if after else former(*arguments, **options)

    monkeypatch.setattr(MlflowClient, name, interrupted)
    record_run(run_of("aa11"))
    assert in_mlflow(server) == [("aa11", "FINISHED")]
    assert pending_ids() == []


@pytest.mark.long
def test_a_writer_that_is_killed_before_it_discards_equal_entries_is_made_up_for_by_the_next(server, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(record, "_take_finished", lambda *_: False)
        patch.setattr(record, "discard_entry", lambda *_: None)
        record_run(run_of("aa11"))
        record_run(run_of("aa11"))
    assert in_mlflow(server) == [("aa11", "FINISHED")] * 2
    record_run(run_of("aa11"))
    assert in_mlflow(server) == [("aa11", "FINISHED")]


@pytest.mark.long
def test_a_run_that_the_server_has_with_other_events_stays_pending(server, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", NOBODY)
        with pytest.raises(ConfigError):
            record_run(run_of("aa11", provenance={"digest.events": "1"}))
    record_run(run_of("aa11", provenance={"digest.events": "2"}))
    synced = sync_runs()
    assert synced.n_written == 0
    assert "is recorded with the events 2, this run has 1" in synced.failures[0]
    assert pending_ids() == ["aa11"]
    with pytest.raises(ReproductionError):
        record_run(run_of("aa11", provenance={"digest.events": "3"}))


@pytest.mark.long
def test_writers_that_make_the_experiment_at_the_same_time_use_one(server, monkeypatch):
    known = MlflowClient.get_experiment_by_name

    def unknown(client, name):
        monkeypatch.setattr(MlflowClient, "get_experiment_by_name", known)
        return None

    record_run(run_of("aa11"))
    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", unknown)
    record_run(run_of("bb22"))
    assert in_mlflow(server) == [("aa11", "FINISHED"), ("bb22", "FINISHED")]


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        (
            "postgresql+nodriver://user:secret@127.0.0.1:9/runs",
            "postgresql+nodriver://user:***@127.0.0.1:9/runs: Can't load",
        ),
        ("http://user:secret@127.0.0.1:9", "http://user:***@127.0.0.1:9: "),
    ],
)
def test_the_password_of_a_registry_is_not_shown(uri, says, server, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert main(["runs", "list"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"peak-trade: run registry {says}" in line
    assert "secret" not in line


def test_a_database_of_another_version_of_mlflow_is_one_line_and_the_run_is_kept(server, home, monkeypatch, capsys):
    path = server / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    with pytest.raises(ConfigError, match=r"found version 0123456789ab, but expected \w+\)\. .*`mlflow db upgrade`"):
        record_run(run_of("aa11"))
    assert pending_ids() == ["aa11"]
    assert main(["runs", "sync"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
