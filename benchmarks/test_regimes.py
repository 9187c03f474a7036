"""Speed of regime detection: bars per second of the filter, and a walk forward compared with hmmlearn."""

from __future__ import annotations

import time

import numpy as np
import pytest

from peak_trade.core.bar_frame import index_ns
from peak_trade.data.sample import sample_bars
from peak_trade.regimes.features import measure_features
from peak_trade.regimes.gaussian import GaussianHmm, expect, filter_probabilities
from peak_trade.regimes.hmm import HmmDetector, maximise, random_start
from peak_trade.regimes.walk_forward import Scale
from tests.tolerances import RTOL_REFERENCE

N_BARS, N_REFITS = 17_520, 24
SHORT, LONG = 10, 10
"""Steps of each of the ten starts, and of the best two after them."""
WALK = HmmDetector(refit_every=620, window=8_760, min_bars=2_400)

UNFLOORED = WALK.model_copy(update={"covariance_floor": 1e-9})
"""hmmlearn has no covariance floor."""


@pytest.fixture(scope="module")
def frame():
    return sample_bars("BTC/USDT", n_bars=N_BARS).frame


def past_windows(frame):
    """The scaled past and the random starts of every refit of the walk."""
    features, times = measure_features(frame, WALK.features), index_ns(frame.index)
    for row in range(WALK.warm_up, N_BARS, WALK.refit_every):
        past = features.values[max(features.warm_up, row + 1 - WALK.window) : row + 1]
        scaled = Scale.of(past, features.names).apply(past)
        generator = np.random.default_rng([0, int(times[row])])
        yield scaled, [random_start(scaled, WALK, generator) for _ in range(WALK.n_starts)]


def ours(scaled: np.ndarray, start: GaussianHmm, n_steps: int) -> tuple[float, GaussianHmm]:
    """Run exactly n_steps EM steps; the log-likelihood is that before the last step, as hmmlearn reports it."""
    model, log_likelihood = start, 0.0
    for _ in range(n_steps):
        expectation = expect(scaled, model)
        model, log_likelihood = maximise(expectation, UNFLOORED), expectation.log_likelihood
    return log_likelihood, model


def theirs(scaled: np.ndarray, start: GaussianHmm, n_steps: int) -> tuple[float, GaussianHmm]:
    """Let hmmlearn run the same steps from the same start."""
    from hmmlearn.hmm import GaussianHMM

    model = GaussianHMM(
        len(start.start), "full", n_iter=n_steps, tol=-np.inf, init_params="",
        covars_prior=0.0, covars_weight=0.0, min_covar=0.0,
    )  # fmt: skip
    model.startprob_, model.transmat_ = start.start, start.transition
    model.means_, model.covars_ = start.means, start.covariances
    model.fit(scaled)
    return model.monitor_.history[-1], GaussianHmm(model.startprob_, model.transmat_, model.means_, model.covars_)


def all_fits(frame, fit) -> tuple[float, list[float]]:
    """Seconds and final log-likelihoods of every refit: ten short runs, the best two longer, ties by their number."""
    windows = list(past_windows(frame))
    begun = time.perf_counter()
    ends = []
    for scaled, starts in windows:
        short = sorted((fit(scaled, start, SHORT) for start in starts), key=lambda run: -round(run[0], 3))
        ends += [max(fit(scaled, model, LONG)[0] for _, model in short[:2])]
    return time.perf_counter() - begun, ends


def test_filter_throughput(benchmark, frame):
    scaled, starts = next(past_windows(frame))
    rows = np.ascontiguousarray(np.tile(scaled, (100, 1)))
    benchmark(filter_probabilities, rows, ours(scaled, starts[0], 20)[1])
    benchmark.extra_info["bars_per_second"] = len(rows) / benchmark.stats["mean"]
    assert len(rows) / benchmark.stats["mean"] >= 1_000_000


def test_walk_forward_over_two_years_of_hours(benchmark, frame):
    filtered = benchmark.pedantic(WALK.filter, (frame,), rounds=3, warmup_rounds=1)
    assert len(filtered.refits) + len(filtered.fallbacks) == N_REFITS


def test_the_same_fits_are_twice_as_fast_as_hmmlearns(benchmark, frame):
    """Same windows, starts and steps, and the same likelihoods at the end."""
    our_seconds, our_ends = benchmark.pedantic(all_fits, (frame, ours), rounds=1, warmup_rounds=1)
    their_seconds, their_ends = all_fits(frame, theirs)
    np.testing.assert_allclose(our_ends, their_ends, rtol=RTOL_REFERENCE)
    benchmark.extra_info |= {"hmmlearn_seconds": their_seconds, "times_faster": their_seconds / our_seconds}
    assert their_seconds / our_seconds >= 2.0
