from __future__ import annotations

import json
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.data.sample import SYMBOLS, sample_bars
from peak_trade.data.store import save_bars

EXAMPLE = Path(__file__).parents[2] / "config" / "portfolios" / "multi_strategy_example.toml"


@pytest.fixture
def store(home):
    for symbol in SYMBOLS:
        save_bars(sample_bars(symbol, n_bars=3_000))
    return home


def test_the_example_runs_and_its_parts_sum_to_the_whole(store, capsys):
    assert main(["portfolio", "--config", str(EXAMPLE), "--no-record", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["strategies"] == ["breakout", "reversion", "trend"]
    total = sum(row["pnl"] for row in shown["attribution"])
    assert total / 10_000.0 == pytest.approx(shown["stats"]["total_return"], rel=1e-9)
    assert sum(row["risk_share"] for row in shown["attribution"]) == pytest.approx(1.0, rel=1e-9)
    assert len(shown["correlations"]) == 3


def test_the_tables_name_every_strategy(store, capsys):
    assert main(["portfolio", "--config", str(EXAMPLE), "--no-record"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("breakout", "reversion", "trend", "diversification ratio"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("window = 720", "windw = 720"), "allocation.windw is not a setting. Did you mean window?"),
        (('name = "donchian"', 'name = "donchan"'), "Did you mean donchian?"),
        (("SOL/USDT", "SOL/EUR"), "there are no bars of SOL/EUR"),
        (('mode = "sleeves"', 'mode = "sleeve"'), "mode was 'sleeve'"),
    ],
    ids=["key", "strategy", "symbol", "mode"],
)
def test_a_wrong_file_is_one_line_and_exit_code_2(store, tmp_path, capsys, change, says):
    path = tmp_path / "wrong.toml"
    path.write_text(EXAMPLE.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    assert main(["portfolio", "--config", str(path), "--no-record"]) == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert shown.count("\n") == 1


def test_a_missing_file_is_exit_code_2(capsys):
    assert main(["portfolio", "--config", "nowhere.toml"]) == 2
    assert "there is no such file" in capsys.readouterr().err


@pytest.mark.long
def test_the_run_is_recorded_once_with_its_settings(store, monkeypatch, capsys):
    kept = []
    monkeypatch.setattr("peak_trade.studies.recording.record_run", lambda run, keep: kept.append(run))
    assert main(["portfolio", "--config", str(EXAMPLE), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    (run,) = kept
    assert (run.run_id, run.run_type, run.strategy) == (shown["run_id"], "portfolio", "breakout, reversion, trend")
    assert run.parameters["settings"]["allocation"]["method"] == "inverse_volatility"
    assert run.metrics["diversification_ratio"] == shown["diversification_ratio"]
