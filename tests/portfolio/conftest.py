from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe


def made_bars(symbol: str, seed: int, n_bars: int = 400, start: int = 0) -> Bars:
    """Hourly bars of a random walk; `start` drops the first bars, so that the symbol starts mid-sample."""
    draw = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(draw.normal(scale=0.01, size=n_bars)))
    opened = close * np.exp(draw.normal(scale=0.001, size=n_bars))
    frame = pd.DataFrame(
        {
            "open": opened,
            "high": np.maximum(opened, close) * 1.002,
            "low": np.minimum(opened, close) * 0.998,
            "close": close,
            "volume": np.full(n_bars, 1e6),
        },
        index=pd.date_range("2024-01-01", periods=n_bars, freq="h", tz="UTC"),
    )
    return Bars(frame.iloc[start:], symbol, Timeframe.parse("1h"), "made")


@pytest.fixture(scope="session")
def three_symbols() -> list[Bars]:
    return [made_bars(symbol, seed) for seed, symbol in enumerate(("A/USD", "B/USD", "C/USD"), start=1)]
