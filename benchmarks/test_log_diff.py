"""Time of a diff of two external logs of 10,000 orders each, ten in a bar, which differ in time, size, price and fee.

Limit: 12 s of processor time, from the events of the logs on.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.test_long_journals import minutes
from peak_trade.core.bars import Bars
from peak_trade.core.time import NS_PER_SECOND, Timeframe
from peak_trade.core.values import Side
from peak_trade.diff.external import LogBars, recording_of_log
from peak_trade.diff.result import DiffResult, diff
from peak_trade.journal.events import Event
from peak_trade.journal.formats.logged_orders import LoggedFill, LogOptions, events_of_order

N_ORDERS = 10_000
N_PER_BAR = 10
SYMBOL = "BTC/USDT"


def hourly() -> Bars:
    """Bars of a random walk, one per ten orders."""
    frame = minutes(N_ORDERS // N_PER_BAR + 10).frame
    index = pd.date_range("2022-01-01", periods=len(frame), freq="h", tz="UTC")
    return Bars(frame.set_axis(index), SYMBOL, Timeframe.parse("1h"), "sample")


def log_of(bars: Bars, late: int, slippage: float, spread: float) -> list[Event]:
    """Market orders `late` seconds after even times, at the open of the next bar with slippage and a random fee."""
    rng = np.random.default_rng(5)
    events: list[Event] = []
    opens = bars.frame["open"].to_numpy()
    for number in range(N_ORDERS):
        bar, part = divmod(number, N_PER_BAR)
        side = Side.BUY if number % 2 == 0 else Side.SELL
        time = int(bars.times[bar]) + (part * 3_600 // N_PER_BAR + late) * NS_PER_SECOND
        price = float(opens[bar + 1]) * (1.0 + side.sign * slippage)
        quantity = 0.1 + spread * rng.random()
        fees = ((1e-3 * (1.0 + spread * rng.random()) * price * quantity, "USDT"),)
        fill = LoggedFill((number,), f"{number}", time, SYMBOL, side, quantity, price, fees)
        events += events_of_order(f"{late}-{number}", None, [fill], LogOptions())
    return events


def test_two_dense_logs_are_compared_in_time(bench) -> None:
    bars = hourly()
    held = LogBars({SYMBOL: bars}, {SYMBOL: bars})
    logs = log_of(bars, 1, 0.0, 0.0), log_of(bars, 3, 3e-4, 0.1)
    results: list[DiffResult] = []

    def compared() -> None:
        settings = {"trading.initial_cash": 1e5}
        one, other = (recording_of_log(name, log, held, settings) for name, log in zip("ab", logs, strict=True))
        results.append(diff(one, other))

    bench.alone(compared, rounds=1)
    seconds = bench.row["cpu_seconds"]
    bench.row["job"] = f"diff of two logs of {N_ORDERS:,} orders, {len(results[-1].differences):,} differences"
    bench.bar("<= 12 s cpu", seconds <= 12.0)
    assert seconds <= 12.0
