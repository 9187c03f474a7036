"""The trader port, and the trader that trades every sleeve on its own.

A trader turns the targets of sleeves into orders and allocates what the orders do. It is handed to the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from peak_trade.core.rounding import floor_difference, floor_to
from peak_trade.engine.market import Market
from peak_trade.engine.policy import Leg, entry_legs
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.engine.target_counts import TargetCounts

CancelTargetOrders = Callable[[Sleeve, int], None]
"""(holder, bar): cancels the open orders of a holder that follow a target."""


Allocation = tuple[Sleeve, float, float]
"""The part of a fill or a cash flow of one sleeve: the sleeve, signed base units, and its cost in quote currency."""


class Trader(Protocol):
    """Turns the targets of sleeves into orders, and allocates fills and cash flows to the sleeves.

    Attributes
    ----------
    holders : sequence of Sleeve
        The sleeves that orders and the account's positions belong to.
    counts : TargetCounts
        Target positions that were not held as asked.
    is_netted : bool
        Whether an order may belong to several sleeves, so that each allocation is an event.

    """

    holders: Sequence[Sleeve]
    counts: TargetCounts
    is_netted: bool

    def legs(
        self, acting: Sequence[Sleeve], bar: int, equity: float, cancel: CancelTargetOrders
    ) -> list[tuple[Sleeve, Leg]]:
        """Return the legs that move the acting sleeves to their targets at a close, each with the holder that orders.

        `equity` is in quote currency. Open orders that the legs replace are canceled first.
        """

    def is_ordering(self, sleeve: Sleeve) -> bool:
        """Return whether an order for a sleeve's target is open."""

    def holder_of(self, sleeve: Sleeve) -> Sleeve:
        """Return the holder that orders for a sleeve."""

    def followers(self, holder: Sleeve) -> Sequence[Sleeve]:
        """Return the sleeves whose targets the latest order of a holder follows and has not reached."""

    def restrict(self, holder: Sleeve, change: float, fraction: float) -> None:
        """Note that limits allowed only a fraction of the change of a position, signed base units."""

    def allocate(self, holder: Sleeve, quantity: float, cost: float) -> Sequence[Allocation]:
        """Return what each sleeve gets of a fill (signed base units), or of a cash flow if the quantity is 0.0.

        The cost is in quote currency; a negative cost is income.
        """

    def expect_exit(self, holder: Sleeve) -> None:
        """Prepare for a fill that closes the whole position of a holder without an order."""

    def crosses(self, bar: int) -> Sequence[Sequence[Allocation]]:
        """Return the exchanges between sleeves that happen at the open of a bar without an order, one per symbol.

        Only a netted trader has them.
        """

    def next_cross(self, bar: int, stop: int) -> int:
        """Return the first bar in (bar, stop) with a cross, or `stop`."""


class SleeveTrader(Trader):
    """Trades every sleeve on its own."""

    is_netted = False

    def __init__(self, market: Market, sleeves: Sequence[Sleeve], settings: BacktestSettings) -> None:
        self.holders = list(sleeves)
        self.counts = TargetCounts()
        self._settings = settings
        self._columns = dict(zip(market.symbols, market.columns, strict=True))

    def legs(
        self, acting: Sequence[Sleeve], bar: int, equity: float, cancel: CancelTargetOrders
    ) -> list[tuple[Sleeve, Leg]]:
        """Return the legs of each acting sleeve; its open orders for an earlier target are canceled."""
        legs: list[tuple[Sleeve, Leg]] = []
        for sleeve in acting:
            cancel(sleeve, bar)
            legs += [(sleeve, leg) for leg in self._legs_of(sleeve, bar, equity)]
        return legs

    def _legs_of(self, sleeve: Sleeve, bar: int, equity: float) -> tuple[Leg, ...]:
        column, policy = self._columns[sleeve.symbol], self._settings.execution
        lot, close = column.instrument.lot_size, float(column.close[bar])
        wanted = sleeve.decide_position(bar, equity, self._settings.sizing, close)
        desired = floor_to(wanted, lot)
        self.counts.count_size(sleeve, bar, equity, self._settings.sizing)
        self.counts.n_below_lot += wanted != 0.0 and desired == 0.0
        delta = floor_difference(desired, sleeve.position, lot)
        if delta == 0.0:
            return ()
        if desired != 0.0 and abs(delta) * close < policy.no_trade_band * equity:
            return ()
        return entry_legs(policy, column.instrument, sleeve.position, delta, close)

    def is_ordering(self, sleeve: Sleeve) -> bool:
        """Return whether an order for the sleeve's target is open; protective orders do not count."""
        return any(order.reason == "target" for order in sleeve.working.values())

    def holder_of(self, sleeve: Sleeve) -> Sleeve:
        """Return the sleeve itself."""
        return sleeve

    def followers(self, holder: Sleeve) -> Sequence[Sleeve]:
        """Return the holder itself."""
        return (holder,)

    def restrict(self, holder: Sleeve, change: float, fraction: float) -> None:
        """Note that limits allowed only a fraction of the change of the sleeve's position."""
        holder.restrict(change, fraction)

    def allocate(self, holder: Sleeve, quantity: float, cost: float) -> Sequence[Allocation]:
        """Return the fill or cash flow as a whole: it belongs to the sleeve that ordered."""
        return ((holder, quantity, cost),)

    def expect_exit(self, holder: Sleeve) -> None:
        """Do nothing: the exit belongs to the sleeve."""

    def crosses(self, bar: int) -> Sequence[Sequence[Allocation]]:
        """Return nothing: sleeves trade at the venue only."""
        return ()

    def next_cross(self, bar: int, stop: int) -> int:
        """Return `stop`: there are no crosses."""
        return stop
