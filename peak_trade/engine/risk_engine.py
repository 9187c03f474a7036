"""The risk engine of a run: it reviews every order, records each decision and holds the trading state."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.history import DailyHistory
from peak_trade.core.ledger import Ledger
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import (
    AccountView,
    Denial,
    Fill,
    Instrument,
    MarketView,
    Order,
    OrderBook,
    PastFill,
    PastOrder,
    TradingState,
)
from peak_trade.engine.account import DailyWeights, Holdings
from peak_trade.engine.venue import Venue, open_exits, pending_quantities
from peak_trade.journal.events import DecisionEvent, Event
from peak_trade.journal.inputs import DecisionInputs
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.gate import GateChain, Proposal
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.order_gates import INSTRUMENT_GATES, LEVERAGE_GATE
from peak_trade.risk.review import ApprovedOrder, review_proposal
from peak_trade.risk.sizing import size_gates, sized
from peak_trade.risk.state import AccountObserved, Control, Observation, StrategyEnabled, StrategyThrottled, advance
from peak_trade.risk.state_scan import first_trigger, track_after, track_of, triggers, with_track
from peak_trade.risk.var_backtest import N_BACKTEST_DAYS

_HALTED = TradingState.HALTED
_NO_LIMITS = RiskLimits()
_PACE = (DenialCode.ORDER_RATE, DenialCode.DUPLICATE_ORDER)


class Account(Protocol):
    """The part of an event loop that the risk engine reads."""

    venue: Venue
    ledger: Ledger

    def holdings(self, bar: int) -> Holdings:
        """Return equity, positions and marks at the close of a bar."""

    @property
    def n_open(self) -> int:
        """Number of open orders."""

    def equity(self, bar: int) -> float:
        """Return equity at the close of a bar."""

    def equity_line(self) -> tuple[float, float, FloatArray] | None:
        """Return cash, quantity and marks if at most one symbol is held, otherwise None."""

    def equity_between(self, start: int, stop: int) -> FloatArray:
        """Return equity at the closes of bars start to stop - 1 with the current positions, shape (stop - start,)."""

    @property
    def times(self) -> IntArray:
        """Close times, shape (n_bars,), ns UTC."""

    def days(self, start: int, stop: int) -> IntArray:
        """Return the numbers of the UTC days in which bars start to stop - 1 open, shape (stop - start,)."""

    def day(self, bar: int) -> int:
        """Return the number of the UTC day in which a bar opens."""

    def exposures_at(self, when: int) -> Mapping[str, float]:
        """Return the exposures at the last close up to an earlier instant, ns UTC, signed fractions of equity."""


class RiskEngine:
    """Review every order of one run against a gate chain.

    Parameters
    ----------
    gates : GateChain
    limits : RiskLimits or None
        None if no limits are set. Decisions are then not recorded, equity is not tracked, and the trading state stays
        active.
    daily_history : DailyHistory, optional
        The declared source of daily returns, volumes and volatilities.
    control : Control, optional
        The initial trading state; active by default.

    Attributes
    ----------
    emit : callable
        Receives every event of the engine; the event loop sets it.
    can_stop : bool
        Whether equity or a running ramp can change the trading state.
    sizes_orders : bool
        Whether orders are reduced to the size limits before they are reviewed.

    Notes
    -----
    The engine reads equity for all bars since the last one that it read at once, so a bar without an order costs almost
    nothing.

    """

    def __init__(
        self,
        gates: GateChain,
        limits: RiskLimits | None,
        *,
        daily_history: DailyHistory | None = None,
        control: Control | None = None,
    ) -> None:
        self.gates = gates
        self.limits = limits
        self.has_limits = limits is not None
        self.sizes_orders = limits is not None and limits.size_to_limits
        self.emit: Callable[[Event], None] = _discard
        self._limits = limits = limits or RiskLimits()
        self._daily_history = daily_history
        self._size_gates = size_gates(gates)
        codes = {gate.code for gate in gates}
        self._order_window = int(max(limits.order_window, limits.duplicate_window or 0.0) * NS_PER_SECOND)
        self._fill_window = int(limits.fill_window * NS_PER_SECOND)
        self._keeps_orders = bool(codes & set(_PACE))
        self._keeps_fills = DenialCode.REPEATED_EXECUTION in codes
        self._needs_activity = daily_history is not None and limits.liquidity is not None
        self._needs_returns = daily_history is not None and limits.var is not None
        self._daily_weights = DailyWeights(N_BACKTEST_DAYS) if DenialCode.VAR_MODEL in codes else None
        rules = limits.state
        thresholds = (rules.reduce_drawdown, rules.halt_drawdown, rules.reduce_daily_loss, rules.halt_daily_loss)
        self._has_thresholds = any(threshold is not None for threshold in thresholds)
        self._orders: deque[PastOrder] = deque()
        self._fills: deque[PastFill] = deque()
        self._next_bar = 0
        self._snapshots: dict[str, tuple[int, OrderBook | None]] = {}
        self._control = control or Control()
        self._track = track_of(self._control)
        self._triggers = triggers(self._control, rules)
        self.can_stop = self._has_thresholds or self._control.recovered_at != 0

    @classmethod
    def without_limits(cls) -> RiskEngine:
        """Return an engine that approves every order that the instrument allows."""
        return cls(INSTRUMENT_GATES, None)

    @property
    def control(self) -> Control:
        """The trading state and the values that it depends on."""
        return with_track(self._control, self._track)

    @property
    def state(self) -> TradingState:
        """Whether trading is active, reducing or halted."""
        return self._control.state

    def market_view(
        self, order: Order, instrument: Instrument, price: float, volume: float, bar_time: int
    ) -> MarketView:
        """Return the market as the gates see it: the symbol's last bar, the snapshot and the daily history.

        Price and volume are those of the bar that closed at `bar_time`, ns UTC.
        """
        now, book = self._snapshots.get(order.symbol) or (order.decided_at, None)
        history = self._daily_history
        if history is None:
            return MarketView(now, instrument, price, volume, bar_time, book)
        symbol, as_of = order.symbol, order.decided_at
        daily, volatility = history.activity_at(symbol, as_of) if self._needs_activity else (math.nan, math.nan)
        returns = history.returns_at(as_of) if self._needs_returns else None
        return MarketView(now, instrument, price, volume, bar_time, book, daily, volatility, returns)

    def propose(self, order: Order, market: MarketView, loop: Account, bar: int) -> Proposal:
        """Return an order that was decided on the close of a bar, together with the account and the limits."""
        return Proposal(order, self._account(loop, bar, order, market), market, self._limits)

    def reduced(self, proposal: Proposal) -> Proposal:
        """Return a proposal whose order is reduced to the size limits, or without these to its instrument's leverage.

        Only orders that follow a target are reduced.
        """
        if proposal.order.reason != "target":
            return proposal
        if self.sizes_orders:
            return sized(proposal, self._size_gates)
        order, account, market = proposal.order, proposal.account, proposal.market
        order = sized(Proposal(order, account, market, _NO_LIMITS), (LEVERAGE_GATE,)).order
        return Proposal(order, account, market, self._limits)

    def keeps_order_rate(self, order: Order, market: MarketView, loop: Account, bar: int) -> bool:
        """Return whether an order that is asked again keeps within the limits on repeated orders.

        These are the largest number of orders and the window of duplicates. They apply to an exit too, which is asked
        again until it is sent.
        """
        if not self._keeps_orders:
            return True
        account = self._account(loop, bar, order, market)
        pace = [gate for gate in self.gates if gate.code in _PACE]
        return all(gate.read(order, account, market, self._limits).headroom >= 0.0 for gate in pace)

    def decide(self, proposal: Proposal) -> ApprovedOrder | tuple[Denial, ...]:
        """Review a proposed order; with limits, emit the decision together with its inputs."""
        order, answer = proposal.order, review_proposal(proposal, self.gates)
        if self.limits is None:
            return answer
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
        inputs = DecisionInputs(order, proposal.account, proposal.market, self.limits)
        self.emit(DecisionEvent(order.decided_at, order.order_id, not denials, denials, inputs))
        if denials and any(denial.code == DenialCode.REPEATED_EXECUTION for denial in denials):
            self.observe(StrategyThrottled(order.decided_at, order.strategy))
        return answer

    def observe(self, observation: Observation) -> None:
        """Advance the trading state and emit its changes; without limits nothing changes.

        The fills of a strategy before it was enabled again no longer count.
        """
        if self.limits is None:
            return
        control, events = advance(self.control, observation, self.limits.state)
        self._set(control)
        if isinstance(observation, StrategyEnabled):
            self._fills = deque(fill for fill in self._fills if fill.strategy != observation.strategy)
        for event in events:
            self.emit(event)

    def set_snapshot(self, symbol: str, now: int, book: OrderBook | None) -> None:
        """Set the time on the exchange's clock (ns UTC) and the order book with which orders on a symbol are reviewed.

        Without them an order is reviewed as of the close it was decided on, without an order book.
        """
        self._snapshots[symbol] = now, book

    def forget_snapshots(self) -> None:
        """Forget the times and order books of all symbols."""
        self._snapshots.clear()

    def remember_fill(self, fill: Fill) -> None:
        """Keep a fill for the gates that count fills."""
        if self._keeps_fills:
            self._fills.append(PastFill(fill.ts_event, fill.strategy, fill.symbol, fill.side))

    def skip_to(self, loop: Account, stop: int) -> int:
        """Return the first bar before `stop` at which the trading state changes, or `stop`; nothing trades until then.

        Needed only while orders rest. Otherwise the state is brought up to date when the next order is reviewed.
        """
        if not self.can_stop or self._control.state is _HALTED:
            return stop
        self._scan(loop, stop)
        return self._next_bar

    def catch_up(self, loop: Account, stop: int) -> None:
        """Read equity on the bars before `stop` that were not read yet; nothing may have traded since they closed."""
        if not self.has_limits:
            return
        while self._next_bar < stop:
            self._scan(loop, stop)
            if self._next_bar < stop:
                bar = self._next_bar
                self._next_bar = bar + 1
                self.observe(AccountObserved(int(loop.times[bar]), loop.equity(bar), loop.day(bar)))

    def _scan(self, loop: Account, stop: int) -> None:
        start = self._next_bar
        if start >= stop or self._control.recovered_at:
            return
        line = None if stop - start == 1 else loop.equity_line()
        if stop - start == 1 or (line is not None and line[1] == 0.0):
            self._scan_constant(loop, start, stop)
            return
        cash, held, marks = line or (0.0, 1.0, loop.equity_between(start, stop))
        marks, days = marks if line is None else marks[start:stop], loop.days(start, stop)
        found, self._track = first_trigger(cash, held, marks, days, 0, stop - start, self._track, self._triggers)
        self._next_bar = start + found

    def _scan_constant(self, loop: Account, start: int, stop: int) -> None:
        """Scan bars of equal equity: if the first one trips no trigger, none does."""
        equity = loop.equity(start)
        track = track_after(equity, loop.day(start), self._track, self._triggers)
        if track is not None and stop - start > 1:
            track = track_after(equity, loop.day(stop - 1), track, self._triggers)
        if track is not None:
            self._track, self._next_bar = track, stop

    def _set(self, control: Control) -> None:
        self._control, self._track = control, track_of(control)
        self._triggers = triggers(control, self._limits.state)
        self.can_stop = self._has_thresholds or control.recovered_at != 0

    def _account(self, loop: Account, bar: int, order: Order, market: MarketView) -> AccountView:
        now = order.decided_at
        if self.has_limits and self._next_bar <= bar:
            self.catch_up(loop, bar + 1)
        _, peak, _, day_start = self._track
        equity, positions, marks = loop.holdings(bar)
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
        control, weights = self._control, None
        if self._daily_weights is not None and market.returns is not None:
            weights = self._daily_weights.at(loop.exposures_at, market.returns.as_of)
        return AccountView(
            equity,
            loop.ledger.cash,
            positions,
            marks,
            peak,
            day_start,
            n_open,
            control.state,
            pending_quantities(loop.venue, order) if n_open else (),
            tuple(orders),
            tuple(fills),
            control.throttled,
            control.ramp,
            open_exits(loop.venue, order) if n_open and order.is_reducing else 0.0,
            weights,
        )


def _discard(event: Event) -> None:
    """Ignore an event of an engine that has no event loop yet."""
