"""A row of an external log: its cells as texts, numbers, amounts with a unit, times and members of an enumeration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, TypeVar

from peak_trade.core.errors import excerpt
from peak_trade.journal.log_times import TimeFormat

E = TypeVar("E", bound=StrEnum)
_LARGEST = 1e15
"""Largest number of a log: above it, neighbouring floats are further apart than 0.1."""


GAPS = " '\u00a0\u2009\u2019\u202f"
"""Characters between the thousands of a number, in addition to the comma or point that is not the decimal one."""

GROUPED = {
    ".": re.compile(rf"[+-]?\d{{1,3}}([,{GAPS}])\d{{3}}(?:\1\d{{3}})*(?:\.\d*)?"),
    ",": re.compile(rf"[+-]?\d{{1,3}}([.{GAPS}])\d{{3}}(?:\1\d{{3}})*(?:,\d*)?"),
}
"""Numbers with separators of thousands, by their decimal separator."""

_AMOUNT = re.compile(rf"([+-]?\d(?:[\d.,{GAPS}]*[\d.])?(?:E[+-]?\d+)?)\s*([^\W\d_][\w.-]*)?")


class Row:
    """A row of a log: its number, counted from 1 without the header, and its cells by column.

    A cell that is not what is asked for is a ValueError that names the column. `part` counts the headers above the row:
    files that were written one below the other have several.
    """

    __slots__ = ("cells", "decimal", "fault", "number", "part")

    def __init__(
        self, number: int, cells: Mapping[str, Any], decimal: str = ".", fault: str = "", part: int = 1
    ) -> None:
        self.number, self.cells, self.decimal, self.fault, self.part = number, cells, decimal, fault, part

    def text(self, column: str) -> str:
        """Return a cell as text without blanks around it; empty without the column or a value."""
        if self.fault:
            raise ValueError(self.fault)
        value = self.cells.get(column)
        if type(value) is str:
            return value.strip()
        if isinstance(value, list | dict | bytes):
            raise ValueError(f"column {column}: {excerpt(value)} is not a text or a number")
        return "" if value is None else str(value).strip()

    def has(self, column: str) -> bool:
        """Return whether a cell has a value."""
        return self.text(column) not in ("", "nan", "None", "NaN")

    def signed(self, column: str) -> float:
        """Return a cell as a number with its sign."""
        value = self.cells.get(column)
        try:
            number = float(value) if type(value) in (int, float) else self.number_in(self.text(column))  # type: ignore[arg-type]
        except (ValueError, OverflowError) as error:
            raise ValueError(_in_column(column, error)) from None
        if not abs(number) < _LARGEST:
            raise ValueError(f"column {column}: {excerpt(value)} is not finite, or too large")
        return number

    def exact(self, column: str) -> Decimal:
        """Return a cell as a number with the decimals with which it is written."""
        self.signed(column)
        try:
            return Decimal(self._plain(self.text(column)))
        except InvalidOperation:
            raise ValueError(f"column {column}: {self.text(column)!r:.40} is not a number") from None

    def unsigned(self, column: str) -> float:
        """Return a cell as a number that is not negative."""
        number = self.signed(column)
        if number < 0.0:
            raise ValueError(f"column {column}: {excerpt(self.cells.get(column))} is negative")
        return number

    def optional(self, column: str) -> float | None:
        """Return a cell as a number that is not negative, None without a value."""
        return self.unsigned(column) if self.has(column) else None

    def amount(self, column: str, units: Iterable[str] = ()) -> tuple[float, str]:
        """Return a cell as a number and the unit behind it, empty without one; `units` are tried first."""
        text = self.text(column).upper()
        unit = next((each for each in units if each and text.endswith(each)), "")
        match = _AMOUNT.fullmatch(text.removesuffix(unit).rstrip())
        match = None if unit and match is not None and match[2] else match
        try:
            if match is None:
                raise ValueError(f"{excerpt(text)!r} is not an amount")
            number = self.number_in(match[1])
            if not 0.0 <= number < _LARGEST:
                raise ValueError(f"{excerpt(text)!r} is negative, not finite, or too large")
        except ValueError as error:
            raise ValueError(f"column {column}: {error}") from None
        return number, unit or match[2] or ""

    def time(self, column: str, times: TimeFormat) -> int:
        """Return a cell as a time, ns UTC."""
        text = self.text(column)
        try:
            return times.read(text)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"column {column}: {error}") from None

    def member(self, column: str, members: type[E] | Mapping[str, E]) -> E:
        """Return the member of an enumeration that a cell names in any case, or that a mapping has for it."""
        text = re.sub("[ -]", "_", self.text(column).lower())
        try:
            return members[text] if isinstance(members, Mapping) else members(text)
        except (KeyError, ValueError):
            raise ValueError(f"column {column}: {excerpt(self.text(column))!r} is not known") from None

    def number_in(self, text: str) -> float:
        """Return the number that a text of the row is."""
        try:
            if "_" in text:
                raise ValueError
            return float(self._plain(text))
        except ValueError:
            raise ValueError(f"{text!r:.40} is not a number") from None

    def _plain(self, text: str) -> str:
        """Return a number without separators of thousands and with a decimal point."""
        if text.isascii() and self.decimal == "." and "," not in text and " " not in text and "'" not in text:
            return text
        grouped = GROUPED[self.decimal].fullmatch(text)
        text = text.replace(grouped[1], "") if grouped else text
        return text.replace(",", ".") if self.decimal == "," else text


def _in_column(column: str, error: Exception) -> str:
    return str(error) if str(error).startswith("column ") else f"column {column}: {error}"
