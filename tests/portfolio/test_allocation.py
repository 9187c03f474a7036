from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError, DataError
from peak_trade.portfolio.allocation import (
    Allocation,
    check_fixed_weights,
    held_over_bars,
    walk_forward_weights,
    weights_from,
)
from peak_trade.portfolio.allocators import inverse_volatility, minimum_variance, risk_parity
from peak_trade.portfolio.rebalancing import Rebalancing, first_closes
from peak_trade.wiring.allocators import ALLOCATORS, find_allocator
from tests.examples import examples, mostly_long
from tests.tolerances import RTOL_FIT, RTOL_SAME

METHODS = tuple(ALLOCATORS)
HOURS = 3_600_000_000_000
BARS_PER_YEAR = 8_760.0


def weights_of(returns, instants, allocation, fixed=None, allocator=None, held=None):
    """Weights of sleeves that hold their symbol, or `held`, over every bar of an hour."""
    held = np.ones_like(returns) if held is None else held
    per_year = np.full(len(returns), BARS_PER_YEAR)
    return walk_forward_weights(held, returns, instants, allocation, per_year, fixed, allocator)


def correlated(n_bars: int = 400, n_sleeves: int = 3, seed: int = 1) -> np.ndarray:
    draw = np.random.default_rng(seed)
    mixed = draw.normal(size=(n_bars, n_sleeves)) @ (np.eye(n_sleeves) + 0.3 * draw.normal(size=(n_sleeves, n_sleeves)))
    return mixed * 0.01 * np.linspace(0.5, 2.0, n_sleeves)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=examples(8), deadline=None)
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


@pytest.mark.parametrize("method", mostly_long(["equal", *METHODS], 1))
@pytest.mark.parametrize("annual_volatility", mostly_long([0.3, None], 1), ids=["targeted", "unscaled"])
def test_weights_ignore_the_future(method, annual_volatility):
    returns = correlated(300)
    returns[:40, 1] = np.nan
    returns[250:, 2] = np.nan
    instants = np.arange(300) % 50 == 0
    allocation = Allocation(method=method, window=60, annual_volatility=annual_volatility, max_weight=0.6)
    allocator = find_allocator(method)
    held = np.repeat(np.random.default_rng(3).choice([0.0, -0.5, 1.0], (30, 3)), 10, axis=0)
    whole = weights_of(returns, instants, allocation, None, allocator, held).values
    for cut in (30, 120, 151, 299):
        rewritten = returns.copy()
        rewritten[cut:] = 0.5
        for past in (returns[:cut], rewritten):
            known = weights_of(past, instants[: len(past)], allocation, None, allocator, held[: len(past)]).values
            np.testing.assert_array_equal(known[:cut], whole[:cut])


@pytest.mark.parametrize("method", ["equal", "fixed"])
def test_each_weight_is_applied_once(method):
    """Three equal shares of 10,000 invest 10,000."""
    fixed = np.full(3, 1.0 / 3.0) if method == "fixed" else None
    weights = weights_of(correlated(), np.zeros(400, dtype=bool), Allocation(method=method), fixed).values
    np.testing.assert_allclose(10_000.0 * weights.sum(axis=1), 10_000.0, rtol=RTOL_SAME)


def test_a_cash_buffer_is_never_invested():
    allocation = Allocation(method="inverse_volatility", window=50, cash_buffer=0.1)
    weights = weights_of(correlated(), np.arange(400) % 50 == 0, allocation, None, inverse_volatility).values
    np.testing.assert_allclose(weights.sum(axis=1), 0.9, rtol=RTOL_SAME)


def test_weights_are_equal_until_the_window_is_full():
    allocation = Allocation(method="inverse_volatility", window=60)
    weights = weights_of(correlated(), np.arange(400) % 50 == 0, allocation, None, inverse_volatility).values
    np.testing.assert_array_equal(weights[:100], 1.0 / 3.0)
    assert not np.allclose(weights[100], 1.0 / 3.0)


def test_a_book_without_an_estimate_keeps_its_equal_share():
    returns = correlated()
    returns[:, 1] = np.nan
    allocation = Allocation(method="inverse_volatility", window=60)
    weights = weights_of(returns, np.arange(400) % 50 == 0, allocation, None, inverse_volatility).values
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
        weights_of(correlated(), instants, Allocation(method="risk_parity"))
    with pytest.raises(ConfigError, match="equal takes no allocator"):
        weights_of(correlated(), instants, Allocation(), None, risk_parity)


def test_a_volatility_target_scales_the_last_window_to_it():
    returns = correlated()
    allocation = Allocation(window=100, annual_volatility=0.2, cash_buffer=0.05)
    weights = weights_of(returns, np.arange(400) == 200, allocation).values
    past = returns[101:201] @ weights[200]
    assert (weights[:200] == 0.0).all()
    np.testing.assert_allclose(past.std(ddof=1) * np.sqrt(BARS_PER_YEAR), 0.2, rtol=RTOL_SAME)


def test_a_volatility_target_exceeds_neither_its_largest_scale_nor_the_equity():
    """Three sleeves of at most 0.2 hold 0.6; a scale of 1.5 makes it 0.9, and one of 2 is trimmed to the equity."""
    for max_scale, total in ((1.5, 0.9), (2.0, 1.0), (50.0, 1.0)):
        allocation = Allocation(window=100, annual_volatility=50.0, max_scale=max_scale, max_weight=0.2)
        found = weights_of(correlated(), np.arange(400) == 200, allocation)
        np.testing.assert_allclose(found.values[200].sum(), total, rtol=RTOL_SAME)
        wanted = min(max_scale, 50.0 / realised(correlated()[101:201] @ np.full(3, 0.2)))
        np.testing.assert_allclose(found.asked, [0.6 * wanted], rtol=RTOL_SAME)
    buffered = Allocation(window=100, annual_volatility=50.0, max_scale=3.0, cash_buffer=0.1)
    assert weights_of(correlated(), np.arange(400) == 200, buffered).values[200].sum() <= 0.9 * (1.0 + RTOL_SAME)


def realised(returns: np.ndarray) -> float:
    return float(returns.std(ddof=1) * np.sqrt(BARS_PER_YEAR))


@pytest.mark.parametrize("method", ["equal", *METHODS])
def test_sleeves_without_history_are_left_out_of_a_volatility_target(method):
    """Nine sleeves, four of them listed within the window: the other five reach the target, and those four wait."""
    returns = correlated(400, 9, seed=5)
    returns[:250, 5:] = np.nan
    allocation = Allocation(method=method, window=200, annual_volatility=0.1)
    found = weights_of(returns, np.arange(400) == 300, allocation, None, find_allocator(method))
    assert found.has_estimate.tolist() == [[True] * 5 + [False] * 4]
    assert (found.values[300, 5:] == 0.0).all()
    assert realised(returns[101:301, :5] @ found.values[300, :5]) == pytest.approx(0.1, rel=RTOL_SAME)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_held", mostly_long([2, 4, 60], 2), ids=["two-bars", "0.6-percent", "a-tenth"])
def test_bars_without_a_position_are_not_calm(method, n_held):
    """A sleeve that is seldom in the market gets about the weight that it gets when it always is."""
    returns = np.random.default_rng(4).normal(scale=0.01, size=(700, 3))
    held = np.ones_like(returns)
    held[:, 2] = 0.0
    held[np.random.default_rng(5).choice(700, n_held, replace=False), 2] = 1.0
    allocation = Allocation(method=method, window=700)
    found = weights_of(returns, np.arange(700) == 699, allocation, None, find_allocator(method), held)
    np.testing.assert_allclose(found.values[699], 1.0 / 3.0, atol=0.12)


def test_a_volatility_target_counts_the_bars_with_a_position():
    """In the market for a tenth of the window, a sleeve must not be held at ten times the risk."""
    returns = np.random.default_rng(4).normal(scale=0.01, size=(700, 1))
    for n_held in (0, 5, 70, 700):
        held = np.zeros_like(returns)
        held[np.random.default_rng(6).choice(700, n_held, replace=False)] = -1.0
        allocation = Allocation(window=700, annual_volatility=0.2)
        found = weights_of(returns, np.arange(700) == 699, allocation, None, None, held)
        np.testing.assert_allclose(found.values[699], 0.2 / (0.01 * np.sqrt(BARS_PER_YEAR)), rtol=0.3)


@pytest.mark.parametrize("annual_volatility", [None, 0.2], ids=["unscaled", "targeted"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noise", mostly_long([0.0, 1e-15, 1e-12, 1e-9, 1e-7, 1e-5], 2), ids=str)
def test_a_nearly_constant_sleeve_ends_no_estimate(noise, method, annual_volatility):
    """It has no estimate, or counts with a volatility of 1 % per year; it does not get all."""
    returns = correlated(200, 3, seed=2)
    returns[:, 1] = noise * np.random.default_rng(1).normal(size=200)
    allocation = Allocation(method=method, window=150, annual_volatility=annual_volatility, max_weight=0.8)
    found = weights_of(returns, np.arange(200) == 180, allocation, None, find_allocator(method))
    weights = found.values[180]
    assert found.has_estimate[0].tolist() == [True, noise > 1e-8, True]
    assert np.isfinite(weights).all()
    assert (weights >= 0.0).all()
    assert weights.sum() <= 1.0 + RTOL_SAME
    if noise < 1e-8:
        assert weights[1] == (0.0 if annual_volatility else 1.0 / 3.0)


@settings(max_examples=examples(40), deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from(["equal", "inverse_volatility"]), st.floats(0.01, 5.0), st.floats(1.0, 9.0)
)
def test_weights_never_sum_to_more_than_the_part_to_invest(seed, method, annual_volatility, max_scale):
    draw = np.random.default_rng(seed)
    returns = correlated(120, 4, seed) * draw.choice([0.0, 1e-9, 0.1, 1.0, 10.0], 4)
    returns[: draw.integers(0, 120), draw.integers(0, 4)] = np.nan
    held = np.repeat(draw.choice([0.0, -1.0, 0.3, 1.0], (12, 4)), 10, axis=0)
    allocation = Allocation(
        method=method, window=50, annual_volatility=annual_volatility, max_scale=max_scale, cash_buffer=0.1
    )
    found = weights_of(returns, np.arange(120) % 10 == 9, allocation, None, find_allocator(method), held)
    assert found.values.min() >= 0.0
    assert found.values.sum(axis=1).max() <= 0.9 * (1.0 + RTOL_SAME)


def test_the_returns_of_a_sleeve_skip_the_bars_that_a_symbol_does_not_have():
    exposure = np.array([1.0, 1.0, 1.0, -1.0, 0.0])
    close = np.array([np.nan, 100.0, np.nan, 110.0, 99.0])
    held, returns = held_over_bars(exposure, close)
    np.testing.assert_array_equal(held, [np.nan, np.nan, np.nan, 1.0, -1.0])
    np.testing.assert_allclose(returns, [np.nan, np.nan, np.nan, 0.1, -0.1], rtol=RTOL_SAME)


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
