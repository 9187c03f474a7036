"""Planted tracebacks are found: in a verb, in a new verb of the tree, and in a new public function."""

from __future__ import annotations

import pytest
import typer

import peak_trade as pt
from peak_trade.cli.app import root
from tests.fuzz import commands, library
from tests.fuzz.conftest import Desk
from tests.fuzz.faults import present


def test_a_traceback_in_a_verb_is_found(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is read without the translation of its errors."""
    monkeypatch.setattr("peak_trade.data.series.damaged", lambda path, why, is_former=False: KeyError(why))
    with present("damaged_bars", desk.home):
        assert commands.fault_of(commands.ask(["data", "list"])) == "a traceback"


def test_a_traceback_in_a_new_verb_is_found(desk: Desk) -> None:
    verb = typer.Typer()

    @verb.command("planted")
    def planted(part: int = 1) -> None:
        """Divide a number."""
        typer.echo(1 / part)

    tree = root()
    tree.add_command(typer.main.get_command(verb), "planted")
    try:
        name = "peak-trade planted"
        found = [commands.fault_of(commands.ask(list(call.arguments))) for call in commands.calls(
            name, commands.verbs()[name])]  # fmt: skip
    finally:
        del tree.commands["planted"]
    assert "a traceback" in found
    assert "" in found


def test_a_traceback_in_a_new_function_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(window: int = 1) -> float:
        return 1.0 / window

    monkeypatch.setattr(pt, "planted", planted, raising=False)
    monkeypatch.setattr(pt, "__all__", [*pt.__all__, "planted"])
    made = library.calls("planted", library.public()["planted"])
    found = [library.outcome_of(planted, arguments) for _, arguments in made]
    assert "ZeroDivisionError: float division by zero" in found
    assert any(fault.startswith("TypeError") for fault in found)
