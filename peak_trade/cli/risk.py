"""`peak-trade risk`: explain decisions, and hold or change the trading state."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from peak_trade.risk.state import Observation

app = typer.Typer(
    help="Explain the gates' decisions; stop trading and bring it back.", no_args_is_help=True, rich_markup_mode=None
)
By = Annotated[str, typer.Option("--by", help="Who does it; recorded.")]


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
    from peak_trade.studies.risk import explain as explain_decision
    from peak_trade.studies.risk import find_decision

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
def state() -> None:
    """Print the trading state of the workspace and how it came about.

    \b
    Example:
        peak-trade risk state

    Exits 0 when trading is active, 1 when it is reducing or halted, 2 on bad input.
    """
    from peak_trade.core.time import iso
    from peak_trade.core.values import TradingState
    from peak_trade.data.workspace import workspace
    from peak_trade.sessions.trading_state import read_control

    control = read_control(workspace())
    since = f" since {iso(control.changed_at)}" if control.changed_at else ""
    why = f" ({control.reason})" if control.reason else ""
    typer.echo(f"{control.state}{since}{why}, size limits at {control.ramp:.0%}")
    for strategy in control.throttled:
        typer.echo(f"disabled: {strategy}")
    if control.state is not TradingState.ACTIVE:
        raise typer.Exit(1)


@app.command("kill")
def kill(by: By, reason: Annotated[str, typer.Option(help="Why; recorded.")] = "kill switch") -> None:
    """Halt trading at once: only cancels pass until a recovery.

    \b
    Example:
        peak-trade risk kill --by ada --reason "exchange outage"

    Exits 0 when trading is halted, 2 on bad input.
    """
    from peak_trade.risk.state import KillSwitch

    _act(KillSwitch(time.time_ns(), by, reason))


@app.command("recover")
def recover(
    by: By,
    risk: Annotated[str | None, typer.Option(help="A risk file: its [risk.state] says how long to cool down.")] = None,
) -> None:
    """Bring trading back after the cooldown, at half of the size limits first.

    \b
    Example:
        peak-trade risk recover --by ada --risk config/risk.toml

    Exits 0 when trading is active again, 2 when the cooldown is not over or there is nothing to recover from.
    """
    from peak_trade.risk.state import Recovery

    _act(Recovery(time.time_ns(), by), risk)


@app.command("enable")
def enable(strategy: Annotated[str, typer.Argument(metavar="STRATEGY")], by: By) -> None:
    """Enable a strategy that the repeated-execution throttle disabled.

    \b
    Example:
        peak-trade risk enable ma_crossover --by ada

    Exits 0 when it is enabled, 2 when it was not disabled.
    """
    from peak_trade.risk.state import StrategyEnabled

    _act(StrategyEnabled(time.time_ns(), strategy, by))


def _act(observation: Observation, risk_file: str | None = None) -> None:
    from peak_trade.data.workspace import workspace
    from peak_trade.risk.limits import StateLimits
    from peak_trade.risk.state import advance
    from peak_trade.sessions.trading_state import read_control, write_control
    from peak_trade.wiring.gates import read_risk_file

    rules = StateLimits() if risk_file is None else read_risk_file(Path(risk_file)).state
    control, events = advance(read_control(workspace()), observation, rules)
    write_control(workspace(), control)
    for event in events:
        typer.echo(f"{event.state}: {event.reason}, by {event.actor}")
    if not events:
        typer.echo(f"{control.state}: nothing changed")
