"""A fit is trusted only when it has converged, climbed all the way and left no state empty."""

from __future__ import annotations

import numpy as np
import pytest

from peak_trade.regimes.gaussian import expect
from peak_trade.regimes.hmm import HmmDetector, climb, fit_hmm, random_start
from peak_trade.regimes.jump import PENALTIES, JumpDetector, best_path, online_states
from peak_trade.regimes.walk_forward import FitFailure, Scale
from tests.regimes.markets import DETECTORS, switching_bars

SEED = (0, 1_700_000_000_000_000_000)


def three_clouds(seed: int = 0, n_rows: int = 900) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    states = np.repeat(generator.integers(0, 3, n_rows // 30), 30)
    values = np.array([[-2.0, 1.0], [0.0, -1.0], [2.0, 0.5]])[states] + generator.normal(0.0, 0.6, (len(states), 2))
    return values, states


def scaled_clouds(seed: int = 0) -> tuple[np.ndarray, np.ndarray, Scale]:
    values, states = three_clouds(seed)
    scale = Scale.of(values, ("log_return", "volatility"))
    return scale.apply(values), states, scale


def test_the_likelihood_never_falls():
    scaled, _, _ = scaled_clouds()
    settings = HmmDetector()
    for seed in range(5):
        path = climb(scaled, random_start(scaled, settings, np.random.default_rng(seed)), settings, 200).log_likelihoods
        assert np.diff(path).min() >= -1e-9 * abs(path[-1])


def test_a_fit_finds_separated_states_and_reports_the_spread_of_its_starts():
    scaled, states, scale = scaled_clouds()
    fitted = fit_hmm(scaled, HmmDetector(), scale, SEED)
    posterior = HmmDetector().infer(fitted.model, scaled)
    order = np.argsort(fitted.states.means[:, 0])
    assert (np.argsort(order)[posterior.argmax(axis=1)] == states).mean() > 0.97
    assert fitted.spread >= 0.0
    assert fitted.gap >= 0.0
    assert fitted.objective == pytest.approx(expect(scaled, fitted.model).log_likelihood, rel=1e-12)


def test_reaching_the_limit_of_steps_is_not_convergence():
    scaled, _, scale = scaled_clouds()
    with pytest.raises(FitFailure, match="no convergence within 1 steps"):
        fit_hmm(scaled, HmmDetector(n_starts=2, short_iterations=1, max_iterations=1, tolerance=1e-12), scale, SEED)


def test_a_state_without_bars_is_a_failure():
    scaled, _, scale = scaled_clouds()
    with pytest.raises(FitFailure, match="empty"):
        fit_hmm(scaled, HmmDetector(min_share=0.9), scale, SEED)


def test_a_state_on_the_covariance_floor_is_a_failure():
    scaled, _, scale = scaled_clouds()
    thin = np.column_stack([scaled[:, 0], scaled[:, 0]])
    with pytest.raises(FitFailure, match="degenerate"):
        fit_hmm(thin, HmmDetector(tolerance=1e-4), scale, SEED)


def test_a_fit_depends_on_its_seed_and_time_only():
    scaled, _, scale = scaled_clouds()
    settings = HmmDetector(n_starts=3)
    first, again = (fit_hmm(scaled, settings, scale, SEED) for _ in range(2))
    np.testing.assert_array_equal(first.states.means, again.states.means)


def test_a_feature_that_stands_still_is_a_failure():
    with pytest.raises(FitFailure, match="feature trend is constant over the past 50 bars"):
        Scale.of(np.column_stack([np.arange(50.0), np.full(50, 0.3)]), ("log_return", "trend"))


def test_a_warm_start_is_the_same_model_in_another_scale():
    scaled, _, scale = scaled_clouds()
    fitted = fit_hmm(scaled, HmmDetector(n_starts=3), scale, SEED)
    other = Scale(scale.mean + 0.3, scale.deviation * 1.7)
    values = scaled * scale.deviation + scale.mean
    moved = HmmDetector().rescale(fitted.model, scale, other)
    np.testing.assert_allclose(
        HmmDetector().infer(moved, other.apply(values)),
        HmmDetector().infer(fitted.model, scaled),
        rtol=1e-8,
        atol=1e-12,
    )


@pytest.mark.parametrize("jump_penalty", [0.0, 3.0, 40.0])
def test_online_states_and_best_path_equal_jumpmodels(jump_penalty):
    from jumpmodels.jump import JumpModel

    bars, _ = switching_bars(500, 4)
    change = np.diff(np.log(bars["close"].to_numpy()))
    scaled = np.column_stack([change, np.abs(change)])
    scaled = (scaled - scaled.mean(axis=0)) / scaled.std(axis=0)
    model = JumpModel(3, jump_penalty, n_init=2, random_state=0).fit(scaled, sort_by=None)
    np.testing.assert_array_equal(online_states(scaled, model.centers_, jump_penalty), model.predict_online(scaled))
    np.testing.assert_array_equal(best_path(scaled, model.centers_, jump_penalty), model.predict(scaled))


def test_a_jump_model_with_an_empty_state_is_a_failure():
    scaled, _, scale = scaled_clouds()
    with pytest.raises(FitFailure, match=r"state \d of the jump model is empty"):
        JumpDetector(jump_penalty=1e9).fit(scaled, scale, SEED, None)


def noisy_clouds(seed: int) -> tuple[np.ndarray, np.ndarray, Scale]:
    """Return scaled features whose clouds overlap, and states that last 30 bars."""
    values, states = three_clouds(seed)
    values = values + np.random.default_rng([seed, 1]).normal(0.0, 1.2, values.shape)
    scale = Scale.of(values, ("log_return", "volatility"))
    return scale.apply(values), states, scale


def test_the_penalty_that_is_chosen_finds_more_states_than_a_smaller_and_a_larger_one():
    scaled, truth, scale = noisy_clouds(0)
    shares = {}
    for penalty in (None, 1.0, 10.0):
        fitted = JumpDetector(jump_penalty=penalty).fit(scaled, scale, SEED, None)
        order = fitted.states.means[:, 0].argsort().argsort()
        labels = order[online_states(scaled, fitted.model.centers, fitted.jump_penalty)]
        shares[penalty] = (labels == truth).mean()
    assert shares[None] > max(shares[1.0], shares[10.0])


@pytest.mark.long
def test_a_given_penalty_is_used_and_every_refit_states_its_own():
    bars, _ = switching_bars(700, 1)
    chosen, given = (DETECTORS["jump"].model_copy(update={"jump_penalty": each}) for each in (None, 7.0))
    assert {each.jump_penalty for each in given.filter(bars).refits} == {7.0}
    assert {each.jump_penalty for each in chosen.filter(bars).refits} <= set(PENALTIES)
