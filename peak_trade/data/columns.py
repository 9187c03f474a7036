"""Columns of a table of bars: which one holds the time, each price and the volume in base units."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.errors import ConfigError, DataError, excerpt
from peak_trade.data.numbers import read_numbers
from peak_trade.data.tables import Table

Stamp = Literal["open", "close"]

_TIME_NAMES = (
    *("unix", "unixtime", "unixtimestamp", "epoch", "timestamp", "timestampms", "timestamputc", "time", "datetime"),
    *("dateutc", "datetimeutc", "timeutc", "gmttime", "date", "ts", "t", "id", ""),
)
"""Plain names of columns of time, in the order in which they are tried; an unnamed column is the last."""
_OPEN_TIME_NAMES = (
    "timeperiodstart",
    "opentime",
    "timeopen",
    "starttime",
    "timestart",
    "klineopentime",
    "start",
    "begin",
    "beginat",
)
_CLOSE_TIME_NAMES = ("timeperiodend", "closetime", "timeclose", "endtime", "timeend", "klineclosetime", "end")
_CLOCK_NAMES = ("time", "clock", "hour", "timeofday")
_PRICE_NAMES = {
    "open": ("open", "o", "openprice", "priceopen"),
    "high": ("high", "h", "highprice", "pricehigh", "max"),
    "low": ("low", "l", "lowprice", "pricelow", "min"),
    "close": ("close", "c", "closeprice", "priceclose"),
}
_SYMBOL_NAMES = ("symbol", "ticker", "pair", "instrument", "instid", "market")
_BASE_VOLUME_NAMES = ("basevolume", "volumebase", "basevol", "volbase", "volumetraded")
_QUOTE_VOLUME_NAMES = (
    *("quotevolume", "volumequote", "quotevol", "volquote", "volccyquote", "quoteassetvolume", "turnover"),
    *("volumecurrency", "quoteturnover"),
)
_VOLUME_NAMES = ("volume", "v", "vol", "amount", "volccy", *_BASE_VOLUME_NAMES, *_QUOTE_VOLUME_NAMES)
LAYOUTS = {
    5: ("time open high low close",),
    6: ("time open high low close volume", "time low high open close volume", "time open close high low volume"),
    7: ("time open high low close volume trades", "time open close high low volume turnover"),
    8: (
        "time open high low close vwap volume trades",
        "time quote_volume close high low open volume closed",
    ),
    9: ("time open high low close vol volCcy volCcyQuote confirm",),
    10: ("time open high low close volume taker_base taker_quote quote_volume trades",),
    12: ("open_time open high low close volume close_time quote_volume trades taker_base taker_quote ignore",),
}
"""Columns of files without a header, by their number: the first layout in which every high is the highest price."""
_JUDGED_ROWS = 1_000
"""Number of rows, spread over a file without a header, on which its layouts are judged first."""
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp][Mm])?|\d{1,6}")
_VOLUME_TOLERANCE = 0.1
"""Largest deviation of the median of quote volume / (close × base volume) from one."""


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """A column that may hold the time, or a column of dates and one of times of day; `stamp` if its name states it."""

    name: str
    positions: tuple[int, ...]
    stamp: Stamp | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """Positions of the columns of bars; `times` in the order in which they are tried, `said` states each decision.

    `positions` lacks the volume if the file is to be read without it.
    """

    times: tuple[TimeColumn, ...]
    positions: dict[str, int]
    names: tuple[str, ...]
    said: tuple[str, ...]


def recognize_columns(
    table: Table, symbol: str = "", stamp: Stamp | None = None, chosen: Mapping[str, str] | None = None, *, volume: bool
) -> Columns:
    """Return the columns of a table.

    Parameters
    ----------
    table : Table
    symbol : str
        Its base currency names a column of volume, such as `Volume BTC`.
    stamp : {"open", "close"}, optional
        Times that are preferred if the file has both.
    chosen : mapping of date, time, open, high, low, close or volume to a column, optional
        A column is named as in the file, or by its number from 1.
    volume : bool
        Whether a volume is needed.

    Raises
    ------
    DataError
        If a column is missing, or two could be the same.
    ConfigError
        If a chosen column is not in the file.

    """
    wanted = {key: _position(table, key, name) for key, name in (chosen or {}).items()}
    names, said = (table.names, []) if table.names else _layout(table, wanted)
    plain: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        if position not in wanted.values():
            plain.setdefault(_plain(name), []).append(position)
    _require_one_symbol(table, plain, names)
    positions = {key: position for key, position in wanted.items() if key in COLUMNS}
    for ours, candidates in _PRICE_NAMES.items():
        if ours not in positions:
            positions[ours] = _named(table, names, plain, ours, candidates)
    times = _time_columns(table, names, plain, wanted, stamp)
    if volume and "volume" not in positions:
        positions["volume"], why = _volume(table, names, plain, symbol, positions["close"])
        said += why
    if not volume:
        positions.pop("volume", None)
    return Columns(times, positions, names, tuple(said))


def _position(table: Table, key: str, name: str) -> int:
    if key not in {"date", "time", *COLUMNS}:
        known = ", ".join(("date", "time", *COLUMNS))
        raise ConfigError(f"--column {excerpt(key)}={excerpt(name)}: {excerpt(key)} is not one of {known}.")
    same = [place for place, each in enumerate(table.names) if each == name] or [
        place for place, each in enumerate(table.names) if _plain(each) == _plain(name)
    ]
    if len(same) == 1:
        return same[0]
    width = table.cells.shape[1]
    if not same and name.isdigit() and 1 <= int(name) <= width:
        return int(name) - 1
    count = f"there are {len(same)} columns of that name" if same else "there is no such column"
    listed = excerpt(", ".join(table.names), 100) or f"numbered 1 to {width}, without names"
    raise ConfigError(f"{table.path}: --column {key}={excerpt(name)}: {count}. The columns are {listed}.")


def _layout(table: Table, wanted: Mapping[str, int]) -> tuple[tuple[str, ...], list[str]]:
    """Return names for the columns of a file without a header."""
    cells, width = table.cells, table.cells.shape[1]
    numbered = tuple(f"column {place + 1}" for place in range(width))
    if wanted.keys() >= set(_PRICE_NAMES) | {"time"} or wanted.keys() >= set(_PRICE_NAMES) | {"date"}:
        return numbered, []
    second = str(cells.iloc[0, 1]).strip() if len(cells) else ""
    layouts: Sequence[str] = LAYOUTS.get(width, ())
    if ":" in second and _CLOCK.fullmatch(second) and width in {6, 7, 8}:
        layouts = ("date time open high low close" + " volume spread"[: 7 * (width - 6)],)
    if not layouts:
        raise DataError(
            f"{table.path}: the file has {width} columns without names. "
            "Number them: --column time=1 --column open=2 and so on, up to volume."
        )
    matching = layouts
    for judged in (cells.iloc[:: len(cells) // _JUDGED_ROWS + 1], cells):
        if len(matching) > 1:
            matching = [layout for layout in matching if _is_consistent(judged, table, layout.split())]
    layout = (matching or layouts)[0]
    return tuple(layout.split()), [f"no header, columns taken as {layout}"]


def _is_consistent(cells: pd.DataFrame, table: Table, layout: list[str]) -> bool:
    used = [cells[layout.index(name)] for name in _PRICE_NAMES]
    open_, high, low, close = read_numbers(used, f"{table.path}", table.format)[0]
    known = ~np.isnan(open_ + high + low + close)
    is_highest, is_lowest = high >= np.maximum(open_, close), low <= np.minimum(open_, close)
    return bool((is_highest & is_lowest)[known].all())


def _require_one_symbol(table: Table, plain: Mapping[str, list[int]], names: Sequence[str]) -> None:
    for key in _SYMBOL_NAMES:
        for position in plain.get(key, ()):
            found = table.cells[position].dropna().unique()
            if len(found) > 1:
                listed = excerpt(", ".join(map(str, found[:5])))
                raise DataError(
                    f"{table.path}: column {excerpt(names[position])} names {len(found)} symbols ({listed}). "
                    "Give a file of one symbol."
                )


def _named(
    table: Table, names: Sequence[str], plain: Mapping[str, list[int]], ours: str, candidates: Sequence[str]
) -> int:
    key = next((candidate for candidate in candidates if candidate in plain), None)
    if key is None:
        raise _missing(table, names, ours, f"Name it {ours}, or pass --column {ours}=NAME")
    if len(plain[key]) > 1:
        both = " and ".join(excerpt(names[place], 30) for place in plain[key][:3])
        raise DataError(f"{table.path}: columns {both} could both be {ours}. Pass --column {ours}=NAME.")
    return plain[key][0]


def _missing(table: Table, names: Sequence[str], ours: str, remedy: str) -> DataError:
    return DataError(f"{table.path}: no column for {ours}; the columns are {excerpt(', '.join(names), 120)}. {remedy}.")


def _time_columns(
    table: Table,
    names: Sequence[str],
    plain: Mapping[str, list[int]],
    wanted: Mapping[str, int],
    stamp: Stamp | None,
) -> tuple[TimeColumn, ...]:
    if "time" in wanted or "date" in wanted:
        positions = tuple(wanted[key] for key in ("date", "time") if key in wanted)
        name = " and ".join(names[place] for place in positions)
        return (TimeColumn(name, positions, _stamp_of(names[positions[0]]) if len(positions) == 1 else None),)
    ranked = [_OPEN_TIME_NAMES, _TIME_NAMES, _CLOSE_TIME_NAMES]
    found = [
        TimeColumn(names[place], (place,), _stamp_of(names[place]))
        for candidates in (reversed(ranked) if stamp == "close" else ranked)
        for candidate in candidates
        for place in plain.get(candidate, ())
    ]
    dates = plain.get("date", ())
    clocks = [place for name in _CLOCK_NAMES for place in plain.get(name, ())]
    if len(dates) == 1 and len(clocks) == 1 and _is_clock(table, clocks[0]) and not _has_clock(table, dates[0]):
        pair = TimeColumn(f"{names[dates[0]]} and {names[clocks[0]]}", (dates[0], clocks[0]))
        found = [pair, *(each for each in found if each.positions[0] not in (dates[0], clocks[0]))]
    if not found:
        raise _missing(table, names, "time", "Name it timestamp, or pass --column time=NAME")
    return tuple(found)


def _stamp_of(name: str) -> Stamp | None:
    plain = _plain(name)
    return "open" if plain in _OPEN_TIME_NAMES else "close" if plain in _CLOSE_TIME_NAMES else None


def _is_clock(table: Table, position: int) -> bool:
    first = table.cells[position].dropna()
    return len(first) > 0 and _CLOCK.fullmatch(str(first.iloc[0]).strip()) is not None


def _has_clock(table: Table, position: int) -> bool:
    first = table.cells[position].dropna()
    return len(first) > 0 and ":" in str(first.iloc[0])


def _volume(
    table: Table, names: Sequence[str], plain: Mapping[str, list[int]], symbol: str, close: int
) -> tuple[int, list[str]]:
    """Return the column of volume in base units, and how it was chosen."""
    base, _, quote = symbol.partition(":")[0].lower().partition("/")
    own = {f"volume{base}", f"vol{base}", f"{base}volume"} if base else set()
    of_quote = {f"volume{quote}", f"vol{quote}", f"{quote}volume"} if quote else set()
    places = {
        place: key
        for key, every in plain.items()
        for place in every
        if key in _VOLUME_NAMES or key in own | of_quote or re.fullmatch("volume[a-z]{2,6}", key)
    }
    if not places:
        remedy = "Pass --column volume=NAME, or --no-volume to import bars without volume"
        raise _missing(table, names, "volume", remedy)
    listed = [place for place, key in places.items() if key in own or key in _BASE_VOLUME_NAMES]
    if not listed:
        of_quote |= set(_QUOTE_VOLUME_NAMES)
        listed = [place for place, key in places.items() if key not in of_quote]
    if len(places) == len(listed) == 1:
        return listed[0], []
    cells = [table.cells[close], *(table.cells[place] for place in places)]
    read = read_numbers(cells, f"{table.path}", table.format)[0]
    values = dict(zip(places, read[1:], strict=True))
    turnover_of = {place: _turnovers(place, values, read[0]) for place in places}
    confirmed = [place for place, found in turnover_of.items() if found]
    if confirmed and all(np.array_equal(values[confirmed[0]], values[each]) for each in confirmed[1:]):
        place = confirmed[0]
        if len(listed) == 1 and listed[0] != place:
            raise _undecided(table, names, [listed[0], place], "the numbers contradict the names")
        name, turnover = excerpt(names[place], 30), excerpt(names[turnover_of[place][0]], 30)
        return place, [f"volume = {name} (close × {name} ≈ {turnover})"]
    if len(listed) == 1:
        return listed[0], []
    raise _undecided(table, names, list(listed or places), "close × one is not the other")


def _turnovers(place: int, values: Mapping[int, FloatArray], close: FloatArray) -> list[int]:
    """Return the columns that are the turnover, in quote currency, of the volume in a column.

    At prices near one, base and quote volume can not be told apart; there are none.
    """
    found = []
    for other, turnover in values.items():
        traded = (values[place] > 0.0) & (turnover > 0.0) & (close > 0.0)
        if other == place or not traded.any():
            continue
        ratio = turnover[traded] / (close[traded] * values[place][traded])
        is_near_one = abs(float(np.median(close[traded])) - 1.0) <= _VOLUME_TOLERANCE
        if abs(float(np.median(ratio)) - 1.0) <= _VOLUME_TOLERANCE and not is_near_one:
            found.append(other)
    return found


def _undecided(table: Table, names: Sequence[str], places: list[int], why: str) -> DataError:
    if len(places) == 1:
        return DataError(
            f"{table.path}: column {excerpt(names[places[0]])} is named as turnover in quote currency, and no other "
            "holds a volume. Pass --column volume=NAME, or --no-volume."
        )
    both = " and ".join(excerpt(names[place], 30) for place in places[:3])
    return DataError(
        f"{table.path}: columns {both} could both be the volume in base units: {why}. Pass --column volume=NAME."
    )


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
