"""The demo's pair of sessions: one that trades at the emulated exchange, and its shadow.

`python -m tests.emulator.demo` runs them over sample bars, once, and prints their ids on the last line. The exchange
answers late, fills in parts and charges another fee than the shadow assumes: the diff has to find these causes.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
from pathlib import Path
from typing import Any

from peak_trade.core.bars import Bars
from peak_trade.data.sample import sample_bars
from peak_trade.data.workspace import workspace
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.run import run_session
from peak_trade.sessions.sandbox.client import connect_sandbox
from peak_trade.sessions.store import sessions_folder
from tests.emulator.exchange import Exchange
from tests.emulator.server import KEY, SECRET, Emulator

NS_PER_MS = 1_000_000
KEYS = {"BINANCE_TESTNET_KEY": KEY, "BINANCE_TESTNET_SECRET": SECRET}
N_HISTORY, N_TRADED = 200, 400
SHARED: dict[str, Any] = {
    "strategy": "ma_crossover",
    "parameters": {"fast": 8, "slow": 21},
    "symbol": "BTC/USDT",
    "timeframe": "1h",
    "exchange": "binance",
    "instrument": {"tick_size": 0.01, "lot_size": 0.00001, "min_notional": 5.0, "is_shortable": False},
    "trading": {"sizing": {"kind": "fraction_of_equity", "fraction": 0.8}},
    "risk": {"max_gross_exposure": 1.0, "max_open_orders": 20},
}


class EmulatedClock(StopSwitch):
    """The exchange's time; waiting advances it, and the end of the recording stops the session."""

    def __init__(self, exchange: Exchange, until_ms: int) -> None:
        super().__init__()
        self.exchange, self.until_ms = exchange, until_ms

    def now(self) -> int:
        return self.exchange.now_ms * NS_PER_MS

    def wait(self, seconds: float) -> bool:
        self.exchange.advance_to(self.exchange.now_ms + max(1, int(seconds * 1_000)))
        if self.exchange.now_ms >= self.until_ms:
            self.stop("end of the recording")
        return self.is_stopping


def main() -> int:
    """Run the pair unless it is there; print `shadow live`."""
    held = workspace() / "demo_sessions.json"
    if held.is_file():
        names = json.loads(held.read_text(encoding="utf-8"))
        if all((sessions_folder() / name).is_dir() for name in names):
            sys.stdout.write(" ".join(names) + "\n")
            return 0
    whole = sample_bars("BTC/USDT")
    bars = Bars(whole.frame.iloc[-(N_HISTORY + N_TRADED + 5) :], whole.symbol, whole.timeframe, "binance")
    live = trade_live(bars)
    shadow = run_session(
        SessionConfig.parse({**SHARED, "mode": "shadow", "feed": "follow", "follow": live.name}, "demo")
    )
    names = [shadow.folder.name, live.name]
    held.write_text(json.dumps(names), encoding="utf-8")
    sys.stdout.write(" ".join(names) + "\n")
    return 0


def trade_live(bars: Bars) -> Path:
    """Trade at the emulator and return the session's folder."""
    exchange = Exchange(bars, seed=7, fee=0.0012, partial_share=0.5)
    exchange.advance_to(int(bars.times[N_HISTORY - 1]) // NS_PER_MS)
    clock = EmulatedClock(exchange, int(bars.times[N_HISTORY + N_TRADED - 1]) // NS_PER_MS + 500)
    delays = random.Random(7)
    emulator = Emulator(exchange, latency=lambda: exchange.advance_to(exchange.now_ms + delays.randrange(50, 2_500)))
    with contextlib.closing(emulator):
        config = SessionConfig.parse({**SHARED, "mode": "testnet", "n_history": N_HISTORY}, "demo")
        outcome = run_session(config, switch=clock, clock=clock.now, sandbox=lambda: client_of(emulator, clock))
    return outcome.folder


def client_of(emulator: Emulator, clock: EmulatedClock) -> Any:
    """Return the real ccxt client of the sandbox, pointed at the emulator."""
    client = connect_sandbox("binance", KEYS, emulator.url)
    client.enableRateLimit = False
    client.milliseconds = lambda: clock.now() // NS_PER_MS
    return client


if __name__ == "__main__":
    sys.exit(main())
