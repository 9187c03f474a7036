"""Cost settings: fees, slippage, funding and borrow costs."""

from __future__ import annotations

from typing import TypeVar

from peak_trade.core.arrays import IntArray
from peak_trade.core.calendar import NS_PER_YEAR
from peak_trade.core.settings import Bps, Finite, Fraction, NonNegative, Settings
from peak_trade.core.time import NS_PER_SECOND

FUNDING_INTERVAL = 8 * 3_600 * NS_PER_SECOND
"""Time between two payments of funding and borrow costs, ns; they are due at its multiples, from 00:00 UTC on."""

Times = TypeVar("Times", int, IntArray)


def n_fundings_until(times: Times) -> Times:
    """Return the number of funding times from 1970 up to each time, ns UTC; the difference of two is the number due."""
    return times // FUNDING_INTERVAL


class Costs(Settings):
    """Costs of fills and of held positions."""

    fee_bps: Bps = 10.0
    """Fee of a fill that takes liquidity (market, stop, and a limit that crosses at once), in bps of its notional."""

    maker_fee_bps: Bps | None = None
    """Fee of a limit order that rested before it filled; equal to `fee_bps` if not set."""

    slippage_bps: Bps = 5.0
    """How much worse than the reference price a taking fill is, in bps; a resting limit order has none."""

    funding_bps_per_8h: Finite = 0.0
    """Paid by longs to shorts on the position's notional at 00:00, 08:00 and 16:00 UTC; negative: shorts pay longs."""

    borrow_rate: NonNegative = 0.0
    """Yearly rate on a short position's notional, paid together with funding; 0.05 is five percent."""

    max_participation: Fraction | None = 0.1
    """Largest fraction of a bar's volume that our fills may take, all orders together; none: no cap."""

    @property
    def taker_rate(self) -> float:
        """`fee_bps` as a fraction."""
        return self.fee_bps / 10_000.0

    @property
    def maker_rate(self) -> float:
        """`maker_fee_bps` as a fraction."""
        return (self.fee_bps if self.maker_fee_bps is None else self.maker_fee_bps) / 10_000.0

    @property
    def slippage_rate(self) -> float:
        """`slippage_bps` as a fraction."""
        return self.slippage_bps / 10_000.0

    @property
    def has_carry(self) -> bool:
        """Whether holding a position costs or earns anything."""
        return self.funding_bps_per_8h != 0.0 or self.borrow_rate != 0.0

    def funding(self, notional: float, n_due: int) -> float:
        """Return the cash that `n_due` fundings of a signed notional bring, quote currency; negative is paid."""
        return -notional * self.funding_bps_per_8h / 10_000.0 * n_due

    def borrow(self, notional: float, n_due: int) -> float:
        """Return the cash that a short (negative) notional brings over `n_due` funding intervals: 0 or negative."""
        rate = self.borrow_rate * n_due / (NS_PER_YEAR / FUNDING_INTERVAL)
        return min(notional, 0.0) * rate
