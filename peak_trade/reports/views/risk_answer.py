"""Answer of a risk study: whether the limits let the strategy trade, and whether their model holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from peak_trade.journal.events import DecisionEvent, TradingStateEvent
from peak_trade.journal.orders import denials_sentence
from peak_trade.metrics import Measure
from peak_trade.reports.answer import Answer, Check, Finding, Strip, Tile, number, percent
from peak_trade.reports.views.verdicts import drawdown_tile, return_tile, sharpe_tile
from peak_trade.studies.risk.decisions import binding_denial, first_permitted, trading_spans

if TYPE_CHECKING:
    from peak_trade.engine.result import BacktestResult
    from peak_trade.risk.limits import RiskLimits

RARELY = 0.05
"""Largest share of denied orders with which limits bind rarely."""
LEVEL = 0.05
"""p-value below which a test of the coverage fails."""


def answer(result: BacktestResult, limits: RiskLimits, coverage: pd.DataFrame, stressed: pd.DataFrame) -> Answer:
    """Return the verdict of a risk study. Its measures are those from the first bar on at which an order passed.

    Parameters
    ----------
    result : BacktestResult
        A run within the limits.
    limits : RiskLimits
    coverage : DataFrame
        The result of `studies.risk.value_at_risk.coverage_table` with the method of the limits.
    stressed : DataFrame
        The result of `studies.risk.stress.stress_table`.

    """
    decisions = [event for event in result.events if isinstance(event, DecisionEvent)]
    denied = [decision for decision in decisions if not decision.is_approved]
    checks = _checks(result, limits, decisions, denied, coverage, stressed)
    could, *_ = (check.finding for check in checks)
    failed = [check.name for check in checks if check.finding is Finding.AGAINST]
    if not decisions:
        verdict, finding = "Nothing was reviewed", Finding.UNKNOWN
    elif could is Finding.AGAINST:
        verdict, finding = "The limits stop the strategy", Finding.AGAINST
    elif failed:
        verdict, finding = "The limits need attention", Finding.NOT_SHOWN
    elif all(check.finding is Finding.SHOWN for check in checks):
        verdict, finding = "The limits fit the strategy", Finding.SHOWN
    else:
        verdict, finding = "The limits let the strategy trade", Finding.NOT_SHOWN
    sentence = f"The limits let {len(decisions) - len(denied):,} of {len(decisions):,} orders through."
    detail = " ".join(
        [
            *_causes(result, limits, denied),
            *(each for each in result.cut_short if each != denials_sentence(result.events)),
            *([f"Not met: {', '.join(failed)}."] if failed else []),
        ]
    )
    return Answer(verdict, finding, sentence, detail, checks, _tiles(result, decisions, denied, coverage, stressed))


def _causes(result: BacktestResult, limits: RiskLimits, denied: list[DecisionEvent]) -> list[str]:
    """Return how many denials each gate binds first, and how many for want of an input; the first permitted bar."""
    first = [binding_denial(decision, limits.size_to_limits) for decision in denied if decision.denials]
    if not first:
        return []
    counts = pd.Series([str(denial.code) for denial in first], dtype=object).value_counts(sort=True)
    named = ", ".join(f"{code} {n:,}" for code, n in counts.items())
    unread = sum(math.isnan(denial.observed) for denial in first)
    missing = f", {unread:,} of them because its input was missing" if unread else ""
    since = first_permitted(result)
    passed = "No order passed." if since is None else f"The first order passed at {since:%Y-%m-%d %H:%M} UTC."
    return [f"Gates that denied first: {named} orders{missing}.", passed]


def _checks(
    result: BacktestResult,
    limits: RiskLimits,
    decisions: list[DecisionEvent],
    denied: list[DecisionEvent],
    coverage: pd.DataFrame,
    stressed: pd.DataFrame,
) -> tuple[Check, Check, Check, Check, Check]:
    states = [event for event in result.events if isinstance(event, TradingStateEvent)]
    state = str(states[-1].state) if states else "active"
    is_denied = bool(decisions) and len(denied) == len(decisions)
    stopped = is_denied or state != "active" or result.nothing_traded_after is not None
    share = len(denied) / len(decisions) if decisions else None
    tested = coverage.dropna(subset=["kupiec_p"])
    wrong = tested[tested["kupiec_p"] < LEVEL]
    worst = float(stressed["loss"].max())
    limit = None if limits.stress is None else limits.stress.max_stress_loss
    unread = sum(any(math.isnan(denial.observed) for denial in decision.denials) for decision in denied)
    return (
        Check(
            "Could trade",
            Finding.UNKNOWN if not decisions else Finding.AGAINST if stopped else Finding.SHOWN,
            f"{percent(_tradable(result), sign=False)} of the time; trading was {state} at the end",
        ),
        Check(
            "Limits bind rarely",
            Finding.UNKNOWN if share is None else Finding.SHOWN if share <= RARELY else Finding.AGAINST,
            "no orders" if share is None else f"{percent(share, sign=False)} of the orders denied",
        ),
        Check(
            "VaR coverage",
            Finding.UNKNOWN if tested.empty else Finding.AGAINST if len(wrong) else Finding.SHOWN,
            f"{len(wrong)} of {len(tested)} Kupiec tests fail at {percent(LEVEL, 0, sign=False)}",
        ),
        Check(
            "Stress within limit",
            Finding.UNKNOWN if limit is None else Finding.SHOWN if worst <= limit else Finding.AGAINST,
            f"worst loss {percent(worst, sign=False)}, "
            + ("no limit" if limit is None else f"limit {percent(limit, sign=False)}"),
        ),
        Check(
            "Inputs fresh",
            Finding.AGAINST if unread else Finding.SHOWN,
            f"{unread:,} order{'s' * (unread != 1)} denied because an input was missing",
        ),
    )


def _tradable(result: BacktestResult) -> float | None:
    spans = trading_spans(result)
    return None if spans.empty else float(spans.loc[spans["could_trade"], "share"].sum())


def _tiles(
    result: BacktestResult,
    decisions: list[DecisionEvent],
    denied: list[DecisionEvent],
    coverage: pd.DataFrame,
    stressed: pd.DataFrame,
) -> tuple[Tile, ...]:
    since = first_permitted(result)
    ours, held = result.stats(since), result.benchmark.stats(since)
    share = len(denied) / len(decisions) if decisions else None
    place = int(stressed["loss"].to_numpy().argmax())
    worst, scenario = float(stressed["loss"].iloc[place]), str(stressed["scenario"].iloc[place])
    hits, expected = float(coverage["n_exceptions"].sum()), float(coverage["expected"].sum())
    return (
        return_tile(ours, held),
        sharpe_tile(ours["sharpe"], held["sharpe"]),
        drawdown_tile(ours, held),
        Tile(
            "Orders denied",
            f"{len(denied):,}",
            Measure(float(len(denied)), len(decisions)),
            foot=f"of {len(decisions):,}",
            strip=Strip.share(share, is_cost=True),
        ),
        Tile(
            "VaR exceptions",
            number(hits, 0),
            Measure(hits, int(coverage["n_days"].sum())),
            foot=f"{number(expected, 1)} expected, all tests",
        ),
        Tile(
            "Worst stress loss",
            percent(worst, sign=False),
            Measure(worst, len(stressed)),
            foot=scenario,
            strip=Strip.share(worst, is_cost=True),
        ),
    )
