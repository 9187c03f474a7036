"""`peak-trade risk`: explain decisions, and hold or change the trading state."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli.verbs import verb_app
from peak_trade.core.errors import ConfigError

if TYPE_CHECKING:
    from peak_trade.journal.events import CommandKind
    from peak_trade.risk.state import Control, Observation

app = verb_app()
By = Annotated[str, typer.Option("--by", help="Who does it; recorded.")]
OfSession = Annotated[
    str | None, typer.Option("--session", help="A session id or its beginning; the whole workspace unless given.")
]


@app.callback()
def _risk() -> None:
    pass


@app.command("explain")
def explain(
    decision_id: Annotated[
        str, typer.Argument(metavar="DECISION_ID", help="An order id, or RUN/ORDER or SESSION/ORDER.")
    ],
) -> None:
    """Compute a decision again from its record, and print each gate's observed value, limit and headroom.

    \b
    Example:
        peak-trade risk explain 3f2a9c/o-12

    Exits 0 when the result equals the record, 1 when it does not, 2 on bad input.
    """
    from rich.console import Console
    from rich.table import Table

    from peak_trade.core.time import iso
    from peak_trade.studies.risk.decisions import explain as explain_decision
    from peak_trade.studies.risk.decisions import find_decision

    told = explain_decision(find_decision(decision_id))
    verdict = "approved" if told.is_approved else "denied"
    table = Table(title=f"{told.order_id}, decided {iso(told.ts_event)}: {verdict}")
    table.add_column("gate")
    for name in ("observed", "limit", "headroom"):
        table.add_column(name, justify="right")
    table.add_column("answer")
    for reading in told.readings:
        numbers = ("" if math.isnan(value) else f"{value:.6g}" for value in reading[2:5])
        table.add_row(str(reading.code), *numbers, "denied" if reading.is_denied else "")
    Console().print(table)
    for reading in told.readings:
        if reading.reason:
            typer.echo(f"{reading.code} could not be read: {reading.reason}")
    if not told.is_reproduced:
        typer.echo("The recomputed answer differs from the record.")
        raise typer.Exit(1)
    typer.echo("The recomputed answer equals the record.")


@app.command("state")
def state(session: OfSession = None) -> None:
    """Print the trading state of the workspace or of a session, and how it came about.

    \b
    Example:
        peak-trade risk state
        peak-trade risk state --session 20251221_220016

    Exits 0 when trading is active, 1 when it is reducing or halted, 2 on bad input.
    """
    from peak_trade.data.workspace import workspace
    from peak_trade.risk.state import climb
    from peak_trade.sessions.control.state import read_control

    if session is None:
        _print(climb(read_control(workspace()), time.time_ns()))
        return
    from peak_trade.sessions.control.commands import state_of

    found = state_of(session, time.time_ns())
    for command in found.pending:
        typer.echo(f"waiting to be taken: {command.kind} {command.strategy}".rstrip() + f", by {command.actor}")
    _print(found.control)


def _print(control: Control) -> None:
    from peak_trade.core.time import iso
    from peak_trade.core.values import TradingState

    since = f" since {iso(control.changed_at)}" if control.changed_at else ""
    why = f" ({control.reason})" if control.reason else ""
    typer.echo(f"{control.state}{since}{why}, size limits at {control.ramp:.0%}")
    for strategy in control.throttled:
        typer.echo(f"disabled: {strategy}")
    if control.state is not TradingState.ACTIVE:
        raise typer.Exit(1)


@app.command("kill")
def kill(
    by: By,
    reason: Annotated[str, typer.Option(help="Why; recorded.")] = "kill switch",
    session: OfSession = None,
) -> None:
    """Halt trading at once: every session, or the one that is named, cancels its open orders and ends.

    While the workspace is halted no session starts. A session that was killed is over: its journal is sealed.

    \b
    Example:
        peak-trade risk kill --by ada --reason "exchange outage"
        peak-trade risk kill --by ada --session 20251221_220016

    Exits 0 when trading is halted, 2 on bad input.
    """
    from peak_trade.journal.events import CommandKind
    from peak_trade.risk.state import KillSwitch

    if session is None:
        _act(KillSwitch(time.time_ns(), by, reason))
    else:
        _leave(session, CommandKind.KILL, by, reason=reason)


@app.command("recover")
def recover(
    by: By,
    risk: Annotated[str | None, typer.Option(help="A risk file: its [risk.state] says how long to cool down.")] = None,
    session: OfSession = None,
) -> None:
    """Bring trading back after the cooldown, at half of the size limits first.

    A session has its own limits and counts its cooldown on its own clock: the close of the bar with which it takes
    the act. A session that starts while the workspace is on its ramp starts on that ramp.

    \b
    Example:
        peak-trade risk recover --by ada --risk config/risk.toml
        peak-trade risk recover --by ada --session 20251221_220016

    Exits 0 when trading is active again or the act waits for the session, 2 when the cooldown is not over or there is
    nothing to recover from.
    """
    from peak_trade.journal.events import CommandKind
    from peak_trade.risk.state import Recovery

    if session is None:
        _act(Recovery(time.time_ns(), by), risk)
        return
    if risk is not None:
        raise ConfigError("--risk was given with --session: a session has the limits that it started with.")
    _leave(session, CommandKind.RECOVER, by)


@app.command("enable")
def enable(strategy: Annotated[str, typer.Argument(metavar="STRATEGY")], by: By, session: OfSession = None) -> None:
    """Enable a strategy that the repeated-execution throttle disabled.

    \b
    Example:
        peak-trade risk enable ma_crossover --by ada --session 20251221_220016

    Exits 0 when it is enabled or the act waits for the session, 2 when it was not disabled.
    """
    from peak_trade.journal.events import CommandKind
    from peak_trade.risk.state import StrategyEnabled

    if session is None:
        _act(StrategyEnabled(time.time_ns(), strategy, by))
    else:
        _leave(session, CommandKind.ENABLE, by, strategy=strategy)


def _leave(session: str, kind: CommandKind, by: str, *, reason: str = "", strategy: str = "") -> None:
    from peak_trade.journal.events import CommandKind
    from peak_trade.sessions.control.commands import send_command

    found = send_command(session, kind, by, time.time_ns(), reason=reason, strategy=strategy)
    when = "at once" if kind is CommandKind.KILL else "with its next bar"
    where = "" if found.is_running else f" after `peak-trade session resume {found.folder.name}`: it is interrupted"
    typer.echo(f"{kind} left for {found.folder.name}, by {by}; the session takes it {when}{where}.")


def _act(observation: Observation, risk_file: str | None = None) -> None:
    from peak_trade.data.workspace import workspace
    from peak_trade.risk.limits import StateLimits
    from peak_trade.risk.state import advance
    from peak_trade.sessions.control.state import read_control, write_control
    from peak_trade.wiring.gates import read_risk_file

    rules = StateLimits() if risk_file is None else read_risk_file(Path(risk_file)).state
    control, events = advance(read_control(workspace()), observation, rules)
    write_control(workspace(), control)
    for event in events:
        typer.echo(f"{event.state}: {event.reason}, by {event.actor}")
    if not events:
        typer.echo(f"{control.state}: nothing changed")
