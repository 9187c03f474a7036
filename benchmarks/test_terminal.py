"""Time of commands in fresh processes: a backtest with its record against one without, and lists of runs and sessions.

The two commands of a pair run in turn. Processor time is compared, because a machine that does other work doubles the
wall time of either.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from time import perf_counter

import pytest

from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars

N_BARS = 17_520
N_PAIRS = 5
MAX_RATIO = 1.3
MAX_SECONDS = 0.5
N_PENDING = 3
BACKTEST = ("backtest", "--strategy", "ma_crossover", "--symbol", "BTC/USDT")
COMMAND = (sys.executable, "-c", "import sys; from peak_trade.cli import main; sys.exit(main())")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with two years of hourly bars and runs that are not in MLflow yet."""
    folder = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        save_bars(sample_bars("BTC/USDT", n_bars=N_BARS))
        for cash in range(N_PENDING):
            seconds_of(*BACKTEST, "--cash", str(5_000 + cash))
        yield folder


def seconds_of(*words: str) -> tuple[float, float]:
    """Run a command in a fresh process; return its seconds and its seconds of processor time."""
    before, start = getrusage(RUSAGE_CHILDREN), perf_counter()
    subprocess.run([*COMMAND, *words], check=True, stdout=subprocess.DEVNULL, env=os.environ)
    seconds, after = perf_counter() - start, getrusage(RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_recorded_backtest_and_one_without_a_record(benchmark, workspace):
    cash, pairs = count(10_000), []

    def pair() -> None:
        words = (*BACKTEST, "--cash")
        pairs.append((seconds_of(*words, str(next(cash))), seconds_of(*words, str(next(cash)), "--no-record")))

    benchmark.pedantic(pair, rounds=N_PAIRS, warmup_rounds=1)
    recorded, plain = ([cost[side] for cost in pairs[1:]] for side in (0, 1))
    ratio = median(one[1] / other[1] for one, other in zip(recorded, plain, strict=True))
    wall, other_wall = (median(cost[0] for cost in costs) for costs in (recorded, plain))
    benchmark.extra_info["job"] = f"backtest of {N_BARS:,} bars, recorded {wall:.2f} s, without {other_wall:.2f} s"
    benchmark.extra_info["bars"] = [[f"recorded / without <= {MAX_RATIO}", ratio <= MAX_RATIO]]
    assert not (workspace / "mlflow.db").exists()
    assert ratio <= MAX_RATIO


@pytest.mark.parametrize("verb", ["runs", "session"])
def test_a_list(benchmark, verb, workspace):
    costs: list[tuple[float, float]] = []
    benchmark.pedantic(lambda: costs.append(seconds_of(verb, "list")), rounds=N_PAIRS, warmup_rounds=1)
    seconds = median(cost[1] for cost in costs[1:])
    benchmark.extra_info["job"] = f"{verb} list, {seconds:.2f} s of processor time"
    benchmark.extra_info["bars"] = [[f"<= {MAX_SECONDS} s", seconds <= MAX_SECONDS]]
    assert seconds <= MAX_SECONDS
