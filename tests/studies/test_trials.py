"""Every evaluation counts at the door of the library, and nothing that judges a method does."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import peak_trade as pt
from peak_trade.causality.short import check_run
from peak_trade.cli import main
from peak_trade.core import chained_lines
from peak_trade.core.errors import ConfigError, StrategyError, warn_once
from peak_trade.core.lock import held_lock
from peak_trade.core.progress import progress_shown
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.engine.settings import BacktestSettings
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.studies.regime.study import noise_controls, study_regimes
from peak_trade.studies.sweep.evaluation import CHUNK_SETS
from peak_trade.studies.sweep.run import sweep
from peak_trade.tracking import ledger_sentence, trials_of
from peak_trade.tracking.counting import not_trials
from peak_trade.tracking.counts import trials_of_run
from peak_trade.tracking.ledger import trial_ledger
from peak_trade.wiring.detectors import make_detector
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from tests.examples import mostly_long

BARS = sample_bars("BTC/USDT", n_bars=1_500)
UNCAPPED = BacktestSettings(costs={"max_participation": None})


class Raising(Strategy):
    """Raises from one parameter value on."""

    level: int = 3

    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, bars: pd.DataFrame) -> np.ndarray:
        if self.level >= 3:
            raise ValueError("no")
        return np.zeros(len(bars)) + 0.1 * self.level


def test_a_loop_of_forty_backtests_counts_forty_trials(home):
    for fast in (*range(5, 45), 5, 6):
        result = pt.backtest(pt.make_strategy("ma_crossover", {"fast": fast, "slow": 60}), BARS)
    assert trials_of(BARS).n == 40
    count = trials_of_run(result.digests)
    assert count.n == 40
    assert 1.0 < count.n_effective < 20.0
    assert count.sharpe_variance > 0.0
    assert count.sentence.startswith("Trial ledger since today, 40 trials: ")


def test_a_run_that_raises_counts(home):
    with pytest.raises(StrategyError):
        backtest(Raising(), BARS, UNCAPPED)
    assert (trials_of(BARS).n, trials_of(BARS).n_failed) == (1, 1)
    with pytest.raises(StrategyError):
        sweep(Raising, {"level": [0, 1, 2, 3, 4]}, BARS, UNCAPPED, causality_check=False)
    assert (trials_of(BARS).n, trials_of(BARS).n_failed) == (4, 1)
    backtest(Raising(level=1), BARS, UNCAPPED)
    assert (trials_of(BARS).n, trials_of(BARS).n_failed) == (4, 1)


def test_an_interrupted_run_counts(home):
    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), progress_shown(lambda task, unit: nullcontext(stop)):
        backtest(MaCrossover(), BARS)
    assert trials_of(BARS).n_failed == 1


def test_what_is_refused_before_it_runs_is_no_trial(home):
    with pytest.raises(ConfigError):
        backtest([], BARS)
    assert trials_of(BARS).n == 0


def test_a_sweep_observes_what_backtests_of_its_sets_observe(home, tmp_path, monkeypatch):
    grid = {"fast": [5, 10, 20], "slow": [30, 40]}
    found = sweep(MaCrossover, grid, BARS, UNCAPPED, BARS.frame.index[200].isoformat())
    assert found.n_trials == trials_of(BARS).n == 6
    (swept,) = trials_of(BARS).observed
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path / "other"))
    for fast in grid["fast"]:
        for slow in grid["slow"]:
            backtest(MaCrossover(fast=fast, slow=slow), BARS, UNCAPPED, start=BARS.frame.index[200])
    single = trials_of(BARS).observed
    assert len(single) == 6
    for name in ("sharpe", "skewness", "kurtosis", "weeks"):
        ours = np.concatenate([getattr(each, name) for each in single])
        np.testing.assert_allclose(getattr(swept, name), ours, rtol=1e-6, atol=1e-7)
    assert {(each.n, each.per_year, each.first_week) for each in single} == {
        (swept.n, swept.per_year, swept.first_week)
    }


def test_the_sets_of_a_sweep_are_those_of_backtests(home):
    backtest(MaCrossover(fast=5, slow=30), BARS, UNCAPPED)
    assert sweep(MaCrossover, {"fast": [5, 10], "slow": [30]}, BARS, UNCAPPED).n_trials == 2


def test_a_sweep_writes_one_line_per_chunk(home, monkeypatch):
    assert CHUNK_SETS == 1_000
    monkeypatch.setattr("peak_trade.studies.sweep.evaluation.CHUNK_SETS", 4)
    assert sweep(MaCrossover, {"fast": list(range(5, 15)), "slow": [30]}, BARS, UNCAPPED).n_trials == 10
    assert trial_ledger().n_lines == 2 + 3


def test_a_regime_study_counts_both_of_its_runs_and_no_generated_series(home):
    study = study_regimes(MaCrossover(), BARS, make_detector("rules", BARS.timeframe))
    assert trials_of(BARS).n == 2
    noise_controls(study, 1)
    study.shift_test(20)
    study.lookahead_cost()
    assert trials_of(BARS).n == 2


def test_a_portfolio_is_one_trial_on_each_of_its_symbols(home):
    other = sample_bars("ETH/USDT", n_bars=1_500)
    entries = [{"name": "ma_crossover", "symbol": each.symbol} for each in (BARS, other)]
    run_portfolio(PortfolioSettings(timeframe="1h", strategies=entries), [BARS, other])
    assert trials_of(BARS).n == trials_of(other).n == trials_of([BARS, other]).n == 1


def test_checks_of_a_run_are_no_trials(home):
    """The second opinion is a part of the engine, which cannot import the ledger (`lint-imports`)."""
    result = backtest(MaCrossover(), BARS)
    result.benchmark.stats()
    check_run([(Raising(level=1), BARS)], is_wanted=True)
    assert trials_of(BARS).n == 1


class Choosing(Strategy):
    """Chooses its length by a backtest of the bars that it knows."""

    length: int = 20

    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, bars: pd.DataFrame) -> np.ndarray:
        tried = backtest(MaCrossover(fast=5, slow=self.length), pt.as_bars(bars, "BTC/USDT", "1h"))
        return np.full(len(bars), 0.5 if tried.fill_list else 0.25)


@pytest.mark.long
def test_backtests_of_a_strategy_count_in_a_run_and_not_in_a_check(home):
    pt.check_causality(Choosing(), BARS.frame.iloc[:300], n_cuts=3)
    assert trials_of(BARS).n == 0
    backtest(Choosing(), BARS, UNCAPPED)
    assert trials_of(BARS).n == 2


def test_a_block_of_evaluations_can_be_left_out_in_its_thread(home):
    with not_trials():
        backtest(MaCrossover(), BARS)
        other = threading.Thread(target=backtest, args=(MaCrossover(fast=7), BARS))
        other.start()
        other.join()
    assert trials_of(BARS).n == 1
    backtest(MaCrossover(), BARS)
    assert trials_of(BARS).n == 2


def test_other_code_of_a_users_strategy_is_another_trial(home):
    def made(step: float) -> Strategy:
        class Own(Strategy):
            @property
            def warm_up(self) -> int:
                return 0

            def exposure(self, bars: pd.DataFrame) -> np.ndarray:
                return np.full(len(bars), 0.5) if step > 1.0 else np.zeros(len(bars))

        return Own()

    class Own(Strategy):
        @property
        def warm_up(self) -> int:
            return 0

        def exposure(self, bars: pd.DataFrame) -> np.ndarray:
            return np.full(len(bars), 0.25)

    for strategy in (made(1.0), made(1.0), Own()):
        backtest(strategy, BARS, causality_check=False)
    assert trials_of(BARS).n == 2


@pytest.mark.long
@pytest.mark.parametrize("words", mostly_long([[], ["--no-record"]], 1), ids=["recorded", "not recorded"])
def test_the_command_line_counts_with_and_without_a_record(words, registry: Path, capsys):
    save_bars(BARS)
    study = ["--strategy", "ma_crossover", "--symbol", "BTC/USDT", "--end", "2023-03-01", *words]
    for fast in ("5", "6", "6"):
        assert main(["backtest", *study, "-p", f"fast={fast}"]) == 0
    bars = pt.load_bars("BTC/USDT", "1h", end="2023-03-01")
    assert trials_of(bars).n == 2
    assert main(["sweep", *study, "-p", "fast=6,7"]) == 0
    assert "Trial ledger since today, 3 trials: " in capsys.readouterr().out
    assert (trials_of(bars).n, trials_of(bars).gaps) == (3, ())


@pytest.mark.long
def test_a_session_over_a_recording_is_a_trial_with_the_returns_of_its_backtest(home, capsys):
    save_bars(BARS)
    words = ["--strategy", "ma_crossover", "--symbol", "BTC/USDT", "--timeframe", "1h", "--start", "2023-01-15"]
    for _ in range(2):
        assert main(["session", "run", "--mode", "paper", "--feed", "recorded", *words, "--no-record"]) == 0
        assert "Trial ledger since today, 1 trial: of BTC/USDT in this span" in capsys.readouterr().out
    (session,) = trials_of(BARS).observed
    assert main(["backtest", *words, "--no-record"]) == 0
    assert "2 trials: of BTC/USDT in this span; effective number" in capsys.readouterr().out
    session, run = trials_of(BARS).observed
    for name in ("n", "per_year", "first_week", "sharpe", "skewness", "kurtosis", "weeks"):
        np.testing.assert_allclose(getattr(session, name), getattr(run, name), rtol=1e-9, err_msg=name)


def test_a_ledger_that_is_gone_or_shorter_than_a_run_says_is_a_gap(registry: Path):
    pt.record(backtest(MaCrossover(), BARS))
    kept = (registry / "trials.jsonl").read_bytes()
    pt.record(backtest(MaCrossover(fast=7), BARS))
    assert trials_of(BARS).gaps == ()
    (registry / "trials.jsonl").write_bytes(kept)
    assert ", 1 trial, 1 gap: " in trials_of(BARS).sentence
    assert trials_of(BARS).gaps == ("1 recorded run holds a line of the ledger that is not in it",)
    (registry / "trials.jsonl").unlink()
    assert trials_of(BARS).sentence.startswith("Trial ledger since today, 0 trials, 1 gap: ")
    backtest(MaCrossover(), BARS)
    assert trials_of(BARS).gaps == ("2 recorded runs hold a line of the ledger that is not in it",)
    assert ledger_sentence().startswith("Trial ledger since today, 1 trial, 1 gap. Gap: 2 recorded runs")


@pytest.mark.long
def test_runs_of_other_workspaces_in_one_registry_are_no_gaps(registry: Path, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{registry / 'mlflow.db'}")
    for name in ("one", "other"):
        monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path / name))
        pt.record(backtest(MaCrossover(fast=len(name)), BARS))
    assert trials_of(BARS).gaps == ()
    path = tmp_path / name / "trials.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert trials_of(BARS).gaps == ("1 recorded run holds a line of the ledger that is not in it",)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def warnings_of(caplog) -> pytest.LogCaptureFixture:
    warn_once.cache_clear()
    caplog.set_level(logging.WARNING, "peak_trade")
    return caplog


@pytest.mark.parametrize("place", ["read-only", "file", "locked", "later version"])
def test_a_ledger_that_takes_nothing_is_one_warning_and_no_failure(place, home, stack, warnings_of, monkeypatch):
    monkeypatch.setattr(chained_lines, "LOCK_WAIT_SECONDS", 0.01)
    if place == "read-only":
        monkeypatch.setenv("PEAK_TRADE_HOME", "/proc/peak_trade")
    elif place == "file":
        home.write_text("")
    else:
        backtest(MaCrossover(), BARS)
        path = home / "trials.jsonl"
        if place == "later version":
            path.write_text(path.read_text().replace('"version":1', '"version":2'))
        else:
            stack.enter_context(held_lock(home / ".trials.jsonl.lock", 0.0))
    for fast in (8, 9):
        result = backtest(MaCrossover(fast=fast), BARS)
        assert len(result.equity) == len(BARS)
    found = sweep(MaCrossover, {"fast": [8, 9]}, BARS, UNCAPPED)
    assert found.n_trials is None or place == "locked"
    (line,) = {each.getMessage() for each in warnings_of.records if "Its trials are not counted." in each.getMessage()}
    assert line.startswith("trial ledger /" if place != "locked" else f"trial ledger {home}")
    assert "\n" not in line


def test_a_ledger_in_the_current_folder_is_made_without_a_workspace(tmp_path, monkeypatch):
    monkeypatch.delenv("PEAK_TRADE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    backtest(MaCrossover(), BARS)
    assert sorted(os.listdir(tmp_path / ".peak_trade")) == [".trials.jsonl.lock", "trials.jsonl"]
    assert trials_of(replace(BARS, symbol="other")).n == 1
