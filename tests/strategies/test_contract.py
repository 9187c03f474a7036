"""An exposure that breaks the contract is refused with its bar; so are invalid parameters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError, StrategyError
from peak_trade.data.sample import synthetic_bars
from peak_trade.strategies.base import allow, check_exposure
from peak_trade.strategies.breakout import Breakout
from peak_trade.strategies.composite import Composite
from peak_trade.strategies.hysteresis import held_exposure
from peak_trade.strategies.macd import Macd
from peak_trade.strategies.mean_reversion import MeanReversion
from peak_trade.strategies.momentum import Momentum
from peak_trade.strategies.random_entry import RandomEntry
from peak_trade.strategies.rsi_reversion import RsiReversion
from peak_trade.strategies.trend_following import TrendFollowing

TIMES = synthetic_bars(20).times


def exposure(**rows: float) -> np.ndarray:
    values = np.zeros(20)
    for row, value in rows.items():
        values[int(row[1:])] = value
    return values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (exposure(r7=1.5), r"exposure was 1\.5 at 2021-01-01 08:00:00Z"),
        (exposure(r9=-1.0000001), r"exposure was -1\.0000001 at 2021-01-01 10:00:00Z"),
        (exposure(r3=np.inf), r"exposure was inf at 2021-01-01 04:00:00Z"),
        (exposure(r3=-np.inf), r"exposure was -inf at 2021-01-01 04:00:00Z"),
        (exposure(r5=np.nan), r"exposure is NaN at 2021-01-01 06:00:00Z, bar 5, after the warm-up of 5 bars"),
        (np.zeros(19), r"exposure has shape \(19,\), the bars \(20,\)"),
        (np.zeros((20, 1)), r"exposure has shape \(20, 1\)"),
        (np.zeros(20, dtype=np.float32), "dtype float32; return float64"),
        (np.zeros(20, dtype=np.int64), "dtype int64; return float64"),
        (np.zeros(20, dtype=bool), "dtype bool; return float64"),
        (np.array(["long"] * 20), "return float64"),
        (None, "return float64"),
        ([0.0] * 21, r"shape \(21,\)"),
    ],
)
def test_a_broken_exposure_is_refused_and_the_bar_named(values: object, message: str) -> None:
    with pytest.raises(StrategyError, match=f"^mine: .*{message}"):
        check_exposure(values, TIMES, 5, "mine")


def test_nan_in_the_warm_up_means_flat() -> None:
    values = exposure(r0=np.nan, r4=np.nan, r6=1.0)
    checked = check_exposure(values, TIMES, 5, "mine")
    np.testing.assert_array_equal(checked, exposure(r6=1.0))
    assert not checked.flags.writeable
    assert np.isnan(values[0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RsiReversion(oversold=80.0), "they must increase in this order"),
        (lambda: RsiReversion(oversold=-1.0), "oversold was -1.0"),
        (lambda: RsiReversion(window=0), "window was 0"),
        (lambda: RsiReversion(windwo=3), "Did you mean window"),
        (lambda: Macd(fast=26), "fast must be the smaller"),
        (lambda: Momentum(enter=2.0), "enter was 2.0"),
        (lambda: Momentum(leave=0.01), "leave was 0.01"),
        (lambda: TrendFollowing(leave_level=30.0), "leave_level must not be higher"),
        (lambda: MeanReversion(enter=0.5), "enter must lie below leave"),
        (lambda: MeanReversion(enter=float("nan")), "enter was nan"),
        (lambda: Breakout(atr_multiple=-1.0), "atr_multiple was -1.0"),
        (lambda: RandomEntry(enter_chance=2.0), "enter_chance was 2.0"),
        (lambda: Composite(members=()), "name at least one strategy"),
        (lambda: Composite(members=({},)), "members.0 was"),
        (lambda: Composite(members=(None,)), "members.0 was None"),
        (lambda: Composite(weights=(1.0,)), "weights has 1 values, members 3"),
        (lambda: Composite(volatility_band=1.5), "volatility_band was 1.5"),
    ],
)
def test_parameters_that_can_not_be_are_refused(build, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


CONDITIONS = st.lists(st.booleans(), min_size=60, max_size=60).map(np.array)


@given(CONDITIONS, CONDITIONS, CONDITIONS, CONDITIONS, st.sampled_from(["long", "short", "both"]), st.integers(0, 60))
def test_held_exposure_equals_its_plain_recursion(enter_long, leave_long, enter_short, leave_short, direction, warm_up):
    side, expected = 0.0, []
    for row in range(60):
        if row < warm_up:
            expected.append(np.nan)
            continue
        if (side == 1.0 and leave_long[row]) or (side == -1.0 and leave_short[row]):
            side = 0.0
        may_long = enter_long[row] and not leave_long[row] and direction in ("long", "both")
        may_short = enter_short[row] and not leave_short[row] and direction in ("short", "both")
        if side == 0.0:
            side = 1.0 if may_long else -1.0 if may_short else 0.0
        expected.append(side)
    held = held_exposure(enter_long, leave_long, enter_short, leave_short, warm_up, direction)
    np.testing.assert_array_equal(held, expected)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [("long", [np.nan, 1.0, 0.0, 0.0]), ("short", [np.nan, 0.0, 0.0, -1.0]), ("both", [np.nan, 1.0, 0.0, -1.0])],
)
def test_sides_that_are_not_allowed_are_flat(direction, expected: list[float]) -> None:
    np.testing.assert_array_equal(allow(np.array([np.nan, 1.0, 0.0, -1.0]), direction), expected)
