"""A testnet session over HTTP, through the real client, against the emulator: whatever the exchange does."""

from __future__ import annotations

import pytest

from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.journal.events import AlertEvent, BarEvent, ClockOffsetEvent, FeedFault, FeedFaultEvent, OrderEventKind
from peak_trade.journal.files import read_events
from peak_trade.journal.verify import VerdictKind, verify
from peak_trade.sessions.sandbox.client import connect_sandbox
from peak_trade.wiring.exchanges import EXCHANGES, sandbox_class
from tests.emulator.server import emulated
from tests.examples import mostly_long
from tests.sessions.running import part_of
from tests.sessions.trading import (
    KEYS,
    N_BARS,
    N_HISTORY,
    NS_PER_MS,
    STRATEGY,
    EmulatedTime,
    assert_accounts_agree,
    end_of,
    exchange_at,
    failing,
    hang_up,
    open_testnet,
    orders_of,
    run,
)

ORDER, TRADES = "/api/v3/order", "/api/v3/myTrades"


@pytest.fixture
def market(btc_1m):
    """Minute bars of two hours."""
    return part_of(btc_1m, 900, N_HISTORY + N_BARS + 5)


def test_a_session_trades_at_the_emulator_and_both_accounts_agree(tmp_path, key, market):
    events, session, emulator = run(tmp_path / "s", key, market, over_http=True)
    assert len(orders_of(events, OrderEventKind.FILLED)) >= 4
    assert_accounts_agree(events, session, emulator)
    assert len([event for event in events if isinstance(event, BarEvent)]) == N_HISTORY + N_BARS
    assert verify(tmp_path / "s", key.public).finding is VerdictKind.INTACT
    assert any(event.arrival_price != event.decision_price for event in orders_of(events, OrderEventKind.FILLED))


def test_partial_fills_and_then_a_cancel_add_up(tmp_path, key, market):
    limits = BacktestSettings(initial_cash=5_000.0, execution=ExecutionPolicy(order_type="limit", limit_offset_bps=3.0))
    events, session, emulator = run(tmp_path / "s", key, market, settings=limits, exchange={"partial_share": 0.02})
    partly = {event.order_id for event in orders_of(events, OrderEventKind.PARTIALLY_FILLED)}
    assert partly & {event.order_id for event in orders_of(events, OrderEventKind.CANCELED)}
    assert_accounts_agree(events, session, emulator)


def test_a_slow_exchange_changes_nothing_that_must_hold(tmp_path, key, market):
    events, session, emulator = run(tmp_path / "s", key, market, exchange={"latency_ms": (50, 900), "seed": 3})
    assert orders_of(events, OrderEventKind.FILLED)
    assert_accounts_agree(events, session, emulator)


def test_an_order_is_on_disk_before_it_leaves(tmp_path, key, market):
    """Whenever the exchange is asked to place an order, the journal's file holds its SUBMITTED event."""
    missing, seen = [], []

    def prepare(emulator, clock):
        answer = emulator.answer

        def watched(method, path, query, is_signed):
            if (method, path) == ("POST", ORDER):
                seen.append(query["newClientOrderId"])
                held = {event.order_id for event in orders_of(read_events(tmp_path / "s"), OrderEventKind.SUBMITTED)}
                missing.extend({seen[-1]} - held)
            return answer(method, path, query, is_signed)

        emulator.answer = watched

    run(tmp_path / "s", key, market, prepare=prepare)
    assert len(seen) >= 4
    assert missing == []


FAULTS = {
    "time-out-before": [("POST", ORDER, "drop", {})],
    "time-out-after-acceptance": [("POST", ORDER, "drop_after", {})],
    "time-out-after-acceptance-twice": [("POST", ORDER, "drop_after", {}), ("GET", ORDER, "drop", {"times": 2})],
    "rate-limited": [("POST", ORDER, "error", {"status": 429})],
    "5xx": [("POST", ORDER, "status", {"status": 503}), ("GET", ORDER, "status", {"status": 502, "times": 2})],
    "query-fails": [("GET", TRADES, "drop", {"times": 2}), ("GET", "/api/v3/depth", "drop", {})],
}


@pytest.mark.parametrize("faults", mostly_long([(faults,) for faults in FAULTS.values()], 1), ids=FAULTS)
def test_an_exchange_that_fails_makes_no_order_lost_or_doubled(tmp_path, key, market, faults):
    events, session, emulator = run(tmp_path / "s", key, market, prepare=failing(faults), over_http=True)
    assert emulator.faults == []
    assert orders_of(events, OrderEventKind.FILLED)
    assert_accounts_agree(events, session, emulator)


@pytest.mark.long
def test_a_duplicate_acknowledgement_counts_once(tmp_path, key, market):
    """The first answer is lost, the exchange refuses the second request as a duplicate: the order is taken once."""

    def prepare(emulator, clock):
        emulator.fail("POST", ORDER, "drop_after")
        emulator.fail("GET", ORDER, "error", status=400, code=-2013, message="Order does not exist.")

    limits = BacktestSettings(
        initial_cash=5_000.0, execution=ExecutionPolicy(order_type="limit", limit_offset_bps=30.0)
    )
    events, session, emulator = run(tmp_path / "s", key, market, prepare=prepare, settings=limits)
    placed = emulator.placed()
    assert placed[0] == placed[1]
    assert_accounts_agree(events, session, emulator)


@pytest.mark.long
def test_a_rejected_order_is_recorded_with_the_reason_of_the_exchange(tmp_path, key, market):
    def prepare(emulator, clock):
        emulator.fail("POST", ORDER, "error", status=400, code=-2010,
                      message="Account has insufficient balance for requested action.")  # fmt: skip

    events, session, emulator = run(tmp_path / "s", key, market, prepare=prepare)
    (rejected,) = orders_of(events, OrderEventKind.REJECTED)
    assert "insufficient balance" in rejected.reason
    assert_accounts_agree(events, session, emulator)


def test_a_balance_that_moved_by_itself_stops_the_session(tmp_path, key, market):
    """Another program trades on the account during an outage."""

    def prepare(emulator, clock):
        def crash():
            if clock.exchange.now_ms > int(market.times[N_HISTORY + 20]) // NS_PER_MS and not emulator.faults:
                emulator.fail("GET", "/api/v3/klines", "drop", times=2)
                clock.exchange.balances["USDT"] -= 100
                clock.crash = lambda: None

        clock.crash = crash

    events, session, _emulator = run(tmp_path / "s", key, market, prepare=prepare)
    (alert,) = [event for event in events if isinstance(event, AlertEvent)]
    assert (alert.code, round(alert.limit - alert.observed)) == ("balance_mismatch", 100)
    assert session.journal.orders.open_orders() == []


@pytest.mark.parametrize("skew_ms", mostly_long([-5_000, 5_000], 1))
def test_a_clock_that_is_wrong_uses_no_unfinished_bar(tmp_path, key, market, skew_ms):
    events, session, emulator = run(tmp_path / "s", key, market, skew_ms=skew_ms)
    offsets = [event for event in events if isinstance(event, ClockOffsetEvent)]
    assert {round(event.offset_ms) for event in offsets} == {-skew_ms}
    seen = {event.ts_event: event for event in events if isinstance(event, BarEvent)}
    rows = market.frame.loc[[time for time in market.frame.index if time.value in seen]]
    assert [seen[time.value].close for time in rows.index] == rows["close"].tolist()
    assert_accounts_agree(events, session, emulator)


@pytest.mark.long
def test_a_reconnect_storm_is_filled_in_and_recorded_once_per_outage(tmp_path, key, market):
    def prepare(emulator, clock):
        storms = [int(market.times[N_HISTORY + n]) // NS_PER_MS for n in (5, 10, 12, 20)]

        def again():
            if storms and clock.exchange.now_ms > storms[0]:
                del storms[0]
                emulator.fail("GET", "/api/v3/klines", "status", status=503, times=7)

        clock.crash = again

    events, session, emulator = run(tmp_path / "s", key, market, prepare=prepare)
    faults = [event.fault for event in events if isinstance(event, FeedFaultEvent)]
    assert faults.count(FeedFault.DISCONNECTED) == faults.count(FeedFault.RECONNECTED) >= 3
    assert FeedFault.BACK_FILLED in faults
    assert FeedFault.GAP not in faults
    assert len([event for event in events if isinstance(event, BarEvent)]) >= N_HISTORY + N_BARS - 1
    assert_accounts_agree(events, session, emulator)


def test_a_decision_that_an_outage_made_old_is_not_sent(tmp_path, key, market):
    """The feed is cut for a quarter of an hour; crossings in the bars that are filled in then are history."""

    def prepare(emulator, clock):
        def away():
            if clock.exchange.now_ms > int(market.times[N_HISTORY + 1]) // NS_PER_MS:
                clock.exchange.advance_to(clock.exchange.now_ms + 900_000)
                clock.crash = lambda: None

        clock.crash = away

    events, session, emulator = run(tmp_path / "s", key, market, prepare=prepare)
    rejected = orders_of(events, OrderEventKind.REJECTED)
    assert rejected
    assert all("too old to send" in event.reason for event in rejected)
    assert set(emulator.placed()).isdisjoint(event.order_id for event in rejected)
    assert_accounts_agree(events, session, emulator)


@pytest.mark.long
def test_an_exchange_that_never_answers_leaves_a_session_to_resume(tmp_path, key, market):
    def prepare(emulator, clock):
        emulator.fail("POST", ORDER, "drop_after")
        emulator.fail("GET", ORDER, "drop", times=100)

    exchange = exchange_at(market, N_HISTORY)
    clock = EmulatedTime(exchange, end_of(market))
    with emulated(exchange) as emulator:
        session, feed, events = open_testnet(tmp_path / "s", key, STRATEGY, emulator, clock)
        prepare(emulator, clock)
        with pytest.raises(SessionError, match="no answer after"):
            session.run(feed, events)
        session.journal.close()
        hang_up(session)
        emulator.faults.clear()
        session, feed, events = open_testnet(tmp_path / "s", key, STRATEGY, emulator, clock)
        session.run(feed, events)
        hang_up(session)
    assert_accounts_agree(read_events(tmp_path / "s"), session, emulator)


@pytest.mark.long
def test_keys_are_found_in_no_artefact(tmp_path, key, market, capsys, caplog):
    def prepare(emulator, clock):
        emulator.fail("POST", ORDER, "error", status=400, code=-1013, message="Filter failure: LOT_SIZE")
        emulator.fail("GET", "/api/v3/klines", "drop")

    run(tmp_path / "s", key, market, prepare=prepare)
    printed = capsys.readouterr()
    texts = [printed.out, printed.err, caplog.text]
    texts += [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(texts) > 5
    for secret in KEYS.values():
        assert not any(secret in text for text in texts)


def test_missing_keys_are_named_by_their_variables():
    with pytest.raises(ConfigError, match="BINANCE_TESTNET_SECRET not set"):
        connect_sandbox("binance", {"BINANCE_TESTNET_KEY": "k"})


def test_a_secret_that_is_none_is_refused_by_its_variable_and_not_shown():
    with pytest.raises(ConfigError, match="KRAKEN_FUTURES_DEMO_SECRET is not the base64 text") as refused:
        connect_sandbox("krakenfutures", KEYS | {"KRAKEN_FUTURES_DEMO_SECRET": "s-e-c-r-e-t"})
    assert "s-e-c-r-e-t" not in str(refused.value)


@pytest.mark.parametrize("exchange", [name for name, row in EXCHANGES.items() if row.sandbox])
@pytest.mark.parametrize("host", ["api.binance.com", "api1.binance.com", "futures.kraken.com", "example.org"])
def test_a_host_that_is_no_sandbox_is_refused_by_name(host, exchange):
    with pytest.raises(ConfigError, match=f"{host} is refused: orders go to the sandbox"):
        connect_sandbox(exchange, KEYS, f"https://{host}")


@pytest.mark.parametrize("url", ["https://futures.kraken.com/derivatives/api/v3/sendorder", "http://10.0.0.1/api/v3/x"])
def test_every_request_to_another_host_is_refused(url):
    client = connect_sandbox("krakenfutures", KEYS)
    client.urls["api"]["private"] = url.partition("v3")[0]
    with pytest.raises(ConfigError, match="is refused: orders go to the sandbox of krakenfutures only"):
        client.private_post_sendorder({"symbol": "PF_XBTUSD"})
    client.session.close()


@pytest.mark.parametrize("exchange", [name for name, row in EXCHANGES.items() if row.sandbox])
def test_a_client_knows_no_other_host_than_its_sandbox(exchange):
    access = sandbox_class(exchange).access
    client = connect_sandbox(exchange, dict.fromkeys((access.key_variable, access.secret_variable), "eHh4"))
    assert client.urls["api"]
    assert all(access.host in url for url in client.urls["api"].values())
    with pytest.raises(ConfigError, match="is refused"):
        client.fetch("https://api.binance.com/api/v3/order", "POST")
    client.session.close()


def test_an_unknown_exchange_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean binance"):
        connect_sandbox("binnance", KEYS)
