"""Versions of the journal, and the reader of version 1: its lines have no codes for causes, only texts."""

from __future__ import annotations

from msgspec.structs import replace

from peak_trade.core.values import TradingState
from peak_trade.journal.events import (
    EndCause,
    Event,
    OrderEvent,
    OrderEventKind,
    ReconciliationEvent,
    SessionEvent,
    SessionPhase,
    TradingStateCause,
    TradingStateEvent,
)

JOURNAL_VERSION = 4
"""Version of the journals that are written.

2 added codes of causes, and lists of strategies and symbols; 3 the command `reduce` and the cause `approval_lapsed`;
4 the value of a fee in a third currency.
"""

_SESSION_ENDS = {
    "end of run": EndCause.FEED_ENDED,
    "the log ends": EndCause.FEED_ENDED,
    "duration reached": EndCause.DURATION,
    "kill switch": EndCause.KILLED,
    "balance mismatch": EndCause.BALANCE_MISMATCH,
    "bankrupt": EndCause.BANKRUPT,
}
_ORDER_ENDS = {"target changed": EndCause.TARGET_CHANGED, "ioc": EndCause.TIME_IN_FORCE, "cash": EndCause.CASH}
_ENDED = frozenset({OrderEventKind.CANCELED, OrderEventKind.EXPIRED, OrderEventKind.REJECTED})
_STATE_CAUSES = {
    "drawdown": TradingStateCause.DRAWDOWN,
    "daily loss": TradingStateCause.DAILY_LOSS,
    "equity unreadable": TradingStateCause.EQUITY_UNREADABLE,
    "stale feed": TradingStateCause.STALE_FEED,
    "recovery": TradingStateCause.RECOVERY,
}


def with_codes(event: Event) -> Event:
    """Return an event of a journal of version 1 with the codes that later versions record; codes it has stay."""
    match event:
        case OrderEvent(cause=None) if event.event in _ENDED and event.reason != "imported":
            return replace(event, cause=_end_of_order(event))
        case SessionEvent(phase=SessionPhase.STOPPED, cause=None):
            return replace(event, cause=_SESSION_ENDS.get(event.reason, EndCause.STOPPED))
        case TradingStateEvent(cause=None):
            return _with_state_cause(event)
        case ReconciliationEvent(detail="baseline"):
            return replace(event, is_baseline=True)
    return event


def _end_of_order(event: OrderEvent) -> EndCause:
    reason = event.reason
    if reason.startswith("by the exchange"):
        return EndCause.EXCHANGE
    if event.event is OrderEventKind.REJECTED:
        return EndCause.NOT_SENT
    if reason.startswith("trading is "):
        return EndCause.TRADING_STATE
    if reason.endswith(" filled"):
        return EndCause.OTHER_FILLED
    return _ORDER_ENDS.get(reason) or _SESSION_ENDS.get(reason, EndCause.STOPPED)


def _with_state_cause(event: TradingStateEvent) -> TradingStateEvent:
    if event.state is TradingState.HALTED and event.actor:
        return replace(event, cause=TradingStateCause.KILL)
    if event.reason in _STATE_CAUSES:
        return replace(event, cause=_STATE_CAUSES[event.reason])
    for end, cause in (
        (" disabled", TradingStateCause.STRATEGY_DISABLED),
        (" enabled", TradingStateCause.STRATEGY_ENABLED),
    ):
        if event.reason.endswith(end):
            return replace(event, cause=cause, strategy=event.reason.removesuffix(end))
    is_ramp = event.reason.startswith("ramp at ")
    return replace(event, cause=TradingStateCause.RAMP) if is_ramp else event
