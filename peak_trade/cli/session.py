"""`peak-trade session`: run, resume, list and show sessions."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app
from peak_trade.core.errors import ConfigError
from peak_trade.core.time import NS_PER_SECOND, Timeframe, iso

if TYPE_CHECKING:
    from peak_trade.sessions.control.stop_switch import StopSwitch
    from peak_trade.sessions.run import SessionResult
    from peak_trade.sessions.runner import Status
    from peak_trade.sessions.store import SessionSummary

Quiet = Annotated[bool, typer.Option("--quiet", help="Show no live view.")]

app = verb_app()


@app.command()
def run(
    mode: Annotated[Literal["paper", "shadow", "testnet"], typer.Option(help="Way in which orders fill.")] = "paper",
    strategy: Annotated[
        str | None,
        typer.Option(
            help="Name of a strategy, or package.module:Class for your own.",
            show_default="ma_crossover, or that of the session to follow",
        ),
    ] = None,
    symbol: Annotated[
        str | None, typer.Option(help="Symbol as base/quote, for example BTC/USDT. Required without --follow.")
    ] = None,
    timeframe: Annotated[
        str | None, typer.Option(help="Bar length, for example 1m, 5m or 1h. Required without --follow.")
    ] = None,
    exchange: Annotated[
        str | None, typer.Option(help="Exchange of the bars.", show_default="binance, or that of the stored bars")
    ] = None,
    feed: Annotated[
        Literal["live", "recorded"], typer.Option(help="Source of the bars: the exchange (live) or the store.")
    ] = "live",
    duration: Annotated[
        str | None, typer.Option(help="Length in bar time, for example 10m, 4h or 1d.", show_default="no limit")
    ] = None,
    pace: Annotated[
        str | None, typer.Option(help="Speed of a recorded feed, for example 60x.", show_default="full speed")
    ] = None,
    start: Annotated[str | None, typer.Option(help="First close time to trade on in UTC, for a recorded feed.")] = None,
    end: Annotated[
        str | None, typer.Option(help="End of the close times in UTC, exclusive, of a recorded feed.")
    ] = None,
    follow: Annotated[
        str | None, typer.Option(help="Session that a shadow session follows: its id or the beginning of it.")
    ] = None,
    parameter: options.Parameters = None,
    cash: Annotated[
        float | None, typer.Option(help="Initial cash in quote currency.", show_default="10000, or the run file's")
    ] = None,
    config: options.RunFile = None,
    telemetry: options.Telemetry = None,
    record: options.Record = True,
    quiet: Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Run a session until its feed or its duration ends.

    Strategy, sizing, risk gates and ledger are those of a backtest. Ctrl-C cancels the open orders, values the account
    and seals the journal. A second Ctrl-C stops at once; `peak-trade session resume` then resumes the session.

    \b
    Examples:
        peak-trade session run --mode paper --symbol BTC/USDT --timeframe 1m --duration 10m
        peak-trade session run --mode shadow --follow 20251221_220003

    Exits 0 when the session has ended and is sealed, 2 on bad input, 130 after a second Ctrl-C.
    """
    from peak_trade.sessions import options as session_options
    from peak_trade.sessions.run import run_session

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
        "follow": follow,
    }
    session_config = session_options.make_config(asked, options.pairs(parameter), cash, config)
    if session_config.risk is None and session_config.mode != "testnet":
        output.note("no risk limits are set: every order that the instrument allows passes. Set limits with --config.")
    settings = session_options.read_telemetry(telemetry)
    with _live_view(quiet) as (switch, on_status):
        outcome = run_session(
            session_config, switch=switch, on_start=output.show_notes, on_status=on_status, telemetry=settings
        )
    _show_outcome(outcome, record, as_json)


@app.command()
def resume(
    session: options.SessionName,
    telemetry: options.Telemetry = None,
    record: options.Record = True,
    quiet: Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Resume a session that was killed or stopped at once.

    The recorded bars run through the recorded configuration again. The results must equal the journal; then the
    session continues.

    \b
    Example:
        peak-trade session resume 20251221_220016

    Exits 0 when the session has ended and is sealed, 2 on bad input or when the journal does not verify, 130 after a
    second Ctrl-C.
    """
    from peak_trade.sessions.options import read_telemetry
    from peak_trade.sessions.run import resume_session

    settings = read_telemetry(telemetry)
    with _live_view(quiet) as (switch, on_status):
        outcome = resume_session(session, switch=switch, on_status=on_status, telemetry=settings)
    _show_outcome(outcome, record, as_json)


@app.command("list")
def list_(as_json: options.AsJson = False) -> None:
    """List the sessions of the workspace, oldest first.

    \b
    Example:
        peak-trade session list

    Exits 0.
    """
    from peak_trade.sessions.store import sessions_folder, summaries

    folder = sessions_folder()
    output.show(
        summaries(), as_json, lambda found: _list_page(found, folder), lambda found: [asdict(each) for each in found]
    )


@app.command()
def show(session: options.SessionName, as_json: options.AsJson = False) -> None:
    """Show the figures and the latest events of a session.

    With --json, its manifest is printed, too.

    \b
    Example:
        peak-trade session show 20251221_220016

    Exits 0, or 2 when there is no such session.
    """
    from peak_trade.sessions.store import describe

    output.show(
        describe(session),
        as_json,
        lambda found: [_summary_table(found.summary), *filter(None, [found.denials]), *found.recent],
        lambda found: asdict(found),
    )


def _seconds(duration: str | None) -> int | None:
    if duration is None:
        return None
    try:
        return Timeframe.parse(duration).seconds
    except ConfigError:
        raise ConfigError(f"duration was {duration!r}: write a number and a unit, like 90s, 10m, 4h or 1d.") from None


def _pace(pace: str | None) -> float | None:
    if pace is None:
        return None
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)x?", pace)
    if match is None or float(match[1]) == 0.0:
        raise ConfigError(f"pace was {pace!r}: write a factor of the original speed, like 60x.")
    return float(match[1])


@contextmanager
def _live_view(quiet: bool) -> Iterator[tuple[StopSwitch, Callable[[Status], None]]]:
    """Yield a switch that Ctrl-C turns, and a function that shows the status of the session in the terminal."""
    from peak_trade.sessions.control.stop_switch import StopSwitch

    switch = StopSwitch()

    def on_signal(_number: int, _frame: Any) -> None:
        if switch.is_stopping:
            raise KeyboardInterrupt
        switch.stop("Ctrl-C")

    latest: list[Status] = []

    def on_status(status: Status) -> None:
        latest[:] = [status]

    def view() -> output.Table | str:
        if not latest:
            return "Waiting for the first bar."
        return output.Table(("", ""), status_rows(latest[0], time.time_ns()), latest[0].session_id)

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, on_signal) if is_main else None
    try:
        with output.live(view, is_shown=not quiet):
            yield switch, on_status
    finally:
        if is_main:
            signal.signal(signal.SIGINT, before)


def status_rows(status: Status, now: int) -> list[tuple[str, str]]:
    """Return the names and texts of the live view; `now` is ns UTC."""
    age = max(0.0, (now - status.last_bar) / NS_PER_SECOND)
    return [
        ("state", status.state),
        ("position", f"{status.position:g} {status.symbol.partition('/')[0]}"),
        ("equity", f"{status.equity:,.2f}"),
        ("PnL", f"{status.pnl:+,.2f}"),
        ("last close", f"{status.close:g}"),
        ("last bar", f"{iso(status.last_bar)} ({_age_text(age)} ago)" if status.last_bar else "none yet"),
        ("bars", f"{status.n_bars:,}"),
        ("fills", f"{status.n_fills:,}"),
        ("open orders", str(status.n_open_orders)),
        ("denials", f"{status.n_denials:,}"),
        ("feed faults", f"{status.n_faults:,}"),
    ]


def _age_text(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _show_outcome(outcome: SessionResult, record: bool, as_json: bool) -> None:
    from peak_trade.studies.recording import session_record
    from peak_trade.tracking import record_run

    def show(run_id: str | None = None) -> None:
        output.show(
            outcome,
            as_json,
            lambda outcome: _outcome_page(outcome, run_id),
            lambda outcome: _outcome_content(outcome, run_id),
        )

    with output.result_first(show):
        entry = session_record(outcome.folder) if record else None
    show(None if entry is None else entry.run_id)
    if entry is not None:
        record_run(entry)


def _outcome_page(outcome: SessionResult, run_id: str | None) -> output.Page:
    status = outcome.status
    yield (
        f"{outcome.folder.name}: {outcome.reason}; {status.n_bars:,} bars, {status.n_fills:,} fills, "
        f"{status.n_denials:,} denials, equity {status.equity:,.2f} ({status.pnl:+,.2f})."
    )
    yield from outcome.notes
    yield f"Sealed in {outcome.folder}. Verify it with `peak-trade audit verify {outcome.folder.name}`."
    if run_id is not None:
        yield f"run {run_id}"


def _outcome_content(outcome: SessionResult, run_id: str | None) -> dict[str, Any]:
    return {
        "session_id": outcome.folder.name,
        "folder": outcome.folder,
        "reason": outcome.reason,
        "status": asdict(outcome.status),
        "notes": outcome.notes,
        "run_id": run_id,
    }


def _list_page(found: Sequence[SessionSummary], folder: Path) -> output.Page:
    if not found:
        yield f"There are no sessions in {folder}. Start one with `peak-trade session run`."
        return
    yield output.Table(
        ("session", "state", "bars", "last bar", "fills", "denials", "equity"),
        [
            (
                each.session_id,
                each.state,
                each.n_bars,
                iso(each.last_bar) if each.last_bar else "",
                each.n_fills,
                each.n_denials,
                output.cell(each.equity, "{:,.2f}"),
            )
            for each in found
        ],
        right=("bars", "fills", "denials", "equity"),
    )
    for each in found:
        if each.state == "unreadable":
            yield f"{each.session_id} is unreadable; see `peak-trade audit verify {each.session_id}`."


def _summary_table(summary: SessionSummary) -> output.Table:
    values = asdict(summary)
    for name in ("started", "last_bar"):
        values[name] = iso(values[name]) if values[name] else None
    values["equity"] = output.cell(summary.equity, "{:,.2f}")
    return output.Table(("field", "value"), [(name.replace("_", " "), value) for name, value in values.items()])
