"""Table of the differences of two runs, with sorting, filters and the events behind each row.

A page holds at most `MAX_ROWS` rows, those with the largest PnL; the files of the table hold all differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from peak_trade.core.time import iso
from peak_trade.diff.export import sentence, value_text
from peak_trade.journal.codec import event_to_dict
from peak_trade.journal.events import BarEvent, Event, OrderEvent
from peak_trade.reports.display import page_bundle, table_result
from peak_trade.reports.downloads import DATA_MIME, packed
from peak_trade.reports.markup import render

if TYPE_CHECKING:
    from peak_trade.diff.result import Difference, DiffResult

MAX_ROWS = 700
"""Largest number of rows in a page."""
MAX_EVENTS = 12
"""Largest number of events of one run that a row shows."""
COLUMNS = (
    ("n", "int", "no."),
    ("cause", "text", "cause"),
    ("text", "text", "difference"),
    ("at", "text", "at, UTC"),
    ("pnl", "float", "PnL"),
    ("root", "int", "root"),
)
"""Columns of the table: key of the value in a row, kind of the value, heading."""
_RESULT_COLUMNS = ["number", "cause", "kind", "subject", "shadow", "live", "root", "pnl", "total_pnl"]


def show_differences(result: DiffResult, name: str = "differences") -> None:
    """Display the table of differences in a notebook, with its typed result and, for its files, all differences."""
    from IPython.display import display

    frame, markup = differences_frame(result), table_markup(result)
    typed = {"kind": "table", "name": name} | table_result(frame[_RESULT_COLUMNS])
    shown = page_bundle(markup, typed) | {"text/html": markup, DATA_MIME: packed(frame)}
    display(shown, raw=True)  # type: ignore[no-untyped-call]


def differences_frame(result: DiffResult) -> pd.DataFrame:
    """Return one row per difference, in order of time: values as text, `at` in UTC, PnL in quote currency."""
    rows = [
        (
            each.number, str(each.cause), each.kind, each.subject, value_text(each.kind, each.shadow),
            value_text(each.kind, each.live), each.shadow_order, each.live_order,
            pd.Timestamp(each.at, tz="UTC") if each.at else pd.NaT, each.root, each.is_root, each.pnl, each.total_pnl,
            each.n_follow, sentence(each),
        )
        for each in result.differences
    ]  # fmt: skip
    columns = [
        "number", "cause", "kind", "subject", "shadow", "live", "shadow_order", "live_order", "at", "root", "is_root",
        "pnl", "total_pnl", "n_follow", "text",
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype({"pnl": "float64", "total_pnl": "float64"})


def table_markup(result: DiffResult) -> str:
    """Return the table as HTML with its script. It needs no network."""
    shown = _largest(result.differences)
    rows = [_row(each) for each in shown] + _equal_orders(result, MAX_ROWS - len(shown))
    return render(
        "diff_table.html.j2",
        columns=COLUMNS,
        causes=sorted({row["cause"] for row in rows if row["cause"]}),
        content={"rows": rows, "events": _event_texts(result, rows)},
        n_differences=len(result.differences),
        n_roots=len(result.roots),
        n_shown=len(shown),
        tolerated=(result.tolerated_text, f"{result.tolerated_pnl:+,.2f}".replace("-", "−")),
    )


def _largest(differences: Sequence[Difference]) -> list[Difference]:
    ranked = sorted(differences, key=lambda each: (not each.is_root, -abs(each.total_pnl), each.number))
    return sorted(ranked[:MAX_ROWS], key=lambda each: each.number)


def _row(each: Difference) -> dict[str, Any]:
    return {
        "n": each.number, "root": each.root, "cause": str(each.cause), "text": sentence(each), "at": _at(each.at),
        "pnl": round(each.total_pnl if each.is_root else each.pnl, 4), "follow": each.n_follow,
        "places": [list(each.shadow_events[:MAX_EVENTS]), list(each.live_events[:MAX_EVENTS])],
    }  # fmt: skip


def _equal_orders(result: DiffResult, most: int) -> list[dict[str, Any]]:
    differing = {name for each in result.differences for name in (each.shadow_order, each.live_order)}
    rows: list[dict[str, Any]] = []
    for pair in result.matches:
        if len(rows) >= most:
            break
        if pair.shadow is None or pair.live is None or pair.shadow.order_id in differing:
            continue
        text = f"{pair.shadow.order_id} {pair.shadow.symbol}: {pair.shadow.side} {pair.shadow.quantity:g} in both runs"
        places = [pair.shadow.event_indices[:MAX_EVENTS], pair.live.event_indices[:MAX_EVENTS]]
        rows.append(
            {"n": 0, "root": 0, "cause": "", "text": text, "at": _at(pair.shadow.close_time), "pnl": 0, "follow": 0,
             "places": places}
        )  # fmt: skip
    return rows


def _event_texts(result: DiffResult, rows: list[dict[str, Any]]) -> list[dict[int, str]]:
    texts = []
    for place, side in enumerate((result.shadow, result.live)):
        wanted = sorted({at for row in rows for at in row["places"][place]})
        texts.append({at: event_text(side.recording.events[at]) for at in wanted})
    return texts


def event_text(event: Event) -> str:
    """Return an event as one line of text: time, kind and fields."""
    when = iso(event.ts_event).replace(".000000", "")
    if isinstance(event, OrderEvent):
        what = f"{event.event} {event.order_id} {event.side} {event.quantity:g} {event.order_type}"
        if event.last_quantity:
            what += f", filled {event.last_quantity:g} at {event.last_price:,.2f}, fee {event.fee:.4f}"
        return f"{when} {what}" + (f" ({event.reason})" if event.reason else "")
    if isinstance(event, BarEvent):
        return f"{when} bar {event.open:g} {event.high:g} {event.low:g} {event.close:g}"
    record = {name: value for name, value in event_to_dict(event).items() if name not in ("kind", "ts_event", "inputs")}
    return f"{when} {event.kind} " + ", ".join(f"{name} {value}" for name, value in record.items())


def _at(moment: int) -> str:
    return iso(moment)[:16] if moment else "start"
