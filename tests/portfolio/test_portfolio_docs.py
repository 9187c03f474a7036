"""The guide's examples run, its files parse, and every setting stands in it with the default it really has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from peak_trade.data.sample import SYMBOLS, sample_bars
from peak_trade.data.store import save_bars
from peak_trade.portfolio.allocation import Allocation
from peak_trade.portfolio.rebalancing import Rebalancing
from peak_trade.wiring.portfolio_settings import PortfolioSettings, StrategyEntry

GUIDE = (Path(__file__).parents[2] / "docs" / "portfolio" / "PORTFOLIO_BACKTEST_GUIDE.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)


@pytest.mark.long
def test_the_python_examples_run_one_after_the_other(home):
    for symbol in SYMBOLS:
        save_bars(sample_bars(symbol, n_bars=3_000))
    names: dict[str, object] = {}
    for number, block in enumerate(blocks("python")):
        exec(compile(block, f"guide, block {number}", "exec"), names)
    assert len(blocks("python")) >= 5


def test_the_files_in_the_guide_are_portfolios():
    read = [PortfolioSettings.parse(tomllib.loads(block), "guide") for block in blocks("toml")]
    assert all(settings.strategies for settings in read)
    assert read


@pytest.mark.parametrize("model", [PortfolioSettings, StrategyEntry, Allocation, Rebalancing])
def test_every_setting_is_in_the_guide_with_its_default(model):
    for name, field in model.model_fields.items():
        assert f"`{name}`" in GUIDE, name
        default = field.default
        if isinstance(default, str | float | int):
            shown = f'"{default}"' if isinstance(default, str) else str(default)
            assert re.search(rf"- `{name}` \({re.escape(shown)}\)", GUIDE), (name, shown)
