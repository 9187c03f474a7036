"""Events and bars of a run as numbers in arrays, so that a diff of long runs needs little memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, overload

from msgspec.structs import fields

from peak_trade.diff.order_histories import BarValues
from peak_trade.journal.events import Event

_WIDTH = len(BarValues._fields)


class PackedEvents(Sequence[Event]):
    """A sequence of events that are kept as columns of numbers and made when they are asked for.

    Equal texts are kept once.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self._tables: list[_EventTable] = []
        self._table_of, self._places = array("B"), array("q")
        numbers: dict[type[Event], int] = {}
        texts: dict[str, str] = {}
        for event in events:
            number = numbers.setdefault(type(event), len(numbers))
            if number == len(self._tables):
                self._tables.append(_EventTable(type(event)))
            self._table_of.append(number)
            self._places.append(self._tables[number].append(event, texts))

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...

    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        if isinstance(index, slice):
            return list(map(self._event, self._table_of[index], self._places[index]))
        return self._event(self._table_of[index], self._places[index])

    def __iter__(self) -> Iterator[Event]:
        events_of = [iter(table) for table in self._tables]  # the places in a table are in the order of the sequence
        return map(next, map(events_of.__getitem__, self._table_of))

    def _event(self, number: int, place: int) -> Event:
        return self._tables[number].event(place)


class _EventTable:
    """The events of one class, one column per field."""

    def __init__(self, event_class: type[Event]) -> None:
        self._class = event_class
        self._values_of = attrgetter(*event_class.__struct_fields__)
        self._columns: list[Any] = [
            array(_TYPE_CODES[part.type]) if part.type in _TYPE_CODES else [] for part in fields(event_class)
        ]

    def append(self, event: Event, texts: dict[str, str]) -> int:
        """Add an event and return its place; a text that is in `texts` already is kept once."""
        for column, value in zip(self._columns, self._values_of(event), strict=True):
            column.append(texts.setdefault(value, value) if type(value) is str else value)
        return len(self._columns[0]) - 1

    def __iter__(self) -> Iterator[Event]:
        return map(self._class, *self._columns)

    def event(self, place: int) -> Event:
        """Return the event at a place."""
        return self._class(*[column[place] for column in self._columns])


_TYPE_CODES = {int: "q", float: "d"}
"""Type codes of the arrays of the fields that are numbers; the other fields are lists."""


class BarTable(Mapping[int, BarValues]):
    """Bars of one symbol by their close, ns UTC, in order of time."""

    def __init__(self) -> None:
        self._times, self._values = array("q"), array("d")

    def put(self, close_time: int, bar: BarValues) -> None:
        """Set the bar of a close."""
        row = self._row(close_time)
        if row == len(self._times) or self._times[row] != close_time:
            self._times.insert(row, close_time)
            self._values[_WIDTH * row : _WIDTH * row] = array("d", bar)
        else:
            self._values[_WIDTH * row : _WIDTH * (row + 1)] = array("d", bar)

    def __getitem__(self, close_time: int) -> BarValues:
        row = self._row(close_time)
        if row == len(self._times) or self._times[row] != close_time:
            raise KeyError(close_time)
        return BarValues(*self._values[_WIDTH * row : _WIDTH * (row + 1)])

    def __iter__(self) -> Iterator[int]:
        return iter(self._times)

    def __len__(self) -> int:
        return len(self._times)

    def _row(self, close_time: int) -> int:
        if not self._times or close_time > self._times[-1]:
            return len(self._times)
        return bisect_left(self._times, close_time)
