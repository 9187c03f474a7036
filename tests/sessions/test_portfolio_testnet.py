"""A portfolio at the emulated exchanges: two symbols, one account, through the real gate and the real client."""

from __future__ import annotations

import contextlib
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.core.time import iso
from peak_trade.core.values import Order, Side
from peak_trade.data.sample import sample_bars
from peak_trade.diff.result import diff
from peak_trade.engine.market import Market
from peak_trade.engine.venue import order_event
from peak_trade.journal.codec import encode_event
from peak_trade.journal.events import (
    AllocationEvent,
    BarEvent,
    CashFlowEvent,
    Event,
    FeedFault,
    FeedFaultEvent,
    OrderEventKind,
    ReconciliationEvent,
    SignalEvent,
)
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.journal.ledger_from_events import ledger_from_events
from peak_trade.journal.verify import VerdictKind
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.observability import metrics
from peak_trade.observability.figures import SessionFigures
from peak_trade.risk.state import Control
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.control.commands import kill_session
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.feeds.live import LiveFeed
from peak_trade.sessions.options import make_config
from peak_trade.sessions.parts import buffer_of, sleeves_of
from peak_trade.sessions.replay import replay, rerun
from peak_trade.sessions.run import SessionResult, resume_session, run_session
from peak_trade.sessions.runner import LOOP_EVENTS, Session, Status
from peak_trade.sessions.sandbox.admission import scope_of
from peak_trade.sessions.sandbox.client import connect_sandbox, with_exchange_steps
from peak_trade.sessions.sandbox.venue import SandboxVenue, exchange_events
from peak_trade.sessions.store import check_journal, config_of, find_session, session_ids
from peak_trade.studies import readiness
from peak_trade.studies.diff import read_session
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.studies.recording import record_portfolio
from tests.emulator.exchange import Exchange
from tests.emulator.futures import FuturesExchange
from tests.emulator.server import Emulator, emulated
from tests.sessions import granting
from tests.sessions.trading import (
    KEYS,
    NS_PER_MS,
    PREFIX,
    SESSION_ID,
    EmulatedSwitch,
    EmulatedTime,
    admission,
    client_of,
    hang_up,
    orders_of,
)
from tests.tolerances import RTOL_SAME

FILE = """
exchange = "binance"
mode = "{mode}"
initial_cash = 9_000.0

[[strategies]]
name = "ma_crossover"
symbol = "BTC/USDT"
parameters = {{ fast = 3, slow = 9 }}

[[strategies]]
name = "momentum"
symbol = "ETH/USDT"
parameters = {{ window = 6 }}

[[strategies]]
name = "cross_sectional_momentum"
symbols = ["BTC/USDT", "ETH/USDT"]
parameters = {{ window = 12, every = 6, n_held = 1 }}

[allocation]
cash_buffer = 0.1

[rebalancing]
every = "day"
"""
STATEFUL = """
[[strategies]]
name = "tests.strategies.stepping:Watches"
symbol = "ETH/USDT"
"""
N_HISTORY, N_BARS = 60, 60
TRADED = (OrderEventKind.PARTIALLY_FILLED, OrderEventKind.FILLED)


class Killed(BaseException):
    """Simulates a kill: nothing catches it."""


def loop_lines(events: list[Event]) -> list[bytes]:
    return [encode_event(event) for event in events if isinstance(event, LOOP_EVENTS)]


def markets(exchange: str = "binance") -> list[Bars]:
    """Hourly sample bars of two symbols under the names of an exchange."""
    suffix = ("USDT", "USD:USD") if exchange == "krakenfutures" else ("", "")
    found = [sample_bars(symbol) for symbol in ("BTC/USDT", "ETH/USDT")]
    n_bars = N_HISTORY + N_BARS + 5
    return [Bars(part.frame.iloc[-n_bars:], part.symbol.replace(*suffix), part.timeframe, exchange) for part in found]


class Desk:
    """A workspace with evidence for a portfolio, an emulator of its exchange, and sessions of the portfolio there."""

    def __init__(self, folder: Path, text: str, bars: list[Bars], **options: Any) -> None:
        self.file = folder / "portfolio.toml"
        self.file.write_text(text, encoding="utf-8")
        emulated = FuturesExchange if bars[0].exchange == "krakenfutures" else Exchange
        self.exchange = emulated(*bars, **options)
        self.exchange.advance_to(int(bars[0].times[N_HISTORY - 1]) // NS_PER_MS)
        self.emulator = Emulator(self.exchange)
        self.until = int(bars[0].times[N_HISTORY + N_BARS - 1]) // NS_PER_MS + 20_000
        config = make_config({"mode": "testnet"}, {}, None, self.file)
        self.config = config.model_copy(update={"n_history": N_HISTORY, "risk": granting.with_all_limits(config.risk)})
        self.requests_left = math.inf

    def clock(self) -> int:
        return self.exchange.now_ms * NS_PER_MS

    def sandbox(self) -> Any:
        """The real client, which dies once no requests are left: before it asks, or after, in turn."""
        client = connect_sandbox(self.config.exchange, KEYS, self.emulator.url)
        client.enableRateLimit = False
        client.milliseconds = lambda: self.exchange.now_ms
        fetch = client.fetch

        def counted(*request: Any, **options: Any) -> Any:
            self.requests_left -= 1
            if self.requests_left == 0:
                raise Killed
            answer = fetch(*request, **options)
            if self.requests_left == 1:
                raise Killed
            return answer

        client.fetch = counted
        return client

    @property
    def gate(self) -> readiness.Gate:
        return granting.gate(self.clock, self.sandbox)

    @property
    def surroundings(self) -> dict[str, Any]:
        switch = EmulatedSwitch(self.exchange, self.until)
        return {"switch": switch, "clock": self.clock, "sandbox": self.sandbox}

    def start(self, **changes: Any) -> SessionResult:
        grant = granting.grant_for(self.config, self.clock, self.sandbox)
        return run_session(self.config, grant=grant, **self.surroundings | changes)

    def resume(self, name: str) -> SessionResult:
        grant = granting.granted(readiness.admit_again(name, self.gate))
        return resume_session(name, grant=grant, **self.surroundings)

    def failed(self) -> dict[str, str]:
        """What is observed at the requirements of the session that are not met."""
        granting.prepare(self.config)
        found = readiness.check(readiness.Named(scope_of(self.config), self.config), self.gate)
        return {line.name: line.observed for line in found.failed}


@pytest.fixture
def open_desk(home: Path, tmp_path: Path) -> Iterator[Any]:
    """Opens desks."""
    with contextlib.ExitStack() as stack:

        def opened(mode: str = "sleeves", **options: Any) -> Desk:
            text, bars = options.pop("text", FILE.format(mode=mode)), options.pop("bars", None)
            desk = Desk(tmp_path, text, bars or markets(), **options)
            stack.callback(desk.emulator.close)
            return desk

        yield opened


def assert_ledger_agrees(exchange: Any, events: list[Event], config: SessionConfig) -> None:
    """The ledger is the account at the exchange, and every comparison was equal."""
    assert set(config.lots.values()) == {1e-5}
    ledger = ledger_from_events(events, config.trading.initial_cash, config.lots)
    for base in ("BTC", "ETH"):
        assert math.isclose(ledger.quantity(f"{base}/USDT"), float(exchange.balance(base)), abs_tol=1e-9)
    spent = float(exchange.balance("USDT")) - 10_000.0
    assert math.isclose(ledger.cash - ledger.initial_cash, spent, abs_tol=1e-6)
    compared = [event for event in events if isinstance(event, ReconciliationEvent)]
    assert {event.subject for event in compared} == {"balance BTC", "balance ETH", "balance USDT", "open orders"}
    assert all(event.is_equal for event in compared)


def assert_accounts_agree(desk: Desk, folder: Path) -> list[Event]:
    """No order was sent twice, each went to its own market, and the ledger is the account at the exchange."""
    events = read_events(folder)
    assert len(desk.emulator.placed()) == len(set(desk.emulator.placed()))
    there = {order.client_id: order.symbol for order in desk.exchange.orders}
    submitted = {event.order_id: event.symbol for event in orders_of(events, OrderEventKind.SUBMITTED)}
    assert there == {name: symbol.replace("/", "") for name, symbol in submitted.items()}
    assert len(set(there.values())) == 2
    assert_ledger_agrees(desk.exchange, events, config_of(folder))
    assert check_journal(folder).finding is VerdictKind.INTACT
    shown = replay(folder.name)
    assert shown.is_identical, shown.first_difference
    return events


@pytest.mark.parametrize("mode", ["sleeves", "netted"])
def test_orders_of_two_symbols_are_filled_reconciled_and_replayed(tmp_path, key, mode):
    """Without the gate, whose evidence takes seconds: the venue of an admission, one order each in two markets."""
    (tmp_path / "portfolio.toml").write_text(FILE.format(mode=mode) + STATEFUL, encoding="utf-8")
    config = make_config({"mode": "testnet"}, {}, None, tmp_path / "portfolio.toml")
    exchange, n_bars = Exchange(*markets(), seed=3, partial_share=0.4), 12
    exchange.advance_to(int(exchange.bars.times[N_HISTORY - 1]) // NS_PER_MS)
    clock = EmulatedTime(exchange, int(exchange.bars.times[N_HISTORY + n_bars - 1]) // NS_PER_MS + 500)
    create_session(tmp_path / "s", {"session_id": "s"}, key, clock.now)
    with emulated(exchange) as emulator:
        client = client_of(emulator, clock)
        config = with_exchange_steps(config, client, StopSwitch())
        instruments = list(config.instruments.values())

        def make_venue(market: Market) -> SandboxVenue:
            sandbox = admission("binance").sandbox("binance", client, instruments)
            return SandboxVenue(sandbox, market, PREFIX, clock.wait)

        buffer = buffer_of(config, N_HISTORY + n_bars + 1)
        session = Session(
            buffer,
            sleeves_of(config, buffer, None),
            config.trading,
            JournalWriter(tmp_path / "s", key, clock.now, commit_seconds=60.0),
            clock.now,
            "testnet",
            make_venue=make_venue,
            id_prefix=PREFIX,
        )
        feed = LiveFeed(client, config.symbol_names, buffer.market.timeframe, clock.now, clock.wait, N_HISTORY)
        session.run(feed)
        hang_up(session)
    events = read_events(tmp_path / "s")
    assert {event.symbol for event in orders_of(events, OrderEventKind.FILLED)} == {"BTC/USDT", "ETH/USDT"}
    strategies = {event.strategy for event in events if isinstance(event, SignalEvent)}
    assert strategies >= {"Watches", "ma_crossover", "momentum", "cross_sectional_momentum"}
    allocated = math.fsum(event.quantity for event in events if isinstance(event, AllocationEvent))
    moved = orders_of(events, *TRADED)
    filled = math.fsum(event.side.sign * event.last_quantity - event.fee_in_base for event in moved)
    assert mode == "sleeves" or math.isclose(allocated, filled, rel_tol=1e-9)
    assert_ledger_agrees(exchange, events, config)
    produced, _ = rerun(config, events, SESSION_ID, Control())
    assert loop_lines(produced) == loop_lines(events)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["sleeves", "netted"])
def test_a_portfolio_trades_two_symbols_and_both_accounts_agree(open_desk, mode):
    desk = open_desk(mode, fee=0.0012)
    statuses: list[Status] = []
    outcome = desk.start(on_status=statuses.append)
    assert outcome.folder.name.endswith("_testnet_portfolio_2-symbols_1h")
    events = assert_accounts_agree(desk, outcome.folder)
    filled = orders_of(events, OrderEventKind.FILLED)
    assert min(sum(event.symbol == symbol for event in filled) for symbol in desk.config.symbol_names) >= 4
    assert any(isinstance(event, AllocationEvent) for event in events) is (mode == "netted")
    assert len([event for event in events if isinstance(event, BarEvent)]) == 2 * (N_HISTORY + N_BARS)
    figures = SessionFigures.of_manifest(read_manifest(outcome.folder))
    for event in events:
        figures.apply(event, event.ts_event)
    assert figures.series(0)[metrics.EQUITY][0][1] == pytest.approx(statuses[-1].equity, rel=RTOL_SAME)
    for symbol, position in statuses[-1].positions.items():
        assert position == pytest.approx(float(desk.exchange.balance(symbol[:3])), abs=1e-9)


KILLS = [("sleeves", 1), ("netted", 2), ("sleeves", 3), ("netted", 4)]


@pytest.mark.long
@pytest.mark.parametrize(("mode", "seed"), KILLS)
def test_a_portfolio_that_is_killed_at_any_request_resumes_and_sends_no_order_twice(open_desk, mode, seed):
    desk = open_desk(mode, latency_ms=(20, 900), partial_share=0.4, seed=seed)
    requests, grant = random.Random(seed), granting.grant_for(desk.config, desk.clock, desk.sandbox)
    n_kills, folder = 0, None
    while folder is None:
        desk.requests_left = requests.randrange(6, 40) if n_kills < 9 else math.inf
        started = [name for name in session_ids() if "_testnet_" in name]
        with contextlib.suppress(Killed):
            n_kills += 1
            if started:
                folder = resume_session(started[0], grant=grant, **desk.surroundings).folder
            else:
                folder = run_session(desk.config, grant=grant, **desk.surroundings).folder
    assert n_kills > 5
    assert_accounts_agree(desk, folder)


def with_gaps() -> list[Bars]:
    """Two markets, of which the second one misses some closes that are traded."""
    first, second = markets()
    kept = [row for row in range(len(second)) if row < N_HISTORY or row % 2]
    return [first, Bars(second.frame.iloc[kept], second.symbol, second.timeframe, second.exchange)]


@pytest.mark.long
@pytest.mark.parametrize("mode", ["netted", "sleeves"])
def test_a_close_without_the_bar_of_a_symbol_is_traded_and_replayed(open_desk, mode):
    desk = open_desk(mode, bars=with_gaps(), latency_ms=(20, 900), partial_share=0.4)
    events = assert_accounts_agree(desk, desk.start().folder)
    faults = [event for event in events if isinstance(event, FeedFaultEvent) and event.fault is FeedFault.INCOMPLETE]
    assert [fault.symbol for fault in faults] == ["ETH/USDT"] * (N_BARS // 2)


def test_a_close_has_what_the_exchange_did_once_its_bars_are_complete_and_before_its_carry():
    first, second = (BarEvent(5, symbol, 1.0, 1.0, 1.0, 1.0, 1.0) for symbol in ("A/USD", "B/USD"))
    order = Order("o-1", 1, "s", "A/USD", Side.BUY, 1.0, decision_price=1.0)
    fills = [order_event(order, OrderEventKind.PARTIALLY_FILLED, n, reason="") for n in (3, 4, 6)]
    flows = [CashFlowEvent(time, "s", "A/USD", "funding", -1.0) for time in (4, 5)]
    with_bars, between = exchange_events([first, fills[0], second, flows[0], fills[1], flows[1], fills[2]], 2)
    assert (list(between), with_bars) == ([fills[0], fills[2]], {5: [fills[1]]})


@pytest.mark.long
def test_a_shadow_of_the_portfolio_differs_by_what_the_exchange_did(open_desk, capsys):
    desk = open_desk("netted", fee=0.0012)
    live = desk.start().folder.name
    shadow = run_session(make_config({"mode": "shadow", "follow": live}, {}, None, None)).folder.name
    found = diff(read_session(find_session(shadow)), read_session(find_session(live)))
    signals = [
        [event for event in read_events(find_session(name)) if isinstance(event, SignalEvent)]
        for name in (shadow, live)
    ]
    assert signals[0] == signals[1]
    assert len(signals[0]) > 10
    assert {root.cause.value for root in found.roots} <= {"slippage bias", "latency bias", "fee", "partial fill"}
    assert {root.subject for root in found.roots if root.live_order} == {"BTC/USDT", "ETH/USDT"}
    assert main(["diff", shadow, live]) == 1


@pytest.mark.long
def test_a_portfolio_is_refused_without_evidence_for_all_of_it(open_desk):
    desk = open_desk()
    assert desk.failed() == {"approval": "there is none"}
    end = iso(granting.START - 31 * 24 * granting.HOUR + 13 * granting.HOUR)
    record_portfolio(run_portfolio(granting.portfolio_of(desk.config, end=end)))
    found = desk.failed()
    assert "; without a trade: cross_sectional_momentum 2 symbols from BTC/USDT" in found["out-of-sample evidence"]
    assert set(found) == {"out-of-sample evidence", "approval"}


CHANGES = {
    "rules": {"rebalancing": {"every": "week"}},
    "parameters": {"parameters": {"window": 7}},
}


@pytest.mark.long
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_evidence_of_another_portfolio_does_not_count(open_desk, change):
    desk = open_desk()
    granting.prepare(desk.config)
    values = desk.config.model_dump(mode="json")
    values["portfolio"] |= {name: value for name, value in change.items() if name in values["portfolio"]}
    values["strategies"][1] |= {name: value for name, value in change.items() if name == "parameters"}
    desk.config = SessionConfig.parse(values, "test")
    found = desk.failed()
    assert found["out-of-sample evidence"] == "no run of this portfolio, these parameters and this code"
    assert "another strategy, parameters, symbols or code" in found["shadow session"]


@pytest.mark.long
def test_the_checklist_takes_the_file_of_a_portfolio(open_desk, capsys):
    desk = open_desk()
    policy = granting.evidence_for(desk.config) / "policy.toml"
    assert main(["ready", "--config", str(policy), "--run-file", str(desk.file), "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    scope = shown["evidence"]["scope"]
    assert [each["name"] for each in scope["strategies"]] == ["cross_sectional_momentum", "ma_crossover", "momentum"]
    assert scope["symbols"] == ["BTC/USDT", "ETH/USDT"]
    lines = {line["name"]: line["observed"] for line in shown["lines"]}
    assert lines["strategy and symbol"].endswith("on BTC/USDT, ETH/USDT")
    assert lines["no look-ahead"].count("rewritten futures") == 4
    assert main(["session", "run", "--mode", "testnet", "--config", str(desk.file), "--policy", str(policy)]) == 1
    assert session_ids() == []


@pytest.mark.long
def test_a_portfolio_of_perpetuals_goes_long_and_short_and_the_collateral_agrees(open_desk):
    text = FILE.format(mode="sleeves").replace("binance", "krakenfutures").replace("/USDT", "/USD:USD")
    text = text.replace("window = 6", 'window = 6, direction = "both"').replace("n_held = 1", 'direction = "both"')
    desk = open_desk(text=text, bars=markets("krakenfutures"), fee=0.0013)
    desk.exchange.pay_funding(-3.0)
    folder = desk.start().folder
    events, config = read_events(folder), config_of(folder)
    ledger = ledger_from_events(events, config.trading.initial_cash, config.lots)
    for symbol, name in (("BTC/USD:USD", "PF_XBTUSD"), ("ETH/USD:USD", "PF_ETHUSD")):
        assert math.isclose(ledger.quantity(symbol), float(desk.exchange.positions[name]), abs_tol=1e-9)
        sides = {event.side for event in orders_of(events, OrderEventKind.FILLED) if event.symbol == symbol}
        assert sides == {Side.BUY, Side.SELL}
    earned = math.fsum(held.realised for held in ledger.positions.values()) - ledger.fees
    assert math.isclose(earned, float(desk.exchange.collateral) - 9_997.0, abs_tol=1e-6)
    compared = [event for event in events if isinstance(event, ReconciliationEvent)]
    subjects = {"position BTC/USD:USD", "position ETH/USD:USD", "collateral USD", "open orders"}
    assert {event.subject for event in compared} == subjects
    assert all(event.is_equal for event in compared)
    assert replay(folder.name).is_identical


FAR = '[execution]\norder_type = "limit"\nlimit_offset_bps = 400.0\n'


@pytest.mark.long
def test_a_kill_cancels_the_open_orders_of_both_symbols(open_desk):
    desk = open_desk(text=FILE.format(mode="sleeves") + FAR)
    resting: list[int] = []

    def kill(status: Status) -> None:
        symbols = {order.symbol for order in desk.exchange.orders if order.is_open}
        if len(symbols) == 2 and not resting:
            resting.append(len(symbols))
            kill_session(status.session_id, "Ada", status.last_bar, "test")

    outcome = desk.start(on_status=kill)
    assert (outcome.reason, resting) == ("kill switch", [2])
    assert not [order for order in desk.exchange.orders if order.is_open]
    assert replay(outcome.folder.name).is_identical
