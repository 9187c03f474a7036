"""The figures and tables of a portfolio report, from a portfolio's result. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from peak_trade.reports.views.drawing import BLUE, GREY, ORANGE, label, line, styled, thinned

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from peak_trade.metrics.measure import Measure
    from peak_trade.studies.portfolio.result import PortfolioResult

COLORS = (BLUE, ORANGE, "#2f7d4f", "#8250a0", "#b3261e", "#4c9aa8", "#a07514", "#5b6b7b")
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
    "Of returns per bar, after costs, with Fisher's interval, which takes bars as independent; `in_drawdown` over the "
    "bars at which the portfolio's drawdown is at least half its largest."
)
ATTRIBUTION_CAPTION = (
    "After costs. `pnl` sums to the portfolio's, `annual_risk` to its annual volatility, `risk_share` to one."
)


def equity_by_strategy(pnl: pd.DataFrame, initial_cash: float) -> Figure:
    """Draw the portfolio's PnL at each close, and what each column (a strategy, or a symbol) gave to it.

    Parameters
    ----------
    pnl : DataFrame of shape (n_bars, n_columns), quote currency
        Cumulated PnL after costs; index close times in UTC.
    initial_cash : float, quote currency
        Stands in the title of the axis.

    """
    import plotly.graph_objects as go

    figure = go.Figure()
    whole = pnl.sum(axis=1)
    figure.add_scatter(
        **line(whole, thinned(whole.to_numpy())), name="portfolio", line={"color": "#30343a", "width": 2.2}
    )
    for place, name in enumerate(pnl.columns):
        series = pnl[name]
        figure.add_scatter(**line(series, thinned(series.to_numpy())), name=label(name), line=_pen(place))
    figure.update_yaxes(title_text=f"PnL on {initial_cash:,.0f}")
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
    """Draw each sleeve's part of the portfolio's annual volatility beside its mean weight.

    Parameters
    ----------
    attribution : DataFrame
        See `PortfolioResult.attribution`.

    """
    import plotly.graph_objects as go

    names = [label(" ".join(map(str, sleeve))) for sleeve in attribution.index.to_flat_index()]
    figure = go.Figure()
    figure.add_bar(x=names, y=attribution["risk_share"].to_numpy(), name="share of risk", marker={"color": BLUE})
    figure.add_bar(x=names, y=attribution["mean_weight"].to_numpy(), name="mean weight", marker={"color": GREY})
    figure.update_yaxes(tickformat=".0%")
    figure.update_layout(barmode="group")
    return styled(figure, height=340)


def drawdown_attribution(drawdowns: pd.DataFrame) -> Figure:
    """Draw what each sleeve lost (below zero) or gained in each of the deepest drawdowns, stacked.

    Parameters
    ----------
    drawdowns : DataFrame
        See `PortfolioResult.drawdowns`: peak, trough, drawdown and one column a sleeve.

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
    figure.update_yaxes(title_text="of equity at the peak", tickformat=".0%")
    return styled(figure, height=380)


def weights_over_time(weights: pd.DataFrame) -> Figure:
    """Draw the weight of each sleeve as a step line; rows at which nothing changes are left out.

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
    figure.update_yaxes(title_text="weight", tickformat=".0%", rangemode="tozero")
    return styled(figure, height=340)


def rolling_correlations(correlations: pd.DataFrame) -> Figure:
    """Draw the rolling correlation of each pair; the warm-up has none.

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
    """Return one row a sleeve: pnl, fees, risk, weight, fills; sleeves in netted mode have no fees of their own."""
    return result.attribution().reset_index()


def correlations(result: PortfolioResult, confidence: float = 0.95) -> pd.DataFrame:
    """Return one row a pair of strategies: correlation, its interval, the bars, and the correlation in drawdown."""
    table = result.correlations(confidence)
    table["in_drawdown"] = result.drawdown_correlations(confidence=confidence)["correlation"]
    return table


def outcome(result: PortfolioResult) -> list[str]:
    """Return in sentences what was run, what came of it and what it takes for granted of a portfolio."""
    run, chosen = result.run, result.settings
    stats = run.stats()
    allocation = chosen.allocation
    estimated = (
        f"estimated again every {allocation.every} on the last {allocation.window:,} bars"
        if allocation.is_estimated
        else "constant"
    )
    rules = [
        text
        for text, is_set in (
            (f"every {chosen.rebalancing.every}", chosen.rebalancing.every),
            (
                f"when a position is {chosen.rebalancing.drift_band or 0.0:.0%} off its target",
                chosen.rebalancing.drift_band,
            ),
        )
        if is_set
    ]
    return [
        f"{len(chosen.strategies)} strategies on {', '.join(run.market.symbols)} ({run.exchange}), "
        f"{len(run.market):,} bars of {run.market.timeframe}, {chosen.mode}, one pool of {chosen.initial_cash:,.0f}.",
        run.why
        or f"Total return {_percent(stats['total_return'])}, largest drawdown {_percent(stats['max_drawdown'])}, "
        f"Sharpe {stats['sharpe']}, diversification ratio {result.diversification_ratio:.2f}.",
        f"Weights are {allocation.method.replace('_', ' ')}, {estimated}; an unchanged target is traded again "
        f"{' and '.join(rules) or 'never'}.",
    ]


def _percent(measure: Measure) -> str:
    return str(measure) if measure.value is None else f"{measure.value:.1%}"


def _pen(place: int) -> dict[str, object]:
    return {"color": COLORS[place % len(COLORS)], "width": 1.4}
