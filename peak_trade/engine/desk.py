"""The risk desk of a run: keeps what the gates look back on, asks them, and records every decision."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from peak_trade.core.history import DailyRecord
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import AccountView, Denial, MarketView, Order, PastFill, PastOrder, TradingState
from peak_trade.journal.events import DecisionEvent, Event, OrderEvent, OrderEventKind
from peak_trade.journal.inputs import DecisionInputs
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.gate import RiskGate
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.risk.sizing import size_to_limits
from peak_trade.risk.state import AccountObserved, Control, Observation, StrategyThrottled, advance, pass_quiet

FloatArray = NDArray[np.float64]
_OPEN = frozenset({OrderEventKind.ACCEPTED, OrderEventKind.PARTIALLY_FILLED})
_TRADED = frozenset({OrderEventKind.FILLED, OrderEventKind.PARTIALLY_FILLED})


class Account(Protocol):
    """What the desk asks of a loop."""

    def account_view(self, row: int) -> AccountView:
        """Return cash, positions and marks at a row's close."""

    def equity_between(self, start: int, stop: int) -> FloatArray:
        """Return equity at the closes of rows start to stop - 1, were nothing to trade, shape (stop - start,)."""

    @property
    def times(self) -> NDArray[np.int64]:
        """Close times, shape (n_rows,), ns UTC."""


class RiskDesk:
    """Asks a row of gates about every order of one run.

    Parameters
    ----------
    gates : sequence of RiskGate
        The row, in order.
    limits : RiskLimits
    record : DailyRecord, optional
        The declared source of daily returns, volumes and volatilities.
    control : Control
        The trading state to start from.

    Notes
    -----
    The desk hears of orders and fills through `listen`, and of equity by asking the loop for the rows since it last
    did: so a bar on which nothing is ordered costs next to nothing.

    """

    def __init__(
        self,
        gates: Sequence[RiskGate],
        limits: RiskLimits,
        *,
        record: DailyRecord | None = None,
        control: Control | None = None,
    ) -> None:
        self.gates = tuple(gates)
        self.limits = limits
        self.control = control or Control()
        self._record = record
        codes = {gate.code for gate in self.gates}
        self._looks_at_returns = limits.var is not None
        self._looks_at_activity = limits.liquidity is not None
        self._order_window = int(max(limits.order_window, limits.duplicate_window or 0.0) * NS_PER_SECOND)
        self._keeps_orders = bool(codes & {DenialCode.ORDER_RATE, DenialCode.DUPLICATE_ORDER})
        self._fill_window = int(limits.fill_window * NS_PER_SECOND)
        self._keeps_fills = DenialCode.REPEATED_EXECUTION in codes
        rules = limits.state
        thresholds = (rules.reduce_drawdown, rules.halt_drawdown, rules.reduce_daily_loss, rules.halt_daily_loss)
        self.can_stop = any(threshold is not None for threshold in thresholds)
        self._orders: deque[PastOrder] = deque()
        self._fills: deque[PastFill] = deque()
        self._pending: dict[str, tuple[str, float]] = {}
        self._opening: set[str] = set()
        self._next_row = 0
        self._emit: Callable[[Event], None] = _nowhere

    def listen(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """Return an emit that the desk hears too; its own events go to `emit`."""
        self._emit = emit

        def heard(event: Event) -> None:
            emit(event)
            if isinstance(event, OrderEvent):
                self._hear(event)

        return heard

    def cut(self, order: Order, market: MarketView, loop: Account, row: int) -> Order:
        """Return the order cut to the limits on size, where the limits say so and a target asked for it."""
        if not self.limits.size_to_limits or order.reason != "target":
            return order
        account = self._account(loop, row, order.decided_at)
        return size_to_limits(order, account, self._market(market), self.gates, self.limits)

    def decide(self, order: Order, market: MarketView, loop: Account, row: int) -> ApprovedOrder | tuple[Denial, ...]:
        """Ask the row about an order decided on a row's close, and emit the decision with all that it was made on."""
        account = self._account(loop, row, order.decided_at)
        market = self._market(market)
        answer = review(order, account, market, self.gates, self.limits)
        denials = () if isinstance(answer, ApprovedOrder) else answer
        if self._keeps_orders:
            self._orders.append(
                PastOrder(order.order_id, order.decided_at, order.strategy, order.symbol, order.side, order.quantity)
            )
        if not denials and not order.is_reducing:
            self._opening.add(order.order_id)
        inputs = DecisionInputs(order, account, market, self.limits)
        self._emit(DecisionEvent(order.decided_at, order.order_id, not denials, denials, inputs))
        if any(denial.code == DenialCode.REPEATED_EXECUTION for denial in denials):
            self.observe(StrategyThrottled(order.decided_at, order.strategy))
        return answer

    def observe(self, observation: Observation) -> None:
        """Advance the trading state and emit what changed."""
        self.control, events = advance(self.control, observation, self.limits.state)
        for event in events:
            self._emit(event)

    def catch_up(self, loop: Account, stop: int) -> None:
        """Look at equity on the rows before `stop` not yet looked at; nothing may have traded since they closed."""
        while self._next_row < stop:
            start = self._next_row
            equity = loop.equity_between(start, stop)
            self.control, n_quiet = pass_quiet(self.control, equity, loop.times[start:stop], self.limits.state)
            self._next_row = start + n_quiet
            if self._next_row < stop:
                self.observe(AccountObserved(int(loop.times[self._next_row]), float(equity[n_quiet])))
                self._next_row += 1

    def next_change(self, loop: Account, start: int, stop: int) -> int:
        """Return the first row from `start` on at which the trading state may change, or `stop`."""
        if not self.can_stop or start >= stop or self.control.state is TradingState.HALTED:
            return stop
        equity = loop.equity_between(start, stop)
        _, n_quiet = pass_quiet(self.control, equity, loop.times[start:stop], self.limits.state)
        return start + n_quiet

    def _hear(self, event: OrderEvent) -> None:
        order_id = event.order_id
        if order_id in self._opening:
            if event.event in _OPEN:
                sign = event.side.sign
                self._pending[order_id] = (event.symbol, sign * event.leaves)
            elif event.event is not OrderEventKind.SUBMITTED:
                self._pending.pop(order_id, None)
                self._opening.discard(order_id)
        if self._keeps_fills and event.event in _TRADED:
            self._fills.append(PastFill(event.ts_event, event.strategy, event.symbol, event.side))

    def _account(self, loop: Account, row: int, now: int) -> AccountView:
        self.catch_up(loop, row + 1)
        view = loop.account_view(row)
        while self._orders and self._orders[0].decided_at < now - self._order_window:
            self._orders.popleft()
        while self._fills and self._fills[0].ts_event < now - self._fill_window:
            self._fills.popleft()
        control = self.control
        return AccountView(
            view.equity,
            view.cash,
            view.positions,
            view.marks,
            control.peak,
            control.day_start,
            view.n_open_orders,
            control.state,
            tuple(self._pending.values()),
            tuple(self._orders),
            tuple(self._fills),
            control.throttled,
            control.ramp,
        )

    def _market(self, view: MarketView) -> MarketView:
        if self._record is None or not (self._looks_at_activity or self._looks_at_returns):
            return view
        if self._looks_at_activity:
            volume, volatility = self._record.activity_at(view.instrument.symbol, view.as_of)
            view = replace(view, average_daily_volume=volume, daily_volatility=volatility)
        if self._looks_at_returns:
            view = replace(view, returns=self._record.returns_at(view.as_of))
        return view


def _nowhere(event: Event) -> None:
    """Take an event of a desk that nobody listens to."""
