"""The risk risk engine of a run: keeps what the gates look back on, asks them, and records every decision."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.history import DailyRecord, ReturnHistory
from peak_trade.core.ledger import Ledger
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import (
    AccountView,
    Denial,
    Fill,
    MarketView,
    Order,
    OrderBook,
    PastFill,
    PastOrder,
    TradingState,
)
from peak_trade.engine.venue import Venue, pending_beside
from peak_trade.journal.events import DecisionEvent, Event
from peak_trade.journal.inputs import DecisionInputs
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.gate import GateChain
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.risk.sizing import size_to_limits
from peak_trade.risk.state import AccountObserved, Control, Observation, StrategyEnabled, StrategyThrottled, advance
from peak_trade.risk.state_scan import is_quiet, memory_of, quiet, remember, triggers

_HALTED = TradingState.HALTED


class Account(Protocol):
    """What the risk engine asks of a loop."""

    venue: Venue
    ledger: Ledger

    def holdings(self, row: int) -> tuple[float, dict[str, float], dict[str, float]]:
        """Return equity, positions and marks at a row's close."""

    @property
    def n_open(self) -> int:
        """Number of open orders."""

    def equity(self, row: int) -> float:
        """Return equity at a row's close."""

    def equity_line(self) -> tuple[float, float, FloatArray] | None:
        """Return cash, quantity and marks of the one symbol held; None when several are."""

    def equity_between(self, start: int, stop: int) -> FloatArray:
        """Return equity at the closes of rows start to stop - 1, were nothing to trade, shape (stop - start,)."""

    @property
    def times(self) -> IntArray:
        """Close times, shape (n_rows,), ns UTC."""


class RiskEngine:
    """Asks a row of gates about every order of one run.

    Parameters
    ----------
    gates : GateChain
        The row, in order.
    limits : RiskLimits
    record : DailyRecord, optional
        The declared source of daily returns, volumes and volatilities.
    control : Control
        The trading state to start from.

    Attributes
    ----------
    emit : callable
        Where its events go; the loop sets it.
    can_stop : bool
        Whether equity or a running ramp may change the trading state.

    Notes
    -----
    Equity is asked of the loop for all rows since it last was: so a bar on which nothing happens costs next to nothing.

    """

    def __init__(
        self,
        gates: GateChain,
        limits: RiskLimits,
        *,
        record: DailyRecord | None = None,
        control: Control | None = None,
    ) -> None:
        self.gates = gates
        self.limits = limits
        self.emit: Callable[[Event], None] = _nowhere
        self._record = record
        codes = {gate.code for gate in gates}
        self._order_window = int(max(limits.order_window, limits.duplicate_window or 0.0) * NS_PER_SECOND)
        self._fill_window = int(limits.fill_window * NS_PER_SECOND)
        self._keeps_orders = bool(codes & {DenialCode.ORDER_RATE, DenialCode.DUPLICATE_ORDER})
        self._keeps_fills = DenialCode.REPEATED_EXECUTION in codes
        self._looks_at_activity = record is not None and limits.liquidity is not None
        self._looks_at_returns = record is not None and limits.var is not None
        rules = limits.state
        thresholds = (rules.reduce_drawdown, rules.halt_drawdown, rules.reduce_daily_loss, rules.halt_daily_loss)
        self._has_thresholds = any(threshold is not None for threshold in thresholds)
        self._orders: deque[PastOrder] = deque()
        self._fills: deque[PastFill] = deque()
        self._next_row = 0
        self._seen: tuple[int, OrderBook | None] | None = None
        self._control = control or Control()
        self._memory = memory_of(self._control)
        self._triggers = triggers(self._control, rules)
        self.can_stop = self._has_thresholds or self._control.recovered_at != 0

    @property
    def control(self) -> Control:
        """The trading state and all that it remembers."""
        return remember(self._control, self._memory)

    @property
    def state(self) -> TradingState:
        """Whether trading is active, reducing or halted."""
        return self._control.state

    def sources(self, symbol: str, as_of: int) -> tuple[int, OrderBook | None, float, float, ReturnHistory | None]:
        """Return what the gates are shown beside a symbol's bar, for an order decided at an instant, ns UTC.

        The instant by the exchange's clock and its book; average daily volume, daily volatility and returns known then.
        """
        now, book = self._seen or (as_of, None)
        record = self._record
        if record is None:
            return now, book, math.nan, math.nan, None
        volume, volatility = record.activity_at(symbol, as_of) if self._looks_at_activity else (math.nan, math.nan)
        return now, book, volume, volatility, record.returns_at(as_of) if self._looks_at_returns else None

    def cut(self, order: Order, market: MarketView, loop: Account, row: int) -> Order:
        """Return the order cut to the limits on size, where the limits say so and a target asked for it."""
        if not self.limits.size_to_limits or order.reason != "target":
            return order
        return size_to_limits(order, self._account(loop, row, order), market, self.gates, self.limits)

    def decide(self, order: Order, market: MarketView, loop: Account, row: int) -> ApprovedOrder | tuple[Denial, ...]:
        """Ask the row about an order decided on a row's close, and emit the decision with all that it was made on."""
        account = self._account(loop, row, order)
        answer = review(order, account, market, self.gates, self.limits)
        denials = answer if isinstance(answer, tuple) else ()
        if self._keeps_orders:
            self._orders.append(
                PastOrder(
                    order.order_id,
                    order.decided_at,
                    order.strategy,
                    order.symbol,
                    order.side,
                    order.quantity,
                    order.reason,
                )
            )
        inputs = DecisionInputs(order, account, market, self.limits)
        self.emit(DecisionEvent(order.decided_at, order.order_id, not denials, denials, inputs))
        if denials and any(denial.code == DenialCode.REPEATED_EXECUTION for denial in denials):
            self.observe(StrategyThrottled(order.decided_at, order.strategy))
        return answer

    def observe(self, observation: Observation) -> None:
        """Advance the trading state and emit what changed; an enabled strategy's fills count anew."""
        control, events = advance(self.control, observation, self.limits.state)
        self._set(control)
        if isinstance(observation, StrategyEnabled):
            self._fills = deque(fill for fill in self._fills if fill.strategy != observation.strategy)
        for event in events:
            self.emit(event)

    def see(self, seen: tuple[int, OrderBook | None] | None) -> None:
        """Show the gates an instant by the exchange's clock (ns UTC) and its book until told otherwise; None: neither.

        Unless shown, an order's market is that of the close it was decided on, without a book.
        """
        self._seen = seen

    def remember_fill(self, fill: Fill) -> None:
        """Keep a fill for the gates that look back on fills."""
        if self._keeps_fills:
            self._fills.append(PastFill(fill.ts_event, fill.strategy, fill.symbol, fill.side))

    def pass_over(self, loop: Account, stop: int) -> int:
        """Pass over the rows before `stop`, on which nothing will trade; return the first that changes the state.

        Only while orders rest does somebody have to be there: otherwise a change is seen when it is asked for.
        """
        if not self.can_stop or self._control.state is _HALTED:
            return stop
        self._scan(loop, stop)
        return self._next_row

    def catch_up(self, loop: Account, stop: int) -> None:
        """Look at equity on the rows before `stop` not yet looked at; nothing may have traded since they closed."""
        while self._next_row < stop:
            self._scan(loop, stop)
            if self._next_row < stop:
                row = self._next_row
                self._next_row = row + 1
                self.observe(AccountObserved(int(loop.times[row]), loop.equity(row)))

    def _scan(self, loop: Account, stop: int) -> None:
        start = self._next_row
        if start >= stop or self._control.recovered_at:
            return
        line = None if stop - start == 1 else loop.equity_line()
        if stop - start == 1 or (line is not None and line[1] == 0.0):
            self._pass_one_equity(loop, start, stop)
            return
        if line is None:
            equity, times = loop.equity_between(start, stop), loop.times[start:stop]
            n_quiet, self._memory = quiet(0.0, 1.0, equity, times, 0, stop - start, self._memory, self._triggers)
        else:
            n_quiet, self._memory = quiet(*line, loop.times, start, stop, self._memory, self._triggers)
        self._next_row = start + n_quiet

    def _pass_one_equity(self, loop: Account, start: int, stop: int) -> None:
        """Pass over rows of one equity: when the first is quiet all are, and the last tells what is remembered."""
        equity, times = loop.equity(start), loop.times
        seen = is_quiet(equity, int(times[start]), self._memory, self._triggers)
        if seen is not None and stop - start > 1:
            seen = is_quiet(equity, int(times[stop - 1]), seen, self._triggers)
        if seen is not None:
            self._memory, self._next_row = seen, stop

    def _set(self, control: Control) -> None:
        self._control, self._memory = control, memory_of(control)
        self._triggers = triggers(control, self.limits.state)
        self.can_stop = self._has_thresholds or control.recovered_at != 0

    def _account(self, loop: Account, row: int, order: Order) -> AccountView:
        now = order.decided_at
        if self._next_row <= row:
            self.catch_up(loop, row + 1)
        equity, positions, marks = loop.holdings(row)
        n_open = loop.n_open
        orders, fills = self._orders, self._fills
        if orders:
            earliest = now - self._order_window
            while orders and orders[0].decided_at < earliest:
                orders.popleft()
        if fills:
            earliest = now - self._fill_window
            while fills and fills[0].ts_event < earliest:
                fills.popleft()
        control = self._control
        return AccountView(
            equity,
            loop.ledger.cash,
            positions,
            marks,
            self._memory[1],
            self._memory[3],
            n_open,
            control.state,
            pending_beside(loop.venue, order) if n_open else (),
            tuple(orders),
            tuple(fills),
            control.throttled,
            control.ramp,
        )


def _nowhere(event: Event) -> None:
    """Take an event of a risk engine that no loop has taken on."""
