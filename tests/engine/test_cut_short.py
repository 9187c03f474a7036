"""A result that was cut short says which gate denied orders, when, and after which time nothing traded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import peak_trade as pt
from peak_trade.engine.market import Market
from peak_trade.engine.result import BacktestResult, run_sleeves
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.journal.events import OrderEvent, OrderEventKind, SignalEvent
from peak_trade.reports.views import backtest as view
from peak_trade.reports.views import portfolio as portfolio_view
from peak_trade.risk.limits import RiskLimits
from peak_trade.wiring.gates import make_risk_engine
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from tests.engine.running import bars_of
from tests.engine.scenarios import A, flat
from tests.engine.test_laws import cost_choices, lots, policies, random_bars, random_exposure, seeds
from tests.examples import examples

LIMITS = st.sampled_from(
    [
        None,
        RiskLimits(max_drawdown=0.02),
        RiskLimits(max_order_notional=500.0),
        RiskLimits(max_order_notional=500.0, max_symbol_exposure=0.3),
        RiskLimits(max_daily_loss=20.0),
    ]
)


def run_of(exposure: list[float], limits: RiskLimits | None, prices: list[float]) -> BacktestResult:
    bars = bars_of(A, [flat(price) for price in prices])
    market = Market.of([bars], {})
    chosen = BacktestSettings.parse({"initial_cash": 1000.0, "costs": {"fee_bps": 0.0, "slippage_bps": 0.0}}, "test")
    engine = make_risk_engine(limits, [bars])
    return run_sleeves(market, [Sleeve("s", A, np.array(exposure))], chosen, risk_engine=engine)


@settings(max_examples=examples(60), deadline=None)
@given(seeds, policies, cost_choices, lots, LIMITS)
def test_what_a_result_says_is_what_its_events_hold(
    seed: int, policy: dict[str, Any], costs: dict[str, Any], lot: dict[str, Any], limits: RiskLimits | None
) -> None:
    """Counts and times per gate are those of the events, and the stated last fill is followed by none."""
    bars = random_bars(seed)
    chosen = BacktestSettings.parse({"initial_cash": 1000.0, "costs": costs, "execution": policy}, "random")
    market = Market.of([bars], {bars.symbol: pt.Instrument(bars.symbol, **lot)})
    sleeve = Sleeve("random", bars.symbol, random_exposure(seed))
    result = run_sleeves(market, [sleeve], chosen, risk_engine=make_risk_engine(limits, [bars]))
    orders = [event for event in result.events if isinstance(event, OrderEvent)]
    denied = [event for event in orders if event.event is OrderEventKind.DENIED]
    for gate in {code for event in denied for code in event.reason.split(", ")}:
        times = [event.ts_event for event in denied if gate in event.reason.split(", ")]
        (found,) = [each for each in result.denials if each.gate == gate]
        assert (found.n_orders, found.first, found.last) == (len(times), min(times), max(times))
    assert sum(each.n_orders for each in result.denials) >= len(denied)
    assert bool(result.denials) == bool(denied) == any("denied:" in text for text in result.cut_short)

    last = max((fill.ts_event for fill in result.fill_list), default=math.inf)
    is_denied_later = any(event.ts_event > last for event in denied)
    is_flat_and_wanted = result.positions[bars.symbol][-1] == 0.0 and any(
        isinstance(event, SignalEvent) and last < event.ts_event < market.times[-1] and event.exposure
        for event in result.events
    )
    if is_denied_later or is_flat_and_wanted:
        assert result.nothing_traded_after == last
    if result.nothing_traded_after is not None:
        assert result.nothing_traded_after == last
        assert any("Nothing traded after" in text for text in result.cut_short)


def test_a_run_that_a_gate_ends_names_the_gate_and_its_first_and_last_order() -> None:
    exposure, prices = [1, 1, 0, 1, 1, 0, 1, 0, 0], [100, 100, 80, 80, 80, 80, 80, 80, 80]
    result = run_of(exposure, RiskLimits(max_drawdown=0.1), prices)
    assert result.cut_short == [
        "2 of 4 orders were denied: drawdown (2 from 2024-01-01 04:00:00Z to 2024-01-01 07:00:00Z).",
        "Nothing traded after 2024-01-01 03:00:00Z, in the last 5 of 9 bars: 2 orders were denied since then.",
    ]
    assert result.assumptions[-2:] == result.cut_short
    assert all(text in view.outcome(result) for text in result.cut_short)
    facts = result.trading_facts()
    assert (facts["n_orders"], facts["n_denials"]) == (4, 2)
    assert facts["denials"] == [
        {"gate": "drawdown", "n_orders": 2, "first": "2024-01-01 04:00:00Z", "last": "2024-01-01 07:00:00Z"}
    ]
    assert facts["nothing_traded_after"] == facts["last_fill"] == "2024-01-01 03:00:00Z"


def test_a_run_that_just_holds_its_position_or_ends_flat_is_not_cut_short() -> None:
    for exposure in ([0, 1, 1, 1, 1], [0, 1, 1, 0, 0], [0, 1, 1, 0, 1]):
        result = run_of(exposure, RiskLimits(max_drawdown=0.5), [100.0] * 5)
        assert result.fill_list
        assert (result.cut_short, result.nothing_traded_after) == ([], None)


def test_targets_that_become_smaller_than_a_lot_are_said_to_lead_nowhere() -> None:
    bars = bars_of(A, [flat(100), flat(100), flat(100), flat(5_000), flat(5_000), flat(5_000), flat(5_000)])
    market = Market.of([bars], {A: pt.Instrument(A, lot_size=1.0)})
    chosen = BacktestSettings.parse({"initial_cash": 1000.0}, "test")
    result = run_sleeves(market, [Sleeve("s", A, np.array([0.5, 0, 0, 0.5, 0, 0.5, 0.5]))], chosen)
    assert "targets led to no position since then" in result.cut_short[-1]


def test_the_page_of_a_portfolio_says_it_too() -> None:
    bars = bars_of("BTC/USDT", [flat(price) for price in (100.0, 101.0, 100.0, 101.0, 100.0)])
    values = {
        "strategies": [{"name": "ma_crossover", "symbol": "BTC/USDT", "parameters": {"fast": 1, "slow": 2}}],
        "risk": {"max_order_notional": 1.0},
    }
    result = pt.run_portfolio(PortfolioSettings.parse(values, "test"), [bars])
    assert "orders were denied: order_notional (" in portfolio_view.outcome(result)[-1]


def test_an_exit_below_the_minimum_notional_is_said_in_sentences_page_and_json() -> None:
    prices = [100.0, 100.0, 3.0, 3.0, 3.0]
    bars = bars_of(A, [flat(price) for price in prices])
    market = Market.of([bars], {A: pt.Instrument(A, min_notional=50.0)})
    chosen = BacktestSettings.parse({"initial_cash": 1000.0, "costs": {"fee_bps": 0.0, "slippage_bps": 0.0}}, "test")
    result = run_sleeves(market, [Sleeve("s", A, np.array([0.5, 0.5, 0, 0, 0]))], chosen)
    sentence = (
        "Below the exchange's minimum notional: 1 exit of AAA/USD, the last one at 2024-01-01 03:00:00Z of 5 worth "
        "15.00, which is still held."
    )
    assert result.positions[A].tolist() == [0.0, 5.0, 5.0, 5.0, 5.0]
    assert sentence in result.cut_short
    assert sentence in result.assumptions
    assert sentence in view.outcome(result)
    moment = "2024-01-01 03:00:00Z"
    assert result.trading_facts()["exits_below_minimum"] == [
        {
            "symbol": A,
            "n_orders": 1,
            "first": moment,
            "last": moment,
            "quantity": 5.0,
            "notional": 15.0,
            "is_held": True,
        }
    ]


@settings(max_examples=examples(40), deadline=None)
@given(seeds, policies, cost_choices)
def test_no_fill_of_a_run_begins_below_the_minimum_notional(
    seed: int, policy: dict[str, Any], costs: dict[str, Any]
) -> None:
    """An order of every kind, exits included, was worth the minimum at its decision; the denied ones are told."""
    bars = random_bars(seed)
    chosen = BacktestSettings.parse({"initial_cash": 1000.0, "costs": costs, "execution": policy}, "random")
    market = Market.of([bars], {bars.symbol: pt.Instrument(bars.symbol, min_notional=450.0)})
    result = run_sleeves(market, [Sleeve("random", bars.symbol, random_exposure(seed))], chosen)
    orders = [event for event in result.events if isinstance(event, OrderEvent)]
    close = dict(zip(market.times.tolist(), market.columns[0].close.tolist(), strict=True))
    for order in orders:
        if order.event is OrderEventKind.REQUESTED and order.reason == "target":
            is_denied = any(
                other.order_id == order.order_id and other.event is OrderEventKind.DENIED for other in orders
            )
            assert is_denied == (order.quantity * close[order.ts_event] < 450.0)
    n_told = sum(each["n_orders"] for each in result.trading_facts()["exits_below_minimum"])
    assert n_told <= sum(each.n_orders for each in result.denials if each.gate == "min_notional")


def test_an_exit_that_was_below_the_minimum_and_sold_later_is_not_said_to_be_held() -> None:
    bars = bars_of(A, [flat(price) for price in (100.0, 100.0, 3.0, 3.0, 20.0, 20.0)])
    market = Market.of([bars], {A: pt.Instrument(A, min_notional=50.0)})
    chosen = BacktestSettings.parse({"initial_cash": 1000.0, "costs": {"fee_bps": 0.0, "slippage_bps": 0.0}}, "test")
    result = run_sleeves(market, [Sleeve("s", A, np.array([0.5, 0.5, 0, 0, 0, 0]))], chosen)
    assert result.positions[A][-1] == 0.0
    assert [each["is_held"] for each in result.trading_facts()["exits_below_minimum"]] == [False]
    assert result.cut_short[-1].endswith("of 5 worth 15.00, which has traded since.")
