"""Result of a portfolio run, and the PnL of each sleeve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arrays import IntArray
from peak_trade.core.described import Described
from peak_trade.core.time import iso
from peak_trade.engine.result import BacktestResult
from peak_trade.metrics import drawdown
from peak_trade.portfolio import analytics
from peak_trade.portfolio.allocation import SUM_RTOL, Allocation, Weights
from peak_trade.wiring.portfolio_settings import PortfolioSettings, ordered, sleeve_keys

WRITTEN_OFF = ("account", "written off")
"""Column of the PnL that belongs to no sleeve: the debt of the account that a bankruptcy wrote off."""
MOST_NAMED = 12
"""Largest number of sleeves that a remark names."""


@dataclass(frozen=True, slots=True)
class WeightEvent:
    """What happened at some estimates of the weights; `first` and `last` are their close times, ns UTC."""

    subject: str
    """The sleeve without an estimate, or `volatility target` where it asked for more than the equity."""
    n_estimates: int
    first: int
    last: int
    largest: float | None = None
    """Largest sum of weights that was asked for, a fraction of the invested part; None for a sleeve."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name with times as text, for JSON."""
        return asdict(self) | {"first": iso(self.first), "last": iso(self.last)}


@dataclass(frozen=True, eq=False, repr=False)
class PortfolioResult(Described):
    """A finished portfolio run. Money is in quote currency, times are close times in UTC."""

    run: BacktestResult
    settings: PortfolioSettings
    weights: pd.DataFrame
    """Fraction of equity of a target of 1, shape (n_bars, n_sleeves), columns (strategy, symbol)."""
    unit_returns: pd.DataFrame
    """Simple return of each sleeve at weight 1 before costs, shape (n_bars, n_sleeves); NaN without a bar."""
    left_out: tuple[WeightEvent, ...] = ()
    """The sleeves without an estimate of their volatility."""
    trimmed: WeightEvent | None = None
    """The estimates at which the volatility target asked for more than the invested part and was trimmed to it."""

    def description(self) -> tuple[str, Mapping[str, object]]:
        """Return the number of strategies, the symbols, and the facts of the run."""
        symbols = ", ".join(self.run.market.symbols)
        title = f"PortfolioResult: {len(self.settings.strategies)} strategies on {symbols} ({self.settings.mode})"
        return title, self.run.description()[1]

    @property
    def equity(self) -> pd.Series[float]:
        """Cash + Σ position × price at each close, shape (n_bars,)."""
        return self.run.equity

    @cached_property
    def pnl(self) -> pd.DataFrame:
        """Cumulated PnL after costs of each sleeve, shape (n_bars, n_sleeves), columns (strategy, symbol).

        At each bar the columns sum to equity − initial cash. After a bankruptcy the column `WRITTEN_OFF` is added.
        """
        return sleeve_pnl(self.run, sleeve_keys(ordered(self.settings.strategies)))

    @property
    def pnl_by_strategy(self) -> pd.DataFrame:
        """Cumulated PnL after costs, one column per strategy."""
        return analytics.by_level(self.pnl, "strategy")

    @property
    def pnl_by_symbol(self) -> pd.DataFrame:
        """Cumulated PnL after costs, one column per symbol."""
        return analytics.by_level(self.pnl, "symbol")

    @cached_property
    def contributions(self) -> pd.DataFrame:
        """Contribution of each sleeve to the portfolio's return at each bar; the columns sum to that return."""
        return analytics.contributions(self.pnl, self.settings.initial_cash)

    @property
    def strategy_returns(self) -> pd.DataFrame:
        """Contribution of each strategy to the portfolio's return at each bar, one column per strategy."""
        return analytics.by_level(self.contributions, "strategy")

    @property
    def drawdown(self) -> pd.Series[float]:
        """Fraction of the running peak that is lost at each close; never negative."""
        return drawdown(self.equity)

    def correlations(self, confidence: float = 0.95) -> pd.DataFrame:
        """Return the correlation of the returns of every pair of strategies, with its confidence interval."""
        return analytics.correlation_pairs(self.strategy_returns, confidence)

    def correlation_matrix(self) -> pd.DataFrame:
        """Return the correlations as a symmetric matrix."""
        return analytics.correlation_matrix(self.correlations(), list(self.strategy_returns.columns))

    def rolling_correlations(self, window: int = 720) -> pd.DataFrame:
        """Return the correlation of the returns of every pair of strategies over the last `window` bars."""
        return analytics.rolling_correlation(self.strategy_returns, window)

    def drawdown_correlations(self, min_drawdown: float | None = None, confidence: float = 0.95) -> pd.DataFrame:
        """Return the correlations over bars with at least a drawdown, by default half the largest one."""
        under_water = self.drawdown
        depth = float(under_water.max()) / 2.0 if min_drawdown is None else min_drawdown
        return analytics.drawdown_correlation(self.strategy_returns, under_water, depth, confidence)

    def drawdowns(self, n_deepest: int = 5) -> pd.DataFrame:
        """Return the loss of each sleeve in the deepest drawdowns; see `drawdown_contributions`."""
        return analytics.drawdown_contributions(self.pnl, self.settings.initial_cash, n_deepest)

    @property
    def assumptions(self) -> list[str]:
        """Return the assumptions of the run, one sentence each."""
        general = [text.replace(", and a constant target does not rebalance", "") for text in self.run.assumptions]
        together = (
            "Strategies on one symbol trade as one order; opposite changes offset each other at its price."
            if self.settings.mode == "netted"
            else "Every strategy sends its own orders; those of two strategies on one symbol are not netted."
        )
        return [
            *general,
            together,
            "Simultaneous orders are sent reducing first, then by symbol, then by strategy, until the cash is spent.",
            "Weights are estimated on closes up to the one of their use. Before the first estimate they are equal, or "
            "0 with a volatility target.",
            "A position in a symbol whose bars have ended keeps its last close and cannot be sold.",
        ]

    @property
    def diversification_ratio(self) -> float:
        """Sum of the volatilities of the strategies / volatility of the portfolio; 1 is no diversification."""
        return analytics.diversification_ratio(self.strategy_returns)

    def attribution(self) -> pd.DataFrame:
        """Return one row per sleeve: pnl, fees, annual_risk, risk_share, mean_weight, n_fills.

        `pnl` and `fees` are in quote currency. `annual_risk` sums to the annual volatility of the portfolio and
        `risk_share` to 1. `fees` and `n_fills` are those of the sleeve's own orders; they are NaN in netted mode, where
        an order belongs to all sleeves of its symbol.
        """
        per_year = self.run.market.bars_per_year
        risk = analytics.risk_contributions(self.contributions)
        fills = self.run.fills
        own = fills.groupby(["strategy", "symbol"])["fee"].agg(["sum", "count"]).reindex(self.pnl.columns)
        if self.settings.mode == "sleeves":
            own = own.fillna(0.0)
        return pd.DataFrame(
            {
                "pnl": self.pnl.iloc[-1],
                "fees": own["sum"],
                "annual_risk": risk * np.sqrt(per_year),
                "risk_share": risk / risk.sum(),
                "mean_weight": self.weights.mean().reindex(self.pnl.columns),
                "n_fills": own["count"],
            }
        )


def weight_events(
    weights: Weights, sleeves: Sequence[str], times: IntArray, first: int
) -> tuple[tuple[WeightEvent, ...], WeightEvent | None]:
    """Return the sleeves without an estimate, and the trimmed volatility target, at estimates used from bar `first` on.

    `sleeves` are the names, `times` the close times of the bars, ns UTC.
    """
    used = slice(max(int(np.searchsorted(weights.estimated_at, first, side="right")) - 1, 0), None)
    rows, has_estimate, asked = weights.estimated_at[used], weights.has_estimate[used], weights.asked[used]
    at = times[rows]
    left_out = [
        WeightEvent(name, int(missing.sum()), int(at[missing][0]), int(at[missing][-1]))
        for name, missing in zip(sleeves, ~has_estimate.T, strict=True)
        if missing.any()
    ]
    over = asked > 1.0 + SUM_RTOL
    if not over.any():
        return tuple(left_out), None
    largest = float(asked.max())
    return tuple(left_out), WeightEvent(
        "volatility target", int(over.sum()), int(at[over][0]), int(at[over][-1]), largest
    )


def weight_remarks(
    left_out: Sequence[WeightEvent], trimmed: WeightEvent | None, allocation: Allocation
) -> tuple[str, ...]:
    """Return a sentence on the sleeves without an estimate, and one on the trimmed volatility target."""
    sentences = []
    if left_out:
        effect = (
            "Their equal weight kept" if allocation.annual_volatility is None else "Left out of the volatility target"
        )
        named = [
            f"{each.subject} ({each.n_estimates:,} estimates, {iso(each.first)} to {iso(each.last)})"
            for each in left_out[:MOST_NAMED]
        ]
        named += [f"{len(left_out) - MOST_NAMED:,} more"] if left_out[MOST_NAMED:] else []
        sentences.append(
            f"{effect}, because too few of their returns were known or the returns did not vary: {', '.join(named)}."
        )
    if trimmed is not None:
        sentences.append(
            f"The volatility target asked for up to {trimmed.largest:.2f} times the invested part and was trimmed at "
            f"{trimmed.n_estimates:,} estimates, {iso(trimmed.first)} to {iso(trimmed.last)}: there is no leverage."
        )
    return tuple(sentences)


def sleeve_pnl(run: BacktestResult, sleeves: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Return the cumulated PnL after costs of each (strategy, symbol), shape (n_bars, n_sleeves), quote currency.

    The PnL of a sleeve is its cash flow so far + its position × the last known close; it is exact in netted mode too.
    After a bankruptcy the column `WRITTEN_OFF` is the debt that was written off.
    """
    n_bars = len(run.market)
    place = {sleeve: number for number, sleeve in enumerate(sleeves)}
    rows = np.array([row for row, *_ in run.movements], dtype=np.int64)
    owners = np.array([place[strategy, symbol] for _, strategy, symbol, _, _ in run.movements], dtype=np.int64)
    quantities = np.array([quantity for *_, quantity, _ in run.movements], dtype=np.float64)
    cash = np.array([change for *_, change in run.movements], dtype=np.float64)
    marks = {
        symbol: np.nan_to_num(column.mark)
        for symbol, column in zip(run.market.symbols, run.market.columns, strict=True)
    }
    values = {}
    for sleeve, number in place.items():
        own = owners == number
        flows = np.bincount(rows[own], weights=cash[own], minlength=n_bars).cumsum()
        held = np.bincount(rows[own], weights=quantities[own], minlength=n_bars).cumsum()
        values[sleeve] = flows + held * marks[sleeve[1]]
    if run.bankrupt_bar is not None:
        owed = np.zeros(n_bars)
        owed[run.bankrupt_bar :] = -run.settings.initial_cash - sum(column[-1] for column in values.values())
        values[WRITTEN_OFF] = owed
    frame = pd.DataFrame(values, index=run.index)
    frame.columns = pd.MultiIndex.from_tuples(list(values), names=["strategy", "symbol"])
    return frame
