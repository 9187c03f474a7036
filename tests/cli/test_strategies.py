"""`peak-trade strategies`: what it lists and shows is what the classes declare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from peak_trade.cli import main
from peak_trade.strategies.base import Strategy
from peak_trade.wiring.strategies import (
    PANEL_STRATEGIES,
    STRATEGIES,
    describe_strategy,
    make_panel_strategy,
    make_strategy,
)

OWN = '''
from enum import Enum
from typing import Literal
import numpy as np
from pydantic import Field
from peak_trade.core.settings import BarCount, Fraction
from peak_trade.strategies.base import Strategy

class Shape(Enum):
    FLAT = "flat"
    STEEP = "steep"

class Own(Strategy):
    """Long after
    falling closes.

    More text.
    """
    length: BarCount
    """Closes
    that fall."""
    limit: Fraction | None = None
    levels: list[float] = [1.0, 2.0]
    shape: Shape = Shape.STEEP
    side: Literal["up", "down"] = "up"
    member: Strategy | None = None
    table: dict[str, int] = Field(default_factory=dict, description="A table.")
    is_strict: bool = True

    @property
    def warm_up(self):
        return self.length

    def exposure(self, bars):
        return np.zeros(len(bars))

class Bare(Strategy):
    gain: float = 1.5

    @property
    def warm_up(self):
        return 7

    def exposure(self, bars):
        return np.zeros(len(bars))
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "described_by_a_user.py").write_text(OWN, encoding="utf-8")
    return "described_by_a_user"


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["strategies", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_strategy_is_listed_with_all_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown(capsys, "list")
    assert {row["name"]: row["class_path"] for row in rows} == {**STRATEGIES, **PANEL_STRATEGIES}
    assert {row["name"] for row in rows if row["sees"] == "several symbols"} == set(PANEL_STRATEGIES)
    for row in rows:
        make = make_panel_strategy if row["name"] in PANEL_STRATEGIES else make_strategy
        made = make(row["name"])
        assert [part["name"] for part in row["parameters"]] == list(type(made).model_fields)
        assert row["warm_up"] == made.warm_up


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_defaults_build_the_strategy_and_everything_has_a_meaning(name: str) -> None:
    described = describe_strategy(name)
    assert described.meaning.endswith(".")
    for part in described.parameters:
        assert part.meaning.endswith(".")
        assert part.values
        assert not part.is_required
    defaults = {part.name: part.default for part in described.parameters}
    assert make_strategy(name, defaults) == make_strategy(name)


def test_values_are_in_words() -> None:
    values = {part.name: part.values for part in describe_strategy("composite").parameters}
    assert values["members"] == "list of: strategy"
    assert values["weights"] == "list of: number above 0 or none"
    assert values["rule"] == "weighted or vote"
    assert values["volatility_window"] == "whole number from 1"
    assert values["volatility_band"] == "number from 0 to 1"
    assert values["direction"] == "long, short or both"


def test_a_users_strategy_is_shown_from_its_own_words(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = shown(capsys, "show", f"{own}:Own")
    assert content["meaning"] == "Long after falling closes."
    assert content["warm_up"] is None
    rows = [tuple(part.values()) for part in content["parameters"]]
    assert rows == [
        ("length", "whole number from 1", None, True, "Closes that fall."),
        ("limit", "number from 0 to 1 or none", None, False, ""),
        ("levels", "list of: number", [1.0, 2.0], False, ""),
        ("shape", "flat or steep", "steep", False, ""),
        ("side", "up or down", "up", False, ""),
        ("member", "strategy or none", None, False, ""),
        ("table", "table", {}, False, "A table."),
        ("is_strict", "true or false", True, False, ""),
    ]
    assert main(["strategies", "show", f"{own}:Own"]) == 0
    page = capsys.readouterr().out
    assert "required" in page
    assert "1.0,2.0" in page


def test_a_class_without_docstrings_does_not_borrow_those_of_its_base(own: str) -> None:
    described = describe_strategy(f"{own}:Bare")
    assert (described.meaning, described.warm_up) == ("", 7)
    assert Strategy.__doc__


def test_an_unknown_strategy_is_one_line_with_the_closest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strategies", "show", "ma_crosover"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "Did you mean ma_crossover?" in captured.err
