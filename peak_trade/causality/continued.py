"""Check that an incremental strategy returns with one bar after another what it returns over all bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peak_trade.core.bar_frame import COLUMNS, BarColumns, index_ns
from peak_trade.core.bars import Bars
from peak_trade.core.errors import StrategyError
from peak_trade.core.time import iso
from peak_trade.strategies.base import Strategy, strategy_errors
from peak_trade.strategies.incremental import Continuation, IncrementalStrategy, is_incremental

N_BARS = 1_000
"""Number of bars after the warm-up that are compared."""


def check_continued(strategy: Strategy, bars: Bars) -> None:
    """Compare both evaluations of an incremental strategy on the newest bars, bit by bit; others are not evaluated.

    Raises
    ------
    StrategyError
        If they differ, or the strategy can not be continued; the first such bar is named.

    """
    if not (isinstance(strategy, IncrementalStrategy) and is_incremental(strategy)):
        return
    frame = bars.frame.iloc[-(strategy.warm_up + N_BARS) :]
    columns = {"close_time": index_ns(frame.index), **{name: frame[name].to_numpy() for name in COLUMNS}}
    continuation = Continuation()
    with strategy_errors(strategy.name):
        whole = np.asarray(strategy.exposure(bars.for_strategy().loc[frame.index]))
        found = np.concatenate([_row(strategy, columns, row, continuation) for row in range(len(frame))])
    is_different = (found != whole) & ~(np.isnan(found) & np.isnan(whole))
    if is_different.any():
        row = int(np.flatnonzero(is_different)[0])
        at = iso(int(columns["close_time"][row]))
        raise StrategyError(
            f"{strategy.name}: at {at} the exposure is {float(whole[row])!r} over all bars "
            f"and {float(found[row])!r} bar by bar. Let `evaluate` read earlier bars through `compute` only, or "
            "subclass Strategy."
        )


def _row(
    strategy: IncrementalStrategy, columns: Mapping[str, NDArray[Any]], row: int, continuation: Continuation
) -> NDArray[Any]:
    continuation.begin()
    found = np.asarray(strategy.evaluate(BarColumns(lambda name: columns[name][row : row + 1]), continuation))
    if found.shape != (1,):
        raise StrategyError(f"{strategy.name}: evaluate returned shape {found.shape} for one bar; return one value.")
    return found
