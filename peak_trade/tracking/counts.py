"""Number of trials on given bars, their effective number and the variance of their Sharpe ratios, from the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
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
from peak_trade.tracking.entries import local_notes
from peak_trade.tracking.ledger import EARLIER_LEDGER, TrialLedger, n_earlier_trials, trial_ledger
from peak_trade.tracking.registry import is_registry_in_workspace
from peak_trade.tracking.trials import Observations

LEDGER_NOTE = "ledger"
"""Name of the note in the record of a run that holds the length and the head of the ledger after it."""


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
        return _sentence(self.since, self.n, self.gaps, what)


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


def ledger_sentence() -> str:
    """Return the age, the number of all trials and the gaps of the ledger as a sentence, or why it cannot be read."""
    ledger = trial_ledger()
    try:
        ledger.refresh()
    except ConfigError as error:
        return f"The trial ledger cannot be read: {error}"
    return _sentence(ledger.since, len(ledger.trials), tuple(_gaps(ledger)), "")


def ledger_note() -> dict[str, str]:
    """Return the note of a run with the length, the head and the id of the ledger; empty without one to read."""
    ledger = trial_ledger()
    try:
        ledger.refresh()
    except ConfigError:
        return {}
    return {LEDGER_NOTE: f"{ledger.n_lines} {ledger.head} {ledger.file_id}"} if ledger.n_lines else {}


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
        gaps=tuple(_gaps(ledger)),
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


def _gaps(ledger: TrialLedger) -> Iterator[str]:
    yield from ledger.faults
    n_earlier = n_earlier_trials()
    if n_earlier != 0:
        held = "trials" if n_earlier is None else _count(n_earlier, "trial")
        yield f"{EARLIER_LEDGER} holds {held} of an earlier version, not counted because it names no bars"
    noted = [note.split(" ") for note in local_notes(LEDGER_NOTE)]
    if not is_registry_in_workspace():  # it has the runs of other workspaces too
        noted = [each for each in noted if each[-1] == ledger.file_id]
    lost = [each for each in noted if not ledger.heads.keys() & set(each[1:2])]
    if lost:
        verb = "holds" if len(lost) == 1 else "hold"
        yield f"{_count(len(lost), 'recorded run')} {verb} a line of the ledger that is not in it"


def _sentence(since: int | None, n_trials: int, gaps: Sequence[str], what: str) -> str:
    today = iso(time.time_ns())[:10]
    day = today if since is None else iso(since)[:10]
    n_gaps = f", {_count(len(gaps), 'gap')}" if gaps else ""
    return (
        f"Trial ledger since {'today' if day == today else day}, {_count(n_trials, 'trial')}{n_gaps}{what}."
        + "".join(f" Gap: {each}." for each in gaps)
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
