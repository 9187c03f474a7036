from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.bars import Bars, as_bars
from peak_trade.core.calendar import n_missing, open_times, period_of
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import Timeframe, iso
from peak_trade.data.quality import check_bars, find_gaps
from peak_trade.data.resampling import PartialBar, resample, resample_stored
from peak_trade.data.sample import sample_bars
from peak_trade.data.series import Origin
from peak_trade.data.store import list_bars, load_bars, save_bars
from peak_trade.engine.settings import BacktestSettings
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.studies.backtest import backtest
from tests.examples import examples

HOUR, FOUR, DAY, WEEK, MONTH = map(Timeframe.parse, ("1h", "4h", "1d", "1w", "1M"))
MIDNIGHT = pd.Timestamp("2024-01-01", tz="UTC").value
FINE = sample_bars("BTC/USDT", n_bars=24 * 15)
MIDNIGHT_INDEX = pd.date_range("2024-01-01 00:01", periods=len(FINE), freq="min", tz="UTC")


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
@settings(max_examples=examples(50), deadline=None)
def test_bars_after_a_time_change_no_coarse_bar_up_to_it(cut, left_out, coarse):
    keep = [row for row in range(len(FINE)) if row not in left_out]
    known = [row for row in keep if row < cut]
    whole = resample(Bars(FINE.frame.iloc[keep], "BTC/USDT", HOUR), coarse).bars.frame
    part = resample(Bars(FINE.frame.iloc[known], "BTC/USDT", HOUR), coarse).bars.frame
    pd.testing.assert_frame_equal(part, whole.iloc[: len(part)], check_exact=True, check_freq=False)
    later = whole.index[len(part) :]
    assert not len(later) or later[0] > FINE.frame.index[known[-1]]


@given(st.sets(st.integers(1, 72), min_size=30))
@settings(max_examples=examples(50), deadline=None)
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


YEAR_OF_DAYS = resample(sample_bars("BTC/USDT", n_bars=24 * 800), DAY).bars
"""Days from the first of January 2023 on, over the leap day of 2024."""


@given(st.integers(0, 700), st.integers(40, 100), st.integers(0, 23), st.sampled_from([1, 2, 3, 12]))
@settings(max_examples=examples(40))
def test_months_are_those_of_the_calendar_by_pandas(first, n_days, hour, n_months):
    """Days of any span that close at any hour: each whole month has the days that open in it."""
    moved = YEAR_OF_DAYS.frame.iloc[first : first + n_days * n_months]
    days = replace(YEAR_OF_DAYS, frame=moved.set_axis(moved.index + pd.Timedelta(hours=hour)))
    opens = (days.frame.index - pd.Timedelta(days=1, hours=hour)).tz_localize(None)
    groups = days.frame.groupby(np.asarray((opens.year * 12 + opens.month - 1) // n_months))
    begins = {
        key: pd.Timestamp(year=key * n_months // 12, month=key * n_months % 12 + 1, day=1) for key in groups.groups
    }
    ends = {key: begin + pd.DateOffset(months=n_months) for key, begin in begins.items()}
    whole = [key for key, part in groups if len(part) == (ends[key] - begins[key]).days]
    if not whole:
        return
    made = resample(days, Timeframe.parse(f"{n_months}M"))
    expected = groups.agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}).loc[whole]
    closes = [ends[key] + pd.Timedelta(hours=hour) for key in whole]
    assert made.bars.frame.index.tz_localize(None).tolist() == closes
    np.testing.assert_allclose(made.bars.frame.to_numpy(), expected.to_numpy(), rtol=1e-12)
    assert (made.partial, str(made.bars.timeframe)) == ((), f"{n_months}M")


def test_months_of_hours_are_months_of_days_and_quarters_of_months():
    hours = sample_bars("BTC/USDT", n_bars=24 * 200)
    direct, stepped = resample(hours, MONTH), resample(resample(hours, DAY).bars, MONTH)
    pd.testing.assert_frame_equal(direct.bars.frame, stepped.bars.frame, rtol=1e-12)
    quarter = Timeframe.parse("3M")
    by_month, by_day = resample(direct.bars, quarter).bars, resample(hours, quarter).bars
    pd.testing.assert_frame_equal(by_month.frame, by_day.frame, rtol=1e-12)
    assert [f"{time:%m-%d}" for time in by_day.frame.index] == ["04-01", "07-01"]


def test_a_month_with_a_gap_states_how_many_days_it_has(home, capsys):
    """February 2024 has 29 days; the month that the data starts in has no bar."""
    frame = YEAR_OF_DAYS.frame
    kept = frame[(frame.index > "2024-01-10") & (frame.index != pd.Timestamp("2024-02-20", tz="UTC"))]
    days = Bars(kept, "BTC/USDT", DAY, "x")
    made = resample(days, MONTH)
    (part,) = made.partial
    assert (iso(part.close_time), part.n_fine, made.n_expected(part)) == ("2024-03-01 00:00:00Z", 28, 29)
    assert (made.n_fine_per_bar, made.n_expected(made.unstarted)) == (None, 31)
    save_bars(days)
    assert main(["data", "resample", "--symbol", "BTC/USDT", "--timeframe", "1d", "--to", "1M"]) == 0
    assert "28 of 29" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["1w", "5h"])
def test_months_are_made_of_bars_that_divide_a_day(name):
    with pytest.raises(ConfigError, match=f"bars of 1M can not be made from {name}"):
        resample(resample(FINE, Timeframe.parse(name)).bars, MONTH)


def test_minutes_and_months_are_two_series_and_months_are_traded(home, capsys):
    """The store, the list, the check, an import and a backtest know months; a year has twelve of them."""
    minutes = Bars(FINE.frame.set_axis(MIDNIGHT_INDEX), "BTC/USDT", Timeframe.parse("1m"), "x")
    hours = Bars(sample_bars("BTC/USDT").frame, "BTC/USDT", HOUR, "x")
    for bars in (minutes, hours):
        save_bars(bars)
    resample_stored("BTC/USDT", HOUR, MONTH)
    months = load_bars("BTC/USDT", "1M")
    assert (len(months), months.bars_per_year) == (23, pytest.approx(12.0, rel=0.01))
    assert len(load_bars("BTC/USDT", "1m")) == len(minutes)
    assert find_gaps(months.times, MONTH) == []
    holed = months.frame.drop(months.frame.index[[4, 5]])
    (gap,) = check_bars(replace(months, frame=holed)).gaps
    assert (iso(gap.start)[:10], iso(gap.end)[:10], gap.n_missing) == ("2023-06-01", "2023-07-01", 2)
    assert n_missing(replace(months, frame=holed).times, MONTH) == 2
    assert main(["data", "list"]) == 0
    assert "1M" in capsys.readouterr().out
    result = backtest(BuyAndHold(), months, BacktestSettings(costs={"max_participation": None}))
    assert iso(result.fills["ts_event"].iloc[0].value) == "2023-02-01 00:00:00Z"


@pytest.mark.parametrize("stamp", ["open", "close"])
def test_a_file_of_months_is_imported(home, tmp_path, capsys, stamp):
    months = resample(sample_bars("BTC/USDT"), MONTH).bars
    times = months.times if stamp == "close" else open_times(months.times, MONTH)
    frame = months.frame.set_axis(pd.DatetimeIndex(times, tz="UTC")).rename_axis("time")
    frame.to_csv(tmp_path / "months.csv")
    line = f"data import {tmp_path / 'months.csv'} --symbol BTC/USDT --timeframe 1M --exchange y --stamp {stamp}"
    assert main(line.split()) == 0
    stored = load_bars("BTC/USDT", "1M", "y")
    pd.testing.assert_frame_equal(stored.frame, months.frame, check_freq=False)
    frame.iloc[3:4].set_axis(frame.index[3:4] + pd.Timedelta(days=2)).rename_axis("time").to_csv(tmp_path / "off.csv")
    assert main(line.replace("months.csv", "off.csv").split()) == 2
    assert "the time is not on the grid of 1M" in capsys.readouterr().err


def test_the_months_of_a_table_are_recognised():
    months = resample(sample_bars("BTC/USDT"), MONTH).bars
    assert str(as_bars(months.frame).timeframe) == "1M"
    opened = months.frame.set_axis(pd.DatetimeIndex(open_times(months.times, MONTH), tz="UTC"))
    assert as_bars(opened, stamp="open").times.tolist() == months.times.tolist()
    with pytest.raises(DataError, match="the timeframe was 1M, and the bars are"):
        as_bars(YEAR_OF_DAYS.frame, timeframe="1M")


@pytest.mark.parametrize("name", ["30m", "1h", "90m"], ids=["finer", "the-same", "no-multiple"])
def test_only_whole_coarser_timeframes_can_be_made(name):
    with pytest.raises(ConfigError, match=f"bars of {name} can not be made from 1h"):
        resample(FINE, Timeframe.parse(name))


def test_data_that_fills_no_bucket_is_an_error():
    with pytest.raises(DataError, match="do not fill a bar of 4h"):
        resample(hours([2, 3]), FOUR)


@given(st.integers(0, 23), st.sampled_from([WEEK, Timeframe.parse("2d")]), st.integers(20, 40))
@settings(max_examples=examples(40), deadline=None)
def test_bars_that_close_at_another_hour_are_grouped_by_their_open(hour, coarse, n_days):
    """Days that close at 16:00 are grouped as those that close at midnight, 16 hours later."""
    days = resample(sample_bars("BTC/USDT", n_bars=24 * n_days), DAY).bars
    late = replace(days, frame=days.frame.set_axis(days.frame.index + pd.Timedelta(hours=hour)))
    plain, shifted = resample(days, coarse), resample(late, coarse)
    expected = plain.bars.frame.set_axis(plain.bars.frame.index + pd.Timedelta(hours=hour))
    pd.testing.assert_frame_equal(shifted.bars.frame, expected, check_exact=True, check_freq=False)
    assert shifted.partial == ()
    opens = shifted.bars.times - coarse.ns
    assert (period_of(opens, "week") == period_of(plain.bars.times - coarse.ns, "week")).all()


def test_minutes_off_the_hour_fill_whole_bars():
    fine = sample_bars("BTC/USDT", n_bars=48)
    late = replace(fine, frame=fine.frame.set_axis(fine.frame.index + pd.Timedelta(minutes=30)))
    made = resample(late, FOUR)
    assert made.partial == ()
    assert len(made.bars) == len(resample(fine, FOUR).bars)
    assert iso(int(made.bars.times[0])).endswith(":30:00Z")


SAMPLE = Bars(FINE.frame, "BTC/USDT", HOUR, "x")


def changed(bars, row, factor=1.01):
    """Return bars whose bar in one row has a volume multiplied by a factor."""
    volume = bars.frame["volume"].to_numpy().copy()
    volume[row] *= factor
    return replace(bars, frame=bars.frame.assign(volume=volume))


def csv_of(bars, path):
    bars.frame.rename_axis("close_time").to_csv(path)
    return path


def test_volumes_summed_in_another_order_are_equal(home):
    """Days from four-hour bars and days from hours differ in the last bits of the volume only."""
    save_bars(SAMPLE)
    resample_stored("BTC/USDT", HOUR, FOUR)
    resample_stored("BTC/USDT", FOUR, DAY)
    stored = load_bars("BTC/USDT", "1d")
    direct = resample(SAMPLE, DAY).bars
    assert (stored.frame["volume"].to_numpy() != direct.frame["volume"].to_numpy()).any()
    _, saved = resample_stored("BTC/USDT", HOUR, DAY)
    assert (saved.n_added, saved.n_replaced, saved.n_known) == (0, 0, len(stored))
    assert load_bars("BTC/USDT", "1d").digest() == stored.digest()


@pytest.mark.parametrize(("factor", "is_equal"), [(1 + 5e-10, True), (1 + 5e-9, False)])
def test_volumes_that_differ_by_more_than_rounding_are_refused(home, capsys, factor, is_equal):
    save_bars(SAMPLE)
    days = resample(SAMPLE, DAY).bars
    save_bars(changed(days, 3, factor))
    line = ["data", "resample", "--symbol", "BTC/USDT", "--timeframe", "1h", "--to", "1d"]
    assert main(line) == (0 if is_equal else 2)
    if not is_equal:
        printed = capsys.readouterr().err
        first, second = (
            float(text) for text in re.findall(r"volume ([0-9.e+]+), the new one has ([0-9.e+]+)", printed)[0]
        )
        assert (first, second) == (days.frame["volume"].iloc[3] * factor, days.frame["volume"].iloc[3])
        assert main([*line, "--replace"]) == 0
        assert load_bars("BTC/USDT", "1d").digest() == days.digest()


@pytest.mark.long
def test_resampled_bars_know_their_source_and_are_renewed_with_it(home, tmp_path, capsys):
    """An import that changes hours makes the four-hour bars again, and the days that were made of these."""
    part = replace(SAMPLE, frame=SAMPLE.frame.iloc[:200])
    save_bars(part)
    resample_stored("BTC/USDT", HOUR, FOUR)
    resample_stored("BTC/USDT", FOUR, DAY)
    origins = {str(item.timeframe): item.origin for item in list_bars()}
    assert origins == {
        "1h": None,
        "4h": Origin(HOUR, part.digest()),
        "1d": Origin(FOUR, load_bars("BTC/USDT", "4h").digest()),
    }
    later = changed(SAMPLE, 100)
    file = csv_of(later, tmp_path / "hours.csv")
    line = f"data import {file} --symbol BTC/USDT --timeframe 1h --exchange x --replace"
    assert main(line.split()) == 0
    assert capsys.readouterr().out.count("Renewed, because the bars that it is resampled from changed") == 2
    four = resample(later, FOUR).bars
    assert load_bars("BTC/USDT", "4h").digest() == four.digest()
    assert load_bars("BTC/USDT", "1d").digest() == resample(four, DAY).bars.digest()
    assert main(line.split()) == 0
    assert "Renewed" not in capsys.readouterr().out


def test_outdated_bars_are_named_in_the_list(home, capsys):
    save_bars(SAMPLE)
    resample_stored("BTC/USDT", HOUR, FOUR)
    main(["data", "list"])
    assert "have changed since" not in capsys.readouterr().out
    save_bars(changed(SAMPLE, 100), replace=True)
    assert main(["data", "list"]) == 0
    assert "x BTC/USDT 4h: resampled from 1h bars that have changed since." in " ".join(capsys.readouterr().out.split())
    note = "The 4h bars of BTC/USDT were resampled from 1h bars that have changed since."
    bars = load_bars("BTC/USDT", "4h", start="2023-01-03")
    assert (bars.notes, load_bars("BTC/USDT", "1h").notes) == ((note,), ())
    assert note in backtest(BuyAndHold(), bars).assumptions
    resample_stored("BTC/USDT", HOUR, FOUR)
    assert load_bars("BTC/USDT", "4h").notes == ()


def test_imported_bars_beyond_the_source_are_kept(home):
    """A series that holds more than its source gives is no copy of it: it has no origin and is not renewed."""
    days = resample(SAMPLE, DAY).bars
    save_bars(replace(days, frame=days.frame.iloc[:5]))
    save_bars(replace(SAMPLE, frame=SAMPLE.frame.iloc[24 * 3 :]))
    resample_stored("BTC/USDT", HOUR, DAY)
    assert load_bars("BTC/USDT", "1d").digest() == days.digest()
    assert [item.origin for item in list_bars()] == [None, None]


@given(st.lists(st.integers(24, len(FINE)), min_size=1, max_size=3), st.sampled_from([FOUR, DAY]))
@settings(max_examples=examples(10), deadline=None)
def test_renewed_bars_are_those_of_the_whole_source(tmp_path_factory, lengths, coarse):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(tmp_path_factory.mktemp("home")))
        for length in lengths:
            save_bars(replace(SAMPLE, frame=SAMPLE.frame.iloc[:length]))
            resample_stored("BTC/USDT", HOUR, coarse)
        whole = replace(SAMPLE, frame=SAMPLE.frame.iloc[: max(lengths)])
        assert load_bars("BTC/USDT", coarse).digest() == resample(whole, coarse).bars.digest()
