"""Netting: the targets of all books on a symbol become one order, and its fills are shared out to the books exactly."""

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
from peak_trade.engine.sleeve import Book
from peak_trade.journal.events import ShareEvent

NETTED = "netted"
"""Strategy name that a netted order and its fills carry in the journal."""
_WHOLE = 1e-12
"""A share of what is wanted that counts as nothing."""


@dataclass(slots=True, eq=False)
class Wish:
    """What one book wants of a netted order: a signed change in base units, and how much of it has been done."""

    book: Book
    change: float
    stays: bool
    """Whether the book holds a position afterwards: it can take up what rounding to a lot leaves."""
    done: float = 0.0


@dataclass(slots=True, eq=False)
class Net:
    """The books on one symbol: the trader that orders for them all, and what each wants of the latest order."""

    trader: Book
    members: list[Book]
    wishes: list[Wish] = field(default_factory=list)
    ordered: float = 0.0
    traded: float = 0.0
    crosses_at: int = -1
    """Row at whose open the wishes cross inside the account without an order; -1: none do."""

    def unfinished(self) -> list[Book]:
        """Return the books that an open order, or a cross still to come, has not given all they wanted."""
        is_open = bool(self.trader.working) or self.crosses_at >= 0
        return [wish.book for wish in self.wishes if wish.done != wish.change] if is_open else []


class NettedLoop(EventLoop):
    """An event loop in which the books on a symbol trade as one; market orders only, without protective levels.

    Books that want opposite changes cross inside the account at the price of the order's fill, or at the next open when
    nothing is left to order. Fees are shared by quantity moved; funding and borrow by position.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        policy = self.settings.execution
        if policy.order_type is not OrderType.MARKET or policy.has_protection:
            raise ConfigError(
                f"netted books trade with market orders and without stops; execution has order_type "
                f"{policy.order_type.value}{' and protective levels' if policy.has_protection else ''}. "
                'Use mode = "sleeves" for these.'
            )
        self._nets: dict[str, Net] = {}
        for book in self.books:
            if book.symbol not in self._nets:
                self._nets[book.symbol] = Net(Book(NETTED, book.symbol, np.zeros(0)), [])
            self._nets[book.symbol].members.append(book)
        self._traders = [net.trader for net in self._nets.values()]

    def _visit(self, row: int) -> None:
        """Visit one row; books that cross inside the account do so at its open."""
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

    def _has_open_order(self, book: Book) -> bool:
        return bool(self._nets[book.symbol].unfinished())

    def _legs(self, acting: Sequence[Book], row: int, equity: float) -> list[tuple[Book, Leg]]:
        legs: list[tuple[Book, Leg]] = []
        changing: dict[str, list[Book]] = {}
        for book in acting:
            changing.setdefault(book.symbol, []).append(book)
        for symbol, books in changing.items():
            net = self._nets[symbol]
            books += [book for book in net.unfinished() if book not in books]
            self._withdraw_targets(net.trader, row)
            net.crosses_at = -1
            delta = self._wish(net, books, row, equity)
            if delta != 0.0:
                legs.append((net.trader, Leg(delta)))
        return legs

    def _wish(self, net: Net, changing: Sequence[Book], row: int, equity: float) -> float:
        column = self._columns[net.trader.symbol]
        lot, close = column.instrument.lot_size, float(column.close[row])
        wanted = {id(book): book.notional(row, equity, self.settings.sizing) / close for book in changing}
        net.wishes = [Wish(book, wanted[id(book)] - book.position, wanted[id(book)] != 0.0) for book in changing]
        holders = [book for book in net.members if id(book) not in wanted and book.position != 0.0]
        if holders and not any(wish.stays for wish in net.wishes):
            net.wishes.append(Wish(max(holders, key=lambda book: abs(book.position)), 0.0, True))
        total = math.fsum(wanted.get(id(book), book.position) for book in net.members)
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

    def _moved(self, book: Book, row: int, quantity: float, price: float, cost: float) -> None:
        net = self._nets[book.symbol]
        if quantity == 0.0:
            held = math.fsum(member.position for member in net.members)
            for member in net.members:
                if member.position != 0.0:
                    part = cost * member.position / held
                    super()._moved(member, row, 0.0, 0.0, part)
                    now = int(self.market.times[row])
                    self._emit(ShareEvent(now, "", member.strategy, member.symbol, 0.0, 0.0, part))
            return
        net.traded += quantity
        is_whole = abs(net.traded - net.ordered) <= _WHOLE * abs(net.ordered)
        fill = self.fills[-1]
        self._share(net, row, fill.ts_event, fill.order_id, price, cost, is_whole)

    def _grant(self, book: Book, change: float, share: float) -> None:
        for wish in self._nets[book.symbol].wishes:
            super()._grant(wish.book, wish.change, share)

    def _liquidate(self, book: Book, row: int, now: int) -> None:
        net = self._nets[book.symbol]
        net.wishes = [Wish(member, -member.position, False) for member in net.members]
        net.ordered, net.traded = -book.position, 0.0
        super()._liquidate(book, row, now)

    def _share(self, net: Net, row: int, now: int, order_id: str, price: float, cost: float, is_whole: bool) -> None:
        shares = share_out(net.wishes, net.traded, is_whole)
        moved = math.fsum(abs(share) for _, share in shares)
        for wish, share in shares:
            leaves = is_whole and not wish.stays
            wish.book.position = 0.0 if leaves else wish.book.position + share
            part = cost * abs(share) / moved
            super()._moved(wish.book, row, share, price, part)
            self._emit(ShareEvent(now, order_id, wish.book.strategy, wish.book.symbol, share, price, part))


def share_out(wishes: Sequence[Wish], traded: float, is_whole: bool) -> list[tuple[Wish, float]]:
    """Return what each book gets now that `traded` (signed, base units) of the netted order has traded in all.

    Books that trade against the order's direction are served whole from the other side; the books on its side share
    what those give and what has traded, in proportion to what they want. When the order has traded whole, each book
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
        largest = max(able, key=lambda place: abs(wishes[place].book.position + reached[place] - wishes[place].done))
        reached[largest] += left
    shares = []
    for wish, now in zip(wishes, reached, strict=True):
        if now != wish.done:
            shares.append((wish, now - wish.done))
            wish.done = now
    return shares
