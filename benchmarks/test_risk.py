"""Orders per second through the gate chain, and the time that it adds to a million-bar run.

Required: at least 50,000 orders/s without VaR and stress, and 5,000 orders/s with VaR over 500 days and ten assets. In
the event loop in Python, the million-bar run with limits (without VaR and stress) takes at most 1.5 times as long as
without limits. The time of an order that is sized to the limits is in `test_engine.py`.
"""

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from benchmarks.measuring import cost_of
from peak_trade.core.bars import Bars
from peak_trade.core.history import ReturnHistory, WeightHistory
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Instrument
from peak_trade.engine.market import Market
from peak_trade.engine.result import BacktestResult, run_event_loop
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from peak_trade.wiring.gates import gate_chain
from tests.risk.cases import ACCOUNT, BTC, ETH, MARKET, NOW, ORDER

N_ORDERS = 1_000
N_BARS = 1_051_200
LIMITS = {
    "max_data_age": 120.0,
    "duplicate_window": 1.0,
    "max_orders": 600,
    "max_same_side_fills": 600,
    "max_order_notional": 1e9,
    "max_price_deviation": 0.05,
    "max_symbol_exposure": 1.5,
    "max_gross_exposure": 1.5,
    "max_net_exposure": 1.5,
    "max_concentration": 2.0,
    "max_open_orders": 50,
    "max_daily_loss": 1e9,
    "max_daily_loss_fraction": 1.0,
    "max_drawdown": 1.0,
    "liquidity": {"max_bar_volume_share": 1.0, "max_slippage": 1.0},
    "state": {"reduce_drawdown": 1.0, "halt_drawdown": 1.0},
}
SYMBOLS = [BTC, *(f"S{place}/USDT" for place in range(9))]
HISTORY = ReturnHistory("run", NOW, SYMBOLS, np.random.default_rng(1).normal(0.0, 0.03, (10, 500)))
TEN = replace(
    ACCOUNT,
    positions=dict.fromkeys(SYMBOLS, 2.0),
    marks=dict.fromkeys(SYMBOLS, 100.0),
    daily_weights=WeightHistory(NOW, SYMBOLS, np.random.default_rng(2).normal(0.0, 0.1, (10, 250))),
)
TWO = replace(ACCOUNT, positions={BTC: 1.0, ETH: 2.0})


ORDERS = [replace(ORDER, order_id=f"o-{number}") for number in range(N_ORDERS)]


def review_all(limits, account, market):
    chain = gate_chain(limits)
    for order in ORDERS:
        answer = review(order, account, market, chain, limits)
    return answer


def test_gate_chain_without_var_and_stress(benchmark):
    limits = RiskLimits.parse(LIMITS, "bench")
    assert isinstance(benchmark(review_all, limits, TWO, MARKET), ApprovedOrder)
    benchmark.extra_info["orders_per_second"] = round(N_ORDERS / benchmark.stats.stats.min)
    benchmark.extra_info["n_gates"] = len(gate_chain(limits))


@pytest.mark.parametrize("method", ["historical", "parametric", "cornish_fisher", "filtered_historical"])
def test_gate_chain_with_var_over_500_days_and_ten_assets(benchmark, method):
    limits = RiskLimits.parse(LIMITS | {"var": {"max_var": 0.5, "method": method}}, "bench")
    market = replace(MARKET, returns=HISTORY)
    assert isinstance(benchmark(review_all, limits, TEN, market), ApprovedOrder)
    benchmark.extra_info["orders_per_second"] = round(N_ORDERS / benchmark.stats.stats.min)


LEVERED = {BTC: Instrument(BTC, max_leverage=1.5)}


def million_bars() -> Bars:
    draw = np.random.default_rng(7)
    close = 30_000.0 * np.exp(np.cumsum(draw.normal(scale=0.0005, size=N_BARS)))
    opened = np.concatenate([[30_000.0], close[:-1]])
    frame = pd.DataFrame(
        {
            "open": opened,
            "high": np.maximum(opened, close),
            "low": np.minimum(opened, close),
            "close": close,
            "volume": draw.uniform(1e3, 2e3, N_BARS),
        },
        index=pd.date_range("2022-01-01 00:01", periods=N_BARS, freq="min", tz="UTC"),
    )
    return Bars(frame, BTC, Timeframe.parse("1m"), "made")


def test_million_bars_with_limits_and_without(bench):
    """The event loop in Python with and without limits; the compiled loop, which has no gates, is stated as well."""
    bars, limits = million_bars(), RiskLimits.parse(LIMITS, "bench")
    market = Market.of([bars], LEVERED)
    target = np.nan_to_num(MaCrossover().exposure(bars.frame))

    def limited() -> BacktestResult:
        return backtest(MaCrossover(), bars, risk=limits, instruments=LEVERED)

    def unlimited() -> BacktestResult:
        return run_event_loop(market, [Sleeve("ma_crossover", BTC, target)], BacktestSettings())

    bench.row["job"] = "event loop in Python with 26 gates, 1,051,200 bars, orders not sized to the limits"
    bench.side_by_side(limited, "without_limits", unlimited, rounds=5, peer_rounds=5)
    bench.bar("<= 1.5 times without limits", bench.ratio("without_limits") >= 1.0 / 1.5)
    compiled = min(cost_of(lambda: backtest(MaCrossover(), bars, instruments=LEVERED)).cpu_seconds for _ in range(3))
    bench.row["times the compiled loop without limits"] = round(bench.row["cpu_seconds"] / compiled, 1)
    assert len(limited().fill_list) > 0.95 * len(unlimited().fill_list)
