"""The events, fills and movements of a compiled run as columns; objects are made on access."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import repeat
from typing import TypeVar, overload

import numpy as np

from peak_trade.core.arrays import IntArray
from peak_trade.core.values import Fill, OrderType, Side
from peak_trade.engine.compiled_loop import Code, Table
from peak_trade.engine.compiled_run import CompiledRun
from peak_trade.journal.events import (
    AllocationEvent,
    CashFlowEvent,
    EndCause,
    Event,
    OrderEvent,
    OrderEventKind,
    SignalEvent,
)
from peak_trade.risk.order_gates import INSTRUMENT_GATES

T = TypeVar("T")
Movement = tuple[int, str, str, float, float]
"""Bar, strategy, symbol, change of position (base units) and of cash (quote currency)."""


_STEPS = {
    Code.REQUESTED: OrderEventKind.REQUESTED,
    Code.DENIED: OrderEventKind.DENIED,
    Code.SUBMITTED: OrderEventKind.SUBMITTED,
    Code.ACCEPTED: OrderEventKind.ACCEPTED,
}
_TRADES = {Code.PARTIALLY_FILLED: OrderEventKind.PARTIALLY_FILLED, Code.FILLED: OrderEventKind.FILLED}
_ENDINGS = {
    Code.REPLACED: (OrderEventKind.CANCELED, "target changed", EndCause.TARGET_CHANGED),
    Code.NO_CASH: (OrderEventKind.CANCELED, "cash", EndCause.CASH),
    Code.LAPSED: (OrderEventKind.CANCELED, "ioc", EndCause.TIME_IN_FORCE),
    Code.EXPIRED: (OrderEventKind.EXPIRED, "end of run", EndCause.FEED_ENDED),
}
ID_PREFIX = "o-"
"""First part of every order id."""
_FLOWS = {Code.FUNDING: "funding", Code.BORROW: "borrow"}
_REASON = "target"
"""Reason of every order: without protective orders, all follow a target."""
_SIDES = {1.0: Side.BUY, -1.0: Side.SELL}


class Columns(Sequence[T]):
    """A read-only sequence over a table, equal to the list of its values.

    One value is made when it is read; when all are read, they are made at once and kept.
    """

    __hash__ = None  # type: ignore[assignment] # equal to a list, which has no hash either

    def __init__(self, columns: CompiledRun) -> None:
        self._columns = columns
        self._values: list[T] | None = None

    @property
    @abstractmethod
    def _table(self) -> Table: ...

    @abstractmethod
    def _made(self, rows: Table) -> list[T]: ...

    def _all(self) -> list[T]:
        if self._values is None:
            self._values = self._made(self._table)
        return self._values

    def __len__(self) -> int:
        return self._table.size

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if self._values is not None:
            return self._values[place]
        if isinstance(place, slice):
            return self._made(self._table[place])
        index = range(len(self))[place]
        return self._made(self._table[index : index + 1])[0]

    def __iter__(self) -> Iterator[T]:
        return iter(self._all())

    def __reversed__(self) -> Iterator[T]:
        return reversed(self._all())

    def __contains__(self, value: object) -> bool:
        return value in self._all()

    def __eq__(self, other: object) -> bool:
        return self._all() == list(other) if isinstance(other, list | Columns) else NotImplemented

    def __repr__(self) -> str:
        return repr(self._all())

    def __getstate__(self) -> CompiledRun:
        return self._columns

    def __setstate__(self, columns: CompiledRun) -> None:
        self.__init__(columns)  # type: ignore[misc]


class EventColumns(Columns[Event]):
    """The events of a run, in order."""

    @property
    def _table(self) -> Table:
        return self._columns.events

    def _made(self, rows: Table) -> list[Event]:
        columns, events = self._columns, dict[int, Event]()
        for number in np.unique(rows["code"]).tolist():
            places, code = np.flatnonzero(rows["code"] == number), Code(number)
            chosen = rows[places]
            now, values = chosen["ts_event"].tolist(), chosen["value"].tolist()
            made: Iterator[Event]
            if code is Code.SIGNAL:
                made = map(SignalEvent, now, *_owners(columns, chosen["place"]), values)
            elif code in _FLOWS:
                made = map(CashFlowEvent, now, *_owners(columns, chosen["place"]), repeat(_FLOWS[code]), values)
            elif code is Code.ALLOCATION:
                made = _allocation_events(columns, columns.movements[chosen["place"]], now)
            elif code in _TRADES:
                made = _trade_events(columns, columns.trades[chosen["place"]], now, _TRADES[code])
            elif code in _ENDINGS:
                made = _end_events(columns, columns.orders[chosen["place"]], chosen["place"], now, values, code)
            else:
                made = _step_events(columns, columns.orders[chosen["place"]], chosen["place"], now, code)
            events.update(zip(places.tolist(), made, strict=True))
        return [events[place] for place in range(rows.size)]


class FillColumns(Columns[Fill]):
    """The fills of a run, in order."""

    @property
    def _table(self) -> Table:
        return self._columns.trades

    def _made(self, rows: Table) -> list[Fill]:
        orders = self._columns.orders[rows["order"]]
        ids, strategies, symbols, sides = _order_columns(self._columns, orders, rows["order"])
        numbers = (rows[name].tolist() for name in ("quantity", "price", "fee", "reference_price"))
        decided = orders["decision_price"].tolist()
        return list(
            map(Fill, ids, rows["ts_event"].tolist(), strategies, symbols, sides, *numbers, decided, repeat(_REASON))
        )


class MovementColumns(Columns[Movement]):
    """The changes of each sleeve's position and cash, in order."""

    @property
    def _table(self) -> Table:
        return self._columns.movements

    def _made(self, rows: Table) -> list[Movement]:
        owners = _owners(self._columns, rows["sleeve"])
        cash = (-rows["quantity"] * rows["price"] - rows["cost"]).tolist()
        return list(zip(rows["bar"].tolist(), *owners, rows["quantity"].tolist(), cash, strict=True))


def _owners(columns: CompiledRun, sleeves: IntArray) -> tuple[Iterator[str], Iterator[str]]:
    """Return strategies and symbols of sleeves."""
    places = sleeves.tolist()
    return map(columns.strategies.__getitem__, places), map(columns.symbols.__getitem__, places)


def _order_columns(
    columns: CompiledRun, orders: Table, numbers: IntArray
) -> tuple[list[str], Iterator[str], Iterator[str], list[Side]]:
    """Return ids, strategies, symbols and sides of orders."""
    ids = [f"{ID_PREFIX}{number}" for number in (numbers + 1).tolist()]
    return ids, *_owners(columns, orders["sleeve"]), [_SIDES[sign] for sign in orders["sign"].tolist()]


def _trade_events(columns: CompiledRun, trades: Table, now: list[int], kind: OrderEventKind) -> Iterator[Event]:
    orders = columns.orders[trades["order"]]
    ids, strategies, symbols, sides = _order_columns(columns, orders, trades["order"])
    return map(
        OrderEvent,
        now,
        ids,
        strategies,
        symbols,
        repeat(kind),
        sides,
        repeat(OrderType.MARKET),
        repeat(columns.time_in_force),
        orders["quantity"].tolist(),
        trades["cumulative"].tolist(),
        (orders["quantity"] - trades["cumulative"]).tolist(),
        orders["decision_price"].tolist(),
        *(trades[name].tolist() for name in ("arrival_price", "quantity", "price", "fee")),
        repeat(None),
        repeat(None),
        repeat(_REASON),
    )


def _allocation_events(columns: CompiledRun, movements: Table, now: list[int]) -> Iterator[Event]:
    ids = [f"{ID_PREFIX}{number + 1}" if number >= 0 else "" for number in movements["order"].tolist()]
    numbers = (movements[name].tolist() for name in ("quantity", "price", "cost"))
    return map(AllocationEvent, now, ids, *_owners(columns, movements["sleeve"]), *numbers)


def _end_events(
    columns: CompiledRun, orders: Table, numbers: IntArray, now: list[int], traded: list[float], code: Code
) -> Iterator[Event]:
    kind, reason, cause = _ENDINGS[code]
    return _events(columns, orders, numbers, now, kind, traded, repeat(0.0), repeat(reason), cause)


def _step_events(columns: CompiledRun, orders: Table, numbers: IntArray, now: list[int], code: Code) -> Iterator[Event]:
    reasons: Iterable[str] = repeat(_REASON if code is Code.REQUESTED else "")
    leaves: Iterable[float] = orders["quantity"].tolist()
    if code is Code.DENIED:
        reasons, leaves = map(_denial, orders["denials"].tolist()), repeat(0.0)
    return _events(columns, orders, numbers, now, _STEPS[code], repeat(0.0), leaves, reasons, None)


def _events(
    columns: CompiledRun,
    orders: Table,
    numbers: IntArray,
    now: list[int],
    kind: OrderEventKind,
    traded: Iterable[float],
    leaves: Iterable[float],
    reasons: Iterable[str],
    cause: EndCause | None,
) -> Iterator[Event]:
    """Return events of orders that are not trades."""
    ids, strategies, symbols, sides = _order_columns(columns, orders, numbers)
    decided = orders["decision_price"].tolist()
    return map(
        OrderEvent,
        now,
        ids,
        strategies,
        symbols,
        repeat(kind),
        sides,
        repeat(OrderType.MARKET),
        repeat(columns.time_in_force),
        orders["quantity"].tolist(),
        traded,
        leaves,
        decided,
        decided,
        repeat(0.0),
        repeat(0.0),
        repeat(0.0),
        repeat(None),
        repeat(None),
        reasons,
        repeat(0.0),
        repeat(cause),
    )


@cache
def _denial(denials: int) -> str:
    """Return the codes of the gates whose bits are set."""
    return ", ".join(gate.code for place, gate in enumerate(INSTRUMENT_GATES) if denials >> place & 1)
