"""The price collar compares an order with the last close of the market, not with the order's own decision price."""

import numpy as np
import pytest

from peak_trade.engine.market import Market
from peak_trade.engine.result import run_sleeves
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.journal.events import DecisionEvent
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import RiskLimits
from peak_trade.studies.risk.decisions import explain
from peak_trade.wiring.gates import make_risk_engine
from tests.engine.running import bars_of
from tests.engine.scenarios import A, bar, flat
from tests.tolerances import RTOL_SAME

LIMITS = RiskLimits(max_price_deviation=0.5)


def test_the_collar_compares_the_price_of_an_order_with_the_last_close():
    """After a close of 100 the entry fills at an open of 104; the stop is decided at 104 before that bar has closed."""
    rows = [flat(100), bar(104, 106, 103, 105), flat(105), flat(105)]
    given = bars_of(A, rows)
    settings = BacktestSettings.parse(
        {"costs": {"fee_bps": 0.0, "slippage_bps": 0.0}, "execution": {"stop_loss": 0.05}}, "test"
    )
    books = [Sleeve("case", A, np.array([0.5, 0.5, 0.5, 0.0]))]
    result = run_sleeves(Market.of([given]), books, settings, risk_engine=make_risk_engine(LIMITS, [given]))
    decisions = [event for event in result.events if isinstance(event, DecisionEvent)]
    assert [
        (event.inputs.order.reason, event.inputs.order.decision_price, event.inputs.market.decision_price)
        for event in decisions
    ] == [("target", 100.0, 100.0), ("stop_loss", 104.0, 100.0), ("target", 105.0, 105.0)]
    reading = next(r for r in explain(decisions[1]).readings if r.code is DenialCode.PRICE_COLLAR)
    assert reading.observed == pytest.approx(0.04, rel=RTOL_SAME)
