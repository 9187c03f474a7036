"""What the journal costs: events a second, the microseconds of one, and telemetry's share of a session.

The paced pair takes two minutes.
"""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path
from typing import Any

import pandas as pd

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
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.sessions.feeds import RecordedFeed
from peak_trade.sessions.runner import Session, StopSwitch
from peak_trade.sessions.tape import Tape
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.session import SessionConfig, desk_of, evaluator
from peak_trade.wiring.gates import read_risk_file

ROOT = Path(__file__).parents[1]
N_BARS_AN_ORDER = 50
KINDS = (OrderEventKind.REQUESTED, OrderEventKind.SUBMITTED, OrderEventKind.ACCEPTED, OrderEventKind.FILLED)


def stream(n_orders: int) -> list[Event]:
    """A busy session: an order every fifty bars, with its decision; each SUBMITTED brings all before it to the disk."""
    events: list[Event] = []
    for n in range(n_orders):
        events += [BarEvent(n, "BTC/USDT", 1.5 + n, 2.5 + n, 1.25, 2.125 + n, 3.1) for _ in range(N_BARS_AN_ORDER)]
        events += [order(n, kind) for kind in KINDS]
        events.append(DecisionEvent(n, f"o-{n}", True, (), '{"order":{}}' * 40))
    return events


def order(n: int, kind: OrderEventKind) -> OrderEvent:
    """One step of an order."""
    traded = 1.5 if kind is OrderEventKind.FILLED else 0.0
    amounts = (1.5, traded, 1.5 - traded, 10.0, 10.0, traded, 11.0 if traded else 0.0)
    kinds = (kind, Side.BUY, OrderType.MARKET, TimeInForce.GTC)
    return OrderEvent(n, f"o-{n}", "ma_crossover", "BTC/USDT", *kinds, *amounts)


def test_writer_of_a_busy_session_durably(benchmark, tmp_path):
    events = stream(2_000)
    names = itertools.count()

    def opened() -> tuple[tuple[JournalWriter], dict[str, object]]:
        folder = tmp_path / f"s{next(names)}"
        create_session(folder, {})
        return (JournalWriter(folder, WorkspaceKey(tmp_path / "keys"), time.time_ns),), {}

    def write(writer: JournalWriter) -> None:
        for event in events:
            writer.append(event)
        writer.commit()

    benchmark.pedantic(write, setup=opened, rounds=5)
    rate = len(events) / benchmark.stats.stats.median
    benchmark.extra_info |= {
        "events": len(events),
        "fsyncs for orders": 2_000,
        "events a second": round(rate),
        "µs an event": round(1e6 / rate, 1),
        "bars": [["50,000 events/s or more", rate >= 50_000]],
    }


def test_verification_of_a_journal(benchmark, tmp_path):
    key, events = WorkspaceKey(tmp_path / "keys"), stream(1_000)
    create_session(tmp_path / "s", {})
    with JournalWriter(tmp_path / "s", key, time.time_ns) as writer:
        for event in events:
            writer.append(event)
        writer.seal()
    verdict = benchmark.pedantic(verify, args=(tmp_path / "s", key.public), rounds=3)
    assert verdict.is_intact
    benchmark.extra_info["events a second"] = round(len(events) / benchmark.stats.stats.median)


class NoJournal:
    """What a session writes to when nothing is recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.orders = folder, OrderStates()
        self.dropped_sinks: list[str] = []

    def append(self, event: Event) -> int:
        return 0

    def commit(self) -> None:
        pass

    def seal(self) -> None:
        pass


CONFIG = SessionConfig(
    mode="paper",
    strategy="ma_crossover",
    symbol="BTC/USDT",
    timeframe="1m",
    exchange="sample",
    feed="recorded",
    risk=read_risk_file(ROOT / "config" / "risk.toml"),
)
STRATEGY = MaCrossover(fast=3, slow=9)


def minutes(n_bars: int) -> Bars:
    """Sample bars, a minute apart."""
    frame = sample_bars("BTC/USDT", n_bars=n_bars).frame
    times = pd.date_range("2024-01-01", periods=n_bars, freq="min", tz="UTC")
    return Bars(frame.set_axis(times, axis=0), "BTC/USDT", Timeframe.parse("1m"), "sample")


def run(folder: Path, n_bars: int, pace: float | None, *, is_recorded: bool) -> tuple[float, float]:
    """Run a session with gates on; return its wall and CPU seconds."""
    bars = minutes(n_bars)
    create_session(folder, {})
    switch = StopSwitch()
    tape = Tape(CONFIG.instrument.instrument("BTC/USDT"), bars.timeframe, n_bars, "sample")
    sqlite = Sinks.parse({"sqlite": {"enabled": True, "level": "full"}}, "benchmark")
    started, cpu = time.perf_counter(), time.process_time()
    journal: Any = NoJournal(folder)
    if is_recorded:
        key = WorkspaceKey(folder.parent / "keys")
        journal = JournalWriter(folder, key, time.time_ns, sinks=make_sinks(sqlite, folder))
    evaluate, desk = evaluator(CONFIG, STRATEGY), desk_of(CONFIG, tape, bars)
    session = Session(
        tape, evaluate, BacktestSettings(), journal, time.time_ns, "ma_crossover", "paper", desk=desk,
        measures=is_recorded, switch=switch,
    )  # fmt: skip
    session.run(RecordedFeed(bars, pace=pace, wait=switch.wait))
    return time.perf_counter() - started, time.process_time() - cpu


def test_telemetry_of_a_session_at_full_speed(benchmark, tmp_path):
    """Nothing but work is measured, gates on: once without a journal, once with JSON lines and SQLite."""
    names, pairs = itertools.count(), []

    def pair() -> None:
        pairs.append([run(tmp_path / f"{next(names)}", 600, None, is_recorded=kept)[1] for kept in (False, True)])

    benchmark.pedantic(pair, rounds=5, warmup_rounds=1)
    without, recorded = (statistics.median(pair[place] for pair in pairs[1:]) for place in (0, 1))
    benchmark.extra_info |= {
        "seconds": recorded,
        "cpu_seconds": recorded,
        "share of the session's own CPU work": f"{(recorded - without) / recorded:.0%}",
        "µs a bar": round((recorded - without) / 600 * 1e6),
    }


def test_telemetry_of_a_paced_minute(benchmark, tmp_path):
    """Sixty bars of a minute at 60x, gates on: one run without and one with telemetry."""
    run(tmp_path / "warm", 60, None, is_recorded=True)
    runs = {}

    def both() -> None:
        for kept in (False, True):
            runs[kept] = run(tmp_path / f"{kept}", 61, 60.0, is_recorded=kept)

    benchmark.pedantic(both, rounds=1)
    (wall, cpu), (wall_with, cpu_with) = runs[False], runs[True]
    benchmark.extra_info |= {
        "seconds": wall_with,
        "cpu_seconds": cpu_with,
        "run time without": wall,
        "CPU without": cpu,
        "cost": f"{(wall_with - wall) / wall:+.3%} of the run time",
        "bars": [["under 1 % of the run time", wall_with < wall * 1.01]],
    }
