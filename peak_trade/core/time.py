"""Timeframes and instants. Inside the package an instant is int64 nanoseconds since 1970, UTC."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from peak_trade.core.arguments import check_fields
from peak_trade.core.errors import ConfigError

NS_PER_SECOND = 1_000_000_000
SECONDS_PER_YEAR = 365 * 86_400
LONGEST_TIMEFRAME = 10 * SECONDS_PER_YEAR
"""Seconds of the longest bar."""
EPOCH_UNITS = (
    (1e11, "seconds", 1_000_000_000),
    (1e14, "milliseconds", 1_000_000),
    (1e17, "microseconds", 1_000),
    (math.inf, "nanoseconds", 1),
)
"""Upper bound of each unit for instants between 1973 and 5138, its name, and its length in ns."""
MONTH_SECONDS = SECONDS_PER_YEAR // 12
"""Mean length of a month in a year of 365 days, in whole seconds."""
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True, order=True)
class Timeframe:
    """Length of a bar, in whole seconds; ConfigError below one second or above ten years.

    Bars of `months` calendar months in UTC have different lengths: `seconds` is their mean in a year of 365 days. The
    functions of `core.calendar` give the open of a bar from its close, and the close from its open.

    Examples
    --------
    >>> Timeframe.parse("4h").bars_per_year, Timeframe.parse("1M").bars_per_year
    (2190.0, 12.0)

    """

    seconds: int
    months: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.months and self.seconds != self.months * MONTH_SECONDS:
            raise ConfigError(f"timeframe was {self.months} months of {self.seconds} s: write Timeframe.parse('1M').")
        if not self.seconds >= 1:
            raise ConfigError(f"timeframe was {self.seconds} s: a bar lasts at least one second.")
        if self.seconds > LONGEST_TIMEFRAME:
            raise ConfigError("the timeframe was longer than ten years. Write a shorter one, like 1h or 1d.")

    @classmethod
    def parse(cls, name: str | Timeframe) -> Timeframe:
        """Return the timeframe of a name such as 1m, 5m, 1h, 4h, 1d, 1w or 1M (months); ConfigError for another."""
        if isinstance(name, Timeframe):
            return name
        seconds = parse_seconds(name) if isinstance(name, str) else None
        if seconds is not None:
            return cls(seconds)
        months = re.fullmatch(r"([1-9][0-9]{0,99})M", name) if isinstance(name, str) else None
        if months is None:
            raise ConfigError(f"timeframe was {name!r}: write a number and a unit, like 1m, 5m, 1h, 4h, 1d or 1M.")
        return cls(int(months[1]) * MONTH_SECONDS, int(months[1]))

    @property
    def duration(self) -> timedelta:
        """Length as a timedelta; of months, their mean."""
        return timedelta(seconds=self.seconds)

    @property
    def ns(self) -> int:
        """Length in nanoseconds; of months, their mean."""
        return self.seconds * NS_PER_SECOND

    @property
    def bars_per_year(self) -> float:
        """Number of bars in a crypto year of 365 days."""
        return SECONDS_PER_YEAR / self.seconds

    def __str__(self) -> str:
        if self.months:
            return f"{self.months}M"
        for unit in ("w", "d", "h", "m"):
            count, rest = divmod(self.seconds, _UNIT_SECONDS[unit])
            if rest == 0:
                return f"{count}{unit}"
        return f"{self.seconds}s"


def parse_seconds(name: str) -> int | None:
    """Return the seconds of a length such as 90s, 10m, 4h, 1d or 1w; None for another text."""
    match = re.fullmatch(r"([1-9][0-9]{0,99})([smhdw])", name)
    return None if match is None else int(match[1]) * _UNIT_SECONDS[match[2]]


def checked_per_year(bars_per_year: float) -> float:
    """Return a number of bars per year; ConfigError unless it is finite and above zero."""
    if not (math.isfinite(bars_per_year) and bars_per_year > 0.0):
        raise ConfigError(f"bars_per_year was {bars_per_year}: it must be finite and above zero, as in a timeframe.")
    return bars_per_year


def parse_utc(given: datetime | str, what: str = "time") -> datetime:
    """Return a datetime or an ISO 8601 date or time in UTC; without an offset it is taken as UTC."""
    try:
        moment = given if isinstance(given, datetime) else datetime.fromisoformat(given)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(
            f"{what} was {given!r}: write a UTC date or time like 2024-03-10 or 2024-03-10T01:00."
        ) from None


def to_ns(moment: datetime) -> int:
    """Return the nanoseconds since 1970 of a datetime; without an offset it is taken as UTC."""
    delta = parse_utc(moment) - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * NS_PER_SECOND + delta.microseconds * 1_000


def from_ns(ns: int) -> datetime:
    """Return the UTC datetime of nanoseconds since 1970, truncated to microseconds."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1_000)


def iso(ns: int) -> str:
    """Return an instant as `2024-03-10 01:00:00Z`."""
    return f"{from_ns(ns).replace(tzinfo=None).isoformat(' ')}Z"
