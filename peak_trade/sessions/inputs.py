"""What a session's loop takes beside its bars: people's acts, a feed gone stale, and what the gates are shown.

A running session, one that is taken up and a replay all go through here, in the order of the journal.
"""

from __future__ import annotations

from peak_trade.core.errors import ConfigError
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import OrderBook
from peak_trade.engine.loop import EventLoop
from peak_trade.journal.events import (
    CommandEvent,
    CommandKind,
    Event,
    FeedFault,
    FeedFaultEvent,
    SessionEvent,
    SessionPhase,
    SnapshotEvent,
)
from peak_trade.risk.state import FeedObserved, KillSwitch, Observation, Recovery, StrategyEnabled

KILLED = "kill switch"
"""Why a session stops that a person stops from elsewhere."""


class Inputs:
    """Gives a loop its inputs one by one.

    Attributes
    ----------
    taken : set of str
        Ids of the acts so far; none is taken twice.
    is_killed : bool
        Whether one of them was a kill: the session then stops.

    """

    def __init__(self, loop: EventLoop) -> None:
        self._loop, self._risk_engine = loop, loop.risk_engine
        self._is_cut_off = False
        self.taken: set[str] = set()
        self.is_killed = False

    def step(self, row: int) -> None:
        """Visit a row; what the gates were shown beside it counts for no other."""
        self._loop.step(row)
        self._show(None)

    def take(self, event: Event, row: int) -> str:
        """Take an event that is no bar, after a row; return why an act is refused, empty when it is not."""
        if self._loop.bankrupt_row is not None:
            return ""
        match event:
            case CommandEvent():
                return self._act(event, row)
            case SnapshotEvent():
                self._show(event)
            case SessionEvent(phase=SessionPhase.RESUMED):
                self._show(None)
                self._reconnect(event.ts_event)
            case FeedFaultEvent():
                self._fault(event, row)
        return ""

    def _act(self, event: CommandEvent, row: int) -> str:
        self.taken.add(event.act_id)
        self.is_killed = self.is_killed or event.act is CommandKind.KILL
        if not self._risk_engine.has_limits:
            return "" if event.act is CommandKind.KILL else "the session has no limits, so nothing stopped it."
        try:
            self._loop.observe(_observation(event), row)
        except ConfigError as error:
            return str(error)
        return ""

    def _show(self, event: SnapshotEvent | None) -> None:
        if event is None:
            self._risk_engine.set_snapshot(None)
            return
        book = OrderBook(event.book_time, event.bids, event.asks) if event.book_time else None
        self._risk_engine.set_snapshot((event.ts_event, book))

    def _fault(self, event: FeedFaultEvent, row: int) -> None:
        """Let a stale feed reduce; at an exchange that does not answer, orders are canceled once it does again."""
        if event.fault is FeedFault.DISCONNECTED:
            self._is_cut_off = True
        elif event.fault is FeedFault.RECONNECTED:
            self._reconnect(event.ts_event)
        elif event.fault is FeedFault.STALE and row >= 0:
            age = (event.ts_event - int(self._loop.times[row])) / NS_PER_SECOND
            self._loop.observe(FeedObserved(event.ts_event, age), row)
            if not (self._is_cut_off and self._loop.venue.is_remote):
                self._loop.withdraw_enlarging(event.ts_event)

    def _reconnect(self, now: int) -> None:
        if self._is_cut_off:
            self._is_cut_off = False
            self._loop.withdraw_enlarging(now)


def _observation(event: CommandEvent) -> Observation:
    if event.act is CommandKind.KILL:
        return KillSwitch(event.ts_event, event.actor, event.reason)
    if event.act is CommandKind.RECOVER:
        return Recovery(event.ts_event, event.actor)
    return StrategyEnabled(event.ts_event, event.strategy, event.actor)
