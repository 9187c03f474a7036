"""Result of a sweep: the table of all parameter sets, and the best ones as they ran in the event loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import ClassVar

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.causality import CausalityOutcome, CausalityVerdict, worst_outcome
from peak_trade.core.described import Described
from peak_trade.core.digest import digest_of
from peak_trade.core.errors import DataError
from peak_trade.core.former_names import HasFormerNames
from peak_trade.engine.inputs import RunInputs
from peak_trade.engine.result import BacktestResult
from peak_trade.metrics import Measure, format_measure, measures_in
from peak_trade.metrics.measure import MIN_RETURNS
from peak_trade.metrics.overfitting import Overfitting, overfitting_of_moments
from peak_trade.metrics.resampling import superior_series

MOST_COMPARED = 5_000
"""Most sets whose weekly returns `survivors` compares."""
_MOST_VARIED = 4


@dataclass(frozen=True, eq=False, repr=False)
class SweepResult(Described, HasFormerNames):
    """A finished sweep. Only `results`, the best sets as they ran in the event loop, are results of a strategy.

    `table` has one row per parameter set, in the order of the grid: its parameters, then total_return (fraction),
    sharpe (annualised, 0.0 when the returns do not vary, NaN below 30 returns or 30 days), max_drawdown (fraction,
    never negative) and n_fills.
    `n_skipped` counts the sets that are not valid, such as fast >= slow. `n_trials` counts the distinct trials on the
    asset and the span of these bars so far, those of this sweep included; the significance of the best Sharpe ratio
    depends on it. It is None if the trial ledger could not be written.
    """

    former_names: ClassVar = {"winner_row": "winner_index"}

    table: pd.DataFrame
    n_skipped: int
    winner: BacktestResult
    """Run in the event loop of the best set; see `best_sets`."""
    winner_index: int
    difference: str
    """First difference between the event loop and the kernel; empty when they agree."""
    digests: dict[str, str]
    """Digests of config (of all sets), data, code, seed and environment."""
    n_trials: int | None = None
    causality: Mapping[int, CausalityOutcome] = field(default_factory=dict)
    """Outcome of the check for look-ahead of each checked set of a user's strategy, by its row in the table."""
    inputs: RunInputs | None = None
    """The inputs of the sweep."""
    moments: FloatArray = field(default_factory=lambda: np.empty((0, 2, 3)), repr=False)
    """Moments of the daily returns (UTC) of each set by block of time; see `block_moments`."""
    weeks: FloatArray = field(default_factory=lambda: np.empty((0, 0)), repr=False)
    """Simple return of each set in each calendar week (UTC), shape (n_sets, n_weeks); NaN for a week without bars."""
    results: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The best sets in the event loop, the best one first, by their row in the table: run_id, the parameters, the
    measures of the table, and the difference between the event loop and the kernel, empty when they agree."""
    equal_sets: tuple[tuple[int, ...], ...] = ()
    """Rows of the table that gave one result: equal statistics and equal equity at the close of every day."""
    engine: str = "array kernel"
    """The engine that ran all sets: array kernel or event loop."""
    engine_reason: str = ""
    """Why the array kernel could not run them; empty if it did."""
    execution: str = ""
    """Where the sets ran, and how many were kept from an interrupted sweep."""
    method: str = "grid"
    """How the sets were chosen: grid, random or search."""

    def description(self) -> tuple[str, dict[str, object]]:
        """Return the best set and the number of those that were tried."""
        best = self.best(1)
        ratio = format_measure("sharpe", self.winner.stats()["sharpe"])
        return (
            f"SweepResult: {', '.join(self.winner.strategies)} on {', '.join(self.winner.market.symbols)}",
            {
                "combinations": f"{len(self.table):,}" + (f", {self.n_skipped:,} skipped" if self.n_skipped else ""),
                "engine": self.engine,
                "trials": "" if self.n_trials is None else f"{self.n_trials:,}",
                "best": ", ".join(f"{name}={best[name].iloc[0]}" for name in self.parameter_names),
                "its sharpe": ratio,
                "event loop": "agrees" if self.agrees else f"differs: {self.difference}",
                "run id": self.run_id,
            },
        )

    @cached_property
    def overfitting(self) -> Overfitting:
        """Probability that the choice of the best set is overfitted, from daily returns; computed on first access."""
        return overfitting_of_moments(self.moments)

    @property
    def causality_sentence(self) -> str:
        """How many sets were checked for look-ahead, and what was found; empty for a strategy of this package."""
        if not self.causality:
            return ""
        checked = [each for each in self.causality.values() if each.verdict is not CausalityVerdict.NOT_CHECKED]
        found = [each for each in checked if each.verdict is CausalityVerdict.LOOKS_AHEAD]
        count = f"{len(checked):,} of {len(self.table):,} parameter sets were checked for look-ahead"
        if not checked:
            return f"{count}: the check was switched off."
        if found:
            return f"{count}, the first and the best ones: {len(found):,} LOOK AHEAD. {found[0].sentence}"
        return f"{count}, the first and the best ones. {worst_outcome(checked).sentence}"

    @property
    def ranking(self) -> str:
        """Why the sets are ranked by total return instead of Sharpe ratio; empty when they are not."""
        ratio = self.winner.stats()["sharpe"]
        is_short = self.table["sharpe"].isna().all()
        return f"No Sharpe ratio ({ratio.note}): the sets are ranked by total return." if is_short else ""

    @property
    def engine_sentence(self) -> str:
        """Which engine ran the sets, why, and where."""
        reason = f", because {self.engine_reason}" if self.engine_reason else ""
        return f"The {self.engine} ran the sets{reason}: {self.execution}."

    @property
    def agreement_sentence(self) -> str:
        """Whether event loop and kernel agree on the best sets; empty if the event loop ran all sets."""
        if self.engine_reason:
            return ""
        count = len(self.results)
        differ = int((self.results["difference"] != "").sum())
        if not differ:
            return (
                f"On the {count:,} best the event loop agrees." if count > 1 else "On the best the event loop agrees."
            )
        first = self.results[self.results["difference"] != ""]
        verdict = f"({self.parameters_of(int(first.index[0]))}): {first['difference'].iloc[0]}"
        return f"On {differ:,} of the {count:,} best the event loop differs, first on {verdict}."

    @property
    def equal_sets_sentence(self) -> str:
        """Which sets gave one result; empty if all results differ. At most three groups are named."""
        if not self.equal_sets:
            return ""
        groups = "; ".join(
            " and ".join(f"({self.parameters_of(row)})" for row in rows[:3])
            + (f" and {len(rows) - 3:,} more" if len(rows) > 3 else "")
            for rows in self.equal_sets[:3]
        )
        count, others = sum(map(len, self.equal_sets)), len(self.equal_sets) - 3
        more = f"; and {others:,} more groups" if others > 0 else ""
        return f"{count:,} of {len(self.table):,} combinations share their result with another one: {groups}{more}."

    def plateau(self) -> FloatArray:
        """Return the plateau score of each set, shape (n_sets,): the mean Sharpe ratio of the set and its neighbours.

        The neighbours differ by at most one step in each varied parameter, or in one parameter if more than four vary;
        steps are those between the values of the sweep in order. A ratio that is far above its score stands alone.
        """
        names = [name for name in self.parameter_names if self.table[name].drop_duplicates().size > 1]
        places = [_steps(self.table[name]) for name in names]
        keys = list(zip(*places, strict=True)) if names else [()] * len(self.table)
        ratios = dict(zip(keys, self.table["sharpe"].to_list(), strict=True))
        if len(names) <= _MOST_VARIED:
            offsets = list(product((-1, 0, 1), repeat=len(names)))
        else:
            unit = np.eye(len(names), dtype=int)
            offsets = [tuple(row) for row in np.vstack([0 * unit[:1], unit, -unit]).tolist()]
        near = [[ratios.get(tuple(map(sum, zip(key, each, strict=True)))) for each in offsets] for key in keys]
        return np.array([np.mean([ratio for ratio in found if ratio is not None]) for found in near])

    def survivors(self, size: float = 0.05) -> list[int]:
        """Return the sets whose mean weekly return is above zero, with a family-wise error rate of `size` (StepM).

        Weeks without bars, and sets without any trade, are left out; see `superior_series`.

        Raises
        ------
        DataError
            Below 30 weeks, or above MOST_COMPARED sets.

        """
        if len(self.table) > MOST_COMPARED:
            raise DataError(f"{len(self.table):,} sets are more than {MOST_COMPARED:,}, the most that are compared.")
        weeks = self.weeks.astype(np.float64)[:, ~np.isnan(self.weeks).any(axis=0)]
        traded = np.flatnonzero(weeks.std(axis=1) > 0.0) if weeks.shape[1] else np.empty(0, np.int64)
        if weeks.shape[1] < MIN_RETURNS or not traded.size:
            few = f"{weeks.shape[1]} weeks, {MIN_RETURNS} needed" if traded.size else "no set traded"
            raise DataError(f"no test of the best of several series: {few}.")
        return [int(traded[column]) for column in superior_series(weeks[traded].T, size=size)]

    def parameters_of(self, place: int) -> str:
        """Return the parameters of a set as text: fast=5, slow=20."""
        return ", ".join(f"{name}={self.table[name].iloc[place]}" for name in self.parameter_names)

    @property
    def agrees(self) -> bool:
        """Whether event loop and kernel agree on the winner's fills and, within RTOL_EQUITY, on its equity."""
        return not self.difference

    @property
    def parameter_names(self) -> list[str]:
        """Names of the grid's parameters, in order."""
        return [str(name) for name in self.table.columns if name not in measures_in("sweep")]

    def overfitting_measures(self) -> dict[str, Measure]:
        """Return probability_of_overfitting and probability_of_loss; see `Overfitting`."""
        found = self.overfitting
        return dict(zip(measures_in("overfitting"), (found.probability, found.loss), strict=True))

    @property
    def overfitting_sentence(self) -> str:
        """How often the best set of one half of the time is a poor one in the other half, for a page or a terminal."""
        probability, loss = self.overfitting.probability, self.overfitting.loss
        if probability.value is None:
            return f"No probability of overfitting: {probability.note}."
        return (
            f"Probability of overfitting {format_measure('probability_of_overfitting', probability)}: in so many of "
            f"{probability.note} the best combination of one half of the days is below the median in the other half. "
            f"In {format_measure('probability_of_loss', loss)} it loses there."
        )

    @property
    def run_id(self) -> str:
        """First 16 hex digits of the digest of the five digests."""
        return digest_of(self.digests)[:16]

    def best(self, n_sets: int = 10) -> pd.DataFrame:
        """Return the best sets, the best one first; see `best_sets`."""
        return self.table.loc[best_sets(self.table, n_sets)]


def best_sets(table: pd.DataFrame, n_sets: int) -> list[int]:
    """Return the places of the best sets, the best one first, equal ones in the grid's order.

    Sets are ranked by Sharpe ratio, or by total return on bars too short for one.
    """
    ranking = "total_return" if table["sharpe"].isna().all() else "sharpe"
    return [int(row) for row in table[ranking].sort_values(ascending=False, kind="stable").index[:n_sets]]


def _steps(values: pd.Series) -> list[int]:
    """Return the place of each value among the distinct ones: in order for numbers, by appearance otherwise."""
    distinct = values.drop_duplicates()
    if pd.api.types.is_numeric_dtype(distinct):
        distinct = distinct.sort_values()
    place_of = {value: place for place, value in enumerate(distinct.to_list())}
    return [place_of[value] for value in values.to_list()]
