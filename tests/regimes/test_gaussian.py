"""The compiled recursions equal a slow textbook and hmmlearn, and know nothing of the future."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.regimes.gaussian import GaussianHmm, expect, filter_probabilities
from peak_trade.regimes.hmm import HmmDetector, floor_covariances, maximise
from tests.examples import examples
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME


def model_of(seed: int, n_states: int = 3, n_features: int = 2) -> GaussianHmm:
    generator = np.random.default_rng(seed)
    roots = generator.normal(size=(n_states, n_features, n_features))
    return GaussianHmm(
        generator.dirichlet(np.ones(n_states)),
        generator.dirichlet(np.ones(n_states), n_states) * 0.3 + 0.7 * np.eye(n_states),
        generator.normal(size=(n_states, n_features)) * 1.5,
        roots @ roots.transpose(0, 2, 1) + 0.3 * np.eye(n_features),
    )


def values_of(seed: int, n_rows: int, n_features: int = 2) -> np.ndarray:
    return np.random.default_rng(seed + 1000).normal(size=(n_rows, n_features)) * 1.5


def textbook_filter(values: np.ndarray, model: GaussianHmm) -> np.ndarray:
    """Rabiner (1989), eqs. 19-20, with probabilities as they stand: no logarithms, no compilation."""
    n_states, n_features = model.means.shape
    filtered = []
    for row in values:
        densities = []
        for mean, covariance in zip(model.means, model.covariances, strict=True):
            gap = row - mean
            power = gap @ np.linalg.inv(covariance) @ gap
            densities.append(math.exp(-power / 2) / math.sqrt((2 * math.pi) ** n_features * np.linalg.det(covariance)))
        reached = filtered[-1] @ model.transition if filtered else model.start
        weights = [reached[state] * densities[state] for state in range(n_states)]
        filtered.append(np.array(weights) / sum(weights))
    return np.array(filtered)


def hmmlearn_of(model: GaussianHmm):
    from hmmlearn.hmm import GaussianHMM

    reference = GaussianHMM(len(model.start), covariance_type="full")
    reference.startprob_, reference.transmat_ = model.start, model.transition
    reference.means_, reference.covars_ = model.means, model.covariances
    reference.n_features = model.means.shape[1]
    return reference


@settings(max_examples=examples(25), deadline=None)
@given(st.integers(0, 2**16), st.integers(2, 3), st.integers(1, 4))
def test_filter_equals_the_slow_textbook(seed, n_states, n_features):
    model, values = model_of(seed, n_states, n_features), values_of(seed, 60, n_features)
    np.testing.assert_allclose(
        filter_probabilities(values, model), textbook_filter(values, model), rtol=RTOL_REFERENCE, atol=1e-300
    )


@pytest.mark.parametrize("n_rows", [1, 2, 50, 400])
def test_filter_equals_hmmlearns_posterior_at_the_last_bar(n_rows):
    model, values = model_of(7), values_of(7, n_rows)
    posterior = hmmlearn_of(model).predict_proba(values)[-1]
    np.testing.assert_allclose(filter_probabilities(values, model)[-1], posterior, rtol=RTOL_REFERENCE)


def test_e_step_equals_hmmlearns_likelihood_and_posterior():
    model, values = model_of(11), values_of(11, 300)
    reference = hmmlearn_of(model)
    expectation = expect(values, model)
    np.testing.assert_allclose(expectation.log_likelihood, reference.score(values), rtol=RTOL_REFERENCE)
    np.testing.assert_allclose(expectation.posterior, reference.predict_proba(values), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(expectation.posterior.sum(axis=1), 1.0, rtol=RTOL_REFERENCE)


def test_one_em_step_equals_hmmlearns():
    from hmmlearn.hmm import GaussianHMM

    model, values = model_of(13), values_of(13, 500)
    reference = GaussianHMM(
        3, covariance_type="full", n_iter=1, init_params="", covars_prior=0.0, covars_weight=0.0, min_covar=0.0
    )
    reference.startprob_, reference.transmat_ = model.start, model.transition
    reference.means_, reference.covars_ = model.means, model.covariances
    reference.fit(values)
    stepped = maximise(expect(values, model), HmmDetector())
    np.testing.assert_allclose(stepped.transition, reference.transmat_, rtol=RTOL_REFERENCE)
    np.testing.assert_allclose(stepped.means, reference.means_, rtol=RTOL_REFERENCE)
    np.testing.assert_allclose(stepped.covariances, reference.covars_, rtol=RTOL_REFERENCE)


@settings(max_examples=examples(25), deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 199))
def test_filter_ignores_the_future(seed, cut):
    """Cutting, or rewriting, the rows after t leaves every probability up to t bit-identical."""
    model, values = model_of(seed), values_of(seed, 200)
    full = filter_probabilities(values, model)
    rewritten = np.vstack([values[:cut], values_of(seed + 1, 200 - cut)])
    np.testing.assert_array_equal(full[:cut], filter_probabilities(values[:cut], model))
    np.testing.assert_array_equal(full[:cut], filter_probabilities(rewritten, model)[:cut])


def test_relabelling_the_states_relabels_the_probabilities_and_nothing_else():
    model, values = model_of(5), values_of(5, 200)
    order = (2, 0, 1)
    np.testing.assert_allclose(
        filter_probabilities(values, model.take(order)),
        filter_probabilities(values, model)[:, order],
        rtol=1e-9,
    )


def test_probabilities_stay_finite_far_from_every_state():
    probabilities = filter_probabilities(np.array([[1e4, -1e4], [0.0, 0.0]]), model_of(2))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=RTOL_SAME)


def test_covariance_floor_lifts_every_eigenvalue():
    thin = np.array([[[1.0, 1.0], [1.0, 1.0]]])
    assert np.linalg.eigvalsh(floor_covariances(thin, 0.01)).min() == pytest.approx(0.01)
    healthy = np.array([[[2.0, 0.5], [0.5, 1.0]]])
    np.testing.assert_array_equal(floor_covariances(healthy, 0.01), healthy)
