"""Measures of the gates: every setting and every input changes the observed value as documented."""

import math

import numpy as np
import pytest

from peak_trade.core.history import ReturnHistory
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import Instrument, Order, PastFill, PastOrder, Side
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import RiskLimits, StressLimits
from peak_trade.risk.review import ApprovedOrder
from peak_trade.risk.sizing import SIZE_CODES, size_to_limits
from peak_trade.risk.state import Control
from peak_trade.risk.stress import projected_drawdown, stress_losses
from peak_trade.risk.var import estimate
from peak_trade.risk.var_backtest import most_yellow
from peak_trade.risk.walk_forward import complete_walk
from peak_trade.studies.risk.decisions import explain
from peak_trade.studies.risk.value_at_risk import VAR_METHODS
from peak_trade.wiring.gates import GATES
from tests.examples import mostly_long
from tests.replacing import replace
from tests.risk.cases import ACCOUNT, BTC, CASES, ETH, HISTORY, MARKET, NOW, ORDER, SELL
from tests.risk.runs import decisions, idle_risk_engine, run
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

GATE = {gate.code: gate for gate in GATES}
CASE = {case.code: case for case in CASES}
LEVELS = [0.9, 0.95, 0.99]
DECAY = 0.8


def reading_of(code, limits, order=ORDER, account=ACCOUNT, market=MARKET):
    return GATE[code].read(order, account, market, RiskLimits.parse(limits, "test"))


def exposures_after(inputs, pending):
    """Return the exposures with the order and pending orders, computed independently, and their history."""
    order, account, market = inputs.order, inputs.account, inputs.market
    amounts = {**account.positions}
    for symbol, amount in [*pending, (order.symbol, order.signed_quantity)]:
        amounts[symbol] = amounts.get(symbol, 0.0) + amount
    prices = {**account.marks, order.symbol: market.decision_price}
    held = {symbol: amount * prices[symbol] / account.equity for symbol, amount in sorted(amounts.items()) if amount}
    return np.array(list(held.values())), market.returns.select(tuple(held))


@pytest.mark.long
@pytest.mark.parametrize("level", mostly_long(LEVELS, 1))
@pytest.mark.parametrize("method", mostly_long(VAR_METHODS, 1))
def test_in_a_run_both_risk_readings_are_the_estimate_by_the_method_and_level_that_are_set(method, level):
    rules = {"method": method, "level": level, "ewma_decay": DECAY, "refuse_red_zone": False}
    limits = {"var": rules | {"max_var": 0.99, "max_expected_shortfall": 0.99}}
    made = decisions(run(limits, (0.8, -0.4), other=(-0.5, 1.0), symbols=(BTC, ETH), step=0.002))
    assert len(made) > 20
    for decision in made:
        portfolios = [exposures_after(decision.inputs, pending) for pending in ((), decision.inputs.account.pending)]
        estimates = [estimate(weights, history, method, level, DECAY) for weights, history in portfolios]
        expected = tuple(max(pair) for pair in zip(*estimates, strict=True))
        readings = {reading.code: reading.observed for reading in explain(decision).readings}
        observed = (readings[DenialCode.VALUE_AT_RISK], readings[DenialCode.EXPECTED_SHORTFALL])
        assert observed == pytest.approx(expected, rel=RTOL_SAME)


def test_methods_levels_and_decays_differ_by_more_than_rounding():
    weights = np.array([0.4, -0.25])
    estimates = {
        (method, level): estimate(weights, HISTORY, method, level, 0.94) for method in VAR_METHODS for level in LEVELS
    }
    estimates["decay"] = estimate(weights, HISTORY, "filtered_historical", 0.95, DECAY)
    values = sorted(value for pair in estimates.values() for value in pair)
    assert min(np.diff(values)) > 1e-7 * values[0]


WILD = ReturnHistory("run", NOW, [BTC], [np.random.default_rng(3).standard_t(4, 420) * np.geomspace(0.003, 0.04, 420)])
"""Volatility increases throughout, so every model fails in its own way."""


def n_exceptions(method, level, decay):
    return int(complete_walk(np.ones(1), WILD, method, (level,), 250, decay)[0].exceptions.sum())


@pytest.mark.parametrize("level", mostly_long([0.9, 0.95], 1))
@pytest.mark.parametrize("method", VAR_METHODS)
def test_the_model_that_is_tested_is_the_one_that_is_set(method, level):
    limits = {"var": {"method": method, "level": level, "ewma_decay": DECAY, "max_var": None, "min_days": 350}}
    reading = reading_of(DenialCode.VAR_MODEL, limits, market=replace(MARKET, returns=WILD))
    assert reading.observed == n_exceptions(method, level, DECAY)
    assert reading.limit == most_yellow(250, level)


def test_each_of_these_models_has_another_number_of_exceptions():
    counts = {
        (method, level, decay): n_exceptions(method, level, decay)
        for method in VAR_METHODS
        for level in (0.9, 0.95)
        for decay in (0.8, 0.94)
        if decay == DECAY or method == "filtered_historical"
    }
    assert len(set(counts.values())) == len(counts)


PORTFOLIO_CODES = [
    DenialCode.VALUE_AT_RISK,
    DenialCode.EXPECTED_SHORTFALL,
    DenialCode.STRESS_LOSS,
    DenialCode.SYMBOL_EXPOSURE,
    DenialCode.GROSS_EXPOSURE,
    DenialCode.NET_EXPOSURE,
]


@pytest.mark.parametrize("code", PORTFOLIO_CODES)
def test_an_order_is_valued_at_the_decision_price_and_not_at_the_last_mark(code):
    limits = CASE[code].risk_limits()
    marked = replace(ACCOUNT, marks={BTC: 50.0, ETH: 50.0})
    at_a_higher_mark = GATE[code].read(ORDER, marked, MARKET, limits)
    at_the_price = GATE[code].read(ORDER, ACCOUNT, MARKET, limits)
    assert at_a_higher_mark.observed == at_the_price.observed
    dearer = GATE[code].read(ORDER, ACCOUNT, replace(MARKET, decision_price=200.0), limits)
    assert dearer.observed == pytest.approx(2.0 * at_the_price.observed, rel=RTOL_REFERENCE)


def test_the_risk_engine_passes_the_ramp_of_its_trading_state_to_the_gates():
    limits = RiskLimits(max_order_notional=1_000.0)
    for ramp, is_approved in ((1.0, True), (0.5, False)):
        risk_engine, loop, events = idle_risk_engine(limits, Control(ramp=ramp))
        now = int(loop.times[0])
        order = Order("o-1", now, "ma", BTC, Side.BUY, 6.0, 100.0)
        market = replace(MARKET, as_of=now, bar_time=now, book=None, returns=None)
        assert isinstance(risk_engine.decide(risk_engine.propose(order, market, loop, 0)), ApprovedOrder) is is_approved
        assert events[-1].inputs.account.ramp == ramp


def test_the_risk_engine_keeps_the_orders_and_fills_that_its_gates_count():
    limits = {"max_orders": 99, "duplicate_window": 1.0, "max_same_side_fills": 99, "order_window": 172_800.0}
    made = decisions(run(limits | {"fill_window": 172_800.0}, (1.0, 0.0)))
    for place, decision in enumerate(made):
        now = decision.ts_event
        kept = [past.inputs.order for past in made[:place] if past.ts_event >= now - 172_800 * NS_PER_SECOND]
        assert [past.order_id for past in decision.inputs.account.recent_orders] == [past.order_id for past in kept]
    assert max(len(decision.inputs.account.recent_orders) for decision in made) == 8
    assert max(len(decision.inputs.account.recent_fills) for decision in made) == 8


PAST = PastOrder("o-1", NOW - 10 * NS_PER_SECOND, "ma", BTC, Side.BUY, 1.0)


@pytest.mark.parametrize(
    ("change", "n_alike"),
    [
        ({}, 1.0),
        ({"strategy": "rsi"}, 0.0),
        ({"reason": "stop_loss"}, 0.0),
        ({"symbol": ETH}, 0.0),
        ({"side": Side.SELL}, 0.0),
        ({"quantity": 1.5}, 0.0),
        ({"decided_at": NOW - 60 * NS_PER_SECOND}, 1.0),
        ({"decided_at": NOW - 61 * NS_PER_SECOND}, 0.0),
        ({"order_id": "o-9", "quantity": 7.0, "strategy": "rsi", "decided_at": NOW - 999 * NS_PER_SECOND}, 1.0),
    ],
    ids=lambda change: "-".join(change) or "alike" if isinstance(change, dict) else "",
)
def test_an_order_is_a_duplicate_if_all_fields_are_equal_within_the_window(change, n_alike):
    account = replace(ACCOUNT, recent_orders=(PAST._replace(**change),))
    assert reading_of(DenialCode.DUPLICATE_ORDER, {"duplicate_window": 60.0}, account=account).observed == n_alike


@pytest.mark.parametrize("window", [5.0, 60.0, 3_600.0])
def test_a_window_excludes_an_event_exactly_its_length_ago(window):
    ages = (window - 1.0, window, window + 1.0)
    orders = tuple(PAST._replace(decided_at=NOW - round(age * NS_PER_SECOND)) for age in ages)
    fills = tuple(PastFill(order.decided_at, "ma", BTC, Side.BUY) for order in orders)
    account = replace(ACCOUNT, recent_orders=orders, recent_fills=fills)
    rated = reading_of(DenialCode.ORDER_RATE, {"max_orders": 9, "order_window": window}, account=account)
    filled = reading_of(
        DenialCode.REPEATED_EXECUTION, {"max_same_side_fills": 9, "fill_window": window}, account=account
    )
    assert (rated.observed, filled.observed) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("strategy", "side", "n_fills"), [("ma", Side.BUY, 2), ("rsi", Side.BUY, 1), ("ma", Side.SELL, 1)]
)
def test_fills_of_another_strategy_or_side_do_not_count(strategy, side, n_fills):
    account = replace(ACCOUNT, recent_fills=(PastFill(NOW - NS_PER_SECOND, strategy, BTC, side),))
    assert reading_of(DenialCode.REPEATED_EXECUTION, {"max_same_side_fills": 9}, account=account).observed == n_fills


@pytest.mark.parametrize(
    ("change", "distance"),
    [({"decision_price": 103.0}, 0.03), ({"limit_price": 96.0}, 0.04), ({"stop_price": 105.0}, 0.05)],
    ids=["decision", "limit", "stop"],
)
def test_the_collar_measures_each_price_of_an_order(change, distance):
    reading = reading_of(DenialCode.PRICE_COLLAR, {"max_price_deviation": 0.9}, replace(ORDER, **change))
    assert reading.observed == pytest.approx(distance, rel=RTOL_REFERENCE)


def test_the_minimum_notional_applies_to_an_exit_as_to_an_entry():
    account = replace(ACCOUNT, positions={BTC: 0.01})
    closing = replace(SELL, quantity=0.01)
    assert reading_of(DenialCode.MIN_NOTIONAL, {}, closing, account).is_denied
    assert reading_of(DenialCode.MIN_NOTIONAL, {}, replace(closing, quantity=0.009), account).is_denied
    assert reading_of(DenialCode.MIN_NOTIONAL, {}, replace(closing, is_reducing=False), account).is_denied
    assert reading_of(
        DenialCode.MIN_NOTIONAL, {}, replace(closing, side=Side.BUY, is_reducing=False), account
    ).is_denied


def test_a_pending_sale_counts_where_there_are_no_shorts():
    spot = replace(MARKET, instrument=Instrument(BTC, is_shortable=False))
    sale = replace(ORDER, side=Side.SELL, quantity=0.6)
    assert not reading_of(DenialCode.NOT_SHORTABLE, {}, sale, market=spot).is_denied
    pending = replace(ACCOUNT, pending=((BTC, -0.5),))
    assert reading_of(DenialCode.NOT_SHORTABLE, {}, sale, pending, spot).observed == pytest.approx(-0.1)
    elsewhere = replace(ACCOUNT, pending=((ETH, -0.5),))
    assert not reading_of(DenialCode.NOT_SHORTABLE, {}, sale, elsewhere, spot).is_denied
    hoped_for = replace(ACCOUNT, pending=((BTC, 5.0),))
    assert reading_of(DenialCode.NOT_SHORTABLE, {}, replace(sale, quantity=1.1), hoped_for, spot).is_denied


@pytest.mark.parametrize("names", [["ftx_2022"], ["all_down_10", "correlation_1"], None], ids=str)
def test_the_worst_of_the_named_scenarios_counts(names):
    rules = StressLimits(scenarios=names)
    limits = {"var": {"max_var": None}, "stress": {"scenarios": names} if names else {}}
    reading = reading_of(DenialCode.STRESS_LOSS, limits, replace(ORDER, quantity=50.0)).observed
    every = stress_losses(np.array([0.51]), HISTORY.select((BTC,)), StressLimits())
    assert list(stress_losses(np.array([0.51]), HISTORY.select((BTC,)), rules)) == (names or list(every))
    assert reading == pytest.approx(max(every[name] for name in names or every), rel=RTOL_SAME)


def test_with_correlation_one_a_short_position_loses_in_its_own_tail():
    falls = np.random.default_rng(2).exponential(0.02, 400)
    history = ReturnHistory("daily", NOW, [BTC], [0.02 - falls])
    long, short = (stress_losses(np.array([share]), history, StressLimits())["correlation_1"] for share in (1.0, -1.0))
    assert long == pytest.approx(-np.quantile(history.returns[0], 0.01), rel=RTOL_REFERENCE)
    assert short == pytest.approx(np.quantile(history.returns[0], 0.99), rel=RTOL_REFERENCE)
    assert long > 2.0 * short


def test_the_projected_drawdown_is_the_ninety_fifth_percentile_of_paths():
    rare = np.zeros(400)
    rare[0] = -0.5
    history = ReturnHistory("daily", NOW, [BTC], [rare])

    def share_of_paths(n_days: int) -> float:
        return 1.0 - (1.0 - 1.0 / 400.0) ** n_days

    rules = {"block_days": 1, "n_paths": 5_000}
    assert share_of_paths(16) < 0.045
    assert projected_drawdown(np.ones(1), history, StressLimits(horizon_days=16, **rules)) == 0.0
    assert 0.06 < share_of_paths(28) < 0.08
    assert projected_drawdown(np.ones(1), history, StressLimits(horizon_days=28, **rules)) == 0.5


SIZED = [case for case in CASES if case.code in SIZE_CODES]


def test_every_limit_that_a_smaller_order_can_keep_is_a_size_limit():
    """A smaller order passes exactly these gates; gates that count orders or fills deny it too."""
    helped = set()
    for case in CASES:
        order, account, market = case.inputs(case.denied)
        limits = case.risk_limits()
        if order.quantity > 0.0 and any(
            GATE[case.code](replace(order, quantity=max(order.quantity * share, 1e-3)), account, market, limits) is None
            for share in (0.9, 0.5, 1e-2, 1e-3)
        ):
            helped.add(case.code)
    assert helped - {DenialCode.NOT_SHORTABLE, DenialCode.DUPLICATE_ORDER} <= SIZE_CODES


@pytest.mark.parametrize("case", SIZED, ids=lambda case: case.code.value)
def test_a_large_order_is_reduced_until_the_limit_lets_it_pass(case):
    order, account, market = case.inputs(case.passed)
    limits = case.risk_limits()
    large = replace(order, quantity=1_000.0 * order.quantity)
    cut = size_to_limits(large, account, market, [GATE[case.code]], limits)
    assert GATE[case.code](large, account, market, limits) is not None
    assert GATE[case.code](cut, account, market, limits) is None
    assert 0.0 < cut.quantity < large.quantity
    bound = GATE[case.code].read(cut, account, market, limits)
    assert math.isfinite(bound.observed)
