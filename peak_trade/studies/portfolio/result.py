"""What a portfolio run leaves behind, and the PnL of each of its sleeves."""

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
"""Column of the PnL that a bankruptcy leaves to nobody: what the account owed beyond zero."""


@dataclass(frozen=True, eq=False)
class PortfolioResult:
    """A finished portfolio run. Money is in quote currency, times are close times in UTC."""

    run: BacktestResult
    settings: PortfolioSettings
    weights: pd.DataFrame
    """Share of equity that a target of 1 stands for, shape (n_bars, n_sleeves), columns (strategy, symbol)."""
    unit_returns: pd.DataFrame
    """Return of each sleeve at weight 1 before costs, shape (n_bars, n_sleeves); NaN where its symbol has no bar."""

    @property
    def equity(self) -> pd.Series[float]:
        """Cash plus positions at each close, shape (n_bars,)."""
        return self.run.equity

    @cached_property
    def pnl(self) -> pd.DataFrame:
        """Cumulated PnL after costs of each sleeve, shape (n_bars, n_sleeves), columns (strategy, symbol).

        A row sums to equity less the initial cash. After a bankruptcy one more column holds what was written off.
        """
        return sleeve_pnl(self.run, [(entry.shown_as, entry.symbol) for entry in ordered(self.settings.strategies)])

    @property
    def pnl_by_strategy(self) -> pd.DataFrame:
        """Cumulated PnL after costs, one column a strategy."""
        return analytics.by_level(self.pnl, "strategy")

    @property
    def pnl_by_symbol(self) -> pd.DataFrame:
        """Cumulated PnL after costs, one column a symbol."""
        return analytics.by_level(self.pnl, "symbol")

    @cached_property
    def contributions(self) -> pd.DataFrame:
        """What each sleeve added to the portfolio's return at each bar; a row sums to that return."""
        return analytics.contributions(self.pnl, self.settings.initial_cash)

    @property
    def strategy_returns(self) -> pd.DataFrame:
        """What each strategy added to the portfolio's return at each bar, one column a strategy."""
        return analytics.by_level(self.contributions, "strategy")

    @property
    def drawdown(self) -> pd.Series[float]:
        """Fraction of the peak that is lost at each close; never negative."""
        return drawdown(self.equity)

    def correlations(self, confidence: float = 0.95) -> pd.DataFrame:
        """Return the correlation of every pair of strategies' returns with its interval."""
        return analytics.correlation_pairs(self.strategy_returns, confidence)

    def correlation_matrix(self) -> pd.DataFrame:
        """Return the correlations as a symmetric matrix."""
        return analytics.correlation_matrix(self.correlations(), list(self.strategy_returns.columns))

    def rolling_correlations(self, window: int = 720) -> pd.DataFrame:
        """Return the correlation of every pair of strategies' returns over the last `window` bars."""
        return analytics.rolling_correlation(self.strategy_returns, window)

    def drawdown_correlations(self, min_drawdown: float | None = None, confidence: float = 0.95) -> pd.DataFrame:
        """Return the correlations over the bars in drawdown: at least half the largest one unless a depth is given."""
        under_water = self.drawdown
        depth = float(under_water.max()) / 2.0 if min_drawdown is None else min_drawdown
        return analytics.drawdown_correlation(self.strategy_returns, under_water, depth, confidence)

    def drawdowns(self, n_deepest: int = 5) -> pd.DataFrame:
        """Return what each sleeve lost in the deepest drawdowns."""
        return analytics.drawdown_contributions(self.pnl, self.settings.initial_cash, n_deepest)

    @property
    def assumptions(self) -> list[str]:
        """Return what the run takes for granted, one sentence each."""
        general = [text.replace(", and a constant target does not rebalance", "") for text in self.run.assumptions]
        together = (
            "Strategies on one symbol trade as one order, and what they want of each other crosses at its price."
            if self.settings.mode == "netted"
            else "Every strategy sends its own orders; those of two on one symbol are not netted."
        )
        return [
            *general,
            together,
            "Simultaneous orders go reducing first, then by symbol, then by strategy, until the cash is spent.",
            "A weight is estimated on closes up to the one it is used at; before the first estimate weights are equal.",
            "A position in a symbol whose bars have ended keeps its last close and can not be sold.",
        ]

    @property
    def diversification_ratio(self) -> float:
        """Sum of the strategies' volatilities over the portfolio's; 1 is none."""
        return analytics.diversification_ratio(self.strategy_returns)

    def attribution(self) -> pd.DataFrame:
        """Return one row a sleeve: pnl, fees, annual_risk, risk_share, mean_weight, n_fills.

        `annual_risk` sums to the portfolio's annual volatility and `risk_share` to 1; `fees` and `n_fills` count the
        sleeve's own orders and are NaN in netted mode, where orders belong to the symbol.
        """
        per_year = self.run.market.timeframe.bars_per_year
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

    A sleeve's PnL is its cash so far plus its position at the last known close: exact, whatever was netted. After a
    bankruptcy the column `WRITTEN_OFF` holds what the account was forgiven.
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
    if run.bankrupt_row is not None:
        owed = np.zeros(n_bars)
        owed[run.bankrupt_row :] = -run.settings.initial_cash - sum(column[-1] for column in values.values())
        values[WRITTEN_OFF] = owed
    frame = pd.DataFrame(values, index=run.index)
    frame.columns = pd.MultiIndex.from_tuples(list(values), names=["strategy", "symbol"])
    return frame
