"""Merging of two series of the same bars: which ones are in both, whether they are equal, and the union."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from peak_trade.core.arrays import IntArray
from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars
from peak_trade.core.calendar import grid_place
from peak_trade.core.errors import DataError, exact
from peak_trade.core.time import iso

_REMEDY = "use another exchange name, or remove the stored bars with `peak-trade data remove`"


class Overlap(NamedTuple):
    """Numbers of bars that are in two series, and of those that differ.

    `first` is the first of these: close time (ns UTC), column, stored and new value.
    """

    n_shared: int
    n_different: int
    first: tuple[int, str, float, float] | None


def merge(stored: Bars, new: Bars, *, replace: bool = False) -> Bars:
    """Return the union of two series in order; bars in both must be equal, unless the new ones `replace` the others.

    Raises
    ------
    DataError
        When a bar differs (the message names the first one, its column and both values), when only one of the two has a
        volume, or when they close at different times of the day.

    """
    check_fit(int(stored.times[0]), stored, new)
    overlap = overlap_of(stored, new)
    if overlap.n_different and not replace:
        raise conflict(new, {0: overlap})
    _, rows_stored, rows_new = shared_rows(stored, new)
    kept = np.setdiff1d(np.arange(len(stored)), rows_stored, assume_unique=True) if replace else np.arange(len(stored))
    fresh = np.arange(len(new)) if replace else np.setdiff1d(np.arange(len(new)), rows_new, assume_unique=True)
    if len(fresh) == 0:
        return stored
    frame = pd.concat([stored.frame.iloc[kept], new.frame.iloc[fresh]]).sort_index()
    notes = tuple(dict.fromkeys((*stored.notes, *new.notes)))
    return Bars(frame, stored.symbol, stored.timeframe, stored.exchange, notes)


def overlap_of(stored: Bars, new: Bars) -> Overlap:
    """Compare the bars that are in both of two series."""
    shared, rows_stored, rows_new = shared_rows(stored, new)
    values, values_new = stored.frame.to_numpy()[rows_stored], new.frame.to_numpy()[rows_new]
    differ = (values != values_new) & ~(np.isnan(values) & np.isnan(values_new))
    n_different = int(differ.any(axis=1).sum())
    if not n_different:
        return Overlap(len(shared), 0, None)
    row, column = (int(part) for part in np.argwhere(differ)[0])
    first = int(shared[row]), COLUMNS[column], float(values[row, column]), float(values_new[row, column])
    return Overlap(len(shared), n_different, first)


def check_fit(first: int, stored: Bars, new: Bars) -> None:
    """Raise DataError when bars do not fit bars of a stored series whose first close time is `first`, ns UTC."""
    where = f"{new.exchange} {new.symbol} {new.timeframe}"
    if stored.has_volume != new.has_volume:
        with_volume = "stored" if stored.has_volume else "new"
        raise DataError(f"{where}: only the {with_volume} bars have a volume. Nothing was written; {_REMEDY}.")
    if np.ptp(grid_place(np.array([first, new.times[0]]), new.timeframe)[1]):
        raise DataError(
            f"{where}: the stored bars close at {iso(first)}, the new ones at {iso(int(new.times[0]))}, "
            f"not whole multiples of {new.timeframe} apart. Nothing was written; {_REMEDY}."
        )


def conflict(new: Bars, overlaps: Mapping[int, Overlap]) -> DataError:
    """Return the error of the first bar that differs, of overlaps by the number of their stretch."""
    time, column, value, value_new = next(first for _, (*_, first) in sorted(overlaps.items()) if first)
    n_different = sum(overlap.n_different for overlap in overlaps.values())
    n_shared = sum(overlap.n_shared for overlap in overlaps.values())
    return DataError(
        f"{new.exchange} {new.symbol} {new.timeframe}: the bar of {iso(time)} is stored with "
        f"{column} {exact(value)}, the new one has {exact(value_new)} "
        f"({n_different} of {n_shared} shared bars differ). Nothing was written; "
        f"pass --replace to keep the new bars, or {_REMEDY}."
    )


def shared_rows(stored: Bars, new: Bars) -> tuple[IntArray, IntArray, IntArray]:
    """Return the close times of both series, and their rows in each."""
    return np.intersect1d(stored.times, new.times, assume_unique=True, return_indices=True)
