"""The imports of the fixed runs that are no public surface: when a module moves, this is the one file to change."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

from peak_trade.cli import main as command_line
from peak_trade.data.workspace import workspace_at
from peak_trade.sessions.config import SessionConfig, SessionStrategy
from peak_trade.sessions.run import run_session
from peak_trade.sessions.sandbox.client import connect_sandbox
from peak_trade.wiring.detectors import DETECTORS
from peak_trade.wiring.strategies import STRATEGIES, make_strategy
from tests.emulator import demo
from tests.emulator.exchange import Exchange
from tests.emulator.futures import FuturesExchange
from tests.emulator.server import KEY, KRAKEN_SECRET, SECRET, Emulator
from tests.sessions import granting

FOLLOW_OPTION = "--follow"
"""The option of `peak-trade session run` that names the session that a shadow follows."""

SANDBOX_KEYS = {
    "BINANCE_TESTNET_KEY": KEY,
    "BINANCE_TESTNET_SECRET": SECRET,
    "KRAKEN_FUTURES_DEMO_KEY": KEY,
    "KRAKEN_FUTURES_DEMO_SECRET": KRAKEN_SECRET,
}
NS_PER_MS = 1_000_000

__all__ = [
    "DETECTORS", "FOLLOW_OPTION", "STRATEGIES", "command_line", "in_workspace", "run_demo", "trade_at_the_emulator",
]  # fmt: skip


def run_demo(home: Path) -> tuple[Path, ...]:
    """Run the demo's pair of sessions into a workspace of its own; return the folders of both, the shadow first."""
    return demo.run_pair(home)


def in_workspace(home: Path) -> contextlib.AbstractContextManager[None]:
    """Make a folder the workspace while a block runs."""
    return workspace_at(home)


def trade_at_the_emulator(home: Path, bars: Any, settings: dict[str, Any], n_history: int, n_traded: int) -> Path:
    """Run a testnet session at the emulator of the bars' exchange, in a workspace of its own; return its folder.

    The exchange answers late, fills in parts and takes a fee of its own; its clock is the session's.
    """
    emulated_exchange = FuturesExchange if bars.exchange == "krakenfutures" else Exchange
    exchange = emulated_exchange(bars, seed=3, fee=0.0007, partial_share=0.4)
    exchange.advance_to(int(bars.times[n_history - 1]) // NS_PER_MS)
    clock = demo.EmulatedClock(exchange, int(bars.times[n_history + n_traded - 1]) // NS_PER_MS + 500)
    delays = random.Random(3)
    emulator = Emulator(exchange, latency=lambda: exchange.advance_to(exchange.now_ms + delays.randrange(20, 900)))

    def sandbox() -> Any:
        client = connect_sandbox(bars.exchange, SANDBOX_KEYS, emulator.url)
        client.enableRateLimit = False
        client.milliseconds = lambda: clock.now() // NS_PER_MS
        return client

    asked = {"mode": "testnet", "n_history": n_history, "symbol": bars.symbol, "exchange": bars.exchange}
    asked |= {"timeframe": str(bars.timeframe), "risk": granting.LOOSE | settings["risk"]}
    config = SessionConfig.parse({**settings, **asked}, "fixed run")
    parameters = make_strategy(config.label, config.parameters).model_dump(mode="json")
    strategies = (SessionStrategy(name=config.label, parameters=parameters),)
    config = config.model_copy(update={"strategies": strategies})
    with workspace_at(home), contextlib.closing(emulator):
        grant = granting.grant_for(config, clock.now, sandbox)
        return run_session(config, switch=clock, clock=clock.now, grant=grant, sandbox=sandbox).folder
