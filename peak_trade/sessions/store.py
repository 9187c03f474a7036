"""The sessions of a workspace: their folders, their ids, and what is known of each."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from peak_trade.core.errors import PeakTradeError, SessionError, did_you_mean
from peak_trade.core.time import iso
from peak_trade.data.places import symbol_folder
from peak_trade.data.workspace import workspace
from peak_trade.journal.codec import event_to_dict, read_line
from peak_trade.journal.events import (
    AlertEvent,
    BankruptcyEvent,
    BarEvent,
    CashFlowEvent,
    Event,
    LatencyEvent,
    OrderEvent,
    OrderEventKind,
    SessionEvent,
    SessionPhase,
    SnapshotEvent,
)
from peak_trade.journal.files import (
    MANIFEST,
    Checkpoint,
    LineIndex,
    events_path,
    is_sealed,
    journal_version,
    read_checkpoints,
    read_manifest,
    stream_events,
)
from peak_trade.journal.keys import read_public_key
from peak_trade.journal.ledger_from_events import ledger_from_events
from peak_trade.journal.lock import is_open
from peak_trade.journal.orders import denials_sentence
from peak_trade.journal.session_chain import ChainCheck, check_chain
from peak_trade.journal.verify import Verdict, verify
from peak_trade.sessions.config import SessionConfig, names_in


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One session at a glance: times ns UTC (0 when there is none).

    `equity` is the mark at the last bar or, once the session has stopped, at its end, in quote currency; None when the
    journal is unreadable. `state` is running, sealed, interrupted or unreadable.
    """

    session_id: str
    mode: str
    strategies: tuple[str, ...]
    symbols: tuple[str, ...]
    timeframe: str
    state: str
    started: int
    last_bar: int
    n_bars: int
    n_fills: int
    n_denials: int
    equity: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A session with its manifest, a sentence on denied orders, and its latest events that are not bars."""

    summary: SessionSummary
    manifest: dict[str, Any]
    recent: list[str]
    denials: str = ""


def sessions_folder() -> Path:
    """Return the folder that holds every session."""
    return workspace() / "sessions"


def keys_folder() -> Path:
    """Return the folder of the workspace's signing key."""
    return workspace() / "keys"


def session_id(moment: datetime, mode: str, strategy: str, symbols: Sequence[str], timeframe: str) -> str:
    """Return an id like 20251221_220016_paper_ma_crossover_BTC-EUR_1m; several symbols are counted: 3-symbols."""
    name = strategy.rpartition(":")[2]
    traded = symbol_folder(symbols[0]).replace("_", "-") if len(symbols) == 1 else f"{len(symbols)}-symbols"
    return f"{moment:%Y%m%d_%H%M%S}_{mode}_{name}_{traded}_{timeframe}"


def session_ids() -> list[str]:
    """Return the ids of every session, oldest first."""
    folder = sessions_folder()
    return sorted(path.parent.name for path in folder.glob(f"[!.]*/{MANIFEST}"))


def latest_session() -> str:
    """Return the id of the session that was started last; SessionError without a session."""
    folder = sessions_folder()
    started = [
        (marks[0].ts_recorded, name)
        for name in session_ids()
        if (marks := read_checkpoints(folder / name)) and marks[0] is not None
    ]
    if not started:
        raise SessionError(f"there are no sessions in {folder}. Start one with `peak-trade session run`.")
    return max(started)[1]


def find_session(name: str, others: Collection[str] = ()) -> Path:
    """Return the folder of a session id, of a unique beginning of one, or of a path; SessionError names the nearest.

    `others` are names that the caller accepts, too; the error names them with the sessions.
    """
    path = Path(name)
    if os.path.exists(path / MANIFEST):  # False for a name that is too long, too
        return path.resolve()
    known = session_ids()
    found = [known_id for known_id in known if known_id == name] or [k for k in known if name and k.startswith(name)]
    if len(found) == 1:
        return sessions_folder() / found[0]
    if found:
        raise SessionError(f"session {name} could be {', '.join(found[:3])}. Write more of it.")
    raise SessionError(f"there is no session {name} in {sessions_folder()}. {did_you_mean(name, [*known, *others])}")


class SummaryReader:
    """Reads the summary of a session, and again from the lines that its journal has more by then."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._forget()

    def _forget(self) -> None:
        self._path = events_path(self._folder)
        self._lines = LineIndex(self._path)
        self._n_read = self._n_bars = self._last_bar = 0
        self._events: list[Event] = []
        self._marks: dict[str, BarEvent] = {}
        self._arrived: set[str] = set()

    def read(self) -> SessionSummary:
        """Return the summary; SessionError or another PeakTradeError if the session is damaged."""
        config = read_manifest(self._folder).get("config", {})
        self._read_lines(journal_version(self._folder))
        return self._summary(config)

    def _read_lines(self, version: int) -> None:
        while True:
            n_lines, texts = self._lines.page(self._n_read, _LINES)
            if self._lines.n_starts > 1 or n_lines < self._n_read or self._path != events_path(self._folder):
                self._forget()
            elif not texts:
                return
            else:
                for text in texts:
                    self._take(read_line(text, f"{self._path}:{self._n_read + 1}", version).event)
                    self._n_read += 1

    def _take(self, event: Event) -> None:
        if isinstance(event, BarEvent):
            if event.ts_event != self._last_bar or event.symbol in self._arrived:
                self._n_bars += 1
                self._arrived.clear()
            self._arrived.add(event.symbol)
            self._last_bar, self._marks[event.symbol] = event.ts_event, event
        elif isinstance(event, BankruptcyEvent):
            self._events += [*self._marks.values(), event]
        elif isinstance(event, SessionEvent | OrderEvent | CashFlowEvent):
            self._events.append(event)

    def _summary(self, config: Mapping[str, Any]) -> SessionSummary:
        phases = [event for event in self._events if isinstance(event, SessionEvent)]
        orders = [event for event in self._events if isinstance(event, OrderEvent)]
        state = "sealed" if is_sealed(self._folder) else "running" if is_open(self._folder) else "interrupted"
        return SessionSummary(
            self._folder.name,
            str(config.get("mode", "")),
            *names_in(config),
            str(config.get("timeframe", "")),
            state,
            next((event.ts_event for event in phases if event.phase is SessionPhase.STARTED), 0),
            self._last_bar,
            self._n_bars,
            sum(event.last_quantity > 0.0 for event in orders),
            sum(event.event is OrderEventKind.DENIED for event in orders),
            _equity([*self._events, *self._marks.values()], config),
            phases[-1].reason if phases else "",
        )


_LINES = 10_000


def summary(folder: Path) -> SessionSummary:
    """Return the summary of a session from its journal; SessionError or another PeakTradeError if it is damaged."""
    return SummaryReader(folder).read()


def summaries() -> list[SessionSummary]:
    """Return the summary of every session, oldest first; an unreadable one has the state `unreadable`."""
    found = []
    for name in session_ids():
        try:
            found.append(summary(sessions_folder() / name))
        except PeakTradeError as error:
            found.append(unreadable(name, str(error)))
    return found


def describe(name: str) -> SessionDescription:
    """Return the description of a session that is named by its id, the beginning of it or its folder."""
    folder = find_session(name)
    return SessionDescription(
        summary(folder), read_manifest(folder), recent(folder), denials_sentence(stream_events(folder))
    )


def unreadable(name: str, reason: str) -> SessionSummary:
    """Return the summary of a session whose journal cannot be read, with the reason."""
    return SessionSummary(name, "", (), (), "", "unreadable", 0, 0, 0, 0, 0, None, reason)


def _equity(events: Sequence[Event], config: Mapping[str, Any]) -> float | None:
    last = next((event for event in reversed(events) if isinstance(event, SessionEvent)), None)
    if last is not None and last.phase is SessionPhase.STOPPED:
        return last.equity if math.isfinite(last.equity) else None
    settings = SessionConfig.from_manifest(config, "manifest.json")
    marks = {event.symbol: event.close for event in events if isinstance(event, BarEvent)}
    ledger = ledger_from_events(events, settings.trading.initial_cash, settings.lots)
    if any(held.quantity and symbol not in marks for symbol, held in ledger.positions.items()):
        raise SessionError("a position has no bar to mark it at: the journal is damaged.")
    equity = ledger.equity(marks)
    return equity if math.isfinite(equity) else None


def recent(folder: Path, n_lines: int = 10) -> list[str]:
    """Return one line per event for the last events of a session; bars, snapshots and latencies are left out."""
    left_out = BarEvent | SnapshotEvent | LatencyEvent
    events = (event for event in stream_events(folder) if not isinstance(event, left_out))
    return [_sentence(event) for event in deque(events, n_lines)]


def alert_texts(folder: Path) -> tuple[str, ...]:
    """Return time, level and message of each alert of a session, the last one first; none of an unreadable journal."""
    try:
        found = [event for event in stream_events(folder) if isinstance(event, AlertEvent)]
    except (PeakTradeError, OSError):
        return ()
    return tuple(f"{iso(event.ts_event)[:16]} {event.level}: {event.message}" for event in reversed(found))


def _sentence(event: Event) -> str:
    record = {name: value for name, value in event_to_dict(event).items() if name not in ("kind", "ts_event", "inputs")}
    shown = ", ".join(f"{name} {value}" for name, value in record.items() if value not in ("", None, []))
    return f"{iso(event.ts_event)} {event.kind}: {shown}"


def check_journal(folder: Path) -> Verdict:
    """Return the verdict on a session's journal, checked with the workspace's key."""
    return verify(folder, read_public_key(keys_folder()), sessions_folder())


def last_signature(folder: Path) -> Checkpoint:
    """Return the last signed statement on a session's journal: its hash follows from all lines before it."""
    marks = [mark for mark in read_checkpoints(folder) if mark is not None]
    if not marks:
        raise SessionError(f"{folder.name}: it has no signed line; see `peak-trade audit verify {folder.name}`.")
    return marks[-1]


def check_sessions(key: str | None = None, heads: Mapping[str, str] | None = None) -> ChainCheck:
    """Return the check of the chain of the workspace's sessions, by default with the workspace's key."""
    return check_chain(sessions_folder(), key or read_public_key(keys_folder()), heads or {})


def decisions_in(governance_log: str) -> dict[str, str]:
    """Return the digest of the decision that admitted each session at a sandbox, by its name, of one governance log."""
    manifests = {name: read_manifest(sessions_folder() / name) for name in session_ids()}
    return {
        f"session {name}": str(content["decision"])
        for name, content in manifests.items()
        if content.get("governance_log") == governance_log and "decision" in content
    }


def config_of(folder: Path) -> SessionConfig:
    """Return the configuration that a session's manifest records; SessionError for an imported log, without one."""
    content = read_manifest(folder)
    if "imported" in content:
        raise SessionError(
            f"{folder.name}: this log was imported; it has no bars and no settings. It can be shown, verified, "
            "proven and exported."
        )
    return SessionConfig.from_manifest(content.get("config", {}), f"{folder.name}/manifest.json")
