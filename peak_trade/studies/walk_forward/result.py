"""Result of a walk-forward: the choices, the run of all test windows, and whether the strategy is promoted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.described import Described
from peak_trade.core.digest import digest_of
from peak_trade.core.time import iso
from peak_trade.core.windows import Scheme, Window
from peak_trade.engine.inputs import RunInputs
from peak_trade.engine.result import BacktestResult
from peak_trade.metrics import Measure, format_measure, sharpe, simple_returns
from peak_trade.metrics.drawdowns import drawdown_measures
from peak_trade.metrics.resampling import SharpeDifference, equity_sharpe_difference
from peak_trade.strategies.base import Strategy

COMPARED = ("total_return", "sharpe", "max_drawdown")
"""Measures of each window in sample and out of sample."""
SMALLEST_EFFICIENCY = 0.5
"""Least part of the Sharpe ratio in sample that a promoted strategy keeps out of sample."""
WIDE = 1.96
"""Standard errors on each side of a 95 % interval."""


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """The choice of one window: the strategy with the chosen parameters, and its measures on the training bars.

    `in_sample` are the measures of the event loop. `n_sets` is the number of sets that were tried, and `engine` a
    sentence on which engine tried them. `difference` is the first difference of the chosen one between event loop and
    array kernel, empty when they agree.
    """

    window: Window
    strategy: Strategy
    in_sample: Mapping[str, Measure]
    n_sets: int
    engine: str
    difference: str


@dataclass(frozen=True, slots=True)
class Requirement:
    """A requirement of a promotion: its name, whether it is met (None: it can not be said), and what was found."""

    name: str
    is_met: bool | None
    found: str


@dataclass(frozen=True, eq=False, repr=False)
class WalkForward(Described):
    """A finished walk-forward. `result` is the run of all test windows in one event loop, `folds` are the choices.

    `n_trials` is the number of trials on the asset and the span of the test windows so far, those of the training
    windows included; None if the trial ledger could not be written. `grid` names the parameters that were chosen.
    """

    folds: tuple[Fold, ...]
    result: BacktestResult
    scheme: Scheme
    grid: tuple[str, ...]
    digests: dict[str, str]
    n_trials: int | None
    inputs: RunInputs
    execution: str = ""
    """Where the windows ran."""

    def description(self) -> tuple[str, dict[str, object]]:
        """Return the windows, the measures in and out of sample, and the verdict."""
        stats = self.result.stats()
        return (
            f"WalkForward: {', '.join(self.result.strategies)} on {', '.join(self.result.market.symbols)}",
            {
                "windows": f"{len(self.folds):,}, {self.scheme}",
                "sharpe in sample": f"{self.in_sample_sharpe:.2f}, mean of the windows",
                "sharpe out of sample": format_measure("sharpe", stats["sharpe"]),
                "total return": format_measure("total_return", stats["total_return"]),
                "seams with another set": f"{self.n_changes:,} of {len(self.folds) - 1:,}",
                "verdict": self.verdict,
                "run id": self.run_id,
            },
        )

    @property
    def run_id(self) -> str:
        """First 16 hex digits of the digest of the five digests."""
        return digest_of(self.digests)[:16]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per window.

        Columns: train_from, train_to, test_from and test_to (close times, UTC), the chosen parameters, and return
        (fraction), Sharpe ratio (annualised, NaN below 30 returns or 30 days) and maximum drawdown (fraction, never
        negative) with the prefix `is_` in sample and `oos_` out of sample, and `n_fills` out of sample. A return
        belongs to the set that decided at the close before it.
        """
        bars = self.inputs.bars[0]
        index = pd.DatetimeIndex(bars.frame.index)
        rows = []
        for fold in self.folds:
            (first, after), (begin, end) = fold.window.train, fold.window.test
            row: dict[str, Any] = {
                "train_from": index[first],
                "train_to": index[after - 1],
                "test_from": index[begin],
                "test_to": index[end - 1],
            }
            row |= {name: getattr(fold.strategy, name) for name in self.grid}
            row |= {f"is_{name}": float(fold.in_sample[name]) for name in COMPARED}
            row |= {f"oos_{name}": float(measure) for name, measure in self._out_of_sample(begin, end).items()}
            seam = int(bars.times[end]) if end < len(bars) else int(bars.times[-1]) + 1
            row["n_fills"] = sum(bars.times[begin] <= fill.ts_event < seam for fill in self.result.fill_list)
            rows.append(row)
        return pd.DataFrame(rows)

    @property
    def in_sample_sharpe(self) -> float:
        """Mean Sharpe ratio of the chosen sets over the training windows that have one; NaN if none has."""
        ratios = [float(fold.in_sample["sharpe"]) for fold in self.folds if fold.in_sample["sharpe"].value is not None]
        return float(np.mean(ratios)) if ratios else float("nan")

    @property
    def efficiency(self) -> Measure:
        """Sharpe ratio out of sample over the mean one in sample; no value unless the latter is above 0."""
        outside, inside, n = self.result.stats()["sharpe"], self.in_sample_sharpe, len(self.folds)
        if outside.value is None:
            return Measure(None, n, note=outside.note)
        if not inside > 0.0:
            return Measure(None, n, note="the Sharpe ratio in sample is not above 0")
        return Measure(outside.value / inside, n)

    @property
    def n_changes(self) -> int:
        """Number of seams at which another set was chosen than before."""
        return sum(one.strategy != other.strategy for one, other in zip(self.folds, self.folds[1:], strict=False))

    def stability(self) -> pd.DataFrame:
        """Return one row per parameter: distinct values, the most frequent one, its share, and the share of seams kept.

        `kept` is the share of the seams at which the value stayed, NaN with one window.
        """
        rows = []
        for name in self.grid:
            values = [getattr(fold.strategy, name) for fold in self.folds]
            keys = [repr(value) for value in values]
            commonest = max(dict.fromkeys(keys), key=keys.count)
            seams = [one == other for one, other in pairwise(keys)]
            share = keys.count(commonest) / len(keys)
            kept = float(np.mean(seams)) if seams else float("nan")
            rows.append((name, len(set(keys)), values[keys.index(commonest)], share, kept))
        return pd.DataFrame(rows, columns=["parameter", "distinct", "most_frequent", "share", "kept"])

    @cached_property
    def less_holding(self) -> SharpeDifference:
        """Sharpe ratio out of sample − that of buying and holding over the same bars, with its test."""
        run = self.result
        return equity_sharpe_difference(run.equity_values, run.benchmark.equity_values, run.market.bars_per_year)

    @cached_property
    def requirements(self) -> tuple[Requirement, ...]:
        """The requirements of a promotion, all of which have to be met."""
        ratio, gap, kept = self.result.stats()["sharpe"], self.less_holding, self.efficiency
        low = None if ratio.value is None or ratio.stderr is None else ratio.value - WIDE * ratio.stderr
        gains = self.table["oos_total_return"].to_numpy()
        n_gains = int((gains > 0.0).sum())
        own = ratio.note if low is None else f"95 % interval of the Sharpe ratio starts at {low:.2f}"
        beaten = (
            gap.difference.note
            if gap.low is None
            else f"95 % interval of the Sharpe difference starts at {gap.low:.2f}"
        )
        return (
            Requirement("edge out of sample", None if low is None else low > 0.0, own),
            Requirement("better than holding", None if gap.low is None else gap.low > 0.0, beaten),
            Requirement(
                "keeps its edge",
                None if kept.value is None else kept.value >= SMALLEST_EFFICIENCY,
                kept.note
                if kept.value is None
                else f"{kept.value:.1%} of the Sharpe ratio in sample, {SMALLEST_EFFICIENCY:.0%} needed",
            ),
            Requirement(
                "gains in most windows", n_gains > len(gains) / 2, f"{n_gains:,} of {len(gains):,} test windows gained"
            ),
        )

    @property
    def is_promoted(self) -> bool:
        """Whether every requirement of a promotion is met."""
        return all(each.is_met is True for each in self.requirements)

    @property
    def verdict(self) -> str:
        """Promoted or rejected and why, in words."""
        if self.is_promoted:
            return f"Promoted: {'; '.join(each.found for each in self.requirements)}."
        missed = [f"{each.name} ({each.found})" for each in self.requirements if each.is_met is not True]
        return f"Rejected, for lack of: {'; '.join(missed)}."

    def _out_of_sample(self, begin: int, end: int) -> dict[str, Measure]:
        """Return the measures of the returns that the set of a test window decided."""
        first = self.folds[0].window.test[0]
        equity = self.result.equity_values[begin - first : min(end, first + len(self.result.market) - 1) - first + 1]
        n = equity.size - 1
        if n < 1 or not equity[0] > 0.0:
            return dict.fromkeys(COMPARED, Measure(None, max(n, 0), note="no equity"))
        if not (equity > 0.0).all():
            ratio = Measure(None, n, note="the account went bankrupt")
        else:
            ratio = sharpe(simple_returns(equity), self.result.market.bars_per_year)
        return {
            "total_return": Measure(float(equity[-1] / equity[0] - 1.0), n),
            "sharpe": ratio,
            "max_drawdown": drawdown_measures(equity)[0],
        }


def seam_sentence(found: WalkForward) -> str:
    """Return how the account passes from one window to the next, for a page or a terminal."""
    n = len(found.folds) - 1
    return (
        f"The test windows are one run with one account. Positions are carried over the {n:,} seams; at "
        f"{found.n_changes:,} of them another set was chosen, which trades the difference to its target, with costs."
    )


def window_sentence(found: WalkForward) -> str:
    """Return the number and the span of the windows, for a page or a terminal."""
    one, bars = found.folds[0].window, found.inputs.bars[0]
    first, last = int(bars.times[one.test[0]]), int(bars.times[-1])
    return (
        f"{len(found.folds):,} {found.scheme} windows: {one.train[1] - one.train[0]:,} bars of training in the first "
        f"one, {one.test[1] - one.test[0]:,} bars of test, {iso(first)} to {iso(last)}; "
        f"{found.folds[0].n_sets:,} sets each."
    )
