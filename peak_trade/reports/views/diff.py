"""Figures, tables and sentences of a diff of two runs; the values come from `peak_trade.diff`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.causality import causality_note
from peak_trade.core.time import iso
from peak_trade.diff.causes import Kind
from peak_trade.reports.views.drawing import BLUE, GREEN, GREY, ORANGE, RED, label, line, scale, styled, thinned

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from peak_trade.diff.matching import OrderPair
    from peak_trade.diff.order_histories import OrderHistory
    from peak_trade.diff.result import DiffResult

MAX_PAIRS = 250
"""Largest number of drawn orders; of more orders, those with the largest price differences are drawn."""
N_BINS = 30
SIDES_FORMATS: Mapping[str, str] = MappingProxyType({"PnL": "{:,.2f}", "fees": "{:,.2f}", "shortfall": "{:,.2f}"})
CAUSES_FORMATS: Mapping[str, str] = MappingProxyType({"PnL": "{:+,.2f}"})
WATERFALL_CAPTION = "The steps sum exactly to the live PnL. Consequences count for the cause of their root."
PNL_ATTRIBUTION_CAPTION = (
    "Basel P&L attribution test (MAR32.42) on bars. Green: Spearman correlation above 0.80 and KS distance below 0.09; "
    "red: correlation below 0.70 or distance above 0.12; otherwise amber."
)
SHORTFALL_CAPTION = "Perold (1988): delay + trading + opportunity + fees = paper PnL − actual PnL. Positive is a cost."


def equity_and_gap(equity: pd.DataFrame) -> Figure:
    """Draw both equity curves above their gap.

    Parameters
    ----------
    equity : DataFrame of shape (n_bars, 3), in quote currency
        Columns shadow, live and gap (live − shadow), index close times in UTC: `DiffResult.equity`.

    """
    from plotly.subplots import make_subplots

    rows = np.unique(np.concatenate([thinned(equity[name].to_numpy(), 120) for name in equity.columns]))
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.66, 0.34], vertical_spacing=0.06)
    for name, color, width in (("shadow", BLUE, 2.2), ("live", ORANGE, 1.4)):
        figure.add_scatter(**line(equity[name], rows), name=name, line={"color": color, "width": width}, row=1, col=1)
    figure.add_scatter(
        **line(equity["gap"], rows),
        name="live − shadow",
        line={"color": GREY, "width": 1},
        fill="tozeroy",
        fillcolor="rgba(138,143,152,0.25)",
        row=2,
        col=1,
    )
    figure.update_yaxes(title_text="equity, quote currency", row=1, col=1)
    figure.update_yaxes(title_text="gap", row=2, col=1)
    return styled(figure, height=440)


def waterfall(steps: pd.DataFrame) -> Figure:
    """Draw the steps from the shadow's PnL to the live PnL, one per cause: columns step and amount, quote currency."""
    import plotly.graph_objects as go

    measures = ["absolute", *["relative"] * (len(steps) - 2), "total"]
    amounts = steps["amount"].to_numpy(dtype=np.float64)
    texts = [
        f"{value:,.2f}" if kind != "relative" else f"{value:+,.2f}"
        for value, kind in zip(amounts, measures, strict=True)
    ]
    figure = go.Figure(
        go.Waterfall(
            x=[step.replace(" ", "<br>") for step in steps["step"]],
            y=amounts,
            measure=measures,
            text=texts,
            textposition="outside",
            cliponaxis=False,
            name="PnL",
            increasing={"marker": {"color": GREEN}},
            decreasing={"marker": {"color": RED}},
            totals={"marker": {"color": BLUE}},
            connector={"line": {"color": GREY, "width": 1, "dash": "dot"}},
        )
    )
    figure.update_yaxes(title_text="PnL, quote currency")
    figure.update_layout(showlegend=False)
    return styled(figure, height=360).update_layout(hovermode="closest", margin={"t": 50, "b": 66})


def fills_on_price(result: DiffResult) -> Figure:
    """Draw the fills of both runs on the close, and a line between the fills of one order."""
    import plotly.graph_objects as go

    symbol = sorted(result.last_closes)[0]
    seen = sorted((time, values[3]) for time, values in result.shadow.bars[symbol].items())
    close = pd.Series([v for _, v in seen], index=pd.DatetimeIndex([t for t, _ in seen], tz="UTC"), dtype="float64")
    close = close[close.index >= pd.Timestamp(result.shadow.starts_at, tz="UTC")]
    figure = go.Figure()
    figure.add_scatter(**line(close, thinned(close.to_numpy())), name="close", line={"color": GREY, "width": 1})
    pairs = drawn_pairs(result, symbol)
    joined: tuple[list[Any], list[Any]] = ([], [])
    for pair in pairs:
        if pair.shadow is not None and pair.live is not None:
            joined[0].extend([*_fill_times([pair.shadow, pair.live]), None])
            joined[1].extend([pair.shadow.price, pair.live.price, None])
    figure.add_scatter(
        x=joined[0], y=joined[1], mode="lines", name="same order", line={"color": RED, "width": 1.5},
        hoverinfo="skip",
    )  # fmt: skip
    for place, (name, color, marker) in enumerate((("shadow", BLUE, "circle-open"), ("live", ORANGE, "x-thin-open"))):
        orders = [order for pair in pairs if (order := pair.histories[place]) is not None and order.fills]
        figure.add_scatter(
            x=_fill_times(orders),
            y=[order.price for order in orders],
            text=[label(f"{order.order_id} {order.side} {order.filled:g}") for order in orders],
            hovertemplate="%{text} at %{y:,.2f}<extra>" + name + "</extra>",
            mode="markers",
            name=name,
            marker={"symbol": marker, "color": color, "size": 9, "line": {"width": 2, "color": color}},
        )
    figure.update_yaxes(title_text=f"price of {label(symbol)}", **scale(close))
    return styled(figure, height=400).update_layout(hovermode="closest")


def drawn_pairs(result: DiffResult, symbol: str) -> list[OrderPair]:
    """Return the filled orders of a symbol that are drawn: at most `MAX_PAIRS`, in order."""
    filled = [pair for pair in result.matches if any(_is_filled(order, symbol) for order in pair.known)]
    if len(filled) <= MAX_PAIRS:
        return filled
    furthest = sorted(range(len(filled)), key=lambda place: (-_apart(filled[place]), place))[:MAX_PAIRS]
    return [filled[place] for place in sorted(furthest)]


def pairs_note(result: DiffResult) -> str:
    """Return the caption of `fills_on_price`."""
    n_filled = sum(any(order.fills for order in pair.known) for pair in result.matches)
    if n_filled == 0:
        return "Neither run has a fill."
    shown = f"All {n_filled:,} filled orders"
    if n_filled > MAX_PAIRS:
        shown = f"The {MAX_PAIRS} filled orders with the largest price differences"
    return f"{shown}; a red line joins the fills of one order. Zoom in to see the difference."


def execution_quality(result: DiffResult) -> Figure:
    """Draw histograms of slippage and latency of both runs."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=2, subplot_titles=("slippage, bps", "latency, ms"))
    samples = execution_samples(result)
    for column, name in enumerate(("slippage_bps", "latency_ms"), start=1):
        edges = _edges(np.concatenate([samples[run][name] for run in ("shadow", "live")]))
        for run, color in (("shadow", BLUE), ("live", ORANGE)):
            counts, _ = np.histogram(samples[run][name], bins=edges)
            figure.add_bar(
                x=np.round((edges[:-1] + edges[1:]) / 2.0, 6), y=counts, name=run, marker={"color": color}, opacity=0.7,
                width=np.diff(edges), showlegend=column == 1, legendgroup=run, row=1, col=column,
            )  # fmt: skip
    figure.update_layout(barmode="overlay")
    figure.update_yaxes(title_text="number of orders", row=1, col=1)
    return styled(figure, height=320).update_layout(
        hovermode="closest", legend={"y": 1.16}, margin={"t": 84}, bargap=0.0
    )


def execution_samples(result: DiffResult) -> dict[str, dict[str, FloatArray]]:
    """Return by run the slippage (bps of the arrival price, worse is positive) and latency (ms) of filled orders."""
    samples = {}
    for place, run in enumerate(("shadow", "live")):
        orders = [order for pair in result.matches if (order := pair.histories[place]) is not None and order.fills]
        slips = [order.side.sign * (order.price / order.arrival_price - 1.0) * 1e4 for order in orders]
        late = [(order.fills[0].ts_event - order.decided_at) / 1e6 for order in orders]
        samples[run] = {
            "slippage_bps": np.array(slips, dtype=np.float64),
            "latency_ms": np.array(late, dtype=np.float64),
        }
    return samples


def shortfall_parts(shortfall: pd.DataFrame) -> Figure:
    """Draw the four parts of the implementation shortfall of both runs, summed over all orders, quote currency."""
    import plotly.graph_objects as go

    parts = ["delay", "trading", "opportunity", "fees"]
    figure = go.Figure()
    for run, color in (("shadow", BLUE), ("live", ORANGE)):
        sums = shortfall[shortfall["run"] == run][parts].sum()
        figure.add_bar(x=parts, y=sums.to_numpy(dtype=np.float64), name=run, marker={"color": color})
    figure.update_yaxes(title_text="cost, quote currency")
    return styled(figure, height=300)


def outcome(result: DiffResult) -> list[str]:
    """Return sentences that state whether the runs agree, and name the root with the largest PnL and each bias."""
    sentences = [result.verdict]
    roots = [each for each in result.roots if each.total_pnl]
    gap = result.live_pnl - result.shadow_pnl
    if not result.is_equal:
        sentences.append(
            f"The PnL is {result.shadow_pnl:,.2f} in the shadow and {result.live_pnl:,.2f} live: {gap:+,.2f}."
        )
    if roots:
        largest = max(roots, key=lambda each: abs(each.total_pnl))
        sentences.append(
            f"The root with the largest PnL is no. {largest.number}, {largest.cause}: {largest.total_pnl:+,.2f} "
            f"including {largest.n_follow:,} consequences."
        )
    sentences += [f"{str(each.bias)[:1].upper()}{str(each.bias)[1:]}." for each in roots if each.bias is not None]
    sentences += [result.advice] if result.advice else []
    sentences += [f"{note[:1].upper()}{note[1:]}." for note in result.notes]
    if result.n_outside and not result.notes:
        sentences.append(f"{result.n_outside:,} orders are outside the common span and are not compared.")
    outcomes = [each for log in (result.shadow, result.live) for each in log.recording.causality]
    sentences += filter(None, [causality_note(outcomes)])
    return sentences


def sides(result: DiffResult) -> pd.DataFrame:
    """Return one row per run: mode, bars, orders, fills, PnL in the common span, fees and shortfall."""
    rows = []
    for run, log, pnl in (("shadow", result.shadow, result.shadow_pnl), ("live", result.live, result.live_pnl)):
        costs = result.shortfall.loc[result.shortfall["run"] == run, ["fees", "shortfall"]].sum()
        n_fills = sum(len(order.fills) for order in log.histories.values())
        row = (run, log.recording.mode, len(log.close_times), len(log.histories), n_fills, pnl)
        rows.append((*row, float(costs["fees"]), float(costs["shortfall"])))
    return pd.DataFrame(rows, columns=["side", "mode", "bars", "orders", "fills", "PnL", "fees", "shortfall"])


def causes(result: DiffResult) -> pd.DataFrame:
    """Return one row per cause: roots, consequences and PnL, live − shadow, quote currency.

    The last row is what is within the tolerances: it has no root.
    """
    rows: dict[str, list[float]] = {}
    for each in result.roots:
        row = rows.setdefault(str(each.cause), [0, 0, 0.0])
        row[0] += 1
        row[1] += each.n_follow
        row[2] += each.total_pnl
    frame = pd.DataFrame(
        [(cause, int(n_roots), int(n_follow), pnl) for cause, (n_roots, n_follow, pnl) in rows.items()],
        columns=["cause", "roots", "consequences", "PnL"],
    )
    frame = frame.astype({"PnL": "float64"}).sort_values("PnL", key=abs, ascending=False, ignore_index=True)
    tolerated = {"cause": Kind.WITHIN_TOLERANCE.value, "roots": 0, "consequences": result.n_tolerated}
    return pd.concat([frame, pd.DataFrame([tolerated | {"PnL": result.tolerated_pnl}])], ignore_index=True)


def pnl_attribution(result: DiffResult) -> dict[str, str]:
    """Return the result of the P&L attribution test as fields."""
    score = result.pnl_attribution
    if score.zone == "none":
        return {"P&L attribution": "no score", "note": score.note}
    return {
        "P&L attribution": score.zone,
        "Spearman correlation": f"{score.spearman:.4f}",
        "Kolmogorov-Smirnov distance": f"{score.ks:.4f}",
        "note": score.note,
    }


def compared(result: DiffResult) -> dict[str, str]:
    """Return the runs, the common span, the numbers of matched orders and the tolerances as fields."""
    n_matched = sum(pair.is_matched for pair in result.matches)
    heuristic = [pair.confidence for pair in result.matches if pair.is_heuristic]
    equity = result.equity
    span = f"{iso(equity.index[0].value)} to {iso(equity.index[-1].value)}" if len(equity) else "none"
    return {
        "shadow": result.shadow.recording.name,
        "live": result.live.recording.name,
        "common closes": f"{len(equity):,}, {span}",
        "orders matched by id": f"{n_matched - len(heuristic):,}",
        "heuristic matches": f"{len(heuristic):,}" + (f", confidence from {min(heuristic):.2f}" if heuristic else ""),
        "orders in the shadow only": f"{sum(pair.live is None for pair in result.matches):,}",
        "orders in the live run only": f"{sum(pair.shadow is None for pair in result.matches):,}",
        "tolerance of fill prices": f"{result.tolerance_bps:g} bps",
        "tolerance of times": f"{result.tolerance_ms:g} ms",
        "unexplained PnL": f"{result.unexplained_pnl:,.2f}, limit {result.unexplained_limit:,.2f}",
    }


def _edges(values: FloatArray) -> FloatArray:
    if values.size == 0:
        return np.linspace(0.0, 1.0, 2)
    low, high = np.quantile(values, [0.005, 0.995])
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    edges: FloatArray = np.linspace(low, high, N_BINS + 1)
    edges[0], edges[-1] = min(edges[0], values.min()), max(edges[-1], values.max())
    return edges


def _fill_times(orders: list[OrderHistory]) -> list[str]:
    times = [order.fills[0].ts_event if order.fills else order.decided_at for order in orders]
    return list(pd.DatetimeIndex(times, tz="UTC").strftime("%Y-%m-%d %H:%M:%S.%f"))


def _is_filled(order: OrderHistory, symbol: str) -> bool:
    return order.symbol == symbol and bool(order.fills)


def _apart(pair: OrderPair) -> float:
    if pair.shadow is None or pair.live is None or not (pair.shadow.fills and pair.live.fills):
        return float("inf")
    return abs(pair.live.price / pair.shadow.price - 1.0)
