"""The sessions of a workspace: their folders, their ids, and what is known of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from peak_trade.core.errors import PeakTradeError, SessionError, did_you_mean
from peak_trade.core.time import iso
from peak_trade.data.workspace import workspace
from peak_trade.journal.codec import event_to_dict
from peak_trade.journal.events import (
    BarEvent,
    Event,
    LatencyEvent,
    OrderEvent,
    OrderEventKind,
    SessionEvent,
    SessionPhase,
    SnapshotEvent,
)
from peak_trade.journal.files import MANIFEST, is_sealed, read_events, read_manifest
from peak_trade.journal.keys import read_public_key
from peak_trade.journal.ledger_from_events import ledger_from_events
from peak_trade.journal.lock import is_open
from peak_trade.journal.orders import denials_sentence
from peak_trade.journal.verify import Verdict, verify
from peak_trade.sessions.config import SessionConfig


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One session at a glance: times ns UTC (0 when there is none).

    `equity` is the mark at the last bar or, once the session has stopped, at its end, in quote currency; None when the
    journal is unreadable. `state` is running, sealed, interrupted or unreadable.
    """

    session_id: str
    mode: str
    strategy: str
    symbol: str
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


def session_id(moment: datetime, mode: str, strategy: str, symbol: str, timeframe: str) -> str:
    """Return an id like 20251221_220016_paper_ma_crossover_BTC-EUR_1m."""
    name = strategy.rpartition(":")[2]
    return f"{moment:%Y%m%d_%H%M%S}_{mode}_{name}_{symbol.replace('/', '-').replace(':', '-')}_{timeframe}"


def session_ids() -> list[str]:
    """Return the ids of every session, oldest first."""
    folder = sessions_folder()
    return sorted(path.parent.name for path in folder.glob(f"[!.]*/{MANIFEST}"))


def find_session(name: str) -> Path:
    """Return the folder of a session id, of a unique beginning of one, or of a path; SessionError names the nearest."""
    path = Path(name)
    if (path / MANIFEST).exists():
        return path.resolve()
    known = session_ids()
    found = [known_id for known_id in known if known_id == name] or [k for k in known if name and k.startswith(name)]
    if len(found) == 1:
        return sessions_folder() / found[0]
    if found:
        raise SessionError(f"session {name} could be {', '.join(found[:3])}. Write more of it.")
    raise SessionError(f"there is no session {name} in {sessions_folder()}. {did_you_mean(name, known)}")


def summary(folder: Path) -> SessionSummary:
    """Return the summary of a session from its journal; SessionError or another PeakTradeError if it is damaged."""
    config = read_manifest(folder).get("config", {})
    events = read_events(folder)
    bars = [event for event in events if isinstance(event, BarEvent)]
    phases = [event for event in events if isinstance(event, SessionEvent)]
    orders = [event for event in events if isinstance(event, OrderEvent)]
    state = "sealed" if is_sealed(folder) else "running" if is_open(folder) else "interrupted"
    return SessionSummary(
        folder.name,
        str(config.get("mode", "")),
        str(config.get("strategy", "")),
        str(config.get("symbol", "")),
        str(config.get("timeframe", "")),
        state,
        next((event.ts_event for event in phases if event.phase is SessionPhase.STARTED), 0),
        bars[-1].ts_event if bars else 0,
        len(bars),
        sum(event.last_quantity > 0.0 for event in orders),
        sum(event.event is OrderEventKind.DENIED for event in orders),
        _equity(events, config),
        phases[-1].reason if phases else "",
    )


def summaries() -> list[SessionSummary]:
    """Return the summary of every session, oldest first; an unreadable one has the state `unreadable`."""
    found = []
    for name in session_ids():
        try:
            found.append(summary(sessions_folder() / name))
        except PeakTradeError as error:
            found.append(_unreadable(name, str(error)))
    return found


def describe(name: str) -> SessionDescription:
    """Return the description of a session that is named by its id, the beginning of it or its folder."""
    folder = find_session(name)
    return SessionDescription(
        summary(folder), read_manifest(folder), recent(folder), denials_sentence(read_events(folder))
    )


def _unreadable(name: str, reason: str) -> SessionSummary:
    return SessionSummary(name, "", "", "", "", "unreadable", 0, 0, 0, 0, 0, None, reason)


def _equity(events: Sequence[Event], config: Mapping[str, Any]) -> float | None:
    last = next((event for event in reversed(events) if isinstance(event, SessionEvent)), None)
    if last is not None and last.phase is SessionPhase.STOPPED:
        return last.equity if math.isfinite(last.equity) else None
    settings = SessionConfig.from_manifest(config, "manifest.json")
    lots = {settings.symbol: settings.instrument.lot_size}
    marks = {event.symbol: event.close for event in events if isinstance(event, BarEvent)}
    ledger = ledger_from_events(events, settings.trading.initial_cash, lots)
    if any(held.quantity and symbol not in marks for symbol, held in ledger.positions.items()):
        raise SessionError("a position has no bar to mark it at: the journal is damaged.")
    equity = ledger.equity(marks)
    return equity if math.isfinite(equity) else None


def recent(folder: Path, n_lines: int = 10) -> list[str]:
    """Return one line per event for the last events of a session; bars, snapshots and latencies are left out."""
    events = [event for event in read_events(folder) if not isinstance(event, BarEvent | SnapshotEvent | LatencyEvent)]
    return [_sentence(event) for event in events[-n_lines:]]


def _sentence(event: Event) -> str:
    record = {name: value for name, value in event_to_dict(event).items() if name not in ("kind", "ts_event", "inputs")}
    shown = ", ".join(f"{name} {value}" for name, value in record.items() if value not in ("", None, []))
    return f"{iso(event.ts_event)} {event.kind}: {shown}"


def check_journal(folder: Path) -> Verdict:
    """Return the verdict on a session's journal, checked with the workspace's key."""
    return verify(folder, read_public_key(keys_folder()))


def config_of(folder: Path) -> SessionConfig:
    """Return the configuration that a session's manifest records; SessionError for an imported log, without one."""
    content = read_manifest(folder)
    if "imported" in content:
        raise SessionError(
            f"{folder.name}: this log was imported; it has no bars and no settings. It can be shown, verified, "
            "proven and exported."
        )
    return SessionConfig.from_manifest(content.get("config", {}), f"{folder.name}/manifest.json")
