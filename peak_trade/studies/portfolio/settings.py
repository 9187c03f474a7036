"""What names a portfolio run beside its bars."""

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
        names = [sleeve_name(entry) for entry in self.strategies]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]} is there twice: give one of the two a label of its own.")
        Timeframe.parse(self.timeframe)
        find_allocator(self.allocation.method)
        check_fixed_weights({sleeve_name(entry): entry.weight for entry in self.strategies}, self.allocation)
        return self

    @property
    def run_settings(self) -> BacktestSettings:
        """What the event loop is told."""
        return BacktestSettings(
            initial_cash=self.initial_cash, costs=self.costs, execution=self.execution, seed=self.seed
        )


def ordered(entries: Sequence[StrategyEntry]) -> list[StrategyEntry]:
    """Return the entries by strategy and symbol, so that a run does not depend on how a file lists them."""
    return sorted(entries, key=lambda entry: (entry.shown_as, entry.symbol))


def sleeve_name(entry: StrategyEntry) -> str:
    """Return what a message calls a sleeve: its strategy and its symbol."""
    return f"{entry.shown_as} {entry.symbol}"
