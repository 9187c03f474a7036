"""A feed, a venue and an exchange are each added by a file and one row of a table, and a session runs with them."""

from __future__ import annotations

import importlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

import pytest

from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError
from peak_trade.data.fetching import Source
from peak_trade.journal.events import BarEvent, OrderEvent, ReconciliationEvent
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.risk.limits import RiskLimits
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.options import make_config
from peak_trade.sessions.replay import replay
from peak_trade.sessions.run import run_session
from peak_trade.wiring.exchanges import EXCHANGES, Exchange, bar_source, fee_preset, sandbox_class
from peak_trade.wiring.feeds import FEEDS, FeedEntry
from peak_trade.wiring.strategies import strategy_class
from peak_trade.wiring.venues import VENUES, VenueEntry
from tests.sessions import granting
from tests.sessions.running import wavy
from tests.wiring import toys

ASKED = {"mode": "paper", "strategy": "ma_crossover", "symbol": "BTC/USDT", "timeframe": "1h"}
FAST = {"fast": 3, "slow": 8}
EXCHANGE = Exchange(Source(page=10, latest_only=False), {"fee_bps": 3.0}, "tests.wiring.toys:ToySandbox")


def fills_of(outcome):
    return [event for event in read_events(outcome.folder) if isinstance(event, OrderEvent) and event.last_quantity]


def toy_bars():
    held = wavy(80)
    return Bars(held.frame, held.symbol, held.timeframe, "toy")


@pytest.fixture
def exchange(monkeypatch):
    """The toy exchange in the table, and its client after forty bars."""
    monkeypatch.setitem(EXCHANGES, "toy", EXCHANGE)
    return toys.ToyClient(toy_bars(), 40)


def test_one_row_adds_a_feed(home, monkeypatch):
    monkeypatch.setitem(FEEDS, "wave", FeedEntry("tests.wiring.toys:open_wave", "a wave's"))
    outcome = run_session(make_config(ASKED | {"feed": "wave"}, FAST, None, None))
    bars = [event for event in read_events(outcome.folder) if isinstance(event, BarEvent)]
    assert (outcome.reason, len(bars), outcome.status.n_bars) == ("end of run", 60, 40)
    assert read_manifest(outcome.folder)["clock"] == "a wave's"
    assert fills_of(outcome)
    assert replay(outcome.folder.name).is_identical


def test_one_row_adds_a_venue(home, monkeypatch):
    monkeypatch.setitem(FEEDS, "wave", FeedEntry("tests.wiring.toys:open_wave", "a wave's"))
    monkeypatch.setitem(VENUES, "free", VenueEntry("tests.wiring.toys:open_free"))
    paid = run_session(make_config(ASKED | {"feed": "wave"}, FAST, None, None))
    free = run_session(make_config(ASKED | {"feed": "wave", "mode": "free"}, FAST, None, None))
    assert "_free_" in free.folder.name
    assert [event.fee for event in fills_of(free)] == [0.0] * len(fills_of(paid))
    assert all(event.fee > 0.0 for event in fills_of(paid))
    assert free.status.pnl > paid.status.pnl
    assert replay(free.folder.name).is_identical


def test_one_row_adds_an_exchange_for_bars_and_fees(home, exchange):
    @contextmanager
    def connect(name):
        assert name == "toy"
        yield exchange

    clock = toys.ToyClock(exchange)
    config = make_config(ASKED | {"feed": "live", "exchange": "toy"}, FAST, None, None)
    config = config.model_copy(update={"n_history": 20})
    outcome = run_session(config, switch=clock, clock=clock.now, connect=connect)
    assert outcome.status.n_bars >= 30
    assert fills_of(outcome)
    assert exchange.orders == {}
    assert fee_preset("toy") == {"fee_bps": 3.0}
    assert bar_source("toy").page == 10
    assert replay(outcome.folder.name).is_identical


@pytest.mark.long
def test_one_row_and_one_file_add_a_sandbox(home, exchange, empty_registry, monkeypatch):
    monkeypatch.setattr(granting, "find_registry", lambda: empty_registry)
    clock = toys.ToyClock(exchange)
    config = make_config(ASKED | {"mode": "testnet", "feed": "live", "exchange": "toy"}, FAST, None, None)
    config = config.model_copy(
        update={"n_history": 20, "risk": granting.with_all_limits(RiskLimits(max_gross_exposure=1.0))}
    )
    grant = granting.grant_for(config, clock.now, lambda: exchange)
    outcome = run_session(config, switch=clock, clock=clock.now, grant=grant, sandbox=lambda: exchange)
    sent = {event.order_id for event in fills_of(outcome)}
    assert sent
    assert sent == set(exchange.orders)
    compared = [event for event in read_events(outcome.folder) if isinstance(event, ReconciliationEvent)]
    assert {event.subject for event in compared} == {"position", "open orders"}
    assert all(event.is_equal for event in compared)
    assert replay(outcome.folder.name).is_identical


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feed": "wavy"}, r"feed was 'wavy': it is not a feed. Did you mean wave\?"),
        ({"mode": "papr"}, r"mode was 'papr': it is not a mode. Did you mean paper\?"),
    ],
)
def test_a_name_that_is_not_in_a_table_is_refused_with_the_nearest_one(monkeypatch, change, message):
    monkeypatch.setitem(FEEDS, "wave", FeedEntry("tests.wiring.toys:open_wave", "a wave's"))
    with pytest.raises(ConfigError, match=message):
        SessionConfig.parse(ASKED | {"exchange": "binance"} | change, "session")


def test_an_exchange_without_a_part_is_refused_where_the_part_is_needed():
    with pytest.raises(ConfigError, match=r"'krakenfuture': its bars can not be fetched. Did you mean kraken\?"):
        bar_source("krakenfuture")
    with pytest.raises(ConfigError, match=r"'kraken': it has no sandbox. Did you mean krakenfutures\?"):
        sandbox_class("kraken")
    with pytest.raises(ConfigError, match="fees was 'krakenfutures'"):
        fee_preset("krakenfutures")


def test_threads_that_look_parts_up_empty_the_caches_of_imports_in_turn(monkeypatch):
    entered = Lock()

    def invalidate_caches():
        assert entered.acquire(blocking=False), "importlib.invalidate_caches ran in two threads"
        time.sleep(0.01)
        entered.release()

    def look_up(place):
        with pytest.raises(ConfigError, match=f"there is no module missing_{place}"):
            strategy_class(f"missing_{place}:Idea")

    monkeypatch.setattr(importlib, "invalidate_caches", invalidate_caches)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(look_up, range(8)))


def test_a_part_that_is_looked_up_changes_no_list_of_folders_that_a_thread_may_read(monkeypatch):
    """A thread that reads sys.path while a folder is removed from it would leave the next folder out."""
    seen = [sys.path]
    before = list(sys.path)
    empty_caches = importlib.invalidate_caches
    monkeypatch.setattr(importlib, "invalidate_caches", lambda: (seen.append(sys.path), empty_caches())[1])
    with pytest.raises(ConfigError, match="there is no module missing_module"):
        strategy_class("missing_module:Idea")
    while_searching = seen[1]
    assert seen[0] == before == while_searching[1:]
    assert sys.path == before
