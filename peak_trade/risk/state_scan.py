"""Find the first bar whose equity trips a trading-state limit, without visiting the bars before it one by one."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace
from numba import float64, int64, njit, types

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.risk.limits import StateLimits
from peak_trade.risk.state import SEVERITY, Control

_PRICES, _DAYS = (types.Array(kind, 1, "C", readonly=True) for kind in (float64, int64))
_TRACK, _TRIGGERS = (float64, float64, int64, float64), (float64, float64, types.boolean)


class Triggers(NamedTuple):
    """Conditions that make the trading state more severe.

    A drawdown or daily loss of at least this fraction (infinity if there is none), or equity that is not a finite
    number above zero.
    """

    drawdown: float
    daily_loss: float
    unreadable: bool


EquityTrack = tuple[float, float, int, float]
"""The equity, peak, day and day_start of a Control."""


def triggers(control: Control, rules: StateLimits) -> Triggers:
    """Return the conditions that make the state of a control more severe."""
    severity = SEVERITY[control.state]
    drawdown, loss = math.inf, math.inf
    for level, most_drawdown, most_loss in (
        (1, rules.reduce_drawdown, rules.reduce_daily_loss),
        (2, rules.halt_drawdown, rules.halt_daily_loss),
    ):
        if severity < level:
            drawdown = min(drawdown, math.inf if most_drawdown is None else most_drawdown)
            loss = min(loss, math.inf if most_loss is None else most_loss)
    return Triggers(drawdown, loss, severity < 1)


def track_of(control: Control) -> EquityTrack:
    """Return the values of a control that change at every bar."""
    return control.equity, control.peak, control.day, control.day_start


def with_track(control: Control, track: EquityTrack) -> Control:
    """Return the control with the values of an equity track."""
    equity, peak, day, day_start = track
    return replace(control, equity=equity, peak=peak, day=day, day_start=day_start)


def first_trigger(
    cash: float,
    quantity: float,
    marks: FloatArray,
    days: IntArray,
    start: int,
    stop: int,
    track: EquityTrack,
    until: Triggers,
) -> tuple[int, EquityTrack]:
    """Return the first bar in [start, stop) that meets a trigger, or `stop`, and the track of the bars before it.

    Gives the result of calling `advance` at each bar. Equity at a bar is cash + quantity * mark, quote currency; marks
    have shape (n_bars,), and so have the numbers of the UTC days in which the bars open. Marks are not read if the
    quantity is 0.0.
    """
    found, *after = _first_trigger(cash, quantity, marks, days, start, stop, *track, *until)
    return found, (after[0], after[1], after[2], after[3])


def track_after(equity: float, today: int, track: EquityTrack, until: Triggers) -> EquityTrack | None:
    """Return the track after one bar of the day `today`, or None if it meets a trigger; see `first_trigger`."""
    last, peak, day, day_start = track
    if not 0.0 < equity < math.inf:
        return None if until.unreadable else track
    if today != day:
        day_start = equity if last != last else last
    if not peak >= equity:
        peak = equity
    if max(1.0 - equity / peak, 0.0) >= until.drawdown or max(1.0 - equity / day_start, 0.0) >= until.daily_loss:
        return None
    return equity, peak, today, day_start


@njit(
    types.Tuple((int64, *_TRACK))(float64, float64, _PRICES, _DAYS, int64, int64, *_TRACK, *_TRIGGERS),
    cache=True,
)
def _first_trigger(  # type: ignore[no-untyped-def]
    cash, quantity, marks, days, start, stop, last, peak, day, day_start, most_drawdown, most_loss, must_be_readable
):
    now = cash
    for bar in range(start, stop):
        if quantity != 0.0:
            now = cash + quantity * marks[bar]
        if not (now > 0.0 and now < np.inf):
            if must_be_readable:
                return bar, last, peak, day, day_start
            continue
        today = days[bar]
        opened = day_start
        if today != day:
            opened = now if np.isnan(last) else last
        highest = now if np.isnan(peak) else max(peak, now)
        if max(1.0 - now / highest, 0.0) >= most_drawdown or max(1.0 - now / opened, 0.0) >= most_loss:
            return bar, last, peak, day, day_start
        last, peak, day, day_start = now, highest, today, opened
    return stop, last, peak, day, day_start
