"""Show a table, a figure or sentences so that they draw everywhere, and leave a typed record of what was shown.

One output carries three things. JupyterLab takes `text/html` or plotly's own type. Quarto and nbconvert take
`text/markdown`, a raw HTML block that needs no network. The notebook tests compare the result record and nothing else.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from peak_trade.core.errors import ReportError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

RECORD_MIME = "application/vnd.peak-trade.result+json"
PLOTLY_MIME = "application/vnd.plotly.v1+json"
DIGITS = 9
"""Significant digits of a number in a record."""
FIT_DIGITS = 3
"""Significant digits of what came out of a fit or an optimiser."""
RECORD_ROWS = 20
"""Rows of a table that stand in its record; its sums and its length cover all of them."""
SHOWN_ROWS = 200
"""Rows of a table that a page shows."""

LONG_ROWS = 25
"""Rows above which a table scrolls inside its own box."""

Shown = pd.DataFrame | Mapping[str, Any] | Sequence[str] | str
Digits = int | Mapping[str, int]


def show(
    thing: Figure | Shown,
    name: str,
    caption: str = "",
    digits: Digits = DIGITS,
    formats: Mapping[str, str] | None = None,
    exact: pd.DataFrame | None = None,
) -> None:
    """Show a thing in the notebook and record what it said.

    Parameters
    ----------
    thing : plotly Figure, DataFrame, mapping, sentence or sequence of sentences
        A mapping becomes a table of two columns.
    name : str
        Names the record; letters, digits, - and _. Unique in a notebook.
    caption : str
        One sentence under it, Markdown.
    digits : int or mapping of column to int
        Significant digits of the record: 9, or `FIT_DIGITS` for what a fit or an optimiser found.
    formats : mapping of column to format string
        How a table's numbers are written, for example ``{"return": "{:.2%}"}``.
    exact : DataFrame
        The numbers behind a table of texts, recorded in its place.

    Raises
    ------
    ReportError
        If the name is not one, or the thing is none of these.

    """
    from IPython.display import display

    display(bundle(thing, name, digits, formats, exact), raw=True)  # type: ignore[no-untyped-call]
    if caption:
        display({"text/markdown": f"*{caption}*", "text/plain": caption}, raw=True)  # type: ignore[no-untyped-call]


def bundle(
    thing: Figure | Shown,
    name: str,
    digits: Digits = DIGITS,
    formats: Mapping[str, str] | None = None,
    exact: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Return the MIME bundle that `show` displays."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise ReportError(f"the result's name was {name!r}: start with a letter, then letters, digits, - and _.")
    if isinstance(thing, str):
        thing = [thing]
    if isinstance(thing, Mapping):
        thing = pd.DataFrame({"field": list(thing), "value": [_text(value) for value in thing.values()]})
    if isinstance(thing, pd.DataFrame):
        markup = table_html(thing, name, formats)
        record = {"kind": "table", "name": name} | table_record(thing if exact is None else exact, digits)
        return _page_and_lab(markup, record) | {"text/html": markup}
    if isinstance(thing, Sequence) and all(isinstance(sentence, str) for sentence in thing):
        markup = sentences_html(thing)
        return _page_and_lab(markup, {"kind": "text", "name": name, "lines": list(thing)}) | {"text/html": markup}
    if hasattr(thing, "to_plotly_json"):
        record = {"kind": "figure", "name": name, "traces": figure_record(thing, digits)}
        return _page_and_lab(figure_html(thing, f"figure-{name}"), record) | {PLOTLY_MIME: _plotly_json(thing)}
    raise ReportError(
        f"{name}: a {type(thing).__name__} can not be shown; give a figure, a DataFrame, a mapping or text."
    )


def raw_html(markup: str) -> str:
    """Return markup as a Markdown block that Pandoc passes through untouched."""
    longest = max((len(run) for run in re.findall("`+", markup)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{{=html}}\n{markup}\n{fence}"


def figure_html(figure: Any, div_id: str) -> str:
    """Return a figure as HTML that draws with the page's shared plotly.min.js."""
    inner: str = figure.to_html(
        include_plotlyjs=False,
        full_html=False,
        div_id=div_id,
        default_width="100%",
        config={"responsive": True, "displaylogo": False, "displayModeBar": False},
    )
    return f'<div class="pt-figure">\n{inner}\n</div>'


def table_html(frame: pd.DataFrame, name: str, formats: Mapping[str, str] | None = None) -> str:
    """Return a table as HTML; of more than `SHOWN_ROWS` rows the last ones, and a line that says so."""
    formats = formats or {}
    unknown = [column for column in formats if column not in frame.columns]
    if unknown:
        raise ReportError(
            f"{name}: formats names {unknown[0]}, which is no column of {', '.join(map(str, frame.columns))}."
        )
    shown = frame.tail(SHOWN_ROWS)
    kinds = {column: _kind(frame[column]) for column in frame.columns}
    head = "".join(f'<th class="pt-{kinds[column]}">{html.escape(str(column))}</th>' for column in frame.columns)
    body = [
        "<tr>"
        + "".join(
            f'<td class="pt-{kinds[column]}">{html.escape(_cell(value, formats.get(str(column))))}</td>'
            for column, value in zip(frame.columns, row, strict=True)
        )
        + "</tr>"
        for row in shown.itertuples(index=False, name=None)
    ]
    note = f'<p class="pt-note">The last {len(shown):,} of {len(frame):,} rows.</p>' if len(shown) < len(frame) else ""
    if frame.empty:
        note = '<p class="pt-note">No rows.</p>'
    length = ' style="max-height: 32rem; overflow: auto"' if len(shown) > LONG_ROWS else ""
    return (
        f'<div class="pt-table" id="table-{name}"{length}><table data-quarto-disable-processing="true">\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(body) + f"\n</tbody></table></div>{note}"
    )


def sentences_html(sentences: Sequence[str]) -> str:
    """Return sentences as a list, one of them as a paragraph."""
    if len(sentences) == 1:
        return f'<p class="pt-sentence">{html.escape(sentences[0])}</p>'
    return '<ul class="pt-sentences">' + "".join(f"<li>{html.escape(text)}</li>" for text in sentences) + "</ul>"


def table_record(frame: pd.DataFrame, digits: Digits = DIGITS) -> dict[str, Any]:
    """Return a table's typed record: its fields, its length, its first rows, and the sum of each number column."""
    kept = {str(column): _digits_of(str(column), digits) for column in frame.columns}
    fields = []
    for column in frame.columns:
        kind = _kind(frame[column])
        fields.append({"name": str(column), "type": kind} | ({"digits": kept[str(column)]} if kind == "float" else {}))
    rows = [
        [_plain(value, kept[str(column)]) for column, value in zip(frame.columns, row, strict=True)]
        for row in frame.head(RECORD_ROWS).itertuples(index=False, name=None)
    ]
    sums = {
        str(column): _plain(float(np.nansum(frame[column].to_numpy(dtype=float))), kept[str(column)])
        for column in frame.columns
        if _kind(frame[column]) == "float"
    }
    return {"n_rows": len(frame), "fields": fields, "rows": rows, "sums": sums}


def figure_record(figure: Any, digits: Digits = DIGITS) -> list[dict[str, Any]]:
    """Return one record a trace: its type, length, first and last x, and smallest, largest and last number."""
    return [_trace_record(trace, _digits_of(str(trace.name or ""), digits)) for trace in figure.data]


def _trace_record(trace: Any, digits: int) -> dict[str, Any]:
    record: dict[str, Any] = {"type": trace.type, "name": trace.name or ""}
    across = [] if trace.x is None else list(trace.x)
    if across:
        record |= {"n": len(across), "from": str(across[0]), "to": str(across[-1])}
    values = trace.z if trace.type == "heatmap" else trace.y
    numbers = np.asarray([] if values is None else values)
    if numbers.dtype.kind == "O":
        numbers = np.array([math.nan if value is None else value for value in numbers.ravel()], dtype=float)
    if numbers.dtype.kind in "fiu":
        known = numbers[np.isfinite(numbers)]
        if known.size:
            summary = {"least": known.min(), "most": known.max(), "last": known[-1]}
            record |= {key: _plain(float(value), digits) for key, value in summary.items()}
    return record


def _page_and_lab(markup: str, record: dict[str, Any]) -> dict[str, Any]:
    return {
        "text/markdown": raw_html(markup),
        "text/plain": f"<{record['kind']} {record['name']}>",
        RECORD_MIME: record,
    }


def _plotly_json(figure: Any) -> Any:
    import json

    return json.loads(figure.to_json())


def _digits_of(column: str, digits: Digits) -> int:
    return digits if isinstance(digits, int) else digits.get(column, DIGITS)


def _kind(column: Any) -> str:
    kind = column.dtype.kind
    return {"f": "float", "i": "int", "u": "int", "b": "bool", "M": "time"}.get(kind, "text")


def _plain(value: Any, digits: int) -> Any:
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _cell(value: Any, pattern: str | None) -> str:
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return pattern.format(value) if pattern else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return f"{value:,.2f}" if abs(float(value)) >= 100.0 else f"{value:.4g}"
    return value.strftime("%Y-%m-%d %H:%M") if isinstance(value, datetime) else str(value)
