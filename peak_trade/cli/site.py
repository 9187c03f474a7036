"""`peak-trade site …`: build the site of executed notebooks and documents."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from peak_trade.cli.verbs import verb_app

app = verb_app()


@app.callback()
def _root() -> None:
    pass


@app.command("build")
def build(
    renderer: Annotated[
        Literal["auto", "quarto", "nbconvert"],
        typer.Option(help="quarto (1.7 or later), nbconvert (the same, plainly), or whichever is there."),
    ] = "auto",
) -> None:
    """Render executed notebooks, the index of runs and the documents into reports/site.

    Only what changed is rendered again. The pages need no server and no network; each says what rendered it.

    \b
    Example:
        peak-trade site build --renderer auto

    Exits 0 when the site is there, 2 when it can not be built.
    """
    from peak_trade.reports.site.build import build_site

    site = build_site(renderer=renderer, progress=lambda what: typer.echo(f"render {what}", err=True))
    if site.notice:
        typer.echo(site.notice, err=True)
    typer.echo(f"{site.n_pages} pages, {len(site.rendered)} rendered now by {site.renderer}. Open {site.index}")
