"""Files of bars as exchanges, data vendors and spreadsheets write them."""

from __future__ import annotations

import gzip
import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError, DataError, PeakTradeError
from peak_trade.core.time import Timeframe, to_ns
from peak_trade.data.importing import check_file, import_file
from peak_trade.data.reading import ReadOptions, read_raw
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import load_bars
from tests.examples import examples, mostly_long

HOUR = Timeframe.parse("1h")
N = 30
BARS = sample_bars("BTC/USDT", n_bars=N)
SECONDS = [int(each) for each in (BARS.times - HOUR.ns) // 10**9]
OPEN, HIGH, LOW, CLOSE, VOLUME = (column.tolist() for column in BARS.frame.round(2).to_numpy().T)
TURNOVER = [close * volume for close, volume in zip(CLOSE, VOLUME, strict=True)]
EXPECTED = np.column_stack([OPEN, HIGH, LOW, CLOSE, VOLUME])
DAYS = pd.to_datetime(pd.Series(SECONDS) + 20 * 86_400, unit="s")
"""Times on days of the month above 12, so that the day and the month can be told apart."""
OLDEST_FIRST = range(N)
NEWEST_FIRST = range(N - 1, -1, -1)


def csv_of(header, row, rows=OLDEST_FIRST, sep=","):
    body = "\n".join(sep.join(map(str, row(place))) for place in rows)
    return (f"{header}\n" if header else "") + body + "\n"


def ohlcv(place):
    return OPEN[place], HIGH[place], LOW[place], CLOSE[place], VOLUME[place]


def european(number):
    return f"{number:,.2f}".replace(",", "_").replace(".", ",").replace("_", ".")


def zipped(name, content):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("__MACOSX/._x", "")
        archive.writestr(name, content)
    return target.getvalue()


def frame(index=None):
    columns = ["open", "high", "low", "close", "volume"]
    return pd.DataFrame(EXPECTED, columns=columns, index=pd.to_datetime(SECONDS, unit="s", utc=True).rename(index))


def written(method, **how):
    target = io.BytesIO()
    getattr(frame("date").reset_index(), method)(target, **how)
    return target.getvalue()


def binance(unit, place):
    last = SECONDS[place] * unit + 3_600 * unit - 1
    return SECONDS[place] * unit, *ohlcv(place), last, TURNOVER[place], 9, 1.0, 2.0, 0


def two_levels(first, second):
    body = csv_of("", lambda place: (pd.Timestamp(SECONDS[place], unit="s"), *ohlcv(place)))
    return f"{first}\n{second}\nDate,,,,,\n{body}"


PLAIN = "time,open,high,low,close,volume"
LIST = [[SECONDS[place] * 1_000, *ohlcv(place)] for place in OLDEST_FIRST]
FORMATS = {
    "binance-zip-microseconds": (
        zipped("BTCUSDT-1h.csv", csv_of("", lambda place: binance(10**6, place))),
        {"stamp": None},
        "microseconds since 1970",
    ),
    "binance-two-units": (
        csv_of("", lambda place: binance(10**3 if place < 20 else 10**6, place)),
        {},
        "milliseconds and, first in line 21, microseconds since 1970",
    ),
    "binance-headers-in-between": (
        csv_of(PLAIN, lambda place: (SECONDS[place], *ohlcv(place)))
        + csv_of(PLAIN, lambda place: (SECONDS[place], *ohlcv(place)), range(0)),
        {},
        "",
    ),
    "binance-last-millisecond": (
        csv_of("", lambda place: binance(10**3, place)),
        {"stamp": "close"},
        "times are the last millisecond of each bar, moved to its close",
    ),
    "kraken": (csv_of("", lambda place: (SECONDS[place], *ohlcv(place), 5)), {}, "no header"),
    "cryptodatadownload": (
        "https://www.example.com\n"
        + csv_of(
            "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT,tradecount",
            lambda place: (SECONDS[place], "noon", "BTC/USDT", *ohlcv(place), TURNOVER[place], 7),
            NEWEST_FIRST,
        ),
        {},
        "newest first, sorted",
    ),
    "date-that-does-not-parse": (
        csv_of("Date,Unix Timestamp,Open,High,Low,Close,Volume", lambda p: ("noon", SECONDS[p], *ohlcv(p))),
        {},
        "time = Unix Timestamp",
    ),
    "huobi": (
        csv_of("timestamp,open,close,low,high,amount,vol,count",
               lambda p: (SECONDS[p], OPEN[p], CLOSE[p], LOW[p], HIGH[p], VOLUME[p], TURNOVER[p], 5)),
        {},
        "volume = amount (close × amount ≈ vol)",
    ),
    "okx-contracts": (
        csv_of("ts,o,h,l,c,vol,volCcy,volCcyQuote,confirm",
               lambda p: (SECONDS[p], *ohlcv(p)[:4], 100 * VOLUME[p], VOLUME[p], TURNOVER[p], 1)),
        {},
        "volume = volCcy (close × volCcy ≈ volCcyQuote)",
    ),
    "ten-columns": (
        csv_of("", lambda p: (SECONDS[p], *ohlcv(p), 1.0, 2.0, TURNOVER[p], 304), sep="|"),
        {"separator": "|", "columns": {"time": "1"}},
        "volume = volume (close × volume ≈ quote_volume)",
    ),
    "numbered-columns": (
        csv_of("", lambda p: (0, SECONDS[p], *ohlcv(p), 0, 0, 0, 0, 0), sep="!"),
        {"separator": "!", "columns": dict(zip(PLAIN.split(","), "234567", strict=True))},
        "time = column 2",
    ),
    "yfinance": (
        two_levels("Price,Open,High,Low,Close,Volume", "Ticker,BTC-USD,BTC-USD,BTC-USD,BTC-USD,BTC-USD"),
        {},
        "time = Date",
    ),
    "yfinance-by-ticker": (
        two_levels("Ticker,BTC-USD,BTC-USD,BTC-USD,BTC-USD,BTC-USD", "Price,Open,High,Low,Close,Volume"),
        {},
        "time = Date",
    ),
    "excel": (
        b"\xef\xbb\xbf" + csv_of("Date;Open;High;Low;Close;Volume", lambda p: (
            f"{DAYS[p]:%d.%m.%Y %H:%M}", *map(european, ohlcv(p))), sep=";").replace("\n", "\r\n").encode(),
        {},
        "decimal comma",
    ),
    "excel-utf-16": (
        ("sep=;\n" + csv_of(PLAIN.replace(",", ";"), lambda p: (SECONDS[p], *map(european, ohlcv(p))), sep=";")).encode(
            "utf-16"
        ),
        {},
        "decimal comma",
    ),
    "commas-of-thousands": (
        csv_of(PLAIN, lambda p: (SECONDS[p], *(f'"{each:,.2f}"' for each in ohlcv(p)))),
        {},
        "commas of thousands",
    ),
    "day-first": (
        csv_of(PLAIN, lambda p: (f"{DAYS[p]:%d/%m/%Y %H:%M}", *ohlcv(p))), {}, "%d/%m/%Y %H:%M"
    ),
    "month-first-am-pm": (
        csv_of(PLAIN, lambda p: (f"{DAYS[p]:%m/%d/%Y %I:%M %p}", *ohlcv(p))), {}, "%m/%d/%Y %I:%M %p"
    ),
    "stated-format": (
        csv_of(PLAIN, lambda p: (f"{pd.Timestamp(SECONDS[p], unit='s'):%d/%m/%Y %H:%M}", *ohlcv(p))),
        {"time_format": "%d/%m/%Y %H:%M"},
        "%d/%m/%Y %H:%M",
    ),
    "date-and-time": (
        csv_of("Date,Time,Open,High,Low,Close,Volume",
               lambda p: (f"{DAYS[p]:%m/%d/%Y}", f"{DAYS[p]:%H:%M:%S}", *ohlcv(p))),
        {},
        "time = Date and Time",
    ),
    "metatrader": (csv_of("", lambda p: (f"{DAYS[p]:%Y.%m.%d}", f"{DAYS[p]:%H:%M}", *ohlcv(p))), {}, "date and time"),
    "compact-date-and-time": (
        csv_of("<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>",
               lambda p: (f"{DAYS[p]:%Y%m%d}", int(f"{DAYS[p]:%H%M%S}"), *ohlcv(p))),
        {},
        "time = <DATE> and <TIME>",
    ),
    "pandas-index": (written("to_csv", index=False).replace(b"date,", b",", 1), {}, "the unnamed column"),
    "gzip": (gzip.compress(csv_of(PLAIN, lambda p: (SECONDS[p], *ohlcv(p))).encode()), {}, ""),
    "feather": (written("to_feather"), {}, "Feather"),
    "freqtrade-json": (json.dumps(LIST).encode(), {}, "JSON"),
    "freqtrade-json-gzip": (gzip.compress(json.dumps(LIST).encode()), {}, "JSON"),
    "coinbase-json": (
        json.dumps([[SECONDS[p], LOW[p], HIGH[p], OPEN[p], CLOSE[p], VOLUME[p]] for p in NEWEST_FIRST]).encode(),
        {},
        "columns taken as time low high open close volume",
    ),
    "kraken-json": (
        json.dumps({"error": [], "result": {"X": [[SECONDS[p], *map(str, ohlcv(p)), 1] for p in range(N)]}}).encode(),
        {},
        "JSON",
    ),
    "json-objects": (written("to_json", orient="records", date_format="iso"), {}, "time = date"),
    "json-columns": (
        json.dumps({"s": "ok", "t": SECONDS, "o": OPEN, "h": HIGH, "l": LOW, "c": CLOSE, "v": VOLUME}).encode(),
        {},
        "time = t",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", mostly_long(FORMATS, 6))
def test_every_format_gives_the_same_bars_and_states_how_it_was_read(tmp_path, name):
    content, given_, said = FORMATS[name]
    path = tmp_path / "bars.dat"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    how = dict(given_)
    stamp = how.pop("stamp", "open")
    raw = read_raw(path, "BTC/USDT", stamp, ReadOptions(**how))
    np.testing.assert_allclose(raw.values, EXPECTED, rtol=1e-12)
    report = check_file(path, HOUR, stamp, "BTC/USDT", ReadOptions(**how))
    assert report.keeps_contract
    assert not report.gaps
    assert (np.diff(raw.stamps) == HOUR.ns).all()
    if raw.stamps[0] < to_ns(DAYS[0].tz_localize("UTC")):
        first = raw.stamps[0] if stamp != "close" else raw.stamps[0] + 1_000_000 - HOUR.ns
        assert first == SECONDS[0] * 10**9
    moved = [] if stamp != "close" else ["times are the last millisecond of each bar, moved to its close"]
    assert said in "; ".join([*raw.said, *moved])


def outcome_of(path, n_rows_per_chunk, **how):
    """Return how a file is read in chunks of rows, or the error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peak_trade.data.tables._ROWS_PER_CHUNK", n_rows_per_chunk)
        patch.setattr("peak_trade.data.stamps._BLOCK", n_rows_per_chunk)
        stamp = how.pop("stamp", "open")
        try:
            raw = read_raw(path, "BTC/USDT", stamp, ReadOptions(**how))
        except PeakTradeError as error:
            return str(error)
        return raw.values.tobytes(), raw.stamps.tolist(), raw.rows.tolist(), raw.said, raw.columns, raw.n_skipped


@pytest.mark.parametrize(
    ("n_rows", "name"),
    [*mostly_long([(7, name) for name in FORMATS], 3), *mostly_long([(1, name) for name in FORMATS], 1)],
)
def test_a_file_that_is_read_in_chunks_gives_the_same(tmp_path, name, n_rows):
    content, how, _ = FORMATS[name]
    path = tmp_path / "bars.dat"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert outcome_of(path, n_rows, **how) == outcome_of(path, 1_000, **how)


@given(
    order=st.sampled_from([OLDEST_FIRST, NEWEST_FIRST]),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    point=st.sampled_from([str, lambda each: str(each).replace(".", ","), european]),
    unit=st.sampled_from([1, 10**3, 10**6, 10**9]),
    change=st.integers(1, N - 1),
    packed=st.sampled_from([lambda content: content, gzip.compress, lambda content: zipped("x.csv", content)]),
    names=st.permutations(range(6)),
)
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_order_separator_decimal_unit_compression_and_columns_do_not_matter(
    tmp_path, order, separator, point, unit, change, packed, names
):
    """The unit of time may change within the file, and columns may come in any order."""
    header = PLAIN.split(",")

    def row(place):
        scale = 1 if place < change else unit
        cells = [str(SECONDS[place] * scale), *(point(each) for each in ohlcv(place))]
        return [f'"{cells[at]}"' for at in names]

    path = tmp_path / "bars"
    content = csv_of(separator.join(header[at] for at in names), row, order, separator)
    path.write_bytes(packed(content.encode()))
    raw = read_raw(path, "BTC/USDT", "open")
    np.testing.assert_array_equal(raw.values, EXPECTED)
    assert raw.stamps.tolist() == [each * 10**9 for each in SECONDS]


GOOD = csv_of(PLAIN, lambda place: (SECONDS[place], *ohlcv(place))).encode()
HALF = len(GOOD) // 2
MARK = "Ж"


@given(
    st.sampled_from([GOOD, json.dumps(LIST).encode(), csv_of("", lambda p: binance(1_000, p)).encode()]),
    st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 400), st.binary(max_size=8)), max_size=3),
    st.sampled_from([b"", MARK.encode() * 3_000, b"," * 500, b"\0", b'"', b"[" * 3_000, b"\n" + MARK.encode() * 400]),
    st.integers(0, 2_000),
)
@example(b"[" * 100_000, [], b"", 0)
@example(GOOD, [], b"," + MARK.encode() * 3_000, GOOD.index(b"\n"))
@example(GOOD, [], MARK.encode() * 3_000, GOOD.index(b"time") + 2)
@example(GOOD, [], PLAIN.encode() + b"\n", GOOD.index(b"\n", HALF) + 1)
@example(GOOD, [], b"x", GOOD.index(b"\n", HALF) - 1)
@example(GOOD, [], b"1,2,3,4,5,6,7\n", GOOD.index(b"\n", HALF) + 1)
@example(GOOD, [], b"\n\n", GOOD.index(b"\n", HALF) + 1)
@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused_in_one_short_line(tmp_path, content, edits, insertion, place):
    for start, length, new in edits:
        content = content[:start] + new + content[start + length :]
    content = content[:place] + insertion + content[place:]
    path = tmp_path / "bars.csv"
    path.write_bytes(content)
    assert outcome_of(path, 8) == outcome_of(path, 1_000)
    try:
        check_file(path, HOUR, "open", "BTC/USDT")
    except PeakTradeError as refusal:
        text = str(refusal)
        assert text.startswith(str(path))
        assert "\n" not in text
        assert text.count(MARK) <= 200
        assert len(text) <= len(str(path)) + 450


def test_the_clock_leaves_out_the_open_bar_and_a_longer_file_replaces_it(home, tmp_path, capsys):
    path, now = tmp_path / "bars.csv", SECONDS[-1] * 10**9 + HOUR.ns // 2
    path.write_bytes(GOOD)
    done = import_file(path, "BTC/USDT", HOUR, "binance", "open", clock=lambda: now)
    assert (done.n_rows, done.open_bars) == (N - 1, (int(BARS.times[-1]),))
    assert done.said[-1] == "1 open bar left out, it closes at 2023-01-02 06:00:00Z"
    assert check_file(path, HOUR, "open", clock=lambda: now).n_bars == N - 1
    path.write_text(csv_of(PLAIN, lambda p: (SECONDS[p], *ohlcv(p)[:4], 7.0 if p == N - 2 else VOLUME[p])))
    with pytest.raises(DataError, match=r"stored with volume .*pass --replace to keep the new bars"):
        import_file(path, "BTC/USDT", HOUR, "binance", "open")
    done = import_file(path, "BTC/USDT", HOUR, "binance", "open", replace=True)
    assert (done.saved.n_added, done.saved.n_replaced, done.saved.n_known) == (1, 1, N - 2)
    assert load_bars("BTC/USDT", "1h").frame["volume"].iloc[N - 2] == 7.0
    with pytest.raises(DataError, match=r"line 3 .*the bar closes after now, 2023-01-01 00:00:00Z\. Check the time"):
        import_file(path, "BTC/USDT", HOUR, "binance", "open", clock=lambda: SECONDS[0] * 10**9)
    path.write_text(csv_of(PLAIN, lambda p: (SECONDS[p], *ohlcv(p)), range(1)))
    with pytest.raises(DataError, match="every bar is still open"):
        import_file(path, "BTC/USDT", HOUR, "binance", "open", clock=lambda: SECONDS[0] * 10**9 + 1)


def test_days_that_close_at_another_hour_need_their_anchor(home, tmp_path, capsys):
    path = tmp_path / "bars.csv"
    path.write_text(csv_of(PLAIN, lambda p: (SECONDS[0] + (24 * p + 16) * 3_600, *ohlcv(p))))
    line = ["data", "import", str(path), "--symbol", "BTC/USDT", "--timeframe", "1d", "--exchange", "okx"]
    assert main([*line, "--stamp", "open"]) == 2
    assert "or pass --anchor 16:00" in capsys.readouterr().err
    assert main([*line, "--stamp", "open", "--anchor", "16:00"]) == 0
    assert main(["data", "check"]) == 0
    assert "30 bars of 1d" in capsys.readouterr().out
    path.write_text(csv_of(PLAIN, lambda p: (SECONDS[0] + (24 * p + 24 * N) * 3_600, *ohlcv(p))))
    assert main([*line, "--stamp", "open"]) == 2
    assert "not whole multiples of 1d apart. Nothing was written" in capsys.readouterr().err
    assert main([*line, "--stamp", "open", "--anchor", "25:00"]) == 2
    assert "write a time of the day in UTC, such as 16:00" in capsys.readouterr().err


def test_rows_without_prices_are_left_out_on_request_and_become_gaps(home, tmp_path, capsys):
    path = tmp_path / "bars.csv"
    path.write_text(csv_of(PLAIN, lambda p: (SECONDS[p], *(["NaN"] * 5 if p in (4, 5, 9) else ohlcv(p)))))
    line = ["data", "import", str(path), "--symbol", "BTC/USDT", "--timeframe", "1h", "--exchange", "x"]
    assert main([*line, "--stamp", "open"]) == 2
    assert "open was empty, not a number. Pass --skip-empty to leave out the 3 rows" in capsys.readouterr().err
    assert main([*line, "--stamp", "open", "--skip-empty", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["n_rows"], shown["n_skipped"], shown["n_missing"]) == (27, 3, 3)


def test_one_line_states_every_decision(home, tmp_path, capsys):
    path = tmp_path / "bars.csv"
    path.write_text(
        csv_of(
            "ts;o;h;l;c;amount;vol",
            lambda p: (SECONDS[p] * 1_000, *(str(each).replace(".", ",") for each in (*ohlcv(p), TURNOVER[p]))),
            NEWEST_FIRST,
            ";",
        )
    )
    line = ["data", "import", str(path), "--symbol", "BTC/USDT", "--timeframe", "1h", "--exchange", "x"]
    assert main([*line, "--stamp", "open"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        f"{path}: 30 bars; CSV with the separator semicolon; time = ts (milliseconds since 1970, UTC); "
        "volume = amount (close × amount ≈ vol); decimal comma; newest first, sorted; open = o; high = h; low = l; "
        "close = c; times are the open of each bar."
    )


@pytest.mark.long
def test_bars_without_volume_are_imported_on_request_and_never_mixed(home, tmp_path, capsys):
    path = tmp_path / "bars.csv"
    path.write_text(csv_of("time,open,high,low,close", lambda p: (SECONDS[p], *ohlcv(p)[:4])))
    line = ["data", "import", str(path), "--symbol", "BTC/USDT", "--timeframe", "1h", "--exchange", "tv"]
    assert main([*line, "--stamp", "open"]) == 2
    assert "Pass --column volume=NAME, or --no-volume" in capsys.readouterr().err
    for _ in range(2):
        assert main([*line, "--stamp", "open", "--no-volume"]) == 0
    assert "0 bars added, 30 already stored" in capsys.readouterr().out
    bars = load_bars("BTC/USDT", "1h")
    assert not bars.has_volume
    assert bars.frame["volume"].isna().all()
    path.write_bytes(GOOD)
    assert main([*line, "--stamp", "open", "--replace"]) == 2
    assert "only the new bars have a volume. Nothing was written" in capsys.readouterr().err
    assert main(["backtest", "--strategy", "buy_and_hold", "--symbol", "BTC/USDT", "--no-record"]) == 0
    assert "the limit of 10% of a bar's volume can not work, and its fills take any size" in capsys.readouterr().out
    (tmp_path / "run.toml").write_text("[risk]\nmax_drawdown = 0.5\n")
    line = ["backtest", "--strategy", "buy_and_hold", "--symbol", "BTC/USDT", "--no-record"]
    assert main([*line, "--config", str(tmp_path / "run.toml")]) == 2
    assert "tv BTC/USDT 1h has no volume: the gates missing_data, " in capsys.readouterr().err
    line = ["session", "run", "--feed", "recorded", "--symbol", "BTC/USDT", "--timeframe", "1h", "--no-record"]
    assert main([*line, "--strategy", "buy_and_hold", "--json"]) == 0
    session = json.loads(capsys.readouterr().out)
    assert session["status"]["n_fills"] == 1
    assert main(["replay", "--session", session["session_id"]]) == 0


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"volume": "nope"}, r"--column volume=nope: there is no such column\. The columns are time, open"),
        ({"price": "close"}, r"--column price=close: price is not one of date, time, open"),
        ({"close": "7"}, "there is no such column"),
    ],
    ids=["unknown-column", "unknown-key", "number-too-large"],
)
def test_a_column_that_is_not_there_is_refused(tmp_path, chosen, sentence):
    (tmp_path / "bars.csv").write_bytes(GOOD)
    with pytest.raises(ConfigError, match=sentence):
        read_raw(tmp_path / "bars.csv", options=ReadOptions(columns=chosen))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "holds 0 files"),
        (["a.csv", "b.csv"], r"holds 2 files \(a.csv, b.csv\)"),
        (["[Content_Types].xml"], "Excel workbook. Save its sheet as CSV"),
    ],
    ids=["none", "two", "excel"],
)
def test_a_zip_file_must_hold_one_file(tmp_path, names, sentence):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in names:
            archive.writestr(name, GOOD)
    sentence = (
        "Excel workbook. Save its sheet as CSV" if "[" in str(names[:1]) and names and "[" in names[0] else "files"
    )
    with pytest.raises(DataError, match=sentence):
        read_raw(tmp_path / "x.zip")


def test_a_stored_series_is_removed_with_its_empty_folders(home, tmp_path, capsys):
    (tmp_path / "bars.csv").write_bytes(GOOD)
    import_file(tmp_path / "bars.csv", "BTC/USDT", HOUR, "binance", "open")
    line = ["data", "remove", "--symbol", "BTC/USDT", "--timeframe"]
    assert main([*line, "4h"]) == 2
    assert "only at 1h" in capsys.readouterr().err
    assert main([*line, "1h"]) == 0
    assert "binance BTC/USDT 1h: 30 bars removed, digest" in capsys.readouterr().out
    assert [path.name for path in (home / "bars").iterdir()] == [".lock"]
    assert main([*line, "1h"]) == 2
