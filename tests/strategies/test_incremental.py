"""New bars continue the earlier ones: whatever the cuts, an incremental strategy returns what it returns at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns, frame_over
from peak_trade.core.bars import Bars
from peak_trade.core.compute import Compute
from peak_trade.core.errors import StrategyError
from peak_trade.core.time import Timeframe
from peak_trade.engine.settings import BacktestSettings
from peak_trade.indicators import dispersion, momentum, ranges
from peak_trade.indicators.means import sma
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.composite import Composite
from peak_trade.strategies.incremental import MEMORY, Continuation, IncrementalStrategy, is_incremental
from peak_trade.wiring.sleeves import Evaluation
from peak_trade.wiring.strategies import STRATEGIES, make_strategy
from tests.examples import examples, mostly_long
from tests.sessions.running import BTC

N_BARS = 160
OPTIONAL = {"trend_window": 9, "atr_multiple": 0.3, "max_volatility": 0.01, "target_volatility": 0.004}
LEVELS = [-0.03, -0.01, -0.004, 0.0, 0.0, 0.003, 0.011, 0.02]
CUTS = st.lists(st.integers(1, N_BARS - 1), max_size=6, unique=True).map(sorted)
SIZINGS = [
    {"kind": "fixed_notional", "notional": 100.0},
    {"kind": "volatility_target", "window": 7},
    {"kind": "fractional_kelly", "window": 7},
    {"kind": "fixed_risk", "risk": 0.02},
]


@st.composite
def histories(draw: st.DrawFn) -> Bars:
    """Bars of a walk with equal closes, gaps and any volume."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    close = 100.0 * np.exp(np.cumsum(rng.choice(LEVELS, N_BARS)))
    opened = np.concatenate(([100.0], close[:-1]))
    reach = rng.choice([0.0, 0.004, 0.02], (2, N_BARS))
    values = [opened, np.maximum(opened, close) * (1.0 + reach[0]), np.minimum(opened, close) * (1.0 - reach[1]), close]
    hours = np.cumsum(rng.choice([1, 1, 1, 5], N_BARS)) * 3_600_000_000_000
    columns = np.stack([*values, rng.uniform(0.0, 9.0, N_BARS)])
    return Bars(frame_over(hours.tobytes(), columns.tobytes()), "BTC/USDT", Timeframe.parse("1h"))


@st.composite
def parameters(draw: st.DrawFn, part: type[Strategy]) -> Strategy:
    """Small windows, so that the warm-up ends, and every option."""
    chosen: dict[str, Any] = {}
    for name in part.model_fields:
        if name in ("slow", "volatility_window"):
            chosen[name] = draw(st.integers(6, 12))
        elif name in ("fast", "window", "exit_window", "signal", "atr_window", "adx_window", "ma_window"):
            chosen[name] = draw(st.integers(1, 5))
        elif name in OPTIONAL and draw(st.booleans()):
            chosen[name] = OPTIONAL[name]
        elif name == "direction":
            chosen[name] = draw(st.sampled_from(["long", "short", "both"]))
        elif name == "rule":
            chosen[name] = draw(st.sampled_from(["weighted", "vote"]))
        elif name == "members":
            chosen[name] = tuple(make_strategy(each) for each in ("ma_crossover", "donchian", "random_entry"))
    if "enter" in part.model_fields and part.__name__ == "Momentum":
        chosen["enter"] = 0.005
    return part(**chosen)


def parts_of(columns: BarColumns, cuts: list[int]) -> list[BarColumns]:
    """Consecutive bars between cuts."""

    def part(first: int, stop: int | None) -> BarColumns:
        return BarColumns(lambda name: getattr(columns, "times" if name == "close_time" else name)[first:stop])

    return [part(first, stop) for first, stop in zip([0, *cuts], [*cuts, None], strict=True)]


@pytest.mark.parametrize("name", mostly_long(STRATEGIES, 7))
@settings(max_examples=examples(12), deadline=None)
@given(data=st.data(), bars=histories(), cuts=CUTS)
def test_new_bars_lead_to_the_exposure_over_all_bars(name: str, data: Any, bars: Bars, cuts: list[int]) -> None:
    strategy = data.draw(parameters(type(make_strategy(name))))
    assert isinstance(strategy, IncrementalStrategy)
    assert is_incremental(strategy)
    continuation, found = Continuation(), []
    for part in parts_of(bars.columns, cuts):
        continuation.begin()
        found.append(strategy.evaluate(part, continuation))
    np.testing.assert_array_equal(np.concatenate(found), strategy.exposure(bars.for_strategy()))


def evaluation_of(strategy: Strategy, chosen: BacktestSettings | None = None) -> Evaluation:
    return Evaluation(strategy, strategy.name, (BTC.symbol,), chosen or BacktestSettings())


@settings(max_examples=examples(20), deadline=None)
@given(bars=histories(), sizing=st.sampled_from(SIZINGS), has_atr=st.booleans())
def test_new_bars_one_by_one_lead_to_the_targets_over_all_bars(
    bars: Bars, sizing: dict[str, Any], has_atr: bool
) -> None:
    execution = {"stop_loss_atr": 2.0, "atr_window": 5} if has_atr else {"stop_loss": 0.05}
    evaluation = evaluation_of(
        make_strategy("momentum", {"window": 3, "direction": "both"}),
        BacktestSettings.parse({"sizing": sizing, "execution": execution}, "test"),
    )
    (whole,), continued = evaluation.over([bars]), evaluation.continued(bars.timeframe.bars_per_year)
    assert continued is not None
    steps = [continued.targets(part) for part in parts_of(bars.columns, list(range(1, N_BARS)))]
    for place, expected in enumerate((whole.exposure, whole.scale, whole.atr)):
        if expected is None:
            assert all(each[place] is None for each in steps)
        else:
            np.testing.assert_array_equal(np.concatenate([each[place] for each in steps]), expected)


CLOSE_ALONE: list[Callable[..., FloatArray]] = [
    lambda close, by: by(dispersion.z_score, close, 6),
    lambda close, by: by(dispersion.realised_volatility, close, 6),
    lambda close, by: dispersion.bollinger(close, 6, 2.0, by).upper,
    lambda close, by: by(momentum.rsi, close, 6),
    lambda close, by: by(momentum.rate_of_change, close, 6),
    lambda close, by: momentum.macd(close, 3, 6, 4, by).signal,
    lambda close, by: by(ranges.lowest, close, 6),
    lambda close, by: ranges.donchian(close, close, 6, by).middle,
    lambda close, by: ranges.adx(close * 1.01, close * 0.99, close, 4, by),
    lambda close, by: ranges.atr(close * 1.01, close * 0.99, close, 4, by),
]


@pytest.mark.parametrize("indicator", mostly_long(CLOSE_ALONE, 5))
@settings(max_examples=examples(10), deadline=None)
@given(bars=histories(), cuts=CUTS)
def test_indicators_continue_bit_for_bit(indicator: Callable[..., FloatArray], bars: Bars, cuts: list[int]) -> None:
    continuation, found = Continuation(), []
    for part in parts_of(bars.columns, cuts):
        continuation.begin()
        found.append(indicator(part.close, continuation))

    def alone(each: Callable[..., FloatArray], values: FloatArray, *others: Any) -> FloatArray:
        return each(values, *others)

    np.testing.assert_array_equal(np.concatenate(found), indicator(bars.columns.close, alone))


def test_a_composite_with_a_member_of_unknown_memory_is_evaluated_as_a_whole() -> None:
    class Own(Strategy):
        @property
        def warm_up(self) -> int:
            return 0

        def exposure(self, bars: Any) -> FloatArray:
            return np.ones(len(bars))

    assert not is_incremental(Composite(members=(Own(),)))
    assert evaluation_of(Composite(members=(Own(),))).continued(8760.0) is None
    assert is_incremental(Composite(members=(Composite(),)))


class Careless(IncrementalStrategy):
    """Computes with what can not be continued, or with other calls at other bars."""

    kind: str = "own"

    @property
    def warm_up(self) -> int:
        return 4

    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        if self.kind == "own":
            return compute(np.cumsum, columns.close)
        first = columns.times[0] == 3_600_000_000_000
        return compute(sma if first else ranges.highest, columns.close, 3)


@pytest.mark.parametrize(
    ("kind", "message"), [("own", "cumsum can not be continued"), ("calls", "was sma at the first bars and is highest")]
)
def test_what_can_not_be_continued_is_refused(kind: str, message: str) -> None:
    columns = BarColumns(lambda name: np.array([3_600_000_000_000]) if name == "close_time" else np.array([1.0]))
    later = BarColumns(lambda name: np.array([7_200_000_000_000]) if name == "close_time" else np.array([1.0]))
    evaluation = evaluation_of(Careless(kind=kind)).continued(8760.0)
    assert evaluation is not None
    with pytest.raises(StrategyError, match=message):
        [evaluation.targets(part) for part in (columns, later)]


def test_each_function_with_memory_says_what_it_remembers() -> None:
    assert all("memory" in part.__annotations__ for part in MEMORY)
    assert all(MEMORY.values())
