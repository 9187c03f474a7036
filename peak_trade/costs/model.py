"""Cost settings, and the published fee schedules of the two exchanges."""

from __future__ import annotations

from peak_trade.core.settings import Bps, Finite, Fraction, NonNegative, Settings

_FUNDINGS_PER_DAY = 3


class Costs(Settings):
    """What a fill and a held position cost."""

    fee_bps: Bps = 10.0
    """Fee of a fill that takes liquidity (market, stop, and a limit that crosses at once), in bps of its notional."""

    maker_fee_bps: Bps | None = None
    """Fee of a limit order that rested before it filled; as `fee_bps` when not given."""

    slippage_bps: Bps = 5.0
    """How much worse than the reference price a taking fill is, in bps; a resting limit has none."""

    funding_bps_per_8h: Finite = 0.0
    """Paid by longs to shorts on the position's notional at 00:00, 08:00 and 16:00 UTC; negative: shorts pay longs."""

    borrow_rate: NonNegative = 0.0
    """Yearly rate on a short position's notional, paid daily at 00:00 UTC; 0.05 is five percent."""

    max_participation: Fraction | None = 0.1
    """Largest share of a bar's volume that our fills may take, all orders together; none: no cap."""

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
        """Return the cash that `n_due` funding times bring a signed notional, quote currency; negative is paid."""
        return -notional * self.funding_bps_per_8h / 10_000.0 * n_due

    def borrow(self, notional: float, n_due: int) -> float:
        """Return what borrowing for a short (negative) notional costs over `n_due` thirds of a day, as 0 or less."""
        yearly = self.borrow_rate * n_due / (365 * _FUNDINGS_PER_DAY)
        return min(notional, 0.0) * yearly
