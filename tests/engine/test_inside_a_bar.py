"""The order of events inside a bar: triggered stops, levels on both sides of the open, and bars that do not show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.values import Instrument
from peak_trade.engine.market import Market
from peak_trade.engine.result import BacktestResult, run_sleeves
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.journal.events import OrderEvent, OrderEventKind
from tests.engine.running import bars_of, run_scenario
from tests.engine.scenarios import A, Scenario, bar, flat, one
from tests.engine.test_laws import random_bars, random_exposure, seeds
from tests.examples import examples

TIGHT = {"max_participation": 0.1}
protections = st.fixed_dictionaries(
    {},
    optional={
        "stop_loss": st.floats(0.002, 0.03),
        "take_profit": st.floats(0.002, 0.03),
        "trailing_stop": st.floats(0.002, 0.03),
    },
)
entries = st.sampled_from(
    [
        {},
        {"order_type": "limit", "limit_offset_bps": 60.0},
        {"order_type": "stop", "stop_offset_bps": 60.0},
        {"order_type": "stop_limit", "stop_offset_bps": 40.0, "limit_offset_bps": 60.0},
        {"order_type": "trailing_stop", "trail": 0.01},
    ]
)
caps = st.sampled_from([None, 0.02, 0.1])


def run_random(seed: int, execution: dict[str, Any], cap: float | None, intrabar: str = "worst") -> BacktestResult:
    bars = random_bars(seed)
    costs = {"fee_bps": 10.0, "slippage_bps": 5.0, "max_participation": cap}
    values = {"initial_cash": 1000.0, "costs": costs, "execution": execution, "intrabar": intrabar}
    sleeve = Sleeve("random", bars.symbol, random_exposure(seed), 0.8)
    return run_sleeves(Market.of([bars]), [sleeve], BacktestSettings.parse(values, "random"))


def orders_of(result: BacktestResult) -> dict[str, list[OrderEvent]]:
    orders: dict[str, list[OrderEvent]] = {}
    for event in result.events:
        if isinstance(event, OrderEvent):
            orders.setdefault(event.order_id, []).append(event)
    return orders


@given(seeds, protections, entries, caps)
@settings(max_examples=examples(80), deadline=None)
def test_worst_and_best_differ_only_if_a_bar_does_not_tell_the_order(
    seed: int, protection: dict[str, Any], entry: dict[str, Any], cap: float | None
) -> None:
    worst, best = (run_random(seed, {**entry, **protection}, cap, intrabar) for intrabar in ("worst", "best"))
    if worst.n_ambiguous == 0:
        assert worst.events == best.events
        assert best.n_ambiguous == 0
    if not protection:
        assert worst.n_ambiguous == 0
    assert worst.n_ambiguous <= len(worst.market)


@given(seeds, protections, entries, st.sampled_from([0.005, 0.02]))
@settings(max_examples=examples(80), deadline=None)
def test_a_triggered_stop_closes_the_position_alone_and_first(
    seed: int, protection: dict[str, Any], entry: dict[str, Any], cap: float
) -> None:
    """From its first fill to its last no other order of the sleeve trades, and it trades in every bar with volume."""
    result = run_random(seed, {**entry, **protection}, cap)
    column, orders = result.market.columns[0], orders_of(result)
    fills = list(zip(result.fill_bars, result.fill_list, strict=True))
    for order_id, steps in orders.items():
        places = [place for place, (_, fill) in enumerate(fills) if fill.order_id == order_id]
        if steps[0].reason not in ("stop_loss", "trailing_stop") or not places:
            continue
        assert places == list(range(places[0], places[-1] + 1))
        bars = [fills[place][0] for place in places]
        if steps[-1].event is not OrderEventKind.FILLED:
            assert steps[-1].event is OrderEventKind.EXPIRED
            bars.append(len(result.market))
        idle = set(range(bars[0], bars[-1])) - set(bars)
        assert all(column.volume[row] == 0.0 for row in idle)


@given(seeds, protections, entries, caps)
@settings(max_examples=examples(80), deadline=None)
def test_a_stop_fills_no_better_than_its_level_unless_the_whole_bar_is_better(
    seed: int, protection: dict[str, Any], entry: dict[str, Any], cap: float | None
) -> None:
    """Where the rest of a stop meets a bar that lies beyond its level, it fills at the worst price of that bar."""
    result = run_random(seed, {**entry, **protection}, cap)
    column, orders = result.market.columns[0], orders_of(result)
    for row, fill in zip(result.fill_bars, result.fill_list, strict=True):
        sign, low, high = fill.side.sign, float(column.low[row]), float(column.high[row])
        assert low <= fill.reference_price <= high
        order = orders[fill.order_id][0]
        level = order.stop_price
        if level is not None and order.limit_price is None:
            worst = high if sign > 0 else low
            bound = level if sign * (worst - level) >= 0.0 else worst
            assert sign * (fill.reference_price - bound) >= 0.0


HALF = [0.5] * 6


def stopped(*case: Any, **more: Any) -> Scenario:
    """A scenario with a stop 10 % below the entry, whose fills take at most a tenth of a bar's volume."""
    return one(*case, **more, execution={"stop_loss": 0.1}, costs=TIGHT)


CASES = [
    stopped(
        "a stop that triggers in the bar of the entry cancels its rest and sells from the next open on",
        [flat(50, 40), bar(50, 50, 40, 41, 40), bar(42, 42, 38, 39, 40), flat(30, 40), flat(30, 40)],
        [0.5] * 5,
        [(1, "buy", 4, 50), (2, "sell", 4, 42)],
    ),
    stopped(
        "a stop takes what volume the entry leaves, and the rest follows",
        [flat(50, 100), bar(50, 50, 44, 46, 150), bar(44, 44, 43, 43, 30), flat(43, 100), flat(43, 100)],
        [0.5] * 5,
        [(1, "buy", 10, 50), (1, "sell", 5, 45), (2, "sell", 3, 44), (3, "sell", 2, 43)],
    ),
    stopped(
        "the rest of a stop fills at its level, not at a better open",
        [flat(50, 100), bar(50, 50, 44, 46, 150), bar(47, 48, 44, 46, 100), flat(46, 100)],
        [0.5] * 4,
        [(1, "buy", 10, 50), (1, "sell", 5, 45), (2, "sell", 5, 45)],
    ),
    stopped(
        "the rest of a stop fills at the worst price of a bar that is better as a whole",
        [flat(50, 100), bar(50, 50, 44, 46, 150), bar(47, 49, 46, 48, 100), flat(48, 100)],
        [0.5] * 4,
        [(1, "buy", 10, 50), (1, "sell", 5, 45), (2, "sell", 5, 46)],
    ),
    stopped(
        "a target that changes while a stop waits is ordered once the stop is done",
        [flat(50, 100), bar(50, 50, 44, 46, 100), flat(45, 40), flat(45, 60), flat(50, 100), flat(50, 100)],
        [0.5, 0.5, 1, 1, 1, 1],
        [(1, "buy", 10, 50), (2, "sell", 4, 45), (3, "sell", 6, 45), (4, "buy", 10, 50), (5, "buy", 9, 50)],
        final_equity=950,
    ),
    stopped(
        "an exit by target leaves a triggered stop at work",
        [flat(50, 100), bar(50, 50, 44, 46, 100), bar(46, 46, 45, 46, 40), flat(44, 100), flat(44, 100)],
        [0.5, 0.5, 0, 0, 0],
        [(1, "buy", 10, 50), (2, "sell", 4, 45), (3, "sell", 6, 44)],
    ),
    one(
        "a stop entry that triggers without volume leaves the trailing stop of a short position as it is",
        [flat(50), bar(50, 50, 48, 49), flat(49), bar(49, 49, 47, 48, 0), bar(48, 48, 48, 48, 50), flat(48)],
        [-0.5, -0.5, -0.9, -0.9, -0.9, -0.9],
        [(1, "sell", 10, 49.5), (4, "sell", 5, 48), (5, "sell", 904.5 / 49 - 15, 48)],
        execution={"order_type": "stop", "stop_offset_bps": 100.0, "trailing_stop": 0.2},
        costs=TIGHT,
    ),
    one(
        "of two stops the one nearer to the open is crossed first",
        [flat(50), flat(50), bar(50, 60, 50, 60), bar(60, 60, 40, 41), flat(41)],
        [0.5] * 5,
        [(1, "buy", 10, 50), (3, "sell", 10, 54)],
        execution={"stop_loss": 0.1, "trailing_stop": 0.1},
    ),
    one(
        "a limit entry above the stop is filled before the stop",
        [flat(50), bar(50, 50, 49, 50), bar(50, 50, 42, 43), flat(43)],
        [0.5, 1, 1, 1],
        [(1, "buy", 10, 49), (2, "buy", 10.2, 49), (2, "sell", 20.2, 44.1)],
        execution={"order_type": "limit", "limit_offset_bps": 200.0, "stop_loss": 0.1},
    ),
    one(
        "a stop below a limit entry of the same bar is known to come after it",
        [flat(50), bar(50, 50, 43, 50), flat(50)],
        [0.5] * 3,
        [(1, "buy", 10, 49), (1, "sell", 10, 44.1)],
        execution={"order_type": "limit", "limit_offset_bps": 200.0, "stop_loss": 0.1, "take_profit": 0.1},
    ),
    one(
        "a stop below a stop entry of the same bar may come before it",
        [flat(50), bar(50, 52, 45, 51), flat(51)],
        [0.5] * 3,
        [(1, "buy", 10, 51), (1, "sell", 10, 45.9)],
        execution={"order_type": "stop", "stop_offset_bps": 200.0, "stop_loss": 0.1},
        n_ambiguous=1,
    ),
    one(
        "a stop below a stop entry is known to come after it if the bar closes below",
        [flat(50), bar(50, 52, 45, 45.5), flat(45)],
        [0.5] * 3,
        [(1, "buy", 10, 51), (1, "sell", 10, 45.9)],
        execution={"order_type": "stop", "stop_offset_bps": 200.0, "stop_loss": 0.1},
    ),
    one(
        "a target above a stop entry of the same bar is known to come after it",
        [flat(50), bar(50, 60, 49, 55), flat(55)],
        [0.5] * 3,
        [(1, "buy", 10, 51), (1, "sell", 10, 56.1)],
        execution={"order_type": "stop", "stop_offset_bps": 200.0, "take_profit": 0.1, "stop_loss": 0.1},
    ),
    one(
        "stop and target on one side of a gap are not ambiguous",
        [flat(50), flat(50), bar(40, 60, 40, 50), flat(50)],
        [0.5] * 4,
        [(1, "buy", 10, 50), (2, "sell", 10, 40)],
        execution={"stop_loss": 0.1, "take_profit": 0.1},
    ),
    one(
        "two bars of two trades are two ambiguous bars",
        [flat(50), flat(50), bar(50, 56, 44, 50), flat(50), flat(50), bar(50, 56, 44, 50), flat(50)],
        [0.5, 0.5, 0.5, 0, 0.5, 0.5, 0.5],
        [(1, "buy", 10, 50), (2, "sell", 10, 45), (5, "buy", 9.5, 50), (5, "sell", 9.5, 45)],
        execution={"stop_loss": 0.1, "take_profit": 0.1},
        n_ambiguous=2,
    ),
    one(
        "partial fills in one bar are one ambiguous bar",
        [flat(50), flat(50), bar(50, 56, 44, 50, 50), flat(44, 100)],
        [0.5] * 4,
        [(1, "buy", 10, 50), (2, "sell", 5, 45), (3, "sell", 5, 44)],
        execution={"stop_loss": 0.1, "take_profit": 0.1},
        costs=TIGHT,
        n_ambiguous=1,
    ),
    one(
        "a better open fills a resting limit with the maker fee and without slippage",
        [flat(50), flat(48), flat(48)],
        [0.5] * 3,
        [(1, "buy", 10, 48)],
        execution={"order_type": "limit", "limit_offset_bps": 100.0},
        costs={"slippage_bps": 50.0, "fee_bps": 100.0, "maker_fee_bps": 10.0},
        final_equity=1000 - 480 * 0.001,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_fills_inside_a_bar_are_those_worked_out_by_hand(case: Scenario) -> None:
    result = run_scenario(case)
    fills = [
        (row, fill.symbol, fill.side.value, pytest.approx(fill.quantity), pytest.approx(fill.price))
        for row, fill in zip(result.fill_bars, result.fill_list, strict=True)
    ]
    assert fills == list(case.fills)
    assert result.n_ambiguous == case.n_ambiguous
    if case.final_equity is not None:
        assert result.equity_values[-1] == pytest.approx(case.final_equity)


def test_a_triggered_stop_comes_before_the_orders_of_another_strategy() -> None:
    """The rest fills at its level within the bar, and the volume is kept for it although the other order is older."""
    rows = [flat(50, 100), bar(50, 50, 44, 46, 100), bar(47, 48, 44, 46, 30), flat(45, 200), flat(45, 200)]
    bars = bars_of(A, rows)
    costs = {"fee_bps": 0.0, "slippage_bps": 0.0, "max_participation": 0.1}
    chosen = BacktestSettings.parse({"initial_cash": 1000.0, "costs": costs, "execution": {"stop_loss": 0.1}}, "test")
    stopped = Sleeve("stopped", A, np.array([0.5] * 5))
    other = Sleeve("other", A, np.array([0, 0.1, 0.1, 0.1, 0.1]))
    result = run_sleeves(Market.of([bars], {A: Instrument(A)}), [stopped, other], chosen)
    found = [(row, fill.strategy, fill.quantity) for row, fill in zip(result.fill_bars, result.fill_list, strict=True)]
    assert found[:2] == [(1, "stopped", 10.0), (2, "stopped", 3.0)]
    assert (3, "stopped", 7.0) in found
