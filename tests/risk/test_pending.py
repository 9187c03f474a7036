"""Pending orders may fill or not: the portfolio gates use the worse case, and sizing keeps the limit in both cases."""

import math

import numpy as np
import pytest

from peak_trade.core.values import Instrument, Side
from peak_trade.data.sample import SYMBOLS, sample_bars
from peak_trade.journal.events import DecisionEvent
from peak_trade.risk import portfolio_gates, sizing
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.risk.sizing import TARGET_FRACTION, size_to_limits, size_to_var
from peak_trade.risk.var import estimate
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.studies.risk.decisions import explain
from peak_trade.wiring.gates import GATES, gate_chain, read_risk_file
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from tests.replacing import replace
from tests.risk.cases import ACCOUNT, BTC, CASES, ETH, HISTORY, MARKET, ORDER

LIMITS = RiskLimits.parse(
    {
        "var": {"max_var": 0.02, "max_expected_shortfall": 0.03, "refuse_red_zone": False},
        "stress": {"max_projected_drawdown": 0.2},
    },
    "test",
)
PORTFOLIO = (
    DenialCode.VALUE_AT_RISK,
    DenialCode.EXPECTED_SHORTFALL,
    DenialCode.STRESS_LOSS,
    DenialCode.PROJECTED_DRAWDOWN,
)
FLAT = replace(ACCOUNT, positions={})


def observed(code, order, account):
    gate = next(gate for gate in GATES if gate.code is code)
    return gate.read(order, account, MARKET, LIMITS).observed


@pytest.mark.parametrize("code", PORTFOLIO)
@pytest.mark.parametrize("leaves", [-60.0, -100.0, 40.0])
def test_a_pending_order_never_makes_a_portfolio_look_safer_than_without_it(code, leaves):
    order = replace(ORDER, quantity=55.0)
    pending = replace(FLAT, pending=((ETH, leaves),))
    filled = replace(FLAT, positions={ETH: leaves})
    both = observed(code, order, FLAT), observed(code, order, filled)
    assert observed(code, order, pending) == max(both)


def test_a_buy_that_is_denied_alone_is_denied_with_a_pending_short_too():
    order = replace(ORDER, quantity=55.0)
    for account in (FLAT, replace(FLAT, pending=((ETH, -60.0),))):
        answer = review(order, account, MARKET, gate_chain(LIMITS), LIMITS)
        assert DenialCode.VALUE_AT_RISK in [denial.code for denial in answer]


@pytest.mark.parametrize("held", [{}, {BTC: 10.0}, {BTC: -10.0, ETH: 30.0}, {ETH: -10.0}])
@pytest.mark.parametrize("pending", [(), ((ETH, -20.0),), ((ETH, 20.0),)])
@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_an_order_is_reduced_to_size_to_var_whether_or_not_pending_orders_fill(held, pending, side):
    limits = RiskLimits.parse({"var": {"refuse_red_zone": False}, "size_to_limits": True}, "test")
    account = replace(ACCOUNT, positions=held, pending=pending)
    market = replace(MARKET, instrument=Instrument(BTC))
    order = replace(ORDER, quantity=400.0, side=side)
    cut = size_to_limits(order, account, market, gate_chain(limits), limits)
    assert isinstance(review(cut, account, market, gate_chain(limits), limits), ApprovedOrder)
    sized = []
    for filled in {(), pending}:
        beside = dict(held)
        for symbol, leaves in filled:
            beside[symbol] = beside.get(symbol, 0.0) + leaves
        shares = {symbol: quantity * ACCOUNT.marks[symbol] / 10_000.0 for symbol, quantity in beside.items()}
        own = shares.pop(BTC, 0.0)
        target = own + side.sign * 4.0
        sized.append(side.sign * (size_to_var(BTC, target, shares, HISTORY, limits.var) - own) * 100.0)
    assert cut.quantity == pytest.approx(min(sized), rel=1e-9)


def test_sizing_follows_the_ramp():
    limits = RiskLimits.parse({"var": {"refuse_red_zone": False}, "size_to_limits": True}, "test")
    order = replace(ORDER, quantity=400.0)
    cuts = [
        size_to_limits(order, replace(FLAT, ramp=ramp), MARKET, gate_chain(limits), limits).quantity
        for ramp in (1.0, 0.5)
    ]
    assert cuts[1] == pytest.approx(0.5 * cuts[0], abs=0.002)


@pytest.mark.long
def test_the_example_portfolio_is_sized_to_the_var_limit_by_size_to_var_and_trades(config, monkeypatch):
    """The stress limit is left out, because it is the tighter one for most orders."""
    settings = PortfolioSettings.from_toml(config / "portfolios" / "multi_strategy_example.toml")
    limits = read_risk_file(config / "risk.toml").model_copy(update={"stress": None})
    sized = []

    def noted(*args):
        sized.append(size_to_var(*args))
        return sized[-1]

    monkeypatch.setattr(sizing, "size_to_var", noted)
    bars = [sample_bars(symbol) for symbol in SYMBOLS]
    result = run_portfolio(settings.model_copy(update={"risk": limits}), bars)
    assert len(result.run.fill_list) > 100
    approved = [event for event in result.run.events if isinstance(event, DecisionEvent) and event.is_approved]
    opening = [event for event in approved if not event.inputs.order.is_reducing]
    at_limit = 0
    for decision in opening:
        reading = next(r for r in explain(decision).readings if r.code == DenialCode.VALUE_AT_RISK)
        assert reading.observed <= 0.02
        at_limit += reading.observed == pytest.approx(TARGET_FRACTION * 0.02, rel=1e-6)
    assert sized
    assert at_limit > 10


def test_a_history_that_can_not_be_read_leaves_the_order_to_the_gates():
    limits = RiskLimits.parse({"var": {"refuse_red_zone": False}, "size_to_limits": True}, "test")
    order = replace(ORDER, quantity=400.0)
    for returns in (None, HISTORY.select((ETH,))):
        assert size_to_limits(order, FLAT, replace(MARKET, returns=returns), gate_chain(limits), limits) is order
    assert estimate(np.ones(1), HISTORY.select((BTC,)), "historical", 0.95)[0] > 0.02


@pytest.mark.parametrize("code", [DenialCode.VALUE_AT_RISK, DenialCode.EXPECTED_SHORTFALL])
def test_an_estimate_of_nan_denies_for_either_portfolio(monkeypatch, code):
    for estimates in ((0.001, math.nan), (math.nan, 0.001)):
        values = iter(estimates)
        monkeypatch.setattr(portfolio_gates, "_estimate", lambda portfolio, rules, values=values: (next(values),) * 2)
        case = next(case for case in CASES if case.code == code)
        gate = next(gate for gate in GATES if gate.code == code)
        order, account, market = case.inputs(case.passed)
        assert gate(order, replace(account, pending=((ETH, 0.1),)), market, case.risk_limits()) is not None
