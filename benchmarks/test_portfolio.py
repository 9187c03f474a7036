"""A portfolio of 50 symbols x 3 strategies x 17,520 bars. Targets: below 4 GiB, and linear in symbols.

Sleeves take at most 0.8 times the time of vectorbt, netted sleeves at most twice the time of sleeves.

vectorbt executes the same orders: targets as fractions of equity, one column per sleeve, one cash account. It has no
events, gates or attribution. The cost of both is stored in the benchmark's extra information.
"""

from __future__ import annotations

import resource
import time

import numpy as np
import pandas as pd
import pytest

from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.studies.portfolio.result import PortfolioResult
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.wiring.portfolio_settings import PortfolioSettings, ordered
from peak_trade.wiring.strategies import make_strategy

N_BARS, N_SYMBOLS = 17_520, 50
STRATEGIES = (
    ("ma_crossover", {"fast": 20, "slow": 50, "direction": "both"}),
    ("rsi_reversion", {"direction": "both"}),
    ("donchian", {"direction": "both"}),
)
MAX_GIB = 4.0
MAX_GROWTH = 1.5
"""Processor time for five times the symbols / five times the time: 1 is linear."""


def walk(symbol: str, seed: int) -> Bars:
    """Hourly bars of a random walk."""
    draw = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(draw.normal(scale=0.008, size=N_BARS)))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    frame = pd.DataFrame(
        {"open": opened, "high": high, "low": low, "close": close, "volume": np.full(N_BARS, 1e9)},
        index=pd.date_range("2022-01-01", periods=N_BARS, freq="h", tz="UTC"),
    )
    return Bars(frame, symbol, Timeframe.parse("1h"), "made")


@pytest.fixture(scope="module")
def bars() -> list[Bars]:
    return [walk(f"S{place:02d}/USD", place) for place in range(N_SYMBOLS)]


def settings_for(bars: list[Bars], mode: str) -> PortfolioSettings:
    entries = [
        {"name": name, "symbol": part.symbol, "parameters": parameters}
        for part in bars
        for name, parameters in STRATEGIES
    ]
    return PortfolioSettings.parse({"strategies": entries, "mode": mode, "allocation": {"cash_buffer": 0.3}}, "bench")


def through_vectorbt(result: PortfolioResult, bars: list[Bars]) -> int:
    import vectorbt as vbt

    frames = {part.symbol: part.frame for part in bars}
    entries = ordered(result.settings.strategies)
    size = np.full((N_BARS, len(entries)), np.nan)
    for place, item in enumerate(entries):
        exposure = np.nan_to_num(make_strategy(item.name, item.parameters).exposure(frames[item.symbol]))
        changes = np.diff(exposure, prepend=0.0) != 0.0
        target = exposure * result.weights.to_numpy()[:, place]
        size[1:, place] = np.where(changes, target, np.nan)[:-1]
    close, opened = (
        np.column_stack([frames[item.symbol][name].to_numpy() for item in entries]) for name in ("close", "open")
    )
    costs = result.settings.costs
    theirs = vbt.Portfolio.from_orders(
        pd.DataFrame(close),
        size=size,
        size_type="targetpercent",
        price=opened,
        val_price=np.vstack([opened[:1], close[:-1]]),
        fees=costs.taker_rate,
        slippage=costs.slippage_rate,
        init_cash=result.settings.initial_cash,
        direction="both",
        cash_sharing=True,
        group_by=True,
        freq="1h",
        max_orders=int(np.isfinite(size).sum()) + 1,
    )
    value = theirs.value().to_numpy()
    np.testing.assert_allclose(result.equity, value, rtol=1e-8)
    return int(theirs.orders.count())


def test_fifty_symbols_with_three_strategies_each(bench, bars):
    bench.row["job"] = "150 sleeves x 17,520 bars, with attribution"
    settings = settings_for(bars, "sleeves")
    result = run_portfolio(settings, bars)
    bench.side_by_side(lambda: run_portfolio(settings, bars), "vectorbt", lambda: through_vectorbt(result, bars))
    bench.bar("<= 0.8 of vectorbt", bench.row["seconds"] <= 0.8 * bench.row["vectorbt_seconds"])
    bench.bar("<= 0.8 cpu", bench.ratio("vectorbt") >= 1.0 / 0.8)
    check(result)
    assert result.run.not_compiled == ""
    assert through_vectorbt(result, bars) == len(result.run.fill_list)


def test_the_same_sleeves_netted(bench, bars):
    bench.row["job"] = "the same, netted"
    sleeves, netted = settings_for(bars, "sleeves"), settings_for(bars, "netted")
    bench.side_by_side(
        lambda: run_portfolio(netted, bars), "sleeves", lambda: run_portfolio(sleeves, bars), rounds=3, peer_rounds=3
    )
    bench.bar("<= 2 of sleeves", bench.row["seconds"] <= 2.0 * bench.row["sleeves_seconds"])
    check(run_portfolio(netted, bars))


def check(result: PortfolioResult) -> None:
    """Attribution adds up, in bounded memory."""
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cash = result.settings.initial_cash
    assert (result.pnl.sum(axis=1) + cash - result.equity).abs().max() <= 1e-9 * result.equity.max()
    assert gib < MAX_GIB


def test_cost_is_linear_in_symbols(benchmark, bars):
    seconds = {}
    for n_symbols in (10, N_SYMBOLS):
        start = time.process_time()
        run_portfolio(settings_for(bars[:n_symbols], "sleeves"), bars[:n_symbols])
        seconds[n_symbols] = time.process_time() - start
    growth = seconds[N_SYMBOLS] / seconds[10] / (N_SYMBOLS / 10)
    benchmark.extra_info |= {"seconds": seconds, "growth": growth}
    benchmark.pedantic(lambda: None, rounds=1)
    print(f"10 symbols {seconds[10]:.1f} s, 50 symbols {seconds[N_SYMBOLS]:.1f} s, growth {growth:.2f}")  # noqa: T201
    assert growth < MAX_GROWTH
