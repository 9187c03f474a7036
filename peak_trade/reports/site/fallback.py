"""Render pages without Quarto: nbconvert for notebooks and Markdown, one Jinja layout around them."""

from __future__ import annotations

import html
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from peak_trade.core.errors import ReportError
from peak_trade.core.files import write_text
from peak_trade.reports.notebooks import read_json, source_text
from peak_trade.reports.project import LIBRARY, SITE, read_quarto

TEMPLATES = Path("reports/templates")
STYLES = (Path("reports/styles/plain.css"), Path("reports/styles/site.css"))
_RAW_BLOCK = re.compile(r"^(`{3,})\{=html\}\n(.*?)\n\1$", flags=re.DOTALL | re.MULTILINE)
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", flags=re.DOTALL)
_HEADING_ANCHOR = re.compile(r'(<h[1-6][^>]* id=|<a class="anchor-link" href=)("[^"]+")')
_MARKDOWN_LINK = re.compile(r'(<a [^>]*href="(?![a-z]+:)[^"#]*)\.(?:md|ipynb)((?:#[^"]*)?")')


def navigation(root: Path) -> dict[str, Any]:
    """Return what `_quarto.yml` says about the site: its title, the (text, href) of its bar, and its footer's words."""
    website = read_quarto(root)["website"]
    links = []
    for item in website["navbar"]["left"]:
        links += item.get("menu", [item])
    return {
        "title": website["title"],
        "links": [(link["text"], link["href"]) for link in links if _has_source(root / link["href"])],
        "words": website["page-footer"]["right"],
    }


def _has_source(target: Path) -> bool:
    return any(target.with_suffix(suffix).is_file() for suffix in (".md", ".ipynb"))


def render_pages(
    root: Path, pages: Sequence[Path], site: dict[str, Any], progress: Callable[[str], None] | None = None
) -> None:
    """Render page sources, relative to root, into `root/reports/site`, with what they share."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = root / TEMPLATES
    if not (folder / "page.html.j2").is_file():
        raise ReportError(f"{folder / 'page.html.j2'}: there is no such file. Build in the project's folder.")
    layout = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    ).get_template("page.html.j2")
    tables = [path.relative_to(root) for path in sorted((root / LIBRARY).glob("*.parquet"))]
    for path in (*STYLES, LIBRARY / "plotly.min.js", *tables):
        target = root / SITE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, target)
    for page in pages:
        if progress:
            progress(str(page))
        title, body = _notebook_body(root, page) if page.suffix == ".ipynb" else _markdown_body(root, page)
        body = _HEADING_ANCHOR.sub(lambda found: found[1] + found[2].lower(), body)
        target = root / SITE / page.with_suffix(".html")
        up = os.path.relpath(".", page.parent)
        text = layout.render(
            title=title,
            body=_MARKDOWN_LINK.sub(r"\1.html\2", body),
            headings=_headings(body),
            site=site["title"],
            words=site["words"],
            links=[(text, f"{up}/{Path(href).with_suffix('.html').as_posix()}") for text, href in site["links"]],
            styles=[f"{up}/{path.as_posix()}" for path in STYLES],
            plotly=f"{up}/{LIBRARY.as_posix()}/plotly.min.js",
        )
        write_text(target, text)


def _notebook_body(root: Path, page: Path) -> tuple[str, str]:
    import nbformat
    from nbconvert.exporters import HTMLExporter

    content = read_json(root / page)
    title = _title(source_text(content["cells"][0]), page)
    for cell in content["cells"][1:]:
        if cell["cell_type"] == "markdown":
            cell["source"] = unfenced(source_text(cell))
        elif cell["cell_type"] == "code":
            cell["source"] = source_text(cell).removeprefix("#| code-fold: false\n")
            for output in cell["outputs"]:
                if "text/markdown" in output["data"]:
                    output["data"] = {
                        "text/html": markdown_html(source_text({"source": output["data"]["text/markdown"]}))
                    }
    content["cells"] = content["cells"][1:]
    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        template_name="notebook",
        extra_template_basedirs=[str(root / TEMPLATES)],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    body, _ = exporter.from_notebook_node(nbformat.from_dict(content))  # type: ignore[no-untyped-call]
    return title, body


def _markdown_body(root: Path, page: Path) -> tuple[str, str]:
    text = (root / page).read_text(encoding="utf-8")
    front = _FRONT_MATTER.match(text)
    if front:
        return _title(front[0], page), markdown_html(text[front.end() :])
    heading = re.search(r"^# (.+)\n", text, flags=re.MULTILINE)
    if heading is None:
        return page.stem, markdown_html(text)
    return heading[1].strip(), markdown_html(text[: heading.start()] + text[heading.end() :])


def markdown_html(text: str) -> str:
    """Return Markdown as HTML, its raw HTML blocks as they are."""
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    parts: list[str] = []
    end = 0
    for block in _RAW_BLOCK.finditer(text):
        parts += [markdown2html_mistune(text[end : block.start()]), block[2]]
        end = block.end()
    parts.append(markdown2html_mistune(text[end:]) if text[end:].strip() else "")
    return "\n".join(parts)


def unfenced(text: str) -> str:
    """Return Markdown with its raw HTML blocks taken out of their fences."""
    return _RAW_BLOCK.sub(lambda block: block[2], text)


def _title(front: str, page: Path) -> str:
    found = re.search(r"^title:\s*(.+?)\s*$", front, flags=re.MULTILINE)
    return found[1].strip("\"'") if found else page.stem


def _headings(body: str) -> Iterable[tuple[str, str]]:
    found = re.findall(r'<h2[^>]*id="([^"]+)"[^>]*>(.*?)</h2>', body, flags=re.DOTALL)
    plain = [(anchor, re.sub(r"<a [^>]*anchor-link.*?</a>|<[^>]+>", "", text)) for anchor, text in found]
    return [(anchor, html.unescape(text).strip()) for anchor, text in plain]
