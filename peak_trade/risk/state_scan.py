"""The stretches in which the trading state can't change: passed over at next to no cost, and equal to `advance`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numba import float64, int64, njit, types

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.risk.limits import StateLimits
from peak_trade.risk.state import SEVERITY, Control

_NS_PER_DAY = 86_400 * NS_PER_SECOND
_PRICES, _INSTANTS = (types.Array(kind, 1, "C", readonly=True) for kind in (float64, int64))


class Triggers(NamedTuple):
    """What would change the state next: a drawdown or daily loss this large (inf: none), or an unreadable equity."""

    drawdown: float
    daily_loss: float
    unreadable: bool


Memory = tuple[float, float, int, float]
"""Equity, peak, day and day_start of a Control."""


def triggers(control: Control, rules: StateLimits) -> Triggers:
    """Return what would make the state of a control more severe."""
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


def memory_of(control: Control) -> Memory:
    """Return the numbers of a control that change on every row."""
    return control.equity, control.peak, control.day, control.day_start


def remember(control: Control, memory: Sequence[float]) -> Control:
    """Return the control with these numbers."""
    equity, peak, day, day_start = memory
    return replace(control, equity=equity, peak=peak, day=int(day), day_start=day_start)


def quiet(
    cash: float,
    quantity: float,
    marks: FloatArray,
    times: IntArray,
    start: int,
    stop: int,
    memory: Memory,
    until: Triggers,
) -> tuple[int, Memory]:
    """Return how many rows from `start` pass before a trigger, and the memory after them: `advance`, compiled.

    Equity at each row is cash + quantity x mark, quote currency; marks and times have shape (n,), and with a quantity
    of 0.0 marks do not count.
    """
    n_quiet, *after = _quiet(cash, quantity, marks, times, start, stop, *memory, *until)
    return n_quiet, (after[0], after[1], after[2], after[3])


def is_quiet(equity: float, time: int, memory: Memory, until: Triggers) -> Memory | None:
    """Return the memory after one row, or None when it has a trigger: `quiet` for a single row, without arrays."""
    last, peak, day, day_start = memory
    if not 0.0 < equity < math.inf:
        return None if until.unreadable else memory
    today = (time - 1) // _NS_PER_DAY
    if today != day:
        day_start = equity if last != last else last
    if not peak >= equity:
        peak = equity
    if max(1.0 - equity / peak, 0.0) >= until.drawdown or max(1.0 - equity / day_start, 0.0) >= until.daily_loss:
        return None
    return equity, peak, today, day_start


@njit(
    types.Tuple((int64, float64, float64, int64, float64))(
        float64, float64, _PRICES, _INSTANTS, int64, int64,
        float64, float64, int64, float64, float64, float64, types.boolean,
    ),
    cache=True,
)  # fmt: skip
def _quiet(  # type: ignore[no-untyped-def]
    cash, quantity, marks, times, start, stop, last, peak, day, day_start, most_drawdown, most_loss, must_be_known
):
    now = cash
    for row in range(start, stop):
        if quantity != 0.0:
            now = cash + quantity * marks[row]
        if not (now > 0.0 and now < np.inf):
            if must_be_known:
                return row - start, last, peak, day, day_start
            continue
        today = (times[row] - 1) // _NS_PER_DAY
        opened = day_start
        if today != day:
            opened = now if np.isnan(last) else last
        highest = now if np.isnan(peak) else max(peak, now)
        if max(1.0 - now / highest, 0.0) >= most_drawdown or max(1.0 - now / opened, 0.0) >= most_loss:
            return row - start, last, peak, day, day_start
        last, peak, day, day_start = now, highest, today, opened
    return stop - start, last, peak, day, day_start
