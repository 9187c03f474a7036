"""Trials: evaluations of a parameter set on data, recorded in the ledger of the workspace.

The significance of the best of several Sharpe ratios depends on their number, so every evaluation is recorded, that of
a run that failed too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bars import Bars
from peak_trade.core.calendar import observed_per_year, period_of, period_start
from peak_trade.core.errors import DataError
from peak_trade.core.time import Timeframe
from peak_trade.metrics import fewest_for_ratio, simple_returns
from peak_trade.metrics.selection import SharpeSample
from peak_trade.tracking.assets import Closes, decode_array, encode_array
from peak_trade.tracking.ledger import trial_ledger


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Parameter sets that are evaluated on the same bars: one, or those of a chunk of a sweep.

    `configs` are their configuration digests, `code` is the digest of the code that a user wrote, `data` that of the
    data. `first` and `last` are the first and the last traded close, ns UTC, `bar_ns` is the length of a bar. `bars`
    are the data sets, with the bars before `first`.
    """

    configs: tuple[str, ...]
    code: str
    data: str
    bars: tuple[Bars, ...]
    first: int
    last: int
    bar_ns: int

    @classmethod
    def of(cls, configs: Sequence[str], code: str, data: str, bars: Sequence[Bars], times: IntArray) -> Evaluation:
        """Return the evaluation of parameter sets on bars, of which those that close at `times` are traded."""
        first, last = int(times[0]), int(times[-1])
        return cls(tuple(configs), code, data, tuple(bars), first, last, bars[0].timeframe.ns)

    def encode(self) -> dict[str, Any]:
        """Return the fields as plain values, without the bars."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "bars"}


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """What was observed of k trials on the same bars; NaN where there is no value.

    `n` is the number of returns per bar, `per_year` that of bars per year. `sharpe` (per bar, not annualised),
    `skewness` and `kurtosis` (3 for normal returns) have shape (k,). `weeks` has shape (k, n_weeks): the simple return
    of each calendar week (UTC) from the week `first_week` on, see `period_of`.
    """

    n: int
    per_year: float
    first_week: int
    sharpe: FloatArray
    skewness: FloatArray
    kurtosis: FloatArray
    weeks: FloatArray

    @classmethod
    def none(cls, n_trials: int) -> Observations:
        """Return the observations of runs that failed."""
        nothing = np.full(n_trials, np.nan)
        return cls(0, 1.0, 0, nothing, nothing, nothing, np.empty((n_trials, 0)))

    @classmethod
    def of_equity(cls, equity: FloatArray, times: IntArray, timeframe: Timeframe) -> Observations:
        """Return the observations of one run from its equity at each close, shape (n_bars,)."""
        returns = simple_returns(equity)
        per_year = observed_per_year(times, timeframe.bars_per_year)
        try:
            sample = SharpeSample.of(returns)
            moments = sample.ratio, sample.skewness, sample.kurtosis
        except DataError:  # too few returns, or returns that do not vary
            moments = np.nan, np.nan, np.nan
        if returns.size < fewest_for_ratio(per_year):
            moments = np.nan, *moments[1:]
        first, ends = week_ends(times, timeframe)
        sharpe, skewness, kurtosis = (np.array([each]) for each in moments)
        weeks = weekly_returns(equity[None, ends], float(equity[0]), ends)
        return cls(returns.size, per_year, first, sharpe, skewness, kurtosis, weeks)

    @classmethod
    def decode(cls, content: Mapping[str, Any]) -> Observations:
        """Return the observations of a line of the ledger; those of failed runs when it cannot be decoded."""
        n_trials = len(content["configs"])
        try:
            moments = [decode_array(content[name], "<f8") for name in ("sharpe", "skewness", "kurtosis")]
            weeks = decode_array(content["weeks"], "<f4").reshape(n_trials, -1)
            sharpe, skewness, kurtosis = (each.reshape(n_trials) for each in moments)
        except ValueError:
            return cls.none(n_trials)
        return cls(content["n"], content["per_year"], content["first_week"], sharpe, skewness, kurtosis, weeks)

    def encode(self) -> dict[str, Any]:
        """Return the observations as plain values, arrays in base64: moments as float64, weeks as float32."""
        return {
            "n": self.n,
            "per_year": self.per_year,
            "first_week": self.first_week,
            **{name: encode_array(getattr(self, name), "<f8") for name in ("sharpe", "skewness", "kurtosis")},
            "weeks": encode_array(self.weeks, "<f4"),
        }

    def at(self, places: Sequence[int]) -> Observations:
        """Return the observations of some of the trials."""
        names, chosen = ("sharpe", "skewness", "kurtosis", "weeks"), list(places)
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})


def record_trials(evaluation: Evaluation, observed: Observations | None = None) -> None:
    """Record trials in the ledger as one line, those that are not in it yet; None: the runs failed.

    A trial that failed earlier is recorded again when it has returns; it counts once.

    Raises
    ------
    ConfigError
        If the ledger is locked for too long, was written by a later version, or cannot be written.

    """
    observed = observed or Observations.none(len(evaluation.configs))
    ledger = trial_ledger()
    has_returns = observed.weeks.shape[1] > 0
    with ledger.extending():
        new = [
            place
            for place, config in enumerate(evaluation.configs)
            if ledger.is_new((config, evaluation.code, evaluation.data), has_returns)
        ]
        if new:
            series = [Closes.of(each).encode() for each in evaluation.bars]
            configs = [evaluation.configs[place] for place in new]
            line = evaluation.encode() | {
                "kind": "trials",
                "configs": configs,
                "series": [each["id"] for each in series],
                **observed.at(new).encode(),
            }
            ledger.append([*(each for each in series if each["id"] not in ledger.series), line])


def week_ends(times: IntArray, timeframe: Timeframe) -> tuple[int, IntArray]:
    """Return the number of the first week of bars, and the index of the last bar of each week from it on.

    A bar belongs to the week of its open; a week without a bar has the last bar before it.
    """
    first, last = (int(period_of(int(time) - timeframe.ns, "week")) for time in (times[0], times[-1]))
    after = period_start(np.arange(first, last + 1) + 1, "week").astype(np.int64) + timeframe.ns
    return first, np.searchsorted(times, after, side="left") - 1


def weekly_returns(at_ends: FloatArray, first_equity: float, ends: IntArray) -> FloatArray:
    """Return the simple return of each week from equity at `week_ends`; both have shape (k, n_weeks).

    NaN for a week without a bar or without equity. The first week begins at the first close.
    """
    before = np.column_stack([np.full(len(at_ends), first_equity), at_ends[:, :-1]])
    with np.errstate(divide="ignore", invalid="ignore"):
        returns = np.where(before > 0.0, at_ends / before - 1.0, np.nan)
    returns[:, 1:][:, np.diff(ends) == 0] = np.nan
    return returns
