"""Every verb with --json prints one JSON value that a strict reader parses, and nothing else on standard output."""

from __future__ import annotations

import json
import shutil
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from peak_trade.cli import main
from peak_trade.data.fetching import FetchResult
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.health.checks import Attempt, Health, SuiteRun
from peak_trade.metrics import measures_in
from peak_trade.observability.rehearsal import Rehearsal
from peak_trade.reports.batch import BatchReport, BatchResult
from peak_trade.reports.notebooks import ReportRun
from peak_trade.risk.state import Control
from peak_trade.sessions import run
from peak_trade.sessions.control.drill import Drill
from peak_trade.sessions.control.state import write_control
from peak_trade.site.build import Site
from peak_trade.studies import readiness
from tests.cli.test_verbs import LEAVES
from tests.governance.setups import policy_text, request

ROOT = Path(__file__).parents[2]
PORTFOLIO = """
[[strategies]]
name = "ma_crossover"
symbol = "BTC/USDT"
[strategies.parameters]
fast = 5
slow = 20
"""
ORDERS = """order_id,time,end_time,symbol,side,type,quantity,status,executed,price
1,2024-01-01 00:00:00,2024-01-01 00:00:01,BTC/USDT,BUY,MARKET,0.5,FILLED,0.5,42000
"""
BTC = "--symbol BTC/USDT"
MEASURED = set(measures_in("run"))
NOT_FINITE = "NaN and Infinity are not JSON"


def refuse(name: str) -> None:
    raise AssertionError(f"{name}: {NOT_FINITE}")


@pytest.fixture
def desk(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with bars, run files and stand-ins for the network, the kernel and the renderer."""
    monkeypatch.chdir(tmp_path)
    bars = sample_bars("BTC/USDT", n_bars=600)
    save_bars(bars)
    bars.frame.tail(50).to_csv("bars.csv")
    bars.frame[["volume"]].rename(columns={"volume": "interest"}).rename_axis("known_at").reset_index().to_parquet(
        "c.parquet"
    )
    Path("orders.csv").write_text(ORDERS)
    Path("portfolio.toml").write_text(PORTFOLIO)
    Path("run.toml").write_text(f'[risk]\nfile = "{ROOT / "config" / "risk.toml"}"\n')
    shutil.copytree(ROOT / "notebooks", "notebooks")
    monkeypatch.setattr("peak_trade.data.fetching.connect", lambda exchange, base_url: nullcontext())
    monkeypatch.setattr("peak_trade.data.fetching.fetch_bars", lambda *_: FetchResult(1, 2, 3, None))
    report = ReportRun(Path("r.ipynb"), "regime_study", "", "", "", "", {}, {}, "", 0.0)
    monkeypatch.setattr("peak_trade.reports.notebooks.run_report", lambda *_, **__: report)
    done = BatchResult((BatchReport(1, "regime_study", {}, report),), "1 task in this process", 0)
    monkeypatch.setattr("peak_trade.reports.batch.run_reports", lambda *_, **__: done)
    site = Site(Path("index.html"), "nbconvert", 1, ())
    monkeypatch.setattr("peak_trade.site.build.build_site", lambda **_: site)
    return registry


class Stopped(threading.Event):
    """An event for which nobody waits: Ctrl-C came."""

    def wait(self, timeout: float | None = None) -> bool:
        raise KeyboardInterrupt


def printed(words: str, capsys: pytest.CaptureFixture[str], exit_code: int = 0) -> Any:
    """Return the JSON that a command prints."""
    capsys.readouterr()
    assert main([*words.split(), "--json"]) == exit_code, (words, capsys.readouterr().err)
    return json.loads(capsys.readouterr().out, parse_constant=refuse)


def test_lists_print_json_that_a_strict_reader_parses(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(f"data import-columns c.parquet {BTC} --exchange sample", capsys)["columns"][0]["n_added"] == 600
    assert [each["name"] for each in printed("data list-columns", capsys)] == ["interest"]
    assert [each["n_bars"] for each in printed("data list", capsys)] == [600]
    assert "macd" in {each["name"] for each in printed("strategies list", capsys)}
    assert printed("session list", capsys) == printed("runs list", capsys) == printed("report list", capsys) == []
    assert printed("risk state", capsys)["state"] == "active"


@pytest.mark.long
def test_every_verb_prints_json_that_a_strict_reader_parses(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    covered = set()

    def asked(words: str, exit_code: int = 0) -> Any:
        verb = [path for path in LEAVES if f"peak-trade {words} ".startswith(f"{path} ")]
        covered.update(verb)
        return printed(words, capsys, exit_code)

    assert asked("init research")["n_files"] > 10
    assert asked(f"data import bars.csv {BTC} --timeframe 1h --exchange other --stamp close")["n_added"] == 50
    assert asked(f"data fetch {BTC} --timeframe 1h --exchange binance --start 2024-01-01")["n_added"] == 2
    assert asked(f"data resample {BTC} --exchange sample --to 4h")["n_added"] == 150
    assert asked(f"data import-columns c.parquet {BTC} --exchange sample")["columns"][0]["n_added"] == 600
    assert [each["name"] for each in asked("data list-columns")] == ["interest"]
    assert asked(f"data remove-columns interest {BTC} --exchange sample")["n_values"] == 600
    assert len(asked("data list")) == 3
    assert all(report["keeps_contract"] for report in asked("data check"))
    assert asked(f"data remove {BTC} --timeframe 4h")["n_bars"] == 150
    whole = sample_bars("BTC/USDT", n_bars=600)
    for symbol, rows in (("MATIC/USDT", slice(400)), ("POL/USDT", slice(400, None))):
        save_bars(replace(whole, frame=whole.frame[rows], symbol=symbol))
    joined = asked("data join --symbol POL/USDT --earlier MATIC/USDT --ratio 1 --timeframe 1h --exchange sample")
    assert joined["n_added"] == 400
    shutil.rmtree(desk / "bars")
    assert [each["n_held"] for each in asked("data sample")] == [17_520] * 3
    assert asked("check strategy ma_crossover --bars 600")["is_causal"]

    assert "ma_crossover" in {each["name"] for each in asked("strategies list")}
    assert asked("strategies show ma_crossover")["name"] == "ma_crossover"

    study = f"--strategy ma_crossover {BTC} --end 2023-03-01"
    one = asked(f"backtest {study} -p fast=5 -p slow=20 --config run.toml")["run_id"]
    other = asked(f"backtest {study} -p fast=6 -p slow=20")["run_id"]
    assert asked("runs sync") == {"n_written": 2, "failures": []}
    assert {each["run_id"] for each in asked("runs list")} == {one, other}
    assert asked(f"runs show {one}").keys() == {one}
    assert asked(f"runs compare {one} {other}").keys() == {one, other}
    assert asked(f"runs rerun {one}")["is_equal"]
    assert asked(f"runs verify {other}")["events_digest"].keys() == {"recorded", "now"}
    assert asked(f"runs export {one} --to bundle")["run_id"] == one
    assert asked(f"costs fit {other}")["estimates"]["slippage"]["n"] > 5
    assert asked(f"sweep {study} -p fast=5,6 -p slow=20 --no-record")["winner"]["measures"].keys() == MEASURED
    walked = asked(f"walk-forward {study} -p fast=5,6 -p slow=20 --train 20d --test 10d --no-record")
    assert walked["measures"].keys() == MEASURED
    portfolio = asked("portfolio --config portfolio.toml --no-record")
    assert portfolio["measures"]["sharpe"]["stderr"] > 0.0
    assert portfolio["measures"].keys() == portfolio["stats"].keys() == MEASURED
    regime = asked(f"regime {study} --detector rules --no-record")
    assert regime["regimes"][-1]["regime"] == "all"
    assert regime["sharpe_gain"]["n"] > 0

    ended = []
    monkeypatch.setattr(readiness, "run_session", lambda *words, _run=run.run_session, **options: (
        ended.append(_run(*words, **options)) or ended[0]))  # fmt: skip
    monkeypatch.setattr(readiness, "resume_session", lambda name, **_: ended[0])
    session = asked(f"session run --feed recorded {study} --timeframe 1h --config run.toml --no-record")["session_id"]
    assert asked(f"session resume {session} --no-record")["session_id"] == session
    assert asked("session list")[0]["session_id"] == session
    assert asked(f"session show {session}")["summary"]["state"] == "sealed"
    assert asked(f"replay --session {session}")["is_identical"]
    assert asked(f"diff {session} {session}")["agree"]
    assert asked(f"audit verify {session}")["is_intact"]
    assert asked(f"audit prove {session} 1 --output proof.json")["proof"] == "inclusion"
    assert asked("audit check proof.json")["is_valid"]
    assert asked("audit export --output trail.csv")["n_sessions"] == 1
    assert asked("audit import orders.csv")["n_orders"] == 1
    assert asked("audit tidy") == []

    assert all(each["is_live"] for each in asked(f"check limits {ROOT / 'config' / 'risk.toml'}"))
    done = Drill("ada", 1, 0.1, "", ())
    monkeypatch.setattr("peak_trade.sessions.control.drill.run_drill", lambda by: done)
    assert asked("risk drill --by ada")["seconds"] == 0.1
    assert asked("ready --config policy.toml --stage shadow")["is_ready"]
    assert not asked("ready --config policy.toml", 1)["is_ready"]
    assert asked(f"risk explain {session}/o-1")["is_reproduced"]
    assert asked("risk state")["state"] == "active"
    assert asked("risk kill --by ada")["state"] == "halted"
    monkeypatch.setattr("time.time_ns", lambda now=time.time_ns: now() + 86_400 * 10**9)
    assert asked("risk recover --by ada")["state"] == "active"
    write_control(desk, Control(throttled=("cash",)))
    assert asked("risk enable cash --by ada")["state"] == "active"

    public = asked("approve --new-key ada.pem")["public_key"]
    Path("policy.toml").write_text(policy_text({"ada": public}))
    assert asked("policy sign policy.toml --key ada.pem")["signers"] == ["ada"]
    assert asked("policy adopt policy.toml")["policy"]["version"] == 1
    Path("request.toml").write_text(request())
    assert asked("approve request.toml --key ada.pem")["n_missing"] == 0
    assert asked("governance log")[-1]["action"] == "policy_adopted"
    assert asked("governance verify")["faults"] == []

    quiet = Rehearsal(session, 1.0, 0, 0, 1, ("Drawdown",), ())
    monkeypatch.setattr("peak_trade.observability.rehearsal.rehearse", lambda *_: quiet)
    assert asked(f"alerts rehearse {session}")["firings"] == []
    monkeypatch.setattr("peak_trade.cli.metrics.threading", SimpleNamespace(Event=Stopped))
    assert asked("metrics serve --port 0")["url"].endswith("/metrics")

    assert asked(f"holdout seal {BTC} --timeframe 1h --start 2024-01-01")["n_trials"] == 1
    assert [each["openings"] for each in asked("holdout status")["holdouts"]] == [[]]

    assert asked("report run regime_study")["is_failed"] is False
    assert asked("report batch batch.toml")["reports"][0]["run"]["is_failed"] is False
    assert asked("new strategy reversal")["files"] == ["reversal.py", "test_reversal.py"]
    assert asked("new notebook own")["files"] == ["notebooks/own.ipynb"]
    assert asked("report list") == []
    notebooks = {each["name"]: each for each in asked("report list --notebooks")}
    assert "symbol" in {each["name"] for each in notebooks["strategy_backtest"]["parameters"]}
    assert asked("site build")["n_pages"] == 1
    Path("reports/site").mkdir(parents=True)
    Path("reports/site/index.html").write_text("")
    monkeypatch.setattr("peak_trade.site.server.run_server", lambda *_: None)
    assert asked("site publish --to pages")["is_new"] is True
    assert asked("site verify pages")["faults"] == []
    checked = Health("smoke", "", "", "", (SuiteRun(1, "2024-01-01T00:00:00Z", 1.0, {"a": Attempt("passed", 1.0)}),))
    monkeypatch.setattr("peak_trade.health.checks.require_checkout", lambda *_: None)
    monkeypatch.setattr("peak_trade.health.checks.check_health", lambda *words: words[-1](checked, Path("health.json")))
    assert asked("health")["tests"][0]["failure_rate"] == 0.0
    assert asked("site serve --port 0")["url"].startswith("http://127.0.0.1:")
    assert covered == set(LEAVES) - {"peak-trade audit spec"}
