"""docs/execution/TELEMETRY_SPEC.md, made from the event classes: it can not say anything else than they do."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from enum import StrEnum
from typing import get_type_hints

from peak_trade.journal import events
from peak_trade.journal.events import EVENT_CLASSES, FIX, TERMINAL, Event, Levels, OrderEventKind
from peak_trade.journal.orders import ALLOWED_NEXT

FIX_TAGS = {
    "ts_event": "60 TransactTime",
    "order_id": "11 ClOrdID",
    "strategy": "1 Account",
    "symbol": "55 Symbol",
    "event": "39 OrdStatus, 150 ExecType",
    "side": "54 Side",
    "order_type": "40 OrdType",
    "time_in_force": "59 TimeInForce",
    "quantity": "38 OrderQty",
    "cumulative": "14 CumQty",
    "leaves": "151 LeavesQty",
    "last_quantity": "32 LastQty",
    "last_price": "31 LastPx",
    "fee": "12 Commission",
    "limit_price": "44 Price",
    "stop_price": "99 StopPx",
    "reason": "58 Text",
}
"""FIX 5.0 tag of each field of an order event; decision and arrival price have none."""

RTS_24 = {
    "ts_event": "Date and time",
    "order_id": "Order identification code",
    "symbol": "Financial instrument identification code",
    "event": "21 (new order, modification, cancellation, rejection, execution)",
    "side": "Buy-sell indicator",
    "order_type": "Order type",
    "time_in_force": "Validity period",
    "quantity": "Initial quantity",
    "leaves": "Remaining quantity including hidden",
    "last_quantity": "Traded quantity",
    "last_price": "Transaction price",
    "limit_price": "Limit price",
    "stop_price": "Stop price",
}
"""Field of RTS 24, Annex, Table 2, that an order event's field comes nearest to; the others have none."""

RTS_24_EVENTS = {
    OrderEventKind.ACCEPTED: "NEWO",
    OrderEventKind.PARTIALLY_FILLED: "PARF",
    OrderEventKind.FILLED: "FILL",
    OrderEventKind.CANCELED: "CAME; CAMO where the venue did it",
    OrderEventKind.REJECTED: "REMO",
    OrderEventKind.EXPIRED: "EXPI",
}
"""Code in field 21 of RTS 24; what a venue has not received has none."""

_RTS_24_NOTE = """The column RTS 24 names the nearest field of Commission Delegated Regulation (EU) 2017/580,
Annex, Table 2, with its number where that is certain; an empty cell has none. It is a map for readers, not compliance:
RTS 24 binds operators of trading venues, wants fields that are not recorded here (parties, capacities, priority) and
its own formats (an ISIN, not a symbol).
"""

_INTRO = """# Telemetry specification

Generated from the event classes by `peak-trade audit spec`; a test compares the two. Do not edit.

A session's folder holds `manifest.json`, `events.jsonl` and `checkpoints.jsonl`. A line of `events.jsonl` is
`{"event":{…},"hash":"…","sequence":n,"ts_recorded":ns}` in canonical JSON: keys sorted, no blanks, ASCII; NaN and
infinities are the strings `NaN`, `Infinity` and `-Infinity`. `hash` is the SHA-256 of the previous line's hash followed
by the line without its hash member; before the first line stands the SHA-256 of `manifest.json`. `ts_event` is when it
happened and `ts_recorded` when it was written, both ns since 1970, UTC; in a recording `ts_event` is bar time.

An order's SUBMITTED event, and everything before it, is on disk before the order leaves; other events within the
commit interval of `config/execution_telemetry.toml` (at most one second).
"""


def telemetry_spec() -> str:
    """Return the specification as Markdown."""
    parts = [_INTRO, *(_section(event_class) for event_class in EVENT_CLASSES), _orders(), _enumerations()]
    return "\n".join(parts)


def _section(event_class: type[Event]) -> str:
    summary = " ".join((inspect.getdoc(event_class) or "").split())
    hints = get_type_hints(event_class)
    is_order = event_class.kind == "order"
    head = "| field | type | default |" + (" FIX 5.0 | RTS 24 |" if is_order else "")
    lines = [f"## `{event_class.kind}`", "", summary, "", head, "|---|---|---|" + ("---|---|" if is_order else "")]
    for part in fields(event_class):
        default = "mandatory" if part.default is MISSING else f"`{part.default!r}`"
        row = f"| `{part.name}` | {_type(hints[part.name])} | {default} |"
        tags = f" {FIX_TAGS.get(part.name, '—')} | {RTS_24.get(part.name, '')} |"
        lines.append(row + (tags if is_order else ""))
    return "\n".join([*lines, "", *([_RTS_24_NOTE] if is_order else [])])


def _type(hint: object) -> str:
    if isinstance(hint, type):
        return "text" if hint is str else hint.__name__
    text = str(hint)
    if "DecisionInputs" in text:
        return "canonical JSON text"
    if hint == Levels:
        return "list of [price, quantity]"
    if "Denial" in text:
        return "list of [code, observed, limit]"
    return re.sub(r"[\w.]+\.", "", text).replace("|", "or")


_LIFE_HEAD = "| event | may be followed by | FIX OrdStatus (39) | FIX ExecType (150) | RTS 24 field 21 |"


def _orders() -> str:
    lines = ["## The life of an order", "", _LIFE_HEAD]
    lines.append("|---|---|---|---|---|")
    for kind, (status, exec_type) in FIX.items():
        following = ", ".join(sorted(ALLOWED_NEXT.get(kind, ()))) or "nothing: terminal"
        lines.append(f"| {kind} | {following} | {status} | {exec_type} | {RTS_24_EVENTS.get(kind, '')} |")
    terminal = ", ".join(sorted(TERMINAL))
    rule = (
        "While an order is open, `cumulative` + `leaves` = `quantity`; after its one terminal event "
        f"({terminal}) `leaves` is 0. Decision, arrival and fill price are mandatory. The writer refuses anything else."
    )
    return "\n".join([*lines, "", rule, ""])


def _enumerations() -> str:
    lines = ["## Enumerations", ""]
    for part in vars(events).values():
        if isinstance(part, type) and issubclass(part, StrEnum) and part is not StrEnum:
            summary = " ".join((inspect.getdoc(part) or "").split())
            lines.append(f"- `{part.__name__}`: {', '.join(f'`{value}`' for value in part)}. {summary}")
    return "\n".join([*lines, ""])
