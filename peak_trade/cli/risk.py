"""`peak-trade risk`: explain decisions, and show or change the trading state."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app
from peak_trade.core.errors import ConfigError
from peak_trade.core.time import iso

if TYPE_CHECKING:
    from peak_trade.risk.state import Control
    from peak_trade.sessions.control.commands import KillResult, OperatorCommand, SessionState, WorkspaceChange
    from peak_trade.sessions.control.drill import Drill
    from peak_trade.studies.risk.decisions import Explanation

app = verb_app()

Actor = Annotated[str, typer.Option("--by", metavar="NAME", help="Name of the person, for the record.")]
SessionOption = Annotated[
    str | None,
    typer.Option("--session", help="Session id or the beginning of one.", show_default="the whole workspace"),
]


@app.command("explain")
def explain(
    decision_id: Annotated[str, typer.Argument(metavar="DECISION", help="Order id, or RUN/ORDER or SESSION/ORDER.")],
    as_json: options.AsJson = False,
) -> None:
    """Recompute a recorded risk decision.

    The table has the observed value, the limit and the headroom of every gate.

    \b
    Example:
        peak-trade risk explain 3f2a9c/o-12

    Exits 0 when the result equals the record, 1 when it differs, 2 on bad input.
    """
    from peak_trade.studies.risk import decisions

    explanation = decisions.explain(decisions.find_decision(decision_id))
    output.show(explanation, as_json, _explain_page, _explain_content)
    if not explanation.is_reproduced:
        raise typer.Exit(1)


@app.command("state")
def state(session: SessionOption = None, as_json: options.AsJson = False) -> None:
    """Show the trading state of the workspace or of a session.

    The reason, the size limits of a recovery and the disabled strategies are shown, too.

    \b
    Examples:
        peak-trade risk state
        peak-trade risk state --session 20251221_220016

    Exits 0 when trading is active, 1 when it is reducing or halted, 2 on bad input.
    """
    from peak_trade.sessions.control import commands

    pending: Sequence[OperatorCommand] = ()
    if session is None:
        control = commands.workspace_state(time.time_ns())
    else:
        found = commands.state_of(session, time.time_ns())
        control, pending = found.control, found.pending
    output.show(
        control,
        as_json,
        lambda control: _state_page(control, pending),
        lambda control: _state_content(control, pending),
    )
    if control.state != "active":
        raise typer.Exit(1)


@app.command("kill")
def kill(
    by: Actor,
    reason: Annotated[str, typer.Option(help="Reason, for the record.")] = "kill switch",
    session: SessionOption = None,
    as_json: options.AsJson = False,
) -> None:
    """Halt trading at once.

    Every session, or the named one, cancels its open orders and ends; its journal is sealed. No session starts while
    the workspace is halted.

    \b
    Examples:
        peak-trade risk kill --by ada --reason "exchange outage"
        peak-trade risk kill --by ada --session 20251221_220016

    The processes of running sessions are signalled first, so that they halt although the disk can not be written.

    Exits 0 when trading is halted, 1 when that could not be saved, 2 on bad input.
    """
    from peak_trade.sessions.control.commands import kill_session, kill_workspace

    now = time.time_ns()
    done = kill_workspace(by, now, reason) if session is None else kill_session(session, by, now, reason)
    output.show(done, as_json, lambda done: _kill_page(done, by, session), lambda done: _kill_content(done, session))
    if done.fault:
        raise typer.Exit(1)


@app.command("drill")
def drill(by: Actor, as_json: options.AsJson = False) -> None:
    """Halt a trial session to exercise the kill switch.

    A paper session with an open order runs in a process of its own, in a temporary workspace, and is killed from
    outside by the code of `risk kill`. Its orders must be canceled, its journal sealed, and no session may start there.
    The sessions of the workspace are not touched. The result is recorded in the governance log.

    
    Example:
        peak-trade risk drill --by ada

    Exits 0 when everything worked, 1 when something did not, 2 on bad input.
    """
    from peak_trade.sessions.control.drill import run_drill

    done = run_drill(by)
    output.show(done, as_json, _drill_page, lambda done: done.to_dict())
    if not done.is_passed:
        raise typer.Exit(1)


@app.command("recover")
def recover(
    by: Actor,
    risk: Annotated[Path | None, typer.Option(help="Risk file; its [risk.state] table has the cooldown.")] = None,
    session: SessionOption = None,
    as_json: options.AsJson = False,
) -> None:
    """Resume trading after the cooldown.

    The size limits start at half and return in stages. A session has the limits that it started with and counts its
    cooldown on its own clock, from the bar with which it applies the command. A session that starts during the
    recovery of the workspace starts with the same size limits.

    \b
    Examples:
        peak-trade risk recover --by ada --risk config/risk.toml
        peak-trade risk recover --by ada --session 20251221_220016

    Exits 0 when trading is active again or the command waits for the session, 2 when the cooldown is not over or there
    is nothing to recover from.
    """
    if risk is not None and session is not None:
        raise ConfigError("--risk was given with --session: a session has the limits that it started with.")
    _command("recover", by, session, as_json, risk_file=risk)


@app.command("enable")
def enable(
    strategy: Annotated[str, typer.Argument(metavar="STRATEGY", help="Name of the disabled strategy.")],
    by: Actor,
    session: SessionOption = None,
    as_json: options.AsJson = False,
) -> None:
    """Enable a strategy that was disabled for repeated execution.

    \b
    Example:
        peak-trade risk enable ma_crossover --by ada --session 20251221_220016

    Exits 0 when the strategy is enabled or the command waits for the session, 2 when it was not disabled.
    """
    _command("enable", by, session, as_json, strategy=strategy)


def _command(
    name: str,
    by: str,
    session: str | None,
    as_json: bool,
    *,
    strategy: str = "",
    risk_file: Path | None = None,
) -> None:
    from peak_trade.journal.events import CommandKind
    from peak_trade.sessions.control.commands import command_workspace, send_command

    kind, now = CommandKind(name), time.time_ns()
    if session is None:
        change = command_workspace(kind, by, now, strategy=strategy, risk_file=risk_file)
        output.show(change, as_json, _change_page, _change_content)
        return
    found = send_command(session, kind, by, now, strategy=strategy)
    applied = "with its next bar"
    output.show(
        found,
        as_json,
        lambda found: [_sent_line(found, name, by, applied)],
        lambda found: {
            "session_id": found.folder.name,
            "command": name,
            "actor": by,
            "applied": applied,
            "is_running": found.is_running,
        },
    )


def _explain_page(explanation: Explanation) -> output.Page:
    verdict = "approved" if explanation.is_approved else "denied"
    yield output.Table(
        ("gate", "observed", "limit", "headroom", "result"),
        [
            (reading.code, *map(_number, reading[2:5]), "denied" if reading.is_denied else "")
            for reading in explanation.readings
        ],
        f"{explanation.order_id}, decided {iso(explanation.ts_event)}: {verdict}",
        right=("observed", "limit", "headroom"),
    )
    for reading in explanation.readings:
        if reading.detail:
            yield f"{reading.code}: {reading.detail}"
        if reading.reason:
            yield f"{reading.code} could not be read: {reading.reason}"
    yield f"The result {'equals' if explanation.is_reproduced else 'differs from'} the record."


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _explain_content(explanation: Explanation) -> dict[str, Any]:
    return {
        "order_id": explanation.order_id,
        "decided_at": iso(explanation.ts_event),
        "is_approved": explanation.is_approved,
        "readings": [reading._asdict() for reading in explanation.readings],
        "is_reproduced": explanation.is_reproduced,
    }


def _state_page(control: Control, pending: Sequence[OperatorCommand]) -> output.Page:
    for command in pending:
        yield f"pending: {command.kind} {command.strategy}".rstrip() + f", by {command.actor}"
    since = f" since {iso(control.changed_at)}" if control.changed_at else ""
    reason = f" ({control.reason})" if control.reason else ""
    yield f"{control.state}{since}{reason}, size limits at {control.ramp:.0%}"
    for strategy in control.throttled:
        yield f"disabled: {strategy}"


def _state_content(control: Control, pending: Sequence[OperatorCommand]) -> dict[str, Any]:
    return {
        "state": control.state,
        "since": iso(control.changed_at) if control.changed_at else None,
        "reason": control.reason,
        "size_limits": control.ramp,
        "disabled": control.throttled,
        "pending": [
            {"command": command.kind, "strategy": command.strategy, "actor": command.actor} for command in pending
        ],
    }


def _drill_page(done: Drill) -> output.Page:
    yield from done.findings
    verdict = "the kill switch works" if done.is_passed else "the kill switch does not work"
    yield f"{verdict}: the session was sealed {done.seconds:.2f} s after the kill by {done.actor}."


def _kill_page(done: KillResult, by: str, session: str | None) -> output.Page:
    numbers = ", ".join(map(str, done.pids))
    told = f"process {numbers} was" if len(done.pids) == 1 else f"processes {numbers} were"
    told = f"{told} told to halt" if done.pids else "no process was told to halt"
    if done.fault:
        yield f"{told}; the {'state' if session is None else 'command'} could not be saved: {done.fault}"
    elif session is not None:
        resumed = "" if done.is_running else f" after `peak-trade session resume {session}`: it is interrupted"
        yield f"kill by {by}: session {session} applies it at once{resumed}; {told}."
    else:
        yield from (f"{event.state}: {event.reason}, by {event.actor}" for event in done.events)
        yield f"{told}." if done.events else f"halted: nothing changed; {told}."
    way = "it was not told to halt. End its process" if done.fault else "it halts when it reads the saved state"
    for name in done.unknown:
        yield f"session {name} is running, and its process is not known: {way}."


def _kill_content(done: KillResult, session: str | None) -> dict[str, Any]:
    changes = [{"state": event.state, "reason": event.reason, "actor": event.actor} for event in done.events]
    return {
        "state": None if done.fault or session is not None else "halted",
        "changes": changes,
        "session_id": session,
        "pids": done.pids,
        "unknown": done.unknown,
        "fault": done.fault,
    }


def _change_page(change: WorkspaceChange) -> output.Page:
    for event in change.events:
        yield f"{event.state}: {event.reason}, by {event.actor}"
    if not change.events:
        yield f"{change.control.state}: nothing changed"


def _change_content(change: WorkspaceChange) -> dict[str, Any]:
    changes = [{"state": event.state, "reason": event.reason, "actor": event.actor} for event in change.events]
    return {"state": change.control.state, "changes": changes}


def _sent_line(found: SessionState, name: str, by: str, applied: str) -> str:
    line = f"{name} by {by}: session {found.folder.name} applies it {applied}"
    if found.is_running:
        return f"{line}."
    return f"{line} after `peak-trade session resume {found.folder.name}`: it is interrupted."
