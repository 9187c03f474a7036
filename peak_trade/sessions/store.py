"""The sessions of a workspace: their folders, their ids, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from peak_trade.core.errors import SessionError, did_you_mean
from peak_trade.core.time import iso
from peak_trade.data.workspace import workspace
from peak_trade.journal.events import (
    BarEvent,
    Event,
    LatencyEvent,
    OrderEvent,
    OrderEventKind,
    SessionEvent,
    SessionPhase,
    SnapshotEvent,
    as_record,
)
from peak_trade.journal.files import MANIFEST, is_sealed, read_events, read_manifest
from peak_trade.journal.writer import is_open


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One session at a glance: times ns UTC (0 when there is none), equity in quote currency."""

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
    equity: float
    reason: str


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
    return sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}")) if folder.is_dir() else []


def find_session(name: str) -> Path:
    """Return the folder of a session id, of a unique beginning of one, or of a path; SessionError names the nearest."""
    path = Path(name)
    if (path / MANIFEST).exists():
        return path
    known = session_ids()
    found = [known_id for known_id in known if known_id == name] or [k for k in known if name and k.startswith(name)]
    if len(found) == 1:
        return sessions_folder() / found[0]
    if found:
        raise SessionError(f"session {name} could be {', '.join(found[:3])}. Write more of it.")
    raise SessionError(f"there is no session {name} in {sessions_folder()}. {did_you_mean(name, known)}")


def summary(folder: Path) -> SessionSummary:
    """Return a session at a glance, from its journal."""
    manifest = read_manifest(folder)
    events = read_events(folder)
    config = manifest.get("config", {})
    bars = [event for event in events if isinstance(event, BarEvent)]
    phases = [event for event in events if isinstance(event, SessionEvent)]
    orders = [event for event in events if isinstance(event, OrderEvent)]
    state = "running" if is_open(folder) else "sealed" if is_sealed(folder) else "interrupted"
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
        phases[-1].equity if phases else float("nan"),
        phases[-1].reason if phases else "",
    )


def recent(folder: Path, n_lines: int = 10) -> list[str]:
    """Return the last events of a session that are not bars, a line each."""
    events = [event for event in read_events(folder) if not isinstance(event, BarEvent | SnapshotEvent | LatencyEvent)]
    return [_sentence(event) for event in events[-n_lines:]]


def _sentence(event: Event) -> str:
    record = {name: value for name, value in as_record(event).items() if name not in ("kind", "ts_event", "inputs")}
    shown = ", ".join(f"{name} {value}" for name, value in record.items() if value not in ("", None, []))
    return f"{iso(event.ts_event)} {event.kind}: {shown}"
