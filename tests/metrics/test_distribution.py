"""The distribution of returns, and the excursions of trades."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade import metrics
from peak_trade.core.errors import DataError
from tests.examples import examples
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

few = settings(max_examples=examples(15), deadline=None)


def test_the_measures_are_those_of_scipy():
    values = np.random.default_rng(2).standard_t(4, 100) * 0.02
    found = {name: measure.value for name, measure in metrics.return_distribution(values).items()}
    expected = {
        "mean": values.mean(),
        "deviation": scipy.stats.tstd(values),
        "skewness": scipy.stats.skew(values),
        "excess_kurtosis": scipy.stats.kurtosis(values),
        "worst": values.min(),
        "best": values.max(),
    }
    expected["quantile"] = np.sort(values)[4] + 0.95 * (
        np.sort(values)[5] - np.sort(values)[4]
    )  # rank 0.05 · 99 = 4.95
    assert found == pytest.approx(expected, rel=RTOL_REFERENCE)
    error = metrics.return_distribution(values)["mean"].stderr
    assert error == pytest.approx(scipy.stats.sem(values), rel=RTOL_REFERENCE)


def test_a_distribution_without_enough_or_varying_returns_says_so():
    assert metrics.return_distribution(np.zeros(29))["mean"].note == "too few: 29 returns, 30 needed"
    assert metrics.return_distribution(np.zeros(200))["skewness"].note == "the returns do not vary"
    with pytest.raises(DataError, match="between 0 and 1"):
        metrics.return_distribution(np.zeros(200), 1.0)


def trade(side, first, last, entry, exit_price, closes):
    row = {"symbol": "A", "side": side, "entry_time": closes.index[first], "exit_time": closes.index[last]}
    return row | {"entry_price": entry, "exit_price": exit_price, "return": 0.0}


def test_excursions_worked_by_hand_take_the_closes_between_entry_and_exit_and_the_exit_price():
    hours = pd.date_range("2024-01-01", periods=8, freq="h", tz="UTC")
    closes = pd.Series([50.0, 200.0, 110.0, np.nan, 95.0, 120.0, 300.0, 10.0], hours)
    rows = [("long", 1, 6, 100.0, 105.0), ("short", 1, 6, 100.0, 90.0), ("long", 1, 2, 100.0, 98.0)]
    trades = pd.DataFrame([trade(*row, closes) for row in rows])
    table = metrics.trade_excursions(trades, {"A": closes})
    assert table["adverse"].tolist() == pytest.approx([0.05, 0.2, 0.02], rel=RTOL_SAME)
    assert table["favourable"].tolist() == pytest.approx([0.2, 0.1, 0.0], rel=RTOL_SAME)
    assert (table["days"] * 24.0).tolist() == pytest.approx([5.0, 5.0, 1.0], rel=RTOL_SAME)


@few
@given(st.integers(0, 10_000))
def test_the_return_lies_between_the_excursions_and_the_other_side_exchanges_them(seed):
    rng = np.random.default_rng(seed)
    hours = pd.date_range("2024-01-01", periods=200, freq="h", tz="UTC")
    closes = pd.Series(100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, 200))), hours)
    places = np.sort(rng.choice(200, (20, 2), replace=True), axis=1)
    rows = [trade("long", *place, closes.iloc[place[0]], closes.iloc[place[1]], closes) for place in places.tolist()]
    trades = pd.DataFrame(rows)
    table = metrics.trade_excursions(trades, {"A": closes})
    gain = (trades["exit_price"] / trades["entry_price"] - 1.0).to_numpy()
    assert (-table["adverse"] <= gain).all()
    assert (gain <= table["favourable"]).all()
    assert (table[["adverse", "favourable"]] >= 0.0).all(axis=None)
    other = metrics.trade_excursions(trades.assign(side="short"), {"A": closes})
    assert other["adverse"].tolist() == table["favourable"].tolist()
    assert other["favourable"].tolist() == table["adverse"].tolist()
    rewritten = closes.where(np.arange(200) < 150, 1.0)
    closed = (trades["exit_time"] <= hours[149]).to_numpy()
    assert metrics.trade_excursions(trades, {"A": rewritten})[closed].equals(table[closed])


def test_no_trades_have_no_excursions():
    hours = pd.date_range("2024-01-01", periods=3, freq="h", tz="UTC")
    closes = pd.Series([1.0, 2.0, 3.0], hours)
    none = pd.DataFrame([trade("long", 0, 1, 1.0, 1.0, closes)]).iloc[:0]
    assert metrics.trade_excursions(none, {"A": closes}).shape == (0, 4)
    assert math.isnan(float(metrics.return_distribution(np.zeros(2))["mean"]))
