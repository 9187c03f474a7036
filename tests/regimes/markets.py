"""Small markets and detectors that the tests of regimes share."""

from __future__ import annotations

import numpy as np
import pandas as pd

from peak_trade.regimes.detector import Detector
from peak_trade.regimes.features import FeatureSettings
from peak_trade.regimes.hmm import HmmDetector
from peak_trade.regimes.jump import JumpDetector
from peak_trade.regimes.rules import RulesDetector, RuleSettings

SMALL_FEATURES = FeatureSettings(volatility_window=24, range_window=24, volume_window=24, trend_window=48)
SMALL_RULES = RuleSettings(rsi_window=24, atr_window=12, atr_baseline=48)
WALK = {
    "features": SMALL_FEATURES,
    "fallback": SMALL_RULES,
    "refit_every": 150,
    "min_duration": 24,
    "window": 400,
    "min_bars": 250,
}
DETECTORS: dict[str, Detector] = {
    "hmm": HmmDetector(**WALK, n_starts=3, tolerance=1e-4),
    "jump": JumpDetector(**WALK),
    "rules": RulesDetector(rules=SMALL_RULES, min_duration=24),
}


def frame_of(close: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Hourly bars around a path of closes."""
    generator = np.random.default_rng(seed)
    open_ = np.concatenate([close[:1], close[:-1]])
    reach = 1.0 + np.abs(generator.normal(0.0, 0.002, (2, len(close))))
    index = pd.date_range("2022-01-01", periods=len(close), freq="h", tz="UTC", unit="ns", name="close_time")
    return pd.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close) * reach[0],
            "low": np.minimum(open_, close) / reach[1],
            "close": close,
            "volume": generator.lognormal(3.0, 0.5, len(close)),
        },
        index=index,
    )


def switching_bars(n_bars: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Bars of three well-separated states, and the true state of every bar (0 bear, 1 sideways, 2 bull)."""
    generator = np.random.default_rng(seed)
    states = np.empty(n_bars, dtype=np.int64)
    state = 1
    for row in range(n_bars):
        if generator.random() < 1.0 / 250.0:
            state = int(generator.choice([other for other in range(3) if other != state]))
        states[row] = state
    drift, noise = np.array([-0.006, 0.0, 0.006]), np.array([0.010, 0.003, 0.005])
    return frame_of(100.0 * np.exp(np.cumsum(generator.normal(drift[states], noise[states]))), seed), states
