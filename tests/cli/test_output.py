"""One module prints every result: as text that fits its place, or as JSON that any reader parses."""

from __future__ import annotations

import json
import math
import tracemalloc
from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.cli import output
from peak_trade.cli.output import Table

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def unknown_constant(name: str) -> float:
    raise AssertionError(f"{name} is not JSON")


@given(values)
def test_every_value_becomes_strict_json(value: object) -> None:
    text = json.dumps(output.plain(value), allow_nan=False)
    read = json.loads(text, parse_constant=unknown_constant)
    assert read == json.loads(json.dumps(value), parse_constant=lambda name: None)


class Kind(StrEnum):
    FEE = "fee"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(math.nan), None),
        (np.int8(3), 3),
        (np.bool_(True), True),
        (np.array([1.0, math.inf]), [1.0, None]),
        (pd.Timestamp("2024-06-01", tz="UTC"), "2024-06-01T00:00:00Z"),
        (pd.NaT, None),
        (Path("a/b"), "a/b"),
        (Kind.FEE, "fee"),
        (Table(("a",), [(1,)]), {"columns": ["a"], "rows": [[1]], "title": "", "right": [], "max_rows": None}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_the_library_become_plain_ones(value: object, expected: object) -> None:
    assert output.plain(value) == expected
    assert json.dumps(output.plain(value)) == json.dumps(expected)


def test_one_result_is_shown_as_its_page_or_as_its_content(capsys: pytest.CaptureFixture[str]) -> None:
    output.show(2.0, False, lambda result: [f"result {result:g}"], lambda result: {"result": result})
    assert capsys.readouterr().out == "result 2\n"
    output.show(2.0, True, lambda result: [f"result {result:g}"], lambda result: {"result": result})
    assert json.loads(capsys.readouterr().out) == {"result": 2.0}


def test_tables_are_set_off_and_columns_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(("name", "bars"), [("a [risk] b", 1_000), ("c", None)], "Title", right=("bars",))
    output.show_page(["before", table, "after", "end"])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "before",
        "",
        "Title",
        "name         bars",
        "a [risk] b  1,000",
        "c               –",
        "",
        "after",
        "end",
    ]


def test_a_long_table_is_cut_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_page([Table(("n",), [(n,) for n in range(30)], max_rows=3)])
    assert capsys.readouterr().out.splitlines()[-2:] == ["2", "… and 27 more (--json shows all)."]


@pytest.mark.parametrize("text", ["word " * 100, "[bold] :smile: 1.5"], ids=["long", "markup"])
def test_a_line_in_a_pipe_is_printed_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.show_page([text])
    assert capsys.readouterr().out == text + "\n"


def test_a_table_in_a_pipe_is_not_folded_and_in_a_narrow_place_loses_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table(("first", "second"), [("a" * 60, "b" * 60)])
    output.show_page([table])
    assert len(capsys.readouterr().out.splitlines()) == 2
    monkeypatch.setenv("COLUMNS", "40")
    output.show_page([table])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 40
    assert (out.count("a"), out.count("b"), out.count("…")) == (60, 60, 0)


def test_a_table_of_too_many_columns_becomes_one_record_per_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    output.show_page([Table(("id", "first value", "second"), [("a" * 15, "b" * 15, "c" * 15), ("x", 1, None)])])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        f"id           {'a' * 15}",
        f"first value  {'b' * 15}",
        f"second       {'c' * 15}",
        "",
        "id           x",
        "first value  1",
        "second       –",
    ]


def test_a_note_waits_for_the_run_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    output.note("no risk limits are set")
    assert capsys.readouterr().err == ""
    output.show_notes()
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "peak-trade: note: no risk limits are set\n")


def test_a_frame_becomes_a_table_in_the_formats_of_its_columns() -> None:
    frame = pd.DataFrame({"sharpe": [1.234, math.nan], "name": ["a", "b"], "n_bars": [1_000, 2]})
    table = output.frame_table(frame, "Title", {"sharpe": "{:.2f}"})
    assert table == Table(
        ("sharpe", "name", "n bars"), [("1.23", "a", "1,000"), ("–", "b", "2")], "Title", right={"sharpe", "n bars"}
    )


def test_a_frame_becomes_one_record_per_row() -> None:
    frame = pd.DataFrame({"a": [1.5, math.nan], "b": ["x", None], "c": [1, 2]})
    assert output.records(frame) == [{"a": 1.5, "b": "x", "c": 1}, {"a": None, "b": None, "c": 2}]


@pytest.mark.long
def test_the_json_of_a_long_result_is_written_piece_by_piece():
    """All pieces of the text together take many times the memory of the text."""
    content = {"rows": [{f"name {n}": float(n) for n in range(10)} for _ in range(2_000)]}
    tracemalloc.start()
    text = output._json_text(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert json.loads(text) == content
    assert peak < 4 * len(text)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0, 6, 0.0, None), "-:--:--"),
        ((0, 6, 40.0, None), "-:--:--"),
        ((1, 6, 40.0, None), "1.5/min 0:03:20"),
        ((2, 6, 30.0, 6.0), "4/min 0:01:00"),
        ((5_000, 20_000, 2.0, 2_500.0), "2,500/s 0:00:06"),
        ((6, 6, 80.0, None), "4.5/min 0:00:00"),
        ((3, None, 3.0, 1.0), "1/s"),
    ],
)
def test_progress_shows_the_rate_and_the_time_left_of_fast_and_of_slow_work(numbers, expected):
    assert output._pace(*numbers) == expected
