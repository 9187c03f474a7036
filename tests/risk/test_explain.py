"""Every decision of every kind of run is kept and is reproduced from its record alone."""

from __future__ import annotations

import gzip
import json
import tomllib
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.data.sample import SYMBOLS, sample_bars
from peak_trade.data.store import save_bars
from peak_trade.journal.events import DecisionEvent
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.risk.limits import RiskLimits
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.risk.decisions import decisions_in, explain, find_decision
from tests.sessions.running import run_session

EXAMPLE = Path(__file__).parents[2] / "config" / "portfolios" / "multi_strategy_example.toml"
LIMITS = """
[risk]
max_order_notional = 3500.0
max_gross_exposure = 0.75
duplicate_window = 1.0
[risk.liquidity]
max_bar_volume_share = 0.05
[risk.var]
min_days = 60
refuse_red_zone = false
[risk.stress]
max_stress_loss = 0.15
"""
LOSS_LIMITS = """
[risk]
max_daily_loss_fraction = 0.002
max_order_notional = 20000.0
[risk.liquidity]
"""


@pytest.fixture
def recorded(home, monkeypatch):
    """A store of sample bars, and a registry that accepts every run and keeps none."""
    for symbol in SYMBOLS:
        save_bars(sample_bars(symbol, n_bars=3_000))
    monkeypatch.setattr("peak_trade.studies.recording.record_run", lambda run, keep=lambda: None: keep())
    return home


def check_reproduced(file: Path, n_least: int) -> list[DecisionEvent]:
    """Assert that a file has approvals and denials, and that each is reproduced."""
    decisions = list(decisions_in(file))
    assert len(decisions) >= n_least
    assert {decision.is_approved for decision in decisions} == {True, False}
    for decision in decisions:
        explained = explain(decision)
        assert explained.is_reproduced, decision.order_id
        assert explained.is_approved == (not any(reading.is_denied for reading in explained.readings))
    return decisions


@pytest.mark.long
@pytest.mark.parametrize("mode", ["netted", "sleeves"])
def test_every_decision_of_a_portfolio_run_is_kept_and_equals_its_record(mode, recorded, tmp_path, capsys):
    path = tmp_path / "portfolio.toml"
    text = EXAMPLE.read_text(encoding="utf-8").replace('mode = "sleeves"', f'mode = "{mode}"')
    path.write_text(text + LIMITS, encoding="utf-8")
    assert main(["portfolio", "--config", str(path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    decisions = check_reproduced(recorded / "runs" / printed["run_id"] / "decisions.jsonl", 20)
    order_id = next(decision.order_id for decision in decisions if not decision.is_approved)
    assert main(["risk", "explain", f"{printed['run_id']}/{order_id}"]) == 0
    assert "equals the record" in capsys.readouterr().out


def test_every_decision_of_a_backtest_is_kept_and_equals_its_record(recorded, tmp_path, capsys):
    path = tmp_path / "run.toml"
    path.write_text(LOSS_LIMITS, encoding="utf-8")
    arguments = ["--strategy", "ma_crossover", "--symbol", "BTC/USDT", "--config", str(path), "--json"]
    assert main(["backtest", *arguments]) == 0
    run_id = json.loads(capsys.readouterr().out)["run_id"]
    check_reproduced(recorded / "runs" / run_id / "decisions.jsonl", 20)


@pytest.mark.long
def test_every_decision_of_a_paper_session_equals_its_record(home):
    folder = home / "sessions" / "one"
    key = WorkspaceKey(home / "keys")
    limits = RiskLimits.parse(tomllib.loads(LOSS_LIMITS)["risk"], "test")
    session = run_session(folder, key, MaCrossover(fast=3, slow=9), sample_bars("BTC/USDT", n_bars=600), risk=limits)
    session.journal.close()
    decisions = check_reproduced(folder / "events.jsonl", 20)
    assert find_decision(f"one/{decisions[-1].order_id}") == decisions[-1]
    texts = (folder / "events.jsonl").read_bytes()
    (folder / "events.jsonl.gz").write_bytes(gzip.compress(texts))
    (folder / "events.jsonl").unlink()
    assert find_decision(f"one/{decisions[-1].order_id}") == decisions[-1]
