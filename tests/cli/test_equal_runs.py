"""Equal commands that run at the same time make one run, and print one result."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

import pytest
import typer

from peak_trade.cli import equal_runs, output
from peak_trade.core.errors import ConfigError
from peak_trade.core.lock import held_lock
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.data.workspace import workspace

SHARED = ("backtest", "portfolio", "regime", "sweep")


class Verb:
    """A verb that waits within its run until the test lets it go on."""

    def __init__(self, exit_code: int = 0) -> None:
        self.runs: list[dict] = []
        self.codes: list[int] = []
        self.begun, self.may_end = threading.Event(), threading.Event()
        self._exit_code = exit_code
        self._command = equal_runs.shared(self._named("verb"))

    def _named(self, name):
        def command(**values):
            self.runs.append(values)
            self.begun.set()
            assert self.may_end.wait(20)
            output.write(f"run {len(self.runs)}\n")
            if self._exit_code:
                raise typer.Exit(self._exit_code)

        command.__name__ = name
        return command

    def __call__(self, **values) -> None:
        try:
            self._command(**values)
            self.codes.append(0)
        except typer.Exit as end:
            self.codes.append(end.exit_code)

    def start(self, **values) -> threading.Thread:
        thread = threading.Thread(target=self, kwargs=values)
        thread.start()
        return thread


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEAK_TRADE_HOME", str(tmp_path / "home"))
    return tmp_path


def run_together(verb: Verb, capsys, *arguments: dict) -> None:
    """Run a verb with each of the arguments: the others start when the first one has begun."""
    threads = [verb.start(**arguments[0])]
    assert verb.begun.wait(20)
    threads += [verb.start(**values) for values in arguments[1:]]
    while capsys.readouterr().err.count("under way") + len(verb.runs) < 2:
        time.sleep(0.005)  # without it, the others wait for the interpreter at each file that they read
    verb.may_end.set()
    for thread in threads:
        thread.join(20)


@pytest.mark.parametrize("exit_code", [0, 1])
def test_an_equal_command_that_is_under_way_gives_its_result_to_the_others(home, capsys, exit_code):
    verb = Verb(exit_code)
    run_together(verb, capsys, {"record": True, "n": 1}, {"record": True, "n": 1})
    assert verb.runs == [{"record": True, "n": 1}]
    assert verb.codes == [exit_code, exit_code]
    assert capsys.readouterr().out == "run 1\nrun 1\n"


@pytest.mark.parametrize("other", [{"record": True, "n": 2}, {"record": False, "n": 1}], ids=["unequal", "no record"])
def test_other_commands_do_not_wait(home, capsys, other):
    verb = Verb()
    run_together(verb, capsys, {"record": other["record"], "n": 1}, other)
    assert len(verb.runs) == 2


def test_the_order_of_parameters_makes_no_other_command_and_a_changed_file_does(home):
    def name(**values):
        return equal_runs._name("verb", values, home / "results")

    Path("run.toml").write_text("a = 1", encoding="utf-8")
    first = name(parameter=["fast=1", "slow=2"], config=Path("run.toml"))
    assert name(parameter=["slow=2", "fast=1"], config=Path("run.toml")) == first != ""
    Path("run.toml").write_text("a = 2", encoding="utf-8")
    assert name(parameter=["fast=1", "slow=2"], config=Path("run.toml")) != first


def test_new_bars_and_a_changed_module_make_another_command(home, monkeypatch):
    def name():
        values = {"symbol": ["BTC/USDT"], "parameter": ["members=macd,idea_equal:Own"]}
        return equal_runs._name("verb", values, home / "results")

    monkeypatch.syspath_prepend(home)
    names = [name()]
    save_bars(sample_bars("BTC/USDT", n_bars=50))
    names.append(name())
    save_bars(sample_bars("BTC/USDT", n_bars=60), replace=True)
    names.append(name())
    save_bars(sample_bars("ETH/USDT", n_bars=60))
    assert name() == names[-1]
    for text in ("X = 1", "X = 2"):
        (home / "idea_equal.py").write_text(text, encoding="utf-8")
        names.append(name())
    assert len(set(names)) == len(names)


def test_a_later_command_and_one_after_a_failure_run_again(home):
    verb = Verb(exit_code=2)
    verb.may_end.set()
    for _ in range(2):
        verb(record=True)
    assert len(verb.runs) == 2
    verb = Verb()
    verb.may_end.set()
    for _ in range(2):
        verb(record=True)
    assert len(verb.runs) == 2


def test_a_command_that_waits_too_long_names_the_holder(home, monkeypatch):
    monkeypatch.setattr(equal_runs, "WAIT_SECONDS", 0.02)
    folder = workspace() / "cache" / "commands"
    values = {"record": True}
    name = equal_runs._name("verb", values, folder)
    with (
        held_lock(folder / f"{name}.lock", 1.0),
        pytest.raises(ConfigError, match=f"an equal verb is under way: .*process {os.getpid()} .* Wait, or stop it"),
    ):
        Verb()(**values)


@pytest.mark.parametrize("verb", SHARED)
def test_each_verb_that_records_a_study_is_shared(verb):
    (command,) = import_module(f"peak_trade.cli.{verb}").app.registered_commands
    assert command.callback.__code__ is equal_runs.shared(lambda: None).__code__


@pytest.mark.long
def test_two_equal_backtests_run_a_strategy_once(home):
    own = """
    from pathlib import Path
    import numpy as np
    from peak_trade.strategies.base import Strategy
    class Own(Strategy):
        @property
        def warm_up(self): return 0
        def exposure(self, bars):
            with Path("calls").open("a") as file: file.write("x")
            return np.ones(len(bars))
    """
    Path("idea_equal.py").write_text(own.replace("\n    ", "\n"), encoding="utf-8")
    save_bars(sample_bars("BTC/USDT", n_bars=2_000))
    words = ["backtest", "--strategy", "idea_equal:Own", "--symbol", "BTC/USDT", "--json", "--no-causality-check"]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "peak_trade.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    printed = [each.communicate()[0] for each in started]
    assert [each.returncode for each in started] == [0, 0]
    assert printed[0] == printed[1] != b""
    assert Path("calls").read_text(encoding="utf-8") == "x"
