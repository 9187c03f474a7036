"""Events of resting orders during an outage are recorded as fills and ends, never as a mismatch."""

from __future__ import annotations

import pytest

from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.journal.events import (
    AlertEvent,
    FeedFault,
    FeedFaultEvent,
    OrderEvent,
    OrderEventKind,
    ReconciliationEvent,
)
from peak_trade.journal.files import read_events
from peak_trade.risk.state import Control
from peak_trade.sessions import replay as replaying
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.run import run_session
from peak_trade.sessions.runner import LOOP_EVENTS
from peak_trade.sessions.sandbox.client import check_policy
from tests.emulator.server import emulated
from tests.examples import mostly_long
from tests.sessions.running import part_of
from tests.sessions.trading import (
    N_BARS,
    N_HISTORY,
    NS_PER_MS,
    PREFIX,
    STRATEGY,
    EmulatedTime,
    as_perpetual,
    assert_accounts_agree,
    end_of,
    exchange_at,
    hang_up,
    open_testnet,
    orders_of,
    run,
)

CANDLES = {"binance": "/api/v3/klines", "krakenfutures": "/api/charts/v1/trade/PF_XBTUSD/1m"}
OPEN = {"binance": "/api/v3/openOrders", "krakenfutures": "/derivatives/api/v3/openorders"}
HELD = {"binance": "/api/v3/account", "krakenfutures": "/derivatives/api/v3/accounts"}
WITHDRAW = [("DELETE", "/api/v3/order"), ("POST", "/derivatives/api/v3/cancelorder")]
FAR = BacktestSettings(initial_cash=5_000.0, execution=ExecutionPolicy(order_type="limit", limit_offset_bps=60.0))
"""Entries that rest, and are not touched in these two hours unless the emulator fills them."""


BOTH = pytest.mark.parametrize("market", ["binance", "krakenfutures"], indirect=True)


@pytest.fixture(params=mostly_long(["binance", "krakenfutures"], 1))
def market(request, btc_1m):
    """Minute bars of two hours at an exchange; the tests marked with BOTH are of both in the default suite too."""
    bars = part_of(btc_1m, 900, N_HISTORY + N_BARS + 5)
    return bars if request.param == "binance" else as_perpetual(bars)


def resting(exchange):
    return [order for order in exchange.orders if order.is_open]


def while_away(change):
    """Cut the feed once an order rests, and change the order meanwhile."""

    def prepare(emulator, clock):
        def crash():
            for order in resting(clock.exchange):
                emulator.fail("GET", CANDLES[clock.exchange.bars.exchange], "drop", times=3)
                change(clock.exchange, order)
                clock.crash = lambda: None
                return

        clock.crash = crash

    return prepare


def fill_whole(exchange, order):
    exchange.fill(order, order.quantity - order.executed, order.price)


def fill_part(exchange, order):
    exchange.fill(order, exchange.step * 10, order.price)


def end_it(exchange, order):
    exchange.end(order, "CANCELED")


def assert_replays(monkeypatch, events, session):
    """A rerun of the recorded events gives the same events and ledger."""
    monkeypatch.setattr(replaying, "order_prefix", lambda context: PREFIX)
    instrument = session.buffer.market.columns[0].instrument
    steps = {name: getattr(instrument, name) for name in ("tick_size", "lot_size", "min_notional", "is_shortable")}
    config = SessionConfig(
        mode="testnet",
        strategy="ma_crossover",
        parameters={"fast": 3, "slow": 9},
        symbol=instrument.symbol,
        timeframe="1m",
        exchange=session.buffer.bars()[0].exchange,
        instrument=steps,
        trading=session.settings,
    )
    came_out, ledger = replaying.rerun(config, events, "s", Control())
    assert came_out == [event for event in events if isinstance(event, LOOP_EVENTS)]
    assert ledger == session.loop.ledger


def around_reconnect(events):
    """The order events and comparisons between the end of the outage and the next bar."""
    start = next(n for n, e in enumerate(events) if isinstance(e, FeedFaultEvent) and e.fault is FeedFault.RECONNECTED)
    after = events[start:]
    stop = next(n for n, event in enumerate(after) if event.kind == "bar")
    return [event for event in after[:stop] if isinstance(event, OrderEvent | ReconciliationEvent)]


@pytest.mark.parametrize(
    ("change", "kind"),
    mostly_long(
        [
            (fill_part, OrderEventKind.PARTIALLY_FILLED),
            (fill_whole, OrderEventKind.FILLED),
            (end_it, OrderEventKind.CANCELED),
        ],
        1,
    ),
    ids=["partly-filled", "filled", "ended"],
)
def test_what_an_outage_hid_is_booked_before_balances_are_compared(monkeypatch, tmp_path, key, market, change, kind):
    events, session, emulator = run(tmp_path / "s", key, market, settings=FAR, prepare=while_away(change))
    reported, *compared = around_reconnect(events)
    assert reported.event is kind
    assert len(compared) == 3
    assert not any(isinstance(event, AlertEvent) for event in events)
    assert session.status("").state.startswith(", active")
    assert len(orders_of(events, OrderEventKind.REQUESTED)) >= 3
    assert_accounts_agree(events, session, emulator)
    assert_replays(monkeypatch, events, session)


NEAR = BacktestSettings(initial_cash=5_000.0, execution=ExecutionPolicy(order_type="limit", limit_offset_bps=3.0))


@pytest.mark.parametrize("settings", mostly_long([NEAR, None], 1), ids=["limit", "market"])
def test_trades_that_are_reported_late_are_waited_for(tmp_path, key, market, settings):
    """The filled quantity is known before the trades: no fill is lost at an end, a cancel or a stop."""

    def prepare(emulator, clock):
        clock.exchange.trades_lag_ms = 90_000

    events, session, emulator = run(
        tmp_path / "s", key, market, settings=settings, prepare=prepare, exchange={"partial_share": 0.02}
    )
    assert len(orders_of(events, OrderEventKind.PARTIALLY_FILLED)) > 3
    assert_accounts_agree(events, session, emulator)


@pytest.mark.long
def test_trades_that_are_never_reported_leave_a_session_to_resume(tmp_path, key, market):
    exchange = exchange_at(market, N_HISTORY)
    clock = EmulatedTime(exchange, end_of(market))
    exchange.trades_lag_ms = 10**9
    with emulated(exchange) as emulator:
        session, feed, events = open_testnet(tmp_path / "s", key, STRATEGY, emulator, clock)
        with pytest.raises(SessionError, match="and reports trades of 0"):
            session.run(feed, events)
        session.journal.close()
        hang_up(session)
        exchange.trades_lag_ms = 0
        session, feed, events = open_testnet(tmp_path / "s", key, STRATEGY, emulator, clock)
        session.run(feed, events)
        hang_up(session)
    assert_accounts_agree(read_events(tmp_path / "s"), session, emulator)


@pytest.mark.long
def test_a_fill_between_two_requests_is_no_mismatch(tmp_path, key, market):
    """The order trades after its state and before the account is fetched."""

    def prepare(emulator, clock):
        while_away(lambda exchange, order: None)(emulator, clock)
        answer = emulator.answer

        def late(method, path, query, is_signed):
            found = resting(clock.exchange)
            if path == HELD[clock.exchange.bars.exchange] and found:
                fill_whole(clock.exchange, found[0])
                emulator.answer = answer
            return answer(method, path, query, is_signed)

        emulator.answer = late

    events, session, emulator = run(tmp_path / "s", key, market, settings=FAR, prepare=prepare)
    assert [event.event for event in around_reconnect(events) if isinstance(event, OrderEvent)] == ["FILLED"]
    assert not any(isinstance(event, AlertEvent) for event in events)
    assert_accounts_agree(events, session, emulator)


@BOTH
def test_an_order_that_is_not_listed_is_never_silently_equal(tmp_path, key, market):
    def prepare(emulator, clock):
        while_away(lambda exchange, order: hide())(emulator, clock)
        answer = emulator.answer

        def hide():
            def without(method, path, query, is_signed):
                reply = answer(method, path, query, is_signed)
                if path != OPEN[market.exchange]:
                    return reply
                hidden.append(path)
                emulator.answer = without if len(hidden) < 2 else answer
                return (200, []) if market.exchange == "binance" else (200, reply[1] | {"openOrders": []})

            emulator.answer = without

    hidden = []
    events, session, _ = run(tmp_path / "s", key, market, settings=FAR, prepare=prepare)
    (wrong,) = [event for event in events if isinstance(event, ReconciliationEvent) and not event.is_equal]
    assert (wrong.subject, wrong.expected, wrong.observed) == ("open orders", 1.0, 0.0)
    assert wrong.detail == f"not open there: {PREFIX}1"
    (alert,) = [event for event in events if isinstance(event, AlertEvent)]
    assert alert.code == "open_orders"
    assert session.journal.orders.open_orders() == []


@pytest.mark.long
def test_an_open_order_that_the_session_does_not_know_is_canceled_and_recorded(tmp_path, key, market):
    exchange = exchange_at(market, N_HISTORY)
    clock = EmulatedTime(exchange, end_of(market))
    with emulated(exchange) as emulator:
        session, feed, events = open_testnet(tmp_path / "s", key, STRATEGY, emulator, clock, settings=FAR)
        price = float(exchange.price()) * 0.9 // 1
        session.loop.venue._sandbox.client.create_order(
            market.symbol, "limit", "buy", 0.01, price, {"clientOrderId": f"{PREFIX}999"}
        )
        while_away(lambda exchange, order: None)(emulator, clock)
        session.run(feed, events)
        hang_up(session)
    events = read_events(tmp_path / "s")
    unequal = [event for event in events if isinstance(event, ReconciliationEvent) and not event.is_equal]
    assert [event.detail for event in unequal] == [f"canceled {PREFIX}999"]
    assert not resting(exchange)
    assert orders_of(events, OrderEventKind.CANCELED)


@pytest.mark.parametrize("change", mostly_long([fill_whole, fill_part], 1))
def test_a_trade_while_an_order_is_canceled_at_the_end_is_recorded(monkeypatch, tmp_path, key, market, change):
    def prepare(emulator, clock):
        answer = emulator.answer

        def late(method, path, query, is_signed):
            found = resting(clock.exchange)
            if (method, path) in WITHDRAW and found:
                change(clock.exchange, found[0])
            return answer(method, path, query, is_signed)

        def stop_once_one_rests():
            if resting(clock.exchange):
                clock.until = clock.exchange.now_ms

        emulator.answer, clock.crash = late, stop_once_one_rests

    events, session, emulator = run(tmp_path / "s", key, market, settings=FAR, prepare=prepare)
    assert len(emulator.exchange.trades) == 1
    assert session.equity[-1] == session.loop.equity(session.buffer.n_bars - 1) != 5_000.0
    assert_accounts_agree(events, session, emulator)
    assert_replays(monkeypatch, events, session)


class Killed(Exception):
    """The process was killed."""


@pytest.mark.long
@pytest.mark.parametrize("change", [fill_part, fill_whole, end_it])
def test_what_happened_while_the_session_was_down_is_recorded_when_it_resumes(tmp_path, key, market, change):
    exchange = exchange_at(market, N_HISTORY)
    clock = EmulatedTime(exchange, end_of(market))

    def die():
        if resting(exchange) and exchange.now_ms > int(market.times[N_HISTORY + 3]) // NS_PER_MS:
            raise Killed

    with emulated(exchange) as emulator:
        session, feed, events = open_testnet(tmp_path / "s", key, STRATEGY, emulator, clock, settings=FAR)
        clock.crash = die
        with pytest.raises(Killed):
            session.run(feed, events)
        session.journal.close()
        hang_up(session)
        (order,) = resting(exchange)
        change(exchange, order)
        clock.crash = lambda: None
        n_sent = len(emulator.placed())
        session, feed, events = open_testnet(tmp_path / "s", key, STRATEGY, emulator, clock, settings=FAR)
        session.run(feed, events)
        hang_up(session)
    after = [event for event in read_events(tmp_path / "s")[len(events) :] if event.kind in ("order", "reconciliation")]
    assert after[0].kind == "order"
    assert after[0].order_id == order.client_id
    assert [event.kind for event in after[1:4]] == ["reconciliation"] * 3
    assert len(set(emulator.placed())) == len(emulator.placed()) > n_sent
    assert_accounts_agree(read_events(tmp_path / "s"), session, emulator)


def test_a_fee_in_a_third_currency_stops_the_session_with_one_line(tmp_path, key, btc_1m):
    market = part_of(btc_1m, 900, N_HISTORY + N_BARS + 5)
    with pytest.raises(
        SessionError, match=r"trade 1: its fee was taken in BNB; only fees in USDT or BTC can be booked"
    ):
        run(tmp_path / "s", key, market, exchange={"fee_in": "BNB"})


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"stop_loss": 0.05}, "trading.execution.stop_loss was 0.05: protective orders are not sent to a sandbox"),
        ({"stop_loss_atr": 2.0}, "trading.execution.stop_loss_atr was 2"),
        ({"take_profit": 0.1}, "trading.execution.take_profit was 0.1"),
        ({"trailing_stop": 0.1}, "trading.execution.trailing_stop was 0.1"),
        ({"order_type": "stop"}, 'trading.execution.order_type was "stop": only market and limit orders are sent'),
        ({"order_type": "trailing_stop", "trail": 0.1}, 'trading.execution.order_type was "trailing_stop"'),
    ],
    ids=lambda part: next(iter(part)) if isinstance(part, dict) else "",
)
def test_orders_that_are_not_sent_to_a_sandbox_are_refused_at_the_start(policy, message):
    config = SessionConfig(
        mode="testnet",
        strategy="ma_crossover",
        symbol="BTC/USDT",
        timeframe="1m",
        exchange="binance",
        trading=BacktestSettings(execution=ExecutionPolicy(**policy)),
        risk={"max_gross_exposure": 1.0},
    )
    with pytest.raises(ConfigError) as refused:
        run_session(config, sandbox=lambda: pytest.fail("it must not be asked for"))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_orders_that_are_sent_to_a_sandbox_are_not_refused():
    for order_type in ("market", "limit"):
        check_policy(ExecutionPolicy(order_type=order_type))
