from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.time import Timeframe
from peak_trade.data.quality import FaultKind, check_quality, check_stored
from peak_trade.data.sample import SYMBOLS, sample_bars
from peak_trade.data.store import save_bars
from tests.examples import examples

HOUR = Timeframe.parse("1h")
FIRST = 1_704_067_200_000_000_000


def sound(n_bars):
    """Hourly rows without faults, gaps and runs."""
    times = FIRST + HOUR.ns * np.arange(n_bars, dtype=np.int64)
    close = 100.0 + np.arange(n_bars) % 7
    values = np.column_stack([close - 0.5, close + 1.0, close - 1.0, close, np.full(n_bars, 5.0)])
    return times, values


def report_on(times, values, timeframe=HOUR):
    return check_quality(times, values, timeframe, "rows", now=FIRST + 1_000 * HOUR.ns)


def test_sound_rows_have_nothing_to_report():
    report = report_on(*sound(50))
    assert (report.faults, report.gaps, report.runs) == ((), (), ())
    assert report.keeps_contract


@given(st.sets(st.integers(1, 58), max_size=30))
@settings(max_examples=examples(50), deadline=None)
def test_every_bar_left_out_is_counted_in_exactly_one_gap(left_out):
    times, values = sound(60)
    keep = [row for row in range(60) if row not in left_out]
    report = report_on(times[keep], values[keep])
    told = {hour for gap in report.gaps for hour in range(gap.start, gap.end + 1, HOUR.ns)}
    assert told == {int(times[row]) for row in left_out}
    assert report.n_missing == len(left_out)
    assert report.keeps_contract


PLANTS = {
    FaultKind.DUPLICATE: lambda times, values: times.__setitem__(8, times[7]),
    FaultKind.BACKWARDS: lambda times, values: times.__setitem__(slice(0, 2), times[[1, 0]]),
    FaultKind.OFF_GRID: lambda times, values: times.__setitem__(8, times[8] + 1_000_000),
    FaultKind.NOT_A_NUMBER: lambda times, values: values.__setitem__((8, 2), np.nan),
    FaultKind.PRICE: lambda times, values: values.__setitem__((8, 2), -1.0),
    FaultKind.VOLUME: lambda times, values: values.__setitem__((8, 4), -1.0),
    FaultKind.OHLC: lambda times, values: values.__setitem__((8, 1), 1.0),
    FaultKind.FUTURE: lambda times, values: times.__setitem__(19, times[18] + 2_000 * HOUR.ns),
}


@pytest.mark.parametrize("kind", FaultKind, ids=str)
def test_a_planted_fault_is_found_where_it_was_planted(kind):
    times, values = sound(20)
    PLANTS[kind](times, values)
    report = report_on(times, values)
    row = {FaultKind.BACKWARDS: 1, FaultKind.FUTURE: 19}.get(kind, 8)
    assert [(fault.kind, fault.row, fault.time) for fault in report.faults] == [(kind, row, int(times[row]))]
    assert not report.keeps_contract


def test_an_infinite_price_is_not_a_number():
    times, values = sound(5)
    values[2, 1] = np.inf
    assert [fault.was for fault in report_on(times, values).faults] == ["high was inf"]


def test_stale_and_zero_volume_runs_are_told_with_their_start_and_length():
    times, values = sound(20)
    values[5:9, :4] = 42.0
    values[12:14, :4] = 42.0
    values[15:17, 4] = 0.0
    report = report_on(times, values)
    assert [(run.kind, run.start, run.n_bars) for run in report.runs] == [
        ("stale", times[5], 4),
        ("zero-volume", times[15], 2),
    ]
    assert report.keeps_contract


def test_weekly_bars_keep_the_weekday_of_the_first_one():
    week = Timeframe.parse("1w")
    times = FIRST + week.ns * np.arange(4, dtype=np.int64)
    assert report_on(times, sound(4)[1], week).keeps_contract


def test_the_bars_of_the_store_are_checked_with_one_read_of_each_file(home, monkeypatch):
    for symbol in SYMBOLS:
        save_bars(sample_bars(symbol, n_bars=50))
    opened: list[str] = []

    def counted(name):
        original = getattr(pq, name)

        def read(path, *rest, **options):
            opened.append(name)
            return original(path, *rest, **options)

        return read

    for name in ("read_schema", "ParquetFile"):
        monkeypatch.setattr(pq, name, counted(name))
    reports, refused = check_stored()
    assert [report.n_bars for report in reports] == [50] * len(SYMBOLS)
    assert refused == {}
    assert opened == ["ParquetFile"] * len(SYMBOLS)


def test_a_check_of_the_store_names_every_damaged_or_misplaced_file_and_checks_the_others(home, capsys):
    for symbol in SYMBOLS:
        save_bars(sample_bars(symbol, n_bars=50))
    folder = home / "bars" / "sample"
    good, damaged, altered = sorted(folder.glob("*/1h/series.json"))
    misplaced = folder / "AAA-USDT" / "1h" / "series.json"
    misplaced.parent.mkdir(parents=True)
    misplaced.write_bytes(good.read_bytes())
    damaged.write_bytes(b"{}")
    (altered,) = altered.parent.glob("*.parquet")
    pq.write_table(pq.read_table(altered).slice(1), altered)
    for names, bad in (
        ([], {misplaced, damaged, altered}),
        (["--symbol", "ETH/USDT"], {damaged}),
        (["--exchange", "sample", "--timeframe", "1h"], {misplaced, damaged, altered}),
    ):
        assert main(["data", "check", "--json", *names]) == 1
        found = json.loads(capsys.readouterr().out)
        sound = [report["where"] for report in found if report["keeps_contract"]]
        assert sound == (["sample BTC/USDT"] if len(bad) > 1 else [])
        refused = {report["where"]: report["refused"] for report in found if "refused" in report}
        assert refused.keys() == {str(path.with_name("series.json")) for path in bad}
        assert all(any(error.startswith(f"{path}: ") for error in refused.values()) for path in bad)
        assert main(["data", "check", *names]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.startswith(f"{path}: ") for line in lines for path in bad) == len(bad)
    assert main(["data", "check", "--symbol", "BTC/USDT"]) == 0
