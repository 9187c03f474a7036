"""The answer at the top of a report page: verdict, checks and tiles, and the origin of its numbers.

A view states what a study found as an `Answer` and where the data come from as a `Provenance`; `reports.display.show`
displays both. The page shows the verdict sentence first, then the checks behind it, then the tiles.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from peak_trade.metrics.measure import Measure, rounded
from peak_trade.reports.markup import MINUS, render

NO_BREAK, NOT_STATED = "\u00a0", "not stated"
WIDE, NARROW = 1.959963984540054, 1.0
"""Half widths of the drawn intervals in standard errors: 95 % of a normal distribution, and one error."""


class Finding(StrEnum):
    """What a check found. Lack of evidence is no fault: `NOT_SHOWN` is grey on a page, `AGAINST` is red."""

    SHOWN = "shown"
    NOT_SHOWN = "not shown"
    AGAINST = "against"
    UNKNOWN = "cannot say"


class DataKind(StrEnum):
    """Origin of the prices and fills behind a result."""

    GENERATED = "generated"
    RECORDED = "recorded"
    PAPER = "paper"
    SHADOW = "shadow"
    TESTNET = "testnet"

    @property
    def gloss(self) -> str:
        """What the word means, for a reader of a page."""
        return _GLOSSES[self]


_GLOSSES = {
    DataKind.GENERATED: "not a market",
    DataKind.RECORDED: "exchange bars",
    DataKind.PAPER: "fills are modelled",
    DataKind.SHADOW: "engine, same bars",
    DataKind.TESTNET: "exchange sandbox",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One question behind a verdict: its name, what was found, and the number that shows it."""

    name: str
    finding: Finding
    text: str


@dataclass(frozen=True, slots=True)
class Strip:
    """Drawing of a tile, in percent of its width: an interval around a mark, or a share from the left.

    `wide` and `narrow` are the ends of the 95 % interval and of one standard error; `zero` and `other` are the places
    of zero and of the benchmark. A share has only `mark`, and is a cost if `is_cost`.
    """

    mark: float
    wide: tuple[float, float] | None = None
    narrow: tuple[float, float] | None = None
    zero: float | None = None
    other: float | None = None
    is_cost: bool = False

    @classmethod
    def share(cls, fraction: float | None, is_cost: bool = False) -> Strip | None:
        """Return the strip of a fraction, cut to 0 … 1; None without one."""
        return None if fraction is None else cls(100.0 * min(max(fraction, 0.0), 1.0), is_cost=is_cost)

    @classmethod
    def interval(cls, measure: Measure, other: float | None = None) -> Strip | None:
        """Return the strip of a measure with its intervals, zero and the benchmark; None without value or error."""
        if measure.value is None or not measure.stderr:
            return None
        value, error = measure.value, measure.stderr
        ends = [value - WIDE * error, value + WIDE * error, 0.0, *([] if other is None else [other])]
        least, length = min(ends), max(ends) - min(ends)

        def place(number: float) -> float:
            return 4.0 + 92.0 * (number - least) / length

        return cls(
            place(value),
            (place(value - WIDE * error), place(value + WIDE * error)),
            (place(value - NARROW * error), place(value + NARROW * error)),
            place(0.0),
            None if other is None else place(other),
        )


@dataclass(frozen=True, slots=True)
class Tile:
    """One number of a study: label, value and error as text, the number for comparison below it, and a drawing.

    `measure` is the number itself; the typed result of the answer holds it.
    """

    label: str
    value: str
    measure: Measure
    error: str = ""
    foot: str = ""
    strip: Strip | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a study.

    `verdict` is the class of the result in a few words, `finding` its colour, `sentence` the decisive numbers with
    their errors, and `detail` the cause and what to do.
    """

    verdict: str
    finding: Finding
    sentence: str
    detail: str = ""
    checks: tuple[Check, ...] = ()
    tiles: tuple[Tile, ...] = ()

    def to_html(self) -> str:
        """Return the answer as an HTML block."""
        return render("answer.html.j2", answer=self)

    def to_result(self, name: str) -> dict[str, Any]:
        """Return the typed result: verdict, findings of the checks, and the numbers of the tiles."""
        return {
            "kind": "answer",
            "name": name,
            "verdict": self.verdict,
            "finding": self.finding.value,
            "sentence": self.sentence,
            "checks": {check.name: check.finding.value for check in self.checks},
            "tiles": {tile.label: [rounded(tile.measure.value), rounded(tile.measure.stderr)] for tile in self.tiles},
        }

    def __str__(self) -> str:
        return f"{self.verdict}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Origin of the numbers of a page: what it is about, the kind of data, span, bars and digests.

    `title` names the object, the symbol and the dates; `facts` are short texts for the line below it; `digests` are
    full digests by name, of which the page shows the first eight characters.
    """

    title: str
    kinds: tuple[DataKind, ...]
    facts: tuple[str, ...]
    digests: dict[str, str] = field(default_factory=dict)

    def to_html(self) -> str:
        """Return the line below the title as an HTML block."""
        return render("provenance.html.j2", provenance=self)

    def to_result(self, name: str) -> dict[str, Any]:
        """Return the typed result: title, kinds of data and facts. Digests change with the code and are left out."""
        return {
            "kind": "provenance",
            "name": name,
            "title": self.title,
            "data": [kind.value for kind in self.kinds],
            "facts": list(self.facts),
        }

    def __str__(self) -> str:
        return f"{self.title} ({', '.join(kind.upper() for kind in self.kinds)}): {'; '.join(self.facts)}"


def data_kind(exchange: str) -> DataKind:
    """Return the kind of stored bars: generated for the sample series, recorded for all others."""
    return DataKind.GENERATED if exchange == "sample" else DataKind.RECORDED


def number(value: float | None, decimals: int = 2, sign: bool = False, unit: str = "") -> str:
    """Return a number as pages write it: comma for thousands, a true minus, `not stated` for None.

    >>> number(-1234.5, 1, unit=" USDT")
    '−1,234.5 USDT'
    """
    if value is None:
        return NOT_STATED
    text = f"{value:{'+' if sign else ''},.{decimals}f}"
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("+-")
    return text.replace("-", MINUS) + unit


def percent(value: float | None, decimals: int = 1, sign: bool = True) -> str:
    """Return a fraction in percent, with its sign.

    >>> percent(0.7286)
    '+72.9%'
    """
    return number(None if value is None else 100.0 * value, decimals, sign, "%")


def with_error(measure: Measure, decimals: int = 2) -> str:
    """Return value ± standard error with unbroken spaces, or why there is no value.

    >>> with_error(Measure(0.938, 500, 0.71)).replace(NO_BREAK, " ")
    '0.94 ± 0.71'
    """
    if measure.value is None:
        return measure.note
    return number(measure.value, decimals) + error_text(measure, decimals)


def error_text(measure: Measure, decimals: int = 2) -> str:
    """Return ± standard error with a space before it; empty if none is known."""
    if measure.value is None or measure.stderr is None:
        return ""
    return f"{NO_BREAK}±{NO_BREAK}{number(measure.stderr, decimals)}"


def interval_finding(measure: Measure) -> Finding:
    """Return what the 95 % interval of a measure says of it: above zero, below zero, or neither."""
    if measure.value is None or measure.stderr is None:
        return Finding.UNKNOWN
    return bounds_finding(measure.value - WIDE * measure.stderr, measure.value + WIDE * measure.stderr)


def bounds_finding(low: float | None, high: float | None) -> Finding:
    """Return what the ends of an interval say: above zero, below zero, or neither; unknown without them."""
    if low is None or high is None:
        return Finding.UNKNOWN
    return Finding.SHOWN if low > 0.0 else Finding.AGAINST if high < 0.0 else Finding.NOT_SHOWN
