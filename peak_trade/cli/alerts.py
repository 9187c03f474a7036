"""`peak-trade alerts`: rehearse the alerts of Prometheus over recorded sessions."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app
from peak_trade.core.extras import require
from peak_trade.core.time import iso

if TYPE_CHECKING:
    from peak_trade.observability.rehearsal import Rehearsal

app = verb_app()


@app.callback()
def _alerts() -> None:
    pass


@app.command()
def rehearse(
    session: options.SessionName,
    speed: Annotated[
        float | None,
        typer.Option(
            metavar="FACTOR",
            help="Seconds of the session in one second of the rules.",
            show_default="1, or more for a session of more than 41 hours",
        ),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the rule files.", show_default="config/observability/rules"),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Print which alerts would have fired in a session.

    The session is sampled from its journal every 15 seconds, as Prometheus would have scraped it, and `promtool test
    rules` evaluates the rule files over these samples. promtool is part of Prometheus. At --speed 240 an evaluation is
    an hour of the session, and a rule that waits for one minute waits for four: for a session over hourly bars.

    \b
    Example:
        peak-trade alerts rehearse 20251221_220016 --speed 240

    Exits 0 when no alert fires, 1 when one does, 2 on bad input or when promtool is not installed.
    """
    require("the rehearsal of alerts", "prometheus_client", "yaml", extra="observability")
    from peak_trade.observability.recorded import read_recorded
    from peak_trade.observability.rehearsal import rehearse as run_rehearsal

    done = run_rehearsal(read_recorded(session), speed, rules)
    output.show(done, as_json, _page, _content)
    if done.firings:
        raise typer.Exit(1)


def _page(done: Rehearsal) -> output.Page:
    yield from done.sentences()
    if not done.firings:
        return
    rows = [
        (
            each.alert,
            each.severity,
            iso(each.fired),
            "still firing" if each.resolved is None else iso(each.resolved),
            str(timedelta(seconds=done.duration(each))),
            ", ".join(f"{name}={value}" for name, value in each.labels.items()),
        )
        for each in done.firings
    ]
    columns = ("alert", "severity", "fired", "resolved", "duration", "labels")
    yield output.Table(columns, rows, title=output.count(len(rows), "firing"), right=("duration",))


def _content(done: Rehearsal) -> dict[str, Any]:
    firings = [
        asdict(each)
        | {
            "fired": iso(each.fired),
            "resolved": None if each.resolved is None else iso(each.resolved),
            "seconds": done.duration(each),
        }
        for each in done.firings
    ]
    return asdict(done) | {"start": iso(done.start), "end": iso(done.end), "firings": firings}
