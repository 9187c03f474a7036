"""Settings come back from their description as plain values: equal, and with an equal digest."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import Field

from peak_trade.core.errors import ConfigError
from peak_trade.core.settings import Settings
from peak_trade.core.values import Instrument
from peak_trade.engine.settings import BacktestSettings
from peak_trade.regimes.hmm import HmmDetector
from peak_trade.risk.limits import RiskLimits
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.regime.strategy import RegimeAware
from peak_trade.wiring.parts import described, restored
from peak_trade.wiring.strategies import STRATEGIES, make_strategy
from tests.examples import examples

NUMBERS = st.one_of(st.integers(1, 400), st.floats(0.0, 1e6, allow_nan=False))
TEXTS = st.one_of(NUMBERS.map(str), st.sampled_from(["none", "long", "both", "vote", "2,1", "macd,momentum"]))


class Side(Enum):
    """A side."""

    LONG = "long"


class Level(Settings):
    """A level."""

    height: float = 1.0


class Taller(Level):
    """A level of another class."""

    step: int = 2


class Odd(Settings):
    """Fields of every kind that a user may declare."""

    moment: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    day: date = date(2024, 2, 29)
    length: timedelta = timedelta(hours=3, microseconds=1)
    path: Path = Path("a/b.csv")
    side: Side = Side.LONG
    names: frozenset[str] = frozenset({"a", "b"})
    pair: tuple[int, str] = (1, "x")
    steps: list[float] = Field(default=[0.1, 0.2])
    table: dict[str, float] = Field(default={"part": 1.5})
    level: Level = Taller(height=2.0)
    levels: tuple[Level, ...] = (Level(), Taller(step=3))
    by_name: dict[str, Level] = Field(default={"x": Taller()})
    listed: list[Level] = Field(default=[Taller()])
    missing: Level | None = None
    anything: Any = None


def again(value: Any) -> Any:
    return restored(json.loads(json.dumps(described(value))))


@settings(max_examples=examples(40), deadline=None)
@given(st.sampled_from(sorted(STRATEGIES)), st.data())
def test_a_strategy_with_any_parameters_comes_back(name, data):
    fields = type(make_strategy(name)).model_fields
    given_texts = data.draw(st.dictionaries(st.sampled_from(sorted(fields)), TEXTS, max_size=3)) if fields else {}
    try:
        strategy = make_strategy(name, given_texts)
    except ConfigError:
        assume(False)
    for part in (strategy, RegimeAware(inner=strategy, mode="switch", bear_strategy=MaCrossover(fast=3))):
        assert again(part) == part
        assert again(part).digest() == part.digest()


@settings(max_examples=examples(40), deadline=None)
@given(st.floats(0.01, 1e6), st.floats(0.01, 1.0), st.one_of(st.none(), st.floats(0.01, 1.0)), st.integers(0, 2**62))
def test_settings_and_limits_with_any_numbers_come_back(cash, fraction, cap, seed):
    trading = BacktestSettings(initial_cash=cash, costs={"max_participation": cap}, seed=seed)
    limits = RiskLimits(max_concentration=fraction, state={"halt_drawdown": cap})
    for part in (trading, limits):
        assert again(part) == part
        assert again(part).digest() == part.digest()


@pytest.mark.parametrize(
    "part",
    [
        Odd(),
        Odd(anything={"a": [1, None, "x"]}, missing=Taller(height=0.1 + 0.2), steps=[]),
        HmmDetector(),
        BacktestSettings(execution={"stop_loss": 0.1}, sizing={"kind": "fixed_risk"}),
    ],
    ids=["every-kind", "other-values", "detector", "sizing"],
)
def test_fields_of_every_kind_come_back(part):
    assert again(part) == part
    assert again(part).digest() == part.digest()
    assert type(again(part)) is type(part)


def test_arguments_come_back_with_classes_and_numbers_of_arrays():
    arguments = {"grid": {"fast": range(2, 5), "slow": np.array([10, 20])}, "class": MaCrossover, "best": np.int64(3)}
    assert again(arguments) == {"grid": {"fast": (2, 3, 4), "slow": (10, 20)}, "class": MaCrossover, "best": 3}
    instrument = Instrument("BTC/USDT", lot_size=0.1)
    assert Instrument(**again(instrument)) == instrument


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"part": "nowhere.at_all:Mine", "values": {}}, "there is no module nowhere.at_all"),
        ({"part": "peak_trade.strategies.macd:Macdd", "values": {}}, "has no class Macdd of settings"),
        ({"part": "peak_trade.strategies.macd:Macd", "values": {"fst": 3}}, "fst is not a setting. Did you mean fast?"),
        ({"part": "peak_trade.strategies.macd:Macd", "values": {"fast": "x"}}, "fast was 'x'"),
    ],
)
def test_a_class_that_is_gone_or_changed_is_named(content, says):
    with pytest.raises(ConfigError, match=says.replace("?", r"\?").replace(".", r"\.")):
        restored(content)
