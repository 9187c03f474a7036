"""An exit is not denied for want of a price or by a damaged record, and exits together never cross zero."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError
from peak_trade.core.values import Instrument, OrderBook, PastFill, PastOrder, Side, TradingState
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.gate import reduces
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.wiring.gates import gate_chain, read_risk_file
from tests.replacing import replace
from tests.risk.cases import ACCOUNT, BOOK, BTC, MARKET, ORDER, SELL

NO_PRICES = [math.nan, 0.0, -1.0, math.inf, None, "1"]


def codes(order, account=ACCOUNT, market=MARKET, limits=None):
    limits = limits or RiskLimits()
    answer = review(order, account, market, gate_chain(limits), limits)
    return [] if isinstance(answer, ApprovedOrder) else [denial.code for denial in answer]


@pytest.mark.parametrize("price", NO_PRICES, ids=str)
def test_a_whole_position_is_closed_without_a_price(price, config):
    """Every limit of the example file is set; only the price is missing."""
    limits = read_risk_file(config / "risk.toml")
    market = replace(MARKET, decision_price=price)
    assert codes(SELL, market=market, limits=limits) == []
    assert DenialCode.MISSING_DATA in codes(ORDER, market=market, limits=limits)


@pytest.mark.parametrize("price", NO_PRICES, ids=str)
def test_the_last_whole_lots_are_closed_without_a_price_and_a_part_is_not(price):
    held = replace(ACCOUNT, positions={BTC: 1.0004})
    market = replace(MARKET, decision_price=price, instrument=Instrument(BTC, 0.01, 0.001, 5.0))
    assert codes(replace(SELL, quantity=1.0), held, market) == []
    assert codes(replace(SELL, quantity=0.5), held, market) == [DenialCode.MIN_NOTIONAL]


@pytest.mark.parametrize(
    "entry", [None, 1, "damaged", (), PastOrder("o-1", math.nan, "ma", BTC, Side.BUY, "1")], ids=str
)
@pytest.mark.parametrize("order", [ORDER, SELL], ids=["entry", "exit"])
def test_an_unreadable_past_order_denies_no_other(entry, order):
    limits = RiskLimits(duplicate_window=60.0, max_orders=3, max_same_side_fills=3)
    account = replace(ACCOUNT, recent_orders=(entry,), recent_fills=(entry,))
    assert codes(order, account, limits=limits) == []


@pytest.mark.parametrize("entry", [None, 1, "damaged", PastFill(math.nan, "ma", BTC, Side.BUY)], ids=str)
def test_unreadable_past_orders_and_fills_count_against_the_rates(entry):
    limits = RiskLimits(max_orders=3, max_same_side_fills=3)
    account = replace(ACCOUNT, recent_orders=(entry,) * 3, recent_fills=(entry,) * 3)
    assert codes(ORDER, account, limits=limits) == [DenialCode.ORDER_RATE, DenialCode.REPEATED_EXECUTION]


def test_a_known_id_is_a_duplicate_although_the_rest_cannot_be_read():
    limits = RiskLimits(duplicate_window=60.0)
    account = replace(ACCOUNT, recent_orders=(PastOrder("o-9", None, None, None, None, None),))
    assert codes(ORDER, account, limits=limits) == [DenialCode.DUPLICATE_ORDER]


def test_two_full_exits_do_not_cross_zero_while_trading_is_reducing():
    reducing = replace(ACCOUNT, state=TradingState.REDUCING)
    assert codes(SELL, reducing) == []
    assert codes(SELL, replace(reducing, open_exits=1.0)) == [DenialCode.TRADING_STATE]
    assert codes(replace(SELL, quantity=0.4), replace(reducing, open_exits=0.6)) == []


@given(
    held=st.floats(0.001, 1e6),
    cuts=st.lists(st.floats(0.0, 1.0), max_size=6),
    extra=st.floats(1e-6, 1.0),
)
def test_exits_reduce_exactly_while_they_fit_into_the_position(held, cuts, extra):
    """Parts that add up to the position all reduce, in any order and with any rounding; one more does not."""
    ends = [0.0, *sorted(cuts), 1.0]
    parts = [held * (after - before) for before, after in pairwise(ends) if after > before]
    account, exiting = replace(ACCOUNT, positions={BTC: held}), 0.0
    for part in parts:
        assert reduces(replace(SELL, quantity=part), replace(account, open_exits=exiting))
        exiting += part
    assert not reduces(replace(SELL, quantity=held * extra), replace(account, open_exits=exiting))


BOOKS = {
    "asks not sorted": replace(BOOK, asks=(BOOK.asks[1], BOOK.asks[0], *BOOK.asks[2:])),
    "bids not sorted": replace(BOOK, bids=BOOK.bids[:18] + BOOK.bids[:17:-1]),
    "crossed": replace(BOOK, asks=BOOK.bids, bids=BOOK.asks),
    "of another market": OrderBook(BOOK.ts_event, ((49.9, 10.0),) * 2, ((50.1, 10.0),) * 2),
    "a size below zero": replace(BOOK, bids=((99.9, -1.0), *BOOK.bids[1:])),
    "missing": None,
}


@pytest.mark.parametrize("name", BOOKS)
def test_a_book_that_is_not_one_of_this_market_counts_as_missing(name):
    limits = RiskLimits.parse({"liquidity": {"book": "declared"}}, "test")
    readers = {"stale_book", "spread", "slippage", "touch_depth", "book_depth"}
    assert codes(ORDER, limits=limits) == []
    assert set(codes(ORDER, market=replace(MARKET, book=BOOKS[name]), limits=limits)) == readers
    assert codes(SELL, market=replace(MARKET, book=BOOKS[name]), limits=limits) == []


@pytest.mark.parametrize(("distance", "limit", "passes"), [(0.15, 0.2, True), (0.25, 0.2, False), (0.25, 0.3, True)])
def test_the_distance_of_the_book_is_a_limit(distance, limit, passes):
    limits = RiskLimits.parse({"liquidity": {"book": "declared", "max_book_deviation": limit}}, "test")
    market = replace(MARKET, decision_price=100.0 / (1.0 + distance))
    assert (codes(ORDER, market=market, limits=limits) == []) is passes


@pytest.mark.parametrize("value", [1e15, 1e16, 1e300])
@pytest.mark.parametrize(
    "table",
    [
        {"max_order_notional": 0.0},
        {"max_symbol_exposure": 0.0},
        {"max_daily_loss": 0.0},
        {"max_data_age": 0.0},
        {"liquidity": {"max_bar_volume_share": 0.0}},
        {"liquidity": {"min_touch_depth": 0.0}},
        {"state": {"max_feed_age": 0.0}},
    ],
    ids=str,
)
def test_a_limit_that_no_gate_can_read_is_refused_when_it_is_set(table, value):
    ((name, inner),) = table.items()
    bad = {name: {key: value for key in inner} if isinstance(inner, dict) else value}
    with pytest.raises(ConfigError, match="less than 1000000000000000"):
        RiskLimits.parse(bad, "run.toml")
