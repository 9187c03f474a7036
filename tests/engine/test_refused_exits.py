"""An exit that is denied or rejected is asked again at each close; an entry is not until its target changes."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.values import Instrument
from peak_trade.engine.loop import EventLoop
from peak_trade.engine.market import Market
from peak_trade.engine.netting import NettedTrader
from peak_trade.engine.result import position_paths
from peak_trade.engine.risk_engine import RiskEngine
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.simulated_venue import SimulatedVenue
from peak_trade.engine.sleeve import Sleeve
from peak_trade.engine.venue import Phase
from peak_trade.journal.events import (
    AlertEvent,
    EndCause,
    Ending,
    Event,
    OrderEvent,
    OrderEventKind,
    SignalEvent,
)
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.gate import GateChain, Proposal, RiskGate
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.order_gates import INSTRUMENT_GATES
from peak_trade.risk.review import ApprovedOrder
from peak_trade.wiring.gates import make_risk_engine
from tests.engine.running import bars_of
from tests.engine.scenarios import A, flat
from tests.engine.test_laws import N_BARS, cost_choices, lots, policies, random_bars, random_exposure, seeds
from tests.examples import examples

HOUR = 3_600_000_000_000
COSTS = {"fee_bps": 0.0, "slippage_bps": 0.0, "max_participation": None}


def denying(probability: float, seed: int = 0) -> RiskEngine:
    """A risk engine that denies orders at random closes, exits too."""

    def measure(proposal: Proposal) -> tuple[float, float]:
        drawn = sha256(f"{seed} {proposal.order.decided_at} {proposal.order.symbol}".encode()).digest()
        return float(drawn[0] < 256 * probability), 0.0

    return RiskEngine(
        GateChain((*INSTRUMENT_GATES, RiskGate(DenialCode.STALE_DATA, "", measure, relieves=False))), None
    )


class Rejects(SimulatedVenue):
    """Rejects the orders by target of the closes given by bar."""

    closed: frozenset[int] = frozenset()

    def submit(self, approved: ApprovedOrder, bar: int, phase: Phase = Phase.AFTER_CLOSE) -> Ending | None:
        """Reject an order by target while the market is closed."""
        if bar in self.closed and approved.order.reason == "target":
            return Ending(EndCause.EXCHANGE, "by the exchange: market is closed")
        return super().submit(approved, bar, phase)


def run(
    prices: list[float],
    exposure: list[float],
    *,
    closed: set[int] | frozenset[int] = frozenset(),
    instrument: dict[str, Any] | None = None,
    limits: RiskLimits | None = None,
    execution: dict[str, Any] | None = None,
) -> tuple[EventLoop, list[Event], list[AlertEvent]]:
    bars = bars_of(A, [flat(price) for price in prices])
    market = Market.of([bars], {A: Instrument(A, **(instrument or {}))})
    values = {"initial_cash": 1000.0, "costs": COSTS, "execution": execution or {}}
    chosen = BacktestSettings.parse(values, "test")
    events: list[Event] = []
    alerts: list[AlertEvent] = []
    venue = Rejects(market, chosen.costs)
    venue.closed = frozenset(closed)
    engine = make_risk_engine(limits, [bars])
    sleeves = [Sleeve("s", A, np.array(exposure, dtype=float))]
    loop = EventLoop(market, sleeves, chosen, emit=events.append, alert=alerts.append, venue=venue, risk_engine=engine)
    loop.run()
    return loop, events, alerts


def requested(events: list[Event], reason: str = "target") -> list[tuple[int, str]]:
    """Bar and side of each requested order."""
    first = 1_704_070_800_000_000_000
    return [
        ((event.ts_event - first) // HOUR, event.side.value)
        for event in events
        if isinstance(event, OrderEvent) and event.event is OrderEventKind.REQUESTED and event.reason == reason
    ]


def test_a_rejected_exit_is_asked_again_at_each_close_until_it_is_taken() -> None:
    loop, events, alerts = run([100.0] * 8, [1, 1, 0, 0, 0, 0, 0, 0], closed={2, 3, 4})
    assert requested(events) == [(0, "buy"), (2, "sell"), (3, "sell"), (4, "sell"), (5, "sell")]
    assert loop.fill_bars == [1, 6]
    assert [(alert.code, alert.observed) for alert in alerts] == [("exit_refused", 1000.0)]
    assert "market is closed" in alerts[0].message


def test_a_rejected_entry_is_not_asked_again_until_its_target_changes() -> None:
    _, events, alerts = run([100.0] * 8, [0, 1, 1, 1, 0.5, 0.5, 0.5, 0.5], closed={1, 2})
    assert requested(events) == [(1, "buy"), (4, "buy")]
    assert alerts == []


def test_a_part_of_a_position_is_asked_to_be_sold_again_too() -> None:
    loop, events, alerts = run([100.0] * 6, [1, 1, 0.5, 0.5, 0.5, 0.5], closed={2, 3})
    assert requested(events) == [(0, "buy"), (2, "sell"), (3, "sell"), (4, "sell")]
    assert loop.ledger.quantity(A) == 5.0
    assert len(alerts) == 1


def test_an_exit_is_no_longer_asked_when_the_target_asks_for_more_again() -> None:
    loop, events, _ = run([100.0] * 7, [1, 1, 0, 0, 1, 1, 1], closed={2, 3})
    assert requested(events) == [(0, "buy"), (2, "sell"), (3, "sell")]
    assert loop.ledger.quantity(A) == 10.0


def test_each_episode_has_one_alert() -> None:
    exposure = [1, 1, 0, 0, 0, 1, 1, 0.5, 0, 0, 0]
    _, events, alerts = run([100.0] * 11, exposure, closed={2, 3, 7, 8})
    assert requested(events)[-2:] == [(8, "sell"), (9, "sell")]
    assert [(alert.ts_event - 1_704_070_800_000_000_000) // HOUR for alert in alerts] == [2, 7, 8]


def test_dust_is_stated_once_and_asked_again_when_it_is_worth_the_minimum() -> None:
    prices = [100.0, 100.0, 3.0, 4.0, 9.0, 10.0, 11.0, 12.0]
    loop, events, alerts = run(prices, [0.5, 0.5, 0, 0, 0, 0, 0, 0], instrument={"min_notional": 50.0})
    assert requested(events) == [(0, "buy"), (2, "sell"), (5, "sell")]
    assert loop.fill_bars == [1, 6]
    assert [(alert.observed, alert.limit) for alert in alerts] == [(15.0, 50.0)]
    assert "again when it is worth the minimum of 50" in alerts[0].message


def test_an_exit_is_not_asked_again_while_trading_is_halted() -> None:
    limits = RiskLimits.parse({"state": {"halt_drawdown": 0.2}}, "test")
    _, events, alerts = run([100.0, 100.0, 100.0, 70.0, 70.0, 70.0], [1, 1, 1, 0, 0, 0], limits=limits)
    assert requested(events) == [(0, "buy"), (3, "sell")]
    assert len(alerts) == 1


@pytest.mark.parametrize(
    ("limits", "asked"),
    [
        ({}, [2, 3, 4, 5]),
        ({"duplicate_window": 5400.0}, [2, 4, 6]),
        ({"max_orders": 2, "order_window": 3 * 3600.0}, [2, 3, 5]),
    ],
    ids=["no-limit", "duplicates", "rate"],
)
def test_exits_are_asked_again_within_the_limits_on_the_order_rate(limits: dict[str, Any], asked: list[int]) -> None:
    _, events, _ = run([100.0] * 9, [1, 1, 0, 0, 0, 0, 0, 0, 0], closed={2, 3, 4}, limits=RiskLimits(**limits))
    assert [bar for bar, side in requested(events) if side == "sell"] == asked


def test_a_stop_protects_the_position_until_the_exit_is_taken() -> None:
    prices = [100.0, 100.0, 100.0, 80.0, 80.0, 80.0]
    loop, events, _ = run(prices, [1, 1, 0, 0, 0, 0], closed={2}, execution={"stop_loss": 0.1})
    assert requested(events) == [(0, "buy"), (2, "sell")]
    assert [(bar, fill.reason) for bar, fill in zip(loop.fill_bars, loop.fills, strict=True)] == [
        (1, "target"),
        (3, "stop_loss"),
    ]


def test_netted_exits_are_asked_again_for_the_sleeves_that_wait() -> None:
    bars = bars_of(A, [flat(100.0)] * 7)
    market = Market.of([bars])
    chosen = BacktestSettings.parse({"initial_cash": 1000.0, "costs": COSTS}, "test")
    sleeves = [
        Sleeve("leaves", A, np.array([1, 1, 0, 0, 0, 0, 0.0]), 0.5),
        Sleeve("stays", A, np.array([1, 1, 1, 0.5, 0.5, 0.5, 0.5]), 0.5),
    ]
    events: list[Event] = []
    venue = Rejects(market, chosen.costs)
    venue.closed = frozenset({2, 3, 4})
    loop = EventLoop(
        market, sleeves, chosen, emit=events.append, venue=venue, trader=NettedTrader(market, sleeves, chosen)
    )
    loop.run()
    assert requested(events) == [(0, "buy"), (2, "sell"), (3, "sell"), (4, "sell"), (5, "sell")]
    assert [sleeve.position for sleeve in sleeves] == [0.0, pytest.approx(2.5)]


def run_denied(
    seed: int, policy: dict[str, Any], costs: dict[str, Any], lot: dict[str, Any], share: float, *, every_bar: bool
) -> tuple[list[Event], list[AlertEvent], list[float]]:
    """Events, alerts and the position at each close."""
    bars = random_bars(seed)
    market = Market.of([bars], {bars.symbol: Instrument(bars.symbol, **lot)})
    chosen = BacktestSettings.parse({"initial_cash": 1000.0, "costs": costs, "execution": policy}, "random")
    events: list[Event] = []
    alerts: list[AlertEvent] = []
    sleeves = [Sleeve("random", bars.symbol, random_exposure(seed), 0.8)]
    engine = denying(share, seed)
    loop = EventLoop(market, sleeves, chosen, emit=events.append, alert=alerts.append, risk_engine=engine)
    if every_bar:
        for bar in range(N_BARS):
            if loop.bankrupt_bar is None:
                loop.step(bar)
        loop.finish(N_BARS - 1 if loop.bankrupt_bar is None else loop.bankrupt_bar)
    else:
        loop.run()
    return events, alerts, position_paths(loop)[bars.symbol].tolist()


def decisions(events: list[Event]) -> dict[int, list[tuple[OrderEvent, bool]]]:
    """The orders by target of each close, and whether each was denied."""
    orders = [event for event in events if isinstance(event, OrderEvent)]
    denied = {event.order_id for event in orders if event.event is OrderEventKind.DENIED}
    found: dict[int, list[tuple[OrderEvent, bool]]] = {}
    for event in orders:
        if event.event is OrderEventKind.REQUESTED and event.reason == "target":
            found.setdefault(event.ts_event, []).append((event, event.order_id in denied))
    return found


@given(seeds, policies, cost_choices, lots, st.sampled_from([0.2, 0.5, 0.9]))
@settings(max_examples=examples(40), deadline=None)
def test_skipping_bars_misses_no_exit_that_is_asked_again(
    seed: int, policy: dict[str, Any], costs: dict[str, Any], lot: dict[str, Any], share: float
) -> None:
    runs = [run_denied(seed, policy, costs, lot, share, every_bar=each) for each in (False, True)]
    assert runs[0] == runs[1]


entries = st.sampled_from(
    [{}, {"order_type": "limit", "limit_offset_bps": 50.0}, {"order_type": "stop_limit", "time_in_force": "ioc"}]
)


@given(seeds, entries, cost_choices, st.sampled_from([{}, {"lot_size": 0.001}]), st.sampled_from([0.2, 0.5, 0.9]))
@settings(max_examples=examples(60), deadline=None)
def test_a_denied_exit_is_asked_at_the_next_close_and_nothing_else_is_asked_without_a_new_target(
    seed: int, policy: dict[str, Any], costs: dict[str, Any], lot: dict[str, Any], share: float
) -> None:
    events, alerts, positions = run_denied(seed, policy, costs, lot, share, every_bar=False)
    signals = {event.ts_event: event.exposure for event in events if isinstance(event, SignalEvent)}
    by_close = decisions(events)
    target, is_waiting, n_episodes = 0.0, False, 0
    for time, held in zip(random_bars(seed).times.tolist(), positions, strict=True):
        asked, has_changed = by_close.get(time, []), time in signals
        target = signals.get(time, target)
        exits = [is_denied for event, is_denied in asked if only_reduces(event, held)]
        if not has_changed:
            assert is_waiting or not asked
            assert len(exits) == len(asked)
            assert asked or not is_waiting or target != 0.0 or abs(held) < lot.get("lot_size", 1e-9)
        n_episodes += any(exits) and (has_changed or not is_waiting)
        is_waiting = any(exits)
    assert len(alerts) == n_episodes


def only_reduces(event: OrderEvent, held: float) -> bool:
    return held * event.side.sign < 0.0 and event.quantity <= abs(held) * (1.0 + 1e-9)


def test_denied_exits_are_common_in_such_runs() -> None:
    alerts = [run_denied(seed, {}, {}, {}, 0.5, every_bar=False)[1] for seed in range(20)]
    assert sum(map(len, alerts)) > 20
