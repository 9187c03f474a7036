"""Statistical jump model: clusters of scaled features, with a penalty on each change of state."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import njit

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.settings import BarCount, NonNegative
from peak_trade.metrics.dependence import long_run_variance
from peak_trade.regimes.hmm import start_centers
from peak_trade.regimes.walk_forward import FitFailure, FittedStates, ModelDetector, Scale

PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Penalties of which `cross_validated_penalty` chooses one."""
N_FOLDS = 4
"""Parts of the second half of the window that are predicted, each from the bars before it."""
FEWEST_OF_STATE = 20
"""Fewest bars of a state from which the return after it is predicted; with fewer, all states together predict it."""
N_STARTS = 2
"""Starts of each fit of the cross-validation."""
_MOST_STEPS = 20


@dataclass(frozen=True, slots=True, eq=False)
class JumpFit:
    """Centers of the states in scaled features, shape (n_states, n_features), and the loss of one change of state."""

    centers: FloatArray
    penalty: float


class JumpDetector(ModelDetector):
    """Centers fitted by the library jumpmodels (coordinate descent); states inferred online, see `online_states`."""

    jump_penalty: NonNegative | None = None
    """Loss of one change of state, in half squared standard deviations of the scaled features; None: chosen at each
    fit by `cross_validated_penalty`."""

    n_starts: BarCount = 2
    """Starts of each fit, by k-means++; from the second fit on, the previous fit replaces one of them."""

    max_iterations: BarCount = 100
    """Descent steps of each start."""

    def fit(self, scaled: FloatArray, scale: Scale, seed: tuple[int, int], previous: object | None) -> FittedStates:
        """Fit the centers; FitFailure when a state has fewer than two bars.

        References
        ----------
        Nystrup, Lindström, Madsen (2020), "Learning hidden Markov models with persistent states by penalizing jumps";
        Shu, Yu, Mulvey (2024), "Downside risk reduction using regime-switching signals: a statistical jump model
        approach".

        """
        from jumpmodels.jump import JumpModel

        state = np.random.default_rng(list(seed)).integers(2**31)
        penalty = self.jump_penalty
        if penalty is None:
            column = self.features.used.index("log_return")
            penalty = cross_validated_penalty(scaled, column, self.n_states, (*seed, 1))
        model = JumpModel(
            self.n_states,
            penalty,
            n_init=self.n_starts if previous is None else max(self.n_starts - 1, 1),
            max_iter=self.max_iterations,
            random_state=int(state),
        )
        if previous is not None:
            assert isinstance(previous, JumpFit)
            model.centers_ = previous.centers
        model.fit(scaled, sort_by=None)
        centers = np.ascontiguousarray(model.centers_, dtype=np.float64)
        labels = np.asarray(model.labels_)
        counts = np.bincount(labels, minlength=self.n_states)
        if counts.min() < 2 or not np.isfinite(centers).all():
            raise FitFailure(f"state {int(counts.argmin())} of the jump model is empty")
        variances = np.vstack([scaled[labels == s].var(axis=0) for s in range(self.n_states)])
        return FittedStates(
            model=JumpFit(centers, penalty),
            states=scale.unscaled_states(centers, np.maximum(variances, 1e-6), counts.astype(np.float64)),
            objective=float(model.val_),
            spread=None,
            gap=None,
            n_iterations=self.max_iterations,
            jump_penalty=penalty,
        )

    def infer(self, model: object, scaled: FloatArray) -> FloatArray:
        """Return 1 for the state in which the cheapest path up to each bar ends, 0 for the others; (n, n_states)."""
        assert isinstance(model, JumpFit)
        return np.eye(self.n_states)[online_states(scaled, model.centers, model.penalty)]

    def rescale(self, model: object, old: Scale, new: Scale) -> JumpFit:
        """Return the centers in the scale of the next fit."""
        assert isinstance(model, JumpFit)
        return JumpFit((model.centers * old.deviation + old.mean - new.mean) / new.deviation, model.penalty)

    def hindsight(self, model: object, scaled: FloatArray) -> FloatArray:
        """Return 1 for the state of each bar on the cheapest path over all bars, 0 for the others; (n, n_states)."""
        assert isinstance(model, JumpFit)
        return np.eye(self.n_states)[best_path(scaled, model.centers, model.penalty)]


def cross_validated_penalty(
    scaled: FloatArray,
    return_column: int,
    n_states: int,
    seed: tuple[int, ...],
    penalties: tuple[float, ...] = PENALTIES,
) -> float:
    """Choose the penalty of a jump model by time-series cross-validation.

    Parameters
    ----------
    scaled : float64 array of shape (n, n_features)
        Features of past bars only.
    return_column : int
        Feature that is predicted.
    n_states : int
    seed : tuple of int
        Seed of the starts.
    penalties : tuple of float, increasing

    Returns
    -------
    float
        The largest penalty whose mean score is within one standard error of the best one. The error of the difference
        allows for dependence; see `long_run_variance`. A penalty with which a state has fewer than 20 bars in a fit is
        left out; the smallest one if all are.

    Notes
    -----
    The second half of the bars is split into 4 folds. For each fold, centers are fitted to all bars before it, and the
    states are followed online. The score is the log density of the return of each bar under the normal distribution of
    the returns that followed, in the bars before the fold, the state of the bar before it.

    References
    ----------
    Shu, Yu, Mulvey (2024) choose the penalty in this way, but by the Sharpe ratio of a strategy: a study that tests
    such a strategy would select on its own result. Breiman, Friedman, Olshen, Stone (1984), "Classification and
    Regression Trees", section 3.4.3, for the rule of one standard error.

    """
    folds = np.linspace(len(scaled) // 2, len(scaled), N_FOLDS + 1).astype(np.int64)
    scores, is_usable = np.zeros((len(penalties), len(scaled))), np.ones(len(penalties), dtype=bool)
    for first, stop in pairwise(folds.tolist()):
        generator = np.random.default_rng([*seed, first])
        starts = [start_centers(scaled[:first], n_states, generator) for _ in range(N_STARTS)]
        for place, penalty in enumerate(penalties):
            ends = [_descended(scaled[:first], start, penalty) for start in starts]
            _, centers, in_state = min(ends, key=lambda end: end[0])
            is_usable[place] &= in_state.min() >= FEWEST_OF_STATE
            states = online_states(scaled[:stop], centers, penalty)
            scores[place, first:stop] = _log_densities(scaled[:stop, return_column], states, first, n_states)
    scores = scores[:, folds[0] :]
    best = int(np.where(is_usable, scores.mean(axis=1), -np.inf).argmax())
    for place in np.flatnonzero(is_usable)[::-1]:
        gap = scores[best] - scores[place]
        if gap.mean() <= np.sqrt(long_run_variance(gap - gap.mean()).variance / gap.size):
            return float(penalties[place])
    return penalties[0]


def _descended(scaled: FloatArray, centers: FloatArray, penalty: float) -> tuple[float, FloatArray, IntArray]:
    """Return loss, centers and bars per state where coordinate descent ends; an empty state keeps its center."""
    path = np.empty(0, dtype=np.int64)
    for _ in range(_MOST_STEPS):
        former, path = path, best_path(scaled, centers, penalty)
        if np.array_equal(path, former):
            break
        means = [
            scaled[path == state].mean(axis=0) if (path == state).any() else center
            for state, center in enumerate(centers)
        ]
        centers = np.vstack(means)
    loss = 0.5 * float(((scaled - centers[path]) ** 2).sum()) + penalty * np.count_nonzero(np.diff(path))
    return loss, centers, np.bincount(path, minlength=len(centers))


def _log_densities(returns: FloatArray, states: IntArray, first: int, n_states: int) -> FloatArray:
    """Return the log density of each return from `first` on, given the state before it; see cross_validated_penalty."""
    before, known = states[first - 1 : -1], returns[1:first]
    densities = np.empty(len(before))
    for state in range(n_states):
        after = known[states[: first - 1] == state]
        sample = after if len(after) >= FEWEST_OF_STATE else known
        deviation = max(float(sample.std()), 1e-9)
        at = before == state
        densities[at] = -0.5 * ((returns[first:][at] - sample.mean()) / deviation) ** 2 - np.log(deviation)
    return densities


def online_states(scaled: FloatArray, centers: FloatArray, jump_penalty: float) -> IntArray:
    """Return the state in which the cheapest path up to each bar ends.

    Parameters
    ----------
    scaled : float64 array of shape (n, n_features)
    centers : float64 array of shape (n_states, n_features)
    jump_penalty : float

    Returns
    -------
    int64 array of shape (n,)

    Notes
    -----
    Causal. V_t(k) = |x_t - m_k|^2 / 2 + min_j (V_t-1(j) + penalty * [j != k]); the state is argmin_k V_t(k). Equal to
    `JumpModel.predict_online` of jumpmodels. The minimum of V_t is subtracted at each bar, which changes no choice.

    """
    states: IntArray = _walk(np.ascontiguousarray(scaled), np.ascontiguousarray(centers), jump_penalty)[0]
    return states


def best_path(scaled: FloatArray, centers: FloatArray, jump_penalty: float) -> IntArray:
    """Return the states of the cheapest path over all bars, shape (n,); not causal. Arguments as `online_states`."""
    states, origins = _walk(np.ascontiguousarray(scaled), np.ascontiguousarray(centers), jump_penalty)
    path = np.empty(len(states), dtype=np.int64)
    path[-1] = states[-1]
    for row in range(len(states) - 1, 0, -1):
        path[row - 1] = origins[row, path[row]]
    return path


@njit("Tuple((int64[::1], int64[:,::1]))(float64[:,::1], float64[:,::1], float64)", cache=True)
def _walk(scaled: FloatArray, centers: FloatArray, jump_penalty: float) -> tuple[IntArray, IntArray]:
    n_rows, n_features = scaled.shape
    n_states = centers.shape[0]
    states = np.empty(n_rows, dtype=np.int64)
    origins = np.zeros((n_rows, n_states), dtype=np.int64)
    costs = np.zeros(n_states)
    cheapest = 0
    for row in range(n_rows):
        best = np.inf
        arrival = costs[cheapest] + jump_penalty
        follower = cheapest
        for state in range(n_states):
            loss = 0.0
            for feature in range(n_features):
                gap = scaled[row, feature] - centers[state, feature]
                loss += gap * gap
            stays = costs[state] <= arrival
            origins[row, state] = state if stays else cheapest
            reached = (costs[state] if stays else arrival) + 0.5 * loss
            costs[state] = reached
            if reached < best:
                best = reached
                follower = state
        for state in range(n_states):
            costs[state] -= best
        cheapest = follower
        states[row] = cheapest
    return states, origins
