"""Sessions bar by bar: processor time of a bar, and of ten times the bars, for each strategy of the table.

The loop decides at every close and trades without limits; the journal has its own benchmark. Both lengths alternate.
"""

from __future__ import annotations

import gc
import time
from statistics import median

import pytest

from peak_trade.core.values import Instrument
from peak_trade.data.sample import synthetic_bars
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.events import SessionEvent, SessionPhase
from peak_trade.sessions.bar_buffer import MarketBuffer
from peak_trade.sessions.driver import Driver
from peak_trade.sessions.feeds.base import bar_events
from peak_trade.sessions.live_sleeves import LiveSleeves
from peak_trade.wiring.sleeves import Evaluation
from peak_trade.wiring.strategies import STRATEGIES, make_strategy

N_BARS = 2_000
LARGEST_RATIO = 11.0
LARGEST_BAR = 0.8e-3
"""Processor seconds of a bar."""


def cpu_seconds(name: str, n_bars: int) -> float:
    """Return the processor time of a session over generated bars."""
    bars, settings = synthetic_bars(n_bars), BacktestSettings()
    instrument = Instrument(bars.symbol)
    buffer = MarketBuffer([instrument], bars.timeframe, n_bars, bars.exchange)
    sleeves = LiveSleeves(buffer, [Evaluation(make_strategy(name), name, (bars.symbol,), settings)])
    driver = Driver(buffer, sleeves, settings, emit=lambda event: None)
    driver.apply(SessionEvent(0, SessionPhase.STARTED, "paper", "", settings.initial_cash))
    events = bar_events(bars)
    gc.collect()
    started = time.process_time()
    for event in events:
        driver.apply(event)
    return time.process_time() - started


@pytest.mark.parametrize("name", STRATEGIES)
def test_ten_times_the_bars(benchmark, name):
    """Pairs of a short and a long session."""
    cpu_seconds(name, 100)
    pairs: list[tuple[float, float]] = []
    benchmark.pedantic(lambda: pairs.append((cpu_seconds(name, N_BARS), cpu_seconds(name, 10 * N_BARS))), rounds=3)
    short, long = (median(pair[place] for pair in pairs) for place in (0, 1))
    benchmark.extra_info |= {
        "seconds": long,
        "cpu_seconds": long,
        "ms per bar": round(long / (10 * N_BARS) * 1e3, 3),
        "ratio of ten times the bars": round(long / short, 2),
        "bars": [
            ["ten times the bars take at most eleven times as long", long / short <= LARGEST_RATIO],
            ["at most 0.8 ms a bar", long / (10 * N_BARS) <= LARGEST_BAR],
        ],
    }
