"""Page of a notebook: its introduction and a table of its runs."""

from __future__ import annotations

from collections.abc import Sequence

from peak_trade.reports.markup import markdown_text, raw_html, render
from peak_trade.reports.notebooks import Notebook, ReportRun, read_json, source_text


def study_page(notebook: Notebook, runs: Sequence[ReportRun]) -> str:
    """Return the Markdown of a notebook's page; `runs` are the runs of that notebook, newest first."""
    front = f'---\ntitle: "{markdown_text(notebook.title)}"\ntoc: false\n---\n\n{_introduction(notebook)}\n\n'
    if not runs:
        commands = f"```sh\npeak-trade report run {notebook.name}\npeak-trade site build\n```"
        return f"{front}There are no runs yet. Run the notebook, then build the site again:\n\n{commands}\n"
    return f"{front}{raw_html(render('study.html.j2', rows=list(map(_row, runs))))}\n"


def _introduction(notebook: Notebook) -> str:
    texts = [source_text(cell) for cell in read_json(notebook.path)["cells"] if cell["cell_type"] == "markdown"]
    return texts[0] if texts else ""


def _row(run: ReportRun) -> dict[str, str]:
    given = {name: value for name, value in run.parameters.items() if isinstance(value, str | int | float) and value}
    about = ", ".join(str(given[name]) for name in ("strategy", "symbol", "timeframe", "config") if name in given)
    return {
        "page": f"{run.slug}.html",
        "executed": run.executed_at.replace("T", " ").removesuffix("Z"),
        "about": about or run.notebook,
        "status": "failed" if run.is_failed else "done",
    }
