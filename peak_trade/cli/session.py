"""`peak-trade session`: run, resume, list and show sessions."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peak_trade.cli import deprecated, options, output
from peak_trade.cli.ready import checklist_content, refusal
from peak_trade.cli.verbs import verb_app
from peak_trade.core.errors import ConfigError, SessionError
from peak_trade.core.extras import require
from peak_trade.core.time import NS_PER_SECOND, iso, parse_seconds

if TYPE_CHECKING:
    from peak_trade.governance.decision import Decision
    from peak_trade.sessions.control.stop_switch import StopSwitch
    from peak_trade.sessions.edge import EdgeEvidence
    from peak_trade.sessions.run import SessionResult
    from peak_trade.sessions.runner import Status
    from peak_trade.sessions.store import SessionDescription, SessionSummary

POLICY_FILE = Path("config/live_policies.toml")
Policy = Annotated[Path, typer.Option("--policy", help="Policy of the live-execution gate, for testnet mode.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no live view.")]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=1, max=65_535, help="Port on 127.0.0.1 that serves the session's metrics to Prometheus while it runs."
    ),
]

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
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="Run file in TOML: costs, execution, sizing, instruments and risk limits; or a portfolio file.",
        ),
    ] = None,
    policy: Policy = POLICY_FILE,
    telemetry: options.Telemetry = None,
    claimed_sharpe: Annotated[
        float | None,
        typer.Option(help="Sharpe ratio a year for which evidence of an edge is collected.", show_default="1"),
    ] = None,
    loss_bound: Annotated[
        float | None,
        typer.Option(help="Largest loss of a bar that this evidence allows for, fraction.", show_default="0.25"),
    ] = None,
    benchmark_exposure: Annotated[
        float | None,
        typer.Option(
            help="Exposure to the symbol against which the session is measured.",
            show_default="the mean of the session so far",
        ),
    ] = None,
    causality_check: options.CausalityCheck = True,
    metrics_port: MetricsPort = None,
    open_holdout: options.OpenHoldout = False,
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
        peak-trade session run --mode testnet --config portfolio.toml

    A session starts through the live-execution gate, see `peak-trade ready`. In testnet mode orders go to the sandbox
    of the exchange, after a signed approval.

    Exits 0 when the session has ended and is sealed, 1 when the gate refuses it, 2 on bad input, 130 after a second
    Ctrl-C.
    """
    from peak_trade.sessions import options as session_options
    from peak_trade.studies import readiness

    asked = {
        "mode": mode,
        "strategy": strategy,
        "symbol": symbol,
        "timeframe": timeframe,
        "exchange": exchange,
        "feed": feed,
        "duration": seconds_of(duration),
        "pace": _pace(pace),
        "start": start,
        "end": end,
        "follow": follow,
    }
    session_config = session_options.make_config(asked, options.pairs(parameter), cash, config)
    if not session_config.has_limits and session_config.mode != "testnet":
        output.note("no risk limits are set: every order that the instrument allows passes. Set limits with --config.")
    settings = session_options.read_telemetry(telemetry)
    edge_test = session_options.edge_test(claimed_sharpe, loss_bound, benchmark_exposure)
    with _metrics(metrics_port) as on_start, _live_view(quiet) as (switch, on_status):
        outcome = readiness.start(
            session_config,
            readiness.Gate(policy),
            edge_test=edge_test,
            switch=switch,
            on_start=on_start,
            on_status=on_status,
            telemetry=settings,
            causality_check=causality_check,
            on_note=output.note,
        )
    _finish(outcome, record, as_json)


@app.command()
def resume(
    session: options.SessionName,
    policy: Policy = POLICY_FILE,
    telemetry: options.Telemetry = None,
    metrics_port: MetricsPort = None,
    open_holdout: options.OpenHoldout = False,
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

    Exits 0 when the session has ended and is sealed, 1 when the live-execution gate refuses it, 2 on bad input or when
    the journal does not verify, 130 after a second Ctrl-C.
    """
    from peak_trade.sessions.options import read_telemetry
    from peak_trade.studies import readiness

    settings = read_telemetry(telemetry)
    gate = readiness.Gate(policy)
    with _metrics(metrics_port) as on_start, _live_view(quiet) as (switch, on_status):
        outcome = readiness.resume(
            session, gate, switch=switch, on_start=on_start, on_status=on_status, telemetry=settings
        )
    _finish(outcome, record, as_json)


@app.command("list")
def list_(as_json: options.AsJson = False) -> None:
    """List the sessions of the workspace, oldest first.

    The column e is the evidence of an edge of a paper or shadow session that runs on new bars; 20 is the threshold.

    \b
    Example:
        peak-trade session list

    Exits 0.
    """
    from peak_trade.sessions.store import sessions_folder, summaries

    folder, found = sessions_folder(), summaries()
    edges = _e_values(found, folder)
    output.show(
        found,
        as_json,
        lambda found: _list_page(found, folder, edges),
        lambda found: [each | {"e": edges.get(each["session_id"])} for each in _list_content(found)],
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
    from peak_trade.core.causality import outcomes_of
    from peak_trade.sessions.store import describe

    edge = _edge(session)

    def page(found: SessionDescription) -> output.Page:
        yield _summary_table(found.summary)
        yield from (each.sentence for each in outcomes_of(found.manifest))
        yield from found.manifest.get("holdouts", ())
        yield from [] if edge is None else [edge.sentence]
        yield from filter(None, [found.denials])
        yield from found.recent

    def content(found: SessionDescription) -> dict[str, Any]:
        return asdict(found) | {
            "summary": _list_content([found.summary])[0],
            "edge": None if edge is None else edge.to_dict(),
        }

    output.show(describe(session), as_json, page, content)


def _e_values(found: Sequence[SessionSummary], folder: Path) -> dict[str, float | None]:
    """Return the evidence of an edge of the paper and shadow sessions by id; without one, pandas is not loaded."""
    tested = [each.session_id for each in found if each.mode in ("paper", "shadow")]
    if not tested:
        return {}
    from peak_trade.sessions.edge import e_value_of

    return {name: e_value_of(folder / name) for name in tested}


def _edge(session: str) -> EdgeEvidence | None:
    from peak_trade.sessions.edge import edge_of
    from peak_trade.sessions.store import find_session

    return edge_of(find_session(session))


def seconds_of(duration: str | None) -> int | None:
    """Return a duration like 10m in seconds; ConfigError for other text."""
    if duration is None:
        return None
    seconds = parse_seconds(duration)
    if seconds is None:
        raise ConfigError(f"duration was {duration!r}: write a number and a unit, like 90s, 10m, 4h or 1d.")
    return seconds


def _pace(pace: str | None) -> float | None:
    if pace is None:
        return None
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)x?", pace)
    if match is None or float(match[1]) == 0.0:
        raise ConfigError(f"pace was {pace!r}: write a factor of the original speed, like 60x.")
    return float(match[1])


@contextmanager
def _metrics(port: int | None) -> Iterator[Callable[[Path], None]]:
    """Yield a function that takes the folder of the session once it has started, and serve its metrics on a port."""
    if port is None:
        yield lambda folder: output.show_notes()
        return
    require("the exporter", "prometheus_client")
    from peak_trade.observability.exporter import Exporter
    from peak_trade.observability.server import serving

    exporter = Exporter([])

    def follow(folder: Path) -> None:
        output.show_notes()
        exporter.follow(folder)

    with serving(exporter.text, "127.0.0.1", port, "--metrics-port"):
        yield follow


@contextmanager
def _live_view(quiet: bool) -> Iterator[tuple[StopSwitch, Callable[[Status], None]]]:
    """Yield a switch that Ctrl-C turns, and a function that shows the status of the session in the terminal."""
    from peak_trade.sessions.control.stop_switch import StopSwitch

    switch, is_second = StopSwitch(), False

    def on_signal(_number: int, _frame: Any) -> None:
        nonlocal is_second
        if is_second:
            raise KeyboardInterrupt
        is_second = True
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


def _finish(outcome: SessionResult | Decision, record: bool, as_json: bool) -> None:
    """Show the result of a session, or the requirements that a refused one does not meet."""
    from peak_trade.governance.decision import Decision

    if isinstance(outcome, Decision):
        output.show(outcome, as_json, refusal, checklist_content)
        raise typer.Exit(1)
    _show_outcome(outcome, record, as_json)


def _show_outcome(outcome: SessionResult, record: bool, as_json: bool) -> None:
    from peak_trade.studies.recording import record_session, session_record

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
        record_session(entry, outcome.folder)


def _outcome_page(outcome: SessionResult, run_id: str | None) -> output.Page:
    from peak_trade.journal.files import read_manifest
    from peak_trade.studies.trials import trials_sentence

    status, digests = outcome.status, read_manifest(outcome.folder)["digests"]
    yield (
        f"{outcome.folder.name}: {outcome.reason}; {status.n_bars:,} bars, {status.n_fills:,} fills, "
        f"{status.n_denials:,} denials, equity {status.equity:,.2f} ({status.pnl:+,.2f})."
    )
    yield from outcome.notes
    if "data" in digests:  # bars of a recording
        yield trials_sentence(digests)
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


def _chain_faults() -> list[str]:
    from peak_trade.sessions.store import check_sessions

    try:
        faults = check_sessions().faults
    except SessionError as error:
        faults = (str(error),)
    more = (
        [f"{len(faults) - _N_FAULTS:,} more faults; see `peak-trade audit verify`."] if len(faults) > _N_FAULTS else []
    )
    return [*faults[:_N_FAULTS], *more]


_N_FAULTS = 5
"""Largest number of faults of the chain that the list of sessions names."""


def _list_page(found: Sequence[SessionSummary], folder: Path, edges: Mapping[str, float | None]) -> output.Page:
    yield from _chain_faults()
    if not found:
        yield f"There are no sessions in {folder}. Start one with `peak-trade session run`."
        return
    yield from output.aligned(
        ("session", "state", "bars", "last bar", "fills", "denials", "equity", "e"),
        [
            (
                each.session_id,
                each.state,
                each.n_bars,
                iso(each.last_bar) if each.last_bar else "",
                each.n_fills,
                each.n_denials,
                output.cell(each.equity, "{:,.2f}"),
                output.cell(edges.get(each.session_id), "{:,.3g}"),
            )
            for each in found
        ],
        right=("bars", "fills", "denials", "equity", "e"),
    )
    for each in found:
        if each.state == "unreadable":
            yield f"{each.session_id} is unreadable; see `peak-trade audit verify {each.session_id}`."


def _list_content(found: Sequence[SessionSummary]) -> list[dict[str, Any]]:
    deprecated.note_former_keys(deprecated.SESSION_KEYS)
    former = deprecated.SESSION_KEYS.items()
    return [asdict(each) | {old: ", ".join(getattr(each, new)) for old, new in former} for each in found]


def _summary_table(summary: SessionSummary) -> output.Table:
    values = asdict(summary)
    for name in ("strategies", "symbols"):
        values[name] = ", ".join(values[name])
    for name in ("started", "last_bar"):
        values[name] = iso(values[name]) if values[name] else None
    values["equity"] = output.cell(summary.equity, "{:,.2f}")
    return output.Table(("field", "value"), [(name.replace("_", " "), value) for name, value in values.items()])
