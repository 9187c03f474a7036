"""The table of measures agrees with everything that reads it."""

from dataclasses import fields
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from peak_trade.core.bars import Bars
from peak_trade.core.measures import Place
from peak_trade.data.sample import synthetic_bars
from peak_trade.engine.kernel import Screen
from peak_trade.metrics import MEASURES, MeasureFormat, measures_in
from peak_trade.site.explorer import METRICS
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.studies.backtest import backtest
from peak_trade.studies.regime.tables import regime_table
from peak_trade.studies.sweep.run import sweep


@pytest.fixture(scope="module")
def bars() -> Bars:
    return synthetic_bars(400)


def test_the_kernel_computes_the_measures_that_a_sweep_shows(bars):
    assert set(measures_in("sweep")) <= {field.name for field in fields(Screen)}
    assert tuple(sweep(BuyAndHold, {}, bars).table.columns) == measures_in("sweep")


def test_a_run_computes_the_measures_of_lists_of_runs(bars):
    stats = backtest(BuyAndHold(), bars).stats()
    assert set(measures_in("runs")) <= set(stats) == set(measures_in("run"))
    assert measures_in("runs") == METRICS


def test_the_regime_table_has_every_measure_that_it_is_said_to_show(bars):
    table = regime_table(backtest(BuyAndHold(), bars), np.zeros(len(bars), dtype=np.int8))
    assert set(measures_in("regimes")) <= set(table.columns)


@pytest.mark.parametrize(("name", "row"), MEASURES.items(), ids=list(MEASURES))
def test_every_row_formats_a_number_is_shown_somewhere_and_is_documented(name: str, row: MeasureFormat):
    assert row.pattern.format(1234.5) != row.pattern
    assert set(row.places) <= set(get_args(Place))
    assert row.places
    documents = Path("docs/metrics.md").read_text() + Path("docs/regime/REGIME_DETECTION_SPEC.md").read_text()
    assert f"`{name}`" in documents
