"""Random entries and exits: a baseline under the same costs."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns
from peak_trade.core.compute import Compute
from peak_trade.core.settings import Fraction
from peak_trade.strategies.base import Direction
from peak_trade.strategies.hysteresis import held_exposure
from peak_trade.strategies.incremental import IncrementalStrategy


class RandomEntry(IncrementalStrategy):
    """Enters and exits at each bar with fixed probabilities; the draws depend on the seed and the close time only."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the draws."""

    enter_chance: Fraction = 0.02
    """Probability of entering at a bar while flat."""

    leave_chance: Fraction = 0.05
    """Probability of leaving at a bar while held; positions last 1 / leave_chance bars on average."""

    direction: Direction = "long"
    """Which sides may be held; with both, each entry is long or short with equal chance."""

    @property
    def warm_up(self) -> int:
        """Always 0."""
        return 0

    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        """Return 1, 0 or -1. The draws of a bar do not depend on the number of bars."""
        times = columns.times.view(np.uint64)
        enters = _uniform(times, self.seed, 1) < self.enter_chance
        leaves = _uniform(times, self.seed, 2) < self.leave_chance
        if self.direction == "both":
            is_long = _uniform(times, self.seed, 3) < 0.5
            return held_exposure(enters & is_long, leaves, enters & ~is_long, leaves, 0, "both", compute)
        return held_exposure(enters, leaves, enters, leaves, 0, self.direction, compute)


def _uniform(times: NDArray[np.uint64], seed: int, stream: int) -> FloatArray:
    """Return one draw in [0, 1) per bar: SplitMix64 (Steele, Lea, Flood 2014) of the time, then of seed and stream."""
    key = _mix(np.array([seed], dtype=np.uint64) * np.uint64(4) + np.uint64(stream))
    draws: FloatArray = (_mix(_mix(times) ^ key) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return draws


def _mix(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = keys + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
