"""A sleeve: one strategy on one symbol, with its targets, its position and its orders."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.rounding import remove_noise
from peak_trade.core.values import Fill, Order
from peak_trade.engine.policy import Leg
from peak_trade.portfolio.sizing import FixedNotional, Sizing


@dataclass(slots=True, eq=False)
class Sleeve:
    """One strategy on one symbol: its targets, its position and its orders.

    `exposure` (shape (n_rows,), in [-1, 1], on the market's grid) is held after each close. `weight` is the share of
    the account's equity that a target of 1 stands for, a constant or one a row; `scale` is the sizing's multiplier and
    `atr` the average true range, one a row. At `rebalance_rows` an unchanged target is ordered anew.
    """

    strategy: str
    symbol: str
    exposure: FloatArray
    weight: float | FloatArray = 1.0
    scale: FloatArray | None = None
    atr: FloatArray | None = None
    priority: int = 0
    rebalance_rows: frozenset[int] = frozenset()
    position: float = 0.0
    target: float = 0.0
    entry_price: float = 0.0
    best_price: float = math.nan
    """Best price that a withdrawn trailing stop of this position had followed; NaN: none yet."""
    decision_row: int = 0
    is_stopped: bool = False
    """A stop or take-profit closed the position: flat until the target changes."""
    granted: float = 1.0
    """Share of the wanted position that the risk limits granted; whole again when the target changes."""
    working: dict[str, Order] = field(default_factory=dict)
    """Open orders by id."""

    def move(self, fill: Fill, lot: float) -> None:
        """Book a fill on the position, of whole lots (base units, 0 for none), and its average entry price."""
        held, signed = self.position, fill.position_change
        self.position = remove_noise(held + signed, lot, signed)
        if held == 0.0 or held * self.position < 0.0:
            self.entry_price, self.best_price = fill.price, math.nan
        elif held * signed > 0.0:
            self.entry_price = (self.entry_price * held + fill.price * signed) / self.position

    def opens(self, leg: Leg) -> bool:
        """Return whether a leg does more than bring the position nearer to zero."""
        return leg.follows_exit or not (self.position * leg.quantity < 0.0 and abs(leg.quantity) <= abs(self.position))

    def is_ordering(self) -> bool:
        """Return whether an order that follows the target is open; protective orders are none."""
        return any(order.reason == "target" for order in self.working.values())

    def notional(self, row: int, equity: float, sizing: Sizing) -> float:
        """Return the signed notional that the target means at a row, as far as it was granted, quote currency."""
        if self.target == 0.0:
            return 0.0
        weight = self.weight if isinstance(self.weight, float) else float(self.weight[row])
        if isinstance(sizing, FixedNotional):
            return self.target * weight * sizing.notional * self.granted
        scale = 1.0 if self.scale is None else float(self.scale[row])
        return self.target * weight * scale * equity * self.granted

    def notional_over(self, span: slice, equity: FloatArray, sizing: Sizing) -> FloatArray:
        """Return `notional` at every row of a span, for equity of the same shape."""
        weight = self.weight if isinstance(self.weight, float) else self.weight[span]
        if isinstance(sizing, FixedNotional):
            return np.broadcast_to(self.target * weight * sizing.notional * self.granted, equity.shape)
        scale = 1.0 if self.scale is None else self.scale[span]
        notional: FloatArray = self.target * weight * scale * equity * self.granted
        return notional
