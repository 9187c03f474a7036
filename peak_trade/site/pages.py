"""Sources of the pages of executed notebooks, in `reports/pages`, for Quarto and nbconvert alike.

Of each output of an executed notebook, the source of its page keeps one form, Markdown with raw HTML. So both renderers
show the same output, and neither fetches anything.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peak_trade.core.digest import digest_bytes, package_digest
from peak_trade.core.files import read_bytes, read_text, write_bytes, write_text
from peak_trade.core.time import iso
from peak_trade.core.version import package_version
from peak_trade.data.workspace import workspace, workspace_at
from peak_trade.governance.log import FOLDER as GOVERNANCE
from peak_trade.governance.log import GovernanceEntry, GovernanceLog
from peak_trade.health.checks import latest as latest_health
from peak_trade.health.rederivation import latest_rederivation
from peak_trade.health.report import page as health_page
from peak_trade.health.report import rederivation_section, report_of
from peak_trade.journal.events import GovernanceAction
from peak_trade.reports.display import PLOTLY_MIME, RESULT_MIME
from peak_trade.reports.downloads import DATA_MIME, Download, write_downloads
from peak_trade.reports.markup import (
    figure_html,
    markdown_text,
    preformatted_html,
    raw_html,
    render,
    templates_digest,
    without_shortcodes,
)
from peak_trade.reports.notebooks import (
    Notebook,
    ReportRun,
    first_of,
    list_notebooks,
    list_report_runs,
    read_json,
    results,
    source_text,
)
from peak_trade.reports.project import HOME_PART, LIBRARY, ORIGIN_PART, machine_folders, read_cache, without_folders
from peak_trade.sessions.audit import AuditedSession, audited_sessions
from peak_trade.site import sections
from peak_trade.site.documents import write_search
from peak_trade.site.explorer import run_rows, write_explorer
from peak_trade.site.home import about_run, home_page, home_rows

PAGES = Path("reports/pages")
FILES = LIBRARY / "data"
"""Folder of the files behind tables and figures, with one folder per executed notebook."""
_MADE = PAGES / ".made.json"
"""Digests of what the pages of executed notebooks were made of, by slug."""
NO_HEALTH = "The tests were not checked in this workspace. Run `peak-trade health` in a checkout of peak_trade."
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_IMAGES = ("image/png", "image/jpeg", "image/svg+xml")


def write_pages(root: Path, stage: Path) -> list[Path]:
    """Write the source of every page of a project into a staging folder and return their paths, relative to it.

    There is one page per executed notebook, one per notebook, those of the sections (experiments, sessions, rejected
    ideas, methods, readiness, test health), and the part of the home page that `index.md` includes. The files behind
    tables and figures go to `FILES`. A file with the right content is not written again, and the source and the files
    of a run that no longer exists are deleted. Folders of this machine are not named in them; see `without_folders`.
    """
    runs, notebooks = list_report_runs(root), list_notebooks(root)
    defaults = {
        notebook.name: {key: each.default for key, each in notebook.parameters.items()} for notebook in notebooks
    }
    contents = [read_json(run.path) for run in runs]
    sources = _run_pages(runs, contents, defaults, root, stage)
    typed = [(run, results(content)) for run, content in zip(runs, contents, strict=True)]
    latest: dict[str, tuple[ReportRun, dict[str, Any]]] = {}
    for run, content in zip(runs, contents, strict=True):
        latest.setdefault(run.notebook, (run, content))
    homes = [workspace(), *(path.parent for path in sorted(workspace().glob(f"*/{GOVERNANCE}")))]
    outcomes = {run.slug: sections.outcome(run, shown, about_run(run) or run.notebook) for run, shown in typed}
    sources["index.md"] = write_explorer(root, stage, *run_rows(typed))
    audited, chain_faults = _sessions(homes)
    sources["sessions.md"] = sections.sessions_page(audited, chain_faults)
    sources["rejected.md"] = sections.rejected_page(outcomes.values())
    sources["methods.md"] = sections.methods_page(root)
    decisions, faults = last_decisions(homes)
    sources["readiness.md"] = readiness_page(decisions, faults)
    checked, rederived = latest_health(), latest_rederivation()
    health = None if checked is None else report_of(checked)
    shown = f"{NO_HEALTH}\n\n{rederivation_section(rederived)}\n" if health is None else health_page(health, rederived)
    sources["health.md"] = f"---\ntitle: Test health\n---\n\n{shown}"
    sources[HOME_PART.name] = home_page(home_rows(notebooks, latest), decisions, faults, audited, health, rederived)
    sources[ORIGIN_PART.name] = f"{raw_html(render('built.html.j2', facts=_origin(root)))}\n"
    for notebook in notebooks:
        of_it = [outcomes[run.slug] for run in runs if run.notebook == notebook.name]
        sources[f"{notebook.name}.md"] = study_page(notebook, of_it)
    folder = stage / PAGES
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in (*sources, _MADE.name):
            path.unlink()
    for name, text in sources.items():
        path, shown = folder / name, without_folders(text, root)
        if not path.is_file() or read_text(path) != shown:
            write_text(path, shown)
    write_search(root, stage, sources)
    return [PAGES / name for name in sorted(sources)]


def _run_pages(
    runs: Sequence[ReportRun],
    contents: Sequence[Mapping[str, Any]],
    defaults: Mapping[str, Mapping[str, Any]],
    root: Path,
    stage: Path,
) -> dict[str, str]:
    """Return the page of each executed notebook by file name, and write the files behind it.

    A page is made again when the notebook or what makes its page has changed since.
    """
    shared = [package_digest(), templates_digest(), str(machine_folders(root))]
    digests = {
        run.slug: digest_bytes(
            *(part.encode() for part in (*shared, str(defaults.get(run.notebook, {})))), read_bytes(run.path)
        )
        for run in runs
    }
    made = read_cache(stage / _MADE)
    kept = {
        slug: digest
        for slug, digest in digests.items()
        if made.get(slug) == digest and (stage / PAGES / f"{slug}.ipynb").is_file() and (stage / FILES / slug).is_dir()
    }
    if kept != made:
        write_text(stage / _MADE, json.dumps(kept))  # an interruption from here on makes the other pages again
    for path in (stage / FILES).glob("*"):
        if path.name not in kept:
            shutil.rmtree(path)
    pages: dict[str, str] = {}
    for run, content in zip(runs, contents, strict=True):
        name = f"{run.slug}.ipynb"
        if run.slug in kept:
            pages[name] = read_text(stage / PAGES / name)
        else:
            pages[name] = _notebook_text(page_of(run, content, defaults.get(run.notebook, {}), root, stage))
            write_text(stage / PAGES / name, without_folders(pages[name], root))
    if kept != digests:
        write_text(stage / _MADE, json.dumps(digests))
    return pages


def _origin(root: Path) -> list[str]:
    """Return the version of the package, and the commit of the project with its time."""
    git = ["git", "-C", str(root)]
    commands = (["describe", "--always", "--dirty", "--abbrev=8", "--exclude=*"], ["log", "-1", "--format=%ct"])
    try:
        commit, moment = (
            subprocess.run(git + command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
            for command in commands
        )
    except (OSError, subprocess.SubprocessError):
        return [f"peak_trade {package_version()}", "commit unknown"]
    when = f"{datetime.fromtimestamp(int(moment), UTC):%Y-%m-%d %H:%M} UTC"
    return [f"peak_trade {package_version()}", f"commit {commit} of {when}"]


def page_of(
    run: ReportRun, content: Mapping[str, Any], defaults: Mapping[str, Any], root: Path, stage: Path
) -> dict[str, Any]:
    """Return the notebook to render for a run: front matter, command, its cells, then parameters and digests.

    The files behind its tables and figures are written into `stage`. `content` is the executed notebook; `defaults` are
    the values of the notebook's parameters that the command need not give.
    """
    origin = first_of(results(content), "provenance")
    cells = [_front_matter(run, origin), _markdown("peak-trade-command", raw_html(command_html(run, defaults)))]
    if run.is_failed:
        cells.insert(1, _markdown("peak-trade-failed", raw_html(failure_html(run))))
    n_code = 0
    for cell in content["cells"][1:]:
        is_introduction = cell["cell_type"] == "markdown" and n_code == 0
        if cell["id"] == "peak-trade-notebook" or (origin and is_introduction):
            continue
        n_code += cell["cell_type"] == "code"
        if cell["cell_type"] == "code":
            cells.append(_code_cell(cell, run.failed_cell == n_code, stage / FILES / run.slug))
            if run.failed_cell == n_code:
                break
        elif cell["cell_type"] == "markdown":
            cells.append(_markdown(cell["id"], source_text(cell)))
    about = about_html(run, _executed_notebook(run, root, stage / FILES / run.slug))
    cells.append(_markdown("peak-trade-about", f"## How this page was made\n\n{raw_html(about)}"))
    return {"cells": cells, "metadata": _kernel(content), "nbformat": 4, "nbformat_minor": 5}


def page_title(run: ReportRun, origin: Mapping[str, Any] | None = None) -> str:
    """Return the title of a run's page: that of its provenance, else the notebook's title and what it is about."""
    if origin:
        return str(origin["title"])
    about = [run.parameters.get(name) for name in ("strategy", "symbol", "timeframe")]
    named = ", ".join(str(value) for value in about if value) or Path(run.parameters.get("config") or "").stem
    return f"{run.title}: {named}" if named else run.title


def command_html(run: ReportRun, defaults: Mapping[str, Any]) -> str:
    """Return the command that makes the page again, with a button that copies it."""
    given: dict[str, Any] = {}
    for name, value in run.parameters.items():
        if isinstance(value, Mapping):
            given |= {f"{name}.{key}": each for key, each in value.items()}
        elif value is not None and value != defaults.get(name):
            given[name] = value
    options = [f"-p {shlex.quote(f'{name}={value}')}" for name, value in given.items()]
    return render("command.html.j2", command=" ".join(("peak-trade report run", run.notebook, *options)))


def about_html(run: ReportRun, notebook: Download | None = None) -> str:
    """Return the origin of a page as HTML: the executed notebook, its version, time, parameters and digests."""
    facts = {"notebook": f"{run.notebook}, version {run.version}", "executed": run.executed_at}
    facts["notebook digest"] = run.notebook_digest[:16]
    facts |= {name: "none" if value is None else str(value) for name, value in run.parameters.items()}
    facts |= {f"{name} digest": digest[:16] for name, digest in run.digests.items()}
    return render("about.html.j2", facts=list(facts.items()), notebook=notebook)


def failure_html(run: ReportRun) -> str:
    """Return the box that names the failed cell and its error."""
    return render("failure.html.j2", cell=run.failed_cell, error=run.error)


def _front_matter(run: ReportRun, origin: Mapping[str, Any] | None) -> dict[str, Any]:
    title = markdown_text(page_title(run, origin) + (" (failed)" if run.is_failed else ""))
    return {"cell_type": "raw", "id": "front-matter", "metadata": {}, "source": f'---\ntitle: "{title}"\n---'}


def _markdown(cell_id: str, source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": cell_id, "metadata": {}, "source": source}


def _executed_notebook(run: ReportRun, root: Path, folder: Path) -> Download:
    target, content = folder / run.path.name, without_folders(read_text(run.path), root).encode()
    if not target.is_file() or read_bytes(target) != content:
        write_bytes(target, content)
    return Download("Executed notebook", _target(target), len(content))


def _target(path: Path) -> str:
    return f"../lib/data/{path.parent.name}/{path.name}"


def _code_cell(cell: Mapping[str, Any], has_failed: bool, folder: Path) -> dict[str, Any]:
    source = without_shortcodes(source_text(cell))
    outputs = [shown for output in cell["outputs"] if (shown := _page_output(output, cell["id"], folder)) is not None]
    return {
        "cell_type": "code",
        "id": cell["id"],
        "metadata": {"tags": ["failed"]} if has_failed else {},
        "execution_count": None,
        "outputs": outputs,
        "source": f"#| code-fold: false\n{source}" if has_failed else source,
    }


def _page_output(output: Mapping[str, Any], cell_id: str, folder: Path) -> dict[str, Any] | None:
    if output["output_type"] == "error":
        return _preformatted("\n".join(output["traceback"]), "traceback")
    if output["output_type"] == "stream":
        return _preformatted(source_text({"source": output["text"]}), "stream")
    given = output["data"]
    if "text/markdown" in given:
        text = source_text({"source": given["text/markdown"]})
        if DATA_MIME in given:
            text = f"{raw_html(_downloads_html(given, folder))}\n\n{text}"
        return _shown({"text/markdown": text})
    if PLOTLY_MIME in given:
        return _shown({"text/markdown": raw_html(_bare_figure(given[PLOTLY_MIME], cell_id))})
    if "text/html" in given:
        return _shown({"text/markdown": raw_html(source_text({"source": given["text/html"]}))})
    images = {mime: given[mime] for mime in _IMAGES if mime in given}
    if images:
        return _shown(images)
    if RESULT_MIME in given or "text/plain" not in given:
        return None
    return _preformatted(source_text({"source": given["text/plain"]}), "stream")


def _downloads_html(given: Mapping[str, Any], folder: Path) -> str:
    """Write the files behind a table or figure, and return the line of their links."""
    name, kind = given[RESULT_MIME]["name"], given[RESULT_MIME]["kind"]
    files, script = write_downloads(given[DATA_MIME], name, folder, f"../lib/data/{folder.name}")
    figure = f"figure-{name}" if kind == "figure" else ""
    return render("downloads.html.j2", files=files, script=script, figure=figure, name=name)


def _preformatted(text: str, style: str) -> dict[str, Any]:
    return _shown({"text/markdown": raw_html(preformatted_html(_ANSI.sub("", text), style))})


def _bare_figure(figure: Mapping[str, Any], cell_id: str) -> str:
    import plotly.graph_objects as go

    return figure_html(go.Figure(data=figure["data"], layout=figure.get("layout")), f"figure-{cell_id}")


def _shown(given: dict[str, Any]) -> dict[str, Any]:
    return {"output_type": "display_data", "metadata": {}, "data": given}


def _kernel(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: content["metadata"][name] for name in ("kernelspec", "language_info") if name in content["metadata"]}


def _notebook_text(content: Mapping[str, Any]) -> str:
    # Quarto reads a cell's source only as a list of lines.
    cells = [cell | {"source": source_text(cell).splitlines(keepends=True)} for cell in content["cells"]]
    return json.dumps(dict(content) | {"cells": cells}, indent=1, ensure_ascii=False) + "\n"


def study_page(notebook: Notebook, outcomes: Sequence[sections.Outcome]) -> str:
    """Return the Markdown of a notebook's page; the outcomes are those of its runs, newest first."""
    front = f'---\ntitle: "{markdown_text(notebook.title)}"\ntoc: false\n---\n\n{_introduction(notebook)}\n\n'
    if not outcomes:
        commands = f"```sh\npeak-trade report run {notebook.name}\npeak-trade site build\n```"
        return f"{front}There are no runs yet. Run the notebook, then build the site again:\n\n{commands}\n"
    return f"{front}{raw_html(render('study.html.j2', rows=outcomes))}\n"


def readiness_page(decisions: Sequence[Mapping[str, Any]], faults: Sequence[str]) -> str:
    """Return the Markdown of the page of readiness: the result of `last_decisions`.

    The page shows recorded decisions. `peak-trade ready` makes a new one.
    """
    front = "---\ntitle: Readiness\ntoc: false\n---\n\n"
    if not decisions and not faults:
        return f"{front}No session has asked for admission yet. See `peak-trade ready`.\n"
    return f"{front}{raw_html(render('readiness.html.j2', decisions=decisions, faults=faults))}\n"


def _sessions(homes: Sequence[Path]) -> tuple[list[AuditedSession], list[str]]:
    """Return the sessions of several workspaces, the last id first, and the faults of their chains."""
    rows: list[AuditedSession] = []
    faults: list[str] = []
    for home in homes:
        with workspace_at(home):
            found, wrong = audited_sessions()
        rows += found
        faults += [f"{home.resolve().name}: {fault}" for fault in wrong]
    return sorted(rows, key=lambda row: row.summary.session_id, reverse=True), faults


def last_decisions(homes: Sequence[Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the last recorded decision on each session of several workspaces, and the faults of their logs."""
    logs = [(home.name, GovernanceLog(home)) for home in map(Path.resolve, homes)]
    checked = [(name, log.verify(), log.entries()) for name, log in logs]
    faults = [f"{name}: {fault}" for name, check, _ in checked for fault in check.faults]
    return [each for name, check, entries in checked if check.is_intact for each in _decisions(name, entries)], faults


def _decisions(home: str, entries: Sequence[GovernanceEntry]) -> list[dict[str, Any]]:
    """Return the last decision on each stage, strategy and symbol, newest first."""
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if entry.action is GovernanceAction.DECIDED:
            content = json.loads(entry.content)
            scope, shadow = content["evidence"]["scope"], content["evidence"]["shadow"]
            strategies = [f"{each['name']} {_listed(each['parameters'])}".strip() for each in scope["strategies"]]
            about = f"{', '.join(strategies) or 'no strategy'} on {', '.join(scope['symbols']) or 'no symbol'}"
            title = f"{scope['stage']}: {about}"
            found.pop(title, None)
            found[title] = {
                "title": title,
                "workspace": home,
                "when": iso(entry.ts_recorded)[:19].replace("T", " "),
                "digest": entry.subject[:16],
                "is_ready": content["is_allowed"],
                "is_emulated": bool(shadow and shadow["is_clock_emulated"]),
                "lines": content["lines"],
            }
    return list(found.values())[::-1]


def _listed(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())


def _introduction(notebook: Notebook) -> str:
    texts = [source_text(cell) for cell in read_json(notebook.path)["cells"] if cell["cell_type"] == "markdown"]
    return texts[0] if texts else ""
