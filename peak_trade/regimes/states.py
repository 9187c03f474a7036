"""Regimes as values: labels, filtered and smoothed results, refits, fallbacks, and the matching of states."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import combinations, permutations

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.digest import digest_bytes
from peak_trade.core.errors import ConfigError


class Regime(IntEnum):
    """Hidden market state, ordered by the state's mean return; UNKNOWN before the first fit."""

    UNKNOWN = -1
    BEAR = 0
    SIDEWAYS = 1
    BULL = 2


CONTRADICTION = 1.0
"""Standard errors by which mean returns must contradict a match of states before it is given up."""
REGIMES = (Regime.BEAR, Regime.SIDEWAYS, Regime.BULL)


@dataclass(frozen=True, slots=True)
class Refit:
    """One fit of the walk-forward: when, on how many past bars, and how well it went.

    `refit_at` is the close, ns UTC, of the last bar used. `objective` is the log-likelihood (HMM) or the loss (jump
    model); `spread` is the largest minus the smallest objective of the short starts, `gap` that of the fits which were
    run to convergence; both None where the model does not tell. `is_reordered` tells that the states matched to the
    previous fit are not in the order of their mean returns.
    """

    refit_at: int
    n_bars: int
    objective: float
    spread: float | None
    gap: float | None
    n_iterations: int
    is_reordered: bool = False


@dataclass(frozen=True, slots=True)
class Fallback:
    """A span in which the rules stood in for a model that failed: why, and from which close to which, ns UTC."""

    reason: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class FilteredRegimes:
    """Causal regimes: row t uses bars up to t only. This is what a backtest takes.

    `labels` (n_bars,) int8 of `Regime`; `probabilities` (n_bars, 3) for bear, sideways, bull, NaN in the first
    `warm_up` rows; `times` (n_bars,) close times, ns UTC. Rules and jump model give probabilities of 0 and 1.
    """

    times: IntArray
    labels: NDArray[np.int8]
    probabilities: FloatArray
    warm_up: int
    detector: str
    refits: tuple[Refit, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()

    def digest(self) -> str:
        """Return the SHA-256 of detector, times and labels."""
        return digest_bytes(self.detector.encode(), self.times.tobytes(), self.labels.tobytes())


@dataclass(frozen=True, slots=True, eq=False)
class SmoothedRegimes:
    """Hindsight: every row uses the whole sample. For reports only; a backtest refuses it. Fields as filtered ones."""

    times: IntArray
    labels: NDArray[np.int8]
    probabilities: FloatArray
    warm_up: int
    detector: str


def require_filtered(regimes: object) -> FilteredRegimes:
    """Return filtered regimes as they are; refuse everything else, and say what to use."""
    if isinstance(regimes, FilteredRegimes):
        return regimes
    if isinstance(regimes, SmoothedRegimes):
        raise ConfigError(
            "the regimes are smoothed: every label knows the whole sample, so a backtest on them is hindsight. "
            "Use filter_regimes(bars, detector) instead of smooth_regimes."
        )
    raise ConfigError(
        f"regimes were {type(regimes).__name__}; give the FilteredRegimes of filter_regimes(bars, detector)."
    )


def regimes_of(n_states: int) -> tuple[Regime, ...]:
    """Return the regimes that a model of 2 or 3 states tells apart, lowest mean return first."""
    return REGIMES if n_states == 3 else (Regime.BEAR, Regime.BULL)


@dataclass(frozen=True, slots=True, eq=False)
class StateParameters:
    """Mean and variance of each feature in each state, unscaled, shape (n_states, n_features); bars in each state."""

    means: FloatArray
    variances: FloatArray
    weights: FloatArray

    def take(self, order: tuple[int, ...]) -> StateParameters:
        """Return the states in another order."""
        rows = list(order)
        return StateParameters(self.means[rows], self.variances[rows], self.weights[rows])


def state_distance(left: StateParameters, right: StateParameters) -> FloatArray:
    """Return the Bhattacharyya distance of every pair of states, shape (n_states, n_states), diagonal Gaussians.

    References
    ----------
    Kailath (1967), "The divergence and Bhattacharyya distance measures in signal selection", eq. 61.

    """
    first, second = left.variances[:, None, :], right.variances[None, :, :]
    middle = (first + second) / 2.0
    shift = (left.means[:, None, :] - right.means[None, :, :]) ** 2 / (8.0 * middle)
    distance: FloatArray = (shift + 0.5 * np.log(middle / np.sqrt(first * second))).sum(axis=2)
    return distance


def match_states(new: StateParameters, previous: StateParameters | None, return_column: int) -> tuple[int, ...]:
    """Return the new fit's states in the order bear, (sideways,) bull.

    The first fit is ordered by mean return. A later one is assigned to the previous fit's states by the smallest summed
    `state_distance`, so that bull stays bull; where the mean returns of two states contradict that by more than
    `CONTRADICTION` standard errors of their difference, the order of mean returns is taken instead.
    """
    by_return = tuple(int(state) for state in np.argsort(new.means[:, return_column], kind="stable"))
    if previous is None:
        return by_return
    distance = state_distance(previous, new)
    rows = range(len(distance))
    matched = min(permutations(rows), key=lambda order: sum(distance[row, order[row]] for row in rows))
    named = new.take(matched)
    returns, errors = named.means[:, return_column], named.variances[:, return_column] / named.weights
    contradicted = any(
        returns[low] - returns[high] > CONTRADICTION * np.sqrt(errors[low] + errors[high])
        for low, high in combinations(rows, 2)
    )
    return by_return if contradicted else matched


def hold_labels(labels: NDArray[np.int8], min_duration: int) -> NDArray[np.int8]:
    """Return labels in which a regime, once entered, stays for at least `min_duration` bars.

    Notes
    -----
    Causal: a change that comes too early is put off until the duration is over, and dropped when it is gone by then.

    """
    held: NDArray[np.int8] = _hold_labels(np.ascontiguousarray(labels, dtype=np.int8), min_duration)
    return held


@njit("int8[::1](int8[::1], int64)", cache=True)
def _hold_labels(labels, min_duration):  # type: ignore[no-untyped-def]
    held = labels.copy()
    age = 0
    for row in range(1, labels.size):
        age += 1
        if held[row - 1] >= 0 and age < min_duration:
            held[row] = held[row - 1]
        if held[row] != held[row - 1]:
            age = 0
    return held


def durations(labels: NDArray[np.int8]) -> IntArray:
    """Return the length in bars of every stay in a known regime, in order, the unfinished last one included."""
    known = labels[labels >= 0]
    if known.size == 0:
        return np.empty(0, dtype=np.int64)
    changes = np.flatnonzero(np.diff(known)) + 1
    return np.diff(np.concatenate([[0], changes, [known.size]])).astype(np.int64)


def count_transitions(labels: NDArray[np.int8]) -> int:
    """Return how often a known regime gives way to another."""
    return max(len(durations(labels)) - 1, 0)


def regimes_frame(regimes: FilteredRegimes | SmoothedRegimes) -> pd.DataFrame:
    """Return label and probabilities as a frame indexed by close time, UTC."""
    frame = pd.DataFrame(
        regimes.probabilities,
        columns=[regime.name.lower() for regime in REGIMES],
        index=pd.DatetimeIndex(regimes.times, tz="UTC", name="close_time"),
    )
    frame.insert(0, "regime", [Regime(int(label)).name.lower() for label in regimes.labels])
    return frame
