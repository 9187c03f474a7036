"""Batches of reports: several notebooks, each with one or many sets of parameters, in processes or on a Dask cluster.

Every set is checked before the first kernel starts. A report that was made before is not made again, so that a batch
that was interrupted continues when it is started again.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.errors import ConfigError, PeakTradeError, WorkerError, did_you_mean
from peak_trade.core.executor import Executor
from peak_trade.core.extras import require
from peak_trade.core.files import make_folder
from peak_trade.core.progress import progress
from peak_trade.core.settings import Settings, read_toml
from peak_trade.data.holdout import OPENING
from peak_trade.data.workspace import workspace
from peak_trade.reports.notebooks import (
    LOCKS,
    Notebook,
    ReportPlan,
    ReportRun,
    earlier_run,
    find_notebook,
    has_grown,
    plan_report,
    run_plan,
)
from peak_trade.reports.parameters import without_dates
from peak_trade.wiring.parameter_space import listed_values

MOST_UNCONFIRMED = 100
"""Most reports of a batch that run without a confirmation."""
MOST_REPORTS = 10_000
"""Most reports of a batch."""
KERNEL_SECONDS = 1.0
"""The least time that a report takes, that of starting its kernel: two reports are worth a process each."""
_ENVIRONMENT = ("PEAK_TRADE_HOME", "MLFLOW_TRACKING_URI", OPENING)
"""Environment variables that a report depends on, which a worker of a cluster takes from the command."""


class ReportSettings(Settings):
    """A notebook of a batch, with its parameters."""

    notebook: str
    """Name of a notebook in `notebooks/`, or a path that ends with .ipynb."""

    parameters: Mapping[str, Any] = {}
    """Values that differ from the notebook's defaults."""

    grid: Mapping[str, Any] = {}
    """Parameters with several values: a list, or a range of numbers such as "5..50:5". One report is made for each
    combination. The values of a dict parameter are those of its keys, as in `strategy_parameters.fast = [5, 10]`."""


@dataclass(frozen=True, slots=True)
class BatchReport:
    """A report of a batch: the number of its entry, from 1, its notebook and parameters, and the executed notebook.

    `run` is None if there is no executed notebook, which `error` explains.
    """

    entry: int
    notebook: str
    parameters: dict[str, Any]
    run: ReportRun | None
    error: str = ""

    @property
    def is_failed(self) -> bool:
        """True if a cell raised an exception, or there is no executed notebook."""
        return self.run is None or self.run.is_failed

    @property
    def is_unchanged(self) -> bool:
        """True if the report was made before, and no kernel was started."""
        return self.run is not None and self.run.is_cached


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The reports of a batch, in the order of its entries, and where they ran.

    `n_grown` is the number of reports that show fewer trials than there are now on their bars, or an earlier outcome of
    the check for look-ahead.
    """

    reports: tuple[BatchReport, ...]
    execution: str
    n_grown: int

    @property
    def n_failed(self) -> int:
        """Number of reports that failed."""
        return sum(each.is_failed for each in self.reports)

    @property
    def n_unchanged(self) -> int:
        """Number of reports that were made before."""
        return sum(each.is_unchanged for each in self.reports)

    @property
    def n_ran(self) -> int:
        """Number of reports that were made without a failure."""
        return len(self.reports) - self.n_failed - self.n_unchanged


def read_batch(path: Path) -> list[ReportSettings]:
    """Read the `[[report]]` tables of a TOML file.

    Raises
    ------
    ConfigError
        If the file can not be read, has no such table, or has anything else; the message names file and table.

    """
    content = read_toml(path)
    for name in content:
        if name != "report":
            raise ConfigError(f"{path}: {name} is not a setting. {did_you_mean(name, ['report'])}")
    tables = content.get("report")
    if not isinstance(tables, list) or not tables:
        raise ConfigError(f'{path}: it has no report. Write a table [[report]] with notebook = "…" for each notebook.')
    return [
        ReportSettings.parse(without_dates(table), f"{path}: [[report]] {number}")
        for number, table in enumerate(tables, start=1)
    ]


@checks_arguments()
def run_reports(
    reports: Path | str | Sequence[ReportSettings],
    root: Path = Path(),
    *,
    force: bool = False,
    renew: bool = False,
    is_confirmed: bool = False,
    n_processes: int | None = None,
    cluster: str = "",
) -> BatchResult:
    """Run notebooks with sets of parameters, each unless it was run before with the same inputs.

    Parameters
    ----------
    reports : Path or str, or sequence of ReportSettings
        A batch file, or its entries. Each is one report, or one per combination of its grid, with the last parameter
        varying fastest.
    root : Path
        The project folder; see `run_report`.
    force : bool
        Run every notebook, also those that were run before.
    renew : bool
        Run those, too, that show fewer trials than there are now on their bars, or an earlier outcome of the check for
        look-ahead. The backtest of each report is a trial, which those before it on the same bars do not show.
    is_confirmed : bool
        Run more than `MOST_UNCONFIRMED` reports.
    n_processes : int, optional
        Number of reports that run at the same time, each in a process with a kernel; see `Executor`.
    cluster : str
        Address of a Dask scheduler, whose workers share the project folder and the workspace with this machine, and run
        one task at a time; empty for none.

    Returns
    -------
    BatchResult
        A report fails if one of its cells does, if it can not be run any more when its turn comes, or if it ended its
        process three times. The others run on.

    Raises
    ------
    ConfigError, DataError
        Before a kernel starts: a batch file that can not be read, what `run_report` raises for an entry, no entry or
        too many reports, two equal reports, or a worker that does not share the folders. The message has the number of
        the entry.
    WorkerError
        If the cluster is lost.

    Notes
    -----
    What has finished when a batch is interrupted is kept, and its kernels are ended. A cluster finishes the reports
    that its workers have begun.

    """
    require("a notebook", "papermill", "ipykernel")
    executor = Executor(n_processes, cluster)
    if isinstance(reports, Path | str):
        plans = _plans(read_batch(Path(reports)), root, is_confirmed, f"{reports}: [[report]]")
    else:
        plans = _plans(reports, root, is_confirmed, "report")
    found: dict[int, ReportRun | str] = {}
    for place, (_, _, plan) in enumerate(plans):
        earlier = None if force else earlier_run(plan, renew=renew)
        if earlier is not None:
            found[place] = earlier
    left = [place for place in range(len(plans)) if place not in found]
    if len(left) > 1 and not cluster:
        import papermill  # noqa: F401 # its import takes a second, and processes inherit it
    tasks = [(plans[place][1], plans[place][2].parameters) for place in left]
    with progress("report batch", "reports") as on_progress, _sharing(root, force, renew, cluster) as setup:
        on_progress(0, len(left))
        results = executor.run(
            _run,
            setup,
            tasks,
            seconds_per_task=KERNEL_SECONDS,
            on_death=lambda _, error: str(error),
            worker_fault=_fault,
        )
        try:
            with closing(results):
                for n_done, (place, result) in enumerate(results, start=1):
                    found[left[place]] = result
                    on_progress(n_done, len(left))
        except (KeyboardInterrupt, SystemExit, WorkerError):
            logging.getLogger("peak_trade").warning(
                f"batch interrupted: {len(found):,} of {len(plans):,} reports are kept, and the same batch continues "
                "there."
            )
            raise
    return _result(plans, found, executor.summary)


_Plan = tuple[int, str, ReportPlan]
"""Number of an entry, the name of its notebook as it was given, and one of its reports."""


def _plans(reports: Sequence[ReportSettings], root: Path, is_confirmed: bool, where: str) -> list[_Plan]:
    """Return every report of the entries; an error with the number of the entry if one can not run."""
    if not reports:
        raise ConfigError("the batch has no report. Give at least one.")
    grids = []
    for number, report in enumerate(reports, start=1):
        with _naming(where, number):
            notebook = find_notebook(report.notebook, root)
            grids.append(_grid(report, notebook))
    n_reports = sum(math.prod(map(len, grid.values())) for grid in grids)
    if n_reports > MOST_REPORTS:
        raise ConfigError(f"the batch has {n_reports:,} reports, more than {MOST_REPORTS:,}. Give fewer values.")
    if n_reports > MOST_UNCONFIRMED and not is_confirmed:
        raise ConfigError(
            f"the batch has {n_reports:,} reports, more than {MOST_UNCONFIRMED}. Confirm it with --yes "
            "(is_confirmed=True), or give fewer values."
        )
    plans: list[_Plan] = []
    number_of: dict[Path, int] = {}
    with progress("check of the batch", "reports") as on_progress:
        for number, (report, grid) in enumerate(zip(reports, grids, strict=True), start=1):
            for parameters in _sets(report, grid):
                with _naming(where, number):
                    plan = plan_report(report.notebook, parameters, root)
                    _require_new(plan, number, number_of, where)
                plans.append((number, report.notebook, plan))
                on_progress(len(plans), n_reports)
    return plans


@contextmanager
def _naming(where: str, number: int) -> Iterator[None]:
    """Put the number of an entry before the message of an error."""
    try:
        yield
    except PeakTradeError as error:
        raise type(error)(f"{where} {number}: {error}") from None


def _require_new(plan: ReportPlan, number: int, number_of: dict[Path, int], where: str) -> None:
    if plan.path in number_of:
        earlier = number_of[plan.path]
        other = f"as {where} {earlier}" if earlier != number else "twice in its grid"
        raise ConfigError(f"the same report {other}, {plan.notebook.name} with equal parameters. Remove one of them.")
    number_of[plan.path] = number


_Key = tuple[str, ...]
"""Name of a parameter, or of a dict parameter and a key in it."""


def _grid(report: ReportSettings, notebook: Notebook) -> dict[_Key, list[Any]]:
    """Return the values of each parameter of a grid."""
    grid: dict[_Key, list[Any]] = {}
    for name, values in report.grid.items():
        if name not in notebook.parameters:
            raise ConfigError(f"{notebook.name}: {name} is not a parameter. {did_you_mean(name, notebook.parameters)}")
        kind = notebook.parameters[name].type_name
        if kind == "dict" and isinstance(values, Mapping):
            for key, listed in values.items():
                grid[name, key] = listed_values(listed, f"{notebook.name}: {name}.{key}")
        elif kind in ("int", "float") or not isinstance(values, list) or not values:
            grid[name,] = listed_values(values, f"{notebook.name}: {name}")
        else:
            grid[name,] = values
    for name, *keys in grid:
        given = report.parameters.get(name)
        if name in report.parameters and (not keys or (isinstance(given, Mapping) and keys[0] in given)):
            named = ".".join([name, *keys])
            raise ConfigError(f"{notebook.name}: {named} is in parameters and in grid. Give it in one of them.")
    return grid


def _sets(report: ReportSettings, grid: Mapping[_Key, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Yield the parameters of each report of an entry."""
    for values in product(*grid.values()):
        parameters = deepcopy(dict(report.parameters))
        for (name, *keys), value in zip(grid, values, strict=True):
            if keys:
                parameters.setdefault(name, {})[keys[0]] = value
            else:
                parameters[name] = value
        yield parameters


@dataclass(frozen=True, slots=True)
class _Setup:
    """What every report of a batch shares: the project folder, the options, and the place of the command.

    `marks` are files that were made for a cluster: a worker that sees them shares the folders of the command.
    """

    root: Path
    force: bool
    renew: bool
    folder: str
    environment: Mapping[str, str | None]
    marks: tuple[Path, ...] = ()


@contextmanager
def _sharing(root: Path, force: bool, renew: bool, cluster: str) -> Iterator[_Setup]:
    setup = _Setup(root, force, renew, os.getcwd(), {name: os.environ.get(name) for name in _ENVIRONMENT})
    if not cluster:
        yield setup
        return
    name = f".shared-{secrets.token_hex(8)}"
    marks = tuple(folder.absolute() / name for folder in (root / LOCKS, workspace()))
    try:
        for mark in marks:
            make_folder(mark.parent)
            mark.touch()
        yield replace(setup, marks=marks)
    finally:
        for mark in marks:
            mark.unlink(missing_ok=True)


def _fault(setup: _Setup, dask_worker: Any) -> str:
    """Return why a worker of a cluster can not run reports; empty if it can."""
    for mark in setup.marks:
        if not mark.is_file():
            return f"does not see the folder {mark.parent} of this machine. Share it under the same path."
    n_threads = dask_worker.state.nthreads
    return f"runs {n_threads} tasks at a time in one process. Start it with --nthreads 1." if n_threads > 1 else ""


def _run(setup: _Setup, task: tuple[str, dict[str, Any]]) -> ReportRun | str:
    """Run one report; return why it could not be run, if so."""
    name, parameters = task
    unseen = next((mark.parent for mark in setup.marks if not mark.is_file()), None)
    if unseen is not None:
        return f"the worker does not see the folder {unseen}. Share it under the same path."
    with _place_of(setup):
        try:
            return run_plan(plan_report(name, parameters, setup.root), force=setup.force, renew=setup.renew)
        except PeakTradeError as error:
            return str(error)


@contextmanager
def _place_of(setup: _Setup) -> Iterator[None]:
    """Let this process have the folder and the environment of the command, from which a worker of a cluster differs."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    with contextlib.chdir(setup.folder):
        _set_environment(setup.environment)
        try:
            yield
        finally:
            _set_environment(before)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _result(plans: Sequence[_Plan], found: Mapping[int, ReportRun | str], execution: str) -> BatchResult:
    reports = []
    for place, (number, _, plan) in enumerate(plans):
        result = found[place]
        about = partial(BatchReport, number, plan.notebook.name, plan.parameters)
        reports.append(about(None, result) if isinstance(result, str) else about(result))
    n_grown = sum(each.run is not None and not each.is_failed and has_grown(each.run) for each in reports)
    return BatchResult(tuple(reports), execution, n_grown)
