"""Table of measures: unit, format, and the tables that show them.

To add a measure of a run: write its function in this package, compute it in `summary`, and add its row here. A table
that a row names shows the measure without further change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from peak_trade.metrics.measure import Measure

Place = Literal["run", "runs", "sweep", "selection", "overfitting", "regimes", "delays"]
"""run: all measures of one run, as `summary` returns them. runs: lists of recorded runs. sweep: the parameter sets of a
sweep, from the array kernel. selection: a run as one of many trials. overfitting: the choice of a sweep. regimes,
delays: the tables of a regime study."""


@dataclass(frozen=True, slots=True)
class MeasureRow:
    """One measure of the table: its unit, the format string of its values, and the tables that show it."""

    unit: str
    pattern: str
    places: tuple[Place, ...] = ("run",)


_PERCENT, _RATIO, _COUNT = "{:.2%}", "{:,.2f}", "{:,.0f}"

MEASURES: Mapping[str, MeasureRow] = MappingProxyType(
    {
        "total_return": MeasureRow("fraction", _PERCENT, ("run", "runs", "sweep", "regimes", "delays")),
        "cagr": MeasureRow("fraction a year", _PERCENT),
        "annual_volatility": MeasureRow("fraction a year", _PERCENT, ("run", "regimes")),
        "sharpe": MeasureRow("ratio, annualised", _RATIO, ("run", "runs", "sweep", "regimes", "delays")),
        "sharpe_aggregated": MeasureRow("ratio, annualised", _RATIO),
        "probabilistic_sharpe": MeasureRow("probability", _PERCENT),
        "minimum_track_length": MeasureRow("bars", _COUNT),
        "sortino": MeasureRow("ratio, annualised", _RATIO),
        "calmar": MeasureRow("ratio", _RATIO),
        "max_drawdown": MeasureRow("fraction", _PERCENT, ("run", "runs", "sweep", "regimes")),
        "longest_drawdown": MeasureRow("bars", _COUNT),
        "recovery": MeasureRow("bars", _COUNT),
        "win_rate": MeasureRow("fraction", _PERCENT),
        "profit_factor": MeasureRow("ratio", _RATIO),
        "time_in_market": MeasureRow("fraction", _PERCENT),
        "turnover": MeasureRow("ratio a year", _RATIO, ("run", "delays")),
        "n_trades": MeasureRow("count", _COUNT, ("run", "runs")),
        "n_fills": MeasureRow("count", _COUNT, ("run", "sweep")),
        "deflated_sharpe": MeasureRow("probability", _PERCENT, ("selection",)),
        "deflated_sharpe_effective": MeasureRow("probability", _PERCENT, ("selection",)),
        "deflated_sharpe_null": MeasureRow("probability", _PERCENT, ("selection",)),
        "deflated_sharpe_null_effective": MeasureRow("probability", _PERCENT, ("selection",)),
        "probability_of_overfitting": MeasureRow("probability", _PERCENT, ("overfitting",)),
        "probability_of_loss": MeasureRow("probability", _PERCENT, ("overfitting",)),
        "expected_duration": MeasureRow("bars", _COUNT, ("regimes",)),
    }
)
"""Measure name to its row, in the order in which tables show them."""


def measures_in(place: Place) -> tuple[str, ...]:
    """Return the names of the measures that a table shows, in order."""
    return tuple(name for name, row in MEASURES.items() if place in row.places)


def measure_formats(place: Place) -> dict[str, str]:
    """Return the format string of each measure that a table shows."""
    return {name: MEASURES[name].pattern for name in measures_in(place)}


def format_measure(name: str, measure: Measure) -> str:
    """Return a measure as tables show it: value ± standard error in its format, or the note that stands for a value.

    Examples
    --------
    >>> format_measure("total_return", Measure(0.125, n=500))
    '12.50%'

    """
    if measure.value is None:
        return measure.note
    pattern = MEASURES[name].pattern
    return pattern.format(measure.value) + ("" if measure.stderr is None else f" ± {pattern.format(measure.stderr)}")
