"""`peak-trade report`: run notebooks with typed parameters, and list notebooks and executed notebooks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options, output
from peak_trade.cli.verbs import verb_app

if TYPE_CHECKING:
    from peak_trade.reports.notebooks import Notebook, ReportRun

app = verb_app()


@app.command("run")
def run(
    notebook: Annotated[
        str,
        typer.Argument(
            metavar="NOTEBOOK",
            help="Name of a notebook, see `peak-trade report list --notebooks`, or a path that ends with .ipynb.",
        ),
    ],
    copy: Annotated[
        Path | None, typer.Argument(metavar="[OUTPUT]", help="File for a copy of the executed notebook.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Notebook parameter. Repeat for several."),
    ] = None,
    parameters_file: Annotated[
        Path | None,
        typer.Option(
            "--parameters-file", "-f", metavar="FILE", help="YAML file with notebook parameters; -p overrides them."
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Run even if nothing changed since the last run.")] = False,
    open_holdout: options.OpenHoldout = False,
    as_json: options.AsJson = False,
) -> None:
    """Run a notebook and keep it, executed, in reports/runs.

    The parameters are checked against the types in the notebook before a kernel starts. A notebook runs again only
    when one of its inputs changed: the notebook, its parameters, the files that they name, its data, the code or the
    environment. A failed notebook is kept, too, and its page shows the cell that failed. `peak-trade site build` makes
    the pages.

    A notebook at a path may lie in any folder; its cells run in the current one.

    \b
    Examples:
        peak-trade report run strategy_backtest -p symbol=BTC/USDT -p strategy_parameters.fast=10
        peak-trade report run ideas/reversal.ipynb done/reversal.ipynb -f ideas/reversal.yaml

    Exits 0 when every cell ran, 1 when one failed, 2 on bad input.
    """
    from peak_trade.reports import notebooks, parameters

    found = notebooks.find_notebook(notebook)
    given = {} if parameters_file is None else parameters.read_values(parameters_file)
    given |= parameters.parse_assignments(found.parameters, parameter or [], notebook)
    done = notebooks.run_report(notebook, given, force=force, progress=sys.stderr.isatty(), output=copy)
    output.show(done, as_json, lambda done: [_line(done)], _run_content)
    if done.is_failed:
        raise typer.Exit(1)


@app.command("list")
def list_(
    notebooks: Annotated[
        bool, typer.Option("--notebooks", help="List the notebooks and their parameters instead.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """List the executed notebooks in reports/runs, newest first.

    With --notebooks, list the notebooks that can be run, with their parameters and defaults.

    \b
    Example:
        peak-trade report list --notebooks

    Exits 0, or 2 when a file in the folder is not a notebook of `report run`.
    """
    from peak_trade.reports.notebooks import list_notebooks, list_report_runs

    if notebooks:
        output.show(list_notebooks(), as_json, _notebooks_page, lambda found: list(map(_notebook_content, found)))
    else:
        output.show(list_report_runs(), as_json, _runs_page, lambda runs: list(map(_run_content, runs)))


def _runs_page(runs: Sequence[ReportRun]) -> output.Page:
    yield from map(_line, runs)
    if not runs:
        yield "No notebook has been run. Run one with `peak-trade report run strategy_backtest`."


def _notebooks_page(found: Sequence[Notebook]) -> output.Page:
    for notebook in found:
        yield output.Table(
            ("parameter", "type", "values", "default", "meaning"),
            [
                (each.name, each.annotation, each.values, repr(each.default), each.comment)
                for each in notebook.parameters.values()
            ],
            f"{notebook.name}: {notebook.title}, version {notebook.version}",
        )
    if not found:
        yield "The folder notebooks has no notebooks. Create a workspace with `peak-trade init DIR`."


def _line(run: ReportRun) -> str:
    if run.is_failed:
        return f"{run.path}  failed in code cell {run.failed_cell}: {run.error}"
    state = "unchanged since" if run.is_cached else "ran"
    return f"{run.path}  {state} {run.executed_at}, {run.seconds:g} s"


def _run_content(run: ReportRun) -> dict[str, Any]:
    return asdict(run) | {"is_failed": run.is_failed}


def _notebook_content(notebook: Notebook) -> dict[str, Any]:
    return asdict(notebook) | {"parameters": [asdict(each) for each in notebook.parameters.values()]}
