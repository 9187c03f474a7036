"""Results of a causality check: leaks, rounding differences, writes into the bars, failed rewritings and drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from peak_trade.core.described import Described
from peak_trade.core.former_names import HasFormerNames
from peak_trade.core.time import iso

STATE_PARTLY_CHECKED = (
    "State inside libraries was not checked; `peak-trade check strategy` checks it in fresh processes."
)
STATE_NOT_CHECKED = "State not checked: no other process can import what was defined in a notebook cell."
LARGEST_ROUNDING = 64
"""Largest difference that counts as rounding, in ulps of the largest absolute result."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A kind of rewriting for which a result at or before the cut changed.

    `cut_time` is the close of the last unchanged bar, `bar_time` that of the first bar whose result changed, both ns
    UTC. `bar` is the index of that bar, `before` and `after` are its results. `n_cuts` counts the cuts with a change.
    `ulps` is the largest change of a result at any cut, in ulps of the largest absolute result; infinite for a change
    to or from NaN.
    """

    kind: str
    column: str
    cut_time: int
    bar_time: int
    bar: int
    before: float
    after: float
    n_cuts: int
    ulps: float

    @property
    def is_of_state(self) -> bool:
        """Whether the evaluations differ by what was evaluated before them, and not by a rewriting at the cuts."""
        return self.kind in ("fresh process", "short first", "repeated")

    def __str__(self) -> str:
        what = f"{self.column} " if self.column else ""
        how = (
            "after a call on fewer bars"
            if self.kind == "repeated"
            else f"with the bars after {iso(self.cut_time)} rewritten"
        )
        return (
            f"{self.kind}: {how}, {what}at {iso(self.bar_time)} (bar {self.bar}) changed from {self.before!r} to "
            f"{self.after!r}"
        )


@dataclass(frozen=True, slots=True)
class Write:
    """A write of the subject into the bars that it was given; the bars of a run do not change by it.

    `column` is the changed column, or `index`. `bar_time` is the close of the first changed bar, ns UTC, None when the
    whole column is gone. `before` and `after` are the values there.
    """

    column: str
    bar_time: int | None = None
    before: float | None = None
    after: object = None

    def __str__(self) -> str:
        if self.column == "index":
            change = "the index is another one after the call"
        elif self.bar_time is None:
            change = f"{self.column} is gone after the call"
        else:
            change = f"{self.column} at {iso(self.bar_time)} changed from {self.before!r} to {self.after!r}"
        return f"writes into its bars: {change}. Only its own copy changes; write to a column of its own instead"


@dataclass(frozen=True, slots=True)
class FailedRewrite:
    """A kind of rewriting on which the subject raised an error; it is no evidence for or against causality."""

    kind: str
    n_cuts: int
    error: str


@dataclass(frozen=True, slots=True)
class Drift:
    """Difference of the results when history starts `n_dropped` bars later, without the warm-up of the later start.

    `n_compared` and `n_different` count bars, `largest` is the largest absolute difference. `settled_after` is the
    number of bars from the end of the later warm-up after which the two never differ again.
    """

    n_dropped: int
    n_compared: int
    n_different: int
    largest: float
    settled_after: int


@dataclass(frozen=True, slots=True, repr=False)
class CausalityReport(Described, HasFormerNames):
    """Result of `check_causality`.

    `roundings` are differences that are rounding: at most LARGEST_ROUNDING ulps of the largest absolute result, with
    the same sign and the same bars of change, so that no order changes. `kept_state` names what the subject's code
    changed outside the call.
    """

    former_names: ClassVar = {"refusals": "failed_rewrites"}

    name: str
    n_bars: int
    n_cuts: int
    n_rewrites: int
    leaks: tuple[Leak, ...]
    roundings: tuple[Leak, ...]
    writes: tuple[Write, ...]
    kept_state: tuple[str, ...]
    failed_rewrites: tuple[FailedRewrite, ...]
    drift: tuple[Drift, ...]
    state_note: str = ""
    """What was not checked of the state that the subject's code keeps; empty after a check in fresh processes."""
    files_read: tuple[str, ...] = ()
    """Files that the subject read and did not write, without code and installed packages."""
    files_written: tuple[str, ...] = ()
    """Files that the subject wrote; the check restored them after each evaluation."""

    def description(self) -> tuple[str, dict[str, object]]:
        """Return the verdict, the first leak and what was tried."""
        return (
            f"CausalityReport: {self.name}, {self.verdict}",
            {
                "bars": f"{self.n_bars:,}",
                "cuts": f"{self.n_cuts:,}, rewritten in {self.n_rewrites:,} ways",
                "leaks": f"{len(self.leaks):,}",
                "first leak": str(self.leaks[0]) if self.leaks else "",
                "not seen": self.limits[0],
            },
        )

    @property
    def is_causal(self) -> bool:
        """Whether no result up to any cut changed, other than by rounding."""
        return not self.leaks

    @property
    def verdict(self) -> str:
        """Looks ahead; rounding, not look-ahead; or causal."""
        if self.leaks:
            return "looks ahead"
        return "rounding, not look-ahead" if self.roundings else "causal"

    @property
    def floor(self) -> float:
        """Fraction of the bars below which a leak is missed with a probability of more than 5 %.

        A leak that shows at a fraction x of the bars, each of which has the same chance to be a cut, is missed with
        probability (1 - x) ** n_cuts.
        """
        return float(1.0 - 0.05 ** (1.0 / self.n_cuts))

    @property
    def limits(self) -> list[str]:
        """What the check can not see, one sentence each."""
        return [
            f"A leak on fewer than {self.floor:.1%} of the bars can be missed ({self.n_cuts} cuts).",
            "Labels read from disk, and look-ahead that only shows in other market conditions, can not be seen.",
            *filter(None, [self.state_note]),
            *(f"It reads {place}: what that file knows of later bars can not be seen." for place in self.files_read),
        ]
