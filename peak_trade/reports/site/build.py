"""Build of the site: sources of the pages, the shared plotly.js, then Quarto, or nbconvert where Quarto is missing.

Only pages that changed are rendered again: `reports/site/.built.json` holds the digest of the source of each page. The
home page also states the last build that changed a page; that line alone is no change.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from peak_trade.core.digest import digest_bytes, package_digest
from peak_trade.core.errors import ReportError
from peak_trade.core.files import read_bytes, write_text
from peak_trade.core.version import package_version
from peak_trade.reports.markup import SCRIPTS, copy_scripts, raw_html, render, templates_digest
from peak_trade.reports.project import LAST_BUILD, LIBRARY, SITE, read_cache, read_page, read_quarto
from peak_trade.reports.site.fallback import navigation, render_pages
from peak_trade.reports.site.pages import write_pages

BUILT = ".built.json"
HOME = Path("index.md")
OLDEST_QUARTO = (1, 7)
FEW_PAGES = 4
"""Largest number of changed pages that Quarto renders one by one; above it, Quarto renders the whole site."""

Renderer = Literal["auto", "quarto", "nbconvert"]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Site:
    """Result of a build: the first page, the renderer, the number of pages and those that were rendered.

    `notice` is empty, or says why the pages were rendered without Quarto.
    """

    index: Path
    renderer: str
    n_pages: int
    rendered: tuple[Path, ...]
    notice: str = ""


def build_site(root: Path = Path(), renderer: Renderer = "auto", progress: Progress | None = None) -> Site:
    """Render the pages that changed into `root/reports/site`.

    Parameters
    ----------
    root : Path
        The project folder, with `_quarto.yml`, `index.md`, `docs/` and `reports/`.
    renderer : str
        `quarto`, `nbconvert` or `auto`: Quarto if version 1.7 or later is on PATH and succeeds, otherwise nbconvert.
    progress : callable
        Called with each page before it is rendered.

    Raises
    ------
    ReportError
        If root is not a project folder, or the chosen renderer is missing or fails.

    """
    if not (root / "_quarto.yml").is_file():
        raise ReportError(f"{root / '_quarto.yml'}: there is no such file. Run the command in the project folder.")
    quarto, notice = _find_quarto(renderer)
    copy_scripts(root / LIBRARY)
    write_pages(root)
    pages = page_sources(root)
    chosen = f"quarto {'.'.join(map(str, quarto))}" if quarto else "nbconvert"
    digests = _page_digests(root, pages, chosen)
    built = read_cache(root / SITE / BUILT)
    if built.get("renderer") != chosen or built.get("shared") != digests["shared"]:
        _clear(root)
        built = {"pages": {}}
    gone = [page for page in built["pages"] if page not in digests["pages"]]
    for page in gone:
        (root / SITE / page).with_suffix(".html").unlink(missing_ok=True)
    changed = [page for page in pages if built["pages"].get(page.as_posix()) != digests["pages"][page.as_posix()]]
    if changed or not (root / LAST_BUILD).is_file():
        changed = [page for page in pages if page in changed or page == HOME]
        write_text(root / LAST_BUILD, f"{raw_html(render('built.html.j2', facts=_build_facts(root)))}\n")
    if quarto and changed:
        try:
            is_whole = len(changed) > FEW_PAGES or not built["pages"]
            _render_with_quarto(root, changed, is_whole=is_whole, progress=progress)
        except ReportError as error:
            if renderer == "quarto":
                raise
            _clear(root)
            site = build_site(root, "nbconvert", progress)
            return replace(site, notice=f"{error} The pages were rendered with nbconvert.")
    elif changed:
        render_pages(root, changed, navigation(root), progress)
    _copy_library(root)
    write_text(root / SITE / BUILT, json.dumps({"renderer": chosen} | digests, indent=1))
    return Site(root / SITE / "index.html", chosen, len(pages), tuple(changed), notice)


def page_sources(root: Path) -> list[Path]:
    """Return the paths of the sources that `_quarto.yml` names, relative to root, in its order."""
    found: list[Path] = []
    for pattern in read_quarto(root)["project"]["render"]:
        found += [path.relative_to(root) for path in sorted(root.glob(pattern)) if not path.name.startswith((".", "_"))]
    return list(dict.fromkeys(found))


def quarto_version() -> tuple[int, ...] | None:
    """Return the version of the quarto on PATH; None if there is none or it does not answer."""
    program = shutil.which("quarto")
    if program is None:
        return None
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    numbers = re.findall(r"\d+", answer.stdout.strip())
    return tuple(map(int, numbers[:3])) or None


def _find_quarto(renderer: Renderer) -> tuple[tuple[int, ...] | None, str]:
    if renderer == "nbconvert":
        return None, ""
    found = quarto_version()
    if found is not None and found[:2] >= OLDEST_QUARTO:
        return found, ""
    least = ".".join(map(str, OLDEST_QUARTO))
    what = "There is no quarto on PATH" if found is None else f"quarto is {'.'.join(map(str, found))}"
    if renderer == "quarto":
        raise ReportError(f"{what}; version {least} or later is needed. Install it, or use --renderer nbconvert.")
    return None, f"{what}; the pages were rendered with nbconvert. Version {least} or later renders the full pages."


def _render_with_quarto(root: Path, changed: Iterable[Path], is_whole: bool, progress: Progress | None) -> None:
    program = shutil.which("quarto") or "quarto"
    for target in [None] if is_whole else list(changed):
        if progress:
            progress(str(target) if target else "all pages with Quarto")
        command = [program, "render"] + ([target.as_posix()] if target else [])
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        printed = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        troubles = [line.strip() for line in printed.splitlines() if re.search(r"\b(ERROR|WARN(ING)?)\b", line)]
        if done.returncode != 0:
            last = troubles[0] if troubles else (printed.strip() or "it printed nothing").splitlines()[-1]
            raise ReportError(f"quarto render failed in {root.resolve()}: {last}")
        for trouble in troubles:
            if progress:
                progress(trouble)


def _page_digests(root: Path, pages: Iterable[Path], renderer: str) -> dict[str, Any]:
    styles = sorted((root / "reports" / "styles").rglob("*.*"))
    shared = [renderer.encode(), read_bytes(root / "_quarto.yml"), *(read_bytes(path) for path in styles)]
    if renderer == "nbconvert":
        shared += [package_digest().encode(), templates_digest().encode()]
    return {
        "shared": digest_bytes(*shared, *(read_bytes(root / LIBRARY / name) for name in SCRIPTS)),
        "pages": {page.as_posix(): digest_bytes(_source(root, page)) for page in pages},
    }


def _source(root: Path, page: Path) -> bytes:
    return read_page(root, page, without=LAST_BUILD).encode() if page.suffix == ".md" else read_bytes(root / page)


def _build_facts(root: Path) -> list[str]:
    """Return version, commit and time of a build; `SOURCE_DATE_EPOCH` sets the time, in seconds since 1970."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=8", "--exclude=*"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = ""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(given), UTC) if given.isdecimal() else datetime.now(UTC)
    facts = [f"peak_trade {package_version()}", f"commit {commit}" if commit else "commit unknown"]
    return [*facts, f"built {moment:%Y-%m-%d %H:%M} UTC"]


def _copy_library(root: Path) -> None:
    """Make the site's copy of `reports/lib` equal to it; Quarto copies it only when it renders the whole site."""
    source, target = root / LIBRARY, root / SITE / LIBRARY
    files = {path.relative_to(source): path.stat() for path in source.rglob("*") if path.is_file()}
    for path in [path for path in target.rglob("*") if path.is_file() and path.relative_to(target) not in files]:
        path.unlink()
    for name, status in files.items():
        there = (target / name).stat() if (target / name).is_file() else None
        if there is None or (there.st_size, there.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


def _clear(root: Path) -> None:
    shutil.rmtree(root / SITE, ignore_errors=True)
