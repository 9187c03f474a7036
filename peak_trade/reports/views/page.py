"""A result as one HTML page, and the sections of the page of each kind of result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.errors import ConfigError
from peak_trade.core.files import read_text, reason_of, write_text
from peak_trade.core.version import package_version
from peak_trade.data.workspace import package_data
from peak_trade.reports.display import bundle
from peak_trade.reports.markup import SCRIPTS, TEMPLATES, figure_html, markdown_html, render
from peak_trade.reports.project import STYLES
from peak_trade.reports.views import alerts, backtest, diff, diff_answer, portfolio, regime, tear_sheet, verdicts
from peak_trade.reports.views.cell_values import described_html
from peak_trade.reports.views.drawing import thinning_note
from peak_trade.reports.views.figures import FIGURES, of_kind
from peak_trade.reports.views.tear_sheet import Part, TearSheet

if TYPE_CHECKING:
    from peak_trade.diff.result import DiffResult
    from peak_trade.engine.result import BacktestResult
    from peak_trade.sessions.run import SessionResult
    from peak_trade.studies.portfolio.result import PortfolioResult
    from peak_trade.studies.regime.study import RegimeStudy
    from peak_trade.studies.sweep.result import SweepResult


@dataclass(frozen=True, slots=True)
class Section:
    """A heading of a page and what is below it; `parts` are arguments of `show`, or HTML."""

    heading: str
    parts: Sequence[Part | str]


@checks_arguments()
def report(result: Any, path: Path | str, title: str | None = None) -> Path:
    """Write a result as one HTML page that works offline, with its figures, tables and assumptions.

    Parameters
    ----------
    result : result
        Of backtest, sweep, run_portfolio, study_regimes, run_session, diff_runs, tearsheet or rehearse_alerts.
    path : Path or str
        File to write; it ends with .html. Missing folders are made, and an existing file is replaced.
    title : str, optional
        Title of the page; by default what the result is about.

    Returns
    -------
    Path
        The file, about 5 MB: it holds plotly's script.

    Raises
    ------
    ConfigError
        If there is no page of such a result, or the file can not be written.

    """
    target = Path(path)
    sections = of_kind(SECTIONS, result, "report")
    if target.suffix != ".html":
        raise ConfigError(f"report: path was {str(path)!r}. Name a file that ends with .html.")
    plotly = find_spec("plotly")
    assert plotly is not None
    assert plotly.origin is not None
    page = render(
        "report_page.html.j2",
        title=title or title_of(result),
        sections=[
            {"heading": each.heading, "parts": [_html(part, place) for part in each.parts]}
            for place, each in enumerate(sections(result))
            if each.parts
        ],
        style="\n".join(read_text(package_data() / style) for style in STYLES),
        scripts=[
            read_text(Path(plotly.origin).parent / "package_data" / SCRIPTS[0]),
            *(read_text(TEMPLATES / name) for name in SCRIPTS[1:]),
        ],
        made_by=f"peak_trade {package_version()}",
        digest=getattr(result, "run_id", ""),
    )
    try:
        write_text(target, page)
    except OSError as error:
        raise ConfigError(f"report: {target} could not be written: {reason_of(error)}. Name another file.") from None
    return target


def title_of(result: Any) -> str:
    """Return what a result is about: the first line of its text without the name of its class."""
    first = repr(result).partition("\n")[0]
    return first.partition(": ")[2] or first


def _html(part: Part | str, place: int) -> str:
    if isinstance(part, str):
        return part
    thing, name, caption, digits, formats = part
    if hasattr(thing, "to_plotly_json"):
        shown = figure_html(thing, f"figure-{place}-{name}", caption)
    else:
        shown = bundle(thing, name, digits, formats)["text/html"]
    return f"{shown}\n{markdown_html(f'*{caption}*')}" if caption else shown


def _figure(result: Any, name: str, caption: str = "") -> Part:
    return Part(of_kind(FIGURES, result, "plot")[name](result), name, caption)


def _measures(run: BacktestResult) -> Section:
    return Section("Measures", [Part(backtest.headline(run), "measures", backtest.HEADLINE_CAPTION)])


def _tear_sheet(sheet: TearSheet) -> list[Section]:
    return [
        Section("Months, years and drawdowns", sheet.periods()),
        Section("Rolling Sharpe ratio and volatility", sheet.rolling()),
        Section("Alpha and beta", sheet.regression()),
        Section("Daily returns", sheet.daily()),
        Section("Exposure and trades", sheet.activity()),
    ]


def _run_facts(run: BacktestResult) -> list[Section]:
    return [
        Section("Assumptions", [Part(run.assumptions, "assumptions")]),
        Section("Run id, digests and parameters", [Part(backtest.run_facts(run), "run")]),
    ]


def _summary(run: BacktestResult) -> list[Section]:
    return [
        Section("Result", [verdicts.provenance(run).to_html(), Part(backtest.outcome(run), "outcome")]),
        Section("Equity", [_figure(run, "equity", thinning_note()), _figure(run, "benchmark", "Both start at 1.")]),
    ]


def _trades(run: BacktestResult) -> list[Section]:
    paid, quote = verdicts.costs(run), run.market.columns[0].instrument.quote
    costs = [Part(verdicts.cost_sentence(paid, quote), "costs"), _figure(run, "costs")]
    table = Part(backtest.trades(run), "trade-list", backtest.TRADES_CAPTION, formats=backtest.TRADES_FORMATS)
    return [
        Section("Costs", costs),
        _measures(run),
        Section("Trades", [_figure(run, "trades", backtest.fills_note(run.fills)), table]),
    ]


def _backtest(run: BacktestResult) -> list[Section]:
    return [*_summary(run), *_trades(run), *_tear_sheet(tear_sheet.of_result(run)), *_run_facts(run)]


def _sweep(result: SweepResult) -> list[Section]:
    from peak_trade.metrics import measure_formats

    formats = {name: text for name, text in measure_formats("sweep").items() if name in result.table.columns}
    best = Part(result.best(), "best", "The combinations with the highest Sharpe ratio.", formats=formats)
    sentences = [result.overfitting_sentence, result.ranking, result.causality_sentence]
    return [
        Section("Combinations", [best, Part([each for each in sentences if each], "selection")]),
        Section("Sharpe ratio by parameters", [_figure(result, "sharpe")]),
        *(Section(f"Best combination: {each.heading}", each.parts) for each in _backtest(result.winner)),
    ]


def _portfolio(result: PortfolioResult) -> list[Section]:
    caption, formats = portfolio.ATTRIBUTION_CAPTION, portfolio.ATTRIBUTION_FORMATS
    table = Part(portfolio.attribution(result), "attribution", caption, formats=formats)
    lines = "After costs. The lines sum to the portfolio at every bar."
    return [
        *_summary(result.run),
        Section("PnL by strategy", [_figure(result, "strategies", lines)]),
        Section("PnL by symbol", [_figure(result, "symbols", lines)]),
        _measures(result.run),
        Section("Attribution of PnL and risk", [table]),
        Section("Correlations", [_figure(result, "correlations")]),
        Section("Weights", [_figure(result, "weights", "Fraction of equity at full exposure.")]),
        *_tear_sheet(tear_sheet.of_result(result.run)),
        *_run_facts(result.run),
    ]


def _regime(study: RegimeStudy) -> list[Section]:
    delays = Part(study.delays(), "delays", "Results with regimes known some bars later.", formats=regime.DELAY_FORMATS)
    table = Part(study.table(), "regime-table", regime.REGIME_CAPTION, formats=regime.REGIME_FORMATS)
    facts: dict[str, Any] = dict(study.facts())
    return [
        Section("Result", [verdicts.provenance(study.result).to_html(), Part(facts, "facts")]),
        Section("Price by regime", [_figure(study, "regimes", "The colour at each close was known at that close.")]),
        Section("Probabilities", [_figure(study, "probabilities")]),
        Section("Results by regime", [table]),
        Section("Transitions", [_figure(study, "transitions"), Part(study.durations(), "durations")]),
        Section("Delayed regimes", [delays]),
        _measures(study.result),
        *_run_facts(study.result),
    ]


def _session(result: SessionResult) -> list[Section]:
    return [
        Section("Result", [described_html(result)]),
        Section("Equity", [_figure(result, "equity", thinning_note())]),
    ]


def _diff(result: DiffResult) -> list[Section]:
    answer = diff_answer.answer(result).to_html()
    causes = Part(diff.causes(result), "causes", formats=diff.CAUSES_FORMATS)
    return [
        Section("Result", [diff_answer.provenance(result).to_html(), answer, Part(diff.outcome(result), "outcome")]),
        Section("From the shadow's PnL to the live PnL", [_figure(result, "pnl", diff.WATERFALL_CAPTION), causes]),
        Section("Equity", [_figure(result, "equity", "Below: live − shadow.")]),
        Section("Fills", [_figure(result, "fills", diff.pairs_note(result))]),
        Section("Compared runs", [Part(diff.compared(result), "compared")]),
    ]


def _sheet(sheet: TearSheet) -> list[Section]:
    return [Section("Equity", [_figure(sheet, "equity", thinning_note())]), *_tear_sheet(sheet)]


def _rehearsal(result: Any) -> list[Section]:
    firings, formats = result.table(), {"hours": "{:,.2f}"}
    by_alert = Part(alerts.firings_by_alert(firings, result.alerts), "alerts", formats=formats)
    return [
        Section("Result", [Part(result.sentences(), "outcome"), by_alert]),
        Section("When the alerts fire", [_figure(result, "timeline", alerts.TIMELINE_CAPTION)]),
        Section("Firings", [Part(alerts.firings_table(firings), "firings", formats=formats)]),
    ]


SECTIONS: Mapping[str, Callable[[Any], Sequence[Section]]] = MappingProxyType(
    {
        "BacktestResult": _backtest,
        "SweepResult": _sweep,
        "PortfolioResult": _portfolio,
        "RegimeStudy": _regime,
        "SessionResult": _session,
        "DiffResult": _diff,
        "TearSheet": _sheet,
        "Rehearsal": _rehearsal,
    }
)
"""Kinds of results and the sections of their pages."""
