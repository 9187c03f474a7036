"""Netting: the targets of all sleeves on a symbol become one order, and its fills are allocated to the sleeves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from peak_trade.core.errors import ConfigError
from peak_trade.core.rounding import floor_difference, floor_to
from peak_trade.core.values import OrderType
from peak_trade.engine.market import Market, SymbolBars
from peak_trade.engine.policy import Leg
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.engine.sleeve import Sleeve
from peak_trade.engine.target_counts import TargetCounts
from peak_trade.engine.traders import Allocation, CancelTargetOrders, Trader

NETTED = "netted"
"""Strategy name of a netted order and its fills in the journal."""
_NEGLIGIBLE = 1e-12
"""Fraction of a quantity that is rounding noise."""


@dataclass(slots=True, eq=False)
class Demand:
    """The change that one sleeve wants from a netted order, and the part of it that is done; signed base units."""

    sleeve: Sleeve
    change: float
    stays: bool
    """Whether the sleeve holds a position afterwards, so that it can absorb the remainder of rounding to a lot."""
    done: float = 0.0


@dataclass(slots=True, eq=False)
class Net:
    """The sleeves on one symbol: the holder that orders for all of them, and the demands of the latest order."""

    holder: Sleeve
    members: list[Sleeve]
    demands: list[Demand] = field(default_factory=list)
    ordered: float = 0.0
    traded: float = 0.0
    crosses_after: int = -1
    """Bar after whose close the demands cross inside the account, without an order; -1 if there is no cross."""

    def unfinished(self) -> list[Sleeve]:
        """Return the sleeves whose demand is not done while an order is open or a cross is due."""
        is_open = bool(self.holder.working) or self.crosses_after >= 0
        return [demand.sleeve for demand in self.demands if demand.done != demand.change] if is_open else []

    def allocate(self, cost: float, *, is_whole: bool) -> list[Allocation]:
        """Allocate all that has traded of the order so far; return the changes since the last call.

        Sleeves pay the cost in proportion to the quantity that they move.
        """
        changes = allocate(self.demands, self.traded, is_whole)
        moved = math.fsum(abs(change) for _, change in changes)
        parts: list[Allocation] = []
        for demand, change in changes:
            is_flat = is_whole and not demand.stays
            demand.sleeve.position = 0.0 if is_flat else demand.sleeve.position + change
            parts.append((demand.sleeve, change, cost * abs(change) / moved))
        return parts


class NettedTrader(Trader):
    """Trades the sleeves on a symbol as one position, with market orders only and without protective orders.

    Sleeves that want opposite changes cross inside the account: at the price of the order's fill, or at the next open
    if nothing is left to order. Fees are allocated in proportion to the quantity moved, funding and borrow costs in
    proportion to the position.

    Raises
    ------
    ConfigError
        If the execution policy has another order type or protective orders.

    """

    is_netted = True

    def __init__(self, market: Market, sleeves: Sequence[Sleeve], settings: BacktestSettings) -> None:
        check_netted(settings.execution)
        self.counts = TargetCounts()
        self._settings = settings
        self._columns = dict(zip(market.symbols, market.columns, strict=True))
        self._nets: dict[str, Net] = {}
        for sleeve in sleeves:
            if sleeve.symbol not in self._nets:
                self._nets[sleeve.symbol] = Net(Sleeve(NETTED, sleeve.symbol, np.zeros(0)), [])
            self._nets[sleeve.symbol].members.append(sleeve)
        self.holders = [net.holder for net in self._nets.values()]

    def legs(
        self, acting: Sequence[Sleeve], bar: int, equity: float, cancel: CancelTargetOrders
    ) -> list[tuple[Sleeve, Leg]]:
        """Return one leg per symbol for the acting sleeves and those whose earlier demand is not done."""
        legs: list[tuple[Sleeve, Leg]] = []
        changing: dict[str, list[Sleeve]] = {}
        for sleeve in acting:
            changing.setdefault(sleeve.symbol, []).append(sleeve)
        for symbol, sleeves in changing.items():
            net = self._nets[symbol]
            sleeves += [sleeve for sleeve in net.unfinished() if sleeve not in sleeves]
            cancel(net.holder, bar)
            net.crosses_after = -1
            delta = self._demand(net, sleeves, bar, equity)
            if delta != 0.0:
                legs.append((net.holder, Leg(delta)))
        return legs

    def _demand(self, net: Net, changing: Sequence[Sleeve], bar: int, equity: float) -> float:
        """Set the demands of the changing sleeves; return the quantity to order, signed base units."""
        column = self._column(net)
        lot, close = column.instrument.lot_size, float(column.close[bar])
        sizing = self._settings.sizing
        wanted = {id(sleeve): sleeve.decide_position(bar, equity, sizing, close) for sleeve in changing}
        for sleeve in changing:
            self.counts.count_size(sleeve, bar, equity, sizing)
        net.demands = [
            Demand(sleeve, wanted[id(sleeve)] - sleeve.position, wanted[id(sleeve)] != 0.0) for sleeve in changing
        ]
        holders = [sleeve for sleeve in net.members if id(sleeve) not in wanted and sleeve.position != 0.0]
        if holders and not any(demand.stays for demand in net.demands):
            net.demands.append(Demand(max(holders, key=lambda sleeve: abs(sleeve.position)), 0.0, True))
        total = math.fsum(wanted.get(id(sleeve), sleeve.position) for sleeve in net.members)
        desired = floor_to(total, lot)
        delta = floor_difference(desired, net.holder.position, lot)
        moved = math.fsum(abs(demand.change) for demand in net.demands)
        is_negligible = abs(delta) <= _NEGLIGIBLE * moved
        is_small = desired != 0.0 and abs(delta) * close < self._settings.execution.no_trade_band * equity
        if is_negligible or is_small:
            self.counts.n_below_lot += is_negligible and total != 0.0 and desired == 0.0
            net.crosses_after = bar
            delta = 0.0
        net.ordered, net.traded = delta, 0.0
        return delta

    def is_ordering(self, sleeve: Sleeve) -> bool:
        """Return whether an order or a cross on the sleeve's symbol is not done."""
        return bool(self._nets[sleeve.symbol].unfinished())

    def holder_of(self, sleeve: Sleeve) -> Sleeve:
        """Return the holder that orders for all sleeves on the symbol."""
        return self._nets[sleeve.symbol].holder

    def followers(self, holder: Sleeve) -> Sequence[Sleeve]:
        """Return the sleeves on the symbol whose demand is not done."""
        return [demand.sleeve for demand in self._nets[holder.symbol].demands if demand.done != demand.change]

    def restrict(self, holder: Sleeve, change: float, fraction: float) -> None:
        """Note that limits allowed only a fraction of the demand of each sleeve on the symbol."""
        for demand in self._nets[holder.symbol].demands:
            demand.sleeve.restrict(demand.change, fraction)

    def allocate(self, holder: Sleeve, quantity: float, cost: float) -> Sequence[Allocation]:
        """Return what each sleeve gets of a fill by its demand, or of a cash flow by its position."""
        net = self._nets[holder.symbol]
        if quantity == 0.0:
            held = math.fsum(member.position for member in net.members)
            return [(member, 0.0, cost * member.position / held) for member in net.members if member.position != 0.0]
        net.traded += quantity
        return net.allocate(cost, is_whole=abs(net.traded - net.ordered) <= _NEGLIGIBLE * abs(net.ordered))

    def expect_exit(self, holder: Sleeve) -> None:
        """Demand the exit of every sleeve on the symbol."""
        net = self._nets[holder.symbol]
        net.demands = [Demand(member, -member.position, False) for member in net.members]
        net.ordered, net.traded = -holder.position, 0.0

    def crosses(self, bar: int) -> Sequence[Sequence[Allocation]]:
        """Return the crosses at the open of a bar, one per symbol."""
        due = [net for net in self._nets.values() if 0 <= net.crosses_after < bar and self._column(net).has_bar(bar)]
        for net in due:
            net.crosses_after = -1
        return [parts for net in due if (parts := net.allocate(0.0, is_whole=False))]

    def next_cross(self, bar: int, stop: int) -> int:
        """Return the first bar in (bar, stop) with a cross, or `stop`."""
        waiting = [net for net in self._nets.values() if net.crosses_after >= 0]
        return min([stop, *(self._column(net).next_bar(max(net.crosses_after, bar)) for net in waiting)])

    def _column(self, net: Net) -> SymbolBars:
        return self._columns[net.holder.symbol]


def check_netted(policy: ExecutionPolicy) -> None:
    """Raise ConfigError if an execution policy has other orders than netted sleeves send."""
    if policy.order_type is not OrderType.MARKET or policy.has_protection:
        raise ConfigError(
            f"netted sleeves trade with market orders and without stops; execution has order_type "
            f"{policy.order_type.value}{' and protective levels' if policy.has_protection else ''}. "
            'Use mode = "sleeves" for these.'
        )


def allocate(demands: Sequence[Demand], traded: float, is_whole: bool) -> list[tuple[Demand, float]]:
    """Return what each sleeve gets when `traded` (signed, base units) of the netted order has traded in total.

    Sleeves whose demand is opposite to the order get all of it from the other sleeves. The sleeves on the order's side
    receive that and what has traded, in proportion to their demand. When the whole order has traded, every demand is
    done, and the largest position that remains absorbs the remainder of rounding to a lot.

    Parameters
    ----------
    demands : sequence of Demand
        Their `done` is updated.
    traded : float
        Quantity of the order that has traded so far; 0.0 for a cross inside the account.
    is_whole : bool
        Whether that is the whole order.

    Returns
    -------
    list of (Demand, change since the last call), without those that did not change
        All changes since the order was sent sum to `traded`.

    """
    sign = math.copysign(1.0, traded or math.fsum(demand.change for demand in demands))
    with_order = math.fsum(demand.change for demand in demands if demand.change * sign > 0.0)
    against = math.fsum(demand.change for demand in demands if demand.change * sign < 0.0)
    served = 1.0 if is_whole or with_order == 0.0 else min((traded - against) / with_order, 1.0)
    reached = [demand.change * (served if demand.change * sign > 0.0 else 1.0) for demand in demands]
    left = traded - math.fsum(reached)
    if abs(left) > _NEGLIGIBLE * (abs(with_order) + abs(against)):
        able = [place for place, demand in enumerate(demands) if demand.stays] or list(range(len(demands)))
        largest = max(
            able, key=lambda place: abs(demands[place].sleeve.position + reached[place] - demands[place].done)
        )
        reached[largest] += left
    changes = []
    for demand, now in zip(demands, reached, strict=True):
        if now != demand.done:
            changes.append((demand, now - demand.done))
            demand.done = now
    return changes
