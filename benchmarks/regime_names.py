"""Accuracy of the names of regimes on generated bars with known regimes: `python -m benchmarks.regime_names`.

The script prints the tables of docs/regime/REGIME_DETECTION_SPEC.md: the share of bars after the warm-up that have the
right name, over seeds, and the difference from the first row with its standard error, paired by seed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.data.sample import N_BARS, REALISTIC, WELL_SEPARATED, SampleRegimes, sample_bars, sample_regimes
from peak_trade.regimes import states
from peak_trade.regimes.features import FeatureSettings
from peak_trade.regimes.hmm import HmmDetector
from peak_trade.regimes.jump import JumpDetector
from peak_trade.regimes.states import Regime
from peak_trade.regimes.walk_forward import ModelDetector

N_SEEDS = 10
SHORT = FeatureSettings(used=("log_return", "volatility", "trend"), volatility_window=12, trend_window=12)
QUICK: Mapping[str, Any] = {
    "features": SHORT,
    "window": 4_000,
    "min_bars": 1_500,
    "refit_every": 1_000,
    "min_duration": 1,
}


def windows(volatility: int, trend: int, min_duration: int) -> HmmDetector:
    """Return an HMM detector with the given windows of its features, bars."""
    features = FeatureSettings(volatility_window=volatility, trend_window=trend)
    return HmmDetector(features=features, min_duration=min_duration)


REALISTIC_ROWS: Mapping[str, tuple[ModelDetector, float]] = {
    "windows 72 and 168, minimum duration 48": (windows(72, 168, 48), 1.0),
    "the same, ordered by mean return at every fit": (windows(72, 168, 48), 0.0),
    "the same, reordered at two standard errors": (windows(72, 168, 48), 2.0),
    "72 and 336, minimum duration 96 (the default)": (windows(72, 336, 96), 1.0),
    "168 and 336, minimum duration 504": (windows(168, 336, 504), 1.0),
}
"""Detector and standard errors of a contradiction, `states.CONTRADICTION`."""
SEPARATED_ROWS: Mapping[str, tuple[ModelDetector, float]] = {
    "HMM": (HmmDetector(**QUICK), 1.0),
    "jump model": (JumpDetector(**QUICK), 1.0),
}


def accuracies(
    detector: ModelDetector, contradiction: float, regimes: SampleRegimes, n_bars: int, n_seeds: int
) -> FloatArray:
    """Return the share of bars with the right name for each seed, shape (n_seeds,)."""
    found, default = [], states.CONTRADICTION
    states.CONTRADICTION = contradiction
    try:
        for seed in range(n_seeds):
            truth = sample_regimes(seed, n_bars, regimes).str.upper().map(Regime.__members__).astype(int)
            filtered = detector.filter(sample_bars("BTC/USDT", seed, n_bars, regimes).frame)
            found.append((filtered.labels == truth.to_numpy())[filtered.warm_up :].mean())
    finally:
        states.CONTRADICTION = default
    return np.array(found)


def table(rows: Mapping[str, tuple[ModelDetector, float]], regimes: SampleRegimes, n_bars: int, n_seeds: int) -> str:
    """Return the table of accuracies in Markdown; differences are paired with the first row, ± one standard error."""
    lines = [f"| {n_seeds} seeds of {n_bars:,} bars | right names | difference from the first row |", "|---|---|---|"]
    first: FloatArray | None = None
    for name, (detector, contradiction) in rows.items():
        found = accuracies(detector, contradiction, regimes, n_bars, n_seeds)
        first = found if first is None else first
        gap = found - first
        error = gap.std(ddof=1) / math.sqrt(n_seeds)
        paired = "" if first is found else f"{gap.mean():+.1%} ± {error:.1%}"
        own = found.std(ddof=1) / math.sqrt(n_seeds)
        lines.append(f"| {name} | {found.mean():.1%} ± {own:.1%} | {paired} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table(SEPARATED_ROWS, WELL_SEPARATED, 4_000, 6) + "\n\n")
    sys.stdout.flush()
    sys.stdout.write(table(REALISTIC_ROWS, REALISTIC, N_BARS, N_SEEDS) + "\n")
