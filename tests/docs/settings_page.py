"""Write docs/reference/settings.md from the classes of settings: `python -m tests.docs.settings_page`."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args, get_origin

import peak_trade
from peak_trade.core.field_words import default_in_words, meanings_of, values_in_words
from peak_trade.core.settings import Settings
from peak_trade.strategies.base import BaseStrategy

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
HEADER = """# Settings

Written from the classes of settings by `python -m tests.docs.settings_page`; a test compares the two. Do not edit.

An unknown name is an error that suggests the closest known one, and a value of another type or outside its range is an
error. *Values* says what is accepted, and *default* what holds where the setting is left out. Parameters of strategies
are in [strategies.md](../strategies.md).
"""

RULE = f"|{'-' * 24}|{'-' * 24}|{'-' * 16}|{'-' * 48}|"
"""Below the names of a table's columns; the lengths give their widths."""


class Table(NamedTuple):
    """One table of a file: its heading and the class of its settings."""

    heading: str
    place: str


class Section(NamedTuple):
    """One file, what it is for, and its tables."""

    title: str
    text: str
    tables: tuple[Table, ...]


RUN = "peak_trade.engine.settings"
SIZING = "peak_trade.portfolio.sizing"
LIMITS = "peak_trade.risk.limits"
POLICY = "peak_trade.governance.policy"
TELEMETRY = "peak_trade.journal.telemetry"

SECTIONS = (
    Section(
        "The run file",
        "`--config FILE` of `backtest`, `sweep`, `walk-forward`, `regime` and `session run`, and `pt.read_run_file`; "
        "for example `config/backtest_example.toml`. In Python the tables are the classes of the same settings.",
        (
            Table("top level", f"{RUN}:BacktestSettings"),
            Table("[costs]", "peak_trade.costs.model:Costs"),
            Table("[execution]", f"{RUN}:ExecutionPolicy"),
            Table('[sizing] with kind = "fraction_of_equity"', f"{SIZING}:FractionOfEquity"),
            Table('[sizing] with kind = "fixed_notional"', f"{SIZING}:FixedNotional"),
            Table('[sizing] with kind = "volatility_target"', f"{SIZING}:VolatilityTarget"),
            Table('[sizing] with kind = "fractional_kelly"', f"{SIZING}:FractionalKelly"),
            Table('[sizing] with kind = "fixed_risk"', f"{SIZING}:FixedRisk"),
            Table('[instruments."BTC/USDT"]', "peak_trade.wiring.run_file:InstrumentSettings"),
        ),
    ),
    Section(
        "The risk file",
        "The table `[risk]` of a run file or a portfolio file, or a file of its own that its setting `file` names: "
        '`file = "config/risk.toml"`.',
        (
            Table("[risk]", f"{LIMITS}:RiskLimits"),
            Table("[risk.liquidity]", f"{LIMITS}:LiquidityLimits"),
            Table("[risk.var]", f"{LIMITS}:VarLimits"),
            Table("[risk.stress]", f"{LIMITS}:StressLimits"),
            Table("[risk.state]", f"{LIMITS}:StateLimits"),
        ),
    ),
    Section(
        "The portfolio file",
        "`peak-trade portfolio --config FILE` and `pt.PortfolioSettings`; for example "
        "`config/portfolios/multi_strategy_example.toml`. `[costs]`, `[execution]` and `[risk]` are those of a run "
        "file.",
        (
            Table("portfolio: top level", "peak_trade.wiring.portfolio_settings:PortfolioSettings"),
            Table("[[strategies]]", "peak_trade.wiring.portfolio_settings:StrategyEntry"),
            Table("[allocation]", "peak_trade.portfolio.allocation:Allocation"),
            Table("[rebalancing]", "peak_trade.portfolio.rebalancing:Rebalancing"),
        ),
    ),
    Section(
        "The sweep file",
        "`peak-trade sweep FILE`; for example `config/sweeps/ma_crossover.toml`.",
        (Table("sweep: top level", "peak_trade.studies.sweep.settings:SweepSettings"),),
    ),
    Section(
        "The batch file",
        "`peak-trade report batch FILE`; for example `config/reports/ma_crossover.toml`.",
        (Table("[[report]]", "peak_trade.reports.batch:ReportSettings"),),
    ),
    Section(
        "Sessions",
        "`pt.SessionConfig`, and the `config` of a manifest. `session run` sets them by its options and its run file.",
        (
            Table("pt.SessionConfig", "peak_trade.sessions.config:SessionConfig"),
            Table("strategies of pt.SessionConfig", "peak_trade.sessions.config:SessionStrategy"),
            Table("portfolio of pt.SessionConfig", "peak_trade.wiring.portfolio_settings:PortfolioRules"),
            Table("symbols of pt.SessionConfig", "peak_trade.sessions.config:SessionSymbol"),
            Table("evidence of an edge", "peak_trade.metrics.e_values:EdgeTest"),
        ),
    ),
    Section(
        "The telemetry file",
        "`session run --telemetry FILE`: what is recorded and where copies go; for example "
        "`config/execution_telemetry.toml`.",
        (
            Table("telemetry: top level", f"{TELEMETRY}:TelemetrySettings"),
            Table("[sinks]", f"{TELEMETRY}:Sinks"),
            Table("[sinks.NAME]", f"{TELEMETRY}:SinkSettings"),
            Table("[sinks.webhook]", "peak_trade.journal.sinks:WebhookSettings"),
            Table("[retention]", f"{TELEMETRY}:Retention"),
        ),
    ),
    Section(
        "The policy file",
        "`peak-trade policy adopt FILE`: what a session at a sandbox must show; `config/live_policies.toml` gives the "
        "reason of each value. No value has a default.",
        (
            Table("policy: top level", f"{POLICY}:LivePolicy"),
            Table("policy: [[approvers]]", f"{POLICY}:Approver"),
            Table("policy: [approvals]", f"{POLICY}:ApprovalRules"),
            Table("policy: [risk]", f"{POLICY}:RiskCaps"),
            Table("policy: [readiness]", f"{POLICY}:Readiness"),
            Table("policy: [out_of_sample]", f"{POLICY}:OutOfSampleRules"),
            Table("policy: [shadow]", f"{POLICY}:ShadowRules"),
        ),
    ),
    Section(
        "The approval",
        "`peak-trade approve FILE`: one session at a sandbox, from `config/governance/live_approval_template.toml`.",
        (
            Table("approval: top level", "peak_trade.governance.approval:Approval"),
            Table("approval: [scope]", "peak_trade.governance.scope:Scope"),
            Table("approval: [[scope.strategies]]", "peak_trade.governance.scope:ScopedStrategy"),
        ),
    ),
    Section(
        "Regime detectors",
        "`pt.make_detector(name, timeframe, settings)`, and `-d NAME=VALUE` of `peak-trade regime`.",
        (
            Table("hmm", "peak_trade.regimes.hmm:HmmDetector"),
            Table("jump", "peak_trade.regimes.jump:JumpDetector"),
            Table("rules", "peak_trade.regimes.rules:RulesDetector"),
            Table("features", "peak_trade.regimes.features:FeatureSettings"),
            Table("rules of the fallback", "peak_trade.regimes.rules:RuleSettings"),
        ),
    ),
)


def settings_classes() -> Iterator[type[Settings]]:
    """Yield every public class of settings of the package, except strategies and classes that others derive from."""
    for module in pkgutil.walk_packages(peak_trade.__path__, "peak_trade."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    left = [Settings]
    while left:
        found = left.pop().__subclasses__()
        left += found
        for each in found:
            is_ours = each.__module__.startswith("peak_trade.") and not each.__name__.startswith("_")
            if is_ours and not issubclass(each, BaseStrategy) and not each.__abstractmethods__:
                yield each


def rows(settings: type[Settings]) -> Iterator[str]:
    """Yield one table row per setting."""
    meanings = meanings_of(settings)
    for name, field in settings.model_fields.items():
        values = values_in_words(field.annotation, field.metadata)
        default = "required" if field.is_required() else default_in_words(field)
        meaning = meanings.get(name) or _meaning_of(field.annotation)
        yield f"| `{name}` | {_cell(values)} | {_cell(default)} | {_cell(meaning)} |"


def page() -> str:
    """Return the page of all settings."""
    lines = [HEADER]
    for section in SECTIONS:
        lines += [f"## {section.title}", "", section.text, ""]
        for table in section.tables:
            settings: type[Settings] = pkgutil.resolve_name(table.place)
            lines += [f"### {table.heading}", "", f"{_summary(settings)} (`{settings.__name__}`)", ""]
            lines += ["| setting | values | default | meaning |"]
            lines += [RULE]
            lines += [*rows(settings), ""]
    return "\n".join(lines).rstrip() + "\n"


def _meaning_of(annotation: object) -> str:
    """Return the meaning of a table, or of a name that chooses one, from its annotation."""
    if get_origin(annotation) is Literal:
        return "Chooses this table."
    parts = [annotation, *get_args(annotation)]
    tables = [each for each in parts if isinstance(each, type) and issubclass(each, Settings)]
    if len(tables) > 1:
        return "A table, one of those below."
    return f"A table: {_summary(tables[0])}" if tables else ""


def _summary(settings: type[Settings]) -> str:
    return " ".join((settings.__doc__ or "").split("\n\n")[0].split())


def _cell(text: str) -> str:
    return re.sub(r"(?<![\w-])-(?=\d)", "−", " ".join(text.split()).replace("|", "&#124;"))


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
