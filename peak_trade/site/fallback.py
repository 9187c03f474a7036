"""Rendering of pages without Quarto: nbconvert for notebooks and Markdown, inside one page template."""

from __future__ import annotations

import html
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from peak_trade.core.files import write_text
from peak_trade.reports.markup import SCRIPTS, TEMPLATES, markdown_html, render
from peak_trade.reports.notebooks import read_json, source_text
from peak_trade.reports.project import LIBRARY, SITE, STYLES, read_page, read_quarto
from peak_trade.site.documents import places

_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", flags=re.DOTALL)
_HEADING = re.compile(r'<h([1-6]) id="[^"]*">(.*?)<a class="anchor-link".*?</h\1>', flags=re.DOTALL)
_HEADING_ANCHOR = re.compile(r'(^<h\d id="|<a class="anchor-link" href="#)[^"]*')
_MARKDOWN_LINK = re.compile(r'(<a(?![^>]*\sdownload\b) [^>]*href="(?![a-z]+:)[^"#]*)\.(?:md|ipynb)((?:#[^"]*)?")')


def navigation(root: Path) -> dict[str, Any]:
    """Return the site's title, the (text, href) of its navigation bar and the text of its footer from `_quarto.yml`.

    Links to pages that have no source are left out.
    """
    website = read_quarto(root)["website"]
    links = []
    for item in website["navbar"]["left"]:
        links += item.get("menu", [item])
    return {
        "title": website["title"],
        "links": [(link["text"], link["href"]) for link in links if _has_source(root / link["href"])],
        "footer": website["page-footer"]["right"],
    }


def _has_source(target: Path) -> bool:
    return any(target.with_suffix(suffix).is_file() for suffix in (".md", ".ipynb"))


def render_pages(
    root: Path, pages: Sequence[Path], site: dict[str, Any], progress: Callable[[str], None] | None = None
) -> None:
    """Render page sources into `root/reports/site`, and copy the style sheets there.

    Parameters
    ----------
    root : Path
        The project folder.
    pages : sequence of Path
        Sources of pages, relative to root.
    site : dict
        Title, links and footer; see `navigation`.
    progress : callable
        Called with each source before it is rendered.

    """
    for path in STYLES:
        target = root / SITE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, target)
    documents = places(root)
    for page in pages:
        if progress:
            progress(str(page))
        title, body = _notebook_body(root, page) if page.suffix == ".ipynb" else _markdown_body(root, page)
        body = _with_anchors(body)
        up = os.path.relpath(".", page.parent)
        text = render(
            "page.html.j2",
            title=title,
            page=page,
            up=up,
            place=documents.get(page),
            body=_MARKDOWN_LINK.sub(r"\1.html\2", body),
            headings=_headings(body),
            site=site["title"],
            footer=site["footer"],
            links=[(text, f"{up}/{Path(href).with_suffix('.html').as_posix()}") for text, href in site["links"]],
            styles=[f"{up}/{path.as_posix()}" for path in STYLES],
            scripts=[f"{up}/{LIBRARY.as_posix()}/{name}" for name in SCRIPTS],
        )
        write_text(root / SITE / page.with_suffix(".html"), text)


def _notebook_body(root: Path, page: Path) -> tuple[str, str]:
    import nbformat

    content = read_json(root / page)
    title = _title(source_text(content["cells"][0]), page)
    for cell in content["cells"][1:]:
        if cell["cell_type"] == "markdown":
            cell["cell_type"] = "raw"
            cell["metadata"] = {}
            cell["source"] = markdown_html(source_text(cell))
        elif cell["cell_type"] == "code":
            cell["source"] = source_text(cell).removeprefix("#| code-fold: false\n")
            for output in cell["outputs"]:
                if "text/markdown" in output["data"]:
                    output["data"] = {
                        "text/html": markdown_html(source_text({"source": output["data"]["text/markdown"]}))
                    }
    content["cells"] = content["cells"][1:]
    body, _ = _exporter().from_notebook_node(nbformat.from_dict(content))  # type: ignore[no-untyped-call]
    return title, body


@cache
def _exporter() -> Any:
    """Return the exporter of notebooks, which compiles its templates once."""
    from nbconvert.exporters import HTMLExporter

    return HTMLExporter(  # type: ignore[no-untyped-call]
        template_name="notebook",
        extra_template_basedirs=[str(TEMPLATES)],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )


def _markdown_body(root: Path, page: Path) -> tuple[str, str]:
    text = read_page(root, page)
    front = _FRONT_MATTER.match(text)
    if front:
        return _title(front[0], page), markdown_html(text[front.end() :])
    heading = re.search(r"^# (.+)\n", text, flags=re.MULTILINE)
    if heading is None:
        return page.stem, markdown_html(text)
    return heading[1].strip(), markdown_html(text[: heading.start()] + text[heading.end() :])


def _with_anchors(body: str) -> str:
    """Return a page whose headings have the anchors that Quarto gives them."""
    known: set[str] = set()

    def anchored(found: re.Match[str]) -> str:
        name = anchor = heading_anchor(html.unescape(re.sub(r"<[^>]+>", "", found[2])))
        for number in count(1):
            if anchor not in known:
                break
            anchor = f"{name}-{number}"
        known.add(anchor)
        return _HEADING_ANCHOR.sub(lambda part: f"{part[1]}{anchor}", found[0])

    return _HEADING.sub(anchored, body)


def heading_anchor(text: str) -> str:
    """Return the anchor of a heading as Pandoc makes it (User's Guide, extension `auto_identifiers`).

    >>> heading_anchor("3. Costs, fees & slippage (bps)")
    'costs-fees-slippage-bps'
    """
    kept = "".join(mark for mark in text.lower() if mark.isalnum() or mark.isspace() or mark in "_-.")
    name = "-".join(re.sub("-{2,}", " ", kept).split())
    first = next((place for place, mark in enumerate(name) if mark.isalpha()), len(name))
    return name[first:] or "section"


def _title(front: str, page: Path) -> str:
    found = re.search(r"^title:\s*(.+?)\s*$", front, flags=re.MULTILINE)
    return html.unescape(found[1].strip("\"'")) if found else page.stem


def _headings(body: str) -> Iterable[tuple[str, str]]:
    found = re.findall(r'<h2[^>]*id="([^"]+)"[^>]*>(.*?)</h2>', body, flags=re.DOTALL)
    plain = [(anchor, re.sub(r"<a [^>]*anchor-link.*?</a>|<[^>]+>", "", text)) for anchor, text in found]
    return [(anchor, html.unescape(text).strip()) for anchor, text in plain]
