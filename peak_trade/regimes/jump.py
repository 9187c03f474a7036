"""Statistical jump model: clusters of scaled features, with a penalty on each change of state."""

from __future__ import annotations

import numpy as np
from numba import njit

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.settings import BarCount, NonNegative
from peak_trade.regimes.walk_forward import FitFailure, FittedStates, ModelDetector, Scale


class JumpDetector(ModelDetector):
    """Centers fitted by the library jumpmodels (coordinate descent); states inferred online, see `online_states`."""

    jump_penalty: NonNegative = 50.0
    """Loss of one change of state, in half squared standard deviations of the scaled features."""

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
        model = JumpModel(
            self.n_states,
            self.jump_penalty,
            n_init=self.n_starts if previous is None else max(self.n_starts - 1, 1),
            max_iter=self.max_iterations,
            random_state=int(state),
        )
        if previous is not None:
            model.centers_ = previous
        model.fit(scaled, sort_by=None)
        centers = np.ascontiguousarray(model.centers_, dtype=np.float64)
        labels = np.asarray(model.labels_)
        counts = np.bincount(labels, minlength=self.n_states)
        if counts.min() < 2 or not np.isfinite(centers).all():
            raise FitFailure(f"state {int(counts.argmin())} of the jump model is empty")
        variances = np.vstack([scaled[labels == s].var(axis=0) for s in range(self.n_states)])
        return FittedStates(
            model=centers,
            states=scale.unscaled_states(centers, np.maximum(variances, 1e-6), counts.astype(np.float64)),
            objective=float(model.val_),
            spread=None,
            gap=None,
            n_iterations=self.max_iterations,
        )

    def infer(self, model: object, scaled: FloatArray) -> FloatArray:
        """Return 1 for the state in which the cheapest path up to each bar ends, 0 for the others; (n, n_states)."""
        assert isinstance(model, np.ndarray)
        return np.eye(self.n_states)[online_states(scaled, model, self.jump_penalty)]

    def rescale(self, model: object, old: Scale, new: Scale) -> FloatArray:
        """Return the centers in the scale of the next fit."""
        assert isinstance(model, np.ndarray)
        return (model * old.deviation + old.mean - new.mean) / new.deviation

    def hindsight(self, model: object, scaled: FloatArray) -> FloatArray:
        """Return 1 for the state of each bar on the cheapest path over all bars, 0 for the others; (n, n_states)."""
        assert isinstance(model, np.ndarray)
        return np.eye(self.n_states)[best_path(scaled, model, self.jump_penalty)]


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
