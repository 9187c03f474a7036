"""Kills while runs are recorded: each run is unfinished or whole, and recording again heals it.

`test_registry.py` stops a recording at each of its steps, and has parts of files that kills leave, which takes less
time.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from peak_trade.tracking import count_runs, list_runs, record_run, show_run
from peak_trade.tracking.queries import read_run
from tests.tracking.test_registry import run_of

N_KILLS = 50
N_PARAMETERS = 230
"""More than MLflow accepts at once, so that they are stored in several steps."""

FARM = """
import os, random, signal, sys, time
from pathlib import Path
from peak_trade.tracking import record_run
from tests.tracking.test_kills import run_with_files
record_run(run_with_files(0, Path(sys.argv[1])))
waits = random.Random(5)
for kill in range(1, int(sys.argv[2]) + 1):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, b"ready")
        for n in range(1_000):
            record_run(run_with_files(1_000 * kill + n, Path(sys.argv[1])))
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
def test_kills_leave_unfinished_runs_that_are_healed(registry, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("1\n")
    command = [sys.executable, "-W", "ignore", "-c", FARM, str(table), str(N_KILLS)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], timeout=600)
    runs = list_runs(limit=10_000)
    assert len(runs) == count_runs() == runs["run_id"].nunique()
    unfinished = runs[runs["status"] == "unfinished"]
    assert 0 < len(unfinished) <= N_KILLS
    for run_id in unfinished["run_id"]:
        record_run(run_with_files(int(run_id, 16), table))
    assert set(list_runs(limit=10_000)["status"]) == {"done"}
    for run_id in runs["run_id"]:
        shown = show_run(run_id)[run_id]
        assert (len(shown["parameter"]), len(shown["metric"])) == (N_PARAMETERS, 1)
        assert read_run(run_id).files == {"table.csv": b"1\n"}
    assert len(list((registry / "mlartifacts").iterdir())) == len(runs)


FIRST = """
import sys
from mlflow.store.tracking import sqlalchemy_store
from peak_trade.tracking import record_run
from tests.tracking.test_registry import run_of
print("ready", flush=True)
record_run(run_of("aa11"))
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
    record_run(run_of("aa11"))
    assert list_runs()["status"].tolist() == ["done"]
