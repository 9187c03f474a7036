from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError
from peak_trade.portfolio.analytics import (
    by_level,
    contributions,
    correlation_matrix,
    correlation_pairs,
    diversification_ratio,
    drawdown_contributions,
    drawdown_correlation,
    portfolio_sharpe,
    risk_contributions,
    rolling_correlation,
)
from tests.examples import examples
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

CASH = 10_000.0


def cumulated(n_bars: int = 300, n_sleeves: int = 3, seed: int = 5) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    changes = draw.normal(scale=np.linspace(5.0, 30.0, n_sleeves), size=(n_bars, n_sleeves)) + draw.normal(
        scale=10.0, size=(n_bars, 1)
    )
    columns = pd.MultiIndex.from_tuples([(f"s{i % 2}", f"{'XYZW'[i]}/USD") for i in range(n_sleeves)])
    index = pd.date_range("2024-01-01", periods=n_bars, freq="h", tz="UTC")
    return pd.DataFrame(changes.cumsum(axis=0), index=index, columns=columns.set_names(["strategy", "symbol"]))


def test_contributions_sum_to_the_return_of_the_portfolio():
    pnl = cumulated()
    equity = CASH + pnl.sum(axis=1)
    expected = equity / equity.shift(1, fill_value=CASH) - 1.0
    np.testing.assert_allclose(contributions(pnl, CASH).sum(axis=1), expected, rtol=1e-9, atol=1e-15)


@settings(max_examples=examples(20), deadline=None)
@given(st.integers(1, 4), st.integers(0, 500))
def test_risk_contributions_sum_to_the_volatility(n_sleeves, seed):
    parts = contributions(cumulated(60, n_sleeves, seed), CASH)
    whole = parts.sum(axis=1).std(ddof=1)
    np.testing.assert_allclose(risk_contributions(parts).sum(), whole, rtol=1e-9)
    assert diversification_ratio(parts) >= 1.0 - 1e-12


def test_a_portfolio_of_one_is_not_diversified():
    parts = contributions(cumulated(n_sleeves=1), CASH)
    assert diversification_ratio(parts) == pytest.approx(1.0, rel=RTOL_SAME)


def test_what_never_moves_has_no_risk_to_share():
    still = pd.DataFrame({"a": np.zeros(10), "b": np.zeros(10)})
    assert risk_contributions(still).isna().all()
    assert np.isnan(diversification_ratio(still))


@settings(max_examples=examples(20), deadline=None)
@given(st.integers(1, 4), st.integers(0, 500), st.integers(1, 80))
def test_drawdown_contributions_sum_to_each_drawdown(n_sleeves, seed, n_bars):
    pnl = cumulated(n_bars, n_sleeves, seed)
    found = drawdown_contributions(pnl, CASH)
    sleeves = found.drop(columns=["peak", "trough", "drawdown"])
    np.testing.assert_allclose(sleeves.sum(axis=1), found["drawdown"], rtol=1e-9)
    equity = pd.concat([pd.Series([CASH]), CASH + pnl.sum(axis=1)])
    deepest = (1.0 - equity / equity.cummax()).max()
    assert (found["drawdown"].max() if len(found) else 0.0) == pytest.approx(deepest, rel=1e-9)


def test_sharpe_of_the_closed_form_is_the_sharpe_of_the_weighted_returns():
    returns = cumulated().diff().dropna() / CASH
    weights = np.array([0.5, 0.3, 0.2])
    whole = returns @ weights
    closed = portfolio_sharpe(weights, returns.mean(), returns.std(), returns.corr(), 8_760.0)
    assert closed == pytest.approx(whole.mean() / whole.std() * np.sqrt(8_760.0), rel=1e-9)
    assert np.isnan(portfolio_sharpe([1.0], [0.1], [0.0], [[1.0]], 1.0))


def test_correlation_and_interval_agree_with_scipy():
    from scipy.stats import pearsonr

    returns = cumulated().diff().dropna()
    returns.columns = ["a", "b", "c"]
    pairs = correlation_pairs(returns, confidence=0.9)
    for row in pairs.itertuples():
        reference = pearsonr(returns[row.first], returns[row.second])
        interval = reference.confidence_interval(0.9)
        np.testing.assert_allclose(
            (row.correlation, row.low, row.high),
            (reference.statistic, interval.low, interval.high),
            rtol=RTOL_REFERENCE,
        )
    matrix = correlation_matrix(pairs, ["a", "b", "c"])
    np.testing.assert_allclose(matrix, returns.corr(), rtol=RTOL_REFERENCE)


@pytest.mark.long
def test_the_interval_covers_the_true_correlation_as_often_as_it_says():
    truth, n_tries, n_bars = 0.4, 400, 50
    draw = np.random.default_rng(11)
    hits = 0
    for _ in range(n_tries):
        first = draw.normal(size=n_bars)
        second = truth * first + np.sqrt(1.0 - truth**2) * draw.normal(size=n_bars)
        row = correlation_pairs(pd.DataFrame({"a": first, "b": second})).iloc[0]
        hits += row["low"] <= truth <= row["high"]
    assert abs(hits / n_tries - 0.95) <= 4.0 * np.sqrt(0.95 * 0.05 / n_tries)


def test_a_column_that_does_not_vary_has_no_correlation():
    frame = pd.DataFrame({"a": [0.1] * 6, "b": [1.0, 2.0, 3.0, 2.0, 1.0, 4.0]})
    assert np.isnan(correlation_pairs(frame)["correlation"].iloc[0])
    assert rolling_correlation(frame, 3)["a ~ b"].isna().all()


def test_rolling_correlation_is_the_correlation_of_each_window_and_ignores_the_future():
    returns = cumulated(5_000).diff().dropna().droplevel("strategy", axis=1)
    rolled = rolling_correlation(returns, 50)
    assert rolled.iloc[:49].isna().all().all()
    for row in (49, 50, 4_150, 4_998):
        window = returns.iloc[row - 49 : row + 1]
        np.testing.assert_allclose(rolled.iloc[row], correlation_pairs(window)["correlation"], rtol=RTOL_SAME)
    known = rolling_correlation(returns.iloc[:3_000], 50)
    np.testing.assert_array_equal(known.to_numpy(), rolled.iloc[:3_000].to_numpy())


def test_drawdown_correlation_uses_the_bars_under_water_only():
    returns = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0, 5.0, 9.0], "b": [1.0, 2.0, 4.0, 3.0, 5.0, -9.0]})
    drawdown = pd.Series([0.1, 0.1, 0.1, 0.1, 0.1, 0.0])
    row = drawdown_correlation(returns, drawdown, 0.1).iloc[0]
    assert (row["n_bars"], row["correlation"]) == (5, pytest.approx(0.9, rel=RTOL_SAME))


def test_books_add_up_to_strategies_and_to_symbols():
    pnl = cumulated()
    for level in ("strategy", "symbol"):
        np.testing.assert_allclose(by_level(pnl, level).sum(axis=1), pnl.sum(axis=1), rtol=1e-9)
    assert list(by_level(pnl, "strategy").columns) == ["s0", "s1"]


def test_a_confidence_or_window_that_can_not_be_is_refused():
    with pytest.raises(ConfigError, match="between 0 and 1"):
        correlation_pairs(pd.DataFrame({"a": [1.0]}), confidence=95.0)
    with pytest.raises(ConfigError, match="at least 3"):
        rolling_correlation(pd.DataFrame({"a": [1.0]}), 2)
