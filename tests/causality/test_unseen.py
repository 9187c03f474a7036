"""A second set of leaks, written after the check and never used to tune it; docs/causality.md states the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy  # its parts are imported where they are used
import sklearn

from peak_trade.causality import short
from peak_trade.causality.check import check_causality
from peak_trade.causality.short import check_run
from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import Bars
from peak_trade.core.causality import CausalityVerdict
from peak_trade.data.sample import synthetic_bars
from tests.causality.planted import Planted

Rule = Callable[[pd.DataFrame], Any]


def close(bars: pd.DataFrame) -> pd.Series:
    return bars["close"]


def values(bars: pd.DataFrame) -> FloatArray:
    return bars["close"].to_numpy()


def returns(bars: pd.DataFrame) -> FloatArray:
    return close(bars).pct_change().fillna(0.0).to_numpy()


def following(bars: pd.DataFrame) -> FloatArray:
    return close(bars).pct_change().shift(-1).fillna(0.0).to_numpy()


def lags(bars: pd.DataFrame) -> FloatArray:
    made = [close(bars).pct_change().shift(lag).fillna(0.0).to_numpy() for lag in range(3)]
    return np.column_stack(made)


def asof(bars: pd.DataFrame, direction: str) -> FloatArray:
    daily = pd.DataFrame({"time": bars.index[::24], "value": values(bars)[::24]})
    joined: Any = pd.merge_asof(pd.DataFrame({"time": bars.index}), daily, on="time", direction=direction)
    return joined["value"].to_numpy()


def low_pass(bars: pd.DataFrame) -> FloatArray:
    spectrum = np.fft.rfft(values(bars))
    return np.fft.irfft(np.where(np.arange(spectrum.size) < 20, spectrum, 0.0), len(bars))


def only(chosen: Rule) -> Rule:
    def rule(bars: pd.DataFrame) -> Any:
        ahead, back = close(bars).shift(-1) > close(bars), close(bars) > close(bars).shift(1)
        return np.where(chosen(bars), ahead, back)

    return rule


LEAKS: dict[str, Rule] = {
    "pct_change(-1)": lambda bars: close(bars).pct_change(-1) < 0.0,
    "diff(-3)": lambda bars: close(bars).diff(-3) < 0.0,
    "central difference": lambda bars: np.gradient(values(bars)) > 0.0,
    "convolve same": lambda bars: values(bars) > np.convolve(values(bars), np.ones(9) / 9.0, "same"),
    "gaussian filter": lambda bars: values(bars) < scipy.ndimage.gaussian_filter1d(values(bars), 5),
    "filtfilt": lambda bars: values(bars) < scipy.signal.filtfilt(*scipy.signal.butter(2, 0.1), values(bars)),
    "Savitzky-Golay": lambda bars: np.diff(scipy.signal.savgol_filter(values(bars), 11, 2), prepend=0.0) > 0.0,
    "detrend": lambda bars: scipy.signal.detrend(values(bars)) < 0.0,
    "peaks": lambda bars: np.isin(np.arange(len(bars)), scipy.signal.find_peaks(-values(bars), distance=24)[0]),
    "Fourier low-pass": lambda bars: low_pass(bars) > values(bars),
    "standard scaler": lambda bars: (
        sklearn.preprocessing.StandardScaler().fit_transform(values(bars)[:, None])[:, 0] < 0.0
    ),
    "min-max scaler": lambda bars: (
        sklearn.preprocessing.MinMaxScaler().fit_transform(values(bars)[:, None])[:, 0] < 0.3
    ),
    "PCA": lambda bars: sklearn.decomposition.PCA(1).fit_transform(lags(bars))[:, 0] > 0.0,
    "k-means": lambda bars: sklearn.cluster.KMeans(3, n_init=1, random_state=0).fit_predict(lags(bars)) == 1,
    "regression": lambda bars: (
        sklearn.linear_model.LinearRegression().fit(lags(bars), following(bars)).predict(lags(bars)) > 0.0
    ),
    "shuffled folds": lambda bars: (
        sklearn.model_selection.cross_val_predict(
            sklearn.linear_model.Ridge(),
            lags(bars),
            following(bars),
            cv=sklearn.model_selection.KFold(5, shuffle=True, random_state=0),
        )
        > 0.0
    ),
    "rank": lambda bars: close(bars).rank(pct=True) < 0.3,
    "quantile bins": lambda bars: pd.qcut(close(bars), 5, labels=False, duplicates="drop") == 0,
    "cumulative share": lambda bars: bars["volume"].cumsum() / bars["volume"].sum() < 0.5,
    "join forwards": lambda bars: asof(bars, "forward") > values(bars),
    "nearest": lambda bars: close(bars).iloc[::12].reindex(bars.index, method="nearest") > close(bars),
    "weekly back-fill": lambda bars: close(bars).resample("W").last().reindex(bars.index, method="bfill") > close(bars),
    "four-hour back-fill": lambda bars: (
        close(bars).resample("4h").mean().reindex(bars.index, method="bfill") > close(bars)
    ),
    "reversed window": lambda bars: close(bars)[::-1].rolling(10).max()[::-1] > 1.02 * close(bars),
    "zigzag": lambda bars: close(bars).rolling(49, center=True, min_periods=1).min() == close(bars),
    "high of the day": lambda bars: bars["high"].groupby(bars.index.floor("D")).transform("max") == bars["high"],
    "next open": lambda bars: bars["open"].shift(-1) > 1.0001 * close(bars),
    "after the largest drawdown": lambda bars: (
        np.arange(len(bars)) > int(np.argmin((close(bars) / close(bars).cummax()).to_numpy()))
    ),
    "median": lambda bars: close(bars) < close(bars).median(),
    "volatility of the sample": lambda bars: np.full(len(bars), min(0.001 / returns(bars).std(), 1.0)),
    "best hour": lambda bars: (
        bars.index.hour == pd.Series(following(bars)).groupby(np.asarray(bars.index.hour)).mean().idxmax()
    ),
    "high volume only": only(lambda bars: bars["volume"] > 6.0 * bars["volume"].rolling(50).mean()),
    "Sunday 23:00 only": only(lambda bars: (bars.index.dayofweek == 6) & (bars.index.hour == 23)),
    "first of the month only": only(lambda bars: bars.index.day == 1),
    "Tuesday and Friday only": only(lambda bars: np.isin(bars.index.dayofweek, [1, 4])),
    "new highs only": only(lambda bars: close(bars) >= close(bars).rolling(200).max()),
    "large moves only": only(lambda bars: close(bars).pct_change().abs() > 0.03),
    "deep drawdowns only": only(lambda bars: close(bars) / close(bars).cummax() < 0.8),
    "noon only": only(lambda bars: bars.index.hour == 12),
}
CLEAN: dict[str, Rule] = {
    "moving average": lambda bars: close(bars) > close(bars).rolling(20).mean(),
    "exponential average": lambda bars: close(bars) > close(bars).ewm(span=20).mean(),
    "causal filter": lambda bars: scipy.signal.lfilter(*scipy.signal.butter(2, 0.1), values(bars)) < values(bars),
    "expanding rank": lambda bars: close(bars).expanding().rank(pct=True) < 0.3,
    "last week": lambda bars: (
        close(bars).resample("W").last().shift(1).reindex(bars.index, method="ffill") > close(bars)
    ),
    "volume so far": lambda bars: bars["volume"].cumsum() % 1_000.0 < 500.0,
    "rolling score": lambda bars: np.tanh(close(bars).diff() / close(bars).diff().rolling(30).std()),
    "convolve full": lambda bars: values(bars) > np.convolve(values(bars), np.ones(9) / 9.0)[: len(bars)],
    "mornings": lambda bars: bars.index.hour < 12,
    "join backwards": lambda bars: asof(bars, "backward") > values(bars),
    "weighted lags": lambda bars: np.tanh(lags(bars) @ np.array([5.0, 3.0, 1.0])),
    "running maximum": lambda bars: 0.9 * np.maximum.accumulate(values(bars)) < values(bars),
    "rolling correlation": lambda bars: close(bars).pct_change().rolling(30).corr(bars["volume"].pct_change()) > 0.0,
    "rolling quantile": lambda bars: close(bars) < close(bars).rolling(100, min_periods=1).quantile(0.2),
    "high of the day so far": lambda bars: bars["high"].groupby(bars.index.floor("D")).cummax() == bars["high"],
}


class Unseen(Planted):
    """Applies a rule of the tables."""

    rule: str

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return np.nan_to_num(np.asarray((LEAKS | CLEAN)[self.rule](bars), dtype=np.float64))


@pytest.fixture(scope="module")
def bars() -> Bars:
    return synthetic_bars(3_000)


@pytest.mark.long
@pytest.mark.parametrize("rule", LEAKS | CLEAN)
def test_what_the_docs_say_about_unseen_leaks_is_so(rule: str, bars: Bars) -> None:
    short._known.clear()
    (outcome,) = check_run([(Unseen(rule=rule), bars)], clock=lambda: 0.0)
    report = check_causality(Unseen(rule=rule), bars)
    assert report.is_causal is (rule in CLEAN)
    assert (outcome.verdict is CausalityVerdict.LOOKS_AHEAD) is (rule in LEAKS)
