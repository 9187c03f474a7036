"""An instant without a time zone is UTC everywhere; what is no instant or timeframe is refused in one line."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from peak_trade.core.errors import ConfigError
from peak_trade.core.time import Timeframe, parse_utc, to_ns
from peak_trade.data.sample import synthetic_bars
from peak_trade.data.store import load_bars, save_bars
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.studies.backtest import backtest
from peak_trade.studies.regime.study import study_regimes
from peak_trade.studies.sweep.run import sweep
from peak_trade.wiring.detectors import make_detector
from tests.examples import mostly_long

BARS = synthetic_bars(400)
NAIVE = datetime(2021, 1, 12, 6)  # noqa: DTZ001 (a datetime of a user)
SAME_INSTANTS = [
    NAIVE,
    "2021-01-12T06:00",
    NAIVE.replace(tzinfo=UTC),
    "2021-01-12T01:00-05:00",
    datetime(2021, 1, 12, 1, tzinfo=timezone(timedelta(hours=-5))),
]


@pytest.fixture(autouse=True)
def _in_new_york(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("start", SAME_INSTANTS, ids=str)
def test_each_form_of_an_instant_is_the_same_instant(start):
    assert parse_utc(start) == NAIVE.replace(tzinfo=UTC)
    assert parse_utc(start).tzinfo is UTC
    assert to_ns(parse_utc(start)) == to_ns(NAIVE)


@pytest.mark.parametrize("start", mostly_long(SAME_INSTANTS, 1), ids=str)
def test_every_study_starts_at_the_same_bar(start, registry):
    save_bars(BARS)
    rules = make_detector("rules", BARS.timeframe, {"rules": {"rsi_window": 24, "atr_baseline": 48}})
    firsts = [
        backtest(BuyAndHold(), BARS, start=start).index[0],
        sweep(BuyAndHold, {}, BARS, start=start).winner.index[0],
        study_regimes(BuyAndHold(), BARS, rules, start=start).result.index[0],
        load_bars(BARS.symbol, BARS.timeframe, start=start).frame.index[0],
        BARS.between(start).frame.index[0],
        BARS.between(None, start).frame.index[-1] + BARS.timeframe.duration,
    ]
    assert firsts == [NAIVE.replace(tzinfo=UTC)] * len(firsts)


@pytest.mark.parametrize("given", ["0001-01-01T00:00+05:00", "9999-12-31T23:59-05:00", date(2021, 1, 3), 5, None])
def test_an_instant_that_is_none_is_refused_in_one_line(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"^start was .*: write a UTC date or time like"):
        parse_utc(given, "start")


@pytest.mark.parametrize("given", [5, None, b"1h"])
def test_a_timeframe_that_is_no_text_is_refused_in_one_line(given: Any) -> None:
    with pytest.raises(ConfigError, match="write a number and a unit"):
        Timeframe.parse(given)


@pytest.mark.parametrize("seconds", [1.5, "60", True, None, float("nan")])
def test_a_timeframe_has_a_whole_number_of_seconds(seconds: Any) -> None:
    with pytest.raises(ConfigError, match=r"^Timeframe: seconds was .*: give a whole number\.$"):
        Timeframe(seconds)
