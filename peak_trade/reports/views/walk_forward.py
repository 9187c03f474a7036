"""Answer, tables and figures of a walk-forward. Measures come from `studies`; none is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from peak_trade.reports.answer import Answer, Check, Finding, Tile, number, percent, with_error
from peak_trade.reports.views.drawing import BLUE, GREY, styled
from peak_trade.reports.views.verdicts import drawdown_tile, return_tile, sharpe_tile

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from peak_trade.studies.walk_forward.result import WalkForward

_PERCENT, _RATIO = "{:+.1%}", "{:.2f}"
WINDOW_FORMATS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("is_total_return", "oos_total_return"), _PERCENT)
    | dict.fromkeys(("is_max_drawdown", "oos_max_drawdown"), "{:.1%}")
    | dict.fromkeys(("is_sharpe", "oos_sharpe"), _RATIO)
)
"""Formats of the table of windows."""
WINDOW_CAPTION = (
    "The prefix is_ marks measures of the chosen set on its training bars, oos_ those of the test bars that followed. "
    "A return belongs to the set that decided at the close before it."
)
STABILITY_FORMATS: Mapping[str, str] = MappingProxyType({"share": "{:.0%}", "kept": "{:.0%}"})
"""Formats of the table of parameters."""
STABILITY_CAPTION = (
    "Distinct values over the windows, the most frequent one with its share, and the share of the seams that kept the "
    "value."
)


def answer(found: WalkForward) -> Answer:
    """Return the verdict on a walk-forward, its requirements as checks, and its tiles.

    It is promoted if every requirement is met; see `WalkForward.requirements`.
    """
    met = [each.is_met for each in found.requirements]
    checks = tuple(Check(each.name.capitalize(), _finding(each.is_met), each.found) for each in found.requirements)
    finding = Finding.SHOWN if found.is_promoted else Finding.AGAINST if False in met else Finding.NOT_SHOWN
    run, held = found.result.stats(), found.result.benchmark.stats()
    kept = found.efficiency
    sentence = (
        f"Out of sample it returned {percent(run['total_return'].value)} after costs with a Sharpe ratio of "
        f"{with_error(run['sharpe'])}. Mean ratio in sample: {number(_or_none(found.in_sample_sharpe))}. "
        f"Buying and holding returned {percent(held['total_return'].value)}."
    )
    tiles = (
        return_tile(run, held),
        sharpe_tile(run["sharpe"], held["sharpe"], "Sharpe ratio out of sample"),
        drawdown_tile(run, held),
        Tile("Kept of the ratio in sample", percent(kept.value, sign=False), kept, foot=kept.note),
    )
    return Answer("Promoted" if found.is_promoted else "Rejected", finding, sentence, found.verdict, checks, tiles)


def windows(found: WalkForward) -> pd.DataFrame:
    """Return the table of windows, numbered from 1."""
    return found.table.assign(window=range(1, len(found.folds) + 1)).set_index("window").reset_index()


def in_and_out_of_sample(found: WalkForward) -> Figure:
    """Draw the Sharpe ratio of each window in and out of sample, or the total return where there is no ratio."""
    import plotly.graph_objects as go

    name = "total_return" if found.table["oos_sharpe"].isna().all() else "sharpe"
    days = found.table["test_from"].dt.strftime("%Y-%m-%d").to_list()
    bars = [
        go.Bar(x=days, y=found.table[f"{prefix}_{name}"].to_list(), name=label, marker={"color": color})
        for prefix, label, color in (("is", "in sample", GREY), ("oos", "out of sample", BLUE))
    ]
    figure = go.Figure(bars)
    figure.update_xaxes(title_text="first close of the test window", type="category")
    figure.update_yaxes(title_text="Sharpe ratio, a year" if name == "sharpe" else "total return, fraction")
    return styled(figure, height=320)


def _finding(is_met: bool | None) -> Finding:
    return Finding.UNKNOWN if is_met is None else Finding.SHOWN if is_met else Finding.NOT_SHOWN


def _or_none(value: float) -> float | None:
    return None if value != value else value
