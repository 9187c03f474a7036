"""peak_trade: research notebooks and a library for systematic crypto trading. Paper and sandboxes only.

The facade is lazy: `import peak_trade as pt` loads nothing heavy, `pt.backtest` loads what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peak_trade.core.bars import Bars, as_bars
    from peak_trade.core.values import Instrument
    from peak_trade.costs.model import Costs
    from peak_trade.data.store import load_bars
    from peak_trade.engine.second_opinion import second_opinion
    from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
    from peak_trade.strategies.base import Strategy
    from peak_trade.studies.backtest import backtest
    from peak_trade.studies.causality import check_causality
    from peak_trade.studies.portfolio import PortfolioSettings, run_portfolio
    from peak_trade.studies.recording import record
    from peak_trade.wiring.strategies import make_strategy

__version__ = "0.1.0"

_HOMES = {
    "Bars": "peak_trade.core.bars",
    "BacktestSettings": "peak_trade.engine.settings",
    "Costs": "peak_trade.costs.model",
    "ExecutionPolicy": "peak_trade.engine.settings",
    "Instrument": "peak_trade.core.values",
    "PortfolioSettings": "peak_trade.studies.portfolio",
    "Strategy": "peak_trade.strategies.base",
    "as_bars": "peak_trade.core.bars",
    "backtest": "peak_trade.studies.backtest",
    "check_causality": "peak_trade.studies.causality",
    "load_bars": "peak_trade.data.store",
    "make_strategy": "peak_trade.wiring.strategies",
    "record": "peak_trade.studies.recording",
    "run_portfolio": "peak_trade.studies.portfolio",
    "second_opinion": "peak_trade.engine.second_opinion",
}
"""Public names and the module that each comes from."""

__all__ = [
    "BacktestSettings",
    "Bars",
    "Costs",
    "ExecutionPolicy",
    "Instrument",
    "PortfolioSettings",
    "Strategy",
    "as_bars",
    "backtest",
    "check_causality",
    "load_bars",
    "make_strategy",
    "record",
    "run_portfolio",
    "second_opinion",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'peak_trade' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
