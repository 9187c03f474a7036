"""The search for a size returns what halvings that ask at every step return."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from peak_trade.core.history import ReturnHistory
from peak_trade.core.rounding import floor_to
from peak_trade.core.values import Instrument, Side
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.sizing import halved, size_gates, size_to_limits, size_to_var
from peak_trade.wiring.gates import gate_chain
from tests.risk.cases import ACCOUNT, MARKET, NOW, ORDER
from tests.tolerances import RTOL_SAME

sizes = st.floats(1e-6, 1e6)
parts = st.floats(0.0, 0.999)


def plain(most, n_halvings, excess):
    low, high = 0.0, most
    for _ in range(n_halvings):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if excess(middle) <= 0.0 else (low, middle)
    return low


@given(sizes, parts, st.floats(-1.0, 1.0), st.integers(1, 3), st.booleans(), st.sampled_from([12, 40]))
def test_the_search_finds_the_size_of_plain_halvings(most, part, step, power, is_flat, n_halvings):
    """Limits that rise with the size: straight or curved, with a step at the limit, and flat at it below."""

    def excess(size):
        over = (size / most) ** power - part**power
        if over <= 0.0:
            return 0.0 if is_flat else over
        return over + max(step, 0.0)

    if excess(most) > 0.0:
        assert halved(most, n_halvings, excess) == plain(most, n_halvings, excess)


@given(sizes, parts, st.floats(-0.5, 0.5), st.floats(0.0, 1.0), st.integers(1, 3), st.sampled_from([12, 40]))
def test_an_estimated_root_never_changes_the_size(most, part, off, at_zero, power, n_halvings):
    """The root may be exact or off, and the limit may have an excess at every size."""

    def excess(size):
        return (size / most) ** power - part**power + (at_zero if at_zero > 0.5 else 0.0)

    root = most * part * (1.0 + off if abs(off) > 0.1 else 1.0)
    if excess(most) > 0.0:
        assert halved(most, n_halvings, excess, root=root) == plain(most, n_halvings, excess)


def test_a_root_that_the_sizes_on_either_side_confirm_asks_no_other_size():
    asked = []
    assert halved(8.0, 12, lambda size: asked.append(size) or size - 3.0, root=3.0) == 3.0
    assert asked == [3.0, 3.0 + 8.0 / 4096]


@given(sizes, parts, parts, st.integers(1, 4), st.sampled_from([12, 40]))
def test_the_search_asks_at_most_thrice_as_many_sizes_as_halvings(most, part, guess, power, n_halvings):
    asked = []

    def excess(size):
        asked.append(size)
        return (size / most) ** power - part**power

    halved(most, n_halvings, excess, root=guess * most)
    assert len(asked) <= 3 * n_halvings


SYMBOLS = ["A/USDT", "B/USDT"]
HISTORY = ReturnHistory("run", NOW, SYMBOLS, 0.02 * np.random.default_rng(4).standard_t(4, (2, 400)))
FULL = {
    "max_order_notional": 4_000.0,
    "max_symbol_exposure": 0.8,
    "max_gross_exposure": 1.0,
    "max_concentration": 0.5,
    "liquidity": {"max_slippage": 0.01, "max_daily_volume_share": 0.03},
    "var": {"max_var": 0.03, "refuse_red_zone": False, "n_days": 400, "min_days": 100},
    "stress": {"max_stress_loss": 0.25},
}
choices = st.sampled_from(sorted(FULL))


@given(
    st.sets(choices, min_size=1),
    st.floats(10.0, 150.0),
    st.sampled_from([0.0, 5.0, 30.0]),
    st.sampled_from([Side.BUY, Side.SELL]),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([1.0, 0.5]),
)
def test_the_only_position_has_the_size_of_asking_every_gate_at_each_halving(names, quantity, held, side, lot, ramp):
    chosen = names | ({"var"} if "stress" in names else set())
    limits = RiskLimits.parse({name: FULL[name] for name in sorted(chosen)}, "test")
    held = held if side is Side.BUY else -held
    account = replace(ACCOUNT, positions={"A/USDT": held}, marks={"A/USDT": 100.0}, ramp=ramp)
    instrument = Instrument("A/USDT", lot_size=lot, max_leverage=2.0)
    market = replace(MARKET, instrument=instrument, returns=HISTORY, average_daily_volume=2_000.0)
    order = replace(ORDER, symbol="A/USDT", side=side, quantity=quantity)
    gates = size_gates(gate_chain(limits))

    def n_denying(size):
        return sum(gate(replace(order, quantity=size), account, market, limits) is not None for gate in gates)

    cut = size_to_limits(order, account, market, gates, limits)
    if not n_denying(quantity):
        assert cut is order
        return
    most = quantity_within_var(order, account, market, limits)
    expected = floor_to(plain(most, 12, n_denying) if n_denying(most) else most, lot)
    assert cut.quantity == pytest.approx(expected or quantity, rel=RTOL_SAME)


def quantity_within_var(order, account, market, limits):
    if limits.var is None:
        return order.quantity
    target = account.positions["A/USDT"] + order.side.sign * order.quantity
    scale = market.decision_price / account.equity
    rules = limits.var.model_copy(update={"max_var": limits.var.max_var * account.ramp})
    sized = size_to_var("A/USDT", target * scale, {}, HISTORY, rules)
    change = order.side.sign * order.quantity * market.decision_price / account.equity
    fraction = 1.0 + (sized - target * scale) / change
    return fraction * order.quantity if 0.0 < fraction < 1.0 else order.quantity


def test_a_limit_that_no_size_keeps_leaves_nothing():
    assert halved(8.0, 12, lambda size: 1.0) == 0.0
    assert halved(8.0, 12, lambda size: 1e9) == 0.0
