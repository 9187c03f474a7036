"""The files of a series: one digest for the same bars, old files, kills and damage."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars
from peak_trade.core.digest import digest_bytes
from peak_trade.core.errors import DataError
from peak_trade.core.time import Timeframe
from peak_trade.data import series
from peak_trade.data.store import bars_folder, list_bars, load_bars, remove_bars, save_bars, scan_store
from tests.examples import examples, mostly_long

MINUTE = Timeframe.parse("1m")
START = pd.Timestamp("2024-01-01", tz="UTC").value
N_BARS = 60
stretch_lengths = st.sampled_from([7, 16, 65_536])
quiet = settings(max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def minute_bars(minutes, symbol="BTC/USDT", notes=(), shift=0.0):
    """Return bars whose values depend only on their minute."""
    minutes = np.asarray(sorted(minutes), dtype=np.int64)
    close = 100.0 + np.sin(minutes) + shift
    values = {"open": close, "high": close + 1 / 3, "low": close - 1 / 3, "close": close, "volume": minutes / 7.0}
    index = pd.DatetimeIndex(START + minutes * MINUTE.ns, tz="UTC")
    return Bars(pd.DataFrame(values, index=index), symbol, MINUTE, "binance", notes)


def former_file(bars: Bars) -> Path:
    """Write bars as the first version of the store did."""
    columns = [np.ascontiguousarray(bars.frame[name].to_numpy()) for name in COLUMNS]
    header = f"{bars.symbol} {bars.timeframe} {bars.exchange}".encode()
    about = {
        "symbol": bars.symbol,
        "timeframe": str(bars.timeframe),
        "exchange": bars.exchange,
        "digest": digest_bytes(header, bars.times.tobytes(), *(column.tobytes() for column in columns)),
        "n_bars": len(bars),
        "first": int(bars.times[0]),
        "last": int(bars.times[-1]),
        "notes": list(bars.notes),
    }
    table = {"close_time": pa.array(bars.times, type=pa.timestamp("ns", tz="UTC"))}
    table |= dict(zip(COLUMNS, map(pa.array, columns), strict=True))
    path = bars_folder() / bars.exchange / bars.symbol.replace("/", "-") / f"{bars.timeframe}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {b"peak_trade": json.dumps(about, sort_keys=True).encode()}
    pq.write_table(pa.table(table).replace_schema_metadata(metadata), path, compression="zstd")
    return path


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(series, "BARS_PER_PART", 16)


minute_sets = st.sets(st.integers(0, N_BARS), min_size=1, max_size=40)


@quiet
@given(st.lists(minute_sets, min_size=1, max_size=4), minute_sets, stretch_lengths, st.data())
def test_the_same_bars_have_one_digest_however_they_were_stored(tmp_path_factory, pieces, more, length, data):
    """They are saved at once, in pieces, over a file of the first version, or sliced from a longer series."""
    minutes = sorted(set().union(*pieces))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(series, "BARS_PER_PART", length)

        def stored(*saved: Bars, former: Bars | None = None) -> tuple[str, str]:
            patch.setenv("PEAK_TRADE_HOME", str(tmp_path_factory.mktemp("home")))
            if former is not None:
                former_file(former)
            for bars in saved:
                save_bars(bars)
            (found,) = list_bars()
            return found.digest, load_bars("BTC/USDT", "1m").digest()

        whole = minute_bars(minutes)
        at_once = stored(whole)
        assert stored(*map(minute_bars, pieces)) == at_once
        assert at_once == (whole.digest(), whole.digest())
        if len(pieces) > 1:
            first, *others = map(minute_bars, pieces)
            assert stored(*others, former=first) == at_once
        start, end = sorted(data.draw(st.tuples(st.integers(0, N_BARS), st.integers(1, N_BARS + 1))))
        inside = [minute for minute in set(minutes) | more if start <= minute < end]
        stored(minute_bars(set(minutes) | more))
        if inside:
            bounds = [pd.Timestamp(START + minute * MINUTE.ns, tz="UTC").to_pydatetime() for minute in (start, end)]
            assert load_bars("BTC/USDT", "1m", start=bounds[0], end=bounds[1]).digest() == minute_bars(inside).digest()


@quiet
@given(minute_sets, minute_sets, st.booleans(), stretch_lengths)
def test_replaced_bars_are_the_new_ones_and_the_others_stay(tmp_path_factory, held, new, replace, length):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(series, "BARS_PER_PART", length)
        patch.setenv("PEAK_TRADE_HOME", str(tmp_path_factory.mktemp("home")))
        save_bars(minute_bars(held))
        before = load_bars("BTC/USDT", "1m").digest()
        other = minute_bars(new, shift=1.0)
        if held & new and not replace:
            with pytest.raises(DataError, match=rf"{len(held & new)} of {len(held & new)} shared bars differ"):
                save_bars(other)
            assert load_bars("BTC/USDT", "1m").digest() == before
        else:
            saved = save_bars(other, replace=replace)
            assert (saved.n_added, saved.n_replaced) == (len(new - held), len(held & new))
            frame = load_bars("BTC/USDT", "1m").frame
            kept = [minute for minute in held if minute not in new]
            expected = pd.concat([*([minute_bars(kept).frame] if kept else []), other.frame]).sort_index()
            pd.testing.assert_frame_equal(frame, expected, check_exact=True, check_freq=False)


def test_zeros_and_values_that_are_no_number_have_one_digest(home):
    bars = minute_bars(range(5))
    for volumes in ((0.0, -0.0), (np.nan, -np.nan, np.frombuffer(np.int64(0x7FF8_0000_0000_0001).tobytes())[0])):
        digests = {Bars(bars.frame.assign(volume=volume), "A/B", MINUTE).digest() for volume in volumes}
        assert len(digests) == 1
    signed = Bars(bars.frame.assign(volume=-0.0), "A/B", MINUTE, "binance")
    assert not np.signbit(signed.frame["volume"]).any()
    former = bars.frame.assign(volume=[-0.0, 0.0, 1.0, 2.0, 3.0])
    path = former_file(Bars.over(former, "A/B", MINUTE, "binance"))
    assert load_bars("A/B", "1m").digest() == Bars(former, "A/B", MINUTE, "binance").digest()
    assert path.exists()


def removed(file, _other):
    file.unlink()


def emptied(file, _other):
    file.write_bytes(b"")


def cut(file, _other):
    file.write_bytes(file.read_bytes()[:-100])


def replaced(file, other):
    file.write_bytes(other.read_bytes())


@pytest.mark.parametrize("damage", mostly_long([removed, emptied, cut, replaced], 1))
def test_a_part_that_is_missing_unfinished_or_of_other_bars_is_named_in_the_list(home, small_parts, capsys, damage):
    for symbol in ("BTC/USDT", "ETH/USDT"):
        save_bars(minute_bars(range(40), symbol))
    folders = [home / "bars/binance" / name / "1m" for name in ("BTC-USDT", "ETH-USDT")]
    file, other = (sorted(folder.glob("*.parquet"))[0] for folder in folders)
    assert main(["data", "list"]) == 0
    damage(file, other)
    capsys.readouterr()
    assert main(["data", "list"]) == 1
    printed = capsys.readouterr()
    assert [line for line in printed.err.splitlines() if str(file) in line and "is damaged" in line]
    assert printed.err.count("\n") == 1
    assert "ETH/USDT" in printed.out
    assert load_bars("ETH/USDT", "1m").digest() == minute_bars(range(40), "ETH/USDT").digest()


def test_a_file_of_an_earlier_version_is_read_and_becomes_parts_at_the_first_write(home, small_parts, capsys):
    bars = minute_bars(range(40), notes=("joined",))
    path = former_file(bars)
    assert load_bars("BTC/USDT", "1m").notes == ("joined",)
    assert load_bars("BTC/USDT", "1m", start="2024-01-01T00:10").digest() == minute_bars(range(10, 40)).digest()
    assert save_bars(minute_bars(range(20))).n_added == 0
    assert path.exists()
    saved = save_bars(minute_bars(range(50)))
    assert (saved.n_added, saved.series.notes, path.exists()) == (10, ("joined",), False)
    assert load_bars("BTC/USDT", "1m").digest() == minute_bars(range(50)).digest()
    former_file(minute_bars(range(60)))
    assert load_bars("BTC/USDT", "1m").digest() == minute_bars(range(50)).digest()
    assert main(["data", "list"]) == 1
    assert f"{path}: this file of an earlier version is not used" in capsys.readouterr().err
    path.unlink()
    former_file(minute_bars(range(5), "ETH/USDT"))
    remove_bars("ETH/USDT", MINUTE)
    assert [held.symbol for held in list_bars()] == ["BTC/USDT"]


def test_an_append_writes_the_last_part_and_the_description_only(home, small_parts):
    folder = save_bars(minute_bars(range(100))).series.path.parent
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}
    save_bars(minute_bars(range(90, 101)))
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}
    assert len(before) == len(after) == 7
    assert len(before.items() & after.items()) == 6


def test_a_load_reads_the_parts_of_its_span_only(home, small_parts):
    found = save_bars(minute_bars(range(100))).series
    for part in (found.parts[0], found.parts[-1]):
        found.path.with_name(part.name).write_bytes(b"damaged")
    inside = load_bars("BTC/USDT", "1m", start="2024-01-01T00:20", end="2024-01-01T00:40")
    assert inside.digest() == minute_bars(range(20, 40)).digest()
    with pytest.raises(DataError, match="no bar lies in the requested span"):
        load_bars("BTC/USDT", "1m", start="2024-01-03")
    for bounds in ({"end": "2024-01-01T00:03"}, {"start": "2024-01-01T01:38"}, {}):
        with pytest.raises(DataError, match="this file of the store is damaged"):
            load_bars("BTC/USDT", "1m", **bounds)
    remove_bars("BTC/USDT", MINUTE)
    assert [path.name for path in bars_folder().iterdir()] == [".lock"]


@pytest.mark.parametrize("former", mostly_long([False, True], 1))
def test_no_changed_byte_changes_a_bar_or_a_note(home, former):
    """Every file is changed at places spread over it, and cut: it is refused, or means the same."""
    bars = minute_bars(range(30), notes=("joined",))
    if former:
        former_file(bars)
    else:
        save_bars(bars)
    random, n_refused = np.random.default_rng(1), 0
    for path in [path for path in home.rglob("*") if path.suffix]:
        content = path.read_bytes()
        flips = [(place, 1 << int(random.integers(8))) for place in range(0, len(content), max(len(content) // 60, 1))]
        edits = [content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :] for place, bit in flips]
        for edit in (*edits, b"", content[: len(content) // 2], content[:-1]):
            path.write_bytes(edit)
            try:
                found = load_bars("BTC/USDT", "1m")
            except DataError:
                n_refused += 1
            else:
                assert found.digest() == bars.digest()
                assert former or found.notes == bars.notes
        path.write_bytes(content)
    assert n_refused > 40


@pytest.mark.parametrize(
    "change", [{"version": 3}, {"symbol": "ETH/USDT"}, {"notes": ["made up"]}, {"parts": []}, {"digest": "0" * 64}]
)
def test_a_changed_description_is_refused(home, change):
    path = save_bars(minute_bars(range(30))).series.path
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=f"{path}: this file of the store is damaged"):
        load_bars("BTC/USDT", "1m")
    assert list(scan_store()[1]) == [path]


def snapshots(home: Path, patch: pytest.MonkeyPatch, write: Callable[[], object]) -> list[Path]:
    """Return a copy of the workspace before each change of a file by a write: what a kill at that place leaves."""
    taken: list[Path] = []

    def watched(name: str) -> Callable[..., object]:
        change = getattr(os, name)

        def after_a_copy(*arguments: object, **options: object) -> object:
            taken.append(home.with_name(f"killed-{len(taken)}"))
            shutil.copytree(home, taken[-1])
            return change(*arguments, **options)

        return after_a_copy

    with patch.context() as inside:
        for name in ("replace", "unlink", "rmdir"):
            inside.setattr(os, name, watched(name))
        write()
    return taken


@pytest.mark.long
@pytest.mark.parametrize("held", ["parts", "former", "nothing"])
def test_a_kill_leaves_the_old_bars_or_the_new_ones_and_the_next_write_tidies_up(home, small_parts, monkeypatch, held):
    old, new = minute_bars(range(10, 40)), minute_bars(range(5, 60))
    other = minute_bars(range(3), "ETH/USDT")
    save_bars(other)
    if held == "former":
        former_file(old)
    elif held == "parts":
        save_bars(old)
    expected = {None if held == "nothing" else old.digest(), new.digest()}
    seen = set()
    taken = snapshots(home, monkeypatch, lambda: save_bars(new))
    for copy in taken:
        monkeypatch.setenv("PEAK_TRADE_HOME", str(copy))
        names = [each.symbol for each in list_bars()]
        seen.add(load_bars("BTC/USDT", "1m").digest() if "BTC/USDT" in names else None)
        assert load_bars("ETH/USDT", "1m").digest() == other.digest()
        save_bars(minute_bars(range(4), "ETH/USDT"))
        save_bars(new)
        assert load_bars("BTC/USDT", "1m").digest() == new.digest()
        named = {found.path.with_name(part.name) for found in list_bars() for part in found.parts}
        assert set(copy.rglob("*.parquet")) == named
        assert [path.name for path in copy.rglob(".*")] == [".lock"]
    assert seen == expected
    assert len(taken) >= 5


def test_a_reader_sees_the_new_bars_when_a_write_removes_the_parts_it_was_to_read(home, small_parts, monkeypatch):
    save_bars(minute_bars(range(20)))
    read, n_reads = series.read_series, []

    def described(path: Path) -> object:
        found = read(path)
        n_reads.append(path)
        if len(n_reads) == 2:
            save_bars(minute_bars(range(40)))
        return found

    monkeypatch.setattr("peak_trade.data.store.read_series", described)
    assert load_bars("BTC/USDT", "1m").digest() == minute_bars(range(40)).digest()
