"""Every sizing rule looks at the past only and means what it says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError
from peak_trade.core.settings import Settings
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.portfolio.sizing import FixedRisk, FractionalKelly, FractionOfEquity, VolatilityTarget
from tests.tolerances import RTOL_REFERENCE, RTOL_SAME

RULES = [
    FractionOfEquity(fraction=0.4),
    VolatilityTarget(annual_volatility=0.3, window=20, max_scale=2.0),
    FractionalKelly(fraction=0.5, window=30, max_scale=3.0),
    FixedRisk(risk=0.01, stop_distance=0.05),
]


def frame_of(seed: int, n_bars: int = 120) -> pd.DataFrame:
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.001, 0.02, n_bars)))
    return pd.DataFrame({"close": close})


@given(st.integers(0, 10_000), st.integers(2, 119))
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_sizing_ignores_the_future(rule: VolatilityTarget, seed: int, cut: int) -> None:
    bars = frame_of(seed)
    full, known = rule.scale(bars, 8760.0), rule.scale(bars.iloc[:cut], 8760.0)
    assert full[:cut].tolist() == known.tolist()
    assert np.isfinite(full).all()
    assert (full >= 0.0).all()


def test_volatility_target_is_the_ratio_of_wanted_and_realised() -> None:
    bars = frame_of(1)
    rule = VolatilityTarget(annual_volatility=0.3, window=20, max_scale=100.0)
    realised = bars["close"].pct_change().rolling(20).std().to_numpy() * np.sqrt(8760.0)
    np.testing.assert_allclose(rule.scale(bars, 8760.0)[20:], 0.3 / realised[20:], rtol=RTOL_REFERENCE)
    assert (rule.scale(bars, 8760.0)[:20] == 0.0).all()


def test_kelly_is_mean_over_variance_and_never_negative() -> None:
    bars = frame_of(2)
    returns = bars["close"].pct_change()
    mean, variance = returns.rolling(30).mean(), returns.rolling(30).var()
    wanted = (0.5 * mean / variance).clip(0.0, 3.0).to_numpy()
    rule = FractionalKelly(fraction=0.5, window=30, max_scale=3.0)
    np.testing.assert_allclose(rule.scale(bars, 8760.0)[30:], wanted[30:], rtol=RTOL_REFERENCE)


def test_a_stopped_trade_of_fixed_risk_loses_the_risk() -> None:
    import peak_trade as pt
    from peak_trade.strategies.buy_and_hold import BuyAndHold

    index = pd.date_range("2024-01-01", periods=4, freq="h", tz="UTC")
    close = np.array([100.0, 100.0, 90.0, 90.0])
    frame = pd.DataFrame({"open": close, "high": 100.0, "low": close, "close": close, "volume": 1e9}, index=index)
    chosen = BacktestSettings.parse(
        {
            "costs": {"fee_bps": 0.0, "slippage_bps": 0.0},
            "execution": {"stop_loss": 0.1},
            "sizing": {"kind": "fixed_risk", "risk": 0.02, "stop_distance": 0.1},
        },
        "test",
    )
    result = pt.backtest(BuyAndHold(), frame, chosen)
    assert result.equity_values[-1] == pytest.approx(10_000.0 * 0.98, rel=RTOL_SAME)


@pytest.mark.parametrize(
    ("part", "values"),
    [
        (ExecutionPolicy, {"stop_loss": 2.0}),
        (ExecutionPolicy, {"stop_loss": 0.05, "stop_loss_atr": 2.0}),
        (ExecutionPolicy, {"order_type": "trailing_stop"}),
        (ExecutionPolicy, {"no_trade_band": 1.5}),
        (FixedRisk, {"risk": 0.5, "stop_distance": 0.1}),
        (FixedRisk, {"risk": 0.01}),
        (FractionOfEquity, {"fraction": 1.1}),
        (VolatilityTarget, {"annual_volatility": float("nan")}),
    ],
    ids=str,
)
def test_values_that_can_not_be_are_refused(part: type[Settings], values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        part(**values)
