"""Walk-forward forecasts: causal, homogeneous, with constant weights or those of an actual book."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.core.calendar import NS_PER_DAY
from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory
from peak_trade.data.sample import sample_bars
from peak_trade.risk.es_backtest import z2
from peak_trade.risk.var import estimate, tail_estimates
from peak_trade.risk.walk_forward import walk_forward
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from peak_trade.studies.risk.value_at_risk import (
    VAR_METHODS,
    backtested_portfolios,
    book_weights,
    coverage_table,
    daily_history,
    decay_losses,
    marginal_table,
    var_walk,
)
from tests.examples import mostly_long
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

RETURNS = 0.03 * np.random.default_rng(21).standard_t(5, (2, 420))
SYMBOLS = ["A/USDT", "B/USDT"]
HISTORY = ReturnHistory("daily", 10**18, SYMBOLS, RETURNS)
WEIGHTS = np.array([0.5, -0.2])


@pytest.mark.parametrize("method", mostly_long(VAR_METHODS, 2))
def test_a_forecast_is_the_estimate_of_the_days_before(method):
    walks = walk_forward(WEIGHTS, HISTORY, method, (0.95, 0.99), 120, n_paths=3)
    for level, walk in zip((0.95, 0.99), walks, strict=True):
        for day in (0, 60, 119):
            past = ReturnHistory("daily", 10**18, SYMBOLS, RETURNS[:, day : day + 300])
            assert (walk.value_at_risk[day], walk.expected_shortfall[day]) == estimate(WEIGHTS, past, method, level)
        assert walk.returns == pytest.approx(WEIGHTS @ RETURNS[:, 300:], rel=RTOL_REFERENCE)
        assert walk.simulated.shape == (3, 120)


@given(
    st.integers(1, 3),
    st.integers(22, 120),
    st.sampled_from(["historical", "filtered_historical"]),
    st.sampled_from(["as drawn", "a day is unknown", "the first days are still"]),
    st.integers(0, 2**32 - 1),
)
def test_estimates_at_once_are_the_single_estimates_bit_for_bit(n_symbols, n_days, method, kind, seed):
    rng, levels = np.random.default_rng(seed), (0.5, 0.95, 0.99)
    returns, weights = 0.03 * rng.standard_t(4, (4, n_symbols, n_days)), rng.normal(size=(4, n_symbols))
    if kind == "a day is unknown":
        returns[1, 0, 5] = np.nan
    elif kind == "the first days are still":
        returns[2, 0, :20] = 0.0
    found = tail_estimates(weights, returns, method, levels)
    for row, level in enumerate(levels):
        for pair in range(4):
            past = ReturnHistory("daily", 10**18, [f"{place}/USDT" for place in range(n_symbols)], returns[pair])
            try:
                expected = estimate(weights[pair], past, method, level)
            except DataError:
                expected = (np.nan, np.nan)
            np.testing.assert_array_equal(found[row, :, pair], expected)


@pytest.mark.parametrize("method", mostly_long(VAR_METHODS, 2))
def test_a_walk_that_follows_another_has_the_estimates_of_its_own_days(method):
    """The second walk keeps estimates of the first one where weights and returns agree, and only there."""
    rng = np.random.default_rng(23)
    returns, held = 0.03 * rng.standard_t(5, (2, 60)), rng.normal(size=(24, 2)) * (rng.random((24, 2)) < 0.7)
    changed, other = returns.copy(), held.copy()
    changed[0, 35], other[12] = 0.2, 0.5
    for start, days, weights in (
        (0, returns, held),
        (1, returns, held),
        (4, returns, other),
        (4, changed, other),
        (2, changed, held),
        (0, returns, held),
    ):
        now, own = 10**18 + start * NS_PER_DAY, weights[start : start + 20]
        (walk,) = walk_forward(
            own, ReturnHistory("daily", now, SYMBOLS, days[:, start : start + 55]), method, (0.9,), 20
        )
        for day, (var, known) in enumerate(zip(walk.value_at_risk, own, strict=True)):
            past = ReturnHistory("daily", now, SYMBOLS, days[:, start + day : start + day + 35])
            names = tuple(symbol for symbol, weight in zip(SYMBOLS, known, strict=True) if weight)
            expected = estimate(known[known != 0.0], past.select(names), method, 0.9)[0] if names else 0.0
            assert var == expected


@pytest.mark.parametrize("method", mostly_long(VAR_METHODS, 2))
def test_later_returns_change_no_forecast(method):
    later = RETURNS.copy()
    later[:, 360:] = -0.4
    first = walk_forward(WEIGHTS, HISTORY, method, (0.95,), 120, n_paths=3)[0]
    other = walk_forward(WEIGHTS, ReturnHistory("daily", 10**18, SYMBOLS, later), method, (0.95,), 120, n_paths=3)[0]
    for name in ("value_at_risk", "expected_shortfall"):
        np.testing.assert_array_equal(getattr(first, name)[:61], getattr(other, name)[:61])
    np.testing.assert_array_equal(first.simulated[:, :61], other.simulated[:, :61])
    np.testing.assert_array_equal(first.exceptions[:60], other.exceptions[:60])


def test_a_book_that_changes_is_measured_with_the_weights_of_each_day():
    held = np.where(np.arange(120)[:, None] < 60, WEIGHTS, 2.0 * WEIGHTS)
    (walk,) = walk_forward(held, HISTORY, "filtered_historical", (0.95,), 120, n_paths=2)
    (whole,) = walk_forward(WEIGHTS, HISTORY, "filtered_historical", (0.95,), 120, n_paths=2)
    scale = np.where(np.arange(120) < 60, 1.0, 2.0)
    for name in ("returns", "value_at_risk", "expected_shortfall", "simulated"):
        assert getattr(walk, name) == pytest.approx(scale * getattr(whole, name), rel=RTOL_SAME)
    np.testing.assert_array_equal(walk.exceptions, whole.exceptions)


def test_days_without_a_position_are_left_out_and_counted_nowhere():
    held = np.where(np.arange(120)[:, None] < 50, 0.0, WEIGHTS)
    table = coverage_table({"book": (held, HISTORY)}, ("historical",), window=300, n_paths=50)
    assert table["n_days"].tolist() == [70, 70]
    assert table["n_without"].tolist() == [0, 0]
    assert table["expected"].tolist() == pytest.approx([3.5, 0.7])
    flat = coverage_table({"flat": (np.zeros(2), HISTORY)}, ("historical",), window=300, n_paths=50)
    assert flat["n_days"].tolist() == [0, 0]
    assert flat["kupiec_p"].isna().all()


def test_a_history_without_days_to_fit_on_is_an_error():
    with pytest.raises(DataError, match="leaves 1 days"):
        walk_forward(WEIGHTS, HISTORY, "historical", (0.95,), 419)


def test_the_loss_of_a_decay_is_smallest_for_the_decay_that_made_the_variance():
    rng, variance, days = np.random.default_rng(22), 4e-4, []
    for _ in range(6_000):
        days.append(rng.normal() * variance**0.5)
        variance = max(0.9 * variance + 0.1 * days[-1] ** 2, 1e-4)
    table = decay_losses(ReturnHistory("daily", 10**18, ["A/USDT"], np.array([days])), (0.8, 0.9, 0.97))
    assert table["decay"][table["mean"].idxmin()] == 0.9


def test_the_book_of_a_run_holds_the_positions_at_the_close_before_each_day():
    bars = sample_bars("BTC/USDT", n_bars=1_200)
    result = backtest(MaCrossover(), bars)
    history = daily_history([bars])
    weights = book_weights(result, history, 30)
    exposure = result.exposure
    for row, day in enumerate(range(30, 0, -1)):
        start = pd.Timestamp(history.as_of, tz="UTC") - pd.Timedelta(days=day)
        assert weights[row, 0] == pytest.approx(exposure.loc[:start].iloc[-1], rel=RTOL_REFERENCE)
    assert len(set(weights[:, 0])) > 2


def test_the_study_tests_each_symbol_equal_weights_and_the_book_that_earned_the_run_its_returns():
    bars = [sample_bars(symbol, n_bars=3_000) for symbol in ("BTC/USDT", "ETH/USDT")]
    result = backtest(MaCrossover(), bars[0])
    history = daily_history(bars)
    portfolios = backtested_portfolios(result, history, 60)
    table = coverage_table(portfolios, ("filtered_historical",), window=60, n_paths=50)
    assert table["portfolio"].drop_duplicates().tolist() == ["BTC/USDT", "ETH/USDT", "equal weights", "book of the run"]
    whole = table[table["portfolio"] == "equal weights"]
    assert whole["expected"].tolist() == pytest.approx([0.05 * (history.n_days - 60), 0.01 * (history.n_days - 60)])
    weights, _ = portfolios["book of the run"]
    assert (weights[:, 1] == 0.0).all()
    n_held = int((weights[:, 0] != 0.0).sum())
    assert table[table["portfolio"] == "book of the run"]["n_days"].tolist() == [n_held, n_held]
    assert 0 < n_held < history.n_days - 60
    with pytest.raises(DataError, match="has no returns of BTC/USDT"):
        book_weights(result, history.select(("ETH/USDT",)), 10)


def test_every_table_uses_the_decay_that_is_given():
    bars = [sample_bars("BTC/USDT", n_bars=3_000)]
    history = daily_history(bars)
    model, decay, window = "filtered_historical", 0.8, 60
    walk = var_walk(bars, {"BTC/USDT": 1.0}, model, 0.95, window, decay)
    (expected,) = walk_forward(np.ones(1), history, model, (0.95,), history.n_days - window, decay)
    np.testing.assert_array_equal(walk["value_at_risk"], expected.value_at_risk)
    whole = {"one": (np.ones(1), history)}
    table = coverage_table(whole, (model,), (0.95,), window, 50, decay)
    assert table["z2"].tolist() == [z2(expected.returns, expected.value_at_risk, expected.expected_shortfall, 0.95)]
    assert table["z2"].tolist() != coverage_table(whole, (model,), (0.95,), window, 50)["z2"].tolist()
    marginal = marginal_table({"BTC/USDT": 1.0}, history, model, 0.95, decay)["component_var"].sum()
    assert marginal == pytest.approx(estimate(np.ones(1), history, model, 0.95, decay)[0], rel=RTOL_SAME)
