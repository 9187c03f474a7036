"""Every indicator against its plain definition, and the laws that hold whatever the prices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.arrays import FloatArray
from peak_trade.indicators import dispersion, means, momentum, ranges
from tests.examples import examples
from tests.indicators import plain
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

Floats = FloatArray
WINDOWS = st.integers(1, 12)


@st.composite
def walks(draw: st.DrawFn, n_least: int = 1) -> tuple[Floats, Floats, Floats]:
    """High, low and close of a walk whose steps may be zero."""
    steps = draw(st.lists(st.sampled_from([-0.04, -0.01, 0.0, 0.0, 0.003, 0.02]), min_size=n_least, max_size=80))
    close = 100.0 * np.exp(np.cumsum(steps))
    reach = np.array(draw(st.lists(st.floats(0.0, 0.03), min_size=len(steps), max_size=len(steps))))
    return close * (1.0 + reach), close * (1.0 - reach), close


@settings(max_examples=examples(40), deadline=None)
@given(walks(), WINDOWS)
def test_indicators_of_one_series_equal_their_plain_definitions(
    walk: tuple[Floats, Floats, Floats], window: int
) -> None:
    _, _, close = walk
    for fast, slow in (
        (means.sma, plain.sma),
        (means.ema, plain.ema),
        (means.wilder, plain.wilder),
        (ranges.highest, plain.highest),
        (ranges.lowest, plain.lowest),
    ):
        np.testing.assert_allclose(fast(close, window), slow(close, window), rtol=RTOL_SAME, err_msg=fast.__name__)
    np.testing.assert_allclose(
        dispersion.rolling_std(close, window),
        plain.rolling_std(close, window),
        rtol=RTOL_REFERENCE,
        atol=RTOL_SAME * close.max(),  # deviations below a tie are exactly 0 in the fast one
    )
    np.testing.assert_allclose(momentum.rsi(close, window), plain.rsi(close, window), rtol=RTOL_REFERENCE, atol=1e-9)


@settings(max_examples=examples(40), deadline=None)
@given(walks(), WINDOWS)
def test_indicators_of_bars_equal_their_plain_definitions(walk: tuple[Floats, Floats, Floats], window: int) -> None:
    high, low, close = walk
    scale = RTOL_SAME * close.max()
    np.testing.assert_allclose(ranges.atr(*walk, window), plain.atr(*walk, window), rtol=RTOL_REFERENCE, atol=scale)
    channel = ranges.donchian(high, low, window)
    np.testing.assert_array_equal(channel.upper[1:], plain.highest(high, window)[:-1])
    np.testing.assert_array_equal(channel.lower[1:], plain.lowest(low, window)[:-1])


def specimen(n_rows: int = 2_000, seed: int = 3) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, n_rows)))
    reach = np.abs(rng.normal(0.0, 0.01, (2, n_rows)))
    return close * (1.0 + reach[0]), close * (1.0 - reach[1]), close


def test_adx_and_macd_equal_their_plain_definitions() -> None:
    high, low, close = specimen()
    np.testing.assert_allclose(ranges.adx(high, low, close, 14), plain.adx(high, low, close, 14), rtol=RTOL_REFERENCE)
    for mine, theirs in zip(momentum.macd(close, 12, 26, 9), plain.macd(close, 12, 26, 9), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=RTOL_REFERENCE, atol=1e-10)


def test_rsi_equals_the_worked_example_of_its_author() -> None:
    """StockCharts' ChartSchool worksheet of Wilder's RSI(14), QQQQ closes of 2009-12-14 on, published to two digits."""
    first = [44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826, 45.8931]
    later = [46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439]
    close = np.array([*first, *later])
    np.testing.assert_allclose(
        momentum.rsi(close, 14)[14:], [70.53, 66.32, 66.55, 69.41, 66.36, 57.97], rtol=0.0, atol=0.005
    )


@pytest.mark.parametrize(
    ("n_missing", "indicator"),
    [
        (6, lambda h, low, c: means.sma(c, 7)),
        (6, lambda h, low, c: means.ema(c, 7)),
        (6, lambda h, low, c: means.wilder(c, 7)),
        (6, lambda h, low, c: dispersion.rolling_std(c, 7)),
        (6, lambda h, low, c: dispersion.z_score(c, 7)),
        (6, lambda h, low, c: dispersion.bollinger(c, 7, 2.0).lower),
        (7, lambda h, low, c: dispersion.realised_volatility(c, 7)),
        (7, lambda h, low, c: momentum.rate_of_change(c, 7)),
        (7, lambda h, low, c: momentum.rsi(c, 7)),
        (33, lambda h, low, c: momentum.macd(c, 12, 26, 9).signal),
        (7, lambda h, low, c: ranges.atr(h, low, c, 7)),
        (13, lambda h, low, c: ranges.adx(h, low, c, 7)),
        (7, lambda h, low, c: ranges.donchian(h, low, 7).upper),
        (6, lambda h, low, c: ranges.highest(h, 7)),
    ],
)
def test_an_indicator_is_nan_in_its_warm_up_and_nowhere_else(n_missing, indicator) -> None:
    values = indicator(*specimen(200))
    assert np.isnan(values[:n_missing]).all()
    assert np.isfinite(values[n_missing:]).all()
    for n_rows in range(1, n_missing + 1):
        assert np.isnan(indicator(*specimen(n_rows))).all()


@settings(max_examples=examples(30), deadline=None)
@given(walks(30), WINDOWS)
def test_indicators_stay_within_their_bounds(walk: tuple[Floats, Floats, Floats], window: int) -> None:
    high, low, close = walk
    for share in (momentum.rsi(close, window), ranges.adx(high, low, close, window)):
        known = share[~np.isnan(share)]
        assert ((known >= 0.0) & (known <= 100.0 * (1.0 + RTOL_SAME))).all()
    bands = dispersion.bollinger(close, window, 2.0)
    known = ~np.isnan(bands.middle)
    assert (bands.lower[known] <= bands.middle[known]).all()
    assert (bands.middle[known] <= bands.upper[known]).all()
    assert (np.abs(dispersion.z_score(close, window)[known]) <= np.sqrt(window) * (1.0 + RTOL_REFERENCE)).all()


@pytest.mark.parametrize("level", [0.1, 1.0 / 3.0, 47_123.45], ids=str)
@pytest.mark.parametrize("window", [3, 20, 33])
def test_equal_prices_have_no_deviation_even_after_wild_ones(level: float, window: int) -> None:
    values = np.concatenate([specimen(300)[2] * 1e3, np.full(100, level)])
    assert (dispersion.rolling_std(values, window)[-50:] == 0.0).all()
    assert (dispersion.z_score(values, window)[-50:] == 0.0).all()


def test_deviation_of_large_prices_keeps_its_digits() -> None:
    noise = np.random.default_rng(1).normal(0.0, 1e-3, 2_000)
    values = 1e6 + noise
    np.testing.assert_allclose(
        dispersion.rolling_std(values, 20), plain.rolling_std(values - 1e6, 20), rtol=RTOL_REFERENCE
    )


@pytest.mark.parametrize("drop", [1, 17, 500])
def test_windows_forget_where_history_starts(drop: int) -> None:
    _, _, close = specimen()
    for indicator in (means.sma, dispersion.rolling_std, dispersion.z_score, ranges.highest):
        np.testing.assert_allclose(
            indicator(close, 20)[drop + 19 :], indicator(close[drop:], 20)[19:], rtol=RTOL_SAME, atol=RTOL_SAME
        )


@pytest.mark.parametrize("drop", [1, 17, 500])
def test_recursions_forget_where_history_starts_once_they_are_settled(drop: int) -> None:
    """Two seeds differ by at most the range of the values, and count for less than SEED_WEIGHT after settling."""
    _, _, close = specimen()
    spread = close.max() - close.min()
    for mean, settled in ((means.ema, means.settled_ema), (means.wilder, means.settled_wilder)):
        head = settled(20)
        gap = np.abs(mean(close, 20)[drop + head :] - mean(close[drop:], 20)[head:])
        assert gap.max() <= means.SEED_WEIGHT * spread
        assert np.abs(mean(np.arange(100.0) * 0.0 + 1.0, 20)[19:] - 1.0).max() <= RTOL_SAME


def test_a_window_of_one_settles_at_once() -> None:
    assert means.settled_ema(1) == means.settled_wilder(1) == 0


def test_highest_is_nan_while_a_nan_lies_in_the_window_and_recovers() -> None:
    values = np.array([1.0, np.nan, 3.0, 2.0, 5.0])
    np.testing.assert_array_equal(ranges.highest(values, 2), [np.nan, np.nan, np.nan, 3.0, 5.0])


def test_kernels_take_columns_that_may_not_be_written_to() -> None:
    values = specimen(50)[2]
    values.flags.writeable = False
    assert np.isfinite(means.sma(values, 5)[4:]).all()
    assert np.isfinite(means.sma(values[::2], 5)[4:]).all()
