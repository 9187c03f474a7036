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
from peak_trade.causality.check import check_causality
from peak_trade.causality.rewrites import REWRITES, choose_cuts
from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, StrategyError
from peak_trade.data.sample import synthetic_bars
from peak_trade.strategies.base import Strategy
from peak_trade.wiring.strategies import STRATEGIES
from tests.causality import planted
from tests.examples import mostly_long


@pytest.fixture(scope="module")
def bars() -> Bars:
    return synthetic_bars(1_200)


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
    sizes = {"window": 14, "fast": 5, "slow": 9, "signal": 4, "width": 2.0, "n_bars": 14}

    def evaluate(frame: pd.DataFrame) -> Any:
        columns = {name: frame[name].to_numpy() for name in frame.columns} | {"values": frame["close"].to_numpy()}
        required = [
            name for name, each in inspect.signature(indicator).parameters.items() if each.default is each.empty
        ]
        return indicator(*(columns[name] if name in columns else sizes[name] for name in required))

    evaluate.__name__ = indicator.__name__
    return evaluate


CASES = [case for part in public_strategies() for case in variants(part)]
CASE_IDS = [f"{case.name}-{row}" for row, case in enumerate(CASES)]


@pytest.mark.parametrize(
    "strategy", mostly_long(CASES, 6), ids=[f"{case.name}-{row}" for row, case in enumerate(CASES)]
)
def test_no_strategy_of_the_package_sees_the_future(strategy: Strategy, bars: Bars) -> None:
    report = check_causality(strategy, bars, n_cuts=4)
    assert report.is_causal, str(report.leaks[0])
    assert not report.failed_rewrites
    assert report.n_rewrites == report.n_cuts * len(REWRITES)
    if strategy == type(strategy)():
        # Where history starts is forgotten: a position held over the start may differ, and not for long.
        assert all(row.settled_after <= 200 and row.largest <= 1.0 for row in report.drift), report.drift


def test_every_strategy_of_the_package_stands_in_the_table() -> None:
    listed = set(STRATEGIES.values())
    assert {f"{part.__module__}:{part.__qualname__}" for part in public_strategies()} == listed
    assert all(place.endswith(f".{name}:{place.rpartition(':')[2]}") for name, place in STRATEGIES.items())


@pytest.mark.parametrize("indicator", mostly_long(public_indicators(), 5), ids=lambda part: part.__name__)
def test_no_indicator_of_the_package_sees_the_future(indicator: Callable[..., Any], bars: Bars) -> None:
    report = check_causality(on_bars(indicator), bars, n_cuts=4)
    assert report.is_causal, str(report.leaks[0])


@pytest.mark.parametrize("part", mostly_long(planted.LEAKS, 6), ids=lambda part: part.__name__)
def test_every_planted_leak_is_found(part: type[Strategy], bars: Bars) -> None:
    report = check_causality(part(), bars, n_cuts=4)
    assert not report.is_causal
    assert report.verdict == "looks ahead"
    for leak in report.leaks:
        assert leak.bar_time <= leak.cut_time
        assert repr(leak.before) != repr(leak.after)
        assert f"from {leak.before!r} to {leak.after!r}" in str(leak)
        assert 1 <= leak.n_cuts <= report.n_cuts


@pytest.mark.parametrize("part", mostly_long(planted.RARE, 1), ids=lambda part: part.__name__)
def test_leaks_on_rare_bars_are_found(part: type[Strategy], bars: Bars) -> None:
    assert not check_causality(part(), bars).is_causal


@pytest.mark.parametrize("part", mostly_long(planted.KEEPS_STATE, 2), ids=lambda part: part.__name__)
def test_leaks_through_kept_state_are_found(part: type[Strategy], bars: Bars) -> None:
    report = check_causality(part(), bars, n_cuts=4)
    assert not report.is_causal
    assert report.kept_state
    again = check_causality(part(), bars, n_cuts=4)
    assert repr(again.leaks) == repr(report.leaks), "a check leaves the state as it was"


@pytest.mark.parametrize("part", mostly_long(planted.CLEAN, 3), ids=lambda part: part.__name__)
def test_no_strategy_without_look_ahead_is_flagged(part: type[Strategy], bars: Bars) -> None:
    report = check_causality(part(), bars, n_cuts=4)
    assert report.verdict == "causal", str(report.leaks + report.roundings)
    assert not report.writes


@pytest.mark.parametrize(
    ("size", "verdict"),
    [(1.0, "rounding, not look-ahead"), (32.0, "rounding, not look-ahead"), (33.0, "looks ahead")],
    ids=["1 ulp", "64 ulps", "66 ulps"],
)
def test_last_bits_are_rounding_up_to_64_ulps(size: float, verdict: str, bars: Bars) -> None:
    report = check_causality(planted.BlockedArithmetic(size=size), bars, n_cuts=4)
    assert report.verdict == verdict
    found = report.roundings + report.leaks
    assert max(leak.ulps for leak in found) == 2.0 * size
    assert all(f"from {leak.before!r} to {leak.after!r}" in str(leak) for leak in found)


WRITES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "assignment": lambda frame: frame.__setitem__("close", frame["close"].rolling(3).mean()),
    "loc": lambda frame: frame.loc.__setitem__((frame.index[7], "high"), 1.0),
    "iloc": lambda frame: frame.iloc.__setitem__((slice(None), 0), 1.0),
    "in place": lambda frame: frame.mask(frame > 25_000.0, 1.0, **{"inplace": True}),
    "text": lambda frame: frame.__setitem__("volume", "much"),
    "pop": lambda frame: frame.pop("low"),
    "rows": lambda frame: frame.drop(frame.index[-1], **{"inplace": True}),
    "index": lambda frame: setattr(frame, "index", frame.index[::-1]),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_write_into_the_bars_is_named(write: str, bars: Bars) -> None:
    columns = {"assignment": "close", "loc": "high", "iloc": "open", "in place": "open", "text": "volume", "pop": "low"}

    def writes(frame: pd.DataFrame) -> FloatArray:
        held = (frame["close"] > frame["close"].shift(2)).to_numpy(dtype=float)
        WRITES[write](frame)
        return held

    report = check_causality(writes, bars, n_cuts=1)
    assert report.verdict == "causal"
    assert columns.get(write, "index") in {each.column for each in report.writes}
    assert all(str(each).startswith("writes into its bars: ") for each in report.writes)


def test_cuts_are_spread_over_the_calendar_and_rare_events(bars: Bars) -> None:
    frame = bars.frame
    cuts = choose_cuts(frame, {"": np.sign(frame["close"].diff().fillna(0.0)).to_numpy()}, 30, 60)
    chosen = frame.index[cuts]
    assert len(cuts) == len(set(cuts)) == 60
    assert cuts[0] >= 30
    assert cuts[-1] == len(frame) - 2
    assert set(chosen.day_of_week) == set(range(7))
    assert set(chosen.hour) == set(range(24))
    assert len(set(chosen.day)) >= 28
    returns = frame["close"].pct_change().iloc[30:]
    assert {int(frame.index.get_loc(extreme)) for extreme in (returns.idxmax(), returns.idxmin())} <= set(cuts)


@pytest.mark.parametrize("n_cuts", [1, 2, 5, 40, 10_000])
def test_the_number_of_cuts_is_the_one_asked_for(n_cuts: int, bars: Bars) -> None:
    cuts = choose_cuts(bars.frame, {"": np.zeros(len(bars))}, 30, n_cuts)
    assert len(cuts) == min(n_cuts, len(bars) - 1 - 30)


def test_the_floor_is_the_share_of_bars_that_the_cuts_miss_once_in_twenty(bars: Bars) -> None:
    report = check_causality(lambda frame: np.ones(len(frame)), bars, n_cuts=20)
    assert (1.0 - report.floor) ** 20 == pytest.approx(0.05)
    assert "fewer than 13.9%" in report.limits[0]
    assert any("disk" in sentence for sentence in report.limits)


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
    report = check_causality(RefusesNan(), bars, n_cuts=4)
    assert report.is_causal
    assert [(each.kind, each.error) for each in report.failed_rewrites] == [("nan", "ValueError: no NaN, please")]


def test_a_result_of_a_wrong_length_on_few_bars_is_a_failed_rewriting(bars: Bars) -> None:
    """A convolution of the mode `same` returns as many values as its window on fewer bars."""

    def same(frame: pd.DataFrame) -> FloatArray:
        return np.convolve(frame["close"].to_numpy(), np.ones(1_100), "same")

    report = check_causality(same, bars, n_cuts=4)
    assert [each.kind for each in report.failed_rewrites] == ["removed"]
    assert not report.is_causal


def test_a_leak_is_found_although_some_rewritings_are_refused(bars: Bars) -> None:
    assert not check_causality(RefusesNan(ahead=1), bars, n_cuts=4).is_causal


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

    assert "repeated" in {leak.kind for leak in check_causality(by_lot, bars, n_cuts=1).leaks}


def test_the_named_bar_is_the_first_whose_answer_moved(bars: Bars) -> None:
    report = check_causality(planted.NegativeShift(), bars, n_cuts=12)
    leak = next(leak for leak in report.leaks if leak.kind in ("scaled up", "scaled down"))
    assert leak.bar_time == leak.cut_time == bars.times[leak.bar]
    assert str(leak).startswith("scaled")


def test_a_subject_can_not_change_the_bars_it_is_given(bars: Bars) -> None:
    before = bars.digest()

    def scribbles(frame: pd.DataFrame) -> FloatArray:
        frame["close"] = 1.0
        return frame["close"].to_numpy()

    assert check_causality(scribbles, bars, n_cuts=2).is_causal
    assert bars.digest() == before


def test_drift_vanishes_for_windows_and_shows_for_expanding_means(bars: Bars) -> None:
    def window(frame: pd.DataFrame) -> FloatArray:
        return (frame["close"] > frame["close"].shift(20)).to_numpy(dtype=float)

    def expanding(frame: pd.DataFrame) -> FloatArray:
        return (frame["close"] > frame["close"].expanding().mean()).to_numpy(dtype=float)

    assert all(row.n_different == 0 for row in check_causality(window, bars, warm_up=20, n_cuts=1).drift)
    assert check_causality(expanding, bars, warm_up=20, n_cuts=1).drift[-1].n_different > 0


def test_the_column_that_leaks_is_named(bars: Bars) -> None:
    def frame_of_two(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"known": frame["close"], "ahead": frame["close"].shift(-1)})

    assert {leak.column for leak in check_causality(frame_of_two, bars, n_cuts=4).leaks} == {"ahead"}
    assert check_causality(lambda frame: frame[["open", "close"]].to_numpy(), bars, n_cuts=2).is_causal
    assert check_causality(lambda frame: frame["close"] > frame["open"], bars, n_cuts=2).is_causal


def test_an_answer_that_ends_in_nan_since_it_looks_ahead_is_a_leak(bars: Bars) -> None:
    class NextMean(Strategy):
        @property
        def warm_up(self) -> int:
            return 9

        def exposure(self, bars: pd.DataFrame) -> np.ndarray:
            mean = bars["close"].rolling(10).mean().shift(-1)
            return np.where(mean.isna(), np.nan, (bars["close"] > mean).astype(float))

    assert not check_causality(NextMean(), bars, n_cuts=4).is_causal


def test_an_answer_that_breaks_the_contract_without_a_leak_is_refused(bars: Bars) -> None:
    class Doubled(Strategy):
        @property
        def warm_up(self) -> int:
            return 0

        def exposure(self, bars: pd.DataFrame) -> np.ndarray:
            return np.full(len(bars), 2.0)

    with pytest.raises(StrategyError, match=r"exposure was 2\.0"):
        check_causality(Doubled(), bars, n_cuts=1)


def test_no_cuts_are_refused(bars: Bars) -> None:
    with pytest.raises(ConfigError, match="n_cuts was 0: give a whole number of at least 1"):
        check_causality(planted.NegativeShift(), bars, n_cuts=0)


def test_too_few_bars_are_refused(bars: Bars) -> None:
    with pytest.raises(ConfigError, match="too few for a warm-up of 49"):
        check_causality(importlib.import_module("peak_trade.strategies.ma_crossover").MaCrossover(), bars.frame[:60])


def test_an_answer_of_another_length_is_refused(bars: Bars) -> None:
    with pytest.raises(StrategyError, match="one number per bar"):
        check_causality(lambda frame: np.zeros(len(frame) - 1), bars)
