"""Execution of notebooks with typed parameters, once per combination of inputs.

The inputs are the notebook's cells, its parameters, the files that they name, the files that those name, bars, code,
lock file and environment, and what grows after the run that it shows. The executed notebook in `reports/runs/` holds
the notebook's version and digest, the parameters, the digests of the inputs and, if a cell failed, that cell and its
error.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peak_trade.core.digest import digest_bytes, digest_of, package_digest
from peak_trade.core.errors import ConfigError, ReportError, did_you_mean, quoted, shortened
from peak_trade.core.extras import require
from peak_trade.core.files import read_bytes, read_text, reason_of, write_text
from peak_trade.core.lock import held_lock
from peak_trade.core.settings import read_toml
from peak_trade.reports.display import RESULT_MIME
from peak_trade.reports.markup import markdown_text, templates_digest
from peak_trade.reports.parameters import Parameter, read_parameters, resolve

RUNS = Path("reports/runs")
LOCKS = Path("reports/.locks")
LOCK_FILE = Path("requirements.lock")
RUNNING = "PEAK_TRADE_NOTEBOOK"
"""Environment variable that names the running notebook to its kernel."""
WAIT_SECONDS = 3_600.0
"""Time that a run waits for a process that runs the same notebook with the same inputs."""


@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook of a project, with title and version from its front matter and its typed parameters."""

    name: str
    path: Path
    title: str
    version: str
    digest: str
    parameters: dict[str, Parameter]


@dataclass(frozen=True, slots=True)
class ReportPlan:
    """A notebook of a project with the checked value of each parameter, and the digests of all inputs."""

    notebook: Notebook
    parameters: dict[str, Any]
    digests: dict[str, str]
    root: Path

    @property
    def identity(self) -> str:
        """Digest of the parameters and of all other inputs."""
        return _identity(self.parameters, self.digests)

    @property
    def path(self) -> Path:
        """File of the executed notebook."""
        return self.root / RUNS / f"{self.notebook.name}-{self.identity[:12]}.ipynb"


@dataclass(frozen=True, slots=True)
class ReportRun:
    """An executed notebook.

    `failed_cell` is the number of the code cell that failed, counted from 1, or None. `is_cached` is True if an earlier
    execution was found and no kernel was started.
    """

    path: Path
    notebook: str
    title: str
    version: str
    notebook_digest: str
    key: str
    parameters: dict[str, Any]
    digests: dict[str, str]
    executed_at: str
    seconds: float
    run_id: str = ""
    failed_cell: int | None = None
    error: str = ""
    is_cached: bool = False

    @property
    def slug(self) -> str:
        """Name of the file and of the page, without suffix."""
        return self.path.stem

    @property
    def is_failed(self) -> bool:
        """True if a cell raised an exception."""
        return self.failed_cell is not None


def list_notebooks(root: Path = Path()) -> list[Notebook]:
    """Return the notebooks of `root/notebooks`, by name."""
    return [read_notebook(path) for path in sorted((root / "notebooks").glob("*.ipynb"))]


def find_notebook(name: str, root: Path = Path()) -> Notebook:
    """Return the notebook with a name, or at a path; ConfigError with the closest name if there is none.

    A notebook at a path needs no front matter: its title is its first heading or its name, its version 0.
    """
    if name.endswith(".ipynb"):
        if not os.path.isfile(name):  # False for a name that is too long, too
            raise ConfigError(f"{shortened(name)}: there is no such notebook. Check the path.")
        return read_notebook(Path(name), needs_front_matter=False)
    path = root / "notebooks" / f"{name}.ipynb"
    if not path.is_file():
        known = [found.stem for found in (root / "notebooks").glob("*.ipynb")]
        where = f"{root / 'notebooks'}: " if not known else ""
        raise ConfigError(f"{where}there is no notebook {name}. {did_you_mean(name, known)}")
    return read_notebook(path)


def read_notebook(path: Path, *, needs_front_matter: bool = True) -> Notebook:
    """Read the front matter and the parameters of a notebook; ReportError if one of them is missing or malformed."""
    content = read_json(path)
    is_told = needs_front_matter or _has_front_matter(content)
    front = _front_matter(content, path) if is_told else _stand_in(content, path)
    cells = [cell for cell in content["cells"] if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if len(cells) > 1:
        raise ReportError(f"{path}: {len(cells)} cells are tagged parameters; tag one.")
    source = source_text(cells[0]) if cells else ""
    return Notebook(
        name=path.stem,
        path=path,
        title=front["title"],
        version=front["version"],
        digest=digest_of([[cell["cell_type"], source_text(cell)] for cell in content["cells"]]),
        parameters=read_parameters(source, path.name),
    )


def run_report(
    name: str,
    parameters: Mapping[str, Any] | None = None,
    root: Path = Path(),
    *,
    force: bool = False,
    progress: bool = False,
    output: Path | None = None,
) -> ReportRun:
    """Run a notebook unless it was run before with the same inputs; wait for a process that is running it with them.

    Parameters
    ----------
    name : str
        Name of a notebook in `root/notebooks`, without suffix, or the path of any notebook, with `.ipynb`.
    parameters : mapping of name to value
        Values that differ from the notebook's defaults, each of the type of its parameter.
    root : Path
        The project folder, with `notebooks/`. The executed notebook goes to `reports/runs/`; cells run in the folder.
    force : bool
        Run the notebook even if it was run before.
    progress : bool
        Show a progress bar on stderr.
    output : Path, optional
        File that gets a copy of the executed notebook, also of a failed one. Of the files that are there already, only
        an executed notebook is replaced.

    Returns
    -------
    ReportRun
        The executed notebook. If a cell failed, `is_failed` is True.

    Raises
    ------
    ConfigError, DataError
        Before a kernel starts, if the extra `lab` is not installed, a notebook, parameter, strategy or symbol is
        unknown, or a value has another type.

    """
    require("a notebook", "papermill", "ipykernel")
    if output is not None:
        _check_output(output)
    done = run_plan(plan_report(name, parameters, root), force=force, progress=progress)
    if output is not None:
        _copy(done.path, output)
    return done


def plan_report(name: str, parameters: Mapping[str, Any] | None = None, root: Path = Path()) -> ReportPlan:
    """Return a notebook with checked parameters and the digests of its inputs; arguments and errors of `run_report`."""
    notebook = find_notebook(name, root)
    values = resolve(notebook.parameters, parameters or {}, name)
    _check_files(notebook.parameters, values, root, name)
    return ReportPlan(notebook, values, _digests(notebook, values, root), root)


def run_plan(plan: ReportPlan, *, force: bool = False, renew: bool = True, progress: bool = False) -> ReportRun:
    """Run a planned notebook unless `earlier_run` has it, or `force`; wait for a process that is running it."""
    earlier = None if force else earlier_run(plan, renew=renew)
    if earlier is not None:
        return earlier
    lock = plan.root / LOCKS / f"{plan.path.stem}.lock"
    with _waiting_for_equal_run(lock):
        earlier = None if force else earlier_run(plan, renew=renew)
        if earlier is not None:
            return earlier
        draft = lock.with_suffix(".ipynb")
        try:
            content = _executed(plan.notebook, plan.parameters, plan.root, draft, progress)
            key = digest_of([plan.identity, _later(content, is_shown=True)])
            content["metadata"]["peak_trade"] |= {"key": key, "digests": plan.digests}
            write_text(plan.path, json.dumps(content, indent=1, ensure_ascii=False))
        finally:
            draft.unlink(missing_ok=True)
    return read_run(plan.path)


def earlier_run(plan: ReportPlan, *, renew: bool = True) -> ReportRun | None:
    """Return the executed notebook of a plan; None if there is none, or it failed.

    Parameters
    ----------
    plan : ReportPlan
    renew : bool
        Return None, too, if what grows after a run has grown since: the trials that the notebook shows, and the outcome
        of the check for look-ahead.

    """
    if not plan.path.is_file():
        return None
    earlier = read_run(plan.path, is_cached=True)
    if earlier.is_failed or _identity(earlier.parameters, earlier.digests) != plan.identity:
        return None
    return None if renew and has_grown(earlier) else earlier


def has_grown(run: ReportRun) -> bool:
    """Return whether the trials that an executed notebook shows, or the outcome of its check, are others now."""
    content = read_json(run.path)
    return run.key != digest_of([_identity(run.parameters, run.digests), _later(content)])


def _identity(parameters: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    return digest_of({"parameters": parameters} | dict(digests))


def _check_files(parameters: Mapping[str, Parameter], values: Mapping[str, Any], root: Path, where: str) -> None:
    """Raise ConfigError unless each file that a parameter names exists and is what the parameter says."""
    for name, value in values.items():
        if isinstance(value, str) and value.endswith(".toml"):
            is_default = value == parameters[name].default
            try:
                _read_file(root / value, "" if is_default else parameters[name].values, where)
            except ConfigError as error:
                raise ConfigError(f"{where}: {name} was {quoted(value)}. {error}") from None


def _read_file(path: Path, kind: str, where: str) -> None:
    """Read a file of one of the kinds FILES, or any TOML; ConfigError if it is not one."""
    if kind in ("[run file]", "[settings file]"):
        from peak_trade.wiring.run_file import read_run_file

        found = read_run_file(path)
        if kind == "[settings file]":
            found.settings_alone(where)
    elif kind == "[portfolio file]":
        from peak_trade.wiring.portfolio_settings import PortfolioSettings

        PortfolioSettings.from_toml(path)
    elif kind == "[risk file]":
        from peak_trade.wiring.gates import read_risk_file

        read_risk_file(path)
    else:
        read_toml(path)


def _check_output(output: Path) -> None:
    """Raise ConfigError unless the file is new or an executed notebook, in a folder that exists."""
    if output.suffix != ".ipynb":
        raise ConfigError(f"{shortened(str(output))}: the output is a notebook. Name a file that ends with .ipynb.")
    if not os.path.isdir(output.parent):
        raise ConfigError(f"{shortened(str(output.parent))}: there is no such folder. Make it first.")
    if os.path.lexists(output):
        try:
            read_run(output)
        except (ReportError, TypeError):
            raise ConfigError(f"{output} exists and is no executed notebook. Name another file.") from None


def _copy(path: Path, output: Path) -> None:
    try:
        write_text(output, read_text(path))
    except OSError as error:
        raise ConfigError(f"{output} could not be written: {reason_of(error)}. The notebook is in {path}.") from None


@contextmanager
def _waiting_for_equal_run(lock: Path) -> Iterator[None]:
    """Let one process at a time run a notebook with the same inputs; ReportError after `WAIT_SECONDS`."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(held_lock(lock, WAIT_SECONDS))
        except TimeoutError as error:
            raise ReportError(f"an equal run of the notebook is under way: {error}. Wait, or stop it.") from None
        yield


def running_notebook() -> str:
    """Return name, version and digest of the notebook that this kernel runs; empty outside `run_report`."""
    return os.environ.get(RUNNING, "")


def list_report_runs(root: Path = Path()) -> list[ReportRun]:
    """Return the executed notebooks in `root/reports/runs`, newest first."""
    paths = [path for path in (root / RUNS).glob("*.ipynb") if not path.name.startswith(".")]
    return sorted(map(read_run, paths), key=lambda run: (run.executed_at, run.slug), reverse=True)


def read_run(path: Path, is_cached: bool = False) -> ReportRun:
    """Read the metadata of an executed notebook; ReportError if `run_report` did not execute it."""
    content = read_json(path)
    about = content.get("metadata", {}).get("peak_trade")
    if not about:
        raise ReportError(f"{path}: `peak-trade report run` did not write this notebook. Move it to another folder.")
    return ReportRun(path=path, is_cached=is_cached, run_id=_run_id(content), **about)


def results(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the typed results in a notebook's outputs, in order."""
    return [
        output["data"][RESULT_MIME]
        for cell in content["cells"]
        for output in cell.get("outputs", [])
        if RESULT_MIME in output.get("data", {})
    ]


def first_of(typed: Sequence[Mapping[str, Any]], kind: str) -> Mapping[str, Any]:
    """Return the first typed result of a kind; empty if there is none."""
    return next((result for result in typed if result["kind"] == kind), {})


def read_json(path: Path) -> dict[str, Any]:
    """Read a notebook file; ReportError if it is not a notebook of format 4."""
    try:
        content: dict[str, Any] = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise ReportError(f"{path}: this is not a notebook ({error}).") from None
    if content.get("nbformat") != 4 or "cells" not in content:
        raise ReportError(f"{path}: this is not a notebook of format 4. Open and save it in JupyterLab.")
    return content


def source_text(cell: Mapping[str, Any]) -> str:
    """Return the source of a cell as one string."""
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _executed(notebook: Notebook, values: dict[str, Any], root: Path, output: Path, progress: bool) -> dict[str, Any]:
    import logging

    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # the errors are raised, too
    changed = {name: value for name, value in values.items() if value != notebook.parameters[name].default}
    failed_cell, error_text = None, ""
    begun, started = datetime.now(UTC), time.perf_counter()
    os.environ[RUNNING] = f"{notebook.name} {notebook.version} {notebook.digest[:16]}"
    try:
        with _killing_kernel_on_signal() as kernel_class:
            papermill.execute_notebook(
                str(notebook.path),
                str(output),
                parameters=changed,
                kernel_name="python3",
                language="python",
                progress_bar={"desc": notebook.name} if progress else False,
                cwd=str(root),
                extra_arguments=["--IPKernelApp.log_level=40"],
                kernel_manager_class=kernel_class,
            )
    except PapermillExecutionError as error:
        failed_cell, error_text = error.cell_index, f"{error.ename}: {error.evalue}"
    except DeadKernelError as error:
        failed_cell, error_text = 0, f"the kernel stopped: {error}"
    finally:
        del os.environ[RUNNING]
    content = read_json(output)
    content["cells"] = [cell for cell in content["cells"] if not _is_papermill_error(cell)]
    if failed_cell is not None:
        failed_cell = _failed_cell(content)
    content["metadata"].pop("papermill", None)
    content["metadata"]["peak_trade"] = {
        "notebook": notebook.name,
        "title": notebook.title,
        "version": notebook.version,
        "notebook_digest": notebook.digest,
        "parameters": values,
        "executed_at": begun.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round(time.perf_counter() - started, 2),
        "failed_cell": failed_cell,
        "error": error_text,
    }
    stated = f"Notebook {markdown_text(notebook.name)}, version {notebook.version}, digest `{notebook.digest[:16]}`."
    if not _has_front_matter(content):
        source = f"---\ntitle: {json.dumps(notebook.title)}\nversion: {json.dumps(notebook.version)}\n---"
        content["cells"].insert(0, {"cell_type": "raw", "id": "front-matter", "metadata": {}, "source": source})
    content["cells"].insert(1, {"cell_type": "markdown", "id": "peak-trade-notebook", "metadata": {}, "source": stated})
    return content


@contextmanager
def _killing_kernel_on_signal() -> Iterator[type]:
    """Yield the class of a kernel that Ctrl-C or SIGTERM kills, and let these signals interrupt the block.

    A kernel that is asked to end may take seconds and print errors. Signals that are ignored, or have a handler of
    their own, stay as they are; so do all in another thread than the main one.
    """
    from jupyter_client.manager import AsyncKernelManager

    started: list[Any] = []

    class Kernel(AsyncKernelManager):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            started.append(self)

    def interrupt(*_: object) -> None:
        for kernel in started:
            group = getattr(kernel.provisioner, "pgid", 0)
            with suppress(ProcessLookupError):
                if group:
                    os.killpg(group, signal.SIGKILL)
        raise KeyboardInterrupt

    with ExitStack() as restored:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if before in (signal.SIG_DFL, signal.default_int_handler):
                    restored.callback(signal.signal, number, before)
                    signal.signal(number, interrupt)
        yield Kernel


def _failed_cell(content: Mapping[str, Any]) -> int:
    # The last cell with a duration: when a kernel stops, papermill marks every cell as completed.
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    timed = [cell["metadata"].get("papermill", {}).get("duration") is not None for cell in code]
    return max((place for place, took_time in enumerate(timed, start=1) if took_time), default=1)


def _is_papermill_error(cell: Mapping[str, Any]) -> bool:
    return any(tag.startswith("papermill-error-cell") for tag in cell.get("metadata", {}).get("tags", []))


def _run_id(content: Mapping[str, Any]) -> str:
    return _run_facts(content).get("run_id", "")


def _run_facts(content: Mapping[str, Any]) -> dict[str, str]:
    for result in results(content):
        if result["kind"] == "table" and result["name"] == "run":
            return {str(row[0]): str(row[1]) for row in result["rows"]}
    return {}


def _later(content: Mapping[str, Any], *, is_shown: bool = False) -> list[str]:
    """Return what grows after the run of an executed notebook: its trials, and the outcome of its check for look-ahead.

    Both as they are now; `is_shown`: the trials as the notebook shows them.
    """
    from peak_trade.studies.trials import trials_sentence
    from peak_trade.tracking.entries import local_note

    facts = _run_facts(content)
    digests = {name: facts.get(f"{name} digest", "") for name in ("config", "data")}
    if not all(digests.values()):
        return []
    sentence, today = "", f"{datetime.now(UTC):%Y-%m-%d}"
    for result in results(content):
        if is_shown and result["name"] == "trials" and result["kind"] == "text":
            sentence, today = " ".join(result["lines"]), content["metadata"]["peak_trade"]["executed_at"][:10]
    sentence = (sentence or trials_sentence(digests)).replace("since today", f"since {today}")
    return [sentence, local_note(facts.get("run_id", ""), "causality")]


def _digests(notebook: Notebook, values: Mapping[str, Any], root: Path) -> dict[str, str]:
    """Return the digests of all that decides an executed notebook: the identity of the runs in it, and its cells."""
    from peak_trade.core.digest import environment_digest, installed_version
    from peak_trade.wiring.named_inputs import file_digest, named_files, table_in, texts_in

    files = named_files(values, root) | _journals(texts_in(values))
    texts = {*texts_in(values), *(text for path in files.values() for text in texts_in(table_in(path)))}
    lock = root / LOCK_FILE
    return {
        "notebook": notebook.digest,
        "data": _data_digest(values),
        "files": digest_of({text: file_digest(path) for text, path in files.items()}),
        "code": _code_digest(notebook, values, texts, root),
        "lock": digest_bytes(read_bytes(lock)) if lock.is_file() else "",
        "environment": digest_of([environment_digest(), installed_version("plotly")]),
    }


def _data_digest(values: Mapping[str, Any]) -> str:
    from peak_trade.core.bars import no_bar_in_span, span_ns
    from peak_trade.core.time import Timeframe
    from peak_trade.data.holdout import list_holdouts
    from peak_trade.data.store import find_series, load_bars, scan_store
    from peak_trade.wiring.named_inputs import texts_in

    scan = scan_store()
    stored, _ = scan
    holdouts = list_holdouts()
    sentences = [each.sentence for each in holdouts]
    if not (values.get("symbol") and values.get("timeframe")):
        return digest_of([*(bars.digest for bars in stored), *sentences])
    found = find_series(values["symbol"], Timeframe.parse(values["timeframe"]), values.get("exchange") or None, scan)
    first, after = span_ns(values.get("start") or None, values.get("end") or None)
    if (first is not None and first > found.last) or (after is not None and after <= found.first):
        raise no_bar_in_span(found.symbol, found.timeframe, found.first, found.last)
    if any((each.exchange, each.symbol) == (found.exchange, found.symbol) for each in holdouts):
        load_bars(found.symbol, found.timeframe, found.exchange, None, values.get("end") or None)
    named = {part for value in texts_in(values) for part in value.split(",")}
    return digest_of([*(bars.digest for bars in stored if bars.symbol in named), *sentences])


def _journals(texts: Iterable[str]) -> dict[str, Path]:
    """Return the journals of the sessions that texts name."""
    from peak_trade.journal.files import EVENTS
    from peak_trade.sessions.store import sessions_folder

    journals = {f"session {text}": sessions_folder() / text / EVENTS for text in texts}
    return {name: path for name, path in journals.items() if os.path.isfile(path)}


def _code_digest(notebook: Notebook, values: Mapping[str, Any], texts: Iterable[str], root: Path) -> str:
    """Return the digest of the code of a page: this package, the strategy, and modules that cells or texts name."""
    from peak_trade.wiring.cells import without_magics
    from peak_trade.wiring.digests import parameter_digests
    from peak_trade.wiring.named_inputs import modules_in
    from peak_trade.wiring.strategies import make_strategy
    from peak_trade.wiring.user_modules import reached_modules

    parameters = []
    if values.get("strategy"):
        parameters = parameter_digests(make_strategy(values["strategy"], values.get("strategy_parameters") or {}))
    code = [cell for cell in read_json(notebook.path)["cells"] if cell["cell_type"] == "code"]
    cells = [without_magics(source_text(cell)) for cell in code]
    reached = reached_modules(sorted(modules_in(texts)), cells, root, as_imported=False)
    own = [sorted(reached.sources.items()), reached.packages, parameters]
    return digest_of([templates_digest(), package_digest(), *own])


def _has_front_matter(content: Mapping[str, Any]) -> bool:
    cells = content["cells"]
    return bool(cells) and cells[0]["cell_type"] == "raw" and source_text(cells[0]).startswith("---")


def _stand_in(content: Mapping[str, Any], path: Path) -> dict[str, str]:
    """Return title and version of a notebook without front matter: its first heading, or its name."""
    texts = [source_text(cell) for cell in content["cells"] if cell["cell_type"] == "markdown"]
    headings = re.findall(r"^#+ +(.+?) *#*$", "\n".join(texts), flags=re.MULTILINE)
    return {"title": headings[0] if headings else path.stem, "version": "0"}


def _front_matter(content: Mapping[str, Any], path: Path) -> dict[str, str]:
    cells = content["cells"]
    source = source_text(cells[0]) if cells and cells[0]["cell_type"] == "raw" else ""
    found = dict(re.findall(r"^(title|version):\s*[\"']?(.*?)[\"']?\s*$", source, flags=re.MULTILINE))
    for field in ("title", "version"):
        if not found.get(field):
            raise ReportError(
                f'{path}: front matter has no {field}. Write {field}: "…" into a raw cell, the first of the notebook.'
            )
    return found
