"""Strategies that decide by their own position, for tests."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.stateful import ClosedBar, Holding, StatefulStrategy

SEEN: list[tuple[ClosedBar, Holding]] = []


class Watches(StatefulStrategy):
    """Long after a rise; adds after a gain, leaves after a loss or some bars; waits afterwards. Notes what it sees."""

    n_bars: int = 9
    add: float = 0.004
    stop: float = 0.006
    wait: int = 3

    @property
    def warm_up(self) -> int:
        return 2

    def start(self) -> Hashable:
        return 0.0, 0

    def step(self, state: Any, bar: ClosedBar, holding: Holding) -> tuple[float, Hashable]:
        SEEN.append((bar, holding))
        last, left = state
        gain = holding.gain(bar.close)
        if holding.quantity:
            if gain < -self.stop or holding.n_bars >= self.n_bars:
                return 0.0, (bar.close, self.wait)
            return (1.0 if gain > self.add else holding.target or 0.5), (bar.close, left)
        if left:
            return 0.0, (bar.close, left - 1)
        return (0.5 if bar.close > last > 0.0 else holding.target * (holding.target < 1.0)), (bar.close, 0)


class ByPrice(StatefulStrategy):
    """The rule of `ByPriceAtOnce`, one bar after another."""

    @property
    def warm_up(self) -> int:
        return 1

    def start(self) -> Hashable:
        return 0.0

    def step(self, state: Any, bar: ClosedBar, holding: Holding) -> tuple[float, Hashable]:
        return float(np.sign(bar.close - state)), bar.close


class ByPriceAtOnce(Strategy):
    """Long after a rise, short after a fall."""

    @property
    def warm_up(self) -> int:
        return 1

    def exposure(self, bars: Any) -> FloatArray:
        return np.sign(np.diff(bars["close"].to_numpy(), prepend=np.nan))


class KeepsRows(ByPrice):
    """Its state can change."""

    def start(self) -> Any:
        return []


class GoesTooFar(ByPrice):
    """Its exposure is 2."""

    def step(self, state: Any, bar: ClosedBar, holding: Holding) -> tuple[float, Hashable]:
        return 2.0, 0.0


class Raises(ByPrice):
    """Its step raises."""

    def step(self, state: Any, bar: ClosedBar, holding: Holding) -> tuple[float, Hashable]:
        raise KeyError("no key")


class Remembers(ByPrice):
    """It keeps what it saw outside of its state."""

    def step(self, state: Any, bar: ClosedBar, holding: Holding) -> tuple[float, Hashable]:
        CLOSES.append(bar.close)
        return float(len(CLOSES) % 2), 0.0


CLOSES: list[float] = []
