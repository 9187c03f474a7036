"""E-process: evidence that a mean return is above 0, which may be looked at after every bar."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numba import njit
from pydantic import Field

from peak_trade.core.arrays import FloatArray
from peak_trade.core.errors import DataError
from peak_trade.core.settings import Positive, Settings

THRESHOLD = 20.0
"""Value of e that a process without an edge ever reaches with a probability of 5 % at most."""
WARM_UP = 20
"""Bars without a bet, over which the size of returns is measured first."""
MEMORY = 0.98
"""Decay per bar of the recent mean square."""


class EdgeTest(Settings):
    """Settings of the evidence of an edge, which are fixed before the first bar."""

    claimed_sharpe: Positive = 1.0
    """Annualised Sharpe ratio of the excess return that the bets are sized for."""

    loss_bound: Annotated[float, Field(gt=0.0, le=1.0)] = 0.25
    """Largest loss of a bar that the test allows for, fraction; larger gains count as this much."""

    stake: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9
    """Largest part of the capital that a bet loses at a loss of `loss_bound`."""

    benchmark_exposure: Annotated[float, Field(ge=-10.0, le=10.0)] | None = None
    """Exposure at which the benchmark is held; none: the mean exposure of the strategy over earlier bars."""

    @property
    def years_expected(self) -> float:
        """Years to THRESHOLD at the claimed Sharpe ratio, 2 ln(20) / ratio ** 2, for bets that no bound limits."""
        return 2.0 * math.log(THRESHOLD) / self.claimed_sharpe**2


@dataclass(frozen=True, slots=True, eq=False)
class EValues:
    """Capital of a gambler who bets on an edge, from 1: `values` has shape (n,) and is known at the end of each bar.

    `bets` are the bets on each bar, in multiples of the excess return. `broken_at` is the index of the first bar whose
    loss was above the bound; the values are 0 from there on. None if there is none.
    """

    values: FloatArray
    bets: FloatArray
    broken_at: int | None

    @property
    def value(self) -> float:
        """The latest value; 1.0 without a bar."""
        return float(self.values[-1]) if self.values.size else 1.0

    @property
    def reached_at(self) -> int | None:
        """Index of the first bar with a value of THRESHOLD or more; None if there is none."""
        above = np.flatnonzero(self.values >= THRESHOLD)
        return int(above[0]) if above.size else None


def e_values(excess: Any, test: EdgeTest, bars_per_year: float) -> EValues:
    """Return the e-process of excess returns under the null hypothesis that each has a mean of at most 0.

    Parameters
    ----------
    excess : float64 array of shape (n,), fractions
        Net return of each bar less that of the benchmark at an exposure that was known before the bar.
    test : EdgeTest
    bars_per_year : float

    Returns
    -------
    EValues

    Raises
    ------
    DataError
        If a return is not finite.

    Notes
    -----
    The value after bar t is the product of 1 + bet × min(excess, loss_bound) over the bars so far. A bet is computed
    from earlier bars, is at least 0 and at most stake / loss_bound, so the value stays above 0 for any loss up to the
    bound. If each excess return has a mean of at most 0 given the past and no loss is above the bound, the values are
    a supermartingale from 1: the probability that they ever reach 20 is at most 1 / 20, whenever one stops to look
    (Ville's inequality). Returns need not be independent, normal or stationary.

    The bet is that of Kelly for the claimed Sharpe ratio: ratio per bar / size of a return, where the size is the
    larger one of the root mean squares over all and over recent earlier bars. With the claimed ratio the logarithm of
    the value grows by about ratio ** 2 / 2 a year, less where the cap limits the bet.

    References
    ----------
    Ramdas, Grünwald, Vovk and Shafer (2023), Game-Theoretic Statistics and Safe Anytime-Valid Inference, Statistical
    Science 38(4). Waudby-Smith and Ramdas (2024), Estimating Means of Bounded Random Variables by Betting, Journal of
    the Royal Statistical Society B 86(1).

    """
    values = np.asarray(excess, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise DataError("excess is not an array of finite returns, shape (n,). Drop or fix the bars without a return.")
    made, bets = e_value_paths(values[None, :], test, bars_per_year)
    broken = np.flatnonzero(values < -test.loss_bound)
    return EValues(made[0], bets[0], int(broken[0]) if broken.size else None)


def e_value_paths(excess: FloatArray, test: EdgeTest, bars_per_year: float) -> tuple[FloatArray, FloatArray]:
    """Return the values and the bets of k processes at once, both of shape (k, n); see `e_values`."""
    n = excess.shape[1]
    squares = excess * excess
    known = np.zeros_like(squares)
    known[:, 1:] = squares[:, :-1]
    count = np.arange(n)
    whole = np.cumsum(known, axis=1) / np.maximum(count, 1)
    recent = _decayed(known, MEMORY)
    size = np.sqrt(np.maximum(whole, recent))
    ratio, most = test.claimed_sharpe / math.sqrt(bars_per_year), test.stake / test.loss_bound
    bets = np.where((count >= WARM_UP) & (size > 0.0), np.minimum(ratio / np.where(size > 0.0, size, 1.0), most), 0.0)
    gains = np.log1p(bets * np.clip(excess, -test.loss_bound, test.loss_bound))
    values = np.exp(np.cumsum(gains, axis=1))
    values[np.maximum.accumulate(excess < -test.loss_bound, axis=1)] = 0.0
    return values, bets


@njit("float64[:, ::1](float64[:, ::1], float64)", cache=True)
def _decayed(values: FloatArray, memory: float) -> FloatArray:
    """Return the exponentially weighted means of each row from 0, shape (k, n). Causal."""
    means = np.empty_like(values)
    for row in range(values.shape[0]):
        mean = 0.0
        for bar in range(values.shape[1]):
            mean = (1.0 - memory) * values[row, bar] + memory * mean
            means[row, bar] = mean
    return means
