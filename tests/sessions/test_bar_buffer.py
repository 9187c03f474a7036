"""The buffer of a session: one memory for all frames, and a daily history equal to the one over all bars."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars
from peak_trade.core.errors import SessionError
from peak_trade.core.history import DailyHistory
from peak_trade.data.sample import synthetic_bars
from peak_trade.sessions.bar_buffer import BarBuffer, BufferedHistory, MarketBuffer
from peak_trade.sessions.feeds.base import bar_events
from tests.examples import mostly_long
from tests.replacing import replace
from tests.sessions.running import BTC, part_of


@pytest.mark.parametrize(("n_days", "n_closes"), mostly_long([(3, 10), (40, 40)], 1))
def test_the_history_of_a_buffer_is_on_every_day_the_history_of_all_bars(btc_1h, n_days, n_closes):
    """Bar by bar, read at every close and in between."""
    bars = part_of(btc_1h, 5_000, 24 * n_closes)
    whole = DailyHistory([bars], "daily", n_days)
    buffer = MarketBuffer([BTC], bars.timeframe, len(bars), bars.exchange)
    record = BufferedHistory(buffer, "daily", n_days)
    ends = set()
    for bar in bar_events(bars):
        buffer.add(bar)
        for as_of in (bar.ts_event, bar.ts_event + 60 * 10**9):
            history = record.returns_at(as_of)
            assert history == whole.returns_at(as_of)
            np.testing.assert_array_equal(record.activity_at("BTC/USDT", as_of), whole.activity_at("BTC/USDT", as_of))
        ends.add(None if history is None else history.as_of)
    assert len(ends) >= n_closes - 2
    assert not np.isnan(record.activity_at("BTC/USDT", bar.ts_event)).any()


def filled(bars: Bars) -> BarBuffer:
    buffer = BarBuffer(BTC, bars.timeframe, len(bars) + 1, bars.exchange)
    for bar in bar_events(bars):
        buffer.add(bar)
    return buffer


def test_frames_of_two_bars_are_views_of_one_memory():
    bars = synthetic_bars(50)
    buffer = BarBuffer(BTC, bars.timeframe, len(bars), bars.exchange)
    frames = []
    for bar in bar_events(bars):
        buffer.add(bar)
        frames.append(buffer.bars().for_strategy())
    for name in COLUMNS:
        assert np.shares_memory(frames[10][name].to_numpy()[-1:], frames[-1][name].to_numpy()[10:11])
        for place, frame in enumerate(frames):
            np.testing.assert_array_equal(frame[name], bars.frame[name].iloc[: place + 1])


def test_the_owner_of_the_memory_refuses_writes():
    values = filled(synthetic_bars(20)).bars().for_strategy()["close"].to_numpy()
    owner: Any = values
    while getattr(owner, "base", None) is not None:
        owner = owner.base
    with pytest.raises(ValueError, match="WRITEABLE"):
        values.setflags(write=True)
    with pytest.raises((TypeError, ValueError)):
        owner[0:8] = b"12345678"
    assert memoryview(owner).readonly


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ts_event": 0}, "does not close after the bar before it"),
        ({"close": math.nan}, "close nan"),
        ({"low": -1.0}, "below zero"),
        ({"high": 1.0}, "do not hold"),
        ({"volume": math.nan}, "volume nan"),
    ],
    ids=["time", "nan", "negative", "high", "volume"],
)
def test_a_bar_that_breaks_the_contract_is_refused(changes, says):
    bars = synthetic_bars(21)
    buffer = filled(replace(bars, frame=bars.frame.iloc[:20]))
    last = bar_events(bars)[-1]
    with pytest.raises(SessionError, match=says):
        buffer.add(replace(last, **changes))
    assert buffer.n_bars == 20
    assert buffer.add(last) == 20


def test_bars_without_volume_are_kept():
    bars = synthetic_bars(20)
    bare = replace(bars, frame=bars.frame.assign(volume=math.nan))
    assert filled(bare).bars().digest() == replace(bare, symbol="BTC/USDT").digest()
