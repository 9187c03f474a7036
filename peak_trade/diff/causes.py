"""Causes of differences, and the search for the root from which each difference follows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

from peak_trade.diff.links import Link, SleeveState, ToBar, ToFinding, ToLargestPnl, ToLastChange, ToSetting, ToState
from peak_trade.diff.matching import OrderPair
from peak_trade.diff.order_histories import Sleeve
from peak_trade.journal.events import OrderEventKind

if TYPE_CHECKING:
    from peak_trade.diff.bias import Bias


class Cause(StrEnum):
    """Why two runs differ. Every root difference has exactly one cause."""

    SIGNAL = "signal"
    TIMING = "timing"
    SIGNAL_OR_TIMING = "signal or timing"
    MISSED_BAR = "missed bar"
    DATA_REVISION = "data revision"
    DENIAL = "denial"
    REJECTION = "rejection"
    PRICE = "price or slippage"
    SLIPPAGE_BIAS = "slippage bias"
    LATENCY_BIAS = "latency bias"
    FEE = "fee"
    SIZE = "size or rounding"
    PARTIAL_FILL = "partial fill"
    ORDER_TYPE = "order type"
    FUNDING = "funding"
    CLOCK_SKEW = "clock skew"
    CONFIGURATION = "configuration"
    CODE_VERSION = "code version"
    UNEXPLAINED = "unexplained"


CAUSE_OF_SETTING = {
    "trading.costs.fee_bps": Cause.FEE,
    "trading.costs.maker_fee_bps": Cause.FEE,
    "trading.costs.slippage_bps": Cause.PRICE,
    "trading.costs.funding_bps_per_8h": Cause.FUNDING,
    "trading.costs.borrow_rate": Cause.FUNDING,
    "trading.costs.max_participation": Cause.PARTIAL_FILL,
    "trading.execution.order_type": Cause.ORDER_TYPE,
    "trading.execution.time_in_force": Cause.ORDER_TYPE,
    "trading.execution.limit_offset_bps": Cause.ORDER_TYPE,
    "trading.execution.stop_offset_bps": Cause.ORDER_TYPE,
    "trading.execution.trail": Cause.ORDER_TYPE,
    "trading.sizing": Cause.SIZE,
    "lot_size": Cause.SIZE,
    "tick_size": Cause.PRICE,
    "min_notional": Cause.DENIAL,
    "is_shortable": Cause.DENIAL,
    "max_leverage": Cause.DENIAL,
    "risk": Cause.DENIAL,
}
"""Cause of a setting that differs, by the beginning or the end of its name; `configuration` for all other settings."""


def cause_of_setting(name: str) -> Cause:
    """Return the cause of the differences that follow from a setting.

    Examples
    --------
    >>> cause_of_setting("trading.costs.fee_bps").value
    'fee'
    >>> cause_of_setting("parameters.fast").value
    'configuration'

    """
    if name.startswith(("strategy", "parameters.")):
        return Cause.CONFIGURATION
    for part, cause in CAUSE_OF_SETTING.items():
        if name == part or name.startswith(f"{part}.") or name.endswith(f".{part}"):
            return cause
    return Cause.CONFIGURATION


class Kind(StrEnum):
    """Value that differs; further kinds come from `event_time_kind` and `cash_flow_kind`."""

    SETTING = "setting"
    CODE = "code"
    CLOCK = "clock"
    START = "start"
    MISSING_BAR = "missing bar"
    BAR = "bar"
    SIGNAL = "signal"
    SIGNAL_TIME = "signal time"
    ORDER = "order"
    SIDE = "side"
    DECISION_TIME = "decision time"
    DECISION_PRICE = "decision price"
    ORDER_TYPE = "order type"
    LIMIT_PRICE = "limit price"
    STOP_PRICE = "stop price"
    QUANTITY = "quantity"
    OUTCOME = "outcome"
    FILL_SIDE = "fill side"
    FILL_TIME = "fill time"
    FILL_PRICE = "fill price"
    FILLED = "filled"
    N_FILLS = "number of fills"
    FEE_RATE = "fee rate"
    END = "end"
    STEPS = "steps"
    TRADING_STATE = "trading state"
    DUPLICATE_EVENT = "event twice"
    BIAS = "systematic difference"
    WITHIN_TOLERANCE = "within tolerance"


def event_time_kind(event: OrderEventKind) -> str:
    """Return the kind of a difference in the time of an order event."""
    return f"time of {event}"


def cash_flow_kind(reason: str) -> str:
    """Return the kind of a difference in a cash flow."""
    return f"{reason} cash flow"


TIME_KINDS = frozenset({Kind.START, Kind.SIGNAL_TIME, Kind.DECISION_TIME, Kind.FILL_TIME}) | {
    event_time_kind(event) for event in OrderEventKind
}
"""Kinds of which both values are times, ns UTC."""


class Step(IntEnum):
    """Order of the findings within a bar."""

    WHOLE_RUN = 0
    BAR = 1
    FILL = 2
    WITHIN_TOLERANCE = 3
    CASH_FLOW = 4
    PROTECTIVE_ORDER = 5
    SIGNAL = 6
    ORDER = 7
    OUTCOME = 8
    LONE_PROTECTION = 9
    EVENT_TIME = 10
    TRADING_STATE = 11
    DUPLICATE_EVENT = 12


@dataclass(slots=True, eq=False, kw_only=True)
class Finding:
    """A difference between two runs, before its root is known.

    The root is the first one at `links`, then at `fallback_links`, then the first difference of settings, code or
    clocks whose cause is in `run_causes`. A finding without any of them is a root itself. If a finding has `links` that
    lead nowhere, it is unexplained, unless it `is_implied` by the inputs that differ: then it is within the tolerance.
    Roots in time that are equal are one root, which has them as consequences and counts them with itself in `n_equal`.

    `close_time` (ns UTC) and `step` give its place in time, `last_close_time` the last of consecutive missing bars.
    `changes` are the states of `sleeve` that it changes. `event_indices` are the events of both recordings on which it
    rests. `pnl` is its own effect on the PnL, live − shadow, quote currency.
    """

    close_time: int
    step: Step
    cause: Cause
    kind: str
    subject: str = ""
    shadow: Any = None
    live: Any = None
    sleeve: Sleeve | None = None
    pair: OrderPair | None = None
    links: Sequence[Link] = ()
    fallback_links: Sequence[Link] = ()
    run_causes: frozenset[Cause] = frozenset()
    changes: frozenset[SleeveState] = frozenset()
    is_implied: bool = False
    last_close_time: int = 0
    event_indices: tuple[Sequence[int], Sequence[int]] = ((), ())
    pnl: float = 0.0
    root: Finding | None = None
    bias: Bias | None = None
    n_equal: int = 1

    def sort_key(self) -> tuple[int, int, str, str]:
        """Return the sort key for the order in time; swapping the runs does not change it."""
        ids = " ".join(sorted(history.order_id for history in self.pair.known)) if self.pair is not None else ""
        return self.close_time, self.step, self.subject if not ids else "", ids


@dataclass(slots=True)
class _KnownRoots:
    """Roots of the findings so far, by what they changed."""

    run_findings: Sequence[Finding]
    by_state: dict[tuple[Sleeve, SleeveState], tuple[int, Finding]] = field(default_factory=dict)
    """Close and root of the last change of a state."""

    bars: dict[str, list[Finding]] = field(default_factory=dict)
    pnl: dict[Finding, float] = field(default_factory=dict)
    largest: Finding | None = None
    changes: list[tuple[int, Finding]] = field(default_factory=list)
    """Close and root of each change of cash or of a position."""

    def root_of(self, finding: Finding) -> Finding | None:
        for link in (*finding.links, *finding.fallback_links):
            root = self._root_at(link)
            if root is not None:
                return root
        return next((each for each in self.run_findings if each.cause in finding.run_causes), None)

    def _root_at(self, link: Link) -> Finding | None:
        match link:
            case ToFinding(finding):
                return finding.root
            case ToSetting(prefix):
                return next((each for each in self.run_findings if each.subject.startswith(prefix)), None)
            case ToState(sleeve, state, first):
                changed_at, root = self.by_state.get((sleeve, state), (0, None))
                return root if changed_at >= first else None
            case ToBar(symbol, first, last):
                known = self.bars.get(symbol, [])
                n_until = bisect_right(known, last, key=lambda each: each.close_time)
                return known[n_until - 1] if n_until and known[n_until - 1].last_close_time >= first else None
            case ToLargestPnl():
                return self.largest
            case ToLastChange(first, last):
                n_until = bisect_right(self.changes, last, key=lambda change: change[0])
                return self.changes[n_until - 1][1] if n_until and self.changes[n_until - 1][0] >= first else None

    def add(self, finding: Finding) -> None:
        """Add a finding whose root is known."""
        root = finding.root
        assert root is not None
        if finding.sleeve is not None:
            for state in finding.changes:
                self.by_state[finding.sleeve, state] = (finding.close_time, root)
        if finding.kind in (Kind.MISSING_BAR, Kind.BAR):
            self.bars.setdefault(finding.subject, []).append(finding)
        if finding.pnl or SleeveState.POSITION in finding.changes:
            self.changes.append((finding.close_time, root))
        if finding.pnl:
            self.pnl[root] = self.pnl.get(root, 0.0) + finding.pnl
            if self.largest is None or abs(self.pnl[root]) >= abs(self.pnl[self.largest]):
                self.largest = root


def assign_roots(
    run_findings: Sequence[Finding],
    findings: Iterable[Finding],
    tolerated: Iterable[Finding],
    start: Finding | None,
    biases: Sequence[Finding] = (),
) -> tuple[list[Finding], list[Finding]]:
    """Give every finding its root and the cause of the root, in order of time.

    Parameters
    ----------
    run_findings : sequence of Finding
        Differences of settings, code and clocks: roots that exist from the start.
    findings : iterable of Finding
    tolerated : iterable of Finding
        Effects within the tolerances. They are not differences, but later findings may follow from them, or from the
        bias that is their root.
    start : Finding or None
        Difference of the first bars: the root of findings that have no other root.
    biases : sequence of Finding
        Systematic differences; a difference of settings with one of their `run_causes` is their root.

    Returns
    -------
    two lists of Finding
        The differences, oldest first, and what is within the tolerances or follows from it alone.

    """
    known = _KnownRoots(run_findings)
    kept = [*run_findings, *biases]
    equal_times: dict[tuple[str, int], Finding] = {}
    tolerance = Finding(close_time=0, step=Step.WHOLE_RUN, cause=Cause.UNEXPLAINED, kind=Kind.WITHIN_TOLERANCE)
    for finding in run_findings:
        finding.root = finding
    for bias in biases:
        bias.root = known.root_of(bias) or bias
        bias.cause = bias.root.cause
    silent = list(tolerated)
    for finding in silent:
        finding.root = tolerance if finding.root is None else finding.root.root
    within: list[Finding] = []
    for finding in sorted([*findings, *silent], key=Finding.sort_key):
        root = finding.root or known.root_of(finding)
        if root is None and start is not None and (finding.links or finding.kind == Kind.SIGNAL):
            root = start
            if start.root is None:
                start.root = start
                kept.append(start)
        if root is None and finding.links:
            if finding.is_implied:
                root = tolerance
            else:
                finding.cause = Cause.UNEXPLAINED
        if root is None and finding.cause is Cause.TIMING:
            root = _equal_root(finding, equal_times)
        finding.root = root or finding
        finding.cause = finding.root.cause
        known.add(finding)
        if root is tolerance:
            within.append(finding)
        elif finding.kind != Kind.WITHIN_TOLERANCE:
            kept.append(finding)
    return kept, within


def _equal_root(finding: Finding, equal_times: dict[tuple[str, int], Finding]) -> Finding | None:
    """Return the first root of the same kind with the same offset of the times, to the millisecond."""
    if finding.shadow is None or finding.live is None:
        return None
    first = equal_times.setdefault((finding.kind, round((finding.live - finding.shadow) / 1e6)), finding)
    if first is finding:
        return None
    first.n_equal += 1
    return first
