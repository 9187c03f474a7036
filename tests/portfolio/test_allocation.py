from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError, DataError
from peak_trade.portfolio.allocation import (
    Allocation,
    check_fixed_weights,
    sleeve_returns,
    walk_forward_weights,
    weights_from,
)
from peak_trade.portfolio.allocators import inverse_volatility, minimum_variance, risk_parity
from peak_trade.portfolio.rebalancing import Rebalancing, first_closes
from peak_trade.wiring.allocators import ALLOCATORS, find_allocator
from tests.tolerances import RTOL_FIT, RTOL_SAME

METHODS = tuple(ALLOCATORS)
HOURS = 3_600_000_000_000
BARS_PER_YEAR = 8_760.0


def correlated(n_bars: int = 400, n_sleeves: int = 3, seed: int = 1) -> np.ndarray:
    draw = np.random.default_rng(seed)
    mixed = draw.normal(size=(n_bars, n_sleeves)) @ (np.eye(n_sleeves) + 0.3 * draw.normal(size=(n_sleeves, n_sleeves)))
    return mixed * 0.01 * np.linspace(0.5, 2.0, n_sleeves)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=8, deadline=None)
@given(st.integers(1, 6), st.floats(0.0, 1.0), st.integers(0, 1_000))
def test_weights_are_long_sum_to_one_and_keep_the_cap(method, n_sleeves, tightness, seed):
    cap = max(1.0 / n_sleeves, 1.0 - tightness * (1.0 - 1.0 / n_sleeves))
    weights = weights_from(correlated(120, n_sleeves, seed), find_allocator(method), cap)
    assert (weights >= 0.0).all()
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=RTOL_SAME)
    assert weights.max() <= cap * (1.0 + 1e-6)


def test_inverse_volatility_is_the_ratio_of_deviations():
    past = correlated()
    inverse = 1.0 / past.std(axis=0, ddof=1)
    np.testing.assert_allclose(weights_from(past, inverse_volatility), inverse / inverse.sum(), rtol=RTOL_SAME)


def test_risk_parity_gives_every_book_the_same_risk():
    past = correlated()
    weights = weights_from(past, risk_parity)
    risk = weights * (np.cov(past.T) @ weights)
    np.testing.assert_allclose(risk, risk.mean(), rtol=RTOL_FIT)


def test_minimum_variance_of_two_books_is_the_closed_form():
    past = correlated(n_sleeves=2, seed=3)
    (first, shared), (_, second) = np.cov(past.T)
    closed = np.clip((second - shared) / (first + second - 2.0 * shared), 0.0, 1.0)
    np.testing.assert_allclose(weights_from(past, minimum_variance)[0], closed, rtol=RTOL_FIT)


def test_more_books_than_bars_still_have_weights():
    weights = weights_from(correlated(25, 40), minimum_variance)
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=RTOL_SAME)


@pytest.mark.parametrize("method", ["equal", *METHODS])
@pytest.mark.parametrize("annual_volatility", [None, 0.3], ids=["unscaled", "targeted"])
def test_weights_ignore_the_future(method, annual_volatility):
    returns = correlated(300)
    returns[:40, 1] = np.nan
    returns[250:, 2] = np.nan
    instants = np.arange(300) % 50 == 0
    allocation = Allocation(method=method, window=60, annual_volatility=annual_volatility, max_weight=0.6)
    allocator = find_allocator(method)
    whole = walk_forward_weights(returns, instants, allocation, BARS_PER_YEAR, None, allocator)
    for cut in (30, 120, 151, 299):
        rewritten = returns.copy()
        rewritten[cut:] = 0.5
        for past in (returns[:cut], rewritten):
            known = walk_forward_weights(past, instants[: len(past)], allocation, BARS_PER_YEAR, None, allocator)
            np.testing.assert_array_equal(known[:cut], whole[:cut])


@pytest.mark.parametrize("method", ["equal", "fixed"])
def test_each_weight_is_applied_once(method):
    """Three equal shares of 10,000 invest 10,000."""
    fixed = np.full(3, 1.0 / 3.0) if method == "fixed" else None
    weights = walk_forward_weights(
        correlated(), np.zeros(400, dtype=bool), Allocation(method=method), BARS_PER_YEAR, fixed
    )
    np.testing.assert_allclose(10_000.0 * weights.sum(axis=1), 10_000.0, rtol=RTOL_SAME)


def test_a_cash_buffer_is_never_invested():
    allocation = Allocation(method="inverse_volatility", window=50, cash_buffer=0.1)
    weights = walk_forward_weights(
        correlated(), np.arange(400) % 50 == 0, allocation, BARS_PER_YEAR, None, inverse_volatility
    )
    np.testing.assert_allclose(weights.sum(axis=1), 0.9, rtol=RTOL_SAME)


def test_weights_are_equal_until_the_window_is_full():
    allocation = Allocation(method="inverse_volatility", window=60)
    weights = walk_forward_weights(
        correlated(), np.arange(400) % 50 == 0, allocation, BARS_PER_YEAR, None, inverse_volatility
    )
    np.testing.assert_array_equal(weights[:100], 1.0 / 3.0)
    assert not np.allclose(weights[100], 1.0 / 3.0)


def test_a_book_without_an_estimate_keeps_its_equal_share():
    returns = correlated()
    returns[:, 1] = np.nan
    allocation = Allocation(method="inverse_volatility", window=60)
    weights = walk_forward_weights(
        returns, np.arange(400) % 50 == 0, allocation, BARS_PER_YEAR, None, inverse_volatility
    )
    np.testing.assert_allclose(weights[:, 1], 1.0 / 3.0, rtol=RTOL_SAME)
    np.testing.assert_allclose(weights[399, [0, 2]].sum(), 2.0 / 3.0, rtol=RTOL_SAME)


@pytest.mark.parametrize(
    "weights", [[0.5, 0.5], [0.9, 0.2, -0.1], [0.8, 0.1, 0.1], [0.3, 0.3, 0.3], [np.nan, 0.5, 0.5]]
)
def test_weights_that_break_the_rules_of_an_allocator_are_refused(weights):
    def careless(past_returns, max_weight):
        return np.array(weights)

    with pytest.raises(DataError, match="allocator careless: weights were"):
        weights_from(correlated(), careless, 0.7)


def test_an_estimated_method_needs_its_allocator_and_others_take_none():
    instants = np.arange(400) % 50 == 0
    with pytest.raises(ConfigError, match="risk_parity needs the allocator"):
        walk_forward_weights(correlated(), instants, Allocation(method="risk_parity"), BARS_PER_YEAR)
    with pytest.raises(ConfigError, match="equal takes no allocator"):
        walk_forward_weights(correlated(), instants, Allocation(), BARS_PER_YEAR, None, risk_parity)


def test_a_volatility_target_scales_the_last_window_to_it():
    returns = correlated()
    allocation = Allocation(window=100, annual_volatility=0.2, cash_buffer=0.05)
    weights = walk_forward_weights(returns, np.arange(400) == 200, allocation, BARS_PER_YEAR)
    past = returns[101:201] @ weights[200]
    assert (weights[:200] == 0.0).all()
    np.testing.assert_allclose(past.std(ddof=1) * np.sqrt(BARS_PER_YEAR), 0.2, rtol=RTOL_SAME)


def test_a_volatility_target_never_exceeds_its_largest_scale():
    allocation = Allocation(window=100, annual_volatility=50.0, max_scale=1.5)
    weights = walk_forward_weights(correlated(), np.arange(400) == 200, allocation, BARS_PER_YEAR)
    np.testing.assert_allclose(weights[200].sum(), 1.5, rtol=RTOL_SAME)


def test_book_returns_skip_the_bars_that_a_symbol_does_not_have():
    exposure = np.array([1.0, 1.0, 1.0, -1.0, 0.0])
    close = np.array([np.nan, 100.0, np.nan, 110.0, 99.0])
    np.testing.assert_allclose(sleeve_returns(exposure, close), [np.nan, np.nan, np.nan, 0.1, 0.1], rtol=RTOL_SAME)


@pytest.mark.parametrize(
    ("weights", "allocation", "says"),
    [
        ({"a": 0.5, "b": 0.4}, {"method": "fixed"}, "sum to 0.9"),
        ({"a": 0.5, "b": None}, {"method": "fixed"}, "b: weight is missing"),
        ({"a": 0.5, "b": None}, {"method": "equal"}, "a: a weight is set"),
        ({"a": 0.7, "b": 0.3}, {"method": "fixed", "max_weight": 0.6}, "max_weight is 0.6"),
        ({"a": None, "b": None}, {"max_weight": 0.4}, "Raise it to 0.5"),
    ],
    ids=["sum", "missing", "ignored", "above-cap", "cap-too-low"],
)
def test_weights_that_can_not_be_are_refused(weights, allocation, says):
    with pytest.raises(ConfigError, match=says):
        check_fixed_weights(weights, Allocation(**allocation))


def test_an_unknown_allocation_key_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"max_wieght is not a setting. Did you mean max_weight\?"):
        Allocation.parse({"max_wieght": 0.5}, "allocation")
    with pytest.raises(ConfigError, match="max_scale belongs to annual_volatility"):
        Allocation(max_scale=2.0)
    with pytest.raises(ConfigError, match="drift_band"):
        Rebalancing(drift_band=0.0)


def test_periods_begin_at_midnight_utc_weeks_on_monday():
    start = 1_704_067_200 * 1_000_000_000  # Monday 2024-01-01 00:00 UTC
    times = start + HOURS * np.arange(-1, 24 * 100)
    marked = {every: np.flatnonzero(first_closes(times, every)) - 1 for every in ("day", "week", "month", "quarter")}
    assert marked["day"][:3].tolist() == [-1, 0, 24]
    assert marked["week"][:3].tolist() == [-1, 0, 168]
    assert marked["month"][:4].tolist() == [-1, 0, 31 * 24, 60 * 24]
    assert marked["quarter"].tolist() == [-1, 0, 91 * 24]
