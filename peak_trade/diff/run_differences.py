"""Differences of settings, code, clocks, bars, signals, cash flows, trading states and duplicate events."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from peak_trade.diff.causes import Cause, Finding, Kind, Step, cash_flow_kind, cause_of_setting
from peak_trade.diff.context import Context
from peak_trade.diff.links import Link, SleeveState, ToLargestPnl, ToState
from peak_trade.diff.matching import BarDifference, ClockSkew, match_cash_flows, match_signals
from peak_trade.diff.order_histories import CashFlow, Signal, Sleeve
from peak_trade.diff.recording import Recording
from peak_trade.diff.run_log import RunLog
from peak_trade.journal.events import OrderEvent

_MIN_CASH_FLOW = 1e-9
"""Cash flows that differ by less, in quote currency, are equal."""
_CODE = frozenset({Cause.CONFIGURATION, Cause.CODE_VERSION})

S = TypeVar("S")
T = TypeVar("T")


def of_settings(shadow: Recording, live: Recording) -> list[Finding]:
    """Return a root for each setting that differs, and one for different code.

    Settings and digests that only one run states are not compared. Code is compared only if the strategy is the same.
    """
    findings = []
    one, other = shadow.settings, live.settings
    if one and other:
        for name in _comparable_names(one, other):
            if one[name] != other[name]:
                findings.append(_run_finding(cause_of_setting(name), Kind.SETTING, name, one[name], other[name]))
        for group in ("risk", "parameters"):
            is_set = [any(name.startswith(f"{group}.") for name in settings) for settings in (one, other)]
            if is_set[0] != is_set[1] and one.get("strategy") == other.get("strategy"):
                values = ["set" if each else "none" for each in is_set]
                findings.append(_run_finding(cause_of_setting(group), Kind.SETTING, group, *values))
    has_other_strategy = any(each.subject.startswith("strategy") for each in findings)
    if shadow.code and live.code and shadow.code != live.code and not has_other_strategy:
        findings.append(_run_finding(Cause.CODE_VERSION, Kind.CODE, "code", shadow.code[:16], live.code[:16]))
    return findings


def of_clocks(skew: ClockSkew) -> list[Finding]:
    """Return a root if all times of a run have one offset; its values are in ms."""
    offset = skew.events or skew.bars
    return [_run_finding(Cause.CLOCK_SKEW, Kind.CLOCK, "clock", 0.0, offset / 1e6)] if offset else []


def of_starts(shadow: RunLog, live: RunLog) -> Finding | None:
    """Return the root of what follows if the first bars, or the first bars with trading, are different."""
    starts = [(run.starts_at, *(min(bars) for bars in run.bars.values())) for run in (shadow, live)]
    if starts[0] == starts[1]:
        return None
    first = [min(times) for times in starts]
    if first[0] == first[1]:
        first = [times[0] for times in starts]
    return _run_finding(Cause.CONFIGURATION, Kind.START, "first bar", *first)


def of_bars(differences: list[BarDifference]) -> list[Finding]:
    """Return a root for each difference of the bars."""
    return [_bar_finding(each) for each in differences]


def of_signals(shadow: RunLog, live: RunLog, context: Context) -> list[Finding]:
    """Return the signals that exist in one run only, or differ in time or target."""
    findings = []
    for sleeve in sorted(shadow.signals.keys() | live.signals.keys()):
        signals = (shadow.signals.get(sleeve, []), live.signals.get(sleeve, []))
        for one, other in match_signals(*signals, shadow.recording.timeframe.ns):
            finding = _signal_finding(sleeve, one, other, context)
            if finding is not None:
                findings.append(finding)
    return findings


def of_cash_flows(shadow: RunLog, live: RunLog, context: Context, span: range) -> list[Finding]:
    """Return the cash flows that differ; differences due to rounding are added to the tolerance."""
    findings = []
    for one, other in match_cash_flows(shadow, live, shadow.recording.timeframe.ns):
        flow = one or other
        assert flow is not None
        if flow.close_time in span:
            finding = _cash_flow_finding(one, other, flow, context)
            if finding is not None:
                findings.append(finding)
    return findings


def of_trading_states(shadow: RunLog, live: RunLog) -> list[Finding]:
    """Return the changes of the trading state that exist in one run only."""
    findings = []
    changes = [{(each.close_time, each.event.state): each for each in run.state_changes} for run in (shadow, live)]
    for key in sorted(changes[0].keys() ^ changes[1].keys()):
        side = 0 if key in changes[0] else 1
        change = changes[side][key]
        text = f"{change.event.state}: {change.event.reason}"
        is_equity_equal = math.isclose(shadow.equity_at(key[0]), live.equity_at(key[0]), rel_tol=1e-9)
        values = _on_side(side, text, None)
        findings.append(
            Finding(
                close_time=change.close_time,
                step=Step.TRADING_STATE,
                cause=Cause.DENIAL,
                kind=Kind.TRADING_STATE,
                subject="account",
                shadow=values[0],
                live=values[1],
                links=[] if is_equity_equal else [ToLargestPnl()],
                run_causes=frozenset({Cause.DENIAL}),
                event_indices=_on_side(side, (change.event_index,), ()),
            )
        )
    return findings


def of_duplicate_events(shadow: RunLog, live: RunLog, context: Context) -> list[Finding]:
    """Return the events that one log contains more often than the other: that log is wrong."""
    findings = []
    duplicates = (shadow.duplicates, live.duplicates)
    for side in (0, 1):
        others = [each.event for each in duplicates[1 - side]]
        for duplicate in duplicates[side]:
            event = duplicate.event
            if event in others:
                others.remove(event)
                continue
            text = f"{event.order_id} {event.event}" if isinstance(event, OrderEvent) else event.kind
            values = _on_side(side, text, None)
            pnl = duplicate.pnl(context.last_closes.get(duplicate.symbol, (0.0, 0.0))[side])
            findings.append(
                Finding(
                    close_time=duplicate.close_time,
                    step=Step.DUPLICATE_EVENT,
                    cause=Cause.UNEXPLAINED,
                    kind=Kind.DUPLICATE_EVENT,
                    subject=duplicate.symbol,
                    shadow=values[0],
                    live=values[1],
                    event_indices=_on_side(side, (duplicate.event_index,), ()),
                    pnl=pnl if side == 1 else -pnl,
                )
            )
    return findings


def _bar_finding(difference: BarDifference) -> Finding:
    is_missing = difference.shadow is None or difference.live is None
    values: tuple[Any, Any] = (difference.shadow, difference.live)
    if is_missing:
        text = "1 bar" if difference.n_bars == 1 else f"{difference.n_bars} bars"
        values = _on_side(1 if difference.shadow is None else 0, text, None)
    return Finding(
        close_time=difference.first,
        step=Step.BAR,
        cause=Cause.MISSED_BAR if is_missing else Cause.DATA_REVISION,
        kind=Kind.MISSING_BAR if is_missing else Kind.BAR,
        subject=difference.symbol,
        shadow=values[0],
        live=values[1],
        last_close_time=difference.last,
    )


def _signal_finding(sleeve: Sleeve, one: Signal | None, other: Signal | None, context: Context) -> Finding | None:
    values: tuple[Any, Any] = (one and one.exposure, other and other.exposure)
    closes = [signal.close_time for signal in (one, other) if signal is not None]
    is_other_target = values[0] != values[1]
    if one is not None and other is not None and not is_other_target:
        if abs(one.ts_event - other.ts_event) <= context.tolerance_ns:
            return None
        values = (one.ts_event, other.ts_event)
    is_decision = is_other_target or len(set(closes)) > 1
    return Finding(
        close_time=min(closes),
        step=Step.SIGNAL,
        cause=Cause.SIGNAL if is_other_target else Cause.TIMING,
        kind=Kind.SIGNAL if is_other_target else Kind.SIGNAL_TIME,
        subject=sleeve[1],
        shadow=values[0],
        live=values[1],
        sleeve=sleeve,
        links=context.bar_links(sleeve[1], 0, max(closes)) if is_decision else [],
        run_causes=_CODE if is_decision else frozenset(),
        changes=frozenset({SleeveState.SIGNAL}),
        event_indices=(_index_of(one), _index_of(other)),
    )


def _cash_flow_finding(
    one: CashFlow | None, other: CashFlow | None, flow: CashFlow, context: Context
) -> Finding | None:
    """`flow` is the first of the two that exists."""
    amounts = (one.amount if one else 0.0, other.amount if other else 0.0)
    change = amounts[1] - amounts[0]
    is_late = one is not None and other is not None and abs(one.ts_event - other.ts_event) > context.tolerance_ns
    if abs(change) <= max(_MIN_CASH_FLOW, 1e-9 * abs(amounts[0])) and not is_late:
        context.tolerate(flow.close_time, change)
        return None
    links: list[Link] = []
    is_implied = False
    position = ToState(flow.sleeve, SleeveState.POSITION)
    if flow.reason == "bankruptcy":
        links = [ToLargestPnl()]
    elif one is None or other is None:
        run = context.shadow if one is None else context.live
        links = context.bar_links(flow.sleeve[1], flow.close_time, flow.close_time)
        if not math.isclose(run.position_at(flow.sleeve, flow.close_time), flow.position, rel_tol=1e-9):
            links.append(position)
    elif math.isclose(_flow_rate(one), _flow_rate(other), rel_tol=1e-6, abs_tol=1e-15):
        is_implied = not is_late
        if not math.isclose(one.mark, other.mark, rel_tol=1e-12):
            links = context.bar_links(flow.sleeve[1], 0, flow.close_time)
        if not math.isclose(one.position, other.position, rel_tol=1e-9):
            links.append(position)
    return Finding(
        close_time=flow.close_time,
        step=Step.CASH_FLOW,
        cause=Cause.TIMING if is_late and abs(change) <= _MIN_CASH_FLOW else Cause.FUNDING,
        kind=cash_flow_kind(flow.reason),
        subject=flow.sleeve[1],
        shadow=amounts[0],
        live=amounts[1],
        sleeve=flow.sleeve,
        links=links,
        run_causes=frozenset({Cause.FUNDING}),
        is_implied=is_implied,
        event_indices=(_index_of(one), _index_of(other)),
        pnl=change,
    )


def _flow_rate(flow: CashFlow) -> float:
    value = flow.position * flow.mark
    return flow.amount / value if value else math.inf


def _index_of(event: Signal | CashFlow | None) -> tuple[int, ...]:
    return () if event is None else (event.event_index,)


def _on_side(side: int, value: S, other: T) -> tuple[S | T, S | T]:
    return (value, other) if side == 0 else (other, value)


def _run_finding(cause: Cause, kind: Kind, subject: str, shadow: Any, live: Any) -> Finding:
    return Finding(close_time=0, step=Step.WHOLE_RUN, cause=cause, kind=kind, subject=subject, shadow=shadow, live=live)


def _comparable_names(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    names = sorted(one.keys() & other.keys())
    skipped = []
    for group in ("risk.", "parameters."):
        is_set = [any(name.startswith(group) for name in settings) for settings in (one, other)]
        if is_set[0] != is_set[1] or (group == "parameters." and one.get("strategy") != other.get("strategy")):
            skipped.append(group)
    if one.get("trading.sizing.kind") != other.get("trading.sizing.kind"):
        skipped += [name for name in names if name.startswith("trading.sizing.") and name != "trading.sizing.kind"]
    return [name for name in names if not name.startswith(tuple(skipped))]
