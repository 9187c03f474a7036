"""What every test run shares."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Keep `pytest -m smoke` from importing what it would only deselect."""
    if config.option.markexpr != "smoke":
        return None
    wanted = Path(__file__).parent / "tests" / "smoke"
    is_on_the_way = collection_path in wanted.parents or collection_path.is_relative_to(wanted)
    return None if is_on_the_way else True
