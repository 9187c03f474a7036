"""Cost of counting trials, with weekly returns, moments and one sync to disk: of a backtest, of a sweep, of a count.

Required: at most 50 ms for a million bars, 5 ms for 17,520 bars, and 15 % of a sweep of 1,000 sets on the kernel.
"""

from __future__ import annotations

import time
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from benchmarks import engine_jobs as jobs
from benchmarks.measuring import Cost, cost_of, typical
from peak_trade.core.executor import Executor
from peak_trade.studies.sweep.evaluation import Evaluator, Setup
from peak_trade.tracking import ledger, trials_of
from peak_trade.tracking.counting import counted, not_trials
from peak_trade.tracking.trials import Evaluation, Observations

NUMBERS = count()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace on the disk of temporary files."""
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path))
    return tmp_path


def new_configs(n: int) -> list[str]:
    return [f"{next(NUMBERS):064x}" for _ in range(n)]


def evaluate(setup: Setup, sets: list[Any]) -> None:
    """Evaluate sets on the array kernel as a sweep does, each as a new trial."""
    configs = new_configs(len(sets))
    Evaluator(setup, Executor(1), configs[0]).evaluate(sets, configs, lambda n_done: None)


@pytest.mark.parametrize(
    ("n_bars", "timeframe", "bound"),
    [(jobs.ONE_MINUTE_BARS, "1m", 0.050), (jobs.HOURLY_BARS, "1h", 0.005)],
    ids=["a million bars", "17,520 bars"],
)
def test_one_trial(benchmark: Any, n_bars: int, timeframe: str, bound: float) -> None:
    bars = jobs.bars(n_bars, timeframe)
    equity = 1e4 * np.exp(np.cumsum(np.random.default_rng(0).normal(0.0, 1e-4, n_bars)))
    costs: list[tuple[float, float]] = []

    def one() -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        with counted(Evaluation.of(new_configs(1), "", "0" * 64, [bars], bars.times)) as trial:
            trial.observe = partial(Observations.of_equity, equity, bars.times, bars.timeframe)
        costs.append((time.perf_counter() - wall, time.process_time() - cpu))

    benchmark.pedantic(one, rounds=50, warmup_rounds=1)
    seconds, cpu_seconds = (median(each) for each in zip(*costs, strict=True))
    benchmark.extra_info |= {
        "job": f"trial of {n_bars:,} bars, with one sync to disk",
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "bars": [[f"<= {1e3 * bound:g} ms", seconds <= bound]],
    }
    assert trials_of(bars).n == 51


def test_trials_of_a_sweep(benchmark: Any) -> None:
    """The same sweep with and without its trials; the daily moments of the probability of overfitting are in both."""
    bars, sets = jobs.bars(jobs.HOURLY_BARS, "1h"), jobs.pairs_of_averages(1_000)
    costs: dict[str, list[Cost]] = {"kernel": [], "without": [], "with": []}

    def each() -> None:
        costs["kernel"].append(cost_of(lambda: jobs.screens(sets, bars)))
        with not_trials():
            costs["without"].append(cost_of(lambda: evaluate(Setup(bars, jobs.settings()), sets)))
        costs["with"].append(cost_of(lambda: evaluate(Setup(bars, jobs.settings()), sets)))

    benchmark.pedantic(each, rounds=15, warmup_rounds=1)
    kernel, without, cost = (min(part[1:], key=lambda cost: cost.cpu_seconds) for part in costs.values())
    added = (cost.cpu_seconds - without.cpu_seconds) / kernel.cpu_seconds
    benchmark.extra_info |= {
        "job": "1,000 pairs of averages, 17,520 bars, with their trials, the least of 15",
        "seconds": cost.seconds,
        "cpu_seconds": cost.cpu_seconds,
        "kernel_cpu": kernel.cpu_seconds,
        "without_trials_cpu": without.cpu_seconds,
        "added": f"{added:.1%}",
        "bars": [["<= 15 % of the kernel's time", added <= 0.15]],
    }


def test_count_of_many_trials(benchmark: Any, home: Path) -> None:
    bars, sets = jobs.bars(jobs.HOURLY_BARS, "1h"), jobs.pairs_of_averages(1_000)
    for _ in range(20):
        evaluate(Setup(bars, jobs.settings()), sets)
    reads: list[Cost] = []

    def read() -> None:
        ledger._ledger_at.cache_clear()
        reads.append(cost_of(lambda: trials_of(bars).n))

    benchmark.pedantic(read, rounds=3)
    effective = cost_of(lambda: trials_of(bars).n_effective)
    benchmark.extra_info |= {
        "job": "first count of 20,000 trials in a process",
        "seconds": typical(reads).seconds,
        "cpu_seconds": typical(reads).cpu_seconds,
        "effective_number_cpu": effective.cpu_seconds,
        "file_mib": (home / "trials.jsonl").stat().st_size / 2**20,
    }
    assert trials_of(bars).n == 20_000
