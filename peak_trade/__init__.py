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
    from peak_trade.regimes.detector import filter_regimes, smooth_regimes
    from peak_trade.strategies.base import Strategy
    from peak_trade.studies.backtest import backtest
    from peak_trade.studies.causality import check_causality
    from peak_trade.studies.portfolio.run import run_portfolio
    from peak_trade.studies.portfolio.settings import PortfolioSettings
    from peak_trade.studies.recording import record
    from peak_trade.studies.regime.second_opinion import regime_second_opinion
    from peak_trade.studies.regime.strategy import RegimeAware
    from peak_trade.studies.regime.study import noise_controls, noise_table, study_regimes
    from peak_trade.studies.sweep import sweep
    from peak_trade.wiring.detectors import make_detector
    from peak_trade.wiring.strategies import make_strategy

__version__ = "0.1.0"

_HOMES = {
    "BacktestSettings": "peak_trade.engine.settings",
    "Bars": "peak_trade.core.bars",
    "Costs": "peak_trade.costs.model",
    "ExecutionPolicy": "peak_trade.engine.settings",
    "Instrument": "peak_trade.core.values",
    "PortfolioSettings": "peak_trade.studies.portfolio.settings",
    "RegimeAware": "peak_trade.studies.regime.strategy",
    "Strategy": "peak_trade.strategies.base",
    "as_bars": "peak_trade.core.bars",
    "backtest": "peak_trade.studies.backtest",
    "check_causality": "peak_trade.studies.causality",
    "filter_regimes": "peak_trade.regimes.detector",
    "load_bars": "peak_trade.data.store",
    "make_detector": "peak_trade.wiring.detectors",
    "make_strategy": "peak_trade.wiring.strategies",
    "noise_controls": "peak_trade.studies.regime.study",
    "noise_table": "peak_trade.studies.regime.study",
    "record": "peak_trade.studies.recording",
    "regime_second_opinion": "peak_trade.studies.regime.second_opinion",
    "run_portfolio": "peak_trade.studies.portfolio.run",
    "second_opinion": "peak_trade.engine.second_opinion",
    "smooth_regimes": "peak_trade.regimes.detector",
    "study_regimes": "peak_trade.studies.regime.study",
    "sweep": "peak_trade.studies.sweep",
}
"""Public names and the module that each comes from."""

__all__ = [
    "BacktestSettings",
    "Bars",
    "Costs",
    "ExecutionPolicy",
    "Instrument",
    "PortfolioSettings",
    "RegimeAware",
    "Strategy",
    "as_bars",
    "backtest",
    "check_causality",
    "filter_regimes",
    "load_bars",
    "make_detector",
    "make_strategy",
    "noise_controls",
    "noise_table",
    "record",
    "regime_second_opinion",
    "run_portfolio",
    "second_opinion",
    "smooth_regimes",
    "study_regimes",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'peak_trade' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
