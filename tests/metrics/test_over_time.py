"""Rolling measures and those of years: causal, equal to the plain measure of each window, and parts of the whole."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade import metrics
from peak_trade.core.errors import DataError
from tests.examples import examples
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

HOURS_A_YEAR, DAYS_A_YEAR = 8_760.0, 365.0
few = settings(max_examples=examples(10), deadline=None)
seeds = st.integers(0, 10_000)


def hourly(seed, n=400, gap=0):
    """Equity at n hourly closes from 30 December 2023, without `gap` of them in the middle."""
    draws = np.random.default_rng(seed).normal(1e-4, 0.01, n - 1)
    hours = pd.date_range("2023-12-30 01:00", periods=n, freq="h", tz="UTC")
    equity = pd.Series(100.0 * np.concatenate([[1.0], np.cumprod(1.0 + draws)]), index=hours)
    return equity.drop(hours[n // 2 : n // 2 + gap])


@few
@given(seeds, st.integers(30, 120), st.integers(150, 390))
def test_a_rolling_measure_does_not_change_when_the_future_is_cut_or_rewritten(seed, window, cut):
    equity = hourly(seed)
    rewritten = equity.where(np.arange(len(equity)) < cut, 50.0)
    for measure in (metrics.rolling_sharpe, metrics.rolling_volatility):
        whole = measure(equity, window, HOURS_A_YEAR).iloc[:cut]
        pd.testing.assert_series_equal(
            measure(equity.iloc[:cut], window, HOURS_A_YEAR), whole, check_exact=True, check_freq=False
        )
        pd.testing.assert_series_equal(
            measure(rewritten, window, HOURS_A_YEAR).iloc[:cut], whole, check_exact=True, check_freq=False
        )


@few
@given(seeds, st.sampled_from([720, 900]), st.integers(0, 30))
def test_a_rolling_measure_is_the_plain_measure_of_its_window(seed, window, gap):
    equity = hourly(seed, 1_000, gap)
    ratios = metrics.rolling_sharpe(equity, window, HOURS_A_YEAR)
    spreads = metrics.rolling_volatility(equity, window, HOURS_A_YEAR)
    assert ratios.isna().sum() == spreads.isna().sum() == window
    for place in (window, len(equity) - 1):
        part = equity.iloc[place - window : place + 1]
        per_year = metrics.measure.per_year(part, HOURS_A_YEAR)
        returns = metrics.simple_returns(part)
        assert ratios.iloc[place] == pytest.approx(metrics.sharpe(returns, per_year).value, rel=RTOL_REFERENCE)
        plain = metrics.annual_volatility(returns, per_year).value
        assert spreads.iloc[place] == pytest.approx(plain, rel=RTOL_REFERENCE)


def test_a_flat_window_has_no_sharpe_ratio_and_a_ruined_account_no_rolling_measure():
    flat = hourly(1) * 0.0 + 100.0
    assert metrics.rolling_sharpe(flat, 50, HOURS_A_YEAR).isna().all()
    assert (metrics.rolling_volatility(flat, 50, HOURS_A_YEAR).dropna() == 0.0).all()
    ruined = hourly(1).where(np.arange(400) < 200, 0.0)
    assert metrics.rolling_volatility(ruined, 50, HOURS_A_YEAR).isna().all()
    with pytest.raises(DataError, match="29 returns; give at least 30"):
        metrics.rolling_sharpe(flat, 29, HOURS_A_YEAR)


@few
@given(seeds, st.integers(0, 100))
def test_years_compound_to_the_whole_and_share_no_return(seed, gap):
    equity = hourly(seed, gap=gap)
    years = metrics.yearly_measures(equity, HOURS_A_YEAR)
    gains = [float(measures["total_return"]) for measures in years.values()]
    assert list(years) == [2023, 2024]
    assert math.prod(1.0 + gain for gain in gains) == pytest.approx(equity.iloc[-1] / equity.iloc[0], rel=RTOL_SAME)
    assert gains == pytest.approx(metrics.period_returns(equity, "year").tolist(), rel=RTOL_SAME)
    assert sum(measures["total_return"].n for measures in years.values()) == len(equity) - 1
    deepest = max(float(measures["max_drawdown"]) for measures in years.values())
    assert deepest <= float(metrics.max_drawdown(equity)) * (1.0 + RTOL_SAME)


def test_a_year_is_measured_like_a_series_of_its_own():
    equity = hourly(3, 3_000)
    year = metrics.yearly_measures(equity, HOURS_A_YEAR)[2024]
    own = equity["2024-01-01 00:00":]
    assert year["sharpe"] == metrics.sharpe(metrics.simple_returns(own), HOURS_A_YEAR)
    assert year["annual_volatility"] == metrics.annual_volatility(metrics.simple_returns(own), HOURS_A_YEAR)
    assert year["max_drawdown"] == metrics.max_drawdown(own)


def test_years_after_ruin_have_no_values():
    ruined = hourly(1).where(np.arange(400) < 20, 0.0)
    years = metrics.yearly_measures(ruined, HOURS_A_YEAR)
    assert years[2023]["total_return"].value == -1.0
    assert all(measure.value is None for measure in years[2024].values())
