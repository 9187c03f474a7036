"""Fixtures shared by all tests."""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock


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


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run registry without runs, created once for all workers, because that takes seconds."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(folder / "registry.lock"):
        if not (folder / "registry.db").exists():
            _make_registry(folder / "making.db")
            (folder / "making.db").rename(folder / "registry.db")
    return folder / "registry.db"


def _make_registry(path: Path) -> None:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        MlflowClient(f"sqlite:///{path}").search_experiments()


@pytest.fixture
def registry(home: Path, empty_registry: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with an empty run registry."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home.mkdir(parents=True)
    shutil.copy(empty_registry, home / "mlflow.db")
    return home
