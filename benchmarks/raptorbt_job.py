"""Jobs of RaptorBT on the market of `engine_jobs`: `python raptorbt_job.py JOB`, in an environment with raptorbt alone.

JOB is `run` (one pair of averages, 1,051,200 bars) or `sweep` (1,000 pairs, 17,520 bars). Prints the cost as JSON, the
number of trades of the first run, and the version.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from itertools import product

import numpy as np
import raptorbt


def columns(n_bars: int, step_ns: int) -> dict[str, np.ndarray]:
    """Return the bars of `engine_jobs.frame`."""
    close = 30_000.0 * np.exp(np.cumsum(np.random.default_rng(7).normal(0.0, 4e-4, n_bars)))
    opened = np.concatenate(([30_000.0], close[:-1]))
    return {
        "timestamps": np.arange(n_bars, dtype=np.int64) * step_ns + 1_672_531_200_000_000_000,
        "open": opened,
        "high": np.maximum(opened, close) * 1.0001,
        "low": np.minimum(opened, close) * 0.9999,
        "close": close,
        "volume": np.full(n_bars, 1e5),
    }


def signals(fast: np.ndarray, slow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    above = fast > slow
    before = np.concatenate(([False], above[:-1]))
    return above & ~before, ~above & before


def run(market: dict[str, np.ndarray], config: raptorbt.BacktestConfig) -> int:
    entries, exits = signals(*(np.asarray(raptorbt.sma(market["close"], window)) for window in (20, 50)))
    return raptorbt.run_single_backtest(**market, entries=entries, exits=exits, config=config).metrics.total_trades


def sweep(market: dict[str, np.ndarray], config: raptorbt.BacktestConfig) -> int:
    pairs = list(product(range(5, 30), range(40, 80)))
    lines = {
        window: np.asarray(raptorbt.sma(market["close"], window))
        for window in {each for pair in pairs for each in pair}
    }
    items = [raptorbt.BatchSingleItem(f"{fast}-{slow}", *signals(lines[fast], lines[slow])) for fast, slow in pairs]
    return raptorbt.batch_single_backtest(**market, items=items, config=config)[0][1].metrics.total_trades


if __name__ == "__main__":
    job, n_bars, step_ns = {"run": (run, 1_051_200, 60 * 10**9), "sweep": (sweep, 17_520, 3_600 * 10**9)}[sys.argv[1]]
    config = raptorbt.BacktestConfig(initial_capital=10_000.0, fees=1e-4, slippage=5e-5, fill_timing="next_bar_open")
    market = columns(n_bars, step_ns)
    costs = []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        trades = job(market, config)
        costs.append((time.perf_counter() - wall, time.process_time() - cpu))
    seconds, cpu_seconds = (sorted(each)[1] for each in zip(*costs, strict=True))
    answer = {"seconds": seconds, "cpu_seconds": cpu_seconds, "trades": trades, "version": version("raptorbt")}
    sys.stdout.write(json.dumps(answer) + "\n")
