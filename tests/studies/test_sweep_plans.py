"""How the sets of a sweep are chosen, what is refused, and how an interrupted sweep continues."""

from __future__ import annotations

import json
import socket
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.cli import main
from peak_trade.core import executor as executors
from peak_trade.core.bars import as_bars
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.progress import progress_shown
from peak_trade.data.sample import sample_bars, save_samples
from peak_trade.data.store import save_bars
from peak_trade.engine.settings import BacktestSettings
from peak_trade.metrics import measures_in
from peak_trade.metrics.resampling import superior_series
from peak_trade.reports.answer import Finding
from peak_trade.reports.views import sweep as view
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.recording import record_sweep
from peak_trade.studies.rerun import rerun
from peak_trade.studies.sweep import evaluation
from peak_trade.studies.sweep.run import sweep
from peak_trade.tracking import show_run, trials_of
from peak_trade.wiring.parameter_space import MOST_SETS, ParameterSpace, parameter_sets, range_values
from tests.examples import mostly_long

BARS = sample_bars("BTC/USDT", n_bars=800)
UNCAPPED = BacktestSettings(costs={"max_participation": None})
GRID = {"fast": "2..20", "slow": "10..60:5"}


@given(st.integers(-50, 50), st.integers(0, 80), st.integers(1, 9), st.integers(0, 3))
def test_a_range_has_every_step_from_its_start_to_its_end(low, n_steps, step, decimals):
    scale = 10**decimals
    text = f"{low / scale:.{decimals}f}..{(low + n_steps) / scale:.{decimals}f}:{step / scale:.{decimals}f}"
    expected = [value / scale for value in range(low, low + n_steps + 1, step)]
    assert range_values(text) == expected
    assert all(isinstance(value, int) for value in range_values(text)) or decimals


@pytest.mark.parametrize("text", ["5..", "..5", "9..5", "1..5:0", "1..5:-1", "a..b", "1..nan", "0..1e9", "1..2:3:4"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(ConfigError, match=r"give low\.\.high or low\.\.high:step, such as 5\.\.50:5"):
        range_values(text)


def test_constraints_leave_the_sets_that_fulfil_all_of_them():
    chosen, n_skipped = parameter_sets(MaCrossover, GRID, ["3 * fast <= slow", "slow - fast < 30"])
    every = parameter_sets(MaCrossover, GRID)[0]
    assert chosen == [each for each in every if 3 * each.fast <= each.slow and each.slow - each.fast < 30]
    assert len(chosen) + n_skipped == 19 * 11


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fats < slow", "fats in the constraint 'fats < slow' is not a parameter. Did you mean fast?"),
        ("fast", "is not a comparison of parameters and numbers, such as fast < slow"),
        ("fast <", "is not a comparison"),
        ("__import__('os') < 1", "is not a comparison"),
        ("fast ** 9 < slow", "is not a comparison"),
        ("direction < slow", "is not a comparison"),
        ("slow < fast", "none of the 209 sets can be run"),
    ],
)
def test_a_constraint_that_cannot_be_read_or_excludes_everything_is_refused(text, words):
    with pytest.raises(ConfigError) as caught:
        parameter_sets(MaCrossover, GRID, [text])
    assert words in str(caught.value)


@given(st.integers(1, 40), st.integers(0, 5))
def test_random_sets_are_distinct_sets_of_the_grid(n_sets, seed):
    every = {each.digest() for each in parameter_sets(MaCrossover, GRID, ["fast < 10"])[0]}
    space = ParameterSpace(MaCrossover, GRID, ["fast < 10"])
    drawn = [each.digest() for each in space.random_sets(n_sets, seed)]
    assert len(drawn) == len(set(drawn)) == min(n_sets, len(every))
    assert set(drawn) <= every
    again = ParameterSpace(MaCrossover, GRID, ["fast < 10"]).random_sets(n_sets, seed)
    assert drawn == [each.digest() for each in again]


def test_random_sets_of_a_grid_that_is_too_large_to_list():
    space = ParameterSpace(MaCrossover, {"fast": "1..2000", "slow": "2001..4000"})
    assert space.n_sets > MOST_SETS
    assert len({each.digest() for each in space.random_sets(20, 0)}) == 20


@pytest.mark.usefixtures("home")
def test_a_large_grid_needs_a_confirmation(monkeypatch):
    monkeypatch.setattr("peak_trade.studies.sweep.run.MOST_UNCONFIRMED", 3)
    values = {"fast": [5, 6], "slow": [20, 30]}
    with pytest.raises(ConfigError, match=r"the grid has 4 sets, more than 3\. Confirm it with --yes"):
        sweep(MaCrossover, values, BARS, UNCAPPED)
    assert len(sweep(MaCrossover, values, BARS, UNCAPPED, is_confirmed=True).table) == 4


@pytest.mark.usefixtures("home")
def test_sets_with_one_result_are_named():
    found = sweep(MaCrossover, {"fast": [5, 5, 6], "slow": [20]}, BARS, UNCAPPED)
    assert found.equal_sets == ((0, 1),)
    assert found.equal_sets_sentence == (
        "2 of 3 combinations share their result with another one: (fast=5, slow=20) and (fast=5, slow=20)."
    )
    assert sweep(BuyAndHold, {}, BARS, UNCAPPED).equal_sets_sentence == ""


@pytest.mark.usefixtures("home")
def test_results_are_the_best_sets_in_the_event_loop():
    found = sweep(MaCrossover, GRID, BARS, UNCAPPED, n_best=3)
    assert list(found.results.index) == list(found.best(3).index)
    assert found.results["run_id"].iloc[0] == found.winner.run_id
    assert (found.results["difference"] == "").all()
    winner = found.winner.stats()
    assert all(found.results[name].iloc[0] == winner[name].value for name in measures_in("sweep"))
    assert found.results["total_return"].tolist() == pytest.approx(found.best(3)["total_return"].tolist(), rel=1e-8)
    assert found.agreement_sentence == "On the 3 best the event loop agrees."


class Stop:
    """A display of progress that interrupts the work after a number of sets."""

    def __init__(self, after):
        self.after = after

    def __call__(self, task, unit):
        return nullcontext(self.told)

    def told(self, done, total):
        if done >= self.after:
            raise KeyboardInterrupt


def test_an_interrupted_sweep_continues_where_it_stopped(home: Path, monkeypatch, caplog):
    monkeypatch.setattr(evaluation, "SLICE_SETS", 20)
    with pytest.raises(KeyboardInterrupt), progress_shown(Stop(60)):
        sweep(MaCrossover, GRID, BARS, UNCAPPED, n_processes=1)
    assert "sweep interrupted: 60 of 191 sets are kept" in caplog.text
    assert trials_of(BARS).n == 60
    assert len(list(home.glob("cache/sweeps/*/*.npz"))) == 1
    ran: list[int] = []
    real = evaluation.screened
    monkeypatch.setattr(evaluation, "screened", lambda setup, sets: ran.append(len(sets)) or real(setup, sets))
    continued = sweep(MaCrossover, GRID, BARS, UNCAPPED, n_processes=1)
    assert sum(ran) == 191 - 60
    assert continued.execution.endswith("60 sets were kept from an interrupted sweep")
    assert continued.n_trials == trials_of(BARS).n == 191
    assert not list(home.glob("cache/sweeps/*"))
    whole = sweep(MaCrossover, GRID, BARS, UNCAPPED)
    assert whole.table.equals(continued.table)
    assert whole.run_id == continued.run_id
    assert (whole.moments == continued.moments).all()


def test_a_damaged_part_of_an_interrupted_sweep_runs_again(home: Path, monkeypatch):
    monkeypatch.setattr(evaluation, "SLICE_SETS", 20)
    with pytest.raises(KeyboardInterrupt), progress_shown(Stop(60)):
        sweep(MaCrossover, GRID, BARS, UNCAPPED, n_processes=1)
    (part,) = home.glob("cache/sweeps/*/*.npz")
    part.write_bytes(part.read_bytes()[:100])
    found = sweep(MaCrossover, GRID, BARS, UNCAPPED)
    assert "kept" not in found.execution
    assert len(found.table) == 191


@pytest.mark.long
def test_a_search_is_the_same_again_and_finds_a_better_set_than_most(registry: Path):
    pytest.importorskip("optuna")
    options = {"method": "search", "n_sets": 30, "seed": 1, "constraints": ["2 * fast <= slow"]}
    found = sweep(MaCrossover, GRID, BARS, UNCAPPED, **options)
    again = sweep(MaCrossover, GRID, BARS, UNCAPPED, n_processes=1, **options)
    assert found.table.equals(again.table)
    assert found.run_id == again.run_id
    assert len(found.table.drop_duplicates(["fast", "slow"])) == len(found.table) == found.n_trials == 30
    assert (2 * found.table["fast"] <= found.table["slow"]).all()
    every = sweep(MaCrossover, GRID, BARS, UNCAPPED, constraints=options["constraints"]).table
    assert found.table["sharpe"].max() > every["sharpe"].quantile(0.9)


@pytest.mark.long
def test_a_random_sweep_is_made_again_from_its_record(registry: Path):
    save_bars(BARS)
    options = {"method": "random", "n_sets": 7, "seed": 3, "constraints": ["fast < slow"]}
    found = sweep(MaCrossover, GRID, BARS, BacktestSettings(execution={"stop_loss": 0.05}), **options)
    assert len(found.table) == 7
    run_id = record_sweep(found)
    again = rerun(run_id)
    assert again.is_equal, again
    assert show_run(run_id)[run_id]["parameter"]["engine"] == "event loop"


@pytest.fixture
def stored(home: Path) -> Path:
    save_samples()
    return home


FILE = """
strategy = "ma_crossover"
symbol = "BTC/USDT"
end = "2023-03-01"
constraints = ["fast < slow"]
[parameters]
fast = "5..15:5"
slow = [10, 20]
"""


@pytest.mark.long
def test_a_file_is_run_and_options_override_it(stored: Path, tmp_path: Path, capsys):
    path = tmp_path / "sweep.toml"
    path.write_text(FILE)
    assert main(["sweep", str(path), "--no-record", "--json", "--top", "2"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["n_sets"], answer["n_skipped"], answer["engine"]) == (4, 2, "array kernel")
    assert [each["difference"] for each in answer["best"]] == ["", ""]
    run = tmp_path / "run.toml"
    run.write_text("[execution]\nstop_loss = 0.05\n")
    assert main(["sweep", str(path), "--config", str(run), "-p", "fast=5", "--no-record"]) == 0
    page = capsys.readouterr().out
    assert "The event loop ran the sets, because the kernel does not support execution's protective orders" in page


STUDY = ["sweep", "--strategy", "ma_crossover", "--symbol", "BTC/USDT", "--end", "2023-03-01", "--no-record"]


@pytest.mark.parametrize(
    ("words", "message"),
    mostly_long(
        [
            (["-p", "fats=5..9"], "fats is not a parameter. Did you mean fast?"),
            (["-p", "fast=9..5"], "range was '9..5': give low..high or low..high:step, such as 5..50:5."),
            (
                ["-p", "fast=5", "--constraint", "fast > slow"],
                "none of the 1 sets can be run. The first: fast > slow does",
            ),
            (["-p", "fast=5", "--method", "random"], "the method random needs the number of sets to try"),
            (["-p", "fast=5", "--method", "anneal"], "method was 'anneal'"),
            (["-p", "fast=5", "--sets", "3"], "n_sets was 3, but a grid runs all sets"),
            ([], "there are no values to try. Give them in [parameters] or with -p"),
            (["-p", "fast=1..2000", "-p", "slow=2001..4000"], "the grid has 4,000,000 sets, more than 1,000,000"),
            (
                ["-p", "fast=1..400", "-p", "slow=401..800"],
                "the grid has 160,000 sets, more than 100,000. Confirm it with",
            ),
            (["-p", "fast=5", "--cluster", "scheduler"], "give the address of a Dask scheduler, such as tcp://"),
        ],
        3,
    ),
)
def test_bad_input_is_one_line(stored: Path, capsys, words, message):
    assert main([*STUDY, *words]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert told.err.count("\n") == 1
    assert not list(stored.glob("cache/sweeps/*"))


@pytest.mark.parametrize(
    ("text", "message"),
    mostly_long(
        [
            (
                "strategy = 'ma_crossover'\nsymbol = 'BTC/USDT'\n",
                "there are no values to try. Give them in [parameters]",
            ),
            (FILE.replace("[parameters]", "[parameter]"), "Did you mean parameters?"),
            (FILE.replace('fast = "5..15:5"', "fast = []"), "fast was []; give a list"),
            (FILE.replace("ma_crossover", "ma_crosover"), "Did you mean ma_crossover?"),
        ],
        1,
    ),
)
def test_a_bad_file_is_one_line(stored: Path, tmp_path: Path, capsys, text, message):
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    assert main(["sweep", str(path), "--no-record"]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert told.err.count("\n") == 1


@pytest.mark.long
def test_a_cluster_that_cannot_be_reached_is_one_line(stored: Path, capsys, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "SECONDS_TO_CONNECT", 0.2)
    monkeypatch.setattr(executors, "FEWEST_SECONDS", 0.0)
    monkeypatch.setattr(evaluation, "SLICE_SETS", 1)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
    assert main([*STUDY, "-p", "fast=5..9", "--cluster", address]) == 2
    assert f"cluster {address}: no Dask scheduler answered within" in capsys.readouterr().err


@pytest.mark.long
def test_a_cluster_gives_the_same_bytes(home: Path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "FEWEST_SECONDS", 0.0)
    monkeypatch.setattr(evaluation, "SLICE_SETS", 20)
    here = sweep(MaCrossover, GRID, BARS, UNCAPPED)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as cluster:
        there = sweep(MaCrossover, GRID, BARS, UNCAPPED, cluster=cluster.scheduler_address)
        stops = BacktestSettings(execution={"stop_loss": 0.05})
        slow = sweep(MaCrossover, {"fast": "5..9"}, BARS, stops, cluster=cluster.scheduler_address)
    assert "on 2 Dask workers" in there.execution
    assert here.table.equals(there.table)
    for name in ("moments", "weeks"):
        assert getattr(here, name).tobytes() == getattr(there, name).tobytes()
    assert slow.table.equals(sweep(MaCrossover, {"fast": "5..9"}, BARS, stops, n_processes=1).table)


@pytest.mark.usefixtures("home")
def test_the_plateau_score_is_the_mean_ratio_of_a_set_and_its_neighbours():
    found = sweep(MaCrossover, {"fast": [20, 5, 10], "slow": [15, 30, 60]}, BARS, UNCAPPED)
    ratio = {(row["fast"], row["slow"]): row["sharpe"] for _, row in found.table.iterrows()}
    fasts, slows = [5, 10, 20], [15, 30, 60]
    for (_, row), score in zip(found.table.iterrows(), found.plateau(), strict=True):
        near = [
            ratio[fast, slow]
            for fast, slow in ratio
            if abs(fasts.index(fast) - fasts.index(row["fast"])) <= 1
            and abs(slows.index(slow) - slows.index(row["slow"])) <= 1
        ]
        assert score == pytest.approx(sum(near) / len(near), rel=1e-12)
    assert sweep(BuyAndHold, {}, BARS, UNCAPPED).plateau().tolist() == [found_ratio(BARS)]


def found_ratio(bars):
    return sweep(BuyAndHold, {}, bars, UNCAPPED).table["sharpe"].iloc[0]


@pytest.mark.usefixtures("home")
def test_survivors_are_those_of_the_test_on_weekly_returns(monkeypatch):
    bars = sample_bars("BTC/USDT", n_bars=6_000)
    found = sweep(MaCrossover, {"fast": [5, 10], "slow": [50, 7_000]}, bars, UNCAPPED)
    weeks = found.weeks.astype(float)
    traded = [place for place in range(4) if weeks[place].std() > 0.0]
    assert len(traded) == 2
    expected = [traded[each] for each in superior_series(weeks[traded].T)]
    assert found.survivors() == expected
    with pytest.raises(DataError, match="no test of the best of several series: 6 weeks, 30 needed"):
        sweep(MaCrossover, GRID, BARS, UNCAPPED).survivors()
    monkeypatch.setattr("peak_trade.studies.sweep.result.MOST_COMPARED", 3)
    with pytest.raises(DataError, match="4 sets are more than 3"):
        found.survivors()


@pytest.mark.long
@pytest.mark.usefixtures("home")
def test_a_verdict_promotes_only_what_every_check_speaks_for(monkeypatch):
    """Rising prices are promoted, prices without a trend are not, and a few bars are no evidence."""
    generator = np.random.default_rng(5)

    def bars_with(drift, n_bars=12_000):
        steps = np.sign(np.sin(np.arange(n_bars) / 150.0)) * drift + generator.normal(0.0, 0.002, n_bars)
        close = 100.0 * np.exp(np.cumsum(steps))
        opened = np.append(100.0, close[:-1])
        columns = {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close}
        index = pd.date_range("2023-01-01", periods=n_bars, freq="h", tz="UTC", name="close_time").as_unit("ns")
        return as_bars(pd.DataFrame(columns, index).assign(volume=1e9), "X/USD", "1h")

    grid = {"fast": [10, 20, 30], "slow": [60, 80, 100]}
    planted = view.answer(sweep(MaCrossover, grid, bars_with(0.0015), UNCAPPED))
    assert (planted.verdict, planted.finding) == ("Promoted", Finding.SHOWN), planted.checks
    noise = view.answer(sweep(MaCrossover, grid, bars_with(0.0), UNCAPPED))
    assert noise.verdict == "Rejected"
    assert "survives the choice" in noise.sentence
    assert noise.finding in (Finding.AGAINST, Finding.NOT_SHOWN)
    assert view.answer(sweep(MaCrossover, grid, bars_with(0.0015, 1_000), UNCAPPED)).verdict in (
        "Rejected",
        "Cannot say",
    )
