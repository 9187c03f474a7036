"""Coarser bars within a strategy: only those that have closed, and nothing of later bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.causality.check import check_causality
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import Timeframe
from peak_trade.data.resampling import at_timeframe, resample
from peak_trade.strategies.panel import Panel
from tests.examples import examples
from tests.portfolio.conftest import made_bars


def bars_with_gaps(seed: int, n_bars: int = 150, start: int = 0) -> Bars:
    whole = made_bars("A/USD", seed, n_bars, start)
    kept = np.random.default_rng(seed).random(len(whole)) > 0.1
    kept[[0, 1, -1]] = True
    return Bars(whole.frame[kept], "A/USD", whole.timeframe, "made")


@settings(max_examples=examples(100), deadline=None)
@given(seed=st.integers(0, 10_000), step=st.sampled_from(["2h", "4h", "1d"]), start=st.integers(0, 30))
def test_each_bar_sees_the_last_coarse_bar_that_its_own_history_makes(seed: int, step: str, start: int) -> None:
    bars = bars_with_gaps(seed, start=start)
    found = at_timeframe(bars.frame, step)
    assert found.index.equals(bars.frame.index)
    for row in np.random.default_rng(seed).integers(2, len(bars), 6):
        known = Bars(bars.frame.iloc[: row + 1], "A/USD", bars.timeframe, "made")
        try:
            expected = resample(known, step).bars.frame.iloc[-1]
        except Exception:
            assert found.iloc[row].isna().all()
            continue
        np.testing.assert_array_equal(found.iloc[row].to_numpy(), expected.to_numpy())


def on_the_right_side(bars: pd.DataFrame) -> np.ndarray:
    return (bars["close"] > at_timeframe(bars, "4h")["close"]).to_numpy(float)


def off_by_one(bars: pd.DataFrame) -> np.ndarray:
    """The classic fault: the coarse bar that is still open is visible."""
    coarse = bars["close"].resample("4h", closed="right", label="right").last()
    return (bars["close"] > coarse.reindex(bars.index, method="bfill")).to_numpy(float)


@pytest.mark.long
def test_the_check_accepts_closed_bars_and_finds_the_open_one() -> None:
    bars = bars_with_gaps(3, 400)
    assert check_causality(on_the_right_side, bars, warm_up=10, n_cuts=10).is_causal
    assert not check_causality(off_by_one, bars, warm_up=10, n_cuts=10).is_causal


def test_a_panel_sees_the_coarse_bars_of_each_symbol() -> None:
    parts = [bars_with_gaps(1), made_bars("B/USD", 2, 150, start=40)]
    panel = Panel.of(parts)
    coarse = panel.at("4h")
    assert coarse.timeframe == Timeframe.parse("4h")
    for part in parts:
        own = at_timeframe(part.frame, "4h")
        np.testing.assert_array_equal(coarse.close[part.symbol].loc[part.frame.index], own["close"])
    assert coarse.close["B/USD"].iloc[:40].isna().all()


def test_too_few_bars_have_no_coarse_bar_and_a_wrong_timeframe_is_refused() -> None:
    bars = made_bars("A/USD", 1, 60)
    assert at_timeframe(bars.frame.iloc[:1], "4h").isna().all(axis=None)
    assert at_timeframe(bars.frame.iloc[:3], "4h").isna().all(axis=None)
    with pytest.raises(ConfigError, match="bars of 90m can not be made from 1h"):
        at_timeframe(bars.frame, "90m")


def test_what_is_no_frame_of_bars_is_refused_in_one_line() -> None:
    frame = made_bars("A/USD", 1, 60).frame
    for frame_given, message in (
        (frame[["open", "close"]], "the frame has no column high"),
        (frame.reset_index(drop=True), "the index does not hold increasing times"),
        (frame.iloc[::-1], "the index does not hold increasing times"),
    ):
        with pytest.raises(DataError, match=message):
            at_timeframe(frame_given, "4h")
