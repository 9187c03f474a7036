"""Funding and borrow costs follow one interval."""

from __future__ import annotations

import numpy as np
import pytest

from peak_trade.core.time import NS_PER_SECOND
from peak_trade.costs import model
from peak_trade.engine.market import Market
from peak_trade.engine.result import run_sleeves
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.journal.events import CashFlowEvent
from tests.engine.running import bars_of
from tests.engine.scenarios import A, flat
from tests.tolerances import RTOL_SAME

HOUR = 3_600 * NS_PER_SECOND
N_BARS, SHORT, PRICE = 50, 5.0, 100.0
COSTS = {"fee_bps": 0.0, "slippage_bps": 0.0, "funding_bps_per_8h": 2.0, "borrow_rate": 0.365}


def cash_flows(reason: str) -> list[CashFlowEvent]:
    """The cash flows of a short position of 500, held for two days."""
    market = Market.of([bars_of(A, [flat(PRICE)] * N_BARS)])
    chosen = BacktestSettings.parse({"initial_cash": 1000.0, "costs": COSTS}, "test")
    result = run_sleeves(market, [Sleeve("s", A, np.full(N_BARS, -SHORT * PRICE / 1000.0))], chosen)
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
