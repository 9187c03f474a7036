"""Figures, tables and sentences of the rehearsal of alerts. Nothing is computed here: the rehearsal does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import pandas as pd

from peak_trade.reports.views.drawing import ORANGE, RED, label, styled, times

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLORS = {"critical": RED, "warning": ORANGE}
"""Colour of a firing by the severity of its alert."""
TIMELINE_CAPTION = "A bar lasts from the first evaluation at which the alert fires to the first at which it does not."


def firings_by_alert(firings: pd.DataFrame, alerts: Sequence[str]) -> pd.DataFrame:
    """Return one row per alert: number of firings, the first one, and the hours in which it fired.

    Parameters
    ----------
    firings : DataFrame, one row per firing
        As `Rehearsal.table` returns it.
    alerts : sequence of str
        Names of all alerts.

    """
    grouped = firings.groupby("alert")
    table = pd.DataFrame(
        {"firings": grouped.size(), "first": grouped["fired"].min(), "hours": grouped["seconds"].sum()}
    )
    table = table.reindex(list(alerts))
    return pd.DataFrame(
        {
            "alert": list(alerts),
            "firings": table["firings"].fillna(0).astype(int).to_numpy(),
            "first": ["" if pd.isna(each) else f"{each:%Y-%m-%d %H:%M:%S}" for each in table["first"]],
            "hours": table["hours"].fillna(0.0).to_numpy() / 3_600.0,
        }
    )


def firings_table(firings: pd.DataFrame) -> pd.DataFrame:
    """Return one row per firing, with times as text and durations in hours."""
    return pd.DataFrame(
        {
            "alert": firings["alert"],
            "severity": firings["severity"],
            "fired": [f"{each:%Y-%m-%d %H:%M:%S}" for each in firings["fired"]],
            "resolved": [
                "at the end" if pd.isna(each) else f"{each:%Y-%m-%d %H:%M:%S}" for each in firings["resolved"]
            ],
            "hours": firings["seconds"] / 3_600.0,
            "labels": firings["labels"],
        }
    )


def timeline(firings: pd.DataFrame, alerts: Sequence[str], start: datetime, end: datetime) -> Figure:
    """Draw the firings of each alert on the time of the session, which lasts from `start` to `end` in UTC."""
    import plotly.graph_objects as go

    places = {name: len(alerts) - number for number, name in enumerate(alerts)}
    figure = go.Figure()
    for severity, color in COLORS.items():
        across: list[str | None] = []
        down: list[int | None] = []
        rows = firings[firings["severity"] == severity]
        fired, resolved = pd.DatetimeIndex(rows["fired"]), pd.DatetimeIndex(rows["resolved"].fillna(pd.Timestamp(end)))
        for alert, first, last in zip(rows["alert"], times(fired), times(resolved), strict=True):
            across += [first, last, None]
            down += [places[alert], places[alert], None]
        if across:
            figure.add_scatter(x=across, y=down, mode="lines", name=severity, line={"color": color, "width": 10})
    figure.update_xaxes(range=times(pd.DatetimeIndex([start, end])), type="date")
    figure.update_yaxes(
        tickvals=list(places.values()), ticktext=[label(name) for name in places], range=[0.4, len(places) + 0.6]
    )
    return styled(figure, height=120 + 24 * len(places)).update_layout(hovermode="closest")
