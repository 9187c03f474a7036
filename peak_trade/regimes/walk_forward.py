"""Detectors that fit a model: refitted on past bars only, filtered between the fits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import index_ns
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.progress import progress
from peak_trade.core.settings import BarCount
from peak_trade.regimes.detector import Detector, certain
from peak_trade.regimes.features import Features, FeatureSettings, measure_features
from peak_trade.regimes.rules import RuleSettings, rule_labels
from peak_trade.regimes.states import (
    Fallback,
    FilteredRegimes,
    Refit,
    Regime,
    SmoothedRegimes,
    StateParameters,
    match_states,
    regimes_of,
    separation_of,
    with_min_duration,
)


class FitFailure(Exception):
    """A fit that failed; the message is the reason that the `Fallback` states."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedStates:
    """A fitted model, the parameters of its states in the features' own units, and how the fit went.

    States are in the model's own order. `objective`, `spread`, `gap`, `n_iterations` and `jump_penalty` are those of
    `Refit`.
    """

    model: object
    states: StateParameters
    objective: float
    spread: float | None
    gap: float | None
    n_iterations: int
    jump_penalty: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WalkStep:
    """One step of a walk forward: a fit at the close of bar `fit_bar`, and the features that it uses.

    The fit labels the bars from `fit_bar` up to `stop`, exclusive. `scaled`, shape (n, n_features), are the features
    from the first bar of its window up to `stop`, scaled by the window's mean and deviation; the model is fitted to the
    first `n_past` of them. `order` lists the model's states as bear, (sideways,) bull. When the fit failed, `fitted` is
    None, `failure` is the reason, and `scaled` holds the unscaled features of the window.
    """

    fit_bar: int
    stop: int
    n_past: int
    scaled: FloatArray
    fitted: FittedStates | None
    order: tuple[int, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Mean and standard deviation of each feature over the window of one fit: arrays of shape (n_features,)."""

    mean: FloatArray
    deviation: FloatArray

    @classmethod
    def of(cls, past: FloatArray, names: tuple[str, ...]) -> Scale:
        """Measure past features of shape (n, n_features); FitFailure when a feature is constant."""
        mean, deviation = past.mean(axis=0), past.std(axis=0)
        constant = np.flatnonzero(deviation <= 1e-9 * np.maximum(np.abs(mean), 1e-9))
        if constant.size:
            raise FitFailure(f"feature {names[int(constant[0])]} is constant over the past {len(past)} bars")
        return cls(mean, deviation)

    def apply(self, values: FloatArray) -> FloatArray:
        """Return (values − mean) / deviation, shape (n, n_features)."""
        scaled: FloatArray = np.ascontiguousarray((values - self.mean) / self.deviation)
        return scaled

    def unscaled_states(self, means: FloatArray, variances: FloatArray, weights: FloatArray) -> StateParameters:
        """Return state parameters in the features' own units."""
        return StateParameters(means * self.deviation + self.mean, variances * self.deviation**2, weights)


class ModelDetector(Detector):
    """A detector that fits a model to the features of past bars, and refits it as it walks forward."""

    features: FeatureSettings = FeatureSettings()
    """Features of the model."""

    fallback: RuleSettings = RuleSettings()
    """Rules that label the bars of a fit that failed."""

    n_states: int = 3
    """States of the model: 3 (bear, sideways, bull) or 2 (bear, bull)."""

    refit_every: BarCount = 730
    """Bars between refits; a month of hourly bars."""

    window: BarCount = 8_760
    """Largest number of past bars in a fit; a year of hourly bars."""

    min_bars: BarCount = 2_190
    """Bars after the warm-up of the features that the first fit needs; a quarter of a year of hourly bars."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed; the random numbers of a refit depend on (seed, time of the refit) only."""

    def model_post_init(self, context: object) -> None:
        """Refuse a number of states or a window that cannot be fitted."""
        if self.n_states not in (2, 3):
            raise ConfigError(f"n_states was {self.n_states}: a regime model has 2 or 3 states. Use 3 or 2.")
        if "log_return" not in self.features.used:
            raise ConfigError("features.used lacks log_return: regimes are ordered by their mean return. Add it.")
        if self.window < self.min_bars:
            raise ConfigError(f"window was {self.window}, min_bars {self.min_bars}: window must not be the smaller.")

    @property
    def warm_up(self) -> int:
        """Number of bars before the first label of the first fit."""
        return self.features.warm_up + self.min_bars - 1

    @abstractmethod
    def fit(self, scaled: FloatArray, unscale: Scale, seed: tuple[int, int], previous: object | None) -> FittedStates:
        """Fit the model to scaled features of past bars.

        Parameters
        ----------
        scaled : float64 array of shape (n, n_features)
        unscale : Scale
            The scale of `scaled`.
        seed : (seed, time of the refit in ns UTC)
        previous : model of the previous fit in the same scale, or None

        Raises
        ------
        FitFailure
            When the result is not reliable.

        """

    @abstractmethod
    def infer(self, model: object, scaled: FloatArray) -> FloatArray:
        """Return causal probabilities of shape (n, n_states), in the model's own order."""

    @abstractmethod
    def hindsight(self, model: object, scaled: FloatArray) -> FloatArray:
        """Return probabilities of shape (n, n_states) that depend on the whole sample, in the model's own order."""

    def rescale(self, model: object, old: Scale, new: Scale) -> object | None:
        """Return a fitted model in another scale, as the start of the next fit; None without warm starts."""
        return None

    def filter(self, bars: pd.DataFrame) -> FilteredRegimes:
        """Walk forward over the bars: refit on the past every `refit_every` bars, and filter between refits.

        Raises
        ------
        DataError
            When there are too few bars for one fit, or a feature is not finite after its warm-up.

        Notes
        -----
        Causal. A fit at bar t uses bars t − window + 1 … t, scaled by their own mean and deviation, and labels bars
        t … t + refit_every − 1. The rules label the bars of a fit that failed, and `fallbacks` lists them.

        """
        times = index_ns(bars.index)
        labels = np.full(len(times), Regime.UNKNOWN, dtype=np.int8)
        probabilities = np.full((len(times), 3), np.nan)
        by_rule = rule_labels(bars, self.fallback)
        refits: list[Refit] = []
        fallbacks: list[Fallback] = []
        return_column = self.features.used.index("log_return")
        for step in self._shown_walk(bars):
            span = slice(step.fit_bar, step.stop)
            if step.fitted is None:
                fallbacks.append(Fallback(step.failure, int(times[step.fit_bar]), int(times[step.stop - 1])))
                labels[span] = by_rule[span]
                probabilities[span] = certain(by_rule[span])
                continue
            inferred = self.infer(step.fitted.model, step.scaled)[step.n_past - 1 :]
            probabilities[span] = _by_regime(inferred, step.order)
            labels[span] = probabilities[span].argmax(axis=1)
            named = step.fitted.states.take(step.order)
            refits.append(
                Refit(
                    refit_at=int(times[step.fit_bar]),
                    n_bars=step.n_past,
                    objective=step.fitted.objective,
                    spread=step.fitted.spread,
                    gap=step.fitted.gap,
                    n_iterations=step.fitted.n_iterations,
                    is_reordered=bool((np.diff(named.means[:, return_column]) < 0.0).any()),
                    separation=separation_of(named, return_column),
                    jump_penalty=step.fitted.jump_penalty,
                )
            )
        return FilteredRegimes(
            times=times,
            labels=with_min_duration(labels, self.min_duration),
            probabilities=probabilities,
            warm_up=self.warm_up,
            detector=self.name,
            refits=tuple(refits),
            fallbacks=tuple(fallbacks),
        )

    def _shown_walk(self, bars: pd.DataFrame) -> Iterator[WalkStep]:
        with progress(f"{self.name} regimes") as on_progress:
            for step in self.walk_forward(bars):
                yield step
                on_progress(step.stop, len(bars))

    def walk_forward(self, bars: pd.DataFrame) -> Iterator[WalkStep]:
        """Yield a fit of every `refit_every`th bar from the warm-up on, each to its past window; errors as `filter`."""
        features = _checked_features(bars, self)
        times = index_ns(bars.index)
        return_column = features.names.index("log_return")
        previous: tuple[FittedStates, StateParameters, Scale] | None = None
        for fit_bar in range(self.warm_up, len(times), self.refit_every):
            first = max(features.warm_up, fit_bar + 1 - self.window)
            stop = min(fit_bar + self.refit_every, len(times))
            past = features.values[first : fit_bar + 1]
            try:
                scale = Scale.of(past, features.names)
                warm = None if previous is None else self.rescale(previous[0].model, previous[2], scale)
                fitted = self.fit(scale.apply(past), scale, (self.seed, int(times[fit_bar])), warm)
            except FitFailure as failure:
                yield WalkStep(fit_bar, stop, len(past), past, None, failure=str(failure))
                continue
            order = match_states(fitted.states, previous[1] if previous else None, return_column)
            previous = (fitted, fitted.states.take(order), scale)
            yield WalkStep(fit_bar, stop, len(past), scale.apply(features.values[first:stop]), fitted, order)

    def smooth(self, bars: pd.DataFrame) -> SmoothedRegimes:
        """Fit once to all bars, and label each bar with hindsight. For reports only.

        Raises
        ------
        DataError
            As `filter`; also when the fit fails, because hindsight has no fallback.

        """
        features = _checked_features(bars, self)
        times = index_ns(bars.index)
        known = features.values[features.warm_up :]
        try:
            scale = Scale.of(known, features.names)
            fitted = self.fit(scale.apply(known), scale, (self.seed, int(times[-1])), None)
        except FitFailure as failure:
            raise DataError(f"the {self.name} model could not be fitted to the whole sample: {failure}.") from None
        order = match_states(fitted.states, None, features.names.index("log_return"))
        probabilities = np.full((len(times), 3), np.nan)
        probabilities[features.warm_up :] = _by_regime(self.hindsight(fitted.model, scale.apply(known)), order)
        labels = np.full(len(times), Regime.UNKNOWN, dtype=np.int8)
        labels[features.warm_up :] = probabilities[features.warm_up :].argmax(axis=1)
        return SmoothedRegimes(
            times, with_min_duration(labels, self.min_duration), probabilities, features.warm_up, self.name
        )


def _checked_features(bars: pd.DataFrame, detector: ModelDetector) -> Features:
    needed = detector.warm_up + 1
    if len(bars) < needed:
        raise DataError(
            f"{len(bars)} bars are too few for the {detector.name} detector: its features need "
            f"{detector.features.warm_up} and its first fit {detector.min_bars} more ({needed} in all). "
            "Give more bars, or lower min_bars or the windows of the features."
        )
    return measure_features(bars, detector.features)


def _by_regime(probabilities: FloatArray, order: tuple[int, ...]) -> FloatArray:
    ordered = np.zeros((len(probabilities), 3))
    ordered[:, list(regimes_of(len(order)))] = probabilities[:, list(order)]
    return ordered
