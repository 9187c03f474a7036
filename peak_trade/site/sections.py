"""Pages of sessions with their audit verdict, of rejected ideas and of measures with their definitions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from peak_trade.core.files import read_text
from peak_trade.core.time import iso
from peak_trade.metrics import MEASURES
from peak_trade.reports.answer import DataKind, Finding
from peak_trade.reports.markup import raw_html, render
from peak_trade.reports.notebooks import ReportRun, first_of
from peak_trade.sessions.audit import AuditedSession

DEFINITIONS = Path("docs/metrics.md")
NO_IDEAS = ("alert_rehearsal", "risk_study", "shadow_vs_live_diff")
"""Notebooks that judge alerts, limits and sessions; a study of another notebook judges an idea."""
MAX_ALERTS = 5
"""Largest number of alerts of a session that its row names; the last ones are taken."""
_SECTION = re.compile(r"^## (.+)$", flags=re.MULTILINE)
_NAMES = (re.compile(r"^(?:\| |\*\*)`(\w+)`", flags=re.MULTILINE), re.compile(r"`(\w+)`"))


def sessions_page(rows: Sequence[AuditedSession], faults: Sequence[str]) -> str:
    """Return the Markdown of the page of sessions."""
    front = "---\ntitle: Sessions\ntoc: false\npage-layout: full\n---\n\n"
    if not rows and not faults:
        return f"{front}There are no sessions yet. `peak-trade session run --help` starts one.\n"
    shown = render("sessions.html.j2", rows=rows, faults=faults, minute=_minute, max_alerts=MAX_ALERTS)
    return f"{front}{raw_html(shown)}\n"


def _minute(moment: int) -> str:
    return iso(moment)[:16].replace("T", " ") if moment else "–"


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
