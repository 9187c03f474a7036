from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.lock import held_lock
from peak_trade.core.time import Timeframe
from peak_trade.data import store
from peak_trade.data.merging import merge
from peak_trade.data.store import find_series, list_bars, load_bars, save_bars, scan_store
from tests.examples import examples

HOUR = Timeframe.parse("1h")
START = pd.Timestamp("2024-01-01", tz="UTC")


def bars_at(hours, symbol="BTC/USDT", exchange="binance", shift=0.0):
    """Bars whose values depend only on their hour, so any two sets agree where they overlap."""
    hours = np.asarray(sorted(hours), dtype=np.int64)
    close = 100.0 + np.sin(hours) + shift
    frame = pd.DataFrame(
        {"open": close - 0.1, "high": close + 1 / 3, "low": close - 1 / 3, "close": close, "volume": hours / 7.0},
        index=pd.DatetimeIndex(START.value + hours * HOUR.ns, tz="UTC"),
    )
    return Bars(frame, symbol, HOUR, exchange)


hour_sets = st.sets(st.integers(0, 60), min_size=1, max_size=25)


@given(hour_sets)
@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bars_come_back_bit_for_bit(tmp_path_factory, hours):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(tmp_path_factory.mktemp("home")))
        bars = bars_at(hours)
        save_bars(bars)
        back = load_bars("BTC/USDT", "1h")
    pd.testing.assert_frame_equal(back.frame, bars.frame, check_exact=True, check_freq=False)
    assert back.digest() == bars.digest()


@given(hour_sets, hour_sets, hour_sets)
@settings(max_examples=examples(50), deadline=None)
def test_merging_commutes_associates_and_loses_nothing(first, second, third):
    a, b, c = bars_at(first), bars_at(second), bars_at(third)
    assert merge(a, b).digest() == merge(b, a).digest() == bars_at(first | second).digest()
    assert merge(merge(a, b), c).digest() == merge(a, merge(b, c)).digest()
    assert merge(a, a).digest() == a.digest()


@pytest.mark.smoke
def test_saving_again_changes_neither_file_nor_digest(home):
    first = save_bars(bars_at(range(10)))
    written = first.series.path.stat().st_mtime_ns
    again = save_bars(bars_at(range(5)))
    assert (first.n_added, first.n_known) == (10, 0)
    assert (again.n_added, again.n_known) == (0, 5)
    assert again.series == first.series
    assert first.series.path.stat().st_mtime_ns == written


def test_a_conflicting_overlap_is_refused_with_the_first_bar_that_differs(home):
    save_bars(bars_at(range(10)))
    before = load_bars("BTC/USDT", "1h").digest()
    frame = bars_at(range(5, 15)).frame.copy()
    frame.loc[START + pd.Timedelta(hours=7), "volume"] = 3.5
    frame.loc[START + pd.Timedelta(hours=9), "volume"] = 3.5
    with pytest.raises(DataError, match=r"2024-01-01 07:00:00Z is stored with volume 1, the new one has 3\.5 \(2 of 5"):
        save_bars(Bars(frame, "BTC/USDT", HOUR, "binance"))
    assert load_bars("BTC/USDT", "1h").digest() == before


def test_start_is_inclusive_and_end_exclusive_on_close_time(home):
    save_bars(bars_at(range(10)))
    bars = load_bars("BTC/USDT", "1h", start="2024-01-01T02:00", end="2024-01-01T05:00")
    assert [f"{time:%H}" for time in bars.frame.index] == ["02", "03", "04"]


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        ({"symbol": "BTC/USD"}, r"there are no bars of BTC/USD\. Did you mean BTC/USDT\?"),
        ({"symbol": "btcusdt"}, r"Did you mean BTC/USDT\?"),
        ({"timeframe": "4h"}, r"there are no bars of BTC/USDT at 4h, only at 1h"),
        ({"exchange": "binanse"}, r"there are no bars from exchange binanse\. Did you mean binance\?"),
        ({}, r"stored from binance and kraken\. Choose one with --exchange"),
        ({"exchange": "kraken", "start": "2030-01-01"}, r"no bar lies in the requested span"),
    ],
    ids=["symbol", "spelling", "timeframe", "exchange", "two-exchanges", "span"],
)
def test_what_is_not_held_is_answered_with_what_is(home, ask, sentence):
    save_bars(bars_at(range(3)))
    save_bars(bars_at(range(3), exchange="kraken"))
    with pytest.raises(DataError, match=sentence):
        load_bars(**{"symbol": "BTC/USDT", "timeframe": "1h", **ask})


def test_start_after_end_is_refused(home):
    save_bars(bars_at(range(3)))
    with pytest.raises(ConfigError, match="start must be before end"):
        load_bars("BTC/USDT", "1h", start="2024-01-02", end="2024-01-01")


def test_an_empty_store_says_how_to_fill_it(home):
    with pytest.raises(DataError, match=r"data import FILE.*data sample"):
        load_bars("BTC/USDT", "1h")
    assert list_bars() == []
    assert not home.exists()


@pytest.mark.parametrize(
    ("symbol", "exchange"), [("../x", "binance"), ("BTC/USDT", "../up"), ("btc/usdt", "binance")], ids=str
)
def test_names_that_are_no_names_are_refused(home, symbol, exchange):
    with pytest.raises(ConfigError, match="write"):
        save_bars(bars_at(range(3), symbol, exchange))
    assert not list(home.rglob("*.parquet"))


def test_a_store_that_another_process_writes_is_one_clear_line_after_a_short_wait(home, monkeypatch):
    save_bars(bars_at(range(3)))
    monkeypatch.setattr(store, "LOCK_WAIT_SECONDS", 0.05)
    with (
        held_lock(home / "bars" / ".lock", 0.0),
        pytest.raises(
            DataError, match=r"process \d+ \(.+\) has held the lock since .* \(waited 0\.05 s\)\. Nothing was"
        ),
    ):
        save_bars(bars_at(range(5)))
    assert len(load_bars("BTC/USDT", "1h")) == 3


@pytest.mark.parametrize("damage", [b"", b"PAR1 and nothing else"], ids=["emptied", "garbled"])
def test_a_damaged_file_is_named(home, damage):
    path = save_bars(bars_at(range(3))).series.path
    path.write_bytes(damage)
    with pytest.raises(DataError, match="this file of the store is damaged"):
        load_bars("BTC/USDT", "1h")


def test_a_failed_write_leaves_the_old_bars_and_no_litter(home, monkeypatch):
    import pyarrow.parquet as pq

    save_bars(bars_at(range(3)))

    def break_off(*_args, **_kwargs):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", break_off)
        with pytest.raises(DataError, match="no space left on device"):
            save_bars(bars_at(range(9)))
    assert len(load_bars("BTC/USDT", "1h")) == 3
    assert [path.suffix for path in sorted(home.rglob("*")) if path.is_file()] == ["", ".parquet", ".json"]


@pytest.mark.parametrize("place", ["binance/BTC-USDT/1h", "binance/ETH-USDT/4h", "kraken/ETH-USDT/1h"])
def test_a_file_at_the_place_of_another_series_is_refused_and_blocks_no_other(home, capsys, place):
    for symbol in ("ETH/USDT", "SOL/USDT"):
        save_bars(bars_at(range(3), symbol))
    copy = home / "bars" / place
    shutil.copytree(home / "bars/binance/ETH-USDT/1h", copy)
    exchange, folder, timeframe = place.split("/")
    with pytest.raises(DataError, match=rf"{place}.*has the bars of binance ETH/USDT 1h"):
        load_bars(folder.replace("-", "/"), timeframe, exchange)
    with pytest.raises(DataError, match=place):
        find_series(folder.replace("-", "/"), Timeframe.parse(timeframe), exchange, scan_store())
    assert load_bars("SOL/USDT", "1h").symbol == "SOL/USDT"
    (home / "bars/binance/SOL-USDT/2h.parquet").write_bytes(b"not a file of bars")
    (home / "bars/binance/SOL-USDT/4h").mkdir()
    (home / "bars/binance/SOL-USDT/4h/series.json").write_text("{}")
    assert main(["data", "list"]) == 1
    printed = capsys.readouterr()
    assert "SOL/USDT" in printed.out
    assert str(copy) in printed.err
    assert "SOL-USDT/2h.parquet: this file of the store is damaged" in printed.err
    assert "SOL-USDT/4h/series.json: this file of the store is damaged" in printed.err
