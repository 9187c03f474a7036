"""`peak-trade backtest`: what it prints, and the one line that wrong input gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.data.sample import save_samples


@pytest.fixture(scope="module")
def sample_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEAK_TRADE_HOME", str(folder))
        save_samples()
    return folder


@pytest.fixture
def held(sample_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEAK_TRADE_HOME", str(sample_home))


SHORT = ["--symbol", "BTC/USDT", "--end", "2023-03-01", "--no-record"]


@pytest.mark.long
@pytest.mark.usefixtures("held")
def test_json_names_the_run_and_its_measures(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["backtest", "--strategy", "ma_crossover", *SHORT, "--json", "--second-opinion", "-p", "fast=10"]
    assert main(command) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer["digests"]) == {"config", "data", "code", "seed", "environment"}
    assert answer["stats"]["n_fills"] > 10
    assert (answer["standing"], answer["why"]) == (answer["risk_status"], answer["no_trade_reason"])
    assert answer["second_opinion"].startswith("vectorbt agrees (decisions)")
    for values, measures in (("stats", "measures"), ("benchmark", "benchmark_measures")):
        assert {name: measure["value"] for name, measure in answer[measures].items()} == answer[values]
    assert answer["measures"]["sharpe"]["stderr"] > 0.0
    assert answer["measures"]["sharpe"]["n"] == answer["n_bars"] - 1
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == answer


@pytest.mark.usefixtures("held")
def test_the_table_says_why_nothing_traded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", "--strategy", "cash", *SHORT]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Nothing traded: the target stayed flat over all" in out


@pytest.mark.usefixtures("held")
def test_two_symbols_share_one_account(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["backtest", "--strategy", "buy_and_hold", *SHORT, "--symbol", "ETH/USDT", "--json"]
    assert main(command) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["symbols"] == ["BTC/USDT", "ETH/USDT"]
    assert answer["stats"]["n_fills"] == 2


RUN_FILE = """
initial_cash = 5_000.0
[costs]
fee_bps = 20.0
[execution]
stop_loss = 0.05
[instruments."BTC/USDT"]
lot_size = 0.001
[risk]
max_symbol_exposure = 0.5
size_to_limits = true
"""


@pytest.mark.usefixtures("held")
def test_a_run_file_sets_the_run_and_options_go_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_file = tmp_path / "run.toml"
    run_file.write_text(RUN_FILE)
    command = ["backtest", "--strategy", "ma_crossover", *SHORT, "--json", "--config", str(run_file)]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    assert main([*command, "--fee-bps", "0", "--slippage-bps", "0"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["stats"]["total_return"] > first["stats"]["total_return"]
    assert second["digests"]["config"] != first["digests"]["config"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[costs]\nfee = 1.0", "costs.fee is not a setting. Did you mean fee_bps?"),
        ("[execution]\nstop_loss = 2.0", "execution.stop_loss was 2.0"),
        ('[instruments."BTC/USDT"]\nlotsize = 1', "Did you mean lot_size?"),
        ("[risk]\nmax_drawdwon = 0.2", "Did you mean max_drawdown?"),
        ("initial_cash = ", "this is not TOML"),
    ],
)
@pytest.mark.usefixtures("held")
def test_a_wrong_run_file_is_named(
    text: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_file = tmp_path / "run.toml"
    run_file.write_text(text)
    assert main(["backtest", "--strategy", "ma_crossover", *SHORT, "--config", str(run_file)]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert str(run_file) in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--strategy", "ma_crosover", *SHORT], "Did you mean ma_crossover?"),
        (["--strategy", "nowhere.at_all:Mine", *SHORT], "nowhere.at_all"),
        (["--strategy", "ma_crossover", *SHORT, "-p", "fsat=3"], "Did you mean fast?"),
        (["--strategy", "ma_crossover", *SHORT, "-p", "fast"], "write key=value"),
        (["--strategy", "ma_crossover", *SHORT, "-p", "fast=90"], "fast must be the smaller"),
        (["--strategy", "ma_crossover", "--symbol", "BTC/USTD"], "Did you mean BTC/USDT?"),
        (["--strategy", "ma_crossover", *SHORT, "--timeframe", "1x"], "timeframe was '1x'"),
        (["--strategy", "ma_crossover", *SHORT, "--start", "2024-01-01"], "start must be before end"),
        (["--strategy", "ma_crossover", *SHORT, "--start", "yesterday"], "yesterday"),
        (["--strategy", "ma_crossover", *SHORT, "--cash", "-5"], "initial_cash was -5"),
        (["--strategy", "ma_crossover", *SHORT, "--fee-bps", "20000"], "fee_bps was 20000"),
        (["--strategy", "ma_crossover", *SHORT, "--fees", "binanc"], "Did you mean binance?"),
        (["--strategy", "ma_crossover", *SHORT, "--fees", "binance", "--fee-bps", "1"], "Choose one"),
        (["--strategy", "ma_crossover", *SHORT, "--symbol", "BTC/USDT"], "give each symbol once"),
        (["--strategy", "ma_crossover"], "--symbol"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("held")
def test_wrong_input_gets_one_line_and_exit_code_2(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backtest", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert expected in shown.err
    assert shown.err.startswith("peak-trade: ")
    assert shown.err.count("\n") == 1


@pytest.mark.usefixtures("held", "_check_in_this_process")
def test_a_strategy_that_raises_is_named_with_its_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken_idea.py").write_text(BROKEN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    what = "exposure raised ZeroDivisionError (division by zero) at broken_idea.py, line 10.\n"
    assert main(["check", "strategy", "broken_idea:Broken"]) == 2
    assert capsys.readouterr().err == f"peak-trade: broken: {what}"
    assert main(["backtest", "--strategy", "broken_idea:Broken", *SHORT]) == 2
    assert capsys.readouterr().err == f"peak-trade: broken on BTC/USDT: {what}"


def test_a_choice_that_does_not_exist_is_answered_with_those_that_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["site", "build", "--renderer", "latex"]) == 2
    choices = "'latex' is not one of 'auto', 'quarto', 'nbconvert'."
    where = "See `peak-trade site build --help`."
    assert capsys.readouterr().err == f"peak-trade: --renderer: {choices} {where}\n"


BROKEN = """from peak_trade import Strategy


class Broken(Strategy):
    @property
    def warm_up(self):
        return 0

    def exposure(self, bars):
        return 1 / 0
"""
