"""Colours, layout and thinning shared by the figures of all views.

Long series are thinned, not smoothed: a line has the first, the smallest and the largest value of each of `STRETCHES`
equal stretches, so every extreme keeps its time and value.
"""

from __future__ import annotations

import html
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peak_trade.reports.downloads import WholeSeries

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

STRETCHES = 200
"""Number of equal stretches of a long series."""
BLUE, ORANGE, GREY, RED, GREEN, INK = "#1d5b9b", "#b54e0a", "#6b757c", "#9c1420", "#0a8060", "#14191d"
TEXT, GRID = "#434c53", "#e6e9e7"
NEUTRAL = MappingProxyType({TEXT: "#7f8990", GRID: "rgba(127,137,144,0.28)"})
"""Colours of text and grid that can be read on a light and on a dark ground."""
COLORS = (BLUE, ORANGE, "#3c8f87", "#162361", "#c771e9", "#76393c")
"""Colours of categories, in order. `charts.js` has the dark counterpart of each colour of this module."""


def label(text: object) -> str:
    """Return a name as text for a figure. The characters of HTML are escaped, because plotly interprets some HTML.

    >>> label("<b>BTC</b>")
    '&lt;b&gt;BTC&lt;/b&gt;'
    """
    return html.escape(str(text), quote=False)


def thinning_note() -> str:
    """Return the sentence for captions that says how long series are thinned."""
    return f"Of a long series, the figure shows the first, smallest and largest value of each of {STRETCHES} stretches."


def thinned(values: NDArray[Any], stretches: int = STRETCHES) -> NDArray[np.intp]:
    """Return the increasing positions of the values to draw, at most 3 * stretches + 1.

    They are the first, the smallest and the largest value of each stretch, and the last value; of a short series, all.
    """
    n_rows = len(values)
    if n_rows <= 3 * stretches:
        return np.arange(n_rows)
    edges = np.linspace(0, n_rows, stretches + 1).astype(int)
    rows = [np.array([n_rows - 1])]
    for first, after in pairwise(edges):
        part = values[first:after]
        rows.append(np.array([first, first + np.argmin(part), first + np.argmax(part)]))
    kept: NDArray[np.intp] = np.unique(np.concatenate(rows))
    return kept


def line(series: pd.Series[float], rows: NDArray[np.intp]) -> dict[str, Any]:
    """Return x, y, mode and whole series of a line through the given positions of a series with a UTC index."""
    part = series.iloc[rows]
    drawn = {"x": times(pd.DatetimeIndex(part.index)), "y": part.to_numpy(dtype=np.float64), "mode": "lines"}
    return drawn | ({"meta": WholeSeries(series)} if len(part) < len(series) else {})


def times(index: pd.DatetimeIndex) -> list[str]:
    """Return UTC times as text for plotly, to the minute."""
    return list(index.strftime("%Y-%m-%d %H:%M"))


def scale(*series: pd.Series[float]) -> dict[str, Any]:
    """Return the y axis of prices or equity: logarithmic, or linear where a value is not above 0."""
    is_positive = all(bool((each > 0.0).all()) for each in series)
    return {"type": "log", "tickformat": ".3~s", "nticks": 7} if is_positive else {"type": "linear"}


def styled(figure: Figure, height: int) -> Figure:
    """Return the figure with the layout of all figures; `height` is in pixels."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 58, "r": 12, "t": 34, "b": 34},
        font={
            "family": "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif",
            "size": 12,
            "color": TEXT,
        },
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        hovermode="x unified",
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#6b757c", "activecolor": BLUE},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True, title_standoff=8)
    return figure


def for_any_ground(figure: Figure) -> Figure:
    """Return the figure with text and grid for JupyterLab, where the ground may be light or dark."""
    figure.update_layout(font_color=NEUTRAL[TEXT])
    figure.update_xaxes(gridcolor=NEUTRAL[GRID])
    figure.update_yaxes(gridcolor=NEUTRAL[GRID])
    return figure
