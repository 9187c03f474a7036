"""The files behind a table or figure hold its exact values, and the finer series of a figure is the whole series."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.reports import downloads
from peak_trade.reports.display import bundle
from peak_trade.reports.downloads import DATA_MIME, finer_script, packed, write_downloads
from peak_trade.reports.views import backtest as view
from peak_trade.reports.views import portfolio
from peak_trade.site.build import build_site
from tests.examples import examples
from tests.tolerances import RTOL_SAME

HOURS = pd.date_range("2024-01-01", periods=3_000, freq="h", tz="UTC", name="close_time")
EQUITY = pd.Series(10_000.0 * np.exp(np.sin(np.arange(3_000) / 200.0) / 5), index=HOURS)
FILLS = pd.DataFrame({"ts_event": HOURS[[5, 5, 9]], "side": ["buy", "buy", "sell"], "price": [1.0, 2.0, 3.0]})


def table_of(given):
    return pd.read_parquet(io.BytesIO(base64.b64decode(given["parquet"])))


def series_in(script):
    (content,) = re.findall(r'peakTrade\.finer\("[^"]+","([^"]+)"\);', script)
    return json.loads(gzip.decompress(base64.b64decode(content)))


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=30), st.sampled_from(["a", "n", "trace"]))
@settings(max_examples=examples(30))
def test_csv_and_parquet_hold_every_value_exactly(tmp_path_factory, values, name):
    folder = tmp_path_factory.mktemp("files")
    frame = pd.DataFrame({name: values, "time": HOURS[: len(values)], "text": ['a, "b"\n'] * len(values)})
    links, script = write_downloads(packed(frame), "t", folder, "../x")
    assert [(link.label, link.href) for link in links] == [("CSV", "../x/t.csv"), ("Parquet", "../x/t.parquet")]
    assert script == ""
    assert [link.n_bytes for link in links] == [
        (folder / f"t.{ending}").stat().st_size for ending in ("csv", "parquet")
    ]
    assert pd.read_parquet(folder / "t.parquet")[name].tolist() == values
    read = pd.read_csv(folder / "t.csv", dtype=str)
    assert [float(text) for text in read[name]] == values
    assert pd.to_datetime(read["time"], utc=True).tolist() == frame["time"].tolist()
    assert read["text"].tolist() == frame["text"].tolist()


def test_values_of_other_types_become_text_and_equal_headings_get_a_number():
    frame = pd.DataFrame([[1.5, None, {"a": 1}, ("b",)]], columns=["x", "none", "x", 3])
    read = table_of(packed(frame))
    assert list(read.columns) == ["x", "none", "x 2", "3"]
    assert read.iloc[0, [0, 2, 3]].tolist() == [1.5, "{'a': 1}", "('b',)"]
    assert read["none"].isna().all()


def test_the_file_of_a_figure_over_time_has_the_whole_series_of_each_trace():
    given = bundle(view.equity_and_drawdown(EQUITY), "equity")[DATA_MIME]
    table = table_of(given)
    assert given["columns"] == ["equity", "drawdown"]
    assert table["time"].tolist() == HOURS.tolist()
    assert table["equity"].tolist() == EQUITY.tolist()
    assert table["drawdown"].min() == pytest.approx(-(1 - EQUITY / EQUITY.cummax()).max(), rel=RTOL_SAME)


def test_fills_at_one_time_stay_apart():
    table = table_of(bundle(view.trades_on_price(EQUITY, FILLS), "fills")[DATA_MIME])
    assert table["close"].dropna().tolist() == EQUITY.tolist()
    assert table.loc[table["buy"].notna(), ["time", "buy"]].to_numpy().tolist() == [[HOURS[5], 1.0], [HOURS[5], 2.0]]
    assert table["sell"].dropna().tolist() == [3.0]


def test_the_file_of_a_figure_of_other_axes_has_its_points():
    matrix = pd.DataFrame([[1.0, 0.5], [0.5, 1.0]], columns=["a", "b"])
    heat = table_of(bundle(portfolio.correlation_matrix(matrix), "matrix")[DATA_MIME])
    assert heat.loc[(heat["x"] == "a") & (heat["y"] == "b"), "z"].tolist() == [0.5]
    assert len(heat) == 4
    months = table_of(bundle(view.monthly_returns(EQUITY), "months")[DATA_MIME])
    assert months["x"].tolist()[:2] == ["Jan", "Feb"]


def test_a_text_that_starts_with_a_date_is_no_time():
    figure = go.Figure(go.Bar(x=["2024-01-01 to 2024-02-01", "2024-03"], y=[1.0, 2.0], name="a")).update_layout(
        height=100
    )
    table = table_of(bundle(figure, "spans")[DATA_MIME])
    assert table["x"].tolist() == ["2024-01-01 to 2024-02-01", "2024-03"]


def test_a_page_has_no_whole_series_in_its_figure():
    assert '"meta"' not in bundle(view.equity_and_drawdown(EQUITY), "equity")["text/markdown"]


def test_the_finer_series_is_the_whole_series_to_seven_digits(tmp_path):
    given = bundle(view.equity_and_drawdown(EQUITY), "equity")[DATA_MIME]
    _, script = write_downloads(given, "equity", tmp_path, "../x")
    assert script == "../x/equity.js"
    series = series_in((tmp_path / "equity.js").read_text())
    moments = series["0"]["start"] + np.cumsum(series["0"]["steps"])
    assert pd.DatetimeIndex(moments * 1_000_000, tz="UTC").tolist() == HOURS.tolist()
    np.testing.assert_allclose(series["0"]["values"], EQUITY, rtol=1e-6)


@given(st.integers(0, 1_000))
@settings(max_examples=examples(20))
def test_a_series_that_is_too_long_keeps_its_ends_and_extremes(seed):
    values = np.random.default_rng(seed).standard_normal(500).cumsum()
    kept = downloads._extremes(values, 20)
    assert len(kept) <= 42
    assert {0, 499, int(values.argmin()), int(values.argmax())} <= set(kept.tolist())


def test_a_series_without_values_is_left_out():
    frame = pd.DataFrame({"time": HOURS[:3], "a": [np.nan, 1.0, 2.0], "b": [np.nan] * 3})
    series = series_in(finer_script("figure-x", frame, ["a", "b", None]))
    assert {place: each["values"] for place, each in series.items()} == {"0": [1.0, 2.0]}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_the_site_has_the_files_of_each_page_and_drops_those_of_a_deleted_run(project, executed):
    run = executed("tiny-good")
    build_site(project, "nbconvert")
    site = project / "reports" / "site" / "reports"
    page = (site / "pages" / "tiny-good.html").read_text(encoding="utf-8")
    links = re.findall(r'href="(\.\./lib/data/tiny-good/[^"]+)"', page)
    assert [link.rpartition("/")[2] for link in links] == [
        "equity.csv", "equity.parquet", "numbers.csv", "numbers.parquet", "tiny-good.ipynb",
    ]  # fmt: skip
    assert all((site / "pages" / link).is_file() for link in links)
    assert (site / "lib" / "data" / "tiny-good" / "tiny-good.ipynb").read_bytes() == run.read_bytes()
    run.unlink()
    build_site(project, "nbconvert")
    assert not list((site / "lib" / "data").rglob("*.csv"))
