"""What a history says at an instant does not change when later bars do."""

import numpy as np
import pandas as pd

from peak_trade.core.bars import Bars
from peak_trade.core.history import DailyHistory
from peak_trade.data.sample import synthetic_bars
from tests.risk.test_histories import without


def rewritten_after(bars: Bars, now: int) -> Bars:
    """The same bars up to an instant, others after it."""
    frame = bars.frame.copy()
    frame.loc[frame.index > pd.Timestamp(now, tz="UTC")] *= 3.0
    return Bars(frame, bars.symbol, bars.timeframe, bars.exchange)


def test_returns_volumes_and_volatilities_are_those_of_days_that_are_over():
    whole = synthetic_bars(24 * 90)
    bars = without(without(whole, 24 * 40 + 5, 24 * 40 + 20), 24 * 60, 24 * 62)
    for row in range(24 * 30, len(bars), 101):
        now = int(bars.times[row])
        cut = Bars(bars.frame.iloc[: row + 1], bars.symbol, bars.timeframe, bars.exchange)
        histories = [DailyHistory([part], "run", 60) for part in (bars, cut, rewritten_after(bars, now))]
        returns = [record.returns_at(now).returns for record in histories]
        activity = [record.activity_at(bars.symbol, now) for record in histories]
        for other in (1, 2):
            np.testing.assert_array_equal(returns[0], returns[other])
            np.testing.assert_array_equal(activity[0], activity[other])
