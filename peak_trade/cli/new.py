"""`peak-trade new`: write a strategy or a notebook to start from."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app

Folder = Annotated[Path | None, typer.Option("--folder", metavar="DIR", help="Existing folder of the new files.")]

app = verb_app()


@app.command()
def strategy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name in small letters, for example fast_reversal.")],
    folder: Folder = None,
    as_json: options.AsJson = False,
) -> None:
    """Write a strategy that works, and its test.

    The strategy is NAME.py in the current folder, its test test_NAME.py. It is long above a mean; replace this rule
    with your own. The test checks it for look-ahead.

    \b
    Example:
        peak-trade new strategy fast_reversal

    Exits 0 when both files are written, 2 when the name is taken or malformed, or the folder cannot be written.
    """
    from peak_trade.studies.new_files import new_strategy

    files = new_strategy(name, folder or Path())
    part = f"{name}:{''.join(each.capitalize() for each in name.split('_'))}"
    install = [] if find_spec("pytest") else ["python -m pip install pytest"]
    _show(files, [f"peak-trade check strategy {part}", *install, f"python -m pytest {files[1]}"], as_json)


@app.command()
def notebook(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name, for example reversal_study.")],
    folder: Folder = None,
    as_json: options.AsJson = False,
) -> None:
    """Write a notebook that backtests a strategy.

    The notebook is NAME.ipynb in the folder notebooks, or in the current folder if there is none. Its parameters are
    typed.

    \b
    Example:
        peak-trade new notebook reversal_study

    Exits 0 when the notebook is written, 2 when the name is taken or malformed, or the folder cannot be written.
    """
    from peak_trade.studies.new_files import new_notebook

    files = new_notebook(name, folder or (Path("notebooks") if Path("notebooks").is_dir() else Path()))
    _show(files, [f"peak-trade report run {files[0]} -p symbol=BTC/USDT"], as_json)


def _show(files: Sequence[Path], commands: Sequence[str], as_json: bool) -> None:
    written = f"Written: {', '.join(map(str, files))}. Next:"
    output.show(
        files,
        as_json,
        lambda files: [written, *(f"  {command}" for command in commands)],
        lambda files: {"files": [str(path) for path in files]},
    )
