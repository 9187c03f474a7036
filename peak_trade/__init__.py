"""peak_trade: research notebooks and a library for systematic crypto trading. Paper and sandboxes only.

The facade is lazy: `import peak_trade as pt` loads nothing heavy, `pt.backtest` loads what it needs.
"""

TYPE_CHECKING = False  # nothing is imported here: Ctrl-C in it could not be caught

if TYPE_CHECKING:
    from typing import Any

    from peak_trade.causality.check import check_causality
    from peak_trade.core.bars import Bars, as_bars
    from peak_trade.core.values import Instrument
    from peak_trade.costs.model import Costs
    from peak_trade.data.holdout import opening_holdout
    from peak_trade.data.importing import import_file
    from peak_trade.data.resampling import at_timeframe, resample
    from peak_trade.data.sample import sample_bars
    from peak_trade.data.store import load_bars
    from peak_trade.engine.second_opinion import second_opinion
    from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
    from peak_trade.observability.rehearsal import rehearse_alerts
    from peak_trade.portfolio.sizing import (
        FixedNotional,
        FixedRisk,
        FractionalKelly,
        FractionOfEquity,
        VolatilityTarget,
    )
    from peak_trade.regimes.detector import filter_regimes, smooth_regimes
    from peak_trade.reports.batch import ReportSettings, run_reports
    from peak_trade.reports.views.figures import plot
    from peak_trade.reports.views.page import report
    from peak_trade.reports.views.tear_sheet import tearsheet
    from peak_trade.risk.limits import RiskLimits
    from peak_trade.sessions.config import SessionConfig
    from peak_trade.sessions.replay import replay
    from peak_trade.sessions.run import run_session
    from peak_trade.strategies.base import Strategy
    from peak_trade.strategies.incremental import IncrementalStrategy
    from peak_trade.strategies.panel import PanelStrategy
    from peak_trade.strategies.stateful import StatefulStrategy
    from peak_trade.studies.backtest import backtest
    from peak_trade.studies.cost_fit import fit_costs
    from peak_trade.studies.diff import diff_runs
    from peak_trade.studies.holdout import holdout_state, seal_holdout
    from peak_trade.studies.listing import bars_table, sessions_table, strategies_table
    from peak_trade.studies.noise import noise_table
    from peak_trade.studies.portfolio.run import run_portfolio
    from peak_trade.studies.recording import record
    from peak_trade.studies.regime.second_opinion import regime_second_opinion
    from peak_trade.studies.regime.strategy import RegimeAware
    from peak_trade.studies.regime.study import noise_controls, study_regimes
    from peak_trade.studies.sweep.run import sweep
    from peak_trade.studies.trials import deflated
    from peak_trade.studies.walk_forward.run import walk_forward
    from peak_trade.tracking.counts import trials_of
    from peak_trade.tracking.queries import compare_runs, list_runs, show_run
    from peak_trade.wiring.detectors import make_detector
    from peak_trade.wiring.portfolio_settings import PortfolioSettings
    from peak_trade.wiring.run_file import read_run_file
    from peak_trade.wiring.strategies import make_strategy

__version__ = "0.2.0"

_HOMES = {
    "BacktestSettings": "peak_trade.engine.settings",
    "Bars": "peak_trade.core.bars",
    "Costs": "peak_trade.costs.model",
    "ExecutionPolicy": "peak_trade.engine.settings",
    "FixedNotional": "peak_trade.portfolio.sizing",
    "FixedRisk": "peak_trade.portfolio.sizing",
    "FractionOfEquity": "peak_trade.portfolio.sizing",
    "FractionalKelly": "peak_trade.portfolio.sizing",
    "IncrementalStrategy": "peak_trade.strategies.incremental",
    "Instrument": "peak_trade.core.values",
    "PanelStrategy": "peak_trade.strategies.panel",
    "PortfolioSettings": "peak_trade.wiring.portfolio_settings",
    "RegimeAware": "peak_trade.studies.regime.strategy",
    "ReportSettings": "peak_trade.reports.batch",
    "RiskLimits": "peak_trade.risk.limits",
    "SessionConfig": "peak_trade.sessions.config",
    "StatefulStrategy": "peak_trade.strategies.stateful",
    "Strategy": "peak_trade.strategies.base",
    "VolatilityTarget": "peak_trade.portfolio.sizing",
    "as_bars": "peak_trade.core.bars",
    "at_timeframe": "peak_trade.data.resampling",
    "backtest": "peak_trade.studies.backtest",
    "bars_table": "peak_trade.studies.listing",
    "check_causality": "peak_trade.causality.check",
    "compare_runs": "peak_trade.tracking.queries",
    "deflated": "peak_trade.studies.trials",
    "diff_runs": "peak_trade.studies.diff",
    "filter_regimes": "peak_trade.regimes.detector",
    "fit_costs": "peak_trade.studies.cost_fit",
    "holdout_state": "peak_trade.studies.holdout",
    "import_file": "peak_trade.data.importing",
    "list_runs": "peak_trade.tracking.queries",
    "load_bars": "peak_trade.data.store",
    "make_detector": "peak_trade.wiring.detectors",
    "make_strategy": "peak_trade.wiring.strategies",
    "noise_controls": "peak_trade.studies.regime.study",
    "noise_table": "peak_trade.studies.noise",
    "opening_holdout": "peak_trade.data.holdout",
    "plot": "peak_trade.reports.views.figures",
    "read_run_file": "peak_trade.wiring.run_file",
    "record": "peak_trade.studies.recording",
    "regime_second_opinion": "peak_trade.studies.regime.second_opinion",
    "rehearse_alerts": "peak_trade.observability.rehearsal",
    "replay": "peak_trade.sessions.replay",
    "report": "peak_trade.reports.views.page",
    "resample": "peak_trade.data.resampling",
    "run_portfolio": "peak_trade.studies.portfolio.run",
    "run_reports": "peak_trade.reports.batch",
    "run_session": "peak_trade.sessions.run",
    "sample_bars": "peak_trade.data.sample",
    "seal_holdout": "peak_trade.studies.holdout",
    "second_opinion": "peak_trade.engine.second_opinion",
    "sessions_table": "peak_trade.studies.listing",
    "show_run": "peak_trade.tracking.queries",
    "smooth_regimes": "peak_trade.regimes.detector",
    "strategies_table": "peak_trade.studies.listing",
    "study_regimes": "peak_trade.studies.regime.study",
    "sweep": "peak_trade.studies.sweep.run",
    "tearsheet": "peak_trade.reports.views.tear_sheet",
    "trials_of": "peak_trade.tracking.counts",
    "walk_forward": "peak_trade.studies.walk_forward.run",
}
"""Public names and the module that each comes from."""

__all__ = [
    "BacktestSettings",
    "Bars",
    "Costs",
    "ExecutionPolicy",
    "FixedNotional",
    "FixedRisk",
    "FractionOfEquity",
    "FractionalKelly",
    "IncrementalStrategy",
    "Instrument",
    "PanelStrategy",
    "PortfolioSettings",
    "RegimeAware",
    "ReportSettings",
    "RiskLimits",
    "SessionConfig",
    "StatefulStrategy",
    "Strategy",
    "VolatilityTarget",
    "as_bars",
    "at_timeframe",
    "backtest",
    "bars_table",
    "check_causality",
    "compare_runs",
    "deflated",
    "diff_runs",
    "filter_regimes",
    "fit_costs",
    "holdout_state",
    "import_file",
    "list_runs",
    "load_bars",
    "make_detector",
    "make_strategy",
    "noise_controls",
    "noise_table",
    "opening_holdout",
    "plot",
    "read_run_file",
    "record",
    "regime_second_opinion",
    "rehearse_alerts",
    "replay",
    "report",
    "resample",
    "run_portfolio",
    "run_reports",
    "run_session",
    "sample_bars",
    "seal_holdout",
    "second_opinion",
    "sessions_table",
    "show_run",
    "smooth_regimes",
    "strategies_table",
    "study_regimes",
    "sweep",
    "tearsheet",
    "trials_of",
    "walk_forward",
]


_DISPLAYS = {
    ("peak_trade.core.described", "Described"): "described_html",
    ("peak_trade.diff.result", "DiffResult"): "diff_html",
    ("peak_trade.engine.result", "BacktestResult"): "backtest_html",
    ("peak_trade.metrics.summary", "Stats"): "stats_html",
    ("peak_trade.studies.portfolio.result", "PortfolioResult"): "portfolio_html",
    ("peak_trade.studies.regime.study", "RegimeStudy"): "regime_html",
    ("peak_trade.studies.sweep.result", "SweepResult"): "sweep_html",
}
"""Results and the function of `reports.views.cell_values` that shows each in a notebook."""


def _register_displays(shell: "Any") -> None:
    """Register the HTML of results with an IPython shell. `import peak_trade` does so in a notebook."""

    def shown_by(name: str) -> "Any":
        def html(result: "Any") -> str:
            from importlib import import_module

            shown: str = getattr(import_module("peak_trade.reports.views.cell_values"), name)(result)
            return shown

        return html

    def show_parts(sheet: "Any") -> None:
        from peak_trade.reports.views.cell_values import show_tear_sheet

        show_tear_sheet(sheet)

    shown = shell.display_formatter.ipython_display_formatter
    shown.for_type_by_name("peak_trade.reports.views.tear_sheet", "TearSheet", show_parts)
    for (module, kind), name in _DISPLAYS.items():
        shell.display_formatter.formatters["text/html"].for_type_by_name(module, kind, shown_by(name))


def _register_completion(shell: "Any") -> None:
    """Complete names of strategies, symbols and parameters within quotes."""

    def complete(_shell: "Any", event: "Any") -> list[str]:
        from peak_trade.reports.views.completion import completions

        return completions(event.text_until_cursor)

    shell.set_hook("complete_command", complete, re_key=r".*\w\(")


def _show_progress() -> None:
    """Show the progress of long work in this notebook, unless `peak-trade report run` runs it."""
    import os

    from peak_trade.core.progress import show_progress

    def bar(task: str, unit: str) -> "Any":
        from peak_trade.reports.views.cell_values import notebook_progress

        return notebook_progress(task, unit)

    if not os.environ.get("PEAK_TRADE_NOTEBOOK"):
        show_progress(bar)


def _running_shell() -> "Any":
    import sys

    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


if (_shell := _running_shell()) is not None:
    _register_displays(_shell)
    _register_completion(_shell)
    if hasattr(_shell, "kernel"):
        _show_progress()


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'peak_trade' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
