"""Page of a diff: figures, tables, and the table of differences with the events of each row."""

from __future__ import annotations

import base64
import io
import json
import re

import pandas as pd
import pytest

from peak_trade.diff.causes import Cause
from peak_trade.diff.result import DiffResult, diff
from peak_trade.reports.downloads import DATA_MIME
from peak_trade.reports.views import diff as view
from peak_trade.reports.views import diff_table
from peak_trade.studies.diff import EXAMPLES, MAX_EXTRA_SLIPPAGE_BPS, VENUE_FEE_BPS, example
from tests.diff.planting import bars_of, run


@pytest.fixture(scope="module")
def result() -> DiffResult:
    """The diff of the generated example."""
    return diff(example(EXAMPLES[0]), example(EXAMPLES[1]))


def payload(markup: str):
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', markup, flags=re.DOTALL)
    return json.loads(text)


def test_the_example_has_the_planted_faults_and_no_others(result):
    biases = {Cause.SLIPPAGE_BIAS, Cause.LATENCY_BIAS}
    assert {each.cause for each in result.roots} == {Cause.FEE, Cause.MISSED_BAR, Cause.PRICE} | biases
    (slippage,) = [each.bias for each in result.roots if each.cause is Cause.SLIPPAGE_BIAS]
    assert abs(slippage.estimate - MAX_EXTRA_SLIPPAGE_BPS / 2.0) < 3.0 * slippage.error
    (fee,) = [each for each in result.roots if each.cause is Cause.FEE]
    assert fee.live == pytest.approx(VENUE_FEE_BPS)
    assert sum(each.cause is Cause.MISSED_BAR for each in result.roots) == 1
    assert max(view.execution_samples(result)["live"]["latency_ms"]) <= 400.0


def test_every_row_has_the_events_of_both_runs(result):
    content = payload(diff_table.table_markup(result))
    rows = [row for row in content["rows"] if row["n"]]
    assert [row["n"] for row in rows] == list(range(1, len(result.differences) + 1))
    fees = [row for row in rows if row["text"].startswith("o-1 BTC/USDT: fee rate")]
    for row in fees:
        for place in (0, 1):
            texts = [content["events"][place][str(at)] for at in row["places"][place]]
            assert any("REQUESTED o-1" in text for text in texts)
            assert any("FILLED o-1" in text for text in texts)
    assert all(row["root"] in {each["n"] for each in rows} for row in rows)


def test_equal_orders_are_in_the_table_without_a_number():
    clean = run(bars_of(0))
    rows = payload(diff_table.table_markup(diff(clean, clean)))["rows"]
    assert len(rows) > 20
    assert {row["n"] for row in rows} == {0}


def test_a_long_table_has_the_largest_differences_and_its_files_have_all(result, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle))
    monkeypatch.setattr(diff_table, "MAX_ROWS", 20)
    diff_table.show_differences(result)
    packed = base64.b64decode(shown[0][DATA_MIME]["parquet"])
    assert len(pd.read_parquet(io.BytesIO(packed))) == len(result.differences)
    markup = diff_table.table_markup(result)
    assert "the 20 with the largest PnL; its files hold all of them" in markup
    rows = payload(markup)["rows"]
    assert len(rows) == 20
    weightiest = max(result.roots, key=lambda each: abs(each.total_pnl))
    assert weightiest.number in {row["n"] for row in rows}


@pytest.mark.long
def test_figures_and_tables_have_the_values_of_the_diff(result):
    waterfall = view.waterfall(result.waterfall)
    assert sum(waterfall.data[0].y[:-1]) == pytest.approx(waterfall.data[0].y[-1])
    fills = view.fills_on_price(result)
    joined = next(trace for trace in fills.data if trace.name == "same order")
    assert len(joined.x) == 3 * sum(bool(pair.shadow and pair.live and pair.shadow.fills) for pair in result.matches)
    assert len(view.equity_and_gap(result.equity).data) == 3
    assert view.shortfall_parts(result.shortfall).data[0].name == "shadow"
    assert view.causes(result)["cause"].iloc[-1] == "within tolerance"
    assert "<tfoot>" in diff_table.table_markup(result)
    assert view.causes(result)["PnL"].sum() == pytest.approx(result.live_pnl - result.shadow_pnl)
    assert view.outcome(result)[0].startswith("The runs differ")


def test_a_run_without_trades_has_a_page():
    idle = run(bars_of(0), {"initial_cash": 0.1})
    result = diff(idle, idle)
    assert not any(history.fills for history in result.shadow.histories.values())
    for figure in (view.fills_on_price(result), view.execution_quality(result)):
        assert figure.data
    assert view.pairs_note(result) == "Neither run has a fill."
    assert view.pnl_attribution(result)["P&L attribution"] == "no score"
