"""Kills while runs are recorded and moved to MLflow: each run that is listed is whole, and none is lost or doubled.

`test_pending.py` stops a recording and a move at each of their steps, which takes less time.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from peak_trade.tracking import count_runs, list_runs, show_run
from peak_trade.tracking.queries import read_run
from peak_trade.tracking.record import sync_runs
from tests.tracking.test_registry import run_of

N_KILLS = 50
N_PARAMETERS = 230
"""More than MLflow accepts at once, so that they are stored in several steps."""

FARM = """
import os, random, signal, sys, time
from pathlib import Path
from peak_trade.tracking import record_run
from peak_trade.tracking.record import sync_runs
from tests.tracking.test_kills import run_with_files
record_run(run_with_files(0, Path(sys.argv[1])))
sync_runs()
waits = random.Random(5)
recorded = os.open(sys.argv[3], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
for kill in range(1, int(sys.argv[2]) + 1):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, b"ready")
        for n in range(1_000):
            record_run(run_with_files(1_000 * kill + n, Path(sys.argv[1])))
            os.write(recorded, b"%08x" % (1_000 * kill + n))
            if n % 3 == 2:
                sync_runs()
    os.read(reader, 5)
    time.sleep(waits.uniform(0.0, 0.3))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader), os.close(writer)
"""
"""A process that is killed has imported MLflow already."""


def run_with_files(number, table):
    """A run with one file and several batches of parameters."""
    return run_of(f"{number:08x}", parameters={f"p{n}": n for n in range(N_PARAMETERS)}, artifacts=(table,))


@pytest.mark.crash
def test_kills_leave_whole_runs_and_lose_none(registry, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("1\n")
    told = tmp_path / "recorded"
    command = [sys.executable, "-W", "ignore", "-c", FARM, str(table), str(N_KILLS), str(told)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], timeout=600)
    runs = list_runs(limit=10_000)
    assert len(runs) == count_runs() == runs["run_id"].nunique()
    assert set(runs["status"]) == {"done"}
    text = told.read_text()
    assert {text[place : place + 8] for place in range(0, len(text), 8)} <= set(runs["run_id"])
    sync_runs()
    pd.testing.assert_frame_equal(list_runs(limit=10_000), runs)
    for run_id in runs["run_id"]:
        shown = show_run(run_id)[run_id]
        assert (len(shown["parameter"]), len(shown["metric"])) == (N_PARAMETERS, 1)
        assert read_run(run_id).files == {"table.csv": b"1\n"}
    assert len(list((registry / "mlartifacts").iterdir())) == len(runs)
    assert [path.name for path in (registry / "pending").iterdir()] == [".lock"]


FIRST = """
import sys
from mlflow.store.tracking import sqlalchemy_store
from peak_trade.tracking import record_run
from peak_trade.tracking.record import sync_runs
from tests.tracking.test_registry import run_of
record_run(run_of("aa11"))
print("ready", flush=True)
sync_runs()
"""


@pytest.mark.crash
@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.5, 1.0, 1.5, 2.0])
def test_a_kill_while_the_registry_is_made_leaves_none_or_a_whole_one(home, seconds):
    command = [sys.executable, "-W", "ignore", "-c", FIRST]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(seconds)
        process.kill()
    assert list_runs()["status"].tolist() == ["done"]
    sync_runs()
    assert list_runs()["status"].tolist() == ["done"]
