"""Ctrl-C prints one line and exits 130, whatever it interrupts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic_core import SchemaError

from peak_trade.cli import main, verbs
from peak_trade.cli.app import VERBS


def interrupted(*_arguments, **_options):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("peak_trade.sessions.audit.session_ids", ["audit", "verify"]),
        ("peak_trade.sessions.store.summaries", ["session", "list"]),
        ("peak_trade.cli.output.write", ["session", "list"]),
        ("peak_trade.cli.app.with_current_options", ["session", "list"]),
        ("peak_trade.cli.app.root", []),
    ],
    ids=["a verb", "another verb", "the output", "the arguments", "the help"],
)
def test_an_interrupt_is_one_line(home, capsys, monkeypatch, target, words):
    monkeypatch.setattr(target, interrupted)
    assert main(words) == 130
    captured = capsys.readouterr()
    assert captured.err == "peak-trade: stopped\n"
    assert captured.out == ""


class Interrupting:
    """Finds the module that is imported when Ctrl-C arrives."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name, path, target=None):
        if name == self._name:
            raise KeyboardInterrupt


@pytest.mark.parametrize("verb", ["app", *VERBS])
def test_an_interrupt_of_an_import_is_one_line(home, capsys, monkeypatch, verb):
    name = f"peak_trade.cli.{verb.replace('-', '_')}"
    verbs._command_of.cache_clear()  # a verb that an earlier test called is imported already
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(name), *sys.meta_path])
    assert main([verb, "--help"]) == 130
    assert capsys.readouterr().err == "peak-trade: stopped\n"


def test_nothing_is_imported_before_an_interrupt_is_caught():
    """`main` catches it; what the console script imports before that can not be guarded."""
    program = "import sys; known = {*sys.modules}; import peak_trade.cli; print(*sorted({*sys.modules} - known))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert set(done.stdout.split()) == {"peak_trade", "peak_trade.cli"}


ENDING = """
import atexit, os, signal, sys
from peak_trade.cli import main, verbs
atexit.register(os.kill, os.getpid(), signal.SIGINT)
sys.argv = ["peak-trade", "--version"]
sys.exit(main())
"""


def test_an_interrupt_after_the_command_ended_changes_nothing():
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("peak-trade ")


def test_an_interrupt_while_pydantic_builds_a_class_is_one_line(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise SchemaError("Error building `literal` serializer: KeyboardInterrupt: ")

    monkeypatch.setattr("peak_trade.cli.app.root", interrupted)
    assert main(["runs", "list"]) == 130
    assert capsys.readouterr().err == "peak-trade: stopped\n"


def test_another_error_while_pydantic_builds_a_class_is_a_fault(monkeypatch, capsys):
    def broken(*_, **__):
        raise SchemaError("Error building `literal` serializer")

    monkeypatch.setattr("peak_trade.cli.app.root", broken)
    assert main(["runs", "list"]) == 2
    assert "SchemaError" in capsys.readouterr().err
