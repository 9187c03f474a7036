"""The pages of the sections state the audit verdict of each session, the rejected ideas, and every definition."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from peak_trade.data.workspace import workspace_at
from peak_trade.journal.files import EVENTS, MANIFEST
from peak_trade.journal.verify import VerdictKind
from peak_trade.metrics import MEASURES
from peak_trade.reports.answer import DataKind, Finding
from peak_trade.sessions.audit import audited_sessions
from peak_trade.sessions.store import session_ids, sessions_folder
from peak_trade.site.home import home_page
from peak_trade.site.pages import write_pages
from peak_trade.site.sections import (
    NO_IDEAS,
    Outcome,
    definitions,
    rejected_page,
    sessions_page,
)
from tests.reports.conftest import ROOT, answered
from tests.sessions.running import sealed_sessions


@pytest.fixture(scope="module")
def two_sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed_sessions(tmp_path_factory.mktemp("sessions") / "home", 2)


@pytest.fixture
def sessions(two_sessions: Path, home: Path) -> list[str]:
    shutil.copytree(two_sessions, home)
    return session_ids()


@pytest.mark.long
def test_each_session_has_its_audit_verdict(sessions):
    rows, faults = audited_sessions()
    assert [row.summary.session_id for row in rows] == sessions[::-1]
    assert ([row.verdict.finding for row in rows], faults) == (["intact", "intact"], [])
    path = sessions_folder() / sessions[0] / EVENTS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3] + lines[4:]))
    edited = audited_sessions()[0][1]
    assert (edited.verdict.finding, edited.verdict.is_intact) == ("deleted", False)
    page = sessions_page(*audited_sessions())
    assert '<td class="pt-status-failed">deleted<br>' in page
    assert '<td class="pt-status-done">intact<br>' in page
    assert "The chain of the sessions has no fault" in page


def test_a_missing_and_an_unreadable_session_are_named(sessions):
    shutil.rmtree(sessions_folder() / sessions[0])
    (sessions_folder() / sessions[1] / MANIFEST).write_text("{", encoding="utf-8")
    rows, faults = audited_sessions()
    (row,) = rows
    assert (row.summary.state, row.verdict.is_intact) == ("unreadable", False)
    assert row.summary.reason
    assert any(sessions[0] in fault for fault in faults)
    assert sessions[0] in sessions_page(rows, faults)


@pytest.mark.long
def test_the_page_has_the_sessions_of_a_workspace_in_the_workspace(project, two_sessions, home):
    """As `make demo` makes one; the faults of its chain name it."""
    demo = home / "demo"
    shutil.copytree(two_sessions, demo)
    with workspace_at(demo):
        names = session_ids()
    write_pages(project, project)
    page = (project / "reports" / "pages" / "sessions.md").read_text(encoding="utf-8")
    assert len(names) == 2
    assert all(f"{name}<br><small>workspace demo</small>" in page for name in names)
    shutil.rmtree(demo / "sessions" / names[0])
    write_pages(project, project)
    page = (project / "reports" / "pages" / "sessions.md").read_text(encoding="utf-8")
    assert re.search(f"<p .*>demo: .*{names[0]}", page)


def test_a_session_names_its_last_alerts(sessions):
    row = replace(audited_sessions()[0][0], alerts=("third <b>", *(f"alert {n}" for n in range(6))))
    page = sessions_page([row], [])
    assert "<td>7<br><small>third &lt;b&gt;</small>" in page
    assert "alert 3" in page
    assert "alert 4" not in page


def test_the_home_page_names_the_last_alert_of_the_newest_sessions(sessions):
    (new, old), _ = audited_sessions()
    cut = replace(old.verdict, finding=VerdictKind.TRUNCATED)
    rows = [
        replace(new, alerts=("third <b>", "first")),
        replace(old, alerts=("only",)),
        old,
        replace(new, alerts=("x",)),
    ]
    shown = home_page([], [], [], [replace(each, verdict=cut) if each is old else each for each in rows])
    listed = re.findall(r"<p>(.*?)</p>", shown.partition("Alerts of the last sessions</h2>")[2])
    assert listed[:4] == [
        f"{sessions[1]}: 2 alerts<br><small>third &lt;b&gt;</small>",
        f"{sessions[0]}: 1 alert<br><small>only</small>",
        f'{sessions[0]}: <span class="pt-status-failed">journal truncated</span>, no alerts',
        '<a href="reports/pages/sessions.html">All sessions</a>',
    ]
    assert "<p>There are no sessions yet.</p>" in home_page([], [], [], [])


def test_without_sessions_the_page_names_the_command(home):
    assert "`peak-trade session run --help`" in sessions_page(*audited_sessions())


def outcome(finding: Finding, page: str = "tiny-1.html", verdict: str = "No evidence", failure: str = "") -> Outcome:
    sentence = f"Sentence of {page}"
    return Outcome(page, "Study", "about", "2024-06-01", verdict, finding, sentence, (DataKind.RECORDED,), failure)


def test_rejected_ideas_are_those_below_the_benchmark_then_those_without_evidence():
    page = rejected_page(
        [
            outcome(Finding.NOT_SHOWN, "a.html"),
            outcome(Finding.SHOWN, "b.html", "Evidence"),
            outcome(Finding.AGAINST, "c.html", "Worse"),
            outcome(Finding.UNKNOWN, "d.html", "Cannot say"),
            *(outcome(Finding.AGAINST, f"{name}-1.html", "Parity red") for name in NO_IDEAS),
            outcome(Finding.NOT_SHOWN, "e.html", failure="Failed in code cell 2"),
        ]
    )
    assert [name for name in "abcde" if f'href="{name}.html"' in page] == ["a", "c"]
    assert page.index("Sentence of c.html") < page.index("Sentence of a.html")
    assert "Parity red" not in page
    assert "No study has rejected an idea yet" in rejected_page([outcome(Finding.SHOWN)])


def test_every_notebook_that_judges_no_idea_exists():
    assert [name for name in NO_IDEAS if not (ROOT / "notebooks" / f"{name}.ipynb").is_file()] == []


def test_every_measure_is_linked_to_the_section_that_defines_it():
    found = definitions(ROOT)
    assert found.keys() == MEASURES.keys()
    assert found["sharpe"] == "../../docs/metrics.html#ratios"
    assert found["turnover"] == "../../docs/metrics.html#trades-and-activity"
    headings = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").lower()
    for link in found.values():
        assert f"\n## {link.partition('#')[2].replace('-', ' ')}\n" in headings


def test_a_project_without_the_definitions_has_no_links(tmp_path):
    assert definitions(tmp_path) == {}


def test_the_page_of_a_study_states_the_verdict_of_each_run(project, executed):
    path = executed("tiny-good")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["cells"][3]["outputs"] += answered("<x>")
    path.write_text(json.dumps(content), encoding="utf-8")
    executed("tiny-bad", error="no such bar")
    write_pages(project, project)
    page = (project / "reports" / "pages" / "tiny.md").read_text(encoding="utf-8")
    assert "<b>Verdict &lt;x&gt;.</b> Sentence &lt;x&gt;" in page
    assert "Failed in code cell 2: E: no such bar" in page
    rejected = (project / "reports" / "pages" / "rejected.md").read_text(encoding="utf-8")
    assert "Verdict &lt;x&gt;" in rejected
    assert "tiny-bad" not in rejected
