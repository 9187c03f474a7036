"""Executor: one function over many tasks, in this process, in processes that inherit the data, or on a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from peak_trade.core.digest import environment_digest, package_digest
from peak_trade.core.errors import ConfigError, WorkerError, quoted
from peak_trade.core.extras import require

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")

FEWEST_SECONDS = 2.0
"""Work that is expected to take less than this starts no process and uses no cluster."""
BATCH_SECONDS = 1.0
"""Length of the batches that are sent to a cluster; each costs its scheduler about 2 ms and 16 KiB."""
MOST_ATTEMPTS = 3
"""Times a task is tried when the process that runs it ends."""
SECONDS_TO_END = 10.0
"""Time that a task has to end after SIGTERM before its process is killed. It ends at once unless it handles SIGTERM."""
SECONDS_TO_CONNECT = 10.0
"""Time that the scheduler of a cluster has to answer and to end the connection, and its workers to come back."""
_SCHEMES = ("tcp", "tls")


class Executor:
    """Where tasks run: here, in `n_processes` processes, or on the Dask cluster with the scheduler at `cluster`.

    Parameters
    ----------
    n_processes : int, optional
        Defaults to the number of CPU cores that this process may use. 1 runs every task in this process.
    cluster : str
        Address of a scheduler, such as tcp://10.0.0.5:8786; empty for none. The connection of tcp:// is neither
        encrypted nor authenticated, that of tls:// is both.

    Raises
    ------
    ConfigError
        On fewer than one process, or an address that is not one of a scheduler.

    Notes
    -----
    A process inherits `function`, `shared` and `tasks` from this one where the operating system can fork; otherwise
    they are pickled. The results do not depend on where the tasks run. `summary` names the place where they ran.

    Examples
    --------
    >>> def scaled(factor, number):
    ...     return factor * number
    >>> executor = Executor()
    >>> executor.map(scaled, 10, [1, 2, 3])
    [10, 20, 30]
    >>> executor.summary
    '3 tasks in this process'

    """

    def __init__(self, n_processes: int | None = None, cluster: str = "") -> None:
        self.n_processes = n_cores() if n_processes is None else n_processes
        if self.n_processes < 1:
            raise ConfigError(f"n_processes was {self.n_processes}: give a whole number of at least 1.")
        self.cluster = cluster and _scheduler_address(cluster)
        if cluster:
            require("a cluster", "distributed")
        self._place = "in this process"
        self._n_repeated = 0
        self._n_done = 0

    @property
    def summary(self) -> str:
        """How many tasks ran, where they ran, and how many of them were repeated after a worker ended."""
        tasks = f"{self._n_done:,} task{'' if self._n_done == 1 else 's'} {self._place}"
        if not self._n_repeated:
            return tasks
        return f"{tasks}; {self._n_repeated:,} ran again after a worker ended"

    def map(
        self,
        function: Callable[[Shared, Task], Result],
        shared: Shared,
        tasks: Sequence[Task],
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        *,
        seconds_per_task: float | None = None,
    ) -> list[Result]:
        """Return the result of every task, in the order of the tasks; see `run`."""
        results: dict[int, Result] = {}
        for place, result in self.run(function, shared, tasks, seconds_per_task=seconds_per_task):
            results[place] = result
            on_progress(len(results), len(tasks))
        return [results[place] for place in range(len(tasks))]

    def run(
        self,
        function: Callable[[Shared, Task], Result],
        shared: Shared,
        tasks: Sequence[Task],
        *,
        seconds_per_task: float | None = None,
        releases_gil: bool = False,
        on_death: Callable[[int, WorkerError], Result] | None = None,
        worker_fault: Callable[..., str] | None = None,
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield the place of each task and its result, `function(shared, task)`, as the tasks finish.

        Parameters
        ----------
        function : callable
            Its results must not depend on the order of the tasks. A cluster imports it by its name.
        shared : any value
            What all tasks read, such as the bars.
        tasks : sequence
        seconds_per_task : float, optional
            Expected length of a task. It is measured if it is not given: on the first task, and on the second one too
            if the first took less than `FEWEST_SECONDS`, because it loads compiled code.
        releases_gil : bool
            Whether the function releases Python's lock for most of its time. Threads of this process run it then, as
            many as there would be processes, and no process is started.
        on_death : callable, optional
            Returns the result of a task that ended its process `MOST_ATTEMPTS` times, from its place and the error;
            without it the error is raised.
        worker_fault : callable, optional
            Called on each worker of a cluster before the first task, with `shared` and, as `dask_worker`, Dask's object
            of the worker. Returns why it can not run the tasks, as the predicate of a sentence, and what to do; empty
            if it can.

        Raises
        ------
        WorkerError
            If a task ended its process `MOST_ATTEMPTS` times, or the cluster is lost.
        ConfigError
            If the cluster does not answer, or its workers have other versions of this package or its libraries, or
            have a fault of `worker_fault`.
        Exception
            What the function raises; tasks that have not finished are dropped.

        Notes
        -----
        To close the iterator, as Ctrl-C does, ends the processes and cancels the tasks on the cluster. A task of a
        process may handle SIGTERM to clean up; it has `SECONDS_TO_END`. A task that a cluster has begun runs to its
        end.

        """
        self._place, self._n_repeated, self._n_done = "in this process", 0, 0
        left = deque(range(len(tasks)))
        if releases_gil and not self.cluster and self.n_processes > 1 and len(tasks) > 1:
            yield from self._in_threads(function, shared, tasks)
            return
        measured, n_measured = seconds_per_task, 0
        while left and not self._is_long(measured, n_measured, seconds_per_task is not None, len(left)):
            place = left.popleft()
            started = time.perf_counter()
            result = function(shared, tasks[place])
            measured = time.perf_counter() - started if seconds_per_task is None else seconds_per_task
            n_measured += 1
            self._n_done += 1
            yield place, result
        if not left:
            return
        if self.cluster:
            seconds = max(measured or 0.0, 1e-6)
            results = self._on_cluster(function, shared, tasks, left, seconds, on_death, worker_fault)
        else:
            results = self._in_processes(function, shared, tasks, left, on_death)
        for place, result in results:
            self._n_done += 1
            yield place, result

    def _is_long(self, seconds: float | None, n_measured: int, is_given: bool, n_left: int) -> bool:
        if seconds is None or (self.n_processes == 1 and not self.cluster) or (n_left == 1 and not self.cluster):
            return False
        is_warm = is_given or n_measured > 1 or seconds >= FEWEST_SECONDS
        return is_warm and seconds * n_left >= FEWEST_SECONDS

    def _in_threads(
        self, function: Callable[[Any, Any], Any], shared: Any, tasks: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        n_threads = min(self.n_processes, len(tasks))
        self._place = f"in {n_threads:,} threads"
        with ThreadPoolExecutor(n_threads) as pool:
            pending = {pool.submit(function, shared, task): place for place, task in enumerate(tasks)}
            try:
                for future in as_completed(list(pending)):
                    result = future.result()
                    self._n_done += 1
                    yield pending.pop(future), result
            finally:
                pool.shutdown(cancel_futures=True)

    def _in_processes(
        self,
        function: Callable[[Any, Any], Any],
        shared: Any,
        tasks: Sequence[Any],
        left: deque[int],
        on_death: Callable[[int, WorkerError], Any] | None,
    ) -> Iterator[tuple[int, Any]]:
        n_started = min(self.n_processes, len(left))
        self._place = f"in {n_started:,} processes"
        attempts: dict[int, int] = {}
        workers = [_Worker.started(function, shared, tasks) for _ in range(n_started)]
        try:
            for worker in workers:
                worker.send(left.popleft())
            while any(worker.place is not None for worker in workers):
                for ready in wait([worker.pipe for worker in workers if worker.place is not None]):
                    number = next(number for number, worker in enumerate(workers) if worker.pipe is ready)
                    worker = workers[number]
                    place = worker.place
                    if place is None:
                        continue
                    try:
                        is_result, content = worker.receive()
                    except (EOFError, OSError):
                        attempts[place] = attempts.get(place, 0) + 1
                        code = worker.end()
                        if attempts[place] < MOST_ATTEMPTS:
                            self._n_repeated += 1
                            workers[number] = _Worker.started(function, shared, tasks)
                            workers[number].send(place)
                            continue
                        error = WorkerError(_ended(place, len(tasks), code))
                        if on_death is None:
                            raise error from None
                        is_result, content = True, on_death(place, error)
                        workers[number] = worker = _Worker.started(function, shared, tasks)
                    if not is_result:
                        raise content
                    if left:
                        worker.send(left.popleft())
                    yield place, content
        finally:
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.end()

    def _on_cluster(
        self,
        function: Callable[[Any, Any], Any],
        shared: Any,
        tasks: Sequence[Any],
        left: deque[int],
        seconds: float,
        on_death: Callable[[int, WorkerError], Any] | None,
        worker_fault: Callable[..., str] | None,
    ) -> Iterator[tuple[int, Any]]:
        import distributed

        client = _connected(distributed, self.cluster)
        try:
            workers = _checked_workers(client, self.cluster)
            if worker_fault is not None:
                _require_no_fault(client.run(worker_fault, shared, on_error="return"))
            self._place = f"on {len(workers):,} Dask worker{'' if len(workers) == 1 else 's'} at {self.cluster}"
            data = client.scatter((function, shared), broadcast=True, hash=False)
            size = max(int(BATCH_SECONDS / seconds), 1)
            batches = [list(left)[begin : begin + size] for begin in range(0, len(left), size)]
            pending = {
                client.submit(_batch, data, [tasks[place] for place in batch], pure=False): batch for batch in batches
            }
            for done in _finished(distributed, client, pending, self.cluster):
                batch = pending.pop(done)
                try:
                    yield from zip(batch, _result_of(distributed, done), strict=True)
                except distributed.KilledWorker:
                    error = WorkerError(
                        "a batch of tasks ended its Dask worker each time it was tried. "
                        "Check the memory of the workers."
                    )
                    if on_death is None:
                        raise error from None
                    yield from ((place, on_death(place, error)) for place in batch)
            ended = workers - set(client.scheduler_info(n_workers=-1)["workers"])
            self._n_repeated = len(ended)
        finally:
            with suppress(TimeoutError):  # what was computed counts, although the connection ends late
                client.close(timeout=SECONDS_TO_CONNECT)


def n_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(slots=True)
class _Worker:
    """A process of this machine that runs one task at a time; `place` is that of its task."""

    process: BaseProcess
    pipe: Connection
    place: int | None = None

    @classmethod
    def started(cls, function: Callable[[Any, Any], Any], shared: Any, tasks: Sequence[Any]) -> _Worker:
        inherits = sys.platform == "linux"
        context: Any = multiprocessing.get_context("fork" if inherits else "spawn")
        ours, theirs = context.Pipe()
        work = (theirs, ours if inherits else None, function, shared, tasks)
        process = context.Process(target=_serve, args=work, daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, about threads: a task needs no lock
            process.start()
        theirs.close()
        return cls(process, ours)

    def send(self, place: int) -> None:
        self.place = place
        with suppress(OSError):  # the process has ended, which its end of the pipe shows
            self.pipe.send(place)

    def receive(self) -> tuple[bool, Any]:
        answer: tuple[bool, Any] = self.pipe.recv()
        self.place = None
        return answer

    def stop(self) -> None:
        """Let the task of the process end: by SIGTERM, at once unless it handles that signal."""
        if self.place is not None:
            self.process.terminate()

    def end(self) -> int | None:
        """End the process, and return its exit code. One with a task ends by itself, or after `SECONDS_TO_END`."""
        self.process.join(0.0 if self.place is None else SECONDS_TO_END)
        self.process.kill()
        self.process.join()
        self.pipe.close()
        return self.process.exitcode


def _serve(
    pipe: Connection,
    of_parent: Connection | None,
    function: Callable[[Any, Any], Any],
    shared: Any,
    tasks: Sequence[Any],
) -> None:
    if of_parent is not None:
        of_parent.close()  # so that the pipe ends with the parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends its processes
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        try:
            place = pipe.recv()
        except EOFError:
            return
        answer: tuple[bool, Any]
        try:
            answer = (True, function(shared, tasks[place]))
        except Exception as error:
            answer = (False, _portable(error))
        except KeyboardInterrupt:  # of a task that handles SIGTERM so
            return
        pipe.send(answer)


def _portable(error: Exception) -> Exception:
    """Return an exception that can be pickled and read again."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _ended(place: int, n_tasks: int, code: int | None) -> str:
    how = f"with exit code {code}" if code is None or code >= 0 else f"by {signal.Signals(-code).name}"
    return (
        f"task {place + 1:,} of {n_tasks:,} ended its process {MOST_ATTEMPTS} times, the last time {how}. "
        "Check the memory of the machine, or use one process to see the error."
    )


def _batch(data: tuple[Callable[[Any, Any], Any], Any], tasks: Sequence[Any]) -> list[Any]:
    function, shared = data
    return [function(shared, task) for task in tasks]


def _scheduler_address(text: str) -> str:
    scheme, _, rest = text.partition("://")
    host, _, port = rest.rpartition(":")
    if scheme not in _SCHEMES or not host or not port.isdigit() or not 0 < int(port) < 65_536:
        example = "tcp://10.0.0.5:8786"
        raise ConfigError(f"cluster was {quoted(text)}: give the address of a Dask scheduler, such as {example}.")
    return text


def _connected(distributed: Any, address: str) -> Any:
    import logging

    for name in ("distributed.client", "distributed.comm"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return distributed.Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigError(
            f"cluster {address}: no Dask scheduler answered within {SECONDS_TO_CONNECT:.0f} s "
            f"({type(error).__name__}). Check the address, or start one with `dask scheduler`."
        ) from None


def _identity() -> str:
    return f"{package_digest()} {environment_digest()}"


def _checked_workers(client: Any, address: str) -> set[str]:
    """Return the addresses of the workers; all have the versions of this process."""
    try:
        client.wait_for_workers(1, timeout=SECONDS_TO_CONNECT)
    except TimeoutError:
        raise ConfigError(f"cluster {address} has no worker. Start one with `dask worker {address}`.") from None
    found = client.run(_identity, on_error="return")
    for worker, identity in found.items():
        if isinstance(identity, Exception):
            raise ConfigError(f"worker {worker} cannot import peak_trade ({identity}). Install it there.")
        if identity != _identity():
            raise ConfigError(
                f"worker {worker} has another version of peak_trade or its libraries. Install the same versions there."
            )
    return set(found)


def _require_no_fault(found: Mapping[str, Any]) -> None:
    for worker, fault in found.items():
        if isinstance(fault, Exception):
            raise fault
        if fault:
            raise ConfigError(f"worker {worker} {fault}")


def _finished(distributed: Any, client: Any, pending: dict[Any, list[int]], address: str) -> Iterator[Any]:
    """Yield futures as they finish; WorkerError when the scheduler is lost or has no worker for too long."""
    alone_since: float | None = None
    while pending:
        try:
            with client.as_current():
                done = distributed.wait(list(pending), timeout=1.0, return_when="FIRST_COMPLETED").done
            yield from done
        except TimeoutError:
            if client.status != "running":
                raise WorkerError(f"cluster {address}: the connection to the scheduler was lost.") from None
        if client.scheduler_info(n_workers=-1)["workers"]:
            alone_since = None
        elif alone_since is None:
            alone_since = time.monotonic()
        elif time.monotonic() - alone_since > SECONDS_TO_CONNECT:
            raise WorkerError(f"cluster {address}: all workers have ended; {len(pending):,} batches are left.")


def _result_of(distributed: Any, future: Any) -> list[Any]:
    try:
        results: list[Any] = future.result()
    except distributed.CancelledError:
        raise WorkerError("the cluster dropped a batch of tasks. Check its scheduler.") from None
    return results
