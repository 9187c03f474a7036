"""Balances that an external log states, and what they show about its fills and about prices that it does not hold."""

from __future__ import annotations

import math
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


class PriceRange(NamedTuple):
    """Lowest and highest price, quote currency."""

    low: float
    high: float

    def meets(self, other: PriceRange) -> bool:
        """Return whether there is a price in both ranges."""
        return self.low <= other.high and other.low <= self.high


class OpenPosition(NamedTuple):
    """A position: its symbol, its signed quantity in base units, and its entry price in quote currency.

    `resting` are the prices between which no resting order of the symbol is triggered.
    """

    symbol: str
    quantity: float
    entry_price: float
    resting: PriceRange = PriceRange(0.0, math.inf)

    def pnl(self, price: float) -> float:
        """Return the unrealised PnL at a price, quote currency."""
        return self.quantity * (price - self.entry_price)


@dataclass(frozen=True, slots=True)
class StatedEquity:
    """Equity that a log states at a time (ns UTC), such as a daily balance.

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
        """Difference of equity and cash, which is the unrealised PnL of the open positions."""
        return self.equity - self.cash

    def implied_prices(self, known: Mapping[str, PriceRange]) -> dict[str, PriceRange]:
        """Return the mark prices that the unrealised PnL implies, by symbol.

        Parameters
        ----------
        known : mapping of str to PriceRange
            Prices that are known of some symbols, such as those of a bar. Those of the others are between their resting
            orders.

        Returns
        -------
        dict of str to PriceRange
            A symbol is left out if nothing limits the price of another open position.

        """
        found = {}
        for position in self.positions:
            low, high = self.unrealised - self.tolerance, self.unrealised + self.tolerance
            for other in self.positions:
                if other is not position:
                    amounts = [other.pnl(price) for price in known.get(other.symbol, other.resting)]
                    low, high = low - max(amounts), high - min(amounts)
            prices = [position.entry_price + amount / position.quantity for amount in (low, high)]
            if all(map(math.isfinite, prices)):
                found[position.symbol] = PriceRange(min(prices), max(prices))
        return found

    @property
    def is_possible(self) -> bool:
        """Whether the equity is the cash without a position, else one at prices that trigger no resting order."""
        if not self.positions:
            return abs(self.unrealised) <= self.tolerance
        implied = self.implied_prices({})
        return all(each.symbol not in implied or implied[each.symbol].meets(each.resting) for each in self.positions)
