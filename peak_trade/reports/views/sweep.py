"""Answer and figures of a sweep: whether its best set is promoted, and what speaks against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from peak_trade.core.errors import DataError
from peak_trade.metrics import Measure
from peak_trade.reports.answer import Answer, Check, Finding, Strip, Tile, number, percent, with_error
from peak_trade.reports.views.drawing import BLUE, GREY, RED, styled
from peak_trade.reports.views.verdicts import CONFIDENCE, drawdown_tile, return_tile, sharpe_tile
from peak_trade.studies.trials import deflated

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from peak_trade.studies.sweep.result import SweepResult

MOST_OVERFITTING = 0.2
"""Largest probability of overfitting with which a set is promoted."""
LEAST_PLATEAU = 0.5
"""Smallest plateau score, as a share of the set's own Sharpe ratio, with which a set is promoted."""
FAMILY_ERROR = 0.05
"""Family-wise error rate of the StepM test."""
PLATEAU_CAPTION = (
    "Sharpe ratio of each combination; over more than two parameters, the best one. A plateau is an "
    "area of similar ratios. The score of a combination is the mean ratio of it and its neighbours."
)
LOGITS_CAPTION = (
    "One value per split of the days into two halves: where the best combination of one half ranks in the other. Below "
    "zero it ranks below the median."
)
SURVIVORS_CAPTION = (
    "Combinations whose mean weekly return is above zero by the StepM test, with 5 % as the probability that one or "
    "more are listed by chance."
)


def answer(result: SweepResult) -> Answer:
    """Return the verdict on the best set of a sweep: promoted only if every check speaks for it."""
    checks = _checks(result)
    against = [_within(check.name) for check in checks if check.finding in (Finding.AGAINST, Finding.NOT_SHOWN)]
    unknown = [_within(check.name) for check in checks if check.finding is Finding.UNKNOWN]
    stats, held = result.winner.stats(), result.winner.benchmark.stats()
    best, ratio = result.parameters_of(result.winner_index), with_error(stats["sharpe"])
    if against:
        verdict = "Rejected"
        is_worse = any(check.finding is Finding.AGAINST for check in checks)
        finding = Finding.AGAINST if is_worse else Finding.NOT_SHOWN
        reason = f"It is rejected, because these checks do not hold: {', '.join(against)}."
    elif unknown:
        verdict, finding = "Cannot say", Finding.UNKNOWN
        reason = f"These checks have too little data: {', '.join(unknown)}."
    else:
        verdict, finding = "Promoted", Finding.SHOWN
        reason = "It is promoted, because all checks hold. A test on bars that no choice has seen comes next."
    sentence = f"The best of {len(result.table):,} combinations is {best}, with a Sharpe ratio of {ratio}. {reason}"
    detail = " ".join(filter(None, [result.engine_sentence, result.equal_sets_sentence, result.agreement_sentence]))
    overfitting = result.overfitting.probability
    tiles = (
        return_tile(stats, held),
        sharpe_tile(stats["sharpe"], held["sharpe"]),
        drawdown_tile(stats, held),
        Tile(
            "Probability of overfitting",
            _shown(overfitting),
            overfitting,
            foot=f"{len(result.table):,} combinations",
            strip=Strip.share(overfitting.value, is_cost=True),
        ),
    )
    return Answer(verdict, finding, sentence, detail, checks, tiles)


def _checks(result: SweepResult) -> tuple[Check, ...]:
    counted, measures = deflated(result.winner)
    chosen, overfitting = measures["deflated_sharpe"], result.overfitting.probability
    own, score = result.table["sharpe"].iloc[result.winner_index], result.plateau()[result.winner_index]
    share = score / own if own > 0.0 else np.nan
    try:
        survivors = result.survivors(FAMILY_ERROR)
        survives = Finding.SHOWN if result.winner_index in survivors else Finding.NOT_SHOWN
        text = f"{len(survivors):,} of {len(result.table):,} combinations survive, " + (
            "the best among them" if survives is Finding.SHOWN else "the best not among them"
        )
    except DataError as error:
        survives, text = Finding.UNKNOWN, str(error)
    n_trials = "" if counted is None else f" among {counted.n:,} trials"
    return (
        Check(
            "Survives the choice", _at_least(chosen, CONFIDENCE), f"deflated Sharpe ratio {_shown(chosen)}{n_trials}"
        ),
        Check(
            "Not overfitted",
            _overfitting_finding(overfitting),
            f"probability of overfitting {_shown(overfitting)}; a promotion needs at most {MOST_OVERFITTING:.0%}",
        ),
        Check("Better than cash by StepM", survives, text),
        Check(
            "On a plateau",
            Finding.UNKNOWN if np.isnan(share) else Finding.SHOWN if share >= LEAST_PLATEAU else Finding.NOT_SHOWN,
            f"plateau score {number(float(score))}, its own ratio {number(float(own))}",
        ),
        Check(
            "Event loop agrees",
            Finding.SHOWN if result.agrees else Finding.AGAINST,
            result.difference
            or ("the event loop ran all sets" if result.engine_reason else "fills and equity are equal"),
        ),
    )


def _at_least(measure: Measure, least: float) -> Finding:
    if measure.value is None:
        return Finding.UNKNOWN
    return Finding.SHOWN if measure.value >= least else Finding.NOT_SHOWN


def _overfitting_finding(probability: Measure) -> Finding:
    if probability.value is None:
        return Finding.UNKNOWN
    if probability.value <= MOST_OVERFITTING:
        return Finding.SHOWN
    return Finding.AGAINST if probability.value > 0.5 else Finding.NOT_SHOWN


def _within(name: str) -> str:
    """Return the name of a check within a sentence."""
    return name[:1].lower() + name[1:]


def _shown(measure: Measure) -> str:
    return measure.note if measure.value is None else percent(measure.value, sign=False)


def best_sets(result: SweepResult) -> pd.DataFrame:
    """Return the best sets as they ran in the event loop, with their plateau scores."""
    table = result.results.drop(columns=["run_id", "difference"])
    scores = result.plateau()
    return table.assign(plateau=[scores[place] for place in table.index])


def heat_map(result: SweepResult) -> Figure:
    """Draw the Sharpe ratio over the two parameters with the most values, and mark the best set."""
    import plotly.graph_objects as go

    table = result.table
    names = sorted(result.parameter_names, key=lambda name: -table[name].drop_duplicates().size)[:2]
    best = {name: table[name].iloc[result.winner_index] for name in names}
    figure = go.Figure()
    if len(names) < 2:
        ordered = table.sort_values(names[0]) if names else table
        across = ordered[names[0]].astype(str).tolist() if names else ["defaults"]
        figure.add_scatter(
            x=across, y=ordered["sharpe"].tolist(), mode="lines+markers", line={"color": BLUE}, name="Sharpe"
        )
        figure.update_layout(xaxis_title=names[0] if names else "", yaxis_title="Sharpe ratio")
        return styled(figure, 320)
    down, across_name = names[1], names[0]
    grid = table.pivot_table(index=down, columns=across_name, values="sharpe", aggfunc="max", sort=True)
    figure.add_heatmap(
        x=[str(value) for value in grid.columns],
        y=[str(value) for value in grid.index],
        z=[[None if value != value else float(value) for value in row] for row in grid.to_numpy()],
        colorscale="RdBu",
        zmid=0.0,
        colorbar={"title": "Sharpe"},
        name="Sharpe",
    )
    figure.add_scatter(
        x=[str(best[across_name])], y=[str(best[down])], mode="markers", name="best", showlegend=False,
        marker={"symbol": "x", "size": 11, "color": "#14191d"},
    )  # fmt: skip
    figure.update_xaxes(title=across_name, type="category")
    figure.update_yaxes(title=down, type="category")
    return styled(figure, 420)


def logits(result: SweepResult) -> Figure:
    """Draw the distribution of the logits of the overfitting test."""
    import plotly.graph_objects as go

    values = result.overfitting.logits
    counts, edges = np.histogram(values, bins=41) if values.size else (np.zeros(1), np.array([-1.0, 1.0]))
    middles = 0.5 * (edges[:-1] + edges[1:])
    figure = go.Figure()
    colors = [RED if middle < 0.0 else BLUE for middle in middles]
    figure.add_bar(x=middles.tolist(), y=counts.tolist(), marker={"color": colors}, name="splits")
    figure.add_vline(x=0.0, line={"color": GREY})
    figure.update_layout(xaxis_title="logit of the rank out of sample", yaxis_title="splits", bargap=0.02)
    return styled(figure, 300)


def survivors(result: SweepResult) -> pd.DataFrame | str:
    """Return the sets that the StepM test leaves, the best first; a sentence if it leaves none, or can not be made."""
    try:
        found = result.survivors(FAMILY_ERROR)
    except DataError as error:
        return str(error)
    if not found:
        return "No combination survives the test."
    return result.table.loc[found].sort_values("sharpe", ascending=False).head(20)
