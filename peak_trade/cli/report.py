"""`peak-trade report …`: run a notebook with typed parameters, and list notebooks and what was run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    from peak_trade.reports.notebooks import Notebook, ReportRun

app = verb_app()


@app.command("run")
def run(
    notebook: Annotated[str, typer.Argument(help="Name of a notebook in notebooks/; see `peak-trade report list`.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="name=value, by the notebook's type; may be given many times."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Run even if nothing changed since it was last run.")] = False,
) -> None:
    """Run a notebook and keep it, executed, under reports/runs.

    Parameters are held against the notebook's typed ones before a kernel starts. Nothing runs again while
    notebook, parameters, data, code and lock file are what they were. A notebook that fails is kept too, and
    its page shows the cell that failed. `peak-trade site build` makes the pages.

    \b
    Example:
        peak-trade report run strategy_backtest -p symbol=BTC/USDT -p strategy_parameters.fast=10

    Exits 0 when every cell ran, 1 when one failed, 2 on bad input.
    """
    from peak_trade.reports.notebooks import find_notebook, run_report
    from peak_trade.reports.parameters import parse_assignments

    found = find_notebook(notebook)
    given = parse_assignments(found.parameters, parameter or [], notebook)
    done = run_report(notebook, given, force=force, progress=True)
    typer.echo(_line(done))
    if done.is_failed:
        raise typer.Exit(1)


@app.command("list")
def list_(
    notebooks: Annotated[
        bool, typer.Option("--notebooks", help="List notebooks and their parameters, not runs.")
    ] = False,
) -> None:
    """List the executed notebooks under reports/runs, newest first; or the notebooks that can be run.

    \b
    Example:
        peak-trade report list --notebooks

    Exits 0, or 2 on bad input.
    """
    from peak_trade.reports.notebooks import list_notebooks, list_report_runs

    if notebooks:
        typer.echo("\n\n".join(map(_described, list_notebooks())) or f"There are no notebooks in {Path('notebooks')}.")
        return
    typer.echo(
        "\n".join(map(_line, list_report_runs())) or "Nothing was run yet: peak-trade report run strategy_backtest"
    )


def _line(run: ReportRun) -> str:
    if run.is_failed:
        state = f"failed in code cell {run.failed_cell}: {run.error}"
    else:
        state = "held since" if run.is_cached else "ran"
        state = f"{state} {run.executed_at}, {run.seconds:g} s"
    return f"{run.path}  {state}"


def _described(notebook: Notebook) -> str:
    lines = [f"{notebook.name}  {notebook.title}, version {notebook.version}"]
    lines += [
        f"  {part.name}: {part.annotation} = {part.default!r}  {part.comment}" for part in notebook.parameters.values()
    ]
    return "\n".join(lines)
