"""Whatever a feed does, a session uses each closed bar once, in order, and records each fault."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError
from peak_trade.core.time import Timeframe
from peak_trade.journal.events import BarEvent, FeedFault, FeedFaultEvent, OrderEvent, SessionEvent, SessionPhase
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.risk.limits import RiskLimits
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.feeds.base import FROZEN_AFTER, BarCheck, bar_events
from peak_trade.sessions.feeds.following import FollowerFeed
from peak_trade.sessions.replay import replay
from peak_trade.sessions.sandbox.client import with_exchange_steps
from peak_trade.sessions.sandbox.venue import id_prefix
from tests.emulator.server import emulated
from tests.examples import examples
from tests.replacing import replace
from tests.sessions.running import part_of

MINUTE = Timeframe.parse("1m")


def bar(n: int, close: float = 100.0, **changes: float) -> BarEvent:
    return replace(BarEvent(n * MINUTE.ns, "BTC/USDT", close, close + 1.0, close - 1.0, close, 2.0), **changes)


def taken(bars):
    check = BarCheck("BTC/USDT", MINUTE)
    used, faults = [], []
    for each in bars:
        found, is_usable = check.faults(each)
        faults += [(fault.fault, fault.n_bars) for fault in found]
        used += [each] if is_usable else []
    return used, faults


@pytest.mark.parametrize(
    ("bars", "places", "faults"),
    [
        ([bar(1), bar(2), bar(5)], [0, 1, 2], [(FeedFault.GAP, 2)]),
        ([bar(1), bar(1), bar(2)], [0, 2], [(FeedFault.DUPLICATE, 1)]),
        ([bar(1), bar(1, 105.0), bar(2)], [0, 2], [(FeedFault.DUPLICATE, 1)]),
        ([bar(1), bar(3), bar(2), bar(4)], [0, 1, 3], [(FeedFault.GAP, 1), (FeedFault.OUT_OF_ORDER, 1)]),
        ([bar(1), bar(2, open=math.nan), bar(3)], [0, 2], [(FeedFault.MALFORMED, 1), (FeedFault.GAP, 1)]),
        ([bar(1), bar(2, volume=math.inf)], [0], [(FeedFault.MALFORMED, 1)]),
        ([bar(1), bar(2, high=50.0)], [0], [(FeedFault.MALFORMED, 1)]),
        ([bar(1), bar(2, low=-1.0)], [0], [(FeedFault.MALFORMED, 1)]),
        ([bar(n) for n in range(1, 50)], list(range(49)), [(FeedFault.FROZEN, FROZEN_AFTER)]),
    ],
    ids=["gap", "duplicate", "other-duplicate", "out-of-order", "nan", "infinite", "high", "negative", "frozen"],
)
def test_each_fault_of_a_feed_has_its_name(bars, places, faults):
    assert taken(bars) == ([bars[place] for place in places], faults)


def test_a_bar_without_volume_that_comes_twice_is_the_same_again():
    check = BarCheck("BTC/USDT", MINUTE, has_volume=False)
    check.faults(bar(1, volume=float("nan")))
    (fault,), _ = check.faults(bar(1, volume=float("nan")))
    assert fault.detail == "the same again"


@given(st.lists(st.tuples(st.integers(1, 20), st.sampled_from([100.0, 101.0, math.nan, -1.0])), max_size=40))
@settings(max_examples=examples(50), deadline=None)
def test_bars_that_are_used_are_in_order_finite_and_unique(arrivals):
    used, _ = taken([bar(n, close) for n, close in arrivals])
    times = [each.ts_event for each in used]
    assert times == sorted(set(times))
    assert all(math.isfinite(each.close) and each.low > 0.0 for each in used)


def test_a_live_paper_session_uses_closed_bars_on_the_exchange_grid(live):
    run, exchange, bars = live
    with emulated(exchange) as emulator:
        outcome = run(emulator, duration=1_200)
    assert outcome.reason == "duration reached"
    seen = [event for event in read_events(outcome.folder) if isinstance(event, BarEvent)]
    recorded = {event.ts_event: event for event in bar_events(bars)}
    assert [recorded[event.ts_event] for event in seen] == seen
    assert len(seen) == 50 + 20
    instrument = read_manifest(outcome.folder)["config"]["symbols"][0]["instrument"]
    steps = {"tick_size": 0.01, "lot_size": 1e-5, "min_notional": 5.0, "is_shortable": False}
    assert instrument == steps | {"max_leverage": 1.0}
    assert replay(outcome.folder.name).is_identical


def test_an_outage_of_a_live_feed_is_filled_in(live):
    run, exchange, _ = live
    with emulated(exchange) as emulator:
        state = {"is_down": False}

        def outage():
            if not state["is_down"] and len(emulator.requests) == 12:
                state["is_down"] = True
                emulator.fail("GET", "/api/v3/klines", "status", status=503, times=9)

        emulator.latency = outage
        outcome = run(emulator)
    events = read_events(outcome.folder)
    faults = [event.fault for event in events if isinstance(event, FeedFaultEvent)]
    assert faults == [FeedFault.DISCONNECTED, FeedFault.RECONNECTED, FeedFault.BACK_FILLED]
    times = [event.ts_event for event in events if isinstance(event, BarEvent)]
    assert {after - before for before, after in itertools.pairwise(times)} == {MINUTE.ns}


def test_a_symbol_that_the_exchange_does_not_trade_names_the_nearest(live):
    run, exchange, _ = live
    with emulated(exchange) as emulator, pytest.raises(ConfigError, match="Did you mean BTC/USDT"):
        run(emulator, symbol="BTC/USD")


@pytest.mark.long
def test_a_testnet_session_replays_from_its_journal_without_asking_the_exchange(live):
    run, exchange, _bars = live
    with emulated(exchange) as emulator:
        with pytest.raises(ConfigError, match="a testnet session needs limits"):
            run(emulator, mode="testnet")
        outcome = run(emulator, RiskLimits(max_gross_exposure=2.0), mode="testnet")
        n_requests = len(emulator.requests)
        shown = replay(outcome.folder.name)
        assert len(emulator.requests) == n_requests
    assert shown.is_identical, shown.first_difference
    assert shown.n_fills >= 4
    assert shown.n_decisions == shown.n_orders
    names = {event.order_id.partition("-")[0] for event in read_events(outcome.folder) if isinstance(event, OrderEvent)}
    assert names == {id_prefix(outcome.folder.name).rstrip("-")}


def test_a_shadow_follows_a_session_while_it_runs(tmp_path, key, btc_1m):
    """Each bar reaches the shadow once it is on disk; the shadow ends with the session."""
    bars = bar_events(part_of(btc_1m, 0, 6))
    create_session(tmp_path / "s", {}, key, lambda: 1)
    writer = JournalWriter(tmp_path / "s", key, lambda: 1, commit_seconds=60.0)
    writer.append(bars[0])
    writer.append(SessionEvent(1, SessionPhase.STARTED, "paper", "", 1.0))
    writer.commit()
    left = bars[1:]

    def next_bar(seconds):
        if left:
            writer.append(left.pop(0))
            writer.commit()
        else:
            writer.seal()
        return False

    feed = FollowerFeed(tmp_path / "s", next_bar)
    assert feed.history() == bars[:1]
    assert list(feed.items(bars[0].ts_event)) == bars[1:]


def test_a_leverage_alone_leaves_the_steps_to_the_exchange():
    market = {"precision": {"price": 0.1, "amount": 1e-4}, "limits": {"cost": {"min": 5.0}}, "contract": True}
    client = SimpleNamespace(load_markets=lambda: {"BTC/USDT": market})
    values = {
        "mode": "paper",
        "strategy": "ma_crossover",
        "symbol": "BTC/USDT",
        "timeframe": "1h",
        "exchange": "binance",
    }
    config = SessionConfig.parse(values | {"instrument": {"max_leverage": 2.0}}, "test")
    instrument = with_exchange_steps(config, client, StopSwitch()).symbols[0].instrument
    assert (instrument.tick_size, instrument.min_notional, instrument.max_leverage) == (0.1, 5.0, 2.0)
    given = SessionConfig.parse(values | {"instrument": {"tick_size": 0.5}}, "test")
    assert with_exchange_steps(given, client, StopSwitch()) == given
