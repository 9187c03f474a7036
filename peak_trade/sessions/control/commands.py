"""What people do to a session from another process: each act a file in `acts/` until the session has recorded it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from peak_trade.core.digest import canonical_json
from peak_trade.core.errors import ConfigError, SessionError, did_you_mean
from peak_trade.core.files import write_text
from peak_trade.core.time import iso
from peak_trade.core.values import TradingState
from peak_trade.journal.events import BarEvent, CommandEvent, CommandKind, Event, TradingStateEvent
from peak_trade.journal.files import is_sealed, read_events
from peak_trade.journal.lock import is_open
from peak_trade.risk.limits import StateLimits
from peak_trade.risk.state import Control, Recovery, StrategyEnabled, advance
from peak_trade.sessions.control.state import start_of
from peak_trade.sessions.store import config_of, find_session

FOLDER = "acts"


@dataclass(frozen=True, slots=True)
class OperatorCommand:
    """One act of a named person, given at `given_at`, ns UTC by the machine's clock."""

    act_id: str
    act: CommandKind
    actor: str
    reason: str
    strategy: str
    given_at: int

    def taken_at(self, now: int) -> CommandEvent:
        """Return the event of a session that takes it at `now`, ns UTC of the session's clock."""
        return CommandEvent(now, self.act_id, self.act, self.actor, self.reason, self.strategy, self.given_at)


def make_command(act: CommandKind, actor: str, given_at: int, reason: str = "", strategy: str = "") -> OperatorCommand:
    """Return an act under an id that no other has, in the order of time."""
    return OperatorCommand(f"{given_at:020d}-{secrets.token_hex(4)}", act, actor, reason, strategy, given_at)


def leave(folder: Path, act: OperatorCommand) -> None:
    """Put an act into a session's folder: whole or not at all, on disk before this returns, beside every other one."""
    write_text(folder / FOLDER / f"{act.act_id}.json", canonical_json(asdict(act)) + "\n")


def waiting(folder: Path) -> list[OperatorCommand]:
    """Return the acts that a session has not taken yet, oldest first; one that can't be read is a kill."""
    try:
        names = os.listdir(folder / FOLDER)
    except FileNotFoundError:
        return []
    found = (_read(folder / FOLDER / name) for name in sorted(names) if name.endswith(".json"))
    return [act for act in found if act is not None]


def is_kill_waiting(folder: Path) -> bool:
    """Return whether a session is to be stopped."""
    return any(act.act is CommandKind.KILL for act in waiting(folder))


def remove(folder: Path, act_id: str) -> None:
    """Take an act out of the folder once it is recorded."""
    (folder / FOLDER / f"{act_id}.json").unlink(missing_ok=True)


def _read(path: Path) -> OperatorCommand | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return OperatorCommand(**record | {"act": CommandKind(record["act"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        return OperatorCommand(path.stem, CommandKind.KILL, "nobody", "an act could not be read", "", 0)


@dataclass(frozen=True, slots=True)
class SessionState:
    """The trading state of a session as its journal tells it, at `now` of its own clock, ns UTC.

    `waiting` are the acts that it has not taken yet.
    """

    folder: Path
    control: Control
    now: int
    is_running: bool
    waiting: tuple[OperatorCommand, ...]


def state_of(name: str, clock_now: int) -> SessionState:
    """Return the trading state of a session; SessionError when there is none of that name.

    A live session's clock is the machine's, here `clock_now`; any other's stands at its newest bar.
    """
    folder = find_session(name)
    events = read_events(folder)
    newest = max((event.ts_event for event in events if isinstance(event, BarEvent)), default=0)
    now = max(newest, clock_now) if config_of(folder).feed == "live" else newest
    recorded = {event.act_id for event in events if isinstance(event, CommandEvent)}
    left = tuple(act for act in waiting(folder) if act.act_id not in recorded)
    return SessionState(folder, retrace(start_of(folder), events), now, is_open(folder), left)


def retrace(control: Control, events: Iterable[Event]) -> Control:
    """Return the control that recorded changes lead to: state, times, ramp and disabled strategies."""
    for event in events:
        if not isinstance(event, TradingStateEvent):
            continue
        name, _, change = event.reason.rpartition(" ")
        if event.state is not control.state:
            is_back = event.state is TradingState.ACTIVE
            control = replace(
                control,
                state=event.state,
                reason=event.reason,
                changed_at=event.ts_event,
                recovered_at=event.ts_event if is_back else 0,
                ramp=event.observed if is_back else 1.0,
            )
        elif change == "disabled":
            control = replace(control, throttled=tuple(sorted({*control.throttled, name})))
        elif change == "enabled":
            control = replace(control, throttled=tuple(each for each in control.throttled if each != name))
        elif event.reason.startswith("ramp at"):
            control = replace(control, ramp=event.observed, recovered_at=control.recovered_at * (event.observed < 1.0))
    return control


def act_on(
    name: str, kind: CommandKind, actor: str, clock_now: int, *, reason: str = "", strategy: str = ""
) -> SessionState:
    """Leave an act for a session, which takes a kill at once and anything else with a bar.

    Parameters
    ----------
    name : str
        A session id or its beginning, or a session's folder.
    kind : ActKind
    actor : str
        Who does it.
    clock_now : int
        Now by the machine's clock, ns UTC.
    reason : str
    strategy : str
        The strategy to enable.

    Returns
    -------
    SessionState
        As it was before the act.

    Raises
    ------
    SessionError
        When there is no such session.
    ConfigError
        When the session could only refuse: it is sealed, nothing stopped it, the cooldown is not over on its own
        clock, the strategy is not disabled, or nobody is named.

    """
    found = state_of(name, clock_now)
    if is_sealed(found.folder):
        raise SessionError(f"{found.folder.name} has ended and is sealed; it takes no acts.")
    if not actor.strip():
        raise ConfigError("an act needs the name of who does it: --by NAME.")
    if kind is not CommandKind.KILL and any((act.act, act.strategy) == (kind, strategy) for act in found.waiting):
        raise ConfigError(f"{found.folder.name}: the same act waits already; the session has not taken it yet.")
    limits = config_of(found.folder).risk
    rules = StateLimits() if limits is None else limits.state
    try:
        if kind is CommandKind.RECOVER:
            advance(found.control, Recovery(found.now, actor), rules)
        elif kind is CommandKind.ENABLE:
            advance(found.control, StrategyEnabled(found.now, strategy, actor), rules)
    except ConfigError as error:
        raise ConfigError(f"{found.folder.name}: {error}{_hint(found, strategy)}") from None
    leave(found.folder, make_command(kind, actor, clock_now, reason, strategy))
    return found


def _hint(found: SessionState, strategy: str) -> str:
    if strategy:
        return f" {did_you_mean(strategy, found.control.throttled)}" if found.control.throttled else ""
    if found.control.state is TradingState.ACTIVE:
        return ""
    return f" The session's clock stands at {iso(found.now)}."
