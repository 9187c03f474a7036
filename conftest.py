"""Settings of every test run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Draw the same examples in every run; HYPOTHESIS_PROFILE=explore draws new ones, and more."""
    if _is_smoke(config):
        return
    from hypothesis import settings

    settings.register_profile("suite", deadline=None, derandomize=True)
    settings.register_profile("explore", deadline=None, max_examples=500)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Keep `pytest -m smoke` from importing what it would only deselect."""
    if not _is_smoke(config):
        return None
    wanted = Path(__file__).parent / "tests" / "smoke"
    is_on_the_way = collection_path in wanted.parents or collection_path.is_relative_to(wanted)
    return None if is_on_the_way else True


@pytest.fixture(scope="session", autouse=True)
def _no_trials_in_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A workspace for tests and benchmarks without their own, because every backtest counts a trial."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(tmp_path_factory.getbasetemp() / "shared-home"))
        yield


def _is_smoke(config: pytest.Config) -> bool:
    return bool(config.option.markexpr == "smoke")
