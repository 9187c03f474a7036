"""The results of an executor do not depend on where the tasks run, and a worker that ends is noticed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.core import executor as executors
from peak_trade.core.errors import ConfigError, StrategyError, WorkerError
from peak_trade.core.executor import Executor
from tests.examples import mostly_long
from tests.forking import exit_code, fork

LONG = 10.0
"""Seconds that a task is said to take, so that it gets a process."""


def total(values, row):
    return os.getpid(), float(values[: row + 1].sum())


def failing(_, row):
    if row == 3:
        raise StrategyError("task 3 breaks its contract")
    return row


class TwoPartError(Exception):
    """An exception that cannot be read from its pickled form, not even where Dask replaces the way of pickling it."""

    def __init__(self, one, two):
        super().__init__(one)

    def __reduce__(self):
        return type(self), self.args


def failing_oddly(_, row):
    raise TwoPartError("one", "two")


def killed_once(folder, row):
    marker = folder / f"{row}"
    if row == 2 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return row * row


def killed_always(parent, row):
    if row == 2 and os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    return row


def sleeping(seconds, row):
    time.sleep(seconds)
    return row


@given(
    st.lists(st.integers(0, 9), max_size=12),
    st.integers(1, 3),
    st.sampled_from([None, LONG]),
)
def test_results_are_those_of_a_loop_wherever_the_tasks_run(rows, n_processes, seconds):
    values = np.arange(10.0)
    expected = [total(values, row)[1] for row in rows]
    executor = Executor(n_processes)
    told: list[tuple[int, int]] = []
    found = executor.map(total, values, rows, lambda *both: told.append(both), seconds_per_task=seconds)
    assert [result for _, result in found] == expected
    assert told == [(done, len(rows)) for done in range(1, len(rows) + 1)]
    is_here = n_processes == 1 or seconds is None or len(rows) < 2
    assert all((process == os.getpid()) == is_here for process, _ in found)
    assert ("in this process" in executor.summary) == is_here
    assert not multiprocessing.active_children()


def test_short_work_starts_no_process_and_long_work_does(monkeypatch):
    processes = [process for process, _ in Executor(2).map(total, np.arange(10.0), range(10))]
    assert set(processes) == {os.getpid()}
    monkeypatch.setattr(executors, "FEWEST_SECONDS", 0.05)
    executor = Executor(2)
    assert executor.map(sleeping, 0.01, range(20)) == list(range(20))
    assert executor.summary == "20 tasks in 2 processes"


def test_a_task_whose_process_was_killed_runs_again(tmp_path: Path):
    executor = Executor(2)
    assert executor.map(killed_once, tmp_path, range(5), seconds_per_task=LONG) == [0, 1, 4, 9, 16]
    assert executor.summary == "5 tasks in 2 processes; 1 ran again after a worker ended"


def test_a_task_that_kills_every_process_is_reported():
    with pytest.raises(WorkerError, match=r"task 3 of 5 ended its process 3 times, the last time by SIGKILL"):
        Executor(2).map(killed_always, os.getpid(), range(5), seconds_per_task=LONG)
    assert not multiprocessing.active_children()


def test_a_task_that_kills_every_process_has_the_result_that_the_caller_gives():
    executor = Executor(2)
    results = dict(
        executor.run(killed_always, os.getpid(), range(5), seconds_per_task=LONG, on_death=lambda place, _: -place)
    )
    assert results == {0: 0, 1: 1, 2: -2, 3: 3, 4: 4}
    assert executor.summary == "5 tasks in 2 processes; 2 ran again after a worker ended"
    assert not multiprocessing.active_children()


def cleaning_up(folder, row):
    if row == 0:
        return row
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    (folder / f"{row}.begun").touch()
    try:
        time.sleep(60.0)
    finally:
        (folder / f"{row}.cleaned").touch()


def test_a_task_may_clean_up_when_the_others_are_stopped(tmp_path: Path, capfd):
    results = Executor(2).run(cleaning_up, tmp_path, range(3), seconds_per_task=LONG)
    assert next(results) == (0, 0)
    while len(list(tmp_path.glob("*.begun"))) < 2:
        time.sleep(0.01)
    results.close()
    assert sorted(path.name for path in tmp_path.glob("*.cleaned")) == ["1.cleaned", "2.cleaned"]
    assert not multiprocessing.active_children()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("seconds", mostly_long([None, LONG], 1), ids=["here", "processes"])
def test_an_exception_of_a_task_is_that_of_the_call(seconds):
    with pytest.raises(StrategyError, match="task 3 breaks its contract"):
        Executor(2).map(failing, None, range(8), seconds_per_task=seconds)
    assert not multiprocessing.active_children()


@pytest.mark.long
def test_an_exception_that_cannot_be_pickled_keeps_its_words():
    with pytest.raises(RuntimeError, match="TwoPartError: one"):
        Executor(2).map(failing_oddly, None, range(4), seconds_per_task=LONG)


@pytest.mark.long
def test_to_stop_keeps_what_is_finished_and_ends_the_processes():
    results = Executor(2).run(sleeping, 0.01, range(100), seconds_per_task=LONG)
    finished = dict(next(results) for _ in range(5))
    results.close()
    assert all(place == result for place, result in finished.items())
    assert len(finished) == 5
    assert not multiprocessing.active_children()


def named(folder, row):
    (folder / str(os.getpid())).touch()
    time.sleep(0.1)
    return row


@pytest.mark.long
def test_processes_end_after_the_one_that_started_them_was_killed(tmp_path: Path):
    def work():
        for _ in Executor(2).run(named, tmp_path, range(20), seconds_per_task=LONG):
            os.kill(os.getpid(), signal.SIGKILL)

    assert exit_code(fork(work)) == -signal.SIGKILL
    processes = [path.name for path in tmp_path.iterdir()]
    until = time.monotonic() + 10.0
    while any(map(is_running, processes)) and time.monotonic() < until:
        time.sleep(0.02)
    assert len(processes) == 2
    assert not any(map(is_running, processes))


def is_running(process):
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("n_processes", [0, -1])
def test_a_number_of_processes_below_one_is_refused(n_processes):
    with pytest.raises(ConfigError, match=f"n_processes was {n_processes}: give a whole number of at least 1"):
        Executor(n_processes)


@pytest.mark.parametrize(
    "address",
    ["scheduler", "http://a:1", "tcp://", "tcp://a", "tcp://a:b", "tcp://a:0", "tcp://:8786", "tcp://a:99999"],
)
def test_what_is_not_the_address_of_a_scheduler_is_refused(address):
    with pytest.raises(ConfigError, match="give the address of a Dask scheduler, such as tcp://"):
        Executor(cluster=address)


@pytest.mark.long
def test_a_cluster_that_cannot_be_reached_is_one_line(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "SECONDS_TO_CONNECT", 0.2)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(ConfigError, match=rf"cluster {address}: no Dask scheduler answered within") as caught:
        Executor(cluster=address).map(total, np.arange(10.0), range(4), seconds_per_task=LONG)
    assert "\n" not in str(caught.value)


def test_short_work_uses_no_cluster():
    executor = Executor(cluster="tcp://127.0.0.1:9")
    assert [value for _, value in executor.map(total, np.arange(10.0), range(4))] == [0.0, 1.0, 3.0, 6.0]
    assert executor.summary == "4 tasks in this process"


class LateClient:
    """A client of a cluster whose one worker has done each task at once, and whose connection does not end in time."""

    status = "running"

    def __init__(self, *_, **__):
        pass

    def wait_for_workers(self, n_workers, timeout):
        pass

    def run(self, function, *arguments, on_error):
        try:
            return {"tcp://a:1": function(*arguments)}
        except Exception as error:
            assert on_error == "return"
            return {"tcp://a:1": error}

    def scheduler_info(self, n_workers):
        return {"workers": {"tcp://a:1": {}}}

    def scatter(self, data, broadcast, hash):
        return data

    def submit(self, function, data, tasks, pure):
        done = Future()
        done.set_result(function(data, tasks))
        return done

    def as_current(self):
        return nullcontext()

    def close(self, timeout):
        raise TimeoutError(f"timed out after {timeout} s.")


def test_a_connection_that_ends_late_loses_no_result(monkeypatch):
    distributed = SimpleNamespace(
        Client=LateClient, wait=lambda futures, **_: SimpleNamespace(done=futures), KilledWorker=WorkerError
    )
    executor = Executor(cluster="tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", distributed)
    assert executor.map(sleeping, 0.0, range(4), seconds_per_task=LONG) == [0, 1, 2, 3]
    assert executor.summary == "4 tasks on 1 Dask worker at tcp://127.0.0.1:9"


@pytest.fixture
def cluster(monkeypatch) -> Executor:
    """An executor with a cluster of one worker, on which every task has ended its worker."""

    class Killed(Exception):
        pass

    class KilledClient(LateClient):
        def submit(self, function, data, tasks, pure):
            done = Future()
            done.set_exception(Killed())
            return done

    distributed = SimpleNamespace(
        Client=KilledClient,
        wait=lambda futures, **_: SimpleNamespace(done=futures),
        KilledWorker=Killed,
        CancelledError=TimeoutError,
    )
    executor = Executor(cluster="tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", distributed)
    return executor


def test_tasks_that_end_every_worker_of_a_cluster_are_reported(cluster):
    with pytest.raises(WorkerError, match="ended its Dask worker each time it was tried"):
        cluster.map(sleeping, 0.0, range(4), seconds_per_task=LONG)
    results = cluster.run(sleeping, 0.0, range(4), seconds_per_task=LONG, on_death=lambda place, _: -place)
    assert dict(results) == {0: 0, 1: -1, 2: -2, 3: -3}


@pytest.mark.parametrize("error", [None, TimeoutError("no answer")])
def test_a_worker_with_a_fault_is_refused_before_the_first_task(cluster, error):
    def fault(shared):
        if error is not None:
            raise error
        return f"does not see {shared}. Share it."

    expected = ConfigError if error is None else TimeoutError
    with pytest.raises(expected, match=r"^(worker tcp://a:1 does not see bars. Share it.|no answer)$"):
        dict(cluster.run(sleeping, "bars", range(4), seconds_per_task=LONG, worker_fault=fault))


@pytest.mark.long
def test_a_cluster_repeats_the_tasks_of_a_killed_worker():
    """Two workers, one of which is killed at work, give the results of a loop."""
    distributed = pytest.importorskip("distributed")
    tasks = list(range(12))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as cluster:
        executor = Executor(cluster=cluster.scheduler_address)
        found = {}
        for place, result in executor.run(sleeping, 1.0, tasks, seconds_per_task=LONG):
            if not found:
                next(iter(cluster.workers.values())).process.process._process.kill()
            found[place] = result
        assert [found[place] for place in range(len(tasks))] == tasks
        assert "12 tasks on 2 Dask workers at tcp://" in executor.summary
        assert executor.summary.endswith("1 ran again after a worker ended")
