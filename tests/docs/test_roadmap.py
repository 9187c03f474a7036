"""The table of the roadmap is what the runs of its rows gave; a result cannot be typed."""

import re
from pathlib import Path

from tests.roadmap import PAGE, PHASES, ROWS, Row, run, table, verdict, written

SHOWN = Row("P0", "a", ("true", "echo 3 passed"))
FAILING = Row("P0", "b", ("echo wrong >&2; exit 3",))
SLOW = Row("P0", "c", ("sleep 0.02",), max_seconds=0.01)
ELSEWHERE = Row("P9", "d", ("false",), "there is no such program here")


def ran(row: Row, tmp_path: Path) -> str:
    return verdict(row, run(row, tmp_path, {"PATH": "/usr/bin:/bin"}))


def test_a_row_passes_only_if_its_commands_do_in_time(tmp_path):
    assert ran(SHOWN, tmp_path).startswith("passed, 3 passed; ")
    assert ran(FAILING, tmp_path) == "**failed**, exit code 3: `wrong`"
    assert re.fullmatch(r"\*\*failed\*\*, [\d.]+ s, at most 0 s", ran(SLOW, tmp_path))
    assert verdict(SHOWN, None) == "not run yet"


def test_a_row_that_cannot_be_shown_here_never_passes(tmp_path):
    told = ran(ELSEWHERE, tmp_path)
    assert told == "**not shown here**: there is no such program here. Instead: **failed**, exit code 1: ``"


def test_another_table_replaces_the_rows_alone():
    text = PAGE.read_text(encoding="utf-8")
    other = written(text, (SHOWN,), {}, "Now.")
    assert table((SHOWN,), {}) in other
    assert other.count("| P") == 0
    assert written(other, (SHOWN,), {}, "Now.") == other
    assert other.partition("<!-- rows: end -->")[2] == text.partition("<!-- rows: end -->")[2]


def test_every_phase_has_a_row_and_three_criteria_are_not_shown_here():
    assert {row.phase for row in ROWS} == set(PHASES)
    assert [row.criterion for row in ROWS if row.not_here] == [
        "CI green on three consecutive days", "the dashboards are drawn by Grafana", "the containers start",
    ]  # fmt: skip


def test_the_page_has_every_row_with_its_commands():
    text = PAGE.read_text(encoding="utf-8")
    for row in ROWS:
        assert f"| {row.criterion} | {', '.join(f'`{command}`' for command in row.commands)} |" in text, row
