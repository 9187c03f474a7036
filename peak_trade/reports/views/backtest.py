"""Figures, tables and sentences of the strategy backtest. Measures come from `metrics`; none is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from peak_trade.core.time import Timeframe, iso
from peak_trade.metrics import MEASURES, drawdown, format_measure, period_returns
from peak_trade.reports.markup import heading
from peak_trade.reports.views.drawing import (
    BLUE,
    GREY,
    ORANGE,
    RED,
    label,
    line,
    scale,
    styled,
    thinned,
    thinning_note,
    times,
)
from peak_trade.risk.limits import has_limits
from peak_trade.studies.trials import deflated

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from peak_trade.engine.result import BacktestResult

HEADLINE_CAPTION = (
    "A year has 365 days. ± is one standard error, n the number of observations. "
    "`docs/metrics.md` defines each measure."
)
SELECTION_CAPTION = (
    "Probability that the Sharpe ratio exceeds the largest one expected of this many trials without skill: of all "
    "trials on the asset and the span, and of their effective number. `docs/honesty.md` states how often noise exceeds "
    "95 %."
)
REMARKS = {"estimate": "; conservative", "null": "; too high for trials that resemble each other"}
TRADES_CAPTION = "A trade is a round trip from flat to flat. Prices are means of its fills, with slippage."
EXITS: Mapping[str, str] = MappingProxyType(
    {
        "target": "target changed",
        "stop_loss": "stop loss",
        "trailing_stop": "trailing stop",
        "take_profit": "take profit",
        "rebalance": "rebalancing",
        "bankrupt": "bankruptcy",
    }
)
"""Reasons of exits as the table of trades shows them."""
TRADES_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "pnl_before_fees": "{:+,.2f}",
        "fees": "{:,.2f}",
        "pnl_after_fees": "{:+,.2f}",
        "return": "{:+.2%}",
    }
)
TWIN_FORMATS: Mapping[str, str] = MappingProxyType({"edge": "{:+.2f}", "stderr": "{:.2f}", "n": "{:,}"})
"""Formats of the table of `TwinCheck`."""
HALF_A_YEAR = pd.Timedelta(days=182)
MAX_FILLS = 2_000
"""Largest number of fills in a figure. Of more fills, it has the last ones and the prices of their period."""


def outcome(result: BacktestResult) -> str:
    """Return sentences that name the run, its result or the reason why it has no trade, and what cut it short."""
    index = result.index
    what = (
        f"{' and '.join(result.strategies)} on {' and '.join(result.market.symbols)} ({result.exchange}), "
        f"{len(index):,} bars of {result.market.timeframe}, closed from {iso(index[0].value)} to "
        f"{iso(index[-1].value)}."
    )
    if result.no_trade_reason:
        return " ".join((what, result.no_trade_reason, *result.remarks, *curtailments(result)))
    gain, passive = (
        format_measure("total_return", each.stats()["total_return"]) for each in (result, result.benchmark)
    )
    quote = result.market.columns[0].instrument.quote
    sentence = (
        f"{what} Equity went from {result.equity.iloc[0]:,.2f} to {result.equity.iloc[-1]:,.2f} {quote} in "
        f"{len(result.trades):,} closed trades. The total return is {gain}; buying and holding returned {passive}."
    )
    return " ".join((sentence, *result.remarks, *curtailments(result)))


def curtailments(result: BacktestResult) -> list[str]:
    """Return what cut the run short, one sentence each, with the trading state at its end unless it was active."""
    state = [result.risk_status] if has_limits(result.limits) else []
    return [sentence for sentence in (*state, *result.cut_short) if sentence]


def headline(result: BacktestResult, since: pd.Timestamp | None = None) -> pd.DataFrame:
    """Return one row per measure: strategy, buying and holding, number of observations, unit and remark.

    With `since`, the measures are those of the bars from that close on.
    """
    run, benchmark = result.stats(since), result.benchmark.stats(since)
    rows = [
        (
            heading(name)[0],
            format_measure(name, measure),
            format_measure(name, benchmark[name]),
            measure.n,
            MEASURES[name].unit,
            measure.note if measure.value is not None else "",
        )
        for name, measure in run.items()
    ]
    return pd.DataFrame(rows, columns=["measure", "strategy", "buy and hold", "n", "unit", "remark"])


def headline_numbers(result: BacktestResult, since: pd.Timestamp | None = None) -> pd.DataFrame:
    """Return the numbers of `headline`: value and standard error of the strategy, value of buying and holding."""
    benchmark = result.benchmark.stats(since).to_frame()["value"]
    numbers = result.stats(since).to_frame().reset_index()
    return numbers[["measure", "value", "stderr", "n"]].assign(buy_and_hold=benchmark.to_numpy())


def selection(result: BacktestResult) -> pd.DataFrame:
    """Return one row per deflated Sharpe ratio of the run: measure, value, number of trials and remark."""
    count, measures = deflated(result)
    rows = [
        (
            ", ".join(filter(None, heading(name))),
            format_measure(name, measure),
            ("–" if count is None else f"{count.n_effective:,.1f}" if name.endswith("effective") else f"{count.n:,}"),
            measure.note + REMARKS["null" if "null" in name else "estimate"] if measure.value is not None else "",
        )
        for name, measure in measures.items()
    ]
    return pd.DataFrame(rows, columns=["measure", "value", "trials", "remark"])


def selection_numbers(result: BacktestResult) -> pd.DataFrame:
    """Return the numbers of `selection`: measure, value and number of returns."""
    return pd.DataFrame(
        [(name, measure.value, measure.n) for name, measure in deflated(result)[1].items()],
        columns=["measure", "value", "n"],
    ).astype({"value": "float64"})


def trades(result: BacktestResult) -> pd.DataFrame:
    """Return the closed trades, oldest first, with their PnL before and after fees, quote currency.

    The columns strategy and symbol are left out if they have one value.
    """
    table = result.trades.rename(columns={"pnl": "pnl_before_fees"})
    after = table["pnl_before_fees"] - table["fees"]
    table.insert(table.columns.tolist().index("fees") + 1, "pnl_after_fees", after)
    table["exit_reason"] = [EXITS.get(str(reason), str(reason).replace("_", " ")) for reason in table["exit_reason"]]
    table.attrs["quote"] = result.market.columns[0].instrument.quote
    alike = [column for column in ("strategy", "symbol") if len(table[column].unique()) <= 1]
    return table.drop(columns=alike)


def run_facts(result: BacktestResult) -> dict[str, str]:
    """Return the run id, the digests and the parameters of a run by name."""
    facts = {"run_id": result.run_id}
    facts |= {f"{name} digest": digest[:16] for name, digest in result.digests.items()}
    for strategy, values in result.parameters.items():
        facts |= {f"{strategy}.{name}": str(value) for name, value in values.items()}
    return facts


def equity_and_drawdown(equity: pd.Series[float]) -> Figure:
    """Draw equity at each close, over more than half a year on a logarithmic scale, and the drawdown below it.

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
        fillcolor="rgba(156,20,32,0.18)",
        row=2,
        col=1,
    )
    axis = scale(equity) if equity.index[-1] - equity.index[0] > HALF_A_YEAR else {}
    figure.update_yaxes(title_text="equity, quote currency", **axis, row=1, col=1)
    figure.update_yaxes(title_text="drawdown", tickformat=".0%", row=2, col=1)
    return styled(figure, height=440)


def benchmark_overlay(equity: pd.Series[float], benchmark: pd.Series[float], name: str = "buy and hold") -> Figure:
    """Draw the growth of one unit of quote currency in the run and in its benchmark, on a logarithmic scale.

    Parameters
    ----------
    equity, benchmark : Series of shape (n_bars,), in quote currency
        Over the same bars. Both are divided by their first value.
    name : str
        Name of the benchmark in the legend.

    """
    import plotly.graph_objects as go

    ours, theirs = equity / equity.iloc[0], benchmark / benchmark.iloc[0]
    figure = go.Figure()
    figure.add_scatter(**line(theirs, thinned(theirs.to_numpy())), name=label(name), line={"color": GREY, "width": 1.4})
    figure.add_scatter(**line(ours, thinned(ours.to_numpy())), name="strategy", line={"color": BLUE, "width": 1.8})
    figure.update_yaxes(title_text="equity / first equity", **scale(ours, theirs) | {"tickformat": ".3~g"})
    return styled(figure, height=340)


def trades_on_price(close: pd.Series[float], fills: pd.DataFrame) -> Figure:
    """Draw the close and the fills: triangles up are buys, triangles down are sells.

    Parameters
    ----------
    close : Series of shape (n_bars,), in quote currency
        Index close times in UTC.
    fills : DataFrame
        Columns ts_event (UTC), side (`buy` or `sell`), quantity and price, in order of time. Of more than `MAX_FILLS`
        fills, the figure has the last ones and the closes since the first of them; see `fills_note`.

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
            x=times(pd.DatetimeIndex(part["ts_event"])),
            y=part["price"].to_numpy(dtype=np.float64),
            mode="markers",
            name=side,
            marker={"symbol": symbol, "color": color, "size": 8, "line": {"width": 0.6, "color": "#ffffff"}},
        )
    figure.update_yaxes(title_text="price, quote currency", **scale(close))
    return styled(figure, height=380)


def exposure_figure(exposure: pd.Series[float]) -> Figure:
    """Draw the net exposure at each close, a fraction of equity."""
    import plotly.graph_objects as go

    pen = {"color": BLUE, "width": 1.1, "shape": "hv"}
    figure = go.Figure()
    figure.add_scatter(**line(exposure, thinned(exposure.to_numpy())), name="exposure", line=pen, fill="tozeroy")
    figure.update_yaxes(title_text="exposure / equity", tickformat=".0%")
    return styled(figure, height=260)


def trades_figure(excursions: pd.DataFrame) -> Figure:
    """Draw the return of each trade over its length, and below over its largest adverse and favourable excursion."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, vertical_spacing=0.16)
    returns = excursions["return"].tolist()
    marks = (
        (1, "return over length", excursions["days"].tolist(), BLUE, "circle"),
        (2, "largest adverse excursion (MAE)", (-excursions["adverse"]).tolist(), RED, "triangle-down"),
        (2, "largest favourable excursion (MFE)", excursions["favourable"].tolist(), BLUE, "triangle-up"),
    )
    for row, name, across, color, symbol in marks:
        marker = {"color": color, "symbol": symbol, "size": 6, "opacity": 0.75}
        figure.add_scatter(x=across, y=returns, mode="markers", name=name, marker=marker, row=row, col=1)
    figure.update_xaxes(title_text="length, days", row=1, col=1)
    figure.update_xaxes(title_text="excursion, of the entry price", tickformat=".1%", row=2, col=1)
    figure.update_yaxes(title_text="return after fees", tickformat=".1%")
    return styled(figure, height=560).update_layout(hovermode="closest")


def fills_note(fills: pd.DataFrame) -> str:
    """Return a sentence that says which fills `trades_on_price` draws."""
    if fills.empty:
        return "There are no fills."
    last = ", the last ones" if len(fills) > MAX_FILLS else ""
    return f"{min(len(fills), MAX_FILLS):,} of {len(fills):,} fills are shown{last}. {thinning_note()}"


def monthly_returns(equity: pd.Series[float], timeframe: Timeframe | None = None) -> Figure:
    """Draw the return of each calendar month (UTC) as a heat map with one row per year.

    Parameters
    ----------
    equity : Series of shape (n_bars,), in quote currency
        Index close times in UTC. A bar belongs to the month in which it opens. The return of a month starts at the last
        close of the month before, that of the first month at the first close.
    timeframe : Timeframe, optional
        Length of a bar; by default the smallest step of the index.

    """
    import plotly.graph_objects as go

    table = monthly_table(equity, timeframe)
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


def monthly_table(equity: pd.Series[float], timeframe: Timeframe | None = None) -> pd.DataFrame:
    """Return the return of each calendar month (UTC), a fraction: one row per year, columns 1 to 12, NaN outside.

    A bar belongs to the month in which it opens; see `metrics.period_returns`.
    """
    changes = period_returns(equity, "month", timeframe)
    starts = pd.DatetimeIndex(changes.index)
    columns = {"year": starts.year, "month": starts.month, "change": changes.to_numpy()}
    table = pd.DataFrame(columns).pivot_table(index="year", columns="month", values="change", aggfunc="first")
    return table.reindex(columns=range(1, 13))
