"""The data of the explorer say what was recorded, in one typed column per name, whatever the names are."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.metrics import MEASURES
from peak_trade.site.explorer import MAX_RUNS, METRICS, RECENT, SHOWN, RunRow, data_script, write_explorer
from peak_trade.tracking.record import GROWTH_TAG, N_GROWTH
from tests.tracking.test_registry import run_of

texts = st.text(max_size=30)
rows_of = st.lists(
    st.builds(
        RunRow,
        recorded_at=st.sampled_from(["2024-06-01T00:00:00Z", ""]),
        run_type=texts, strategy=texts, symbol=texts, timeframe=texts, status=texts, run_id=texts,
        numbers=st.dictionaries(st.sampled_from(METRICS), st.floats()),
        settings=st.dictionaries(texts, texts | st.sampled_from(["1", "-2.5", "1e3", "nan", "1_0"]), max_size=4),
    ),
    max_size=8,
)  # fmt: skip


def content_of(script: str) -> dict[str, Any]:
    """Return the data of the explorer, as the browser reads them: a JSON text in a JSON text."""
    found = re.fullmatch(r"window\.peakTradeRuns = JSON\.parse\((\".*\")\);\n", script, flags=re.ASCII)
    assert found
    content: dict[str, Any] = json.loads(json.loads(found[1]))
    return content


def values_of(column: dict[str, Any], n: int) -> list[Any]:
    given = column["values"] if isinstance(column["values"], list) else [column["values"]] * n
    return [column["texts"][place] for place in given] if column["kind"] == "text" else given


@given(rows_of)
def test_the_columns_are_the_rows(rows):
    script = data_script(rows)
    assert script.isascii()
    content = content_of(script)
    columns = {column["name"]: values_of(column, len(rows)) for column in content["columns"]}
    assert {len(values) for values in columns.values()} <= {len(rows)}
    kinds = {column["name"]: column["kind"] for column in content["columns"]}
    for name in ("run_type", "strategy", "symbol", "status", "run_id"):
        assert columns[name] == [getattr(row, name) for row in rows]
    for name in METRICS:
        known = [row.numbers.get(name, math.nan) for row in rows]
        shown = columns.get(name, [None] * len(rows))
        assert [value is not None for value in shown] == [math.isfinite(value) for value in known]
        pairs = [pair for pair in zip(shown, known, strict=True) if pair[0] is not None]
        assert all(math.isclose(one, other, rel_tol=1e-5) for one, other in pairs)  # 6 digits
    for name in {name for row in rows for name in row.settings}:
        wanted = [row.settings.get(name, "") for row in rows]
        column = columns[f"setting.{name}"]
        if kinds[f"setting.{name}"] == "number":
            wanted = [float(text) if text else None for text in wanted]
        assert column == wanted


def test_a_setting_of_numbers_is_a_number_column_and_another_one_is_text():
    def row(**settings: str) -> RunRow:
        return RunRow("", "backtest", "s", "BTC/USDT", "1h", "done", "0f", settings=settings)

    content = content_of(
        data_script([row(fast="10", mode="1", seed=str(2**53)), row(mode="fixed"), row(fast="1e2", seed="1")], 5)
    )
    by_name = {column["name"]: column for column in content["columns"]}
    assert by_name["setting.fast"]["values"] == [10.0, None, 100.0]
    assert values_of(by_name["setting.seed"], 3) == [str(2**53), "", "1"]
    assert values_of(by_name["setting.mode"], 3) == ["1", "fixed", ""]
    assert (content["n"], content["total"], content["recent"]) == (3, 8, RECENT)
    assert RECENT < MAX_RUNS


def test_a_measure_has_its_digits_and_its_error():
    rows = [RunRow("", "", "", "", "", "", str(n), numbers={"sharpe": n / 3.0, "sharpe_stderr": 0.5}) for n in range(2)]
    columns = {column["name"]: column for column in content_of(data_script(rows))["columns"]}
    assert columns["sharpe"]["values"] == [0.0, 0.333333]
    assert columns["sharpe"]["errors"] == [0.5, 0.5]
    assert (columns["sharpe"]["digits"], columns["sharpe"]["is_percent"]) == (2, False)
    assert {name for name in columns if name in MEASURES} == {"sharpe"}
    assert all(re.search(r"\.\d", row.pattern) for row in MEASURES.values())


def test_the_page_changes_when_the_data_change(tmp_path, home):
    row = RunRow("2024-06-01T00:00:00Z", "backtest", "s", "BTC/USDT", "1h", "done", "0f")
    page = write_explorer(tmp_path, tmp_path, [row])
    assert page == write_explorer(tmp_path, tmp_path, [row])
    assert page != write_explorer(tmp_path, tmp_path, [row], 1)
    for script in re.findall(r'src="\.\./lib/(\S+?)"', page):
        assert (tmp_path / "reports" / "lib" / script).is_file()
    assert "There are no runs yet" in write_explorer(tmp_path, tmp_path, [])
    columns = content_of(data_script([row]))["columns"]
    assert set(SHOWN) - {column["name"] for column in columns} == {"growth", *METRICS}


@pytest.mark.parametrize("n_bars", [2, N_GROWTH, 1_000])
def test_the_recorded_growth_starts_at_one_and_ends_at_the_last_equity(n_bars):
    equity = np.linspace(1e4, 1.5e4, n_bars)
    growth = [float(text) for text in run_of("aa11", equity=equity).tags()[GROWTH_TAG].split()]
    assert len(growth) == min(n_bars, N_GROWTH)
    assert (growth[0], growth[-1]) == (1.0, 1.5)
    assert growth == sorted(growth)


def test_a_run_without_equity_has_no_growth():
    assert GROWTH_TAG not in run_of("aa11").tags()
