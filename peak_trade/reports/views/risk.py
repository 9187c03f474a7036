"""Figures, captions and formats of the risk study. Nothing is computed here: the studies do."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pandas as pd

from peak_trade.reports.views.backtest import HEADLINE_CAPTION, MAX_FILLS, fills_note, trades_on_price
from peak_trade.reports.views.drawing import BLUE, COLORS, GREY, ORANGE, RED, label, styled

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TEST_FORMATS: Mapping[str, str] = MappingProxyType(
    {"kupiec_p": "{:.4f}", "independence_p": "{:.4f}", "coverage_p": "{:.4f}"}
)
TEST_CAPTION = (
    "p-values of Kupiec's test of frequency and of Christoffersen's tests of independence and of both. The zone is the "
    "Basel traffic light of the last 250 days. Days without an estimate are counted and left out of the tests."
)
BACKTEST_FORMATS: Mapping[str, str] = MappingProxyType(
    {"level": "{:.0%}", "expected": "{:.1f}", "kupiec_p": "{:.4f}", "coverage_p": "{:.4f}", "quantile_p": "{:.4f}"}
    | {"z2": "{:.2f}", "z2_critical": "{:.2f}", "z2_p": "{:.4f}"}
)
BACKTEST_CAPTION = (
    "A correct model has the expected number of exceptions. The dynamic quantile test finds clusters of exceptions. Z2 "
    "tests the expected shortfall and is rejected at 5 % below its critical value; both are simulated. The book has "
    "the weights held at each day's close on the returns of the next day; days without a position are left out. There "
    "are no p-values below 40 days."
)
STRESS_FORMATS: Mapping[str, str] = MappingProxyType({"loss": "{:.2%}"})
CONFUSION_CAPTION = (
    "False positives are safe orders that were denied, misses are unsafe orders that passed, each as a fraction of its "
    "kind. Generated bars have no thin market; `docs/risk.md` has the matrix of recorded bars and order books."
)
REVERSE_STRESS_FORMATS: Mapping[str, str] = MappingProxyType(
    {"limit": "{:.4g}", "observed": "{:.4g}", "shock": "{:+.2%}"}
)
REVERSE_STRESS_CAPTION = (
    "The shock is the smallest equal move of all prices that breaks a limit, with unchanged positions, from a new "
    "equity peak at the start of a day. Limits and observed values are fractions of equity. `docs/risk.md` has the "
    "formulas."
)
MARGINAL_FORMATS: Mapping[str, str] = MappingProxyType(
    {"weight": "{:.2%}", "marginal_var": "{:.4f}", "component_var": "{:.3%}", "share": "{:.1%}"}
)
MARGINAL_CAPTION = (
    "Marginal VaR is the derivative of the one-day value at risk by the weight; component VaR is weight times "
    "marginal VaR. The components sum to the value at risk; a position with a negative component is a hedge."
)
COVERAGE_FORMATS: Mapping[str, str] = MappingProxyType({"rate": "{:.2%}", "kupiec_p": "{:.4f}"})
COVERAGE_CAPTION = (
    "A day belongs to the regime that was known at its start. A small p-value means that the exceptions in this regime "
    "are more or fewer than the confidence level implies. A test over few days has little power."
)
MAX_DENIALS = 600
"""Largest number of denials in a figure; the last ones are drawn."""
CONFUSION_FORMATS: Mapping[str, str] = MappingProxyType({"false_positives": "{:.1%}", "misses": "{:.1%}"})


def var_against_loss(walk: pd.DataFrame, model: str) -> Figure:
    """Draw the loss of each day and the value at risk estimated the day before, and mark the exceptions.

    Parameters
    ----------
    walk : DataFrame with columns value_at_risk, loss (fractions) and is_exception, by day (UTC)
    model : str
        Name of the VaR model in the legend.

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
    figure.update_yaxes(title_text="loss, fraction of equity", tickformat=".1%")
    return styled(figure, height=380)


def stress_bars(table: pd.DataFrame) -> Figure:
    """Draw the loss of each scenario, the largest at the top."""
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
    figure.update_xaxes(title_text="loss, fraction of equity", tickformat=".0%")
    return styled(figure, height=380)


def headroom_over_time(readings: pd.DataFrame, n_tightest: int = 6) -> Figure:
    """Draw the headroom of the tightest limits at each order, as a fraction of the limit; below zero is a denial.

    A denial because of an unreadable input has no headroom: it is drawn at -100 %.

    Parameters
    ----------
    readings : DataFrame
        The result of `studies.risk.decisions.headroom`.
    n_tightest : int
        Number of limits to draw: those with the smallest median headroom.

    """
    import plotly.graph_objects as go

    known = readings.dropna(subset="headroom")
    tightest = known.groupby("code")["headroom"].median().sort_values(kind="stable").index[:n_tightest]
    figure = go.Figure()
    for place, code in enumerate(tightest):
        own = known[known["code"] == code]
        figure.add_scatter(
            x=[f"{time:%Y-%m-%d %H:%M}" for time in own.index],
            y=own["headroom"].clip(lower=-1.0).tolist(),
            name=str(code),
            mode="markers",
            marker={"size": 5, "color": COLORS[place % len(COLORS)]},
        )
    unread = readings[readings["is_denied"] & readings["observed"].isna()]
    if len(unread):
        figure.add_scatter(
            x=[f"{time:%Y-%m-%d %H:%M}" for time in unread.index],
            y=[-1.0] * len(unread),
            text=unread["code"].tolist(),
            name="denied, unreadable input",
            mode="markers",
            marker={"color": ORANGE, "size": 7, "symbol": "x"},
        )
    figure.add_hline(y=0.0, line={"color": ORANGE, "width": 1})
    figure.update_yaxes(title_text="headroom, fraction of the limit", tickformat=".0%")
    return styled(figure, height=400)


def headline_caption(since: pd.Timestamp | None) -> str:
    """Return the caption of the measures, which start at the first permitted bar."""
    if since is None:
        return f"No order passed; the measures are those of the whole run. {HEADLINE_CAPTION}"
    return f"From {since:%Y-%m-%d %H:%M} UTC on, the first close at which an order passed. {HEADLINE_CAPTION}"


def denials(table: pd.DataFrame) -> Figure:
    """Draw the denied orders by the gate that binds first, and all denials of each gate behind them."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for column, name, color in (("n_denials", "denied too", GREY), ("n_first", "binds first", RED)):
        figure.add_bar(
            orientation="h", y=table["code"].tolist(), x=table[column].tolist(), name=name, marker={"color": color}
        )
    figure.update_layout(barmode="overlay")
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title_text="number of orders")
    return styled(figure, height=120 + 26 * len(table))


def fills_and_denials(
    close: pd.Series[float], fills: pd.DataFrame, denied: pd.DataFrame, spans: pd.DataFrame
) -> Figure:
    """Draw fills and denied orders on the price; below it, a lane per gate that binds first, and the trading spans.

    The hover text of a cross has the observed value and the limit. Without denials, there are no lanes.

    Parameters
    ----------
    close : Series of shape (n_bars,), in quote currency
        Index close times in UTC.
    fills : DataFrame
        Fills as for `trades_on_price`.
    denied : DataFrame
        The result of `studies.risk.decisions.denied_orders`; of more than `MAX_DENIALS`, the last ones are drawn.
    spans : DataFrame
        The result of `studies.risk.decisions.trading_spans`.

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
    binding = drawn[drawn["binds"]]
    counts = binding["code"].value_counts().sort_index(kind="stable").sort_values(ascending=False, kind="stable")
    for place, code in enumerate(counts.index):
        own = binding[binding["code"] == code]
        figure.add_scatter(
            **_crosses(own["ts_event"], own["code"], COLORS[place % len(COLORS)], 6),
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
    for could, name, color in ((True, "could trade", BLUE), (False, "could not trade", RED)):
        figure.add_scatter(**_band(spans[spans["could_trade"] == could], name, color))
    lanes = 30 + 18 * (len(counts) + 2)
    styled(figure, height=380 + lanes)
    figure.update_layout(
        xaxis={"anchor": "y2"},
        yaxis={"domain": [lanes / (316 + lanes), 1.0]},
        yaxis2={
            "domain": [0.0, (lanes - 18) / (316 + lanes)],
            "type": "category",
            "range": [len(counts) + 1.5, -0.5],
            "gridcolor": "#e6e9e7",
            "automargin": True,
        },
        hoversubplots="axis",
    )
    return figure


def _band(spans: pd.DataFrame, name: str, color: str) -> dict[str, Any]:
    """Return a lane with a thick line over each span, and the share of their time in its name."""
    lane = f"{name}, {spans['share'].sum():.1%} of the time"
    x: list[str | None] = []
    for start, end in zip(spans["start"], spans["end"], strict=True):
        x += [f"{start:%Y-%m-%d %H:%M}", f"{end:%Y-%m-%d %H:%M}", None]
    drawn = {"x": x or [None], "y": [lane] * max(len(x), 1), "mode": "lines", "line": {"color": color, "width": 10}}
    return drawn | {"name": lane, "yaxis": "y2", "showlegend": False}


def drawn_denials(fills: pd.DataFrame, denied: pd.DataFrame) -> pd.DataFrame:
    """Return the denials that `fills_and_denials` draws: the last ones, not before the first fill in the figure."""
    if len(fills) > MAX_FILLS:
        denied = denied[denied["ts_event"] >= fills["ts_event"].iloc[-MAX_FILLS]]
    return denied.tail(MAX_DENIALS)


def fills_and_denials_note(fills: pd.DataFrame, denied: pd.DataFrame) -> str:
    """Return a sentence that says which fills and denials `fills_and_denials` draws."""
    n_drawn, n_denied = (int(each["binds"].sum()) for each in (drawn_denials(fills, denied), denied))
    if denied.empty:
        return f"There are no denials. {fills_note(fills)}"
    lanes = "each in the lane of the gate that binds first"
    return f"{n_drawn:,} of {n_denied:,} denied orders are shown, {lanes}. {fills_note(fills)}"


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
