"""Time of a diff of two logs of 100,000 events each, and size of its page.

Limits: 10 s of processor time, and 1 MB for the table of differences, so that the whole page stays below 1.5 MB.
"""

from __future__ import annotations

from dataclasses import replace

from peak_trade.data.sample import sample_bars
from peak_trade.diff.recording import Recording
from peak_trade.diff.result import DiffResult, diff
from peak_trade.reports.views.diff_table import table_markup
from peak_trade.strategies.ma_crossover import MaCrossover
from tests.diff.planting import SYMBOL, run

N_BARS = 55_000
N_EVENTS = 100_000


def logs() -> tuple[Recording, Recording]:
    """Two runs with many orders, all of which differ in fee and price."""
    bars = sample_bars(SYMBOL, n_bars=N_BARS)
    strategy = MaCrossover(fast=2, slow=5)
    account = {"initial_cash": 1e7, "sizing": {"kind": "fixed_notional", "notional": 1_000.0}}
    clean = run(bars, account, strategy=strategy)
    worse = run(bars, account | {"costs": {"fee_bps": 12.0, "slippage_bps": 15.0}}, strategy=strategy)
    return clean, replace(worse, settings=clean.settings)


def whole(shadow: Recording, live: Recording) -> DiffResult:
    """All results that a page shows."""
    result = diff(shadow, live)
    assert len(result.waterfall)
    assert len(result.equity)
    assert len(result.shortfall)
    assert result.pnl_attribution.n_bars
    return result


def test_two_logs_of_100_000_events_are_compared_in_time(bench) -> None:
    shadow, live = logs()
    assert min(len(shadow.events), len(live.events)) >= N_EVENTS
    results: list[DiffResult] = []
    bench.alone(lambda: results.append(whole(shadow, live)), rounds=2)
    n_bytes = len(table_markup(results[-1]))
    seconds = bench.row["cpu_seconds"]
    bench.row["job"] = f"diff of 2 x {len(shadow.events):,} events, {len(results[-1].differences):,} differences"
    bench.bar("<= 10 s cpu", seconds <= 10.0)
    bench.bar(f"table {n_bytes / 1e6:.2f} MB <= 1 MB", n_bytes <= 1_000_000)
    assert seconds <= 10.0
    assert n_bytes <= 1_000_000
