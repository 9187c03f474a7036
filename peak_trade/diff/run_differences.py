"""What differs around the orders: settings, code, clocks, bars, signals, cash flows, states, repeated events."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from peak_trade.diff.causes import Cause, Context, Found, Link, cause_of_setting
from peak_trade.diff.matching import BarDifference, Skew, match_flows, match_signals
from peak_trade.diff.order_histories import Flow, Repeat, SideLog, Signal, Sleeve
from peak_trade.diff.recording import Recording
from peak_trade.journal.events import OrderEvent

_FUNDING_FLOOR = 1e-9
"""Cash flows closer than this, in quote currency, are equal."""


def differing_settings(shadow: Recording, live: Recording) -> list[Found]:
    """Return a root for every setting that differs, and one for other code; nothing where a side states none.

    A code digest covers the strategy's values too, so it is compared only where these are equal.
    """
    found = []
    one, other = shadow.settings, live.settings
    if one and other:
        for name in _comparable_names(one, other):
            before, after = one.get(name), other.get(name)
            if before != after:
                found.append(_fact(cause_of_setting(name), "setting", name, before, after))
        for group in ("risk", "parameters"):
            sides = [any(name.startswith(f"{group}.") for name in side) for side in (one, other)]
            if sides[0] != sides[1] and one.get("strategy") == other.get("strategy"):
                shown = ["set" if side else "none" for side in sides]
                found.append(_fact(cause_of_setting(group), "setting", group, *shown))
    has_other_strategy = any(each.subject.startswith(("strategy", "parameters")) for each in found)
    if shadow.code and live.code and shadow.code != live.code and not has_other_strategy:
        found.append(_fact(Cause.CODE_VERSION, "code", "code", shadow.code[:16], live.code[:16]))
    return found


def differing_clocks(skew: Skew) -> list[Found]:
    """Return a root when the stamps of one side all stand apart by one offset; its values are ms."""
    offset = skew.events or skew.bars
    return [_fact(Cause.CLOCK_SKEW, "clock", "clock", 0.0, offset / 1e6)] if offset else []


def differing_starts(shadow: SideLog, live: SideLog) -> Found | None:
    """Return the root of what follows from sides that saw their first bar, or traded first, at different closes."""
    starts = [(side.starts_at, *(min(seen) for seen in side.bars.values())) for side in (shadow, live)]
    if starts[0] == starts[1]:
        return None
    first = [min(side) for side in starts]
    if first[0] == first[1]:
        first = [side[0] for side in starts]
    return _fact(Cause.CONFIGURATION, "start", "first bar", *first)


def differing_bars(differences: list[BarDifference]) -> list[Found]:
    """Return a root for every bar that one side missed, or saw differently; bars missing in a row are one."""
    found = []
    for each in differences:
        is_missing = each.shadow is None or each.live is None
        cause = Cause.MISSED_BAR if is_missing else Cause.DATA_REVISION
        shown: tuple[Any, Any] = (each.shadow, each.live)
        if is_missing:
            text = "1 bar" if each.n_bars == 1 else f"{each.n_bars} bars"
            shown = (None, text) if each.shadow is None else (text, None)
        kind = "missing bar" if is_missing else "bar"
        found.append(Found(each.first, -1.0, cause, kind, each.symbol, *shown, until=each.last))
    return found


def differing_signals(
    shadow: SideLog, live: SideLog, context: Context, is_in_span: Callable[[int], bool]
) -> list[Found]:
    """Return the signals that one side has not, at another time or with another target."""
    found = []
    for sleeve in sorted(shadow.signals.keys() | live.signals.keys()):
        matched = match_signals(
            shadow.signals.get(sleeve, []), live.signals.get(sleeve, []), shadow.recording.timeframe.ns
        )
        for one, other in matched:
            each = _signal(sleeve, one, other, context)
            if each is not None and is_in_span(each.row):
                found.append(each)
    return found


def differing_flows(shadow: SideLog, live: SideLog, context: Context, is_in_span: Callable[[int], bool]) -> list[Found]:
    """Return the cash flows that differ; those that differ within rounding go to the tolerance."""
    found = []
    for one, other in match_flows(shadow, live, shadow.recording.timeframe.ns):
        flow = one or other
        assert flow is not None
        if is_in_span(flow.row):
            each = _flow(one, other, flow, context)
            if each is not None:
                found.append(each)
    return found


def differing_states(shadow: SideLog, live: SideLog) -> list[Found]:
    """Return the changes of trading state that one side alone went through."""
    found = []
    sides = [{(row, event.state): (event, place) for event, place, row in side.states} for side in (shadow, live)]
    for key in sorted(sides[0].keys() ^ sides[1].keys()):
        place = 0 if key in sides[0] else 1
        event, position = sides[place][key]
        text = f"{event.state}: {event.reason}"
        each = Found(key[0], 2.7, Cause.DENIAL, "trading state", "account", None, None)
        each.shadow, each.live = (text, None) if place == 0 else (None, text)
        each.places = ((position,), ()) if place == 0 else ((), (position,))
        each.owners = frozenset({Cause.DENIAL})
        if not math.isclose(shadow.equity_at(key[0]), live.equity_at(key[0]), rel_tol=1e-9):
            each.links = (Link("money"),)
        found.append(each)
    return found


def repeated_events(shadow: SideLog, live: SideLog, context: Context) -> list[Found]:
    """Return the events that one side's log holds more often than the other's: that log is at fault."""
    found = []
    sides = (shadow.repeats, live.repeats)
    for place, (mine, theirs) in enumerate((sides, sides[::-1])):
        others = [repeat.event for repeat in theirs]
        for repeat in mine:
            if repeat.event in others:
                others.remove(repeat.event)
                continue
            text = _event_text(repeat)
            shown = (text, None) if place == 0 else (None, text)
            close = context.closes.get(repeat.symbol, (0.0, 0.0))[place]
            amount = repeat.quantity * (close - repeat.price) - repeat.fee
            each = Found(repeat.row, 2.9, Cause.UNEXPLAINED, "event twice", repeat.symbol, *shown)
            each.places = ((repeat.place,), ()) if place == 0 else ((), (repeat.place,))
            each.pnl = amount if place == 1 else -amount
            found.append(each)
    return found


def _signal(sleeve: Sleeve, one: Signal | None, other: Signal | None, context: Context) -> Found | None:
    shown = tuple(None if signal is None else signal.exposure for signal in (one, other))
    rows = [signal.row for signal in (one, other) if signal is not None]
    cause, kind = Cause.SIGNAL, "signal"
    if one is not None and other is not None and one.exposure == other.exposure:
        if abs(one.ts_event - other.ts_event) <= context.tolerance_ns:
            return None
        cause, kind, shown = Cause.TIMING, "signal time", (one.ts_event, other.ts_event)
    places = tuple(() if signal is None else (signal.place,) for signal in (one, other))
    is_decision = kind == "signal" or len(set(rows)) > 1
    links = context.bars(sleeve[1], 0, max(rows)) if is_decision else []
    owners = frozenset({Cause.CONFIGURATION, Cause.CODE_VERSION}) if is_decision else frozenset()
    return Found(
        min(rows), 1.0, cause, kind, sleeve[1], shown[0], shown[1], sleeve, None, tuple(links), owners, ("signal",),
        places=(places[0], places[1]),
    )  # fmt: skip


def _flow(one: Flow | None, other: Flow | None, flow: Flow, context: Context) -> Found | None:
    amounts = (one.amount if one else 0.0, other.amount if other else 0.0)
    change = amounts[1] - amounts[0]
    is_late = one is not None and other is not None and abs(one.ts_event - other.ts_event) > context.tolerance_ns
    if abs(change) <= max(_FUNDING_FLOOR, 1e-9 * abs(amounts[0])) and not is_late:
        context.tolerate(flow.row, change)
        return None
    links: list[Link] = []
    is_lawful = False
    if flow.reason == "bankruptcy":
        links = [Link("money")]
    elif one is not None and other is not None:
        if not math.isclose(_flow_rate(one), _flow_rate(other), rel_tol=1e-6, abs_tol=1e-15):
            links = []
        else:
            is_lawful = not is_late
            links = (
                [] if math.isclose(one.mark, other.mark, rel_tol=1e-12) else context.bars(flow.sleeve[1], 0, flow.row)
            )
            links += [] if math.isclose(one.held, other.held, rel_tol=1e-9) else [Link("sleeve", flow.sleeve)]
    else:
        rival = context.live if one is not None else context.shadow
        links = context.bars(flow.sleeve[1], flow.row, flow.row)
        if not math.isclose(rival.held_at(flow.sleeve, flow.row), flow.held, rel_tol=1e-9):
            links.append(Link("sleeve", flow.sleeve))
    cause = Cause.TIMING if is_late and abs(change) <= _FUNDING_FLOOR else Cause.FUNDING
    places = ((one.place,) if one else (), (other.place,) if other else ())
    found = Found(
        flow.row, 0.2, cause, f"{flow.reason} cash flow", flow.sleeve[1], *amounts, flow.sleeve, None, tuple(links),
        frozenset({Cause.FUNDING}), (), is_lawful, places=places,
    )  # fmt: skip
    found.pnl = change
    return found


def _flow_rate(flow: Flow) -> float:
    due = flow.held * flow.mark
    return flow.amount / due if due else math.inf


def _event_text(repeat: Repeat) -> str:
    event = repeat.event
    return f"{event.order_id} {event.event}" if isinstance(event, OrderEvent) else event.kind


def _fact(cause: Cause, kind: str, subject: str, shadow: Any, live: Any) -> Found:
    return Found(0, -2.0, cause, kind, subject, shadow, live)


def _comparable_names(one: Any, other: Any) -> list[str]:
    names = sorted(one.keys() & other.keys())
    skipped = []
    for group in ("risk.", "parameters."):
        sides = [any(name.startswith(group) for name in side) for side in (one, other)]
        if sides[0] != sides[1] or (group == "parameters." and one.get("strategy") != other.get("strategy")):
            skipped.append(group)
    if one.get("trading.sizing.kind") != other.get("trading.sizing.kind"):
        skipped += [name for name in names if name.startswith("trading.sizing.") and name != "trading.sizing.kind"]
    return [name for name in names if not name.startswith(tuple(skipped))]
