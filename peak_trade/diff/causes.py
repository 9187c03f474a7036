"""Causes of differences, and the search for the root from which each difference follows."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from peak_trade.diff.links import Link, SleeveState, ToBar, ToFinding, ToLargestPnl, ToLastChange, ToSetting, ToState
from peak_trade.diff.matching import OrderPair
from peak_trade.diff.order_histories import RunLog, Sleeve
from peak_trade.journal.events import OrderEventKind


class Cause(StrEnum):
    """Why two runs differ. Every root difference has exactly one cause."""

    SIGNAL = "signal"
    TIMING = "timing"
    MISSED_BAR = "missed bar"
    DATA_REVISION = "data revision"
    DENIAL = "denial"
    REJECTION = "rejection"
    PRICE = "price or slippage"
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
    EVENT_TIME = 9
    TRADING_STATE = 10
    DUPLICATE_EVENT = 11


@dataclass(slots=True, eq=False, kw_only=True)
class Finding:
    """A difference between two runs, before its root is known.

    The root is the first one at `links`, then at `fallback_links`, then the first difference of settings, code or
    clocks whose cause is in `run_causes`. A finding without any of them is a root itself. If a finding has `links` that
    lead nowhere, it is unexplained, unless it `is_implied` by the inputs that differ: then it is within the tolerance.

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

    def sort_key(self) -> tuple[int, int, str, str]:
        """Return the sort key for the order in time; swapping the runs does not change it."""
        ids = " ".join(sorted(history.order_id for history in self.pair.known)) if self.pair is not None else ""
        return self.close_time, self.step, self.subject if not ids else "", ids


@dataclass(slots=True)
class _KnownRoots:
    """Roots of the findings so far, by what they changed."""

    run_findings: Sequence[Finding]
    by_state: dict[tuple[Sleeve, SleeveState], Finding] = field(default_factory=dict)
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
            case ToState(sleeve, state):
                return self.by_state.get((sleeve, state))
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
                self.by_state[finding.sleeve, state] = root
        if finding.kind in (Kind.MISSING_BAR, Kind.BAR):
            self.bars.setdefault(finding.subject, []).append(finding)
        if finding.pnl or SleeveState.POSITION in finding.changes:
            self.changes.append((finding.close_time, root))
        if finding.pnl:
            self.pnl[root] = self.pnl.get(root, 0.0) + finding.pnl
            if self.largest is None or abs(self.pnl[root]) >= abs(self.pnl[self.largest]):
                self.largest = root


def assign_roots(
    run_findings: Sequence[Finding], findings: Iterable[Finding], tolerated: Iterable[Finding], start: Finding | None
) -> tuple[list[Finding], float]:
    """Give every finding its root and the cause of the root, in order of time.

    Parameters
    ----------
    run_findings : sequence of Finding
        Differences of settings, code and clocks: roots that exist from the start.
    findings : iterable of Finding
    tolerated : iterable of Finding
        Effects within the tolerances. They are not differences, but later findings may follow from them.
    start : Finding or None
        Difference of the first bars: the root of findings that have no other root.

    Returns
    -------
    list of Finding, float
        The differences, oldest first, and the PnL of what is within the tolerances or follows from it alone.

    """
    known = _KnownRoots(run_findings)
    kept = list(run_findings)
    tolerance = Finding(close_time=0, step=Step.WHOLE_RUN, cause=Cause.UNEXPLAINED, kind=Kind.WITHIN_TOLERANCE)
    for finding in run_findings:
        finding.root = finding
    silent = list(tolerated)
    for finding in silent:
        finding.root = tolerance
    tolerated_pnl = 0.0
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
        finding.root = root or finding
        finding.cause = finding.root.cause
        known.add(finding)
        if root is tolerance:
            tolerated_pnl += finding.pnl
        else:
            kept.append(finding)
    return kept, tolerated_pnl


@dataclass(slots=True, eq=False)
class Context:
    """Data of both runs for the comparison of two orders.

    `last_closes` are the last closes that both runs have, with the value in each run; `lot_sizes` are in base units.
    `bar_spans` are the first and last closes of differing bars, `signal_times` the closes of differing signals, in
    order. `sizing` is the kind of the sizing rule.
    """

    shadow: RunLog
    live: RunLog
    tolerance_bps: float
    tolerance_ns: int
    last_closes: dict[str, tuple[float, float]]
    lot_sizes: dict[str, float]
    sizing: str = "fraction_of_equity"
    bar_spans: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    signal_times: dict[Sleeve, list[int]] = field(default_factory=dict)
    tolerated: list[Finding] = field(default_factory=list)
    """Effects within the tolerances."""

    drifts: dict[Sleeve, tuple[float, int]] = field(default_factory=dict)
    """Relative difference of a sleeve's last two quantities as fractions of equity, and the close of the request."""

    mark_pnl: dict[str, float] = field(default_factory=dict)
    """PnL of matched orders that is due to different last closes, by symbol."""

    _first_fees: dict[tuple[str, tuple[float, float]], Finding] = field(default_factory=dict)

    def bar_links(self, symbol: str, first: int, last: int) -> list[Link]:
        """Return a link to the bars with a close in [first, last] if one of them differs."""
        spans = self.bar_spans.get(symbol, [])
        n_until = bisect_left(spans, (last + 1, 0))
        return [ToBar(symbol, first, last)] if n_until and spans[n_until - 1][1] >= first else []

    def signal_links(self, sleeve: Sleeve, first: int, last: int) -> list[Link]:
        """Return a link to the signal of a sleeve if one with a close in [first, last] differs."""
        times = self.signal_times.get(sleeve, [])
        n_before = bisect_left(times, first)
        is_known = n_before < len(times) and times[n_before] <= last
        return [ToState(sleeve, SleeveState.SIGNAL)] if is_known else []

    def tolerate(self, close_time: int, pnl: float) -> None:
        """Add a PnL (live − shadow, quote currency) to what is within the tolerances."""
        if pnl:
            self.tolerated.append(
                Finding(
                    close_time=close_time,
                    step=Step.WITHIN_TOLERANCE,
                    cause=Cause.UNEXPLAINED,
                    kind=Kind.WITHIN_TOLERANCE,
                    pnl=pnl,
                )
            )

    def first_fee_difference(self, order_type: str, rates: tuple[float, float]) -> Finding | None:
        """Return the first finding with these two fee rates (bps) since the rates of the order type were last equal."""
        return self._first_fees.get((order_type, rates))

    def begin_fee_difference(self, order_type: str, rates: tuple[float, float], finding: Finding) -> None:
        """Store the first finding with two fee rates."""
        self._first_fees[order_type, rates] = finding

    def end_fee_differences(self, order_type: str) -> None:
        """Forget the differing fee rates of an order type, because the rates are equal again."""
        self._first_fees = {key: finding for key, finding in self._first_fees.items() if key[0] != order_type}

    def are_configured(self, rates: tuple[float, float]) -> bool:
        """Return whether each run charged a fee rate (bps) that its settings state."""
        for run, rate in zip((self.shadow, self.live), rates, strict=True):
            stated = [run.recording.settings.get(f"trading.costs.{name}") for name in ("fee_bps", "maker_fee_bps")]
            if not any(fee is not None and abs(rate - fee) <= 0.01 for fee in stated):
                return False
        return True
