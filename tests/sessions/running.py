"""A session over recorded bars in one call."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Instrument
from peak_trade.data.store import save_bars
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.files import read_events
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.risk.limits import RiskLimits
from peak_trade.sessions.bar_buffer import MarketBuffer
from peak_trade.sessions.feeds.base import RecordedFeed
from peak_trade.sessions.live_sleeves import LiveSleeves
from peak_trade.sessions.runner import Session
from peak_trade.strategies.base import Strategy
from peak_trade.wiring.gates import make_risk_engine
from peak_trade.wiring.sleeves import Evaluation

RUN = ["session", "run", "--feed", "recorded", "--symbol", "BTC/USDT", "--timeframe", "1h", "--quiet", "--no-record"]
RUN += ["-p", "fast=3", "-p", "slow=8"]
BTC = Instrument("BTC/USDT", tick_size=0.01, lot_size=1e-5, min_notional=5.0)


def read_bars(path: Path, symbol: str, timeframe: str) -> Bars:
    """Bars of a file of real data, stamped with their close."""
    frame = pd.read_parquet(path)
    length = Timeframe.parse(timeframe)
    times = pd.DatetimeIndex(pd.to_datetime(frame["timestamp"], utc=True)).as_unit("ns") + length.duration
    columns = frame[["open", "high", "low", "close", "volume"]].astype(np.float64)
    return Bars(columns.set_axis(times, axis=0), symbol, length, "binance")


def wavy(n_bars: int = 120) -> Bars:
    """Bars that rise and fall, so that a crossover trades."""
    close = 100.0 + 8.0 * np.sin(np.arange(n_bars) / 6.0)
    opened = np.concatenate(([100.0], close[:-1]))
    frame = pd.DataFrame(
        {
            "open": opened,
            "high": np.maximum(opened, close) + 0.5,
            "low": np.minimum(opened, close) - 0.5,
            "close": close,
            "volume": np.full(n_bars, 1e6),
        },
        index=pd.date_range("2024-01-01 01:00", periods=n_bars, freq="h", tz="UTC"),
    )
    return Bars(frame, "BTC/USDT", Timeframe.parse("1h"), "sample")


def part_of(bars: Bars, start: int, n_bars: int) -> Bars:
    """Consecutive bars."""
    return Bars(bars.frame.iloc[start : start + n_bars], bars.symbol, bars.timeframe, bars.exchange)


def sealed_sessions(home: Path, n_sessions: int, n_bars: int = 40) -> Path:
    """Record sealed sessions with orders in a workspace, and return it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(home))
        save_bars(wavy(n_bars))
        for _ in range(n_sessions):
            assert main(RUN) == 0
    return home


def counting() -> Callable[[], int]:
    """A clock that counts."""
    count = itertools.count(1)
    return lambda: next(count)


def open_session(
    folder: Path,
    key: WorkspaceKey,
    strategy: Strategy,
    bars: Bars,
    settings: BacktestSettings | None = None,
    *,
    is_whole: bool = True,
    risk: RiskLimits | None = None,
    **options: Any,
) -> Session:
    """A paper session in a folder, new or resumed."""
    if not folder.exists():
        create_session(folder, {"session_id": folder.name}, key, counting())
    settings = settings or BacktestSettings()
    journal = JournalWriter(folder, key, counting(), commit_seconds=60.0)
    buffer = MarketBuffer([BTC], bars.timeframe, len(bars) + 1, bars.exchange)
    evaluation = Evaluation(strategy, strategy.name, (BTC.symbol,), settings)
    return Session(
        buffer,
        LiveSleeves(buffer, [evaluation], [bars] if is_whole else None),
        settings,
        journal,
        counting(),
        "paper",
        risk_engine=make_risk_engine(risk, [bars]),
        **options,
    )


def run_session(folder: Path, key: WorkspaceKey, strategy: Strategy, bars: Bars, *args: Any, **options: Any) -> Session:
    """A paper session over a recording, run to its end."""
    session = open_session(folder, key, strategy, bars, *args, **options)
    session.run(RecordedFeed(bars), read_events(folder))
    return session
