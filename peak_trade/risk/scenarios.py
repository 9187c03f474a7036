"""Stress scenarios: five historical days of crypto markets and several hypothetical ones.

Each scenario has shocks by base currency and a correlation. Four historical scenarios are computed from hourly closes:
the worst 24 hours of a window. March 2020 is approximate. It is the change between two daily closes of a price index,
so it does not include the deeper fall across midnight (the index was at 4,107 on the next day), and its correlation is
that of the month's daily returns. It has data for BTC and ETH only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scenario:
    """The price changes of one day.

    `shocks` are simple returns by base currency. `other` is the shock of every other currency: the worst shock of the
    named ones. `correlation` is the lowest pairwise correlation of hourly returns in the window (March 2020: of the
    month's daily returns), 1 for hypothetical scenarios. `source` is the source of the shocks.
    """

    name: str
    window: str
    shocks: Mapping[str, float]
    other: float
    correlation: float
    source: str

    def shock(self, symbol: str) -> float:
        """Return the simple return of a symbol such as BTC/USDT."""
        return self.shocks.get(symbol.partition("/")[0], self.other)


_COMPUTED = "Binance hourly closes: the 24 hours of the window in which BTC fell most, the same hours for all"

DATED = (
    Scenario(
        "march_2020",
        "2020-03-12",
        {"BTC": -0.3717, "ETH": -0.4235},
        -0.4235,
        0.97,
        "approximate: Yahoo Finance daily closes, BTC-USD from 7,911.43 to 4,970.79, ETH-USD from 194.87 to 112.35",
    ),
    Scenario(
        "may_2021",
        "2021-05-17 to 2021-05-24",
        {"BTC": -0.1984, "ETH": -0.3075, "SOL": -0.3226},
        -0.3226,
        0.66,
        _COMPUTED,
    ),
    Scenario(
        "luna_2022",
        "2022-05-07 to 2022-05-14",
        {"BTC": -0.1371, "ETH": -0.2292, "SOL": -0.3604},
        -0.3604,
        0.90,
        _COMPUTED,
    ),
    Scenario(
        "ftx_2022",
        "2022-11-06 to 2022-11-13",
        {"BTC": -0.1613, "ETH": -0.2403, "SOL": -0.4292},
        -0.4292,
        0.66,
        _COMPUTED,
    ),
    Scenario(
        "usdc_2023",
        "2023-03-08 to 2023-03-15",
        {"BTC": -0.0936, "ETH": -0.1004, "SOL": -0.1259},
        -0.1259,
        0.85,
        _COMPUTED,
    ),
)
"""Historical scenarios."""

UNIFORM = (
    Scenario("all_down_10", "hypothetical", {}, -0.10, 1.0, "every price falls by 10 %"),
    Scenario("all_down_20", "hypothetical", {}, -0.20, 1.0, "every price falls by 20 %"),
)
"""Hypothetical scenarios in which every price falls by the same fraction."""

MODELLED = {
    "volatility_x2": "daily returns stretched twofold about their mean: value at risk at 99 %",
    "volatility_x3": "daily returns stretched threefold about their mean: value at risk at 99 %",
    "correlation_1": "every position loses its own value at risk at 99 % on the same day",
    "spread_x10": "every position is closed across a spread ten times the ordinary one",
}
"""Hypothetical scenarios that are computed from the return history, with their description."""

SCENARIO_NAMES = tuple(scenario.name for scenario in (*DATED, *UNIFORM)) + tuple(MODELLED)
