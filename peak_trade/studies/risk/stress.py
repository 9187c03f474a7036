"""Tables of stress losses, and of the moves of all prices that break a limit."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from peak_trade.core.history import ReturnHistory
from peak_trade.risk.limits import RiskLimits, StressLimits
from peak_trade.risk.scenarios import DATED, MODELLED, UNIFORM
from peak_trade.risk.stress import BreakingShock, reverse_stress, stress_losses


def stress_table(
    weights: Mapping[str, float], history: ReturnHistory, rules: StressLimits | None = None
) -> pd.DataFrame:
    """Return one row per scenario: scenario, loss, window, source.

    Parameters
    ----------
    weights : mapping of symbol to signed exposure, fractions of equity
    history : ReturnHistory
        Daily returns of at least these symbols.
    rules : StressLimits, optional

    Returns
    -------
    DataFrame
        loss: a fraction of equity, positive for a loss. window: the dates of the scenario, or "hypothetical".
        source: where the shocks come from, or what the scenario assumes.

    """
    names = tuple(sorted(weights))
    losses = stress_losses(np.array([weights[name] for name in names]), history.select(names), rules or StressLimits())
    notes = {scenario.name: (scenario.window, scenario.source) for scenario in (*DATED, *UNIFORM)}
    notes |= {name: ("hypothetical", meaning) for name, meaning in MODELLED.items()}
    return pd.DataFrame(
        [(name, loss, *notes[name]) for name, loss in losses.items()], columns=["scenario", "loss", "window", "source"]
    )


def reverse_stress_table(
    weights: Mapping[str, float], history: ReturnHistory, limits: RiskLimits, equity: float
) -> pd.DataFrame:
    """Return one row per limit: setting, limit, observed, shock, outcome.

    Parameters
    ----------
    weights : mapping of symbol to signed exposure, fractions of equity
    history : ReturnHistory
        Daily returns of at least these symbols.
    limits : RiskLimits
    equity : float, quote currency

    Returns
    -------
    DataFrame
        observed: the value before the move. shock: the smallest move of all prices, a fraction, that breaks the limit;
        NaN when none does. outcome: `broken now`, `at the limit`, `fall`, `rise` or `no move`. See `reverse_stress`.

    """
    names = tuple(sorted(weights))
    shocks = reverse_stress(np.array([weights[name] for name in names]), history.select(names), limits, equity)
    rows = [
        (each.setting, each.limit, each.observed, math.nan if each.shock is None else each.shock, _outcome(each))
        for each in shocks
    ]
    table = pd.DataFrame(rows, columns=["setting", "limit", "observed", "shock", "outcome"])
    return table.astype({"limit": "float64", "observed": "float64", "shock": "float64"})


def _outcome(each: BreakingShock) -> str:
    if each.shock is None:
        return "no move"
    if each.shock == 0.0:
        return "broken now" if each.observed > each.limit else "at the limit"
    return "rise" if each.shock > 0.0 else "fall"
