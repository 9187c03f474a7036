"""Make pages out of executed notebooks: sources under `reports/pages` that Quarto and nbconvert render as they are.

A page keeps what an executed notebook showed as Markdown with raw HTML and drops every other type, so that a renderer
has nothing to fetch and nothing to choose.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peak_trade.core.files import write_text
from peak_trade.reports.display import PLOTLY_MIME, RECORD_MIME, figure_html, raw_html
from peak_trade.reports.notebooks import ReportRun, list_notebooks, list_report_runs, read_json, source_text
from peak_trade.reports.site.runs_index import index_page, index_rows
from peak_trade.reports.site.study_pages import study_page

PAGES = Path("reports/pages")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_IMAGES = ("image/png", "image/jpeg", "image/svg+xml")


def write_pages(root: Path = Path()) -> list[Path]:
    """Write the page source of every executed notebook and of the index; return all of them, relative to root.

    A file whose content would not change is left alone, and the page of a notebook that is gone is deleted.
    """
    runs = list_report_runs(root)
    sources = {f"{run.slug}.ipynb": _notebook_text(page_of(run)) for run in runs}
    sources["index.md"] = index_page(index_rows(runs, root))
    for notebook in list_notebooks(root):
        sources[f"{notebook.name}.md"] = study_page(notebook, [run for run in runs if run.notebook == notebook.name])
    folder = root / PAGES
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.suffix in (".ipynb", ".md") and path.name not in sources:
            path.unlink()
    for name, text in sources.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
    return [PAGES / name for name in sorted(sources)]


def page_of(run: ReportRun) -> dict[str, Any]:
    """Return the notebook to render for a run: front matter, what was asked, then the cells as they were shown."""
    content = read_json(run.path)
    cells = [_front_matter(run), _markdown("peak-trade-about", raw_html(about_html(run)))]
    if run.is_failed:
        cells.insert(1, _markdown("peak-trade-failed", raw_html(failure_html(run))))
    n_code = 0
    for cell in content["cells"][1:]:
        n_code += cell["cell_type"] == "code"
        if cell["cell_type"] == "code":
            cells.append(_code_cell(cell, has_failed=run.failed_cell == n_code))
            if run.failed_cell == n_code:
                break
        elif cell["cell_type"] == "markdown":
            cells.append(_markdown(cell["id"], source_text(cell)))
    return {"cells": cells, "metadata": _kernel(content), "nbformat": 4, "nbformat_minor": 5}


def page_title(run: ReportRun) -> str:
    """Return a page's title: the notebook's, and what it was about."""
    about = [run.parameters.get(name) for name in ("strategy", "symbol", "timeframe")]
    named = ", ".join(str(value) for value in about if value) or Path(run.parameters.get("config") or "").stem
    return f"{run.title}: {named}" if named else run.title


def about_html(run: ReportRun) -> str:
    """Return when and from what a page came: notebook, version, digests, parameters."""
    rows = {"notebook": f"{run.notebook}, version {run.version}", "executed": run.executed_at}
    rows |= {name: "none" if value is None else str(value) for name, value in run.parameters.items()}
    rows |= {f"{name} digest": digest[:16] for name, digest in run.digests.items()}
    body = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in rows.items())
    return (
        '<details class="pt-about"><summary>Parameters and digests</summary>'
        f'<table data-quarto-disable-processing="true"><tbody>{body}</tbody></table></details>'
    )


def failure_html(run: ReportRun) -> str:
    """Return the box that says which cell failed and why."""
    return (
        f'<div class="pt-failed" role="alert"><strong>This run failed</strong> in code cell {run.failed_cell}: '
        f"{html.escape(run.error)}<br>What ran before it is shown; nothing after it ran.</div>"
    )


def _front_matter(run: ReportRun) -> dict[str, Any]:
    title = json.dumps(page_title(run) + (" (failed)" if run.is_failed else ""), ensure_ascii=False)
    return {"cell_type": "raw", "id": "front-matter", "metadata": {}, "source": f"---\ntitle: {title}\n---"}


def _markdown(cell_id: str, source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": cell_id, "metadata": {}, "source": source}


def _code_cell(cell: Mapping[str, Any], has_failed: bool) -> dict[str, Any]:
    source = source_text(cell)
    outputs = [shown for output in cell["outputs"] if (shown := _page_output(output, cell["id"])) is not None]
    return {
        "cell_type": "code",
        "id": cell["id"],
        "metadata": {"tags": ["failed"]} if has_failed else {},
        "execution_count": None,
        "outputs": outputs,
        "source": f"#| code-fold: false\n{source}" if has_failed else source,
    }


def _page_output(output: Mapping[str, Any], cell_id: str) -> dict[str, Any] | None:
    if output["output_type"] == "error":
        trace = html.escape(_ANSI.sub("", "\n".join(output["traceback"])))
        return _shown({"text/markdown": raw_html(f'<pre class="pt-traceback">{trace}</pre>')})
    if output["output_type"] == "stream":
        text = html.escape(_ANSI.sub("", source_text({"source": output["text"]})))
        return _shown({"text/markdown": raw_html(f'<pre class="pt-stream">{text}</pre>')})
    given = output["data"]
    if "text/markdown" in given:
        return _shown({"text/markdown": given["text/markdown"]})
    if PLOTLY_MIME in given:
        return _shown({"text/markdown": raw_html(_bare_figure(given[PLOTLY_MIME], cell_id))})
    if "text/html" in given:
        return _shown({"text/markdown": raw_html(source_text({"source": given["text/html"]}))})
    images = {mime: given[mime] for mime in _IMAGES if mime in given}
    if images:
        return _shown(images)
    if RECORD_MIME in given or "text/plain" not in given:
        return None
    text = html.escape(source_text({"source": given["text/plain"]}))
    return _shown({"text/markdown": raw_html(f'<pre class="pt-stream">{text}</pre>')})


def _bare_figure(figure: Mapping[str, Any], cell_id: str) -> str:
    import plotly.graph_objects as go

    return figure_html(go.Figure(data=figure["data"], layout=figure.get("layout")), f"figure-{cell_id}")


def _shown(given: dict[str, Any]) -> dict[str, Any]:
    return {"output_type": "display_data", "metadata": {}, "data": given}


def _kernel(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: content["metadata"][name] for name in ("kernelspec", "language_info") if name in content["metadata"]}


def _notebook_text(content: Mapping[str, Any]) -> str:
    # Quarto reads a cell's source as a list of lines and nothing else.
    cells = [cell | {"source": source_text(cell).splitlines(keepends=True)} for cell in content["cells"]]
    return json.dumps(dict(content) | {"cells": cells}, indent=1, ensure_ascii=False) + "\n"
