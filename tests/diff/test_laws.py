"""Nothing differs from itself, and what differs one way differs the other way round."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.values import OrderType, Side, TimeInForce
from peak_trade.diff.order_histories import FillStep, Life
from peak_trade.diff.pnl import contribution, shortfall, split_contribution
from peak_trade.diff.recording import recording_of
from peak_trade.diff.result import DiffResult, diff
from peak_trade.studies.backtest import backtest
from tests.diff.planting import INSTRUMENTS, LOG_FAULTS, SIMULATED_FAULTS, STRATEGY, bars_of, plant, run, simulate
from tests.tolerances import RTOL_SAME

prices = st.floats(1.0, 1e5)
quantities = st.floats(1e-4, 100.0)


@st.composite
def lives(draw, side: Side = Side.BUY, n_fills: tuple[int, int] = (0, 4)) -> Life:
    parts = draw(
        st.lists(st.tuples(quantities, prices, st.floats(0.0, 50.0)), min_size=n_fills[0], max_size=n_fills[1])
    )
    fills = [FillStep(0, 0, side.sign * quantity, price, fee) for quantity, price, fee in parts]
    quantity = sum(abs(fill.quantity) for fill in fills) + draw(quantities)
    decision, arrival = draw(prices), draw(prices)
    return Life(
        "o-1", "s", "X/USD", ("", "X/USD"), side, OrderType.MARKET, TimeInForce.GTC, quantity, 0, decision, arrival,
        None, None, "target", 0, 0.0, 1.0, 1.0, 1.0, decision, fills=fills,
    )  # fmt: skip


def scale(*lives: Life) -> float:
    return 1e-9 + sum(life.quantity * 1e5 + life.fee for life in lives)


@settings(max_examples=50, deadline=None)
@given(lives(), st.sampled_from(list(Side)), st.data(), prices, prices)
def test_the_parts_of_a_change_sum_to_it_and_mirror(one, side, data, last, other_last):
    other = data.draw(lives(side))
    there, back = (
        split_contribution(one, other, last, other_last),
        split_contribution(other, one, other_last, last),
    )
    change = contribution(other, other_last) - contribution(one, last)
    assert math.isclose(there.total, change, rel_tol=1e-9, abs_tol=RTOL_SAME * scale(one, other))
    for name in ("side", "quantity", "filled", "price", "fee", "mark"):
        assert math.isclose(getattr(there, name), -getattr(back, name), rel_tol=1e-9, abs_tol=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(list(Side)), st.data(), prices)
def test_shortfall_is_the_paper_pnl_less_the_actual_one(side, data, last):
    life = data.draw(lives(side))
    paper = side.sign * life.quantity * (last - life.decision_price)
    actual = contribution(life, last)
    assert math.isclose(shortfall(life, last).total, paper - actual, rel_tol=1e-9, abs_tol=RTOL_SAME * scale(life))


@pytest.mark.parametrize("settings", [{}, {"execution": {"order_type": "limit", "stop_loss": 0.02}}], ids=str)
def test_a_run_agrees_with_itself(settings):
    clean = run(bars_of(0), settings)
    result = diff(clean, clean)
    assert result.is_equal
    assert result.waterfall["step"].tolist() == ["shadow", "live"]
    assert result.tolerated == 0.0
    assert all(pair.confidence == 1.0 for pair in result.matches)
    assert result.parity.zone == "green"


def test_the_equity_of_a_recording_is_that_of_the_backtest():
    result = backtest(STRATEGY, bars_of(1), instruments=INSTRUMENTS)
    recording = recording_of(result)
    compared = diff(recording, recording)
    np.testing.assert_allclose(compared.shadow.equity, result.equity_values, rtol=RTOL_SAME)
    assert math.isclose(compared.shadow_pnl, result.equity_values[-1] - 10_000.0, rel_tol=1e-9)


def seen(result: DiffResult, is_mirrored: bool):
    found = []
    for each in result.differences:
        values, ids = (each.shadow, each.live), (each.shadow_order, each.live_order)
        clock = each.kind == "clock"
        sign = -1.0 if is_mirrored else 1.0
        if is_mirrored:
            values, ids = values[::-1], ids[::-1]
        root = result.differences[each.root - 1]
        found.append(
            (each.cause, each.kind, each.subject, "" if clock else str(values), ids, root.kind, each.is_root,
             round(sign * each.pnl, 6) + 0.0)
        )  # fmt: skip
    return sorted(found)


@pytest.mark.parametrize("fault", SIMULATED_FAULTS)
def test_a_diff_mirrors_when_the_sides_are_swapped(fault):
    bars = bars_of(2)
    clean = run(bars)
    faulty, _ = simulate(bars, [fault], random.Random(3))
    there, back = diff(clean, faulty), diff(faulty, clean)
    if fault != "skew-the-clock":
        assert seen(there, False) == seen(back, True)
    assert len(there.differences) == len(back.differences)
    assert math.isclose(there.tolerated, -back.tolerated, abs_tol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_diff_of_planted_logs_mirrors_too(seed):
    clean = run(bars_of(seed))
    rng = random.Random(seed)
    one, _ = plant(clean, [rng.choice(list(LOG_FAULTS)) for _ in range(4)], rng)
    other, _ = plant(clean, [rng.choice(list(LOG_FAULTS)) for _ in range(4)], rng)
    assert seen(diff(one, other), False) == seen(diff(other, one), True)
