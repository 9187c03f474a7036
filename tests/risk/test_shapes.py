"""Malformed orders and missing views are denied with any limits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.core.rounding import floor_to, is_on_grid
from peak_trade.core.values import Instrument, OrderType, Side, TimeInForce
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.wiring.gates import GATES, gate_chain
from tests.replacing import replace
from tests.risk.cases import ACCOUNT, BTC, CASES, MARKET, ORDER, SELL

LIMITS = RiskLimits()
CHAIN = gate_chain(LIMITS)
GARBAGE = [None, 1, math.nan, True, b"x", ("x",), object()]
LIMIT_ORDER = replace(ORDER, order_type=OrderType.LIMIT, limit_price=99.5)
WELL_FORMED = {
    "market": ORDER,
    "limit": LIMIT_ORDER,
    "stop": replace(ORDER, order_type=OrderType.STOP, stop_price=101.0),
    "stop limit": replace(ORDER, order_type=OrderType.STOP_LIMIT, stop_price=101.0, limit_price=101.5),
    "trailing stop": replace(ORDER, order_type=OrderType.TRAILING_STOP, trail=0.05),
}


def codes(order, account=ACCOUNT, market=MARKET, chain=CHAIN, limits=LIMITS):
    """The codes of the denials; empty if the order is approved."""
    answer = review(order, account, market, chain, limits)
    return [] if isinstance(answer, ApprovedOrder) else [denial.code for denial in answer]


@pytest.mark.parametrize("name", WELL_FORMED)
def test_an_order_of_each_type_passes_and_one_without_its_prices_or_with_others_does_not(name):
    order = WELL_FORMED[name]
    assert codes(order) == []
    for field, price in (("limit_price", 100.5), ("stop_price", 100.5), ("trail", 0.1)):
        other = price if getattr(order, field) is None else None
        assert codes(replace(order, **{field: other})) == [DenialCode.ORDER_SHAPE]


@pytest.mark.parametrize("field", ["order_type", "time_in_force", "order_id", "reason", "is_reducing"])
@pytest.mark.parametrize("base", [ORDER, SELL, LIMIT_ORDER], ids=["market", "reducing", "limit"])
def test_a_field_of_another_type_denies_reducing_orders_too(field, base):
    allowed = {"is_reducing": [True]}.get(field, [])
    for value in [*GARBAGE, "market"]:
        is_text = isinstance(value, str) and field in ("order_id", "reason")
        if value not in allowed and not is_text:
            assert DenialCode.ORDER_SHAPE in codes(replace(base, **{field: value})), value
    assert codes(replace(base, time_in_force=TimeInForce.IOC)) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 0.0, "1", True, 1e300, 1j, [1.0]])
def test_impossible_prices_and_trails_are_denied(bad):
    for name, field in (("limit", "limit_price"), ("stop", "stop_price"), ("trailing stop", "trail")):
        assert codes(replace(WELL_FORMED[name], **{field: bad})) == [DenialCode.ORDER_SHAPE]
    assert codes(replace(WELL_FORMED["trailing stop"], trail=1.0)) == [DenialCode.ORDER_SHAPE]


def test_prices_off_the_tick_and_quantities_off_the_lot_are_denied_with_the_next_value():
    assert codes(replace(LIMIT_ORDER, limit_price=99.503)) == [DenialCode.ORDER_SHAPE]
    assert codes(replace(WELL_FORMED["stop"], stop_price=101.0049)) == [DenialCode.ORDER_SHAPE]
    answer = review(replace(ORDER, quantity=1.0004), ACCOUNT, MARKET, CHAIN, LIMITS)
    assert [(denial.code, denial.observed, denial.limit) for denial in answer] == [
        (DenialCode.QUANTITY, 1.0004, pytest.approx(1.001, rel=1e-12))
    ]
    free = replace(MARKET, instrument=Instrument(BTC))
    assert codes(replace(LIMIT_ORDER, limit_price=99.503, quantity=1.00043217), market=free) == []


@given(st.integers(1, 10**9), st.sampled_from([1e-8, 1e-5, 0.001, 0.1, 0.5, 1.0, 5.0, 1 / 3]), st.floats(0.01, 0.99))
def test_float_noise_is_on_the_grid_and_a_part_of_a_step_is_not(n_steps, step, part):
    for amount in (n_steps * step, n_steps / round(1.0 / step) if step < 1.0 else n_steps * step):
        if abs(amount - n_steps * step) <= 1e-12 * amount:
            assert is_on_grid(amount, step)
            assert is_on_grid(math.nextafter(amount, math.inf), step)
            assert is_on_grid(floor_to(amount, step), step)
    assert not is_on_grid((n_steps + part) * step, step)


def test_a_position_with_dust_can_be_closed_down_to_the_dust():
    instrument = Instrument(BTC, lot_size=0.001, min_notional=2.0, is_shortable=False)
    market = replace(MARKET, instrument=instrument)
    account = replace(ACCOUNT, positions={BTC: 0.0204})
    assert codes(replace(SELL, quantity=0.02), account, market) == []
    assert codes(replace(SELL, quantity=0.0204), account, market) == [DenialCode.QUANTITY]
    assert codes(replace(SELL, quantity=0.019), account, market) == [DenialCode.MIN_NOTIONAL]
    assert codes(replace(SELL, quantity=0.0204), account, replace(market, instrument=Instrument(BTC))) == []


def test_unreadable_pending_orders_deny_a_sale_of_an_instrument_without_shorts():
    market = replace(MARKET, instrument=Instrument(BTC, is_shortable=False))
    for pending in (None, 0, "", [], {}):
        sale = replace(ORDER, side=Side.SELL)
        assert codes(sale, replace(ACCOUNT, pending=pending), market) == [
            DenialCode.NOT_SHORTABLE,
            DenialCode.MAX_LEVERAGE,
        ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code.value)
def test_a_missing_view_is_denied_by_every_gate_that_reads_it(case):
    gate = next(gate for gate in GATES if gate.code == case.code)
    limits = case.risk_limits()
    parts = list(case.inputs(case.passed))
    for place in range(3):
        absent = [None if at == place else part for at, part in enumerate(parts)]
        gate(*absent, limits)
        assert not isinstance(review(*absent, gate_chain(limits), limits), ApprovedOrder)
    assert gate(None, None, None, limits) is not None
