"""The meanings of fields are the docstrings below them, wherever the class was defined."""

from __future__ import annotations

import linecache
import sys
from types import ModuleType

from peak_trade.core.field_words import meanings_of
from peak_trade.core.settings import Settings
from peak_trade.costs.model import Costs

CELL = '''
class Reversal(Settings):
    """Buy what fell."""

    window: int = 20
    """Number of closes, bars."""

    def decide(self):
        return self.window
'''


class Band(Settings):
    """A band around a price."""

    width: float = 1.0
    """Fraction of the price."""

    centre: float = 0.0
    """Quote currency."""


class Narrow(Band):
    """A band of half the width."""

    width: float = 0.5
    side: str = "both"
    """Side of the price."""

    centre: float = 1.0


def test_a_class_has_the_meanings_of_its_bases_but_of_the_fields_that_it_changes():
    assert meanings_of(Band) == {"width": "Fraction of the price.", "centre": "Quote currency."}
    assert meanings_of(Narrow) == {"side": "Side of the price."}


def test_the_classes_of_the_package_have_meanings():
    assert set(meanings_of(Costs)) == set(Costs.model_fields)


def test_a_docstring_is_completed_once_it_is_read_and_without_an_instance():
    assert "width : number, by default 1.0\n    Fraction of the price." in Band.__doc__
    assert Band().__doc__ == Band.__doc__


def test_a_class_of_a_cell_is_found_by_its_functions(monkeypatch):
    monkeypatch.setitem(linecache.cache, "<cell>", (len(CELL), None, CELL.splitlines(keepends=True), "<cell>"))
    monkeypatch.setitem(sys.modules, "cells", ModuleType("cells"))
    space = {"Settings": Settings, "__name__": "cells"}
    exec(compile(CELL, "<cell>", "exec"), space)
    assert meanings_of(space["Reversal"]) == {"window": "Number of closes, bars."}


def test_a_class_without_a_source_has_no_meanings():
    made = type("Made", (Settings,), {"__module__": __name__, "__doc__": "Made here."})
    assert meanings_of(made) == {}
    assert made.__doc__ == "Made here."
