"""`peak-trade site`: build, publish and serve the site of executed notebooks and documents."""

from __future__ import annotations

from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import until_stopped, verb_app
from peak_trade.core.extras import require

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

    The site is checked: links and their anchors, loads from other hosts, names of folders of this machine, and the
    size of each page. It replaces the previous one in one step; a build that fails or is stopped changes nothing.

    \b
    Example:
        peak-trade site build --renderer auto

    Exits 0 when the site is built, 1 when it is built and the check found faults, 2 when it cannot be built.
    """
    from peak_trade.site.build import build_site

    site = build_site(renderer=renderer, progress=lambda page: typer.echo(f"render {page}", err=True))
    if site.notice:
        output.note(site.notice)
    output.show(
        site,
        as_json,
        lambda site: [
            f"{output.count(site.n_pages, 'page')}, {len(site.rendered):,} rendered now by {site.renderer}.",
            *site.faults,
            f"Open {site.index}.",
        ],
        asdict,
    )
    if site.faults:
        raise typer.Exit(1)


@app.command("publish")
def publish(
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder that is new, empty, or was published to before.")],
    keep: Annotated[int, typer.Option(min=1, help="Versions to keep, the new one included.")] = 5,
    as_json: options.AsJson = False,
) -> None:
    """Write a sealed version of the built site for a static host.

    The folder has one folder per version and index.html, which leads to the newest one. The name of a version has the
    digest of its manifest, and the manifest the digest of each file. An equal site is not copied again, and older
    versions are removed. A site with faults is not published, and an error or Ctrl-C leaves the folder as it was.
    GitHub Pages can serve a checkout: .git and CNAME stay as they are.

    \b
    Example:
        peak-trade site publish --to ../pages --keep 5

    Exits 0 when the site is published, 2 when it is not.
    """
    from peak_trade.site.publish import publish_site

    output.show(
        publish_site(to, keep),
        as_json,
        lambda made: [
            f"Version {made.version} with {output.count(made.n_files, 'file')} "
            + ("is published." if made.is_new else "is published already; nothing was copied."),
            f"{made.folder} holds {output.count(len(made.versions), 'version')}; {len(made.removed):,} removed.",
        ],
        asdict,
    )


@app.command("verify")
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of `peak-trade site publish`.")],
    as_json: options.AsJson = False,
) -> None:
    """Compare each published version with its manifest.

    \b
    Example:
        peak-trade site verify ../pages

    Exits 0 when each version is as it was published, 1 when a file was changed, added or removed, 2 when the folder
    has no versions.
    """
    from peak_trade.site.publish import verify_publication

    found = verify_publication(folder)
    whole = f"{output.count(len(found.versions), 'version')}, each as it was published."
    output.show(found, as_json, lambda found: found.faults or [whole], asdict)
    if found.faults:
        raise typer.Exit(1)


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

    Exits 0 after Ctrl-C or SIGTERM, 2 when the site is not built, the port is taken or the host is no address of this
    machine.
    """
    require("the server", "fastapi", "uvicorn")
    from peak_trade.site.server import make_app, open_socket, run_server

    with until_stopped(), open_socket(host, port) as listener:
        address, taken = listener.getsockname()[:2]
        site = make_app(address=address)
        url = f"http://{f'[{host}]' if ':' in host else host}:{taken}/"
        if not ip_address(address).is_loopback:
            output.note("who reaches this address reads every run and session, without a password and encryption.")
        output.show(url, as_json, lambda url: [f"Site at {url}. Stop with Ctrl-C."], lambda url: {"url": url})
        run_server(site, listener)
    output.error("stopped")
