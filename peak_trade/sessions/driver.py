"""Drive the event loop of a session with its events: bars, operator commands, feed faults and snapshots.

A running session, a resumed one and a replay apply the same events through `Driver.apply`, in the order of the journal.
"""

from __future__ import annotations

from collections.abc import Callable

from peak_trade.core.errors import ConfigError
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import OrderBook
from peak_trade.engine.loop import EventLoop
from peak_trade.engine.market import Market
from peak_trade.engine.risk_engine import RiskEngine
from peak_trade.engine.settings import BacktestSettings
from peak_trade.engine.venue import Venue
from peak_trade.journal.events import (
    AlertEvent,
    BarEvent,
    CommandEvent,
    CommandKind,
    Ending,
    Event,
    FeedFault,
    FeedFaultEvent,
    SessionEvent,
    SessionPhase,
    SnapshotEvent,
)
from peak_trade.risk.state import (
    ApprovalLapsed,
    FeedObserved,
    KillSwitch,
    Observation,
    Recovery,
    StrategyEnabled,
)
from peak_trade.sessions.bar_buffer import MarketBuffer
from peak_trade.sessions.live_sleeves import LiveSleeves


class Driver:
    """An event loop over the buffer of a session, and the session events that it has applied.

    Parameters
    ----------
    buffer : MarketBuffer
    sleeves : LiveSleeves
        The sleeves over this buffer.
    settings : BacktestSettings
    emit : callable
        Called with every event of the loop, in order.
    make_venue : callable, optional
        Makes the venue on the market of the buffer; a SimulatedVenue by default.
    risk_engine : RiskEngine, optional
    id_prefix : str
        Start of every order id.
    alert : callable, optional
        Called with the alerts of the loop.
    repeats_exits : bool
        As of `EventLoop`.

    Attributes
    ----------
    loop : EventLoop
    first_bar : int
        Index of the first close of the grid that is traded; the closes before are history.
    is_started : bool
        Whether the session has started: the next bar is traded.
    is_killed : bool
        Whether an operator killed the session.
    command_ids : set of str
        Ids of the operator commands applied so far; none is applied twice.
    equity : list of float
        Equity at each traded close, quote currency.

    """

    def __init__(
        self,
        buffer: MarketBuffer,
        sleeves: LiveSleeves,
        settings: BacktestSettings,
        *,
        emit: Callable[[Event], None],
        make_venue: Callable[[Market], Venue] | None = None,
        risk_engine: RiskEngine | None = None,
        id_prefix: str = "o-",
        alert: Callable[[AlertEvent], None] = lambda alert: None,
        repeats_exits: bool = True,
    ) -> None:
        self._buffer = buffer
        self._sleeves = sleeves
        self.loop = EventLoop(
            buffer.market,
            sleeves.sleeves,
            settings,
            emit=emit,
            alert=alert,
            repeats_exits=repeats_exits,
            venue=None if make_venue is None else make_venue(buffer.market),
            risk_engine=risk_engine,
            trader=sleeves.trader(settings),
            id_prefix=id_prefix,
            drift_band=sleeves.drift_band,
        )
        self.first_bar = 0
        self.is_started = False
        self.is_killed = False
        self.command_ids: set[str] = set()
        self.equity: list[float] = []
        self._is_disconnected = False

    @property
    def has_traded_bars(self) -> bool:
        """Whether a bar has closed since the start."""
        return self._buffer.n_bars > self.first_bar

    def apply(self, event: Event) -> str:
        """Apply the next event of the session; return the reason if it is a refused command, otherwise an empty one."""
        if isinstance(event, BarEvent):
            self._take_bar(event)
        elif isinstance(event, SessionEvent) and event.phase is SessionPhase.STARTED:
            self._buffer.start()
            self.first_bar, self.is_started = self._buffer.n_bars, True
        elif self.loop.venue.apply_recorded(event):
            self.settle()
        elif self.loop.bankrupt_bar is None:
            return self._apply_input(event)
        return ""

    def settle(self) -> None:
        """Book what an exchange did between two bars; a simulated venue trades at bars only."""
        if self.has_traded_bars and self.loop.venue.is_remote:
            self.loop.settle(self._buffer.n_bars - 1)

    def finish(self, ending: Ending) -> None:
        """End the open orders at the last close: they expire with the feed, any other cause cancels them."""
        if not self.has_traded_bars or self.loop.bankrupt_bar is not None:
            return
        last = self._buffer.n_bars - 1
        self.settle()
        self.loop.finish(last, *ending)
        self.settle()
        self.equity[-1] = self.loop.equity(last)

    def _take_bar(self, bar: BarEvent) -> None:
        if not self.is_started and not self._buffer.is_open_at(bar.ts_event):
            self._buffer.close()
        if self._buffer.add(bar) and self.is_started:
            self._decide()

    def _decide(self) -> None:
        """Visit the close that became part of the grid."""
        index = self._buffer.n_bars - 1
        self._sleeves.fill()
        self.loop.step(index)
        self.loop.risk_engine.forget_snapshots()
        self.equity.append(self.loop.equity(index))

    def _apply_input(self, event: Event) -> str:
        match event:
            case CommandEvent():
                return self._apply_command(event)
            case SnapshotEvent():
                book = OrderBook(event.book_time, event.bids, event.asks) if event.book_time else None
                self.loop.risk_engine.set_snapshot(event.symbol, event.ts_event, book)
            case SessionEvent(phase=SessionPhase.RESUMED):
                self.loop.risk_engine.forget_snapshots()
                self._reconnect(event.ts_event)
            case FeedFaultEvent():
                self._apply_fault(event)
        return ""

    def _apply_command(self, event: CommandEvent) -> str:
        self.command_ids.add(event.act_id)
        self.is_killed = self.is_killed or event.act is CommandKind.KILL
        if not self.loop.risk_engine.has_limits:
            return "" if event.act is CommandKind.KILL else "the session has no limits, so nothing stopped it."
        try:
            self.loop.observe(_observation(event), self._buffer.n_bars - 1)
        except ConfigError as error:
            return str(error)
        if event.act is CommandKind.REDUCE:
            self._cancel_enlarging(event.ts_event)
        return ""

    def _apply_fault(self, event: FeedFaultEvent) -> None:
        """Decide on a close without the bars that are missing, and reduce when the feed is stale.

        While an exchange is out of reach, orders wait for the reconnection.
        """
        last = self._buffer.n_bars - 1
        if event.fault is FeedFault.INCOMPLETE:
            if self.is_started and self._buffer.is_open_at(event.ts_event):
                self._buffer.close()
                self._decide()
        elif event.fault is FeedFault.DISCONNECTED:
            self._is_disconnected = True
        elif event.fault is FeedFault.RECONNECTED:
            self._reconnect(event.ts_event)
        elif event.fault is FeedFault.STALE and last >= 0:
            age = (event.ts_event - int(self.loop.times[last])) / NS_PER_SECOND
            self.loop.observe(FeedObserved(event.ts_event, age), last)
            self._cancel_enlarging(event.ts_event)

    def _cancel_enlarging(self, now: int) -> None:
        if not (self._is_disconnected and self.loop.venue.is_remote):
            self.loop.cancel_enlarging(now)

    def _reconnect(self, now: int) -> None:
        if self._is_disconnected:
            self._is_disconnected = False
            self.loop.cancel_enlarging(now)


def _observation(event: CommandEvent) -> Observation:
    match event.act:
        case CommandKind.KILL:
            return KillSwitch(event.ts_event, event.actor, event.reason)
        case CommandKind.REDUCE:
            return ApprovalLapsed(event.ts_event, event.actor, event.reason)
        case CommandKind.RECOVER:
            return Recovery(event.ts_event, event.actor)
        case CommandKind.ENABLE:
            return StrategyEnabled(event.ts_event, event.strategy, event.actor)
