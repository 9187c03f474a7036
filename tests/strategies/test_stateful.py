"""Strategies that decide by their own position: what a step sees, equality of modes, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.causality.check import check_causality
from peak_trade.core.bars import Bars
from peak_trade.core.errors import StrategyError
from peak_trade.engine.settings import BacktestSettings, ExecutionPolicy
from peak_trade.journal.codec import encode_event
from peak_trade.journal.events import SignalEvent
from peak_trade.risk.limits import RiskLimits
from peak_trade.strategies.composite import Composite
from peak_trade.strategies.stateful import ClosedBar, Holding, Stepper
from peak_trade.studies.backtest import backtest
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.studies.sweep.run import sweep
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from tests.examples import examples
from tests.portfolio.conftest import made_bars
from tests.strategies import stepping
from tests.strategies.stepping import ByPrice, ByPriceAtOnce, Watches

SETTINGS = {
    "market": BacktestSettings(),
    "stops": BacktestSettings(execution=ExecutionPolicy(stop_loss=0.01, take_profit=0.02)),
    "atr": BacktestSettings(execution=ExecutionPolicy(order_type="limit", stop_loss_atr=1.5, trailing_stop=0.03)),
    "partial": BacktestSettings(costs={"funding_bps_per_8h": 1.0, "max_participation": 1e-6}),
}
LIMITS = {"none": None, "orders": RiskLimits(max_daily_loss=0.002, max_drawdown=0.05)}


def bars_of(seed: int, n_bars: int = 240, missing: float = 0.0) -> Bars:
    whole = made_bars("BTC/USDT", seed, n_bars)
    kept = np.random.default_rng(seed).random(n_bars) >= missing
    kept[[0, -1]] = True
    return Bars(whole.frame[kept], whole.symbol, whole.timeframe, whole.exchange)


def events_of(result: Any) -> list[bytes]:
    return [encode_event(event) for event in result.events]


@settings(max_examples=examples(40), deadline=None)
@given(seed=st.integers(0, 10_000), which=st.sampled_from(sorted(SETTINGS)), limits=st.sampled_from(sorted(LIMITS)))
def test_a_rule_without_its_position_trades_as_the_strategy_that_computes_it_at_once(
    seed: int, which: str, limits: str
) -> None:
    bars = bars_of(seed, 120, missing=0.05)
    found = backtest(ByPrice(), bars, SETTINGS[which], risk=LIMITS[limits])
    expected = backtest(ByPriceAtOnce(), bars, SETTINGS[which], risk=LIMITS[limits])
    assert found.fill_list
    assert [e.replace(b"by_price_at_once", b"by_price") for e in events_of(expected)] == events_of(found)
    np.testing.assert_array_equal(found.equity_values, expected.equity_values)
    assert "decides by its own position" in found.not_compiled or LIMITS[limits] is not None


@settings(max_examples=examples(40), deadline=None)
@given(seed=st.integers(0, 10_000), which=st.sampled_from(sorted(SETTINGS)))
def test_a_step_sees_its_bar_and_the_position_after_the_fills_of_that_bar(seed: int, which: str) -> None:
    bars = bars_of(seed, 120, missing=0.05)
    stepping.SEEN.clear()
    result = backtest(Watches(), bars, SETTINGS[which])
    seen = list(stepping.SEEN)[: len(bars)]  # a second run follows where a bar is ambiguous
    assert [bar.close_time for bar, _ in seen] == bars.times.tolist()
    assert [bar.close for bar, _ in seen] == bars.frame["close"].tolist()
    positions = result.positions["BTC/USDT"]
    assert [holding.quantity for _, holding in seen] == positions.tolist()
    held = [holding.n_bars for _, holding in seen]
    sides = np.sign(positions)
    expected, n = [], 0
    for place, side in enumerate(sides):
        n = 0 if not side else n + 1 if place and side == sides[place - 1] else 1
        expected.append(n)
    assert held == expected
    assert all((holding.entry_price > 0.0) == (holding.quantity != 0.0) for _, holding in seen)


def test_bars_before_the_start_advance_the_state_without_a_position() -> None:
    bars = bars_of(3, 140)
    stepping.SEEN.clear()
    result = backtest(Watches(), bars, start=bars.frame.index[100])
    early = stepping.SEEN[:100]
    assert [bar.close_time for bar, _ in early] == bars.times[:100].tolist()
    assert all(holding.quantity == 0.0 for _, holding in early)
    assert result.index[0] == bars.frame.index[100]
    assert result.fill_list


@pytest.mark.long
def test_two_strategies_step_side_by_side_as_alone_with_their_parts_of_equity() -> None:
    bars = bars_of(11)
    alone = [backtest(part, bars) for part in (Watches(), ByPrice())]
    both = backtest([Watches(), ByPrice()], bars)
    assert len(both.fill_list) > len(alone[1].fill_list)
    signals = [event for event in both.events if isinstance(event, SignalEvent) and event.strategy == "by_price"]
    assert signals == [event for event in alone[1].events if isinstance(event, SignalEvent)]


def test_a_stepper_answers_once_per_close() -> None:
    bars = bars_of(1, 20)
    stepping.SEEN.clear()
    columns = tuple(bars.frame[name].to_numpy() for name in ("open", "high", "low", "close", "volume"))
    stepper = Stepper(Watches(), bars.times, columns, 2)
    first = stepper.at(int(bars.times[5]), 1.0, 100.0)
    assert stepper.at(int(bars.times[5]), 1.0, 100.0) == first
    assert [holding.quantity for _, holding in stepping.SEEN] == [0.0] * 5 + [1.0]
    assert stepper.fresh().at(int(bars.times[5]), 1.0, 100.0) == first


def test_the_check_finds_state_that_a_step_keeps_elsewhere() -> None:
    bars = bars_of(5, 200)
    assert check_causality(ByPrice(), bars, n_cuts=3).is_causal
    report = check_causality(stepping.Remembers(), bars, n_cuts=3)
    assert not report.is_causal or report.kept_state


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (stepping.KeepsRows(), "keeps_rows: the state is a list, which can change. Use numbers"),
        (stepping.GoesTooFar(), r"goes_too_far: exposure was 2.0 at .*; it must lie in \[-1, 1\]"),
        (stepping.Raises(), r"raises: exposure raised KeyError \('no key'\) at stepping.py, line \d+"),
    ],
)
def test_steps_that_break_the_contract_are_named(strategy: Any, message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        backtest(strategy, bars_of(1, 60))


def test_what_needs_an_exposure_without_a_run_refuses() -> None:
    bars = bars_of(1, 120)
    refusal = "by_price: it decides by its own position, so it has no exposure without a run"
    with pytest.raises(StrategyError, match=refusal):
        sweep(ByPrice, {}, bars)
    with pytest.raises(StrategyError, match=refusal):
        backtest(Composite(members=(ByPrice(),)), bars)


def portfolio_of(*entries: dict[str, Any], **more: Any) -> PortfolioSettings:
    return PortfolioSettings.parse({"strategies": list(entries), **more}, "portfolio")


def entry_of(part: type, **more: Any) -> dict[str, Any]:
    return {"name": f"{part.__module__}:{part.__name__}", "symbol": "BTC/USDT", "label": part().name, **more}


@pytest.mark.long
@settings(max_examples=examples(20), deadline=None)
@given(
    seed=st.integers(0, 10_000),
    which=st.sampled_from(sorted(SETTINGS)),
    part=st.sampled_from([ByPrice, Watches]),
    n_early=st.sampled_from([0, 60]),
)
def test_a_portfolio_of_one_sleeve_is_the_backtest(seed: int, which: str, part: Any, n_early: int) -> None:
    bars, chosen = bars_of(seed, missing=0.05), SETTINGS[which]
    start = bars.frame.index[n_early].isoformat() if n_early else None
    alone = backtest(part(), bars, chosen, start=start)
    run_settings = {"costs": chosen.costs.model_dump(), "execution": chosen.execution.model_dump(mode="json")}
    entry = entry_of(part, weight=1.0)
    found = run_portfolio(portfolio_of(entry, allocation={"method": "fixed"}, start=start, **run_settings), [bars]).run
    assert events_of(found) == events_of(alone)
    np.testing.assert_array_equal(found.equity_values, alone.equity_values)


@pytest.mark.long
@settings(max_examples=examples(15), deadline=None)
@given(seed=st.integers(0, 10_000), mode=st.sampled_from(["sleeves", "netted"]))
def test_in_a_portfolio_a_step_sees_the_position_of_its_own_sleeve(seed: int, mode: str) -> None:
    bars = bars_of(seed, 160)
    entries = [entry_of(Watches), entry_of(ByPrice), entry_of(ByPriceAtOnce)]
    stepping.SEEN.clear()
    result = run_portfolio(portfolio_of(*entries, mode=mode), [bars])
    seen = stepping.SEEN[len(bars) :]  # the first ones estimate the returns
    assert [bar.close_time for bar, _ in seen] == bars.times.tolist()
    changes = [(bar, quantity, cash) for bar, name, _, quantity, cash in result.run.movements if name == "watches"]
    assert changes
    held = np.zeros(len(bars))
    for bar, quantity, _ in changes:
        held[bar] += quantity
    np.testing.assert_allclose([holding.quantity for _, holding in seen], held.cumsum(), rtol=0.0, atol=1e-9)
    for (bar, holding), quantity in zip(seen, held.cumsum(), strict=True):
        assert (holding.entry_price > 0.0) == (holding.quantity != 0.0) == (abs(quantity) > 1e-12)
        assert not holding.quantity or holding.entry_price == pytest.approx(bar.close, rel=0.2)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["sleeves", "netted"])
def test_estimated_weights_use_the_exposure_that_the_steps_reach_at_the_next_open(mode: str) -> None:
    bars = [bars_of(5), replace(bars_of(6), symbol="ETH/USDT")]
    crossover = {"name": "ma_crossover", "symbol": "ETH/USDT", "parameters": {"fast": 5, "slow": 12}}
    allocation = {"method": "inverse_volatility", "window": 48, "every": "day"}
    found, expected = (
        run_portfolio(portfolio_of(entry_of(part), crossover, allocation=allocation, mode=mode), bars)
        for part in (ByPrice, ByPriceAtOnce)
    )
    assert found.weights["by_price"].nunique().item() > 2
    np.testing.assert_array_equal(found.weights.to_numpy(), expected.weights.to_numpy())
    np.testing.assert_array_equal(found.unit_returns.to_numpy(), expected.unit_returns.to_numpy())
    np.testing.assert_array_equal(found.run.equity_values, expected.run.equity_values)


def test_the_gain_is_that_of_the_side_held() -> None:
    assert Holding(2.0, 100.0, 1, 1.0).gain(110.0) == pytest.approx(0.1)
    assert Holding(-2.0, 100.0, 1, -1.0).gain(110.0) == pytest.approx(-0.1)
    assert Holding().gain(110.0) == 0.0
    assert hash(ClosedBar(0, 1.0, 1.0, 1.0, 1.0, 1.0)) == hash(ClosedBar(0, 1.0, 1.0, 1.0, 1.0, 1.0))
