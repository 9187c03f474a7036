"""Result of a portfolio run, and the PnL of each sleeve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from peak_trade.engine.result import BacktestResult
from peak_trade.metrics import drawdown
from peak_trade.portfolio import analytics
from peak_trade.studies.portfolio.settings import PortfolioSettings, ordered

WRITTEN_OFF = ("account", "written off")
"""Column of the PnL that belongs to no sleeve: the debt of the account that a bankruptcy wrote off."""


@dataclass(frozen=True, eq=False)
class PortfolioResult:
    """A finished portfolio run. Money is in quote currency, times are close times in UTC."""

    run: BacktestResult
    settings: PortfolioSettings
    weights: pd.DataFrame
    """Fraction of equity of a target of 1, shape (n_bars, n_sleeves), columns (strategy, symbol)."""
    unit_returns: pd.DataFrame
    """Simple return of each sleeve at weight 1 before costs, shape (n_bars, n_sleeves); NaN without a bar."""

    @property
    def equity(self) -> pd.Series[float]:
        """Cash + Σ position × price at each close, shape (n_bars,)."""
        return self.run.equity

    @cached_property
    def pnl(self) -> pd.DataFrame:
        """Cumulated PnL after costs of each sleeve, shape (n_bars, n_sleeves), columns (strategy, symbol).

        At each bar the columns sum to equity − initial cash. After a bankruptcy the column `WRITTEN_OFF` is added.
        """
        return sleeve_pnl(self.run, [(entry.shown_as, entry.symbol) for entry in ordered(self.settings.strategies)])

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
            "Weights are estimated on closes up to the one of their use, and are equal before the first estimate.",
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
