"""The command tree: lazily loaded, completed by the shell, and described in one form."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.cli.app import VERBS, root
from peak_trade.cli.reference import contexts

ROOT = Path(__file__).parents[2]
TREE = {context.command_path: context for context in contexts(root(), "peak-trade", None)}
HEAVY = {"numpy", "pandas", "numba", "scipy", "pydantic", "mlflow", "plotly", "pyarrow", "ccxt", "vectorbt"}


def python(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | environment,
    )
    return done.stdout


def test_the_help_of_the_command_imports_no_verb() -> None:
    program = "import sys; from peak_trade.cli import main; main(['--help']); print(*sys.modules)"
    modules = python(program).splitlines()[-1].split()
    assert {f"peak_trade.cli.{name}" for name in VERBS} & set(modules) == set()


def test_the_help_of_every_verb_imports_nothing_heavy() -> None:
    program = "import sys; from peak_trade.cli.reference import reference; reference(); print(*sys.modules)"
    modules = {name.partition(".")[0] for name in python(program).split()}
    assert modules & HEAVY == set()


@pytest.mark.parametrize("name", VERBS)
def test_the_summary_of_a_verb_is_that_of_its_own_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert VERBS[name] in capsys.readouterr().out.splitlines()[2]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("peak-trade ba", ["backtest"]),
        ("peak-trade data re", ["resample"]),
        ("peak-trade session run --mode ", ["paper", "shadow", "testnet"]),
        ("peak-trade backtest --second", ["--second-opinion"]),
    ],
)
def test_the_shell_completes_verbs_options_and_choices(words: str, expected: list[str]) -> None:
    position = str(len(words.split(" ")) - 1)
    answer = python(
        "from peak_trade.cli import main; main([])",
        _PEAK_TRADE_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=position,
    )
    assert answer.split() == expected
