"""Contribution of each order and each difference to the PnL, and the P&L attribution test.

The contribution of an order is q (P_end - p) - fee: q is the signed filled quantity, p the average price, P_end the
last close that both runs have. A fee that was taken in base units is valued at P_end too. The difference of two
contributions is split by midpoints: a product a b changes by mean(a) times the change of b plus mean(b) times the
change of a. The parts sum exactly to the difference, and change their sign when the runs are swapped.

The P&L attribution test of the Basel market-risk standard (MAR32.20 and following) uses the Spearman correlation of two
PnL series and the Kolmogorov-Smirnov distance of their distributions. By MAR32.42 a desk is green with a correlation
above 0.80 and a distance below 0.09, red with a correlation below 0.70 or a distance above 0.12, and amber otherwise; a
value equal to a threshold is amber. The standard requires 250 days. Here the unit is a bar, and `MIN_BARS` bars are
required.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.diff.order_histories import OrderHistory

MIN_BARS = 30
GREEN_SPEARMAN, RED_SPEARMAN = 0.80, 0.70
GREEN_KS, RED_KS = 0.09, 0.12

Zone = Literal["green", "amber", "red", "none"]


@dataclass(frozen=True, slots=True)
class ContributionChange:
    """Change of the contribution of an order, live − shadow, split by what differs; quote currency.

    `side`: the direction; `quantity`: the ordered quantity; `filled`: the filled fraction of it; `price`: the fill
    price; `fee`: the fee rate; `mark`: the last close.
    """

    side: float = 0.0
    quantity: float = 0.0
    filled: float = 0.0
    price: float = 0.0
    fee: float = 0.0
    mark: float = 0.0

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return self.side + self.quantity + self.filled + self.price + self.fee + self.mark


def contribution(history: OrderHistory, last_close: float) -> float:
    """Return q (P_end - p) - fee summed over the fills of an order, quote currency."""
    gross = sum(fill.quantity * (last_close - fill.price) - fill.fee for fill in history.fills)
    return gross - _base_fee_gain(history, last_close)


def fee_rate(history: OrderHistory) -> float:
    """Return the fees as a fraction of the filled notional; 0.0 without a fill."""
    notional = history.filled * history.price
    return history.fee / notional if notional else 0.0


def split_contribution(
    shadow: OrderHistory, live: OrderHistory, shadow_close: float, live_close: float
) -> ContributionChange:
    """Return the change of the contribution of one order from shadow to live, split by what differs.

    Parameters
    ----------
    shadow, live : OrderHistory
        The order in both runs.
    shadow_close, live_close : float
        The last close in each run, quote currency.

    """
    if shadow.side is not live.side or shadow.has_mixed_sides or live.has_mixed_sides:
        return ContributionChange(side=contribution(live, live_close) - contribution(shadow, shadow_close))
    filled = (shadow.filled, live.filled)
    if not any(filled):
        return ContributionChange()
    sign = float(shadow.side.sign)
    prices = _known_values(shadow.price, live.price, filled)
    rates = _known_values(fee_rate(shadow), fee_rate(live), filled)
    edges = (shadow_close - prices[0], live_close - prices[1])
    notionals = (filled[0] * prices[0], filled[1] * prices[1])
    unit_pnl = sign * _mean(edges) - _mean(rates) * _mean(prices)
    fractions = (filled[0] / shadow.quantity, filled[1] / live.quantity)
    return ContributionChange(
        quantity=_mean(fractions) * (live.quantity - shadow.quantity) * unit_pnl,
        filled=_mean((shadow.quantity, live.quantity)) * (fractions[1] - fractions[0]) * unit_pnl,
        price=-(sign + _mean(rates)) * _mean(filled) * (prices[1] - prices[0]),
        fee=-(rates[1] - rates[0]) * _mean(notionals)
        - _base_fee_gain(live, live_close)
        + _base_fee_gain(shadow, shadow_close),
        mark=sign * _mean(filled) * (live_close - shadow_close),
    )


def _base_fee_gain(history: OrderHistory, last_close: float) -> float:
    """Return by how much fees in base units have become dearer since they were paid, quote currency."""
    return sum(fill.fee_in_base * (last_close - fill.price) for fill in history.fills if fill.fee_in_base)


def _known_values(shadow: float, live: float, filled: tuple[float, float]) -> tuple[float, float]:
    """Replace the value of a run without a fill by the other run's, so that the value does not change."""
    return (shadow if filled[0] else live, live if filled[1] else shadow)


def _mean(pair: tuple[float, float]) -> float:
    return 0.5 * (pair[0] + pair[1])


COLUMNS = ("order_id", "symbol", "side", "quantity", "filled", "delay", "trading", "opportunity", "fees", "shortfall")


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Implementation shortfall of an order in four parts, quote currency; positive is a cost.

    `fees` includes the change in value, up to the last close, of fees that were taken in base units.
    """

    delay: float
    trading: float
    opportunity: float
    fees: float

    @property
    def total(self) -> float:
        """Paper PnL − actual PnL: sign × ordered quantity × (last close − decision price) − contribution."""
        return self.delay + self.trading + self.opportunity + self.fees


def shortfall(history: OrderHistory, last_close: float) -> Shortfall:
    """Return the implementation shortfall of one order; the unfilled quantity is valued at the last close."""
    sign = history.side.sign
    filled = sign * sum(fill.quantity for fill in history.fills)
    return Shortfall(
        delay=sign * filled * (history.arrival_price - history.decision_price),
        trading=sum(fill.quantity * (fill.price - history.arrival_price) for fill in history.fills),
        opportunity=sign * (history.quantity - filled) * (last_close - history.decision_price),
        fees=history.fee + _base_fee_gain(history, last_close),
    )


def shortfall_frame(histories: Sequence[OrderHistory], closes: Mapping[str, float]) -> pd.DataFrame:
    """Return one row per order, shape (n_orders, 10), quote currency; `closes` are the last closes by symbol."""
    rows = []
    for history in histories:
        parts = shortfall(history, closes[history.symbol])
        order = (history.order_id, history.symbol, str(history.side), history.quantity, history.filled)
        rows.append((*order, parts.delay, parts.trading, parts.opportunity, parts.fees, parts.total))
    return pd.DataFrame(rows, columns=list(COLUMNS))


@dataclass(frozen=True, slots=True)
class PnlAttribution:
    """Result of the test: the zone is "none" without a score, and `note` gives the reason.

    `n_bars` counts the bars on which the equity of at least one run changed; `spearman` is in [-1, 1], `ks` in [0, 1].
    """

    zone: Zone
    n_bars: int
    spearman: float
    ks: float
    note: str


def pnl_attribution(shadow: pd.Series[float], live: pd.Series[float], n_fills: tuple[int, int]) -> PnlAttribution:
    """Return the result of the P&L attribution test of two equity curves.

    Parameters
    ----------
    shadow, live : Series of shape (n_bars,), in quote currency
        Equity at the closes that both runs have.
    n_fills : tuple of int
        Number of fills in the shadow and in the live run.

    """
    if not any(n_fills):
        return _none(0, "Neither run has a fill, so there is no PnL to compare.")
    if not all(n_fills):
        idle = "shadow" if n_fills[0] == 0 else "live"
        return _none(0, f"The {idle} run has no fill: its PnL is always zero, and the correlation is undefined.")
    changes = np.column_stack([np.diff(shadow.to_numpy()), np.diff(live.to_numpy())])
    moved = changes[(changes != 0.0).any(axis=1)]
    if len(moved) < MIN_BARS:
        return _none(len(moved), f"The PnL is nonzero on {len(moved)} bars; a score needs at least {MIN_BARS}.")
    if (np.ptp(moved, axis=0) == 0.0).any():
        return _none(len(moved), "The PnL of one run is equal on all bars, and the correlation is undefined.")
    spearman, ks = spearman_correlation(*moved.T), ks_distance(*moved.T)
    return PnlAttribution(
        _zone(spearman, ks), len(moved), spearman, ks, f"Computed on {len(moved):,} bars with a nonzero PnL."
    )


def spearman_correlation(one: FloatArray, other: FloatArray) -> float:
    """Return the Spearman correlation of two arrays of one length, in [-1, 1]; equal values share their mean rank.

    Examples
    --------
    >>> spearman_correlation(np.array([1.0, 2.0, 2.0, 4.0]), np.array([1.0, 3.0, 3.0, 9.0]))
    1.0

    """
    ranks = [pd.Series(values).rank().to_numpy() - 0.5 * (len(values) + 1) for values in (one, other)]
    return float(ranks[0] @ ranks[1] / math.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1])))


def ks_distance(one: FloatArray, other: FloatArray) -> float:
    """Return the Kolmogorov-Smirnov distance of two samples: the largest difference of their distribution functions.

    Examples
    --------
    >>> ks_distance(np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 4.0, 5.0, 6.0]))
    0.5

    """
    values = np.concatenate([one, other])
    below = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (one, other)]
    return float(np.max(np.abs(below[0] - below[1])))


def _zone(spearman: float, ks: float) -> Zone:
    if spearman < RED_SPEARMAN or ks > RED_KS:
        return "red"
    return "green" if spearman > GREEN_SPEARMAN and ks < GREEN_KS else "amber"


def _none(n_bars: int, note: str) -> PnlAttribution:
    return PnlAttribution("none", n_bars, math.nan, math.nan, note)
