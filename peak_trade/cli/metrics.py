"""`peak-trade metrics`: serve the metrics of sessions to Prometheus."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import until_stopped, verb_app
from peak_trade.core.extras import require

app = verb_app()


@app.callback()
def _metrics() -> None:
    pass


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = 9108,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines read.")] = "127.0.0.1",
    session: Annotated[
        list[str] | None,
        typer.Option(
            help="Session to show: its id, the beginning of it or its folder. Repeat for several.",
            show_default="those that run, or ended a short time ago",
        ),
    ] = None,
    label_session: Annotated[
        bool, typer.Option("--label-session", help="Give every session its own series, labeled with its id.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Serve the metrics of sessions to Prometheus until Ctrl-C.

    The exporter follows the journals of the sessions and changes nothing. A session is shown while it runs, for an hour
    after its end and for seven days after an interruption.

    \b
    Examples:
        peak-trade metrics serve --port 9108
        peak-trade metrics serve --session 20251221_220016 --label-session

    Exits 0 after Ctrl-C or SIGTERM, 2 on bad input or when the port is taken.
    """
    require("the exporter", "prometheus_client")
    from peak_trade.observability.exporter import Exporter, find_folders
    from peak_trade.observability.server import serving

    exporter = Exporter(None if session is None else find_folders(session), label_session=label_session)
    with until_stopped(), serving(exporter.text, host, port, "--port") as taken:
        url = f"http://{host}:{taken}/metrics"
        output.show(url, as_json, lambda url: [f"Metrics at {url}. Stop with Ctrl-C."], lambda url: {"url": url})
        threading.Event().wait()
    output.error("stopped")
