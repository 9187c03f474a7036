"""The event loop: from targets to orders, gates, the venue, fills and the ledger, with an event for every step.

The loop visits only the bars at which something can happen. Orders and positions do not change at the bars in between,
so equity there is an array expression and no limit is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from peak_trade.core.calendar import open_times
from peak_trade.core.values import Fill, MarketView, Order, Side, TradingState
from peak_trade.costs.model import n_fundings_until
from peak_trade.engine.account import TradedAccount
from peak_trade.engine.market import Market
from peak_trade.engine.policy import Leg, as_order, protective_legs
from peak_trade.engine.refused_exits import RefusedExits
from peak_trade.engine.risk_engine import RiskEngine
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.simulated_venue import SimulatedVenue
from peak_trade.engine.sleeve import Sleeve
from peak_trade.engine.traders import Allocation, SleeveTrader, Trader
from peak_trade.engine.venue import Execution, Phase, Venue, end_event, fill_of, order_event, trade_event
from peak_trade.journal.events import (
    AlertEvent,
    AllocationEvent,
    BankruptcyEvent,
    CashFlowEvent,
    EndCause,
    Event,
    OrderEventKind,
    SignalEvent,
)
from peak_trade.risk.review import ApprovedOrder
from peak_trade.risk.state import Observation

_NOISE = 1e-9
"""Fraction of a quantity that is rounding noise."""


class EventLoop(TradedAccount):
    """Run sleeves over a market: `run` visits every bar at which something can happen, `step` visits one bar.

    Parameters
    ----------
    market : Market
    sleeves : sequence of Sleeve
        Simultaneous orders are sorted: reducing orders first, then by priority, then by symbol.
    settings : BacktestSettings
    emit : callable
        Called with every event, in order.
    alert : callable, optional
        Called with the alert on an exit that was denied or rejected, once per episode.
    repeats_exits : bool
        Whether such an exit is asked again. False: the rule of sessions whose journal has version 1.
    venue : Venue, optional
        Receives the approved orders; a SimulatedVenue by default.
    risk_engine : RiskEngine, optional
        Reviews every order and holds the trading state. By default there are no limits: an order passes unless the
        instrument does not allow it.
    trader : Trader, optional
        Turns targets into orders and allocates fills to the sleeves; by default a SleeveTrader, which trades every
        sleeve on its own.
    id_prefix : str
        First part of every order id.
    drift_band : float or None
        An unchanged target is ordered again at the close at which the notional of the position differs from the target
        notional by more than this fraction of it. None: never.

    Notes
    -----
    A bar is named by its index on the market's grid.

    """

    def __init__(
        self,
        market: Market,
        sleeves: Sequence[Sleeve],
        settings: BacktestSettings,
        *,
        emit: Callable[[Event], None],
        alert: Callable[[AlertEvent], None] = lambda alert: None,
        repeats_exits: bool = True,
        venue: Venue | None = None,
        risk_engine: RiskEngine | None = None,
        trader: Trader | None = None,
        id_prefix: str = "o-",
        drift_band: float | None = None,
    ) -> None:
        super().__init__(market, settings.initial_cash)
        self.sleeves = list(sleeves)
        self.settings = settings
        self.venue: Venue = venue or SimulatedVenue(market, settings.costs, worst_first=settings.intrabar == "worst")
        self.trader: Trader = trader or SleeveTrader(market, sleeves, settings)
        self.risk_engine = risk_engine or RiskEngine.without_limits()
        self.risk_engine.emit = emit
        self.bankrupt_bar: int | None = None
        self._emit = emit
        self._alert = alert
        self._repeats_exits = repeats_exits
        self._id_prefix = id_prefix
        self._drift_band = drift_band
        self._n_orders = 0
        self._sleeve_of: dict[str, Sleeve] = {}
        self._refused = RefusedExits(market)
        self._stepped = [sleeve for sleeve in self.sleeves if sleeve.stepper is not None]
        self._has_carry = settings.costs.has_carry
        self._is_netted = self.trader.is_netted
        self._shares_symbols = len({sleeve.symbol for sleeve in self.sleeves}) < len(self.sleeves)

    def run(self, progress: Callable[[int], None] | None = None) -> None:
        """Visit every bar at which something can happen, then expire the open orders."""
        n_bars = len(self.market)
        schedule = self._schedule()
        place, bar = 0, 0
        while bar < n_bars:
            self._visit(bar)
            if self.bankrupt_bar is not None:
                break
            while place < len(schedule) and schedule[place] <= bar:
                place += 1
            stop = schedule[place] if place < len(schedule) else n_bars
            stop = self.venue.next_touch(bar, stop)
            stop = self.trader.next_cross(bar, stop) if self._is_netted else stop
            stop = self._first_insolvent(bar + 1, stop) if self._can_fail else stop
            stop = stop if self._drift_band is None else self._first_drift(bar + 1, stop, self._drift_band)
            stop = self._refused.next_bar(bar, stop) if self._asks_again else stop
            stop = self._first_step(bar + 1, stop) if self._stepped else stop
            bar = self.risk_engine.skip_to(self, stop) if self._sleeve_of else stop
            if progress is not None:
                progress(bar)
        else:
            self._update_trading_state(n_bars - 1)
        self.finish(n_bars - 1 if self.bankrupt_bar is None else self.bankrupt_bar)

    def step(self, bar: int) -> None:
        """Visit one bar: executions, carry and solvency, then the decisions on its close."""
        self._stepped = [sleeve for sleeve in self.sleeves if sleeve.stepper is not None]
        self._visit(bar)
        if self.bankrupt_bar is None:
            self._update_trading_state(bar)

    def _visit(self, bar: int) -> None:
        closed = int(self.market.times[bar])
        opened = open_times(closed, self.market.timeframe)
        last_close = int(self.market.times[bar - 1]) if bar > 0 else closed
        if self._has_carry and opened > last_close:
            self._charge_carry(bar, last_close, opened, bar - 1)
            last_close = opened
        if self._is_netted:
            for cross in self.trader.crosses(bar):
                self._allocate(cross, bar, opened, "", float(self._columns[cross[0][0].symbol].open[bar]))
        self.settle(bar)
        if self._has_carry:
            self._charge_carry(bar, last_close, closed, bar)
        if self._can_fail and self.equity(bar) <= 0.0:
            self._go_bankrupt(bar)
            return
        if self._sleeve_of:
            self._update_trading_state(bar)
        self._decide(bar)

    def settle(self, bar: int) -> None:
        """Book the executions since the last call, without any decision."""
        for execution in self.venue.match(bar, self._buying_power):
            self._book_execution(execution, bar)

    def observe(self, observation: Observation, bar: int) -> None:
        """Pass an observation to the risk engine after the close of a bar; ConfigError if it refuses a command.

        Orders that could enlarge a position stay open until `cancel_enlarging`.
        """
        self.risk_engine.catch_up(self, bar + 1)
        self.risk_engine.observe(observation)

    def cancel_enlarging(self, now: int) -> None:
        """Cancel the orders that can open or enlarge a position at `now`, ns UTC, unless trading is active."""
        state = self.risk_engine.state
        if state is TradingState.ACTIVE:
            return
        for order_id in [held.order.order_id for held in self.venue.resting() if not held.order.is_reducing]:
            self._cancel(order_id, now, EndCause.TRADING_STATE, f"trading is {state}")

    def finish(self, bar: int, cause: EndCause = EndCause.FEED_ENDED, reason: str = "end of run") -> None:
        """End the open orders at the close of a bar: they expire with the bars, any other cause cancels them."""
        for held in self.venue.resting():
            self._cancel(held.order.order_id, int(self.market.times[bar]), cause, reason)

    @property
    def n_ambiguous(self) -> int:
        """Number of bars that do not show the order of events on which the fills depend."""
        return self.venue.n_ambiguous

    @property
    def n_open(self) -> int:
        """Number of open orders."""
        return len(self._sleeve_of)

    def _schedule(self) -> list[int]:
        bars = [np.flatnonzero(np.diff(sleeve.exposure, prepend=0.0)) for sleeve in self.sleeves]
        bars += [np.array(sorted(sleeve.rebalance_bars), dtype=np.int64) for sleeve in self.sleeves]
        for sleeve in self.sleeves:
            if sleeve.scale is not None:
                bars.append(np.flatnonzero(np.diff(np.isnan(sleeve.scale).astype(np.int8)) < 0) + 1)
        if self._has_carry:
            bars.append(np.flatnonzero(np.diff(n_fundings_until(self.market.times))) + 1)
        scheduled: list[int] = np.unique(np.concatenate(bars)).tolist()
        return scheduled

    def _first_step(self, start: int, stop: int) -> int:
        """Return the first bar in [start, stop) whose step changes the target, or `stop`.

        While an order is open, or several sleeves take steps, that is the next bar.
        """
        if stop <= start or self._sleeve_of or self._refused or len(self._stepped) > 1:
            return min(start, stop)
        (sleeve,) = self._stepped
        assert sleeve.stepper is not None
        times = self.market.times
        until = int(times[stop]) if stop < times.size else int(times[-1]) + 1
        changed = sleeve.stepper.until_change(until, sleeve.position, sleeve.entry_price)
        return stop if changed == until else int(np.searchsorted(times, changed))

    def _take_steps(self, bar: int) -> None:
        """Fill in the exposure at a close of the sleeves whose strategy decides by its position."""
        for sleeve in self._stepped:
            assert sleeve.stepper is not None
            sleeve.exposure[bar] = sleeve.target
            if self._columns[sleeve.symbol].has_bar(bar):
                time = int(self.market.times[bar])
                sleeve.exposure[bar] = sleeve.stepper.at(time, sleeve.position, sleeve.entry_price)

    def _decide(self, bar: int) -> None:
        if self._stepped:
            self._take_steps(bar)
        equity = None if self._drift_band is None else self.equity(bar)
        acting: list[Sleeve] = []
        for sleeve in self.sleeves:
            if self._is_acting(sleeve, bar, equity) and self._columns[sleeve.symbol].has_bar(bar):
                acting.append(sleeve)
        asking = self._refused.due(bar) if self._refused else []
        if not acting and not asking:
            return
        self._update_trading_state(bar)
        for sleeve in acting:
            target = float(sleeve.exposure[bar])
            has_changed = target != sleeve.target
            if has_changed:
                sleeve.target, sleeve.is_stopped = target, False
                self._emit(SignalEvent(int(self.market.times[bar]), sleeve.strategy, sleeve.symbol, target))
            if has_changed or bar in sleeve.rebalance_bars:
                sleeve.allowed_fill_ratio = 1.0
            sleeve.decision_bar, sleeve.awaits_order = bar, sleeve.is_closing
        equity = self.equity(bar) if equity is None else equity
        ready = [sleeve for sleeve in self._with_followers(acting) if not sleeve.awaits_order]
        exiting = self._exiting(ready)
        legs = self.trader.legs(ready, bar, equity, self._cancel_target_orders)
        legs += self._legs_to_ask_again([holder for holder in asking if holder in self._refused], bar, equity)
        if len(legs) > 1:
            legs.sort(key=lambda pair: (pair[0].opens(pair[1]), pair[0].priority, pair[0].symbol, pair[0].strategy))
        for sleeve, leg in legs:
            self._order_leg(sleeve, leg, bar)
        for sleeve in exiting:
            if sleeve.position != 0.0 and not sleeve.orders_against():
                self._protect(sleeve, bar, Phase.AFTER_CLOSE, int(self.market.times[bar]), sleeve.entry_price)

    def _exiting(self, sleeves: Sequence[Sleeve]) -> list[Sleeve]:
        """Return the sleeves whose protective orders an open exit has replaced; they need them if it is canceled."""
        if not self.settings.execution.has_protection:
            return []
        return [sleeve for sleeve in sleeves if {order.reason for order in sleeve.orders_against()} == {"target"}]

    def _with_followers(self, acting: list[Sleeve]) -> list[Sleeve]:
        """Return the acting sleeves and those whose refused exits their orders replace; these episodes end."""
        found = list(acting)
        for holder in dict.fromkeys(self.trader.holder_of(sleeve) for sleeve in acting):
            if holder in self._refused:
                self._refused.remove(holder)
                found += [sleeve for sleeve in self.trader.followers(holder) if sleeve not in found]
        return found

    @property
    def _asks_again(self) -> bool:
        """Whether an exit was refused and may be asked again; not while trading is halted."""
        return bool(self._refused) and self.risk_engine.state is not TradingState.HALTED

    def _legs_to_ask_again(self, holders: Sequence[Sleeve], bar: int, equity: float) -> list[tuple[Sleeve, Leg]]:
        """Return the refused exits that are still wanted at a close and that the limits on the order rate allow."""
        legs: list[tuple[Sleeve, Leg]] = []
        for holder in holders if self._asks_again else ():
            wanted = self.trader.legs(self.trader.followers(holder), bar, equity, lambda sleeve, bar: None)
            exits = [leg for _, leg in wanted if not holder.opens(leg)]
            if not exits:
                self._refused.remove(holder)
            for leg in exits:
                if self._refused.is_sendable(holder, leg, bar) and self._keeps_order_rate(holder, leg, bar):
                    legs.append((holder, leg))
        return legs

    def _keeps_order_rate(self, holder: Sleeve, leg: Leg, bar: int) -> bool:
        close = float(self._columns[holder.symbol].close[bar])
        order = self._order_of(
            holder, leg, f"{self._id_prefix}{self._n_orders + 1}", int(self.market.times[bar]), close
        )
        return self.risk_engine.keeps_order_rate(order, self._market_view(order, bar), self, bar)

    def _is_acting(self, sleeve: Sleeve, bar: int, equity: float | None) -> bool:
        """Return whether a sleeve decides at a close: on a new target, or one that is due or waits for its order."""
        if float(sleeve.exposure[bar]) != sleeve.target:
            return True
        if sleeve.is_closing:
            return False
        return sleeve.awaits_order or (not sleeve.is_stopped and self._is_due(sleeve, bar, equity))

    def _is_due(self, sleeve: Sleeve, bar: int, equity: float | None) -> bool:
        if sleeve.awaits_scale:
            return sleeve.knows_scale(bar)
        if bar in sleeve.rebalance_bars:
            return True
        if self._drift_band is None or equity is None or sleeve.target == 0.0 or self.trader.is_ordering(sleeve):
            return False
        held = sleeve.position * float(self._columns[sleeve.symbol].mark[bar])
        wanted = sleeve.notional(bar, equity, self.settings.sizing)
        return abs(held - wanted) > self._drift_band * abs(wanted)

    def _first_drift(self, start: int, stop: int, band: float) -> int:
        """Return the first bar in [start, stop) at which a sleeve has drifted out of its band, or `stop`."""
        if stop <= start:
            return stop
        span = slice(start, stop)
        equity = self.equity_between(start, stop)
        has_drifted = np.zeros(stop - start, dtype=bool)
        for sleeve in self.sleeves:
            if sleeve.target == 0.0 or sleeve.is_stopped or self.trader.is_ordering(sleeve):
                continue
            column = self._columns[sleeve.symbol]
            wanted = sleeve.notional_over(span, equity, self.settings.sizing)
            with np.errstate(invalid="ignore"):
                has_drifted |= np.abs(sleeve.position * column.close[span] - wanted) > band * np.abs(wanted)
        return start + int(has_drifted.argmax()) if has_drifted.any() else stop

    def _order_leg(self, sleeve: Sleeve, leg: Leg, bar: int) -> None:
        """Send a leg as an order; an exit replaces the protective orders unless it does not reach the venue."""
        now = int(self.market.times[bar])
        protection: list[str] = []
        if sleeve.position * leg.quantity < 0.0 and not leg.follows_exit:
            protection = [order_id for order_id, order in sleeve.working.items() if order.reason != "target"]
        for order_id in protection:
            self._cancel(order_id, now, EndCause.TARGET_CHANGED, "target changed")
        close = float(self._columns[sleeve.symbol].close[bar])
        sent, refusal = self._submit(sleeve, leg, bar, Phase.AFTER_CLOSE, now, close)
        if self.risk_engine.has_limits and sent != abs(leg.quantity):
            self.trader.restrict(sleeve, leg.quantity, sent / abs(leg.quantity))
        if not sleeve.opens(leg):
            self._note_exit(sleeve, leg, refusal, now, close)
        if protection and not sent:
            self._protect(sleeve, bar, Phase.AFTER_CLOSE, now, sleeve.entry_price)

    def _note_exit(self, holder: Sleeve, leg: Leg, refusal: str, now: int, close: float) -> None:
        """Note that an exit was sent or, with the reason, that it was refused."""
        if not refusal:
            self._refused.remove(holder)
            return
        alert = self._refused.add(holder, leg, refusal, now, close) if self._repeats_exits else None
        if alert is not None:
            self._alert(alert)

    def _order_of(self, sleeve: Sleeve, leg: Leg, order_id: str, now: int, price: float) -> Order:
        return as_order(
            leg,
            self.settings.execution,
            order_id=order_id,
            decided_at=now,
            strategy=sleeve.strategy,
            symbol=sleeve.symbol,
            held=sleeve.position,
            price=price,
        )

    def _submit(self, sleeve: Sleeve, leg: Leg, bar: int, phase: Phase, now: int, price: float) -> tuple[float, str]:
        """Review a leg as an order and submit it; return the quantity that the venue took, and why it took none."""
        self._n_orders += 1
        order = self._order_of(sleeve, leg, f"{self._id_prefix}{self._n_orders}", now, price)
        known_bar = bar if phase is Phase.AFTER_CLOSE else max(bar - 1, 0)
        view = self._market_view(order, known_bar)
        proposal = None
        if self.risk_engine.sizes_orders or self._shares_symbols:
            proposal = self.risk_engine.reduced(self.risk_engine.propose(order, view, self, known_bar))
            order = proposal.order
        self._emit(order_event(order, OrderEventKind.REQUESTED, now, reason=order.reason))
        answer = self.risk_engine.decide(proposal or self.risk_engine.propose(order, view, self, known_bar))
        if not isinstance(answer, ApprovedOrder):
            codes = ", ".join(denial.code for denial in answer)
            self._emit(order_event(order, OrderEventKind.DENIED, now, leaves=0.0, reason=codes))
            return 0.0, codes
        self._emit(order_event(order, OrderEventKind.SUBMITTED, now))
        rejected = self.venue.submit(answer, bar, phase)
        if rejected:
            kind, reason, cause = OrderEventKind.REJECTED, rejected.reason, rejected.cause
            self._emit(order_event(order, kind, now, leaves=0.0, reason=reason, cause=cause))
            return 0.0, reason
        sleeve.working[order.order_id] = order
        self._sleeve_of[order.order_id] = sleeve
        self._emit(order_event(order, OrderEventKind.ACCEPTED, now))
        return order.quantity, ""

    def _market_view(self, order: Order, bar: int) -> MarketView:
        column = self._columns[order.symbol]
        price, volume, bar_time = float(column.mark[bar]), float(column.volume[bar]), int(self.market.times[bar])
        return self.risk_engine.market_view(order, column.instrument, price, volume, bar_time)

    def _book_execution(self, execution: Execution, bar: int) -> None:
        order = execution.order
        sleeve = self._sleeve_of[order.order_id]
        has_limits = self.risk_engine.has_limits
        if has_limits:
            self.risk_engine.catch_up(self, bar)
        if execution.quantity > 0.0:
            fill = fill_of(execution)
            self._book_fill(sleeve, fill, bar)
            if has_limits:
                self.risk_engine.remember_fill(fill)
            kind = OrderEventKind.FILLED if execution.is_filled else OrderEventKind.PARTIALLY_FILLED
            self._emit(trade_event(execution, kind))
            parts = self.trader.allocate(sleeve, fill.position_change, fill.fee)
            self._allocate(parts, bar, fill.ts_event, fill.order_id, fill.price)
        if execution.has_ended:
            del self._sleeve_of[order.order_id]
            del sleeve.working[order.order_id]
            if not execution.is_filled:
                self._emit(end_event(execution))
        if not self.settings.execution.has_protection:
            return
        if execution.quantity > 0.0 or not execution.has_ended:
            self._protect_after(execution, sleeve, bar)
        elif sleeve.position != 0.0 and order.reason == "target" and not sleeve.working:
            self._protect(sleeve, bar, Phase.WITHIN, execution.ts_event, sleeve.entry_price)

    def _allocate(self, parts: Sequence[Allocation], bar: int, now: int, order_id: str, price: float) -> None:
        """Record what each sleeve gets of a fill, a cash flow or a cross."""
        for sleeve, quantity, cost in parts:
            self._record_movement(sleeve, bar, quantity, price, cost)
            if self._is_netted:
                sleeve.average_entry(sleeve.position - quantity, quantity, price)
                event = AllocationEvent(now, order_id, sleeve.strategy, sleeve.symbol, quantity, price, cost)
                self._emit(event)

    def _protect_after(self, execution: Execution, sleeve: Sleeve, bar: int) -> None:
        """Keep the protective orders equal to the position after a fill, or after a stop that only triggered.

        Once one of them has filled, the sleeve stays flat. A stop that has triggered closes the position alone: it
        cancels what is left of the entry, and everything else. An entry that only triggers changes nothing.
        """
        order, now = execution.order, execution.ts_event
        is_protective = order.reason != "target"
        if order.order_id == sleeve.closing_order or not (execution.quantity or is_protective):
            return
        is_first = is_protective and execution.cumulative <= execution.quantity * (1.0 + _NOISE)
        is_trigger = is_protective and order.limit_price is None
        if is_first:
            sleeve.is_stopped = True
        if is_trigger:
            sleeve.closing_order = order.order_id
        for order_id, other in list(sleeve.working.items()):
            if order_id != order.order_id and (is_first or other.reason != "target"):
                effect = "filled" if execution.quantity else "triggered"
                self._cancel(order_id, now, EndCause.OTHER_FILLED, f"{order.reason} {effect}")
        if sleeve.position != 0.0 and not is_trigger:
            self._protect(sleeve, bar, execution.phase, now, execution.price, without=order.reason)

    def _protect(self, sleeve: Sleeve, bar: int, phase: Phase, now: int, last: float, without: str = "") -> None:
        best = float((np.fmax if sleeve.position > 0.0 else np.fmin)(last, sleeve.best_price))
        instrument = self._columns[sleeve.symbol].instrument
        atr = 0.0 if sleeve.atr is None else float(sleeve.atr[sleeve.decision_bar])
        for leg in protective_legs(self.settings.execution, instrument, sleeve.position, sleeve.entry_price, atr):
            if leg.reason != without:
                price = best if leg.trail is not None else sleeve.entry_price
                self._submit(sleeve, leg, bar, phase, now, price)

    def _update_trading_state(self, bar: int) -> None:
        """Update the trading state at the close of a bar; cancel orders that can enlarge a position if it changes."""
        risk_engine = self.risk_engine
        if not risk_engine.can_stop:
            return
        before = risk_engine.state
        risk_engine.catch_up(self, bar + 1)
        if risk_engine.state is not before:
            self.cancel_enlarging(int(self.market.times[bar]))

    def _cancel_target_orders(self, sleeve: Sleeve, bar: int) -> None:
        for order_id, order in list(sleeve.working.items()):
            if order.reason == "target":
                self._cancel(order_id, int(self.market.times[bar]), EndCause.TARGET_CHANGED, "target changed")

    def _cancel(self, order_id: str, now: int, cause: EndCause, reason: str) -> None:
        """Cancel an open order; its sleeve keeps the best price that a trailing stop has followed."""
        held = self.venue.cancel(order_id)
        if held is None:
            return
        sleeve = self._sleeve_of.pop(order_id)
        del sleeve.working[order_id]
        kind = OrderEventKind.EXPIRED if cause is EndCause.FEED_ENDED else OrderEventKind.CANCELED
        done = held.cumulative
        self._emit(order_event(held.order, kind, now, cumulative=done, leaves=0.0, reason=reason, cause=cause))
        if held.order.trail is not None and held.order.signed_quantity * sleeve.position < 0.0:
            sleeve.best_price = held.best_price

    def _charge_carry(self, bar: int, after: int, until: int, priced_at: int) -> None:
        """Book in `bar` the funding and borrow due in (after, until], ns UTC, at the marks of bar `priced_at`."""
        n_due = n_fundings_until(until) - n_fundings_until(after)
        if n_due == 0:
            return
        costs = self.settings.costs
        for sleeve in self.trader.holders:
            mark = self._columns[sleeve.symbol].mark
            notional = sleeve.position * float(mark[priced_at]) if sleeve.position else 0.0
            self._book_cash_flow(sleeve, until, bar, "funding", costs.funding(notional, n_due))
            self._book_cash_flow(sleeve, until, bar, "borrow", costs.borrow(notional, n_due))

    def _book_cash_flow(self, sleeve: Sleeve, now: int, bar: int, reason: str, amount: float) -> None:
        if amount != 0.0:
            self.risk_engine.catch_up(self, bar)
            self._book_cash(bar, amount)
            self._emit(CashFlowEvent(now, sleeve.strategy, sleeve.symbol, reason, amount))
            self._allocate(self.trader.allocate(sleeve, 0.0, -amount), bar, now, "", 0.0)

    def _go_bankrupt(self, bar: int) -> None:
        now, equity = int(self.market.times[bar]), self.equity(bar)
        for order_id in list(self._sleeve_of):
            self._cancel(order_id, now, EndCause.BANKRUPT, "bankrupt")
        self._emit(BankruptcyEvent(now, equity, -equity))
        for sleeve in self.trader.holders:
            if sleeve.position != 0.0:
                self._liquidate(sleeve, bar, now)
        self._book_cash(bar, -self.ledger.cash)
        self.bankrupt_bar = bar

    def _liquidate(self, sleeve: Sleeve, bar: int, now: int) -> None:
        self.trader.expect_exit(sleeve)
        mark = float(self._columns[sleeve.symbol].mark[bar])
        fill = Fill(
            order_id="liquidation",
            ts_event=now,
            strategy=sleeve.strategy,
            symbol=sleeve.symbol,
            side=Side.SELL if sleeve.position > 0.0 else Side.BUY,
            quantity=abs(sleeve.position),
            price=mark,
            fee=0.0,
            reference_price=mark,
            decision_price=mark,
            reason="bankrupt",
        )
        self._book_fill(sleeve, fill, bar)
        self._allocate(self.trader.allocate(sleeve, fill.signed_quantity, 0.0), bar, now, fill.order_id, mark)
