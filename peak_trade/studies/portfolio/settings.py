"""Configuration of a portfolio run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from peak_trade.core.settings import Fraction, Notional, Settings
from peak_trade.core.time import Timeframe
from peak_trade.costs.model import Costs
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.portfolio.allocation import Allocation, check_fixed_weights
from peak_trade.portfolio.rebalancing import Rebalancing
from peak_trade.risk.limits import RiskLimits
from peak_trade.wiring.allocators import find_allocator
from peak_trade.wiring.gates import risk_limits


class StrategyEntry(Settings):
    """One strategy on one symbol."""

    name: str
    """Name of a strategy, or package.module:Class."""

    symbol: str
    """Base and quote currency, for example BTC/USDT."""

    weight: Fraction | None = None
    """Fraction of the invested equity; only with allocation.method = "fixed", where the weights sum to 1."""

    label: str | None = None
    """Name in the results. Defaults to the name of the strategy."""

    parameters: Mapping[str, Any] = {}
    """Parameters of the strategy."""

    @property
    def shown_as(self) -> str:
        """Label, or the name without its module."""
        return self.label or self.name.rpartition(":")[2]


class PortfolioSettings(Settings):
    """Configuration of a portfolio run. Money is in quote currency."""

    strategies: Annotated[tuple[StrategyEntry, ...], Field(strict=False, min_length=1, fail_fast=True)]
    """One entry per strategy and symbol."""

    exchange: str | None = None
    """Exchange of the bars; required when the store has a symbol from more than one exchange."""

    timeframe: str = "1h"
    """Length of a bar; one for all symbols."""

    start: str | None = None
    """First close time that is traded, UTC, inclusive. Earlier bars warm strategies and weights up."""

    end: str | None = None
    """Close time at which the run ends, UTC, exclusive."""

    mode: Literal["sleeves", "netted"] = "sleeves"
    """sleeves: every strategy sends its own orders. netted: one order per symbol for all strategies on it."""

    initial_cash: Notional = 10_000.0
    """Cash at the start, in quote currency."""

    allocation: Allocation = Allocation()
    rebalancing: Rebalancing = Rebalancing()
    costs: Costs = Costs()
    execution: ExecutionPolicy = ExecutionPolicy()
    risk: RiskLimits | None = None
    """Limits that every order is checked against; without them every order passes that the instrument allows."""

    seed: int = 0
    """Seed of the run's random numbers."""

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Build from parsed TOML or JSON; `risk.file` names a risk file."""
        risk = values.get("risk")
        if isinstance(risk, Mapping):
            values = {**values, "risk": risk_limits(risk, where)}
        return super().parse(values, where)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [sleeve_name(entry) for entry in self.strategies]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]} occurs twice. Give one of the two a label.")
        Timeframe.parse(self.timeframe)
        find_allocator(self.allocation.method)
        check_fixed_weights({sleeve_name(entry): entry.weight for entry in self.strategies}, self.allocation)
        return self

    @property
    def run_settings(self) -> BacktestSettings:
        """Settings of the event loop."""
        return BacktestSettings(
            initial_cash=self.initial_cash, costs=self.costs, execution=self.execution, seed=self.seed
        )


def ordered(entries: Sequence[StrategyEntry]) -> list[StrategyEntry]:
    """Return the entries sorted by strategy and symbol, so that a run does not depend on their order in a file."""
    return sorted(entries, key=lambda entry: (entry.shown_as, entry.symbol))


def sleeve_name(entry: StrategyEntry) -> str:
    """Return the name of a sleeve in messages: its strategy and its symbol."""
    return f"{entry.shown_as} {entry.symbol}"
