"""`peak-trade session …`: run, resume, list and show sessions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peak_trade.cli.verbs import verb_app
from peak_trade.core.errors import ConfigError

if TYPE_CHECKING:
    from peak_trade.sessions.control.stop_switch import StopSwitch
    from peak_trade.sessions.run import SessionResult
    from peak_trade.sessions.runner import Status

app = verb_app()

Quiet = Annotated[bool, typer.Option("--quiet", help="No live view.")]
Record = Annotated[bool, typer.Option(help="Keep the run in the registry.")]
Telemetry = Annotated[
    Path | None, typer.Option(help="Levels and sinks of the recording; config/execution_telemetry.toml if it is here.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command()
def run(
    mode: Annotated[Literal["paper", "shadow", "testnet"], typer.Option(help="How orders are filled.")] = "paper",
    strategy: Annotated[
        str | None,
        typer.Option(
            help="A strategy's name, or package.module:Class; ma_crossover, or that of --follow, unless given."
        ),
    ] = None,
    symbol: Annotated[str | None, typer.Option(help="Base and quote, for example BTC/USDT.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="Length of a bar: 1m, 5m, 1h …")] = None,
    exchange: Annotated[
        str | None, typer.Option(help="Where the bars come from; binance for a live feed unless given.")
    ] = None,
    feed: Annotated[
        Literal["live", "recorded"], typer.Option(help="Closed candles as they come, or bars from the store.")
    ] = "live",
    duration: Annotated[str | None, typer.Option(help="Length in bar time: 10m, 4h, 1d.")] = None,
    pace: Annotated[str | None, typer.Option(help="A recording's speed, for example 60x; full speed unless given.")] = (
        None
    ),
    start: Annotated[str | None, typer.Option(help="First close time of a recording that is traded, UTC.")] = None,
    end: Annotated[str | None, typer.Option(help="End of a recording's close times, UTC, exclusive.")] = None,
    follow: Annotated[str | None, typer.Option(help="The session that a shadow follows: an id or its beginning.")] = (
        None
    ),
    beside: Annotated[str | None, typer.Option(hidden=True)] = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", help="A strategy parameter, key=value.")] = None,
    cash: Annotated[float | None, typer.Option(help="Cash at the start, quote currency; 10,000 unless given.")] = (
        None
    ),
    config: Annotated[
        Path | None, typer.Option(help="A run file: costs, execution, sizing, instruments, risk.")
    ] = None,
    telemetry: Telemetry = None,
    record: Record = True,
    quiet: Quiet = False,
) -> None:
    """Run a session until its feed or duration ends, or Ctrl-C.

    Strategy, sizing, gates and ledger are those of a backtest. Ctrl-C cancels the open orders, marks the account and
    seals the journal; a second Ctrl-C stops at once, and `session resume` takes the session up again.

    \b
    Example:
        peak-trade session run --mode paper --strategy ma_crossover --symbol BTC/USDT --timeframe 1m --duration 10m

    Exits 0 when the session ended and is sealed, 2 on bad input.
    """
    from peak_trade.cli.options import pairs
    from peak_trade.sessions.options import make_config, read_telemetry
    from peak_trade.sessions.run import run_session

    if beside is not None:
        typer.echo("--beside is now --follow; the next version refuses the former name.", err=True)
    asked = {
        "mode": mode,
        "strategy": strategy,
        "symbol": symbol,
        "timeframe": timeframe,
        "exchange": exchange,
        "feed": feed,
        "duration": _seconds(duration),
        "pace": _pace(pace),
        "start": start,
        "end": end,
        "follow": follow or beside,
    }
    session_config = make_config(asked, pairs(parameter), cash, config)
    if session_config.risk is None and session_config.mode != "testnet":
        typer.echo("No risk limits are set: every order that the instrument allows passes. Set them with --config.")
    with _view(quiet) as (switch, on_status):
        outcome = run_session(session_config, switch=switch, on_status=on_status, telemetry=read_telemetry(telemetry))
    _report(outcome, record)


@app.command()
def resume(
    session: Annotated[str, typer.Argument(help="A session id or its beginning, or a session's folder.")],
    telemetry: Telemetry = None,
    record: Record = True,
    quiet: Quiet = False,
) -> None:
    """Take up a session that was killed or stopped at once, from its journal.

    The recorded bars run through the recorded configuration again; what comes out must be what the journal holds.

    \b
    Example:
        peak-trade session resume 20251221_220016

    Exits 0 when the session ended and is sealed, 2 on bad input or a journal that does not verify.
    """
    from peak_trade.sessions.options import read_telemetry
    from peak_trade.sessions.run import resume_session

    with _view(quiet) as (switch, on_status):
        outcome = resume_session(session, switch=switch, on_status=on_status, telemetry=read_telemetry(telemetry))
    _report(outcome, record)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the sessions of the workspace, oldest first.

    \b
    Example:
        peak-trade session list

    Exits 0.
    """
    from dataclasses import asdict

    from peak_trade.core.time import iso
    from peak_trade.sessions.store import sessions_folder, summaries

    found = summaries()
    if as_json:
        _print_json([asdict(each) for each in found])
        return
    if not found:
        typer.echo(f"There are no sessions in {sessions_folder()}. Start one with `peak-trade session run`.")
        return
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("session", overflow="fold"), "state", "bars", "last bar", "fills", "denials", "equity")
    for each in found:
        last = iso(each.last_bar) if each.last_bar else ""
        equity = "" if each.equity is None else f"{each.equity:,.2f}"
        table.add_row(each.session_id, each.state, f"{each.n_bars:,}", last, str(each.n_fills), str(each.n_denials),
                      equity)  # fmt: skip
    Console().print(table)
    for each in found:
        if each.state == "unreadable":
            typer.echo(f"{each.session_id} is unreadable: see `peak-trade audit verify {each.session_id}`.")


@app.command()
def show(
    session: Annotated[str, typer.Argument(help="A session id or its beginning, or a session's folder.")],
    as_json: AsJson = False,
) -> None:
    """Show one session: its configuration, where it stands, its fills and its faults.

    \b
    Example:
        peak-trade session show 20251221_220016

    Exits 0, 2 when there is no such session.
    """
    from dataclasses import asdict

    from peak_trade.core.time import iso
    from peak_trade.journal.files import read_manifest
    from peak_trade.sessions.store import find_session, recent, summary

    folder = find_session(session)
    figures, lines = asdict(summary(folder)), recent(folder)
    if as_json:
        _print_json({"summary": figures, "manifest": read_manifest(folder), "recent": lines})
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=folder.name, show_header=False)
    for name, value in figures.items():
        is_time = name in ("started", "last_bar") and value
        shown = iso(value) if is_time else f"{value:,.2f}" if isinstance(value, float) else str(value)
        table.add_row(name.replace("_", " "), shown)
    console.print(table)
    for line in lines:
        console.print(line, highlight=False)


def _seconds(duration: str | None) -> int | None:
    if duration is None:
        return None
    from peak_trade.core.time import Timeframe

    try:
        return Timeframe.parse(duration).seconds
    except ConfigError:
        raise ConfigError(f"duration was {duration!r}: write a number and a unit, like 90s, 10m, 4h or 1d.") from None


def _pace(pace: str | None) -> float | None:
    if pace is None:
        return None
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)x?", pace)
    if match is None or float(match[1]) == 0.0:
        raise ConfigError(f"pace was {pace!r}: write how many times faster than it happened, like 60x.")
    return float(match[1])


@contextmanager
def _view(quiet: bool) -> Iterator[tuple[StopSwitch, Callable[[Status], None]]]:
    import signal
    import threading
    import time

    from rich.console import Console
    from rich.live import Live

    from peak_trade.sessions.control.stop_switch import StopSwitch
    from peak_trade.sessions.view import table

    switch = StopSwitch()

    def on_signal(_number: int, _frame: Any) -> None:
        if switch.is_stopping:
            raise KeyboardInterrupt
        switch.stop("Ctrl-C")

    console = Console()
    latest: list[Status] = []
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, on_signal) if is_main else None
    try:
        if quiet or not console.is_terminal:
            yield switch, lambda status: None
            return

        def shown() -> Any:
            return table(latest[0], time.time_ns()) if latest else "waiting for the first bar"

        def on_status(status: Status) -> None:
            latest[:] = [status]

        with Live(console=console, get_renderable=shown, refresh_per_second=4):
            yield switch, on_status
    finally:
        if is_main:
            signal.signal(signal.SIGINT, before)


def _report(outcome: SessionResult, record: bool) -> None:
    status = outcome.status
    typer.echo(
        f"{outcome.folder.name}: {outcome.reason}; {status.n_bars:,} bars, {status.n_fills:,} fills, "
        f"{status.n_denials:,} denials, equity {status.equity:,.2f} ({status.pnl:+,.2f})."
    )
    for note in outcome.notes:
        typer.echo(note)
    typer.echo(f"Sealed in {outcome.folder}. Check it with `peak-trade audit verify {outcome.folder.name}`.")
    if record:
        from peak_trade.studies.recording import record_session

        typer.echo(f"run {record_session(outcome.folder)}")


def _print_json(content: Any) -> None:
    import json

    typer.echo(json.dumps(content, indent=2))
