from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import Timeframe
from peak_trade.data.importing import check_file, import_file
from peak_trade.data.numbers import read_numbers
from peak_trade.data.quality import FaultKind
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import list_bars, load_bars
from tests.examples import mostly_long

HOUR = Timeframe.parse("1h")
BARS = sample_bars("BTC/USDT", n_bars=30)
OPENS = BARS.times - HOUR.ns
HEADER = "timestamp,open,high,low,close,volume"


def table(times):
    frame = BARS.frame.reset_index(drop=True)
    frame.insert(0, "timestamp", times)
    return frame


def lines(*rows):
    return "\n".join([HEADER, *rows]) + "\n"


def take(path, stamp="open", **more):
    return import_file(path, "BTC/USDT", HOUR, "binance", stamp, **more)


def aware():
    return pd.DatetimeIndex(OPENS).tz_localize("UTC")


WAYS_TO_WRITE_TIME = {
    "seconds": (lambda: OPENS // 10**9, "seconds since 1970"),
    "seconds-float": (lambda: (OPENS // 10**9).astype(float), "seconds since 1970"),
    "ms": (lambda: OPENS // 10**6, "milliseconds"),
    "us": (lambda: OPENS // 10**3, "microseconds"),
    "ns": (lambda: OPENS, "nanoseconds"),
    "iso-z": (lambda: aware().strftime("%Y-%m-%dT%H:%M:%SZ"), "its own offset"),
    "iso-offset": (lambda: aware().tz_convert("Asia/Tokyo").strftime("%Y-%m-%d %H:%M:%S%z"), "its own offset"),
    "iso-naive": (lambda: aware().strftime("%Y-%m-%d %H:%M"), "taken as UTC"),
    "datetime-aware": (lambda: aware().tz_convert("America/New_York"), "America/New_York"),
    "datetime-naive": (lambda: aware().tz_localize(None).as_unit("ms"), "taken as UTC"),
}


@pytest.mark.parametrize("suffix", mostly_long(["csv", "parquet"], 1))
@pytest.mark.parametrize("way", mostly_long(WAYS_TO_WRITE_TIME, 6))
def test_every_way_to_write_time_gives_the_same_bars(home, tmp_path, way, suffix):
    times, said = WAYS_TO_WRITE_TIME[way]
    path = tmp_path / f"bars.{suffix}"
    frame = table(times())
    if suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    done = take(path)
    assert suffix == "csv" or said in done.time_unit
    assert load_bars("BTC/USDT", "1h").times.tolist() == BARS.times.tolist()
    pd.testing.assert_frame_equal(load_bars("BTC/USDT", "1h").frame, BARS.frame, rtol=1e-12, check_freq=False)


@pytest.mark.parametrize(
    "names",
    [
        ["Date", "Open", "High", "Low", "Close", "Volume"],
        ["open_time", "o", "h", "l", "c", "v"],
        ["Unix Timestamp", "OPEN", "HIGH", "LOW", "CLOSE", "Volume (BTC)"],
    ],
    ids=["capitals", "letters", "volume-of-base"],
)
@pytest.mark.parametrize("separator", mostly_long([",", ";", "\t"], 1), ids=["comma", "semicolon", "tab"])
def test_usual_column_names_are_recognised_and_stated(home, tmp_path, names, separator):
    path = tmp_path / "bars.csv"
    table(OPENS // 10**6).set_axis(names, axis=1).to_csv(path, index=False, sep=separator)
    assert list(take(path).columns.values()) == names
    assert load_bars("BTC/USDT", "1h").frame["volume"].tolist() == BARS.frame["volume"].tolist()


def test_a_file_without_a_header_is_read_as_binance_writes_it(home, tmp_path):
    frame = table(OPENS // 10**6)
    frame["close_time"] = BARS.times // 10**6 - 1
    for name in ("quote", "trades", "taker_base", "taker_quote", "ignore"):
        frame[name] = 0
    frame.to_csv(tmp_path / "bars.csv", index=False, header=False)
    done = take(tmp_path / "bars.csv", stamp=None)
    assert (done.stamp, done.columns["time"]) == ("open", "open_time")
    assert load_bars("BTC/USDT", "1h").times.tolist() == BARS.times.tolist()


@pytest.mark.parametrize(("odd_row", "n_read"), [(None, 750), (1, 3_000)], ids=["clear", "one-row-decides"])
def test_a_layout_is_judged_on_a_part_of_the_rows_unless_these_fit_two(home, tmp_path, monkeypatch, odd_row, n_read):
    """Flat bars fit every layout; the bar that is not flat has its close in the third column."""
    read = []
    monkeypatch.setattr(
        "peak_trade.data.columns.read_numbers",
        lambda columns, *rest: read.append(len(columns[0])) or read_numbers(columns, *rest),
    )
    flat, moving = "10,10,10,10,5", "10,12,13,9,5"
    rows = [moving if odd_row in (None, place) else flat for place in range(3_000)]
    path = tmp_path / "bars.csv"
    path.write_text("".join(f"{3_600 * (400_000 + place)},{row}\n" for place, row in enumerate(rows)))
    done = import_file(path, "BTC/USDT", HOUR, "kucoin", "open")
    bars = load_bars("BTC/USDT", "1h")
    assert bars.frame.iloc[1].tolist() == [10.0, 13.0, 9.0, 12.0, 5.0]
    assert any("open close high low volume" in each for each in done.said)
    assert max(read) == n_read


def test_a_line_before_the_header_and_blank_lines_at_the_end_are_passed_over(home, tmp_path):
    body = table(OPENS // 10**9).to_csv(index=False)
    (tmp_path / "bars.csv").write_text(f"https://www.example.com\n{body}\n\n", encoding="utf-8-sig")
    assert take(tmp_path / "bars.csv").n_rows == 30


def test_a_parquet_file_may_carry_time_in_its_index(home, tmp_path):
    table(aware()).set_index("timestamp").to_parquet(tmp_path / "bars.parquet")
    assert take(tmp_path / "bars.parquet").saved.n_added == 30


def test_stamp_says_whether_a_time_opens_or_closes_its_bar(home, tmp_path):
    table(BARS.times // 10**9).to_csv(tmp_path / "bars.csv", index=False)
    take(tmp_path / "bars.csv", stamp="close")
    assert load_bars("BTC/USDT", "1h").times.tolist() == BARS.times.tolist()


def test_importing_again_changes_nothing_and_a_longer_file_adds_the_rest(home, tmp_path):
    frame = table(OPENS // 10**9)
    frame[:20].to_csv(tmp_path / "first.csv", index=False)
    frame.to_csv(tmp_path / "all.csv", index=False)
    assert take(tmp_path / "first.csv").saved.n_added == 20
    again = take(tmp_path / "first.csv").saved
    assert (again.n_added, again.n_known) == (0, 20)
    longer = take(tmp_path / "all.csv").saved
    assert (longer.n_added, longer.n_known, longer.series.n_bars) == (10, 20, 30)


GOOD = [f"{1704067200 + 3600 * hour},10,11,9,10.5,1" for hour in range(12)]
FIVE = "1704067200,10,11,9,10.5,1"
BAD_FILES = {
    "missing-column": (
        b"timestamp,open,high,low,close\n1,2,3,4,5\n",
        r"no column for volume; the columns are timestamp",
    ),
    "no-time-column": (b"foo,open,high,low,close,volume\n1,2,3,4,5,6\n", r"no column for time;.*Name it timestamp"),
    "two-columns-alike": (b"time,open,Open,high,low,close,volume\n", r"columns open and Open could both be open"),
    "empty": (b"", r"the file is empty"),
    "header-only": (HEADER.encode(), r"a header and no rows"),
    "prose": (b"Dear Sir or Madam,\nplease find enclosed\n", r"the file begins 'Dear Sir"),
    "binary": (b"\xff\xfe\x00\x81,,,,,,\n\x99", r"neither UTF-8 text nor Parquet"),
    "broken-zip": (b"PK\x03\x04zip", r"could not be unpacked .*Unpack it first"),
    "broken-gzip": (b"\x1f\x8b\x08 cut", r"could not be unpacked"),
    "other-compression": (b"BZh91AY&SY", r"this compression can not be read\. Unpack the file"),
    "json-without-bars": (b'{"error": [], "result": {"last": 3}}', r"the JSON holds 0 lists of bars"),
    "broken-json": (b"[[1704067200, 10, 11,", r"could not be read as JSON \(line 1, column"),
    "garbled-parquet": (b"PAR1 this is not", r"could not be read as Parquet"),
    "duplicate": (
        lines(GOOD[0], GOOD[1], GOOD[1]),
        r"line 4 \(2024-01-01 01:00:00Z\): the time appears in line 3 already",
    ),
    "backwards": (lines(GOOD[2], GOOD[1], GOOD[3]), r"line 3.*is before that of line 2.*Sort the rows"),
    "off-grid": (lines(GOOD[0], "1704070801,10,11,9,10.5,1"), r"line 3.*not on the grid of 1h.*--timeframe"),
    "nan": (lines(GOOD[0], "1704070800,10,NaN,9,10.5,1"), r"line 3.*high was empty, not a number"),
    "text-price": (lines(GOOD[0], "1704070800,10,eleven,9,10.5,1"), r"line 3.*high was 'eleven', not a number"),
    "empty-price": (lines(GOOD[0], "1704070800,10,11,9,,1"), r"line 3.*close was empty"),
    "infinite": (lines("1704070800,10,inf,9,10,1"), r"line 2.*high was 'inf', not a number"),
    "negative-price": (lines(GOOD[0], "1704070800,10,11,-9,10.5,1"), r"line 3.*low was -9, not above zero"),
    "zero-price": (lines("1704070800,0,11,0,10.5,1"), r"line 2.*open was 0, not above zero"),
    "two-faults": (
        lines(GOOD[1], GOOD[0], "1704074400,0,1,0,1,1"),
        r"line 3.*Sort the rows.*\(1 more: see `peak-trade",
    ),
    "negative-volume": (lines(GOOD[0], "1704070800,10,11,9,10.5,-1"), r"line 3.*volume was -1, below zero"),
    "high-below-low": (lines("1704070800,10,8,9,10.5,1"), r"line 2.*open 10, high 8, low 9, close 10.5 contradict"),
    "empty-time": (lines(GOOD[0], ",10,11,9,10.5,1"), r"line 3: the time was empty"),
    "time-is-text": (lines(GOOD[0], "noon,10,11,9,10.5,1"), r"line 3: the time was 'noon', not a number as above"),
    "no-such-day": (lines("2024-02-30,10,11,9,10.5,1"), r"line 2: the time was '2024-02-30'.*Write ISO dates"),
    "no-volume-at-all": (lines("1704067200,10,11,9,10.5,"), r"no row has a volume\. Pass --no-volume"),
    "day-or-month-first": (
        lines("01/02/2024 10:00,10,11,9,10.5,1", "01/02/2024 11:00,10,11,9,10.5,1"),
        r"such as '01/02/2024 10:00', may be of the format '%d/%m/%Y %H:%M' or '%m/%d/%Y %H:%M'\. Pass --time-format",
    ),
    "day-and-month-first": (
        lines("13/02/2024,10,11,9,10.5,1", "02/14/2024,10,11,9,10.5,1"),
        r"line 3: the time was '02/14/2024', not of the format %d/%m/%Y as above",
    ),
    "commas-of-either-kind": (
        lines('1704067200,"1,200","1,300","1,100","1,250","2,000"'),
        r"the comma of '1,\d+' may separate decimals or thousands",
    ),
    "two-symbols": (
        "time,symbol,open,high,low,close,volume\n1704067200,BTC,1,1,1,1,1\n1704067200,ETH,1,1,1,1,1\n",
        r"column symbol names 2 symbols \(BTC, ETH\)",
    ),
    "turnover-only": (b"time,open,high,low,close,turnover\n1704067200,1,1,1,1,1\n", r"named as turnover in quote"),
    "two-volumes": (
        "time,open,high,low,close,amount,vol\n1704067200,2,2,2,2,5,5\n1704070800,2,2,2,2,5,5\n",
        r"columns amount and vol could both be the volume in base units: close × one is not the other",
    ),
    "volume-named-wrongly": (
        "time,open,high,low,close,volume,quote_volume\n1704067200,4,4,4,4,20,5\n1704070800,4,4,4,4,40,10\n",
        r"columns volume and quote_volume could both .*: the numbers contradict the names\. Pass --column volume=NAME",
    ),
    "columns-without-names": (
        "\n".join(",".join([f"{1704067200 + 3600 * hour}"] + ["1"] * 10) for hour in range(3)),
        r"has 11 columns without names\. Number them: --column time=1",
    ),
    "mixed-zones": (
        lines("2024-01-01 00:00,1,1,1,1,1", "2024-01-01 01:00Z,1,1,1,1,1"),
        r"line 3: some times have an offset",
    ),
    "compact-date": (lines("20241301,10,11,9,10.5,1"), r"line 2: the time was '20241301', not of the format %Y%m%d"),
    "coarser-step": (
        lines(*GOOD[::2], *[f"{1704067200 + 7200 * n},1,1,1,1,1" for n in range(6, 12)]),
        r"multiple of 2h",
    ),
    "ragged": (lines(GOOD[0], FIVE + ",7,8"), r"could not be read as CSV .*line 3"),
}


@pytest.mark.parametrize("name", mostly_long(BAD_FILES, 8))
def test_a_bad_file_is_refused_in_one_line_that_names_file_and_place(home, tmp_path, capsys, name):
    content, sentence = BAD_FILES[name]
    path = tmp_path / "bad.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((ConfigError, DataError), match=sentence) as refused:
        take(path)
    assert str(refused.value).startswith(str(path))
    line = ["data", "import", str(path), "--symbol", "BTC/USDT", "--timeframe", "1h", "--exchange", "binance"]
    assert main([*line, "--stamp", "open"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"peak-trade: {refused.value}\n")
    assert "\n" not in str(refused.value)
    assert not home.exists()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.mkdir(), "this is a folder"),
        (lambda path: path.write_text(HEADER), "not a Parquet file despite its name"),
    ],
    ids=["missing", "folder", "misnamed"],
)
def test_what_is_no_file_of_bars_is_refused(home, tmp_path, make, sentence):
    path = tmp_path / "bars.parquet"
    make(path)
    with pytest.raises(DataError, match=sentence):
        take(path)


@pytest.mark.parametrize(
    ("column", "stamp", "sentence"),
    [
        ("timestamp", None, "may hold open times or close times.*Pass --stamp open"),
        ("open_time", "close", "column open_time holds open times, --stamp was close"),
    ],
    ids=["unsaid", "contradiction"],
)
def test_the_meaning_of_stamps_is_never_guessed(home, tmp_path, column, stamp, sentence):
    table(OPENS // 10**9).rename(columns={"timestamp": column}).to_csv(tmp_path / "bars.csv", index=False)
    with pytest.raises(ConfigError, match=sentence):
        take(tmp_path / "bars.csv", stamp)


def test_a_file_can_be_checked_before_it_is_imported(home, tmp_path, capsys):
    rows = [GOOD[0], GOOD[1], GOOD[1], "1704074401,10,11,9,10.5,1", "1704081600,10,9,9,10.5,0", GOOD[8]]
    path = tmp_path / "bars.csv"
    path.write_text(lines(*rows))
    report = check_file(path, HOUR, "open")
    assert [(fault.kind, fault.row) for fault in report.faults] == [
        (FaultKind.DUPLICATE, 2),
        (FaultKind.OFF_GRID, 3),
        (FaultKind.OHLC, 4),
    ]
    assert report.n_missing == 5
    assert main(["data", "check", str(path), "--timeframe", "1h", "--stamp", "open"]) == 1
    assert "3 faults" in capsys.readouterr().out
    assert list_bars() == []


def test_gaps_alone_fail_the_check_only_when_they_are_asked_to(home, tmp_path):
    path = tmp_path / "bars.csv"
    path.write_text(lines(*GOOD[:4], *GOOD[6:]))
    assert check_file(path).timeframe == HOUR
    assert main(["data", "check", str(path)]) == 0
    assert main(["data", "check", str(path), "--strict"]) == 1


@pytest.mark.parametrize("base", ["BTC", "ETH", "SOL"])
def test_the_real_hourly_files_import_with_their_gaps_named(home, real_data, base):
    path = real_data / "bars" / f"binance_{base}USDT_1h.parquet"
    done = import_file(path, f"{base}/USDT", HOUR, "binance", "open")
    assert (done.saved.n_added, len(done.gaps), sum(gap.n_missing for gap in done.gaps)) == (28_732, 10, 20)
    source = pd.read_parquet(path)
    bars = load_bars(f"{base}/USDT", "1h")
    assert bars.times[0] == source["timestamp"].iloc[0].value + HOUR.ns
    np.testing.assert_array_equal(bars.frame.to_numpy(), source[list(bars.frame.columns)].to_numpy())
