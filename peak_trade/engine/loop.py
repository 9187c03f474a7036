"""The event loop: decision, order, gates, venue, fill, ledger, with an event for every step.

It visits only the bars at which something can happen. A bar that it skips changes neither orders nor positions, so
equity between two visits is an array expression, and nothing is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from peak_trade.core.rounding import floor_to
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import Fill, MarketView, Order, Side, TradingState
from peak_trade.engine.account import TradedAccount
from peak_trade.engine.market import Market
from peak_trade.engine.order_events import end_event, fill_of, order_event, trade_event
from peak_trade.engine.policy import Leg, as_order, entry_legs, protective_legs
from peak_trade.engine.risk_engine import RiskEngine
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.sleeve import Sleeve
from peak_trade.engine.venue import Execution, Phase, SimulatedVenue, Venue
from peak_trade.journal.events import BankruptcyEvent, CashFlowEvent, Event, OrderEventKind, SignalEvent
from peak_trade.risk.review import ApprovedOrder
from peak_trade.risk.state import Observation

_EIGHT_HOURS = 8 * 3_600 * NS_PER_SECOND


class EventLoop(TradedAccount):
    """Runs sleeves over a market; `step` visits one row, `run` all rows at which something can happen.

    Parameters
    ----------
    market : Market
    sleeves : sequence of Book
        The (strategy, symbol) pairs. Simultaneous orders go reducing first, then by priority, then by symbol.
    settings : BacktestSettings
    emit : callable
        Called with every event, in order.
    venue : Venue
        Where approved orders go; a SimulatedVenue unless given.
    risk_engine : RiskEngine
        Reviews every order and holds the trading state. By default there are no limits: an order passes unless the
        instrument does not allow it.
    id_prefix : str
        Opens every order id.
    drift_band : float or None
        An unchanged target is ordered anew at the close where the position's notional differs from it by more than this
        share of it.

    """

    def __init__(
        self,
        market: Market,
        sleeves: Sequence[Sleeve],
        settings: BacktestSettings,
        *,
        emit: Callable[[Event], None],
        venue: Venue | None = None,
        risk_engine: RiskEngine | None = None,
        id_prefix: str = "o-",
        drift_band: float | None = None,
    ) -> None:
        super().__init__(market, settings.initial_cash)
        self.sleeves = list(sleeves)
        self.settings = settings
        self.venue: Venue = venue or SimulatedVenue(market, settings.costs, worst_first=settings.intrabar == "worst")
        self.n_ambiguous = 0
        self.n_below_lot = 0
        self.bankrupt_row: int | None = None
        self._emit = emit
        self.risk_engine = RiskEngine.without_limits() if risk_engine is None else risk_engine
        self.risk_engine.emit = emit
        self._id_prefix = id_prefix
        self._drift_band = drift_band
        self._traders = self.sleeves
        self._n_orders = 0
        self._sleeve_of: dict[str, Sleeve] = {}
        self._has_carry = settings.costs.has_carry

    def run(self, progress: Callable[[int], None] | None = None) -> None:
        """Visit every row at which something can happen, then expire what is still open."""
        n_rows = len(self.market)
        schedule = self._schedule()
        place, row = 0, 0
        while row < n_rows:
            self._visit(row)
            if self.bankrupt_row is not None:
                break
            while place < len(schedule) and schedule[place] <= row:
                place += 1
            stop = schedule[place] if place < len(schedule) else n_rows
            stop = self._next_touch(row, stop)
            stop = self._first_insolvent(row + 1, stop) if self._can_fail else stop
            stop = stop if self._drift_band is None else self._first_drift(row + 1, stop, self._drift_band)
            row = self.risk_engine.skip_to(self, stop) if self._sleeve_of else stop
            if progress is not None:
                progress(row)
        else:
            self._follow_state(n_rows - 1)
        self.finish(n_rows - 1 if self.bankrupt_row is None else self.bankrupt_row)

    def step(self, row: int) -> None:
        """Visit one row: what the venue did in its bar, carry, solvency, then the decisions on its close."""
        self._visit(row)
        if self.bankrupt_row is None:
            self._follow_state(row)

    def _visit(self, row: int) -> None:
        self.settle(row)
        if self._has_carry:
            self._charge_carry(row)
        if self._can_fail and self.equity(row) <= 0.0:
            self._go_bankrupt(row)
            return
        if self._sleeve_of:
            self._follow_state(row)
        self._decide(row)

    def settle(self, row: int) -> None:
        """Book what the venue did since it was last asked, without deciding anything."""
        for execution in self.venue.match(row, self._buying_power):
            self._book_execution(execution, row)

    def observe(self, observation: Observation, row: int) -> None:
        """Let the risk engine know what people or the feed did after a row's close; ConfigError when it refuses an act.

        Orders that could enlarge a position stay open: `withdraw_enlarging` cancels them.
        """
        self.risk_engine.catch_up(self, row + 1)
        self.risk_engine.observe(observation)

    def withdraw_enlarging(self, now: int) -> None:
        """Unless trading is active, cancel what could open or enlarge a position, at `now`, ns UTC."""
        state = self.risk_engine.state
        if state is TradingState.ACTIVE:
            return
        for order_id in [held.order.order_id for held in self.venue.resting() if not held.order.is_reducing]:
            self._withdraw(order_id, now, f"trading is {state}")

    def finish(self, row: int, reason: str = "end of run", kind: OrderEventKind = OrderEventKind.EXPIRED) -> None:
        """End the open orders at a row's close: they expire with the run, or are canceled when it is stopped."""
        for held in self.venue.resting():
            self._withdraw(held.order.order_id, int(self.market.times[row]), reason, kind)

    @property
    def n_open(self) -> int:
        """Number of open orders."""
        return len(self._sleeve_of)

    def _schedule(self) -> list[int]:
        rows = [np.flatnonzero(np.diff(sleeve.exposure, prepend=0.0)) for sleeve in self.sleeves]
        rows += [np.array(sorted(sleeve.rebalance_rows), dtype=np.int64) for sleeve in self.sleeves]
        if self._has_carry:
            rows.append(np.flatnonzero(np.diff(self.market.times // _EIGHT_HOURS)) + 1)
        scheduled: list[int] = np.unique(np.concatenate(rows)).tolist()
        return scheduled

    def _next_touch(self, row: int, stop: int) -> int:
        return self.venue.next_touch(row, stop)

    def _decide(self, row: int) -> None:
        equity = None if self._drift_band is None else self.equity(row)
        acting: list[Sleeve] = []
        for sleeve in self.sleeves:
            has_changed = float(sleeve.exposure[row]) != sleeve.target
            if not has_changed and (sleeve.is_stopped or not self._is_due(sleeve, row, equity)):
                continue
            if self._columns[sleeve.symbol].has_bar(row):
                acting.append(sleeve)
        if not acting:
            return
        self._follow_state(row)
        for sleeve in acting:
            target = float(sleeve.exposure[row])
            has_changed = target != sleeve.target
            if has_changed:
                sleeve.target, sleeve.is_stopped = target, False
                self._emit(SignalEvent(int(self.market.times[row]), sleeve.strategy, sleeve.symbol, target))
            if has_changed or row in sleeve.rebalance_rows:
                sleeve.granted = 1.0
            sleeve.decision_row = row
        legs = self._legs(acting, row, self.equity(row) if equity is None else equity)
        if len(legs) > 1:
            legs.sort(key=lambda pair: (pair[0].opens(pair[1]), pair[0].priority, pair[0].symbol, pair[0].strategy))
        for sleeve, leg in legs:
            self._act(sleeve, leg, row)

    def _is_due(self, sleeve: Sleeve, row: int, equity: float | None) -> bool:
        if row in sleeve.rebalance_rows:
            return True
        if self._drift_band is None or equity is None or sleeve.target == 0.0 or self._has_open_order(sleeve):
            return False
        held = sleeve.position * float(self._columns[sleeve.symbol].mark[row])
        wanted = sleeve.notional(row, equity, self.settings.sizing)
        return abs(held - wanted) > self._drift_band * abs(wanted)

    def _has_open_order(self, sleeve: Sleeve) -> bool:
        return sleeve.is_ordering()

    def _first_drift(self, start: int, stop: int, band: float) -> int:
        """Return the first row in [start, stop) at which a sleeve has drifted out of its band, or `stop`."""
        if stop <= start:
            return stop
        span = slice(start, stop)
        equity = self.equity_between(start, stop)
        has_drifted = np.zeros(stop - start, dtype=bool)
        for sleeve in self.sleeves:
            if sleeve.target == 0.0 or sleeve.is_stopped or self._has_open_order(sleeve):
                continue
            column = self._columns[sleeve.symbol]
            wanted = sleeve.notional_over(span, equity, self.settings.sizing)
            with np.errstate(invalid="ignore"):
                has_drifted |= np.abs(sleeve.position * column.close[span] - wanted) > band * np.abs(wanted)
        return start + int(has_drifted.argmax()) if has_drifted.any() else stop

    def _legs(self, acting: Sequence[Sleeve], row: int, equity: float) -> list[tuple[Sleeve, Leg]]:
        legs: list[tuple[Sleeve, Leg]] = []
        for sleeve in acting:
            self._withdraw_targets(sleeve, row)
            legs += [(sleeve, leg) for leg in self._legs_for(sleeve, row, equity)]
        return legs

    def _legs_for(self, sleeve: Sleeve, row: int, equity: float) -> tuple[Leg, ...]:
        instrument = self._columns[sleeve.symbol].instrument
        close = float(self._columns[sleeve.symbol].close[row])
        desired = floor_to(sleeve.notional(row, equity, self.settings.sizing) / close, instrument.lot_size)
        delta = floor_to(desired - sleeve.position, instrument.lot_size)
        if delta == 0.0:
            self.n_below_lot += sleeve.target != 0.0 and desired == 0.0
            return ()
        if desired != 0.0 and abs(delta) * close < self.settings.execution.no_trade_band * equity:
            return ()
        return entry_legs(self.settings.execution, instrument, sleeve.position, delta, close)

    def _act(self, sleeve: Sleeve, leg: Leg, row: int) -> None:
        now = int(self.market.times[row])
        protection: list[str] = []
        if sleeve.position * leg.quantity < 0.0 and not leg.follows_exit:
            protection = [order_id for order_id, order in sleeve.working.items() if order.reason != "target"]
        for order_id in protection:
            self._withdraw(order_id, now, "target changed")
        sent = self._send(sleeve, leg, row, Phase.AFTER_CLOSE, now, float(self._columns[sleeve.symbol].close[row]))
        if self.risk_engine.has_limits and sent != abs(leg.quantity):
            self._grant(sleeve, leg.quantity, sent / abs(leg.quantity))
        if protection and not sent:
            self._protect(sleeve, row, Phase.AFTER_CLOSE, now, sleeve.entry_price)

    def _grant(self, sleeve: Sleeve, change: float, share: float) -> None:
        """Remember which share of a wanted change the limits let pass: an unchanged target does not ask again."""
        wanted = sleeve.position + change
        if wanted != 0.0:
            sleeve.granted *= min(max((sleeve.position + share * change) / wanted, 0.0), 1.0)

    def _send(self, sleeve: Sleeve, leg: Leg, row: int, phase: Phase, now: int, price: float) -> float:
        self._n_orders += 1
        order = as_order(
            leg,
            self.settings.execution,
            order_id=f"{self._id_prefix}{self._n_orders}",
            decided_at=now,
            strategy=sleeve.strategy,
            symbol=sleeve.symbol,
            held=sleeve.position,
            price=price,
        )
        known_row = row if phase is Phase.AFTER_CLOSE else max(row - 1, 0)
        view = self._market_view(order, known_row)
        order = self.risk_engine.reduced(order, view, self, known_row)
        self._emit(order_event(order, OrderEventKind.REQUESTED, now, reason=order.reason))
        answer = self.risk_engine.decide(order, view, self, known_row)
        if not isinstance(answer, ApprovedOrder):
            codes = ", ".join(denial.code for denial in answer)
            self._emit(order_event(order, OrderEventKind.DENIED, now, leaves=0.0, reason=codes))
            return 0.0
        self._emit(order_event(order, OrderEventKind.SUBMITTED, now))
        rejected = self.venue.submit(answer, row, phase)
        if rejected:
            self._emit(order_event(order, OrderEventKind.REJECTED, now, leaves=0.0, reason=rejected))
            return 0.0
        sleeve.working[order.order_id] = order
        self._sleeve_of[order.order_id] = sleeve
        self._emit(order_event(order, OrderEventKind.ACCEPTED, now))
        return order.quantity

    def _market_view(self, order: Order, row: int) -> MarketView:
        column = self._columns[order.symbol]
        price, volume, bar_time = float(column.mark[row]), float(column.volume[row]), int(self.market.times[row])
        as_of, book, daily_volume, volatility, returns = self.risk_engine.sources(order.symbol, order.decided_at)
        return MarketView(as_of, column.instrument, price, volume, bar_time, book, daily_volume, volatility, returns)

    def _book_execution(self, execution: Execution, row: int) -> None:
        order = execution.order
        sleeve = self._sleeve_of[order.order_id]
        self.risk_engine.catch_up(self, row)
        if execution.quantity > 0.0:
            fill = fill_of(execution)
            self._book_fill(sleeve, fill, row)
            self.risk_engine.remember_fill(fill)
            is_whole = execution.ended == "filled"
            self._emit(trade_event(execution, OrderEventKind.FILLED if is_whole else OrderEventKind.PARTIALLY_FILLED))
            self._moved(sleeve, row, fill.position_change, fill.price, fill.fee)
        if execution.ended:
            del self._sleeve_of[order.order_id]
            del sleeve.working[order.order_id]
            if execution.ended != "filled":
                self._emit(end_event(execution))
        if not self.settings.execution.has_protection:
            return
        if execution.quantity > 0.0:
            self._after_fill(execution, sleeve, row)
        elif sleeve.position != 0.0 and order.reason == "target" and not sleeve.working:
            self._protect(sleeve, row, Phase.WITHIN, execution.ts_event, sleeve.entry_price)

    def _after_fill(self, execution: Execution, sleeve: Sleeve, row: int) -> None:
        """Keep every protective order equal to the position, and the sleeve flat once one has fired."""
        fired = execution.order.reason
        now = execution.ts_event
        if fired != "target":
            sleeve.is_stopped = True
            if execution.phase is Phase.WITHIN and self._both_in_reach(execution, sleeve, row):
                self.n_ambiguous += 1
        for order_id, order in list(sleeve.working.items()):
            if order_id == execution.order.order_id or (order.reason == "target" and fired == "target"):
                continue
            self._withdraw(order_id, now, f"{fired} filled")
        if sleeve.position != 0.0:
            self._protect(sleeve, row, execution.phase, now, execution.price, without=fired)

    def _protect(self, sleeve: Sleeve, row: int, phase: Phase, now: int, last: float, without: str = "") -> None:
        best = float((np.fmax if sleeve.position > 0.0 else np.fmin)(last, sleeve.best_price))
        instrument = self._columns[sleeve.symbol].instrument
        atr = 0.0 if sleeve.atr is None else float(sleeve.atr[sleeve.decision_row])
        for leg in protective_legs(self.settings.execution, instrument, sleeve.position, sleeve.entry_price, atr):
            if leg.reason != without:
                price = best if leg.trail is not None else sleeve.entry_price
                self._send(sleeve, leg, row, phase, now, price)

    def _both_in_reach(self, execution: Execution, sleeve: Sleeve, row: int) -> bool:
        column = self._columns[sleeve.symbol]
        low, high = float(column.low[row]), float(column.high[row])
        rivals = [order for order in sleeve.working.values() if order.reason not in ("target", execution.order.reason)]
        levels = [order.limit_price or order.stop_price for order in rivals]
        return any(level is not None and low <= level <= high for level in levels)

    def _follow_state(self, row: int) -> None:
        """Show the risk engine a row's close; when it stops trading, cancel what could open or enlarge a position."""
        risk_engine = self.risk_engine
        if not risk_engine.can_stop:
            return
        before = risk_engine.state
        risk_engine.catch_up(self, row + 1)
        if risk_engine.state is not before:
            self.withdraw_enlarging(int(self.market.times[row]))

    def _withdraw_targets(self, sleeve: Sleeve, row: int) -> None:
        for order_id, order in list(sleeve.working.items()):
            if order.reason == "target":
                self._withdraw(order_id, int(self.market.times[row]), "target changed")

    def _withdraw(self, order_id: str, now: int, why: str, kind: OrderEventKind = OrderEventKind.CANCELED) -> None:
        """Cancel an order that rests; its sleeve keeps the best price that the stop had followed."""
        held = self.venue.cancel(order_id)
        if held is None:
            return
        sleeve = self._sleeve_of.pop(order_id)
        del sleeve.working[order_id]
        event = order_event(held.order, kind, now, leaves=0.0, cumulative=held.cumulative, reason=why)
        self._emit(event)
        if held.order.trail is not None and held.order.signed_quantity * sleeve.position < 0.0:
            sleeve.best_price = held.best_price

    def _charge_carry(self, row: int) -> None:
        if row == 0:
            return
        now = int(self.market.times[row])
        n_due = now // _EIGHT_HOURS - int(self.market.times[row - 1]) // _EIGHT_HOURS
        if n_due == 0:
            return
        costs = self.settings.costs
        for sleeve in self._traders:
            notional = sleeve.position * float(self._columns[sleeve.symbol].mark[row]) if sleeve.position else 0.0
            self._flow(sleeve, now, row, "funding", costs.funding(notional, n_due))
            self._flow(sleeve, now, row, "borrow", costs.borrow(notional, n_due))

    def _flow(self, sleeve: Sleeve, now: int, row: int, reason: str, amount: float) -> None:
        if amount != 0.0:
            self.risk_engine.catch_up(self, row)
            self._book_flow(row, amount)
            self._emit(CashFlowEvent(now, sleeve.strategy, sleeve.symbol, reason, amount))
            self._moved(sleeve, row, 0.0, 0.0, -amount)

    def _go_bankrupt(self, row: int) -> None:
        now, equity = int(self.market.times[row]), self.equity(row)
        for order_id in list(self._sleeve_of):
            self._withdraw(order_id, now, "bankrupt")
        self._emit(BankruptcyEvent(now, equity, -equity))
        for sleeve in self._traders:
            if sleeve.position != 0.0:
                self._liquidate(sleeve, row, now)
        self._book_flow(row, -self.ledger.cash)
        self.bankrupt_row = row

    def _liquidate(self, sleeve: Sleeve, row: int, now: int) -> None:
        mark = float(self._columns[sleeve.symbol].mark[row])
        side = Side.SELL if sleeve.position > 0.0 else Side.BUY
        fill = Fill(
            "liquidation",
            now,
            sleeve.strategy,
            sleeve.symbol,
            side,
            abs(sleeve.position),
            mark,
            0.0,
            mark,
            mark,
            "bankrupt",
        )
        self._book_fill(sleeve, fill, row)
        self._moved(sleeve, row, fill.signed_quantity, mark, 0.0)
