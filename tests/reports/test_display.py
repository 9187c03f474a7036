"""Outputs have a form for pages, one for JupyterLab and a typed result; figures keep every extreme."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ReportError
from peak_trade.reports.display import PLOTLY_MIME, RESULT_MIME, RESULT_ROWS, bundle, table_result
from peak_trade.reports.downloads import DATA_MIME
from peak_trade.reports.markup import HEADINGS, SHOWN_ROWS, heading, raw_html, table_html
from peak_trade.reports.views import backtest as view
from peak_trade.reports.views import drawing
from tests.examples import examples

ROOT = Path(__file__).parents[2]
HOURS = pd.date_range("2024-01-01", periods=3_000, freq="h", tz="UTC")
EQUITY = pd.Series(10_000.0 * np.exp(np.sin(np.arange(3_000) / 200.0) / 5), index=HOURS)
FILLS = pd.DataFrame(
    {
        "ts_event": HOURS[::5][:400],
        "side": ["buy", "sell"] * 200,
        "price": np.linspace(100.0, 110.0, 400),
        "quantity": 1.0,
    }
)


def test_a_table_has_html_for_pages_and_lab_and_a_typed_result():
    frame = pd.DataFrame(
        {"when": HOURS[:2], "value": [1 / 3, np.nan], "n": [1, 2], "is_long": [True, False], "note": ["a < b", "`"]}
    )
    shown = bundle(frame, "numbers", digits={"value": 3})
    assert set(shown) == {"text/markdown", "text/html", "text/plain", RESULT_MIME, DATA_MIME}
    assert shown["text/markdown"].startswith("```{=html}\n<div")
    assert "a &lt; b" in shown["text/html"]
    assert shown[RESULT_MIME] == {
        "kind": "table", "name": "numbers", "n_rows": 2,
        "fields": [
            {"name": "when", "type": "time"}, {"name": "value", "type": "float", "digits": 3},
            {"name": "n", "type": "int"}, {"name": "is_long", "type": "bool"}, {"name": "note", "type": "text"},
        ],
        "rows": [
            ["2024-01-01T00:00:00+00:00", 0.333, 1, True, "a < b"], ["2024-01-01T01:00:00+00:00", None, 2, False, "`"],
        ],
        "sums": {"value": 0.333},
    }  # fmt: skip
    json.dumps(shown, allow_nan=False)


def test_a_long_table_states_the_number_of_rows_shown():
    frame = pd.DataFrame({"value": np.arange(3_000.0)})
    shown = bundle(frame, "long")
    assert shown["text/html"].count("<tr>") == SHOWN_ROWS + 1
    assert f"The last {SHOWN_ROWS:,} of 3,000 rows." in shown["text/html"]
    result = table_result(frame)
    assert (result["n_rows"], len(result["rows"]), result["sums"]) == (3_000, RESULT_ROWS, {"value": 4_498_500.0})


def test_text_and_mappings_have_typed_results():
    assert bundle("Nothing traded.", "why")[RESULT_MIME]["lines"] == ["Nothing traded."]
    assert bundle(["One.", "Two."], "why")["text/html"].count("<li>") == 2
    assert bundle({"run_id": "ab", "n": 2}, "run")[RESULT_MIME]["rows"] == [["run_id", "ab"], ["n", "2"]]


@pytest.mark.parametrize(("thing", "name"), [(3, "n"), ("text", "two words"), (None, "n")])
def test_an_unsupported_type_or_name_is_refused(thing, name):
    with pytest.raises(ReportError):
        bundle(thing, name)


def test_a_format_for_an_unknown_column_is_refused():
    with pytest.raises(ReportError, match="pnl"):
        bundle(pd.DataFrame({"value": [1.0]}), "n", formats={"pnl": "{:.2f}"})


@given(st.text(alphabet="`<a\n", max_size=30))
def test_markup_stays_inside_its_raw_block(markup):
    fence = raw_html(markup).splitlines()[0].removesuffix("{=html}")
    assert fence not in markup
    assert raw_html(markup) == f"{fence}{{=html}}\n{markup}\n{fence}"


@pytest.mark.parametrize(
    "figure",
    [
        view.equity_and_drawdown(EQUITY),
        view.benchmark_overlay(EQUITY, EQUITY * 2),
        view.trades_on_price(EQUITY, FILLS),
        view.monthly_returns(EQUITY),
    ],
    ids=["equity", "benchmark", "trades", "months"],
)
def test_a_figure_is_small_needs_no_network_and_has_a_typed_result(figure):
    shown = bundle(figure, "figure")
    assert set(shown) == {"text/markdown", PLOTLY_MIME, "text/plain", RESULT_MIME, DATA_MIME}
    assert len(shown["text/markdown"]) < 60_000
    assert "http" not in shown["text/markdown"].replace("http://www.w3.org", "")
    assert shown[RESULT_MIME]["traces"][0]["n"] > 0


@given(st.integers(1, 5_000), st.integers(0, 1_000))
@settings(max_examples=examples(30))
def test_thinning_keeps_the_ends_and_every_extreme(n_rows, seed):
    values = np.random.default_rng(seed).standard_normal(n_rows).cumsum()
    rows = drawing.thinned(values, stretches=50)
    assert len(rows) <= max(3 * 50 + 1, min(n_rows, 150))
    assert (np.diff(rows) > 0).all()
    assert {0, n_rows - 1, int(values.argmin()), int(values.argmax())} <= set(rows.tolist())


def test_monthly_returns_multiply_to_the_total_return():
    table = view.monthly_table(EQUITY)
    grown = np.nanprod(1.0 + table.to_numpy())
    np.testing.assert_allclose(grown, EQUITY.iloc[-1] / EQUITY.iloc[0], rtol=1e-12)


def test_only_the_last_fills_are_drawn_and_the_caption_says_so(monkeypatch):
    monkeypatch.setattr(view, "MAX_FILLS", 300)
    figure = view.trades_on_price(EQUITY, FILLS)
    assert sum(len(trace.x) for trace in figure.data[1:]) == view.MAX_FILLS
    assert view.fills_note(FILLS).startswith(f"{view.MAX_FILLS} of 400 fills are shown, the last ones.")
    assert view.fills_note(FILLS.head(0)) == "There are no fills."


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "tests" / "notebooks").glob("*.json")))
def test_no_column_of_a_notebook_is_headed_by_a_name_of_the_code(name):
    content = json.loads((ROOT / "tests" / "notebooks" / f"{name}.json").read_text(encoding="utf-8"))
    tables = [each for shown in content["results"].values() for each in shown if each["kind"] == "table"]
    own = {"differences"}  # a table with headings of its own
    columns = {field["name"] for table in tables if table["name"] not in own for field in table["fields"]}
    names = {column for column in columns if re.search(r"_p$|_var$|^n_|stderr|pnl|_time$|_at$|^n$", column)}
    assert names <= HEADINGS.keys()
    assert not any("_" in part for column in columns for part in heading(column))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
@settings(max_examples=examples(30))
def test_the_numbers_of_a_column_have_equally_many_decimals_and_a_true_minus(values):
    cells = re.findall(r'<td class="pt-float">(.*?)</td>', table_html(pd.DataFrame({"value": values}), "t"))
    assert len({len(cell.partition(".")[2]) for cell in cells}) == 1
    assert not any("-" in cell for cell in cells)
    assert [float(cell.replace(",", "").replace("\u2212", "-")) for cell in cells] == pytest.approx(
        values, abs=5e-4 * max(1e-4, *map(abs, values))
    )


@given(st.text(max_size=20), st.sampled_from(["", "USDT"]))
@example("a, b", "")
@example('x": [1, # y, quote currency', "USDT")
@settings(max_examples=examples(30))
def test_a_name_that_is_not_in_the_table_of_headings_has_no_unit(name, quote):
    assume(name not in HEADINGS)
    assert heading(name, quote) == (name.replace("_", " "), "")


def test_money_is_headed_by_the_currency_of_the_run():
    frame = pd.DataFrame({"fees": [1.0]})
    frame.attrs["quote"] = "USDT"
    assert "fees <small>USDT</small>" in table_html(frame, "t")


def test_a_figure_of_named_bars_is_read_out_bar_by_bar():
    figure = go.Figure(go.Bar(x=[14_275.816, -4_659.67], y=["gross", "fees"], orientation="h", name="amount"))
    shown = bundle(figure.update_layout(height=100), "costs")
    assert shown[RESULT_MIME]["traces"][0]["values"] == [["gross", 14_275.816], ["fees", -4_659.67]]
    assert 'aria-label="costs: amount, gross 14,275.8, fees \u22124,659.67."' in shown["text/markdown"]
    days = go.Figure(go.Bar(x=["2024-01-01", "2024-01-02"], y=[1.0, 2.0])).update_layout(height=100)
    assert "values" not in bundle(days, "days")[RESULT_MIME]["traces"][0]


@pytest.mark.parametrize(("values", "kind"), [([1.0, 2.0], "log"), ([0.0, 2.0], "linear"), ([-1.0, 2.0], "linear")])
def test_a_price_is_drawn_on_a_logarithmic_scale_where_it_can_be(values, kind):
    assert drawing.scale(pd.Series(values))["type"] == kind


def test_names_of_the_code_among_values_are_shown_with_spaces():
    assert "filtered historical" in table_html(pd.DataFrame({"model": ["filtered_historical", None]}), "t")
