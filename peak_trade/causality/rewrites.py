"""The cuts after which the bars are rewritten, and the ways to rewrite them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from peak_trade.causality.comparison import Results
from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bar_frame import COLUMNS, index_ns

Rewrite = Callable[[pd.DataFrame, int, np.random.Generator], pd.DataFrame]
_MOST_CANDIDATES = 20_000


def _removed(frame: pd.DataFrame, cut: int, _rng: np.random.Generator) -> pd.DataFrame:
    return frame.iloc[: cut + 1]


def _nan(frame: pd.DataFrame, cut: int, _rng: np.random.Generator) -> pd.DataFrame:
    return _with_future(frame, cut, np.full_like(frame.to_numpy()[cut + 1 :], np.nan))


def _noise(frame: pd.DataFrame, cut: int, rng: np.random.Generator) -> pd.DataFrame:
    future = frame.to_numpy()[cut + 1 :].copy()
    for part in _of_symbols(frame, future):
        part[:, :4] *= rng.lognormal(0.0, 0.2, (len(future), 1))
        part[:, 4] *= rng.lognormal(0.0, 1.0, len(future))
    extra = _extra(frame, future)
    extra *= rng.lognormal(0.0, 1.0, extra.shape)
    return _with_future(frame, cut, future)


def _scaled_up(frame: pd.DataFrame, cut: int, _rng: np.random.Generator) -> pd.DataFrame:
    return _with_future(frame, cut, frame.to_numpy()[cut + 1 :] * 3.0)


def _scaled_down(frame: pd.DataFrame, cut: int, _rng: np.random.Generator) -> pd.DataFrame:
    return _with_future(frame, cut, frame.to_numpy()[cut + 1 :] / 3.0)


def _mirrored(frame: pd.DataFrame, cut: int, _rng: np.random.Generator) -> pd.DataFrame:
    future = frame.to_numpy()[cut + 1 :].copy()
    values = frame.to_numpy()
    for part, past in zip(_of_symbols(frame, future), _of_symbols(frame, values), strict=True):
        part[:, :4] = past[cut, 3] ** 2 / part[:, [0, 2, 1, 3]]
    extra = _extra(frame, future)
    extra[:] = 2.0 * np.nan_to_num(_extra(frame, values)[cut]) - extra
    return _with_future(frame, cut, future)


def _of_symbols(frame: pd.DataFrame, values: FloatArray) -> list[FloatArray]:
    """Return a view of the columns of bars of each symbol, shape (n_bars, 5)."""
    return [values[:, first : first + len(COLUMNS)] for first in range(0, _n_of_bars(frame), len(COLUMNS))]


def _extra(frame: pd.DataFrame, values: FloatArray) -> FloatArray:
    """Return a view of the extra columns."""
    return values[:, _n_of_bars(frame) :]


def _n_of_bars(frame: pd.DataFrame) -> int:
    """Return the number of columns of bars, which come first; their names end in those of `COLUMNS`."""
    return sum(str(name).rpartition(" ")[2] in COLUMNS for name in frame.columns)


REWRITES: dict[str, Rewrite] = {
    "removed": _removed,
    "nan": _nan,
    "noise": _noise,
    "scaled up": _scaled_up,
    "scaled down": _scaled_down,
    "mirrored": _mirrored,
}
"""Kinds of rewriting the bars after a cut: removed, NaN, prices with noise, prices times and over three, mirrored.

The extra columns of the bars are rewritten in the same ways; mirrored, they are reflected at their value at the cut.
"""


def rewritten(kind: str, frame: pd.DataFrame, cut: int, seed: int = 0) -> pd.DataFrame:
    """Return the frame with the bars after `cut` rewritten in a way of REWRITES, in memory that nothing can write to.

    The seed is that of the noise.
    """
    return REWRITES[kind](frame, cut, np.random.default_rng([seed, cut]))


def _with_future(frame: pd.DataFrame, cut: int, future: FloatArray) -> pd.DataFrame:
    values = np.frombuffer(np.concatenate([frame.to_numpy()[: cut + 1], future]).T.tobytes())
    return pd.DataFrame(values.reshape(len(frame.columns), -1).T, frame.index, frame.columns, copy=False)


def choose_cuts(frame: pd.DataFrame, truth: Results, head: int, n_cuts: int, seed: int = 0) -> list[int]:
    """Return at most `n_cuts` bars from the warm-up to the last bar but one, in order.

    The last bar but one comes first, then up to a quarter of rare events of the bars and up to a quarter of changes of
    the results, each with the bar before it. The others are spread over weekdays, hours, days of the month, the last
    bars of days, weeks and months, and over the whole span.
    """
    rng = np.random.default_rng(seed)
    last = len(frame) - 2
    chosen = {last: None}
    quarter = n_cuts // 4
    for sources in (_rare_events(frame, head), _changes(truth, head, rng)):
        allowed = len(chosen) + quarter
        for cut in sources:
            if len(chosen) < min(allowed, n_cuts) and head <= cut <= last:
                chosen[cut] = None
    candidates = np.arange(head, last + 1)
    if candidates.size > _MOST_CANDIDATES:
        candidates = np.sort(rng.choice(candidates, _MOST_CANDIDATES, replace=False))
    for cut in _spread(index_ns(frame.index), candidates, list(chosen), n_cuts, rng):
        chosen[cut] = None
    return sorted(chosen)


def _rare_events(frame: pd.DataFrame, head: int) -> Iterator[int]:
    """Yield the bar before each rare event and the event: largest rise and fall, volume, range, gap; extreme prices."""
    values, times = frame.to_numpy()[head:], index_ns(frame.index)[head:]
    close = values[:, 3]
    returns = np.diff(np.log(close), prepend=np.nan)
    measures = (
        returns,
        -returns,
        values[:, 4],
        np.log(values[:, 1] / values[:, 2]),
        np.diff(times, prepend=times[:1]).astype(np.float64),
        values[:, 1],
        -values[:, 2],
    )
    rows = [int(np.nanargmax(each)) + head for each in measures if not np.isnan(each).all()]
    for row in rows:
        yield row - 1
    yield from rows


def _changes(truth: Results, head: int, rng: np.random.Generator) -> Iterator[int]:
    rows = [np.flatnonzero(np.diff(part[head:])) + head for part in truth.values()]
    changes = np.unique(np.concatenate(rows))
    for change in rng.permutation(changes):
        yield int(change)
        yield int(change) + 1


def _spread(
    times: IntArray, candidates: IntArray, chosen: list[int], n_cuts: int, rng: np.random.Generator
) -> Iterator[int]:
    """Yield candidates until there are `n_cuts`, each time one whose properties the chosen ones have least."""
    properties = _properties(times, n_cuts)
    counts = [np.bincount(each[chosen], minlength=int(each.max()) + 1) for each in properties]
    is_free = ~np.isin(candidates, chosen)
    order = rng.random(candidates.size)
    for _ in range(min(n_cuts - len(chosen), int(is_free.sum()))):
        score: FloatArray = order * 1e-6
        for each, count in zip(properties, counts, strict=True):
            score = score + 1.0 / (1.0 + count[each[candidates]])
        place = int(np.where(is_free, score, -1.0).argmax())
        is_free[place] = False
        for each, count in zip(properties, counts, strict=True):
            count[each[candidates[place]]] += 1
        yield int(candidates[place])


def _properties(times: IntArray, n_cuts: int) -> list[IntArray]:
    """Return classes of each bar: weekday, hour, day of month, whether the last of a day, week, month; part of span."""
    index = pd.DatetimeIndex(times, tz="UTC")
    days = times // (86_400 * 10**9)
    ends = [np.append(np.diff(part) != 0, False) for part in (days, (days + 3) // 7, index.month.to_numpy())]
    parts = np.arange(times.size) * n_cuts // times.size
    return [
        index.day_of_week.to_numpy(np.int64),
        index.hour.to_numpy(np.int64),
        index.day.to_numpy(np.int64),
        *(end.astype(np.int64) for end in ends),
        parts,
    ]
