"""A sweep is many backtests, only sooner; its winner is one, and says where the kernel differs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.core.compute import IndicatorCache
from peak_trade.core.errors import ConfigError
from peak_trade.core.values import Instrument
from peak_trade.costs.model import Costs
from peak_trade.data.sample import sample_bars, save_samples
from peak_trade.engine.kernel import STATISTICS, screen, simulate
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.indicators.means import sma
from peak_trade.metrics import SharpeSample, deflated_sharpe, measures_in, period_returns, simple_returns
from peak_trade.metrics.overfitting import probability_of_overfitting
from peak_trade.portfolio.sizing import FixedNotional, FractionOfEquity
from peak_trade.risk.limits import RiskLimits
from peak_trade.strategies.bollinger_bands import BollingerBands
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from peak_trade.studies.recording import record_sweep
from peak_trade.studies.sweep import evaluation
from peak_trade.studies.sweep.evaluation import (
    Crossings,
    Findings,
    Setup,
    exposures_of,
    screened,
    slices,
    statistics_of,
)
from peak_trade.studies.sweep.run import sweep
from peak_trade.studies.trials import deflated
from peak_trade.tracking import trials_of
from peak_trade.tracking.counting import not_trials
from peak_trade.tracking.queries import list_runs, show_run
from peak_trade.wiring.parameter_space import parameter_sets
from peak_trade.wiring.strategies import STRATEGIES, make_strategy
from tests.examples import mostly_long
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

GRID = {"fast": [5, 10, 20], "slow": [10, 20, 40]}
UNCAPPED = BacktestSettings(costs=Costs(max_participation=None))


@pytest.fixture(scope="module")
def bars() -> Bars:
    return sample_bars("BTC/USDT", n_bars=800)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("fraction", mostly_long([1.0, 0.4], 1))
@pytest.mark.parametrize(
    ("part", "grid"), mostly_long([(MaCrossover, GRID), (BollingerBands, {"window": [10, 20], "width": [1.0, 2.0]})], 1)
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
def test_bars_too_short_for_a_sharpe_ratio_are_ranked_by_total_return(bars) -> None:
    short = sample_bars("BTC/USDT", n_bars=720)
    result = sweep(MaCrossover, GRID, short, UNCAPPED)
    assert result.table["sharpe"].isna().all()
    assert result.winner_index == result.table["total_return"].argmax()
    assert result.best()["total_return"].is_monotonic_decreasing
    assert result.ranking == (
        "No Sharpe ratio (too few: 719 returns, 720 needed): the sets are ranked by total return."
    )  # fmt: skip
    assert sweep(MaCrossover, GRID, sample_bars("BTC/USDT", n_bars=721), UNCAPPED).ranking == ""


@pytest.mark.usefixtures("home")
def test_overfitting_is_that_of_the_daily_returns_of_all_sets() -> None:
    bars = sample_bars("BTC/USDT", n_bars=2_000)
    result = sweep(MaCrossover, GRID, bars, UNCAPPED)
    daily = []
    for _, row in result.table.iterrows():
        run = backtest(MaCrossover(fast=int(row["fast"]), slow=int(row["slow"])), bars, UNCAPPED)
        daily.append(period_returns(run.equity, "day").to_numpy())
    expected = probability_of_overfitting(np.array(daily).T)
    assert result.overfitting.probability == expected.probability
    assert result.overfitting.loss == expected.loss
    np.testing.assert_allclose(result.overfitting.logits, expected.logits, rtol=RTOL_REFERENCE)
    assert result.overfitting_sentence.startswith(f"Probability of overfitting {expected.probability.value:.2%}: ")
    short = sweep(MaCrossover, GRID, sample_bars("BTC/USDT", n_bars=800), UNCAPPED)
    assert short.overfitting_sentence == "No probability of overfitting: too few: 34 returns, 60 needed."


@pytest.mark.usefixtures("home")
def test_the_winner_is_deflated_with_the_trials_of_the_ledger(bars) -> None:
    result = sweep(MaCrossover, GRID, bars, UNCAPPED)
    count, measures = deflated(result.winner)
    assert count.n == result.n_trials == len(result.table)
    sample = SharpeSample.of(simple_returns(result.winner.equity_values))
    variance = result.table["sharpe"].var() / bars.bars_per_year
    assert count.sharpe_variance == pytest.approx(variance, rel=RTOL_REFERENCE)
    expected = deflated_sharpe(sample, count.n, variance, "estimate").value
    assert measures["deflated_sharpe"].value == pytest.approx(expected, rel=RTOL_REFERENCE)
    effective = deflated_sharpe(sample, count.n_effective, variance, "null").value
    assert measures["deflated_sharpe_null_effective"].value == pytest.approx(effective, rel=RTOL_REFERENCE)
    assert measures["deflated_sharpe_effective"].value >= measures["deflated_sharpe"].value


@pytest.mark.usefixtures("home")
def test_a_run_outside_the_ledger_has_no_deflated_sharpe_ratio(bars) -> None:
    with not_trials():
        run = backtest(MaCrossover(fast=7, slow=33), bars, UNCAPPED)
    count, measures = deflated(run)
    assert count is None
    assert {each.note for each in measures.values()} == {"the run is not in the trial ledger"}


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
    "form",
    [np.array, pd.Series, pd.Index, tuple, lambda values: [np.int64(value) for value in values]],
    ids=["array", "series", "index", "tuple", "scalars"],
)
def test_a_grid_of_numpy_values_is_the_grid_of_their_numbers(form) -> None:
    plain = {"fast": [5, 10], "slow": [20, 30]}
    strategies, _ = parameter_sets(MaCrossover, {name: form(values) for name, values in plain.items()})
    assert strategies == parameter_sets(MaCrossover, plain)[0]
    assert all(type(strategy.fast) is int for strategy in strategies)
    assert [strategy.digest() for strategy in strategies] == [
        strategy.digest() for strategy in parameter_sets(MaCrossover, plain)[0]
    ]


def test_a_grid_may_be_a_range_or_an_array_of_numbers_or_words() -> None:
    assert len(parameter_sets(MaCrossover, {"fast": range(5, 15, 5), "direction": np.array(["long", "both"])})[0]) == 4
    widths = parameter_sets(BollingerBands, {"width": np.linspace(1.0, 2.0, 3)})[0]
    assert [(part.width, type(part.width)) for part in widths] == [(1.0, float), (1.5, float), (2.0, float)]


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"fast": np.array(5)}, "give a list"),
        ({"fast": np.array([[5, 6]])}, "give a list"),
        ({"fast": np.array([])}, "give a list"),
        ({"fast": 5}, "give a list"),
        ({"fast": np.array([5.5])}, r"fast was 5\.5"),
        ({"fast": np.array([np.nan])}, "fast was nan"),
        ({"fast": np.array([True])}, "fast was True"),
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


@pytest.mark.parametrize("n_best", [0, -1])
def test_a_result_without_a_checked_set_is_refused(n_best: int, bars) -> None:
    with pytest.raises(ConfigError, match=f"n_best was {n_best}: give a whole number of at least 1"):
        sweep(MaCrossover, {"fast": [5]}, bars, n_best=n_best)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("settings", "reason"),
    mostly_long(
        [
            (BacktestSettings(execution=ExecutionPolicy(stop_loss=0.05)), "execution's protective orders"),
            (BacktestSettings(execution=ExecutionPolicy(no_trade_band=0.1)), "execution.no_trade_band"),
            (BacktestSettings(sizing=FixedNotional(notional=100.0)), "sizing fixed_notional"),
            (BacktestSettings(costs=Costs(borrow_rate=0.1)), "costs.borrow_rate"),
        ],
        1,
    ),
)
def test_settings_beyond_the_kernel_run_in_the_event_loop(settings, reason, bars) -> None:
    result = sweep(MaCrossover, GRID, bars, settings)
    assert (result.engine, result.engine_reason) == ("event loop", f"the kernel does not support {reason}")
    assert (
        result.engine_sentence
        == f"The event loop ran the sets, because the kernel does not support {reason}: 6 tasks in this process."
    )
    assert_rows_are_backtests(result, bars, settings)


def assert_rows_are_backtests(result, bars: Bars, settings: BacktestSettings, **arguments: object) -> None:
    for _, row in result.table.iterrows():
        run = backtest(MaCrossover(fast=int(row["fast"]), slow=int(row["slow"])), bars, settings, **arguments)
        stats = run.stats()
        for name in ("total_return", "sharpe", "max_drawdown", "n_fills"):
            assert row[name] == pytest.approx(stats[name].value, rel=RTOL_REFERENCE), name


@pytest.mark.long
@pytest.mark.usefixtures("home")
def test_limits_and_rules_of_an_instrument_run_in_the_event_loop(bars) -> None:
    given = {"instruments": {bars.symbol: Instrument(bars.symbol, lot_size=0.01)}}
    result = sweep(MaCrossover, GRID, bars, UNCAPPED, **given)
    assert result.engine_reason == "the kernel does not support rules of an instrument"
    assert_rows_are_backtests(result, bars, UNCAPPED, **given)
    limited = {"risk": RiskLimits(max_order_notional=20_000.0)}
    result = sweep(MaCrossover, GRID, bars, UNCAPPED, **limited)
    assert result.engine_reason == "the kernel does not support risk limits"
    assert_rows_are_backtests(result, bars, UNCAPPED, **limited)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(41, 60)), min_size=1, max_size=20),
    st.sampled_from(["long", "short", "both"]),
    st.sampled_from([1.0, 0.3]),
    st.integers(0, 100),
)
def test_crossings_at_a_time_are_strategies_one_by_one(pairs, direction, fraction, first) -> None:
    """A batch of crossings has the same bits as each strategy alone, wherever the slices are cut."""
    bars = sample_bars("BTC/USDT", n_bars=300)
    strategies = [MaCrossover(fast=fast, slow=slow, direction=direction) for fast, slow in pairs]
    setup = Setup(bars, BacktestSettings(sizing=FractionOfEquity(fraction=fraction)), first)
    crossings = Crossings.of(strategies, fraction)
    rows, problem = screened(setup, crossings)
    assert problem is None
    for place, strategy in enumerate(strategies):
        opened, close = setup.prices
        target = exposures_of(setup, strategy)
        alone = screen(opened, close, target, setup.settings.costs)
        np.testing.assert_array_equal(rows.statistics[place], [getattr(alone, name) for name in STATISTICS])
        equity, _ = simulate(opened, close, target, setup.settings.costs)
        path = statistics_of(equity, alone.n_fills, 10_000.0)
        np.testing.assert_allclose(rows.statistics[place], path, rtol=RTOL_REFERENCE, atol=1e-9)
    cuts = [list(range(len(strategies)))[part] for part in (slice(1), slice(1, None))]
    joined = Findings.joined([screened(setup, crossings.at(cut))[0] for cut in cuts])
    one_by_one, _ = screened(setup, strategies)
    for name in ("statistics", "moments", "weeks", "digests"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(rows, name))
        np.testing.assert_array_equal(getattr(one_by_one, name), getattr(rows, name))


PAIRS = parameter_sets(MaCrossover, {"fast": range(1, 33), "slow": range(33, 81)})[0]


@given(st.lists(st.integers(0, len(PAIRS) - 1), unique=True, min_size=1, max_size=300))
def test_the_tasks_have_every_set_once(places) -> None:
    setup = Setup(sample_bars("BTC/USDT", n_bars=300), UNCAPPED)
    strategies = [PAIRS[place] for place in places]
    tasks = [task for task, _ in slices(setup, strategies, True)]
    assert sorted(place for task in tasks for place in task) == list(range(len(places)))
    assert all(0 < len(task) <= evaluation.SLICE_SETS for task in tasks)


def test_the_sets_of_a_task_share_their_lines(bars, monkeypatch) -> None:
    """A task of 128 pairs needs 24 lines where rows of the grid would need 51, and fewer where memory is short."""
    setup = Setup(bars, UNCAPPED)

    def n_lines() -> int:
        return max(len(crossings.lines) for _, crossings in slices(setup, PAIRS, True))

    assert n_lines() == 24
    monkeypatch.setattr(evaluation, "_LINE_BYTES", 8 * len(bars) * 10)
    assert n_lines() <= 10


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "settings", mostly_long([UNCAPPED, BacktestSettings(execution=ExecutionPolicy(stop_loss=0.05))], 1)
)
def test_a_sweep_is_the_same_on_any_number_of_cores(settings, bars, monkeypatch) -> None:
    monkeypatch.setattr(evaluation, "SLICE_SETS", 2)
    one = sweep(MaCrossover, GRID, bars, settings, n_processes=1)
    monkeypatch.setattr("peak_trade.core.executor.FEWEST_SECONDS", 0.0)
    two = sweep(MaCrossover, GRID, bars, settings, n_processes=2)
    assert ("2 threads" if settings is UNCAPPED else "2 processes") in two.execution
    assert one.table.equals(two.table)
    assert one.run_id == two.run_id
    np.testing.assert_array_equal(one.moments, two.moments)


def test_every_set_is_one_trial_for_ever(home: Path, bars) -> None:
    first = sweep(MaCrossover, GRID, bars, UNCAPPED)
    again = sweep(MaCrossover, GRID, bars, UNCAPPED)
    assert first.n_trials == again.n_trials == trials_of(bars).n == 6
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
    assert shared(sma, one, 5) is not shared(sma, one, 5), "an array that can change is not kept"
    one.flags.writeable = other.flags.writeable = False
    assert shared(sma, one, 5) is shared(sma, one, 5)
    for window in (5, 6, 7, 5):
        for values in (one, other, one[::2]):
            np.testing.assert_allclose(shared(sma, values, window), sma(values, window), rtol=RTOL_SAME)
    assert shared(sma, one, 5) is shared(sma, one, 5)


def test_sweep_is_one_run_with_its_table_and_no_trial_of_its_own(registry: Path, bars) -> None:
    result = sweep(MaCrossover, GRID, bars, UNCAPPED)
    run_id = record_sweep(result)
    assert run_id == result.run_id == sweep(MaCrossover, GRID, bars, UNCAPPED).run_id
    assert trials_of(bars).n == 6
    (listed,) = list_runs(run_type="sweep")["run_id"]
    assert run_id.startswith(listed)
    (kept,) = registry.rglob("sweep.parquet")
    assert pd.read_parquet(kept).equals(result.table)
    (shown,) = show_run(run_id).items()
    assert {*measures_in("selection"), "n_trials", "n_effective_trials"} <= set(shown[1]["metric"].index)


def test_verb_prints_the_best_sets_and_the_verdict(home: Path, capsys) -> None:
    save_samples()
    command = ["sweep", "--strategy", "ma_crossover", "--symbol", "BTC/USDT", "--end", "2023-03-01", "--no-record"]
    assert main([*command, "-p", "fast=5,10,20", "-p", "slow=20,50", "--json", "--top", "2"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["n_sets"], answer["n_skipped"], answer["n_trials"]) == (5, 1, 5)
    assert len(answer["best"]) == 2
    assert answer["best"][0]["sharpe"] >= answer["best"][1]["sharpe"]
    assert answer["difference"] == ""
    assert answer["overfitting"]["probability_of_overfitting"]["note"] == "too few: 59 returns, 60 needed"
    assert tuple(answer["winner"]["selection"]) == measures_in("selection")
    assert main([*command, "-p", "fast=5,10", "-p", "slow=20"]) == 0
    printed = capsys.readouterr().out
    for part in ("the event loop agrees", "error at the null", "conservative", "probability of overf"):
        assert part in printed
    assert main([*command, "-p", "fats=5,10"]) == 2
    assert "fats is not a parameter. Did you mean fast?" in capsys.readouterr().err
    assert home.is_dir()
