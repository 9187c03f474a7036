"""Build the site: page sources, the shared plotly.js, then Quarto, or nbconvert where there is no Quarto.

Only what changed is rendered again: `reports/site/.built.json` holds the digest of every page as it was rendered.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from peak_trade.core.digest import digest_bytes, package_digest
from peak_trade.core.errors import ReportError
from peak_trade.core.files import write_text
from peak_trade.reports.project import LIBRARY, SITE, read_cache, read_quarto
from peak_trade.reports.site.fallback import navigation, render_pages
from peak_trade.reports.site.pages import PAGES, write_pages

BUILT = ".built.json"
OLDEST_QUARTO = (1, 7)
FEW_PAGES = 3
"""Changed pages up to which Quarto renders them one by one instead of the whole site."""

Renderer = Literal["auto", "quarto", "nbconvert"]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Site:
    """What a build did: the renderer that made the pages, how many there are and which were rendered now.

    `notice` says why another renderer than Quarto was taken, empty when none was.
    """

    index: Path
    renderer: str
    n_pages: int
    rendered: tuple[Path, ...]
    notice: str = ""


def build_site(root: Path = Path(), renderer: Renderer = "auto", progress: Progress | None = None) -> Site:
    """Render every page that changed into `root/reports/site`.

    Parameters
    ----------
    root : Path
        The project: holds `_quarto.yml`, `index.md`, `docs/` and `reports/`.
    renderer : str
        `quarto`, `nbconvert`, or `auto`: Quarto where 1.7 or later is on PATH and does not fail, else nbconvert.
    progress : callable
        Called with each page that is about to be rendered.

    Raises
    ------
    ReportError
        If this is no project, or the renderer that was asked for is missing or fails.

    """
    if not (root / "_quarto.yml").is_file():
        raise ReportError(f"{root / '_quarto.yml'}: there is no such file. Build in the project's folder.")
    quarto, notice = _find_quarto(renderer)
    copy_library(root)
    write_pages(root)
    pages = page_sources(root)
    chosen = f"quarto {'.'.join(map(str, quarto))}" if quarto else "nbconvert"
    digests = _page_digests(root, pages, chosen)
    held = read_cache(root / SITE / BUILT)
    if held.get("renderer") != chosen or held.get("shared") != digests["shared"]:
        _clear(root)
        held = {"pages": {}}
    gone = [page for page in held["pages"] if page not in digests["pages"]]
    for page in gone:
        (root / SITE / page).with_suffix(".html").unlink(missing_ok=True)
    changed = [page for page in pages if held["pages"].get(page.as_posix()) != digests["pages"][page.as_posix()]]
    if quarto and changed:
        try:
            _render_with_quarto(
                root, changed, is_whole=len(changed) > FEW_PAGES or not held["pages"], progress=progress
            )
        except ReportError as error:
            if renderer == "quarto":
                raise
            _clear(root)
            built = build_site(root, "nbconvert", progress)
            return Site(built.index, built.renderer, built.n_pages, built.rendered, f"{error} Built with nbconvert.")
    elif changed:
        render_pages(root, changed, navigation(root), progress)
    write_text(root / SITE / BUILT, json.dumps({"renderer": chosen} | digests, indent=1))
    return Site(root / SITE / "index.html", chosen, len(pages), tuple(changed), notice)


def page_sources(root: Path) -> list[Path]:
    """Return the sources that `_quarto.yml` names, relative to root, in its order."""
    found: list[Path] = []
    for pattern in read_quarto(root)["project"]["render"]:
        found += [path.relative_to(root) for path in sorted(root.glob(pattern)) if not path.name.startswith((".", "_"))]
    return list(dict.fromkeys(found))


def copy_library(root: Path) -> Path:
    """Put the installed plotly's own plotly.min.js into `reports/lib`, once a version; return its path."""
    from importlib.util import find_spec

    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        raise ReportError("plotly is not installed. Install the project's lock file: make env.")
    source = Path(spec.origin).parent / "package_data" / "plotly.min.js"
    target = root / LIBRARY / source.name
    if not target.is_file() or target.stat().st_size != source.stat().st_size:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return target


def quarto_version() -> tuple[int, ...] | None:
    """Return the version of the quarto on PATH, None when there is none that answers."""
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
    version = quarto_version()
    if version is not None and version[:2] >= OLDEST_QUARTO:
        return version, ""
    least = ".".join(map(str, OLDEST_QUARTO))
    what = "There is no quarto on PATH" if version is None else f"quarto is {'.'.join(map(str, version))}"
    if renderer == "quarto":
        raise ReportError(f"{what}; {least} or later is needed. Install it, or use --renderer nbconvert.")
    return None, f"{what} ({least} or later makes the full pages)."


def _render_with_quarto(root: Path, changed: Iterable[Path], is_whole: bool, progress: Progress | None) -> None:
    program = shutil.which("quarto") or "quarto"
    for target in [None] if is_whole else list(changed):
        if progress:
            progress(str(target) if target else "all pages with Quarto")
        command = [program, "render"] + ([target.as_posix()] if target else [])
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        troubles = [line.strip() for line in said.splitlines() if re.search(r"\b(ERROR|WARN(ING)?)\b", line)]
        if done.returncode != 0:
            last = troubles[0] if troubles else (said.strip() or "it said nothing").splitlines()[-1]
            raise ReportError(f"quarto render failed in {root.resolve()}: {last}")
        for trouble in troubles:
            if progress:
                progress(trouble)


def _page_digests(root: Path, pages: Iterable[Path], renderer: str) -> dict[str, Any]:
    styles = sorted(path for folder in ("styles", "templates") for path in (root / "reports" / folder).rglob("*.*"))
    shared = [renderer.encode(), (root / "_quarto.yml").read_bytes(), *(path.read_bytes() for path in styles)]
    if renderer == "nbconvert":
        shared.append(package_digest().encode())
    return {
        "shared": digest_bytes(*shared, (root / LIBRARY / "plotly.min.js").read_bytes()),
        "pages": {page.as_posix(): digest_bytes((root / page).read_bytes()) for page in pages},
    }


def _clear(root: Path) -> None:
    shutil.rmtree(root / SITE, ignore_errors=True)


__all__ = ["PAGES", "Site", "build_site", "copy_library", "page_sources", "quarto_version", "read_quarto"]
