"""Prices of orders round to the tick in a stated direction, and fills keep to the rounded prices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.rounding import floor_difference, floor_to, is_on_grid, limit_to, stop_to, stops_to
from peak_trade.core.values import Fill, Instrument
from peak_trade.engine.market import Market, SymbolBars
from peak_trade.engine.policy import entry_legs
from peak_trade.engine.result import BacktestResult, run_sleeves
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.engine.sleeve import Sleeve
from peak_trade.journal.events import OrderEvent, OrderEventKind
from tests.engine.running import run_scenario
from tests.engine.scenarios import Scenario, bar, flat, one
from tests.engine.test_laws import random_bars, random_exposure, seeds
from tests.examples import examples

NOISE = 1e-8
"""Tolerance of a rounded price, as a fraction of the tick: a price this close to the grid counts as on it."""

ticks = st.one_of(
    st.sampled_from([0.01, 0.05, 0.25, 0.5, 1.0, 3.0]), st.floats(0.003, 4.0, allow_nan=False, allow_infinity=False)
)
policies = st.sampled_from(
    [
        {},
        {"stop_loss": 0.013, "take_profit": 0.017},
        {"trailing_stop": 0.021, "stop_loss": 0.03},
        {"order_type": "limit", "limit_offset_bps": 37.0, "stop_loss": 0.02},
        {"order_type": "stop", "stop_offset_bps": 41.0, "trailing_stop": 0.03},
        {"order_type": "stop_limit", "stop_offset_bps": 23.0, "limit_offset_bps": 31.0, "take_profit": 0.011},
        {"order_type": "trailing_stop", "trail": 0.011, "take_profit": 0.03},
    ]
)


def run_with_tick(seed: int, policy: dict[str, Any], tick: float, cap: float | None = None) -> BacktestResult:
    bars = random_bars(seed)
    market = Market.of([bars], {bars.symbol: Instrument(bars.symbol, tick_size=tick)})
    costs = {"slippage_bps": 7.0, "fee_bps": 10.0, "max_participation": cap}
    chosen = BacktestSettings.parse({"initial_cash": 1000.0, "costs": costs, "execution": policy}, "ticks")
    return run_sleeves(market, [Sleeve("random", bars.symbol, random_exposure(seed), 0.8)], chosen)


def orders_of(result: BacktestResult) -> dict[str, OrderEvent]:
    """The requested orders by id."""
    orders = [event for event in result.events if isinstance(event, OrderEvent)]
    return {event.order_id: event for event in orders if event.event is OrderEventKind.REQUESTED}


def trail_level(order: OrderEvent, trail: float, until: int, column: SymbolBars, times: np.ndarray[Any, Any]) -> float:
    """The level of a trailing stop in bar `until`, not rounded: it follows the extremes of the bars before."""
    after = int(np.searchsorted(times, order.ts_event, side="right"))
    sign = order.side.sign
    extremes = (column.low if sign > 0 else column.high)[after:until]
    best = (min if sign > 0 else max)([order.decision_price, *extremes.tolist()])
    return best * (1.0 + sign * trail)


@pytest.mark.parametrize("side", [1.0, -1.0], ids=["buy", "sell"])
@given(ticks, st.floats(1.0, 1e5))
def test_a_limit_is_no_worse_and_a_stop_no_nearer_than_asked(side: float, tick: float, price: float) -> None:
    sign = int(side)
    limit, stop = limit_to(price, sign, tick), stop_to(price, sign, tick)
    assert is_on_grid(limit, tick)
    assert is_on_grid(stop, tick)
    assert -NOISE * tick <= sign * (price - limit) < tick
    assert -NOISE * tick <= sign * (stop - price) < tick


@given(ticks, st.lists(st.floats(0.0, 1e5), min_size=1), st.sampled_from([1, -1]))
def test_many_stop_levels_round_as_one_does(tick: float, levels: list[float], sign: int) -> None:
    assert stops_to(np.array(levels), sign, tick).tolist() == [stop_to(level, sign, tick) for level in levels]


@given(seeds, policies, ticks)
@settings(max_examples=examples(60), deadline=None)
def test_fills_keep_to_the_rounded_prices_of_their_orders(seed: int, policy: dict[str, Any], tick: float) -> None:
    """No order triggers before its rounded level, no limit fills worse than asked, no stop better than its level."""
    result = run_with_tick(seed, policy, tick)
    orders, column = orders_of(result), result.market.columns[0]
    for row, fill in zip(result.fill_bars, result.fill_list, strict=True):
        order = orders[fill.order_id]
        check_price(fill, row, order, column)
        if order.order_type in ("stop", "trailing_stop"):
            trail = policy.get("trail" if fill.reason == "target" else "trailing_stop", 0.0)
            level = order.stop_price or trail_level(order, trail, row, column, result.market.times)
            check_trigger(fill, row, stop_to(level, fill.side.sign, tick), column, NOISE * tick)


def check_price(fill: Fill, row: int, order: OrderEvent, column: SymbolBars) -> None:
    sign = fill.side.sign
    opened, low, high = (float(values[row]) for values in (column.open, column.low, column.high))
    assert low <= fill.reference_price <= high
    if order.limit_price is not None:
        assert sign * (order.limit_price - fill.price) >= 0.0
        if order.stop_price is None and fill.reference_price != order.limit_price:
            assert fill.reference_price == opened
            assert sign * (order.limit_price - opened) > 0.0


def check_trigger(fill: Fill, row: int, level: float, column: SymbolBars, noise: float) -> None:
    sign = fill.side.sign
    reached = float((column.high if sign > 0 else column.low)[row])
    assert sign * (reached - level) >= -noise
    assert sign * (fill.reference_price - level) >= -noise


@given(seeds, policies, ticks)
@settings(max_examples=examples(40), deadline=None)
def test_what_a_bar_leaves_of_an_order_keeps_to_its_rounded_prices_too(
    seed: int, policy: dict[str, Any], tick: float
) -> None:
    """With little volume the rest of a stop fills in later bars: at its level or worse where the bar trades there."""
    result = run_with_tick(seed, policy, tick, 0.02)
    orders, column = orders_of(result), result.market.columns[0]
    for row, fill in zip(result.fill_bars, result.fill_list, strict=True):
        order, sign = orders[fill.order_id], fill.side.sign
        check_price(fill, row, order, column)
        if order.order_type == "stop":
            assert order.stop_price is not None
            worst = float((column.high if sign > 0 else column.low)[row])
            bound = order.stop_price if sign * (worst - order.stop_price) >= 0.0 else worst
            assert sign * (fill.reference_price - bound) >= 0.0


@given(seeds, policies, ticks)
@settings(max_examples=examples(30), deadline=None)
def test_orders_are_sent_at_the_next_tick_in_their_direction(seed: int, policy: dict[str, Any], tick: float) -> None:
    for order in orders_of(run_with_tick(seed, policy, tick)).values():
        sign, price = order.side.sign, order.decision_price
        beyond, better = (policy.get(name, 10.0) / 1e4 * price for name in ("stop_offset_bps", "limit_offset_bps"))
        asked_stop, asked_limit = price + sign * beyond, price - sign * better
        if order.reason != "target":
            asked_stop = price * (1.0 + sign * policy.get("stop_loss", 0.0))
            asked_limit = price * (1.0 - sign * policy.get("take_profit", 0.0))
        elif order.order_type == "stop_limit":
            assert order.stop_price is not None
            asked_limit = order.stop_price + sign * better
        if order.stop_price is not None:
            assert is_on_grid(order.stop_price, tick)
            assert -NOISE * tick <= sign * (order.stop_price - asked_stop) < tick
        if order.limit_price is not None:
            assert is_on_grid(order.limit_price, tick)
            assert -NOISE * tick <= sign * (asked_limit - order.limit_price) < tick


CASES = [
    one(
        "a stop entry is not triggered below its rounded level",
        [flat(50), bar(50, 50.19, 49.9, 50), bar(50, 50.2, 50, 50)],
        [1, 1, 1],
        [(2, "buy", 1000 / 50.2, 50.2)],
        execution={"order_type": "stop", "stop_offset_bps": 10.0},
        instrument={"tick_size": 0.2},
    ),
    one(
        "a sell stop entry rounds down",
        [flat(50), bar(50, 50, 49.81, 50), bar(50, 50, 49.8, 50)],
        [-0.5, -0.5, -0.5],
        [(2, "sell", 10, 49.8)],
        execution={"order_type": "stop", "stop_offset_bps": 10.0},
        instrument={"tick_size": 0.2},
    ),
    one(
        "a limit entry is no worse than asked",
        [flat(50), bar(50, 50, 49.9, 50), bar(50, 50, 49.6, 50)],
        [0.5, 0.5, 0.5],
        [(2, "buy", 10, 49.6)],
        execution={"order_type": "limit", "limit_offset_bps": 20.0},
        instrument={"tick_size": 0.4},
    ),
    one(
        "a stop-loss rounds against us",
        [flat(50), flat(50), bar(50, 50, 49.1, 50), bar(50, 50, 49, 49)],
        [0.5] * 4,
        [(1, "buy", 10, 50), (3, "sell", 10, 49)],
        execution={"stop_loss": 0.015},
        instrument={"tick_size": 0.5},
    ),
    one(
        "the stop-loss of a short rounds up",
        [flat(50), flat(50), bar(50, 50.9, 50, 50), bar(50, 51, 50, 51)],
        [-0.5] * 4,
        [(1, "sell", 10, 50), (3, "buy", 10, 51)],
        execution={"stop_loss": 0.015},
        instrument={"tick_size": 0.5},
    ),
    one(
        "a take-profit is no worse than asked",
        [flat(50), flat(50), bar(50, 50.9, 50, 50), bar(50, 51, 50, 51)],
        [0.5] * 4,
        [(1, "buy", 10, 50), (3, "sell", 10, 51)],
        execution={"take_profit": 0.015},
        instrument={"tick_size": 0.5},
    ),
    one(
        "a trailing stop rounds against us",
        [flat(50), bar(50, 53, 50, 53), bar(53, 53, 52.1, 52.1), bar(52.1, 52.1, 52, 52)],
        [0.5] * 4,
        [(1, "buy", 10, 50), (3, "sell", 10, 52)],
        execution={"trailing_stop": 0.016},
        instrument={"tick_size": 0.5},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_level_that_the_bar_does_not_reach_once_rounded_is_not_touched(case: Scenario) -> None:
    result = run_scenario(case)
    fills = [
        (row, fill.symbol, fill.side.value, pytest.approx(fill.quantity), pytest.approx(fill.price))
        for row, fill in zip(result.fill_bars, result.fill_list, strict=True)
    ]
    assert fills == list(case.fills)


def test_a_part_of_a_lot_is_left_and_never_sold_beyond_the_position() -> None:
    """A position is no whole number of lots after a fee in base units; the part is not rounded up."""
    policy = ExecutionPolicy.parse({"order_type": "limit"}, "test")
    legs = entry_legs(policy, Instrument("AAA/USD", lot_size=0.1), 0.2404, -1.0, 100.0)
    assert [leg.quantity for leg in legs] == [-0.2404, pytest.approx(-0.7)]


@given(
    st.integers(1, 10**9),
    st.integers(1, 10**9),
    st.sampled_from([1e-8, 1e-5, 0.0001, 0.07, 0.3, 5.0]),
    st.sampled_from([1, -1]),
)
def test_a_flip_in_whole_lots_loses_no_lot(held: int, wanted: int, lot: float, sign: int) -> None:
    policy, instrument = ExecutionPolicy.parse({"order_type": "limit"}, "test"), Instrument("AAA/USD", lot_size=lot)
    position, target = floor_to(sign * held * lot, lot), floor_to(-sign * wanted * lot, lot)
    delta = floor_difference(target, position, lot)
    closing, opening = entry_legs(policy, instrument, position, delta, 100.0)
    assert round(closing.quantity / lot) == -sign * held
    assert round(opening.quantity / lot) == -sign * wanted
