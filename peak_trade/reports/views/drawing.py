"""Colours, layout and thinning shared by the figures of all views.

Long series are thinned, not smoothed: of each of `STRETCHES` equal stretches, the first value, the smallest and the
largest one are drawn, so every extreme keeps its time and value.
"""

from __future__ import annotations

import html
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

STRETCHES = 200
"""Stretches that a long series is cut into for display."""
BLUE, ORANGE, GREY, RED = "#1d5b9b", "#d9730d", "#8a8f98", "#b3261e"


def label(text: object) -> str:
    """Return a name as text for a figure. Plotly reads some HTML in texts, so its characters are escaped.

    >>> label("<b>BTC</b>")
    '&lt;b&gt;BTC&lt;/b&gt;'
    """
    return html.escape(str(text), quote=False)


def thinning_note() -> str:
    """Return in words how long series are thinned for display."""
    return f"Long series are drawn by the first, least and largest value of each of {STRETCHES} stretches."


def thinned(values: NDArray[Any], stretches: int = STRETCHES) -> NDArray[np.intp]:
    """Return the rows to draw, shape (at most 3 * stretches + 1,), increasing; all of them when there are few.

    Of each stretch the first row and those of its smallest and largest value; and the last row of all.
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
    """Return x, y and mode of a line through some rows of a series with a UTC index."""
    part = series.iloc[rows]
    return {"x": times(pd.DatetimeIndex(part.index)), "y": part.to_numpy(dtype=np.float64), "mode": "lines"}


def times(index: pd.DatetimeIndex) -> list[str]:
    """Return UTC times as texts that plotly reads, to the minute."""
    return list(index.strftime("%Y-%m-%d %H:%M"))


def styled(figure: Figure, height: int) -> Figure:
    """Return the figure in the house's plain style, `height` in pixels."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 58, "r": 12, "t": 34, "b": 34},
        font={"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 12, "color": "#30343a"},
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        hovermode="x unified",
        paper_bgcolor="white",
        plot_bgcolor="white",
    )
    figure.update_xaxes(gridcolor="#eceef1", zeroline=False)
    figure.update_yaxes(gridcolor="#eceef1", zeroline=False, automargin=True)
    return figure
