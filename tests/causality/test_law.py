"""Every public strategy and indicator keeps the law of causality; every planted leak breaks it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import peak_trade.indicators
import peak_trade.strategies
from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, StrategyError
from peak_trade.strategies.base import Strategy
from peak_trade.studies.causality import REWRITES, check_causality, synthetic_bars
from peak_trade.wiring.strategies import STRATEGIES
from tests.causality import planted


@pytest.fixture(scope="module")
def bars() -> Bars:
    return synthetic_bars(1_500)


def public_strategies() -> Iterator[type[Strategy]]:
    for module in _modules(peak_trade.strategies):
        for part in vars(module).values():
            is_own = inspect.isclass(part) and part.__module__ == module.__name__
            if is_own and issubclass(part, Strategy) and not inspect.isabstract(part):
                yield part


def public_indicators() -> Iterator[Callable[..., Any]]:
    for module in _modules(peak_trade.indicators):
        for name, part in vars(module).items():
            is_own = inspect.isfunction(part) and part.__module__ == module.__name__ and name[0] != "_"
            if is_own and any("Array" in str(kind) for kind in part.__annotations__.values()):
                yield part


def _modules(package: Any) -> Iterator[Any]:
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def variants(part: type[Strategy]) -> Iterator[Strategy]:
    yield part()
    if "direction" in part.model_fields:
        yield part(direction="both")
    optional = {
        "trend_window": 100,
        "atr_multiple": 0.5,
        "max_volatility": 0.01,
        "target_volatility": 0.005,
        "rule": "vote",
    }
    chosen = {name: value for name, value in optional.items() if name in part.model_fields}
    if chosen:
        yield part(direction="both", **chosen)


def on_bars(indicator: Callable[..., Any]) -> Callable[[pd.DataFrame], Any]:
    sizes = {"window": 14, "fast": 5, "slow": 9, "signal": 4, "width": 2.0}

    def evaluate(frame: pd.DataFrame) -> Any:
        columns = {name: frame[name].to_numpy() for name in frame.columns} | {"values": frame["close"].to_numpy()}
        return indicator(
            *(columns[name] if name in columns else sizes[name] for name in inspect.signature(indicator).parameters)
        )

    evaluate.__name__ = indicator.__name__
    return evaluate


CASES = [case for part in public_strategies() for case in variants(part)]


@pytest.mark.parametrize("strategy", CASES, ids=[f"{case.name}-{row}" for row, case in enumerate(CASES)])
def test_no_strategy_of_the_package_sees_the_future(strategy: Strategy, bars: Bars) -> None:
    report = check_causality(strategy, bars, n_cuts=6)
    assert report.is_causal, str(report.leaks[0])
    assert not report.failed_rewrites
    assert report.n_rewrites == report.n_cuts * len(REWRITES)


def test_every_strategy_of_the_package_stands_in_the_table() -> None:
    listed = set(STRATEGIES.values())
    assert {f"{part.__module__}:{part.__qualname__}" for part in public_strategies()} == listed
    assert all(place.endswith(f".{name}:{place.rpartition(':')[2]}") for name, place in STRATEGIES.items())


@pytest.mark.parametrize("indicator", list(public_indicators()), ids=lambda part: part.__name__)
def test_no_indicator_of_the_package_sees_the_future(indicator: Callable[..., Any], bars: Bars) -> None:
    report = check_causality(on_bars(indicator), bars, n_cuts=6)
    assert report.is_causal, str(report.leaks[0])


@pytest.mark.parametrize("part", planted.LEAKS, ids=lambda part: part.__name__)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_planted_leak_is_found(part: type[Strategy], seed: int, bars: Bars) -> None:
    report = check_causality(part(), bars, seed=seed)
    assert not report.is_causal
    for leak in report.leaks:
        assert leak.bar_time <= leak.cut_time
        assert leak.before != leak.after
        assert 1 <= leak.n_cuts <= report.n_cuts


class RefusesNan(Strategy):
    """Causal, but will not have a NaN or a short frame."""

    ahead: int = 0

    @property
    def warm_up(self) -> int:
        return 19

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        if bars["close"].isna().any():
            raise ValueError("no NaN, please")
        mean = bars["close"].rolling(20).mean()
        return np.where(mean.isna(), np.nan, bars["close"].shift(-self.ahead) > mean)


def test_a_strategy_that_raises_on_rewritten_bars_is_not_flagged_for_it(bars: Bars) -> None:
    report = check_causality(RefusesNan(), bars)
    assert report.is_causal
    assert [(each.kind, each.error) for each in report.failed_rewrites] == [("nan", "ValueError: no NaN, please")]


def test_a_leak_is_found_although_some_rewritings_are_refused(bars: Bars) -> None:
    assert not check_causality(RefusesNan(ahead=1), bars).is_causal


def test_no_verdict_is_given_when_every_rewriting_is_refused(bars: Bars) -> None:
    class OnlyThese(RefusesNan):
        def exposure(self, given: pd.DataFrame) -> FloatArray:
            if not given.equals(bars.frame):
                raise ValueError("other bars")
            return np.zeros(len(given))

    with pytest.raises(StrategyError, match="nothing to compare"):
        check_causality(OnlyThese(), bars)


def test_a_strategy_that_does_not_repeat_itself_is_found(bars: Bars) -> None:
    draws = np.random.default_rng(0)

    def by_lot(frame: pd.DataFrame) -> FloatArray:
        return draws.random(len(frame))

    assert "repeated" in {leak.kind for leak in check_causality(by_lot, bars).leaks}


def test_the_named_bar_is_the_first_whose_answer_moved(bars: Bars) -> None:
    report = check_causality(planted.NegativeShift(), bars)
    leak = next(leak for leak in report.leaks if leak.kind in ("scaled up", "scaled down"))
    assert leak.bar_time == leak.cut_time == bars.times[leak.bar]
    assert str(leak).startswith("scaled")


def test_a_subject_can_not_change_the_bars_it_is_given(bars: Bars) -> None:
    before = bars.digest()

    def scribbles(frame: pd.DataFrame) -> FloatArray:
        frame["close"] = 1.0
        return frame["close"].to_numpy()

    assert check_causality(scribbles, bars).is_causal
    assert bars.digest() == before


def test_drift_vanishes_for_windows_and_shows_for_expanding_means(bars: Bars) -> None:
    def window(frame: pd.DataFrame) -> FloatArray:
        return (frame["close"] > frame["close"].shift(20)).to_numpy(dtype=float)

    def expanding(frame: pd.DataFrame) -> FloatArray:
        return (frame["close"] > frame["close"].expanding().mean()).to_numpy(dtype=float)

    assert all(row.n_different == 0 for row in check_causality(window, bars, warm_up=20).drift)
    assert check_causality(expanding, bars, warm_up=20).drift[-1].n_different > 0


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_where_history_starts_is_forgotten(name: str, bars: Bars) -> None:
    """A position held over the start is the only thing that may differ, and not for long."""
    module, _, part = STRATEGIES[name].partition(":")
    for row in check_causality(getattr(importlib.import_module(module), part)(), bars, n_cuts=1).drift:
        assert row.settled_after <= 200
        assert row.largest <= 1.0


def test_the_column_that_leaks_is_named(bars: Bars) -> None:
    def frame_of_two(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"known": frame["close"], "ahead": frame["close"].shift(-1)})

    assert {leak.column for leak in check_causality(frame_of_two, bars).leaks} == {"ahead"}
    assert check_causality(lambda frame: frame[["open", "close"]].to_numpy(), bars).is_causal
    assert check_causality(lambda frame: frame["close"] > frame["open"], bars).is_causal


def test_an_answer_that_ends_in_nan_since_it_looks_ahead_is_a_leak(bars: Bars) -> None:
    class NextMean(Strategy):
        @property
        def warm_up(self) -> int:
            return 9

        def exposure(self, bars: pd.DataFrame) -> np.ndarray:
            mean = bars["close"].rolling(10).mean().shift(-1)
            return np.where(mean.isna(), np.nan, (bars["close"] > mean).astype(float))

    assert not check_causality(NextMean(), bars).is_causal


def test_an_answer_that_breaks_the_contract_without_a_leak_is_refused(bars: Bars) -> None:
    class Doubled(Strategy):
        @property
        def warm_up(self) -> int:
            return 0

        def exposure(self, bars: pd.DataFrame) -> np.ndarray:
            return np.full(len(bars), 2.0)

    with pytest.raises(StrategyError, match=r"exposure was 2\.0"):
        check_causality(Doubled(), bars)


def test_too_few_bars_are_refused(bars: Bars) -> None:
    with pytest.raises(ConfigError, match="too few for a warm-up of 49"):
        check_causality(importlib.import_module("peak_trade.strategies.ma_crossover").MaCrossover(), bars.frame[:60])


def test_an_answer_of_another_length_is_refused(bars: Bars) -> None:
    with pytest.raises(StrategyError, match="one number per bar"):
        check_causality(lambda frame: np.zeros(len(frame) - 1), bars)
