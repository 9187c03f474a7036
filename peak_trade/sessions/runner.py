"""The runner of a session: the event loop of a backtest, fed bar by bar, with every event in the journal first.

A session that was killed resumes from its journal: the recorded events run through the same loop, the events that come
out must equal the recorded ones, and those that the kill lost are written then.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from peak_trade.core.errors import SessionError
from peak_trade.core.time import iso
from peak_trade.core.values import TradingState
from peak_trade.engine.loop import EventLoop
from peak_trade.engine.market import Market
from peak_trade.engine.risk_engine import RiskEngine
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.venue import Reconciliation, Venue
from peak_trade.journal.codec import encode_event
from peak_trade.journal.events import (
    AlertEvent,
    AlertLevel,
    AllocationEvent,
    BankruptcyEvent,
    BarEvent,
    CashFlowEvent,
    CommandKind,
    DecisionEvent,
    EndCause,
    Ending,
    Event,
    FeedFault,
    FeedFaultEvent,
    LatencyEvent,
    OrderEvent,
    OrderEventKind,
    ReconciliationEvent,
    SessionEvent,
    SessionPhase,
    SignalEvent,
    TradingStateEvent,
)
from peak_trade.journal.writer import JournalWriter
from peak_trade.sessions.bar_buffer import MarketBuffer
from peak_trade.sessions.control.commands import new_command, pending_commands, remove_command
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.driver import Driver
from peak_trade.sessions.feeds.base import Feed, FeedItem
from peak_trade.sessions.live_sleeves import LiveSleeves

LOOP_EVENTS = (
    SignalEvent,
    OrderEvent,
    DecisionEvent,
    CashFlowEvent,
    AllocationEvent,
    TradingStateEvent,
    BankruptcyEvent,
)
"""Events that the loop emits. A backtest over the same bars has the same ones."""

LIVE_GATE = "live-execution gate"
"""Actor of the command to reduce."""

KILLED = Ending(EndCause.KILLED, "kill switch")
MISMATCH = Ending(EndCause.BALANCE_MISMATCH, "balance mismatch")
BANKRUPT = Ending(EndCause.BANKRUPT, "bankrupt")
DURATION_REACHED = Ending(EndCause.DURATION, "duration reached")
END_OF_RUN = Ending(EndCause.FEED_ENDED, "end of run")


@dataclass(frozen=True, slots=True)
class Status:
    """Figures of a live view: money in quote currency, quantities in base units, times ns UTC.

    A session of several symbols has their names in `symbol`, no `close`, no `position`, and `positions` by symbol.
    """

    session_id: str
    mode: str
    state: str
    symbol: str
    n_bars: int
    last_bar: int
    close: float
    position: float
    equity: float
    pnl: float
    n_fills: int
    n_open_orders: int
    n_denials: int
    n_faults: int
    positions: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Session:
    """One session: an event loop, its bars and its journal.

    `sleeves` are those of its strategies over its buffer. `duration`, ns, ends the session at the first bar that closes
    so long after the first one opened.
    """

    buffer: MarketBuffer
    sleeves: LiveSleeves
    settings: BacktestSettings
    journal: JournalWriter
    clock: Callable[[], int]
    mode: str
    make_venue: Callable[[Market], Venue] | None = None
    """Makes the venue on the session's market; None: fills are simulated."""

    risk_engine: RiskEngine = field(default_factory=RiskEngine.without_limits)
    id_prefix: str = "o-"
    duration: int | None = None
    switch: StopSwitch = field(default_factory=StopSwitch)
    on_status: Callable[[Status], None] = lambda status: None
    measures: bool = True
    """Whether latencies are recorded."""

    is_live: bool = False
    """Whether bars close as time passes: a command then applies with the first bar that closes after it was given."""

    find_lapse: Callable[[], str] = lambda: ""
    """Returns why the session may not enlarge a position any more, empty while it may: its approval has lapsed."""

    repeats_exits: bool = True
    """Whether a refused exit is asked again; sessions whose journal has version 1 did not."""

    _driver: Driver = field(init=False)
    _expected: deque[bytes] = field(default_factory=deque)
    _resumed_alerts: list[AlertEvent] | None = None
    """Alerts of the recorded events while these are applied, None otherwise."""

    _n_denials: int = 0
    _n_faults: int = 0

    def __post_init__(self) -> None:
        self._driver = Driver(
            self.buffer,
            self.sleeves,
            self.settings,
            emit=self._emit,
            make_venue=self.make_venue,
            risk_engine=self.risk_engine,
            id_prefix=self.id_prefix,
            alert=self._take_alert,
            repeats_exits=self.repeats_exits,
        )

    @property
    def loop(self) -> EventLoop:
        """The event loop that the session drives."""
        return self._driver.loop

    @property
    def equity(self) -> list[float]:
        """Equity at each traded close, quote currency."""
        return self._driver.equity

    def run(self, feed: Feed, events: Sequence[Event] = ()) -> str:
        """Run to the end of the feed, the duration or a stop; seal the journal and return the reason of the end.

        When the journal can not be written, open orders at an exchange are canceled before the error is raised.

        Parameters
        ----------
        feed : Feed
        events : sequence of Event
            The events in the journal of a session that is resumed.

        Raises
        ------
        SessionError
            When the journal can not be written, or its bars do not lead to its events. The journal stays unsealed and
            the session can be resumed.

        """
        try:
            return self._run(feed, events)
        except Exception:
            if self.journal.fault or self.switch.is_stopping:
                self.loop.venue.withdraw_all()
            raise

    def _run(self, feed: Feed, events: Sequence[Event]) -> str:
        stopping = self._resume(events)
        if not self._driver.is_started:
            self._start(feed)
        elif not stopping:
            n_unsigned = self.journal.n_unsigned
            tail = f"; {n_unsigned} events at its end were not signed" if n_unsigned else ""
            self._driver.apply(self._append_phase(SessionPhase.RESUMED, f"taken up from its journal{tail}"))
        self._apply_commands(None)
        ending = stopping or (KILLED if self._driver.is_killed else self._follow(feed))
        self._apply_commands(None)
        self._stop(ending)
        return ending.reason

    def _start(self, feed: Feed) -> None:
        last = self._last_close()
        for bar in feed.history():
            if bar.ts_event > last and not self.buffer.holds(bar.symbol, bar.ts_event):
                self.journal.append(bar)
                self._driver.apply(bar)
        names, symbols = self.sleeves.names, tuple(self.buffer.market.symbols)
        self._driver.apply(self._append_phase(SessionPhase.STARTED, "", strategies=names, symbols=symbols))

    def _resume(self, events: Sequence[Event]) -> Ending | None:
        """Apply recorded events; return the ending if the session was already stopping."""
        self._expected.extend(encode_event(event) for event in events if isinstance(event, LOOP_EVENTS))
        self._resumed_alerts = alerts = []
        for event in events:
            refusal = self._driver.apply(event)
            alerts += [_refusal(event.ts_event, refusal)] if refusal else []
        self._resumed_alerts = None
        left = [event for event in events[::-1] if isinstance(event, LOOP_EVENTS)][: len(self._expected)]
        last = left[-1] if left else None
        is_stopping = all(isinstance(event, OrderEvent) and event.leaves == 0.0 for event in left)
        if is_stopping and isinstance(last, OrderEvent) and last.cause is not None:
            return Ending(last.cause, last.reason)
        if left:
            raise SessionError(
                f"{self.journal.folder.name}: its bars do not lead to its events, so it can not be resumed. Start a "
                "new session."
            )
        for alert in alerts:
            if alert not in events:
                self.journal.append(alert)
        self.loop.venue.resume()
        self._driver.settle()
        return BANKRUPT if self.loop.bankrupt_bar is not None else KILLED if self._driver.is_killed else None

    def _apply_commands(self, now: int | None) -> None:
        """Record and apply the operator commands due before the bar that closes at `now`, ns UTC; None: kills only.

        A command is recorded durably before its file is removed: a crash in between neither repeats nor loses it.
        """
        newest = self._last_close() if self.buffer.n_bars else self.clock()
        for command in pending_commands(self.journal.folder):
            if command.command_id not in self._driver.command_ids:
                is_due = now is not None and not (self.is_live and command.given_at > now)
                if command.kind is not CommandKind.KILL and not is_due:
                    continue
                event = command.event_at(newest if now is None else now)
                self.journal.append(event)
                self.journal.commit()
                refusal = self._driver.apply(event)
                if refusal:
                    self.journal.append(_refusal(event.ts_event, refusal))
            remove_command(self.journal.folder, command.command_id)

    def _reduce_if_lapsed(self, now: int) -> None:
        """Record and apply the command to reduce, unless the approval is valid or trading is reducing or halted."""
        if self.risk_engine.state is not TradingState.ACTIVE or not self._driver.is_started:
            return
        reason = self.find_lapse()
        if reason:
            at = max(now, self._last_close())
            command = new_command(CommandKind.REDUCE, LIVE_GATE, self.clock(), reason).event_at(at)
            self.journal.append(command)
            self.journal.commit()
            self._driver.apply(command)

    def _reconcile(self) -> Ending | None:
        """Compare with the exchange, if there is one; return the ending if the session must stop."""
        found = [self._compare()]
        if not found[0].is_equal:
            kept = [replace(found[0], holdings=())] if found[0].has_canceled else []
            found = [*kept, self._compare()]
        for event in [event for each in found for event in each.events]:
            self.journal.append(event)
        for each in found:
            for event in each.holdings:
                if not event.is_equal:
                    message = f"{event.subject} is not what the journal leads to"
                    self._alert(AlertLevel.CRITICAL, "balance_mismatch", message, event)
            if each.orders is not None and not each.orders.is_equal:
                self._alert(AlertLevel.WARNING, "open_orders", each.orders.detail, each.orders)
        return None if found[-1].holds_as_expected else MISMATCH

    def _alert(self, level: AlertLevel, code: str, message: str, event: ReconciliationEvent) -> None:
        self.journal.append(AlertEvent(event.ts_event, level, code, message, event.observed, event.expected))

    def _compare(self) -> Reconciliation:
        """Book what happened at the venue, then compare; a difference may have arisen in between, so compare twice."""
        self._driver.settle()
        return self.loop.venue.reconcile(self.loop.ledger, self.clock())

    def _follow(self, feed: Feed) -> Ending:
        last = self._last_close()
        if self._is_over(last):
            return DURATION_REACHED
        mismatch = self._reconcile()
        if mismatch:
            return mismatch
        for item in feed.items(last):
            ending = self._take(item)
            if ending is not None:
                return ending
            if self.switch.is_stopping:
                return self.switch.ending()
        return self.switch.ending() if self.switch.is_stopping else END_OF_RUN

    def _take(self, item: FeedItem) -> Ending | None:
        """Record an item of the feed and apply it; return the ending if the session ends with it."""
        if self._is_known(item):
            return None
        if isinstance(item, BarEvent) and not self.buffer.is_open:
            self._apply_commands(item.ts_event)
            if self._driver.is_killed:
                return KILLED
        self._reduce_if_lapsed(item.ts_event)
        self.journal.append(item)
        if isinstance(item, FeedFaultEvent) and item.fault is FeedFault.RECONNECTED:
            mismatch = self._reconcile()
            if mismatch:
                return mismatch
        started, n_bars = time.perf_counter(), self.buffer.n_bars
        self._driver.apply(item)
        self._n_faults += isinstance(item, FeedFaultEvent)
        if self.buffer.n_bars == n_bars:
            return None
        if self.measures:
            elapsed = (time.perf_counter() - started) * 1_000.0
            self.journal.append(LatencyEvent(item.ts_event, "bar", elapsed))
        self.on_status(self.status("running"))
        if self.loop.bankrupt_bar is not None:
            return BANKRUPT
        return DURATION_REACHED if self._is_over(item.ts_event) else None

    def _is_known(self, item: FeedItem) -> bool:
        """Return whether an item was recorded before an interruption that left its close without some bars."""
        if isinstance(item, FeedFaultEvent) and item.fault not in (FeedFault.GAP, FeedFault.FROZEN):
            return False
        return isinstance(item, BarEvent | FeedFaultEvent) and self.buffer.holds(item.symbol, item.ts_event)

    def _last_close(self) -> int:
        return int(self.buffer.market.times[self.buffer.n_bars - 1]) if self.buffer.n_bars else -1

    def _is_over(self, now: int) -> bool:
        if self.duration is None or not self._driver.has_traded_bars:
            return False
        start = int(self.buffer.market.times[self._driver.first_bar]) - self.buffer.market.timeframe.ns
        return now - start >= self.duration

    def _stop(self, ending: Ending) -> None:
        is_open = self._driver.has_traded_bars and self.loop.bankrupt_bar is None
        self._driver.finish(ending)
        if is_open and ending.cause is not EndCause.BALANCE_MISMATCH:
            self._reconcile()
        self.journal.flush_sinks()
        for fault in self.journal.dropped_sinks:
            self.journal.append(AlertEvent(self.clock(), AlertLevel.WARNING, "sink_dropped", fault, 1.0, 0.0))
        self._append_phase(SessionPhase.STOPPED, ending.reason, cause=ending.cause)
        self.journal.seal()
        self.on_status(self.status("stopped"))

    def _append_phase(self, phase: SessionPhase, reason: str, **values: Any) -> SessionEvent:
        event = SessionEvent(self.clock(), phase, self.mode, reason, self._equity_now(), **values)
        self.journal.append(event)
        self.journal.commit()
        return event

    def _take_alert(self, alert: AlertEvent) -> None:
        if self._resumed_alerts is None:
            self.journal.append(alert)
        else:
            self._resumed_alerts.append(alert)

    def _emit(self, event: Event) -> None:
        if isinstance(event, OrderEvent) and event.event is OrderEventKind.DENIED:
            self._n_denials += 1
        if not self._expected:
            self.journal.append(event)
            return
        expected = self._expected.popleft()
        if encode_event(event) != expected:
            raise SessionError(
                f"{self.journal.folder.name}: at {iso(event.ts_event)} the recorded bars lead to {event}, the journal "
                f"holds {expected.decode()}. If the code has changed since, resume with the version in the manifest."
            )

    def _equity_now(self) -> float:
        return self.equity[-1] if self.equity else self.settings.initial_cash

    def status(self, state: str) -> Status:
        """Return the figures of a live view; `state` is running or stopped."""
        last, market = self.buffer.n_bars - 1, self.buffer.market
        equity, is_single = self._equity_now(), len(market.symbols) == 1
        positions = {symbol: self.loop.ledger.quantity(symbol) for symbol in market.symbols}
        return Status(
            session_id=self.journal.folder.name,
            mode=self.mode,
            state=f"{state}, {self.risk_engine.state}",
            symbol=", ".join(market.symbols),
            n_bars=max(0, last + 1 - self._driver.first_bar),
            last_bar=int(market.times[last]) if last >= 0 else 0,
            close=float(market.columns[0].close[last]) if last >= 0 and is_single else math.nan,
            position=positions[market.symbols[0]] if is_single else math.nan,
            equity=equity,
            pnl=equity - self.settings.initial_cash,
            n_fills=len(self.loop.fills),
            n_open_orders=len(self.loop.venue.resting()),
            n_denials=self._n_denials,
            n_faults=self._n_faults,
            positions=positions,
        )


def _refusal(now: int, message: str) -> AlertEvent:
    return AlertEvent(now, AlertLevel.WARNING, "act_refused", message, 1.0, 0.0)
