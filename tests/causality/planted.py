"""Strategies that cheat, each in its own way: `check_causality` has to find every one."""

from __future__ import annotations

import colorsys
import os
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import PrivateAttr

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


class DayOfTheBar(Planted):
    """Compares with the mean of the whole day, of which part is still to come."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return (bars["close"] < bars["close"].groupby(bars.index.floor("D")).transform("mean")).to_numpy(dtype=float)


class DailyCloseAtMidnight(Planted):
    """Carries each day's last close forward from the start of that day."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        daily = bars["close"].resample("1D").last()
        return (daily.reindex(bars.index, method="ffill") > bars["close"]).to_numpy(dtype=float)


class LastRow(Planted):
    """Compares every close with the last one of the frame."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return (bars["close"] < bars["close"].iloc[-1]).to_numpy(dtype=float)


class MonthEndLabels(Planted):
    """Holds through a month that will have closed higher than it opened."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        months = 12 * bars.index.year + bars.index.month
        is_up = bars["close"].groupby(months).transform("last") > bars["open"].groupby(months).transform("first")
        return is_up.to_numpy(dtype=float)


class OnlyMondays(Planted):
    """Looks one bar ahead on Mondays, one bar back on other days."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        close = bars["close"]
        ahead, back = close.shift(-1) > close, close > close.shift(1)
        return np.where(bars.index.dayofweek == 0, ahead, back).astype(float)


class OnlyAtTwoInTheNight(Planted):
    """Looks one bar ahead at one hour of the day."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        close = bars["close"]
        ahead, back = close.shift(-1) > close, close > close.shift(1)
        return np.where(bars.index.hour == 2, ahead, back).astype(float)


class OnlyAtTheEndOfAMonth(Planted):
    """Looks one bar ahead in the last hour of a month."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        close = bars["close"]
        months = bars.index.month
        is_last = np.append(months[1:] != months[:-1], False)
        return np.where(is_last, close.shift(-1) > close, close > close.shift(1)).astype(float)


class BeforeTheLargestFall(Planted):
    """Leaves one bar before the largest fall, and only then."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        held = np.ones(len(bars))
        held[max(int(np.nanargmin(bars["close"].pct_change())) - 1, 0)] = 0.0
        return held


class ShowsAsNanOnly(Planted):
    """Holds always; a bar whose next close is not known is NaN."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return np.where(bars["close"].shift(-1).isna(), np.nan, 1.0)


class OneUlpThatOrders(Planted):
    """Holds a half, and one ulp more before a rise: the difference is tiny, the order is not."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return np.where(bars["close"].shift(-1) > bars["close"], np.nextafter(0.5, 1.0), 0.5)


FITTED: dict[int, float] = {}


class ModuleCache(Planted):
    """Computes the mean of the first bars that it is given once, and keeps it."""

    window: int = 5

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        if self.window not in FITTED:
            FITTED[self.window] = float(bars["close"].mean())
        return (bars["close"] < FITTED[self.window]).to_numpy(dtype=float)


_mean: float | None = None


class ModuleVariable(Planted):
    """Keeps the mean of the first bars in a variable of the module."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        global _mean
        if _mean is None:
            _mean = float(bars["close"].mean())
        return (bars["close"] < _mean).to_numpy(dtype=float)


class ClassAttribute(Planted):
    """Keeps the highest close that it ever saw on the class."""

    highest: ClassVar[float] = 0.0

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        ClassAttribute.highest = max(ClassAttribute.highest, float(bars["close"].max()))
        return (bars["close"] < 0.9 * ClassAttribute.highest).to_numpy(dtype=float)


class _Scaler:
    def fit(self, values: FloatArray) -> None:
        self.mean, self.deviation = float(values.mean()), float(values.std())


SCALER = _Scaler()


class FittedObject(Planted):
    """Fits an object of the module on the first bars that it is given."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        close = bars["close"].to_numpy()
        if not hasattr(SCALER, "mean"):
            SCALER.fit(close)
        return np.tanh((close - SCALER.mean) / SCALER.deviation)


class DefaultArgument(Planted):
    """Keeps the mean of the first bars in a default argument of a helper."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return (bars["close"] < _kept_mean(bars)).to_numpy(dtype=float)


def _kept_mean(bars: pd.DataFrame, kept: list[float] = []) -> float:  # noqa: B006
    if not kept:
        kept.append(float(bars["close"].mean()))
    return kept[0]


class _Frame:
    """Bars that are equal to any other bars, so that a cache takes them for the same."""

    def __init__(self, bars: pd.DataFrame) -> None:
        self.bars = bars

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Frame)


@cache
def _cached_mean(frame: _Frame) -> float:
    return float(frame.bars["close"].mean())


class CachedFunction(Planted):
    """Keeps the mean of the first bars in a cached function."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return (bars["close"] < _cached_mean(_Frame(bars))).to_numpy(dtype=float)


class OwnAttribute(Planted):
    """Keeps the mean of the first bars in itself."""

    _mean: float | None = PrivateAttr(default=None)

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        if self._mean is None:
            self._mean = float(bars["close"].mean())
        return (bars["close"] < self._mean).to_numpy(dtype=float)


class KeptFile(Planted):
    """Keeps the mean of the first bars in a file."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        place = Path("kept_mean.txt")
        if not place.exists():
            place.write_text(repr(float(bars["close"].mean())))
        return (bars["close"] < float(place.read_text())).to_numpy(dtype=float)


class KeptInALibrary(Planted):
    """Keeps the mean of the first bars in a module of the standard library."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        kept = vars(colorsys).setdefault("kept_mean", float(bars["close"].mean()))
        return (bars["close"] < kept).to_numpy(dtype=float)


class ReadsALevel(Planted):
    """Compares with a level that a file holds; prints, too."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        print("level")  # noqa: T201
        return (bars["close"] < float(Path("level.txt").read_text())).to_numpy(dtype=float)


class Ends(Planted):
    """Ends its process."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        os._exit(7)


KEEPS_STATE: tuple[type[Planted], ...] = (
    ModuleCache,
    ModuleVariable,
    ClassAttribute,
    FittedObject,
    DefaultArgument,
    CachedFunction,
    OwnAttribute,
)
RARE: tuple[type[Planted], ...] = (OnlyMondays, OnlyAtTwoInTheNight, OnlyAtTheEndOfAMonth, BeforeTheLargestFall)
LEAKS: tuple[type[Planted], ...] = (
    DayOfTheBar,
    DailyCloseAtMidnight,
    LastRow,
    MonthEndLabels,
    ShowsAsNanOnly,
    OneUlpThatOrders,
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


class Clean(Planted):
    @property
    def warm_up(self) -> int:
        return 30


class RollingScore(Clean):
    """Centres prices on the mean and deviation of the last twenty bars."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        window = bars["close"].rolling(20)
        return np.tanh((bars["close"] - window.mean()) / window.std()).to_numpy()


class ExpandingQuantile(Clean):
    """Buys after falls that were rare so far."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        returns = bars["close"].pct_change()
        return (returns < returns.expanding().quantile(0.1)).to_numpy(dtype=float)


class DaySoFar(Clean):
    """Compares with the mean of the day so far."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        days = bars["close"].groupby(bars.index.floor("D"))
        so_far = days.cumsum() / (days.cumcount() + 1.0)
        return (bars["close"] < so_far).to_numpy(dtype=float)


class DailyCloseOfYesterday(Clean):
    """Carries each day's last close forward from the end of that day."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        daily = bars["close"].resample("1D").last().shift(1)
        return (daily.reindex(bars.index, method="ffill") > bars["close"]).to_numpy(dtype=float)


class OwnColumns(Clean):
    """Adds columns of its own to the frame, as strategies of pandas do."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        bars["mean"] = bars["close"].rolling(20).mean()
        bars.loc[bars["close"] > bars["mean"], "enter"] = 1.0
        return bars["enter"].fillna(0.0).to_numpy()


CALLS: list[int] = []


class CountsItsCalls(Clean):
    """Notes the length of every frame that it is given, without an effect on its exposure."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        CALLS.append(len(bars))
        return (bars["close"] > bars["close"].shift(3)).to_numpy(dtype=float)


TABLES: dict[int, FloatArray] = {}


class KeepsATable(Clean):
    """Keeps a table that does not depend on the bars."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        weights = TABLES.setdefault(10, np.hanning(12)[1:-1] / np.hanning(12).sum())
        smooth = np.convolve(bars["close"].to_numpy(), weights)[: len(bars)]
        return (bars["close"].to_numpy() > smooth).astype(float)


class LearnsFromThePast(Clean):
    """Regresses the next return on the last one every hundred bars, on earlier bars only."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        returns = bars["close"].pct_change().fillna(0.0).to_numpy()
        held = np.zeros(len(bars))
        for start in range(100, len(bars), 100):
            slope, intercept = np.polyfit(returns[: start - 2], returns[1 : start - 1], 1)
            held[start : start + 100] = np.sign(slope * returns[start : start + 100] + intercept)
        return held


class OnlyTuesdaysBack(Clean):
    """Looks back, and on Tuesdays only."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return np.where(bars.index.dayofweek == 1, bars["close"] > bars["close"].shift(1), False).astype(float)


class DropsItsOwnRows(Clean):
    """Works on a frame of its own with fewer rows."""

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        own = bars.dropna().iloc[5:]
        own = own.assign(close=own["close"].round(-1))
        held = (own["close"] > own["close"].shift(2)).astype(float)
        return held.reindex(bars.index, fill_value=0.0).to_numpy()


CLEAN: tuple[type[Clean], ...] = (
    RollingScore,
    ExpandingQuantile,
    DaySoFar,
    DailyCloseOfYesterday,
    OwnColumns,
    CountsItsCalls,
    KeepsATable,
    LearnsFromThePast,
    OnlyTuesdaysBack,
    DropsItsOwnRows,
)
"""Strategies without look-ahead that resemble those with it: none may be flagged."""


class BlockedArithmetic(Planted):
    """Adds noise of the last bits that depends on the number of bars, as blocked linear algebra does."""

    size: float = 4.0

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        smooth = np.tanh(bars["close"].pct_change().fillna(0.0).to_numpy() * 50.0) / 2.0 + 0.3
        return smooth + self.size * np.spacing(0.8) * (len(bars) % 3)
