"""Stored bars, real bars and a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from peak_trade.core.bars import Bars
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.journal.keys import WorkspaceKey
from tests.sessions.running import read_bars


@pytest.fixture(scope="session")
def btc_1m(real_data: Path) -> Bars:
    """BTC/USDT by the minute, ten days of 2024."""
    return read_bars(real_data / "bars" / "binance_BTCUSDT_1m.parquet", "BTC/USDT", "1m")


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> WorkspaceKey:
    """A workspace's key."""
    return WorkspaceKey(tmp_path_factory.mktemp("home") / "keys")


@pytest.fixture
def stored(registry: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A workspace with generated bars of two symbols and an empty registry."""
    monkeypatch.chdir(tmp_path)
    for symbol in ("BTC/USDT", "ETH/USDT"):
        save_bars(sample_bars(symbol, n_bars=400))
    return registry
