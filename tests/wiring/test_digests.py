"""Parameters belong to the config digest of a run, source to its code digest; each changes only its own."""

from __future__ import annotations

import importlib
import linecache
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import Field

import peak_trade as pt
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError
from peak_trade.core.settings import Settings
from peak_trade.data.sample import synthetic_bars
from peak_trade.sessions.manifest import make_manifest
from peak_trade.sessions.options import make_config
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.strategies.momentum import Momentum
from peak_trade.studies.backtest import backtest
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.wiring import digests as wired
from peak_trade.wiring.digests import code_digest, data_digest, digests_once
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from peak_trade.wiring.strategies import STRATEGIES, make_strategy
from tests.examples import examples

BARS = synthetic_bars(60)
FIELDS = [(name, key) for name in sorted(STRATEGIES) for key in type(make_strategy(name)).model_fields]
VALUES = {
    int: st.integers(1, 40),
    float: st.floats(0.0, 1.0).map(lambda value: round(value, 2)),
    str: st.sampled_from(["long", "short", "both", "weighted", "vote"]),
    tuple: st.sampled_from(["macd", "ma_crossover,momentum", "macd,momentum,rsi_reversion"]),
    type(None): st.sampled_from(["none", "1,2,3", "0.01"]),
}
"""Values for the type of a parameter's default."""


class Level(Settings):
    height: float = 1.0


class Holder(Strategy):
    """Parts that pydantic does not write out, because their fields are declared by a base class."""

    member: Strategy = MaCrossover()
    others: list[Strategy] = Field(default_factory=list)
    level: Settings = Level()

    @property
    def warm_up(self) -> int:
        return self.member.warm_up

    def exposure(self, bars):
        return np.nan_to_num(self.member.exposure(bars)) * self.level.height


def changed(one: pt.BacktestResult, other: pt.BacktestResult) -> list[str]:
    return [name for name in one.digests if one.digests[name] != other.digests[name]]


@settings(max_examples=examples(60), deadline=None)
@given(field=st.sampled_from(FIELDS), data=st.data())
def test_a_parameter_changes_the_config_digest_and_not_the_code_digest(field, data) -> None:
    name, key = field
    before = make_strategy(name)
    try:
        after = make_strategy(name, {key: data.draw(VALUES[type(getattr(before, key))])})
    except ConfigError:
        assume(False)
    runs = [backtest(each, BARS) for each in (before, after)]
    assert changed(*runs) == ([] if after == before else ["config"])


def test_the_values_of_every_nested_part_are_in_the_config_digest() -> None:
    parts = [
        Holder(),
        Holder(member=MaCrossover(fast=5)),
        Holder(member=Momentum()),
        Holder(others=[Momentum()]),
        Holder(others=[Momentum(window=7)]),
        Holder(level=Level(height=0.5)),
    ]
    runs = [backtest(each, BARS) for each in parts]
    assert len({run.digests["config"] for run in runs}) == len(parts)
    assert len({run.digests["code"] for run in runs}) == 1


def test_a_users_source_is_in_the_code_digest_wherever_the_class_is() -> None:
    def codes(strategies: Sequence[Strategy]) -> str:
        return code_digest(strategies)

    assert codes([Holder()]) == codes([Momentum(), Holder(), Holder(member=Holder())]) != codes([Momentum()])
    assert codes([MaCrossover()]) == codes([Momentum(), MaCrossover(fast=3)]) == codes([])


class Reader(Settings):
    one: str = "one.txt"
    several: tuple[str, ...] = ("two.txt", "none.txt")
    by_symbol: dict[str, list[Path]] = Field(default_factory=lambda: {"BTC/USDT": [Path("three.txt")]})


class Reading(Holder):
    reader: Settings = Reader()


@pytest.mark.parametrize("name", ["one.txt", "two.txt", "three.txt"])
def test_the_content_of_a_file_that_a_parameter_names_at_any_depth_is_in_the_config_digest(
    name, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for each in ("one.txt", "two.txt", "three.txt"):
        Path(each).write_text("1", encoding="utf-8")
    before = backtest(Reading(), BARS, causality_check=False)
    Path(name).write_text("2", encoding="utf-8")
    assert changed(before, backtest(Reading(), BARS, causality_check=False)) == ["config"]


BASE = """
import numpy as np
from peak_trade.strategies.base import Strategy


class Base(Strategy):
    @property
    def warm_up(self):
        return 0

    def exposure(self, bars):
        return np.full(len(bars), {held})
"""
OWN = "from users_base import Base\n\n\nclass Own(Base):\n    pass\n"


def test_the_source_of_a_base_class_in_another_module_is_in_the_code_digest(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def digest_with(held: str) -> str:
        (tmp_path / "users_base.py").write_text(BASE.format(held=held), encoding="utf-8")
        (tmp_path / "users_own.py").write_text(OWN, encoding="utf-8")
        importlib.invalidate_caches()
        linecache.clearcache()
        for module in ("users_base", "users_own"):
            monkeypatch.delitem(sys.modules, module, raising=False)
        return code_digest([make_strategy("users_own:Own")])

    full, half, again = digest_with("1.0"), digest_with("0.5"), digest_with("1.0")
    assert full != half
    assert full == again != code_digest([])


def test_the_parameters_of_a_portfolio_and_a_session_leave_the_code_digest() -> None:
    runs = [
        run_portfolio(
            PortfolioSettings.parse(
                {"strategies": [{"name": "ma_crossover", "symbol": BARS.symbol, "parameters": {"fast": fast}}]}, "test"
            ),
            [BARS],
        ).run
        for fast in (5, 6)
    ]
    assert changed(*runs) == ["config"]
    asked = {"mode": "paper", "strategy": "ma_crossover", "symbol": "BTC/USDT", "timeframe": "1h", "feed": "live"}
    one, other = (
        make_manifest("s", make_config(asked, {"fast": fast}, None, None), [MaCrossover(fast=fast)], None, 0)["digests"]
        for fast in (5, 6)
    )
    assert {name for name in one if one[name] != other[name]} == {"config"}


def test_a_block_computes_the_digests_of_package_and_bars_once_and_after_it_each_time(monkeypatch) -> None:
    computed = []
    of_bars = Bars.digest
    monkeypatch.setattr(Bars, "digest", lambda part: computed.append("bars") or of_bars(part))
    monkeypatch.setattr(wired, "package_digest", lambda: computed.append("package") or "0")
    other = synthetic_bars(61)
    with digests_once():
        within = [(code_digest([]), data_digest([BARS]), data_digest([other])) for _ in range(3)]
    assert sorted(computed) == ["bars", "bars", "package"]
    assert within == [(code_digest([]), data_digest([BARS]), data_digest([other]))] * 3
    assert sorted(computed) == ["bars", "bars", "bars", "bars", "package", "package"]
