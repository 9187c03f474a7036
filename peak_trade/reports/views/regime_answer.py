"""Answer of a regime study: what the regimes add to the rule, with its error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from peak_trade.metrics import Measure, sharpe, simple_returns
from peak_trade.reports.answer import (
    Answer,
    Check,
    Finding,
    Strip,
    Tile,
    bounds_finding,
    error_text,
    interval_finding,
    number,
    percent,
    with_error,
)
from peak_trade.reports.views.verdicts import drawdown_tile, return_tile, sharpe_tile
from peak_trade.studies.regime.naming import LEAST_AGREEMENT

if TYPE_CHECKING:
    from peak_trade.studies.noise import NoiseControl
    from peak_trade.studies.regime.naming import Naming
    from peak_trade.studies.regime.study import RegimeStudy

LEAST_POWER = 0.8
"""Probability of finding a leak from which a control is called powerful."""


def answer(study: RegimeStudy, p_value: float, noise: Sequence[NoiseControl], naming: Naming) -> Answer:
    """Return the verdict of a regime study with its checks and tiles.

    There is evidence of an edge only if the regimes add to the rule, their dates matter, the method is silent on noise,
    and the 95 % interval of the Sharpe ratio with regimes lies above 0.
    """
    checks = _checks(study, p_value, noise, naming)
    with_regimes, without = _ratios(study)
    adds, dates, silent = (check.finding for check in checks[:3])
    own = interval_finding(with_regimes)
    if silent is Finding.AGAINST or Finding.UNKNOWN in (adds, own):
        verdict, finding = "Cannot say", Finding.UNKNOWN
    elif adds is Finding.AGAINST:
        verdict, finding = "Worse than the rule alone", Finding.AGAINST
    elif own is adds is dates is silent is Finding.SHOWN:
        verdict, finding = "Evidence of an edge", Finding.SHOWN
    else:
        verdict, finding = "No evidence of an edge", Finding.NOT_SHOWN
    sentence = (
        f"Regimes change the Sharpe ratio from {with_error(without)} to {with_error(with_regimes)}: a difference of "
        f"{with_error(study.sharpe_test.difference)}."
    )
    *_, conclusion = study.verdict(p_value, noise)
    return Answer(verdict, finding, sentence, conclusion, checks, _tiles(study, with_regimes, without))


def _ratios(study: RegimeStudy) -> tuple[Measure, Measure]:
    with_regimes, without = (
        sharpe(simple_returns(run.equity_values), study.bars_per_year) for run in (study.result, study.baseline)
    )
    return with_regimes, without


def _checks(
    study: RegimeStudy, p_value: float, noise: Sequence[NoiseControl], naming: Naming
) -> tuple[Check, Check, Check, Check, Check]:
    gain = study.sharpe_test
    judged = [control for control in noise if control.is_judged]
    leaks = [control for control in judged if control.is_leak(len(judged))]
    silent = Finding.UNKNOWN if not judged else Finding.AGAINST if leaks else Finding.SHOWN
    power = min((control.power(len(judged)) for control in judged), default=None)
    powerful = Finding.UNKNOWN
    if power is not None:
        powerful = Finding.SHOWN if power >= LEAST_POWER else Finding.NOT_SHOWN
    return (
        Check(
            "Adds to the rule",
            bounds_finding(gain.low, gain.high),
            f"difference of the Sharpe ratios: {with_error(gain.difference)}",
        ),
        Check(
            "Dates matter",
            Finding.SHOWN if p_value <= 0.05 else Finding.NOT_SHOWN,
            f"shifted regimes do as well in {percent(p_value, sign=False)} of the shifts",
        ),
        Check(
            "Silent on noise",
            silent,
            f"{len(leaks)} leaks in {len(judged)} controls" if judged else "no control has enough series to be judged",
        ),
        Check(
            "Power of controls",
            powerful,
            "not known" if power is None else f"a leak is found with probability {number(power)}",
        ),
        _stability(naming),
    )


def _stability(naming: Naming) -> Check:
    if naming.agreement.empty:
        return Check("Stable names", Finding.UNKNOWN, "agreement of the labels not measured")
    equal = float(naming.agreement["equal"].mean())
    finding = Finding.SHOWN if equal >= LEAST_AGREEMENT else Finding.AGAINST
    return Check("Stable names", finding, f"labels agree in {percent(equal, sign=False)} of the bars")


def _tiles(study: RegimeStudy, with_regimes: Measure, without: Measure) -> tuple[Tile, ...]:
    ours, plain, gap = study.result.stats(), study.baseline.stats(), study.sharpe_test.difference
    facts = study.facts()
    transitions = int(facts["transitions"])
    return (
        return_tile(ours, plain, "without"),
        sharpe_tile(with_regimes, without, "Sharpe with regimes", "without"),
        sharpe_tile(without, with_regimes, "Sharpe without", "with"),
        Tile("Difference", number(gap.value, sign=True), gap, error_text(gap), "paired", Strip.interval(gap)),
        drawdown_tile(ours, plain, "without"),
        Tile(
            "Transitions",
            f"{transitions:,}",
            Measure(float(transitions), int(facts["bars with a regime"])),
            foot=f"median {number(facts['median duration, bars'], 0)} bars",
        ),
    )
