"""Implausible bars: steps and redenominations of the price, and spikes in single fields.

They keep the bar contract and may be real. They are reported, and nothing is changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.time import iso

STEP_SCALES = 12.0
"""Robust standard deviations of log returns from which a step is implausible."""
SMALLEST_STEP = 0.4
"""Smallest log return that is implausible: a factor of 1.49."""
RULE = (
    f"The log return is at least {SMALLEST_STEP:g} and {STEP_SCALES:g} robust standard deviations (1.4826 × median "
    "absolute deviation, times the root of the number of bars that passed)."
)
"""The threshold as a sentence."""
_NEAR = 3
"""Number of closes before and after a bar that it is compared with."""
_ROUND = 0.1
"""Largest deviation, as log, of the factor of a redenomination from a power of ten."""


class ImplausibleKind(StrEnum):
    """Kind of an implausible bar."""

    STEP = "step"
    REDENOMINATION = "redenomination"
    SPIKE = "spike"


@dataclass(frozen=True, slots=True)
class Implausible:
    """An implausible bar: row (from 0), close time (ns UTC), the fields and the factor to the bars before or around."""

    row: int
    time: int
    kind: ImplausibleKind
    fields: str
    factor: float

    @property
    def shown_factor(self) -> str:
        """The factor as text: a number, or 1 over a number."""
        return f"{self.factor:,.4g}" if self.factor >= 1.0 else f"1/{1.0 / self.factor:,.4g}"

    def as_json(self) -> dict[str, Any]:
        """Return plain values; the time is ISO 8601 in UTC."""
        return {"close_time": iso(self.time), "kind": str(self.kind), "fields": self.fields, "factor": self.factor}

    def __str__(self) -> str:
        return f"{self.kind} of the {self.fields} by a factor of {self.shown_factor} at {iso(self.time)}"


def step_scale(close: FloatArray) -> float:
    """Return the robust standard deviation of log returns: 1.4826 × their median absolute deviation; 0.0 for none."""
    returns = np.diff(np.log(close))
    return 1.4826 * float(np.median(np.abs(returns - np.median(returns)))) if returns.size else 0.0


def find_implausible(times: IntArray, values: FloatArray, timeframe_ns: int) -> list[Implausible]:
    """Return the implausible bars, ordered by time.

    Parameters
    ----------
    times : int64 array of shape (n_bars,)
        Close times, ns UTC, increasing.
    values : float64 array of shape (n_bars, 4) or more
        open, high, low, close. Bars with a price that is not above zero are left out.
    timeframe_ns : int
        Length of a bar in ns.

    Notes
    -----
    The threshold of a log return is `STEP_SCALES` times `step_scale`, times the root of the number of bars that passed,
    and at least `SMALLEST_STEP`. A step is a close that stays: each of the `_NEAR` closes after it is that far from
    each of those before it. What returns is a spike of the fields that are that far from the closes around the bar.

    """
    prices = values[:, :4]
    is_known = (prices > 0.0).all(axis=1) & np.isfinite(prices).all(axis=1)
    known = np.flatnonzero(is_known)
    if known.size < 2:
        return []
    if known.size < len(prices):
        prices, times = prices[known], times[known]
    closes = np.log(prices[:, 3])
    scale = STEP_SCALES * step_scale(prices[:, 3])
    one_bar = max(scale, SMALLEST_STEP)
    passed = np.maximum(scale * np.sqrt(np.maximum(np.diff(times) / timeframe_ns, 1.0)), SMALLEST_STEP)
    moved = np.abs(np.diff(closes)) > passed
    moved |= np.abs(np.log(prices[1:, 0]) - closes[:-1]) > passed
    is_suspect = np.log(prices.max(axis=1)) - np.log(prices.min(axis=1)) > one_bar
    is_suspect[1:] |= moved
    found = []
    for row in np.flatnonzero(is_suspect).tolist():
        limit = float(passed[row - 1]) if row else one_bar
        judged = _step(closes, row, limit) or _spike(np.log(prices[row]), closes, row, one_bar)
        if judged is not None:
            found.append(Implausible(int(known[row]), int(times[row]), *judged))
    return found


def _step(closes: FloatArray, row: int, limit: float) -> tuple[ImplausibleKind, str, float] | None:
    before, after = closes[max(row - _NEAR, 0) : row], closes[row : row + _NEAR]
    if not before.size or abs(closes[row] - closes[row - 1]) <= limit:
        return None
    if np.abs(after[:, None] - before[None, :]).min() <= limit:
        return None
    change = float(np.median(after) - np.median(before))
    power = round(change / math.log(10.0))
    if power and abs(change - power * math.log(10.0)) <= _ROUND:
        return ImplausibleKind.REDENOMINATION, "close", 10.0**power
    return ImplausibleKind.STEP, "close", math.exp(change)


def _spike(fields: FloatArray, closes: FloatArray, row: int, limit: float) -> tuple[ImplausibleKind, str, float] | None:
    around = np.concatenate((closes[max(row - _NEAR, 0) : row], closes[row + 1 : row + 1 + _NEAR]))
    deviations = fields - float(np.median(around))
    is_far = np.abs(deviations) > limit
    if not is_far.any():
        return None
    named = ", ".join(name for name, far in zip(COLUMNS, is_far, strict=False) if far)
    return ImplausibleKind.SPIKE, named, math.exp(deviations[np.abs(deviations).argmax()])
