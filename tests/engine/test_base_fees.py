"""Fees in base units: the conservation law of the ledger, exits in whole lots, dust, and the journal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.core.bars import Bars
from peak_trade.core.errors import LedgerError
from peak_trade.core.ledger import Ledger
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Fill, Instrument, Side
from peak_trade.engine.loop import EventLoop
from peak_trade.engine.market import Market
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.simulated_venue import SimulatedVenue
from peak_trade.engine.sleeve import Sleeve
from peak_trade.engine.venue import BuyingPower, Execution, Phase
from peak_trade.journal.codec import decode_event, encode_event
from peak_trade.journal.events import Event, OrderEvent, OrderEventKind
from peak_trade.journal.ledger_from_events import ledger_from_events
from tests.replacing import replace

RTOL_LEDGER = 1e-9
LOT = 1e-5
BTC = Instrument("BTC/USDT", tick_size=0.01, lot_size=LOT, min_notional=5.0, is_shortable=False)
steps = st.tuples(
    st.sampled_from(Side),
    st.floats(0.001, 10.0),
    st.floats(1.0, 1e5),
    st.floats(0.0, 0.05),
    st.booleans(),
    st.floats(1.0, 1e5),
)


def fill(side: Side, quantity: float, price: float, rate: float, in_base: bool) -> Fill:
    """A fill with its fee in base or in quote currency."""
    taken = quantity * rate if in_base else 0.0
    return Fill("o-1", 0, "s", "BTC/USDT", side, quantity, price, quantity * rate * price, price, price, "", taken)


@given(st.lists(steps, min_size=1, max_size=20), st.sampled_from([0.0, LOT]))
def test_equity_changes_by_pnl_minus_fees_at_every_event(
    acts: list[tuple[Side, float, float, float, bool, float]], lot
):
    ledger, mark, scale = Ledger(1e6), 1.0, 1e6
    for side, quantity, price, rate, in_base, next_mark in acts:
        before, held, fees = ledger.equity({"BTC/USDT": mark}), ledger.quantity("BTC/USDT"), ledger.fees
        ledger.apply(fill(side, quantity, price, rate, in_base), lot)
        scale = max(scale, abs(ledger.quantity("BTC/USDT")) * max(price, next_mark), abs(ledger.cash), quantity * price)
        pnl = held * (next_mark - mark) + side.sign * quantity * (next_mark - price)
        if in_base:
            pnl -= quantity * rate * (next_mark - price)
        change = ledger.equity({"BTC/USDT": next_mark}) - before
        assert abs(change - (pnl - (ledger.fees - fees))) <= RTOL_LEDGER * scale
        assert abs(ledger.conservation_error({"BTC/USDT": next_mark})) <= RTOL_LEDGER * scale
        mark = next_mark


def test_a_buy_adds_the_quantity_minus_the_fee_and_takes_the_cash():
    ledger = Ledger(1_000.0)
    ledger.apply(fill(Side.BUY, 2.0, 100.0, 0.001, in_base=True), LOT)
    assert (ledger.quantity("BTC/USDT"), ledger.cash, ledger.fees) == (1.998, 800.0, 0.2)
    assert ledger.positions["BTC/USDT"].average_price == 100.0


def test_a_fee_equal_to_the_fill_is_an_error():
    with pytest.raises(LedgerError, match="can't be booked"):
        Ledger(1_000.0).apply(fill(Side.BUY, 2.0, 100.0, 1.0, in_base=True))


class TakesBase(SimulatedVenue):
    """Takes the fee of a buy in base units, and sells no more than is held."""

    held = 0.0

    def match(self, bar: int, buying_power: BuyingPower) -> Iterator[Execution]:
        """Yield what the simulated venue does, with the fee in base units."""
        for done in super().match(bar, buying_power):
            taken = math.floor(done.quantity * 0.001 * 1e8) / 1e8 if done.order.side is Side.BUY else 0.0
            self.held += done.order.side.sign * done.quantity - taken
            assert self.held >= -1e-12
            fee = taken * done.price if taken else done.fee
            yield replace(done, phase=Phase.WITHIN, fee=fee, fee_in_base=taken)


@pytest.fixture
def traded() -> tuple[EventLoop, list[Event], TakesBase]:
    """A run on a random walk with targets that change from time to time and are often zero for long."""
    rng = np.random.default_rng(5)
    close = 50_000.0 * np.exp(np.cumsum(rng.normal(0.0, 0.004, 400)))
    index = pd.date_range("2024-01-01", periods=close.size, freq="h", tz="UTC", name="close_time")
    frame = pd.DataFrame({"open": close, "high": close, "low": close, "close": close, "volume": 1e6}, index=index)
    bars = Bars(frame, "BTC/USDT", Timeframe.parse("1h"), "binance")
    market = Market.of([bars], {"BTC/USDT": BTC})
    exposure = np.repeat(rng.choice([0.0, 0.0, 0.37, 0.81, 1.0], 40), 10)
    exposure[-30:] = 0.0
    events: list[Event] = []
    settings = BacktestSettings(initial_cash=7_000.0)
    venue = TakesBase(market, settings.costs)
    loop = EventLoop(market, [Sleeve("s", "BTC/USDT", exposure)], settings, emit=events.append, venue=venue)
    for bar in range(close.size):
        loop.step(bar)
        gap = loop.ledger.conservation_error({"BTC/USDT": float(close[bar])})
        assert abs(gap) <= RTOL_LEDGER * loop.ledger.initial_cash
    loop.finish(close.size - 1)
    return loop, events, venue


def test_exits_are_on_the_lot_and_never_more_than_is_held(traded):
    loop, events, venue = traded
    orders = [event for event in events if isinstance(event, OrderEvent)]
    exits = [event for event in orders if event.event is OrderEventKind.FILLED and event.side is Side.SELL]
    assert len(exits) > 5
    assert all(abs(event.quantity / LOT - round(event.quantity / LOT)) < 1e-6 for event in exits)
    assert 0.0 < loop.ledger.quantity("BTC/USDT") < LOT
    assert math.isclose(venue.held, loop.ledger.quantity("BTC/USDT"), abs_tol=1e-12)
    assert loop.sleeves[0].position == loop.ledger.quantity("BTC/USDT")


def test_dust_below_a_lot_is_left_alone(traded):
    _, events, _ = traded
    orders = [event for event in events if isinstance(event, OrderEvent)]
    asked = [event for event in orders if event.event is OrderEventKind.REQUESTED]
    assert len({event.ts_event for event in asked}) == len(asked)
    assert not any(event.event is OrderEventKind.DENIED for event in orders)
    last_exit = max(event.ts_event for event in orders if event.event is OrderEventKind.FILLED)
    assert max(event.ts_event for event in asked) <= last_exit


def test_the_events_alone_lead_to_the_same_ledger(traded):
    loop, events, _ = traded
    read_back = [decode_event(json.loads(encode_event(event))) for event in events]
    assert read_back == events
    ledger = ledger_from_events(read_back, 7_000.0, {"BTC/USDT": LOT})
    assert ledger == loop.ledger


def test_a_line_without_a_base_fee_has_no_such_field(traded):
    _, events, _ = traded
    fees = [event.fee_in_base for event in events if isinstance(event, OrderEvent)]
    lines = [b"fee_in_base" in encode_event(event) for event in events if isinstance(event, OrderEvent)]
    assert lines == [fee != 0.0 for fee in fees]
    assert any(lines)
    assert not all(lines)
