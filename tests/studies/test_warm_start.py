"""A backtest from a start on equals a paper session from the same start: both know the bars before it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.core.errors import DataError
from peak_trade.core.time import to_ns
from peak_trade.data.sample import sample_bars, synthetic_bars
from peak_trade.data.store import save_bars
from peak_trade.engine.settings import BacktestSettings
from peak_trade.journal.codec import encode_event
from peak_trade.journal.files import read_events
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.risk.limits import RiskLimits
from peak_trade.sessions.feeds.base import RecordedFeed
from peak_trade.sessions.runner import LOOP_EVENTS
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from peak_trade.studies.sweep.run import sweep
from peak_trade.wiring.gates import read_risk_file
from peak_trade.wiring.strategies import STRATEGIES, make_strategy
from tests.examples import examples
from tests.sessions.running import BTC, open_session

BARS = synthetic_bars(400)
BTC_BARS = Bars(BARS.frame, "BTC/USDT", BARS.timeframe, "sample")
SETTINGS = (
    {},
    {"execution": {"order_type": "limit", "stop_loss_atr": 1.5, "atr_window": 20, "take_profit": 0.02}},
    {"costs": {"funding_bps_per_8h": 1.0, "max_participation": 0.0001}},
    {"sizing": {"kind": "volatility_target", "annual_volatility": 0.2, "window": 48, "max_scale": 1.0}},
    {"sizing": {"kind": "fractional_kelly", "window": 300}},
    {"execution": {"stop_loss_atr": 2.0}, "sizing": {"kind": "fixed_risk", "risk": 0.02}},
)
LIMITS = (
    None,
    RiskLimits(max_drawdown=0.05, max_orders=3),
    RiskLimits(max_order_notional=6_000.0, size_to_limits=True),
)
"""No limits, limits that stop the run, and limits that reduce orders."""


COMBINATIONS = given(
    name=st.sampled_from(sorted(STRATEGIES)),
    values=st.sampled_from(SETTINGS),
    risk=st.sampled_from(LIMITS),
    first=st.integers(0, 390),
)


def check_equality(folder: Path, strategy: Strategy, chosen: BacktestSettings, risk, bars: Bars, first: int) -> None:
    """Compare signals, orders, decisions, fills and equity of a backtest and a paper session from a bar on."""
    start = bars.frame.index[first].to_pydatetime()
    result = backtest(strategy, bars, chosen, instruments={"BTC/USDT": BTC}, risk=risk, start=start)
    session = open_session(folder / "s", WorkspaceKey(folder / "keys"), strategy, bars, chosen, risk=risk)
    session.run(RecordedFeed(bars, starts_at=int(bars.times[first]) - 1), ())
    recorded = [event for event in read_events(folder / "s") if isinstance(event, LOOP_EVENTS)]
    assert [encode_event(event) for event in recorded] == [encode_event(event) for event in result.events]
    assert session.loop.fills == result.fill_list
    assert session.equity == result.equity_values.tolist()
    assert result.index[0] == start


@pytest.mark.long
@settings(max_examples=examples(15), deadline=None)
@COMBINATIONS
def test_a_backtest_and_a_paper_session_over_the_same_span_are_equal(tmp_path_factory, name, values, risk, first):
    chosen = BacktestSettings.parse(values, "test")
    check_equality(tmp_path_factory.mktemp("session"), make_strategy(name), chosen, risk, BTC_BARS, first)


@pytest.mark.long
@settings(max_examples=examples(300), deadline=None)
@COMBINATIONS
def test_they_are_equal_in_many_more_combinations(tmp_path_factory, name, values, risk, first):
    chosen = BacktestSettings.parse(values, "test")
    check_equality(tmp_path_factory.mktemp("session"), make_strategy(name), chosen, risk, BTC_BARS, first)


@pytest.mark.long
def test_they_are_equal_with_a_value_at_risk_of_the_run_itself(tmp_path):
    bars = sample_bars("BTC/USDT", n_bars=13_000)
    risk = read_risk_file(Path(__file__).parents[2] / "config" / "risk.toml")
    check_equality(tmp_path, MaCrossover(), BacktestSettings(), risk, bars, 12_000)


@settings(max_examples=examples(25), deadline=None)
@given(name=st.sampled_from(sorted(STRATEGIES)), first=st.integers(1, 390))
def test_a_start_changes_no_target_after_it(name, first):
    """From the start on the strategy wants what it wants in a run over all bars."""
    strategy = make_strategy(name)
    late = backtest(strategy, BARS, start=BARS.frame.index[first].to_pydatetime())
    wanted = np.nan_to_num(strategy.exposure(BARS.frame))[first:]
    times = {to_ns(time.to_pydatetime()): place for place, time in enumerate(late.index)}
    held = np.zeros(len(late.index))
    for event in late.events:
        if event.kind == "signal":
            held[times[event.ts_event] :] = event.exposure
    np.testing.assert_array_equal(held, wanted)


@pytest.fixture
def stored(registry) -> Bars:
    save_bars(BTC_BARS)
    return BTC_BARS


START = "2021-01-08T00:00"
STUDY = ["--strategy", "ma_crossover", "--symbol", "BTC/USDT", "--start", START, "--json"]


def run(capsys, *words: str) -> dict:
    capsys.readouterr()
    assert main(list(words)) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.long
def test_the_command_warms_up_like_a_session_unless_it_is_cold(stored, capsys):
    warm, cold = run(capsys, "backtest", *STUDY), run(capsys, "backtest", *STUDY, "--cold")
    assert warm["n_bars"] == cold["n_bars"] < len(stored)
    assert warm["run_id"] != cold["run_id"]
    assert [name for name in warm["digests"] if warm["digests"][name] != cold["digests"][name]] == ["config", "data"]
    said = [text for text in warm["assumptions"] if "earlier bars of BTC/USDT warm it up" in text]
    assert said == [
        "The run starts at 2021-01-08 00:00:00Z: 167 earlier bars of BTC/USDT warm it up and are not traded."
    ]
    assert not any("warm" in text for text in cold["assumptions"])
    session = ["session", "run", "--feed", "recorded", "--timeframe", "1h", *STUDY]
    assert run(capsys, *session, "--no-record")["status"]["equity"] == pytest.approx(
        backtest(MaCrossover(), stored, start=START).equity.iloc[-1], rel=0.0
    )
    assert warm["stats"]["total_return"] == pytest.approx(
        backtest(MaCrossover(), stored, start=START).stats()["total_return"].value, rel=1e-8
    )
    traded = stored.between(backtest(MaCrossover(), stored, start=START).index[0])
    assert cold["content_digest"] == backtest(MaCrossover(), traded).content_digest


def test_a_sweep_from_a_start_agrees_with_the_event_loop(stored, capsys):
    study = [*STUDY, "-p", "fast=5,10", "-p", "slow=20,40"]
    warm, cold = run(capsys, "sweep", *study), run(capsys, "sweep", *study, "--cold")
    assert (warm["difference"], cold["difference"]) == ("", "")
    assert (warm["n_trials"], cold["n_trials"]) == (4, 8)  # other trials of the same asset and span
    assert warm["run_id"] != cold["run_id"]
    loose = BacktestSettings(costs={"max_participation": None})
    found = sweep(MaCrossover, {"fast": [5, 10], "slow": [20]}, stored, loose, START)
    assert found.agrees
    assert found.winner.index[0] == backtest(MaCrossover(), stored, start=START).index[0]


def test_a_start_after_the_last_bar_is_refused_in_one_line(stored, capsys):
    with pytest.raises(DataError, match="no bar lies in the requested span"):
        backtest(MaCrossover(), stored, start="2030-01-01")
    for words in (["--start", "2030-01-01"], ["--start", "2021-01-09", "--end", "2021-01-08"], ["--start", "soon"]):
        assert main(["backtest", "--strategy", "cash", "--symbol", "BTC/USDT", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_two_symbols_start_together_and_each_knows_its_own_past():
    other = Bars(BARS.frame.iloc[100:], "ETH/USD", BARS.timeframe, BARS.exchange)
    start = BARS.frame.index[150].to_pydatetime()
    both = backtest(MaCrossover(), [BARS, other], start=start)
    assert len(both.index) == len(BARS) - 150
    assert [text.partition("Z: ")[2] for text in both.warm_up] == [
        f"150 earlier bars of {BARS.symbol} warm it up and are not traded.",
        "50 earlier bars of ETH/USD warm it up and are not traded.",
    ]
