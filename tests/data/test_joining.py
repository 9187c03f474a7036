"""A join puts the bars of a former symbol before those of its successor, at a stated ratio, and says so for good."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.bar_frame import COLUMNS, index_ns
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import Timeframe, iso
from peak_trade.data.resampling import resample
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import join_earlier, list_bars, load_bars, save_bars
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.studies.backtest import backtest
from tests.examples import examples, mostly_long

HOUR = Timeframe.parse("1h")
WHOLE = sample_bars("BTC/USDT", n_bars=120).frame


def store(ratio: float, n_former: int = 60, first_later: int = 60, symbol: str = "OLD/USDT") -> Bars:
    """Store one history as that of two symbols, the former in units of `ratio` new ones; return the later one."""
    former = WHOLE.iloc[:n_former].copy()
    former[list(COLUMNS[:4])] *= ratio
    former["volume"] /= ratio
    save_bars(Bars(former, symbol, HOUR, "test"))
    later = Bars(WHOLE.iloc[first_later:], "NEW/USDT", HOUR, "test")
    save_bars(later)
    return later


@pytest.mark.long
@settings(max_examples=examples(20), deadline=None)
@given(st.sampled_from([1e-6, 0.01, 1.0, 8.0, 1000.0]), st.integers(1, 100), st.integers(10, 119))
def test_a_split_history_is_whole_again(ratio: float, n_former: int, first_later: int) -> None:
    """Joined bars are those of the one history, as far as the former symbol has them, whatever the ratio."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as home:
        patch.setenv("PEAK_TRADE_HOME", home)
        store(ratio, n_former, first_later)
        join_earlier("NEW/USDT", "OLD/USDT", ratio, HOUR)
        joined = load_bars("NEW/USDT", "1h").frame
    expected = pd.concat([WHOLE.iloc[: min(n_former, first_later)], WHOLE.iloc[first_later:]])
    np.testing.assert_allclose(joined.to_numpy(), expected.to_numpy(), rtol=1e-14)
    assert joined.index.equals(expected.index)


def test_the_join_is_noted_with_the_bars_and_in_every_result(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(100.0, n_former=70)
    line = "data join --symbol NEW/USDT --earlier OLD/USDT --ratio 100 --timeframe 1h --exchange test"
    assert main([*line.split(), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["n_added"], answer["n_shared"], round(answer["shared_ratio"], 12)) == (60, 10, 1.0)
    until = iso(int(index_ns(WHOLE.index)[59]))
    note = f"Up to {until}, NEW/USDT is OLD/USDT at 100 NEW for each OLD."
    assert answer["notes"] == [note]
    bars = load_bars("NEW/USDT", "1h")
    assert bars.notes == resample(bars, Timeframe.parse("4h")).bars.notes == (note,)
    assert note in backtest(BuyAndHold(), bars).assumptions
    save_bars(Bars(WHOLE.iloc[-3:], "NEW/USDT", HOUR, "test"))
    assert [each.notes for each in list_bars()] == [(note,), ()]
    assert main(["data", "list"]) == 0
    assert f"test NEW/USDT 1h: {note}" in capsys.readouterr().out
    assert main(line.split()) == 2
    assert "There is nothing to join." in capsys.readouterr().err


@pytest.mark.parametrize("first_later", mostly_long([60, 50], 1), ids=["no-shared-bar", "shared-bars"])
@pytest.mark.parametrize("stated", [1.0, 0.01, 60.0])
def test_a_ratio_that_does_not_fit_the_prices_is_refused(home: Path, stated: float, first_later: int) -> None:
    later = store(100.0, first_later=first_later)
    with pytest.raises(DataError, match=r"check the ratio, \d+(\.\d+)? would fit") as refused:
        join_earlier("NEW/USDT", "OLD/USDT", stated, HOUR)
    fitting = float(str(refused.value).split("check the ratio, ")[1].split()[0])
    assert fitting == pytest.approx(100.0, rel=0.05)
    assert load_bars("NEW/USDT", "1h").digest() == later.digest()


@pytest.mark.parametrize(
    ("earlier", "ratio", "error", "message"),
    [
        ("OLD/USDT", 0.0, ConfigError, "ratio was 0:"),
        ("OLD/USDT", float("nan"), ConfigError, "ratio was nan:"),
        ("OLD/USDT", float("inf"), ConfigError, "ratio was inf:"),
        ("OLD/EUR", 1.0, ConfigError, "different quote currencies"),
        ("OLDER/USDT", 1.0, DataError, "Did you mean OLD/USDT"),
        ("NEW/USDT", 1.0, DataError, "nothing to join"),
    ],
)
def test_what_can_not_be_joined_is_refused(home: Path, earlier: str, ratio: float, error: type, message: str) -> None:
    store(1.0)
    with pytest.raises(error, match=message):
        join_earlier("NEW/USDT", earlier, ratio, HOUR)
