"""The regime study: detect, trade beside the plain strategy, and hold the outcome against controls."""

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
    READINGS,
    NoiseControl,
    annual_turnover,
    circular_shift_test,
    noise_control,
    readings,
    sharpe_difference,
)
from peak_trade.studies.regime.results import (
    detection_lag,
    duration_table,
    fallback_table,
    regime_table,
    transition_matrix,
    wanted_exposure,
)
from peak_trade.studies.regime.strategy import RegimeAware

DELAYS = (0, 1, 5, 10)
"""Bars of delay that the delay table tries."""


@dataclass(frozen=True, eq=False)
class RegimeStudy:
    """A strategy with and without regimes over the same bars. Returns are fractions, times close times in UTC.

    `result` is the regime-aware run, `plain` the inner strategy alone; both begin at row `first` of the bars, the first
    one with a regime at or after the start that was asked for. `labels` are the regimes acted on, from that row on.
    """

    bars: Bars
    detector: Detector
    strategy: RegimeAware
    filtered: FilteredRegimes
    first: int
    labels: NDArray[np.int8]
    result: BacktestResult
    plain: BacktestResult

    @property
    def per_year(self) -> float:
        """Bars in a year of 365 days."""
        return self.bars.timeframe.bars_per_year

    @cached_property
    def _hindsight(self) -> SmoothedRegimes | str:
        try:
            return smooth_regimes(self.bars.frame, self.detector)
        except DataError as error:
            return str(error)

    @property
    def smoothed(self) -> SmoothedRegimes | None:
        """The regimes with hindsight; None when one fit to the whole sample fails, and `no_hindsight` says why."""
        return None if isinstance(self._hindsight, str) else self._hindsight

    @property
    def no_hindsight(self) -> str:
        """Why there are no regimes with hindsight; empty when there are."""
        return self._hindsight if isinstance(self._hindsight, str) else ""

    @property
    def close(self) -> pd.Series[float]:
        """Closes from row `first` on, quote currency."""
        return self.bars.frame["close"].iloc[self.first :]

    def probabilities(self) -> pd.DataFrame:
        """Return label and filtered probabilities, to nine decimals, from row `first` on; see `regimes_frame`."""
        return regimes_frame(self.filtered).iloc[self.first :].round(9)

    def refits(self) -> pd.DataFrame:
        """Return one row a refit: its time (UTC), bars used, objective, spread, gap, steps, and whether reordered."""
        frame = pd.DataFrame([asdict(refit) for refit in self.filtered.refits], columns=[f.name for f in fields(Refit)])
        frame["refit_at"] = pd.to_datetime(frame["refit_at"], utc=True)
        return frame.astype({"objective": "float64", "spread": "float64", "gap": "float64"})

    def table(self) -> pd.DataFrame:
        """Return what the regime-aware run did in each regime; see `regime_table`."""
        return regime_table(self.result, self.labels)

    def plain_table(self) -> pd.DataFrame:
        """Return what the inner strategy alone did in each regime."""
        return regime_table(self.plain, self.labels)

    def transitions(self) -> pd.DataFrame:
        """Return how often each regime is followed by each, bar to bar; see `transition_matrix`."""
        return transition_matrix(self.labels)

    def stays(self) -> pd.DataFrame:
        """Return how long regimes lasted; see `duration_table`."""
        return duration_table(self.labels)

    def facts(self) -> dict[str, Any]:
        """Return the study's plain counts by name."""
        lengths = durations(self.labels)
        return {
            "detector": self.detector.name,
            "bars with a regime": int((self.labels >= 0).sum()),
            "warm-up bars": self.filtered.warm_up,
            "transitions": count_transitions(self.labels),
            "transitions in two years": count_transitions(self.labels) * 2.0 * self.per_year / max(len(self.labels), 1),
            "median duration, bars": float(np.median(lengths)) if lengths.size else 0.0,
            "refits": len(self.filtered.refits),
            "fallbacks": len(self.filtered.fallbacks),
        }

    def cheating(self) -> pd.DataFrame:
        """Return the price of cheating: Sharpe of smoothed same-bar, next-bar and filtered labels, before costs.

        One row a reading, and one for the inner exposure alone. Empty without hindsight.
        """
        if self.smoothed is None:
            return pd.DataFrame(columns=["reading", "sharpe", "stderr", "n", "note"])
        inner = self.strategy.inner.exposure(self.bars.frame)
        weights = self.strategy.weights(np.array([0, 1, 2, -1], dtype=np.int8))
        close = self.bars.frame["close"].to_numpy()
        answers = readings(close, self.filtered, self.smoothed, self.per_year, inner, weights, self.first)
        rows = [(name, m.value, m.stderr, m.n, m.note if m.value is None else "") for name, m in answers.items()]
        table = pd.DataFrame(rows, columns=["reading", "sharpe", "stderr", "n", "note"])
        return table.astype({"sharpe": "float64", "stderr": "float64"})

    def delays(self) -> pd.DataFrame:
        """Return the run again with regimes known 0, 1, 5 and 10 bars later: return, Sharpe, trades, turnover."""
        rows = []
        for delay in DELAYS:
            late = self.strategy.model_copy(update={"delay": self.strategy.delay + delay})
            run = backtest(late, self._traded(), self.result.settings)
            stats = run.stats()
            ratio = stats["sharpe"]
            rows.append(
                {
                    "delay": delay,
                    "total_return": stats["total_return"].value,
                    "sharpe": ratio.value,
                    "sharpe_stderr": ratio.stderr,
                    "trades": len(run.trades),
                    "turnover": annual_turnover(wanted_exposure(run), self.per_year),
                }
            )
        return pd.DataFrame(rows).astype({"total_return": "float64", "sharpe": "float64", "sharpe_stderr": "float64"})

    def permutation(self, n_shifts: int = 500, seed: int = 0) -> tuple[float, FloatArray]:
        """Return the p-value of circular shifts of the regimes against the market, and the shifted Sharpe ratios.

        Only the regimes are turned: the weight of each regime, held over the inner strategy's returns before costs.
        """
        weights, earned = self._timed()
        return circular_shift_test(weights, earned, n_shifts, seed, self.per_year)

    def timed_sharpe(self) -> float:
        """Return the Sharpe ratio that `permutation` holds against the shifted ones; 0.0 where nothing varies."""
        weights, earned = self._timed()
        return sharpe(weights * earned, self.per_year).value or 0.0

    def fallbacks(self) -> pd.DataFrame:
        """Return the spans in which the rules stood in for a failed fit; see `fallback_table`."""
        return fallback_table(self.filtered)

    def lag(self, truth: NDArray[np.int8] | None = None) -> pd.DataFrame:
        """Return how late each change was noticed, against the truth where it is known, else against hindsight."""
        if truth is None:
            truth = np.full_like(self.filtered.labels, -1) if self.smoothed is None else self.smoothed.labels
        return detection_lag(truth[self.first :], self.labels)

    def lag_facts(self, truth: NDArray[np.int8] | None = None) -> dict[str, Any]:
        """Return the detection lag in bars and the turnover a year, by name; see `lag`. Without hindsight, why."""
        turnovers = {
            "turnover a year": annual_turnover(wanted_exposure(self.result), self.per_year),
            "turnover a year without regimes": annual_turnover(wanted_exposure(self.plain), self.per_year),
        }
        if truth is None and self.no_hindsight:
            return {"hindsight": f"none: {self.no_hindsight}"} | turnovers
        lags = self.lag(truth)
        known = lags["lag"].dropna()
        return {
            "changes in hindsight": len(lags),
            "noticed": len(known),
            "missed": len(lags) - len(known),
            "median lag of the noticed, bars": float(known.median()) if len(known) else None,
            "mean lag of the noticed, bars": float(known.mean()) if len(known) else None,
        } | turnovers

    def advantage(self) -> Measure:
        """Return the Sharpe ratio with regimes less the one without, after costs, with its standard error.

        No value when one of the two runs went bankrupt before its last bar.
        """
        ours, theirs = simple_returns(self.result.equity_values), simple_returns(self.plain.equity_values)
        if len(ours) != len(theirs) or not len(ours):
            return Measure(None, 0, note="one of the two went bankrupt")
        return sharpe_difference(ours, theirs, self.per_year)

    def verdict(self, p_value: float, noise: Sequence[NoiseControl] = ()) -> list[str]:
        """Return in sentences what the study does and does not show.

        Parameters
        ----------
        p_value : float
            Of `permutation`.
        noise : sequence of NoiseControl
            The controls that were run; a claim of an edge needs at least one of enough series, and all of them clean.

        """
        with_regimes, without = (
            sharpe(simple_returns(run.equity_values), self.per_year) for run in (self.result, self.plain)
        )
        gap = self.advantage()
        sentences = [
            f"After costs the Sharpe ratio is {_signed(with_regimes)} with regimes and {_signed(without)} without."
        ]
        better = gap.value is not None and gap.stderr is not None and gap.value > 2.0 * gap.stderr
        sentences.append(
            f"The difference is {_signed(gap)}: {'more' if better else 'not more'} than two standard errors."
        )
        cheating = self.cheating().set_index("reading")["sharpe"]
        if len(cheating) and np.isfinite(cheating[list(READINGS)]).all():
            same, following, causal = (cheating[reading] for reading in READINGS)
            sentences.append(
                f"Labels with hindsight would have shown {same:+.2f} on the same bar and {following:+.2f} on the next, "
                f"the causal ones show {causal:+.2f} before costs: cheating is worth {same - causal:+.2f}."
            )
        if self.no_hindsight:
            sentences.append(f"Hindsight, and with it the price of cheating, is not known: {self.no_hindsight}")
        lucky = "which chance explains" if p_value > 0.05 else "which chance does not easily explain"
        sentences.append(f"Regimes turned to other dates do as well in {p_value:.1%} of the trials, {lucky}.")
        for few in (control for control in noise if not control.is_enough):
            sentences.append(f"{len(few.sharpes)} {few.kind} series are too few to judge the method by.")
        judged = [control for control in noise if control.is_enough]
        for control in judged:
            outcome = "as it must be" if control.is_clean else "so the method itself leaks or is biased"
            where = "within" if control.is_clean else "outside"
            sentences.append(
                f"On {control.kind} series the causal mean is {_signed(control.mean(READINGS[2]))}, {where} two "
                f"standard errors of 0, {outcome}."
            )
        if not all(control.is_clean for control in judged):
            sentences.append("Verdict: nothing can be concluded before the method passes its own noise control.")
        elif better and p_value <= 0.05 and judged:
            sentences.append("Verdict: evidence of an edge from the regimes on these bars; try it on others.")
        elif better or p_value <= 0.05:
            sentences.append("Verdict: a hint and no more: not every test that an edge must pass was run and passed.")
        else:
            sentences.append("Verdict: no evidence that the regimes add anything to the strategy on these bars.")
        return sentences

    def _timed(self) -> tuple[FloatArray, FloatArray]:
        close = self.bars.frame["close"].to_numpy()
        inner = np.nan_to_num(self.strategy.inner.exposure(self.bars.frame), nan=0.0)
        earned = (inner[:-1] * (close[1:] / close[:-1] - 1.0))[self.first :]
        return self.strategy.weights(self.labels)[:-1], earned

    def _traded(self) -> Bars:
        return _from_row(self.bars, self.first)


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
        What decides within a regime.
    bars : Bars
        With those before the start, which the detector warms up on.
    detector : Detector
    settings : BacktestSettings
    start : datetime or ISO text
        First close to trade on, UTC; the first with a regime when left out or when that is later.
    wrapper : settings of RegimeAware
        mode, bull, sideways, bear, delay and the strategies of `switch`.

    Raises
    ------
    DataError
        Too few bars, or a feature that is not finite.
    ConfigError
        An unknown setting of the wrapper.

    """
    filtered = filter_regimes(bars.frame, detector)
    aware = RegimeAware.of(strategy, filtered, detector=detector, **wrapper)
    first = filtered.warm_up
    if start is not None:
        moment = parse_utc(start, "start") if isinstance(start, str) else start
        first = max(first, int(np.searchsorted(bars.times, to_ns(moment))))
    if first >= len(bars) - 1:
        raise DataError(f"{bars.symbol}: no two bars with a regime lie at or after {start}. Start earlier.")
    traded = _from_row(bars, first)
    return RegimeStudy(
        bars=bars,
        detector=detector,
        strategy=aware,
        filtered=filtered,
        first=first,
        labels=aware.labels(traded.frame),
        result=backtest(aware, traded, settings),
        plain=backtest(strategy, traded, settings),
    )


def backtest_regimes(
    strategy: Strategy,
    regimes: FilteredRegimes,
    bars: Bars,
    settings: BacktestSettings | None = None,
    **wrapper: Any,
) -> BacktestResult:
    """Backtest a strategy with regimes that were filtered before.

    Raises
    ------
    ConfigError
        On smoothed regimes: a label that knows the whole sample can't be traded. It says what to use.

    """
    return backtest(RegimeAware.of(strategy, require_filtered(regimes), **wrapper), bars, settings)


def noise_controls(study: RegimeStudy, n_series: int, n_bars: int = 8_760) -> tuple[NoiseControl, NoiseControl]:
    """Run both noise controls with the study's detector, on series of seeds 0 … n_series - 1.

    `n_bars` is the length of each series, shorter where the study's own bars are fewer.
    """
    close = study.bars.frame["close"].to_numpy()
    returns = close[1:] / close[:-1] - 1.0
    length = max(min(n_bars, len(returns)), study.detector.warm_up + 500)
    seeds = range(n_series)
    return (
        noise_control("edge-free", study.detector, seeds, length, study.per_year),
        noise_control("phase-randomised", study.detector, seeds, length, study.per_year, returns),
    )


def noise_table(controls: Sequence[NoiseControl]) -> pd.DataFrame:
    """Return one row a control and reading: mean Sharpe, its standard error, and whether it lies within two of 0."""
    table = pd.concat([control.to_frame() for control in controls], ignore_index=True)
    return table.assign(within_two_errors=table["mean_sharpe"].abs() <= 2.0 * table["stderr"])


def _from_row(bars: Bars, row: int) -> Bars:
    return Bars(bars.frame.iloc[row:], bars.symbol, bars.timeframe, bars.exchange)


def _signed(measure: Measure) -> str:
    if measure.value is None:
        return f"not known ({measure.note})"
    return f"{measure.value:+.2f}" + (f" ± {measure.stderr:.2f}" if measure.stderr is not None else "")
