"""The daily history of a session is, on every day, the one computed over all bars."""

from __future__ import annotations

import numpy as np
import pytest

from peak_trade.core.history import DailyHistory
from peak_trade.sessions.bar_buffer import BarBuffer, BufferedHistory
from peak_trade.sessions.feeds.base import bar_events
from tests.sessions.running import BTC, part_of


@pytest.mark.parametrize("n_days", [3, 40])
def test_the_history_of_a_buffer_is_on_every_day_the_history_of_all_bars(btc_1h, n_days):
    """Bar by bar over forty days, read at every close and in between."""
    bars = part_of(btc_1h, 5_000, 24 * 40)
    whole = DailyHistory([bars], "daily", n_days)
    buffer = BarBuffer(BTC, bars.timeframe, len(bars), bars.exchange)
    record = BufferedHistory(buffer, "daily", n_days)
    ends = set()
    for bar in bar_events(bars):
        buffer.add(bar)
        for as_of in (bar.ts_event, bar.ts_event + 60 * 10**9):
            history = record.returns_at(as_of)
            assert history == whole.returns_at(as_of)
            np.testing.assert_array_equal(record.activity_at("BTC/USDT", as_of), whole.activity_at("BTC/USDT", as_of))
        ends.add(None if history is None else history.as_of)
    assert len(ends) >= 38
    assert not np.isnan(record.activity_at("BTC/USDT", bar.ts_event)).any()
