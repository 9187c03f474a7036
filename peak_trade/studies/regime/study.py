"""Regime study: a strategy with and without regimes over the same bars, and the controls that judge the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import Bars
from peak_trade.core.errors import DataError
from peak_trade.core.time import parse_utc, to_ns
from peak_trade.engine.result import BacktestResult
from peak_trade.engine.settings import BacktestSettings
from peak_trade.metrics import Measure, sharpe, simple_returns
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
from peak_trade.studies.regime.controls import (
    TIMINGS,
    NoiseControl,
    annual_turnover,
    circular_shift_test,
    noise_control,
    sharpe_by_timing,
    sharpe_difference,
)
from peak_trade.studies.regime.strategy import RegimeAware
from peak_trade.studies.regime.tables import (
    detection_lag,
    duration_table,
    fallback_table,
    regime_table,
    target_exposure,
    transition_matrix,
)

DELAYS = (0, 1, 5, 10)
"""Delays of the delay table, bars."""


@dataclass(frozen=True, eq=False)
class RegimeStudy:
    """A strategy with and without regimes over the same bars. Returns are fractions, times close times in UTC.

    `result` is the run with regimes, `baseline` that of the inner strategy alone. Both begin at bar `first` of `bars`,
    the first with a regime at or after the requested start. `labels` are the regimes used, from that bar on.
    """

    bars: Bars
    detector: Detector
    strategy: RegimeAware
    filtered: FilteredRegimes
    first: int
    labels: NDArray[np.int8]
    result: BacktestResult
    baseline: BacktestResult

    @property
    def bars_per_year(self) -> float:
        """Bars in a year of 365 days, by elapsed time."""
        return self.bars.bars_per_year

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
        """Return one row per refit, with the fields of `Refit`; `refit_at` in UTC."""
        frame = pd.DataFrame([asdict(refit) for refit in self.filtered.refits], columns=[f.name for f in fields(Refit)])
        frame["refit_at"] = pd.to_datetime(frame["refit_at"], utc=True)
        return frame.astype({"objective": "float64", "spread": "float64", "gap": "float64"})

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
        """Return the Sharpe ratio of each timing of the labels, before costs; see `sharpe_by_timing`.

        One row per timing and one for the inner exposure alone: timing, sharpe, stderr, n, note. Empty without regimes
        with hindsight.
        """
        if self.smoothed is None:
            return pd.DataFrame(columns=["timing", "sharpe", "stderr", "n", "note"])
        inner = self.strategy.inner.exposure(self.bars.for_strategy())
        weights = self.strategy.weights(np.array([0, 1, 2, -1], dtype=np.int8))
        close = self.bars.frame["close"].to_numpy()
        measures = sharpe_by_timing(close, self.filtered, self.smoothed, self.bars_per_year, inner, weights, self.first)
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

        Only the weights of the regimes are shifted, against the returns of the inner strategy before costs; see
        `circular_shift_test`.
        """
        weights, earned = self._weights_and_returns()
        return circular_shift_test(weights, earned, n_shifts, seed, self.bars_per_year)

    def unshifted_sharpe(self) -> float:
        """Return the Sharpe ratio that `shift_test` compares with the shifted ones; 0.0 when nothing varies."""
        weights, earned = self._weights_and_returns()
        return sharpe(weights * earned, self.bars_per_year).value or 0.0

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

    def sharpe_gain(self) -> Measure:
        """Return the Sharpe ratio with regimes − the one without, after costs, with its standard error.

        No value when one of the two runs went bankrupt before its last bar.
        """
        ours, theirs = simple_returns(self.result.equity_values), simple_returns(self.baseline.equity_values)
        if len(ours) != len(theirs) or not len(ours):
            return Measure(None, 0, note="one of the two runs went bankrupt")
        return sharpe_difference(ours, theirs, self.bars_per_year)

    def verdict(self, p_value: float, noise: Sequence[NoiseControl] = ()) -> list[str]:
        """Return the conclusions of the study, one sentence each; the last one is the verdict.

        Parameters
        ----------
        p_value : float
            The p-value of `shift_test`.
        noise : sequence of NoiseControl
            The verdict claims an edge only when at least one control has enough series and all controls are clean.

        """
        with_regimes, without = (
            sharpe(simple_returns(run.equity_values), self.bars_per_year) for run in (self.result, self.baseline)
        )
        gap = self.sharpe_gain()
        sentences = [
            f"After costs the Sharpe ratio is {_signed(with_regimes)} with regimes and {_signed(without)} without."
        ]
        better = gap.value is not None and gap.stderr is not None and gap.value > 2.0 * gap.stderr
        sentences.append(
            f"The difference is {_signed(gap)}: {'more' if better else 'not more'} than two standard errors."
        )
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
        for few in (control for control in noise if not control.has_enough_series):
            sentences.append(f"{len(few.sharpes)} {few.kind} series are too few to judge the method.")
        judged = [control for control in noise if control.has_enough_series]
        for control in judged:
            meaning = "as expected" if control.is_clean else "so the method looks ahead or is biased"
            where = "within" if control.is_clean else "outside"
            sentences.append(
                f"On {control.kind} series the mean causal Sharpe ratio is {_signed(control.mean(TIMINGS[2]))}, "
                f"{where} two standard errors of 0, {meaning}."
            )
        if not all(control.is_clean for control in judged):
            sentences.append("Verdict: no conclusion, because the method fails its noise control.")
        elif better and p_value <= 0.05 and judged:
            sentences.append("Verdict: evidence of an edge from the regimes on these bars; test it on other bars.")
        elif better or p_value <= 0.05:
            sentences.append("Verdict: a hint only, because not every test of an edge was run and passed.")
        else:
            sentences.append("Verdict: no evidence that the regimes improve the strategy on these bars.")
        return sentences

    def _weights_and_returns(self) -> tuple[FloatArray, FloatArray]:
        close = self.bars.frame["close"].to_numpy()
        inner = np.nan_to_num(self.strategy.inner.exposure(self.bars.for_strategy()), nan=0.0)
        earned = (inner[:-1] * (close[1:] / close[:-1] - 1.0))[self.first :]
        return self.strategy.weights(self.labels)[:-1], earned


def study_regimes(
    strategy: Strategy,
    bars: Bars,
    detector: Detector,
    settings: BacktestSettings | None = None,
    start: datetime | str | None = None,
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
    **wrapper
        Settings of RegimeAware: mode, bull, sideways, bear, delay and the strategies of `switch`.

    Raises
    ------
    DataError
        When there are too few bars, or a feature is not finite.
    ConfigError
        On an unknown setting of RegimeAware.

    """
    filtered = filter_regimes(bars.for_strategy(), detector)
    aware = RegimeAware.of(strategy, filtered, detector=detector, **wrapper)
    first = filtered.warm_up
    if start is not None:
        moment = parse_utc(start, "start") if isinstance(start, str) else start
        first = max(first, int(np.searchsorted(bars.times, to_ns(moment))))
    if first >= len(bars) - 1:
        raise DataError(f"{bars.symbol}: no two bars with a regime lie at or after {start}. Start earlier.")
    opening = bars.frame.index[first]
    return RegimeStudy(
        bars=bars,
        detector=detector,
        strategy=aware,
        filtered=filtered,
        first=first,
        labels=aware.labels(bars.frame)[first:],
        result=backtest(aware, bars, settings, start=opening),
        baseline=backtest(strategy, bars, settings, start=opening),
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


def noise_controls(study: RegimeStudy, n_series: int, n_bars: int = 8_760) -> tuple[NoiseControl, NoiseControl]:
    """Run both noise controls with the detector of a study: first edge-free, then phase-randomised series.

    Parameters
    ----------
    study : RegimeStudy
    n_series : int
        Series of each kind, with seeds 0 … n_series − 1.
    n_bars : int
        Length of each series; at most that of the study, at least the warm-up of the detector and 500 bars.

    """
    close = study.bars.frame["close"].to_numpy()
    returns = close[1:] / close[:-1] - 1.0
    length = max(min(n_bars, len(returns)), study.detector.warm_up + 500)
    seeds = range(n_series)
    return (
        noise_control("edge-free", study.detector, seeds, length, study.bars_per_year),
        noise_control("phase-randomised", study.detector, seeds, length, study.bars_per_year, returns),
    )


def noise_table(controls: Sequence[NoiseControl]) -> pd.DataFrame:
    """Return one row per control and timing: noise, timing, mean_sharpe, stderr, n_series, within_two_errors of 0."""
    table = pd.concat([control.to_frame() for control in controls], ignore_index=True)
    return table.assign(within_two_errors=table["mean_sharpe"].abs() <= 2.0 * table["stderr"])


def _signed(measure: Measure) -> str:
    if measure.value is None:
        return f"not known ({measure.note})"
    return f"{measure.value:+.2f}" + (f" ± {measure.stderr:.2f}" if measure.stderr is not None else "")
