"""Pages of sessions with their audit verdict, of rejected ideas and of measures with their definitions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from peak_trade.core.errors import PeakTradeError
from peak_trade.core.files import read_text
from peak_trade.core.time import iso
from peak_trade.journal.events import AlertEvent
from peak_trade.journal.files import stream_events
from peak_trade.metrics import MEASURES
from peak_trade.reports.answer import DataKind, Finding, number
from peak_trade.reports.markup import raw_html, render
from peak_trade.reports.notebooks import ReportRun, first_of
from peak_trade.sessions.audit import verify_workspace
from peak_trade.sessions.store import SessionSummary, sessions_folder, summaries

DEFINITIONS = Path("docs/metrics.md")
NO_IDEAS = ("alert_rehearsal", "risk_study", "shadow_vs_live_diff")
"""Notebooks that judge alerts, limits and sessions; a study of another notebook judges an idea."""
MAX_ALERTS = 5
"""Largest number of alerts of a session that its row names; the last ones are taken."""
_SECTION = re.compile(r"^## (.+)$", flags=re.MULTILINE)
_NAMES = (re.compile(r"^(?:\| |\*\*)`(\w+)`", flags=re.MULTILINE), re.compile(r"`(\w+)`"))


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session with the verdict on its journal, and its alerts as texts, the last one first."""

    summary: SessionSummary
    verdict: str
    evidence: str
    is_intact: bool
    alerts: tuple[str, ...]

    @property
    def about(self) -> str:
        """Strategies, symbols and timeframe."""
        of = self.summary
        return " ".join((", ".join(of.strategies), ", ".join(of.symbols), of.timeframe)).strip()

    @property
    def times(self) -> tuple[str, str]:
        """Time of the start by the clock, and close of the last bar, UTC; a dash if there is none."""
        started, last_bar = (
            _minute(moment) if moment else "–" for moment in (self.summary.started, self.summary.last_bar)
        )
        return started, last_bar

    @property
    def equity(self) -> str:
        """Equity at the end, in quote currency."""
        return number(self.summary.equity)


def session_rows() -> tuple[list[SessionRow], list[str]]:
    """Return the sessions of the workspace, the last id first, and the faults of their chain.

    Every journal is read and verified: a verdict that was kept could be that of another file.
    """
    checked = verify_workspace()
    rows = []
    for summary in reversed(summaries()):
        verdict = checked.verdicts[summary.session_id]
        alerts = _alerts(sessions_folder() / summary.session_id)
        rows.append(SessionRow(summary, verdict.finding, verdict.message, verdict.is_intact, alerts))
    return rows, list(checked.chain.faults)


def _alerts(folder: Path) -> tuple[str, ...]:
    try:
        found = [event for event in stream_events(folder) if isinstance(event, AlertEvent)]
    except (PeakTradeError, OSError):
        return ()
    return tuple(f"{_minute(event.ts_event)} {event.level}: {event.message}" for event in reversed(found))


def _minute(moment: int) -> str:
    return iso(moment)[:16].replace("T", " ")


def sessions_page(rows: Sequence[SessionRow], faults: Sequence[str]) -> str:
    """Return the Markdown of the page of sessions."""
    front = "---\ntitle: Sessions\ntoc: false\npage-layout: full\n---\n\n"
    if not rows and not faults:
        return f"{front}There are no sessions yet. `peak-trade session run --help` starts one.\n"
    return f"{front}{raw_html(render('sessions.html.j2', rows=rows, faults=faults, max_alerts=MAX_ALERTS))}\n"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer of an executed notebook, for lists: its page, what it is about, and the verdict with its sentence."""

    page: str
    study: str
    about: str
    executed: str
    verdict: str
    finding: str
    sentence: str
    kinds: tuple[DataKind, ...]
    failure: str = ""


def outcome(run: ReportRun, typed: Sequence[Mapping[str, Any]], about: str) -> Outcome:
    """Return the outcome of an executed notebook with its typed results."""
    answer, origin = first_of(typed, "answer"), first_of(typed, "provenance")
    return Outcome(
        page=f"{run.slug}.html",
        study=run.title,
        about=origin.get("title") or about,
        executed=run.executed_at.replace("T", " ").removesuffix("Z")[:16],
        verdict=answer.get("verdict", ""),
        finding=answer.get("finding", ""),
        sentence=answer.get("sentence", ""),
        kinds=tuple(map(DataKind, origin.get("data", []))),
        failure=f"Failed in code cell {run.failed_cell}: {run.error}" if run.is_failed else "",
    )


def rejected_page(outcomes: Iterable[Outcome]) -> str:
    """Return the Markdown of the page of ideas that a study did not confirm, by their verdict.

    The notebooks of `NO_IDEAS` judge no idea, and a failed run has no verdict.
    """
    front = "---\ntitle: Rejected ideas\ntoc: false\n---\n\n"
    kept = [
        each
        for each in outcomes
        if not each.failure
        and each.finding in (Finding.AGAINST, Finding.NOT_SHOWN)
        and not each.page.startswith(NO_IDEAS)
    ]
    if not kept:
        return f"{front}No study has rejected an idea yet: there is no executed study with such a verdict.\n"
    ordered = sorted(kept, key=lambda each: (each.finding != Finding.AGAINST, each.verdict))  # stable: newest first
    groups = [(verdict, list(members)) for verdict, members in groupby(ordered, key=lambda each: each.verdict)]
    return f"{front}{raw_html(render('rejected.html.j2', groups=groups))}\n"


def methods_page(root: Path) -> str:
    """Return the Markdown of the page of measures, each with its unit and a link to its definition."""
    anchors = definitions(root)
    rows = [(name, row.unit, ", ".join(row.places), anchors.get(name, "")) for name, row in MEASURES.items()]
    return f"---\ntitle: Methods\ntoc: false\n---\n\n{raw_html(render('methods.html.j2', rows=rows))}\n"


def definitions(root: Path) -> dict[str, str]:
    """Return, for each measure, the address of its definition from a page in `reports/pages`.

    It is the first section of `docs/metrics.md` with a table row or a bold term of that name, otherwise the first one
    that names it. A project without that document has none.
    """
    if not (root / DEFINITIONS).is_file():
        return {}
    parts = _SECTION.split(read_text(root / DEFINITIONS))
    page = f"../../{DEFINITIONS.with_suffix('.html').as_posix()}"
    found: dict[str, str] = {}
    for pattern in _NAMES:
        for title, text in zip(parts[1::2], parts[2::2], strict=True):
            for name in pattern.findall(text):
                found.setdefault(name, f"{page}#{title.lower().replace(' ', '-')}")
    return {name: found[name] for name in MEASURES if name in found}
