"""Minute bars on which a session gets into trouble: a gap in the feed, then a crash, after which entries are denied."""

from __future__ import annotations

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import index_ns
from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.strategies.base import Strategy

N_BARS = 300
GAP = range(100, 130)
"""Minutes without a bar."""
CRASH = range(180, 200)
"""Minutes of the crash, which halves the price."""
RUN = ["session", "run", "--feed", "recorded", "--symbol", "BTC/USDT", "--timeframe", "1m", "--quiet", "--no-record"]
RUN += ["--strategy", f"{__name__}:Alternating", "--no-causality-check", "--config", "troubled.toml"]
CONFIG = "[costs]\nfee_bps = 0.0\nslippage_bps = 0.0\n[risk.state]\nreduce_drawdown = 0.12\n"


class Alternating(Strategy):
    """Enters at every other bar and leaves at the next one."""

    @property
    def warm_up(self) -> int:
        """Always 0."""
        return 0

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        """Return 1 after an even minute and 0 after an odd one."""
        minutes: FloatArray = index_ns(bars.index) // 60_000_000_000 % 2.0
        return 1.0 - minutes


def troubled_bars() -> Bars:
    """Bars with the gap and the crash."""
    rng = np.random.default_rng(7)
    moves = rng.normal(0.0, 2e-4, N_BARS)
    moves[CRASH.start : CRASH.stop] = -np.log(2.0) / len(CRASH)
    close = 100.0 * np.exp(np.cumsum(moves))
    opened = np.concatenate(([100.0], close[:-1]))
    frame = pd.DataFrame(
        {
            "open": opened,
            "high": np.maximum(opened, close) + 0.01,
            "low": np.minimum(opened, close) - 0.01,
            "close": close,
            "volume": np.full(N_BARS, 1e6),
        },
        index=pd.date_range("2024-01-01 00:01", periods=N_BARS, freq="min", tz="UTC"),
    )
    kept = frame.drop(frame.index[GAP.start : GAP.stop])
    return Bars(kept, "BTC/USDT", Timeframe.parse("1m"), "sample")
