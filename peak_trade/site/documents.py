"""Sidebar of the documents, the pages before and after each one, and the data of the search that needs no server."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from peak_trade.core.files import read_bytes, read_text, write_text
from peak_trade.reports.project import LIBRARY, read_quarto, without_folders

SEARCH = "search.js"
"""Script with the texts of the pages, which the search loads when it is opened."""
_TITLE = re.compile(r"^(?:title:|#) *(.+?) *$", flags=re.MULTILINE)
_HTML_BLOCK = re.compile(r"^(`{3,})\{=html\}\n.*?\n\1$", flags=re.DOTALL | re.MULTILINE)
_MARKS = re.compile(r"\{\{<.*?>\}\}|\]\([^)]*\)|^---\n.*?\n---\n|```\w*|[`*|#\[\]$\\]|-{3,}", flags=re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a document: its sidebar as (section, pages), and the pages before and after it, if there are any.

    A page is its path relative to the project folder and its title.
    """

    groups: tuple[tuple[str, tuple[tuple[Path, str], ...]], ...]
    before: tuple[Path, str] | None
    after: tuple[Path, str] | None


def places(root: Path) -> dict[Path, Place]:
    """Return the place of each document that a sidebar of `_quarto.yml` names and that exists."""
    found: dict[Path, Place] = {}
    for sidebar in read_quarto(root)["website"].get("sidebar", []):
        groups = tuple(
            (group["section"], tuple((page, title_of(root, page)) for page in pages))
            for group in sidebar["contents"]
            if (pages := [Path(name) for name in group["contents"] if (root / name).is_file()])
        )
        listed = [page for _, pages in groups for page in pages]
        for number, (page, _) in enumerate(listed):
            before = listed[number - 1] if number else None
            found[page] = Place(groups, before, listed[number + 1] if number + 1 < len(listed) else None)
    return found


def title_of(root: Path, page: Path) -> str:
    """Return the title of a Markdown page, of its front matter or its first heading; the file name without one."""
    return _title(read_text(root / page)) or page.stem


def _title(text: str) -> str:
    heading = _TITLE.search(text)
    return html.unescape(heading[1].strip("\"'")) if heading else ""


def write_search(root: Path, stage: Path, sources: Mapping[str, str]) -> None:
    """Write the data of the search into `reports/lib` of a staging folder: each document by section, and the sources.

    `sources` are the texts of the pages in `reports/pages` by file name, Markdown or notebook.
    """
    entries = [
        entry for page in places(root) if page.parts[0] == "docs" for entry in _sections(page, read_text(root / page))
    ]
    for name, text in sources.items():
        page = Path("reports/pages") / name
        if name.endswith(".ipynb"):
            texts = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] != "code"]
            entries.append(
                _entry(page, _title(texts[0]), "", " ".join(re.findall(r"^##+ (.+)$", "\n".join(texts), re.M)))
            )
        elif not name.startswith("_"):
            entries.append(_entry(page, _title(text), "", text))
    content = json.dumps(json.dumps(entries, separators=(",", ":")))
    script, path = without_folders(f"window.peakTradeSearch = JSON.parse({content});\n", root), stage / LIBRARY / SEARCH
    if not path.is_file() or read_bytes(path) != script.encode():
        write_text(path, script)


def _sections(page: Path, text: str) -> Iterable[list[str]]:
    title, parts = _title(text), re.split(r"^## +(.+)$", text, flags=re.MULTILINE)
    yield _entry(page, title, "", parts[0])
    for heading, section in zip(parts[1::2], parts[2::2], strict=True):
        yield _entry(page, title, heading, section)


def _entry(page: Path, title: str, heading: str, text: str) -> list[str]:
    plain = " ".join(html.unescape(_MARKS.sub("", _HTML_BLOCK.sub(" ", text))).split())
    return [title, page.with_suffix(".html").as_posix(), _MARKS.sub("", heading), plain]
