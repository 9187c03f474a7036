"""The table of the roadmap is what the runs of its rows gave; a result cannot be typed."""

import re
from dataclasses import replace
from pathlib import Path

from tests.roadmap import NOT_RUN, PAGE, PHASES, ROWS, Result, Row, results_in, run, table, written

SHOWN = Row("P0", "a", ("true", "echo 3 passed"))
FAILING = Row("P0", "b", ("echo wrong >&2; exit 3",))
BUSY = Row("P0", "c", ("for i in {1..20000}; do :; done",), max_seconds=0.001)
WAITING = Row("P0", "d", ("sleep 0.05",), max_seconds=0.04)
FEW, MANY = (Row("P7", "e", (f"echo '| transitions  {n}'",), least=("transitions", 3)) for n in (2, 12))
SILENT = Row("P7", "f", ("true",), least=("transitions", 3))
ELSEWHERE = Row("P9", "g", ("false",), "there is no such program here")


def ran(row: Row, tmp_path: Path) -> str:
    return run(row, tmp_path, {"PATH": "/usr/bin:/bin"})


def test_a_row_passes_only_if_its_commands_do_in_time(tmp_path):
    assert ran(SHOWN, tmp_path).startswith("passed, 3 passed; ")
    assert ran(FAILING, tmp_path) == "**failed**, exit code 3: `wrong`"
    assert re.fullmatch(
        r"\*\*failed\*\*, [\d.]+ s of processor time, 0 s by the clock, at most 0 s", ran(BUSY, tmp_path)
    )
    assert ran(WAITING, tmp_path).startswith("passed, 0.0 s of processor time")


def test_a_row_passes_only_if_it_prints_a_number_that_is_large_enough(tmp_path):
    assert ran(MANY, tmp_path).startswith("passed, transitions: 12, at least 3; ")
    assert ran(FEW, tmp_path) == "**failed**, transitions: 2, at least 3"
    assert ran(SILENT, tmp_path) == "**failed**, transitions: not printed, at least 3"


def test_a_row_that_cannot_be_shown_here_never_passes():
    shown = table((ELSEWHERE,), {ELSEWHERE.key: Result("passed", "now")})
    assert "| **not shown here**: there is no such program here. Instead: passed | now |" in shown


def test_a_table_keeps_the_results_of_earlier_runs():
    text = PAGE.read_text(encoding="utf-8")
    rows = (SHOWN, FAILING, ELSEWHERE)
    first = written(text, rows, {SHOWN.key: Result("passed", "then"), ELSEWHERE.key: Result("passed, x", "then")})
    second = written(first, rows, {FAILING.key: Result("**failed**, `a ¦ b`", "now")})
    assert results_in(second) == {
        SHOWN.key: Result("passed", "then"),
        ELSEWHERE.key: Result("passed, x", "then"),
        FAILING.key: Result("**failed**, `a ¦ b`", "now"),
    }
    changed = replace(SHOWN, commands=("true",))
    assert f"`true` | {NOT_RUN} |" in written(second, (changed,), {})
    assert second.partition("<!-- rows: end -->")[2] == text.partition("<!-- rows: end -->")[2]


def test_no_row_of_the_page_was_typed():
    """What the page holds is what the rows and its own results give."""
    text = PAGE.read_text(encoding="utf-8")
    assert written(text, ROWS, {}) == text
    assert all(re.match(r"(passed|\*\*failed\*\*), ", result.said) for result in results_in(text).values())


def test_every_phase_has_a_row_and_three_criteria_are_not_shown_here():
    assert {row.phase for row in ROWS} == set(PHASES)
    assert [row.criterion for row in ROWS if row.not_here] == [
        "CI green on three consecutive days", "the dashboards are drawn by Grafana", "the containers start",
    ]  # fmt: skip


def test_the_page_has_every_row_with_its_commands():
    text = PAGE.read_text(encoding="utf-8")
    for row in ROWS:
        assert f"| {row.criterion} | {row.shown_by} |" in text, row
