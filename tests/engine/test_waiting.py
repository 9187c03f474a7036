"""A target whose scale is unknown waits: it is neither lost nor taken for zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import peak_trade as pt
from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.engine.loop import EventLoop
from peak_trade.engine.market import Market
from peak_trade.engine.netting import NettedTrader
from peak_trade.engine.result import run_sleeves
from peak_trade.engine.sleeve import Sleeve
from peak_trade.journal.events import Event
from peak_trade.strategies.buy_and_hold import BuyAndHold
from tests.examples import examples
from tests.tolerances import RTOL_SAME

FREE = {"fee_bps": 0.0, "slippage_bps": 0.0, "max_participation": None}
N_BARS = 60


def bars_of(close: np.ndarray, symbol: str = "X/USD") -> Bars:
    index = pd.date_range("2024-01-01 01:00", periods=close.size, freq="h", tz="UTC")
    opened = np.r_[close[:1], close[:-1]]
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    columns = {"open": opened, "high": high, "low": low, "close": close, "volume": 1e9}
    return Bars(pd.DataFrame(columns, index=index), symbol, Timeframe(3_600))


def rising(n_bars: int = N_BARS, seed: int = 1) -> np.ndarray:
    return 100.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.004, 0.01, n_bars)))


def settings_of(sizing: dict[str, Any], **more: Any) -> pt.BacktestSettings:
    return pt.BacktestSettings.parse({"costs": FREE, "sizing": sizing, **more}, "test")


def run_scaled(exposure: list[float], scale: list[float], **more: Any) -> Any:
    close = np.full(len(scale), 100.0)
    sleeve = Sleeve("s", "X/USD", np.array(exposure, dtype=float), scale=np.array(scale))
    market = Market.of([bars_of(close)], more.pop("instruments", {}))
    return run_sleeves(market, [sleeve], settings_of({"kind": "volatility_target"}), **more)


RULES = [
    {"kind": "volatility_target", "annual_volatility": 0.3, "window": 20},
    {"kind": "fractional_kelly", "fraction": 0.001, "window": 20},
]


@pytest.mark.parametrize("sizing", RULES, ids=lambda rule: rule["kind"])
def test_a_target_inside_the_warm_up_is_traded_at_the_first_close_at_which_the_scale_is_known(sizing):
    result = pt.backtest(BuyAndHold(), bars_of(rising()), settings_of(sizing))
    (fill,) = result.fill_list
    assert fill.ts_event == int(result.market.times[20])
    chosen = settings_of(sizing).sizing
    wanted = chosen.scale(bars_of(rising()).columns, 8760.0)[20] * 10_000.0 / rising()[20]
    assert 0.0 < fill.quantity == pytest.approx(wanted, rel=RTOL_SAME)
    assert (result.counts.n_scale_unknown, result.counts.n_scale_zero, result.counts.n_below_lot) == (1, 0, 0)
    assert any(
        remark.startswith("Targets that waited because the scale of") and remark.endswith(": 1.")
        for remark in result.remarks
    )
    assert result.trading_facts()["n_scale_unknown"] == 1


@pytest.mark.parametrize("sizing", RULES, ids=lambda rule: rule["kind"])
@pytest.mark.parametrize("close", [np.full(40, 100.0), 100.0 * 1.0001 ** np.arange(40)], ids=["constant", "steady"])
def test_returns_that_do_not_vary_have_no_scale_and_the_result_says_so(sizing, close):
    result = pt.backtest(BuyAndHold(), bars_of(close), settings_of(sizing))
    assert result.fill_list == []
    assert result.no_trade_reason == (
        f"Nothing traded: targets that waited because the scale of {sizing['kind']} was unknown (window not full, or "
        "no variation): 1."
    )


def test_an_average_true_range_of_zero_leaves_the_scale_of_fixed_risk_unknown():
    stop = {"execution": {"stop_loss_atr": 2.0}}
    chosen = settings_of({"kind": "fixed_risk"}, **stop)
    result = pt.backtest(BuyAndHold(), bars_of(np.full(40, 100.0)), chosen)
    assert (result.fill_list, result.counts.n_scale_unknown) == ([], 1)
    moving = np.r_[np.full(40, 100.0), 100.0 + np.arange(20.0)]
    (fill,) = pt.backtest(BuyAndHold(), bars_of(moving), chosen).fill_list
    assert fill.quantity > 0.0


@pytest.mark.parametrize(
    ("sizing", "held"),
    [
        ({"kind": "fraction_of_equity", "fraction": 0.5}, 50.0),
        ({"kind": "fixed_notional", "notional": 2_000.0}, 20.0),
        ({"kind": "fixed_risk", "risk": 0.02}, 20.0),
    ],
    ids=lambda value: str(value),
)
def test_rules_that_measure_nothing_do_not_mind_constant_prices(sizing, held):
    chosen = settings_of(sizing, execution={"stop_loss": 0.1})
    result = pt.backtest(BuyAndHold(), bars_of(np.full(40, 100.0)), chosen)
    assert result.positions["X/USD"][-1] == pytest.approx(held, rel=RTOL_SAME)
    assert result.counts.n_scale_unknown == 0


def test_reasons_for_no_position_are_counted_apart():
    kelly = {"kind": "fractional_kelly", "window": 20}
    falling = pt.backtest(BuyAndHold(), bars_of(1e4 / rising()), settings_of(kelly))
    lots = {"X/USD": pt.Instrument("X/USD", lot_size=1_000.0)}
    poor = pt.backtest(BuyAndHold(), bars_of(rising()), settings_of({"kind": "fraction_of_equity"}), instruments=lots)
    assert (falling.counts.n_scale_unknown, falling.counts.n_scale_zero, falling.counts.n_below_lot) == (1, 1, 0)
    assert (poor.counts.n_scale_unknown, poor.counts.n_scale_zero, poor.counts.n_below_lot) == (0, 0, 1)
    assert "; targets without a position because the scale of fractional_kelly was zero: 1" in falling.no_trade_reason
    assert "targets below one lot (start with more cash): 1" in poor.no_trade_reason


def test_an_unknown_scale_closes_nothing_and_lets_exits_and_the_exit_of_a_flip_pass():
    unknown = float("nan")
    kept = run_scaled([0.5, 0.5, 0.9, 0.9, 0.9, 0.9], [1.0, 1.0, unknown, unknown, 1.0, 1.0])
    assert kept.positions["X/USD"].tolist() == [0.0, 50.0, 50.0, 50.0, 50.0, 90.0]
    closed = run_scaled([0.5, 0.5, 0.0, 0.0, 0.0, 0.0], [1.0, 1.0, unknown, unknown, unknown, unknown])
    assert closed.positions["X/USD"].tolist() == [0.0, 50.0, 50.0, 0.0, 0.0, 0.0]
    flipped = run_scaled([0.5, 0.5, -0.5, -0.5, -0.5, -0.5], [1.0, 1.0, unknown, unknown, 1.0, 1.0])
    assert flipped.positions["X/USD"].tolist() == [0.0, 50.0, 50.0, 0.0, 0.0, -50.0]


def test_netted_sleeves_wait_one_by_one():
    unknown = float("nan")
    close = np.full(6, 100.0)
    scales = ([1.0] * 6, [unknown, unknown, unknown, 1.0, 1.0, 1.0])
    sleeves = [
        Sleeve(name, "X/USD", np.ones(6), 0.4, np.array(scale)) for name, scale in zip("ab", scales, strict=True)
    ]
    chosen = settings_of({"kind": "volatility_target"})
    result = run_sleeves(Market.of([bars_of(close)], {}), sleeves, chosen, is_netted=True)
    assert result.positions["X/USD"].tolist() == [0.0, 40.0, 40.0, 40.0, 80.0, 80.0]
    assert result.counts.n_scale_unknown == 1


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_skipping_bars_misses_no_scale_that_becomes_known(seed, is_netted):
    """Visiting every bar gives the same events, and a position is held wherever target and scale are above zero."""
    rng = np.random.default_rng(seed)
    exposure = np.repeat(rng.choice([-0.5, 0.0, 0.5, 1.0], N_BARS // 4), 4)
    scale = np.repeat(rng.choice([0.3, 0.8, np.nan], N_BARS // 3), 3)
    market, chosen = Market.of([bars_of(rising(seed=seed))], {}), settings_of({"kind": "volatility_target"})
    runs: list[list[Event]] = []
    for every_bar in (False, True):
        events: list[Event] = []
        sleeve = Sleeve("s", "X/USD", exposure, scale=scale)
        trader = NettedTrader(market, [sleeve], chosen) if is_netted else None
        loop = EventLoop(market, [sleeve], chosen, emit=events.append, trader=trader)
        for bar in range(N_BARS if every_bar else 0):
            loop.step(bar)
        if every_bar:
            loop.finish(N_BARS - 1)
        else:
            loop.run()
        runs.append(events)

        if exposure[-1] == exposure[-4] != 0.0 and not np.isnan(scale[-3]):
            assert sleeve.position * exposure[-1] > 0.0
    assert runs[0] == runs[1]
