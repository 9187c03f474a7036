"""Time of lists of runs and of the explorer's data with 10,000 recorded runs: at most 1 s for a list.

The command is timed against an MLflow server on this machine too, in a fresh process. The server has the same runs in
SQLite.
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from peak_trade.site.explorer import data_script, run_rows
from peak_trade.tracking import DIGEST_NAMES, RunRecord, list_runs, record_run
from peak_trade.tracking.record import sync_runs

N_RUNS = 10_000
N_LISTED = 1_000
MAX_SECONDS = 1.0
START_SECONDS = 120.0
"""Longest wait for the server."""
LIST = (sys.executable, "-c", "import sys; from peak_trade.cli import main; sys.exit(main(['runs', 'list']))")
COPIED = ("tags", "params", "latest_metrics")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with 10,000 runs: one is recorded, the others are copies of its rows under other ids."""
    folder = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(folder))
        record_run(
            RunRecord(
                run_id="0" * 16,
                run_type="backtest",
                strategy="ma_crossover",
                symbol="BTC/USDT",
                timeframe="1h",
                start="2024-01-01 01:00:00Z",
                end="2024-06-30 00:00:00Z",
                digests={name: name * 8 for name in DIGEST_NAMES},
                parameters={f"settings.s{n}": n for n in range(60)},
                metrics={f"m{n}": n / 7.0 for n in range(40)} | {"total_return": 0.25, "sharpe": 1.5},
            )
        )
        sync_runs()
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        (key,) = connection.execute("SELECT run_uuid FROM runs").fetchone()
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        for table in ("runs", *COPIED):
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            values = [
                {"run_uuid": "printf('%032x', i)", "start_time": "start_time + i"}.get(name, f'"{name}"')
                for name in names
            ]
            if table == "tags":
                values[names.index("value")] = "CASE key WHEN 'run_id' THEN printf('%016x', i) ELSE value END"
            words = f"INSERT INTO {table} {numbers} SELECT {', '.join(values)} FROM {table}, n WHERE run_uuid = ?"
            connection.execute(words, (N_RUNS - 1, key))
    return folder


def test_a_list_of_1000_runs_of_10000(benchmark, workspace, monkeypatch):
    monkeypatch.setenv("PEAK_TRADE_HOME", str(workspace))
    runs = benchmark.pedantic(lambda: list_runs(limit=N_LISTED), rounds=5)
    assert len(runs) == N_LISTED
    assert runs["run_id"].is_unique
    seconds = benchmark.stats.stats.median
    benchmark.extra_info["job"] = f"list of {N_LISTED:,} of {N_RUNS:,} runs"
    benchmark.extra_info["bars"] = [["<= 1 s", seconds <= MAX_SECONDS]]
    assert seconds <= MAX_SECONDS


def test_the_data_of_the_explorer_of_10000_runs(benchmark, workspace, monkeypatch):
    monkeypatch.setenv("PEAK_TRADE_HOME", str(workspace))
    script = benchmark.pedantic(lambda: data_script(*run_rows([])), rounds=1)
    benchmark.extra_info["job"] = f"data of the explorer of {N_RUNS:,} runs, {len(script) / 1e6:.1f} MB"
    assert f'\\"n\\":{N_RUNS}' in script


@pytest.fixture
def server(workspace: Path, tmp_path: Path) -> Iterator[str]:
    """The URI of an MLflow server that has the runs of the workspace."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{workspace / 'mlflow.db'}"]
    quiet = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, env=quiet, start_new_session=True)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(address: str) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(address, timeout=1.0).close()
        except OSError:
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.2)
        else:
            return


def test_a_list_at_a_server_of_10000_runs(benchmark, server, tmp_path, monkeypatch):
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    benchmark.pedantic(
        lambda: subprocess.run(LIST, check=True, stdout=subprocess.DEVNULL, env=os.environ), rounds=5, warmup_rounds=1
    )
    seconds = benchmark.stats.stats.median
    benchmark.extra_info["job"] = f"runs list at a server of {N_RUNS:,} runs, fresh process"
    benchmark.extra_info["bars"] = [["<= 1 s", seconds <= MAX_SECONDS]]
