"""Messages about unusable limits, missing limits and runs that ended with trading stopped."""

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.risk.limits import RiskLimits
from peak_trade.wiring.run_file import read_run_file

RUN = ["backtest", "--strategy", "ma_crossover", "--symbol", "BTC/USDT", "--no-record"]


@pytest.fixture
def workplace(home, tmp_path, monkeypatch):
    """A folder to write run files into, and a store with sample bars."""
    save_bars(sample_bars("BTC/USDT", n_bars=2_000))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"var": {}, "stress": {"scenarios": ["luna"]}}, "Did you mean luna_2022?"),
        ({"var": {}, "stress": {"scenarios": []}}, "at least 1 item"),
        ({"liquidity": {"model_spread": 0.006}}, "model_spread is 0.006, max_spread 0.005"),
    ],
)
def test_wrong_limits_are_an_error_of_one_sentence(table, message):
    with pytest.raises(ConfigError) as raised:
        RiskLimits.parse(table, "run.toml")
    assert message in str(raised.value)
    assert not str(raised.value).endswith("?.")
    RiskLimits.parse({"liquidity": {"model_spread": 0.006, "max_spread": None}}, "run.toml")
    RiskLimits.parse({"liquidity": {"model_spread": 0.006, "book": "declared"}}, "run.toml")


def test_a_misspelt_risk_table_gets_a_suggestion(workplace):
    (workplace / "run.toml").write_text("[risks]\nmax_drawdown = 0.1\n")
    with pytest.raises(ConfigError, match=r"risks is not a setting. Did you mean risk\?"):
        read_run_file(workplace / "run.toml")


def test_a_run_without_limits_says_so_and_one_with_limits_does_not(workplace, capsys):
    assert main(RUN) == 0
    assert "No risk limits are set: every order that the instrument allows passes." in capsys.readouterr().out
    (workplace / "run.toml").write_text("[risk]\nmax_gross_exposure = 1.5\n")
    assert main([*RUN, "--config", "run.toml"]) == 0
    assert "No risk limits" not in capsys.readouterr().out


@pytest.mark.long
def test_a_portfolio_without_limits_says_so(workplace, capsys):
    strategy = '[[strategies]]\nname = "ma_crossover"\nsymbol = "BTC/USDT"\n'
    (workplace / "plain.toml").write_text(strategy)
    (workplace / "held.toml").write_text(f"{strategy}\n[risk]\nmax_gross_exposure = 1.5\n")
    for name, says in (("plain.toml", True), ("held.toml", False)):
        assert main(["portfolio", "--config", name, "--no-record"]) == 0
        assert ("No risk limits are set" in capsys.readouterr().out) is says


@pytest.mark.parametrize("state", ["reducing", "halted"])
def test_a_run_that_ends_stopped_says_so_with_the_time(workplace, capsys, state):
    name = {"reducing": "reduce_drawdown", "halted": "halt_drawdown"}[state]
    (workplace / "run.toml").write_text(f"[risk.state]\n{name} = 0.02\n")
    assert main([*RUN, "--config", "run.toml"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"Trading is {state} since 20" in printed
    assert "(drawdown 0.02" in printed
