"""Windows never see their future, and the stitched run equals one plain backtest up to the choice of the sets."""

from __future__ import annotations

import json
import pickle
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import peak_trade as pt
from peak_trade.cli.app import run
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError
from peak_trade.core.executor import Executor
from peak_trade.core.time import from_ns
from peak_trade.core.windows import make_windows
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import load_bars, save_bars
from peak_trade.data.workspace import workspace_at
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.portfolio.sizing import VolatilityTarget
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.holdout import seal_holdout
from peak_trade.studies.rerun import rerun
from peak_trade.studies.walk_forward.result import WalkForward
from peak_trade.studies.walk_forward.run import walk_forward
from tests.examples import examples, mostly_long

BARS = sample_bars("BTC/USDT", n_bars=900)
GRID = {"fast": [3, 8, 15], "slow": [20, 40]}
ARGUMENTS = {"train": 300, "test": 120, "n_processes": 1}


def first_bars(n: int) -> Bars:
    return Bars(BARS.frame.iloc[:n], BARS.symbol, BARS.timeframe, BARS.exchange)


@cache
def found() -> WalkForward:
    return walk_forward(MaCrossover, GRID, BARS, **ARGUMENTS)


@given(
    st.integers(60, 400), st.integers(2, 90), st.integers(1, 120), st.integers(0, 30), st.integers(0, 30),
    st.integers(0, 40), st.sampled_from(["rolling", "anchored"]),
)  # fmt: skip
def test_windows_tile_the_tests_and_train_on_earlier_bars_only(n_bars, train, test, purge, embargo, first, scheme):
    try:
        windows = make_windows(n_bars, train, test, purge, embargo, scheme=scheme, first=first)
    except ConfigError:
        assert train - purge < 2 or first + train + embargo + test > n_bars
        return
    tested = [bar for window in windows for bar in range(*window.test)]
    assert tested == list(range(first + embargo + train, n_bars))
    for number, window in enumerate(windows):
        (begin, after), (start, end) = window.train, window.test
        assert start - after == purge + embargo
        assert begin == (first if scheme == "anchored" else first + number * test)
        assert after - begin == train - purge + (number * test + 0 if scheme == "anchored" else 0)
        assert end > start + 1 or n_bars == end or test == 1


SETTINGS = {
    "plain": BacktestSettings(),
    "protected": BacktestSettings(execution=ExecutionPolicy(stop_loss=0.03, take_profit=0.05)),
    "volatility": BacktestSettings(sizing=VolatilityTarget(annual_volatility=0.2, window=24)),
}


@pytest.mark.parametrize("name", mostly_long(SETTINGS, 1))
@pytest.mark.parametrize("scheme", mostly_long(["rolling", "anchored"], 1))
def test_with_one_set_the_result_is_that_of_a_plain_backtest(name, scheme):
    made = walk_forward(MaCrossover, {"fast": [5], "slow": [20]}, BARS, SETTINGS[name], scheme=scheme, **ARGUMENTS)
    start = from_ns(int(BARS.times[300]))
    plain = pt.backtest(MaCrossover(fast=5, slow=20), BARS, SETTINGS[name], start=start)
    assert len(made.folds) == 5
    assert made.n_changes == 0
    assert made.result.content_digest == plain.content_digest
    assert np.array_equal(made.result.equity_values, plain.equity_values)
    assert made.result.trades.equals(plain.trades)


@settings(max_examples=examples(20))
@given(st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_a_choice_and_its_results_do_not_change_with_the_future(number, seed):
    window = found().folds[number].window
    start = window.test[0]
    frame = BARS.frame.copy()
    noise = np.exp(np.random.default_rng(seed).normal(0.0, 0.05, len(BARS) - start))
    frame.iloc[start:, :4] = frame.iloc[start:, :4].to_numpy() * noise[:, None]
    again = walk_forward(
        MaCrossover, GRID, Bars(frame, BARS.symbol, BARS.timeframe, BARS.exchange), causality_check=False, **ARGUMENTS
    )
    for one, other in zip(found().folds[: number + 1], again.folds[: number + 1], strict=True):
        assert (one.window, one.strategy, one.in_sample) == (other.window, other.strategy, other.in_sample)
    n_kept = start - found().folds[0].window.test[0]
    assert np.array_equal(found().result.equity_values[:n_kept], again.result.equity_values[:n_kept])


@pytest.mark.long
def test_a_strategy_that_looks_ahead_sees_no_bar_after_its_training_window():
    seen: set[tuple[int, int]] = set()

    class Peeking(Strategy):
        sign: float = 1.0

        @property
        def warm_up(self) -> int:
            return 0

        def exposure(self, bars):
            seen.add((len(bars), int(bars.index[-1].value)))
            return np.full(len(bars), self.sign)

    made = walk_forward(Peeking, {"sign": [1.0, -1.0]}, BARS, causality_check=False, purge=10, embargo=5, **ARGUMENTS)
    trained = {fold.window.train[1] for fold in made.folds}
    tested = {fold.window.test[1] for fold in made.folds}
    assert {n for n, _ in seen} == trained | tested
    assert all(fold.window.test[0] - fold.window.train[1] == 15 for fold in made.folds)


class Held(Strategy):
    """Holds one side."""

    side: float = 1.0

    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, bars):
        return np.full(len(bars), self.side)


@pytest.mark.long
def test_a_change_of_the_set_at_a_seam_trades_the_difference_with_costs():
    """Prices rise for 100 bars and fall for 100: the sets change once, and one order turns the position."""
    steps = np.where(np.arange(240) % 120 < 80, 0.004, -0.004) + 0.001 * np.sin(np.arange(240))
    close = 100.0 * np.exp(np.cumsum(steps))
    frame = BARS.frame.iloc[:240].copy()
    frame["open"] = np.concatenate([[100.0], close[:-1]])
    frame["close"] = close
    frame["high"], frame["low"] = frame[["open", "close"]].max(axis=1), frame[["open", "close"]].min(axis=1)
    frame["volume"] = 1e9
    bars = Bars(frame, "X/USD", BARS.timeframe, "test")
    made = walk_forward(Held, {"side": [1.0, -1.0]}, bars, train=40, test=40, causality_check=False, n_processes=1)
    sides = [fold.strategy.side for fold in made.folds]
    assert sides == [1.0, 1.0, -1.0, 1.0, 1.0]
    starts = [int(bars.times[fold.window.test[0]]) for fold in made.folds]
    fills = made.result.fill_list
    assert [fill.ts_event for fill in fills] == [starts[0], starts[2], starts[3]]  # at the open after the decision
    sizes = [fill.quantity for fill in fills]
    assert sizes[1] > 1.5 * sizes[0]  # closes the one side and opens the other
    assert all(fill.fee > 0.0 for fill in fills)
    assert made.table["n_fills"].tolist() == [1, 0, 1, 1, 0]


def test_the_returns_of_the_windows_multiply_to_the_total_return():
    table = found().table
    total = float(np.prod(1.0 + table["oos_total_return"].to_numpy()) - 1.0)
    assert total == pytest.approx(found().result.stats()["total_return"].value, rel=1e-12)
    assert table["n_fills"].sum() == len(found().result.fill_list)
    assert len(table) == 5
    assert list(found().stability()["parameter"]) == ["fast", "slow"]


def test_the_choice_of_a_window_is_that_of_a_sweep_on_its_training_bars():
    fold = found().folds[2]
    first, after = fold.window.train
    alone = pt.sweep(MaCrossover, GRID, first_bars(after), start=from_ns(int(BARS.times[first])))
    chosen = alone.results.iloc[int(alone.results["total_return"].argmax())]  # too few bars for a Sharpe ratio
    assert fold.strategy == MaCrossover(fast=int(chosen["fast"]), slow=int(chosen["slow"]))
    assert fold.in_sample["total_return"] == chosen["total_return"]


@pytest.mark.long
def test_processes_change_no_result():
    both = walk_forward(MaCrossover, GRID, BARS, **(ARGUMENTS | {"n_processes": 2}))
    assert both.table.equals(found().table)
    assert both.run_id == found().run_id


@pytest.mark.long
def test_every_set_of_every_window_is_a_trial(home):
    save_bars(BARS)
    made = walk_forward(MaCrossover, GRID, load_bars("BTC/USDT", "1h"), **ARGUMENTS)
    assert pt.trials_of(BARS).n == 6 * 5 + 1
    assert made.n_trials is not None


@pytest.mark.long
def test_trials_of_windows_on_other_machines_are_counted_here(home, tmp_path, monkeypatch):
    class Elsewhere(Executor):
        def run(self, function, shared, tasks, **_):
            for place, task in enumerate(tasks):
                with workspace_at(tmp_path / "other"):
                    answer = pickle.dumps(function(shared, task))
                yield place, pickle.loads(answer)

    monkeypatch.setattr("peak_trade.studies.walk_forward.run.Executor", Elsewhere)
    save_bars(BARS)
    arguments = ARGUMENTS | {"cluster": "tcp://10.0.0.5:8786"}
    made = walk_forward(MaCrossover, GRID, load_bars("BTC/USDT", "1h"), **arguments)
    assert pt.trials_of(BARS).n == 6 * 5 + 1
    assert not (tmp_path / "other" / "trials.jsonl").exists()
    assert made.table.equals(found().table)


@pytest.mark.long
def test_windows_on_a_cluster_give_the_same_result(home, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("peak_trade.core.executor.FEWEST_SECONDS", 0.0)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as cluster:
        made = walk_forward(MaCrossover, GRID, BARS, train=300, test=120, cluster=cluster.scheduler_address)
    assert "on 2 Dask workers" in made.execution
    assert made.table.equals(found().table)
    assert made.digests == found().digests
    assert pt.trials_of(BARS).n == 6 * 5 + 1


@pytest.mark.long
def test_a_recorded_walk_forward_is_made_again_from_its_record(registry, capsys):
    save_bars(BARS)
    given = ["walk-forward", "--strategy", "ma_crossover", "--symbol", "BTC/USDT", "-p", "fast=3,8", "-p", "slow=20"]
    assert run([*given, "--train", "300", "--test", "5d", "--processes", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Rejected, for lack of: ")
    assert "5 rolling windows: 300 bars of training in the first one, 120 bars of test" in out
    (row,) = pt.list_runs(run_type="walk_forward").to_dict("records")
    again = rerun(row["run_id"])
    assert again.is_equal
    assert again.run_id == row["run_id"]
    assert pt.show_run(row["run_id"])[row["run_id"]]["tag", "note.verdict"].startswith("Rejected")


BAD = {
    "longer than the bars": (["--train", "800", "--test", "101"], "longer than the 900 bars of BTC/USDT 1h"),
    "no length": (["--train", "800x", "--test", "10"], "train was '800x': give a number of bars, or a length"),
    "no whole bars": (["--train", "90m", "--test", "10"], "that is no whole number of 1h bars"),
    "purge": (["--train", "100", "--test", "10", "--purge", "99"], "leaves 1 of 100 training bars"),
    "no test": (["--train", "100", "--test", "0"], "test was 0 bars: give at least 1"),
    "negative": (["--train", "100", "--test", "10", "--embargo", "-5"], "embargo was '-5'"),
    "unknown parameter": (["--train", "100", "--test", "10", "-p", "fastt=3"], "fastt is not a parameter. Did you"),
    "empty values": (["--train", "100", "--test", "10", "-p", "fast="], "fast was []; give a list of the values"),
    "no valid set": (["--train", "100", "--test", "10", "-p", "fast=90"], "none of the 1 sets can be run"),
    "no scheduler": (["--train", "100", "--test", "10", "-p", "fast=3", "--cluster", "one"], "of a Dask scheduler"),
    "no scheme": (["--train", "100", "--test", "10", "--scheme", "both"], "'both' is not one of"),
}


@pytest.mark.parametrize("name", mostly_long(BAD, 6))
def test_bad_input_is_one_line_and_records_nothing(name, home, capsys):
    save_bars(BARS)
    words, line = BAD[name]
    given = ["walk-forward", "--strategy", "ma_crossover", "--symbol", "BTC/USDT", "-p", "slow=40", *words]
    assert run(given) == 2
    refused = capsys.readouterr()
    assert refused.out == ""
    assert line in refused.err
    assert refused.err.count("\n") == 1
    assert not (home / "trials.jsonl").exists()


def test_a_sealed_span_is_refused(home, capsys):
    save_bars(BARS)
    seal_holdout("BTC/USDT", "1h", from_ns(int(BARS.times[800])))
    given = ["walk-forward", "--strategy", "ma_crossover", "--symbol", "BTC/USDT", "-p", "fast=3", "-p", "slow=20"]
    assert run([*given, "--train", "300", "--test", "120", "--no-record"]) == 2
    assert "is sealed" in capsys.readouterr().err
    until = ["--end", str(from_ns(int(BARS.times[800])))]
    assert run([*given, "--train", "300", "--test", "120", "--no-record", "--json", *until]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["remarks"][0].startswith("Hold-out of sample BTC/USDT")
    assert content["is_promoted"] is False


def test_an_empty_grid_is_refused():
    with pytest.raises(ConfigError, match="the grid is empty"):
        walk_forward(MaCrossover, {}, BARS, **ARGUMENTS)
