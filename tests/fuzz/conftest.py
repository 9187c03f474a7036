"""A workspace with one session, one recorded run and the files that the examples in the help name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.fuzz.commands import make_workspace
from tests.fuzz.faults import no_network


class Desk(NamedTuple):
    """A folder with a workspace, and the names of its session and its run."""

    folder: Path
    names: dict[str, str]

    @property
    def home(self) -> Path:
        """The workspace."""
        return self.folder / "home"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Desk:
    """The workspace from which every test gets a copy."""
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(folder / "home"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        (folder / "home").mkdir()
        shutil.copy(empty_registry, folder / "home" / "mlflow.db")
        desk = Desk(folder, make_workspace(folder))
    return desk


@pytest.fixture
def desk(made: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A copy of the workspace, without a network."""
    folder = tmp_path / "desk"
    shutil.copytree(made.folder, folder)
    os.mkfifo(folder / "pipe")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("PEAK_TRADE_HOME", str(folder / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(folder)
    with no_network():
        yield Desk(folder, made.names)
