"""Generator of docs/execution/TELEMETRY_SPEC.md from the event classes."""

from __future__ import annotations

import inspect
import re
from enum import StrEnum

from msgspec import NODEFAULT
from msgspec.structs import fields

from peak_trade.journal import events
from peak_trade.journal.events import ADDED, EVENT_CLASSES, FIX, TERMINAL, Event, Levels, OrderEventKind
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
    "fee_currency": "479 CommCurrency",
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
"""Closest field of RTS 24, Annex, Table 2, for each field of an order event that has one."""

RTS_24_EVENTS = {
    OrderEventKind.ACCEPTED: "NEWO",
    OrderEventKind.PARTIALLY_FILLED: "PARF",
    OrderEventKind.FILLED: "FILL",
    OrderEventKind.CANCELED: "CAME; CAMO where the venue did it",
    OrderEventKind.REJECTED: "REMO",
    OrderEventKind.EXPIRED: "EXPI",
}
"""Code in field 21 of RTS 24; events before the venue received the order have none."""

_RTS_24_NOTE = """The column RTS 24 names the closest field of Commission Delegated Regulation (EU) 2017/580, Annex,
Table 2, with its number where it is certain; an empty cell means that there is none. The column is a guide for readers,
not a claim of compliance: RTS 24 applies to operators of trading venues, requires fields that are not recorded here
(parties, capacities, priority), and has its own formats (an ISIN instead of a symbol).
"""

_INTRO = """# Telemetry specification

Generated from the event classes by `peak-trade audit spec`; a test compares the two. Do not edit.

The folder of a session holds `manifest.json`, `events.jsonl` and `checkpoints.jsonl`. A line of `events.jsonl` is
`{"event":{…},"hash":"…","sequence":n,"ts_recorded":ns}` in canonical JSON: keys sorted, no blanks, ASCII. NaN and
infinities are the strings `NaN`, `Infinity` and `-Infinity`. `hash` is the SHA-256 of the previous line's hash followed
by the line without its hash member; the SHA-256 of `manifest.json` takes the place of the previous hash in the first
line. `ts_event` is the time of the event and `ts_recorded` the time of writing, both ns since 1970, UTC; in a session
over recorded bars `ts_event` is bar time. Prices, money and fees are in quote currency, quantities and volumes in base
units.

Since version 2, the `version` of the manifest, lines have codes (`cause`) for what version 1 says in texts (`reason`,
`detail`) alone; version 3 adds the command `reduce` and the cause `approval_lapsed`, and version 4
the value of a fee in a third currency. Journals of earlier versions still
verify and replay: the codes of version 1 are read from its texts. A field that a version adds is optional: a line omits
it where it has its default.

The SUBMITTED event of an order, and every event before it, is on disk before the order is sent. Other events are on
disk within the commit interval of `config/execution_telemetry.toml` (at most one second).
"""


_CHAIN = """## Chain of sessions

`sessions/chain.jsonl` has one line for each session that was started or deleted by `peak-trade audit tidy`, in
canonical JSON: `sequence`, `action` (`started` or `deleted`), `session_id`, `manifest` (SHA-256 of the session's
manifest), `ts_recorded`, `previous` (SHA-256 of the line before it without its newline, 64 zeros in the first
line), `public_key` and `signature`. The signature covers the line without its member `signature`. The record of a
session in the run registry holds the SHA-256 of the session's line as the note `chain_head`.

`peak-trade audit verify` without a session reports a session whose folder is gone, a session without a line, a line
that was changed, moved or removed, and a `chain_head` that is not in the chain.

## What is not proved

- A rewrite of journals, chain and registry by a person who has the private key.
- The deletion of the newest sessions together with the end of the chain, if no run record holds their `chain_head`
  (`--no-record`, or the registry was changed too), and the deletion of a whole workspace.
- The deletion of a session whose journal has version 1, and of one that was killed before its first event.
- A cut of an unsealed session back to one of its checkpoints, and lines that are added after its last checkpoint.
- Which of two equal copies of a workspace is the original.
- A rewrite of a backtest's `decisions.jsonl`, which is chained but not signed, and a cut of one that has version 1.
- The clock of the machine that wrote `ts_recorded`, the bars of a live feed, and the answers of an exchange.
"""


def telemetry_spec() -> str:
    """Return the specification as Markdown."""
    parts = [_INTRO, *(_section(event_class) for event_class in EVENT_CLASSES), _orders(), _enumerations(), _CHAIN]
    return "\n".join(parts)


def _section(event_class: type[Event]) -> str:
    summary = " ".join((inspect.getdoc(event_class) or "").split())
    added = ADDED.get(event_class, {})
    is_order = event_class.kind == "order"
    head = "| field | type | default |" + (" FIX 5.0 | RTS 24 |" if is_order else "")
    lines = [f"## `{event_class.kind}`", "", summary, "", head, "|---|---|---|" + ("---|---|" if is_order else "")]
    for part in fields(event_class):
        default = "mandatory" if part.default is NODEFAULT else f"`{part.default!r}`"
        since = added.get(part.name, 1)
        default += ", omitted" * (part.name in added) + f", since version {since}" * (since > 1)
        row = f"| `{part.name}` | {_type(part.type)} | {default} |"
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
    if hint == tuple[str, ...]:
        return "list of texts"
    if "Denial" in text:
        return "list of [code, observed, limit]"
    return re.sub(r"[\w.]+\.", "", text).replace("|", "or")


_LIFECYCLE_HEAD = "| event | may be followed by | FIX OrdStatus (39) | FIX ExecType (150) | RTS 24 field 21 |"


def _orders() -> str:
    lines = ["## Lifecycle of an order", "", _LIFECYCLE_HEAD]
    lines.append("|---|---|---|---|---|")
    for kind, (status, exec_type) in FIX.items():
        following = ", ".join(sorted(ALLOWED_NEXT.get(kind, ()))) or "nothing: terminal"
        lines.append(f"| {kind} | {following} | {status} | {exec_type} | {RTS_24_EVENTS.get(kind, '')} |")
    terminal = ", ".join(sorted(TERMINAL))
    rule = (
        "While an order is open, `cumulative` + `leaves` = `quantity`. An order has exactly one terminal event "
        f"({terminal}), after which `leaves` is 0. Decision, arrival and fill prices are mandatory. The writer refuses "
        "any other event."
    )
    return "\n".join([*lines, "", rule, ""])


def _enumerations() -> str:
    lines = ["## Enumerations", ""]
    for part in vars(events).values():
        if isinstance(part, type) and issubclass(part, StrEnum) and part is not StrEnum:
            summary = " ".join((inspect.getdoc(part) or "").split())
            lines.append(f"- `{part.__name__}`: {', '.join(f'`{value}`' for value in part)}. {summary}")
    return "\n".join([*lines, ""])
