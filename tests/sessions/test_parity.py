"""A backtest and a paper session over the same recorded bars are equal, to the bit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from peak_trade.core.bars import Bars
from peak_trade.core.history import daily_returns
from peak_trade.core.time import Timeframe
from peak_trade.data.resampling import resample
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.journal.codec import encode_event
from peak_trade.journal.events import BarEvent, DecisionEvent
from peak_trade.journal.files import read_events
from peak_trade.journal.inputs import read_inputs
from peak_trade.risk.limits import RiskLimits
from peak_trade.sessions.feeds.base import FeedItem, RecordedFeed, bar_events
from peak_trade.sessions.runner import LOOP_EVENTS
from peak_trade.studies.backtest import backtest
from peak_trade.studies.risk.value_at_risk import book_weights
from peak_trade.wiring.gates import read_risk_file
from peak_trade.wiring.strategies import STRATEGIES, make_strategy
from tests.examples import mostly_long
from tests.sessions.running import BTC, open_session, part_of, run_session
from tests.strategies.stepping import Watches

PARAMETERS = {"composite": {"members": "ma_crossover,momentum"}}
SETTINGS = {
    "market": BacktestSettings(),
    "limit-and-stops": BacktestSettings(
        execution=ExecutionPolicy(order_type="limit", stop_loss_atr=1.5, take_profit=0.02, trailing_stop=0.03)
    ),
    "with-carry": BacktestSettings(costs={"funding_bps_per_8h": 1.0, "max_participation": 0.0001}),
}


@pytest.mark.parametrize("settings", mostly_long(SETTINGS.values(), 1), ids=SETTINGS)
@pytest.mark.parametrize("name", mostly_long(STRATEGIES, 1))
def test_a_paper_session_does_what_the_backtest_did(tmp_path, key, btc_1h, name, settings):
    bars = part_of(btc_1h, 6_000, 300)
    strategy = make_strategy(name, PARAMETERS.get(name))
    result = backtest(strategy, bars, settings, instruments={"BTC/USDT": BTC})
    session = run_session(tmp_path / "s", key, strategy, bars, settings)
    events = read_events(tmp_path / "s")
    recorded = [encode_event(event) for event in events if isinstance(event, LOOP_EVENTS)]
    assert recorded == [encode_event(event) for event in result.events]
    assert session.loop.fills == result.fill_list
    assert bool(session.loop.fills) == (name != "cash")
    assert session.equity == result.equity_values.tolist()
    assert [event for event in events if isinstance(event, BarEvent)] == bar_events(bars)


@pytest.mark.parametrize("is_whole", mostly_long([True, False], 1))
@pytest.mark.parametrize("settings", mostly_long(SETTINGS.values(), 1), ids=SETTINGS)
def test_parity_holds_for_a_strategy_that_decides_by_its_position(tmp_path, key, btc_1h, settings, is_whole):
    bars, strategy = part_of(btc_1h, 6_000, 200), Watches()
    result = backtest(strategy, bars, settings, instruments={"BTC/USDT": BTC}, causality_check=False)
    session = run_session(tmp_path / "s", key, strategy, bars, settings, is_whole=is_whole)
    recorded = [encode_event(event) for event in read_events(tmp_path / "s") if isinstance(event, LOOP_EVENTS)]
    assert recorded == [encode_event(event) for event in result.events]
    assert session.equity == result.equity_values.tolist()
    assert len(result.fill_list) > 4


@pytest.mark.long
@pytest.mark.parametrize("name", mostly_long(["ma_crossover", "random_entry"], 1))
def test_parity_holds_with_the_shipped_risk_limits(tmp_path, key, btc_1h, name):
    bars = part_of(btc_1h, 3_000, 1_500)
    risk = read_risk_file(Path(__file__).parents[2] / "config" / "risk.toml")
    strategy = make_strategy(name)
    result = backtest(strategy, bars, risk=risk, instruments={"BTC/USDT": BTC})
    session = run_session(tmp_path / "s", key, strategy, bars, risk=risk)
    recorded = [encode_event(event) for event in read_events(tmp_path / "s") if isinstance(event, LOOP_EVENTS)]
    assert recorded == [encode_event(event) for event in result.events]
    assert any(isinstance(event, DecisionEvent) for event in result.events)
    assert session.equity == result.equity_values.tolist()


@pytest.mark.long
def test_parity_holds_for_the_weights_that_the_var_model_is_tested_on(tmp_path, key, btc_1h):
    bars = resample(part_of(btc_1h, 0, 24 * 430), Timeframe.parse("6h")).bars
    risk = RiskLimits.parse({"size_to_limits": True, "var": {"max_var": 0.03, "n_days": 400}}, "test")
    strategy = make_strategy("ma_crossover", {"fast": 4, "slow": 20})
    result = backtest(strategy, bars, risk=risk, instruments={"BTC/USDT": BTC})
    run_session(tmp_path / "s", key, strategy, bars, risk=risk)
    events = [event for event in read_events(tmp_path / "s") if isinstance(event, LOOP_EVENTS)]
    assert [encode_event(event) for event in events] == [encode_event(event) for event in result.events]
    last = [event for event in events if isinstance(event, DecisionEvent)][-1]
    weights = read_inputs(last.inputs)[1].daily_weights
    assert weights is not None
    expected = book_weights(result, daily_returns([bars], "run", 400, weights.as_of), 250)
    np.testing.assert_array_equal(weights.weights.T, expected)
    assert (expected != 0.0).sum() > 20


@pytest.mark.parametrize("name", mostly_long(STRATEGIES, 1))
def test_bar_by_bar_evaluation_equals_the_whole_recording(tmp_path, key, btc_1h, name):
    bars = part_of(btc_1h, 6_000, 120)
    strategy = make_strategy(name, PARAMETERS.get(name))
    whole = run_session(tmp_path / "whole", key, strategy, bars)
    run_session(tmp_path / "steps", key, strategy, bars, is_whole=False)
    sessions = [
        [encode_event(event) for event in read_events(tmp_path / part) if isinstance(event, (*LOOP_EVENTS, BarEvent))]
        for part in ("whole", "steps")
    ]
    assert sessions[0] == sessions[1]
    assert whole.equity


class Killed(BaseException):
    """Simulates a kill: nothing catches it."""


class Cut(RecordedFeed):
    """A feed during which the session is killed before its n-th bar."""

    def __init__(self, bars: Bars, n_bars: int) -> None:
        super().__init__(bars)
        self._left = n_bars

    def items(self, after: int) -> Iterator[FeedItem]:
        yield from itertools.islice(super().items(after), self._left)
        raise Killed


@pytest.mark.parametrize("cuts", mostly_long([((1, 60),), ((37,),)], 1), ids=["twice", "once"])
@pytest.mark.parametrize("name", mostly_long([*STRATEGIES, "watches"], 3))
def test_a_killed_session_that_continues_bar_by_bar_equals_the_backtest(tmp_path, key, btc_1h, name, cuts):
    bars = part_of(btc_1h, 6_000, 300 if name in ("macd", "trend_following") else 150)
    strategy = Watches() if name == "watches" else make_strategy(name, PARAMETERS.get(name))
    settings = BacktestSettings.parse({"sizing": {"kind": "volatility_target", "window": 20}}, "test")
    result = backtest(strategy, bars, settings, instruments={"BTC/USDT": BTC})
    for n_bars in cuts:
        session = open_session(tmp_path / "s", key, strategy, bars, settings, is_whole=False)
        with pytest.raises(Killed), session.journal:
            session.run(Cut(bars, n_bars), read_events(tmp_path / "s"))
    session = run_session(tmp_path / "s", key, strategy, bars, settings, is_whole=False)
    recorded = [encode_event(event) for event in read_events(tmp_path / "s") if isinstance(event, LOOP_EVENTS)]
    assert recorded == [encode_event(event) for event in result.events]
    assert session.equity == result.equity_values.tolist()
    assert session.buffer.n_bars == len(bars)


@pytest.mark.long
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_paper_session_does_what_the_backtest_did_over_three_years(tmp_path, key, btc_1h, name):
    strategy = make_strategy(name, PARAMETERS.get(name))
    result = backtest(strategy, btc_1h, instruments={"BTC/USDT": BTC})
    session = run_session(tmp_path / "s", key, strategy, btc_1h)
    assert session.loop.fills == result.fill_list
    assert session.equity == result.equity_values.tolist()
