"""Systematic differences within the tolerances are a root; differences of both signs stay within the tolerances."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.diff.bias import LEVEL, MIN_ORDERS, is_significant, sign_test
from peak_trade.diff.causes import Cause
from peak_trade.diff.export import as_json, sentence
from peak_trade.diff.recording import Recording
from peak_trade.diff.result import DiffResult, diff
from peak_trade.journal.events import OrderEvent
from tests.diff.planting import bars_of, run
from tests.examples import examples
from tests.replacing import replace

ROUNDING = 1e-6
"""Rounding error of sums of money, quote currency."""


@pytest.fixture(scope="module")
def clean() -> Recording:
    """A run with 50 fills."""
    return run(bars_of(0))


def with_fills(recording: Recording, change: Callable[[int, OrderEvent], OrderEvent]) -> Recording:
    """Change each fill; the function receives its number and the event."""
    events, n_fills = [], 0
    for event in recording.events:
        if isinstance(event, OrderEvent) and event.last_quantity:
            event, n_fills = change(n_fills, event), n_fills + 1
        events.append(event)
    return replace(recording, events=events, name="live")


def slipped(recording: Recording, bps_of: Callable[[int], float]) -> Recording:
    """Make each fill worse by the given number of bps."""

    def change(number: int, event: OrderEvent) -> OrderEvent:
        factor = 1.0 + event.side.sign * bps_of(number) / 1e4
        return replace(event, last_price=event.last_price * factor, fee=event.fee * factor)

    return with_fills(recording, change)


def delayed(recording: Recording, ms_of: Callable[[int], int]) -> Recording:
    return with_fills(recording, lambda n, event: replace(event, ts_event=event.ts_event + ms_of(n) * 10**6))


def n_fills(recording: Recording) -> int:
    return sum(isinstance(event, OrderEvent) and event.last_quantity > 0.0 for event in recording.events)


def check_sums(result: DiffResult) -> None:
    amounts = result.waterfall["amount"]
    assert math.isclose(amounts.iloc[:-1].sum(), amounts.iloc[-1], abs_tol=ROUNDING)
    assert math.isclose(sum(each.total_pnl for each in result.roots), sum(each.pnl for each in result.differences),
                        abs_tol=ROUNDING)  # fmt: skip


@pytest.mark.parametrize(("shift", "suggested"), [(-5.02, 0.0), (-5.4, math.nan)])
def test_a_model_that_simulates_all_of_the_slippage_there_is_none_of_is_set_to_zero(clean, shift, suggested):
    rng = random.Random(4)
    (root,) = diff(clean, slipped(clean, lambda _: shift + rng.uniform(-0.3, 0.3))).roots
    assert root.bias.estimate < -5.0
    assert root.bias.suggested == pytest.approx(suggested, nan_ok=True)
    assert sentence(root).endswith("slippage_bps = 0.00 removes it" if suggested == 0.0 else f"{n_fills(clean)} fills")


@pytest.mark.parametrize(("shift", "direction"), [(4.0, "low by 3.9"), (-4.0, "high by 4.0")])
def test_fills_that_are_all_a_little_apart_are_one_root_with_a_setting(clean, shift, direction):
    rng = random.Random(1)
    result = diff(clean, slipped(clean, lambda _: shift + rng.uniform(-0.9, 0.9)))
    (root,) = result.roots
    n_orders = n_fills(clean)
    assert root.cause is Cause.SLIPPAGE_BIAS
    text = sentence(root)
    assert text.startswith(f"slippage model too {direction}")
    assert f"bps on {n_orders} of {n_orders} fills" in text
    assert text.endswith(f"trading.costs.slippage_bps = {5.0 + root.bias.estimate:.2f} removes it")
    assert abs(root.bias.estimate - shift) < 4.0 * root.bias.error
    gap = result.live_pnl - result.shadow_pnl
    assert math.isclose(root.total_pnl + result.tolerated_pnl, gap, abs_tol=ROUNDING)
    assert abs(root.total_pnl) > 0.9 * abs(gap)
    assert "slippage bias" in set(result.waterfall["step"])
    check_sums(result)


def test_the_suggested_setting_removes_the_bias(clean):
    live = run(bars_of(0), {"costs": {"slippage_bps": 9.0}})
    found = diff(clean, replace(live, settings=clean.settings))
    (root,) = [each for each in found.roots if each.bias is not None]
    assert root.bias.suggested == pytest.approx(9.0, abs=0.1)
    better = run(bars_of(0), {"costs": {"slippage_bps": round(root.bias.suggested, 1)}})
    assert diff(better, replace(live, settings=better.settings)).is_equal


def test_differences_of_both_signs_stay_within_the_tolerance(clean):
    result = diff(clean, slipped(clean, lambda number: 3.0 if number % 2 else -3.0))
    assert result.is_equal
    assert result.n_tolerated >= n_fills(clean)
    assert result.waterfall["step"].tolist() == ["shadow", "within tolerance", "live"]
    check_sums(result)


def test_fewer_than_ten_orders_have_no_bias_and_equal_ones_are_counted(clean):
    for n_orders in (MIN_ORDERS - 1, MIN_ORDERS):
        result = diff(clean, slipped(clean, lambda number, n=n_orders: 3.0 if number < n else 0.0))
        found = [each.bias for each in result.roots]
        assert len(found) == (n_orders == MIN_ORDERS)
    assert (found[0].n_same, found[0].n_orders, found[0].n_zero) == (10, 10, n_fills(clean) - 10)


def test_a_fill_far_from_the_bias_is_a_root_of_its_own(clean):
    result = diff(clean, slipped(clean, lambda number: 120.0 if number == 7 else 8.0))
    assert sorted(each.cause for each in result.roots) == [Cause.PRICE, Cause.SLIPPAGE_BIAS]
    check_sums(result)


def test_a_setting_that_differs_explains_the_bias():
    result = diff(run(bars_of(0)), run(bars_of(0), {"costs": {"slippage_bps": 8.0}}))
    assert [each.subject for each in result.roots] == ["trading.costs.slippage_bps"]
    check_sums(result)


def test_a_bias_changes_its_sign_when_the_runs_are_swapped(clean):
    live = slipped(clean, lambda number: 2.0 + 0.1 * (number % 3))
    there, back = (diff(*pair).roots[0] for pair in ((clean, live), (live, clean)))
    assert there.bias.estimate == pytest.approx(-back.bias.estimate)
    assert there.total_pnl == pytest.approx(-back.total_pnl)


def test_late_fills_are_a_bias_and_equal_times_are_one_root(clean):
    rng = random.Random(2)
    (bias,) = diff(clean, delayed(clean, lambda _: rng.randrange(100, 400))).roots
    assert bias.cause is Cause.LATENCY_BIAS
    assert 200.0 < bias.bias.estimate < 300.0
    (late,) = diff(clean, delayed(clean, lambda number: 7_000 if number % 6 == 0 else 0)).roots
    assert (late.cause, late.n_equal) == (Cause.TIMING, math.ceil(n_fills(clean) / 6))
    assert sentence(late).endswith(f"and equally on {late.n_equal - 1} more")


@given(st.integers(1, 400), st.data())
@settings(max_examples=examples(40), deadline=None)
def test_the_sign_test_is_the_binomial_sum(n_orders, data):
    n_positive = data.draw(st.integers(0, n_orders))
    tail = sum(math.comb(n_orders, k) for k in range(max(n_positive, n_orders - n_positive), n_orders + 1))
    assert sign_test(n_positive, n_orders - n_positive) == pytest.approx(min(1.0, 2.0 * tail / 2**n_orders), rel=1e-9)


@given(st.integers(MIN_ORDERS, 300))
@settings(max_examples=examples(30), deadline=None)
def test_orders_without_a_bias_are_rarely_called_biased(n_orders):
    """The chance that the sign test rejects a true hypothesis is at most its level."""
    chance = (
        sum(math.comb(n_orders, k) for k in range(n_orders + 1) if sign_test(k, n_orders - k) <= LEVEL) / 2**n_orders
    )
    assert chance <= LEVEL


@pytest.mark.parametrize(
    ("p_values", "rejected"),
    [
        ((0.004, 0.009), (True, True)),
        ((0.006, 0.006), (False, False)),
        ((0.02, 0.005), (False, True)),
        ((0.011, 0.2), (False, False)),
    ],
)
def test_the_level_holds_for_all_causes_together(p_values, rejected):
    """Holm (1979): the smallest of m p-values is compared with level / m, the next one with level / (m - 1)."""
    causes = (Cause.SLIPPAGE_BIAS, Cause.LATENCY_BIAS)
    assert is_significant(dict(zip(causes, p_values, strict=True))) == dict(zip(causes, rejected, strict=True))


@pytest.mark.long
def test_the_command_shows_the_bias_and_the_row_within_the_tolerances(clean, monkeypatch, capsys):
    live = slipped(clean, lambda number: 3.0)
    even = slipped(clean, lambda number: 3.0 if number % 2 else -3.0)
    runs = {"clean": clean, "live": live, "even": even}
    monkeypatch.setattr("peak_trade.studies.diff.read_recording", lambda name: runs[name])
    assert main(["diff", "clean", "live"]) == 1
    said = capsys.readouterr().out
    assert "slippage model too low by 3.0" in said
    assert said.count("within tolerance") == 2
    assert main(["diff", "clean", "even"]) == 0
    assert "within tolerance" in capsys.readouterr().out
    assert main(["diff", "clean", "live", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["differences"][0]["bias"]["n_orders"] == n_fills(clean)
    assert found["within_tolerance"]["n_differences"] == 0
    assert as_json(diff(clean, even))["within_tolerance"]["n_differences"] >= n_fills(clean)
