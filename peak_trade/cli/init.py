"""`peak-trade init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app

app = verb_app()


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create. It must be new or empty.")],
    as_json: options.AsJson = False,
) -> None:
    """Create a workspace with notebooks and example run files.

    Run the other verbs inside it: bars, runs and sessions are written to its folder `.peak_trade`.

    \b
    Example:
        peak-trade init research

    Exits 0 when the workspace is created, 2 when DIR is not empty or cannot be written.
    """
    from peak_trade.data.workspace import make_workspace

    output.show(
        make_workspace(folder),
        as_json,
        lambda files: [
            f"{folder}: {len(files):,} files. Next:",
            f"  cd {folder} && peak-trade data sample && peak-trade data list",
        ],
        lambda files: {"folder": folder, "n_files": len(files)},
    )
