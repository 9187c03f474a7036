"""Regime labels, filtered and smoothed results, refits and fallbacks, and the matching of states between fits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import combinations, permutations
from typing import ClassVar

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
"""Standard errors by which mean returns must contradict a match of states before their order replaces it."""
REGIMES = (Regime.BEAR, Regime.SIDEWAYS, Regime.BULL)


@dataclass(frozen=True, slots=True)
class Refit:
    """One fit of a walk forward.

    `refit_at` is the close, ns UTC, of the last bar fitted, `n_bars` the number of bars fitted. `objective` is the
    log-likelihood (HMM) or the loss (jump model). `spread` is the largest − smallest objective of the short starts,
    `gap` that of the fits run to convergence; both are None for a model without them. `is_reordered` is True when the
    states, matched to those of the previous fit, are not in the order of their mean returns. `separation` is the mean
    return of the bull state − that of the bear state, in standard errors of the difference; see `separation_of`.
    `jump_penalty` is that of a jump model, otherwise None.
    """

    refit_at: int
    n_bars: int
    objective: float
    spread: float | None
    gap: float | None
    n_iterations: int
    is_reordered: bool = False
    separation: float | None = None
    jump_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class Fallback:
    """A span that the rules labelled because a fit failed: the reason, the first and the last close, ns UTC."""

    reason: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class FilteredRegimes:
    """Causal regimes, which a backtest may use: the label of bar t depends on bars up to t only.

    `times` (n_bars,) are close times, ns UTC; `labels` (n_bars,) int8 values of `Regime`; `probabilities` (n_bars, 3)
    those of bear, sideways and bull, NaN in the first `warm_up` bars. The rules and the jump model have probabilities
    of 0 and 1.
    """

    remedy: ClassVar[str] = "Regimes become a strategy as RegimeAware.of(strategy, regimes)."

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
    """Hindsight regimes: every label depends on the whole sample. For reports only; a backtest refuses them.

    The fields are those of `FilteredRegimes`.
    """

    remedy: ClassVar[str] = (
        "The regimes are smoothed: every label depends on the whole sample, so a backtest on them looks ahead. "
        "Use filter_regimes(bars, detector) instead of smooth_regimes."
    )

    times: IntArray
    labels: NDArray[np.int8]
    probabilities: FloatArray
    warm_up: int
    detector: str


def require_filtered(regimes: object) -> FilteredRegimes:
    """Return filtered regimes unchanged; ConfigError for smoothed ones or another type, with what to use instead."""
    if isinstance(regimes, FilteredRegimes):
        return regimes
    if isinstance(regimes, SmoothedRegimes):
        raise ConfigError(regimes.remedy)
    raise ConfigError(
        f"regimes were {type(regimes).__name__}; give the FilteredRegimes of filter_regimes(bars, detector)."
    )


def regimes_of(n_states: int) -> tuple[Regime, ...]:
    """Return the regimes of a model with 2 or 3 states, lowest mean return first."""
    return REGIMES if n_states == 3 else (Regime.BEAR, Regime.BULL)


@dataclass(frozen=True, slots=True, eq=False)
class StateParameters:
    """Parameters of a model's states, in the features' own units.

    `means` and `variances` (n_states, n_features); `weights` (n_states,), the expected number of bars in each state.
    """

    means: FloatArray
    variances: FloatArray
    weights: FloatArray

    def take(self, order: tuple[int, ...]) -> StateParameters:
        """Return the states in another order."""
        rows = list(order)
        return StateParameters(self.means[rows], self.variances[rows], self.weights[rows])


def state_distance(left: StateParameters, right: StateParameters) -> FloatArray:
    """Return the Bhattacharyya distance of every pair of states, taken as Gaussians with diagonal covariances.

    Shape (n_states, n_states): left states along the first axis, right states along the second.

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
    """Return the states of a new fit in the order bear, (sideways,) bull.

    Parameters
    ----------
    new : StateParameters
    previous : StateParameters, or None
        States of the previous fit, in that order.
    return_column : int
        Column of the log return among the features.

    Notes
    -----
    The first fit is ordered by mean return. The states of a later one are assigned to those of the previous fit with
    the smallest sum of `state_distance`, so that bull stays bull. When the mean returns of two states contradict the
    assignment by more than `CONTRADICTION` standard errors of their difference, the order of mean returns replaces it.

    """
    by_return = tuple(int(state) for state in np.argsort(new.means[:, return_column], kind="stable"))
    if previous is None:
        return by_return
    distance = state_distance(previous, new)
    states = range(len(distance))
    matched = min(permutations(states), key=lambda order: sum(distance[old, order[old]] for old in states))
    named = new.take(matched)
    returns, errors = named.means[:, return_column], named.variances[:, return_column] / named.weights
    contradicted = any(
        returns[low] - returns[high] > CONTRADICTION * np.sqrt(errors[low] + errors[high])
        for low, high in combinations(states, 2)
    )
    return by_return if contradicted else matched


def separation_of(named: StateParameters, return_column: int) -> float | None:
    """Return the mean return of the last state − that of the first one, in standard errors of the difference.

    The standard errors are those of the means of independent returns, with the fitted states taken as known. The normal
    distribution function of it is the probability, given the data and a flat prior, that the last mean is the higher.
    None without variance.
    """
    means, errors = named.means[:, return_column], named.variances[:, return_column] / named.weights
    error = float(np.sqrt(errors[0] + errors[-1]))
    return float(means[-1] - means[0]) / error if error > 0.0 else None


def with_min_duration(labels: NDArray[np.int8], min_duration: int) -> NDArray[np.int8]:
    """Return labels in which a regime, once entered, lasts for at least `min_duration` bars; int8, shape (n_bars,).

    Notes
    -----
    Causal. A change that comes too early takes effect when the minimum is over, unless it has been reversed by then.

    """
    held: NDArray[np.int8] = _with_min_duration(np.ascontiguousarray(labels, dtype=np.int8), min_duration)
    return held


@njit("int8[::1](int8[::1], int64)", cache=True)
def _with_min_duration(labels: NDArray[np.int8], min_duration: int) -> NDArray[np.int8]:
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
    """Return the duration in bars of every known regime, in order of time, the unfinished last one included."""
    known = labels[labels >= 0]
    if known.size == 0:
        return np.empty(0, dtype=np.int64)
    changes = np.flatnonzero(np.diff(known)) + 1
    return np.diff(np.concatenate([[0], changes, [known.size]])).astype(np.int64)


def count_transitions(labels: NDArray[np.int8]) -> int:
    """Return the number of changes from one known regime to another."""
    return max(len(durations(labels)) - 1, 0)


def regimes_frame(regimes: FilteredRegimes | SmoothedRegimes) -> pd.DataFrame:
    """Return a DataFrame of shape (n_bars, 4), indexed by close time in UTC: regime, bear, sideways, bull.

    `regime` is the label as text, the others are probabilities.
    """
    frame = pd.DataFrame(
        regimes.probabilities,
        columns=[regime.name.lower() for regime in REGIMES],
        index=pd.DatetimeIndex(regimes.times, tz="UTC", name="close_time"),
    )
    frame.insert(0, "regime", [Regime(int(label)).name.lower() for label in regimes.labels])
    return frame
