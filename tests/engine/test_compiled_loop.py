"""The compiled loop does what the event loop in Python does, event by event and bit by bit."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.bars import Bars
from peak_trade.core.values import Instrument
from peak_trade.engine.market import Market
from peak_trade.engine.result import BacktestResult, run_event_loop, run_sleeves
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.risk.limits import RiskLimits
from peak_trade.wiring.gates import make_risk_engine
from tests.engine.running import run_scenario
from tests.engine.scenarios import SCENARIOS
from tests.engine.test_laws import N_BARS, random_bars, random_exposure
from tests.examples import examples

SYMBOLS = ("AAA/USD", "BBB/USD", "CCC/USD")


def optional(values: st.SearchStrategy[float]) -> st.SearchStrategy[float | None]:
    return st.none() | values


instruments = st.fixed_dictionaries(
    {},
    optional={
        "lot_size": st.sampled_from([1e-8, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 7.0]),
        "tick_size": st.sampled_from([0.01, 0.05, 0.3, 1.0]),
        "min_notional": st.sampled_from([5.0, 50.0, 500.0]),
        "is_shortable": st.booleans(),
        "max_leverage": st.sampled_from([1.0, 1.5, 3.0]),
    },
)
costs = st.fixed_dictionaries(
    {"max_participation": optional(st.sampled_from([0.0, 0.01, 0.1, 1.0]))},
    optional={
        "fee_bps": st.sampled_from([0.0, 1.0, 10.0, 300.0]),
        "slippage_bps": st.sampled_from([0.0, 5.0, 200.0]),
        "funding_bps_per_8h": st.sampled_from([2.0, -3.0]),
        "borrow_rate": st.sampled_from([0.1, 3.0]),
    },
)
sizings = st.sampled_from(
    [
        {"kind": "fraction_of_equity"},
        {"kind": "fraction_of_equity", "fraction": 0.37},
        {"kind": "fixed_notional", "notional": 300.0},
        {"kind": "volatility_target", "annual_volatility": 0.5, "window": 5, "max_scale": 2.0},
    ]
)
policies = st.fixed_dictionaries(
    {}, optional={"time_in_force": st.just("ioc"), "no_trade_band": st.sampled_from([0.0, 0.05, 0.3])}
)
books = st.fixed_dictionaries(
    {
        "symbol": st.integers(0, len(SYMBOLS) - 1),
        "seed": st.integers(0, 2**16),
        "levels": st.sampled_from([(0.0, 1.0), (-1.0, 0.0, 1.0), (-1.0, -0.3, 0.0, 0.5, 0.9)]),
        "weight": st.sampled_from([1.0, 0.5, 0.21, 0.0]) | st.just("by bar"),
        "priority": st.integers(0, 1),
        "rebalance_bars": st.frozensets(st.integers(0, N_BARS - 1), max_size=4),
    }
)


def gapped(bars: Bars, seed: int, missing: float) -> Bars:
    kept = np.random.default_rng(seed).random(len(bars)) >= missing
    kept[-1] = True
    return replace(bars, frame=bars.frame[kept])


def sleeve_of(book: dict[str, Any], place: int, market: Market, chosen: BacktestSettings, bars: list[Bars]) -> Sleeve:
    draw = np.random.default_rng(book["seed"])
    exposure = np.repeat(draw.choice(book["levels"], N_BARS), draw.integers(1, 9, N_BARS))[: len(market)]
    symbol = SYMBOLS[book["symbol"] % len(bars)]
    weight = draw.uniform(0.1, 1.0, len(market)) if book["weight"] == "by bar" else book["weight"]
    scale = None
    if chosen.sizing.kind == "volatility_target":
        scale = np.where(draw.random(len(market)) < 0.2, np.nan, draw.choice([0.0, 0.4, 1.7], len(market)))
    rebalances = frozenset(bar for bar in book["rebalance_bars"] if bar < len(market))
    return Sleeve(f"s{place % 2}", symbol, exposure, weight, scale, None, book["priority"], rebalances)


def assert_equal(one: BacktestResult, other: BacktestResult) -> None:
    for mine, theirs in zip(one.events, other.events, strict=False):
        assert mine == theirs
    assert list(one.events) == list(other.events)
    assert list(one.fill_list) == list(other.fill_list)
    assert list(one.fill_bars) == list(other.fill_bars)
    assert [repr(each) for each in one.movements] == [repr(each) for each in other.movements]
    assert one.equity_values.tobytes() == other.equity_values.tobytes()
    assert {symbol: path.tobytes() for symbol, path in one.positions.items()} == {
        symbol: path.tobytes() for symbol, path in other.positions.items()
    }
    assert one.content_digest == other.content_digest
    assert (one.counts, one.bankrupt_bar, one.n_ambiguous) == (other.counts, other.bankrupt_bar, other.n_ambiguous)
    assert (one.strategies, one.is_weighted, one.limits) == (other.strategies, other.is_weighted, other.limits)


@given(
    seed=st.integers(0, 2**16),
    n_symbols=st.integers(1, len(SYMBOLS)),
    missing=st.sampled_from([0.0, 0.1, 0.5]),
    volatility=st.sampled_from([0.02, 0.3]),
    rules=st.lists(instruments, min_size=len(SYMBOLS), max_size=len(SYMBOLS)),
    costs=costs,
    sizing=sizings,
    policy=policies,
    books=st.lists(books, min_size=1, max_size=5),
    drift_band=optional(st.sampled_from([0.01, 0.2])),
    is_netted=st.booleans(),
)
@settings(max_examples=examples(400), deadline=None)
def test_both_loops_do_the_same(
    seed, n_symbols, missing, volatility, rules, costs, sizing, policy, books, drift_band, is_netted
) -> None:
    bars = [
        random_bars(seed + place, symbol, volatility=volatility) for place, symbol in enumerate(SYMBOLS[:n_symbols])
    ]
    bars = [gapped(part, seed + place, missing) for place, part in enumerate(bars)]
    market = Market.of(
        bars, {part.symbol: Instrument(part.symbol, **rule) for part, rule in zip(bars, rules, strict=False)}
    )
    chosen = BacktestSettings.parse(
        {"initial_cash": 1000.0, "costs": costs, "execution": policy, "sizing": sizing}, "random"
    )
    runs = [
        run(
            market,
            [sleeve_of(book, place, market, chosen, bars) for place, book in enumerate(books)],
            chosen,
            drift_band=drift_band,
            is_netted=is_netted,
        )
        for run in (run_sleeves, run_event_loop)
    ]
    assert_equal(*runs)


def run_both(n_bars: int = N_BARS, **costs: float) -> tuple[BacktestResult, BacktestResult]:
    bars = random_bars(3, n_bars=n_bars)
    market = Market.of([bars], {bars.symbol: Instrument(bars.symbol, min_notional=150.0)})
    chosen = BacktestSettings.parse({"initial_cash": 1000.0, "costs": {"max_participation": None, **costs}}, "test")
    exposure = np.resize([0.0, 0.1, 1.0, 0.5, 1.0, 0.6], n_bars)
    compiled, reference = (
        run(market, [Sleeve("s", bars.symbol, exposure)], chosen) for run in (run_sleeves, run_event_loop)
    )
    assert compiled.not_compiled == ""
    assert len(reference.fill_list) > 10
    return compiled, reference


@pytest.mark.parametrize("name", ["events", "fill_list", "movements"])
def test_columns_are_a_sequence_of_the_same_objects(name: str) -> None:
    compiled, reference = (getattr(run, name) for run in run_both(funding_bps_per_8h=3.0))
    n = len(compiled)
    assert n == len(reference)
    assert [compiled[place] for place in range(n)] == reference
    assert [compiled[place - n] for place in range(n)] == reference
    assert compiled[2:-3:2] == reference[2:-3:2]
    assert compiled[:] == reference
    for outside in (n, -n - 1):
        with pytest.raises(IndexError):
            compiled[outside]
    assert list(reversed(compiled)) == reference[::-1]
    assert compiled == reference
    assert reference == compiled
    assert compiled == pickle.loads(pickle.dumps(compiled))
    assert compiled != reference[1:]
    assert compiled != tuple(reference)
    assert reference[4] in compiled
    assert compiled.index(reference[4]) == reference.index(reference[4])
    assert compiled[n - 1] is compiled[-1]
    assert repr(compiled) == repr(reference)
    with pytest.raises(TypeError):
        compiled[0] = reference[0]


def test_a_run_without_an_event_has_empty_columns() -> None:
    bars = random_bars(3)
    result = run_sleeves(Market.of([bars]), [Sleeve("s", bars.symbol, np.zeros(N_BARS))], BacktestSettings())
    assert (result.events, result.fill_list, result.movements) == ([], [], [])
    assert (result.equity_values == 10_000.0).all()


@pytest.mark.parametrize(
    ("execution", "more", "reason"),
    [
        ({"order_type": "limit"}, {}, "entries are limit orders"),
        ({"stop_loss": 0.02}, {}, "fills are followed by protective orders"),
        ({}, {"risk_engine": RiskLimits(max_open_orders=5)}, "orders are checked against risk limits"),
    ],
    ids=["limit", "protection", "limits"],
)
def test_the_reason_for_the_other_loop_is_stated(execution, more, reason) -> None:
    bars = random_bars(3)
    if "risk_engine" in more:
        more = {"risk_engine": make_risk_engine(more["risk_engine"], [bars])}
    chosen = BacktestSettings.parse({"execution": execution}, "test")
    result = run_sleeves(Market.of([bars]), [Sleeve("s", bars.symbol, random_exposure(3))], chosen, **more)
    assert result.fill_list
    assert result.not_compiled == result.trading_facts()["not_compiled"] == reason


def test_the_reference_finishes_what_the_compiled_loop_cannot() -> None:
    scenarios = {each.name: run_scenario(each) for each in SCENARIOS}
    assert scenarios["long"].not_compiled == ""
    assert scenarios["bankruptcy ends the run at zero"].not_compiled == "the account went bankrupt"
    denied = scenarios["an exit below the minimum notional is denied"]
    assert denied.not_compiled == "an exit was denied and is asked again"
