"""A testnet session at the emulated Kraken futures, through the real client: shorts, faults, outages, kills, replay."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.core.values import Instrument, OrderType
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.journal.events import OrderEventKind, ReconciliationEvent
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.portfolio.sizing import FractionOfEquity
from peak_trade.risk.limits import RiskLimits
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.replay import replay
from peak_trade.sessions.run import run_session
from peak_trade.sessions.sandbox.client import connect_sandbox
from peak_trade.sessions.sandbox.kraken_futures import KrakenFutures
from peak_trade.strategies.ma_crossover import MaCrossover
from tests.emulator.server import emulated
from tests.examples import mostly_long
from tests.sessions import granting
from tests.sessions.running import part_of
from tests.sessions.trading import (
    KEYS,
    N_BARS,
    N_HISTORY,
    NS_PER_MS,
    PERPETUAL,
    EmulatedTime,
    as_perpetual,
    assert_accounts_agree,
    client_of,
    end_of,
    exchange_at,
    failing,
    hang_up,
    open_testnet,
    orders_of,
    run,
)

BOTH_WAYS = MaCrossover(fast=3, slow=9, direction="both")
SEND, STATUS = "/derivatives/api/v3/sendorder", "/derivatives/api/v3/orders/status"
FILLS, CANDLES = "/derivatives/api/v3/fills", "/api/charts/v1/trade/PF_XBTUSD/1m"
HISTORY, LOG = "/api/history/v2/orders", "/api/history/v3/account-log"
TRADED = (OrderEventKind.PARTIALLY_FILLED, OrderEventKind.FILLED)

AS_AT_SPOT = pytest.mark.long
"""Marks the tests of what `test_testnet.py` tests at the spot exchange in the default suite."""


@pytest.fixture
def market(btc_1m):
    """Minute bars of two hours."""
    return as_perpetual(part_of(btc_1m, 900, N_HISTORY + N_BARS + 5))


def trade(folder, key, market, **options):
    return run(folder, key, market, strategy=options.pop("strategy", BOTH_WAYS), **options)


def by_limit(offset_bps, **options):
    policy = ExecutionPolicy(order_type="limit", limit_offset_bps=offset_bps, **options)
    return BacktestSettings(initial_cash=5_000.0, execution=policy)


@pytest.mark.long
def test_a_session_goes_long_and_short_and_both_accounts_agree(tmp_path, key, market):
    events, session, emulator = trade(tmp_path / "s", key, market)
    assert len(orders_of(events, OrderEventKind.FILLED)) >= 4
    positions = [quantity for _, quantity in session.loop.position_path[PERPETUAL.symbol]]
    assert min(positions) < 0.0 < max(positions)
    fees = [event.fee / (event.last_quantity * event.last_price) for event in orders_of(events, *TRADED)]
    assert all(math.isclose(rate, 0.0005, rel_tol=1e-9) for rate in fees)
    assert_accounts_agree(events, session, emulator)
    compared = {event.subject for event in events if isinstance(event, ReconciliationEvent)}
    assert compared == {"position BTC/USD:USD", "collateral USD", "open orders"}


@pytest.mark.long
def test_the_fee_charged_is_booked_not_the_list_fee(tmp_path, key, market):
    events, session, emulator = trade(tmp_path / "s", key, market, exchange={"fee": 0.0013})
    rates = {round(event.fee / (event.last_quantity * event.last_price), 6) for event in orders_of(events, *TRADED)}
    assert rates == {0.0013}
    assert_accounts_agree(events, session, emulator)


@AS_AT_SPOT
def test_partial_fills_and_then_a_cancel_add_up(tmp_path, key, market):
    events, session, emulator = trade(
        tmp_path / "s", key, market, settings=by_limit(3.0), exchange={"partial_share": 0.02}
    )
    partly = {event.order_id for event in orders_of(events, OrderEventKind.PARTIALLY_FILLED)}
    assert partly & {event.order_id for event in orders_of(events, OrderEventKind.CANCELED)}
    assert_accounts_agree(events, session, emulator)


@pytest.mark.parametrize("is_met", mostly_long([True, False], 1), ids=["met", "not-met"])
def test_an_order_for_one_bar_trades_at_once_or_not_at_all(tmp_path, key, market, is_met):
    options = {"partial_share": 0.3}

    def prepare(emulator, clock):
        if is_met:
            emulator.exchange.touch = lambda side, symbol: emulator.exchange.price(symbol)

    events, session, emulator = trade(
        tmp_path / "s",
        key,
        market,
        settings=by_limit(0.0 if is_met else 30.0, time_in_force="ioc"),
        exchange=options,
        prepare=prepare,
    )
    ends = {event.reason for event in orders_of(events, OrderEventKind.CANCELED)}
    refusals = [event.reason for event in orders_of(events, OrderEventKind.REJECTED)]
    assert {order.time_in_force for order in emulator.exchange.orders if order.kind == "LIMIT"} == (
        {"IOC"} if is_met else set()
    )
    partly = orders_of(events, OrderEventKind.PARTIALLY_FILLED)
    assert any(event.order_type is OrderType.LIMIT for event in partly) is is_met
    assert ends == ({"by the exchange: canceled"} if is_met else set())
    assert is_met or refusals
    assert is_met or all("iocWouldNotExecute" in reason for reason in refusals)
    assert_accounts_agree(events, session, emulator)


@AS_AT_SPOT
def test_a_slow_exchange_changes_nothing_that_must_hold(tmp_path, key, market):
    events, session, emulator = trade(tmp_path / "s", key, market, exchange={"latency_ms": (50, 900), "seed": 3})
    assert orders_of(events, OrderEventKind.FILLED)
    assert_accounts_agree(events, session, emulator)


FAULTS = {
    "time-out-before": [("POST", SEND, "drop", {})],
    "time-out-after-acceptance": [("POST", SEND, "drop_after", {})],
    "time-out-after-acceptance-twice": [("POST", SEND, "drop_after", {}), ("GET", STATUS, "drop", {"times": 2})],
    "rate-limited": [("POST", SEND, "error", {"status": 429})],
    "rate-limited-by-name": [("POST", SEND, "error", {"status": 200, "message": "apiLimitExceeded"})],
    "5xx": [("POST", SEND, "status", {"status": 503}), ("GET", STATUS, "status", {"status": 502, "times": 2})],
    "unknown-outcome": [("POST", SEND, "error", {"status": 200, "message": "unknownError"})],
    "query-fails": [("GET", FILLS, "drop", {"times": 2}), ("GET", LOG, "drop", {}), ("GET", HISTORY, "drop", {})],
}


@pytest.mark.parametrize("faults", mostly_long([(faults,) for faults in FAULTS.values()], 1), ids=FAULTS)
def test_an_exchange_that_fails_makes_no_order_lost_or_doubled(tmp_path, key, market, faults):
    events, session, emulator = trade(tmp_path / "s", key, market, prepare=failing(faults))
    assert emulator.faults == []
    assert orders_of(events, OrderEventKind.FILLED)
    assert orders_of(events, OrderEventKind.REJECTED) == []
    assert_accounts_agree(events, session, emulator)


@AS_AT_SPOT
def test_a_duplicate_acknowledgement_counts_once(tmp_path, key, market):
    """The answer is lost and the history has no entry yet: the second request is refused as a duplicate."""
    events, session, emulator = trade(
        tmp_path / "s",
        key,
        market,
        prepare=lambda emulator, clock: emulator.fail("POST", SEND, "drop_after"),
        exchange={"history_lag_ms": 70_000},
    )
    placed = emulator.placed()
    assert placed[0] == placed[1]
    assert len(set(placed)) == len(placed) - 1
    assert_accounts_agree(events, session, emulator)


def test_a_rejected_order_is_recorded_with_the_reason_of_the_exchange(tmp_path, key, market):
    events, session, emulator = trade(tmp_path / "s", key, market, exchange={"leverage": 0.2})
    rejected = orders_of(events, OrderEventKind.REJECTED)
    assert rejected
    assert all("insufficientAvailableFunds" in event.reason for event in rejected)
    assert_accounts_agree(events, session, emulator)


@pytest.mark.long
def test_funding_is_no_mismatch(tmp_path, key, market):
    def prepare(emulator, clock):
        def settle():
            if clock.exchange.now_ms > int(market.times[N_HISTORY + 20]) // NS_PER_MS:
                clock.exchange.pay_funding(-3.25)
                clock.crash = lambda: None

        clock.crash = settle

    events, session, emulator = trade(tmp_path / "s", key, market, prepare=prepare)
    assert all(event.is_equal for event in events if isinstance(event, ReconciliationEvent))
    emulator.exchange.pay_funding(3.25)
    assert_accounts_agree(events, session, emulator)


@pytest.mark.long
def test_collateral_that_moved_by_itself_stops_the_session(tmp_path, key, market):
    def prepare(emulator, clock):
        def take():
            if clock.exchange.now_ms > int(market.times[N_HISTORY + 20]) // NS_PER_MS:
                clock.exchange.collateral -= 100
                emulator.fail("GET", CANDLES, "drop", times=2)
                clock.crash = lambda: None

        clock.crash = take

    events, session, _ = trade(tmp_path / "s", key, market, prepare=prepare)
    wrong = [event for event in events if isinstance(event, ReconciliationEvent) and not event.is_equal]
    assert [event.subject for event in wrong] == ["collateral USD"]
    assert round(wrong[0].expected - wrong[0].observed) == 100
    assert session.journal.orders.open_orders() == []


@AS_AT_SPOT
def test_keys_are_found_in_no_artefact(tmp_path, key, market, capsys, caplog):
    def prepare(emulator, clock):
        emulator.fail("POST", SEND, "error", status=200, message="invalidArgument: size")
        emulator.fail("GET", CANDLES, "drop")

    trade(tmp_path / "s", key, market, prepare=prepare)
    printed = capsys.readouterr()
    texts = [printed.out, printed.err, caplog.text]
    texts += [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(texts) > 5
    for secret in KEYS.values():
        assert not any(secret in text for text in texts)


@AS_AT_SPOT
def test_an_exchange_that_never_answers_leaves_a_session_to_resume(tmp_path, key, market):
    exchange = exchange_at(market, N_HISTORY)
    clock = EmulatedTime(exchange, end_of(market))
    with emulated(exchange) as emulator:
        session, feed, events = open_testnet(tmp_path / "s", key, BOTH_WAYS, emulator, clock)
        emulator.fail("POST", SEND, "drop_after")
        emulator.fail("GET", STATUS, "drop", times=100)
        with pytest.raises(SessionError, match="no answer after"):
            session.run(feed, events)
        session.journal.close()
        hang_up(session)
        emulator.faults.clear()
        session, feed, events = open_testnet(tmp_path / "s", key, BOTH_WAYS, emulator, clock)
        session.run(feed, events)
        hang_up(session)
    assert len(emulator.placed()) == len(set(emulator.placed()))
    assert_accounts_agree(read_events(tmp_path / "s"), session, emulator)


def test_a_session_starts_on_a_flat_account_only(tmp_path, key, market):
    def hold(emulator, clock):
        clock.exchange.positions["PF_XBTUSD"] = clock.exchange.step

    with pytest.raises(SessionError, match=r"the account holds 0.0001 already"):
        trade(tmp_path / "s", key, market, prepare=hold)


@pytest.mark.parametrize(("part", "value"), [("linear", False), ("contractSize", 10.0)])
def test_a_contract_that_is_not_one_base_unit_is_refused(market, part, value):
    exchange = exchange_at(market, N_HISTORY)
    with emulated(exchange) as emulator:
        client = client_of(emulator, EmulatedTime(exchange, 0))
        client.load_markets()
        client.markets[PERPETUAL.symbol][part] = value
        with pytest.raises(ConfigError, match="only linear contracts of one base unit"):
            KrakenFutures(client, [PERPETUAL])
        client.session.close()


@pytest.mark.long
def test_fills_and_fees_are_found_behind_the_first_page(market):
    exchange = exchange_at(market, N_HISTORY, collateral=1e6, fee=0.0013)
    exchange.log_page = 10
    with emulated(exchange) as emulator:
        client = client_of(emulator, EmulatedTime(exchange, 0))
        client.load_markets()
        sandbox = KrakenFutures(client, [PERPETUAL])
        since = exchange.now_ms * NS_PER_MS
        ids = [client.create_order(PERPETUAL.symbol, "market", "buy", 0.01)["id"]]
        for _ in range(120):
            exchange.advance_to(exchange.now_ms + 1_000)
            ids.append(client.create_order(PERPETUAL.symbol, "market", "buy", 0.0001)["id"])
        assert len(exchange.trades) > 100
        exchange.pay_funding(-7.5)
        for order_id, quantity in ((ids[0], 0.01), (ids[-1], 0.0001)):
            trades = sandbox.trades(PERPETUAL.symbol, order_id, since)
            assert sum(trade.quantity for trade in trades) == pytest.approx(quantity)
            assert all(trade.fee == pytest.approx(0.0013 * trade.quantity * trade.price) for trade in trades)
        assert sandbox.holdings(since)["collateral USD"] == pytest.approx(float(exchange.collateral) + 7.5)
        client.session.close()


class EmulatedSwitch(StopSwitch):
    """Waiting moves the emulator's clock on; the end of the recording stops the session."""

    def __init__(self, exchange, until):
        super().__init__()
        self.exchange, self.until = exchange, until

    def wait(self, seconds):
        self.exchange.advance_to(self.exchange.now_ms + max(1, int(seconds * 1_000)))
        if self.exchange.now_ms >= self.until:
            self.stop("end of the recording")
        return self.is_stopping


@pytest.mark.long
def test_a_session_as_a_run_file_names_it_trades_and_replays(monkeypatch, tmp_path, market):
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path))
    exchange = exchange_at(market, N_HISTORY)

    def sandbox():
        client = connect_sandbox("krakenfutures", KEYS, emulator.url)
        client.enableRateLimit = False
        client.milliseconds = lambda: exchange.now_ms
        return client

    config = SessionConfig(
        mode="testnet",
        strategy="ma_crossover",
        parameters={"fast": 3, "slow": 9, "direction": "both"},
        symbol=PERPETUAL.symbol,
        timeframe="1m",
        exchange="krakenfutures",
        n_history=50,
        trading=BacktestSettings(initial_cash=5_000.0, sizing=FractionOfEquity(fraction=0.5)),
        risk=granting.with_all_limits(RiskLimits(max_gross_exposure=2.0)),
    )
    clock = EmulatedTime(exchange, 0).now
    with emulated(exchange) as emulator:
        grant = granting.grant_for(config, clock, sandbox)
        switch = EmulatedSwitch(exchange, end_of(market))
        outcome = run_session(config, switch=switch, clock=clock, grant=grant, sandbox=sandbox)
    steps = read_manifest(outcome.folder)["config"]["symbols"][0]["instrument"]
    assert steps == {
        "tick_size": 0.5,
        "lot_size": 1e-4,
        "min_notional": 0.0,
        "is_shortable": True,
        "max_leverage": 1.0,
    }
    shown = replay(outcome.folder.name)
    assert shown.is_identical, shown.first_difference
    assert shown.n_fills >= 4


def test_a_fill_that_is_not_yet_in_the_account_log_is_left_out():
    trade = {"order": "there-1", "timestamp": 1_000, "amount": 0.5, "price": 100.0, "fee": {"cost": 9.0}}
    rows = [{"execution": "a", "id": 7, "fee": 0.025, "asset": "usd"}]
    client = SimpleNamespace(
        market=lambda symbol: {"linear": True, "contractSize": 1},
        fetch_my_trades=lambda *asked: [trade | {"id": "a"}, trade | {"id": "b"}],
        history_get_account_log=lambda request: {"logs": rows if "since" in request else []},
    )
    found = KrakenFutures(client, [Instrument("BTC/USD:USD")]).trades("BTC/USD:USD", "there-1", 0)
    assert [(each.quantity, each.fee) for each in found] == [(0.5, 0.025)]
