"""Operator commands: what a named person asks a session for from another process.

Each command is a file in the session's folder `acts/` until the session has recorded it in its journal.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peak_trade.core.digest import canonical_json
from peak_trade.core.errors import ConfigError, SessionError, did_you_mean
from peak_trade.core.files import write_text
from peak_trade.core.time import iso
from peak_trade.core.values import TradingState
from peak_trade.data.workspace import workspace
from peak_trade.journal.events import BarEvent, CommandEvent, CommandKind, TradingStateEvent
from peak_trade.journal.files import is_sealed, read_events
from peak_trade.journal.lock import is_open
from peak_trade.risk.limits import StateLimits
from peak_trade.risk.state import (
    Control,
    KillSwitch,
    Observation,
    Recovery,
    StrategyEnabled,
    advance,
    climb,
    control_from_events,
)
from peak_trade.sessions.control.state import control_at_start, read_control, write_control
from peak_trade.sessions.store import config_of, find_session
from peak_trade.wiring.gates import read_risk_file

FOLDER = "acts"
"""Name of the folder on disk; sessions of earlier versions have it too."""


@dataclass(frozen=True, slots=True)
class OperatorCommand:
    """A command of a named person, given at `given_at`, ns UTC by the machine's clock."""

    command_id: str
    kind: CommandKind
    actor: str
    reason: str
    strategy: str
    given_at: int

    def event_at(self, now: int) -> CommandEvent:
        """Return the event of a session that applies the command at `now`, ns UTC of the session's clock."""
        return CommandEvent(now, self.command_id, self.kind, self.actor, self.reason, self.strategy, self.given_at)


def new_command(kind: CommandKind, actor: str, given_at: int, reason: str = "", strategy: str = "") -> OperatorCommand:
    """Return a command under a new id; ids sort by time."""
    return OperatorCommand(f"{given_at:020d}-{secrets.token_hex(4)}", kind, actor, reason, strategy, given_at)


def write_command(folder: Path, command: OperatorCommand) -> None:
    """Write a command into a session's folder, atomically and durably."""
    write_text(_path(folder, command.command_id), canonical_json(_as_record(command)) + "\n")


def pending_commands(folder: Path) -> list[OperatorCommand]:
    """Return the commands in a session's folder, oldest first; an unreadable one counts as a kill."""
    try:
        names = os.listdir(folder / FOLDER)
    except FileNotFoundError:
        return []
    found = (_read(folder / FOLDER / name) for name in sorted(names) if name.endswith(".json"))
    return [command for command in found if command is not None]


def is_kill_pending(folder: Path) -> bool:
    """Return whether a kill waits in a session's folder."""
    return any(command.kind is CommandKind.KILL for command in pending_commands(folder))


def remove_command(folder: Path, command_id: str) -> None:
    """Remove a command from the folder once it is recorded."""
    _path(folder, command_id).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class SessionState:
    """The trading state of a session according to its journal, at `now` of the session's clock, ns UTC.

    `pending` are the commands that it has not recorded yet.
    """

    folder: Path
    control: Control
    now: int
    is_running: bool
    pending: tuple[OperatorCommand, ...]


def state_of(name: str, clock_now: int) -> SessionState:
    """Return the trading state of a session; SessionError when there is none of that name.

    A live session's clock is the machine's, here `clock_now`; any other clock stands at the newest bar.
    """
    folder = find_session(name)
    events = read_events(folder)
    newest = max((event.ts_event for event in events if isinstance(event, BarEvent)), default=0)
    now = max(newest, clock_now) if config_of(folder).feed == "live" else newest
    recorded = {event.act_id for event in events if isinstance(event, CommandEvent)}
    pending = tuple(command for command in pending_commands(folder) if command.command_id not in recorded)
    return SessionState(folder, control_from_events(control_at_start(folder), events), now, is_open(folder), pending)


def send_command(
    name: str, kind: CommandKind, actor: str, clock_now: int, *, reason: str = "", strategy: str = ""
) -> SessionState:
    """Leave a command for a session. A running session applies a kill at once, any other command with its next bar.

    Parameters
    ----------
    name : str
        A session id or its beginning, or a session's folder.
    kind : CommandKind
    actor : str
        Name of the person.
    clock_now : int
        Now by the machine's clock, ns UTC.
    reason : str
    strategy : str
        The strategy to enable.

    Returns
    -------
    SessionState
        The state before the command.

    Raises
    ------
    SessionError
        If there is no such session, or it has ended.
    ConfigError
        If the session would refuse the command: trading is active, the cooldown is not over on the session's clock, the
        strategy is not disabled, or no person is named.

    """
    found = state_of(name, clock_now)
    if is_sealed(found.folder):
        raise SessionError(f"{found.folder.name} has ended and is sealed; it takes no commands.")
    if not actor.strip():
        raise ConfigError("a command needs the name of the person who gives it: --by NAME.")
    if kind is not CommandKind.KILL and (kind, strategy) in {(each.kind, each.strategy) for each in found.pending}:
        raise ConfigError(f"{found.folder.name}: the same command is pending; the session has not applied it yet.")
    limits = config_of(found.folder).risk
    rules = StateLimits() if limits is None else limits.state
    try:
        if kind is CommandKind.RECOVER:
            advance(found.control, Recovery(found.now, actor), rules)
        elif kind is CommandKind.ENABLE:
            advance(found.control, StrategyEnabled(found.now, strategy, actor), rules)
    except ConfigError as error:
        raise ConfigError(f"{found.folder.name}: {error}{_hint(found, strategy)}") from None
    write_command(found.folder, new_command(kind, actor, clock_now, reason, strategy))
    return found


@dataclass(frozen=True, slots=True)
class WorkspaceChange:
    """The trading state of the workspace after a command, and the changes of state that the command made."""

    control: Control
    events: tuple[TradingStateEvent, ...]


def workspace_state(clock_now: int) -> Control:
    """Return the trading state of the workspace at `clock_now`, ns UTC."""
    return climb(read_control(workspace()), clock_now)


def command_workspace(
    kind: CommandKind,
    actor: str,
    clock_now: int,
    *,
    reason: str = "",
    strategy: str = "",
    risk_file: Path | None = None,
) -> WorkspaceChange:
    """Apply a command to the trading state of the workspace.

    Parameters
    ----------
    kind : CommandKind
    actor : str
        Name of the person.
    clock_now : int
        Now by the machine's clock, ns UTC.
    reason : str
        Reason of a kill.
    strategy : str
        The strategy to enable.
    risk_file : Path
        Risk file whose `[risk.state]` gives the cooldown; without it, the default cooldown.

    Raises
    ------
    ConfigError
        If there is nothing to recover from, the cooldown is not over, the strategy is not disabled, or no person is
        named.

    """
    observation: Observation = KillSwitch(clock_now, actor, reason)
    if kind is CommandKind.RECOVER:
        observation = Recovery(clock_now, actor)
    elif kind is CommandKind.ENABLE:
        observation = StrategyEnabled(clock_now, strategy, actor)
    rules = StateLimits() if risk_file is None else read_risk_file(risk_file).state
    control, events = advance(read_control(workspace()), observation, rules)
    write_control(workspace(), control)
    return WorkspaceChange(control, tuple(events))


def _hint(found: SessionState, strategy: str) -> str:
    if strategy:
        return f" {did_you_mean(strategy, found.control.throttled)}" if found.control.throttled else ""
    if found.control.state is TradingState.ACTIVE:
        return ""
    return f" The session's clock stands at {iso(found.now)}."


def _path(folder: Path, command_id: str) -> Path:
    return folder / FOLDER / f"{command_id}.json"


def _as_record(command: OperatorCommand) -> dict[str, Any]:
    return {
        "act_id": command.command_id,
        "act": command.kind,
        "actor": command.actor,
        "reason": command.reason,
        "strategy": command.strategy,
        "given_at": command.given_at,
    }


def _read(path: Path) -> OperatorCommand | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kind = CommandKind(record.pop("act"))
        return OperatorCommand(command_id=record.pop("act_id"), kind=kind, **record)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return OperatorCommand(path.stem, CommandKind.KILL, "unknown", "a command could not be read", "", 0)
