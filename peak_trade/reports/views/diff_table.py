"""The table of differences: sorted and filtered in the page, each row leading to the events of both sides.

A page carries at most `MAX_ROWS` rows, the weightiest; all of them stand in a Parquet file beside the page.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from peak_trade.core.digest import digest_of
from peak_trade.core.time import iso
from peak_trade.diff.export import sentence, value_text
from peak_trade.journal.events import BarEvent, Event, OrderEvent, as_record
from peak_trade.reports.display import RECORD_MIME, raw_html, table_record

if TYPE_CHECKING:
    from peak_trade.diff.result import Difference, DiffResult

MAX_ROWS = 700
MAX_EVENTS = 12
"""Events of one side that a row shows."""
LIBRARY = Path("reports/lib")
_RECORDED = ["number", "cause", "kind", "subject", "shadow", "live", "root", "pnl", "total_pnl"]


def show_differences(result: DiffResult, name: str = "differences", folder: Path = LIBRARY) -> None:
    """Show the table of differences in a notebook, and record it.

    Parameters
    ----------
    result : DiffResult
    name : str
        Names the record.
    folder : Path
        Where the Parquet file goes when the table does not hold every row.

    """
    from IPython.display import display

    frame = differences_frame(result)
    link = None
    if len(frame) > MAX_ROWS:
        folder.mkdir(parents=True, exist_ok=True)
        names = [side.recording.name for side in (result.shadow, result.live)]
        path = folder / f"diff-{digest_of([*names, len(frame), result.tolerance_bps])[:12]}.parquet"
        frame.to_parquet(path, compression="zstd")
        link = path.name
    markup = table_markup(result, link)
    record = {"kind": "table", "name": name} | table_record(frame[_RECORDED])
    bundle = {
        "text/markdown": raw_html(markup),
        "text/html": markup,
        "text/plain": f"<table {name}>",
        RECORD_MIME: record,
    }
    display(bundle, raw=True)  # type: ignore[no-untyped-call]


def differences_frame(result: DiffResult) -> pd.DataFrame:
    """Return every difference as a row, in order of time: values as text, `at` in UTC, PnL in quote currency."""
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


def table_markup(result: DiffResult, link: str | None = None) -> str:
    """Return the table as HTML with its script; it needs no network. `link` names the Parquet file of all rows."""
    chosen = _weightiest(result.differences)
    equal = _equal_orders(result, MAX_ROWS - len(chosen))
    rows = [_row(each) for each in chosen] + equal
    texts = _event_texts(result, rows)
    causes = sorted({row["cause"] for row in rows if row["cause"]})
    options = "".join(f"<option>{html.escape(cause)}</option>" for cause in causes)
    payload = json.dumps({"rows": rows, "events": texts}, separators=(",", ":")).replace("</", "<\\/")
    n_all = len(result.differences)
    note = f"{n_all:,} differences, {len(result.roots):,} of them roots."
    if len(chosen) < n_all:
        note += f" The {len(chosen):,} weightiest are here"
        note += f'; <a href="../lib/{html.escape(link)}">all of them as a Parquet file</a>.' if link else "."
    return f"""<div class="pt-diff" id="pt-diff"><style>{_STYLE}</style>
<div class="pt-filters">
<label>show<select data-part="show"><option value="roots">roots</option>
<option value="differences" selected>differences</option><option value="all">all orders</option></select></label>
<label>cause<select data-part="cause"><option value="">every cause</option>{options}</select></label>
<label>find<input data-part="find" type="search" placeholder="order id"></label>
<output></output></div>
<div class="pt-table"><table data-quarto-disable-processing="true"><thead><tr>{_HEAD}</tr></thead>
<tbody></tbody></table></div><p class="pt-more"><button type="button">Show more</button></p>
<p class="pt-note">{note} Click a row for the events of both sides, a heading to sort.</p>
<script type="application/json">{payload}</script><script>{_SCRIPT}</script></div>"""


def _weightiest(differences: Sequence[Difference]) -> list[Difference]:
    """At most `MAX_ROWS`: roots before what follows, the larger PnL first; given back in order of time."""
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
        text = f"{pair.shadow.order_id} {pair.shadow.symbol}: {pair.shadow.side} {pair.shadow.quantity:g} on both sides"
        places = [pair.shadow.places[:MAX_EVENTS], pair.live.places[:MAX_EVENTS]]
        rows.append(
            {"n": 0, "root": 0, "cause": "", "text": text, "at": _at(pair.shadow.row), "pnl": 0, "follow": 0,
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
    """Return an event as one line: its time, what it is, and what it says."""
    when = iso(event.ts_event).replace(".000000", "")
    if isinstance(event, OrderEvent):
        what = f"{event.event} {event.order_id} {event.side} {event.quantity:g} {event.order_type}"
        if event.last_quantity:
            what += f", filled {event.last_quantity:g} at {event.last_price:,.2f}, fee {event.fee:.4f}"
        return f"{when} {what}" + (f" ({event.reason})" if event.reason else "")
    if isinstance(event, BarEvent):
        return f"{when} bar {event.open:g} {event.high:g} {event.low:g} {event.close:g}"
    record = {name: value for name, value in as_record(event).items() if name not in ("kind", "ts_event", "inputs")}
    return f"{when} {event.kind} " + ", ".join(f"{name} {value}" for name, value in record.items())


def _at(moment: int) -> str:
    return iso(moment)[:16] if moment else "start"


_HEAD = "".join(
    f'<th data-key="{key}" class="pt-{kind}" tabindex="0">{label}</th>'
    for key, kind, label in (
        ("n", "int", "no."), ("cause", "text", "cause"), ("text", "text", "difference"), ("at", "text", "at, UTC"),
        ("pnl", "float", "PnL"), ("root", "int", "root"),
    )
)  # fmt: skip
_STYLE = Path(__file__).with_name("diff_table.css").read_text(encoding="utf-8")
_SCRIPT = Path(__file__).with_name("diff_table.js").read_text(encoding="utf-8")
