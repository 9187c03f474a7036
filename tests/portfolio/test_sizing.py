"""Every sizing rule looks at the past only and means what it says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import peak_trade as pt
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError
from peak_trade.core.settings import Settings
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Instrument
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.journal.events import OrderEvent
from peak_trade.portfolio.sizing import FixedRisk, FractionalKelly, FractionOfEquity, VolatilityTarget
from peak_trade.reports.views.backtest import outcome
from peak_trade.strategies.base import Strategy
from tests.examples import examples, mostly_long
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

FREE = {"fee_bps": 0.0, "slippage_bps": 0.0, "max_participation": None}
RULES = [
    FractionOfEquity(fraction=0.4),
    VolatilityTarget(annual_volatility=0.3, window=20, max_scale=2.0),
    FractionalKelly(fraction=0.5, window=30, max_scale=3.0),
]


def bars_of(close: np.ndarray, hours: np.ndarray | None = None) -> Bars:
    """Bars with these closes, one per hour, or at these hours."""
    hours = np.arange(close.size) if hours is None else hours
    index = pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(hours=1) * hours
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    return Bars(pd.DataFrame({**prices, "volume": 1e9}, index=index), "X/USD", Timeframe(3_600))


def random_bars(seed: int, n_bars: int = 120, hours: np.ndarray | None = None) -> Bars:
    return bars_of(100.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.001, 0.02, n_bars))), hours)


def scale_of(rule: VolatilityTarget | FractionalKelly, bars: Bars) -> np.ndarray:
    return rule.scale(bars.columns, bars.timeframe.bars_per_year)


@given(st.integers(0, 10_000), st.integers(2, 119))
@settings(max_examples=examples(30), deadline=None)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_sizing_ignores_the_future(rule: VolatilityTarget, seed: int, cut: int) -> None:
    bars = random_bars(seed)
    full, known = scale_of(rule, bars), scale_of(rule, Bars(bars.frame.iloc[:cut], bars.symbol, bars.timeframe))
    np.testing.assert_array_equal(full[:cut], known)
    is_known = ~np.isnan(full)
    assert is_known[-1]
    assert (np.diff(is_known.astype(int)) >= 0).all()
    assert (full[is_known] >= 0.0).all()


def test_volatility_target_is_the_ratio_of_wanted_and_realised() -> None:
    bars = random_bars(1)
    rule = VolatilityTarget(annual_volatility=0.3, window=20, max_scale=100.0)
    realised = bars.frame["close"].pct_change().rolling(20).std().to_numpy() * np.sqrt(8760.0)
    np.testing.assert_allclose(scale_of(rule, bars)[20:], 0.3 / realised[20:], rtol=RTOL_REFERENCE)
    assert np.isnan(scale_of(rule, bars)[:20]).all()


def test_the_realised_volatility_is_annualised_by_the_time_that_its_window_spans() -> None:
    """Bars every two hours that are stated as hourly have half as many returns in a year."""
    rule = VolatilityTarget(annual_volatility=0.3, window=20, max_scale=100.0)
    hours = np.cumsum(np.r_[0, np.tile([1, 3], 60)])
    whole, thin = scale_of(rule, random_bars(1)), scale_of(rule, random_bars(1, hours=hours[:120]))
    np.testing.assert_allclose(thin[20:], whole[20:] * np.sqrt(2.0), rtol=RTOL_SAME)


def test_kelly_is_mean_over_variance_and_never_negative() -> None:
    bars = random_bars(2)
    returns = bars.frame["close"].pct_change()
    mean, variance = returns.rolling(30).mean(), returns.rolling(30).var()
    wanted = (0.5 * mean / variance).clip(0.0, 3.0).to_numpy()
    rule = FractionalKelly(fraction=0.5, window=30, max_scale=3.0)
    np.testing.assert_allclose(scale_of(rule, bars)[30:], wanted[30:], rtol=RTOL_REFERENCE)


class Held(Strategy):
    """The same exposure at every bar."""

    target: float = 1.0

    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, bars: pd.DataFrame) -> np.ndarray:
        return np.full(len(bars), self.target)


def frame_that_moves(to: float, n_bars: int = 20) -> pd.DataFrame:
    """Bars at 100 with a range of 2, and a last one that goes from 100 to a price."""
    index = pd.date_range("2024-01-01", periods=n_bars, freq="h", tz="UTC")
    bars = pd.DataFrame({"open": 100.0, "high": 101.0, "low": 99.0, "close": 100.0, "volume": 1e9}, index=index)
    bars.iloc[-1] = [100.0, max(to, 101.0), min(to, 99.0), to, 1e9]
    return bars


STOPS = [
    {"stop_loss": 0.1},
    {"stop_loss": 0.1, "trailing_stop": 0.3},
    {"stop_loss": 0.3, "trailing_stop": 0.1},
    {"trailing_stop": 0.1},
    {"stop_loss_atr": 5.0},
    {"stop_loss_atr": 20.0, "trailing_stop": 0.1},
]


@pytest.mark.parametrize("side", [1.0, -1.0], ids=["long", "short"])
@pytest.mark.parametrize("stops", STOPS, ids=str)
def test_a_stopped_trade_of_fixed_risk_loses_the_risk(stops: dict[str, float], side: float) -> None:
    """Whichever stop of the execution policy is the nearest: it is 10 % away, so a risk of 2 % holds a fifth."""
    values = {"costs": FREE, "execution": stops, "sizing": {"kind": "fixed_risk", "risk": 0.02}}
    result = pt.backtest(
        Held(target=side), frame_that_moves(100.0 - side * 20.0), BacktestSettings.parse(values, "test")
    )
    entry, _ = result.fill_list
    assert entry.quantity == pytest.approx(0.2 * 10_000.0 / 100.0, rel=RTOL_SAME)
    lost = 1.0 - result.equity_values[-1] / 10_000.0
    assert lost <= 0.02 * (1.0 + RTOL_SAME)
    if "trailing_stop" not in stops:
        assert lost == pytest.approx(0.02, rel=RTOL_SAME)


@pytest.mark.parametrize(
    ("execution", "sizing", "says"),
    [
        ({}, {}, "needs a stop: set execution.stop_loss, stop_loss_atr or trailing_stop"),
        ({"take_profit": 0.1}, {}, "needs a stop"),
        ({}, {"stop_distance": 0.1}, "needs a stop"),
        ({"stop_loss": 0.5}, {"stop_distance": 0.1}, "stop_distance was 0.1, and execution.stop_loss is 0.5"),
        ({"stop_loss_atr": 2.0}, {"stop_distance": 0.1}, "stop_distance was 0.1, and execution.stop_loss is None"),
    ],
    ids=["none", "target-only", "distance-only", "another-distance", "another-stop"],
)
def test_fixed_risk_without_its_stop_is_refused_in_one_line(execution, sizing, says) -> None:
    values = {"execution": execution, "sizing": {"kind": "fixed_risk", "risk": 0.02, **sizing}}
    with pytest.raises(ConfigError, match=says) as refused:
        BacktestSettings.parse(values, "run.toml")
    assert "\n" not in str(refused.value)


def test_an_earlier_run_file_may_still_state_the_distance_of_its_stop() -> None:
    """The distance changes nothing: the scale follows from the stop of the policy."""
    values = {"execution": {"stop_loss": 0.1}, "sizing": {"kind": "fixed_risk", "risk": 0.02}}
    stated = {**values, "sizing": {**values["sizing"], "stop_distance": 0.1}}
    runs = [pt.backtest(Held(), random_bars(1), BacktestSettings.parse(each, "run.toml")) for each in (values, stated)]
    assert runs[0].fill_list == runs[1].fill_list != []


def levered(bars: Bars) -> dict[str, Instrument]:
    """An instrument that allows any scale of these tests."""
    return {bars.symbol: Instrument(bars.symbol, max_leverage=10.0)}


ASKING = [
    {"kind": "fixed_notional", "notional": 74_000.0},
    {"kind": "volatility_target", "annual_volatility": 50.0, "window": 10, "max_scale": 7.4},
    {"kind": "fractional_kelly", "fraction": 1.0, "window": 10, "max_scale": 7.4},
    {"kind": "fixed_risk", "risk": 0.2, "max_scale": 7.4},
]


@pytest.mark.parametrize("side", mostly_long([1.0, -1.0], 1), ids=["long", "short"])
@pytest.mark.parametrize("sizing", mostly_long(ASKING, 1), ids=lambda sizing: sizing["kind"])
def test_neither_long_nor_short_positions_exceed_the_equity_and_the_result_says_so(sizing, side) -> None:
    values = {"costs": FREE, "execution": {"stop_loss": 0.027}, "sizing": sizing}
    close = 100.0 * np.cumprod(np.tile([1.001, 1.002], 20))
    bars = bars_of(close)
    result = pt.backtest(Held(target=side), bars, BacktestSettings.parse(values, "test"), instruments=levered(bars))
    order = next(event for event in result.events if isinstance(event, OrderEvent))
    assert order.quantity * order.decision_price == pytest.approx(10_000.0, rel=RTOL_SAME)
    facts = result.trading_facts()
    assert facts["n_trimmed"] == 1
    assert facts["largest_leverage"] == pytest.approx(7.4, rel=2e-3)
    assert facts["first_trimmed"] == facts["last_trimmed"]
    (remark,) = [text for text in result.remarks if "trimmed to the equity" in text]
    assert f"{sizing['kind']} asked for up to 7.4" in remark
    assert remark in result.assumptions
    assert remark in outcome(result)


@given(
    st.sampled_from(RULES),
    st.floats(0.05, 1.0),
    st.integers(0, 1_000),
    st.sampled_from([{}, {"trailing_stop": 0.05}]),
)
@settings(max_examples=examples(25), deadline=None)
def test_a_short_is_sized_like_a_long(rule, target, seed, execution) -> None:
    """The first orders of a target and of its opposite have one quantity, at most the equity."""
    bars = random_bars(seed)
    values = {"costs": FREE, "execution": execution, "sizing": rule.model_dump()}
    chosen = BacktestSettings.parse(values, "test")
    orders = []
    for side in (1.0, -1.0):
        events = pt.backtest(Held(target=side * target), bars, chosen, instruments=levered(bars)).events
        orders.append(next((event for event in events if isinstance(event, OrderEvent)), None))
    if orders[0] is None or orders[1] is None:
        assert orders[0] is orders[1] is None
        return
    assert orders[0].quantity == orders[1].quantity
    assert orders[0].quantity * orders[0].decision_price <= 10_000.0 * (1.0 + RTOL_SAME)


@pytest.mark.long
def test_a_scale_above_one_serves_targets_below_one() -> None:
    values = {
        "costs": FREE,
        "sizing": {"kind": "volatility_target", "annual_volatility": 50.0, "window": 10, "max_scale": 2.0},
    }
    for target, held in ((0.3, 0.6), (0.5, 1.0), (0.8, 1.0)):
        bars, chosen = random_bars(1), BacktestSettings.parse(values, "test")
        result = pt.backtest(Held(target=-target), bars, chosen, instruments=levered(bars))
        assert result.fill_list[0].quantity * result.fill_list[0].decision_price == pytest.approx(
            held * 10_000.0, rel=RTOL_SAME
        )
        assert result.counts.n_trimmed == (target > 0.5)


@pytest.mark.parametrize(
    ("part", "values"),
    [
        (ExecutionPolicy, {"stop_loss": 2.0}),
        (ExecutionPolicy, {"stop_loss": 0.05, "stop_loss_atr": 2.0}),
        (ExecutionPolicy, {"order_type": "trailing_stop"}),
        (ExecutionPolicy, {"no_trade_band": 1.5}),
        (FixedRisk, {"risk": 0.5}),
        (FractionOfEquity, {"fraction": 1.1}),
        (VolatilityTarget, {"annual_volatility": float("nan")}),
    ],
    ids=str,
)
def test_values_that_can_not_be_are_refused(part: type[Settings], values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        part(**values)
