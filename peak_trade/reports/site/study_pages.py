"""One page a notebook: what it asks, and every time that it was run."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence

from peak_trade.reports.display import raw_html
from peak_trade.reports.notebooks import Notebook, ReportRun, read_json, source_text


def study_page(notebook: Notebook, runs: Sequence[ReportRun]) -> str:
    """Return the Markdown of a notebook's page; `runs` are its own, newest first."""
    front = f"---\ntitle: {json.dumps(notebook.title, ensure_ascii=False)}\ntoc: false\n---\n\n{_about(notebook)}\n\n"
    if not runs:
        commands = f"```sh\npeak-trade report run {notebook.name}\npeak-trade site build\n```"
        return f"{front}It was not run yet. Run it, then build the site again:\n\n{commands}\n"
    rows = "\n".join(map(_row, runs))
    table = (
        '<div class="pt-table"><table data-quarto-disable-processing="true"><thead><tr><th>executed</th>'
        f"<th>about</th><th>status</th></tr></thead><tbody>\n{rows}\n</tbody></table></div>"
    )
    return f"{front}{raw_html(table)}\n"


def _about(notebook: Notebook) -> str:
    texts = [source_text(cell) for cell in read_json(notebook.path)["cells"] if cell["cell_type"] == "markdown"]
    return texts[0] if texts else ""


def _row(run: ReportRun) -> str:
    status = "failed" if run.is_failed else "done"
    given = {name: value for name, value in run.parameters.items() if isinstance(value, str | int | float) and value}
    about = ", ".join(str(given[name]) for name in ("strategy", "symbol", "timeframe", "config") if name in given)
    when = run.executed_at.replace("T", " ").removesuffix("Z")
    return (
        f'<tr><td><a href="{html.escape(run.slug)}.html">{html.escape(when)}</a></td>'
        f'<td class="pt-text">{html.escape(about or run.notebook)}</td>'
        f'<td class="pt-status-{status}">{status}</td></tr>'
    )
