"""Replay a session: apply its recorded events under its recorded configuration and compare the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.bars import Bars
from peak_trade.core.described import Described
from peak_trade.core.errors import SessionError
from peak_trade.core.ledger import Ledger
from peak_trade.core.progress import progress
from peak_trade.core.time import iso
from peak_trade.core.values import equal_parts
from peak_trade.journal.codec import encode_event, event_to_dict
from peak_trade.journal.events import (
    BarEvent,
    DecisionEvent,
    Ending,
    Event,
    LatencyEvent,
    OrderEvent,
    OrderEventKind,
    SessionEvent,
    SessionPhase,
    SignalEvent,
)
from peak_trade.journal.files import is_sealed, journal_version, read_manifest, stream_events
from peak_trade.journal.ledger_from_events import ledger_from_events
from peak_trade.risk.state import Control
from peak_trade.sessions.config import SessionConfig, SessionContext
from peak_trade.sessions.control.state import control_at_start
from peak_trade.sessions.driver import Driver
from peak_trade.sessions.manifest import history_of
from peak_trade.sessions.parts import (
    buffer_of,
    order_prefix,
    recording_of_events,
    risk_engine_of,
    sleeves_of,
    venue_maker,
)
from peak_trade.sessions.runner import LOOP_EVENTS
from peak_trade.sessions.store import check_journal, config_of, find_session
from peak_trade.wiring.digests import code_digest
from peak_trade.wiring.portfolio import code_of
from peak_trade.wiring.venues import VENUES


@dataclass(frozen=True, slots=True, repr=False)
class Replay(Described):
    """The outcome of a replay. `first_difference` is empty if all events and the ledger are equal to the recorded ones.

    `note` names a possible reason for a difference: another version of the code.
    """

    session_id: str
    n_bars: int
    n_signals: int
    n_orders: int
    n_decisions: int
    n_fills: int
    first_difference: str
    note: str

    def description(self) -> tuple[str, dict[str, object]]:
        """Return the verdict and the numbers of events that were compared."""
        return (
            f"Replay: {self.session_id}, {'identical' if self.is_identical else 'different'}",
            {
                "bars": f"{self.n_bars:,}",
                "signals": f"{self.n_signals:,}",
                "orders": f"{self.n_orders:,}",
                "decisions": f"{self.n_decisions:,}",
                "fills": f"{self.n_fills:,}",
                "first difference": self.first_difference,
                "note": self.note,
            },
        )

    @property
    def is_identical(self) -> bool:
        """Whether every signal, order, decision and fill, and the ledger, are equal to the recorded ones."""
        return not self.first_difference


@checks_arguments()
def replay(name: str) -> Replay:
    """Replay a session from its journal.

    Parameters
    ----------
    name : str
        A session id or its beginning, or a session's folder.

    Raises
    ------
    SessionError
        If there is no such session, its journal does not verify, or its orders may be open at an exchange.

    """
    folder = find_session(name)
    config, recorded = config_of(folder), _recorded(folder)
    produced, ledger = _replayed(folder, config, recorded)
    expected = [event for event in recorded if isinstance(event, LOOP_EVENTS)]
    difference = _first_difference(expected, produced, is_whole=is_sealed(folder)) or _ledger_difference(
        ledger,
        ledger_from_events(recorded, config.trading.initial_cash, config.lots),
        recorded,
    )
    return Replay(
        session_id=folder.name,
        n_bars=len({event.ts_event for event in recorded if isinstance(event, BarEvent)}),
        n_signals=sum(isinstance(event, SignalEvent) for event in expected),
        n_orders=sum(isinstance(event, OrderEvent) and event.event is OrderEventKind.REQUESTED for event in expected),
        n_decisions=sum(isinstance(event, DecisionEvent) for event in expected),
        n_fills=sum(isinstance(event, OrderEvent) and event.last_quantity > 0.0 for event in expected),
        first_difference=difference,
        note=_note(folder, config),
    )


def replayed_events(folder: Path) -> list[Event]:
    """Return the events that the journal of a session leads to now; SessionError as of `replay`."""
    return _replayed(folder, config_of(folder), _recorded(folder))[0]


def _recorded(folder: Path) -> list[Event]:
    return [event for event in stream_events(folder) if not isinstance(event, LatencyEvent)]


def _replayed(folder: Path, config: SessionConfig, recorded: Sequence[Event]) -> tuple[list[Event], Ledger]:
    verdict = check_journal(folder)
    if not verdict.is_intact:
        raise SessionError(
            f"{folder.name}: the journal is {verdict.finding} ({verdict.message}); it can not be replayed. Run "
            "`peak-trade audit verify` on it."
        )
    if VENUES[config.mode].is_sandbox and not is_sealed(folder):
        raise SessionError(f"{folder.name}: orders at an exchange may still be open; resume the session first.")
    past, start = history_of(folder, config), control_at_start(folder)
    return rerun(config, recorded, folder.name, start, past=past, repeats_exits=journal_version(folder) > 1)


def rerun(
    config: SessionConfig,
    recorded: Sequence[Event],
    session_id: str,
    start: Control,
    *,
    past: Sequence[Bars] = (),
    repeats_exits: bool = True,
) -> tuple[list[Event], Ledger]:
    """Return the events and the ledger that recorded events lead to under a configuration, from a trading state.

    `past` is the declared history of the risk estimates, `repeats_exits` is as of `EventLoop`. Answers and fills of an
    exchange come from the record; nothing is sent to it.
    """
    bars = [event for event in recorded if isinstance(event, BarEvent)]
    recording = recording_of_events(config, bars)
    buffer = buffer_of(config, len(bars))
    context = SessionContext(session_id, config, lambda: 0, lambda seconds: False, recording, recorded=recorded)
    produced: list[Event] = []
    driver = Driver(
        buffer,
        sleeves_of(config, buffer, recording),
        config.trading,
        emit=produced.append,
        make_venue=venue_maker(context),
        risk_engine=risk_engine_of(config, buffer, recording, start, past=past),
        id_prefix=order_prefix(context),
        repeats_exits=repeats_exits,
    )
    stop = next((_ending_of(event) for event in recorded if _is_stop(event)), None)
    end = len(recorded) if stop is None else _end_of_trading(recorded, stop)
    with progress("replay", "events") as on_progress:
        for n_done, event in enumerate(recorded[:end]):
            driver.apply(event)
            if isinstance(event, BarEvent):
                on_progress(n_done, end)
    if stop is not None:
        driver.finish(stop)
    for event in recorded[end:]:
        driver.apply(event)
    return produced, driver.loop.ledger


def _is_stop(event: Event) -> TypeGuard[SessionEvent]:
    return isinstance(event, SessionEvent) and event.phase is SessionPhase.STOPPED


def _ending_of(stop: SessionEvent) -> Ending:
    if stop.cause is None:
        raise SessionError("the stop of the session has no cause: the journal is damaged.")
    return Ending(stop.cause, stop.reason)


def _end_of_trading(recorded: Sequence[Event], ending: Ending) -> int:
    """Return the place of the first event that ends an open order with the session, or of the stop."""
    return next(
        place
        for place, event in enumerate(recorded)
        if _is_stop(event) or (isinstance(event, OrderEvent) and event.cause is ending.cause)
    )


def _first_difference(recorded: Sequence[Event], came_out: Sequence[Event], *, is_whole: bool) -> str:
    for n, (then, now) in enumerate(zip(recorded, came_out, strict=False), start=1):
        if encode_event(then) != encode_event(now):
            return f"{n}. {iso(then.ts_event)} {then.kind}: {_changes(then, now)}"
    if len(recorded) > len(came_out):
        event = recorded[len(came_out)]
        return f"{len(came_out) + 1}. {iso(event.ts_event)} {event.kind}: recorded, and did not come out again"
    if is_whole and len(came_out) > len(recorded):
        event = came_out[len(recorded)]
        return f"{len(recorded) + 1}. {iso(event.ts_event)} {event.kind}: came out, and is not recorded"
    return ""


def _changes(then: Event, now: Event) -> str:
    if then.kind != now.kind:
        return f"came out as {now.kind} at {iso(now.ts_event)}"
    before, after = event_to_dict(then), event_to_dict(now)
    changed = [name for name in before if not equal_parts(before[name], after[name])]
    return "; ".join(f"{name} was {before[name]}, came out {after[name]}" for name in changed)


def _ledger_difference(came_out: Ledger, rebuilt: Ledger, recorded: Sequence[Event]) -> str:
    if not any(isinstance(event, SessionEvent) and event.phase is SessionPhase.STOPPED for event in recorded):
        return ""
    if came_out.cash != rebuilt.cash:
        return f"ledger: cash is {rebuilt.cash} from the events, {came_out.cash} from the replay"
    for symbol in sorted({*came_out.positions, *rebuilt.positions}):
        if came_out.quantity(symbol) != rebuilt.quantity(symbol):
            return (
                f"ledger: {symbol} is {rebuilt.quantity(symbol)} from the events, "
                f"{came_out.quantity(symbol)} from the replay"
            )
    return ""


def _note(folder: Path, config: SessionConfig) -> str:
    then = read_manifest(folder).get("digests", {}).get("code")
    return (
        ""
        if then == code_digest(code_of(config.entries, config.portfolio))
        else "The code is not the version that ran the session."
    )
