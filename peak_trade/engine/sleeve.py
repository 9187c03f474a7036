"""Sleeves: one strategy on one symbol, with its targets, its position and its orders."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.rounding import remove_noise
from peak_trade.core.values import Fill, Order
from peak_trade.engine.policy import Leg
from peak_trade.portfolio.sizing import FixedNotional, Sizing
from peak_trade.strategies.stateful import Stepper


@dataclass(slots=True, eq=False)
class Sleeve:
    """One strategy on one symbol: its targets, its position and its orders.

    `exposure` (shape (n_bars,), in [-1, 1], on the market's grid) is held after each close. `weight` is the fraction of
    the account's equity that a target of 1 stands for, a constant or one value per bar. `scale` is the multiplier of
    the sizing rule (NaN if unknown) and `atr` the average true range, both with one value per bar. At `rebalance_bars`
    an unchanged target is ordered again.
    """

    strategy: str
    symbol: str
    exposure: FloatArray
    weight: float | FloatArray = 1.0
    scale: FloatArray | None = None
    atr: FloatArray | None = None
    priority: int = 0
    rebalance_bars: frozenset[int] = frozenset()
    stepper: Stepper | None = None
    """Takes the steps of a strategy that decides by its position; the event loop then fills `exposure`."""
    position: float = 0.0
    """Signed quantity held, base units."""
    target: float = 0.0
    """Latest target exposure."""
    entry_price: float = 0.0
    """Average entry price of the position."""
    best_price: float = math.nan
    """Best price that a canceled trailing stop of this position had followed; NaN if there is none."""
    decision_bar: int = 0
    """Bar of the latest decision."""
    is_stopped: bool = False
    """Whether a stop or take-profit closed the position: the sleeve then stays flat until the target changes."""
    closing_order: str = ""
    """Id of the latest stop that has triggered: it closes the whole position."""
    awaits_order: bool = False
    """Whether the target changed while a triggered stop was open: it is ordered at the close at which that is done."""
    allowed_fill_ratio: float = 1.0
    """Fraction of the target position that the risk limits allowed; 1 again when the target changes."""
    awaits_scale: bool = False
    """Whether the target waits for a scale that is not known yet."""
    working: dict[str, Order] = field(default_factory=dict)
    """Open orders by id."""

    def since(self, first: int, mark: FloatArray) -> Sleeve:
        """Return the sleeve from bar `first` on. `mark`, the last closes from there on, is NaN before the first bar."""

        def part(values: FloatArray) -> FloatArray:
            return np.where(np.isnan(mark), 0.0, values[first:])

        return replace(
            self,
            exposure=part(self.exposure),
            weight=self.weight if isinstance(self.weight, float) else np.ascontiguousarray(self.weight[first:]),
            scale=None if self.scale is None else part(self.scale),
            atr=None if self.atr is None else part(self.atr),
            rebalance_bars=frozenset(bar - first for bar in self.rebalance_bars if bar >= first),
        )

    @property
    def is_closing(self) -> bool:
        """Whether a triggered stop is open: what it has not sold yet comes first in the next bars."""
        return self.closing_order in self.working

    def orders_against(self) -> list[Order]:
        """Return the open orders that trade against the position: exits by target and protective orders."""
        return [order for order in self.working.values() if order.signed_quantity * self.position < 0.0]

    def move(self, fill: Fill, lot: float) -> None:
        """Apply a fill to the position and its average entry price; `lot` is in base units, 0 for none."""
        held, signed = self.position, fill.position_change
        self.position = remove_noise(held + signed, lot, signed)
        self.average_entry(held, signed, fill.price)

    def average_entry(self, held: float, change: float, price: float) -> None:
        """Update the average entry price after a change of the position from `held`, both signed base units."""
        if held == 0.0 or held * self.position < 0.0:
            self.entry_price, self.best_price = price, math.nan
        elif held * change > 0.0:
            self.entry_price = (self.entry_price * held + price * change) / self.position

    def restrict(self, change: float, fraction: float) -> None:
        """Note that limits allowed only a fraction of a change of position (signed base units).

        An unchanged target is not ordered again for the part that was not allowed.
        """
        wanted = self.position + change
        if wanted != 0.0:
            self.allowed_fill_ratio *= min(max((self.position + fraction * change) / wanted, 0.0), 1.0)

    def opens(self, leg: Leg) -> bool:
        """Return whether a leg does anything but bring the position nearer to zero."""
        return leg.follows_exit or not (self.position * leg.quantity < 0.0 and abs(leg.quantity) <= abs(self.position))

    def knows_scale(self, bar: int) -> bool:
        """Return whether the scale is known at a bar."""
        return self.scale is None or not math.isnan(self.scale[bar])

    def weight_at(self, bar: int) -> float:
        """Return the weight at a bar, fraction of equity."""
        return self.weight if isinstance(self.weight, float) else float(self.weight[bar])

    def decide_position(self, bar: int, equity: float, sizing: Sizing, close: float) -> float:
        """Return the position that the target asks for at a close, signed base units, before rounding to lots.

        While the scale is unknown the target waits: a position on its side is kept, one on the other side is closed.
        """
        notional = self.notional(bar, equity, sizing)
        self.awaits_scale = math.isnan(notional)
        if self.awaits_scale:
            return self.position if self.position * self.target > 0.0 else 0.0
        return notional / close

    def notional(self, bar: int, equity: float, sizing: Sizing) -> float:
        """Return the signed notional of the target at a bar, as far as limits allowed it, quote currency.

        NaN if the target is not zero and the scale is unknown. There is no leverage: the notional is at most weight x
        equity, for long and short positions alike.
        """
        if self.target == 0.0:
            return 0.0
        weight = self.weight_at(bar)
        if self.leverage(bar, equity, sizing) > 1.0:
            return math.copysign(weight * equity * self.allowed_fill_ratio, self.target)
        if isinstance(sizing, FixedNotional):
            return self.target * weight * sizing.notional * self.allowed_fill_ratio
        scale = 1.0 if self.scale is None else float(self.scale[bar])
        return self.target * weight * scale * equity * self.allowed_fill_ratio

    def leverage(self, bar: int, equity: float, sizing: Sizing) -> float:
        """Return the notional that target and sizing rule ask for at a bar over weight x equity; above 1 is trimmed."""
        if isinstance(sizing, FixedNotional):
            return abs(self.target) * sizing.notional / equity
        return abs(self.target) * (1.0 if self.scale is None else float(self.scale[bar]))

    def notional_over(self, span: slice, equity: FloatArray, sizing: Sizing) -> FloatArray:
        """Return `notional` at every bar of a span, for equity of the same shape."""
        weight = self.weight if isinstance(self.weight, float) else self.weight[span]
        largest = np.abs(weight * equity * self.allowed_fill_ratio)
        if isinstance(sizing, FixedNotional):
            notional = np.broadcast_to(self.target * weight * sizing.notional * self.allowed_fill_ratio, equity.shape)
        else:
            scale = 1.0 if self.scale is None else self.scale[span]
            notional = self.target * weight * scale * equity * self.allowed_fill_ratio
        trimmed: FloatArray = np.clip(notional, -largest, largest)
        return trimmed
