"""One table of all benchmarks: our time, the time of another library, their ratio, peak memory and the target.

Values in `benchmark.extra_info` fill the row of a benchmark:

- `<peer>_seconds`: time of another library for the same job, and `<peer>_cpu_seconds` of processor time;
- `seconds`, `cpu_seconds`: our time, if it is not the time of the benchmark itself;
- `growth_mib`, `<peer>_growth_mib`: peak memory above the start of the job; by default that of the whole test;
- `job`: its name in the table; `bars`: targets such as `<= 1.5 s`, each with whether it was met.

All other values are printed below the table.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measuring import Cost, begin_peak, cost_of, peak_growth, typical

ROOT = Path(__file__).parents[1]
COLUMNS = ("job", "ours s (cpu)", "peer", "peer s (cpu)", "ratio (cpu)", "peak MiB: ours, peer", "bar")
FINISHED = pytest.StashKey[set[str]]()
KNOWN = ("job", "bars", "seconds", "cpu_seconds", "growth_mib", "load")


class Bench:
    """Run a job here and in another library, and store both results in the row of the benchmark."""

    def __init__(self, benchmark: Any) -> None:
        self._benchmark = benchmark
        self.row: dict[str, Any] = benchmark.extra_info

    def side_by_side(
        self, ours: Callable[[], Any], peer: str, theirs: Callable[[], Any], rounds: int = 7, peer_rounds: int = 7
    ) -> None:
        """Time both warm and alternately in this process; a slow peer in fewer rounds, and cold."""
        our_costs: list[Cost] = []
        peer_costs: list[Cost] = []

        def turn() -> None:
            if len(peer_costs) < peer_rounds:
                peer_costs.append(cost_of(theirs))

        if peer_rounds > 1:
            theirs()
        self._benchmark.pedantic(lambda: our_costs.append(cost_of(ours)), setup=turn, rounds=rounds, warmup_rounds=1)
        self._keep(typical(our_costs[1:]))
        self._keep(typical(peer_costs), f"{peer}_")
        self._keep_spread(peer, our_costs[1:], peer_costs)

    def alone(self, ours: Callable[[], Any], rounds: int = 5) -> None:
        """Time a job in this process whose peers are measured elsewhere."""
        costs: list[Cost] = []
        self._benchmark.pedantic(lambda: costs.append(cost_of(ours)), rounds=rounds, warmup_rounds=1)
        self._keep(typical(costs[1:]))

    def fresh(self, job: str, peer: str, peer_job: str, rounds: int = 3) -> None:
        """Time the first call of both, alternately, in fresh processes after imports; caches on disk are warm."""
        runs: dict[str, list[dict[str, float]]] = {job: [], peer_job: []}

        def both() -> None:
            for name, costs in runs.items():
                costs.append(_in_fresh_process(name))

        _in_fresh_process(job)
        self._benchmark.pedantic(both, rounds=rounds)
        costs = {
            name: [Cost(run["seconds"], run["cpu_seconds"], run["growth_mib"]) for run in measured]
            for name, measured in runs.items()
        }
        self._keep_spread(peer, costs[job], costs[peer_job])
        for name, prefix in ((job, ""), (peer_job, f"{peer}_")):
            self._keep(typical(costs[name]), prefix)
            self.row[f"{prefix or 'our_'}import"] = round(min(run["import_seconds"] for run in runs[name]), 2)

    def bar(self, text: str, kept: bool) -> None:
        """Store a target and whether it was met; nothing fails."""
        self.row.setdefault("bars", []).append([text, bool(kept)])

    def ratio(self, peer: str) -> float:
        """Return the peer's processor time / ours, the ratio that depends least on load."""
        return float(self.row[f"{peer}_cpu_seconds"] / self.row["cpu_seconds"])

    def _keep_spread(self, peer: str, ours: list[Cost], theirs: list[Cost]) -> None:
        """Store the least and the greatest ratio of processor times over the pairs of rounds."""
        pairs = zip(ours, theirs, strict=False)  # a slow peer has fewer rounds
        ratios = [their.cpu_seconds / our.cpu_seconds for our, their in pairs if our.cpu_seconds > 0.0]
        if ratios:
            self.row[f"{peer}_ratio_spread"] = [min(ratios), max(ratios)]

    def _keep(self, cost: Cost, prefix: str = "") -> None:
        self.row[f"{prefix}seconds"] = cost.seconds
        self.row[f"{prefix}cpu_seconds"] = cost.cpu_seconds
        self.row[f"{prefix}growth_mib"] = cost.growth_mib


@pytest.fixture
def bench(benchmark: Any) -> Bench:
    """The benchmark of a job here and in another library."""
    return Bench(benchmark)


@pytest.fixture(autouse=True)
def _memory(request: pytest.FixtureRequest) -> Iterator[None]:
    if "benchmark" not in request.fixturenames:
        yield
        return
    row = request.getfixturevalue("benchmark").extra_info
    before = begin_peak()
    yield
    row.setdefault("growth_mib", peak_growth(before))
    row.setdefault("load", round(os.getloadavg()[0], 1))


def pytest_sessionstart() -> None:
    """Let an interrupt end the benchmarks also where a shell has started them in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Remember which benchmarks have ended well."""
    yield
    item.config.stash.setdefault(FINISHED, set()).add(item.nodeid)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Leave out benchmarks that failed or were interrupted: their rows are not complete, or have no time at all."""
    finished = session.config.stash.get(FINISHED, set())
    measured = getattr(session.config, "_benchmarksession", None)
    if measured is not None:
        measured.benchmarks = [each for each in measured.benchmarks if each.fullname in finished]
    yield


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table after that of pytest-benchmark."""
    session = getattr(config, "_benchmarksession", None)
    if session is None or not session.benchmarks:
        return
    rows = [_row(each.name, each.stats.median, dict(each.extra_info)) for each in session.benchmarks if each.stats.data]
    widths = [max(len(row[place]) for row in (COLUMNS, *rows)) for place in range(len(COLUMNS))]
    terminalreporter.section("ours and theirs")
    for row in (COLUMNS, tuple("-" * width for width in widths), *rows):
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    for each in session.benchmarks:
        also = {key: value for key, value in each.extra_info.items() if not _is_shown(key, value)}
        if also:
            terminalreporter.write_line(f"{_job(each.name, each.extra_info)}: {json.dumps(also, default=str)}")
    terminalreporter.write_line(
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}. Medians; ratio above 1: ours is the faster; cpu: processor time, "
        "which other work on the machine disturbs less."
    )


def _row(name: str, median: float, info: dict[str, Any]) -> tuple[str, ...]:
    peers = [
        key.removesuffix("_seconds") for key in info if key.endswith("_seconds") and not key.endswith("cpu_seconds")
    ]
    peer = peers[0] if peers else ""
    ours = (info.get("seconds", median), info.get("cpu_seconds"))
    if isinstance(ours[0], dict):
        ours = (None, None)
    theirs = (info.get(f"{peer}_seconds"), info.get(f"{peer}_cpu_seconds")) if peer else (None, None)
    growths = [info[key] for key in ("growth_mib", f"{peer}_growth_mib") if key in info]
    bars = "; ".join(f"{text} {'kept' if kept else 'MISSED'}" for text, kept in info.get("bars", ()))
    return (
        _job(name, info),
        _pair(*ours),
        peer or "-",
        _pair(*theirs),
        _pair(_over(theirs[0], ours[0]), _over(theirs[1], ours[1]), unit="x"),
        ", ".join("-" if growth != growth else f"{max(growth, 0.0):,.0f}" for growth in growths),
        bars or "-",
    )


def _job(name: str, info: dict[str, Any]) -> str:
    return str(info.get("job") or name.removeprefix("test_").replace("_", " "))


def _over(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a / b


def _pair(wall: float | None, cpu: float | None, unit: str = "") -> str:
    shown = [
        f"{value:#.3g}{unit}" if value < 1_000 else f"{value:,.0f}{unit}" for value in (wall, cpu) if value is not None
    ]
    return shown[0] + "".join(f" ({part})" for part in shown[1:]) if shown else "-"


def _is_shown(key: str, value: Any) -> bool:
    return not isinstance(value, dict) and (key in KNOWN or key.endswith(("_seconds", "_growth_mib", "_ratio_spread")))


def _in_fresh_process(job: str) -> dict[str, float]:
    """Run a job of engine_jobs as a program; its numba cache is on disk after the first time."""
    command = [sys.executable, "-m", "benchmarks.engine_jobs", job]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=300)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured
