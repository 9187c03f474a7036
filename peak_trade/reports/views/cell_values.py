"""HTML of results and measures as the last value of a cell. `import peak_trade` registers it with IPython."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from peak_trade.core.progress import OnProgress
from peak_trade.reports.display import show
from peak_trade.reports.markup import render, sentences_html, table_html

if TYPE_CHECKING:
    from peak_trade.core.described import Described
    from peak_trade.diff.result import DiffResult
    from peak_trade.engine.result import BacktestResult
    from peak_trade.metrics.summary import Stats
    from peak_trade.reports.views.tear_sheet import TearSheet
    from peak_trade.studies.portfolio.result import PortfolioResult
    from peak_trade.studies.regime.study import RegimeStudy
    from peak_trade.studies.sweep.result import SweepResult


def backtest_html(result: BacktestResult) -> str:
    """Return what a backtest is about, and its measures with those of buying and holding."""
    from peak_trade.reports.views import backtest, verdicts

    shown = backtest.headline(result).drop(columns=["n", "remark"])
    return f"{verdicts.provenance(result).to_html()}{table_html(shown, 'measures')}{_sentences(result.cut_short)}"


def portfolio_html(result: PortfolioResult) -> str:
    """Return what a portfolio is about, its measures, and the attribution to its strategies."""
    from peak_trade.reports.views import portfolio

    shares = table_html(portfolio.attribution(result), "attribution", portfolio.ATTRIBUTION_FORMATS)
    return f"{backtest_html(result.run)}{shares}"


def sweep_html(result: SweepResult) -> str:
    """Return the best combinations of a sweep and its probability of overfitting."""
    from peak_trade.metrics import measure_formats

    formats = {name: text for name, text in measure_formats("sweep").items() if name in result.table.columns}
    return f"{table_html(result.best(), 'best', formats)}{_sentences([result.overfitting_sentence])}"


def regime_html(study: RegimeStudy) -> str:
    """Return what a regime study is about and the measures of its regimes."""
    from peak_trade.reports.views import regime, verdicts

    shown = table_html(study.table(), "regimes", regime.REGIME_FORMATS)
    return f"{verdicts.provenance(study.result).to_html()}{shown}"


def diff_html(result: DiffResult) -> str:
    """Return the answer of a diff."""
    from peak_trade.reports.views import diff_answer

    return f"{diff_answer.provenance(result).to_html()}{diff_answer.answer(result).to_html()}"


def described_html(result: Described) -> str:
    """Return the title and the facts of any other result."""
    title, facts = result.description()
    kind, _, about = title.partition(": ")
    texts = [(name, str(value)) for name, value in facts.items() if str(value)]
    return render("facts.html.j2", kind=kind, about=about, facts=texts)


def stats_html(stats: Stats) -> str:
    """Return the measures of a run with their standard errors."""
    from peak_trade.metrics import format_measure

    rows = [(name, format_measure(name, each), each.n) for name, each in stats.items()]
    return table_html(pd.DataFrame(rows, columns=["measure", "value ± standard error", "n"]), "stats")


def show_tear_sheet(sheet: TearSheet) -> None:
    """Show every table and figure of a tear sheet."""
    for part in sheet.parts():
        show(*part)


FIRST_SHOWN = 1.0
"""Seconds after which the progress of work is shown in a notebook."""
BETWEEN_UPDATES = 0.25
"""Smallest time between two updates of it, seconds."""


def show_html(markup: str, place: Any = None) -> Any:
    """Show HTML below a cell, or in a place where HTML was shown, and return its place."""
    from IPython.display import HTML, display

    shown = HTML(markup)  # type: ignore[no-untyped-call]
    if place is None:
        return display(shown, display_id=True)  # type: ignore[no-untyped-call]
    place.update(shown)
    return place


@contextmanager
def notebook_progress(task: str, unit: str) -> Iterator[OnProgress]:
    """Show the progress of work that takes more than a second below its cell, until it ends."""
    started = time.perf_counter()
    handle: Any = None
    due = started + FIRST_SHOWN

    def on_progress(done: int, total: int) -> None:
        nonlocal handle, due
        now = time.perf_counter()
        if now < due or total <= 0:
            return
        due = now + BETWEEN_UPDATES
        seconds = (now - started) * (total - done) / done if done else 0.0
        left = f"{seconds / 60.0:,.0f} min" if seconds >= 90.0 else f"{seconds:,.0f} s" if done else ""
        markup = render("progress.html.j2", task=task, unit=unit, done=done, total=total, left=left)
        handle = show_html(markup, handle)

    try:
        yield on_progress
    finally:
        if handle is not None:
            show_html("", handle)


def _sentences(sentences: list[Any]) -> str:
    kept = [str(sentence) for sentence in sentences if sentence]
    return sentences_html(kept) if kept else ""
