"""Table of measures: unit, format, and the tables that show them.

To add a measure of a run: write its function in `metrics`, compute it in `metrics.summary`, and add its row here. A
table that a row names shows the measure without further change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Place = Literal["run", "runs", "sweep", "selection", "overfitting", "regimes", "delays"]
"""run: all measures of one run, as `summary` returns them. runs: lists of recorded runs. sweep: the parameter sets of a
sweep, from the array kernel. selection: a run as one of many trials. overfitting: the choice of a sweep. regimes,
delays: the tables of a regime study."""


@dataclass(frozen=True, slots=True)
class MeasureFormat:
    """One measure of the table: its unit, the format string of its values, and the tables that show it."""

    unit: str
    pattern: str
    places: tuple[Place, ...] = ("run",)


_PERCENT, _RATIO, _COUNT = "{:.2%}", "{:,.2f}", "{:,.0f}"

MEASURES: Mapping[str, MeasureFormat] = MappingProxyType(
    {
        "total_return": MeasureFormat("fraction", _PERCENT, ("run", "runs", "sweep", "regimes", "delays")),
        "cagr": MeasureFormat("fraction a year", _PERCENT),
        "annual_volatility": MeasureFormat("fraction a year", _PERCENT, ("run", "regimes")),
        "sharpe": MeasureFormat("ratio, annualised", _RATIO, ("run", "runs", "sweep", "regimes", "delays")),
        "sharpe_aggregated": MeasureFormat("ratio, annualised", _RATIO),
        "probabilistic_sharpe": MeasureFormat("probability", _PERCENT),
        "minimum_track_length": MeasureFormat("bars", _COUNT),
        "sortino": MeasureFormat("ratio, annualised", _RATIO),
        "calmar": MeasureFormat("ratio", _RATIO),
        "max_drawdown": MeasureFormat("fraction", _PERCENT, ("run", "runs", "sweep", "regimes")),
        "longest_drawdown": MeasureFormat("bars", _COUNT),
        "recovery": MeasureFormat("bars", _COUNT),
        "win_rate": MeasureFormat("fraction", _PERCENT),
        "profit_factor": MeasureFormat("ratio", _RATIO),
        "time_in_market": MeasureFormat("fraction", _PERCENT),
        "turnover": MeasureFormat("ratio a year", _RATIO, ("run", "delays")),
        "n_trades": MeasureFormat("count", _COUNT, ("run", "runs")),
        "n_fills": MeasureFormat("count", _COUNT, ("run", "sweep")),
        "deflated_sharpe": MeasureFormat("probability", _PERCENT, ("selection",)),
        "deflated_sharpe_effective": MeasureFormat("probability", _PERCENT, ("selection",)),
        "deflated_sharpe_null": MeasureFormat("probability", _PERCENT, ("selection",)),
        "deflated_sharpe_null_effective": MeasureFormat("probability", _PERCENT, ("selection",)),
        "probability_of_overfitting": MeasureFormat("probability", _PERCENT, ("overfitting",)),
        "probability_of_loss": MeasureFormat("probability", _PERCENT, ("overfitting",)),
        "expected_duration": MeasureFormat("bars", _COUNT, ("regimes",)),
    }
)
"""Measure name to its row, in the order in which tables show them."""


def measures_in(place: Place) -> tuple[str, ...]:
    """Return the names of the measures that a table shows, in order."""
    return tuple(name for name, row in MEASURES.items() if place in row.places)


def measure_formats(place: Place) -> dict[str, str]:
    """Return the format string of each measure that a table shows."""
    return {name: MEASURES[name].pattern for name in measures_in(place)}
