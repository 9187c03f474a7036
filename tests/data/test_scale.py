"""Memory and time on long series: an import, a load of one day, and an append."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.measuring import begin_peak, peak_growth
from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.data.importing import import_file
from peak_trade.data.store import find_series, load_bars, save_bars

MINUTE = Timeframe.parse("1m")
BYTES_PER_BAR = 150
"""Largest growth of the memory for each bar of an import: 1.5 GB for 10 million."""


def minutes(n_bars, start="2005-01-01"):
    """Return random bars by their open times."""
    random = np.random.default_rng(1)
    close = np.round(20_000.0 * np.exp(np.cumsum(random.normal(0.0, 2e-5, n_bars))), 2)
    open_ = np.concatenate((close[:1], close[:-1]))
    high = np.round(np.maximum(open_, close) * (1.0 + np.abs(random.normal(0.0, 1e-4, n_bars))), 2)
    low = np.round(np.minimum(open_, close) * (1.0 - np.abs(random.normal(0.0, 1e-4, n_bars))), 2)
    volume = np.round(random.exponential(3.0, n_bars), 5)
    times = pd.date_range(start, periods=n_bars, freq="min").as_unit("ms")
    return pd.DataFrame(
        {"open_time": times.asi8, "open": open_, "high": high, "low": low, "close": close, "volume": volume}
    )


@pytest.mark.long
def test_an_import_needs_little_memory_for_each_bar(home, tmp_path):
    n_bars = 400_000
    for name, n_rows in (("short", 1_000), ("long", n_bars)):
        minutes(n_rows).to_parquet(tmp_path / f"{name}.parquet")
    import_file(tmp_path / "short.parquet", "A/USDT", MINUTE, "binance")
    before = begin_peak()
    assert import_file(tmp_path / "long.parquet", "B/USDT", MINUTE, "binance").saved.n_added == n_bars
    growth = peak_growth(before)
    if growth != growth:
        pytest.skip("the system does not report the peak of the memory")
    assert growth * 2**20 < 1.5 * BYTES_PER_BAR * n_bars


IMPORT = """
import sys
from pathlib import Path
from peak_trade.cli import main
assert main(["data", "import", sys.argv[1], "--symbol", "BTC/USDT", "--timeframe", "1m", "--exchange", "binance",
             "--stamp", "open"]) == 0
# Not ru_maxrss: a new process inherits the peak of the process that started it.
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not report the peak of a process")
@pytest.mark.parametrize("kind", ["parquet", "csv", "iso.csv"])
def test_ten_million_bars_are_imported_in_less_than_one_and_a_half_gigabytes(home, tmp_path, kind):
    frame, path = minutes(10_000_000), tmp_path / f"bars.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    else:
        times = pd.to_datetime(frame["open_time"], unit="ms")
        frame.assign(**({"open_time": times} if kind == "iso.csv" else {})).to_csv(path, index=False)
    del frame
    done = subprocess.run([sys.executable, "-c", IMPORT, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) * 1024 < 1.5e9

    loads = []
    for day in range(1, 6):
        start = time.perf_counter()
        assert len(load_bars("BTC/USDT", "1m", start=f"2015-05-0{day}", end=f"2015-05-0{day + 1}")) == 1_440
        loads.append(time.perf_counter() - start)
    assert min(loads) < 0.3

    found = find_series("BTC/USDT", MINUTE)
    before = {path.name: path.stat().st_mtime_ns for path in found.path.parent.iterdir()}
    more = pd.DataFrame(
        dict.fromkeys(("open", "high", "low", "close", "volume"), 20_000.0),
        pd.date_range(pd.Timestamp(found.last, tz="UTC"), periods=1_001, freq="min")[1:],
    )
    growth = begin_peak()
    assert save_bars(Bars(more, "BTC/USDT", MINUTE, "binance")).n_added == 1_000
    assert not peak_growth(growth) > 100.0
    after = {path.name: path.stat().st_mtime_ns for path in found.path.parent.iterdir()}
    assert len(after.items() - before.items()) <= 3
