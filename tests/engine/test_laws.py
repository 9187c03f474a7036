"""Laws of the event loop on random prices, exposures and settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars
from peak_trade.core.rounding import floor_difference, floor_to, nearest_to, remove_noise
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Instrument
from peak_trade.costs.model import Costs
from peak_trade.engine.kernel import simulate
from peak_trade.engine.loop import EventLoop
from peak_trade.engine.market import Market
from peak_trade.engine.result import BacktestResult, run_sleeves
from peak_trade.engine.second_opinion import second_opinion
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.engine.sleeve import Sleeve
from peak_trade.journal.events import TERMINAL, Event, OrderEvent, OrderEventKind, TradingStateEvent
from peak_trade.risk.limits import RiskLimits
from peak_trade.wiring.gates import make_risk_engine
from tests.examples import examples
from tests.tolerances import RTOL_SAME

N_BARS = 60
RTOL_LEDGER = 1e-9


def random_bars(seed: int, symbol: str = "AAA/USD", n_bars: int = N_BARS, volatility: float = 0.02) -> Bars:
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, volatility, n_bars)))
    opened = np.concatenate(([100.0], close[:-1])) * np.exp(rng.normal(0.0, volatility / 4, n_bars))
    high = np.maximum(opened, close) * np.exp(np.abs(rng.normal(0.0, volatility / 2, n_bars)))
    low = np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0.0, volatility / 2, n_bars)))
    volume = np.where(rng.random(n_bars) < 0.1, 0.0, rng.lognormal(4.0, 1.0, n_bars))
    index = pd.date_range("2024-01-01 01:00", periods=n_bars, freq="h", tz="UTC")
    frame = pd.DataFrame(dict(zip(COLUMNS, (opened, high, low, close, volume), strict=True)), index=index)
    return Bars(frame, symbol, Timeframe.parse("1h"))


def random_exposure(seed: int, n_bars: int = N_BARS) -> np.ndarray[Any, np.dtype[np.float64]]:
    rng = np.random.default_rng(seed + 1_000_000)
    levels = rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], n_bars)
    return np.repeat(levels, rng.integers(1, 8, n_bars))[:n_bars]


policies = st.sampled_from(
    [
        {},
        {"stop_loss": 0.02, "take_profit": 0.02},
        {"order_type": "limit", "limit_offset_bps": 50.0},
        {"order_type": "stop", "stop_offset_bps": 50.0, "trailing_stop": 0.03},
        {"order_type": "stop_limit", "time_in_force": "ioc"},
        {"order_type": "trailing_stop", "trail": 0.01, "take_profit": 0.03},
    ]
)
cost_choices = st.sampled_from(
    [
        {"max_participation": None},
        {"max_participation": 0.1},
        {"max_participation": 0.1, "funding_bps_per_8h": 2.0, "borrow_rate": 0.1},
    ]
)
lots = st.sampled_from([{}, {"lot_size": 0.001, "tick_size": 0.01, "min_notional": 5.0}])
seeds = st.integers(0, 2**32 - 1)


def run_random(
    seed: int,
    policy: dict[str, Any],
    costs: dict[str, Any],
    lot: dict[str, Any],
    *,
    every_bar: bool,
    risk: RiskLimits | None = None,
    n_symbols: int = 2,
) -> Any:
    bars = [random_bars(seed), random_bars(seed + 1, "BBB/USD")][:n_symbols]
    market = Market.of(bars, {part.symbol: Instrument(part.symbol, **lot) for part in bars})
    chosen = BacktestSettings.parse({"initial_cash": 1000.0, "costs": costs, "execution": policy}, "random")
    sleeves = [Sleeve("random", part.symbol, random_exposure(seed + place), 0.4) for place, part in enumerate(bars)]
    events: list[Event] = []
    loop = EventLoop(market, sleeves, chosen, emit=events.append, risk_engine=make_risk_engine(risk, bars))
    if every_bar:
        for bar in range(N_BARS):
            if loop.bankrupt_bar is None:
                loop.step(bar)
        loop.finish(N_BARS - 1 if loop.bankrupt_bar is None else loop.bankrupt_bar)
    else:
        loop.run()
    return loop, events


@given(seeds, policies, cost_choices, lots)
@settings(max_examples=examples(40), deadline=None)
def test_skipping_bars_without_events_changes_nothing(
    seed: int, policy: dict[str, Any], costs: dict[str, Any], lot: dict[str, Any]
) -> None:
    """Visiting every bar gives the same events as visiting only the bars at which something can happen."""
    skipping, events = run_random(seed, policy, costs, lot, every_bar=False)
    visiting, every_event = run_random(seed, policy, costs, lot, every_bar=True)
    assert events == every_event
    assert skipping.cash_path == visiting.cash_path


state_rules = st.sampled_from(
    [
        {"reduce_drawdown": 0.02},
        {"halt_drawdown": 0.05},
        {"reduce_daily_loss": 0.01, "halt_daily_loss": 0.03},
        {"reduce_drawdown": 0.03, "halt_daily_loss": 0.02},
    ]
)


@given(seeds, policies, cost_choices, state_rules, st.sampled_from([1, 2]))
@settings(max_examples=examples(60), deadline=None)
def test_skipping_bars_misses_no_change_of_the_trading_state(
    seed: int, policy: dict[str, Any], costs: dict[str, Any], rules: dict[str, float], n_symbols: int
) -> None:
    """The same with limits on equity, including flat periods and resting orders."""
    risk = RiskLimits.parse({"state": rules, "max_daily_loss_fraction": 0.5, "max_drawdown": 0.5}, "law")
    runs = [
        run_random(seed, policy, costs, {}, every_bar=each, risk=risk, n_symbols=n_symbols)[1] for each in (False, True)
    ]
    assert runs[0] == runs[1]


def test_the_trading_state_changes_in_most_of_such_runs() -> None:
    risk = RiskLimits.parse({"state": {"reduce_drawdown": 0.02}}, "law")
    runs = [run_random(seed, {}, {}, {}, every_bar=False, risk=risk)[1] for seed in range(20)]
    assert sum(any(isinstance(event, TradingStateEvent) for event in events) for events in runs) > 10


@given(seeds, policies, cost_choices, lots)
@settings(max_examples=examples(40), deadline=None)
def test_equity_change_is_pnl_minus_costs(
    seed: int, policy: dict[str, Any], costs: dict[str, Any], lot: dict[str, Any]
) -> None:
    loop, _ = run_random(seed, policy, costs, lot, every_bar=False)
    last = N_BARS - 1
    marks = {
        symbol: float(column.mark[last])
        for symbol, column in zip(loop.market.symbols, loop.market.columns, strict=True)
    }
    gross = abs(loop.ledger.cash) + sum(
        abs(held.quantity) * marks[symbol] for symbol, held in loop.ledger.positions.items()
    )
    assert abs(loop.ledger.conservation_error(marks)) <= RTOL_LEDGER * max(gross, loop.ledger.initial_cash)
    flows = loop.ledger.initial_cash + loop.ledger.other_flows
    flows -= sum(fill.signed_quantity * fill.price + fill.fee for fill in loop.fills)
    assert abs(flows - loop.ledger.cash) <= RTOL_LEDGER * max(gross, loop.ledger.initial_cash)
    for sleeve in loop.sleeves:
        held = sum(fill.signed_quantity for fill in loop.fills if fill.symbol == sleeve.symbol)
        assert abs(held - loop.ledger.quantity(sleeve.symbol)) <= RTOL_LEDGER * max(1.0, abs(held))


@given(seeds, policies, cost_choices, lots)
@settings(max_examples=examples(30), deadline=None)
def test_every_order_ends_exactly_once_and_adds_up(
    seed: int, policy: dict[str, Any], costs: dict[str, Any], lot: dict[str, Any]
) -> None:
    _, events = run_random(seed, policy, costs, lot, every_bar=False)
    orders: dict[str, list[OrderEvent]] = {}
    for event in events:
        if isinstance(event, OrderEvent):
            orders.setdefault(event.order_id, []).append(event)
    for steps in orders.values():
        assert [step.event in TERMINAL for step in steps].count(True) == 1
        assert steps[-1].event in TERMINAL
        traded = sum(step.last_quantity for step in steps)
        assert traded == pytest.approx(steps[-1].cumulative, rel=RTOL_LEDGER, abs=1e-12)
        for step in steps:
            if step.event not in TERMINAL:
                assert step.cumulative + step.leaves == pytest.approx(step.quantity, rel=RTOL_LEDGER)
        if steps[-1].event is OrderEventKind.DENIED:
            assert len(steps) == 2


@given(seeds, policies)
@settings(max_examples=examples(30), deadline=None)
def test_rewriting_the_future_does_not_change_the_past_of_a_run(seed: int, policy: dict[str, Any]) -> None:
    bars, exposure = random_bars(seed), random_exposure(seed)
    cut = 1 + seed % (N_BARS - 2)
    costs = Costs(max_participation=0.1)
    chosen = BacktestSettings.parse({"costs": costs.model_dump(), "execution": policy}, "random")
    full = run_sleeves(Market.of([bars]), [Sleeve("random", bars.symbol, exposure)], chosen)
    known = Bars(bars.frame.iloc[:cut], bars.symbol, bars.timeframe)
    short = run_sleeves(Market.of([known]), [Sleeve("random", bars.symbol, exposure[:cut])], chosen)
    assert short.equity_values.tolist() == full.equity_values[:cut].tolist()
    assert short.fill_list == full.fill_list[: len(short.fill_list)]


@given(seeds)
@settings(max_examples=examples(40), deadline=None)
def test_three_engines_agree_on_random_prices_and_exposures(seed: int) -> None:
    result = run_market_orders(seed)
    column = result.market.columns[0]
    equity, _ = simulate(column.open, column.close, random_exposure(seed), result.settings.costs)
    np.testing.assert_allclose(equity, result.equity_values, rtol=RTOL_SAME)
    opinion = second_opinion(result)
    assert opinion.agrees, str(opinion)
    assert opinion.scope == "decisions"


def run_market_orders(seed: int) -> BacktestResult:
    bars = random_bars(seed)
    chosen = BacktestSettings(costs=Costs(max_participation=None))
    return run_sleeves(Market.of([bars]), [Sleeve("random", bars.symbol, random_exposure(seed))], chosen)


@given(seeds)
@settings(max_examples=examples(20), deadline=None)
def test_the_second_opinion_notices_a_fill_that_is_off(seed: int) -> None:
    result = run_market_orders(seed)
    if not result.fill_list:
        return
    place = seed % len(result.fill_list)
    fill = result.fill_list[place]
    fills = list(result.fill_list)
    fills[place] = type(fill)(
        **{**{name: getattr(fill, name) for name in fill.__slots__}, "price": fill.price * 1.000001}
    )
    opinion = second_opinion(replace(result, fill_list=fills))
    assert not opinion.agrees
    assert fill.order_id in opinion.first_difference


@given(st.floats(-1e9, 1e9), st.sampled_from([1e-8, 1e-5, 0.001, 0.01, 0.3, 1.0, 5.0]))
def test_rounding_down_never_grows_and_stays_on_the_grid(amount: float, step: float) -> None:
    rounded = floor_to(amount, step)
    assert abs(rounded) <= abs(amount) * (1 + 1e-9) + step * 1e-9
    assert abs(amount) - abs(rounded) <= step * (1 + 1e-6) + abs(amount) * 1e-15
    assert nearest_to(rounded, step) == rounded


@given(st.integers(-(10**10), 10**10), st.integers(-1000, 1000), st.sampled_from([1e-8, 1e-5, 0.001, 0.07, 0.3, 5.0]))
def test_a_difference_of_whole_lots_loses_no_lot(held: int, change: int, lot: float) -> None:
    before, after = held * lot, (held + change) * lot
    assert round(floor_difference(after, before, lot) / lot) == change
    assert round(remove_noise(before + change * lot, lot, change * lot) / lot) == held + change


def test_the_best_case_is_reported_with_the_worst() -> None:
    from peak_trade.strategies.buy_and_hold import BuyAndHold
    from peak_trade.studies.backtest import backtest

    policy = ExecutionPolicy(stop_loss=0.01, take_profit=0.01)
    bars = random_bars(3, volatility=0.03)
    result = backtest(BuyAndHold(), bars, BacktestSettings(execution=policy, costs=Costs(max_participation=None)))
    assert result.n_ambiguous > 0
    assert result.best_intrabar is not None
    assert result.best_intrabar.equity_values[-1] > result.equity_values[-1]


DIGEST_PROGRAM = """
import json
import numpy as np
from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.data.sample import sample_bars
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
plain = sample_bars("BTC/USDT", n_bars=500).frame
rng = np.random.default_rng(7)
shuffled = plain[rng.permutation(plain.columns)].iloc[rng.permutation(len(plain))].sort_index()
for frame in (plain, shuffled):
    bars = Bars(frame, "BTC/USDT", Timeframe.parse("1h"))
    result = backtest(MaCrossover(fast=5, slow=20, direction="both"), bars)
    print(json.dumps([result.run_id, result.content_digest, len(result.fill_list)]))
"""


def test_one_digest_over_shuffled_input(capsys: pytest.CaptureFixture[str]) -> None:
    exec(DIGEST_PROGRAM, {})
    plain, shuffled = capsys.readouterr().out.splitlines()
    assert plain == shuffled
    assert json.loads(plain)[2] > 10


@pytest.mark.long
def test_one_digest_over_hash_seeds_processes_and_shuffled_input() -> None:
    root = str(Path(__file__).parents[2])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", DIGEST_PROGRAM],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": root},
        )
        for hash_seed in ("0", "1")
    ]
    answers = [line for process in running for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in running] == [0, 0]
    assert len(answers) == 4
    assert len(set(answers)) == 1
    assert json.loads(answers[0])[2] > 10
