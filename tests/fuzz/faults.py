"""Faults of a workspace, a disk, a database and a server, which every verb and every function must survive."""

from __future__ import annotations

import resource
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peak_trade.core import chained_lines as ledger
from peak_trade.core.lock import held_lock
from peak_trade.tracking import registry as run_registry

GARBAGE = bytes(range(256)) * 40
Fault = Callable[[Path, pytest.MonkeyPatch], Iterator[None]]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    """Add a fault to the table by the name of its function."""
    FAULTS[function.__name__] = function
    return function


def refused(*_: object, **__: object) -> None:
    """Stand for a network that refuses every connection."""
    raise ConnectionRefusedError(111, "Connection refused")


@fault
def damaged_registry(home: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    (home / "mlflow.db").write_bytes(GARBAGE)
    yield


@fault
def cut_registry(home: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    (home / "mlflow.db").write_bytes((home / "mlflow.db").read_bytes()[:20_000])
    yield


@fault
def locked_databases(home: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    connection = sqlite3.connect(home / "mlflow.db")
    connection.execute("BEGIN EXCLUSIVE")
    with held_lock(home / ".trials.jsonl.lock", 1.0):
        yield
    connection.close()


@fault
def deleted_experiment(home: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    with run_registry.open_registry() as (client, experiment_id):
        client.delete_experiment(experiment_id)
    yield


@fault
def unreachable_server(_home: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    yield


@fault
def damaged_trials(home: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    (home / "trials.jsonl").write_bytes(GARBAGE)
    yield


@fault
def damaged_bars(home: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    for path in home.glob("bars/*/*/*/*.json"):
        path.write_bytes(GARBAGE)
    yield


@fault
def cut_bars(home: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    for path in home.glob("bars/*/*/*/*.parquet"):
        path.write_bytes(path.read_bytes()[:-50])
    yield


@fault
def damaged_sessions(home: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    for path in home.glob("sessions/*/*"):
        if path.is_file():
            path.write_bytes(GARBAGE)
    yield


@fault
def changed_sessions(home: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    for path in home.glob("sessions/*/*"):
        if path.is_file() and path.stat().st_size:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
    yield


@fault
def damaged_control(home: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    (home / "trading_state.json").write_bytes(GARBAGE)
    for path in home.glob("keys/*"):
        path.write_bytes(GARBAGE)
    yield


@fault
def folders_for_files(home: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    for path in [
        *home.glob("*.db"),
        *home.glob("*.jsonl"),
        *home.glob("bars/*/*/*/*"),
        *home.glob("sessions/*/*.json*"),
    ]:
        path.unlink()
        path.mkdir()
    yield


@fault
def files_for_folders(home: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("bars", "sessions", "mlartifacts", "keys", "decisions"):
        shutil.rmtree(home / name, ignore_errors=True)
        (home / name).write_bytes(GARBAGE)
    yield


@fault
def full_disk(_home: Path, _patch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file size limit of the kernel stands for the full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@fault
def no_place_for_a_workspace(_home: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    patch.setenv("PEAK_TRADE_HOME", "/proc/peak_trade")
    yield


@fault
def file_as_workspace(home: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    patch.setenv("PEAK_TRADE_HOME", str(home / "mlflow.db"))
    yield


@fault
def read_only_databases(home: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    connect = sqlite3.connect

    def reading(path: object, *arguments: object, **options: object) -> sqlite3.Connection:
        made = connect(path, *arguments, **options)
        made.execute("PRAGMA query_only = ON")
        return made

    for module in (sqlite3, sqlite3.dbapi2):
        patch.setattr(module, "connect", reading)
    yield


@contextmanager
def present(name: str, home: Path) -> Iterator[None]:
    """Bring a fault about in a workspace for the time of a block."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (run_registry, ledger):
            patch.setattr(module, "LOCK_WAIT_SECONDS", 0.01)
        steps = FAULTS[name](home, patch)
        next(steps)
        try:
            yield
        finally:
            next(steps, None)


@contextmanager
def no_network() -> Iterator[None]:
    """Refuse every connection, and wait for nothing, for the time of a block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refused)
        patch.setitem(run_registry.QUIET, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        patch.setattr("peak_trade.data.fetching.connect", refused)
        patch.setattr("peak_trade.reports.notebooks.run_report", refused)
        patch.setattr("peak_trade.site.build.build_site", refused)
        yield
