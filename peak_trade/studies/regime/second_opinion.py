"""A second opinion on a regime fit: the same model and bars in hmmlearn, a library by other authors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import FloatArray
from peak_trade.core.described import Described
from peak_trade.core.errors import ConfigError
from peak_trade.regimes.gaussian import GaussianHmm, expect
from peak_trade.regimes.hmm import HmmDetector
from peak_trade.studies.regime.study import RegimeStudy

RTOL_LOG_LIKELIHOOD = 1e-8
"""Largest relative difference of the log-likelihoods of one model on one window."""
ATOL_POSTERIOR = 1e-6
"""Largest difference of the posterior probabilities of one state at one bar."""


@dataclass(frozen=True, slots=True)
class FitOpinion:
    """One fit of the walk forward in both libraries. Log-likelihoods and the gain are per bar of the fit's window.

    `refit_at` is the close, ns UTC, of the last bar fitted; `posterior_difference` the largest absolute difference of a
    state's probability given the whole window, over all of its bars; `gain` what one more EM step of hmmlearn adds to
    the log-likelihood.
    """

    refit_at: int
    n_bars: int
    log_likelihood: float
    hmmlearn_log_likelihood: float
    posterior_difference: float
    gain: float


@dataclass(frozen=True, slots=True, repr=False)
class RegimeOpinion(Described):
    """The fits of a regime study in hmmlearn, and the first difference; it is empty when the libraries agree."""

    fits: tuple[FitOpinion, ...]
    first_difference: str

    def description(self) -> tuple[str, dict[str, object]]:
        """Return the comparison as a sentence, and the number of fits."""
        return f"RegimeOpinion: {self}", {"fits": f"{len(self.fits):,}", "each fit": "to_frame()"}

    @property
    def agrees(self) -> bool:
        """Whether hmmlearn computes the same likelihoods and posteriors, and its next EM step gains nothing either."""
        return not self.first_difference

    def to_frame(self) -> pd.DataFrame:
        """Return one row per fit, with the columns of `FitOpinion`; `refit_at` in UTC."""
        frame = pd.DataFrame([asdict(fit) for fit in self.fits], columns=[field.name for field in fields(FitOpinion)])
        frame["refit_at"] = pd.to_datetime(frame["refit_at"], utc=True)
        return frame

    def __str__(self) -> str:
        if self.first_difference:
            return f"hmmlearn differs: {self.first_difference}"
        gain = max(fit.gain for fit in self.fits)
        apart = max(abs(fit.log_likelihood - fit.hmmlearn_log_likelihood) for fit in self.fits)
        posterior = max(fit.posterior_difference for fit in self.fits)
        return (
            f"hmmlearn agrees: log-likelihood per bar of {len(self.fits)} fits to {apart:.1e}, posterior to "
            f"{posterior:.1e}, and one more EM step gains at most {gain:.1e} per bar"
        )


@checks_arguments(study="the result of study_regimes")
def regime_second_opinion(study: RegimeStudy) -> RegimeOpinion:
    """Compute every fit of a study's HMM in hmmlearn as well, and compare.

    Each fit of the walk forward is repeated. hmmlearn then gets its parameters and its window, and returns the
    log-likelihood, the posterior, and the log-likelihood after one more EM step without priors. The libraries agree
    when the log-likelihoods differ by at most RTOL_LOG_LIKELIHOOD (relative), the posteriors by at most ATOL_POSTERIOR,
    and the EM step gains no more than the detector's tolerance per bar.

    Raises
    ------
    ConfigError
        If the detector is not the HMM, which is the one model that hmmlearn has, or no fit succeeded.

    """
    detector = study.detector
    if not isinstance(detector, HmmDetector):
        raise ConfigError(
            f"hmmlearn has no {detector.name} detector and can not check this study. Use the hmm detector, or leave "
            "out the second opinion."
        )
    times = study.bars.times
    fits = []
    for step in detector.walk_forward(study.bars.for_strategy()):
        if step.fitted is not None and isinstance(step.fitted.model, GaussianHmm):
            fits.append(_compare(int(times[step.fit_bar]), step.scaled[: step.n_past], step.fitted.model))
    if not fits:
        raise ConfigError(
            "every fit of this study failed: there is no model to check. See its fallbacks for the reason."
        )
    return RegimeOpinion(tuple(fits), _first_difference(fits, detector.tolerance))


def _compare(refit_at: int, scaled: FloatArray, model: GaussianHmm) -> FitOpinion:
    ours, theirs, n_bars = expect(scaled, model), _hmmlearn_model(model), len(scaled)
    score, posterior = theirs.score_samples(scaled)
    theirs.fit(scaled)
    return FitOpinion(
        refit_at=refit_at,
        n_bars=n_bars,
        log_likelihood=ours.log_likelihood / n_bars,
        hmmlearn_log_likelihood=float(score) / n_bars,
        posterior_difference=float(np.abs(ours.posterior - posterior).max()),
        gain=(float(theirs.score(scaled)) - float(score)) / n_bars,
    )


def _hmmlearn_model(model: GaussianHmm) -> Any:
    from hmmlearn.hmm import GaussianHMM

    made = GaussianHMM(
        len(model.start), "full", min_covar=0.0, covars_prior=0.0, covars_weight=0.0, n_iter=1, init_params=""
    )
    made.startprob_, made.transmat_ = model.start, model.transition
    made.means_, made.covars_ = model.means, model.covariances
    return made


def _first_difference(fits: Sequence[FitOpinion], tolerance: float) -> str:
    for fit in fits:
        where = f"fit at {pd.Timestamp(fit.refit_at, tz='UTC'):%Y-%m-%d %H:%M}Z"
        ours, theirs = fit.log_likelihood, fit.hmmlearn_log_likelihood
        if not abs(ours - theirs) <= RTOL_LOG_LIKELIHOOD * abs(theirs):
            return f"{where}: log-likelihood per bar was {ours!r} here and {theirs!r} in hmmlearn"
        if not fit.posterior_difference <= ATOL_POSTERIOR:
            return f"{where}: a posterior probability differs by {fit.posterior_difference:.1e}"
        if not fit.gain <= tolerance:
            return f"{where}: one more EM step of hmmlearn gains {fit.gain:.1e} per bar; the fit has not converged"
    return ""
