"""The figures of a risk report, from its tables. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pandas as pd

from peak_trade.reports.views.backtest import MAX_FILLS, fills_note, trades_on_price
from peak_trade.reports.views.drawing import BLUE, GREY, ORANGE, RED, label, styled

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TEST_FORMATS: Mapping[str, str] = MappingProxyType(
    {"kupiec_p": "{:.4f}", "independence_p": "{:.4f}", "coverage_p": "{:.4f}"}
)
TEST_CAPTION = (
    "p-values of Kupiec's test of frequency and Christoffersen's of independence and of both; the zone is the Basel "
    "traffic light of the last 250 days. Days on which a model has no estimate are left out and counted."
)
STRESS_FORMATS: Mapping[str, str] = MappingProxyType({"loss": "{:.2%}"})
CONFUSION_CAPTION = (
    "False positives are the safe orders that were denied, misses the unsafe ones that passed, each as a share of its "
    "kind. Generated bars hold no thin market: `docs/risk.md` has the matrix of recorded bars and books."
)
REVERSE_STRESS_FORMATS: Mapping[str, str] = MappingProxyType(
    {"limit": "{:.4g}", "observed": "{:.4g}", "shock": "{:+.2%}"}
)
REVERSE_STRESS_CAPTION = (
    "The smallest move of all prices alike that breaks each limit, the positions held through it, from a new peak at "
    "the start of a day. Limits and what is observed are fractions of equity. `docs/risk.md` has the formulas."
)
MARGINAL_FORMATS: Mapping[str, str] = MappingProxyType(
    {"weight": "{:.2%}", "marginal_var": "{:.4f}", "component_var": "{:.3%}", "share": "{:.1%}"}
)
MARGINAL_CAPTION = (
    "Marginal: the rise of the one-day value at risk for a unit more of the weight. Components are weight times "
    "marginal; they sum to the value at risk, and a negative one hedges."
)
COVERAGE_FORMATS: Mapping[str, str] = MappingProxyType({"rate": "{:.2%}", "kupiec_p": "{:.4f}"})
COVERAGE_CAPTION = (
    "A day belongs to the regime that was known when it began. A small p-value says that exceptions are more, or "
    "fewer, in this regime than the confidence allows; with few days it says little."
)
MAX_DENIALS = 600
"""Denials that are drawn on the price, the last ones."""
_LANE_COLORS = (RED, "#6a3d9a", "#1b7f5c", "#c2185b", "#8d6e00", "#00838f")
CONFUSION_FORMATS: Mapping[str, str] = MappingProxyType({"false_positives": "{:.1%}", "misses": "{:.1%}"})


def var_against_loss(walk: pd.DataFrame, model: str) -> Figure:
    """Draw each day's loss beside the VaR stated the day before, and mark the exceptions.

    Parameters
    ----------
    walk : DataFrame with columns value_at_risk, loss (fractions) and is_exception, by day (UTC)
    model : str
        What stated the VaR, for the legend.

    """
    import plotly.graph_objects as go

    days = [f"{day:%Y-%m-%d}" for day in walk.index]
    hits = walk[walk["is_exception"]]
    figure = go.Figure()
    figure.add_bar(x=days, y=walk["loss"].tolist(), name="loss", marker={"color": GREY})
    stated = [None if value != value else float(value) for value in walk["value_at_risk"]]
    figure.add_scatter(x=days, y=stated, name=f"value at risk, {model}", line={"color": BLUE, "width": 1.8})
    figure.add_scatter(
        x=[f"{day:%Y-%m-%d}" for day in hits.index],
        y=hits["loss"].tolist(),
        name="exception",
        mode="markers",
        marker={"color": ORANGE, "size": 7},
    )
    figure.update_yaxes(title_text="loss, share of equity", tickformat=".1%")
    return styled(figure, height=380)


def stress_bars(table: pd.DataFrame) -> Figure:
    """Draw the loss of every scenario, the worst first."""
    import plotly.graph_objects as go

    ordered = table.sort_values(["loss", "scenario"])
    figure = go.Figure(
        go.Bar(
            x=ordered["loss"].tolist(),
            y=ordered["scenario"].tolist(),
            orientation="h",
            name="loss",
            marker={"color": BLUE},
        )
    )
    figure.update_xaxes(title_text="loss, share of equity", tickformat=".0%")
    return styled(figure, height=380)


def headroom_over_time(readings: pd.DataFrame, n_tightest: int = 6) -> Figure:
    """Draw the room left under the limits that came closest, as a share of each limit; below zero is a denial.

    A denial on an input that could not be read has no headroom: it is marked at the foot, at -100 %.

    Parameters
    ----------
    readings : DataFrame
        As `studies.risk.decisions.headroom` gives them.
    n_tightest : int
        Limits with the least headroom, in the median, that are drawn.

    """
    import plotly.graph_objects as go

    known = readings.dropna(subset="headroom")
    tightest = known.groupby("code")["headroom"].median().sort_values(kind="stable").index[:n_tightest]
    figure = go.Figure()
    for code in tightest:
        own = known[known["code"] == code]
        figure.add_scatter(
            x=[f"{time:%Y-%m-%d %H:%M}" for time in own.index],
            y=own["headroom"].clip(lower=-1.0).tolist(),
            name=str(code),
            mode="markers",
            marker={"size": 5},
        )
    unread = readings[readings["is_denied"] & readings["observed"].isna()]
    if len(unread):
        figure.add_scatter(
            x=[f"{time:%Y-%m-%d %H:%M}" for time in unread.index],
            y=[-1.0] * len(unread),
            text=unread["code"].tolist(),
            name="denied unread",
            mode="markers",
            marker={"color": ORANGE, "size": 7, "symbol": "x"},
        )
    figure.add_hline(y=0.0, line={"color": ORANGE, "width": 1})
    figure.update_yaxes(title_text="headroom, share of the limit", tickformat=".0%")
    return styled(figure, height=400)


def denials(table: pd.DataFrame) -> Figure:
    """Draw how often each denial code was given."""
    import plotly.graph_objects as go

    figure = go.Figure(
        go.Bar(x=table["code"].tolist(), y=table["n_denials"].tolist(), name="denials", marker={"color": BLUE})
    )
    figure.update_yaxes(title_text="denials")
    return styled(figure, height=340)


def fills_and_denials(close: pd.Series[float], fills: pd.DataFrame, denied: pd.DataFrame) -> Figure:
    """Draw fills and denied orders on the price, and below it one lane of crosses for each code that denied.

    A cross tells what was observed and the limit when it is pointed at. Without denials there are no lanes.

    Parameters
    ----------
    close : Series of shape (n_bars,), in quote currency
        Index close times in UTC.
    fills : DataFrame
        As `figures.trades_on_price` takes them.
    denied : DataFrame
        As `studies.risk.decisions.denied_orders` gives them; of more than `MAX_DENIALS`, the last ones are drawn.

    """
    figure = trades_on_price(close, fills)
    drawn = drawn_denials(fills, denied)
    if drawn.empty:
        return styled(figure, height=380)
    orders = drawn.groupby("order_id", sort=False).agg(
        ts_event=("ts_event", "first"), side=("side", "first"), price=("price", "first"), codes=("code", ", ".join)
    )
    figure.add_scatter(
        **_crosses(orders["ts_event"], orders["price"], RED, 9),
        text=[label(f"{order.Index} {order.side}: {order.codes}") for order in orders.itertuples()],
        name="denied",
    )
    counts = drawn["code"].value_counts().sort_index(kind="stable").sort_values(ascending=False, kind="stable")
    for place, code in enumerate(counts.index):
        own = drawn[drawn["code"] == code]
        figure.add_scatter(
            **_crosses(own["ts_event"], own["code"], _LANE_COLORS[place % len(_LANE_COLORS)], 6),
            text=[
                label(
                    f"{order.order_id} {order.side}: observed {_number(order.observed)}, limit {_number(order.limit)}"
                )
                for order in own.itertuples()
            ],
            name=str(code),
            yaxis="y2",
            showlegend=False,
        )
    lanes = 30 + 18 * len(counts)
    styled(figure, height=380 + lanes)
    figure.update_layout(
        xaxis={"anchor": "y2"},
        yaxis={"domain": [lanes / (316 + lanes), 1.0]},
        yaxis2={
            "domain": [0.0, (lanes - 18) / (316 + lanes)],
            "type": "category",
            "range": [len(counts) - 0.5, -0.5],
            "gridcolor": "#eceef1",
            "automargin": True,
        },
        hoversubplots="axis",
    )
    return figure


def drawn_denials(fills: pd.DataFrame, denied: pd.DataFrame) -> pd.DataFrame:
    """Return the denials that `fills_and_denials` draws: the last ones, none before the first fill that is drawn."""
    if len(fills) > MAX_FILLS:
        denied = denied[denied["ts_event"] >= fills["ts_event"].iloc[-MAX_FILLS]]
    return denied.tail(MAX_DENIALS)


def fills_and_denials_note(fills: pd.DataFrame, denied: pd.DataFrame) -> str:
    """Return in words what `fills_and_denials` draws."""
    n_drawn = len(drawn_denials(fills, denied))
    told = f"All {len(denied):,} denials" if n_drawn == len(denied) else f"{n_drawn:,} of {len(denied):,} denials"
    return f"{told if len(denied) else 'No denials'}; an order may have several. {fills_note(fills)}"


def _crosses(times: pd.Series[Any], values: pd.Series[Any], color: str, size: int) -> dict[str, Any]:
    return {
        "x": [f"{time:%Y-%m-%d %H:%M}" for time in times],
        "y": values.tolist(),
        "mode": "markers",
        "hovertemplate": "%{text}",
        "marker": {"symbol": "x-thin", "size": size, "line": {"width": 1.5, "color": color}},
    }


def _number(value: float) -> str:
    return "unread" if value != value else f"{value:.6g}"
