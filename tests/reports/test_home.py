"""The home page states the verdict of the latest run of each study, and follows from its inputs alone."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest

from peak_trade.core.errors import ReportError
from peak_trade.health.checks import Attempt, Health, SuiteRun, save
from peak_trade.health.rederivation import Rederivation
from peak_trade.reports.answer import DataKind
from peak_trade.reports.display import PLOTLY_MIME
from peak_trade.reports.project import HOME_PART, ORIGIN_PART
from peak_trade.site import home, pages
from peak_trade.site.build import build_site
from peak_trade.site.home import HEADLINES, N_NUMBERS, HomeNumber, home_rows
from tests.reports.conftest import ROOT, answered

pytestmark = pytest.mark.filterwarnings("ignore")


def add_answer(path: Path, name: str, kind: DataKind = DataKind.GENERATED) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    content["cells"][3]["outputs"] += answered(name, kind)
    path.write_text(json.dumps(content), encoding="utf-8")


def home_text(root: Path, part: Path = HOME_PART) -> str:
    stage = root.with_name("stage")
    pages.write_pages(root, stage)
    return (stage / part).read_text(encoding="utf-8")


def study(text: str, name: str) -> str:
    (found,) = [part for part in text.split("<section")[1:] if f"reports/pages/{name}" in part]
    return found.partition("</section>")[0]


def test_a_study_shows_its_latest_run_with_verdict_numbers_and_drawing(project, executed):
    add_answer(executed("tiny-old", when="2024-05-01T00:00:00Z"), "old")
    add_answer(executed("tiny-new", when="2024-06-01T08:30:00Z"), "new", DataKind.TESTNET)
    text = home_text(project)
    shown = study(text, "tiny")
    assert 'href="reports/pages/tiny-new.html"' in shown
    assert "<b>Verdict new.</b> Sentence new" in shown
    assert 'data-kind="testnet">TESTNET' in shown
    assert "2024-06-01 08:30 UTC" in shown
    assert "old" not in shown
    numbers = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", shown)
    assert numbers[0] == ("Net return", "+72.9%")
    assert numbers[1][0] == "Sharpe ratio, a year"
    assert numbers[1][1].replace("\u00a0", " ") == "0.94<small> ± 0.71</small>"
    assert len(numbers) == N_NUMBERS
    assert 'aria-label="equity: first 10,000, least 10,000, most 12,000, last 12,000"' in shown
    assert text.index("tiny-new") < text.index("Not yet run")


def test_a_study_without_a_run_shows_the_command_and_a_failed_run_its_cell(project, executed):
    assert home_text(project).count("Not yet run.") == len(list((project / "notebooks").glob("*.ipynb")))
    assert 'data-copy="peak-trade report run tiny"' in study(home_text(project), "tiny")
    executed("tiny-good", when="2024-05-01T00:00:00Z")
    executed("tiny-bad", error="no such bar")
    shown = study(home_text(project), "tiny")
    assert '<b class="pt-status-failed">Failed in code cell 2: E: no such bar</b>' in shown
    assert "<dl>" not in shown
    assert '<svg class="pt-spark' not in shown


def test_a_notebook_without_an_answer_says_so(project, executed):
    executed("tiny-good")
    assert "<b>No verdict.</b> This notebook states no answer." in study(home_text(project), "tiny")


@pytest.mark.long
def test_the_last_line_of_the_home_page_follows_from_the_commit(project):
    assert "commit unknown" in home_text(project, ORIGIN_PART)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    when = {"GIT_COMMITTER_DATE": "2024-06-01T10:00:00Z"}
    for command in (["init", "-q"], ["add", "index.md"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True, env=os.environ | when)
    text = home_text(project, ORIGIN_PART)
    assert re.search(r"commit [0-9a-f]{8} of 2024-06-01 10:00 UTC", text)
    assert home_text(project, ORIGIN_PART) == text
    (project / "index.md").write_text("Changed.\n", encoding="utf-8")
    assert re.search(r"commit [0-9a-f]{8}-dirty of 2024", home_text(project, ORIGIN_PART))


@pytest.mark.long
def test_the_home_page_and_its_page_show_the_latest_check_of_the_tests(project):
    assert "Not checked in this workspace" in home_text(project)
    for day, outcome in ((1, "failed"), (2, "passed")):
        run = SuiteRun(day, f"2024-01-0{day}T00:00:00Z", 2.0, {"a::<b>": Attempt(outcome, 1.0)})
        save(Health("smoke", "abc1234", "3.11", "a machine", (run,)))
    shown = home_text(project)
    assert "0 flaky and 0 failing of 1 tests in 1 run of the smoke suite." in shown
    assert "2024-01-02, commit abc1234" in shown
    assert "`a::<b>`" in home_text(project, Path("reports/pages/health.md"))


@pytest.mark.long
def test_the_home_page_and_its_page_show_the_share_of_notebooks_that_were_derived_again(project, home):
    assert "Not run in this workspace: <code>make rederive</code>" in home_text(project)
    for outcome, share in (
        ("failed", "1 of 2 published notebooks (50 %)"),
        ("passed", "2 of 2 published notebooks (100 %)"),
    ):
        found = Rederivation("2024-01-02T00:00:00Z", "abc1234", "3.11", 9.0, {
            "one": Attempt("passed", 1.0), "two": Attempt(outcome, 1.0, "a <b> differs"),
        })  # fmt: skip
        (home / "health").mkdir(parents=True, exist_ok=True)
        (home / "health/rederivation.json").write_bytes(msgspec.json.encode(found))
        shown, page = home_text(project), home_text(project, Path("reports/pages/health.md"))
        finding = {"passed": "shown", "failed": "against"}[outcome]
        assert re.search(rf'data-finding="{finding}">.*<b>{re.escape(share)} showed equal results', shown)
        assert "2024-01-02, commit abc1234" in shown
        assert "8.5 %" in shown
        assert f"**{share}" in page
        assert "| two |" in page


def test_a_missing_part_of_the_home_page_is_named(project, monkeypatch):
    monkeypatch.setattr("peak_trade.site.build.write_pages", lambda root, stage: [])
    with pytest.raises(ReportError, match=r"index\.md: it includes reports/pages/_home\.md"):
        build_site(project, "nbconvert")


def test_a_difference_without_equity_is_drawn_as_intervals():
    shown = home._intervals([HomeNumber("a", "", "", (-1.0, 1.0, 0.0)), HomeNumber("b", "", "", (0.5, 3.0, 2.0))])
    assert shown is not None
    (_, low, high, value), (_, other, last, _) = shown["bars"]
    assert low < value == shown["zero"] < other < high < last
    assert home._intervals([HomeNumber("a", "", "", None)]) is None


def test_a_line_joins_the_numbers_of_a_trace_in_either_form_and_leaves_gaps_out():
    def drawn(y: object) -> object:
        trace = {"type": "scatter", "name": "equity", "x": ["2024-01-01", "2024-01-02", "2024-01-04"], "y": y}
        return home._lines({"cells": [{"outputs": [{"data": {PLOTLY_MIME: {"data": [trace]}}}]}]})

    packed = {"dtype": "f8", "bdata": base64.b64encode(np.array([1.0, np.nan, 3.0]).tobytes()).decode()}
    assert drawn([1.0, None, 3.0]) == drawn(packed)
    assert drawn([1.0, 2.0, 3.0])["paths"] == ["M5.0 43.0L104.3 24.0L303.0 5.0"]  # type: ignore[index]
    assert drawn([1.0, None, None]) is None


@pytest.mark.parametrize(("own", "is_above"), [([3.0, 3.0, 1.0], False), ([1.0, 1.0, 3.0], True)])
@pytest.mark.parametrize("last", [0.9, 3.1])
def test_the_name_of_the_benchmark_is_on_the_side_of_the_lines_with_more_room(own, is_above, last):
    """Both lines begin at the same level; only their first third is beside the name."""

    def trace(name: str, y: list[float]) -> dict[str, object]:
        return {"type": "scatter", "name": name, "x": ["2024-01-01", "2024-01-02", "2024-01-03"], "y": y}

    traces = [trace("strategy", own), trace("buy and hold", [own[0], own[1], last])]
    shown = home._lines({"cells": [{"outputs": [{"data": {PLOTLY_MIME: {"data": traces}}}]}]})
    assert shown is not None
    assert (shown["label"] < home.HEIGHT / 2.0) == is_above


def test_the_headlines_are_tiles_of_the_notebooks():
    known: set[str] = set()
    for path in (ROOT / "tests" / "notebooks").glob("*.json"):
        golden = json.loads(path.read_text(encoding="utf-8"))["results"]
        for result in (each for cell in golden.values() for each in cell):
            if result["kind"] == "answer":
                known |= set(result["tiles"])
                assert len(set(result["tiles"]) & set(HEADLINES)) >= N_NUMBERS, path.name
    assert set(HEADLINES) <= known


def test_a_run_of_a_notebook_that_is_gone_has_no_row(project, executed):
    executed("tiny-good")
    (project / "notebooks" / "tiny.ipynb").unlink()
    assert "tiny" not in home_text(project)
    assert home_rows([], {}) == []
