"""The figures of each kind of result by name, and `plot`, which draws one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.errors import ConfigError, a_kind, did_you_mean, listed
from peak_trade.reports.views import alerts, backtest, diff, portfolio, regime, tear_sheet, verdicts
from peak_trade.reports.views.drawing import BLUE, GREY, for_any_ground, label, line, styled, thinned

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from peak_trade.core.bars import Bars
    from peak_trade.engine.result import BacktestResult
    from peak_trade.sessions.run import SessionResult
    from peak_trade.studies.sweep.result import SweepResult

Draw = Callable[[Any], "Figure"]
Shown = TypeVar("Shown")


@checks_arguments()
def plot(result: Any, figure: str | None = None) -> Figure:
    """Draw one figure of a result.

    Parameters
    ----------
    result : Bars or a result
        Of backtest, sweep, run_portfolio, study_regimes, run_session, diff_runs, tearsheet or rehearse_alerts.
    figure : str, optional
        Name of the figure; by default the first one of the kind of result. Of bars: price. Of a backtest: equity,
        benchmark, trades, months, exposure, costs, rolling. Of a sweep: sharpe, and those of its best run. Of a
        portfolio: those of a backtest, strategies, symbols, weights, correlations. Of a regime study: regimes,
        probabilities, transitions, and those of its run. Of a session: equity. Of a diff: pnl, equity, fills. Of a
        tear sheet: equity, rolling. Of a rehearsal: timeline.

    Returns
    -------
    plotly Figure
        A notebook shows it as the last value of a cell. Times are UTC.

    Raises
    ------
    ConfigError
        If nothing can be drawn of the result, or it has no such figure; the message suggests the closest name.

    Examples
    --------
    >>> from peak_trade.data.sample import sample_bars
    >>> type(plot(sample_bars("BTC/USDT", n_bars=50))).__name__
    'Figure'

    """
    figures = of_kind(FIGURES, result, "plot")
    name = next(iter(figures)) if figure is None else figure
    if name not in figures:
        raise ConfigError(f"plot: a {type(result).__name__} has no figure {name}. {did_you_mean(str(name), figures)}")
    return for_any_ground(figures[name](result))


def of_kind(table: Mapping[str, Shown], result: Any, what: str) -> Shown:
    """Return the entry of a table of kinds for a result; ConfigError names the kinds if it has none."""
    for part in type(result).__mro__:
        if part.__module__.startswith("peak_trade.") and part.__name__ in table:
            return table[part.__name__]
    raise ConfigError(f"{what}: result was {a_kind(type(result))}. Give one of {listed(table)}.")


def price(bars: Bars) -> Figure:
    """Draw the close of bars."""
    import plotly.graph_objects as go

    close = bars.frame["close"]
    figure = go.Figure()
    figure.add_scatter(**line(close, thinned(close.to_numpy())), name="close", line={"color": BLUE, "width": 1.3})
    figure.update_yaxes(title_text=f"{label(bars.symbol)}, close")
    return styled(figure, height=340)


def sweep_sharpe(result: SweepResult) -> Figure:
    """Draw the Sharpe ratio of the parameter sets: over one parameter a line, over two a map of colours.

    Of more parameters, the first two that vary are drawn, with the highest ratio over the others.
    """
    import plotly.graph_objects as go

    table = result.table
    measure = "total_return" if table["sharpe"].isna().all() else "sharpe"
    texts = table[result.parameter_names].astype(str)
    varied = [str(name) for name in texts if len(set(texts[name])) > 1] or result.parameter_names[:1]
    name = {"sharpe": "Sharpe ratio", "total_return": "total return"}[measure]
    if len(varied) == 1:
        best = table.groupby(texts[varied[0]], sort=False)[measure].max()
        figure = go.Figure(
            go.Scatter(x=list(best.index), y=best.tolist(), mode="lines+markers", line={"color": BLUE}, name=name)
        )
        figure.update_yaxes(title_text=name, zeroline=True, zerolinecolor=GREY)
        figure.update_xaxes(title_text=label(varied[0]), type="category")
        return styled(figure, height=320)
    down, across = varied[:2]
    ratios = texts.assign(**{measure: table[measure]})
    over = ratios.pivot_table(values=measure, index=down, columns=across, aggfunc="max", sort=False)
    grid = over.to_numpy(dtype=np.float64)
    limit = float(np.nanmax(np.abs(grid))) or 1.0
    figure = go.Figure(
        go.Heatmap(
            x=list(over.columns),
            y=list(over.index),
            z=grid,
            zmin=-limit,
            zmax=limit,
            colorscale="RdBu",
            colorbar={"title": {"text": name}},
        )
    )
    figure.update_xaxes(title_text=label(across), type="category")
    figure.update_yaxes(title_text=label(down), type="category")
    return styled(figure, height=380).update_layout(hovermode="closest")


def session_equity(result: SessionResult) -> Figure:
    """Draw the equity of a session at each close, from its journal, and its drawdown."""
    from peak_trade.diff.run_log import read_run_log
    from peak_trade.studies.diff import read_session

    log = read_run_log(read_session(result.folder), has_one_strategy=True)
    if not log.equity:
        raise ConfigError(f"plot: the session {result.folder.name} has no bar yet, so it has no equity.")
    index = pd.to_datetime(np.array(log.close_times, dtype=np.int64), utc=True)
    return backtest.equity_and_drawdown(pd.Series(np.array(log.equity), index=index, name="equity"))


def _close(result: BacktestResult) -> pd.Series[float]:
    """Return the close of the first symbol at each bar."""
    return pd.Series(result.market.columns[0].mark, index=result.index, name="close").dropna()


def _first_symbol(result: BacktestResult) -> pd.DataFrame:
    return result.fills[result.fills["symbol"] == result.market.symbols[0]]


def _costs(result: BacktestResult) -> Figure:
    return verdicts.cost_waterfall(verdicts.costs(result), result.market.columns[0].instrument.quote)


RUN: Mapping[str, Draw] = MappingProxyType(
    {
        "equity": lambda run: backtest.equity_and_drawdown(run.equity),
        "benchmark": lambda run: backtest.benchmark_overlay(run.equity, run.benchmark.equity),
        "trades": lambda run: backtest.trades_on_price(_close(run), _first_symbol(run)),
        "months": lambda run: backtest.monthly_returns(run.equity, run.market.timeframe),
        "exposure": lambda run: backtest.exposure_figure(run.exposure),
        "costs": _costs,
        "rolling": lambda run: tear_sheet.rolling_figure(tear_sheet.of_result(run)),
    }
)
"""Figures of a backtest by name."""


def _of_run(path: str) -> dict[str, Draw]:
    """Return the figures of a backtest for a result that holds one in an attribute."""

    def drawn(draw: Draw) -> Draw:
        return lambda result: draw(getattr(result, path))

    return {name: drawn(draw) for name, draw in RUN.items()}


FIGURES: Mapping[str, Mapping[str, Draw]] = MappingProxyType(
    {
        "Bars": {"price": price},
        "BacktestResult": RUN,
        "SweepResult": {"sharpe": sweep_sharpe} | _of_run("winner"),
        "PortfolioResult": _of_run("run")
        | {
            "strategies": lambda it: portfolio.equity_by_strategy(it.pnl_by_strategy, it.settings.initial_cash),
            "symbols": lambda it: portfolio.equity_by_strategy(it.pnl_by_symbol, it.settings.initial_cash),
            "weights": lambda it: portfolio.weights_over_time(it.weights),
            "correlations": lambda it: portfolio.correlation_matrix(it.correlation_matrix()),
        },
        "RegimeStudy": {
            "regimes": lambda study: regime.price_by_regime(study.close, study.labels),
            "probabilities": lambda study: regime.probabilities(study.probabilities()),
            "transitions": lambda study: regime.transition_plot(study.transitions()),
        }
        | _of_run("result"),
        "SessionResult": {"equity": session_equity},
        "DiffResult": {
            "pnl": lambda result: diff.waterfall(result.waterfall),
            "equity": lambda result: diff.equity_and_gap(result.equity),
            "fills": diff.fills_on_price,
        },
        "TearSheet": {
            "equity": lambda sheet: backtest.equity_and_drawdown(sheet.equity),
            "rolling": tear_sheet.rolling_figure,
        },
        "Rehearsal": {"timeline": lambda result: alerts.timeline(result.table(), result.alerts, *result.span)},
    }
)
"""Kinds of results and their figures by name; the first one is drawn if no name is given."""
