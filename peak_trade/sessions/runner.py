"""The session runner: the backtest's event loop, fed bar by bar, with every event in the journal before it counts.

A killed session is taken up by running its recorded bars through the same loop again: what comes out must be what the
journal holds, and what the journal lost is written then.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from peak_trade.core.bars import Bars
from peak_trade.core.errors import SessionError
from peak_trade.core.time import iso
from peak_trade.engine.loop import EventLoop
from peak_trade.engine.market import Market
from peak_trade.engine.risk_engine import RiskEngine
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.venue import Reconciliation, Venue
from peak_trade.journal.codec import encode_event
from peak_trade.journal.events import (
    AlertEvent,
    AlertLevel,
    BankruptcyEvent,
    BarEvent,
    CashFlowEvent,
    CommandKind,
    DecisionEvent,
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
from peak_trade.sessions.bar_buffer import BarBuffer, Evaluate, LiveSleeve
from peak_trade.sessions.control.commands import remove, waiting
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.feeds.base import Feed
from peak_trade.sessions.inputs import KILLED, Inputs

LOOP_EVENTS = (SignalEvent, OrderEvent, DecisionEvent, CashFlowEvent, TradingStateEvent, BankruptcyEvent)
"""What the event loop emits: these, and these alone, are equal in a backtest over the same bars."""

MISMATCH = "balance mismatch"


@dataclass(frozen=True, slots=True)
class Status:
    """What a live view shows: money in quote currency, quantity in base units, times ns UTC."""

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


def ending_of(reason: str) -> tuple[str, OrderEventKind]:
    """Return how the open orders end with a session: they expire with its feed, and are canceled when it is stopped."""
    return reason, OrderEventKind.EXPIRED if reason == "end of run" else OrderEventKind.CANCELED


@dataclass(slots=True)
class Session:
    """One session: a loop, its tape and its journal.

    `recording` (bars of the whole recording, or None) lets the strategy be evaluated once; else it is evaluated over
    all bars so far at each close. `duration` ends the session at the first bar that closes so long after the first.
    """

    buffer: BarBuffer
    evaluate: Evaluate
    settings: BacktestSettings
    journal: JournalWriter
    clock: Callable[[], int]
    strategy: str
    mode: str
    make_venue: Callable[[Market], Venue] | None = None
    """Makes the venue of a testnet session on its market; None: fills are simulated."""

    risk_engine: RiskEngine = field(default_factory=RiskEngine.without_limits)
    id_prefix: str = "o-"
    recording: Bars | None = None
    duration: int | None = None
    switch: StopSwitch = field(default_factory=StopSwitch)
    on_status: Callable[[Status], None] = lambda status: None
    measures: bool = True
    """Whether latencies are recorded."""

    is_live: bool = False
    """Whether bars close as time passes: an act is then taken at the first bar that closes after it was given."""

    equity: list[float] = field(default_factory=list)
    """Equity at each traded close, quote currency."""

    loop: EventLoop = field(init=False)
    _live: LiveSleeve = field(init=False)
    _inputs: Inputs = field(init=False)
    _expected: deque[bytes] = field(default_factory=deque)
    _first_row: int = 0
    _is_started: bool = False
    _n_denials: int = 0
    _n_faults: int = 0

    def __post_init__(self) -> None:
        self._live = LiveSleeve(self.buffer, self.evaluate, self.strategy, self.recording)
        self.loop = EventLoop(
            self.buffer.market,
            [self._live.sleeve],
            self.settings,
            emit=self._emit,
            venue=None if self.make_venue is None else self.make_venue(self.buffer.market),
            risk_engine=self.risk_engine,
            id_prefix=self.id_prefix,
        )
        self._inputs = Inputs(self.loop)

    def run(self, feed: Feed, events: Sequence[Event] = ()) -> str:
        """Run to the end of the feed, the duration or a stop; seal the journal and return why it ended.

        Parameters
        ----------
        feed : Feed
        events : sequence of Event
            What the journal holds already when the session is taken up again.

        Raises
        ------
        SessionError
            When the journal can't be written or does not repeat itself. It is then left unsealed, to be resumed.

        """
        stopping = self._take_up(events)
        if not self._is_started:
            known = int(self.buffer.market.times[self.buffer.n_bars - 1]) if self.buffer.n_bars else -1
            for bar in feed.history():
                if bar.ts_event > known:
                    self.journal.append(bar)
                    self._add(bar)
            self._start()
        elif not stopping:
            n_unsigned = self.journal.n_unsigned
            tail = f"; {n_unsigned} events at its end were not signed" if n_unsigned else ""
            resumed = self._append_phase(SessionPhase.RESUMED, f"taken up from its journal{tail}")
            self._inputs.take(resumed, self.buffer.n_bars - 1)
        self._take_acts(None)
        reason = stopping or (KILLED if self._inputs.is_killed else self._follow(feed))
        self._take_acts(None)
        self._stop(reason)
        return reason

    def _take_up(self, events: Sequence[Event]) -> str:
        """Run recorded bars through the loop; return why the session was stopping, empty when it was not."""
        self._expected.extend(encode_event(event) for event in events if isinstance(event, LOOP_EVENTS))
        refused: list[AlertEvent] = []
        for event in events:
            if isinstance(event, SessionEvent) and event.phase is SessionPhase.STARTED:
                self._mark_start()
            elif isinstance(event, BarEvent):
                row = self._add(event)
                if self._is_started:
                    self._step(row)
            elif self.loop.venue.apply_recorded(event):
                self._settle(self.buffer.n_bars - 1)
            else:
                why = self._inputs.take(event, self.buffer.n_bars - 1)
                refused += [_refusal(event.ts_event, why)] if why else []
        left = [event for event in events[::-1] if isinstance(event, LOOP_EVENTS)][: len(self._expected)]
        if left and all(isinstance(event, OrderEvent) and event.leaves == 0.0 for event in left):
            ending = left[-1]
            assert isinstance(ending, OrderEvent)
            return ending.reason
        if left:
            raise SessionError(f"{self.journal.folder.name}: its bars do not lead to its events; it can't be resumed.")
        for alert in refused:
            if alert not in events:
                self.journal.append(alert)
        self.loop.venue.resume()
        self._settle(self.buffer.n_bars - 1)
        return "bankrupt" if self.loop.bankrupt_row is not None else KILLED if self._inputs.is_killed else ""

    def _take_acts(self, now: int | None) -> None:
        """Record the acts that are due before the bar that closes at `now`, ns UTC, and take each; None: kills only.

        On disk first, then out of the folder: so a kill in between takes none twice, and loses none.
        """
        newest = int(self.buffer.market.times[self.buffer.n_bars - 1]) if self.buffer.n_bars else self.clock()
        for act in waiting(self.journal.folder):
            if act.act_id not in self._inputs.taken:
                is_due = now is not None and not (self.is_live and act.given_at > now)
                if act.act is not CommandKind.KILL and not is_due:
                    continue
                event = act.taken_at(newest if now is None else now)
                self.journal.append(event)
                self.journal.commit()
                why = self._inputs.take(event, self.buffer.n_bars - 1)
                if why:
                    self.journal.append(_refusal(event.ts_event, why))
            remove(self.journal.folder, act.act_id)

    def _reconcile(self) -> str:
        """Compare with the exchange where there is one; return why the session must stop, empty when all is equal."""
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
        return "" if found[-1].holds_as_expected else MISMATCH

    def _alert(self, level: AlertLevel, code: str, message: str, event: ReconciliationEvent) -> None:
        self.journal.append(AlertEvent(event.ts_event, level, code, message, event.observed, event.expected))

    def _compare(self) -> Reconciliation:
        """Book what happened at the venue, then compare; a difference may have arisen in between, so compare twice."""
        self._settle(self.buffer.n_bars - 1)
        return self.loop.venue.reconcile(self.loop.ledger, self.clock())

    def _settle(self, row: int) -> None:
        """Book what an exchange did between two bars; simulated fills happen at bars only."""
        if row >= self._first_row and self.loop.venue.is_remote:
            self.loop.settle(row)

    def _follow(self, feed: Feed) -> str:
        last = int(self.buffer.market.times[self.buffer.n_bars - 1]) if self.buffer.n_bars else -1
        if self._is_over(last):
            return "duration reached"
        mismatch = self._reconcile()
        if mismatch:
            return mismatch
        for item in feed.items(last):
            if isinstance(item, BarEvent):
                self._take_acts(item.ts_event)
                if self._inputs.is_killed:
                    return KILLED
            self.journal.append(item)
            if isinstance(item, FeedFaultEvent) and item.fault is FeedFault.RECONNECTED:
                mismatch = self._reconcile()
                if mismatch:
                    return mismatch
            if isinstance(item, BarEvent):
                started = time.perf_counter()
                self._step(self._add(item))
                if self.measures:
                    elapsed = (time.perf_counter() - started) * 1_000.0
                    self.journal.append(LatencyEvent(item.ts_event, "bar", elapsed))
                self.on_status(self.status("running"))
                if self.loop.bankrupt_row is not None:
                    return "bankrupt"
                if self._is_over(item.ts_event):
                    return "duration reached"
            else:
                self._inputs.take(item, self.buffer.n_bars - 1)
                self._n_faults += isinstance(item, FeedFaultEvent)
            if self.switch.is_stopping:
                return self.switch.reason
        return self.switch.reason if self.switch.is_stopping else "end of run"

    def _is_over(self, now: int) -> bool:
        if self.duration is None or self.buffer.n_bars <= self._first_row:
            return False
        start = int(self.buffer.market.times[self._first_row]) - self.buffer.market.timeframe.ns
        return now - start >= self.duration

    def _stop(self, reason: str) -> None:
        row = self.buffer.n_bars - 1
        if row >= self._first_row and self.loop.bankrupt_row is None:
            self._settle(row)
            self.loop.finish(row, *ending_of(reason))
            self._settle(row)
            self.equity[-1] = self.loop.equity(row)
            if reason != MISMATCH:
                self._reconcile()
        self.journal.flush_sinks()
        for fault in self.journal.dropped_sinks:
            self.journal.append(AlertEvent(self.clock(), AlertLevel.WARNING, "sink_dropped", fault, 1.0, 0.0))
        self._append_phase(SessionPhase.STOPPED, reason)
        self.journal.seal()
        self.on_status(self.status("stopped"))

    def _start(self) -> None:
        self._append_phase(SessionPhase.STARTED, "")
        self._mark_start()

    def _mark_start(self) -> None:
        self._first_row, self._is_started = self.buffer.n_bars, True

    def _append_phase(self, phase: SessionPhase, reason: str) -> SessionEvent:
        event = SessionEvent(self.clock(), phase, self.mode, reason, self._equity_now())
        self.journal.append(event)
        self.journal.commit()
        return event

    def _add(self, bar: BarEvent) -> int:
        row = self.buffer.add(bar)
        if self._is_started:
            self._live.fill(row)
        return row

    def _step(self, row: int) -> None:
        self._inputs.step(row)
        self.equity.append(self.loop.equity(row))

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
                f"holds {expected.decode()}. Was the code changed since? Resume with the version in the manifest."
            )

    def _equity_now(self) -> float:
        return self.equity[-1] if self.equity else self.settings.initial_cash

    def status(self, state: str) -> Status:
        """Return where the session stands."""
        row = self.buffer.n_bars - 1
        column = self.buffer.market.columns[0]
        equity = self._equity_now()
        return Status(
            self.journal.folder.name,
            self.mode,
            f"{state}, {self.risk_engine.state}",
            self.buffer.market.symbols[0],
            max(0, row + 1 - self._first_row),
            int(self.buffer.market.times[row]) if row >= 0 else 0,
            float(column.close[row]) if row >= 0 else math.nan,
            self.loop.ledger.quantity(self.buffer.market.symbols[0]),
            equity,
            equity - self.settings.initial_cash,
            len(self.loop.fills),
            len(self.loop.venue.resting()),
            self._n_denials,
            self._n_faults,
        )


def _refusal(now: int, why: str) -> AlertEvent:
    return AlertEvent(now, AlertLevel.WARNING, "act_refused", why, 1.0, 0.0)
