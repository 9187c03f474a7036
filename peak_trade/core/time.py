"""Timeframes and instants. Inside the package an instant is int64 nanoseconds since 1970, UTC."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from peak_trade.core.errors import ConfigError

NS_PER_SECOND = 1_000_000_000
SECONDS_PER_YEAR = 365 * 86_400
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True, order=True)
class Timeframe:
    """Length of a bar, in whole seconds; ConfigError below one second.

    Examples
    --------
    >>> Timeframe.parse("4h").bars_per_year
    2190.0

    """

    seconds: int

    def __post_init__(self) -> None:
        if not self.seconds >= 1:
            raise ConfigError(f"timeframe was {self.seconds} s: a bar lasts at least one second.")

    @classmethod
    def parse(cls, name: str) -> Timeframe:
        """Return the timeframe of a name such as 1m, 5m, 1h, 4h, 1d or 1w; ConfigError for another name."""
        match = re.fullmatch(r"([1-9][0-9]*)([smhdw])", name)
        if match is None:
            raise ConfigError(f"timeframe was {name!r}: write a number and a unit, like 1m, 5m, 1h, 4h or 1d.")
        return cls(int(match[1]) * _UNIT_SECONDS[match[2]])

    @property
    def duration(self) -> timedelta:
        """Length as a timedelta."""
        return timedelta(seconds=self.seconds)

    @property
    def ns(self) -> int:
        """Length in nanoseconds."""
        return self.seconds * NS_PER_SECOND

    @property
    def bars_per_year(self) -> float:
        """Number of bars in a crypto year of 365 days."""
        return SECONDS_PER_YEAR / self.seconds

    def __str__(self) -> str:
        for unit in ("w", "d", "h", "m"):
            count, rest = divmod(self.seconds, _UNIT_SECONDS[unit])
            if rest == 0:
                return f"{count}{unit}"
        return f"{self.seconds}s"


def checked_per_year(bars_per_year: float) -> float:
    """Return a number of bars per year; ConfigError unless it is finite and above zero."""
    if not (math.isfinite(bars_per_year) and bars_per_year > 0.0):
        raise ConfigError(f"bars_per_year was {bars_per_year}: it must be finite and above zero, as in a timeframe.")
    return bars_per_year


def parse_utc(text: str, what: str = "time") -> datetime:
    """Parse an ISO 8601 date or time; text without an offset is taken as UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{what} was {text!r}: write a UTC date or time like 2024-03-10 or 2024-03-10T01:00."
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def to_ns(moment: datetime) -> int:
    """Return the nanoseconds since 1970 of an aware datetime."""
    delta = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * NS_PER_SECOND + delta.microseconds * 1_000


def from_ns(ns: int) -> datetime:
    """Return the UTC datetime of nanoseconds since 1970, truncated to microseconds."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1_000)


def iso(ns: int) -> str:
    """Return an instant as `2024-03-10 01:00:00Z`."""
    moment = from_ns(ns)
    text = moment.strftime("%Y-%m-%d %H:%M:%S")
    return f"{text}.{moment.microsecond:06d}Z" if moment.microsecond else f"{text}Z"
