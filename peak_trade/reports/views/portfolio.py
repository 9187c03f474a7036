"""Figures, tables and sentences of the portfolio backtest. Nothing is computed here: the result does."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from peak_trade.metrics import format_measure
from peak_trade.reports.views.backtest import curtailments
from peak_trade.reports.views.drawing import BLUE, COLORS, GREY, INK, ORANGE, label, line, styled, thinned

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from peak_trade.studies.portfolio.result import PortfolioResult

ATTRIBUTION_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "pnl": "{:,.2f}",
        "fees": "{:,.2f}",
        "annual_risk": "{:.2%}",
        "risk_share": "{:.1%}",
        "mean_weight": "{:.1%}",
        "n_fills": "{:,.0f}",
    }
)
CORRELATION_FORMATS: Mapping[str, str] = MappingProxyType(
    {"correlation": "{:.3f}", "low": "{:.3f}", "high": "{:.3f}", "in_drawdown": "{:.3f}"}
)
CORRELATION_CAPTION = (
    "Correlation of the returns per bar, after costs. Fisher's confidence interval assumes independent bars. "
    "The correlation in drawdowns uses the bars at which the drawdown of the portfolio is at least half of its largest."
)
ATTRIBUTION_CAPTION = (
    "After costs. The PnL of the sleeves sums to that of the portfolio, their risk to its volatility, and their shares "
    "of risk to one."
)


def equity_by_strategy(pnl: pd.DataFrame, initial_cash: float) -> Figure:
    """Draw the PnL of the portfolio at each close, and the PnL of each column (a strategy or a symbol).

    Parameters
    ----------
    pnl : DataFrame of shape (n_bars, n_columns), quote currency
        Cumulated PnL after costs; index close times in UTC.
    initial_cash : float, quote currency
        Cash at the start, for the title of the axis.

    """
    import plotly.graph_objects as go

    figure = go.Figure()
    whole = pnl.sum(axis=1)
    figure.add_scatter(**line(whole, thinned(whole.to_numpy())), name="portfolio", line={"color": INK, "width": 2.2})
    for place, name in enumerate(pnl.columns):
        series = pnl[name]
        figure.add_scatter(**line(series, thinned(series.to_numpy())), name=label(name), line=_pen(place))
    figure.update_yaxes(title_text=f"PnL, from {initial_cash:,.0f} in cash")
    return styled(figure, height=400)


def correlation_matrix(matrix: pd.DataFrame) -> Figure:
    """Draw a correlation matrix as a heat map from -1 to 1, shape (n_strategies, n_strategies)."""
    import plotly.graph_objects as go

    names = [label(name) for name in matrix.columns]
    cells = [[None if value != value else float(value) for value in row] for row in matrix.to_numpy()]
    figure = go.Figure(
        go.Heatmap(
            x=names,
            y=names,
            z=cells,
            text=[["" if value is None else f"{value:.2f}" for value in row] for row in cells],
            texttemplate="%{text}",
            name="correlation",
            zmin=-1.0,
            zmax=1.0,
            colorscale=[[0.0, ORANGE], [0.5, "#ffffff"], [1.0, BLUE]],
            xgap=2,
            ygap=2,
            hovertemplate="%{x} ~ %{y}: %{text}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed")
    return styled(figure, height=140 + 60 * len(names))


def risk_contributions(attribution: pd.DataFrame) -> Figure:
    """Draw the share of the portfolio's volatility and the mean weight of each sleeve.

    Parameters
    ----------
    attribution : DataFrame
        See `PortfolioResult.attribution`.

    """
    import plotly.graph_objects as go

    names = [label(" ".join(map(str, sleeve))) for sleeve in attribution.index.to_flat_index()]
    figure = go.Figure()
    figure.add_bar(x=names, y=attribution["risk_share"].to_numpy(), name="share of volatility", marker={"color": BLUE})
    figure.add_bar(x=names, y=attribution["mean_weight"].to_numpy(), name="mean weight", marker={"color": GREY})
    figure.update_yaxes(title_text="fraction", tickformat=".0%")
    figure.update_layout(barmode="group")
    return styled(figure, height=340)


def drawdown_attribution(drawdowns: pd.DataFrame) -> Figure:
    """Draw the loss (below zero) or gain of each sleeve in each of the deepest drawdowns, as stacked bars.

    Parameters
    ----------
    drawdowns : DataFrame
        See `PortfolioResult.drawdowns`: peak, trough, drawdown and one column per sleeve.

    """
    import plotly.graph_objects as go

    spans = [f"{row.peak:%Y-%m-%d} to {row.trough:%Y-%m-%d}" for row in drawdowns.itertuples()]
    figure = go.Figure()
    for place, name in enumerate(drawdowns.columns[3:]):
        figure.add_bar(
            x=spans,
            y=(-drawdowns[name]).to_numpy(),
            name=label(name),
            marker={"color": COLORS[place % len(COLORS)]},
        )
    figure.update_layout(barmode="relative")
    figure.update_yaxes(title_text="fraction of peak equity", tickformat=".0%")
    return styled(figure, height=380)


def drawdown_formats(drawdowns: pd.DataFrame) -> dict[str, str]:
    """Return the formats of the fractions in a table of drawdowns."""
    return {str(name): "{:.2%}" for name in drawdowns.columns[2:]}


def weights_over_time(weights: pd.DataFrame) -> Figure:
    """Draw the weight of each sleeve as a step line, through the bars at which a weight changes.

    Parameters
    ----------
    weights : DataFrame of shape (n_bars, n_sleeves), fractions of equity, index close times in UTC

    """
    import plotly.graph_objects as go

    has_changed = (weights != weights.shift(1)).any(axis=1).to_numpy(copy=True)
    has_changed[-1] = True
    rows = has_changed.nonzero()[0]
    figure = go.Figure()
    labels = [label(" ".join(map(str, sleeve))) for sleeve in weights.columns.to_flat_index()]
    for place, name in enumerate(labels):
        figure.add_scatter(**line(weights.iloc[:, place], rows), name=name, line={**_pen(place), "shape": "hv"})
    figure.update_yaxes(title_text="weight, fraction of equity", tickformat=".0%", rangemode="tozero")
    return styled(figure, height=340)


def rolling_correlations(correlations: pd.DataFrame) -> Figure:
    """Draw the rolling correlation of each pair of strategies, without the warm-up.

    Parameters
    ----------
    correlations : DataFrame of shape (n_bars, n_pairs), from -1 to 1, index close times in UTC

    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for place, name in enumerate(correlations.columns):
        known = correlations[name].dropna()
        figure.add_scatter(**line(known, thinned(known.to_numpy())), name=label(name), line=_pen(place))
    figure.update_yaxes(title_text="correlation", range=[-1.0, 1.0])
    return styled(figure, height=340)


def attribution(result: PortfolioResult) -> pd.DataFrame:
    """Return one row per sleeve: PnL, fees, risk, weight, fills. In netted mode, sleeves have no fees of their own."""
    return result.attribution().reset_index()


def correlations(result: PortfolioResult, confidence: float = 0.95) -> pd.DataFrame:
    """Return one row per pair of strategies: correlation, confidence interval, bars, correlation in drawdowns."""
    table = result.correlations(confidence)
    table["in_drawdown"] = result.drawdown_correlations(confidence=confidence)["correlation"]
    return table


def outcome(result: PortfolioResult) -> list[str]:
    """Return sentences that name the run, its result, and how it weights and rebalances."""
    run, chosen = result.run, result.settings
    stats = run.stats()
    gain, drawdown, sharpe = (format_measure(name, stats[name]) for name in ("total_return", "max_drawdown", "sharpe"))
    allocation = chosen.allocation
    estimated = (
        f"estimated every {allocation.every} from the last {allocation.window:,} bars"
        if allocation.is_estimated
        else "constant"
    )
    rules = [
        text
        for text, is_set in (
            (f"every {chosen.rebalancing.every}", chosen.rebalancing.every),
            (
                f"when a position differs by {chosen.rebalancing.drift_band or 0.0:.0%} from its target",
                chosen.rebalancing.drift_band,
            ),
        )
        if is_set
    ]
    return [
        f"{len(chosen.strategies)} strategies on {', '.join(run.market.symbols)} ({run.exchange}), "
        f"{len(run.market):,} bars of {run.market.timeframe}, {chosen.mode} mode, {chosen.initial_cash:,.0f} in cash.",
        run.no_trade_reason
        or f"Total return {gain}, largest drawdown {drawdown}, Sharpe ratio {sharpe}, "
        f"diversification ratio {result.diversification_ratio:.2f}.",
        f"Weights: {allocation.method.replace('_', ' ')}, {estimated}. Rebalancing: {' and '.join(rules) or 'none'}.",
        *(each.sentence for each in run.causality),
        *run.remarks,
        *curtailments(run),
    ]


def _pen(place: int) -> dict[str, object]:
    return {"color": COLORS[place % len(COLORS)], "width": 1.4}
