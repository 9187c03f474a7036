from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import Timeframe, iso
from peak_trade.data.resampling import PartialBar, resample
from peak_trade.data.sample import sample_bars

HOUR, FOUR, DAY, WEEK = map(Timeframe.parse, ("1h", "4h", "1d", "1w"))
MIDNIGHT = pd.Timestamp("2024-01-01", tz="UTC").value
FINE = sample_bars("BTC/USDT", n_bars=24 * 15)


def hours(closes):
    """Fine bars that close so many hours after midnight; open, high, low and close identify them."""
    closes = np.asarray(closes, dtype=np.int64)
    price = 100.0 + closes
    frame = pd.DataFrame(
        {"open": price, "high": price + 0.5, "low": price - 0.5, "close": price + 0.25, "volume": closes * 1.0},
        index=pd.DatetimeIndex(MIDNIGHT + closes * HOUR.ns, tz="UTC"),
    )
    return Bars(frame, "BTC/USDT", HOUR, "x")


@given(st.integers(48, len(FINE)), st.sets(st.integers(1, len(FINE) - 1), max_size=80), st.sampled_from([FOUR, DAY]))
@settings(max_examples=50, deadline=None)
def test_bars_after_a_time_change_no_coarse_bar_up_to_it(cut, left_out, coarse):
    keep = [row for row in range(len(FINE)) if row not in left_out]
    known = [row for row in keep if row < cut]
    whole = resample(Bars(FINE.frame.iloc[keep], "BTC/USDT", HOUR), coarse).bars.frame
    part = resample(Bars(FINE.frame.iloc[known], "BTC/USDT", HOUR), coarse).bars.frame
    pd.testing.assert_frame_equal(part, whole.iloc[: len(part)], check_exact=True, check_freq=False)
    later = whole.index[len(part) :]
    assert not len(later) or later[0] > FINE.frame.index[known[-1]]


@given(st.sets(st.integers(1, 72), min_size=30))
@settings(max_examples=50, deadline=None)
def test_each_coarse_bar_is_made_of_the_fine_bars_in_its_span_and_no_others(closes):
    fine = hours(sorted(closes))
    for close_time, bar in resample(fine, FOUR).bars.frame.iterrows():
        inside = fine.frame[(fine.frame.index > close_time - FOUR.duration) & (fine.frame.index <= close_time)]
        expected = [
            inside.open.iloc[0],
            inside.high.max(),
            inside.low.min(),
            inside.close.iloc[-1],
            inside.volume.sum(),
        ]
        assert bar.tolist() == expected


def test_resampling_in_two_steps_equals_one_step():
    direct, stepped = resample(FINE, DAY).bars, resample(resample(FINE, FOUR).bars, DAY).bars
    pd.testing.assert_frame_equal(direct.frame, stepped.frame, rtol=1e-12)


def test_a_coarse_bar_without_its_last_fine_bar_exists_once_the_data_has_passed_it():
    waiting, passed = resample(hours([1, 2, 3, 4, 5, 6, 7]), FOUR), resample(hours([1, 2, 3, 4, 5, 6, 7, 9]), FOUR)
    assert [iso(int(time))[11:13] for time in waiting.bars.times] == ["04"]
    assert waiting.unfinished == PartialBar(MIDNIGHT + 8 * HOUR.ns, 3)
    assert [iso(int(time))[11:13] for time in passed.bars.times] == ["04", "08"]
    assert passed.partial == (PartialBar(MIDNIGHT + 8 * HOUR.ns, 3),)
    assert passed.bars.frame["close"].iloc[-1] == 107.25


def test_a_bucket_that_the_data_enters_halfway_gives_no_bar_and_is_named():
    made = resample(hours([3, 4, 5, 6, 7, 8]), FOUR)
    assert made.unstarted == PartialBar(MIDNIGHT + 4 * HOUR.ns, 2)
    assert len(made.bars) == 1
    assert made.unfinished is None


def test_an_empty_bucket_stays_a_gap():
    made = resample(hours([1, 2, 3, 4, 13, 14, 15, 16]), FOUR)
    assert [int(time - MIDNIGHT) // HOUR.ns for time in made.bars.times] == [4, 16]


def test_weeks_begin_on_monday():
    assert {time.day_name() for time in resample(FINE, WEEK).bars.frame.index} == {"Monday"}


@pytest.mark.parametrize("name", ["30m", "1h", "90m"], ids=["finer", "the-same", "no-multiple"])
def test_only_whole_coarser_timeframes_can_be_made(name):
    with pytest.raises(ConfigError, match=f"bars of {name} can not be made from 1h"):
        resample(FINE, Timeframe.parse(name))


def test_data_that_fills_no_bucket_is_an_error():
    with pytest.raises(DataError, match="do not fill a bar of 4h"):
        resample(hours([2, 3]), FOUR)
