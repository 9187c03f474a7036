"""Limits count when one is in force: an empty table, or one with switches only, is no limit."""

from __future__ import annotations

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.engine.settings import BacktestSettings
from peak_trade.risk.limits import RiskLimits, has_limits
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.sandbox.client import check_sandbox_config
from peak_trade.wiring.gates import GATES, gate_chain, read_risk_file
from tests.examples import mostly_long

SWITCHES = [
    {},
    {"size_to_limits": True},
    {"order_window": 10.0, "fill_window": 10.0},
    {"state": {}},
    {"state": {"cooldown": 1.0, "ramp_stage": 1.0}},
    {"liquidity": {"max_spread": None, "max_slippage": None, "max_daily_volume_share": None}},
    {"var": {"max_var": None}},
    {"var": {"max_var": None}, "stress": {"max_stress_loss": None, "scenarios": ["march_2020"]}},
]
"""Tables without a limit; their liquidity limits read an order book that is not declared."""

LIMITS = [
    {"max_orders": 5},
    {"liquidity": {}},
    {"liquidity": {"max_spread": None, "max_slippage": None, "max_daily_volume_share": None, "book": "declared"}},
    {"var": {}},
    {"state": {"halt_drawdown": 0.2}},
    {"state": {"max_feed_age": 60.0}},
]


@pytest.mark.parametrize("table", SWITCHES, ids=str)
def test_switches_are_no_limits(table):
    limits = RiskLimits.parse(table, "run.toml")
    assert limits.in_force == ()
    assert not has_limits(limits)


@pytest.mark.parametrize("table", LIMITS, ids=str)
def test_one_limit_is_a_limit(table):
    assert has_limits(RiskLimits.parse(table, "run.toml"))


def test_no_table_is_no_limit():
    assert not has_limits(None)


@pytest.fixture
def workplace(home, tmp_path, monkeypatch):
    """A folder to write run files into, and a store with sample bars."""
    save_bars(sample_bars("BTC/USDT", n_bars=500))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("book", ["absent", "declared"])
def test_a_limit_is_in_force_when_its_gate_is_in_the_chain(book, config):
    """The names of limits and the table of gates agree; the state's triggers and one switch have other mechanisms."""
    limits = read_risk_file(config / "risk.toml")
    assert limits.liquidity is not None
    limits = limits.model_copy(update={"liquidity": limits.liquidity.model_copy(update={"book": book})})
    gated = {gate.setting for gate in gate_chain(limits)} - {"", "var.refuse_red_zone"}
    assert gated == {name for name in limits.in_force if not name.startswith("state.")}
    assert gated <= {gate.setting for gate in GATES}
    assert len(gated) > 10


@pytest.mark.long
@pytest.mark.parametrize("table", mostly_long(["size_to_limits = true\n", "", "[risk.state]\ncooldown = 5.0\n"], 1))
def test_a_backtest_with_switches_only_says_that_no_limits_are_set(workplace, capsys, table):
    (workplace / "run.toml").write_text(f"[risk]\n{table}")
    line = "--strategy ma_crossover --symbol BTC/USDT --timeframe 1h --no-record --config run.toml"
    asked = line.split()
    assert main(["backtest", *asked]) == 0
    assert "No risk limits are set" in capsys.readouterr().out
    assert main(["session", "run", "--mode", "paper", "--feed", "recorded", *asked]) == 0
    assert "no risk limits are set" in capsys.readouterr().err


@pytest.mark.parametrize("table", SWITCHES, ids=str)
def test_a_testnet_session_needs_a_limit_in_force(table):
    def config(risk):
        return SessionConfig(
            mode="testnet",
            symbol="BTC/USDT",
            timeframe="1h",
            exchange="binance",
            strategy="ma_crossover",
            feed="live",
            trading=BacktestSettings(),
            risk=RiskLimits.parse(risk, "run.toml"),
        )

    with pytest.raises(ConfigError, match=r"no risk limit is set: a testnet session needs limits\."):
        check_sandbox_config(config(table))
    check_sandbox_config(config({"max_order_notional": 1_000.0}))
