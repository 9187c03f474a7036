"""docs/strategies.md names every strategy and every setting of it, with the default it really has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import peak_trade
from peak_trade.data.sample import synthetic_bars
from peak_trade.wiring.strategies import (
    PANEL_STRATEGIES,
    STRATEGIES,
    make_panel_strategy,
    make_strategy,
    panel_strategy_class,
    strategy_class,
)

PAGE = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted({**STRATEGIES, **PANEL_STRATEGIES}))
def test_a_strategy_and_its_settings_are_documented(name: str) -> None:
    section = re.search(rf"^###? {name}\n(.*?)(?=^##|\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert section, f"docs/strategies.md has no section {name}"
    part = panel_strategy_class(name) if name in PANEL_STRATEGIES else strategy_class(name)
    made = make_panel_strategy(name) if name in PANEL_STRATEGIES else make_strategy(name)
    for setting in part.model_fields:
        assert f"`{setting}" in section[1], f"{name}: {setting} is not documented"
    for setting, stated in re.findall(r"`(\w+)` [\w ,]*?\((-?[\d.]+)", section[1]):
        assert float(stated) == getattr(made, setting), f"{name}: {setting} is not {stated}"


def test_every_documented_strategy_exists() -> None:
    named = set(re.findall(r"^###? ([a-z_]+)$", PAGE, flags=re.MULTILINE))
    assert named == {*STRATEGIES, *PANEL_STRATEGIES}


@pytest.mark.long
def test_the_code_on_the_page_runs() -> None:
    bars = synthetic_bars(600)
    scope: dict[str, Any] = {"bars": bars, "pt": peak_trade, "__name__": "__main__"}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL):
        exec(block, scope)
    assert scope["strategy"].members[1].fast == 10
    assert len(scope["result"].equity) == len(scope["bars"])
