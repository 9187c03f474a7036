"""`peak-trade site`: build the site of executed notebooks and documents."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app

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
