"""Display of tables, figures and sentences in a notebook, each with a typed result.

One output has three forms. JupyterLab shows `text/html` or plotly's own type. Quarto and nbconvert show
`text/markdown`, a raw HTML block that needs no network. The notebook tests compare the typed result and nothing else.
The exact values of a table or figure come with it, for the files of its page; see `reports.downloads`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from peak_trade.core.errors import ReportError
from peak_trade.reports.answer import Answer, Provenance
from peak_trade.reports.downloads import DATA_MIME, WholeSeries, figure_table, packed
from peak_trade.reports.markup import (
    MINUS,
    figure_html,
    kind_of,
    plotly_json,
    raw_html,
    sentences_html,
    table_html,
    value_text,
)
from peak_trade.reports.views.drawing import NEUTRAL

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

RESULT_MIME = "application/vnd.peak-trade.result+json"
PLOTLY_MIME = "application/vnd.plotly.v1+json"
DIGITS = 9
"""Significant digits of a number in a typed result."""
FIT_DIGITS = 3
"""Significant digits of an estimate from a fit or an optimiser."""
RESULT_ROWS = 20
"""Number of rows of a table that its typed result holds; the sums and the length cover all rows."""

Shown = pd.DataFrame | Mapping[str, Any] | Sequence[str] | str
Digits = int | Mapping[str, int]


def show(
    thing: Figure | Shown | Answer | Provenance,
    name: str,
    caption: str = "",
    digits: Digits = DIGITS,
    formats: Mapping[str, str] | None = None,
    exact: pd.DataFrame | None = None,
) -> None:
    """Display a table, a figure or text in the notebook, with its typed result.

    Parameters
    ----------
    thing : plotly Figure, DataFrame, mapping, sentence or sequence of sentences, Answer or Provenance
        A mapping becomes a table of two columns.
    name : str
        Name of the typed result, unique in the notebook: a letter, then letters, digits, - and _.
    caption : str
        One sentence below it, in Markdown.
    digits : int or mapping of column to int
        Significant digits of the typed result: 9, or `FIT_DIGITS` for estimates of a fit or an optimiser.
    formats : mapping of column to format string
        Formats of a table's numbers, for example ``{"return": "{:.2%}"}``.
    exact : DataFrame
        The numbers behind a table of texts; the typed result holds them instead of the texts.

    Raises
    ------
    ReportError
        If the name has another form or the type of `thing` is not supported.

    """
    from IPython.display import display

    display(bundle(thing, name, digits, formats, exact), raw=True)  # type: ignore[no-untyped-call]
    if caption:
        display({"text/markdown": f"*{caption}*", "text/plain": caption}, raw=True)  # type: ignore[no-untyped-call]


def bundle(
    thing: Figure | Shown | Answer | Provenance,
    name: str,
    digits: Digits = DIGITS,
    formats: Mapping[str, str] | None = None,
    exact: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Return the MIME bundle that `show` displays."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise ReportError(
            f"the name of the result was {name!r}; start it with a letter, then use letters, digits, - and _."
        )
    if isinstance(thing, str):
        thing = [thing]
    if isinstance(thing, Mapping):
        thing = pd.DataFrame({"field": list(thing), "value": [value_text(value) for value in thing.values()]})
    if isinstance(thing, pd.DataFrame):
        markup = table_html(thing, name, formats)
        numbers = thing if exact is None else exact
        result = {"kind": "table", "name": name} | table_result(numbers, digits)
        return page_bundle(markup, result) | {"text/html": markup, DATA_MIME: packed(numbers)}
    if isinstance(thing, Sequence) and all(isinstance(sentence, str) for sentence in thing):
        markup = sentences_html(thing)
        return page_bundle(markup, {"kind": "text", "name": name, "lines": list(thing)}) | {"text/html": markup}
    if isinstance(thing, Answer | Provenance):
        markup = thing.to_html()
        return page_bundle(markup, thing.to_result(name)) | {"text/html": markup, "text/plain": str(thing)}
    if hasattr(thing, "to_plotly_json"):
        result = {"kind": "figure", "name": name, "traces": figure_result(thing, digits)}
        markup = figure_html(thing, f"figure-{name}", figure_text(name, result["traces"]))
        shown = {PLOTLY_MIME: _for_any_ground(plotly_json(thing)), DATA_MIME: _figure_data(thing)}
        return page_bundle(markup, result) | shown
    raise ReportError(
        f"{name}: a {type(thing).__name__} can not be shown; give a figure, a DataFrame, a mapping or text."
    )


def _for_any_ground(figure: Any) -> Any:
    """Return the JSON of a figure with the neutral text and grid of `drawing.for_any_ground`; pages have their own."""
    text = json.dumps(figure)
    for color, neutral in NEUTRAL.items():
        text = text.replace(color, neutral)
    return json.loads(text)


def page_bundle(markup: str, result: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a MIME bundle that pages and tests use: HTML as a Markdown block, and the typed result."""
    return {
        "text/markdown": raw_html(markup),
        "text/plain": f"<{result['kind']} {result['name']}>",
        RESULT_MIME: result,
    }


def table_result(frame: pd.DataFrame, digits: Digits = DIGITS) -> dict[str, Any]:
    """Return the typed result of a table: fields, length, first rows, and the sum of each column of floats."""
    kept = {str(column): _digits_of(str(column), digits) for column in frame.columns}
    fields = []
    for column in frame.columns:
        kind = kind_of(frame[column])
        fields.append({"name": str(column), "type": kind} | ({"digits": kept[str(column)]} if kind == "float" else {}))
    rows = [
        [_plain(value, kept[str(column)]) for column, value in zip(frame.columns, row, strict=True)]
        for row in frame.head(RESULT_ROWS).itertuples(index=False, name=None)
    ]
    sums = {
        str(column): _plain(float(np.nansum(frame[column].to_numpy(dtype=float))), kept[str(column)])
        for column in frame.columns
        if kind_of(frame[column]) == "float"
    }
    return {"n_rows": len(frame), "fields": fields, "rows": rows, "sums": sums}


def figure_result(figure: Any, digits: Digits = DIGITS) -> list[dict[str, Any]]:
    """Return one typed result per trace: type, length, first and last x, smallest, largest and last number, and bars.

    The names and numbers of bars are in it where the bars have names.
    """
    return [_trace_result(trace, _digits_of(str(trace.name or ""), digits)) for trace in figure.data]


def figure_text(name: str, traces: Sequence[Mapping[str, Any]]) -> str:
    """Return what a figure shows in words, for readers who do not see it: the extremes of each trace."""
    parts = []
    for trace in traces:
        about = f"{trace['name'] or trace['type']}"
        if "values" in trace:
            about += f", {', '.join(f'{name} {_number(value)}' for name, value in trace['values'])}"
        elif "n" in trace:
            about += f", {trace['n']:,} points from {trace['from']} to {trace['to']}"
        if "least" in trace and "values" not in trace:
            about += ", " + ", ".join(f"{word} {_number(trace[word])}" for word in ("least", "most", "last"))
        parts.append(about)
    return f"{name.replace('-', ' ')}: {'; '.join(parts)}."


def _number(value: float | None) -> str:
    return "no value" if value is None else f"{value + 0.0:,.6g}".replace("-", MINUS)


def _figure_data(figure: Any) -> dict[str, Any]:
    whole = [trace.meta.series if isinstance(trace.meta, WholeSeries) else None for trace in figure.data]
    traces = [{key: trace[key] for key in ("name", "type", "x", "y", "z") if key in trace} for trace in figure.data]
    return figure_table(traces, whole)


def _trace_result(trace: Any, digits: int) -> dict[str, Any]:
    result: dict[str, Any] = {"type": trace.type, "name": trace.name or ""}
    across = [] if trace.x is None else list(trace.x)
    if across:
        result |= {"n": len(across), "from": str(across[0]), "to": str(across[-1])}
    if bars := _categories(trace, digits):
        result["values"] = [list(bar) for bar in bars]
    values = trace.z if trace.type == "heatmap" else trace.y
    numbers = np.asarray([] if values is None else values)
    if numbers.dtype.kind == "O":
        numbers = np.array([math.nan if value is None else value for value in numbers.ravel()], dtype=float)
    if numbers.dtype.kind in "fiu":
        known = numbers[np.isfinite(numbers)]
        if known.size:
            summary = {"least": known.min(), "most": known.max(), "last": known[-1]}
            result |= {key: _plain(float(value), digits) for key, value in summary.items()}
    return result


def _categories(trace: Any, digits: int) -> list[tuple[str, Any]]:
    """Return the names and the numbers of the bars of a trace, at most `RESULT_ROWS`; none over time or numbers."""
    if trace.type not in ("bar", "waterfall"):
        return []
    names, numbers = (trace.y, trace.x) if trace.orientation == "h" else (trace.x, trace.y)
    if names is None or numbers is None or not all(isinstance(name, str) and not name[:4].isdigit() for name in names):
        return []
    shown = [(name.replace("<br>", " "), _plain(value, digits)) for name, value in zip(names, numbers, strict=True)]
    return shown[:RESULT_ROWS]


def _digits_of(column: str, digits: Digits) -> int:
    return digits if isinstance(digits, int) else digits.get(column, DIGITS)


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
