"""The features of a regime model: five causal measures of the bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bar_frame import index_ns
from peak_trade.core.errors import DataError
from peak_trade.core.settings import BarCount, Settings
from peak_trade.core.time import iso
from peak_trade.indicators.dispersion import z_score
from peak_trade.indicators.means import sma

FeatureName = Literal["log_return", "volatility", "range", "volume", "trend"]
FEATURES: tuple[FeatureName, ...] = ("log_return", "volatility", "range", "volume", "trend")
_FLOOR = 1e-12


class FeatureSettings(Settings):
    """The features that a detector uses, and their windows in bars. The defaults suit hourly bars."""

    used: Annotated[tuple[FeatureName, ...], Field(min_length=1, strict=False)] = ("log_return", "volatility", "trend")
    """Names in order; `log_return` is required, because regimes are ordered by their mean return."""

    volatility_window: BarCount = 72
    """Bars of the realised volatility; three days of hourly bars."""

    range_window: BarCount = 168
    """Bars of the mean high-low range."""

    volume_window: BarCount = 168
    """Bars of the volume z-score."""

    trend_window: BarCount = 336
    """Bars of the trend; two weeks of hourly bars."""

    @property
    def warm_up(self) -> int:
        """Number of first bars in which at least one used feature has no value."""
        windows = {
            "log_return": 1,
            "volatility": self.volatility_window,
            "range": self.range_window - 1,
            "volume": self.volume_window - 1,
            "trend": self.trend_window,
        }
        return max(windows[name] for name in self.used)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Feature values with the instants at which they were known.

    `values` has shape (n_bars, n_features), float64, NaN in the first `warm_up` rows; `known_at` has the same shape, ns
    UTC: the close of the last bar that went into the value.
    """

    values: FloatArray
    known_at: IntArray
    names: tuple[FeatureName, ...]
    warm_up: int


def measure_features(bars: pd.DataFrame, settings: FeatureSettings) -> Features:
    """Measure the used features at every bar.

    Parameters
    ----------
    bars : DataFrame of shape (n_bars, 5)
        Checked bars of one symbol, index `close_time` in UTC.
    settings : FeatureSettings

    Returns
    -------
    Features
        log_return: ln(C_t / C_t-1). volatility: ln of the root mean square log return of the window. range: ln of the
        mean of ln(H / L) over the window. volume: z-score of ln(1 + V) in its window. trend: ln(C_t / C_t-w) over the
        root of the sum of squared log returns of the window, a t-statistic of the drift. Arguments of logarithms are
        at least 1e-12.

    Raises
    ------
    DataError
        When a value after the warm-up is not finite; names the bar and the feature.

    Notes
    -----
    Causal: row t is computed from bars up to t. Every value is known at its own bar's close.

    References
    ----------
    Andersen, Bollerslev, Diebold, Labys (2003), "Modeling and forecasting realized volatility": ln of the realised
    volatility is close to Gaussian. Parkinson (1980): ln(H / L) measures volatility.

    """
    close = bars["close"].to_numpy()
    log_close = np.log(close)
    log_return = np.full(len(close), np.nan)
    log_return[1:] = np.diff(log_close)
    columns = [_measure(name, bars, log_close, log_return, settings) for name in settings.used]
    values = np.ascontiguousarray(np.column_stack(columns))
    times = index_ns(bars.index)
    check_features(values, times, settings.used, settings.warm_up)
    known_at = np.broadcast_to(times[:, None], values.shape)
    return Features(values, known_at, settings.used, settings.warm_up)


def check_features(values: FloatArray, times: IntArray, names: tuple[str, ...], warm_up: int) -> None:
    """Raise a DataError for the first value after the warm-up that is not finite, with its bar and feature."""
    faults = np.argwhere(~np.isfinite(values[warm_up:]))
    if faults.size:
        row, column = int(faults[0][0]) + warm_up, int(faults[0][1])
        raise DataError(
            f"feature {names[column]} was {values[row, column]} at {iso(int(times[row]))} (bar {row}), after the "
            f"warm-up of {warm_up} bars. Fix that bar, or leave the feature out."
        )


def _measure(
    name: FeatureName, bars: pd.DataFrame, log_close: FloatArray, log_return: FloatArray, settings: FeatureSettings
) -> FloatArray:
    if name == "log_return":
        return log_return
    if name == "volatility":
        return _log_floored(_root_mean_square(log_return, settings.volatility_window))
    if name == "range":
        return _log_floored(sma(np.log(bars["high"].to_numpy() / bars["low"].to_numpy()), settings.range_window))
    if name == "volume":
        return z_score(np.log1p(bars["volume"].to_numpy()), settings.volume_window)
    window = settings.trend_window
    change = np.full(len(log_close), np.nan)
    change[window:] = log_close[window:] - log_close[:-window]
    noise = _root_mean_square(log_return, window) * np.sqrt(window)
    is_still = noise <= _FLOOR
    trend: FloatArray = np.where(is_still, 0.0, change / np.where(is_still, 1.0, noise))
    return trend


def _root_mean_square(log_return: FloatArray, window: int) -> FloatArray:
    root = np.full(len(log_return), np.nan)
    root[1:] = np.sqrt(np.maximum(sma(log_return[1:] ** 2, window), 0.0))
    return root


def _log_floored(values: FloatArray) -> FloatArray:
    logs: FloatArray = np.log(np.maximum(values, _FLOOR))
    return logs
