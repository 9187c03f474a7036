"""Prices of bars by time are those that a search in the frame of the bars finds."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.data.sample import sample_bars
from peak_trade.diff import bar_prices
from peak_trade.diff.bar_prices import BarPrices

BARS = sample_bars("BTC/USDT", n_bars=300)
FIRST, LAST = int(BARS.times[0]), int(BARS.times[-1])
times = st.integers(FIRST - 10**13, LAST + 10**13)


@given(times)
def test_a_price_is_within_the_bar_that_contains_its_time(time):
    prices = BarPrices(BARS)
    inside = [n for n, close in enumerate(BARS.times) if close - prices.step <= time < close]
    bar = prices.bar_at(time)
    assert bar == (inside[0] if inside else 0 if time < FIRST else len(BARS) - 1)
    low, high = sorted((float(prices.open[bar]), float(prices.close[bar])))
    assert low <= prices.price_at(time) <= high
    known = [float(close) for close, at in zip(prices.close, BARS.times, strict=True) if at <= time]
    assert prices.last_close(time) == (known[-1] if known else float(prices.open[0]))


@given(st.integers(0, 299), st.floats(0.8, 1.2), st.booleans(), st.integers(1, 64))
def test_the_first_bar_that_reaches_a_level_is_found_in_blocks_of_any_size(first, factor, is_low, block):
    prices = BarPrices(BARS)
    level = float(prices.open[first]) * factor
    extremes = BARS.frame["low" if is_low else "high"].to_numpy()
    reached = np.flatnonzero(extremes[first:] <= level if is_low else extremes[first:] >= level)
    whole, bar_prices._BLOCK = bar_prices._BLOCK, block
    try:
        found = prices.first_reaching(level, first, is_low=is_low)
    finally:
        bar_prices._BLOCK = whole
    assert found == (first + int(reached[0]) if reached.size else None)
