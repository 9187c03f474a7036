"""Generated five-minute bars of a thin market: activity comes in bursts, and one bar in six has no trade."""

from __future__ import annotations

import numpy as np
import pandas as pd

from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe

N_DAYS = 60
_PER_DAY = 288


def thin_bars(seed: int) -> Bars:
    """Return bars of a pair that trades about 800,000 USDT a day.

    The logarithm of the activity is an AR(1) process with a half-life of two hours and a standard deviation of 1, on
    top of a daily cycle; the volume of a bar is the activity times an exponential variable.
    """
    rng = np.random.default_rng(seed)
    n_bars = N_DAYS * _PER_DAY
    decay = 0.5 ** (1 / 24)
    shocks = rng.normal(0.0, np.sqrt(1.0 - decay**2), n_bars)
    activity = np.empty(n_bars)
    level = 0.0
    for bar in range(n_bars):
        level = decay * level + shocks[bar]
        activity[bar] = level
    cycle = 0.5 * np.sin(2.0 * np.pi * np.arange(n_bars) / _PER_DAY)
    traded = rng.random(n_bars) >= 1 / 6
    notional = 3_500.0 * np.exp(activity - 0.5 + cycle) * rng.exponential(size=n_bars) * traded
    close = 0.05 * np.exp(np.cumsum(rng.normal(0.0, 0.002, n_bars) * traded))
    opened = np.concatenate(([0.05], close[:-1]))
    frame = pd.DataFrame(
        {
            "open": opened,
            "high": np.maximum(opened, close),
            "low": np.minimum(opened, close),
            "close": close,
            "volume": notional / close,
        },
        index=pd.date_range("2024-01-01 00:05", periods=n_bars, freq="5min", tz="UTC", name="close_time"),
    )
    return Bars(frame, f"THIN{seed}/USDT", Timeframe.parse("5m"))
