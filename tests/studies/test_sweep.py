"""A sweep is many backtests, only sooner; its winner is one, and says where the kernel differs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError
from peak_trade.costs.model import Costs
from peak_trade.data.sample import sample_bars, save_samples
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.indicators.means import sma
from peak_trade.portfolio.sizing import FixedNotional, FractionOfEquity
from peak_trade.strategies.bollinger_bands import BollingerBands
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from peak_trade.studies.recording import record_sweep
from peak_trade.studies.sweep import IndicatorCache, parameter_sets, sweep
from peak_trade.tracking.queries import list_runs
from peak_trade.tracking.trials import count_trials
from peak_trade.wiring.strategies import STRATEGIES, make_strategy
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

GRID = {"fast": [5, 10, 20], "slow": [10, 20, 40]}
UNCAPPED = BacktestSettings(costs=Costs(max_participation=None))


@pytest.fixture(scope="module")
def bars() -> Bars:
    return sample_bars("BTC/USDT", n_bars=600)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("fraction", [1.0, 0.4])
@pytest.mark.parametrize(
    ("part", "grid"), [(MaCrossover, GRID), (BollingerBands, {"window": [10, 20], "width": [1.0, 2.0]})]
)
def test_every_row_is_what_a_backtest_of_its_parameters_gives(part, grid, fraction, bars) -> None:
    settings = UNCAPPED.model_copy(update={"sizing": FractionOfEquity(fraction=fraction)})
    result = sweep(part, grid, bars, settings)
    for _, row in result.table.iterrows():
        run = backtest(part(**{name: type(grid[name][0])(row[name]) for name in grid}), bars, settings)
        stats = run.stats()
        for name in ("total_return", "sharpe", "max_drawdown", "n_fills"):
            assert row[name] == pytest.approx(stats[name].value, rel=RTOL_REFERENCE), name
    assert result.agrees, result.difference


@pytest.mark.usefixtures("home")
def test_winner_is_the_best_row_run_in_the_event_loop(bars) -> None:
    result = sweep(MaCrossover, GRID, bars, UNCAPPED)
    best = result.table.loc[result.winner_index]
    assert best["sharpe"] == result.table["sharpe"].max()
    assert result.winner.parameters["ma_crossover"]["fast"] == best["fast"]
    assert result.winner.parameters["ma_crossover"]["slow"] == best["slow"]
    assert len(result.winner.fill_list) == best["n_fills"]
    assert len(result.winner.events) > 0


@pytest.mark.usefixtures("home")
def test_winner_says_when_the_kernel_was_too_kind(bars) -> None:
    frame = bars.frame.assign(volume=0.5)
    thin = Bars(frame, bars.symbol, bars.timeframe, bars.exchange)
    rich = BacktestSettings(initial_cash=1e6)
    result = sweep(MaCrossover, GRID, thin, rich)
    assert not result.agrees
    assert "event loop" in result.difference


def test_sets_that_contradict_themselves_are_skipped_and_counted() -> None:
    strategies, n_skipped = parameter_sets(MaCrossover, GRID)
    assert n_skipped == 3
    assert [(part.fast, part.slow) for part in strategies] == [(5, 10), (5, 20), (5, 40), (10, 20), (10, 40), (20, 40)]


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"fats": [5, 10]}, "fats is not a parameter. Did you mean fast?"),
        ({"fast": [5, -1]}, "fast was -1"),
        ({"fast": ["five"]}, "fast was 'five'"),
        ({"fast": []}, "give a list"),
        ({"fast": "5"}, "give a list"),
        ({"fast": [30], "slow": [20, 30]}, "none of the 2 sets can be run"),
    ],
)
def test_grid_that_means_something_else_than_it_says_is_refused(grid, words) -> None:
    with pytest.raises(ConfigError, match=words):
        parameter_sets(MaCrossover, grid)


@pytest.mark.parametrize(
    "settings",
    [
        BacktestSettings(execution=ExecutionPolicy(stop_loss=0.05)),
        BacktestSettings(execution=ExecutionPolicy(no_trade_band=0.1)),
        BacktestSettings(sizing=FixedNotional(notional=100.0)),
        BacktestSettings(costs=Costs(borrow_rate=0.1)),
    ],
)
def test_settings_beyond_the_kernel_are_refused(settings, bars) -> None:
    with pytest.raises(ConfigError, match="array kernel does not support"):
        sweep(MaCrossover, GRID, bars, settings)


def test_every_set_is_one_trial_for_ever(home: Path, bars) -> None:
    first = sweep(MaCrossover, GRID, bars, UNCAPPED)
    again = sweep(MaCrossover, GRID, bars, UNCAPPED)
    assert first.n_trials == again.n_trials == count_trials() == 6
    assert sweep(MaCrossover, {"fast": [6]}, bars, UNCAPPED).n_trials == 7
    assert home.is_dir()


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"composite"}))
def test_shared_indicators_change_no_exposure(name: str, bars) -> None:
    filters = {"rsi_reversion": {"trend_window": 50}, "mean_reversion": {"max_volatility": 0.6}}
    strategy = make_strategy(name, filters.get(name))
    shared = IndicatorCache()
    for _ in range(2):
        np.testing.assert_array_equal(strategy.exposure_by(bars.frame, shared), strategy.exposure(bars.frame))


def test_indicators_are_shared_within_a_bound_and_never_mixed_up() -> None:
    rng = np.random.default_rng(3)
    one, other = rng.normal(100.0, 1.0, 1_000), rng.normal(100.0, 1.0, 1_000)
    shared = IndicatorCache(max_bytes=2 * one.nbytes)
    assert shared(sma, one, 5) is shared(sma, one, 5)
    for window in (5, 6, 7, 5):
        for values in (one, other, one[::2]):
            np.testing.assert_allclose(shared(sma, values, window), sma(values, window), rtol=RTOL_SAME)
    assert shared(sma, one, 5) is shared(sma, one, 5)


def test_sweep_is_one_run_with_its_table_and_no_trial_of_its_own(registry: Path, bars) -> None:
    result = sweep(MaCrossover, GRID, bars, UNCAPPED)
    run_id = record_sweep(result)
    assert run_id == result.run_id == sweep(MaCrossover, GRID, bars, UNCAPPED).run_id
    assert count_trials() == 6
    (listed,) = list_runs(run_type="sweep")["run_id"]
    assert run_id.startswith(listed)
    (kept,) = registry.rglob("sweep.parquet")
    assert pd.read_parquet(kept).equals(result.table)


def test_verb_prints_the_best_sets_and_the_verdict(home: Path, capsys) -> None:
    save_samples()
    command = ["sweep", "--strategy", "ma_crossover", "--symbol", "BTC/USDT", "--end", "2023-03-01", "--no-record"]
    assert main([*command, "-p", "fast=5,10,20", "-p", "slow=20,50", "--json", "--top", "2"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["n_sets"], answer["n_skipped"], answer["n_trials"]) == (5, 1, 5)
    assert len(answer["best"]) == 2
    assert answer["best"][0]["sharpe"] >= answer["best"][1]["sharpe"]
    assert answer["difference"] == ""
    assert main([*command, "-p", "fast=5,10", "-p", "slow=20"]) == 0
    assert "the event loop agrees" in capsys.readouterr().out
    assert main([*command, "-p", "fats=5,10"]) == 2
    assert "fats is not a parameter. Did you mean fast?" in capsys.readouterr().err
    assert home.is_dir()
