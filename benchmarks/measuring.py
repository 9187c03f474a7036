"""What one call costs: seconds on the wall clock, seconds of processor time, and memory at its peak."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

_PROCESS = psutil.Process()
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds; `growth_mib` is the peak of the process's memory above where it began, NaN where that is not known."""

    seconds: float
    cpu_seconds: float
    growth_mib: float


def cost_of(call: Callable[[], Any]) -> Cost:
    """Call once and return what it cost; what it returns is dropped after the clock has stopped."""
    gc.collect()
    before = begin_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    cost = Cost(time.perf_counter() - wall, time.process_time() - cpu, peak_growth(before))
    del result
    return cost


def typical(costs: list[Cost]) -> Cost:
    """Return the medians of times and the largest growth."""
    return Cost(
        median(cost.seconds for cost in costs),
        median(cost.cpu_seconds for cost in costs),
        max(cost.growth_mib for cost in costs),
    )


def begin_peak() -> float:
    """Forget the process's peak so far and return its memory in MiB; NaN where the kernel does not offer it."""
    try:
        _RESET.write_text("5")
    except OSError:
        return float("nan")
    return float(_PROCESS.memory_info().rss) / 2**20


def peak_growth(before: float) -> float:
    """Return the peak since `begin_peak` above what that returned, MiB."""
    if before != before:
        return before
    peak = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return float(peak.split()[1]) / 1024.0 - before
