"""Scenarios with fills that were worked out by hand. Defaults: cash of 1,000, no costs, no volume cap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

Bar = tuple[float, float, float, float, float]
ExpectedFill = tuple[int, str, str, float, float]
"""Bar, symbol, side, quantity, price."""


def flat(price: float, volume: float = 1e6) -> Bar:
    return (price, price, price, price, volume)


def bar(open_: float, high: float, low: float, close: float, volume: float = 1e6) -> Bar:
    return (open_, high, low, close, volume)


@dataclass(frozen=True)
class Scenario:
    name: str
    bars: Mapping[str, Sequence[Bar | None]]
    exposure: Mapping[str, Sequence[float]]
    fills: Sequence[ExpectedFill]
    costs: Mapping[str, Any] = field(default_factory=dict)
    execution: Mapping[str, Any] = field(default_factory=dict)
    sizing: Mapping[str, Any] = field(default_factory=lambda: {"kind": "fraction_of_equity"})
    instrument: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    rebalance_bars: frozenset[int] = frozenset()
    warm_up: int = 0
    kernel: bool = False
    vectorbt: str = "bookkeeping"
    """Scope of the comparison with vectorbt: decisions, bookkeeping, or nothing."""
    final_equity: float | None = None
    n_ambiguous: int = 0


A, B = "AAA/USD", "BBB/USD"


def one(
    name: str, bars: Sequence[Bar | None], exposure: Sequence[float], fills: Sequence[Any], **more: Any
) -> Scenario:
    """Return a scenario of one symbol; its fills are (bar, side, quantity, price)."""
    return Scenario(name, {A: bars}, {A: exposure}, [(bar, A, *rest) for bar, *rest in fills], **more)


BOTH = {"kernel": True, "vectorbt": "decisions"}
RISING = [flat(100), bar(100, 110, 100, 110), bar(110, 120, 110, 120), bar(120, 120, 115, 115), flat(115)]

SCENARIOS = [
    one("long", RISING, [1, 1, 0, 0, 0], [(1, "buy", 10, 100), (3, "sell", 10, 120)], final_equity=1200, **BOTH),
    one("short", RISING, [-1, -1, 0, 0, 0], [(1, "sell", 10, 100), (3, "buy", 10, 120)], final_equity=800, **BOTH),
    one(
        "flip from long to short and back",
        [flat(100)] * 5,
        [1, -1, 1, 0, 0],
        [(1, "buy", 10, 100), (2, "sell", 20, 100), (3, "buy", 20, 100), (4, "sell", 10, 100)],
        final_equity=1000,
        **BOTH,
    ),
    one(
        "a flip books the loss of the side it leaves",
        [flat(100), flat(100), bar(100, 100, 80, 80), flat(80), flat(80)],
        [1, 1, -1, -1, -1],
        [(1, "buy", 10, 100), (3, "sell", 20, 80)],
        final_equity=800,
        **BOTH,
    ),
    one(
        "cover half of a short",
        [flat(100)] * 4,
        [-1, -0.5, -0.5, -0.5],
        [(1, "sell", 10, 100), (2, "buy", 5, 100)],
        **BOTH,
    ),
    one(
        "cover a short that doubled against us",
        [flat(100), flat(100), flat(150), flat(150), flat(150)],
        [-0.5, -0.5, 0, 0, 0],
        [(1, "sell", 5, 100), (3, "buy", 5, 150)],
        final_equity=750,
        **BOTH,
    ),
    one(
        "partial fills at a tenth of the volume",
        [flat(100, 40)] * 6,
        [1, 1, 1, 1, 1, 1],
        [(1, "buy", 4, 100), (2, "buy", 4, 100), (3, "buy", 2, 100)],
        costs={"max_participation": 0.1},
    ),
    one(
        "a new target cancels what is still open",
        [flat(100, 40)] * 6,
        [1, 1, 0, 0, 0, 0],
        [(1, "buy", 4, 100), (2, "buy", 4, 100), (3, "sell", 4, 100), (4, "sell", 4, 100)],
        costs={"max_participation": 0.1},
    ),
    one(
        "zero volume fills nothing",
        [flat(100), flat(100, 0), flat(100), flat(100)],
        [1, 1, 1, 1],
        [(2, "buy", 10, 100)],
        costs={"max_participation": 0.1},
    ),
    one(
        "a gap through the stop fills at the open",
        [flat(100), flat(100), bar(90, 92, 88, 91), flat(91)],
        [1, 1, 1, 1],
        [(1, "buy", 10, 100), (2, "sell", 10, 90)],
        execution={"stop_loss": 0.05},
        final_equity=900,
    ),
    one(
        "a touched stop fills at its level",
        [flat(100), flat(100), bar(99, 99, 94, 98), flat(98)],
        [1, 1, 1, 1],
        [(1, "buy", 10, 100), (2, "sell", 10, 95)],
        execution={"stop_loss": 0.05},
    ),
    one(
        "a stop in the bar of the entry",
        [flat(100), bar(100, 100, 94, 98), flat(98)],
        [1, 1, 1],
        [(1, "buy", 10, 100), (1, "sell", 10, 95)],
        execution={"stop_loss": 0.05},
    ),
    one(
        "a touched target fills at its level",
        [flat(100), flat(100), bar(100, 112, 100, 111), flat(111)],
        [1, 1, 1, 1],
        [(1, "buy", 10, 100), (2, "sell", 10, 110)],
        execution={"take_profit": 0.1},
    ),
    one(
        "a gap beyond the target fills at the open",
        [flat(100), flat(100), bar(115, 116, 114, 115), flat(115)],
        [1, 1, 1, 1],
        [(1, "buy", 10, 100), (2, "sell", 10, 115)],
        execution={"take_profit": 0.1},
    ),
    one(
        "stop and target in one bar: the stop",
        [flat(100), flat(100), bar(100, 111, 94, 100), flat(100)],
        [1, 1, 1, 1],
        [(1, "buy", 10, 100), (2, "sell", 10, 95)],
        execution={"stop_loss": 0.05, "take_profit": 0.1},
        n_ambiguous=1,
    ),
    one(
        "stop and target of a short in one bar: the stop",
        [flat(100), flat(100), bar(100, 106, 89, 100), flat(100)],
        [-1, -1, -1, -1],
        [(1, "sell", 10, 100), (2, "buy", 10, 105)],
        execution={"stop_loss": 0.05, "take_profit": 0.1},
        n_ambiguous=1,
    ),
    one(
        "re-entry after a stop waits for a new target",
        [flat(100), flat(100), bar(100, 100, 95, 100), flat(100), flat(100), flat(100)],
        [1, 1, 1, 0, 1, 1],
        [(1, "buy", 10, 100), (2, "sell", 10, 95), (5, "buy", 9.5, 100)],
        execution={"stop_loss": 0.05},
    ),
    one(
        "an exit by target withdraws the stop",
        [flat(100), flat(100), flat(100), bar(100, 100, 90, 90), flat(90)],
        [1, 1, 0, 0, 0],
        [(1, "buy", 10, 100), (3, "sell", 10, 100)],
        execution={"stop_loss": 0.05},
    ),
    one(
        "stop of three true ranges",
        [flat(100), bar(100, 102, 100, 100), bar(100, 102, 100, 100), bar(100, 102, 93, 95), flat(95)],
        [0, 1, 1, 1, 1],
        [(2, "buy", 10, 100), (3, "sell", 10, 94)],
        execution={"stop_loss_atr": 3.0, "atr_window": 1},
    ),
    one(
        "a trailing stop follows the high of earlier bars",
        [flat(100), bar(100, 110, 100, 110), bar(110, 120, 108, 120), bar(118, 119, 107, 108), flat(108)],
        [1, 1, 1, 1, 1],
        [(1, "buy", 10, 100), (3, "sell", 10, 108)],
        execution={"trailing_stop": 0.1},
    ),
    one(
        "fees both ways, and trimmed to the cash",
        [flat(101)] * 4,
        [1, 0, 0, 0],
        [(1, "buy", 1000 / (101 * 1.01), 101), (2, "sell", 1000 / (101 * 1.01), 101)],
        costs={"fee_bps": 100.0},
        final_equity=1000 / 1.01 * 0.99,
        **BOTH,
    ),
    one(
        "slippage is against us both ways",
        [flat(100)] * 4,
        [0.5, 0, 0, 0],
        [(1, "buy", 5, 101), (2, "sell", 5, 99)],
        costs={"slippage_bps": 100.0},
        final_equity=990,
        **BOTH,
    ),
    one(
        "all-in is trimmed when the open gaps up",
        [flat(100), flat(125), flat(125)],
        [1, 1, 1],
        [(1, "buy", 8, 125)],
        **BOTH,
    ),
    one("below the minimum notional is denied", [flat(100)] * 3, [0.04] * 3, [], instrument={"min_notional": 50.0}),
    one(
        "an exit below the minimum notional is denied",
        [flat(100), flat(100), flat(1), flat(1)],
        [0.5, 0.5, 0, 0],
        [(1, "buy", 5, 100)],
        instrument={"min_notional": 50.0},
    ),
    one(
        "a short of an instrument without shorts is denied",
        [flat(100)] * 3,
        [-1.0] * 3,
        [],
        instrument={"is_shortable": False},
    ),
    one(
        "quantities are whole lots",
        [flat(100)] * 4,
        [1, 1, 0, 0],
        [(1, "buy", 9.9, 100), (3, "sell", 9.9, 100)],
        instrument={"lot_size": 0.3},
        vectorbt="decisions",
    ),
    one(
        "slippage rounds to the tick against us",
        [flat(100)] * 4,
        [0.5, 0, 0, 0],
        [(1, "buy", 5, 100.5), (2, "sell", 5, 99.5)],
        costs={"slippage_bps": 10.0},
        instrument={"tick_size": 0.5},
    ),
    one(
        "the warm-up is flat",
        [flat(100)] * 4,
        [nan, nan, 1, 1],
        [(3, "buy", 10, 100)],
        warm_up=2,
        **BOTH,
    ),
    one("the first close trades at the second open", [flat(100), flat(90)], [1, 1], [(1, "buy", 10, 90)], **BOTH),
    one("a decision on the last close never fills", [flat(100)] * 2, [0, 1], [], **BOTH),
    one("a constant target does not rebalance", RISING, [0.5] * 5, [(1, "buy", 5, 100)], final_equity=1075, **BOTH),
    one(
        "a rebalancing rule orders an unchanged target again",
        [flat(100), flat(100), flat(200), flat(200), flat(200)],
        [0.5] * 5,
        [(1, "buy", 5, 100), (3, "sell", 1.25, 200)],
        rebalance_bars=frozenset({2}),
    ),
    one(
        "the no-trade band holds small changes back",
        [flat(100)] * 4,
        [0.5, 0.52, 0.8, 0.8],
        [(1, "buy", 5, 100), (3, "buy", 3, 100)],
        execution={"no_trade_band": 0.1},
    ),
    one(
        "fixed notional",
        [flat(100), flat(100), flat(200), flat(200), flat(200)],
        [1, 0, 1, 1, 1],
        [(1, "buy", 4, 100), (2, "sell", 4, 200), (3, "buy", 2, 200)],
        sizing={"kind": "fixed_notional", "notional": 400.0},
    ),
    one(
        "a limit rests until touched",
        [flat(100), flat(100), bar(100, 100, 98, 100), flat(100)],
        [1, 1, 1, 1],
        [(2, "buy", 10, 99)],
        execution={"order_type": "limit", "limit_offset_bps": 100.0},
        costs={"slippage_bps": 50.0},
    ),
    one(
        "a limit takes a better open",
        [flat(100), flat(95), flat(95)],
        [1, 1, 1],
        [(1, "buy", 10, 95)],
        execution={"order_type": "limit", "limit_offset_bps": 100.0},
    ),
    one(
        "an ioc limit lives for one bar",
        [flat(100), flat(100), flat(90), flat(90)],
        [1, 1, 1, 1],
        [],
        execution={"order_type": "limit", "limit_offset_bps": 100.0, "time_in_force": "ioc"},
    ),
    one(
        "a stop entry waits for its level",
        [flat(100), flat(100), bar(100, 103, 100, 102), flat(102)],
        [0.5] * 4,
        [(2, "buy", 5, 101)],
        execution={"order_type": "stop", "stop_offset_bps": 100.0},
    ),
    one(
        "a stop-limit that gapped rests as a limit",
        [flat(100), bar(105, 106, 104, 105), bar(104, 104, 101, 103), flat(103)],
        [0.5] * 4,
        [(2, "buy", 5, 102)],
        execution={"order_type": "stop_limit", "stop_offset_bps": 100.0, "limit_offset_bps": 100.0},
    ),
    one(
        "a trailing entry buys the rebound",
        [flat(100), bar(100, 100, 80, 80), bar(80, 85, 80, 85), bar(85, 90, 85, 90), flat(90)],
        [0.5] * 5,
        [(3, "buy", 5, 88)],
        execution={"order_type": "trailing_stop", "trail": 0.1},
    ),
    Scenario(
        "a missing bar delays the fill of its symbol only",
        {A: [flat(100)] * 4, B: [flat(50), None, flat(40), flat(40)]},
        {A: [1, 1, 1, 1], B: [1, 1, 1, 1]},
        [(1, A, "buy", 5, 100), (2, B, "buy", 10, 40)],
        weights={A: 0.5, B: 0.5},
    ),
    Scenario(
        "two symbols share one cash pool",
        {A: [flat(100)] * 4, B: [flat(50)] * 4},
        {A: [1, 1, 0, 0], B: [0, 1, 1, 1]},
        [(1, A, "buy", 5, 100), (2, B, "buy", 10, 50), (3, A, "sell", 5, 100)],
        weights={A: 0.5, B: 0.5},
    ),
    Scenario(
        "what reduces goes first and pays for what opens",
        {A: [flat(100)] * 4, B: [flat(50)] * 4},
        {A: [0, 1, 1, 1], B: [1, 0, 0, 0]},
        [(1, B, "buy", 20, 50), (2, B, "sell", 20, 50), (2, A, "buy", 10, 100)],
    ),
    Scenario(
        "the second of two buys gets what cash is left",
        {A: [flat(100)] * 3, B: [flat(50)] * 3},
        {A: [0.75] * 3, B: [0.5] * 3},
        [(1, A, "buy", 7.5, 100), (1, B, "buy", 5, 50)],
    ),
    one(
        "bankruptcy ends the run at zero",
        [flat(100), flat(100), flat(250), flat(50), flat(50)],
        [-1, -1, -1, -1, -1],
        [(1, "sell", 10, 100), (2, "buy", 10, 250)],
        vectorbt="nothing",
        final_equity=0.0,
    ),
]
