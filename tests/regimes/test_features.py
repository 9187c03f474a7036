"""Features are causal, known when they say, and refuse what is not a number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.bar_frame import index_ns
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.regimes.features import FEATURES, FeatureSettings, check_features, measure_features
from tests.examples import examples
from tests.regimes.markets import frame_of, switching_bars
from tests.tolerances import RTOL_REFERENCE

ALL = FeatureSettings(used=FEATURES, volatility_window=5, range_window=4, volume_window=6, trend_window=7)


@settings(max_examples=examples(25), deadline=None)
@given(st.integers(10, 119), st.integers(0, 2**16), st.booleans())
def test_features_ignore_the_future(cut, seed, is_rewritten):
    """Cutting, or rewriting, the bars after t leaves every feature up to t bit-identical."""
    bars, _ = switching_bars(120, seed)
    full = measure_features(bars, ALL)
    if is_rewritten:
        other = bars.copy()
        other.iloc[cut:] = switching_bars(120, seed + 1)[0].iloc[cut:].to_numpy()
    else:
        other = bars.iloc[:cut]
    known = measure_features(other, ALL)
    np.testing.assert_array_equal(full.values[:cut], known.values[:cut])


def test_features_equal_their_plain_formulas_and_are_known_at_their_own_close():
    bars, _ = switching_bars(60, 3)
    measured = measure_features(bars, ALL)
    close, volume = bars["close"].to_numpy(), np.log1p(bars["volume"].to_numpy())
    r = np.diff(np.log(close), prepend=np.nan)
    row = 40
    week = volume[row - 5 : row + 1]
    expected = [
        r[row],
        0.5 * np.log(np.mean(r[row - 4 : row + 1] ** 2)),
        np.log(np.mean(np.log(bars["high"] / bars["low"]).to_numpy()[row - 3 : row + 1])),
        (volume[row] - week.mean()) / week.std(),
        np.log(close[row] / close[row - 7]) / np.sqrt(np.sum(r[row - 6 : row + 1] ** 2)),
    ]
    np.testing.assert_allclose(measured.values[row], expected, rtol=RTOL_REFERENCE)
    assert measured.warm_up == 7
    assert np.isnan(measured.values[6]).any()
    np.testing.assert_array_equal(measured.known_at[:, 4], index_ns(bars.index))


def test_constant_prices_have_finite_features():
    measured = measure_features(frame_of(np.full(50, 100.0)), ALL)
    assert np.isfinite(measured.values[ALL.warm_up :]).all()


def test_a_feature_that_is_not_a_number_is_refused_by_name_and_time():
    values = np.ones((5, 2))
    values[3, 1] = np.nan
    times = np.arange(5, dtype=np.int64) * 3_600_000_000_000
    with pytest.raises(DataError, match=r"feature trend was nan at 1970-01-01 03:00:00Z \(bar 3\)"):
        check_features(values, times, ("log_return", "trend"), 1)


def test_an_unknown_feature_is_refused():
    with pytest.raises(ConfigError, match="used"):
        FeatureSettings(used=("log_return", "momentum"))
