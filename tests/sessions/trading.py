"""A testnet session against the emulator, with one clock for both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from peak_trade.core.bars import Bars
from peak_trade.engine.market import Market
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.events import Event
from peak_trade.journal.files import read_events
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.sessions.exchange import SANDBOXES, connect_sandbox
from peak_trade.sessions.live import LiveFeed
from peak_trade.sessions.runner import Session
from peak_trade.sessions.sandbox import SandboxVenue
from peak_trade.sessions.tape import Tape
from peak_trade.strategies.base import Strategy
from tests.emulator.exchange import Exchange
from tests.emulator.server import KEY, SECRET, Emulator
from tests.sessions.running import BTC, evaluator

NS_PER_MS = 1_000_000
KEYS = {"BINANCE_TESTNET_KEY": KEY, "BINANCE_TESTNET_SECRET": SECRET}
PREFIX = "pt1234abcd-"


class EmulatedTime:
    """The emulator's clock, which waiting moves on; `skew_ms` is how far ours is ahead of the exchange's."""

    def __init__(self, exchange: Exchange, until: int, skew_ms: int = 0) -> None:
        self.exchange, self.until, self.skew_ms = exchange, until, skew_ms
        self.crash: Callable[[], None] = lambda: None

    def now(self) -> int:
        """Our clock, ns UTC."""
        return (self.exchange.now_ms + self.skew_ms) * NS_PER_MS

    def wait(self, seconds: float) -> bool:
        """Let time pass; say to stop at the end of the recording."""
        self.crash()
        self.exchange.advance_to(self.exchange.now_ms + max(1, int(seconds * 1_000)))
        return self.exchange.now_ms >= self.until


def client_of(emulator: Emulator, clock: EmulatedTime) -> Any:
    """The real ccxt client, pointed at the emulator."""
    client = connect_sandbox("binance", KEYS, emulator.url)
    client.enableRateLimit = False
    client.milliseconds = lambda: clock.now() // NS_PER_MS - clock.skew_ms
    return client


def exchange_at(bars: Bars, n_bars: int, **options: Any) -> Exchange:
    """An exchange at the close of the n-th bar."""
    exchange = Exchange(bars, **options)
    exchange.advance_to(int(bars.times[n_bars - 1]) // NS_PER_MS)
    return exchange


def open_testnet(
    folder: Path,
    key: WorkspaceKey,
    strategy: Strategy,
    emulator: Emulator,
    clock: EmulatedTime,
    *,
    settings: BacktestSettings | None = None,
    n_history: int = 60,
) -> tuple[Session, LiveFeed, list[Event]]:
    """A session that trades at the emulator, new or taken up again."""
    if not folder.exists():
        create_session(folder, {"session_id": folder.name}, key, clock.now)
    events = read_events(folder)
    client = client_of(emulator, clock)
    client.load_markets()
    bars = clock.exchange.bars
    settings = settings or BacktestSettings(initial_cash=5_000.0)

    def make_venue(market: Market) -> SandboxVenue:
        return SandboxVenue(client, market, SANDBOXES["binance"].find_by, PREFIX, clock.wait, events)

    session = Session(
        Tape(BTC, bars.timeframe, len(bars) + 1, bars.exchange),
        evaluator(strategy, settings),
        settings,
        JournalWriter(folder, key, clock.now, commit_seconds=60.0),
        clock.now,
        strategy.name,
        "testnet",
        make_venue=make_venue,
        id_prefix=PREFIX,
        measures=False,
    )
    feed = LiveFeed(client, "BTC/USDT", bars.timeframe, clock.now, clock.wait, n_history)
    return session, feed, events


def hang_up(session: Session) -> None:
    """Close the client's connections."""
    session.loop.venue._client.session.close()  # type: ignore[attr-defined]
