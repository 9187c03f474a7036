"""Compiled recursions over Gaussian states: the forward filter in log space, and the E step of Baum and Welch.

Densities are computed element by element and bars in order, so that the result of a bar does not depend on later bars,
not even in its last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from peak_trade.core.arrays import FloatArray

LOG_TWO_PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True, slots=True, eq=False)
class GaussianHmm:
    """Parameters of a hidden Markov model with Gaussian states.

    `start` (n_states,), `transition` (n_states, n_states) with rows that sum to 1, `means` (n_states, n_features),
    `covariances` (n_states, n_features, n_features); all float64, in the scale of the values that it was fitted to.
    """

    start: FloatArray
    transition: FloatArray
    means: FloatArray
    covariances: FloatArray

    @property
    def whiteners(self) -> FloatArray:
        """Inverse Cholesky factors of the covariances: lower triangles of shape (n_states, n_features, n_features)."""
        factors = np.linalg.cholesky(self.covariances)
        inverses = np.linalg.solve(factors, np.broadcast_to(np.eye(self.means.shape[1]), factors.shape))
        return np.ascontiguousarray(np.tril(inverses))

    def take(self, order: tuple[int, ...]) -> GaussianHmm:
        """Return the same model with its states in another order."""
        rows = list(order)
        return GaussianHmm(
            np.ascontiguousarray(self.start[rows]),
            np.ascontiguousarray(self.transition[np.ix_(rows, rows)]),
            np.ascontiguousarray(self.means[rows]),
            np.ascontiguousarray(self.covariances[rows]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Expectation:
    """The result of one E step.

    `posterior` (n, n_states) are the probabilities of the states given all values; `pairs` (n_states, n_states) the
    expected numbers of transitions; `weights` (n_states,), `sums` (n_states, n_features) and `squares` (n_states,
    n_features, n_features; lower triangles) the expected count, sum and sum of products of the values of each state.
    """

    log_likelihood: float
    posterior: FloatArray
    pairs: FloatArray
    weights: FloatArray
    sums: FloatArray
    squares: FloatArray


def filter_probabilities(values: FloatArray, model: GaussianHmm) -> FloatArray:
    """Return P(state_t | values up to t) for every bar t.

    Parameters
    ----------
    values : float64 array of shape (n, n_features), in the scale of the model
    model : GaussianHmm

    Returns
    -------
    float64 array of shape (n, n_states), rows sum to 1

    Notes
    -----
    Causal. The forward recursion in log space: ln a_t(j) = ln b_j(x_t) + ln sum_i exp(ln a_t-1(i) + ln A_ij),
    normalised at every bar.

    References
    ----------
    Rabiner (1989), "A tutorial on hidden Markov models", eqs. 19-20; Hamilton (1989), "A new approach to the economic
    analysis of nonstationary time series".

    """
    with np.errstate(divide="ignore"):
        log_start, log_transition = np.log(model.start), np.log(model.transition)
    filtered: FloatArray = _filter(
        np.ascontiguousarray(values), log_start, log_transition, np.ascontiguousarray(model.means), model.whiteners
    )
    return filtered


def expect(values: FloatArray, model: GaussianHmm) -> Expectation:
    """Run one E step: scaled forward and backward recursions, and the expected sums over the whole sample.

    Parameters
    ----------
    values : float64 array of shape (n, n_features), in the scale of the model
    model : GaussianHmm

    Returns
    -------
    Expectation
        A log-likelihood of -inf when some value has density zero in every state.

    Notes
    -----
    Not causal: the posterior of a bar depends on all bars.

    References
    ----------
    Rabiner (1989), eqs. 19-27, 37 and section V.A.

    """
    n_states, n_features = model.means.shape
    posterior = np.empty((len(values), n_states))
    pairs = np.zeros((n_states, n_states))
    weights = np.zeros(n_states)
    sums = np.zeros((n_states, n_features))
    squares = np.zeros((n_states, n_features, n_features))
    log_likelihood = _expect(
        np.ascontiguousarray(values),
        np.ascontiguousarray(model.start),
        np.ascontiguousarray(model.transition),
        np.ascontiguousarray(model.means),
        model.whiteners,
        posterior,
        pairs,
        weights,
        sums,
        squares,
    )
    return Expectation(float(log_likelihood), posterior, pairs, weights, sums, squares)


@njit("float64[::1](float64[:,:,::1])", cache=True)
def _log_peaks(whiteners: FloatArray) -> FloatArray:
    n_states, n_features = whiteners.shape[:2]
    peaks = np.full(n_states, -0.5 * n_features * LOG_TWO_PI)
    for state in range(n_states):
        for left in range(n_features):
            peaks[state] += np.log(whiteners[state, left, left])
    return peaks


@njit("void(float64[:,::1], int64, float64[:,::1], float64[:,:,::1], float64[::1], float64[::1])", cache=True)
def _log_densities(
    values: FloatArray, row: int, means: FloatArray, whiteners: FloatArray, peaks: FloatArray, densities: FloatArray
) -> None:
    n_states, n_features = means.shape
    for state in range(n_states):
        total = peaks[state]
        for left in range(n_features):
            whitened = 0.0
            for right in range(left + 1):
                whitened += whiteners[state, left, right] * (values[row, right] - means[state, right])
            total -= 0.5 * whitened * whitened
        densities[state] = total


@njit("float64(float64[::1])", cache=True)
def _log_sum(terms: FloatArray) -> float:
    top = terms[0]
    for index in range(1, terms.size):
        top = max(top, terms[index])
    if top == -np.inf:
        return -np.inf
    total = 0.0
    for index in range(terms.size):
        total += np.exp(terms[index] - top)
    return float(top + np.log(total))


@njit(
    "float64[:,::1](float64[:,::1], float64[::1], float64[:,::1], float64[:,::1], float64[:,:,::1])",
    cache=True,
)
def _filter(
    values: FloatArray, log_start: FloatArray, log_transition: FloatArray, means: FloatArray, whiteners: FloatArray
) -> FloatArray:
    n_rows, n_states = values.shape[0], means.shape[0]
    filtered = np.empty((n_rows, n_states))
    peaks = _log_peaks(whiteners)
    previous = log_start.copy()
    current = np.empty(n_states)
    terms = np.empty(n_states)
    densities = np.empty(n_states)
    for row in range(n_rows):
        _log_densities(values, row, means, whiteners, peaks, densities)
        for state in range(n_states):
            if row == 0:
                current[state] = log_start[state] + densities[state]
            else:
                for origin in range(n_states):
                    terms[origin] = previous[origin] + log_transition[origin, state]
                current[state] = _log_sum(terms) + densities[state]
        total = _log_sum(current)
        for state in range(n_states):
            previous[state] = current[state] - total
            filtered[row, state] = np.exp(previous[state])
    return filtered


@njit(
    "float64(float64[:,::1], float64[::1], float64[:,::1], float64[:,::1], float64[:,:,::1], float64[:,::1],"
    " float64[:,::1], float64[::1], float64[:,::1], float64[:,:,::1])",
    cache=True,
)
def _expect(
    values: FloatArray,
    start: FloatArray,
    transition: FloatArray,
    means: FloatArray,
    whiteners: FloatArray,
    posterior: FloatArray,
    pairs: FloatArray,
    weights: FloatArray,
    sums: FloatArray,
    squares: FloatArray,
) -> float:
    n_rows, n_features = values.shape
    n_states = means.shape[0]
    forward = np.empty((n_rows, n_states))
    density = np.empty((n_rows, n_states))
    scale = np.empty(n_rows)
    logs = np.empty(n_states)
    peaks = _log_peaks(whiteners)
    log_likelihood = 0.0
    for row in range(n_rows):
        _log_densities(values, row, means, whiteners, peaks, logs)
        top = logs[0]
        for state in range(1, n_states):
            top = max(top, logs[state])
        total = 0.0
        for state in range(n_states):
            density[row, state] = np.exp(logs[state] - top)
            reached = start[state]
            if row > 0:
                reached = 0.0
                for origin in range(n_states):
                    reached += forward[row - 1, origin] * transition[origin, state]
            forward[row, state] = reached * density[row, state]
            total += forward[row, state]
        if not total > 0.0:
            return -np.inf
        scale[row] = total
        log_likelihood += np.log(total) + top
        for state in range(n_states):
            forward[row, state] /= total
    backward = np.ones(n_states)
    earlier = np.empty(n_states)
    for row in range(n_rows - 1, -1, -1):
        if row < n_rows - 1:
            for origin in range(n_states):
                earlier[origin] = 0.0
                for state in range(n_states):
                    step = transition[origin, state] * density[row + 1, state] * backward[state] / scale[row + 1]
                    earlier[origin] += step
                    pairs[origin, state] += forward[row, origin] * step
            for origin in range(n_states):
                backward[origin] = earlier[origin]
        for state in range(n_states):
            weight = forward[row, state] * backward[state]
            posterior[row, state] = weight
            weights[state] += weight
            for left in range(n_features):
                weighted = weight * values[row, left]
                sums[state, left] += weighted
                for right in range(left + 1):
                    squares[state, left, right] += weighted * values[row, right]
    return log_likelihood
