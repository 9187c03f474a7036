"""Every gate in a run: one limit that denies an order, and one with which the same run trades."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import Instrument, MarketView, Order, OrderBook, OrderType, Side
from peak_trade.journal.codec import decode_event, encode_event
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.review import ApprovedOrder
from peak_trade.studies.risk.decisions import explain
from tests.examples import mostly_long
from tests.risk.cases import BTC, ETH
from tests.risk.runs import decisions, denials_of, idle_risk_engine, run

DAY = 86_400.0
IN_AND_OUT = (1.0, 0.0)
BOTH = {"symbols": (BTC, ETH), "targets": (1.0,)}
LONG_SHORT = {"symbols": (BTC, ETH), "targets": (1.0,), "other": (-1.0,)}
FALLING = {"targets": (0.5, 0.0), "step": -0.03}
RESTING = {"policy": {"order_type": OrderType.LIMIT, "limit_offset_bps": 200.0}, "step": -0.03}
NO_LIQUIDITY_LIMIT = {
    "max_spread": None,
    "max_slippage": None,
    "min_touch_depth": None,
    "min_book_depth": None,
    "max_daily_volume_share": None,
    "max_book_age": None,
}


def liquidity(**values: Any) -> dict[str, Any]:
    return {"liquidity": NO_LIQUIDITY_LIMIT | values}


def var(**values: Any) -> dict[str, Any]:
    return {"var": {"max_var": None, "refuse_red_zone": False} | values}


def stress(**values: Any) -> dict[str, Any]:
    return var() | {"stress": {"max_stress_loss": None} | values}


@dataclass(frozen=True)
class Trial:
    """The same run with the settings `denying` and `passing`."""

    code: DenialCode
    denying: dict[str, Any]
    passing: dict[str, Any]
    setup: dict[str, Any] = field(default_factory=dict)
    is_asked_of: str = "limits"

    @property
    def name(self) -> str:
        return f"{self.code}-{self.is_asked_of}"

    def result(self, part: dict[str, Any]):
        return run(**{"limits": part, **self.setup} if self.is_asked_of == "limits" else self.setup | part)


def limit(code: DenialCode, denying: dict[str, Any], passing: dict[str, Any], **setup: Any) -> Trial:
    return Trial(code, denying, passing, setup)


def market(code: DenialCode, what: str, denying: Any, passing: Any, limits: dict[str, Any], **setup: Any) -> Trial:
    return Trial(code, {what: denying}, {what: passing}, {"limits": limits, **setup}, what)


RUNS = [
    limit(
        DenialCode.TRADING_STATE,
        {"state": {"reduce_drawdown": 0.01}},
        {"state": {"reduce_drawdown": 0.9}},
        **FALLING,
    ),
    limit(
        DenialCode.STRATEGY_DISABLED,
        {"max_same_side_fills": 1, "fill_window": 30 * DAY},
        {"max_same_side_fills": 99, "fill_window": 30 * DAY},
        targets=IN_AND_OUT,
    ),
    market(
        DenialCode.MIN_NOTIONAL,
        "instrument",
        Instrument(BTC, min_notional=10_100.0),
        Instrument(BTC, min_notional=9_900.0),
        {},
    ),
    market(
        DenialCode.NOT_SHORTABLE,
        "instrument",
        Instrument(BTC, is_shortable=False),
        Instrument(BTC, is_shortable=True),
        {},
        targets=(-1.0,),
    ),
    market(
        DenialCode.NOT_SHORTABLE, "targets", (0.5, -0.1), (0.5, 0.1), {}, instrument=Instrument(BTC, is_shortable=False)
    ),
    limit(DenialCode.DUPLICATE_ORDER, {"duplicate_window": DAY}, {"duplicate_window": 1.0}, targets=IN_AND_OUT),
    limit(
        DenialCode.ORDER_RATE,
        {"max_orders": 2, "order_window": 30 * DAY},
        {"max_orders": 99, "order_window": 30 * DAY},
        targets=IN_AND_OUT,
    ),
    limit(
        DenialCode.ORDER_RATE,
        {"max_orders": 2, "order_window": 30 * DAY},
        {"max_orders": 2, "order_window": 60.0},
        targets=IN_AND_OUT,
    ),
    limit(
        DenialCode.REPEATED_EXECUTION,
        {"max_same_side_fills": 2, "fill_window": 30 * DAY},
        {"max_same_side_fills": 2, "fill_window": 60.0},
        targets=IN_AND_OUT,
    ),
    limit(DenialCode.ORDER_NOTIONAL, {"max_order_notional": 9_999.0}, {"max_order_notional": 10_001.0}),
    limit(DenialCode.PRICE_COLLAR, {"max_price_deviation": 0.019}, {"max_price_deviation": 0.021}, **RESTING),
    limit(DenialCode.SYMBOL_EXPOSURE, {"max_symbol_exposure": 0.49}, {"max_symbol_exposure": 0.51}, **BOTH),
    limit(DenialCode.GROSS_EXPOSURE, {"max_gross_exposure": 0.99}, {"max_gross_exposure": 1.01}, **LONG_SHORT),
    limit(DenialCode.NET_EXPOSURE, {"max_net_exposure": 0.99}, {"max_net_exposure": 1.01}, **BOTH),
    limit(DenialCode.CONCENTRATION, {"max_concentration": 0.49}, {"max_concentration": 0.51}, **BOTH),
    limit(DenialCode.OPEN_ORDERS, {"max_open_orders": 1}, {"max_open_orders": 2}, **BOTH, **RESTING),
    limit(DenialCode.DAILY_LOSS, {"max_daily_loss": 100.0}, {"max_daily_loss": 5_000.0}, **FALLING),
    limit(
        DenialCode.DAILY_LOSS_FRACTION,
        {"max_daily_loss_fraction": 0.01},
        {"max_daily_loss_fraction": 0.5},
        **FALLING,
    ),
    limit(DenialCode.DRAWDOWN, {"max_drawdown": 0.01}, {"max_drawdown": 0.5}, **FALLING),
    limit(
        DenialCode.SPREAD,
        liquidity(max_spread=0.002, model_spread=0.0015),
        liquidity(max_spread=0.002, model_spread=0.0013),
    ),
    limit(
        DenialCode.SLIPPAGE,
        liquidity(max_slippage=0.01, model_spread=0.0142, impact_coefficient=0.0),
        liquidity(max_slippage=0.01, model_spread=0.0138, impact_coefficient=0.0),
    ),
    limit(
        DenialCode.SLIPPAGE,
        liquidity(max_slippage=0.01, model_spread=0.0, impact_coefficient=20.0),
        liquidity(max_slippage=0.01, model_spread=0.0, impact_coefficient=0.1),
    ),
    limit(
        DenialCode.DAILY_VOLUME_SHARE,
        liquidity(max_daily_volume_share=0.003),
        liquidity(max_daily_volume_share=0.004),
    ),
    limit(DenialCode.BAR_VOLUME_SHARE, liquidity(max_bar_volume_share=0.014), liquidity(max_bar_volume_share=0.015)),
    market(DenialCode.VAR_MODEL, "crash", True, False, {"var": {"max_var": None, "method": "historical"}}),
    limit(DenialCode.VALUE_AT_RISK, var(max_var=0.03), var(max_var=0.08)),
    limit(DenialCode.EXPECTED_SHORTFALL, var(max_expected_shortfall=0.03), var(max_expected_shortfall=0.12)),
    limit(DenialCode.STRESS_LOSS, stress(max_stress_loss=0.36), stress(max_stress_loss=0.38)),
    limit(
        DenialCode.STRESS_LOSS,
        stress(max_stress_loss=0.2, scenarios=["march_2020"]),
        stress(max_stress_loss=0.2, scenarios=["all_down_10"]),
    ),
    limit(DenialCode.PROJECTED_DRAWDOWN, stress(max_projected_drawdown=0.05), stress(max_projected_drawdown=0.9)),
]
"""Gates whose inputs come from bars. The volume is 10,000 per bar and the first order is 100 units at 100."""


def is_finite(denial) -> bool:
    return math.isfinite(denial.observed) and math.isfinite(denial.limit)


@pytest.mark.parametrize(
    "trial", mostly_long(RUNS, 3), ids=[f"{trial.name}-{place}" for place, trial in enumerate(RUNS)]
)
def test_a_limit_denies_in_a_run_and_a_wider_one_lets_the_same_run_trade(trial):
    denied = denials_of(trial.result(trial.denying), trial.code)
    assert denied
    assert all(map(is_finite, denied))
    passing = trial.result(trial.passing)
    assert passing.fill_list
    for decision in decisions(passing):
        explained = explain(decode_event(json.loads(encode_event(decision))))
        assert explained.is_reproduced
        assert explained.is_approved, decision.denials
        reading = next(reading for reading in explained.readings if reading.code == trial.code)
        assert is_finite(reading)


BOOKED = {"book": "declared"}


def book_of(age: float, spread: float, size: float, n_levels: int, now: int) -> OrderBook:
    sides = (
        tuple((100.0 + sign * (0.5 * spread + 0.01 * level), size) for level in range(n_levels)) for sign in (-1, 1)
    )
    return OrderBook(now - round(age * NS_PER_SECOND), *sides)


ASKED = [
    (DenialCode.MISSING_DATA, {}, {"decision_price": math.nan}, {}),
    (DenialCode.MISSING_DATA, {}, {"instrument": Instrument(ETH)}, {}),
    (DenialCode.STALE_DATA, {"max_data_age": 60.0}, {"age": 61.0}, {"age": 59.0}),
    (DenialCode.QUANTITY, {}, {"quantity": 0.0}, {"quantity": 0.1}),
    (DenialCode.QUANTITY, {}, {"quantity": 0.09, "lot": 0.1}, {"quantity": 0.1, "lot": 0.1}),
    (DenialCode.STALE_BOOK, liquidity(max_book_age=5.0, **BOOKED), {"book_age": 6.0}, {"book_age": 4.0}),
    (DenialCode.SPREAD, liquidity(max_spread=0.005, **BOOKED), {"spread": 0.36}, {"spread": 0.34}),
    (DenialCode.SLIPPAGE, liquidity(max_slippage=0.001, **BOOKED), {"size": 0.06}, {"size": 0.5}),
    (
        DenialCode.TOUCH_DEPTH,
        liquidity(min_touch_depth=1.4, **BOOKED),
        {"size": 1.9, "n_levels": 1},
        {"size": 2.1, "n_levels": 1},
    ),
    (DenialCode.BOOK_DEPTH, liquidity(min_book_depth=1.4, **BOOKED), {"size": 0.09, "n_levels": 30}, {"size": 0.11}),
    (DenialCode.MAX_LEVERAGE, {}, {"quantity": 100.1}, {"quantity": 99.9}),
    (DenialCode.ORDER_SHAPE, {}, {"order_type": OrderType.LIMIT}, {"order_type": OrderType.MARKET}),
]
"""Gates whose inputs do not come from bars: the risk engine of a loop reviews a buy of one unit at 100."""


def asked(limits: dict[str, Any], changes: dict[str, Any]):
    """Return the answer of a risk engine to one order of a flat account, and the recorded decision."""
    risk_engine, loop, events = idle_risk_engine(RiskLimits.parse(limits, "test"))
    now = int(loop.times[0])
    kind = changes.get("order_type", OrderType.MARKET)
    order = Order("o-1", now, "ma", BTC, Side.BUY, changes.get("quantity", 1.0), 100.0, kind)
    size, levels = changes.get("size", 10.0), changes.get("n_levels", 20)
    view = MarketView(
        now,
        changes.get("instrument", Instrument(BTC, lot_size=changes.get("lot", 0.0))),
        changes.get("decision_price", 100.0),
        1_000.0,
        now - round(changes.get("age", 0.0) * NS_PER_SECOND),
        book_of(changes.get("book_age", 0.0), changes.get("spread", 0.01), size, levels, now),
    )
    answer = risk_engine.decide(risk_engine.propose(order, view, loop, 0))
    return answer, events[-1]


@pytest.mark.parametrize(
    ("code", "limits", "denying", "passing"), ASKED, ids=[f"{row[0].value}-{'-'.join(row[2])}" for row in ASKED]
)
def test_the_risk_engine_denies_and_approves_what_bars_do_not_bring(code, limits, denying, passing):
    answer, event = asked(limits, denying)
    assert code in [denial.code for denial in answer]
    assert event.denials == answer
    answer, event = asked(limits, passing)
    assert isinstance(answer, ApprovedOrder)
    assert event.is_approved


def test_every_gate_is_alive_in_a_run_or_through_the_risk_engine():
    assert {trial.code for trial in RUNS} | {code for code, *_ in ASKED} == set(DenialCode)


@pytest.mark.parametrize("kind", [OrderType.STOP, OrderType.STOP_LIMIT, OrderType.LIMIT], ids=lambda kind: kind.value)
def test_stop_orders_may_use_seventy_percent_of_a_limit_and_limit_orders_all_of_it(kind):
    policy = {"order_type": kind, "limit_offset_bps": 10.0, "stop_offset_bps": 10.0}
    limits = liquidity(max_spread=0.002, model_spread=0.0015)
    denied = denials_of(run(limits, policy=policy), DenialCode.SPREAD)
    assert bool(denied) is (kind is OrderType.STOP)
