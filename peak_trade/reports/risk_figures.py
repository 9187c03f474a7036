"""The figures of a risk report, from its tables. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from peak_trade.reports.figures import BLUE, GREY, ORANGE, styled

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
        As `studies.risk.headroom` gives them.
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
            mode="lines+markers",
            marker={"size": 4},
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
