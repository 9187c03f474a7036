"""Real bars and a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from peak_trade.core.bars import Bars
from peak_trade.data.store import save_bars
from peak_trade.journal.keys import WorkspaceKey
from tests.sessions.running import read_bars, wavy


@pytest.fixture(scope="session")
def btc_1h(real_data: Path) -> Bars:
    """BTC/USDT by the hour, 2020-09 to 2023."""
    return read_bars(real_data / "bars" / "binance_BTCUSDT_1h.parquet", "BTC/USDT", "1h")


@pytest.fixture(scope="session")
def btc_1m(real_data: Path) -> Bars:
    """BTC/USDT by the minute, ten days of 2024."""
    return read_bars(real_data / "bars" / "binance_BTCUSDT_1m.parquet", "BTC/USDT", "1m")


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> WorkspaceKey:
    """A workspace's key."""
    return WorkspaceKey(tmp_path_factory.mktemp("home") / "keys")


@pytest.fixture
def stored(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A workspace whose store holds the bars."""
    monkeypatch.chdir(tmp_path)
    save_bars(wavy())
    return home
