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
    from peak_trade.reports.batch import BatchResult
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


@app.command("batch")
def batch(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Batch file in TOML, for example config/reports/ma_crossover.toml."),
    ],
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes", help="Notebooks that run at the same time.", min=1, show_default="one per CPU core"
        ),
    ] = None,
    cluster: options.Cluster = "",
    force: Annotated[bool, typer.Option(help="Run every notebook, also where nothing changed.")] = False,
    renew: Annotated[
        bool,
        typer.Option("--renew", help="Run those, too, that show fewer trials than there are now on their bars."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Run a batch of more than 100 reports.")] = False,
    open_holdout: options.OpenHoldout = False,
    as_json: options.AsJson = False,
) -> None:
    """Run the notebooks that a file lists.

    Each table [[report]] of the file names a notebook and its parameters. A grid of values makes one report per
    combination. All are checked before the first kernel starts, and several run at the same time. A report that was
    made before with the same inputs is not made again, so a batch continues where Ctrl-C or an error ended it. A
    notebook that fails is kept, and the others run on.

    The workers of a cluster share the folder of the project and the workspace with this machine.

    \b
    Examples:
        peak-trade report batch config/reports/ma_crossover.toml --processes 2
        peak-trade report batch config/reports/ma_crossover.toml --cluster tcp://10.0.0.5:8786

    Exits 0 when every notebook ran or is unchanged, 1 when one failed, 2 on bad input.
    """
    from peak_trade.reports.batch import run_reports

    done = run_reports(file, force=force, renew=renew, is_confirmed=yes, n_processes=processes, cluster=cluster)
    output.show(done, as_json, _batch_page, _batch_content)
    if done.n_failed:
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


def _batch_page(done: BatchResult) -> output.Page:
    for each in done.reports:
        yield f"{each.notebook}  failed: {each.error}" if each.run is None else _line(each.run)
    total = output.count(len(done.reports), "report")
    where = "" if done.n_unchanged == len(done.reports) else f"; {done.execution}"
    yield f"{total}: {done.n_ran:,} ran, {done.n_unchanged:,} unchanged, {done.n_failed:,} failed{where}."
    if done.n_grown:
        verb = "shows" if done.n_grown == 1 else "show"
        yield (
            f"{output.count(done.n_grown, 'report')} {verb} fewer trials than there are now on the same bars, or an "
            "earlier check for look-ahead. Run the batch with --renew to make them again."
        )


def _batch_content(done: BatchResult) -> dict[str, Any]:
    return {
        "n_ran": done.n_ran,
        "n_unchanged": done.n_unchanged,
        "n_failed": done.n_failed,
        "n_grown": done.n_grown,
        "execution": done.execution,
        "reports": [
            {
                "entry": each.entry,
                "notebook": each.notebook,
                "parameters": each.parameters,
                "is_failed": each.is_failed,
                "error": each.error,
                "run": None if each.run is None else _run_content(each.run),
            }
            for each in done.reports
        ],
    }


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
