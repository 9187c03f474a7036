"""`peak-trade init`: a workspace for someone who has only installed the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from peak_trade.cli.verbs import verb_app

app = verb_app()


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is new or empty.")]) -> None:
    """Create a workspace with notebooks and example run files.

    Work inside it: bars, runs and sessions go to its `.peak_trade` folder.

    \b
    Example:
        peak-trade init research

    Exits 0 when the workspace is made, 2 when DIR holds anything already or can't be written.
    """
    from peak_trade.data.workspace import make_workspace

    made = make_workspace(folder)
    typer.echo(f"{folder}: {len(made)} files. Next:")
    typer.echo(f"  cd {folder} && peak-trade data sample && peak-trade data list")
