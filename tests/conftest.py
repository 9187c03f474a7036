"""Fixtures that every layer's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace of the test's own, empty and not yet made."""
    folder = tmp_path / "home"
    monkeypatch.setenv("PEAK_TRADE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real bars and recordings: PEAK_TRADE_TEST_DATA, or shared/data beside the repository."""
    named = os.environ.get("PEAK_TRADE_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data is not here: set PEAK_TRADE_TEST_DATA to its folder")
    return folder
