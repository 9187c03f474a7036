"""A testnet session against the emulator, with one clock for both."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from peak_trade.core.bars import Bars
from peak_trade.core.ledger import Ledger
from peak_trade.core.values import Instrument
from peak_trade.data.store import load_bars
from peak_trade.data.workspace import workspace_at
from peak_trade.engine.market import Market
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.events import Event, OrderEvent, OrderEventKind, ReconciliationEvent
from peak_trade.journal.files import read_events
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.ledger_from_events import ledger_from_events
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.sessions.bar_buffer import MarketBuffer
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.feeds.live import LiveFeed
from peak_trade.sessions.live_sleeves import LiveSleeves
from peak_trade.sessions.options import make_config
from peak_trade.sessions.runner import Session
from peak_trade.sessions.sandbox.admission import Admission, admission_of
from peak_trade.sessions.sandbox.client import connect_sandbox
from peak_trade.sessions.sandbox.venue import SandboxVenue, id_prefix
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.wiring.sleeves import Evaluation
from tests.emulator.exchange import Exchange
from tests.emulator.futures import FuturesExchange
from tests.emulator.matching import Matching
from tests.emulator.server import KEY, KRAKEN_SECRET, SECRET, Emulator, emulated
from tests.sessions import granting
from tests.sessions.running import BTC

NS_PER_MS = 1_000_000
KEYS = {
    "BINANCE_TESTNET_KEY": KEY,
    "BINANCE_TESTNET_SECRET": SECRET,
    "KRAKEN_FUTURES_DEMO_KEY": KEY,
    "KRAKEN_FUTURES_DEMO_SECRET": KRAKEN_SECRET,
}
PERPETUAL = Instrument("BTC/USD:USD", tick_size=0.5, lot_size=1e-4)
SESSION_ID = "20190101_010000_testnet_ma_crossover_BTC-USDT_1h"
PREFIX = id_prefix(SESSION_ID)
N_HISTORY, N_BARS = 60, 40
STRATEGY = MaCrossover(fast=3, slow=9)


class EmulatedTime:
    """The emulator's clock, which waiting advances; `skew_ms` is our lead over the exchange's clock."""

    def __init__(self, exchange: Matching, until: int, skew_ms: int = 0) -> None:
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
    client = connect_sandbox(clock.exchange.bars.exchange, KEYS, emulator.url)
    client.enableRateLimit = False
    client.milliseconds = lambda: clock.now() // NS_PER_MS - clock.skew_ms
    return client


@cache
def admission(name: str) -> Admission:
    """The admission of a session with the id SESSION_ID to the emulator of an exchange, from the real gate."""
    symbol = PERPETUAL.symbol if name == "krakenfutures" else BTC.symbol
    asked = {"mode": "testnet", "strategy": "ma_crossover", "symbol": symbol, "timeframe": "1h", "exchange": name}
    config = make_config(asked, {"fast": 3, "slow": 9}, 5_000.0, None)
    config = config.model_copy(update={"risk": granting.with_all_limits(None)})
    folder = granting.shared_folder() / f"{name}-{os.getpid()}"
    with workspace_at(folder):
        granting.prepare(config)
        bars = load_bars(symbol, "1h", name)
        exchange = exchange_at(bars, len(bars))
        clock = EmulatedTime(exchange, 0)
        with emulated(exchange) as emulator:
            grant = granting.grant_for(config, clock.now, lambda: client_of(emulator, clock))
        found = admission_of(config, grant, SESSION_ID, clock.now)
        assert found is not None
        found.use()
    return found


def as_perpetual(bars: Bars) -> Bars:
    """The same bars as those of Kraken's perpetual."""
    return Bars(bars.frame, PERPETUAL.symbol, bars.timeframe, "krakenfutures")


def exchange_at(bars: Bars, n_bars: int, **options: Any) -> Any:
    """The emulated exchange of these bars, at the close of the n-th."""
    exchange = (FuturesExchange if bars.exchange == "krakenfutures" else Exchange)(bars, **options)
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
    """A session that trades at the emulator, new or resumed."""
    if not folder.exists():
        create_session(folder, {"session_id": folder.name}, key, clock.now)
    events = read_events(folder)
    client = client_of(emulator, clock)
    client.load_markets()
    bars = clock.exchange.bars
    settings = settings or BacktestSettings(initial_cash=5_000.0)
    instrument = PERPETUAL if bars.exchange == "krakenfutures" else BTC

    def make_venue(market: Market) -> SandboxVenue:
        sandbox = admission(bars.exchange).sandbox(bars.exchange, client, [instrument])
        return SandboxVenue(sandbox, market, PREFIX, clock.wait, events)

    buffer = MarketBuffer([instrument], bars.timeframe, len(bars) + 1, bars.exchange)
    session = Session(
        buffer,
        LiveSleeves(buffer, [Evaluation(strategy, strategy.name, (instrument.symbol,), settings)]),
        settings,
        JournalWriter(folder, key, clock.now, commit_seconds=60.0),
        clock.now,
        "testnet",
        make_venue=make_venue,
        id_prefix=PREFIX,
        measures=False,
    )
    feed = LiveFeed(client, [bars.symbol], bars.timeframe, clock.now, clock.wait, n_history)
    return session, feed, events


def hang_up(session: Session) -> None:
    """Close the client's connections."""
    session.loop.venue._sandbox.client.session.close()  # type: ignore[attr-defined]


def end_of(bars: Bars) -> int:
    """Instant at which a session over these bars stops, half a second after its last traded bar, ms."""
    return int(bars.times[N_HISTORY + N_BARS - 1]) // NS_PER_MS + 500


def run(
    folder: Path,
    key: WorkspaceKey,
    market: Bars,
    *,
    prepare: Callable[[Emulator, EmulatedTime], object] = lambda emulator, clock: None,
    skew_ms: int = 0,
    strategy: Strategy = STRATEGY,
    over_http: bool = False,
    **options: Any,
) -> tuple[list[Event], Session, Emulator]:
    """A session from its start to the end of the recording: its events, its loop, the emulator."""
    exchange = exchange_at(market, N_HISTORY, **options.pop("exchange", {}))
    clock = EmulatedTime(exchange, end_of(market), skew_ms)
    with emulated(exchange, over_http=over_http) as emulator:
        session, feed, events = open_testnet(folder, key, strategy, emulator, clock, **options)
        prepare(emulator, clock)
        session.run(feed, events)
        hang_up(session)
    return read_events(folder), session, emulator


def orders_of(events: Sequence[Event], *kinds: OrderEventKind) -> list[OrderEvent]:
    """The order events of some kinds."""
    return [event for event in events if isinstance(event, OrderEvent) and event.event in kinds]


def assert_accounts_agree(events: Sequence[Event], session: Session, emulator: Emulator) -> None:
    """Every order at most once, one terminal event each, and the ledger is the exchange's account."""
    exchange, ours = emulator.exchange, session.loop.ledger
    ids = [order.client_id for order in exchange.orders]
    assert len(ids) == len(set(ids))
    submitted = orders_of(events, OrderEventKind.SUBMITTED)
    assert len({event.order_id for event in submitted}) == len(submitted)
    assert session.journal.orders.open_orders() == []
    symbol, column = session.buffer.market.symbols[0], session.buffer.market.columns[0]
    ledger = ledger_from_events(events, session.settings.initial_cash, {symbol: column.instrument.lot_size})
    assert (ledger.cash, ledger.quantity(symbol)) == (ours.cash, ours.quantity(symbol))
    for held, there in account_of(exchange, ledger, symbol):
        assert math.isclose(held, there, abs_tol=1e-6)
    marks = {symbol: float(column.close[session.buffer.n_bars - 1])}
    assert math.isclose(ours.conservation_error(marks), 0.0, abs_tol=1e-9 * ours.initial_cash)
    assert all(event.is_equal for event in events if isinstance(event, ReconciliationEvent))


def account_of(exchange: Any, ledger: Ledger, symbol: str) -> list[tuple[float, float]]:
    """Position and money earned, each by the ledger and by the exchange."""
    if isinstance(exchange, FuturesExchange):
        position = ledger.positions.get(symbol)
        earned = (position.realised if position else 0.0) - ledger.fees
        return [
            (ledger.quantity(symbol), float(exchange.positions[exchange.symbol])),
            (earned, float(exchange.collateral) - 10_000.0),
        ]
    spent = float(exchange.balance("USDT")) - 10_000.0
    return [(ledger.quantity(symbol), float(exchange.balance("BTC"))), (ledger.cash - ledger.initial_cash, spent)]


class EmulatedSwitch(StopSwitch):
    """Waiting advances the emulator's clock; the end of the recording stops the session."""

    def __init__(self, exchange, until):
        super().__init__()
        self.exchange, self.until = exchange, until

    def wait(self, seconds):
        self.poll()
        self.exchange.advance_to(self.exchange.now_ms + max(1, int(seconds * 1_000)))
        if self.exchange.now_ms >= self.until:
            self.stop("end of the recording")
        return self.is_stopping


def failing(faults):
    """Prepare an emulator to fail as listed: method, path, kind of fault and its options."""

    def prepare(emulator, clock):
        for method, path, kind, options in faults:
            emulator.fail(method, path, kind, **options)

    return prepare
