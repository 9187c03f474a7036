"""The diff of a run with itself is empty, and swapping the runs mirrors a diff."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.ledger import Ledger
from peak_trade.core.values import Fill, Side
from peak_trade.diff.order_histories import OrderFill, OrderHistory
from peak_trade.diff.pnl import contribution, shortfall, split_contribution
from peak_trade.diff.recording import recording_of
from peak_trade.diff.result import DiffResult, diff
from peak_trade.studies.backtest import backtest
from tests.diff.planting import INSTRUMENTS, LOG_FAULTS, SIMULATED_FAULTS, STRATEGY, bars_of, plant, run, simulate
from tests.examples import examples, mostly_long
from tests.replacing import replace
from tests.tolerances import RTOL_SAME

prices = st.floats(1.0, 1e5)
quantities = st.floats(1e-4, 100.0)


@st.composite
def histories(draw, side: Side = Side.BUY, n_fills: tuple[int, int] = (0, 4)) -> OrderHistory:
    steps = st.tuples(quantities, prices, st.floats(0.0, 0.01), st.booleans())
    parts = draw(st.lists(steps, min_size=n_fills[0], max_size=n_fills[1]))
    fills = [
        OrderFill(0, 0, side.sign * quantity, price, quantity * rate * price, quantity * rate if is_in_base else 0.0)
        for quantity, price, rate, is_in_base in parts
    ]
    quantity = sum(abs(fill.quantity) for fill in fills) + draw(quantities)
    decision, arrival = draw(prices), draw(prices)
    return OrderHistory(
        order_id="o-1",
        strategy="s",
        symbol="X/USD",
        sleeve=("", "X/USD"),
        side=side,
        quantity=quantity,
        decided_at=0,
        decision_price=decision,
        arrival_price=arrival,
        close_time=0,
        position=0.0,
        equity=1.0,
        cash=1.0,
        target=1.0,
        last_close=decision,
        fills=fills,
    )


def scale(*histories: OrderHistory) -> float:
    return 1e-9 + sum(history.quantity * 1e5 + history.fee for history in histories)


@settings(max_examples=examples(50), deadline=None)
@given(histories(), st.sampled_from(list(Side)), st.data(), prices, prices)
def test_the_parts_of_a_change_sum_to_it_and_change_sign_when_swapped(one, side, data, last, other_last):
    other = data.draw(histories(side))
    there, back = (
        split_contribution(one, other, last, other_last),
        split_contribution(other, one, other_last, last),
    )
    change = contribution(other, other_last) - contribution(one, last)
    assert math.isclose(there.total, change, rel_tol=1e-9, abs_tol=RTOL_SAME * scale(one, other))
    for name in ("side", "quantity", "filled", "price", "fee", "mark"):
        assert math.isclose(getattr(there, name), -getattr(back, name), rel_tol=1e-9, abs_tol=1e-9)


@settings(max_examples=examples(50), deadline=None)
@given(st.sampled_from(list(Side)), st.data(), prices)
def test_a_contribution_is_what_the_ledger_earns_with_fees_in_either_currency(side, data, last):
    history = data.draw(histories(side))
    ledger = Ledger(1.0)
    for part in history.fills:
        ledger.apply(
            Fill("o-1", 0, "s", "X/USD", side, abs(part.quantity), part.price, part.fee, 0.0, 0.0, "", part.fee_in_base)
        )
    earned = ledger.equity({"X/USD": last}) - ledger.initial_cash
    assert math.isclose(contribution(history, last), earned, rel_tol=1e-9, abs_tol=1e-9 * scale(history))


@settings(max_examples=examples(50), deadline=None)
@given(st.sampled_from(list(Side)), st.data(), prices)
def test_shortfall_is_the_paper_pnl_minus_the_actual_pnl(side, data, last):
    history = data.draw(histories(side))
    paper = side.sign * history.quantity * (last - history.decision_price)
    actual = contribution(history, last)
    assert math.isclose(
        shortfall(history, last).total, paper - actual, rel_tol=1e-9, abs_tol=RTOL_SAME * scale(history)
    )


@pytest.mark.parametrize("settings", [{}, {"execution": {"order_type": "limit", "stop_loss": 0.02}}], ids=str)
def test_a_run_agrees_with_itself(settings):
    clean = run(bars_of(0), settings)
    result = diff(clean, clean)
    assert result.is_equal
    assert result.waterfall["step"].tolist() == ["shadow", "within tolerance", "live"]
    assert result.tolerated_pnl == 0.0
    assert all(pair.confidence == 1.0 for pair in result.matches)
    assert result.pnl_attribution.zone == "green"


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
        clock = each.kind in ("clock", "systematic difference")
        sign = -1.0 if is_mirrored else 1.0
        if is_mirrored:
            values, ids = values[::-1], ids[::-1]
        root = result.differences[each.root - 1]
        found.append(
            (each.cause, each.kind, each.subject, "" if clock else str(values), ids, root.kind, each.is_root,
             round(sign * each.pnl, 6) + 0.0)
        )  # fmt: skip
    return sorted(found)


@pytest.mark.parametrize("fault", mostly_long(SIMULATED_FAULTS, 1))
def test_a_diff_mirrors_when_the_sides_are_swapped(fault):
    bars = bars_of(2)
    clean = run(bars)
    faulty, _ = simulate(bars, [fault], random.Random(3))
    there, back = diff(clean, faulty), diff(faulty, clean)
    if fault != "skew-the-clock":
        assert seen(there, False) == seen(back, True)
    assert len(there.differences) == len(back.differences)
    assert math.isclose(there.tolerated_pnl, -back.tolerated_pnl, abs_tol=1e-6)


@pytest.mark.parametrize("seed", mostly_long(range(3), 1))
def test_a_diff_of_planted_logs_mirrors_too(seed):
    clean = run(bars_of(seed))
    rng = random.Random(seed)
    one, _ = plant(clean, [rng.choice(list(LOG_FAULTS)) for _ in range(4)], rng)
    other, _ = plant(clean, [rng.choice(list(LOG_FAULTS)) for _ in range(4)], rng)
    assert seen(diff(one, other), False) == seen(diff(other, one), True)


def test_the_diff_of_two_equal_runs_over_bars_without_volume_is_empty():
    bars = bars_of(1)
    bare = replace(bars, frame=bars.frame.assign(volume=math.nan))
    recording = run(bare)
    assert any(event.kind == "order" for event in recording.events)
    assert diff(recording, run(replace(bare))).is_equal
