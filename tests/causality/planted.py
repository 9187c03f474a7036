"""Strategies that cheat, each in its own way: `check_causality` has to find every one."""

from __future__ import annotations

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.strategies.base import Strategy


class Planted(Strategy):
    @property
    def warm_up(self) -> int:
        return 0


class NegativeShift(Planted):
    """Buys when the next close is higher."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return (bars["close"].shift(-1) > bars["close"]).to_numpy(dtype=float)


class FarShift(Planted):
    """Buys when the close a day ahead is higher."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return (bars["close"].shift(-24) > bars["close"]).to_numpy(dtype=float)


class FullSampleNormalisation(Planted):
    """Centres prices on the mean and deviation of the whole history."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        close = bars["close"].to_numpy()
        return np.tanh((close - close.mean()) / close.std())


class CenteredWindow(Planted):
    """Compares with a mean that lies half in the future."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return (bars["close"] < bars["close"].rolling(21, center=True).mean()).to_numpy(dtype=float)


class BackFill(Planted):
    """Fills a signal that is known now and then from its next value."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        returns = bars["close"].pct_change()
        rare = np.sign(returns.where(returns.abs() > 0.01))
        return rare.bfill().fillna(0.0).to_numpy()


class FullSampleQuantile(Planted):
    """Buys after falls that are rare in the whole history."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        returns = bars["close"].pct_change()
        return (returns < returns.quantile(0.1)).to_numpy(dtype=float)


class FitOnEverything(Planted):
    """Regresses the next return on the last one over the whole history, then bets on the sign of the fit."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        returns = bars["close"].pct_change().fillna(0.0).to_numpy()
        slope, intercept = np.polyfit(returns[:-1], returns[1:], 1)
        return np.clip(100.0 * (slope * returns + intercept), -1.0, 1.0)


class ArgmaxOverAll(Planted):
    """Holds until the highest close there will ever be."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return (np.arange(len(bars)) <= int(np.argmax(bars["close"].to_numpy()))).astype(float)


class Interpolation(Planted):
    """Draws straight lines between every tenth close."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        rows = np.arange(len(bars))
        close = bars["close"].to_numpy()
        return (np.interp(rows, rows[::10], close[::10]) > close).astype(float)


class MislabelledResample(Planted):
    """Stamps each four-hour close with the bucket's start."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        coarse = bars["close"].resample("4h", label="left", closed="right").last()
        return (coarse.reindex(bars.index, method="ffill") > bars["close"]).to_numpy(dtype=float)


class SortedByOutcome(Planted):
    """Holds the half of the bars whose next return ranks highest."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        close = bars["close"].to_numpy()
        following = np.append(close[1:] / close[:-1] - 1.0, 0.0)
        held = np.zeros(len(close))
        held[np.argsort(-following, kind="stable")[: len(close) // 2]] = 1.0
        return held


class BestParameter(Planted):
    """Chooses the window that would have earned most over the whole history."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        close = bars["close"]
        growth = np.log(close).diff().shift(-1)
        sides = [(close > close.rolling(window).mean()).astype(float) for window in range(5, 40, 7)]
        return max(sides, key=lambda side: float((side * growth).sum())).to_numpy()


class SmoothedBothWays(Planted):
    """Averages forwards, then backwards, so that the lag is gone."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        forwards = bars["close"].ewm(span=20).mean()
        smooth = forwards[::-1].ewm(span=20).mean()[::-1]
        return (smooth.diff() > 0.0).to_numpy(dtype=float)


class CountsTheBars(Planted):
    """Leaves shortly before the data ends."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return (np.arange(len(bars)) < len(bars) - 10).astype(float)


class LooksAtVolumeAhead(Planted):
    """Holds before a bar of more than double the volume."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return (bars["volume"].shift(-1) > 2.0 * bars["volume"]).to_numpy(dtype=float)


class WeeklyHigh(Planted):
    """Sells at the high of the week before the week is over."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        weeks = np.asarray(bars.index.asi8 // (7 * 86_400 * 10**9))
        return (bars["high"] < bars["high"].groupby(weeks).transform("max")).to_numpy(dtype=float)


LEAKS: tuple[type[Planted], ...] = (
    NegativeShift,
    FarShift,
    FullSampleNormalisation,
    CenteredWindow,
    BackFill,
    FullSampleQuantile,
    FitOnEverything,
    ArgmaxOverAll,
    Interpolation,
    MislabelledResample,
    SortedByOutcome,
    BestParameter,
    SmoothedBothWays,
    CountsTheBars,
    LooksAtVolumeAhead,
    WeeklyHigh,
)
