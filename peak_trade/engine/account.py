"""The account of a run: cash, positions, and the path of both."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType

import numpy as np

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.calendar import NS_PER_DAY, open_times, period_of
from peak_trade.core.history import WeightHistory
from peak_trade.core.ledger import Ledger
from peak_trade.core.values import Fill, Order
from peak_trade.engine.market import Market
from peak_trade.engine.sleeve import Sleeve

_DUST = 1e-9
"""Cash below zero by at most this fraction of the initial cash is rounding, not debt."""

Holdings = tuple[float, Mapping[str, float], Mapping[str, float]]
"""Equity (quote currency), positions by symbol (signed, base units) and marks by symbol (quote currency)."""


class TradedAccount:
    """A ledger over a market, with every change of it.

    Attributes
    ----------
    movements : list of (bar, strategy, symbol, quantity, cash)
        Every change of a sleeve's position (base units) and cash (quote currency, including costs and cash flows). The
        PnL of each sleeve at every bar follows from it.
    cash_path : list of (bar, cash from then on)
    position_path : dict of symbol to list of (bar, position from then on)

    """

    def __init__(self, market: Market, initial_cash: float) -> None:
        self.market = market
        self.ledger = Ledger(initial_cash)
        self.fills: list[Fill] = []
        self.fill_bars: list[int] = []
        self.movements: list[tuple[int, str, str, float, float]] = []
        self.cash_path: list[tuple[int, float]] = [(0, initial_cash)]
        self.position_path: dict[str, list[tuple[int, float]]] = {symbol: [] for symbol in market.symbols}
        self._columns = dict(zip(market.symbols, market.columns, strict=True))
        self._can_fail = False
        self._known_at = (-1, -1)
        self._known: Holdings = (0.0, MappingProxyType({}), MappingProxyType({}))

    def equity(self, bar: int) -> float:
        """Return cash plus positions at their last known closes, in quote currency."""
        total = self.ledger.cash
        for symbol, column in self._columns.items():
            quantity = self.ledger.quantity(symbol)
            if quantity != 0.0:
                total += quantity * float(column.mark[bar])
        return total

    def equity_line(self) -> tuple[float, float, FloatArray] | None:
        """Return cash, quantity and marks if at most one symbol is held, otherwise None.

        Equity at a bar is cash + quantity * mark. Marks have shape (n_bars,) and do not matter if the quantity is 0.0.
        """
        held, marks = 0.0, self.market.columns[0].mark
        for symbol, column in self._columns.items():
            quantity = self.ledger.quantity(symbol)
            if quantity != 0.0:
                if held != 0.0:
                    return None
                held, marks = quantity, column.mark
        return self.ledger.cash, held, marks

    def equity_between(self, start: int, stop: int) -> FloatArray:
        """Return equity at the closes of bars start to stop - 1 with the current positions, shape (stop - start,)."""
        equity: FloatArray | None = None
        for symbol, column in self._columns.items():
            quantity = self.ledger.quantity(symbol)
            if quantity == 0.0:
                continue
            if equity is None:
                equity = quantity * column.mark[start:stop]
                equity += self.ledger.cash
            else:
                equity += quantity * column.mark[start:stop]
        return np.full(stop - start, self.ledger.cash) if equity is None else equity

    @property
    def times(self) -> IntArray:
        """Close times, shape (n_bars,), ns UTC."""
        return self.market.times

    def days(self, start: int, stop: int) -> IntArray:
        """Return the numbers of the UTC days in which bars start to stop - 1 open, shape (stop - start,)."""
        days: IntArray = period_of(open_times(self.market.times[start:stop], self.market.timeframe), "day")
        return days

    def day(self, bar: int) -> int:
        """Return the number of the UTC day in which a bar opens."""
        return int(period_of(open_times(int(self.market.times[bar]), self.market.timeframe), "day"))

    def holdings(self, bar: int) -> Holdings:
        """Return equity, positions and marks at the close of a bar; the same objects until something moves."""
        if self._known_at != (bar, len(self.cash_path)):
            self._known_at = (bar, len(self.cash_path))
            positions = {symbol: held.quantity for symbol, held in self.ledger.positions.items()}
            marks = {symbol: float(column.mark[bar]) for symbol, column in self._columns.items()}
            self._known = (self.equity(bar), MappingProxyType(positions), MappingProxyType(marks))
        return self._known

    def exposures_at(self, when: int) -> Mapping[str, float]:
        """Return the exposures at the last close up to an earlier instant, ns UTC, signed fractions of equity.

        Symbols without a position are left out. Empty before the first bar, and where equity is not above zero.
        """
        bar = int(np.searchsorted(self.market.times, when, side="right")) - 1
        if bar < 0:
            return {}
        equity, worth = _value_at(self.cash_path, bar), {}
        for symbol, column in self._columns.items():
            quantity = _value_at(self.position_path[symbol], bar)
            if quantity != 0.0:
                worth[symbol] = quantity * float(column.mark[bar])
                equity += worth[symbol]
        return {symbol: own / equity for symbol, own in worth.items()} if equity > 0.0 else {}

    def _book_fill(self, sleeve: Sleeve, fill: Fill, bar: int) -> None:
        lot = self._columns[fill.symbol].instrument.lot_size
        self.ledger.apply(fill, lot)
        sleeve.move(fill, lot)
        self.fills.append(fill)
        self.fill_bars.append(bar)
        self.cash_path.append((bar, self.ledger.cash))
        self.position_path[fill.symbol].append((bar, self.ledger.quantity(fill.symbol)))
        self._update_can_fail()

    def _book_cash(self, bar: int, amount: float) -> None:
        self.ledger.add_cash(amount)
        self.cash_path.append((bar, self.ledger.cash))
        self._update_can_fail()

    def _record_movement(self, sleeve: Sleeve, bar: int, quantity: float, price: float, cost: float) -> None:
        """Record the effect of a fill (signed quantity, base units) or a cash flow (quantity 0.0) on a sleeve."""
        self.movements.append((bar, sleeve.strategy, sleeve.symbol, quantity, -quantity * price - cost))

    def _buying_power(self, order: Order, unit_cost: float) -> float:
        covering = -self.ledger.quantity(order.symbol)
        return max(self.ledger.cash / unit_cost, covering, 0.0)

    def _update_can_fail(self) -> None:
        """Update whether equity can reach zero without a trade: cash is owed, or a short position is held."""
        self._can_fail = self.ledger.cash < -_DUST * self.ledger.initial_cash or any(
            [held.quantity < 0.0 for held in self.ledger.positions.values()]
        )

    def _first_insolvent(self, start: int, stop: int) -> int:
        if stop <= start:
            return stop
        failed = self.equity_between(start, stop) <= 0.0
        return start + int(failed.argmax()) if failed.any() else stop


class DailyWeights:
    """The exposures of an account when each of the last days began; those of a day are computed once.

    Parameters
    ----------
    n_days : int
        Number of days.

    """

    def __init__(self, n_days: int) -> None:
        self._n_days = n_days
        self._known: dict[int, Mapping[str, float]] = {}
        self._latest: WeightHistory | None = None

    def at(self, exposures_at: Callable[[int], Mapping[str, float]], as_of: int) -> WeightHistory:
        """Return the weights of the days up to the one that ends at `as_of`, ns UTC, an instant that has passed.

        `exposures_at` returns the account's exposures at an instant; see `TradedAccount.exposures_at`.
        """
        latest = self._latest
        if latest is None or latest.as_of != as_of:
            starts = range(as_of - self._n_days * NS_PER_DAY, as_of, NS_PER_DAY)
            known = self._known
            self._known = {start: known[start] if start in known else exposures_at(start) for start in starts}
            symbols = sorted({symbol for held in self._known.values() for symbol in held})
            rows = [[held.get(symbol, 0.0) for held in self._known.values()] for symbol in symbols]
            latest = WeightHistory(as_of, symbols, np.array(rows).reshape(len(symbols), self._n_days))
            self._latest = latest
        return latest


def _value_at(path: Sequence[tuple[int, float]], bar: int) -> float:
    """Return the last value of a path up to a bar; 0.0 before the first one."""
    place = bisect_right(path, bar, key=itemgetter(0))
    return path[place - 1][1] if place else 0.0
