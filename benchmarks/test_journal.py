"""Cost of the journal: events per second, time per event, and the fraction of a session that is telemetry.

Each paced pair takes two minutes. PEAK_TRADE_BENCH_PAIRS is their number, by default 3.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.core.values import OrderType, Side, TimeInForce
from peak_trade.data.sample import sample_bars
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.events import BarEvent, DecisionEvent, Event, OrderEvent, OrderEventKind
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.orders import OrderStates
from peak_trade.journal.telemetry import Sinks, make_sinks
from peak_trade.journal.verify import verify
from peak_trade.journal.versions import JOURNAL_VERSION
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.sessions.config import SessionConfig, SessionStrategy, SessionSymbol
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.feeds.base import RecordedFeed
from peak_trade.sessions.parts import buffer_of, risk_engine_of, sleeves_of
from peak_trade.sessions.runner import Session
from peak_trade.wiring.gates import read_risk_file

ROOT = Path(__file__).parents[1]
N_BARS_PER_ORDER = 50
INPUTS = '{"order":{}}' * 256
"""Text of the length of a decision's inputs under the shipped limits: 3,071 bytes in the median."""

PACE = 60.0
N_PAIRS = int(os.environ.get("PEAK_TRADE_BENCH_PAIRS", "3"))
KINDS = (OrderEventKind.REQUESTED, OrderEventKind.SUBMITTED, OrderEventKind.ACCEPTED, OrderEventKind.FILLED)


def stream(n_orders: int, n_bars_per_order: int = N_BARS_PER_ORDER) -> list[Event]:
    """Orders with their decisions, some bars before each; each SUBMITTED event forces a write to disk."""
    events: list[Event] = []
    for n in range(n_orders):
        events += [BarEvent(n, "BTC/USDT", 1.5 + n, 2.5 + n, 1.25, 2.125 + n, 3.1) for _ in range(n_bars_per_order)]
        events.append(order(n, OrderEventKind.REQUESTED))
        events.append(DecisionEvent(n, f"o-{n}", True, (), INPUTS))
        events += [order(n, kind) for kind in KINDS[1:]]
    return events


def order(n: int, kind: OrderEventKind) -> OrderEvent:
    """One step of an order."""
    traded = 1.5 if kind is OrderEventKind.FILLED else 0.0
    amounts = (1.5, traded, 1.5 - traded, 10.0, 10.0, traded, 11.0 if traded else 0.0)
    kinds = (kind, Side.BUY, OrderType.MARKET, TimeInForce.GTC)
    return OrderEvent(n, f"o-{n}", "ma_crossover", "BTC/USDT", *kinds, *amounts)


@pytest.mark.parametrize("n_bars_per_order", [N_BARS_PER_ORDER, 0], ids=["bars-and-orders", "orders-only"])
def test_writer_of_a_busy_session_durably(benchmark, tmp_path, n_bars_per_order, monkeypatch):
    """Mixed load: fifty bars per order. Orders only: the cost of an order with its decision, and of the disk."""
    n_orders = 2_000 if n_bars_per_order else 1_000
    events = stream(n_orders, n_bars_per_order)
    key, names = WorkspaceKey(tmp_path / "keys"), itertools.count()

    def opened() -> tuple[tuple[JournalWriter], dict[str, object]]:
        folder = tmp_path / f"s{next(names)}"
        create_session(folder, {}, key, time.time_ns)
        return (JournalWriter(folder, key, time.time_ns),), {}

    waits = [0.0]
    sync = os.fdatasync

    def timed_sync(file: int) -> None:
        started = time.perf_counter()
        sync(file)
        waits[-1] += time.perf_counter() - started

    monkeypatch.setattr(os, "fdatasync", timed_sync)

    def write(writer: JournalWriter) -> None:
        waits.append(0.0)
        for event in events:
            writer.append(event)
        writer.commit()

    benchmark.pedantic(write, setup=opened, rounds=5)
    seconds = benchmark.stats.stats.median
    rate, on_disk = len(events) / seconds, statistics.median(waits[1:])
    benchmark.extra_info |= {
        "events": len(events),
        "fsyncs for orders": n_orders,
        "bytes of a decision": len(INPUTS),
        "events per second": round(rate),
        "µs per event": round(1e6 / rate, 1),
        "µs per order": round(1e6 * seconds / n_orders),
        "ms per sync on this machine": round(1e3 * on_disk / n_orders, 2),
        "events per second without the disk": round(len(events) / (seconds - on_disk)),
    }
    if n_bars_per_order:
        benchmark.extra_info["bars"] = [["50,000 events/s or more", rate >= 50_000]]


def test_verification_of_a_journal(benchmark, tmp_path):
    key, events = WorkspaceKey(tmp_path / "keys"), stream(1_000)
    create_session(tmp_path / "s", {}, key, time.time_ns)
    with JournalWriter(tmp_path / "s", key, time.time_ns) as writer:
        for event in events:
            writer.append(event)
        writer.seal()
    verdict = benchmark.pedantic(verify, args=(tmp_path / "s", key.public), rounds=3)
    assert verdict.is_intact
    benchmark.extra_info["events per second"] = round(len(events) / benchmark.stats.stats.median)


class NoJournal:
    """Stand-in for the writer when nothing is recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.orders = folder, OrderStates()
        self.dropped_sinks: list[str] = []
        self.n_unsigned = 0

    def append(self, event: Event) -> int:
        return 0

    def commit(self) -> None:
        pass

    def flush_sinks(self) -> None:
        pass

    def seal(self) -> None:
        pass


CONFIG = SessionConfig(
    mode="paper",
    strategies=(SessionStrategy(name="ma_crossover", parameters={"fast": 3, "slow": 9}),),
    symbols=(SessionSymbol(name="BTC/USDT"),),
    timeframe="1m",
    exchange="sample",
    feed="recorded",
    risk=read_risk_file(ROOT / "config" / "risk.toml"),
)


def minutes(n_bars: int) -> Bars:
    """Sample bars with a distance of one minute."""
    frame = sample_bars("BTC/USDT", n_bars=n_bars).frame
    times = pd.date_range("2024-01-01", periods=n_bars, freq="min", tz="UTC")
    return Bars(frame.set_axis(times, axis=0), "BTC/USDT", Timeframe.parse("1m"), "sample")


def run(folder: Path, n_bars: int, pace: float | None, *, is_recorded: bool) -> tuple[float, float]:
    """Run a session with gates on; return its wall and CPU seconds."""
    bars, key = minutes(n_bars), WorkspaceKey(folder.parent / "keys")
    manifest = {"config": CONFIG.model_dump(mode="json"), "version": JOURNAL_VERSION}
    create_session(folder, manifest, key, time.time_ns)
    switch = StopSwitch()
    buffer = buffer_of(CONFIG, n_bars)
    sqlite = Sinks.parse({"sqlite": {"enabled": True, "level": "full"}}, "benchmark")
    started, cpu = time.perf_counter(), time.process_time()
    journal: Any = NoJournal(folder)
    if is_recorded:
        journal = JournalWriter(folder, key, time.time_ns, sinks=make_sinks(sqlite, folder))
    sleeves, risk_engine = sleeves_of(CONFIG, buffer, None), risk_engine_of(CONFIG, buffer, [bars])
    session = Session(
        buffer, sleeves, BacktestSettings(), journal, time.time_ns, "paper", risk_engine=risk_engine,
        measures=is_recorded, switch=switch,
    )  # fmt: skip
    session.run(RecordedFeed(bars, pace=pace, wait=switch.wait))
    return time.perf_counter() - started, time.process_time() - cpu


def test_telemetry_of_a_session_at_full_speed(benchmark, tmp_path):
    """CPU time with gates enabled: without a journal, and with JSON lines and SQLite."""
    names, pairs = itertools.count(), []

    def pair() -> None:
        pairs.append([run(tmp_path / f"{next(names)}", 600, None, is_recorded=kept)[1] for kept in (False, True)])

    benchmark.pedantic(pair, rounds=5, warmup_rounds=1)
    without, recorded = (statistics.median(pair[place] for pair in pairs[1:]) for place in (0, 1))
    benchmark.extra_info |= {
        "seconds": recorded,
        "cpu_seconds": recorded,
        "fraction of the session's CPU time": f"{(recorded - without) / recorded:.0%}",
        "µs per bar": round((recorded - without) / 600 * 1e6),
    }


def test_telemetry_of_a_paced_minute(benchmark, tmp_path):
    """Sixty minute bars at 60x with gates enabled: pairs without and with telemetry, in alternating order."""
    run(tmp_path / "warm", 60, None, is_recorded=True)
    names, pairs = itertools.count(), []

    def pair() -> None:
        n = next(names)
        turns = (False, True) if n % 2 == 0 else (True, False)
        pairs.append({kept: run(tmp_path / f"{n}-{kept}", 61, PACE, is_recorded=kept) for kept in turns})

    benchmark.pedantic(pair, rounds=N_PAIRS)
    (wall, cpu), (wall_with, cpu_with) = (
        [statistics.median(each[kept][place] for each in pairs) for place in (0, 1)] for kept in (False, True)
    )
    costs = [(each[True][0] - each[False][0]) / each[False][0] for each in pairs]
    shares = [(each[True][1] - each[False][1]) / each[True][1] for each in pairs]
    benchmark.extra_info |= {
        "seconds": wall_with,
        "cpu_seconds": cpu_with,
        "pairs": N_PAIRS,
        "run time without": wall,
        "CPU without": cpu,
        "cost in run time": _median_and_spread(costs),
        "telemetry as a fraction of the session's CPU time": _median_and_spread(shares),
        "bars": [["under 1 % of the run time in the median", statistics.median(costs) < 0.01]],
    }


def _median_and_spread(shares: list[float]) -> str:
    return f"{statistics.median(shares):+.3%} ({min(shares):+.3%} to {max(shares):+.3%})"
