"""Strategies that decide by their own position: one step per closed bar, with explicit state."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, NoReturn

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bar_frame import COLUMNS, index_ns
from peak_trade.core.errors import StrategyError
from peak_trade.core.time import iso
from peak_trade.core.values import Value
from peak_trade.strategies.base import Strategy, strategy_errors


class ClosedBar(Value, frozen=True, eq=False, gc=False):
    """A bar that has just closed. Prices are in quote currency, the volume in base units, NaN if it is not known."""

    close_time: int
    """ns UTC."""
    open: float
    high: float
    low: float
    close: float
    volume: float
    extra: tuple[tuple[str, float], ...] = ()
    """Names and values of the extra columns of the strategy; see `column`."""

    def column(self, name: str) -> float:
        """Return an extra column: its latest value known at the close, NaN before the first one.

        StrategyError when the strategy does not name it in `extra_columns`.
        """
        for known, value in self.extra:
            if known == name:
                return value
        raise StrategyError(f"the bar has no column {name}. Name it in extra_columns of the strategy.")


class Holding(Value, frozen=True, eq=False, gc=False):
    """What a strategy holds at a close."""

    quantity: float = 0.0
    """Signed position, base units."""
    entry_price: float = 0.0
    """Average entry price of the position, quote currency; 0.0 without one."""
    n_bars: int = 0
    """Number of closes of the position, this one included; 0 without one."""
    target: float = 0.0
    """Exposure that the strategy returned last."""

    def gain(self, price: float) -> float:
        """Return the gain of the position at a price before costs, a fraction of its entry; 0.0 without a position."""
        return math.copysign(price / self.entry_price - 1.0, self.quantity) if self.quantity else 0.0


class StatefulStrategy(Strategy):
    """A strategy that sees one closed bar after another, its own state and its own position.

    Subclasses declare the parameters as fields and define `warm_up`, `start` and `step`. Look-ahead is not possible:
    a step knows nothing of later bars. A session and a backtest take the same steps.

    Such a strategy has no exposure without a run, so that sweeps and composites refuse it. In a portfolio the position
    is that of its own sleeve, also when the orders of several strategies are netted.

    Examples
    --------
    >>> class TimeStop(StatefulStrategy):
    ...     n_bars: int = 10
    ...     @property
    ...     def warm_up(self) -> int:
    ...         return 1
    ...     def start(self):
    ...         return 0.0
    ...     def step(self, state, bar, holding):
    ...         rises = bar.close > state > 0.0
    ...         is_held = 0 < holding.n_bars < self.n_bars
    ...         return float(is_held or (holding.quantity == 0.0 and rises)), bar.close
    >>> TimeStop().step(99.0, ClosedBar(0, 1.0, 1.0, 1.0, 100.0, 1.0), Holding())
    (1.0, 100.0)

    """

    sees: ClassVar[str] = "one symbol and its own position"

    @abstractmethod
    def start(self) -> Hashable:
        """Return the state before the first bar: a number, a tuple, a frozen struct; something that can not change."""

    @abstractmethod
    def step(self, state: Any, bar: ClosedBar, holding: Holding) -> tuple[float, Hashable]:
        """Return the target exposure after a close, in [-1, 1], and the next state.

        A pure function: it changes nothing and reads nothing else. The exposure of the first `warm_up` bars counts as
        0.
        """

    def exposure(self, bars: pd.DataFrame) -> NoReturn:
        """Raise StrategyError: the exposure depends on the position."""
        raise StrategyError(
            f"{self.name}: it decides by its own position, so it has no exposure without a run. Run it with "
            "`backtest`, `portfolio` or `session run`."
        )

    def followed(self, bars: pd.DataFrame) -> FloatArray:
        """Return the exposure where every target is reached at the next open, with an equity of 1 in quote currency.

        The check for look-ahead and for state outside the steps evaluates this, and a portfolio estimates the returns
        of the strategy with it; shape (n_bars,).
        """
        times, values = index_ns(bars.index), bars[list(COLUMNS)].to_numpy()
        extra = {name: bars[name].to_numpy(np.float64) for name in self.extra_columns}
        follower = Follower(Stepper(self, times, tuple(np.ascontiguousarray(values.T)), self.warm_up, extra))
        opens = values[:, 0].tolist()
        return np.array([follower.at(time, opened) for time, opened in zip(times.tolist(), opens, strict=True)])


class Stepper:
    """Takes the steps of a strategy over the bars of one symbol, in order and each once.

    Parameters
    ----------
    strategy : StatefulStrategy
    times : int64 array of shape (n_bars,), ns UTC, strictly increasing
    columns : float64 arrays of open, high, low, close and volume, each of shape (n_bars,)
        The arrays may grow in place, as those of a session do.
    n_flat : int
        Number of bars at the start at which the exposure counts as 0.
    extra : mapping of name to float64 array of shape (n_bars,)
        Extra columns of the strategy.

    """

    def __init__(
        self,
        strategy: StatefulStrategy,
        times: IntArray,
        columns: tuple[FloatArray, ...],
        n_flat: int,
        extra: Mapping[str, FloatArray] | None = None,
    ) -> None:
        self._strategy, self._times, self._columns, self._n_flat = strategy, times, columns, n_flat
        self._extra = extra or {}
        self._next = 0
        self._n_held, self._side = 0, 0.0
        self._target = 0.0
        with strategy_errors(strategy.name):
            self._state = strategy.start()
        self._check_state()

    def over(self, times: IntArray, columns: tuple[FloatArray, ...]) -> Stepper:
        """Return a stepper over other arrays, for example of the same bars, that has taken no step."""
        return Stepper(self._strategy, times, columns, self._n_flat)

    def fresh(self) -> Stepper:
        """Return a stepper over the same arrays that has taken no step."""
        return Stepper(self._strategy, self._times, self._columns, self._n_flat, self._extra)

    def at(self, time: int, quantity: float, entry_price: float) -> float:
        """Return the exposure after the close at `time`, ns UTC, for a position in signed base units.

        Earlier bars that have no step yet are taken without a position. A second call for a close returns the same.

        Raises
        ------
        StrategyError
            If the step raises, its exposure is not in [-1, 1], or its state is not hashable.

        """
        while self._next < self._times.size and int(self._times[self._next]) <= time:
            is_now = int(self._times[self._next]) == time
            self._step(quantity if is_now else 0.0, entry_price if is_now else 0.0)
        return self._target

    def until_change(self, stop: int, quantity: float, entry_price: float) -> int:
        """Take steps with an unchanged position while the exposure stays; return the close of the step that changes it.

        At most up to the last close before `stop`, ns UTC; then `stop` is returned.
        """
        before, n_bars = self._target, self._times.size
        while self._next < n_bars and int(self._times[self._next]) < stop:
            self._step(quantity, entry_price)
            if self._target != before:
                return int(self._times[self._next - 1])
        return stop

    def _step(self, quantity: float, entry_price: float) -> None:
        place = self._next
        side = math.copysign(1.0, quantity) if quantity else 0.0
        self._n_held = 0 if not side else self._n_held + 1 if side == self._side else 1
        self._side = side
        opened, high, low, close, volume = self._columns
        bar = ClosedBar(
            int(self._times[place]),
            float(opened[place]),
            float(high[place]),
            float(low[place]),
            float(close[place]),
            float(volume[place]),
            tuple([(name, float(values[place])) for name, values in self._extra.items()]) if self._extra else (),
        )
        holding = Holding(quantity, entry_price if side else 0.0, self._n_held, self._target)
        try:
            target, self._state = self._strategy.step(self._state, bar, holding)
        except Exception:
            with strategy_errors(self._strategy.name):
                raise
        if not (isinstance(target, int | float | np.floating) and -1.0 <= target <= 1.0):
            raise StrategyError(
                f"{self._strategy.name}: exposure was {target} at {iso(bar.close_time)}; it must lie in [-1, 1]."
            )
        if place == 0:
            self._check_state()
        self._target = float(target) if place >= self._n_flat else 0.0
        self._next = place + 1

    def _check_state(self) -> None:
        try:
            hash(self._state)
        except TypeError:
            raise StrategyError(
                f"{self._strategy.name}: the state is a {type(self._state).__name__}, which can change. Use numbers, "
                "text, a tuple or a frozen struct."
            ) from None


class Follower:
    """Takes the steps of a strategy whose targets are reached at the next open, with an equity of 1."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self._target, self._earlier = 0.0, 0.0
        self._quantity, self._entry_price = 0.0, 0.0

    def at(self, time: int, opened: float) -> float:
        """Return the exposure after the close of the next bar, at `time` in ns UTC, whose first price is `opened`."""
        if self._target != self._earlier:
            self._quantity, self._entry_price = self._target / opened, opened
        self._earlier, self._target = self._target, self._stepper.at(time, self._quantity, self._entry_price)
        return self._target
