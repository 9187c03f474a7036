"""Fixtures of the risk tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def config() -> Path:
    """The folder of example configurations."""
    return Path(__file__).parents[2] / "config"
