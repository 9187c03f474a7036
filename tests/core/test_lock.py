"""A lock excludes processes and threads, and a time-out names the holder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from peak_trade.core.lock import database_holder, held_lock

HOLD = """
import sys
from pathlib import Path
from peak_trade.core.lock import held_lock
with held_lock(Path(sys.argv[1]), 1.0):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_time_out_names_the_process_that_holds_the_lock(tmp_path):
    path = tmp_path / ".lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        since = r"since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ \(waited 0\.05 s\)"
        with pytest.raises(TimeoutError, match=rf"process {other.pid} \(-c\) has held the lock {since}"):
            held_lock(path, 0.05).__enter__()
        other.kill()
        other.wait()
        with held_lock(path, 1.0):  # the system released the lock of the killed process
            assert path.read_text().startswith(f"process {os.getpid()} ")


def test_threads_take_turns(tmp_path):
    inside, most = 0, 0
    counting = threading.Lock()

    def enter(_):
        nonlocal inside, most
        with held_lock(tmp_path / ".lock", 10.0):
            with counting:
                inside += 1
                most = max(most, inside)
            with counting:
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(40)))
    assert most == 1


def test_an_error_in_the_block_releases_the_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), held_lock(tmp_path / ".lock", 0.0):
        raise ZeroDivisionError
    with held_lock(tmp_path / ".lock", 0.0), pytest.raises(TimeoutError, match="has held the lock"):
        held_lock(tmp_path / ".lock", 0.0).__enter__()


def test_the_time_of_a_lock_is_that_of_its_last_locking(tmp_path):
    path = tmp_path / ".lock"
    with held_lock(path, 0.0):
        pass
    os.utime(path, (0, 0))
    with held_lock(path, 0.0), pytest.raises(TimeoutError, match="since 20"):
        held_lock(path, 0.0).__enter__()


LOCK_DATABASE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


def test_the_process_that_has_locked_a_database_is_found(tmp_path):
    path = tmp_path / "some.db"
    assert database_holder(path) == ""
    path.touch()
    with subprocess.Popen(
        [sys.executable, "-c", LOCK_DATABASE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"locked\n"
        assert database_holder(path).startswith(f"process {other.pid} (python")
    assert database_holder(path) == ""
