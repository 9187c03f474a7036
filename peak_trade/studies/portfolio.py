"""Run a portfolio: several strategies over several symbols from one cash pool, with exact attribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator

from peak_trade.core.bars import Bars
from peak_trade.core.digest import digest_of, package_digest
from peak_trade.core.errors import DataError
from peak_trade.core.settings import Fraction, Notional, Settings
from peak_trade.core.time import Timeframe, iso
from peak_trade.core.values import Instrument
from peak_trade.costs.model import Costs
from peak_trade.engine.loop import Book, Reviewer
from peak_trade.engine.market import Market
from peak_trade.engine.result import BacktestResult, run_books
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.metrics import drawdown
from peak_trade.portfolio import analytics
from peak_trade.portfolio.allocation import Allocation, book_returns, check_fixed_weights, walk_forward_weights
from peak_trade.portfolio.rebalancing import Rebalancing, first_closes
from peak_trade.risk.limits import RiskLimits
from peak_trade.strategies.base import Strategy
from peak_trade.studies.backtest import book_for, environment_digest
from peak_trade.wiring.gates import risk_desk, risk_limits
from peak_trade.wiring.strategies import make_strategy, strategy_digest

FloatArray = NDArray[np.float64]
WRITTEN_OFF = ("account", "written off")
"""Column of the PnL that a bankruptcy leaves to nobody: what the account owed beyond zero."""


class StrategyEntry(Settings):
    """One strategy on one symbol."""

    name: str
    """A strategy's name, or package.module:Class of one's own."""

    symbol: str
    """For example BTC/USDT."""

    weight: Fraction | None = None
    """Share of the invested equity; for allocation.method = "fixed" only, where all weights sum to 1."""

    label: str | None = None
    """What results call it; the strategy's name unless given."""

    parameters: Mapping[str, Any] = {}
    """The strategy's parameters."""

    @property
    def shown_as(self) -> str:
        """The label, or the name without its module."""
        return self.label or self.name.rpartition(":")[2]


class PortfolioSettings(Settings):
    """Everything that names a portfolio run beside its bars."""

    strategies: Annotated[tuple[StrategyEntry, ...], Field(strict=False, min_length=1)]
    """One table a strategy and symbol."""

    exchange: str | None = None
    """Where the bars are held from; needed when a symbol is held from more than one."""

    timeframe: str = "1h"
    """Length of a bar; one for all symbols."""

    start: str | None = None
    """First close time, UTC, inclusive."""

    end: str | None = None
    """Close time at which the run ends, UTC, exclusive."""

    mode: Literal["sleeves", "netted"] = "sleeves"
    """sleeves: every strategy sends its own orders. netted: one order a symbol for all strategies on it."""

    initial_cash: Notional = 10_000.0
    """Cash at the start, in quote currency."""

    allocation: Allocation = Allocation()
    rebalancing: Rebalancing = Rebalancing()
    costs: Costs = Costs()
    execution: ExecutionPolicy = ExecutionPolicy()
    risk: RiskLimits | None = None
    """Limits that every order is held against; none: every order that the instrument allows passes."""

    seed: int = 0
    """Seed of everything random in the run."""

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Build from parsed TOML or JSON; `risk.file` names a risk file."""
        risk = values.get("risk")
        if isinstance(risk, Mapping):
            values = {**values, "risk": risk_limits(risk, where)}
        return super().parse(values, where)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [_book_name(entry) for entry in self.strategies]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]} is there twice: give one of the two a label of its own.")
        Timeframe.parse(self.timeframe)
        check_fixed_weights({_book_name(entry): entry.weight for entry in self.strategies}, self.allocation)
        return self

    @property
    def run_settings(self) -> BacktestSettings:
        """What the event loop is told."""
        return BacktestSettings(
            initial_cash=self.initial_cash, costs=self.costs, execution=self.execution, seed=self.seed
        )


@dataclass(frozen=True, eq=False)
class PortfolioResult:
    """A finished portfolio run. Money is in quote currency, times are close times in UTC."""

    run: BacktestResult
    settings: PortfolioSettings
    weights: pd.DataFrame
    """Share of equity that a target of 1 stands for, shape (n_bars, n_books), columns (strategy, symbol)."""
    unit_returns: pd.DataFrame
    """What each book would earn at weight 1 before costs, shape (n_bars, n_books); NaN where its symbol has no bar."""

    @property
    def equity(self) -> pd.Series[float]:
        """Cash plus positions at each close, shape (n_bars,)."""
        return self.run.equity

    @cached_property
    def pnl(self) -> pd.DataFrame:
        """Cumulated PnL after costs of each book, shape (n_bars, n_books), columns (strategy, symbol).

        A row sums to equity less the initial cash. After a bankruptcy one more column holds what was written off.
        """
        return book_pnl(self.run, [(entry.shown_as, entry.symbol) for entry in ordered(self.settings.strategies)])

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
        """What each book added to the portfolio's return at each bar; a row sums to that return."""
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
        """Return what each book lost in the deepest drawdowns."""
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
        """Return one row a book: pnl, fees, annual_risk, risk_share, mean_weight, n_fills.

        `annual_risk` sums to the portfolio's annual volatility and `risk_share` to 1; `fees` and `n_fills` count the
        book's own orders and are NaN in netted mode, where orders belong to the symbol.
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


def run_portfolio(
    settings: PortfolioSettings,
    bars: Sequence[Bars] | None = None,
    *,
    instruments: Mapping[str, Instrument] | None = None,
    reviewer: Reviewer | None = None,
    progress: Callable[[int], None] | None = None,
) -> PortfolioResult:
    """Run a portfolio in the event loop.

    Parameters
    ----------
    settings : PortfolioSettings
    bars : sequence of Bars
        One a symbol, of one timeframe; read from the store unless given.
    instruments : mapping of symbol to Instrument
        Lots, ticks, minimum notional; none unless given.
    reviewer : Reviewer
        The row of gates; pass-through unless given.
    progress : callable
        Called with the row reached.

    Returns
    -------
    PortfolioResult

    Raises
    ------
    ConfigError
        On an unknown strategy, parameter or key, weights that do not sum, quote currencies or timeframes that differ.
    DataError
        When a symbol's bars are missing, or do not overlap with those of the others.

    Notes
    -----
    A symbol is traded only while it has bars: before its first its strategies are flat, after its last a position keeps
    its last mark and can not be closed. Timeframes are never mixed: resample the finer bars first.

    """
    entries = ordered(settings.strategies)
    strategies = [make_strategy(entry.name, entry.parameters) for entry in entries]
    symbols = sorted({entry.symbol for entry in entries})
    given = _load(settings, symbols) if bars is None else _chosen(bars, symbols)
    _check_overlap(given)
    market = Market.of(given, dict(instruments or {}))
    books = _books(settings, entries, strategies, {part.symbol: part for part in given}, market)
    returns = _unit_returns(books, market)
    weights = _weigh(settings, entries, books, returns, market)
    run = run_books(
        market,
        books,
        settings.run_settings,
        reviewer,
        progress,
        is_netted=settings.mode == "netted",
        drift_band=settings.rebalancing.drift_band,
        desk=None if settings.risk is None else risk_desk(settings.risk, given),
    )
    parts = list(zip(entries, strategies, strict=True))
    run = replace(
        run,
        strategies=tuple(dict.fromkeys(entry.shown_as for entry in entries)),
        parameters={_book_name(entry): part.model_dump(mode="json") for entry, part in parts},
        digests=_digests(settings, strategies, given, market),
        exchange=", ".join(sorted({part.exchange for part in given})),
    )
    columns = pd.MultiIndex.from_tuples([(book.strategy, book.symbol) for book in books], names=["strategy", "symbol"])
    return PortfolioResult(
        run=run,
        settings=settings,
        weights=pd.DataFrame(weights, index=run.index, columns=columns),
        unit_returns=pd.DataFrame(returns, index=run.index, columns=columns),
    )


def record_portfolio(result: PortfolioResult) -> str:
    """Record a portfolio run in MLflow and return its run id; recording it again changes nothing."""
    from peak_trade.tracking.record import RunRecord, record_run

    run, times = result.run, result.run.market.times
    record_run(
        RunRecord(
            run_id=run.run_id,
            run_type="portfolio",
            strategy=", ".join(run.strategies),
            symbol=", ".join(run.market.symbols),
            timeframe=str(run.market.timeframe),
            start=iso(int(times[0])),
            end=iso(int(times[-1])),
            digests=run.digests,
            parameters={
                **run.parameters,
                "settings": result.settings.model_dump(mode="json", exclude={"strategies"}),
                "exchange": run.exchange,
            },
            metrics={
                **run.stats(),
                "benchmark_total_return": run.benchmark.stats()["total_return"],
                "diversification_ratio": result.diversification_ratio,
            },
        )
    )
    return run.run_id


def book_pnl(run: BacktestResult, books: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Return the cumulated PnL after costs of each (strategy, symbol), shape (n_bars, n_books), quote currency.

    A book's PnL is its cash so far plus its position at the last known close: exact, whatever was netted. After a
    bankruptcy the column `WRITTEN_OFF` holds what the account was forgiven.
    """
    n_bars = len(run.market)
    place = {book: number for number, book in enumerate(books)}
    rows = np.array([row for row, *_ in run.movements], dtype=np.int64)
    owners = np.array([place[strategy, symbol] for _, strategy, symbol, _, _ in run.movements], dtype=np.int64)
    quantities = np.array([quantity for *_, quantity, _ in run.movements], dtype=np.float64)
    cash = np.array([change for *_, change in run.movements], dtype=np.float64)
    marks = {
        symbol: np.nan_to_num(column.mark)
        for symbol, column in zip(run.market.symbols, run.market.columns, strict=True)
    }
    values = {}
    for book, number in place.items():
        own = owners == number
        flows = np.bincount(rows[own], weights=cash[own], minlength=n_bars).cumsum()
        held = np.bincount(rows[own], weights=quantities[own], minlength=n_bars).cumsum()
        values[book] = flows + held * marks[book[1]]
    if run.bankrupt_row is not None:
        owed = np.zeros(n_bars)
        owed[run.bankrupt_row :] = -run.settings.initial_cash - sum(column[-1] for column in values.values())
        values[WRITTEN_OFF] = owed
    frame = pd.DataFrame(values, index=run.index)
    frame.columns = pd.MultiIndex.from_tuples(list(values), names=["strategy", "symbol"])
    return frame


def ordered(entries: Sequence[StrategyEntry]) -> list[StrategyEntry]:
    """Return the entries by strategy and symbol, so that a run does not depend on how a file lists them."""
    return sorted(entries, key=lambda entry: (entry.shown_as, entry.symbol))


def _book_name(entry: StrategyEntry) -> str:
    return f"{entry.shown_as} {entry.symbol}"


def _load(settings: PortfolioSettings, symbols: Sequence[str]) -> list[Bars]:
    from peak_trade.data.store import load_bars

    return [
        load_bars(symbol, settings.timeframe, settings.exchange, settings.start, settings.end) for symbol in symbols
    ]


def _chosen(bars: Sequence[Bars], symbols: Sequence[str]) -> list[Bars]:
    held = {part.symbol for part in bars}
    missing = [symbol for symbol in symbols if symbol not in held]
    if missing:
        raise DataError(f"{missing[0]}: no bars were given for it, only for {', '.join(sorted(held))}.")
    return [part for part in bars if part.symbol in symbols]


def _check_overlap(bars: Sequence[Bars]) -> None:
    ordered = sorted(bars, key=lambda part: int(part.times[0]))
    until, last = int(ordered[0].times[-1]), ordered[0].symbol
    for part in ordered[1:]:
        first = int(part.times[0])
        if first > until:
            raise DataError(
                f"{part.symbol} starts at {iso(first)}, after {last} has ended at {iso(until)}: these bars do not "
                "overlap. Choose symbols, or a span, that do."
            )
        if int(part.times[-1]) > until:
            until, last = int(part.times[-1]), part.symbol


def _books(
    settings: PortfolioSettings,
    entries: Sequence[StrategyEntry],
    strategies: Sequence[Strategy],
    bars: Mapping[str, Bars],
    market: Market,
) -> list[Book]:
    run = settings.run_settings
    return [
        book_for(strategy, entry.shown_as, bars[entry.symbol], market, run, 1.0, 0)
        for entry, strategy in zip(entries, strategies, strict=True)
    ]


def _unit_returns(books: Sequence[Book], market: Market) -> FloatArray:
    columns = dict(zip(market.symbols, market.columns, strict=True))
    return np.column_stack([book_returns(book.exposure, columns[book.symbol].close) for book in books])


def _weigh(
    settings: PortfolioSettings,
    entries: Sequence[StrategyEntry],
    books: Sequence[Book],
    returns: FloatArray,
    market: Market,
) -> FloatArray:
    """Set every book's weight and its rebalancing rows; return the weights, shape (n_bars, n_books)."""
    allocation, rebalancing = settings.allocation, settings.rebalancing
    fixed = check_fixed_weights({_book_name(entry): entry.weight for entry in entries}, allocation)
    instants = first_closes(market.times, allocation.every)
    weights = walk_forward_weights(returns, instants, allocation, market.timeframe.bars_per_year, fixed)
    due = np.zeros(len(market), dtype=bool)
    if allocation.is_estimated:
        due |= instants
    if rebalancing.every is not None:
        due |= first_closes(market.times, rebalancing.every)
    rows = np.flatnonzero(due)
    columns = dict(zip(market.symbols, market.columns, strict=True))
    for place, book in enumerate(books):
        own = columns[book.symbol].rows
        book.weight = np.ascontiguousarray(weights[:, place]) if allocation.is_estimated else float(weights[0, place])
        book.rebalance_rows = frozenset((rows if own is None else _next_of(own, rows)).tolist())
    return weights


def _next_of(own: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    place = np.searchsorted(own, rows)
    return own[place[place < own.size]]


def _digests(
    settings: PortfolioSettings, strategies: Sequence[Strategy], bars: Sequence[Bars], market: Market
) -> dict[str, str]:
    parts = [strategy_digest(part) for part in strategies]
    traded = [asdict(column.instrument) for column in market.columns]
    named = settings.model_copy(update={"strategies": tuple(ordered(settings.strategies))})
    return {
        "config": digest_of([named.digest(), [part.digest() for part in strategies], traded]),
        "data": digest_of(sorted(part.digest() for part in bars)),
        "code": digest_of([package_digest(), parts]),
        "seed": digest_of(settings.seed),
        "environment": environment_digest(),
    }
