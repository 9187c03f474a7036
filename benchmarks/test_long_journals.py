"""Peak memory and time of commands on sessions of 1,000,000 events.

At most 500 MB, imports included, except for a replay, which holds the events. The two sessions differ in fee and
slippage, so that all orders differ. Recording them takes several minutes, and that of the sessions with an order per
bar longer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from benchmarks.conftest import ROOT
from peak_trade.cli import main
from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import Bars
from peak_trade.core.time import NS_PER_SECOND, Timeframe
from peak_trade.data.store import save_bars
from peak_trade.journal.files import EVENTS, read_texts
from peak_trade.sessions.store import session_ids
from peak_trade.strategies.base import Strategy

N_BARS = 471_100
N_EVENTS = 1_000_000
N_BARS_WITH_ORDERS = 125_000
N_FILLS = 250_000
MAX_BYTES = 500_000_000
VERBS = {
    "diff": ["diff", "{0}", "{1}"],
    "diff --json": ["diff", "{0}", "{1}", "--json"],
    "replay": ["replay", "--session", "{0}"],
    "session list": ["session", "list"],
    "audit verify": ["audit", "verify", "{0}"],
    "audit export": ["audit", "export", "--session", "{0}", "--output", "{folder}/events.csv"],
}


class EveryBar(Strategy):
    """Buys and sells in turn, one order per minute."""

    name: ClassVar[str] = "every_bar"

    @property
    def warm_up(self) -> int:
        return 1

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return (pd.DatetimeIndex(bars.index).asi8 // (60 * NS_PER_SECOND) % 2).astype(np.float64)


def recorded(folder: Path, bars: Bars, costs: Sequence[tuple[float, float]], *words: str) -> list[str]:
    """Record a session for each fee and slippage, both in bps; return the workspace and their ids."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(folder))
        save_bars(bars)
        run = ["session", "run", "--feed", "recorded", "--symbol", "BTC/USDT", "--timeframe", "1m", "--quiet"]
        for fee, slippage in costs:
            (folder / "run.toml").write_text(f"[costs]\nfee_bps = {fee}\nslippage_bps = {slippage}\n")
            assert main([*run, "--no-record", "--config", str(folder / "run.toml"), *words]) == 0
        return [str(folder), *session_ids()]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Workspace and ids of two sessions with an order in 45 bars."""
    folder = tmp_path_factory.mktemp("long")
    names = recorded(folder, minutes(N_BARS), [(10.0, 5.0), (12.0, 6.0)])
    n_events = [sum(1 for _ in read_texts(folder / "sessions" / name / EVENTS)) for name in names[1:]]
    assert min(n_events) >= N_EVENTS
    return names


@pytest.fixture(scope="module")
def sessions_of_orders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Workspace and ids of two sessions with an order per bar."""
    words = "--strategy", f"{__name__}:EveryBar", "--no-causality-check"
    return recorded(tmp_path_factory.mktemp("orders"), minutes(N_BARS_WITH_ORDERS), [(0.0, 0.0), (0.01, 0.001)], *words)


def minutes(n_bars: int) -> Bars:
    """A random walk of one-minute bars."""
    rng = np.random.default_rng(3)
    close = 30_000.0 * np.exp(np.cumsum(rng.normal(0.0, 6e-4, n_bars)))
    opened = np.concatenate([[30_000.0], close[:-1]])
    wicks = 1.0 + np.abs(rng.normal(0.0, 2e-4, (2, n_bars)))
    values = {
        "open": opened,
        "high": np.maximum(opened, close) * wicks[0],
        "low": np.minimum(opened, close) / wicks[1],
        "close": close,
        "volume": rng.exponential(50.0, n_bars) + 1.0,
    }
    times = pd.date_range("2022-01-01", periods=n_bars, freq="min", tz="UTC")
    return Bars(pd.DataFrame(values, index=times), "BTC/USDT", Timeframe.parse("1m"), "sample")


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_on_long_sessions(benchmark, verb, sessions):
    folder, *names = sessions
    words = [word.format(*names, folder=folder) for word in VERBS[verb]]
    costs: list[tuple[float, int]] = []
    benchmark.pedantic(lambda: costs.append(cost_of_command(words, Path(folder))), rounds=1)
    seconds, n_bytes = costs[0]
    note(benchmark, f"{verb}, sessions of {N_EVENTS:,} events", seconds, n_bytes, has_bar=verb != "replay")
    assert verb == "replay" or n_bytes <= MAX_BYTES


def test_a_diff_of_sessions_with_an_order_per_bar(benchmark, sessions_of_orders):
    """Its memory grows with the number of differences; the bar is missed."""
    folder, *names = sessions_of_orders
    costs: list[tuple[float, int]] = []
    benchmark.pedantic(lambda: costs.append(cost_of_command(["diff", *names], Path(folder))), rounds=1)
    note(benchmark, f"diff, sessions of {N_BARS_WITH_ORDERS:,} orders", *costs[0], has_bar=True)


def test_an_import_of_a_long_log(benchmark, tmp_path):
    """A fill of Trade History becomes four events, so that the session has a million."""
    rng = np.random.default_rng(4)
    prices, quantities = rng.uniform(30_000.0, 60_000.0, N_FILLS), rng.uniform(0.001, 1.0, N_FILLS)
    times = pd.date_range("2022-01-01", periods=N_FILLS, freq="37s").strftime("%Y-%m-%d %H:%M:%S")
    with (tmp_path / "trades.csv").open("w") as file:
        file.write("Date(UTC),Pair,Side,Price,Executed,Amount,Fee\n")
        for time, price, quantity in zip(times, prices, quantities, strict=True):
            file.write(f"{time},BTCUSDT,BUY,{price:.2f},{quantity:.5f}BTC,{price * quantity:.8f}USDT,0.0001BNB\n")
    costs: list[tuple[float, int]] = []
    words = ["audit", "import", str(tmp_path / "trades.csv")]
    benchmark.pedantic(lambda: costs.append(cost_of_command(words, tmp_path)), rounds=1)
    note(benchmark, f"import of a log of {N_FILLS:,} fills", *costs[0], has_bar=True)
    assert costs[0][1] <= MAX_BYTES


def note(benchmark, job: str, seconds: float, n_bytes: int, *, has_bar: bool) -> None:
    """Store what a command costs in the table of the benchmarks."""
    benchmark.extra_info |= {"job": job, "cpu_seconds": seconds, "growth_mib": n_bytes / 2**20}
    if has_bar:
        benchmark.extra_info["bars"] = [[f"{n_bytes / 1e6:.0f} MB <= 500 MB", n_bytes <= MAX_BYTES]]


PROGRAM = """
import sys, time
from pathlib import Path
from peak_trade.cli import main
code = main()
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(code, time.process_time(), 1024 * int(peak.split()[1]), file=sys.stderr)
"""
"""A command that states its exit code, its processor time in seconds and its peak memory in bytes at the end."""


def cost_of_command(words: list[str], home: Path) -> tuple[float, int]:
    """Run a command as a process; return its processor time in seconds and its peak memory in bytes."""
    environment = os.environ | {"PEAK_TRADE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    code, seconds, n_bytes = done.stderr.splitlines()[-1].split()
    assert code in ("0", "1"), done.stderr
    return float(seconds), int(n_bytes)
