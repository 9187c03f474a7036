"""Netting: the targets of all sleeves on a symbol become one order, and its fills are allocated to the sleeves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from peak_trade.core.errors import ConfigError
from peak_trade.core.rounding import floor_to, nearest_to
from peak_trade.core.values import OrderType
from peak_trade.engine.loop import EventLoop
from peak_trade.engine.policy import Leg
from peak_trade.engine.sleeve import Sleeve
from peak_trade.journal.events import AllocationEvent

NETTED = "netted"
"""Strategy name that a netted order and its fills carry in the journal."""
_WHOLE = 1e-12
"""A share of what is wanted that counts as nothing."""


@dataclass(slots=True, eq=False)
class Wish:
    """What one sleeve wants of a netted order: a signed change in base units, and how much of it has been done."""

    sleeve: Sleeve
    change: float
    stays: bool
    """Whether the sleeve holds a position afterwards: it can take up what rounding to a lot leaves."""
    done: float = 0.0


@dataclass(slots=True, eq=False)
class Net:
    """The sleeves on one symbol: the trader that orders for them all, and what each wants of the latest order."""

    trader: Sleeve
    members: list[Sleeve]
    wishes: list[Wish] = field(default_factory=list)
    ordered: float = 0.0
    traded: float = 0.0
    crosses_at: int = -1
    """Row at whose open the wishes cross inside the account without an order; -1: none do."""

    def unfinished(self) -> list[Sleeve]:
        """Return the sleeves that an open order, or a cross still to come, has not given all they wanted."""
        is_open = bool(self.trader.working) or self.crosses_at >= 0
        return [wish.sleeve for wish in self.wishes if wish.done != wish.change] if is_open else []


class NettedLoop(EventLoop):
    """An event loop in which the sleeves on a symbol trade as one; market orders only, without protective levels.

    Sleeves that want opposite changes cross inside the account at the price of the order's fill, or at the next open if
    nothing is left to order. Fees are shared by quantity moved; funding and borrow by position.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        policy = self.settings.execution
        if policy.order_type is not OrderType.MARKET or policy.has_protection:
            raise ConfigError(
                f"netted sleeves trade with market orders and without stops; execution has order_type "
                f"{policy.order_type.value}{' and protective levels' if policy.has_protection else ''}. "
                'Use mode = "sleeves" for these.'
            )
        self._nets: dict[str, Net] = {}
        for sleeve in self.sleeves:
            if sleeve.symbol not in self._nets:
                self._nets[sleeve.symbol] = Net(Sleeve(NETTED, sleeve.symbol, np.zeros(0)), [])
            self._nets[sleeve.symbol].members.append(sleeve)
        self._traders = [net.trader for net in self._nets.values()]

    def _visit(self, row: int) -> None:
        """Visit one row; sleeves that cross inside the account do so at its open."""
        for net in self._nets.values():
            if net.crosses_at == row:
                net.crosses_at = -1
                price = float(self._columns[net.trader.symbol].open[row])
                opened = int(self.market.times[row]) - self.market.timeframe.ns
                self._share(net, row, opened, "", price, 0.0, is_whole=False)
        super()._visit(row)

    def _next_touch(self, row: int, stop: int) -> int:
        crosses = [net.crosses_at for net in self._nets.values() if net.crosses_at > row]
        return min([super()._next_touch(row, stop), *crosses])

    def _has_open_order(self, sleeve: Sleeve) -> bool:
        return bool(self._nets[sleeve.symbol].unfinished())

    def _legs(self, acting: Sequence[Sleeve], row: int, equity: float) -> list[tuple[Sleeve, Leg]]:
        legs: list[tuple[Sleeve, Leg]] = []
        changing: dict[str, list[Sleeve]] = {}
        for sleeve in acting:
            changing.setdefault(sleeve.symbol, []).append(sleeve)
        for symbol, sleeves in changing.items():
            net = self._nets[symbol]
            sleeves += [sleeve for sleeve in net.unfinished() if sleeve not in sleeves]
            self._withdraw_targets(net.trader, row)
            net.crosses_at = -1
            delta = self._wish(net, sleeves, row, equity)
            if delta != 0.0:
                legs.append((net.trader, Leg(delta)))
        return legs

    def _wish(self, net: Net, changing: Sequence[Sleeve], row: int, equity: float) -> float:
        column = self._columns[net.trader.symbol]
        lot, close = column.instrument.lot_size, float(column.close[row])
        wanted = {id(sleeve): sleeve.notional(row, equity, self.settings.sizing) / close for sleeve in changing}
        net.wishes = [
            Wish(sleeve, wanted[id(sleeve)] - sleeve.position, wanted[id(sleeve)] != 0.0) for sleeve in changing
        ]
        holders = [sleeve for sleeve in net.members if id(sleeve) not in wanted and sleeve.position != 0.0]
        if holders and not any(wish.stays for wish in net.wishes):
            net.wishes.append(Wish(max(holders, key=lambda sleeve: abs(sleeve.position)), 0.0, True))
        total = math.fsum(wanted.get(id(sleeve), sleeve.position) for sleeve in net.members)
        desired = floor_to(total, lot)
        delta = nearest_to(desired - net.trader.position, lot)
        moved = math.fsum(abs(wish.change) for wish in net.wishes)
        is_nothing = abs(delta) <= _WHOLE * moved
        is_small = desired != 0.0 and abs(delta) * close < self.settings.execution.no_trade_band * equity
        if is_nothing or is_small:
            self.n_below_lot += is_nothing and total != 0.0 and desired == 0.0
            net.crosses_at = column.next_row(row)
            delta = 0.0
        net.ordered, net.traded = delta, 0.0
        return delta

    def _moved(self, sleeve: Sleeve, row: int, quantity: float, price: float, cost: float) -> None:
        net = self._nets[sleeve.symbol]
        if quantity == 0.0:
            held = math.fsum(member.position for member in net.members)
            for member in net.members:
                if member.position != 0.0:
                    part = cost * member.position / held
                    super()._moved(member, row, 0.0, 0.0, part)
                    now = int(self.market.times[row])
                    self._emit(AllocationEvent(now, "", member.strategy, member.symbol, 0.0, 0.0, part))
            return
        net.traded += quantity
        is_whole = abs(net.traded - net.ordered) <= _WHOLE * abs(net.ordered)
        fill = self.fills[-1]
        self._share(net, row, fill.ts_event, fill.order_id, price, cost, is_whole)

    def _grant(self, sleeve: Sleeve, change: float, share: float) -> None:
        for wish in self._nets[sleeve.symbol].wishes:
            super()._grant(wish.sleeve, wish.change, share)

    def _liquidate(self, sleeve: Sleeve, row: int, now: int) -> None:
        net = self._nets[sleeve.symbol]
        net.wishes = [Wish(member, -member.position, False) for member in net.members]
        net.ordered, net.traded = -sleeve.position, 0.0
        super()._liquidate(sleeve, row, now)

    def _share(self, net: Net, row: int, now: int, order_id: str, price: float, cost: float, is_whole: bool) -> None:
        shares = share_out(net.wishes, net.traded, is_whole)
        moved = math.fsum(abs(share) for _, share in shares)
        for wish, share in shares:
            leaves = is_whole and not wish.stays
            wish.sleeve.position = 0.0 if leaves else wish.sleeve.position + share
            part = cost * abs(share) / moved
            super()._moved(wish.sleeve, row, share, price, part)
            self._emit(AllocationEvent(now, order_id, wish.sleeve.strategy, wish.sleeve.symbol, share, price, part))


def share_out(wishes: Sequence[Wish], traded: float, is_whole: bool) -> list[tuple[Wish, float]]:
    """Return what each sleeve gets now that `traded` (signed, base units) of the netted order has traded in all.

    Sleeves that trade against the order's direction are served whole from the other side; the sleeves on its side share
    what those give and what has traded, in proportion to what they want. When the order has traded whole, each sleeve
    has what it wanted, and the largest that stays invested takes up what rounding to a lot left.

    Parameters
    ----------
    wishes : sequence of Wish
        Their `done` is brought up to date.
    traded : float
        All that has traded of the order so far; 0.0 for a cross inside the account.
    is_whole : bool
        Whether that is all of the order.

    Returns
    -------
    list of (Wish, change since the last call), without those that did not change
        All changes since the order was sent sum to `traded`.

    """
    sign = math.copysign(1.0, traded or math.fsum(wish.change for wish in wishes))
    with_order = math.fsum(wish.change for wish in wishes if wish.change * sign > 0.0)
    against = math.fsum(wish.change for wish in wishes if wish.change * sign < 0.0)
    served = 1.0 if is_whole or with_order == 0.0 else min((traded - against) / with_order, 1.0)
    reached = [wish.change * (served if wish.change * sign > 0.0 else 1.0) for wish in wishes]
    left = traded - math.fsum(reached)
    if abs(left) > _WHOLE * (abs(with_order) + abs(against)):
        able = [place for place, wish in enumerate(wishes) if wish.stays] or list(range(len(wishes)))
        largest = max(able, key=lambda place: abs(wishes[place].sleeve.position + reached[place] - wishes[place].done))
        reached[largest] += left
    shares = []
    for wish, now in zip(wishes, reached, strict=True):
        if now != wish.done:
            shares.append((wish, now - wish.done))
            wish.done = now
    return shares
