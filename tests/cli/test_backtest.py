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


@pytest.mark.usefixtures("held")
def test_json_names_the_run_and_its_measures(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["backtest", "--strategy", "ma_crossover", *SHORT, "--json", "--second-opinion", "-p", "fast=10"]
    assert main(command) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer["digests"]) == {"config", "data", "code", "seed", "environment"}
    assert answer["stats"]["n_fills"] > 10
    assert answer["second_opinion"].startswith("vectorbt agrees (decisions)")
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
        (["--strategy", "ma_crossover", *SHORT, "--start", "2024-01-01"], "start must lie before end"),
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
