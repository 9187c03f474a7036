"""Funding and borrow costs follow one interval, and belong to the position held at the times at which they are due."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars
from peak_trade.core.time import NS_PER_SECOND, Timeframe
from peak_trade.costs import model
from peak_trade.engine.loop import EventLoop
from peak_trade.engine.market import Market
from peak_trade.engine.result import run_event_loop
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.journal.events import CashFlowEvent, Event
from tests.engine.running import bars_of
from tests.engine.scenarios import A, flat
from tests.examples import examples
from tests.tolerances import RTOL_SAME

HOUR = 3_600 * NS_PER_SECOND
N_BARS, SHORT, PRICE = 50, 5.0, 100.0
COSTS = {"fee_bps": 0.0, "slippage_bps": 0.0, "funding_bps_per_8h": 2.0, "borrow_rate": 0.365}


def cash_flows(reason: str) -> list[CashFlowEvent]:
    """The cash flows of a short position of 500, held for two days."""
    market = Market.of([bars_of(A, [flat(PRICE)] * N_BARS)])
    chosen = BacktestSettings.parse({"initial_cash": 1000.0, "costs": COSTS}, "test")
    result = run_event_loop(market, [Sleeve("s", A, np.full(N_BARS, -SHORT * PRICE / 1000.0))], chosen)
    return [event for event in result.events if isinstance(event, CashFlowEvent) and event.reason == reason]


@pytest.mark.parametrize("hours", [1, 4, 8, 12])
def test_one_interval_sets_both_the_times_and_the_amounts(hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Funding is paid at each multiple of the interval; a day of borrowing costs the same at any interval."""
    monkeypatch.setattr(model, "FUNDING_INTERVAL", hours * HOUR)
    borrowed, funded = cash_flows("borrow"), cash_flows("funding")
    assert [event.ts_event for event in borrowed] == [event.ts_event for event in funded]
    assert all(event.ts_event % (hours * HOUR) == 0 for event in funded)
    last_day = [event.amount for event in borrowed if event.ts_event > borrowed[-1].ts_event - 24 * HOUR]
    assert len(last_day) == 24 // hours
    assert sum(last_day) == pytest.approx(-SHORT * PRICE * 0.365 / 365, rel=RTOL_SAME)
    assert [event.amount for event in funded] == pytest.approx([SHORT * PRICE * 2e-4] * len(funded), rel=RTOL_SAME)


Hours = list[int]


def run_hours(
    hours: Hours, exposure: list[float], costs: dict[str, float] = COSTS
) -> tuple[EventLoop, list[CashFlowEvent]]:
    """A run over hourly bars that close at the given hours of 2024, with a position of target * 1,000 / PRICE."""
    start = pd.Timestamp("2024-01-01", tz="UTC")
    frame = pd.DataFrame(
        {name: PRICE for name in COLUMNS} | {"volume": 1e9},
        index=pd.DatetimeIndex([start + pd.Timedelta(hours=hour) for hour in hours]),
    )
    market = Market.of([Bars(frame, A, Timeframe.parse("1h"))])
    chosen = BacktestSettings.parse({"initial_cash": 1000.0, "costs": costs}, "test")
    events: list[Event] = []
    loop = EventLoop(market, [Sleeve("s", A, np.array(exposure))], chosen, emit=events.append)
    loop.run()
    return loop, [event for event in events if isinstance(event, CashFlowEvent)]


def test_what_is_due_in_a_gap_is_paid_by_the_position_held_through_it() -> None:
    """Between the closes of 07:00 and 48:00 six payments are due; the sixth one within the bar after the gap."""
    hours, funding = [4, 5, 6, 7, 48, 49], {**COSTS, "borrow_rate": 0.0}
    held = run_hours(hours, [-0.5] * 6, costs=funding)[1]
    sold = run_hours(hours, [-0.5, -0.5, -0.5, 0.0, 0.0, 0.0], costs=funding)[1]
    bought = run_hours(hours, [0.0, 0.0, 0.0, -0.5, -0.5, -0.5], costs=funding)[1]
    assert [event.amount for event in held] == pytest.approx([0.5, 0.1], rel=RTOL_SAME)
    assert [event.amount for event in sold] == pytest.approx([0.5], rel=RTOL_SAME)
    assert [event.amount for event in bought] == pytest.approx([0.1], rel=RTOL_SAME)


@given(st.lists(st.integers(1, 200), min_size=2, max_size=20, unique=True), st.integers(0, 2**32 - 1))
@settings(max_examples=examples(40), deadline=None)
def test_every_payment_is_made_by_the_position_that_the_fills_left_before_it(hours: Hours, seed: int) -> None:
    """With fills at opens only, the sum of all flows is the sum over due times of the position held just before."""
    hours = sorted(hours)
    exposure = np.random.default_rng(seed).choice([-0.5, 0.0, 0.5], len(hours)).tolist()
    loop, flows = run_hours(hours, exposure)
    start = int(pd.Timestamp("2024-01-01", tz="UTC").value)
    expected = 0.0
    for hour in range(8, hours[-1] + 1, 8):
        due = start + hour * HOUR
        if due > start + hours[0] * HOUR:
            held = sum(fill.signed_quantity for fill in loop.fills if fill.ts_event < due)
            expected += loop.settings.costs.funding(held * PRICE, 1) + loop.settings.costs.borrow(held * PRICE, 1)
    assert math.fsum(event.amount for event in flows) == pytest.approx(expected, rel=RTOL_SAME, abs=1e-12)
