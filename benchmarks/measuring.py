"""Cost of one call: wall-clock time, processor time and peak memory."""

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
    """Seconds; `growth_mib` is the peak of the process's memory above its start, NaN if unknown."""

    seconds: float
    cpu_seconds: float
    growth_mib: float


def cost_of(call: Callable[[], Any]) -> Cost:
    """Call once and return the cost; the result is dropped after the measurement."""
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
    """Reset the process's peak and return its memory in MiB; NaN if the kernel does not support it."""
    try:
        _RESET.write_text("5")
    except OSError:
        return float("nan")
    return float(_PROCESS.memory_info().rss) / 2**20


def peak_growth(before: float) -> float:
    """Return the peak since `begin_peak` above the value that it returned, MiB."""
    if before != before:
        return before
    peak = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return float(peak.split()[1]) / 1024.0 - before
