"""Check of a rendered site: its links and anchors, what it loads, what it names of this machine, and its sizes."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from peak_trade.core.files import read_bytes
from peak_trade.reports.markup import SCRIPTS
from peak_trade.reports.project import LIBRARY, folder_pattern, machine_folders

PAGE_BUDGET_KB = 1_500
"""Largest size of a page without the files that pages share, in kB of 1,000 bytes."""
LOADS = {
    ("audio", "src"), ("embed", "src"), ("iframe", "src"), ("image", "href"), ("image", "xlink:href"), ("img", "src"),
    ("img", "srcset"), ("input", "src"), ("link", "href"), ("object", "data"), ("script", "src"), ("source", "src"),
    ("source", "srcset"), ("track", "src"), ("use", "href"), ("video", "poster"), ("video", "src"),
}  # fmt: skip
"""Attributes by which a page loads a file."""
NOT_LOADED = {"alternate", "author", "canonical", "help", "license", "next", "prev", "search"}
"""Relations of a link element that loads nothing."""
_STYLE_LOAD = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""")
_SECRET = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


@dataclass
class Page:
    """What a page links to and loads, and the names of its anchors."""

    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)


def check_site(site: Path, root: Path) -> list[str]:
    """Return a sentence for each fault of the site of a project.

    A link within the site needs its file and its anchor, and is relative. A page loads nothing from another host. No
    file names a folder of this machine or holds a private key. No page is larger than `PAGE_BUDGET_KB`.

    Parameters
    ----------
    site : Path
        The folder with the rendered pages.
    root : Path
        The project folder, which no file may name.

    """
    files = {path.relative_to(site).as_posix(): path for path in sorted(site.rglob("*")) if path.is_file()}
    shown = {name: path for name, path in files.items() if not any(part.startswith(".") for part in Path(name).parts)}
    shared = {(LIBRARY / name).as_posix() for name in SCRIPTS}
    named, pages, faults = machine_folders(root), {}, []
    folders = folder_pattern(named)
    for name, path in shown.items():
        text = "" if name in shared else read_bytes(path).decode(errors="replace")
        if name.endswith(".html"):
            pages[name] = read_page_links(text)
            if len(text) > PAGE_BUDGET_KB * 1_000:
                faults.append(f"{name}: the page has {len(text) / 1_000:,.0f} kB, more than {PAGE_BUDGET_KB:,} kB.")
        loads = _STYLE_LOAD.findall(text) if name.endswith((".html", ".css", ".svg")) else []
        faults += [f"{name}: it loads {load} from another host." for load in loads]
        if any(folder in text for folder in named):  # the pattern is slow
            faults += [f"{name}: it names {folder}, a folder of this machine." for folder, _ in folders.findall(text)]
        faults += [f"{name}: it holds a private key." for _ in _SECRET.findall(text)]
    for name, page in pages.items():
        faults += [f"{name}: it loads {load} from another host." for load in page.loads if _is_remote(load)]
        faults += [f"{name}: {fault}" for fault in _link_faults(name, page, shown, pages)]
    return sorted(dict.fromkeys(faults))


def read_page_links(text: str) -> Page:
    """Return the links, loads and anchors of a page of HTML."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader.page


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value.strip() for name, value in attrs if value}
        self.page.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag in ("a", "area") and "href" in values:
            self.page.links.append(values["href"])
        if tag == "link" and NOT_LOADED & set(values.get("rel", "").lower().split()):
            return
        for name, value in values.items():
            if (tag, name) in LOADS:
                parts = value.split(",") if name == "srcset" and not value.startswith("data:") else [value]
                self.page.loads += [part.split()[0] for part in parts if part.strip()]


def _is_remote(target: str) -> bool:
    return target.startswith("//") or urlsplit(target).scheme in ("http", "https", "ftp", "ws", "wss")


def _link_faults(name: str, page: Page, files: Mapping[str, Path], pages: Mapping[str, Page]) -> Iterator[str]:
    for target in dict.fromkeys((*page.links, *page.loads)):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        if parts.path.startswith("/"):
            yield f"it links to {target}; write the path relative to the page."
            continue
        place = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path))) if parts.path else name
        place = f"{place}/index.html".removeprefix("./") if f"{place}/index.html".removeprefix("./") in files else place
        anchor = unquote(parts.fragment)
        if place not in files:
            yield f"it links to {target}, and there is no such file in the site."
        elif anchor not in ("", "top") and place in pages and anchor not in pages[place].anchors:
            yield f"it links to {target}, and that page has no such anchor."
