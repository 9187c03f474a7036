"""Gaussian hidden Markov model, fitted by EM: ten short starts, of which the best two run to convergence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.settings import BarCount, Fraction, Positive
from peak_trade.regimes.gaussian import Expectation, GaussianHmm, expect, filter_probabilities
from peak_trade.regimes.walk_forward import FitFailure, FittedStates, ModelDetector, Scale

_FALL_RTOL = 1e-9
"""Relative fall of the log-likelihood above which it is an error, not rounding."""


class HmmDetector(ModelDetector):
    """Gaussian states with full covariances, refitted on the past and filtered between refits."""

    n_starts: BarCount = 10
    """Random starts of each fit; from the second fit on, the previous fit replaces one of them."""

    short_iterations: BarCount = 10
    """EM steps of each start; the best two then continue."""

    max_iterations: BarCount = 500
    """EM steps after which a start that has not converged is dropped."""

    tolerance: Positive = 1e-6
    """Gain of one EM step in log-likelihood per bar below which a fit has converged."""

    covariance_floor: Positive = 1e-3
    """Smallest eigenvalue of a state's covariance, in squared units of the scaled features."""

    min_share: Fraction = 0.01
    """Share of the bars below which a state is empty."""

    def fit(self, scaled: FloatArray, scale: Scale, seed: tuple[int, int], previous: object | None) -> FittedStates:
        """Fit by EM; FitFailure on a falling likelihood, no convergence, or an empty or degenerate state."""
        warm = previous if isinstance(previous, GaussianHmm) else None
        return fit_hmm(scaled, self, scale, seed, warm)

    def infer(self, model: object, scaled: FloatArray) -> FloatArray:
        """Return filtered probabilities of shape (n, n_states)."""
        assert isinstance(model, GaussianHmm)
        return filter_probabilities(scaled, model)

    def hindsight(self, model: object, scaled: FloatArray) -> FloatArray:
        """Return smoothed probabilities of shape (n, n_states)."""
        assert isinstance(model, GaussianHmm)
        return expect(scaled, model).posterior

    def rescale(self, model: object, old: Scale, new: Scale) -> GaussianHmm:
        """Return the model in the scale of the next fit."""
        assert isinstance(model, GaussianHmm)
        ratio = old.deviation / new.deviation
        means = model.means * ratio + (old.mean - new.mean) / new.deviation
        return GaussianHmm(model.start, model.transition, means, model.covariances * ratio[:, None] * ratio)


@dataclass(frozen=True, slots=True, eq=False)
class Climb:
    """A run of EM: the last model, its expectation, the log-likelihood of every step, and the number of steps.

    `n_steps` counts from the random start, also when the run continues an earlier one.
    """

    model: GaussianHmm
    expectation: Expectation
    log_likelihoods: tuple[float, ...]
    has_converged: bool
    n_steps: int


def fit_hmm(
    scaled: FloatArray, settings: HmmDetector, scale: Scale, seed: tuple[int, int], warm: GaussianHmm | None = None
) -> FittedStates:
    """Fit a Gaussian HMM by expectation-maximisation.

    Parameters
    ----------
    scaled : float64 array of shape (n, n_features), mean 0 and deviation 1
    settings : HmmDetector
    scale : Scale
        The scale of `scaled`; the states are returned in the features' own units.
    seed : (seed, time of the refit in ns UTC)
    warm : GaussianHmm, optional
        Start that replaces the last random one.

    Returns
    -------
    FittedStates
        `objective` is the log-likelihood, `spread` its range over the short starts, `gap` over the two long runs.

    Raises
    ------
    FitFailure
        When the likelihood fell, no run converged, or a state is empty or its covariance lies on the floor.

    References
    ----------
    Baum, Petrie, Soules, Weiss (1970); Rabiner (1989), eqs. 40 and 52-54. The covariance floor clips eigenvalues, which
    is the exact maximiser under that constraint, so that the likelihood still cannot fall.

    """
    generator = np.random.default_rng(list(seed))
    n_random = settings.n_starts - (warm is not None)
    starts = [random_start(scaled, settings, generator) for _ in range(n_random)] + ([warm] if warm else [])
    short = _survivors([partial(climb, scaled, start, settings, settings.short_iterations) for start in starts])
    short.sort(key=lambda run: -run.expectation.log_likelihood)
    long = _survivors(
        [
            partial(climb, scaled, run.model, settings, settings.max_iterations, run.expectation, run.n_steps)
            for run in short[:2]
        ]
    )
    converged = [run for run in long if run.has_converged]
    if not converged:
        raise FitFailure(f"no convergence within {settings.max_iterations} steps")
    converged.sort(key=lambda run: -run.expectation.log_likelihood)
    best = _survivors([partial(_checked, run, len(scaled), settings) for run in converged])[0]
    finals = [run.expectation.log_likelihood for run in short]
    ends = [run.expectation.log_likelihood for run in long]
    variances = np.diagonal(best.model.covariances, axis1=1, axis2=2)
    return FittedStates(
        model=best.model,
        states=scale.unscaled_states(best.model.means, variances, best.expectation.weights),
        objective=best.expectation.log_likelihood,
        spread=max(finals) - min(finals),
        gap=max(ends) - min(ends),
        n_iterations=best.n_steps,
    )


def _survivors(climbs: list[Callable[[], Climb]]) -> list[Climb]:
    survivors: list[Climb] = []
    failures: list[FitFailure] = []
    for run in climbs:
        try:
            survivors.append(run())
        except FitFailure as failure:
            failures.append(failure)
    if not survivors:
        raise failures[0]
    return survivors


def climb(
    scaled: FloatArray,
    start: GaussianHmm,
    settings: HmmDetector,
    n_steps: int,
    expectation: Expectation | None = None,
    n_before: int = 0,
) -> Climb:
    """Run EM for at most `n_steps` steps, until a step gains less than the tolerance.

    `expectation` and `n_before` continue an earlier run of that many steps from its last model.

    Raises
    ------
    FitFailure
        When the log-likelihood falls, or a state loses all its bars.

    """
    model = start
    expectation = expectation or expect(scaled, model)
    path = [expectation.log_likelihood]
    for _ in range(n_steps):
        model = maximise(expectation, settings)
        expectation = expect(scaled, model)
        path.append(expectation.log_likelihood)
        gain = path[-1] - path[-2]
        if not gain >= -_FALL_RTOL * abs(path[-2]):
            raise FitFailure(f"the log-likelihood fell from {path[-2]:.6f} to {path[-1]:.6f}")
        if gain < settings.tolerance * len(scaled):
            return Climb(model, expectation, tuple(path), True, n_before + len(path) - 1)
    return Climb(model, expectation, tuple(path), False, n_before + n_steps)


def maximise(expectation: Expectation, settings: HmmDetector) -> GaussianHmm:
    """Run one M step: return the parameters that maximise the expected log-likelihood under the covariance floor."""
    weights = expectation.weights
    if not weights.min() > 1e-6:
        raise FitFailure(f"state {int(weights.argmin())} is empty")
    means = expectation.sums / weights[:, None]
    squares = expectation.squares + np.tril(expectation.squares, -1).transpose(0, 2, 1)
    covariances = squares / weights[:, None, None] - means[:, :, None] * means[:, None, :]
    return GaussianHmm(
        start=expectation.posterior[0] / expectation.posterior[0].sum(),
        transition=np.ascontiguousarray(expectation.pairs / expectation.pairs.sum(axis=1, keepdims=True)),
        means=np.ascontiguousarray(means),
        covariances=floor_covariances(covariances, settings.covariance_floor),
    )


def floor_covariances(covariances: FloatArray, floor: float) -> FloatArray:
    """Return symmetric matrices of shape (n, k, k) with every eigenvalue at least `floor`."""
    eigenvalues, vectors = np.linalg.eigh(covariances)
    if eigenvalues.min() >= floor:
        return np.ascontiguousarray(covariances)
    floored = np.maximum(eigenvalues, floor)
    return np.ascontiguousarray((vectors * floored[:, None, :]) @ vectors.transpose(0, 2, 1))


def random_start(scaled: FloatArray, settings: HmmDetector, generator: np.random.Generator) -> GaussianHmm:
    """Draw a start: means by `start_centers`, covariances of the clusters, persistent states."""
    n_states, n_features = settings.n_states, scaled.shape[1]
    centers = start_centers(scaled, n_states, generator)
    cluster = _distances(scaled, centers).argmin(axis=1)
    covariances = np.empty((n_states, n_features, n_features))
    for state in range(n_states):
        rows = scaled[cluster == state]
        centered = rows - centers[state]
        spread = (centered[:, :, None] * centered[:, None, :]).mean(axis=0) if len(rows) else np.eye(n_features)
        covariances[state] = spread + 0.05 * np.eye(n_features)
    stay = generator.uniform(0.8, 0.99)
    transition = np.full((n_states, n_states), (1.0 - stay) / (n_states - 1))
    np.fill_diagonal(transition, stay)
    return GaussianHmm(
        np.full(n_states, 1.0 / n_states),
        transition,
        centers,
        floor_covariances(covariances, settings.covariance_floor),
    )


def start_centers(scaled: FloatArray, n_states: int, generator: np.random.Generator) -> FloatArray:
    """Draw centers of shape (n_states, n_features) by k-means++ and two Lloyd steps.

    References
    ----------
    Arthur, Vassilvitskii (2007), "k-means++: the advantages of careful seeding".

    """
    centers: FloatArray = scaled[generator.integers(len(scaled))][None, :]
    while len(centers) < n_states:
        nearest = _distances(scaled, centers).min(axis=1)
        total = nearest.sum()
        chosen = generator.choice(len(scaled), p=nearest / total) if total > 0.0 else generator.integers(len(scaled))
        centers = np.vstack([centers, scaled[chosen]])
    for _ in range(2):
        cluster = _distances(scaled, centers).argmin(axis=1)
        centers = np.vstack(
            [scaled[cluster == s].mean(axis=0) if (cluster == s).any() else centers[s] for s in range(n_states)]
        )
    return centers


def _distances(scaled: FloatArray, centers: FloatArray) -> FloatArray:
    distances: FloatArray = np.column_stack([((scaled - center) ** 2).sum(axis=1) for center in centers])
    return distances


def _checked(run: Climb, n_rows: int, settings: HmmDetector) -> Climb:
    share = run.expectation.weights / n_rows
    if share.min() < settings.min_share:
        raise FitFailure(f"state {int(share.argmin())} is empty: it holds {share.min():.2%} of the bars")
    thinnest = np.linalg.eigvalsh(run.model.covariances).min()
    if thinnest <= settings.covariance_floor * (1.0 + 1e-9):
        raise FitFailure("a state is degenerate: its covariance lies on the floor")
    return run
