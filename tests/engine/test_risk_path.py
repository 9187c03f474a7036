"""Runs without limits and runs with limits use the same gates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from peak_trade.core.values import Instrument, Side
from peak_trade.engine.loop import EventLoop
from peak_trade.engine.market import Market
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.simulated_venue import SimulatedVenue
from peak_trade.engine.sleeve import Sleeve
from peak_trade.engine.venue import BuyingPower, Execution
from peak_trade.journal.events import DecisionEvent, Event, OrderEvent, OrderEventKind
from peak_trade.risk.limits import RiskLimits
from peak_trade.wiring.gates import make_risk_engine
from tests.engine.running import bars_of
from tests.engine.scenarios import A, flat
from tests.engine.test_laws import cost_choices, lots, policies, run_random, seeds
from tests.examples import examples
from tests.replacing import replace

TAKEN = 0.0006


class TakesBase(SimulatedVenue):
    """Takes the fee of a buy in base units, so the position is not a whole number of lots."""

    def match(self, bar: int, buying_power: BuyingPower) -> Iterator[Execution]:
        """Yield the executions of the simulated venue; a buy costs TAKEN base units."""
        for done in super().match(bar, buying_power):
            is_buy = done.order.side is Side.BUY
            yield replace(done, fee=TAKEN * done.price, fee_in_base=TAKEN) if is_buy else done


@pytest.mark.parametrize("limits", [None, RiskLimits()], ids=["no-limits", "no-limit-set"])
def test_an_exit_of_all_whole_lots_below_the_minimum_notional_is_denied(limits: RiskLimits | None) -> None:
    """The position is 0.0504, the exit 0.05 of it is worth 5.0, and the exchange's minimum of 10 holds for it too."""
    bars = bars_of(A, [flat(400), flat(400), flat(100), flat(100)])
    market = Market.of([bars], {A: Instrument(A, lot_size=0.001, min_notional=10.0)})
    chosen = BacktestSettings.parse({"initial_cash": 1000.0, "costs": {"fee_bps": 0.0, "slippage_bps": 0.0}}, "test")
    events: list[Event] = []
    loop = EventLoop(
        market,
        [Sleeve("s", A, np.array([0.0204, 0.0204, 0.0, 0.0]))],
        chosen,
        emit=events.append,
        venue=TakesBase(market, chosen.costs),
        risk_engine=make_risk_engine(limits, [bars]),
    )
    loop.run()
    assert [fill.position_change for fill in loop.fills] == pytest.approx([0.0504])
    denied = [event for event in events if isinstance(event, OrderEvent) and event.event is OrderEventKind.DENIED]
    assert [(event.quantity, event.reason) for event in denied] == [(pytest.approx(0.05), "min_notional")]


@given(seeds, policies, cost_choices, lots)
@settings(max_examples=examples(30), deadline=None)
def test_a_run_without_limits_differs_from_one_with_no_limit_set_in_the_decisions_only(
    seed: int, policy: dict[str, Any], costs: dict[str, Any], lot: dict[str, Any]
) -> None:
    """With limits of which none is set, the same orders are denied and every decision is recorded."""
    free = run_random(seed, policy, costs, lot, every_bar=False)[1]
    recorded = run_random(seed, policy, costs, lot, every_bar=False, risk=RiskLimits())[1]
    assert free == [event for event in recorded if not isinstance(event, DecisionEvent)]
    assert sum(isinstance(event, DecisionEvent) for event in recorded) == sum(
        isinstance(event, OrderEvent) and event.event is OrderEventKind.REQUESTED for event in recorded
    )
