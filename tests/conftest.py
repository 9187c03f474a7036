"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Generator, Iterator
from functools import cache
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from peak_trade.core import digest
from peak_trade.core.lock import held_lock
from tests.examples import QUICK

settings.load_profile(QUICK)

# jsonschema does without this package, whose import parses a grammar for more than a second.
sys.modules["rfc3987_syntax"] = None


COLLECTOR_THRESHOLD = (40_000, 40, 40)
"""Python's default of 700 objects makes the collector take most of the time of a parser, for example."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave modules and tests out of garbage collection: they live to the end, and each collection would visit them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(*COLLECTOR_THRESHOLD)
        gc.enable()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace, whose folder does not exist yet."""
    folder = tmp_path / "home"
    monkeypatch.setenv("PEAK_TRADE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real bars and recordings: PEAK_TRADE_TEST_DATA, by default next to the repository."""
    named = os.environ.get("PEAK_TRADE_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data is not here: set PEAK_TRADE_TEST_DATA to its folder")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Skip syncs to disk, because the system's cache outlives a killed process; durability tests watch the calls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(os, "fdatasync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _package_is_read_once() -> Iterator[None]:
    """Look once for changes of the package's sources: every run does, and they stay the same while tests run."""
    look = digest._stamped
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digest, "_stamped", cache(lambda folder: tuple(look(folder))))
        yield


@pytest.fixture(scope="module", autouse=True)
def _short_checks_are_short(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the clock of the short check for look-ahead move with its readings, so that it ends after a few rewritings.

    Every backtest of a strategy of the tests makes such a check, which takes 0.22 s of the wall clock. The tests of
    causality leave it its time.
    """
    if "causality" in request.node.nodeid:
        yield
        return
    from peak_trade.causality import short

    check = short._cached

    def checked(*arguments: Any) -> Any:
        *others, clock = arguments
        readings = count(step=0.02)
        return check(*others, (lambda: next(readings)) if clock is time.perf_counter else clock)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(short, "_cached", checked)
        yield


@pytest.fixture
def _check_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a check for look-ahead start no processes, which take a second; `tests/causality/test_fresh.py` does."""
    from peak_trade.causality import check

    def answer_of(job: check._Job) -> check._Answer:
        answer = check._answer(job)
        if answer.error is not None:
            raise answer.error
        return answer

    monkeypatch.setattr(check, "_answer_of", answer_of)


@pytest.fixture(scope="session")
def empty_registry(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run registry without runs. To make one takes seconds, so pytest's cache keeps it for each version of MLflow."""
    kept = getattr(pytestconfig, "cache", None)
    folder = tmp_path_factory.getbasetemp() if kept is None else kept.mkdir("registries")
    path = folder / f"mlflow-{version('mlflow')}.db"
    with held_lock(path.with_suffix(".lock"), 120.0):
        if not path.exists():
            _make_registry(folder / "making.db")
            (folder / "making.db").rename(path)
    return path


def _make_registry(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        MlflowClient(f"sqlite:///{path}").search_experiments()


@pytest.fixture(scope="session")
def _schema_is_read_once() -> Iterator[None]:
    """Let MLflow read its newest schema once: it does so for every database, from dozens of migration files."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.store.db import utils
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "_get_latest_schema_revision", cache(utils._get_latest_schema_revision))
        yield


@pytest.fixture
def registry(home: Path, empty_registry: Path, _schema_is_read_once: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with an empty run registry."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home.mkdir(parents=True)
    shutil.copy(empty_registry, home / "mlflow.db")
    return home
