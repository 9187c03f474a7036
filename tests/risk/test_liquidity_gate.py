"""Liquidity gates: cost from the order book or the model, depth, and fractions of volume."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.core.history import DailyHistory
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import OrderBook, OrderType, Side
from peak_trade.data.sample import sample_bars
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.liquidity import depth_within, impact, mid_price, walk
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.wiring.gates import gate_chain, read_risk_file
from tests.replacing import replace
from tests.risk.cases import ACCOUNT, BOOK, MARKET, ORDER
from tests.tolerances import RTOL_SAME

LIMIT = {"order_type": OrderType.LIMIT, "limit_price": 100.0}


@pytest.fixture(scope="module")
def limits(config):
    return read_risk_file(config / "risk_liquidity_gate_example.toml")


def codes(order, limits, market=MARKET):
    answer = review(order, ACCOUNT, market, gate_chain(limits), limits)
    return [] if isinstance(answer, ApprovedOrder) else [denial.code for denial in answer]


def test_an_order_that_would_slip_over_the_limit_is_blocked(limits):
    thin = replace(MARKET, book=replace(BOOK, asks=((100.05, 5.0), (103.0, 500.0))))
    assert DenialCode.SLIPPAGE in codes(replace(ORDER, quantity=20.0), limits, thin)
    assert codes(replace(ORDER, quantity=2.0), limits, thin) == []


def test_a_declared_book_that_is_missing_or_stale_denies_and_an_absent_one_selects_the_model(limits):
    without = replace(MARKET, book=None)
    denied = codes(ORDER, limits, without)
    assert {DenialCode.STALE_BOOK, DenialCode.SPREAD, DenialCode.SLIPPAGE} <= set(denied)
    absent = RiskLimits.parse({"liquidity": {"book": "absent"}}, "test")
    assert codes(ORDER, absent, without) == []


@pytest.mark.parametrize("change", [{}, LIMIT], ids=["market", "limit"])
def test_market_orders_may_use_seventy_percent_of_a_limit(change, limits):
    at_eighty_percent = replace(ORDER, quantity=round(0.8 * 10.0 / 1.5, 3), **change)
    assert (codes(at_eighty_percent, limits) == []) is bool(change)
    gates = {gate.code: gate for gate in gate_chain(limits)}
    order = replace(ORDER, **change)
    share = 1.0 if change else 0.7
    for code, limit in (
        (DenialCode.SPREAD, 0.005 * share),
        (DenialCode.SLIPPAGE, 0.01 * share),
        (DenialCode.TOUCH_DEPTH, 1.5 / share),
        (DenialCode.BOOK_DEPTH, 1.5 / share),
        (DenialCode.DAILY_VOLUME_SHARE, 0.02 * share),
    ):
        assert gates[code].read(order, ACCOUNT, MARKET, limits).limit == pytest.approx(limit, rel=RTOL_SAME)


def test_depth_beyond_twenty_levels_does_not_count(limits):
    deep = replace(MARKET, book=replace(BOOK, asks=(*BOOK.asks, (103.0, 1e6))))
    gates = {gate.code: gate for gate in gate_chain(limits)}
    assert gates[DenialCode.BOOK_DEPTH].read(ORDER, ACCOUNT, deep, limits).observed == 200.0


def test_buys_take_asks_and_sells_take_bids(limits):
    one_sided = replace(MARKET, book=replace(BOOK, bids=((99.95, 0.1),)))
    assert codes(ORDER, limits, one_sided) == []
    sell = replace(ORDER, side=Side.SELL)
    assert {DenialCode.TOUCH_DEPTH, DenialCode.BOOK_DEPTH} <= set(codes(sell, limits, one_sided))


def test_the_walk_is_worked_by_hand():
    assert walk(((100.0, 1.0), (101.0, 2.0)), 2.0) == 100.5
    assert walk(((100.0, 1.0),), 1.0) == 100.0
    assert walk(((100.0, 1.0),), 1.1) == math.inf
    assert mid_price(OrderBook(1, bids=((99.0, 1.0),), asks=((101.0, 1.0),))) == 100.0


@given(st.floats(0.01, 100.0), st.floats(1.0, 4.0))
def test_a_larger_order_never_costs_less(quantity, factor):
    levels = tuple((100.0 + level, 10.0) for level in range(20))
    assert walk(levels, factor * quantity) >= walk(levels, quantity) * (1.0 - RTOL_SAME)
    assert impact(factor * quantity, 1e5, 0.03, 1.0) >= impact(quantity, 1e5, 0.03, 1.0)


LEVELS = st.lists(st.tuples(st.floats(99.0, 101.0), st.floats(0.0, 10.0)), min_size=1, max_size=25)


@given(LEVELS, st.floats(0.0, 0.02), st.floats(0.0, 0.02))
def test_a_wider_touch_never_has_less_depth_and_never_more_than_twenty_levels(levels, width, more):
    asks = tuple(sorted(levels))
    narrow, wide = depth_within(asks, width), depth_within(asks, width + more)
    assert asks[0][1] <= narrow <= wide <= sum(size for _, size in asks[:20]) * (1.0 + RTOL_SAME)
    bids = tuple((10_000.0 / price, size) for price, size in asks)
    assert depth_within(bids, 0.03) == depth_within(asks, 0.03)


def test_the_touch_is_worked_by_hand():
    asks = ((100.0, 1.0), (100.01, 2.0), (100.02, 4.0), (99.0, 8.0), (100.0, 16.0))
    assert [depth_within(asks, width) for width in (0.0, 0.00009, 0.00011, 0.00021)] == [1.0, 1.0, 3.0, 7.0]


def test_a_deep_second_tick_is_at_the_touch_and_at_width_zero_it_is_not(limits):
    ticks = replace(MARKET, book=replace(BOOK, asks=((100.05, 0.1), (100.06, 50.0), (100.1, 500.0))))
    assert codes(ORDER, limits, ticks) == []
    best_alone = limits.model_copy(update={"liquidity": limits.liquidity.model_copy(update={"touch_width": 0.0})})
    assert codes(ORDER, best_alone, ticks) == [DenialCode.TOUCH_DEPTH]


def test_impact_follows_the_square_root():
    assert impact(400.0, 40_000.0, 0.04, 1.5) == pytest.approx(1.5 * 0.04 * 0.1, rel=RTOL_SAME)
    assert impact(1_600.0, 40_000.0, 0.04, 1.5) == pytest.approx(2 * impact(400.0, 40_000.0, 0.04, 1.5), rel=RTOL_SAME)


def test_a_history_that_ended_days_ago_has_no_activity():
    bars = sample_bars("BTC/USDT", n_bars=24 * 40)
    record, day = DailyHistory([bars], "run", 30), 86_400 * NS_PER_SECOND
    last = int(bars.times[-1])
    assert all(math.isfinite(known) for known in record.activity_at("BTC/USDT", last + day))
    assert all(math.isnan(known) for known in record.activity_at("BTC/USDT", last + 4 * day))
