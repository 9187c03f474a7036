"""Size and power of the deflated Sharpe ratio on generated sweeps: `python -m benchmarks.selection`.

A sweep is 50 series of independent normal daily returns over four years. On noise every series has mean 0; otherwise
one has a given annual Sharpe ratio. Another kind of noise are the crossovers of moving averages over one random walk,
whose returns resemble each other as those of a real sweep do. The script prints the table of docs/honesty.md.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.metrics.selection import ErrorAt, SharpeSample, deflated_sharpe

N_SETS, N_DAYS, DAYS_A_YEAR = 50, 1_460, 365.0
RATIOS = (0.0, 1.0, 1.5, 2.0, 3.0)
CONFIDENCE = 0.95
N_SWEEPS = 4_000
FAST, SLOW = (2, 3, 5, 8, 10, 12, 15), (20, 30, 40, 60, 80, 120, 160)


def sweep_returns(ratio: float, seed: int, n_days: int = N_DAYS) -> FloatArray:
    """Return the daily returns of one sweep, shape (n_days, N_SETS); set 0 has the annual Sharpe ratio `ratio`."""
    returns = np.random.default_rng([seed, n_days]).standard_normal((n_days, N_SETS))
    returns[:, 0] += ratio / math.sqrt(DAYS_A_YEAR)
    return 0.01 * returns


def crossover_returns(seed: int, n_days: int = N_DAYS) -> FloatArray:
    """Return the daily returns of 49 crossovers of moving averages over one random walk, shape (n_days, 49).

    Each is long while its fast average is above its slow one at the close before, otherwise short.
    """
    n_before = SLOW[-1]
    steps = 0.03 * np.random.default_rng([seed, n_days, 1]).standard_normal(n_before + n_days)
    sums = np.concatenate(([0.0], np.cumsum(np.exp(np.cumsum(steps)))))
    known = np.arange(n_before, n_before + n_days)
    means = {n: (sums[known] - sums[known - n]) / n for n in (*FAST, *SLOW)}
    sides = [np.where(means[fast] > means[slow], 1.0, -1.0) for fast in FAST for slow in SLOW]
    return np.expm1(steps[n_before:])[:, np.newaxis] * np.column_stack(sides)


def share_found(
    n_sweeps: int, returns_of: Callable[[int], FloatArray], skilled: int | None = None
) -> dict[ErrorAt, float]:
    """Return the share of sweeps whose best set has a deflated Sharpe ratio above 0.95, by variant.

    Where one set has skill, only sweeps whose best set is that one count as found.
    """
    found: dict[ErrorAt, int] = {"estimate": 0, "null": 0}
    for seed in range(n_sweeps):
        returns = returns_of(seed)
        ratios = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
        best = int(ratios.argmax())
        if skilled not in (None, best):
            continue
        sample, variance = SharpeSample.of(returns[:, best]), float(ratios.var(ddof=1))
        for variant in found:
            probability = deflated_sharpe(sample, ratios.size, variance, variant).value
            found[variant] += probability is not None and probability > CONFIDENCE
    return {variant: count / n_sweeps for variant, count in found.items()}


def table(n_sweeps: int) -> str:
    """Return the table of shares in Markdown, one row per annual Sharpe ratio of the planted set."""
    rows = ["| annual Sharpe ratio of one set of 50 | `estimate` | `null` |", "|---|---|---|"]
    found = {"none: crossovers on noise": share_found(n_sweeps, crossover_returns)}
    for ratio in RATIOS:
        name = f"{ratio:g}" if ratio else "none: independent noise"
        found[name] = share_found(n_sweeps, partial(sweep_returns, ratio), 0 if ratio else None)
    rows += [f"| {name} | {shares['estimate']:.1%} | {shares['null']:.1%} |" for name, shares in found.items()]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(table(N_SWEEPS) + "\n")
