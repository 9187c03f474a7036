"""Number of trials on given bars, their effective number and the variance of their Sharpe ratios, from the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import Bars, as_bars
from peak_trade.core.described import Described
from peak_trade.core.errors import ConfigError, listed
from peak_trade.core.time import iso
from peak_trade.metrics.selection import effective_trials
from peak_trade.tracking.assets import UNNAMED, Closes, asset_name, is_same_asset
from peak_trade.tracking.gaps import ledger_gaps, state_sentence
from peak_trade.tracking.ledger import TrialLedger, trial_ledger
from peak_trade.tracking.trials import Observations


@dataclass(frozen=True, eq=False, repr=False)
class TrialCount(Described):
    """The trials on an asset and a span, and the state of the ledger that counts them.

    `observed` are the trials, `per_year` the number of bars per year of the bars asked for. `symbols` are the names
    under which the asset was tried. `since` is the time of the first line of the ledger, ns UTC, None for a ledger
    without lines; `gaps` has one sentence per break of its chain.
    """

    observed: tuple[Observations, ...] = field(repr=False)
    per_year: float
    symbols: tuple[str, ...]
    since: int | None
    gaps: tuple[str, ...]

    def description(self) -> tuple[str, dict[str, object]]:
        """Return the numbers of the trials and the state of the ledger."""
        return (
            f"TrialCount: {listed(self.symbols) or 'no trial on this asset'}",
            {
                "trials": f"{self.n:,}",
                "failed": f"{self.n_failed:,}" if self.n_failed else "",
                "effective number": f"{self.n_effective:,.1f}",
                "ledger since": "" if self.since is None else iso(self.since),
                "gaps": " ".join(self.gaps),
            },
        )

    @property
    def n(self) -> int:
        """Number of distinct trials, failed runs included."""
        return sum(each.sharpe.size for each in self.observed)

    @property
    def n_failed(self) -> int:
        """Number of trials without returns, because their runs failed."""
        return sum(each.sharpe.size for each in self.observed if not each.weeks.shape[1])

    @cached_property
    def n_effective(self) -> float:
        """Effective number of the trials, from the correlation of their weekly returns; see `effective_trials`."""
        return effective_trials(_on_one_calendar(self.observed))

    @property
    def sharpe_variance(self) -> float | None:
        """Variance of the Sharpe ratios per bar of the bars asked for; None for fewer than two ratios.

        Ratios of other timeframes are annualised and scaled.
        """
        ratios = np.concatenate([each.sharpe * np.sqrt(each.per_year) for each in self.observed] or [np.empty(0)])
        ratios = ratios[np.isfinite(ratios)]
        return float(ratios.var(ddof=1)) / self.per_year if ratios.size > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, and the state of the ledger, as plain values."""
        return {
            "n": self.n,
            "n_failed": self.n_failed,
            "n_effective": self.n_effective,
            "sharpe_variance": self.sharpe_variance,
            "symbols": list(self.symbols),
            "since": None if self.since is None else iso(self.since),
            "gaps": list(self.gaps),
        }

    @property
    def sentence(self) -> str:
        """The count and the state of the ledger, for a page or a terminal."""
        names = listed(self.symbols) or "this asset"
        what = f": of {names} in this span; effective number {self.n_effective:.1f}"
        return state_sentence(self.since, self.n, self.gaps, what)


@checks_arguments()
def trials_of(bars: Bars | pd.DataFrame | Sequence[Bars]) -> TrialCount:
    """Count the trials on the asset and the span of bars; of several symbols, those on any of them.

    A trial counts when its traded span shares a bar or a part of one with the bars, whatever its exchange and
    timeframe. Two names are one asset when they are aliases or when the data sets have the same returns; see
    `have_same_returns`. This counts too many rather than too few: a trial on one shared bar counts in full.

    Parameters
    ----------
    bars : Bars, sequence of Bars, or DataFrame as of `backtest`
        The traded bars, without those that warm a run up.

    Returns
    -------
    TrialCount
        `sharpe_variance` is per bar of these bars.

    Raises
    ------
    ConfigError
        If there are no bars, or the ledger cannot be read or was written by a later version.

    """
    one = as_bars(bars) if isinstance(bars, pd.DataFrame) else bars
    given = [one] if isinstance(one, Bars) else list(one)
    if not given:
        raise ConfigError("trials_of: bars was empty: give the bars of at least one symbol.")
    first = min(int(each.times[0]) - each.timeframe.ns for each in given)
    last = max(int(each.times[-1]) for each in given)
    ledger = trial_ledger()
    ledger.refresh()
    return _counted(ledger, [Closes.of(each) for each in given], (first, last), given[0].bars_per_year)


def trials_of_run(digests: Mapping[str, str]) -> TrialCount | None:
    """Count the trials on the asset and the span of a run by its digests, or the first digits of them.

    None when the run is not in the ledger.

    `sharpe_variance` is per bar of that run. ConfigError as in `trials_of`.
    """
    ledger = trial_ledger()
    ledger.refresh()
    config, data = digests["config"], digests["data"]
    for key, (line, _) in reversed(ledger.trials.items()):
        if key[0].startswith(config) and key[2].startswith(data):
            return _counted(ledger, _closes_of(ledger, line), _span(line), line["per_year"])
    return None


def _counted(ledger: TrialLedger, given: Sequence[Closes], span: tuple[int, int], per_year: float) -> TrialCount:
    ours = _one_asset(given, list(ledger.series.values()))
    found: dict[int, tuple[Mapping[str, Any], list[int]]] = {}
    for line, place in ledger.trials.values():
        if id(line) in found:
            found[id(line)][1].append(place)
        elif _overlap(_span(line), span) and not ours.isdisjoint(_closes_of(ledger, line)):
            found[id(line)] = line, [place]
    lines = [line for line, _ in found.values()]
    return TrialCount(
        observed=tuple(Observations.decode(line).at(places) for line, places in found.values()),
        per_year=per_year,
        symbols=tuple(sorted({each.symbol for line in lines for each in ours.intersection(_closes_of(ledger, line))})),
        since=ledger.since,
        gaps=tuple(ledger_gaps(ledger)),
    )


def _one_asset(given: Sequence[Closes], known: Sequence[Closes]) -> set[Closes]:
    """Return the known data sets of the given assets, those that are the same as one of them included."""
    ours, latest = set(given), list(given)
    left = [each for each in known if each not in ours]
    while latest:
        names = {asset_name(each.symbol) for each in latest if each.symbol != UNNAMED}
        same = [
            each
            for each in left
            if (each.symbol != UNNAMED and asset_name(each.symbol) in names)
            or any(is_same_asset(each, other) for other in latest)
        ]
        ours.update(same)
        left, latest = [each for each in left if each not in ours], same
    return ours


def _closes_of(ledger: TrialLedger, line: Mapping[str, Any]) -> list[Closes]:
    return [ledger.series[each] for each in line["series"] if each in ledger.series]


def _span(line: Mapping[str, Any]) -> tuple[int, int]:
    """Return the open of the first and the close of the last traded bar of a trial, ns UTC."""
    return line["first"] - line["bar_ns"], line["last"]


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _on_one_calendar(observed: Sequence[Observations]) -> FloatArray:
    """Return the weekly returns of all trials, shape (n_trials, n_weeks), from the first to the last week."""
    traded = [each for each in observed if each.weeks.shape[1]]
    first = min((each.first_week for each in traded), default=0)
    last = max((each.first_week + each.weeks.shape[1] for each in traded), default=0)
    weeks = np.full((sum(each.sharpe.size for each in observed), last - first), np.nan)
    place = 0
    for each in observed:
        begin = each.first_week - first
        weeks[place : place + each.sharpe.size, begin : begin + each.weeks.shape[1]] = each.weeks
        place += each.sharpe.size
    return weeks
