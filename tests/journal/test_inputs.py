import math

import numpy as np
import pytest

from peak_trade.core.errors import SessionError
from peak_trade.core.history import ReturnHistory
from peak_trade.core.settings import Settings
from peak_trade.core.values import (
    AccountView,
    Instrument,
    MarketView,
    Order,
    OrderBook,
    PastFill,
    PastOrder,
    Side,
    TradingState,
)
from peak_trade.journal.codec import event_to_dict
from peak_trade.journal.events import DecisionEvent
from peak_trade.journal.inputs import DecisionInputs, read_inputs


class Limits(Settings):
    most: float = 2.5


ORDER = Order("o-1", 10, "ma", "BTC/USDT", Side.BUY, 0.1, 100.0)
ACCOUNT = AccountView(
    equity=1000.0,
    cash=math.inf,
    positions={"BTC/USDT": -0.0, "ETH/USDT": 1.0},
    marks={"BTC/USDT": 100.0},
    peak_equity=1.1e3,
    day_start_equity=0.1 + 0.2,
    state=TradingState.REDUCING,
    pending=(("BTC/USDT", -1.0),),
    recent_orders=(PastOrder("o-0", 5, "ma", "BTC/USDT", Side.SELL, 1.0),),
    recent_fills=(PastFill(6, "ma", "BTC/USDT", Side.SELL),),
    throttled=("rsi",),
)
HISTORY = ReturnHistory("days", 9, ["BTC/USDT", "ETH/USDT", "SOL/USDT"], np.arange(12.0).reshape(3, 4) / 7)
MARKET = MarketView(
    as_of=10,
    instrument=Instrument("BTC/USDT", tick_size=0.01),
    decision_price=100.0,
    bar_volume=5.0,
    bar_time=10,
    book=OrderBook(9, bids=((99.0, 1.0),), asks=((101.0, 1.0), (102.0, 3.0))),
    average_daily_volume=1000.0,
    daily_volatility=0.04,
    returns=HISTORY,
)


def test_the_record_of_a_decision_gives_back_equal_views():
    text = DecisionInputs(ORDER, ACCOUNT, MARKET, Limits()).to_json()
    order, account, market, limits = read_inputs(text)
    assert (order, account, limits) == (ORDER, ACCOUNT, {"most": 2.5})
    assert market.returns == HISTORY.select(("BTC/USDT", "ETH/USDT"))
    assert DecisionInputs(order, account, market, Limits.parse(limits, "record")).to_json() == text


def test_a_decision_event_is_written_with_the_text_of_its_inputs():
    inputs = DecisionInputs(ORDER, ACCOUNT, MARKET, Limits())
    event = DecisionEvent(10, "o-1", True, (), inputs)
    assert event_to_dict(event)["inputs"] == inputs.to_json()


@pytest.mark.parametrize("wrong", ["100", None, b"x", [1.0], {"a": 1}], ids=repr)
def test_a_value_of_the_wrong_type_is_recorded_as_wrong_as_it_was(wrong):
    account = AccountView(equity=wrong, cash=0.0, positions={}, marks={})
    text = DecisionInputs(ORDER, account, MARKET, Limits()).to_json()
    _, again, _, _ = read_inputs(text)
    assert not isinstance(again.equity, float)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"order": 1}'])
def test_a_damaged_record_is_a_session_error(text):
    with pytest.raises(SessionError, match="damaged"):
        read_inputs(text)
