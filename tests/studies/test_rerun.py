"""A recorded run is made again from the workspace and its id alone, and compared with its record event by event."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import peak_trade.tracking.environment as environment_module
from peak_trade.cli import main
from peak_trade.core.bars import Bars
from peak_trade.core.digest import digest_bytes
from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.costs.model import Costs
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import load_bars, save_bars
from peak_trade.engine.settings import BacktestSettings
from peak_trade.regimes.rules import RulesDetector, RuleSettings
from peak_trade.sessions.store import session_ids
from peak_trade.strategies.base import Strategy
from peak_trade.studies import by_name
from peak_trade.studies.backtest import backtest
from peak_trade.studies.bundle import export_run
from peak_trade.studies.diff import read_recording
from peak_trade.studies.recording import record, record_portfolio, record_sweep
from peak_trade.studies.regime.study import study_regimes
from peak_trade.studies.rerun import rerun
from peak_trade.studies.sweep.settings import SweepSettings
from peak_trade.tracking import DIGEST_NAMES, RunRecord, list_runs, record_run, show_run
from peak_trade.tracking.ledger import TrialKey, trial_ledger
from peak_trade.tracking.record import sync_runs
from peak_trade.wiring.cells import executed_cells
from peak_trade.wiring.strategies import make_strategy
from tests.examples import mostly_long

OWN = '''
import numpy as np
from peak_trade.strategies.base import Strategy


class Mine(Strategy):
    """Long in every other block of bars."""

    window: int = 20

    @property
    def warm_up(self):
        return 0

    def exposure(self, bars):
        return (np.arange(len(bars)) // self.window % 2).astype(np.float64)
'''
RUN_FILE = """
initial_cash = 20000.0
[costs]
fee_bps = 7.0
[risk]
max_gross_exposure = 1.2
[instruments."BTC/USDT"]
tick_size = 0.01
lot_size = 0.001
min_notional = 10.0
"""
SPAN = by_name.Span(start="2023-01-05", end="2023-01-15")


def forget(name: str) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


@pytest.fixture
def project(registry, tmp_path, monkeypatch):
    """A folder with an own strategy and a run file, and a workspace with the bars of two symbols."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Path("users_mine.py").write_text(OWN, encoding="utf-8")
    Path("run.toml").write_text(RUN_FILE, encoding="utf-8")
    for symbol in ("BTC/USDT", "ETH/USDT"):
        save_bars(sample_bars(symbol, n_bars=400))
    yield tmp_path
    forget("users_mine")


@pytest.fixture
def elsewhere(project, monkeypatch):
    """A function that moves to an empty folder with a copy of the workspace alone; the original is gone."""

    def move() -> Path:
        folder = project / "elsewhere"
        folder.mkdir()
        shutil.move(project / "home", folder / ".peak_trade")
        monkeypatch.delenv("PEAK_TRADE_HOME")
        monkeypatch.chdir(folder)
        forget("users_mine")
        return folder

    return move


def own_run() -> str:
    """Record a backtest of an own strategy with limits and instruments; return its id."""
    return record(
        by_name.backtest(
            "users_mine:Mine", {"window": "15"}, ["BTC/USDT"], SPAN, run_file=Path("run.toml"), causality_check=False
        )
    )


def plain_run() -> str:
    """Record a backtest of a strategy of the package; return its id."""
    return record(by_name.backtest("ma_crossover", {"fast": "5", "slow": "15"}, ["BTC/USDT"], SPAN))


PORTFOLIO = """
start = "2023-01-05"
end = "2023-01-15"
[[strategies]]
name = "users_mine:Mine"
symbol = "BTC/USDT"
label = "blocks"
parameters = { window = 15 }
[[strategies]]
name = "composite"
symbol = "ETH/USDT"
parameters = { members = "ma_crossover,users_mine:Mine" }
[allocation]
method = "users_mine:first_half"
every = "day"
window = 40
[costs]
fee_bps = 7.0
[risk]
max_gross_exposure = 1.2
"""
ALLOCATOR = """

def first_half(past_returns, max_weight):
    return np.array([0.5] + [0.5 / (past_returns.shape[1] - 1)] * (past_returns.shape[1] - 1))
"""


def portfolio_run(*, is_cold: bool = False) -> str:
    """Record a portfolio of an own strategy and an own allocator; return its id."""
    Path("users_mine.py").write_text(OWN + ALLOCATOR, encoding="utf-8")
    Path("portfolio.toml").write_text(PORTFOLIO, encoding="utf-8")
    return record_portfolio(by_name.portfolio(Path("portfolio.toml"), is_cold=is_cold, causality_check=False))


def cold_portfolio_run() -> str:
    """Record a portfolio that does not know the bars before its start; return its id."""
    return portfolio_run(is_cold=True)


def sweep_run() -> str:
    """Record a sweep of an own strategy; return its id."""
    overrides = {"costs": {"fee_bps": 7.0}}
    given = SweepSettings(
        strategy="users_mine:Mine",
        symbol="BTC/USDT",
        start=SPAN.start,
        end=SPAN.end,
        parameters={"window": "10,15..20:5"},
    )
    result = by_name.sweep(given, overrides=overrides, causality_check=False)
    return record_sweep(result)


def regime_run() -> str:
    """Record a regime study of an own strategy; return its id."""
    study = study_regimes(
        make_strategy("users_mine:Mine", {"window": 15}),
        load_bars("BTC/USDT", "1h"),
        RulesDetector(rules=RuleSettings(rsi_window=24, atr_window=12, atr_baseline=48)),
        start=SPAN.start,
        causality_check=False,
        mode="filter",
    )
    assert len(set(study.labels)) > 1
    return record(study.result, "regime")


def session_run() -> str:
    """Run and record a session of an own strategy on stored bars, with limits and instruments; return its id."""
    words = ["--strategy", "users_mine:Mine", "-p", "window=15", "--symbol", "BTC/USDT", "--config", "run.toml"]
    assert main(["session", "run", "--feed", "recorded", "--timeframe", "1h", "--quiet", *words]) == 0
    return str(list_runs(run_type="paper")["run_id"][0])


def artifact(home: Path, name: str) -> Path:
    (found,) = (path for place in ("pending", "mlartifacts") for path in (home / place).rglob(name))
    return found


def ledger_trials() -> set[TrialKey]:
    """Return the keys of all trials of the workspace."""
    ledger = trial_ledger()
    ledger.refresh()
    return set(ledger.trials)


def error_of(capsys) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize("run", mostly_long([own_run, portfolio_run, sweep_run, regime_run, session_run], 1))
def test_a_run_of_an_own_strategy_is_made_again_from_the_workspace_alone(elsewhere, capsys, run):
    run_id = run()
    n_trials = len(ledger_trials())
    elsewhere()
    for verb in ("rerun", "verify"):
        capsys.readouterr()
        assert main(["runs", verb, run_id[:8]]) == 0
        shown = capsys.readouterr().out
        assert "The module users_mine can not be imported here: the recorded source ran." in shown
        assert f"Equal: run {run_id} has the" in shown
        assert "The code of peak_trade is not" not in shown
    assert len(list_runs()) == 1
    assert len(ledger_trials()) == n_trials
    assert "users_mine" not in sys.modules


@pytest.mark.long
def test_the_backtest_of_a_session_with_limits_is_made_again_and_agrees_with_it(elsewhere, capsys):
    session_run()
    run_file, span = Path("run.toml"), by_name.Span()
    result = by_name.backtest("users_mine:Mine", {"window": "15"}, ["BTC/USDT"], span, run_file=run_file)
    run_id = record(result)
    elsewhere()
    assert main(["runs", "verify", run_id]) == 0
    (session,) = session_ids()
    assert main(["diff", run_id, session]) == 0
    assert "The runs agree." in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.parametrize("run", [own_run, portfolio_run, cold_portfolio_run, sweep_run, regime_run, session_run])
def test_a_clean_process_makes_the_run_again_from_the_workspace_alone(elsewhere, run):
    run_id = run()
    folder = elsewhere()
    paths = os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)
    words = [sys.executable, "-m", "peak_trade.cli", "runs", "verify", run_id, "--json"]
    done = subprocess.run(words, cwd=folder, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["is_equal"]


def test_a_record_holds_everything_that_the_run_was_made_from(project):
    run_id = own_run()
    shown = show_run(run_id)[run_id]
    assert shown["tag", "strategy_class"] == "users_mine:Mine"
    assert shown["tag", "package.version"] == environment_module.version("peak_trade")
    parameters = shown["parameter"]
    assert parameters["settings.costs.fee_bps"] == "7.0"
    assert parameters["settings.risk.max_gross_exposure"] == "1.2"
    assert json.loads(parameters["settings.instruments"])["BTC/USDT"]["min_notional"] == 10.0
    home = project / "home"
    assert artifact(home, "users_mine.py").read_text(encoding="utf-8") == OWN
    assert "numpy" in json.loads(artifact(home, "environment.json").read_text())["packages"]
    run_file = json.loads(artifact(home, "run.json").read_text())
    assert run_file["arguments"]["risk"]["values"]["max_gross_exposure"] == 1.2
    assert shown["tag", "digest.run_file"] == digest_bytes(artifact(home, "run.json").read_bytes())


def test_the_recorded_interval_as_options_makes_the_same_run(project):
    first = plain_run()
    tags = show_run(first)[first]["tag"]
    assert (tags["start"], tags["end"]) == ("2023-01-05 00:00:00Z", "2023-01-15 00:00:00Z")
    span = by_name.Span(start=tags["start"], end=tags["end"])
    again = by_name.backtest("ma_crossover", {"fast": "5", "slow": "15"}, ["BTC/USDT"], span)
    assert again.run_id == first


def test_bars_that_came_later_do_not_disturb(project):
    run_id = plain_run()
    longer = sample_bars("BTC/USDT", n_bars=500)
    save_bars(Bars(longer.frame.iloc[400:], "BTC/USDT", longer.timeframe, longer.exchange))
    assert rerun(run_id).is_equal


def test_changed_bars_are_named_and_accepted_on_request(project, capsys):
    run_id = plain_run()
    frame = load_bars("BTC/USDT", "1h").frame.copy()
    frame.iloc[150:160, 3] = frame.iloc[150:160, 2]
    bars = load_bars("BTC/USDT", "1h")
    save_bars(Bars(frame, bars.symbol, bars.timeframe, bars.exchange), replace=True)
    capsys.readouterr()
    assert main(["runs", "rerun", run_id]) == 2
    assert "the bars sample BTC/USDT 1h from 2023-01-01 01:00:00Z to 2023-01-15 00:00:00Z are not" in error_of(capsys)
    n_trials = len(ledger_trials())
    assert main(["runs", "verify", run_id, "--accept-changes"]) == 1
    assert len(ledger_trials()) == n_trials + 1
    shown = capsys.readouterr().out
    assert "values were changed" in shown
    assert f"Different: run {run_id} differs from its record, first at event" in shown
    assert "recorded signal at 2023-01" in shown or "recorded order at 2023-01" in shown


def test_missing_bars_are_named(project, capsys):
    run_id = plain_run()
    assert main(["data", "remove", "--symbol", "BTC/USDT", "--timeframe", "1h"]) == 0
    capsys.readouterr()
    assert main(["runs", "verify", run_id]) == 2
    assert "the bars sample BTC/USDT 1h from 2023-01-01 01:00:00Z to 2023-01-15 00:00:00Z are gone" in error_of(capsys)


@pytest.mark.long
def test_a_changed_module_is_named_and_its_recorded_source_runs(project):
    run_id = own_run()
    forget("users_mine")
    Path("users_mine.py").write_text(OWN.replace("% 2", "% 3 == 0"), encoding="utf-8")
    again = rerun(run_id)
    assert again.is_equal
    assert again.notes[0] == "The module users_mine has another source here: the recorded source ran."


def test_another_version_of_a_package_is_named(project, capsys, monkeypatch):
    run_id = plain_run()
    found = environment_module.environment()
    others = {
        "peak_trade": found | {"version": "9.9.9"},
        "numpy": found | {"packages": found["packages"] | {"numpy": "9.9.9"}},
    }
    for name, other in others.items():
        monkeypatch.setattr(environment_module, "environment", lambda other=other: other)
        assert main(["runs", "verify", run_id]) == 2
        assert f"{name} is 9.9.9, the record has " in error_of(capsys)
    assert main(["runs", "verify", run_id, "--accept-changes"]) == 0
    assert "numpy is 9.9.9, the record has " in capsys.readouterr().out


@pytest.mark.long
def test_the_version_of_a_package_that_an_own_strategy_imports_is_named(project, monkeypatch):
    Path("users_mine.py").write_text(OWN.replace("import numpy", "import rich\nimport numpy", 1), encoding="utf-8")
    run_id = own_run()
    found = environment_module.environment()
    other = found | {"packages": {name: part for name, part in found["packages"].items() if name != "rich"}}
    assert rerun(run_id).is_equal
    monkeypatch.setattr(environment_module, "environment", lambda: other)
    with pytest.raises(ConfigError, match=r"rich is not installed, the record has [0-9]"):
        rerun(run_id)


def test_other_code_is_a_difference_with_its_first_event(project, capsys, monkeypatch):
    run_id = plain_run()
    monkeypatch.setattr(Costs, "slippage_rate", property(lambda self: self.slippage_bps / 10_000.0 + 0.001))
    capsys.readouterr()
    assert main(["runs", "verify", run_id, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["is_equal"]
    difference = found["first_difference"]
    events = rerun(run_id).record.events
    assert b"FILL" in events[difference["index"]].upper()
    assert difference["recorded"].partition("last_price")[0] != ""
    assert difference["recorded"] != difference["now"]
    with pytest.raises(SessionError, match="differs from its record, first at event"):
        read_recording(run_id)


@pytest.mark.long
def test_a_backtest_with_limits_and_instruments_can_be_compared_by_a_diff(project, capsys):
    run_id = own_run()
    assert main(["diff", run_id, run_id]) == 0
    settings = read_recording(run_id).settings
    assert settings["risk.max_gross_exposure"] == 1.2
    assert settings["instrument.BTC/USDT.lot_size"] == 0.001


@pytest.mark.long
@pytest.mark.parametrize("is_in_mlflow", mostly_long([False, True], 1), ids=["pending", "mlflow"])
@pytest.mark.parametrize("name", mostly_long(["events.jsonl.gz", "run.json", "users_mine.py", "environment.json"], 1))
def test_a_damaged_or_missing_file_of_a_record_is_named(project, capsys, name, is_in_mlflow):
    run_id = own_run()
    assert sync_runs().n_written == 1 if is_in_mlflow else True
    path = artifact(project / "home", name)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert main(["runs", "verify", run_id]) == 2
    assert f"{name} is damaged" in error_of(capsys)
    path.unlink()
    assert main(["runs", "verify", run_id]) == 2
    assert f"{name} is gone" in error_of(capsys)
    assert own_run() == run_id
    assert rerun(run_id).is_equal
    sync_runs()
    assert artifact(project / "home", name).read_bytes() == content
    assert len(list_runs()) == 1


def test_unknown_unfinished_and_early_runs_are_one_line(registry, capsys):
    assert main(["runs", "verify", "zz"]) == 2
    assert "there are no runs yet" in error_of(capsys)
    early = RunRecord("ee11", "backtest", "macd", "B", "1h", "", "", dict.fromkeys(DIGEST_NAMES, "d"))
    record_run(replace(early, run_id="ff22"))
    sync_runs()
    with closing(sqlite3.connect(registry / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE runs SET status = 'RUNNING'")
    record_run(early)
    for asked, says in (
        ("zz", "run zz is not recorded. The latest is ee11"),
        ("ee11", "run ee11 was recorded without its files, by an earlier version of peak_trade."),
        ("ff22", "run ff22 is unfinished"),
        ("it's", "run it's is not recorded."),
    ):
        assert main(["runs", "verify", asked]) == 2
        assert says in error_of(capsys)


class Local(Strategy):
    """Flat."""

    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, bars: pd.DataFrame) -> np.ndarray:
        return np.zeros(len(bars))


def test_a_strategy_from_a_function_can_not_be_made_again(registry):
    class Inner(Local):
        pass

    bars = sample_bars("BTC/USDT", n_bars=100)
    save_bars(bars)
    with pytest.raises(ConfigError, match="Inner is a class within a function, which can not be imported"):
        rerun(record(backtest(Inner(), bars, causality_check=False)))


HELPER = """
def level(bars, window):
    return np.arange(len(bars)) // window % 2
"""
CELLS = [
    "import numpy as np\nfrom users_mine import level\nfrom peak_trade.strategies.base import Strategy\n",
    "FACTOR = 0.5\ndef scaled(values):\n    return FACTOR * values",
    """
class Celled(Strategy):
    window: int = 15

    @property
    def warm_up(self):
        return 0

    def exposure(self, bars):
        return scaled(level(bars, self.window))
""",
]


@pytest.mark.long
def test_a_strategy_from_the_cells_of_a_notebook_is_made_again(elsewhere, monkeypatch):
    Path("users_mine.py").write_text(f"import numpy as np\n{HELPER}", encoding="utf-8")
    monkeypatch.syspath_prepend(".")
    with executed_cells(CELLS):
        strategy = vars(sys.modules["__main__"])["Celled"](window=10)
        run_id = record(backtest(strategy, load_bars("BTC/USDT", "1h"), causality_check=False))
    main_module = sys.modules["__main__"]
    elsewhere()
    again = rerun(run_id)
    assert again.is_equal
    assert again.notes == ("The module users_mine can not be imported here: the recorded source ran.",)
    assert again.run_id == run_id
    assert sys.modules["__main__"] is main_module


def test_cells_that_a_later_statement_changed_are_refused(project, capsys, monkeypatch):
    Path("users_mine.py").write_text(f"import numpy as np\n{HELPER}", encoding="utf-8")
    monkeypatch.syspath_prepend(".")
    rules = "RULES = [np.float64]\nfor factor in (0.5, 1.0):\n    RULES.append(lambda values: values * factor)\n"
    cells = [CELLS[0], rules, CELLS[2].replace("scaled(", "RULES[-1](")]
    with executed_cells(cells):
        strategy = vars(sys.modules["__main__"])["Celled"](window=10)
        run_id = record(backtest(strategy, load_bars("BTC/USDT", "1h"), causality_check=False))
    assert main(["runs", "verify", run_id]) == 2
    assert "the statements that define its code in the cells of its notebook give other code here" in error_of(capsys)


@pytest.mark.long
@pytest.mark.parametrize("run", [session_run, own_run, portfolio_run])
def test_an_exported_run_is_verified_from_its_folder_alone(project, capsys, monkeypatch, run):
    run_id = run()
    assert main(["runs", "export", run_id[:10], "--to", "bundle"]) == 0
    forget("users_mine")
    other = project / "other"
    other.mkdir()
    shutil.move("bundle", other)
    shutil.rmtree(project / "home")
    monkeypatch.delenv("PEAK_TRADE_HOME")
    monkeypatch.chdir(other)
    assert main(["runs", "verify", "bundle"]) == 0
    assert f"Equal: run {run_id} has the" in capsys.readouterr().out
    assert [path.name for path in other.iterdir()] == ["bundle"]
    assert "numpy==" in Path("bundle/requirements.txt").read_text(encoding="utf-8")


def test_what_can_not_be_exported_or_verified_is_one_line_and_leaves_nothing(project, capsys, monkeypatch):
    run_id = plain_run()
    Path("held").mkdir()
    Path("held/file").write_text("x", encoding="utf-8")
    assert main(["runs", "export", run_id, "--to", "held"]) == 2
    assert "held is not empty" in error_of(capsys)
    assert main(["runs", "export", "zz", "--to", "bundle"]) == 2
    assert "run zz is not recorded" in error_of(capsys)
    assert main(["runs", "export", run_id, "--to", "bundle"]) == 0
    capsys.readouterr()
    assert main(["data", "remove", "--symbol", "BTC/USDT", "--timeframe", "1h"]) == 0
    capsys.readouterr()
    assert main(["runs", "export", run_id, "--to", "second"]) == 2
    assert f"run {run_id} can not be exported: the bars sample BTC/USDT 1h" in error_of(capsys)
    assert not Path("second").exists()
    monkeypatch.chdir("bundle")
    assert rerun(".").is_equal
    monkeypatch.chdir("..")
    entry = Path("bundle/entry.json")
    entry.write_bytes(entry.read_bytes()[:-9])
    assert main(["runs", "verify", "bundle"]) == 2
    assert "entry.json: this file of a bundle is damaged" in error_of(capsys)


def test_a_file_that_a_parameter_names_is_exported_too(project, monkeypatch):
    own = OWN.replace("window: int = 20", "levels: str = 'set/levels.txt'").replace(
        "self.window", "int(np.loadtxt(self.levels))"
    )
    Path("users_mine.py").write_text(own, encoding="utf-8")
    Path("set").mkdir()
    Path("set/levels.txt").write_text("20", encoding="utf-8")
    run_id = record(backtest(make_strategy("users_mine:Mine"), load_bars("BTC/USDT", "1h"), causality_check=False))
    export_run(run_id, Path("bundle"))
    shutil.rmtree("set")
    assert rerun("bundle").is_equal
    assert Path.cwd() == project


def test_a_file_that_a_parameter_names_is_an_input(project):
    own = OWN.replace("window: int = 20", "levels: str = 'levels.txt'").replace(
        "self.window", "int(np.loadtxt(self.levels))"
    )
    Path("users_mine.py").write_text(own, encoding="utf-8")
    levels = Path("levels.txt")
    levels.write_text("20", encoding="utf-8")
    run_id = record(backtest(make_strategy("users_mine:Mine"), load_bars("BTC/USDT", "1h"), causality_check=False))
    assert rerun(run_id).is_equal
    levels.write_text("30", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"the file levels\.txt, which a parameter names, is not the recorded one"):
        rerun(run_id)
    assert not rerun(run_id, accept_changes=True).is_equal
    levels.unlink()
    with pytest.raises(ConfigError, match=r"the file levels\.txt, which a parameter names, is gone"):
        rerun(run_id)


def test_the_modules_that_an_own_strategy_imports_come_from_the_record_too(elsewhere):
    package = Path("users_mine")
    package.mkdir()
    Path("users_mine.py").unlink()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "levels.py").write_text(f"import numpy as np\r\n{HELPER}", encoding="utf-8")
    own = OWN.replace("import numpy", "# -*- coding: latin-1 -*-\nimport numpy", 1)
    own = own.replace("class Mine", "NAME = 'ä'\n\n\nclass Mine").replace(
        "return (np", "from .levels import level\n        return (np"
    )
    own = own.replace("np.arange(len(bars)) // self.window % 2", "level(bars, self.window) * len(NAME)")
    (package / "ideas.py").write_bytes(own.strip().encode("latin-1"))
    bars = load_bars("BTC/USDT", "1h")
    run_id = record(backtest(make_strategy("users_mine.ideas:Mine"), bars, causality_check=False))
    assert rerun(run_id).notes == ()
    elsewhere()
    again = rerun(run_id)
    assert again.is_equal
    assert again.run_id == run_id


def test_a_run_on_bars_that_are_not_in_the_store_is_refused(registry):
    save_bars(sample_bars("ETH/USDT", n_bars=100))
    run_id = record(backtest(Local(), sample_bars("BTC/USDT", n_bars=100), causality_check=False))
    with pytest.raises(
        ConfigError, match=r"the bars sample BTC/USDT 1h from .* are gone: there are no bars of BTC/USDT"
    ):
        rerun(run_id)


def test_an_equal_equity_and_an_equal_event_are_equal_to_the_bit(project):
    run_id = plain_run()
    path = artifact(project / "home", "events.jsonl.gz")
    *events, equity = gzip.decompress(path.read_bytes()).split(b"\n")
    result = rerun(run_id).result
    assert json.loads(equity) == result.equity_values.tolist()
    assert len(events) == len(result.events)
    assert show_run(run_id)[run_id]["tag", "digest.events"] == result.content_digest


def test_a_backtest_of_several_strategies_and_symbols_with_all_kinds_of_settings_is_made_again(project):
    settings = BacktestSettings(
        costs={"max_participation": None, "funding_bps_per_8h": 1.0},
        execution={"order_type": "limit", "stop_loss_atr": 2.0, "no_trade_band": 0.01},
        sizing={"kind": "volatility_target"},
        seed=7,
    )
    strategies = [make_strategy("composite", {"members": "ma_crossover,momentum", "weights": "2,1"}), Local()]
    bars = [load_bars(symbol, "1h") for symbol in ("ETH/USDT", "BTC/USDT")]
    result = backtest(strategies, bars, settings, start="2023-01-05", causality_check=False)
    again = rerun(record(result))
    assert again.is_equal
    assert again.run_id == result.run_id
