"""The detector contract, and the walk that refits on the past only and filters between refits."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import check_frame, index_ns
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.settings import BarCount, Settings
from peak_trade.regimes.features import Features, FeatureSettings, measure_features
from peak_trade.regimes.rules import RuleSettings, rule_labels
from peak_trade.regimes.states import (
    Fallback,
    FilteredRegimes,
    Refit,
    Regime,
    SmoothedRegimes,
    StateParameters,
    hold_labels,
    match_states,
    regimes_of,
)


class FitFailure(Exception):
    """A model could not be trusted; the message is the reason that the fallback records."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedStates:
    """A model fitted to scaled past features: its parameters in the model's own order, and how the fit went."""

    model: object
    states: StateParameters
    objective: float
    spread: float | None
    gap: float | None
    n_iterations: int


@dataclass(frozen=True, slots=True, eq=False)
class WalkStep:
    """One step of a walk forward: the fit at the close of bar `fit_bar`, and what it was fitted to.

    The fit labels the bars from `fit_bar` up to `stop`, exclusive. `scaled`, shape (n, n_features), are the features
    from the first bar of its window up to `stop`, scaled by the window's mean and deviation; the first `n_past` rows
    were fitted. `order` lists the states as bear, (sideways,) bull. Where the fit failed, `fitted` is None, `failure`
    is the reason, and `scaled` are the unscaled features of the window.
    """

    fit_bar: int
    stop: int
    n_past: int
    scaled: FloatArray
    fitted: FittedStates | None
    order: tuple[int, ...] = ()
    failure: str = ""


class Detector(Settings, ABC):
    """Frozen parameters of a regime detector. Windows are in bars; the defaults suit hourly bars."""

    min_duration: BarCount = 96
    """Bars that a regime lasts at least once it is entered, four days of hours; 1 leaves the labels as they are."""

    @property
    def name(self) -> str:
        """Class name in snake case without `_detector`."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower().removesuffix("_detector")

    @property
    @abstractmethod
    def warm_up(self) -> int:
        """First bars without a regime."""

    @abstractmethod
    def filter(self, bars: pd.DataFrame) -> FilteredRegimes:
        """Return causal regimes: row t uses bars up to t."""

    @abstractmethod
    def smooth(self, bars: pd.DataFrame) -> SmoothedRegimes:
        """Return hindsight regimes: every row uses all bars. For reports only."""


class RulesDetector(Detector):
    """RSI and ATR; see `rule_labels`."""

    rules: RuleSettings = RuleSettings()
    """Windows and thresholds."""

    @property
    def warm_up(self) -> int:
        """Bars before the rules' first answer."""
        return self.rules.warm_up

    def filter(self, bars: pd.DataFrame) -> FilteredRegimes:
        """Label every bar by rule; DataError when there are no more bars than the warm-up."""
        labels, probabilities = self._label(bars)
        return FilteredRegimes(index_ns(bars.index), labels, probabilities, self.warm_up, self.name)

    def smooth(self, bars: pd.DataFrame) -> SmoothedRegimes:
        """Return the same labels: rules know no hindsight."""
        labels, probabilities = self._label(bars)
        return SmoothedRegimes(index_ns(bars.index), labels, probabilities, self.warm_up, self.name)

    def _label(self, bars: pd.DataFrame) -> tuple[NDArray[np.int8], FloatArray]:
        if len(bars) <= self.warm_up:
            raise DataError(
                f"{len(bars)} bars are too few for the rules detector: RSI and ATR need {self.warm_up + 1}. "
                "Give more bars, or lower the rules' windows."
            )
        labels = rule_labels(bars, self.rules)
        probabilities = _one_hot(labels)
        labels[: self.warm_up] = Regime.UNKNOWN
        probabilities[: self.warm_up] = np.nan
        return hold_labels(labels, self.min_duration), probabilities


class ModelDetector(Detector):
    """A detector that fits a model to past features and refits it as it walks forward."""

    features: FeatureSettings = FeatureSettings()
    """What the detector sees."""

    fallback: RuleSettings = RuleSettings()
    """The rules that take over where the model fails."""

    n_states: int = 3
    """States of the model: 3 (bear, sideways, bull) or 2 (bear, bull)."""

    refit_every: BarCount = 730
    """Bars between refits; a month of hours."""

    window: BarCount = 8_760
    """Most past bars that a fit uses; a year of hours."""

    min_bars: BarCount = 2_190
    """Bars after the features' warm-up before the first fit; a quarter of hours."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Each refit draws from a generator seeded with (seed, refit time)."""

    def model_post_init(self, context: object) -> None:
        """Refuse state counts and windows that can not work."""
        if self.n_states not in (2, 3):
            raise ConfigError(f"n_states was {self.n_states}: a regime model tells 2 or 3 states apart. Use 3 or 2.")
        if "log_return" not in self.features.used:
            raise ConfigError("features.used lacks log_return: regimes are ordered by their mean return. Add it.")
        if self.window < self.min_bars:
            raise ConfigError(f"window was {self.window}, min_bars {self.min_bars}: window must not be the smaller.")

    @property
    def warm_up(self) -> int:
        """Bars before the first fit's first label."""
        return self.features.warm_up + self.min_bars - 1

    @abstractmethod
    def fit(self, scaled: FloatArray, unscale: Scale, seed: tuple[int, int], previous: object | None) -> FittedStates:
        """Fit to scaled past features of shape (n, n_features); raise FitFailure when the result can not be trusted."""

    @abstractmethod
    def infer(self, model: object, scaled: FloatArray) -> FloatArray:
        """Return causal probabilities of shape (n, n_states) in the model's own order."""

    @abstractmethod
    def hindsight(self, model: object, scaled: FloatArray) -> FloatArray:
        """Return probabilities of shape (n, n_states) that use all rows."""

    def filter(self, bars: pd.DataFrame) -> FilteredRegimes:
        """Walk forward over the bars: refit every `refit_every` bars on the past, filter in between.

        Raises
        ------
        DataError
            Too few bars for one fit, or a feature that is not finite after its warm-up.

        Notes
        -----
        Causal. A fit at bar r uses bars r - window + 1 … r, scaled by their own mean and deviation, and labels bars
        r … r + refit_every - 1. A fit that fails hands its span to the rules, and the result says so.

        """
        times = index_ns(bars.index)
        labels = np.full(len(times), Regime.UNKNOWN, dtype=np.int8)
        probabilities = np.full((len(times), 3), np.nan)
        by_rule = rule_labels(bars, self.fallback)
        refits: list[Refit] = []
        fallbacks: list[Fallback] = []
        return_column = self.features.used.index("log_return")
        for step in self.walk_forward(bars):
            span = slice(step.fit_bar, step.stop)
            if step.fitted is None:
                fallbacks.append(Fallback(step.failure, int(times[step.fit_bar]), int(times[step.stop - 1])))
                labels[span] = by_rule[span]
                probabilities[span] = _one_hot(by_rule[span])
                continue
            inferred = self.infer(step.fitted.model, step.scaled)[step.n_past - 1 :]
            probabilities[span] = _spread(inferred, step.order)
            labels[span] = probabilities[span].argmax(axis=1)
            ordered_returns = step.fitted.states.means[list(step.order), return_column]
            refits.append(
                Refit(
                    refit_at=int(times[step.fit_bar]),
                    n_bars=step.n_past,
                    objective=step.fitted.objective,
                    spread=step.fitted.spread,
                    gap=step.fitted.gap,
                    n_iterations=step.fitted.n_iterations,
                    is_reordered=bool((np.diff(ordered_returns) < 0.0).any()),
                )
            )
        return FilteredRegimes(
            times=times,
            labels=hold_labels(labels, self.min_duration),
            probabilities=probabilities,
            warm_up=self.warm_up,
            detector=self.name,
            refits=tuple(refits),
            fallbacks=tuple(fallbacks),
        )

    def walk_forward(self, bars: pd.DataFrame) -> Iterator[WalkStep]:
        """Fit at every `refit_every`th bar from the warm-up on, each time to the past window; DataError as `filter`."""
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
        """Fit once to all bars and label each with hindsight. For reports only.

        Raises
        ------
        DataError
            As `filter`; also when the one fit fails, because hindsight has no fallback.

        """
        features = _checked_features(bars, self)
        times = index_ns(bars.index)
        rows = features.values[features.warm_up :]
        try:
            scale = Scale.of(rows, features.names)
            fitted = self.fit(scale.apply(rows), scale, (self.seed, int(times[-1])), None)
        except FitFailure as failure:
            raise DataError(f"the {self.name} model could not be fitted to the whole sample: {failure}.") from None
        order = match_states(fitted.states, None, features.names.index("log_return"))
        probabilities = np.full((len(times), 3), np.nan)
        probabilities[features.warm_up :] = _spread(self.hindsight(fitted.model, scale.apply(rows)), order)
        labels = np.full(len(times), Regime.UNKNOWN, dtype=np.int8)
        labels[features.warm_up :] = probabilities[features.warm_up :].argmax(axis=1)
        return SmoothedRegimes(
            times, hold_labels(labels, self.min_duration), probabilities, features.warm_up, self.name
        )

    def rescale(self, model: object, old: Scale, new: Scale) -> object | None:
        """Return a fitted model in another scale, to start the next fit from; None without warm starts."""
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Mean and deviation of each feature over the past bars of one fit: arrays of shape (n_features,)."""

    mean: FloatArray
    deviation: FloatArray

    @classmethod
    def of(cls, past: FloatArray, names: tuple[str, ...]) -> Scale:
        """Measure past rows; FitFailure when a feature does not move."""
        mean, deviation = past.mean(axis=0), past.std(axis=0)
        still = np.flatnonzero(deviation <= 1e-9 * np.maximum(np.abs(mean), 1e-9))
        if still.size:
            raise FitFailure(f"feature {names[int(still[0])]} is constant over the past {len(past)} bars")
        return cls(mean, deviation)

    def apply(self, values: FloatArray) -> FloatArray:
        """Return values less the mean, over the deviation."""
        scaled: FloatArray = np.ascontiguousarray((values - self.mean) / self.deviation)
        return scaled

    def unscaled_states(self, means: FloatArray, variances: FloatArray, weights: FloatArray) -> StateParameters:
        """Return state parameters in the features' own units."""
        return StateParameters(means * self.deviation + self.mean, variances * self.deviation**2, weights)


def filter_regimes(bars: pd.DataFrame, detector: Detector) -> FilteredRegimes:
    """Return causal regimes of checked bars, shape (n_bars,): what a backtest takes."""
    check_frame(bars)
    return detector.filter(bars)


def smooth_regimes(bars: pd.DataFrame, detector: Detector) -> SmoothedRegimes:
    """Return regimes with hindsight, shape (n_bars,): for reports, refused by a backtest."""
    check_frame(bars)
    return detector.smooth(bars)


def _checked_features(bars: pd.DataFrame, detector: ModelDetector) -> Features:
    needed = detector.warm_up + 1
    if len(bars) < needed:
        raise DataError(
            f"{len(bars)} bars are too few for the {detector.name} detector: its features need "
            f"{detector.features.warm_up} and its first fit {detector.min_bars} more ({needed} in all). "
            "Give more bars, or lower min_bars or the features' windows."
        )
    return measure_features(bars, detector.features)


def _spread(probabilities: FloatArray, order: tuple[int, ...]) -> FloatArray:
    spread = np.zeros((len(probabilities), 3))
    spread[:, list(regimes_of(len(order)))] = probabilities[:, list(order)]
    return spread


def _one_hot(labels: NDArray[np.int8]) -> FloatArray:
    hot = np.zeros((len(labels), 3))
    hot[np.arange(len(labels)), labels] = 1.0
    return hot
