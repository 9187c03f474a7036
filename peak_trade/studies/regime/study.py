"""Regime study: a strategy with and without regimes over the same bars, and the controls that judge the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from functools import cached_property
from statistics import NormalDist
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import Bars
from peak_trade.core.described import Described
from peak_trade.core.errors import DataError
from peak_trade.core.executor import Executor
from peak_trade.core.former_names import HasFormerNames
from peak_trade.core.time import parse_utc, to_ns
from peak_trade.engine.inputs import RunInputs
from peak_trade.engine.result import BacktestResult
from peak_trade.engine.settings import BacktestSettings
from peak_trade.metrics import (
    Measure,
    SharpeDifference,
    equity_sharpe_difference,
    format_measure,
    sharpe,
    simple_returns,
)
from peak_trade.regimes.detector import Detector, filter_regimes, smooth_regimes
from peak_trade.regimes.states import (
    FilteredRegimes,
    Refit,
    SmoothedRegimes,
    count_transitions,
    durations,
    regimes_frame,
    require_filtered,
)
from peak_trade.strategies.base import Strategy
from peak_trade.studies.backtest import backtest
from peak_trade.studies.noise import NoiseControl, TwinCheck, check_twin, noise_sentences, signed
from peak_trade.studies.regime.controls import (
    TIMINGS,
    NoiseKind,
    annual_ratio,
    annual_turnover,
    circular_shift_test,
    conclusion,
    exposure_by_timing,
    lower_bound,
    noise_control,
)
from peak_trade.studies.regime.strategy import RegimeAware, wanted
from peak_trade.studies.regime.tables import (
    detection_lag,
    duration_table,
    fallback_table,
    regime_table,
    target_exposure,
    transition_matrix,
)
from peak_trade.wiring.sleeves import refuse_extra_columns

SeriesCount = Annotated[int, Field(ge=0, le=100_000)]
DELAYS = (0, 1, 5, 10)
"""Delays of the delay table, bars."""


@dataclass(frozen=True, eq=False, repr=False)
class RegimeStudy(Described, HasFormerNames):
    """A strategy with and without regimes over the same bars. Returns are fractions, times close times in UTC.

    `result` is the run with regimes, `baseline` that of the inner strategy alone. Both begin at bar `first` of `bars`,
    the first with a regime at or after the requested start. `labels` are the regimes used, from that bar on.
    """

    former_names: ClassVar = {
        "plain": "baseline",
        "plain_table": "baseline_table",
        "per_year": "bars_per_year",
        "no_hindsight": "smoothing_error",
        "stays": "durations",
        "cheating": "lookahead_cost",
        "permutation": "shift_test",
        "timed_sharpe": "unshifted_sharpe",
        "advantage": "sharpe_gain",
    }

    bars: Bars
    detector: Detector
    strategy: RegimeAware
    filtered: FilteredRegimes
    first: int
    labels: NDArray[np.int8]
    result: BacktestResult
    baseline: BacktestResult

    def description(self) -> tuple[str, dict[str, object]]:
        """Return the Sharpe ratios with and without regimes, and how often the regime changed."""
        runs = {"with regimes": self.result, "without": self.baseline}
        ratios = {f"sharpe {name}": format_measure("sharpe", run.stats()["sharpe"]) for name, run in runs.items()}
        facts = {name: value for name, value in self.facts().items() if name in ("transitions", "refits", "fallbacks")}
        return (
            f"RegimeStudy: {self.strategy.name} on {self.bars.symbol}, regimes of {self.detector.name}",
            {"bars": f"{len(self.labels):,} of {self.bars.timeframe}"}
            | ratios
            | facts
            | {"run id": self.result.run_id},
        )

    @property
    def bars_per_year(self) -> float:
        """Bars in a year of 365 days, by the time between the first and the last traded close."""
        return self.result.market.bars_per_year

    @property
    def remarks(self) -> list[str]:
        """What a reader of both runs has to know, one sentence each; see `BacktestResult.remarks`."""
        return list(dict.fromkeys([*self.result.remarks, *self.baseline.remarks]))

    @cached_property
    def _inner_exposure(self) -> FloatArray:
        """Exposure of the strategy without regimes at every bar, shape (n_bars,); NaN during its warm-up."""
        return np.asarray(self.strategy.inner.exposure(self.bars.for_strategy()))

    @cached_property
    def _targets(self) -> FloatArray:
        """Exposure that each label asks for at every bar, shape (n_bars, 4); see `RegimeAware.targets`."""
        return self.strategy.targets(self.bars.for_strategy(), self._inner_exposure)

    @property
    def _returns(self) -> FloatArray:
        """Simple returns from each close to the next, from bar `first` on."""
        close = self.close.to_numpy()
        returns: FloatArray = close[1:] / close[:-1] - 1.0
        return returns

    @cached_property
    def _hindsight(self) -> SmoothedRegimes | str:
        try:
            return smooth_regimes(self.bars.for_strategy(), self.detector)
        except DataError as error:
            return str(error)

    @property
    def smoothed(self) -> SmoothedRegimes | None:
        """Regimes with hindsight; None when the one fit to the whole sample fails, for the reason `smoothing_error`."""
        return None if isinstance(self._hindsight, str) else self._hindsight

    @property
    def smoothing_error(self) -> str:
        """Reason why there are no regimes with hindsight; empty when there are."""
        return self._hindsight if isinstance(self._hindsight, str) else ""

    @property
    def close(self) -> pd.Series[float]:
        """Closes from bar `first` on, in quote currency."""
        return self.bars.frame["close"].iloc[self.first :]

    def probabilities(self) -> pd.DataFrame:
        """Return labels and filtered probabilities to nine decimals, from bar `first` on; see `regimes_frame`."""
        return regimes_frame(self.filtered).iloc[self.first :].round(9)

    def refits(self) -> pd.DataFrame:
        """Return one row per refit, with the fields of `Refit`; `refit_at` in UTC.

        `bull_above_bear` is the probability, given the data, that the mean return of the bull state is above that of
        the bear state; see `separation_of`. `jump_penalty` is shown for a jump model only.
        """
        frame = pd.DataFrame([asdict(refit) for refit in self.filtered.refits], columns=[f.name for f in fields(Refit)])
        frame["refit_at"] = pd.to_datetime(frame["refit_at"], utc=True)
        numbers = ("objective", "spread", "gap", "separation")
        frame = frame.astype(dict.fromkeys(numbers, "float64"))
        if frame["jump_penalty"].isna().all():
            frame = frame.drop(columns="jump_penalty")
        return frame.assign(bull_above_bear=frame["separation"].map(NormalDist().cdf, na_action="ignore"))

    def table(self) -> pd.DataFrame:
        """Return the measures of the run with regimes, by regime; see `regime_table`."""
        return regime_table(self.result, self.labels)

    def baseline_table(self) -> pd.DataFrame:
        """Return the measures of the inner strategy alone, by the same regimes; see `regime_table`."""
        return regime_table(self.baseline, self.labels)

    def transitions(self) -> pd.DataFrame:
        """Return the frequencies of transitions from one bar to the next; see `transition_matrix`."""
        return transition_matrix(self.labels)

    def durations(self) -> pd.DataFrame:
        """Return the durations of the regimes; see `duration_table`."""
        return duration_table(self.labels)

    def facts(self) -> dict[str, Any]:
        """Return the counts of the study by name: bars, transitions, durations, refits and fallbacks."""
        lengths = durations(self.labels)
        return {
            "detector": self.detector.name,
            "bars with a regime": int((self.labels >= 0).sum()),
            "warm-up bars": self.filtered.warm_up,
            "transitions": count_transitions(self.labels),
            "transitions in two years": count_transitions(self.labels)
            * 2.0
            * self.bars_per_year
            / max(len(self.labels), 1),
            "median duration, bars": float(np.median(lengths)) if lengths.size else 0.0,
            "refits": len(self.filtered.refits),
            "fallbacks": len(self.filtered.fallbacks),
        }

    def lookahead_cost(self) -> pd.DataFrame:
        """Return the Sharpe ratio of each timing of the labels, on the same bars and before costs.

        One row per timing, of which the last one is traded (see `exposure_by_timing`), and one for the inner exposure
        alone: timing, sharpe, stderr, n, note. Empty without regimes with hindsight.
        """
        if self.smoothed is None:
            return pd.DataFrame(columns=["timing", "sharpe", "stderr", "n", "note"])
        exposures = exposure_by_timing(self.strategy, self._targets, self.filtered, self.smoothed)
        exposures["without regimes"] = np.nan_to_num(self._inner_exposure, nan=0.0)[:-1]
        first = max(self.first, self.smoothed.warm_up) - self.first
        measures = {
            name: sharpe((exposure[self.first :] * self._returns)[first:], self.bars_per_year)
            for name, exposure in exposures.items()
        }
        rows = [(name, m.value, m.stderr, m.n, m.note if m.value is None else "") for name, m in measures.items()]
        table = pd.DataFrame(rows, columns=["timing", "sharpe", "stderr", "n", "note"])
        return table.astype({"sharpe": "float64", "stderr": "float64"})

    def delays(self) -> pd.DataFrame:
        """Backtest again with regimes known 0, 1, 5 and 10 bars later, after costs.

        One row per delay: delay, total_return, sharpe, sharpe_stderr, trades, turnover (exposure traded per year).
        """
        rows = []
        for delay in DELAYS:
            late = self.strategy.model_copy(update={"delay": self.strategy.delay + delay})
            run = backtest(late, self.bars, self.result.settings, start=self.bars.frame.index[self.first])
            stats = run.stats()
            ratio = stats["sharpe"]
            rows.append(
                {
                    "delay": delay,
                    "total_return": stats["total_return"].value,
                    "sharpe": ratio.value,
                    "sharpe_stderr": ratio.stderr,
                    "trades": len(run.trades),
                    "turnover": annual_turnover(target_exposure(run), self.bars_per_year),
                }
            )
        return pd.DataFrame(rows).astype({"total_return": "float64", "sharpe": "float64", "sharpe_stderr": "float64"})

    def shift_test(self, n_shifts: int = 500, seed: int = 0) -> tuple[float, FloatArray]:
        """Return the p-value of circular shifts of the regimes, and the shifted Sharpe ratios, shape (n_shifts,).

        Only the labels are shifted, against the bars and the exposures of the strategies, before costs; see
        `circular_shift_test`.
        """
        targets, labels = self._targets[self.first : -1], self.labels[:-1]
        return circular_shift_test(targets, labels, self._returns, n_shifts, seed, self.bars_per_year)

    def unshifted_sharpe(self) -> float:
        """Return the Sharpe ratio that `shift_test` compares with the shifted ones; 0.0 when nothing varies."""
        exposure = wanted(self._targets[self.first :], self.labels)
        return annual_ratio(exposure[:-1] * self._returns, self.bars_per_year)

    def twin(self, seed: int = 0) -> TwinCheck:
        """Return what the strategy with regimes earns before costs, on the bars and on one sign-flipped twin of them.

        Regimes are detected again in the twin.
        """
        start = self.bars.frame.index[self.first]
        return check_twin(self.strategy, self.bars, self.result.settings, start=start, seed=seed)

    def fallbacks(self) -> pd.DataFrame:
        """Return the spans that the rules labelled because a fit failed; see `fallback_table`."""
        return fallback_table(self.filtered)

    def lag(self, truth: NDArray[np.int8] | None = None) -> pd.DataFrame:
        """Return the lag of each change behind the true regimes, by default the smoothed ones; see `detection_lag`."""
        if truth is None:
            truth = np.full_like(self.filtered.labels, -1) if self.smoothed is None else self.smoothed.labels
        return detection_lag(truth[self.first :], self.labels)

    def lag_facts(self, truth: NDArray[np.int8] | None = None) -> dict[str, Any]:
        """Return by name the detection lag in bars, or why there is none, and the turnover per year; see `lag`."""
        turnovers = {
            "turnover per year": annual_turnover(target_exposure(self.result), self.bars_per_year),
            "turnover per year without regimes": annual_turnover(target_exposure(self.baseline), self.bars_per_year),
        }
        if truth is None and self.smoothing_error:
            return {"hindsight": f"none: {self.smoothing_error}"} | turnovers
        lags = self.lag(truth)
        known = lags["lag"].dropna()
        return {
            "changes in hindsight": len(lags),
            "noticed": len(known),
            "missed": len(lags) - len(known),
            "median lag of the noticed, bars": float(known.median()) if len(known) else None,
            "mean lag of the noticed, bars": float(known.mean()) if len(known) else None,
        } | turnovers

    @cached_property
    def sharpe_test(self) -> SharpeDifference:
        """Sharpe ratio with regimes − the one without, after costs; see `metrics.equity_sharpe_difference`.

        No value when one of the two runs went bankrupt before its last bar.
        """
        return equity_sharpe_difference(self.result.equity_values, self.baseline.equity_values, self.bars_per_year)

    def sharpe_gain(self) -> Measure:
        """Return the difference of `sharpe_test` with its standard error."""
        return self.sharpe_test.difference

    def verdict(self, p_value: float, noise: Sequence[NoiseControl] = ()) -> list[str]:
        """Return the conclusions of the study, one sentence each; the last one is the verdict.

        Parameters
        ----------
        p_value : float
            The p-value of `shift_test`.
        noise : sequence of NoiseControl
            The verdict claims an edge only when at least one control can be judged and none finds a leak.

        """
        with_regimes, without = (
            sharpe(simple_returns(run.equity_values), self.bars_per_year) for run in (self.result, self.baseline)
        )
        lower, gain = lower_bound(with_regimes), self.sharpe_test
        above = "" if lower is None else f" (lower bound at 95 %: {lower:+.2f})"
        sentences = [
            f"After costs the Sharpe ratio is {signed(with_regimes)} with regimes{above} and {signed(without)} without."
        ]
        between = (
            "" if gain.low is None else f", 95 % interval {gain.low:+.2f} to {gain.high:+.2f}, p = {gain.p_value:.3f}"
        )
        sentences.append(f"The difference is {signed(gain.difference)}{between} (Ledoit and Wolf 2008).")
        by_timing = self.lookahead_cost().set_index("timing")["sharpe"]
        if len(by_timing) and np.isfinite(by_timing[list(TIMINGS)]).all():
            same, following, causal = (by_timing[timing] for timing in TIMINGS)
            sentences.append(
                f"Before costs, labels with hindsight have a Sharpe ratio of {same:+.2f} on the same bar and "
                f"{following:+.2f} on the next, causal labels {causal:+.2f}: look-ahead adds {same - causal:+.2f}."
            )
        if self.smoothing_error:
            sentences.append(f"The cost of look-ahead is not known: {self.smoothing_error}")
        chance = "which chance explains" if p_value > 0.05 else "which chance does not easily explain"
        sentences.append(f"Circularly shifted regimes do at least as well in {p_value:.1%} of the shifts, {chance}.")
        sentences += noise_sentences(noise)
        sentences.append(conclusion(with_regimes, gain, p_value, noise))
        return sentences


@checks_arguments(
    strategy="a Strategy, or make_strategy(name)", detector="a Detector, or make_detector(name, timeframe)"
)
def study_regimes(
    strategy: Strategy,
    bars: Bars,
    detector: Detector,
    settings: BacktestSettings | None = None,
    start: datetime | str | None = None,
    causality_check: bool = True,
    **wrapper: Any,
) -> RegimeStudy:
    """Detect regimes, and backtest the strategy with and without them from the first bar that has one.

    Parameters
    ----------
    strategy : Strategy
        The strategy within a regime.
    bars : Bars
        Including bars before the start, which warm the detector and the strategy up.
    detector : Detector
    settings : BacktestSettings
    start : datetime or ISO text
        First close to trade on, UTC; by default, and when it is later, the first close with a regime.
    causality_check : bool
        Whether to check a user's strategy for look-ahead; see `backtest`.
    **wrapper
        Settings of RegimeAware: mode, bull, sideways, bear, delay and the strategies of `switch`.

    Raises
    ------
    DataError
        When there are too few bars, or a feature is not finite.
    ConfigError
        On an unknown setting of RegimeAware.

    """
    refuse_extra_columns(strategy, "a regime study")
    filtered = filter_regimes(bars.for_strategy(), detector)
    aware = RegimeAware.of(strategy, filtered, detector=detector, **wrapper)
    first = filtered.warm_up
    if start is not None:
        first = max(first, int(np.searchsorted(bars.times, to_ns(parse_utc(start, "start")))))
    if first >= len(bars) - 1:
        raise DataError(f"{bars.symbol}: no two bars with a regime lie at or after {start}. Start earlier.")
    opening = bars.frame.index[first]
    arguments = {"strategy": strategy, "detector": detector, "settings": settings, "wrapper": wrapper}
    inputs = RunInputs("regime", arguments, (aware,), (bars,), start=to_ns(opening))
    run = backtest(aware, bars, settings, start=opening, causality_check=causality_check)
    return RegimeStudy(
        bars=bars,
        detector=detector,
        strategy=aware,
        filtered=filtered,
        first=first,
        labels=aware.labels(bars.frame)[first:],
        result=replace(run, inputs=inputs),
        baseline=backtest(strategy, bars, settings, start=opening, causality_check=causality_check),
    )


def backtest_regimes(
    strategy: Strategy,
    regimes: FilteredRegimes,
    bars: Bars,
    settings: BacktestSettings | None = None,
    **wrapper: Any,
) -> BacktestResult:
    """Backtest a strategy with regimes that are filtered already; `wrapper` are settings of RegimeAware.

    Raises
    ------
    ConfigError
        If the regimes are smoothed, because their labels depend on the whole sample.

    """
    return backtest(RegimeAware.of(strategy, require_filtered(regimes), **wrapper), bars, settings)


@checks_arguments(study="the result of study_regimes")
def noise_controls(
    study: RegimeStudy,
    n_series: SeriesCount,
    n_bars: int = 8_760,
    phase_randomised: bool = False,
    executor: Executor | None = None,
) -> tuple[NoiseControl, ...]:
    """Run the strategy of a study on series without an edge: sign-flipped twins of its last bars, and edge-free series.

    Parameters
    ----------
    study : RegimeStudy
    n_series : int
        Series of each kind, with seeds 0 … n_series − 1. At least `MIN_SERIES` are needed to judge a control.
    n_bars : int
        Length of each series; at most that of the study, at least the warm-up of the detector and 500 bars.
    phase_randomised : bool
        Whether to add series with the spectrum of the returns and random phases. They keep the low frequencies that the
        market had, which a rule may use without looking ahead: they are shown and not judged.
    executor : Executor, optional
        Where the series run; see `noise_control`.

    """
    length = max(min(n_bars, len(study.bars)), study.detector.warm_up + 500)
    bars = replace(study.bars, frame=study.bars.frame.iloc[-length:])
    kinds: tuple[NoiseKind, ...] = ("sign-flipped", "edge-free")
    if phase_randomised:
        kinds += ("phase-randomised",)
    return tuple(noise_control(kind, study.strategy, bars, range(n_series), executor) for kind in kinds)
