"""One function a figure, over the series and tables of a result. Drawn light: long series are thinned, never smoothed.

Thinning keeps, of each of `STRETCHES` equal stretches, the first row and the rows of the smallest and the largest
value, so every extreme stays where it was.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peak_trade.metrics.drawdowns import drawdown

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

STRETCHES = 200
"""Stretches that a long series is cut into for display."""
MAX_FILLS = 300
"""Fills that are drawn; of more, the last ones with the stretch of prices around them."""

BLUE, ORANGE, GREY, RED = "#1d5b9b", "#d9730d", "#8a8f98", "#b3261e"


def equity_and_drawdown(equity: pd.Series[float]) -> Figure:
    """Draw equity at each close above the fraction lost from its running peak.

    Parameters
    ----------
    equity : Series of shape (n_bars,), in quote currency
        Index close times in UTC.

    """
    from plotly.subplots import make_subplots

    lost = drawdown(equity)
    rows = np.union1d(thinned(equity.to_numpy()), thinned(lost.to_numpy()))
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.66, 0.34], vertical_spacing=0.06)
    figure.add_scatter(**line(equity, rows), name="equity", line={"color": BLUE, "width": 1.6}, row=1, col=1)
    figure.add_scatter(
        **line(-lost, rows),
        name="drawdown",
        line={"color": RED, "width": 1},
        fill="tozeroy",
        fillcolor="rgba(179,38,30,0.18)",
        row=2,
        col=1,
    )
    figure.update_yaxes(title_text="equity", row=1, col=1)
    figure.update_yaxes(title_text="drawdown", tickformat=".0%", row=2, col=1)
    return styled(figure, height=440)


def benchmark_overlay(equity: pd.Series[float], benchmark: pd.Series[float], name: str = "buy and hold") -> Figure:
    """Draw the growth of one unit of money in the run and in its benchmark, on a logarithmic scale.

    Parameters
    ----------
    equity, benchmark : Series of shape (n_bars,), in quote currency
        Of the same bars; both are divided by their first value.
    name : str
        What the benchmark is called.

    """
    import plotly.graph_objects as go

    grown, held = equity / equity.iloc[0], benchmark / benchmark.iloc[0]
    figure = go.Figure()
    figure.add_scatter(**line(held, thinned(held.to_numpy())), name=name, line={"color": GREY, "width": 1.4})
    figure.add_scatter(**line(grown, thinned(grown.to_numpy())), name="strategy", line={"color": BLUE, "width": 1.8})
    is_positive = bool((grown > 0).all() and (held > 0).all())
    scale = {"type": "log", "dtick": "D2"} if is_positive else {"type": "linear"}
    figure.update_yaxes(title_text="growth of 1", tickformat=".3~g", **scale)
    return styled(figure, height=340)


def trades_on_price(close: pd.Series[float], fills: pd.DataFrame) -> Figure:
    """Draw the fills on the price: triangles up are buys, triangles down are sells.

    Parameters
    ----------
    close : Series of shape (n_bars,), in quote currency
        Index close times in UTC.
    fills : DataFrame
        With ts_event (UTC), side (`buy` or `sell`), quantity and price, in order of time. Of more than `MAX_FILLS`,
        the last ones are drawn, with the prices from the first of them on; `fills_note` says so in words.

    """
    import plotly.graph_objects as go

    drawn = fills.tail(MAX_FILLS)
    if len(drawn) < len(fills):
        close = close[close.index >= drawn["ts_event"].iloc[0]]
    figure = go.Figure()
    figure.add_scatter(**line(close, thinned(close.to_numpy())), name="close", line={"color": GREY, "width": 1.1})
    for side, symbol, color in (("buy", "triangle-up", BLUE), ("sell", "triangle-down", ORANGE)):
        part = drawn[drawn["side"] == side]
        figure.add_scatter(
            x=_times(pd.DatetimeIndex(part["ts_event"])),
            y=part["price"].to_numpy(dtype=np.float64),
            mode="markers",
            name=side,
            marker={"symbol": symbol, "color": color, "size": 8, "line": {"width": 0.6, "color": "white"}},
        )
    figure.update_yaxes(title_text="price")
    return styled(figure, height=380)


def fills_note(fills: pd.DataFrame) -> str:
    """Return in words what `trades_on_price` draws of the fills."""
    if fills.empty:
        return "Nothing was filled."
    if len(fills) <= MAX_FILLS:
        return f"All {len(fills):,} fills. {thinning_note()}"
    return f"The last {MAX_FILLS:,} of {len(fills):,} fills and the prices since the first of them. {thinning_note()}"


def thinning_note() -> str:
    """Return in words how long series are thinned for display."""
    return f"Long series are drawn by the first, least and largest value of each of {STRETCHES} stretches."


def monthly_returns(equity: pd.Series[float]) -> Figure:
    """Draw the return of each calendar month (UTC) as a heat map: years down, months across.

    Parameters
    ----------
    equity : Series of shape (n_bars,), in quote currency
        Index close times in UTC. A month's return runs from the last close of the month before; the first month's from
        the first close.

    """
    import plotly.graph_objects as go

    table = monthly_table(equity)
    cells = table.to_numpy()
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    text = [["" if np.isnan(cell) else f"{cell:.1%}" for cell in row] for row in cells]
    known = np.abs(cells[np.isfinite(cells)])
    bound = max(float(known.max()) if known.size else 0.0, 1e-4)
    figure = go.Figure(
        go.Heatmap(
            x=months,
            y=[str(year) for year in table.index],
            z=[[None if np.isnan(cell) else float(cell) for cell in row] for row in cells],
            text=text,
            texttemplate="%{text}",
            name="return",
            zmid=0.0,
            zmin=-bound,
            zmax=bound,
            colorscale=[[0.0, ORANGE], [0.5, "#ffffff"], [1.0, BLUE]],
            showscale=False,
            xgap=2,
            ygap=2,
            hovertemplate="%{x} %{y}: %{text}<extra></extra>",
        )
    )
    figure.update_yaxes(type="category", autorange="reversed")
    figure.update_xaxes(side="top")
    return styled(figure, height=80 + 44 * len(table))


def monthly_table(equity: pd.Series[float]) -> pd.DataFrame:
    """Return the return of each calendar month (UTC) as a fraction: one row a year, columns 1 to 12, NaN outside."""
    ends = equity.resample("ME").last().dropna()
    before = ends.shift(1)
    before.iloc[0] = equity.iloc[0]
    index = pd.DatetimeIndex(ends.index)
    changes = pd.DataFrame({"year": index.year, "month": index.month, "change": (ends / before - 1.0).to_numpy()})
    table = changes.pivot_table(index="year", columns="month", values="change", aggfunc="first")
    return table.reindex(columns=range(1, 13))


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
    return {"x": _times(pd.DatetimeIndex(part.index)), "y": part.to_numpy(dtype=np.float64), "mode": "lines"}


def _times(index: pd.DatetimeIndex) -> list[str]:
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
