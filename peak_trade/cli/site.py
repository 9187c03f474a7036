"""`peak-trade site`: build the site of executed notebooks and documents, and serve it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import until_stopped, verb_app

app = verb_app()


@app.callback()
def _site() -> None:
    pass


@app.command("build")
def build(
    renderer: Annotated[
        Literal["auto", "quarto", "nbconvert"],
        typer.Option(help="quarto (1.7 or later), nbconvert (plain pages), or auto: quarto if it is installed."),
    ] = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Build the pages of the site in reports/site.

    They are the executed notebooks, the index of runs and the documents. Only pages that changed are rendered
    again. They need no server and no network, and each names its renderer.

    \b
    Example:
        peak-trade site build --renderer auto

    Exits 0 when the site is built, 2 when it cannot be built.
    """
    from peak_trade.reports.site.build import build_site

    site = build_site(renderer=renderer, progress=lambda page: typer.echo(f"render {page}", err=True))
    if site.notice:
        output.note(site.notice)
    output.show(
        site,
        as_json,
        lambda site: [
            f"{output.count(site.n_pages, 'page')}, {len(site.rendered):,} rendered now by {site.renderer}.",
            f"Open {site.index}.",
        ],
        asdict,
    )


@app.command("serve")
def serve(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = 8501,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines read.")] = "127.0.0.1",
    as_json: options.AsJson = False,
) -> None:
    """Serve the built site, runs and sessions until Ctrl-C.

    The server only reads. It answers GET and HEAD, without a password: whoever reaches the address reads every run and
    session of the workspace. The runs are at /api/experiments, the sessions at /api/sessions, and the description of
    the interface is at /openapi.json.

    \b
    Example:
        peak-trade site serve --port 8501

    Exits 0 after Ctrl-C or SIGTERM, 2 when the site is not built or the port is taken.
    """
    from peak_trade.reports.server import make_app, open_socket, run_server

    with until_stopped(), open_socket(host, port) as listener:
        address, taken = listener.getsockname()[:2]
        site = make_app(address=address)
        url = f"http://{f'[{host}]' if ':' in host else host}:{taken}/"
        output.show(url, as_json, lambda url: [f"Site at {url}. Stop with Ctrl-C."], lambda url: {"url": url})
        run_server(site, listener)
    output.error("stopped")
