"""Windows of a walk-forward: bars to choose a parameter set on, and the bars that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from peak_trade.core.errors import ConfigError
from peak_trade.core.time import Timeframe, parse_seconds

Scheme = Literal["rolling", "anchored"]
"""Training windows of one length, or all from the same first bar."""
Length = int | str
"""A number of bars, or a length of time such as 90d."""
MOST_DIGITS = 12
"""Largest number of digits of a number of bars."""


@dataclass(frozen=True, slots=True)
class Window:
    """One step of a walk-forward: indices of bars, of which the first belongs to the window and the last does not.

    The set that is chosen on the training bars decides at the closes of the test bars.
    """

    train: tuple[int, int]
    test: tuple[int, int]


def make_windows(
    n_bars: int,
    train: int,
    test: int,
    purge: int = 0,
    embargo: int = 0,
    *,
    scheme: Scheme = "rolling",
    first: int = 0,
    where: str = "the bars",
) -> list[Window]:
    """Return the windows over bars `first` to `n_bars`, all in numbers of bars; see `walk_forward`.

    The test windows follow each other without a gap, up to the last bar; the last one may be shorter, or a bar longer.
    ConfigError when there is no room for one.

    Examples
    --------
    >>> [(each.train, each.test) for each in make_windows(10, train=4, test=3, purge=1)]
    [((0, 3), (4, 7)), ((3, 6), (7, 10))]

    """
    for name, length, least in (("train", train, 2), ("test", test, 1), ("purge", purge, 0), ("embargo", embargo, 0)):
        if length < least:
            raise ConfigError(f"walk-forward: {name} was {length:,} bars: give at least {least}.")
    if train - purge < 2:
        raise ConfigError(
            f"walk-forward: a purge of {purge:,} bars leaves {max(train - purge, 0):,} of {train:,} training bars. Use "
            "a shorter purge or longer training windows."
        )
    begin = first + train + embargo
    if begin + test > n_bars:
        gap = f", an embargo of {embargo:,}" if embargo else ""
        raise ConfigError(
            f"walk-forward: a training window of {train:,} bars{gap} and a test window of {test:,} are longer than the "
            f"{n_bars - first:,} bars of {where}. Use shorter windows or more bars."
        )
    places = list(range(begin, n_bars, test))
    if places[1:] and n_bars - places[-1] == 1:  # one bar has no return
        places.pop()
    return [
        Window((first if scheme == "anchored" else place - embargo - train, place - embargo - purge), (place, end))
        for place, end in zip(places, [*places[1:], n_bars], strict=True)
    ]


def n_bars_of(name: str, length: Length, timeframe: Timeframe) -> int:
    """Return a length as a number of bars; ConfigError if it is none, or no whole number of bars."""
    if isinstance(length, int):
        return length
    if length.isascii() and length.isdigit() and len(length) <= MOST_DIGITS:
        return int(length)
    seconds = parse_seconds(length)
    if seconds is None:
        raise ConfigError(f"walk-forward: {name} was {length!r}: give a number of bars, or a length such as 90d.")
    if seconds % timeframe.seconds or timeframe.months:
        raise ConfigError(f"walk-forward: {name} was {length}: that is no whole number of {timeframe} bars.")
    return seconds // timeframe.seconds
