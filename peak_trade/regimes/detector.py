"""The contract of a regime detector, and the two ways to apply one."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import check_frame
from peak_trade.core.settings import BarCount, Settings
from peak_trade.regimes.states import FilteredRegimes, SmoothedRegimes


class Detector(Settings, ABC):
    """Frozen parameters of a regime detector. Windows are in bars; the defaults suit hourly bars.

    Both methods take checked bars of one symbol: a DataFrame of shape (n_bars, 5), indexed by `close_time` in UTC.
    """

    min_duration: BarCount = 96
    """Bars that a regime lasts at least once it is entered, four days of hourly bars; 1 leaves the labels unchanged."""

    @property
    def name(self) -> str:
        """Class name in snake case without `_detector`."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower().removesuffix("_detector")

    @property
    @abstractmethod
    def warm_up(self) -> int:
        """Number of first bars without a regime."""

    @abstractmethod
    def filter(self, bars: pd.DataFrame) -> FilteredRegimes:
        """Return causal regimes: the label of bar t depends on bars up to t only."""

    @abstractmethod
    def smooth(self, bars: pd.DataFrame) -> SmoothedRegimes:
        """Return hindsight regimes: every label depends on all bars. For reports only."""


@checks_arguments(detector="a Detector, or make_detector(name, timeframe)")
def filter_regimes(bars: pd.DataFrame, detector: Detector) -> FilteredRegimes:
    """Check bars and return their causal regimes, which a backtest may use.

    Parameters
    ----------
    bars : DataFrame of shape (n_bars, 5)
        Bars of one symbol, indexed by `close_time` in UTC.
    detector : Detector

    Raises
    ------
    DataError
        If the bars are malformed or too few, or a feature is not finite after its warm-up.

    Notes
    -----
    Causal: labels and probabilities of bar t are computed from bars up to t.

    """
    check_frame(bars)
    return detector.filter(bars)


@checks_arguments(detector="a Detector, or make_detector(name, timeframe)")
def smooth_regimes(bars: pd.DataFrame, detector: Detector) -> SmoothedRegimes:
    """Check bars and return their regimes with hindsight: for reports, a backtest refuses them.

    Parameters and errors as for `filter_regimes`; a DataError also when the one fit to all bars fails.
    """
    check_frame(bars)
    return detector.smooth(bars)


def certain(labels: NDArray[np.int8]) -> FloatArray:
    """Return probabilities of shape (n_bars, 3) that are 1 for the label, which must be known, and 0 elsewhere."""
    probabilities = np.zeros((len(labels), 3))
    probabilities[np.arange(len(labels)), labels] = 1.0
    return probabilities
