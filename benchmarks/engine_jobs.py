"""Jobs of the engine benchmarks, ours and vectorbt's, on one seeded market: `python -m benchmarks.engine_jobs JOB`.

As a program it runs one job in a fresh process and prints its cost as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measuring import cost_of
from peak_trade.data.workspace import workspace_at

ONE_MINUTE_BARS = 1_051_200
"""Two years."""
HOURLY_BARS = 17_520
"""Two years."""
FAST, SLOW = 20, 50
FEE_BPS, SLIPPAGE_BPS = 1.0, 0.5
"""Low, so that 23,500 orders do not use up the account; the work is the same at any fee."""
WINDOWS = {1_000: (range(5, 30), range(40, 80)), 10_000: (range(5, 105), range(110, 210))}
"""Windows of the fast and of the slow average, by the number of their pairs."""
CHUNK_COLUMNS = 10
"""Columns of vectorbt's tuned job: of 1, 10, 25, 50, 100 and 200 the fastest."""


@cache
def frame(n_bars: int, step: str = "min", seed: int = 7) -> pd.DataFrame:
    """Return random-walk bars, shape (n_bars, 5), with a volume far above the traded quantity."""
    moves = np.random.default_rng(seed).normal(0.0, 4e-4, n_bars)
    close = 30_000.0 * np.exp(np.cumsum(moves))
    opened = np.concatenate(([30_000.0], close[:-1]))
    columns = {
        "open": opened,
        "high": np.maximum(opened, close) * 1.0001,
        "low": np.minimum(opened, close) * 0.9999,
        "close": close,
        "volume": np.full(n_bars, 1e5),
    }
    index = pd.date_range("2023-01-01", periods=n_bars, freq=step, tz="UTC", name="close_time").as_unit("ns")
    return pd.DataFrame(columns, index=index)


@cache
def bars(n_bars: int, timeframe: str = "1m") -> Any:
    from peak_trade.core.bars import as_bars

    return as_bars(frame(n_bars, {"1m": "min", "1h": "h"}[timeframe]), "BTC/USDT", timeframe)


@cache
def settings() -> Any:
    from peak_trade.costs.model import Costs
    from peak_trade.engine.settings import BacktestSettings

    return BacktestSettings(costs=Costs(fee_bps=FEE_BPS, slippage_bps=SLIPPAGE_BPS))


def event_loop() -> Any:
    from peak_trade.strategies.ma_crossover import MaCrossover
    from peak_trade.studies.backtest import backtest

    return backtest(MaCrossover(fast=FAST, slow=SLOW), bars(ONE_MINUTE_BARS), settings())


def sized_to_limits() -> Any:
    """Run the job of `event_loop` with the limits of `config/risk.toml`, which size every order."""
    from peak_trade.strategies.ma_crossover import MaCrossover
    from peak_trade.studies.backtest import backtest
    from peak_trade.wiring.gates import read_risk_file

    limits = read_risk_file(Path(__file__).parents[1] / "config" / "risk.toml")
    return backtest(MaCrossover(fast=FAST, slow=SLOW), bars(ONE_MINUTE_BARS), settings(), risk=limits)


def python_event_loop() -> Any:
    """Run the reference of the compiled loop on the targets of `event_loop`."""
    from peak_trade.engine.market import Market
    from peak_trade.engine.result import run_event_loop
    from peak_trade.engine.sleeve import Sleeve

    given = bars(ONE_MINUTE_BARS)
    return run_event_loop(Market.of([given]), [Sleeve("ma", given.symbol, _given()[1])], settings())


def compiled_event_loop() -> Any:
    """Run the compiled loop on the same targets as `python_event_loop`."""
    from peak_trade.engine.market import Market
    from peak_trade.engine.result import run_sleeves
    from peak_trade.engine.sleeve import Sleeve

    given = bars(ONE_MINUTE_BARS)
    return run_sleeves(Market.of([given]), [Sleeve("ma", given.symbol, _given()[1])], settings())


def screens(strategies: Sequence[Any], given: Any, n_threads: int = 1) -> Any:
    """Return the array kernel's statistics of each strategy, as in a sweep but without its trials and its table."""
    from peak_trade.core.executor import Executor
    from peak_trade.studies.sweep.evaluation import Findings, Setup, screened, slices

    setup = Setup(given, settings())
    found = Findings.blank(len(strategies), setup)
    places, tasks = zip(*slices(setup, strategies, True), strict=True)
    for task, (rows, _) in Executor(n_threads).run(screened, setup, tasks, seconds_per_task=0.0, releases_gil=True):
        found.put(places[task], rows)
    return found.statistics


def kernel() -> Any:
    """Return the statistics of one pair of averages from prices, the averages included."""
    from peak_trade.engine.kernel import screen
    from peak_trade.indicators.means import sma
    from peak_trade.strategies.crossing import fill_exposure

    close, exposure = _columns("close"), np.empty(ONE_MINUTE_BARS)
    fill_exposure(sma(close, FAST), sma(close, SLOW), 1.0, 0.0, 0.0, exposure)
    return screen(_columns("open"), close, exposure, settings().costs)


def kernel_on_given_targets() -> Any:
    from peak_trade.engine.kernel import screen

    prices, target = _given()
    return screen(prices["open"], prices["close"], target, settings().costs)


@cache
def pairs_of_averages(n_pairs: int) -> list[Any]:
    """Return the strategies of 1,000 or 10,000 pairs of windows."""
    from peak_trade.strategies.ma_crossover import MaCrossover
    from peak_trade.wiring.parameter_space import parameter_sets

    return parameter_sets(MaCrossover, dict(zip(("fast", "slow"), WINDOWS[n_pairs], strict=True)))[0]


def kernel_sweep(n_pairs: int = 1_000, n_threads: int = 1) -> Any:
    return screens(pairs_of_averages(n_pairs), bars(HOURLY_BARS, "1h"), n_threads)


def whole_sweep(n_pairs: int) -> Any:
    """Run a sweep with its trials, table, moments and best sets in the event loop, in an empty workspace."""
    from peak_trade.strategies.ma_crossover import MaCrossover
    from peak_trade.studies.sweep.run import sweep

    grid = dict(zip(("fast", "slow"), WINDOWS[n_pairs], strict=True))
    with TemporaryDirectory() as folder, workspace_at(Path(folder)):
        return sweep(MaCrossover, grid, bars(HOURLY_BARS, "1h"), settings())


def event_loop_sets(n_sets: int, n_processes: int) -> Any:
    """Run sets with a stop loss in the event loop, which the array kernel does not support, without their trials."""
    from peak_trade.core.executor import Executor
    from peak_trade.studies.sweep.evaluation import Setup, run_in_event_loop

    stops = settings().model_copy(update={"execution": settings().execution.model_copy(update={"stop_loss": 0.05})})
    tasks = [[each] for each in pairs_of_averages(10_000)[:n_sets]]
    return Executor(n_processes).map(run_in_event_loop, Setup(bars(HOURLY_BARS, "1h"), stops), tasks)


def vectorbt_run() -> Any:
    import vectorbt as vbt

    close = _naive_close(ONE_MINUTE_BARS, "min")
    fast, slow = (vbt.MA.run(close, window).ma.to_numpy() for window in (FAST, SLOW))
    return _vectorbt(close, (fast > slow).astype(np.float64))


def vectorbt_on_given_targets() -> Any:
    return _vectorbt(_naive_close(ONE_MINUTE_BARS, "min"), _given()[1])


def vectorbt_broadcast() -> Any:
    import vectorbt as vbt

    close = _naive_close(HOURLY_BARS, "h")
    pairs = list(product(*WINDOWS[1_000]))
    fast, slow = (vbt.MA.run(close, [pair[side] for pair in pairs]).ma.to_numpy() for side in (0, 1))
    return _vectorbt(close, (fast > slow).astype(np.float64))


def vectorbt_in_chunks(n_pairs: int = 1_000) -> Any:
    """Run the first 1,000 pairs with each average computed once, and few columns at a time."""
    import vectorbt as vbt

    close = _naive_close(HOURLY_BARS, "h")
    pairs = list(product(*WINDOWS[n_pairs]))[:1_000]
    lines = {
        window: vbt.MA.run(close, window).ma.to_numpy() for window in sorted({each for pair in pairs for each in pair})
    }
    chunks = [pairs[begin : begin + CHUNK_COLUMNS] for begin in range(0, len(pairs), CHUNK_COLUMNS)]
    return [
        _vectorbt(close, np.column_stack([lines[fast] > lines[slow] for fast, slow in chunk]).astype(np.float64))
        for chunk in chunks
    ]


def every_nth_bar(n_bars: int, hold: int) -> Callable[[], Any]:
    """Return the job of the event loop in Python over n_bars whose target changes after every `hold` bars."""
    from peak_trade.engine.market import Market
    from peak_trade.engine.result import run_event_loop
    from peak_trade.engine.sleeve import Sleeve

    given = bars(n_bars)
    market, target = Market.of([given]), (np.arange(n_bars) // hold % 2).astype(np.float64)
    return lambda: run_event_loop(market, [Sleeve("in_turn", given.symbol, target)], settings())


@cache
def _given() -> tuple[dict[str, Any], Any]:
    from peak_trade.strategies.ma_crossover import MaCrossover

    prices = {name: _columns(name) for name in ("open", "close")}
    return prices, np.nan_to_num(MaCrossover(fast=FAST, slow=SLOW).exposure(frame(ONE_MINUTE_BARS)))


@cache
def _columns(name: str) -> Any:
    return np.ascontiguousarray(frame(ONE_MINUTE_BARS)[name].to_numpy())


@cache
def _naive_close(n_bars: int, step: str) -> Any:
    """Close prices with a naive index, because vectorbt takes 30 s to convert an aware one into Python objects."""
    return frame(n_bars, step)["close"].tz_localize(None)


def _vectorbt(close: Any, target: Any) -> Any:
    """Return total return, Sharpe ratio, drawdown and number of orders of targets held after each close."""
    import vectorbt as vbt

    n_bars = len(close)
    opened = frame(n_bars, "min" if n_bars == ONE_MINUTE_BARS else "h")["open"].to_numpy()
    size = np.full(target.shape, np.nan)
    before = np.concatenate((np.zeros_like(target[:1]), target[:-2]))
    size[1:] = np.where(target[:-1] != before, target[:-1], np.nan)
    decided_at = np.concatenate((opened[:1], close.to_numpy()[:-1]))
    columns = (slice(None), None) if target.ndim == 2 else slice(None)
    portfolio = vbt.Portfolio.from_orders(
        close,
        size,
        size_type="targetpercent",
        price=opened[columns],
        val_price=decided_at[columns],
        fees=FEE_BPS / 10_000.0,
        slippage=SLIPPAGE_BPS / 10_000.0,
        init_cash=10_000.0,
        max_orders=int(np.isfinite(size).sum()),
        direction="both",
        freq="1min" if n_bars == ONE_MINUTE_BARS else "1h",
    )
    return (
        portfolio.total_return(),
        portfolio.sharpe_ratio(),
        portfolio.max_drawdown(),
        portfolio.orders.count(),
    )


JOBS: dict[str, tuple[Callable[[], Any], ...]] = {
    "event_loop": (lambda: bars(ONE_MINUTE_BARS), settings, event_loop),
    "kernel": (lambda: _columns("open"), lambda: _columns("close"), settings, kernel),
    "sized_to_limits": (lambda: bars(ONE_MINUTE_BARS), settings, sized_to_limits),
    "vectorbt": (lambda: _naive_close(ONE_MINUTE_BARS, "min"), vectorbt_run),
    "vectorbt_broadcast": (lambda: _naive_close(HOURLY_BARS, "h"), vectorbt_broadcast),
    "kernel_sweep": (lambda: bars(HOURLY_BARS, "1h"), settings, kernel_sweep),
}
"""Jobs by name: the preparations, then the timed call."""
IMPORTS = {
    "event_loop": ("peak_trade.studies.backtest", "peak_trade.strategies.ma_crossover"),
    "kernel": ("peak_trade.engine.kernel", "peak_trade.strategies.crossing"),
    "kernel_sweep": ("peak_trade.studies.sweep.evaluation", "peak_trade.strategies.ma_crossover"),
    "sized_to_limits": ("peak_trade.studies.backtest", "peak_trade.wiring.gates"),
    "vectorbt": ("vectorbt",),
    "vectorbt_broadcast": ("vectorbt",),
}


def measure(name: str) -> dict[str, float]:
    """Import the modules of a job, prepare it, run it once; return the cost of imports and run in seconds and MiB."""
    started = time.perf_counter()
    for module in IMPORTS[name]:
        __import__(module)
    imported = time.perf_counter()
    *preparations, job = JOBS[name]
    for prepare in preparations:
        prepare()
    return {"import_seconds": imported - started} | asdict(cost_of(job))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1])) + "\n")
