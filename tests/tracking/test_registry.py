"""Runs are recorded once, found again, and compared."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError
from peak_trade.metrics import Measure
from peak_trade.tracking import (
    DIGEST_NAMES,
    RunRecord,
    compare_runs,
    count_trials,
    list_runs,
    record_run,
    record_trials,
    show_run,
)


def run_of(run_id, **changes):
    values = {
        "run_type": "backtest",
        "strategy": "ma_crossover",
        "symbol": "BTC/USDT",
        "timeframe": "1h",
        "start": "2024-01-01 01:00:00Z",
        "end": "2024-06-30 00:00:00Z",
        "digests": dict.fromkeys(DIGEST_NAMES, "d1"),
        "parameters": {"strategy": {"fast": 20, "slow": 50}, "fee_bps": 10.0},
        "metrics": {"total_return": 0.25},
    } | changes
    return RunRecord(run_id=run_id, **values)


def test_a_run_recorded_twice_is_one_row(registry):
    record_run(run_of("aa11"))
    record_run(run_of("aa11", metrics={"total_return": 9.0}))
    runs = list_runs()
    assert runs["run_id"].tolist() == ["aa11"]
    assert runs["total_return"].tolist() == [0.25]
    assert count_trials() == 1


def test_everything_recorded_comes_back(registry, tmp_path):
    note = tmp_path / "journal.jsonl"
    note.write_text("{}\n")
    measures = {
        "sharpe": Measure(1.5, n=900, stderr=0.4),
        "win_rate": Measure(None, n=3, note="too few: 3 trades, 10 needed"),
    }
    record_run(run_of("aa11", metrics=measures, artifacts=(note,)))
    shown = show_run("aa11")["aa11"]
    assert shown["metric"].to_dict() == {"sharpe": 1.5, "sharpe_stderr": 0.4}
    assert shown["parameter"].to_dict() == {"strategy.fast": "20", "strategy.slow": "50", "fee_bps": "10.0"}
    assert shown["tag", "note.win_rate"] == "too few: 3 trades, 10 needed"
    assert shown["tag", "symbol"] == "BTC/USDT"
    assert all(shown["tag", f"digest.{name}"] == "d1" for name in DIGEST_NAMES)
    assert [path.read_text() for path in (registry / "mlartifacts").rglob("journal.jsonl")] == ["{}\n"]


def test_a_run_that_was_interrupted_while_being_recorded_is_recorded_anew(registry, tmp_path):
    with pytest.raises(ConfigError):
        record_run(run_of("aa11", metrics={"total_return": 1.0}, artifacts=(tmp_path / "missing",)))
    record_run(run_of("aa11"))
    assert list_runs()["total_return"].tolist() == [0.25]


def test_filters_narrow_the_list_and_the_newest_run_comes_first(registry):
    record_run(run_of("a1"))
    record_run(run_of("b2", symbol="ETH/USDT"))
    record_run(run_of("c3", run_type="sweep"))
    assert list_runs()["run_id"].tolist() == ["c3", "b2", "a1"]
    assert list_runs(symbol="ETH/USDT")["run_id"].tolist() == ["b2"]
    assert list_runs(run_type="sweep", strategy="ma_crossover", timeframe="1h")["run_id"].tolist() == ["c3"]
    assert list_runs(limit=2)["run_id"].tolist() == ["c3", "b2"]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert list_runs(since=tomorrow).empty
    assert len(list_runs(until=tomorrow)) == 3


def test_runs_are_compared_side_by_side_and_found_by_the_beginning_of_their_id(registry):
    record_run(run_of("aa11"))
    record_run(run_of("bb22", metrics={"total_return": 0.5, "sharpe": 1.0}))
    both = compare_runs(["bb", "aa11"])
    assert both.columns.tolist() == ["bb22", "aa11"]
    assert both.loc[("metric", "total_return")].tolist() == [0.5, 0.25]
    assert pd.isna(both.loc[("metric", "sharpe"), "aa11"])


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("aa11112", "Did you mean aa11111"),
        ("aa", "could be any of 2 runs"),
        ("zz", "The latest is aa22222"),
        ("a_", "not recorded"),
    ],
)
def test_an_unknown_run_is_refused_and_the_nearest_named(registry, asked, says):
    record_run(run_of("aa11111"))
    record_run(run_of("aa22222"))
    with pytest.raises(ConfigError, match=says):
        show_run(asked)


def test_a_workspace_without_runs_is_empty_and_stays_untouched(home):
    assert list_runs().empty
    with pytest.raises(ConfigError, match="no runs yet"):
        show_run("aa")
    assert not home.exists()


def test_a_workspace_that_is_replaced_under_a_running_kernel_is_read_anew(registry, empty_registry):
    record_run(run_of("aa11"))
    shutil.rmtree(registry)
    assert list_runs().empty
    registry.mkdir()
    shutil.copy(empty_registry, registry / "mlflow.db")
    record_run(run_of("bb22"))
    assert list_runs()["run_id"].tolist() == ["bb22"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"run_type": "backtst"}, "Did you mean backtest"), ({"digests": {"config": "d"}}, "give exactly config, data")],
)
def test_a_record_that_could_not_be_found_again_is_refused(changes, says):
    with pytest.raises(ConfigError, match=says):
        run_of("aa11", **changes)


def test_mlflow_tracking_uri_is_honoured_and_an_unusable_one_is_one_line(registry, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere.db"
    elsewhere.write_bytes((registry / "mlflow.db").read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    record_run(run_of("aa11"))
    assert len(list_runs()) == 1
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert list_runs().empty
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    with pytest.raises(ConfigError, match=r"run registry nonsense://x: .*MLFLOW_TRACKING_URI"):
        list_runs()


def test_a_trial_is_a_distinct_pair_of_config_and_data(home):
    assert count_trials() == 0
    assert record_trials([("c1", "d1"), ("c2", "d1"), ("c1", "d1")]) == 2
    assert record_trials([("c2", "d1"), ("c2", "d2")]) == 1
    assert count_trials() == 3
    assert count_trials("d1") == 2


def test_the_runs_command_lists_shows_and_compares(registry, capsys):
    record_run(run_of("aa11aa11aa11aa11"))
    record_run(run_of("bb22bb22bb22bb22", symbol="ETH/USDT", metrics={"total_return": 0.5}))
    assert main(["runs", "list"]) == 0
    table = capsys.readouterr()
    assert "aa11aa11aa11" in table.out
    assert "2 runs" in table.out
    assert table.err == ""
    assert main(["runs", "list", "--symbol", "ETH/USDT", "--json"]) == 0
    assert [run["run_id"] for run in json.loads(capsys.readouterr().out)] == ["bb22bb22bb22bb22"]
    assert main(["runs", "show", "aa11", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["aa11aa11aa11aa11"]["metric"] == {"total_return": 0.25}
    assert main(["runs", "compare", "aa11", "bb22", "--differences"]) == 0
    compared = capsys.readouterr().out
    assert "ETH/USDT" in compared
    assert "ma_crossover" not in compared


def test_differences_are_exactly_the_entries_that_differ_in_any_of_the_runs(registry, capsys):
    record_run(run_of("aa11aa11aa11aa11"))
    record_run(run_of("bb22bb22bb22bb22", parameters={"strategy": {"fast": 21, "slow": 50}, "fee_bps": 10.0}))
    record_run(run_of("cc33cc33cc33cc33", metrics={"total_return": 0.25, "sharpe": 1.0}))
    ids = ["aa11aa11aa11aa11", "bb22bb22bb22bb22", "cc33cc33cc33cc33"]
    assert main(["runs", "compare", *ids, "--differences", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [shown[run_id] for run_id in ids] == [
        {"parameter": {"strategy.fast": "20"}, "metric": {"sharpe": None}},
        {"parameter": {"strategy.fast": "21"}, "metric": {"sharpe": None}},
        {"parameter": {"strategy.fast": "20"}, "metric": {"sharpe": 1.0}},
    ]
    record_run(run_of("dd44dd44dd44dd44"))
    assert main(["runs", "compare", "aa11", "dd44", "--differences"]) == 0
    assert capsys.readouterr().out == "The runs do not differ.\n"
    assert main(["runs", "compare", "aa11", "aa11aa"]) == 2
    assert "are one run, aa11aa11aa11aa11: name two runs or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["list", "--type", "backtset"], "Did you mean backtest?"),
        (["list", "--since", "yesterday"], "--since was 'yesterday'"),
        (["show", "zz"], "no runs yet"),
        (["compare", "aa"], "name two runs or more"),
    ],
)
def test_bad_input_to_the_runs_command_is_one_line_and_exit_code_2(home, capsys, arguments, says):
    assert main(["runs", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
