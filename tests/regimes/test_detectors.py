"""Every detector keeps the law of causality, recovers known truth and falls back on the record."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from peak_trade.core.errors import ConfigError, DataError
from peak_trade.data.sample import WELL_SEPARATED, sample_bars, sample_regimes
from peak_trade.regimes.detector import filter_regimes, smooth_regimes
from peak_trade.regimes.features import FeatureSettings
from peak_trade.regimes.hmm import HmmDetector
from peak_trade.regimes.states import Regime, count_transitions, durations
from peak_trade.studies.regime.tables import detection_lag
from tests.examples import mostly_long
from tests.regimes.markets import DETECTORS, SMALL_FEATURES, WALK, frame_of, switching_bars


@pytest.mark.parametrize("name", mostly_long(DETECTORS, 1))
@pytest.mark.parametrize("cut", mostly_long([400, 551, 699], 1))
def test_filtered_regimes_ignore_the_future(name, cut):
    """Cutting, or rewriting, the bars after t leaves every label and probability up to t bit-identical."""
    bars, _ = switching_bars(700, 1)
    full = filter_regimes(bars, DETECTORS[name])
    rewritten = bars.copy()
    rewritten.iloc[cut:] = switching_bars(700, 2)[0].iloc[cut:].to_numpy()
    for other in (bars.iloc[:cut], rewritten):
        known = filter_regimes(other, DETECTORS[name])
        np.testing.assert_array_equal(full.labels[:cut], known.labels[:cut])
        np.testing.assert_array_equal(full.probabilities[:cut], known.probabilities[:cut])


@pytest.mark.parametrize("name", mostly_long(DETECTORS, 1))
def test_regimes_are_unknown_before_the_warm_up_and_never_after(name):
    bars, _ = switching_bars(700, 1)
    filtered = filter_regimes(bars, DETECTORS[name])
    assert (filtered.labels[: filtered.warm_up] == Regime.UNKNOWN).all()
    assert np.isnan(filtered.probabilities[: filtered.warm_up]).all()
    assert (filtered.labels[filtered.warm_up :] >= 0).all()
    np.testing.assert_allclose(filtered.probabilities[filtered.warm_up :].sum(axis=1), 1.0, rtol=1e-12)
    assert filtered.digest() == filter_regimes(bars, DETECTORS[name]).digest()


@pytest.mark.parametrize("name", ["hmm", "jump"])
def test_refits_are_recorded_and_use_the_past_only(name):
    bars, _ = switching_bars(700, 1)
    filtered = filter_regimes(bars, DETECTORS[name])
    assert [refit.n_bars for refit in filtered.refits] == [250, 400, 400]
    assert filtered.refits[0].refit_at == int(filtered.times[filtered.warm_up])
    assert filtered.fallbacks == ()


@pytest.mark.parametrize(
    ("name", "seeds"),
    mostly_long([("hmm", range(3)), ("jump", [0]), ("jump", range(3))], 1),
)
def test_known_truth_is_recovered_causally(name, seeds):
    """Share of bars after the warm-up whose filtered label is the true state, well-separated states."""
    quick = FeatureSettings(used=("log_return", "volatility", "trend"), volatility_window=12, trend_window=12)
    detector = DETECTORS[name].model_copy(
        update={"features": quick, "window": 4_000, "min_bars": 1_500, "refit_every": 1_000, "min_duration": 1}
    )
    accuracy, lags = [], []
    for seed in seeds:
        bars, truth = switching_bars(4_000, seed)
        filtered = filter_regimes(bars, detector)
        accuracy.append((filtered.labels == truth)[filtered.warm_up :].mean())
        lags.append(detection_lag(truth.astype(np.int8), filtered.labels)["lag"].median())
    assert np.mean(accuracy) >= 0.85, accuracy
    assert max(lags) <= 12, "bars of the features' windows"


@pytest.mark.long
@pytest.mark.parametrize("name", mostly_long(["hmm", "jump"], 1))
def test_the_samples_own_regimes_are_recovered_where_they_are_well_separated(name):
    quick = FeatureSettings(used=("log_return", "volatility", "trend"), volatility_window=12, trend_window=12)
    detector = DETECTORS[name].model_copy(
        update={"features": quick, "window": 4_000, "min_bars": 1_500, "refit_every": 1_000, "min_duration": 1}
    )
    accuracy = []
    for seed in range(3):
        truth = sample_regimes(seed, 4_000, WELL_SEPARATED).str.upper().map(Regime.__members__).astype(int)
        filtered = filter_regimes(sample_bars("BTC/USDT", seed, 4_000, WELL_SEPARATED).frame, detector)
        accuracy.append((filtered.labels == truth.to_numpy())[filtered.warm_up :].mean())
    assert np.mean(accuracy) >= 0.85, accuracy


def test_smoothed_regimes_use_the_whole_sample():
    bars, truth = switching_bars(700, 1)
    smoothed = smooth_regimes(bars, DETECTORS["hmm"])
    cut = smooth_regimes(bars.iloc[:600], DETECTORS["hmm"])
    assert (smoothed.probabilities[100:600] != cut.probabilities[100:600]).any()
    assert (smoothed.labels == truth)[100:].mean() > 0.6


def test_constant_prices_hand_everything_to_the_rules():
    flat = filter_regimes(frame_of(np.full(700, 100.0)), DETECTORS["hmm"])
    assert flat.refits == ()
    assert "feature log_return is constant over the past 250 bars" in flat.fallbacks[0].reason
    assert flat.fallbacks[0].start == int(flat.times[flat.warm_up])
    assert flat.fallbacks[-1].end == int(flat.times[-1])
    assert (flat.labels[flat.warm_up :] == Regime.SIDEWAYS).all()
    with pytest.raises(DataError, match="could not be fitted to the whole sample"):
        smooth_regimes(frame_of(np.full(700, 100.0)), DETECTORS["hmm"])


def test_a_fit_that_fails_hands_only_its_span_to_the_rules():
    bars, _ = switching_bars(700, 1)
    frozen = bars.copy()
    frozen.iloc[340:600, :4] = float(bars["close"].iloc[339])
    walk = WALK | {"window": 200, "min_bars": 200}
    filtered = filter_regimes(frozen, HmmDetector(**walk, n_starts=3, tolerance=1e-4))
    spans = [
        (span.start, span.end)
        for span in filtered.fallbacks
        if span.reason.startswith("feature log_return is constant")
    ]
    assert spans == [(int(filtered.times[547]), int(filtered.times[696]))]
    assert [refit.refit_at for refit in filtered.refits][:1] == [int(filtered.times[247])]


@pytest.mark.parametrize("name", DETECTORS)
def test_too_few_bars_are_refused_with_the_number_that_is_needed(name):
    bars, _ = switching_bars(50, 0)
    with pytest.raises(DataError, match="50 bars are too few"):
        filter_regimes(bars, DETECTORS[name])


def test_settings_that_can_not_work_are_refused():
    with pytest.raises(ConfigError, match=r"n_states was 1: .* Use 3 or 2"):
        HmmDetector(n_states=1)
    with pytest.raises(ConfigError, match="lacks log_return"):
        HmmDetector(features=FeatureSettings(used=("trend",)))
    with pytest.raises(ConfigError, match="window must not be the smaller"):
        HmmDetector(window=100, min_bars=200)
    with pytest.raises(ConfigError, match="Did you mean n_states"):
        HmmDetector(n_state=3)


def test_two_states_are_bear_and_bull():
    bars, _ = switching_bars(700, 1)
    filtered = filter_regimes(bars, HmmDetector(**WALK, n_states=2, n_starts=3, tolerance=1e-4))
    assert set(filtered.labels[filtered.warm_up :].tolist()) <= {Regime.BEAR, Regime.BULL}


@pytest.mark.parametrize(
    ("first_bar", "years"),
    [
        pytest.param(16_700, ("2023",), id="2023", marks=pytest.mark.long),
        pytest.param(8_000, ("2022", "2023"), id="2022-and-2023", marks=pytest.mark.long),
    ],
)
def test_real_bitcoin_changes_regime_more_than_thrice_and_not_hundreds_of_times(real_data, first_bar, years):
    bars = pd.read_parquet(real_data / "bars" / "binance_BTCUSDT_1h.parquet")
    opened = pd.DatetimeIndex(pd.to_datetime(bars.pop("timestamp"), utc=True))
    bars = bars.set_index(opened + pd.Timedelta(hours=1)).astype("float64")
    filtered = filter_regimes(bars.iloc[first_bar:], HmmDetector())
    index = pd.DatetimeIndex(filtered.times, tz="UTC")
    assert index[filtered.warm_up] < pd.Timestamp(years[0], tz="UTC")
    labels = filtered.labels[np.isin(index.strftime("%Y"), years)]
    assert 3 <= count_transitions(labels) < 75 * len(years)
    assert np.median(durations(labels)) >= 96
    assert SMALL_FEATURES.warm_up < filtered.warm_up
