"""Operator commands: what a named person asks a session for from another process.

Each command is a file in the session's folder `acts/` until the session has recorded it in its journal.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peak_trade.core.digest import canonical_json
from peak_trade.core.errors import ConfigError, SessionError, did_you_mean
from peak_trade.core.files import read_text, reason_of, write_text
from peak_trade.core.time import iso
from peak_trade.core.values import TradingState
from peak_trade.data.workspace import workspace
from peak_trade.journal.events import BarEvent, CommandEvent, CommandKind, TradingStateEvent
from peak_trade.journal.files import is_sealed, read_events
from peak_trade.journal.lock import holder_of, is_open
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
from peak_trade.sessions.store import config_of, find_session, session_ids, sessions_folder
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


def send_command(name: str, kind: CommandKind, actor: str, clock_now: int, *, strategy: str = "") -> SessionState:
    """Leave a command for a session, which applies it with its next bar. For a kill, see `kill_session`.

    Parameters
    ----------
    name : str
        A session id or its beginning, or a session's folder.
    kind : CommandKind
    actor : str
        Name of the person.
    clock_now : int
        Now by the machine's clock, ns UTC.
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
    if (kind, strategy) in {(each.kind, each.strategy) for each in found.pending}:
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
    write_command(found.folder, new_command(kind, actor, clock_now, strategy=strategy))
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
    strategy: str = "",
    risk_file: Path | None = None,
) -> WorkspaceChange:
    """Apply a command to the trading state of the workspace. For a kill, see `kill_workspace`.

    Parameters
    ----------
    kind : CommandKind
    actor : str
        Name of the person.
    clock_now : int
        Now by the machine's clock, ns UTC.
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
    observation: Observation = Recovery(clock_now, actor)
    if kind is CommandKind.ENABLE:
        observation = StrategyEnabled(clock_now, strategy, actor)
    rules = StateLimits() if risk_file is None else read_risk_file(risk_file).state
    control, events = advance(read_control(workspace()), observation, rules)
    write_control(workspace(), control)
    return WorkspaceChange(control, tuple(events))


@dataclass(frozen=True, slots=True)
class KillResult:
    """The effect of a kill.

    `pids` are the processes that got SIGTERM. `unknown` are running sessions whose process is not
    known: they read the saved state. `is_running` is whether any session runs. `fault` is why the state could not be
    saved, empty if it was. `events` are the changes of the workspace's trading state.
    """

    pids: tuple[int, ...] = ()
    unknown: tuple[str, ...] = ()
    is_running: bool = False
    fault: str = ""
    events: tuple[TradingStateEvent, ...] = ()


def kill_workspace(actor: str, now: int, reason: str) -> KillResult:
    """Halt trading in the workspace: every session cancels its orders and ends, and no session starts.

    Parameters
    ----------
    actor : str
        Name of the person.
    now : int
        Now by the machine's clock, ns UTC.
    reason : str

    Raises
    ------
    ConfigError
        If no person is named.

    """
    folder = workspace()
    control, events = advance(read_control(folder), KillSwitch(now, actor, reason), StateLimits())
    told = _signal([sessions_folder() / name for name in session_ids()])
    try:
        write_control(folder, control)
    except (OSError, ConfigError) as error:
        return replace(told, fault=reason_of(error) if isinstance(error, OSError) else str(error))
    return replace(told, events=tuple(events))


def kill_session(name: str, actor: str, now: int, reason: str) -> KillResult:
    """Halt one session: it cancels its orders and ends. Parameters as of `kill_workspace`.

    Raises
    ------
    SessionError
        If there is no such session, or it has ended.
    ConfigError
        If no person is named.

    """
    folder = find_session(name)
    if not actor.strip():
        raise ConfigError("a command needs the name of the person who gives it: --by NAME.")
    if is_sealed(folder):
        raise SessionError(f"{folder.name} has ended and is sealed; it takes no commands.")
    told = _signal([folder])
    try:
        write_command(folder, new_command(CommandKind.KILL, actor, now, reason))
    except OSError as error:
        return replace(told, fault=reason_of(error))
    return told


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
        record = json.loads(read_text(path))
        kind = CommandKind(record.pop("act"))
        return OperatorCommand(command_id=record.pop("act_id"), kind=kind, **record)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return OperatorCommand(path.stem, CommandKind.KILL, "unknown", "a command could not be read", "", 0)


def _signal(folders: list[Path]) -> KillResult:
    """Send SIGTERM to the processes that hold sessions; this process reads the saved state instead.

    A session whose lock can not be read may run: it counts as unknown, and the others are told all the same.
    """
    pids, unknown, is_running = [], [], False
    for folder in folders:
        try:
            if not is_open(folder):
                continue
            is_running = True
            process = holder_of(folder)
            if process is None:
                unknown.append(folder.name)
            elif process.pid != os.getpid():
                os.kill(process.pid, signal.SIGTERM)
                pids.append(process.pid)
        except OSError:
            unknown.append(folder.name)
    return KillResult(tuple(pids), tuple(unknown), is_running or bool(unknown))
