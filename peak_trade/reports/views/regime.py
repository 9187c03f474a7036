"""Figures, captions and formats of the regime study. Nothing is computed here: the study does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peak_trade.core.arrays import FloatArray
from peak_trade.data.workspace import workspace
from peak_trade.metrics import measure_formats
from peak_trade.regimes.states import REGIMES, Regime
from peak_trade.reports.markup import write_figure_page
from peak_trade.reports.views.drawing import BLUE, GREY, ORANGE, RED, line, scale, styled, thinned
from peak_trade.studies.noise import noise_table
from peak_trade.studies.regime.controls import TIMINGS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from peak_trade.studies.noise import NoiseControl
    from peak_trade.studies.regime.naming import Naming
    from peak_trade.studies.regime.study import RegimeStudy

COLORS: Mapping[Regime, str] = {Regime.BULL: BLUE, Regime.SIDEWAYS: GREY, Regime.BEAR: ORANGE}
"""Blue and orange can be distinguished with a colour vision deficiency."""
REGIME_FORMATS: Mapping[str, str] = measure_formats("regimes") | {
    "bars": "{:,}",
    "share": "{:.1%}",
    "sharpe_stderr": "{:.2f}",
    "n": "{:,}",
}
REGIME_CAPTION = (
    "A return belongs to the regime that was known at the start of its bar, so the cost of closing a position counts "
    "for the regime that closed it."
)
REFITS_CAPTION = (
    "Spread is the range of the log-likelihoods of the short starts, gap the difference of the two long runs. "
    "Separation is the mean return of the bull state − that of the bear state in standard errors; the last column has "
    "the probability, given the data, that it is above 0."
)
LOOKAHEAD_CAPTION = "Sharpe ratios before costs, over the same bars. Only the filtered labels could have been traded."
NOISE_CAPTION = (
    "Edge: mean of exposure times return over the standard deviation of the return, a year. The largest mean without "
    "a leak is its bound; power is the probability to find a leak of 1 a year."
)
DURATION_FORMATS: Mapping[str, str] = {"median_bars": "{:,.1f}", "mean_bars": "{:,.1f}"}
DELAY_FORMATS: Mapping[str, str] = measure_formats("delays") | {"sharpe_stderr": "{:.2f}"}


def price_by_regime(close: pd.Series[float], labels: NDArray[np.int8], naming: Naming | None = None) -> Figure:
    """Draw the close, coloured by its filtered regime.

    Parameters
    ----------
    close : Series of shape (n_bars,), quote currency, index close times in UTC
    labels : int8 array of shape (n_bars,), filtered regimes
    naming : Naming, optional
        Names of the regimes; by default bear, sideways and bull.

    """
    import plotly.graph_objects as go

    changes = np.flatnonzero(np.diff(labels)) + 1
    rows = np.union1d(thinned(close.to_numpy()), np.union1d(changes, np.maximum(changes - 1, 0)))
    shown, drawn = close.iloc[rows], labels[rows]
    figure = go.Figure()
    for regime in reversed(REGIMES):
        inside = drawn == regime
        inside[1:] |= inside[:-1]
        part = shown.where(inside)
        points = line(part, np.arange(len(part)))
        points["y"] = [None if np.isnan(price) else float(price) for price in points["y"]]
        figure.add_scatter(**points, name=_name(regime, naming), line={"color": COLORS[regime], "width": 1.6})
    figure.update_yaxes(title_text="close, quote currency", **scale(close))
    return styled(figure, height=380)


def probabilities(frame: pd.DataFrame, naming: Naming | None = None) -> Figure:
    """Draw the filtered probabilities of the regimes as stacked areas.

    Parameters
    ----------
    frame : DataFrame of shape (n_bars, ...)
        Columns bear, sideways and bull, index close times in UTC; see `regimes_frame`.
    naming : Naming, optional
        Names of the regimes; by default those of the columns.

    """
    import plotly.graph_objects as go

    known = frame.dropna(subset=["bull"])
    rows = np.union1d(thinned(known["bull"].to_numpy()), thinned(known["bear"].to_numpy()))
    figure = go.Figure()
    for regime in reversed(REGIMES):
        name = regime.name.lower()
        style = {"color": COLORS[regime], "width": 0.5}
        figure.add_scatter(**line(known[name], rows), name=_name(regime, naming), line=style, stackgroup="all")
    figure.update_yaxes(title_text="probability", range=[0.0, 1.0])
    return styled(figure, height=280)


def _name(regime: Regime, naming: Naming | None) -> str:
    name = regime.name.lower()
    return name if naming is None else naming.names[name]


def transition_plot(transitions: pd.DataFrame) -> Figure:
    """Draw the transition matrix: from the regime of a row to the regime of a column, from one bar to the next."""
    import plotly.graph_objects as go

    cells = transitions.to_numpy()
    text = [["" if np.isnan(cell) else f"{cell:.2%}" for cell in row] for row in cells]
    figure = go.Figure(
        go.Heatmap(
            x=list(transitions.columns),
            y=list(transitions.index),
            z=[[None if np.isnan(cell) else float(cell) for cell in row] for row in cells],
            text=text,
            texttemplate="%{text}",
            name="transition",
            zmin=0.0,
            zmax=1.0,
            colorscale=[[0.0, "#ffffff"], [1.0, BLUE]],
            showscale=False,
            xgap=2,
            ygap=2,
            hovertemplate="from %{y} to %{x}: %{text}<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="to regime", title_standoff=4)
    figure.update_yaxes(title_text="from regime", autorange="reversed")
    return styled(figure, height=320).update_layout(margin={"b": 60})


def write_transition_plot(study: RegimeStudy) -> Path:
    """Write the transition plot of a study into the workspace as an HTML page, and return its path."""
    path = workspace() / "regimes" / study.result.run_id / "transitions.html"
    title = f"Transitions of {study.detector.name} regimes, {study.bars.symbol} {study.bars.timeframe}"
    write_figure_page(transition_plot(study.transitions()), title, path)
    return path


def sharpe_by_timing(table: pd.DataFrame) -> Figure:
    """Draw the Sharpe ratio of each timing of the labels; see `RegimeStudy.lookahead_cost`."""
    return _sharpe_bars(table["timing"].tolist(), table["sharpe"].tolist(), table["stderr"].tolist())


def noise_bars(controls: Sequence[NoiseControl]) -> Figure:
    """Draw the mean edge of each timing on each kind of noise; see `noise_table`."""
    table = noise_table(controls)
    names = [f"{timing}<br>{kind}" for kind, timing in zip(table["noise"], table["timing"], strict=True)]
    return _sharpe_bars(names, table["mean_edge"].tolist(), table["stderr"].tolist(), "mean edge a year")


def _sharpe_bars(
    names: Sequence[str], sharpes: Sequence[float], errors: Sequence[float], title: str = "Sharpe ratio"
) -> Figure:
    import plotly.graph_objects as go

    doubled = {"type": "data", "array": [2.0 * error for error in errors], "color": GREY, "thickness": 1.2}
    colors = [ORANGE if name.startswith(TIMINGS[:2]) else BLUE for name in names]
    figure = go.Figure(go.Bar(x=list(names), y=list(sharpes), error_y=doubled, marker={"color": colors}, name="sharpe"))
    figure.update_yaxes(title_text=f"{title}, ± 2 standard errors", zeroline=True, zerolinecolor=GREY)
    return styled(figure, height=320)


def shift_histogram(shifted: FloatArray, observed: float) -> Figure:
    """Draw the Sharpe ratios of circularly shifted regimes and that of the observed regimes."""
    import plotly.graph_objects as go

    counts, edges = np.histogram(shifted, bins=30)
    middles = (edges[1:] + edges[:-1]) / 2.0
    figure = go.Figure(go.Bar(x=middles.tolist(), y=counts.tolist(), marker={"color": GREY}, name="shifted"))
    figure.add_vline(x=observed, line={"color": RED, "width": 2}, annotation_text="observed")
    figure.update_xaxes(title_text="Sharpe ratio")
    figure.update_yaxes(title_text="number of shifts")
    return styled(figure, height=300)
