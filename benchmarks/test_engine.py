"""Speed of the three engines, event loop, array kernel and vectorbt, with costs."""

from __future__ import annotations

import json
import math
import os
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks import engine_jobs as jobs
from benchmarks.measuring import Cost, cost_of, typical
from peak_trade.core.executor import n_cores
from peak_trade.journal.events import DecisionEvent
from tests.tolerances import RTOL_REFERENCE

GIB = 1024.0
LEAST_SECONDS = 60.0
"""Length of the work of the event loop that two processes share."""
RTOL_FIRST_BAR = 1e-6
"""Tolerance for the first bar, which vectorbt counts as a return of zero."""


def test_event_loop_keeps_its_events(bench) -> None:
    bench.row["job"] = "event loop, 1,051,200 bars, 23,510 orders, events kept, first call of a process"
    bench.fresh("event_loop", "vectorbt", "vectorbt", rounds=5)
    bench.bar("<= 0.6 of vectorbt", bench.row["seconds"] <= 0.6 * bench.row["vectorbt_seconds"])
    bench.bar("<= 0.6 cpu", bench.ratio("vectorbt") >= 1.0 / 0.6)
    bench.bar("< 1 GiB", bench.row["growth_mib"] < GIB)


def test_event_loop_warm(bench) -> None:
    bench.row["job"] = "event loop, the same, warm"
    bench.side_by_side(jobs.event_loop, "vectorbt", jobs.vectorbt_run)
    bench.bar("<= 1.3 of vectorbt", bench.row["seconds"] <= 1.3 * bench.row["vectorbt_seconds"])
    bench.bar("<= 1.3 cpu", bench.ratio("vectorbt") >= 1.0 / 1.3)
    assert jobs.event_loop().not_compiled == ""


def test_orders_sized_to_the_limits(bench) -> None:
    """The first run of a process, so no day of the VaR model is known from an earlier one."""
    bench.row["job"] = "event loop in Python with config/risk.toml, 1,051,200 bars, orders sized to the limits"
    bench.fresh("sized_to_limits", "without", "event_loop")
    n_orders = sum(isinstance(event, DecisionEvent) for event in jobs.sized_to_limits().events)
    bench.row["us_per_order"] = round(1e6 * bench.row["cpu_seconds"] / n_orders)
    bench.bar("<= 250 us an order", bench.row["us_per_order"] <= 250)


def test_compiled_loop_and_its_reference(bench) -> None:
    bench.row["job"] = "compiled loop and its result, the same targets, warm"
    bench.side_by_side(jobs.compiled_event_loop, "reference", jobs.python_event_loop, rounds=5, peer_rounds=3)
    compiled, reference = jobs.compiled_event_loop(), jobs.python_event_loop()
    assert (compiled.content_digest, compiled.not_compiled) == (reference.content_digest, "")


def test_array_kernel_from_targets_to_statistics(bench) -> None:
    bench.row["job"] = "array kernel, the same orders with return, Sharpe and drawdown, warm"
    bench.side_by_side(jobs.kernel_on_given_targets, "vectorbt", jobs.vectorbt_on_given_targets)
    bench.bar(">= 10x", bench.ratio("vectorbt") >= 10.0)


def test_array_kernel_from_prices_to_statistics(bench) -> None:
    bench.row["job"] = "array kernel, the same including both averages, warm"
    bench.side_by_side(jobs.kernel, "vectorbt", jobs.vectorbt_run)
    bench.bar(">= 10x", bench.ratio("vectorbt") >= 10.0)
    ours, theirs = jobs.kernel(), jobs.vectorbt_run()
    annual = np.sqrt(jobs.bars(jobs.ONE_MINUTE_BARS).bars_per_year)
    assert ours.n_fills == theirs[3]
    np.testing.assert_allclose(ours.total_return, theirs[0], rtol=RTOL_REFERENCE)
    np.testing.assert_allclose(ours.max_drawdown, -theirs[2], rtol=RTOL_REFERENCE)
    np.testing.assert_allclose(annual * ours.sharpe, theirs[1], rtol=RTOL_FIRST_BAR)


def test_array_kernel_in_a_fresh_process(bench) -> None:
    bench.row["job"] = "array kernel, the same job, first call of a process"
    bench.fresh("kernel", "vectorbt", "vectorbt")
    bench.bar(">= 1x", bench.row["vectorbt_seconds"] >= bench.row["seconds"])


@pytest.mark.parametrize("job", ["run", "sweep"])
def test_raptorbt(bench, job: str) -> None:
    """RaptorBT books the whole account at each entry, with its own rounding, so its numbers are not compared."""
    python = os.environ.get("PEAK_TRADE_RAPTORBT_PYTHON", "")
    if not python:
        pytest.skip("set PEAK_TRADE_RAPTORBT_PYTHON to a Python interpreter that has the package raptorbt")
    name = {"run": "one pair of averages, 1,051,200 bars", "sweep": "1,000 pairs of averages, 17,520 bars"}[job]
    bench.row["job"] = f"array kernel, {name}, every core"
    sweep = partial(jobs.kernel_sweep, 1_000, n_cores())
    bench.alone(jobs.kernel if job == "run" else sweep)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [python, str(Path(jobs.__file__).with_name("raptorbt_job.py")), job]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=600)
    answer = json.loads(done.stdout)
    bench.row |= {f"raptorbt_{key}": answer[key] for key in ("seconds", "cpu_seconds", "trades", "version")}
    assert answer["trades"] > 0


def test_thousand_pairs_of_averages(bench) -> None:
    bench.row["job"] = "1,000 pairs of averages, 17,520 bars, indicators included"
    bench.side_by_side(jobs.kernel_sweep, "vectorbt", jobs.vectorbt_broadcast, rounds=5, peer_rounds=1)
    bench.bar(">= 100x", bench.ratio("vectorbt") >= 100.0)


@pytest.mark.parametrize("n_pairs", [1_000, 10_000])
def test_sweep_of_pairs(bench, n_pairs: int) -> None:
    """vectorbt runs 1,000 of 10,000 pairs at a time: one broadcast of 10,000 needs more than 20 GiB.

    All run warm: the imports and the compiled code of both libraries are loaded before.
    """
    bench.row["job"] = f"sweep of {n_pairs:,} pairs, 17,520 bars, with trials, table and best sets"
    jobs.whole_sweep(1_000)
    jobs.vectorbt_in_chunks()
    bench.alone(lambda: jobs.whole_sweep(n_pairs), rounds=3)
    broadcast, chunked = cost_of(jobs.vectorbt_broadcast), cost_of(jobs.vectorbt_in_chunks)
    scale = n_pairs / 1_000
    for name, cost in (("broadcast", broadcast), ("chunked", chunked)):
        bench.row[f"{name}_seconds"] = cost.seconds * scale
        bench.row[f"{name}_cpu_seconds"] = cost.cpu_seconds * scale
        bench.row[f"{name}_growth_mib"] = cost.growth_mib
    bench.bar(">= 80x broadcast", bench.ratio("broadcast") >= 80.0)
    bench.bar(">= 15x chunked", bench.ratio("chunked") >= 15.0)
    bench.bar("memory <= a tenth", bench.row["growth_mib"] <= 0.1 * min(broadcast.growth_mib, chunked.growth_mib))


def test_ten_thousand_pairs_on_two_threads(bench) -> None:
    bench.row["job"] = "10,000 pairs of averages, 17,520 bars, two threads"
    jobs.pairs_of_averages(10_000)
    two, one = partial(jobs.kernel_sweep, 10_000, 2), partial(jobs.kernel_sweep, 10_000)
    bench.side_by_side(two, "one_thread", one, rounds=5, peer_rounds=5)
    bench.bar(">= 1.7x", bench.row["one_thread_seconds"] >= 1.7 * bench.row["seconds"])


def test_event_loop_sets_in_two_processes(benchmark) -> None:
    """At least 60 s of work in one process; two need two cores that nothing else uses."""
    free = n_cores() * (1.0 - psutil.cpu_percent(2.0) / 100.0)
    if free < 1.8:
        pytest.skip(f"two processes need two quiet cores: {free:.1f} of {n_cores()} are free")
    n_sets = 100
    jobs.event_loop_sets(n_sets, 1)
    while (one := cost_of(lambda: jobs.event_loop_sets(n_sets, 1))).seconds < LEAST_SECONDS:  # noqa: B023
        n_sets = math.ceil(1.05 * n_sets * LEAST_SECONDS / one.seconds)
    before = os.times()
    wall = benchmark.pedantic(lambda: cost_of(lambda: jobs.event_loop_sets(n_sets, 2)), rounds=1)
    after = os.times()
    children = after.children_user + after.children_system - before.children_user - before.children_system
    benchmark.extra_info |= {
        "job": f"{n_sets:,} sets with a stop loss in the event loop, 17,520 bars, two processes",
        "seconds": wall.seconds,
        "cpu_seconds": wall.cpu_seconds + children,
        "one_process_seconds": one.seconds,
        "one_process_cpu_seconds": one.cpu_seconds,
        "bars": [[">= 1.6x", one.seconds >= 1.6 * wall.seconds]],
    }


def test_ten_times_the_bars_with_the_same_orders(benchmark) -> None:
    """23,360 orders over 105,120 bars, and over 1,051,200."""
    few, many = jobs.every_nth_bar(jobs.ONE_MINUTE_BARS // 10, 4), jobs.every_nth_bar(jobs.ONE_MINUTE_BARS, 40)
    costs: dict[str, list[Cost]] = {"few": [], "many": []}

    def both() -> None:
        costs["few"].append(cost_of(few))
        costs["many"].append(cost_of(many))

    benchmark.pedantic(both, rounds=5, warmup_rounds=1)
    short, long = typical(costs["few"]), typical(costs["many"])
    growth = long.cpu_seconds / short.cpu_seconds
    benchmark.extra_info |= {
        "job": "event loop in Python, ten times the bars with as many orders",
        "seconds": long.seconds,
        "cpu_seconds": long.cpu_seconds,
        "growth_mib": long.growth_mib,
        "a_tenth_of_the_bars_seconds": short.seconds,
        "a_tenth_of_the_bars_cpu_seconds": short.cpu_seconds,
        "bars": [["< 2 times as long", growth < 2.0]],
    }
    assert len(few().fill_list) == pytest.approx(len(many().fill_list), abs=2)
