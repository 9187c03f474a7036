"""The store with 10 million one-minute bars: their import, a load of one day, and an append of 1,000 bars.

PEAK_TRADE_BENCH_BARS is the number of bars. The series is made once for all benchmarks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.measuring import cost_of
from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.data.importing import import_file
from peak_trade.data.store import find_series, load_bars, save_bars
from tests.data.test_scale import minutes

N_BARS = int(os.environ.get("PEAK_TRADE_BENCH_BARS", "10000000"))
MINUTE = Timeframe.parse("1m")
FEW_BARS = 10_000


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A workspace with one long series, and the cost of its import; a short import comes first, to load libraries."""
    folder: Path = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(folder / "home"))
        for n_bars in (FEW_BARS, N_BARS):
            minutes(n_bars).to_parquet(folder / f"{n_bars}.parquet")
        import_file(folder / f"{FEW_BARS}.parquet", "A/USDT", MINUTE, "binance")
        cost = cost_of(lambda: import_file(folder / f"{N_BARS}.parquet", "BTC/USDT", MINUTE, "binance"))
        yield {"seconds": cost.seconds, "cpu_seconds": cost.cpu_seconds, "growth_mib": cost.growth_mib}


def test_import(benchmark: Any, imported: dict[str, Any]) -> None:
    benchmark.pedantic(lambda: None, rounds=1)
    benchmark.extra_info |= imported | {
        "job": f"import of {N_BARS:,} bars from Parquet",
        "bars": [["grows by less than 1.3 GB", imported["growth_mib"] * 2**20 < 1.3e9]],
    }


def test_load_of_one_day(benchmark: Any, imported: dict[str, Any]) -> None:
    found = find_series("BTC/USDT", MINUTE)
    start = pd.Timestamp((found.first + found.last) // 2, tz="UTC").floor("D")
    end = start + pd.Timedelta(days=1)
    bars = benchmark(load_bars, "BTC/USDT", "1m", start=f"{start:%Y-%m-%d}", end=f"{end:%Y-%m-%d}")
    assert len(bars) == 1_440
    benchmark.extra_info |= {
        "job": f"load of one day of {N_BARS:,} bars",
        "bars": [["<= 0.3 s", benchmark.stats.stats.median <= 0.3]],
    }


def test_append(benchmark: Any, imported: dict[str, Any]) -> None:
    n_added = []

    def append() -> None:
        last = pd.Timestamp(find_series("BTC/USDT", MINUTE).last, tz="UTC")
        index = pd.date_range(last, periods=1_001, freq="min")[1:]
        frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close", "volume"), 20_000.0), index)
        n_added.append(save_bars(Bars(frame, "BTC/USDT", MINUTE, "binance")).n_added)

    benchmark.pedantic(append, rounds=5, warmup_rounds=1)
    assert set(n_added) == {1_000}
    benchmark.extra_info |= {"job": f"append of 1,000 bars to {N_BARS:,}"}
