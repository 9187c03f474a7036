"""Configuration of a portfolio: its strategies, and how their orders, weights and rebalancing are decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from peak_trade.core.arrays import FloatArray
from peak_trade.core.settings import Fraction, Notional, Settings, read_toml
from peak_trade.core.time import Timeframe
from peak_trade.costs.model import Costs
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.portfolio.allocation import Allocation, check_fixed_weights
from peak_trade.portfolio.rebalancing import Rebalancing
from peak_trade.risk.limits import RiskLimits
from peak_trade.wiring.allocators import find_allocator


class StrategyEntry(Settings):
    """One strategy on one symbol, or a panel strategy on several."""

    name: str
    """Name of a strategy, or package.module:Class."""

    symbol: str = ""
    """Base and quote currency, for example BTC/USDT."""

    symbols: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """The symbols of a panel strategy, in place of symbol."""

    max_gross: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0
    """Largest gross exposure of a panel strategy: the sum of the absolute exposures of its symbols."""

    weight: Fraction | None = None
    """Fraction of the invested equity; only with allocation.method = "fixed", where the weights sum to 1."""

    label: str | None = None
    """Name in the results. Defaults to the name of the strategy."""

    parameters: Mapping[str, Any] = {}
    """Parameters of the strategy."""

    @model_validator(mode="after")
    def _names_its_symbols(self) -> Self:
        if bool(self.symbol) is bool(self.symbols):
            raise ValueError(
                f"{self.name}: symbol was {self.symbol!r}, symbols {list(self.symbols)}. Give symbol, or symbols for a "
                "panel strategy."
            )
        twice = sorted({symbol for symbol in self.symbols if self.symbols.count(symbol) > 1})
        if twice:
            raise ValueError(f"{self.name}: symbols has {twice[0]} twice. Give each symbol once.")
        if self.symbol and self.max_gross != 1.0:
            raise ValueError(f"{self.name}: max_gross belongs to symbols, and there is one symbol. Drop max_gross.")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults_of_panels(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what an entry of one symbol does not set, so that the digests of earlier runs stay."""
        values: dict[str, Any] = handler(self)
        unset = ("symbols", "max_gross") if self.symbol else ("symbol",)
        return {name: value for name, value in values.items() if name not in unset}

    @property
    def is_panel(self) -> bool:
        """Whether the strategy sees several symbols at once."""
        return bool(self.symbols)

    @property
    def shown_as(self) -> str:
        """Label, or the name without its module."""
        return self.label or self.name.rpartition(":")[2]

    @property
    def traded(self) -> tuple[str, ...]:
        """The symbols in sorted order."""
        return tuple(sorted(self.symbols)) or (self.symbol,)


class PortfolioRules(Settings):
    """Rules by which several strategies share one account."""

    mode: Literal["sleeves", "netted"] = "sleeves"
    """sleeves: every strategy sends its own orders. netted: one order per symbol for all strategies on it."""

    allocation: Allocation = Allocation()
    rebalancing: Rebalancing = Rebalancing()


class PortfolioSettings(PortfolioRules):
    """Configuration of a portfolio run. Money is in quote currency."""

    strategies: Annotated[tuple[StrategyEntry, ...], Field(strict=False, min_length=1, fail_fast=True)]
    """One entry per strategy and symbol, or per panel strategy."""

    exchange: str | None = None
    """Exchange of the bars; required when the store has a symbol from more than one exchange."""

    timeframe: str = "1h"
    """Length of a bar; one for all symbols."""

    start: str | None = None
    """First close time that is traded, UTC, inclusive. Earlier bars warm strategies and weights up."""

    end: str | None = None
    """Close time at which the run ends, UTC, exclusive."""

    initial_cash: Notional = 10_000.0
    """Cash at the start, in quote currency."""

    costs: Costs = Costs()
    execution: ExecutionPolicy = ExecutionPolicy()
    risk: RiskLimits | None = None
    """Limits that every order is checked against; without them every order passes that the instrument allows."""

    seed: int = 0
    """Seed of the run's random numbers."""

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Build from parsed TOML or JSON; `risk.file` names a risk file."""
        from peak_trade.wiring.gates import risk_limits  # loads numba

        risk = values.get("risk")
        if isinstance(risk, Mapping):
            values = {**values, "risk": risk_limits(risk, where)}
        return super().parse(values, where)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        Timeframe.parse(self.timeframe)
        check_entries(self.strategies, self.allocation)
        return self

    @property
    def run_settings(self) -> BacktestSettings:
        """Settings of the event loop."""
        return BacktestSettings(
            initial_cash=self.initial_cash, costs=self.costs, execution=self.execution, seed=self.seed
        )


def check_entries(entries: Sequence[StrategyEntry], allocation: Allocation) -> FloatArray | None:
    """Return the fixed weights of the entries in their order, None if weights are estimated or equal.

    Raises
    ------
    ConfigError
        If the allocator is not known, or the weights do not fit it; see `check_fixed_weights`.
    ValueError
        If two sleeves have one name.

    """
    names = [f"{strategy} {symbol}" for strategy, symbol in sleeve_keys(entries)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{twice[0]} occurs twice. Give one of the two a label.")
    find_allocator(allocation.method)
    return check_fixed_weights({entry_name(entry): entry.weight for entry in entries}, allocation)


def ordered(entries: Sequence[StrategyEntry]) -> list[StrategyEntry]:
    """Return the entries sorted by strategy and symbols, so that a run does not depend on their order in a file."""
    return sorted(entries, key=lambda entry: (entry.shown_as, entry.traded))


def sleeve_keys(entries: Sequence[StrategyEntry]) -> list[tuple[str, str]]:
    """Return strategy and symbol of each sleeve, in the order of the entries; a panel strategy has one per symbol."""
    return [(entry.shown_as, symbol) for entry in entries for symbol in entry.traded]


def entry_name(entry: StrategyEntry) -> str:
    """Return the name of an entry in messages and in the run registry: its strategy and its symbols."""
    first, *more = entry.traded
    return f"{entry.shown_as} {len(more) + 1} symbols from {first}" if more else f"{entry.shown_as} {first}"


def is_portfolio_file(path: Path) -> bool:
    """Return whether a TOML file names strategies, as that of a portfolio does; ConfigError as of `read_toml`."""
    return "strategies" in read_toml(path)
