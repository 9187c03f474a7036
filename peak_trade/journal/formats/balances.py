"""Balances that an external log states, and what they show about its fills and about prices that it does not hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class BalanceCheck:
    """Comparison of a change that follows from the fills and fees of a log with the one that its balances show.

    Both are in units of the asset. `tolerance` is what the rounding of the log allows.
    """

    asset: str
    expected: float
    observed: float
    tolerance: float

    @property
    def is_equal(self) -> bool:
        """Whether both changes are equal up to the tolerance."""
        return abs(self.expected - self.observed) <= self.tolerance


class OpenPosition(NamedTuple):
    """A position: its symbol, its signed quantity in base units, and its entry price in quote currency."""

    symbol: str
    quantity: float
    entry_price: float

    def pnl(self, price: float) -> float:
        """Return the unrealised PnL at a price, quote currency."""
        return self.quantity * (price - self.entry_price)


class PriceRange(NamedTuple):
    """Lowest and highest price, quote currency."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class StatedEquity:
    """Equity that a log states at a time (ns UTC) at which positions are open.

    `cash` is the balance without unrealised PnL, both in units of the asset. `tolerance` is what the rounding of both
    allows.
    """

    time: int
    asset: str
    equity: float
    cash: float
    positions: tuple[OpenPosition, ...]
    tolerance: float

    @property
    def unrealised(self) -> float:
        """Unrealised PnL of all positions, by the difference of equity and cash."""
        return self.equity - self.cash

    def implied_prices(self, known: Mapping[str, PriceRange]) -> dict[str, PriceRange]:
        """Return the mark prices that the unrealised PnL implies, by symbol.

        Parameters
        ----------
        known : mapping of str to PriceRange
            Prices that are known of some symbols, such as those of a bar.

        Returns
        -------
        dict of str to PriceRange
            A symbol is left out if the price of another open position is not known.

        """
        found = {}
        for position in self.positions:
            others = [each for each in self.positions if each is not position]
            if any(each.symbol not in known for each in others):
                continue
            low, high = self.unrealised - self.tolerance, self.unrealised + self.tolerance
            for other in others:
                amounts = [other.pnl(price) for price in known[other.symbol]]
                low, high = low - max(amounts), high - min(amounts)
            prices = [position.entry_price + amount / position.quantity for amount in (low, high)]
            found[position.symbol] = PriceRange(min(prices), max(prices))
        return found
