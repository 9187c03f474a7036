"""Rules of the differences between orders: the cause of a root, and the states that a difference changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peak_trade.diff.causes import Cause, Finding, Kind, Step, event_time_kind
from peak_trade.diff.links import Link, SleeveState
from peak_trade.diff.matching import OrderPair
from peak_trade.journal.events import OrderEventKind

_CODE = frozenset({Cause.CONFIGURATION, Cause.CODE_VERSION})
TRADED = frozenset({SleeveState.POSITION, SleeveState.ENTRY})
"""States that a trade changes."""
_ENTRY = frozenset({SleeveState.ENTRY})


@dataclass(frozen=True, slots=True)
class Rule:
    """Cause of a difference that is a root, the states that it changes, and run-wide causes that may explain it."""

    cause: Cause
    changes: frozenset[SleeveState] = frozenset()
    run_causes: frozenset[Cause] = frozenset()


RULES: dict[str, Rule] = {
    Kind.ORDER: Rule(Cause.UNEXPLAINED, TRADED),
    Kind.SIDE: Rule(Cause.SIGNAL, TRADED, _CODE),
    Kind.DECISION_TIME: Rule(Cause.TIMING, _ENTRY),
    Kind.DECISION_PRICE: Rule(Cause.PRICE),
    Kind.ORDER_TYPE: Rule(Cause.ORDER_TYPE, _ENTRY, _CODE | {Cause.ORDER_TYPE}),
    Kind.LIMIT_PRICE: Rule(Cause.ORDER_TYPE, _ENTRY, _CODE | {Cause.ORDER_TYPE}),
    Kind.STOP_PRICE: Rule(Cause.ORDER_TYPE, _ENTRY, _CODE | {Cause.ORDER_TYPE}),
    Kind.QUANTITY: Rule(Cause.SIZE, TRADED, _CODE | {Cause.SIZE}),
    Kind.FILL_SIDE: Rule(Cause.SIGNAL, TRADED),
    Kind.FILL_TIME: Rule(Cause.TIMING, _ENTRY),
    Kind.FILL_PRICE: Rule(Cause.PRICE, _ENTRY, frozenset({Cause.PRICE})),
    Kind.FILLED: Rule(Cause.PARTIAL_FILL, TRADED, frozenset({Cause.PARTIAL_FILL})),
    Kind.N_FILLS: Rule(Cause.PARTIAL_FILL, run_causes=frozenset({Cause.PARTIAL_FILL})),
    Kind.FEE_RATE: Rule(Cause.FEE),
    Kind.END: Rule(Cause.UNEXPLAINED),
    Kind.STEPS: Rule(Cause.UNEXPLAINED),
    **{event_time_kind(event): Rule(Cause.TIMING) for event in OrderEventKind},
}
CONFIGURED_FEE = Rule(Cause.FEE, run_causes=frozenset({Cause.FEE}))
REFUSALS = {
    OrderEventKind.DENIED: Rule(Cause.DENIAL, TRADED, frozenset({Cause.DENIAL})),
    OrderEventKind.REJECTED: Rule(Cause.REJECTION, TRADED),
}


def order_finding(
    pair: OrderPair, kind: str, values: tuple[Any, Any], close_time: int, step: Step, links: Sequence[Link],
    rule: Rule | None = None,
) -> Finding:  # fmt: skip
    """Return a difference of one pair of orders by the rule of its kind, or by another rule."""
    rule = rule or RULES[kind]
    shadow_events, live_events = (order.event_indices if order else () for order in pair.histories)
    return Finding(
        close_time=close_time,
        step=step,
        cause=rule.cause,
        kind=kind,
        subject=pair.known[0].symbol,
        shadow=values[0],
        live=values[1],
        sleeve=pair.known[0].sleeve,
        pair=pair,
        links=links,
        run_causes=rule.run_causes,
        changes=rule.changes,
        event_indices=(shadow_events, live_events),
    )
