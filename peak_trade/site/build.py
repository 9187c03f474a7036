"""Build of the site: sources of the pages, the shared plotly.js, then Quarto, or nbconvert where Quarto is missing.

The pages are rendered in a staging folder, in the cache of the workspace; see `staging_folder`. It holds copies of the
project's pages, the pages that are made from runs, and the rendered site. Only pages that changed are rendered again:
`.built.json` in the site holds the digest of the source of each page. The rendered site is checked, and then replaces
`reports/site` in one step. An interrupted or failed build leaves the previous site as it was.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, Literal

from peak_trade.core.digest import digest_bytes, digest_of, package_digest
from peak_trade.core.errors import ReportError
from peak_trade.core.extras import require
from peak_trade.core.files import make_folder, read_bytes, replace_folder, write_text
from peak_trade.core.lock import held_lock
from peak_trade.data.workspace import workspace
from peak_trade.reports.markup import SCRIPTS, copy_scripts, templates_digest
from peak_trade.reports.notebooks import LOCKS
from peak_trade.reports.project import LIBRARY, SITE, read_cache, read_page, read_quarto
from peak_trade.site.check import check_site
from peak_trade.site.documents import places, title_of
from peak_trade.site.fallback import navigation, render_pages
from peak_trade.site.pages import PAGES, write_pages

BUILT = ".built.json"
OLDEST_QUARTO = (1, 7)
FEW_PAGES = 4
"""Largest number of changed pages that Quarto renders one by one; above it, Quarto renders the whole site."""
WAIT_SECONDS = 0.2
"""Time that a build waits for another one of the same project before it is refused."""
IMAGES = (".png", ".svg", ".jpg", ".jpeg", ".gif", ".webp")
GENERATED = (PAGES, LIBRARY, SITE, Path(".quarto"))
"""Folders of the staging folder that hold no copies of the project's files."""
_ASIDE = ".site-"
"""Start of the name of the new site until it replaces the previous one."""

Renderer = Literal["auto", "quarto", "nbconvert"]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Site:
    """Result of a build: the first page, the renderer, the number of pages and those that were rendered.

    `notice` is empty, or says why the pages were rendered without Quarto. `faults` has a sentence for each fault that
    `check_site` found.
    """

    index: Path
    renderer: str
    n_pages: int
    rendered: tuple[Path, ...]
    notice: str = ""
    faults: tuple[str, ...] = ()


def build_site(root: Path = Path(), renderer: Renderer = "auto", progress: Progress | None = None) -> Site:
    """Render the pages that changed, check the site and replace `root/reports/site` with it.

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
    ConfigError
        If the extra `lab` is not installed.
    ReportError
        If root is not a project folder, the chosen renderer is missing or fails, or the site is being built.

    """
    require("the site", "nbconvert", "yaml")
    if not (root / "_quarto.yml").is_file():
        raise ReportError(f"{root / '_quarto.yml'}: there is no such file. Run the command in the project folder.")
    quarto, notice = _find_quarto(renderer)
    with site_lock(root):
        stage = staging_folder(root)
        _copy_sources(root, stage)
        copy_scripts(stage / LIBRARY)
        write_pages(root, stage)
        try:
            site = _render(root, stage, quarto, progress)
        except ReportError as error:
            if renderer == "quarto" or quarto is None:
                raise
            site = _render(root, stage, None, progress)
            notice = f"{error} The pages were rendered with nbconvert."
        _install(stage / SITE, root / SITE)
    return replace(site, index=root / SITE / "index.html", notice=notice)


@contextmanager
def site_lock(root: Path) -> Iterator[None]:
    """Let one process at a time build or publish the site of a project; ReportError that names the other one."""
    lock = root / LOCKS / "site.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(held_lock(lock, WAIT_SECONDS))
        except TimeoutError as error:
            raise ReportError(f"the site is being built or published: {error}. Wait, or stop it.") from None
        yield


def staging_folder(root: Path) -> Path:
    """Return the folder in the cache of the workspace in which a site is rendered; it may be missing."""
    return workspace() / "cache" / f"site-{digest_of(str(root.resolve()))[:12]}"


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


def _copy_sources(root: Path, stage: Path) -> None:
    """Copy the project's own pages, the files in their folders, the style sheets and the resources of Quarto."""
    project = read_quarto(root)["project"]
    files, folders = [root / "_quarto.yml"], [root / "reports" / "styles"]
    for pattern in (*project["render"], *project.get("resources", [])):
        folder = root / Path(*takewhile(lambda part: "*" not in part, PurePath(pattern).parts))
        if folder == root or folder.is_file():
            files += root.glob(pattern)
        else:
            folders.append(folder)
    files += [path for folder in folders for path in folder.rglob("*") if not path.name.startswith(".")]
    names = {path.relative_to(root) for path in files if path.is_file()}
    own = {name for name in names if not _is_in(name, GENERATED)}
    _mirror(root, stage, own, lambda name: not _is_in(name, GENERATED))


def _render(root: Path, stage: Path, quarto: tuple[int, ...] | None, progress: Progress | None) -> Site:
    """Render the pages that changed into the site of the staging folder; see `build_site`."""
    pages = page_sources(stage)
    chosen = f"quarto {'.'.join(map(str, quarto))}" if quarto else "nbconvert"
    shared, digests = _page_digests(stage, pages, chosen)
    built = read_cache(stage / SITE / BUILT)
    if built.get("renderer") != chosen or built.get("shared") != shared:
        shutil.rmtree(stage / SITE, ignore_errors=True)
        built = {"pages": {}}
    kept = {page: digest for page, digest in built["pages"].items() if digests.get(page) == digest}
    changed = [page for page in pages if page.as_posix() not in kept]
    if changed or kept != built["pages"]:
        # A build that is interrupted from here on renders these pages again.
        _write_built(stage, chosen, shared, kept)
    for page in built["pages"].keys() - digests.keys():
        (stage / SITE / page).with_suffix(".html").unlink(missing_ok=True)
    if quarto and changed:
        _render_with_quarto(stage, changed, is_whole=len(changed) > FEW_PAGES or not kept, progress=progress)
    elif changed:
        render_pages(stage, changed, navigation(stage), progress)
    images = [path for path in (stage / "docs").rglob("*") if path.suffix in IMAGES]
    used = {path.relative_to(stage) for path in (*images, *(stage / LIBRARY).rglob("*")) if path.is_file()}
    has_new = _mirror(stage, stage / SITE, used, lambda name: _is_in(name, (LIBRARY,)))
    faults = None if changed or has_new or kept != built["pages"] else built.get("faults")
    if faults is None:
        faults = check_site(stage / SITE, root)
        _write_built(stage, chosen, shared, digests, faults)
    return Site(Path(), chosen, len(pages), tuple(changed), faults=tuple(faults))


def _write_built(stage: Path, renderer: str, shared: str, pages: Mapping[str, str], faults: Any = None) -> None:
    content = {"renderer": renderer, "shared": shared, "pages": dict(pages), "faults": faults}
    write_text(stage / SITE / BUILT, json.dumps(content, indent=1))


def _render_with_quarto(stage: Path, changed: Iterable[Path], is_whole: bool, progress: Progress | None) -> None:
    program = shutil.which("quarto") or "quarto"
    for target in [None] if is_whole else list(changed):
        if progress:
            progress(str(target) if target else "all pages with Quarto")
        code, text = _run([program, "render"] + ([target.as_posix()] if target else []), stage)
        printed = re.sub(r"\x1b\[[0-9;]*m", "", text)
        troubles = [line.strip() for line in printed.splitlines() if re.search(r"\b(ERROR|WARN(ING)?)\b", line)]
        if code != 0:
            last = troubles[0] if troubles else (printed.strip() or "it printed nothing").splitlines()[-1]
            raise ReportError(f"quarto render failed in {stage.resolve()}: {last}")
        for trouble in troubles:
            if progress:
                progress(trouble)


def _run(command: Sequence[str], folder: Path) -> tuple[int, str]:
    """Run a program and return its exit code and what it prints; an interruption ends it with all its processes."""
    with TemporaryDirectory(prefix="peak-trade-") as scratch:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"TMPDIR": scratch},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        with process:
            try:
                printed, _ = process.communicate()
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return process.returncode, printed


def _page_digests(stage: Path, pages: Iterable[Path], renderer: str) -> tuple[str, dict[str, str]]:
    """Return the digest of what all pages share, and that of the source of each page."""
    styles = sorted((stage / "reports" / "styles").rglob("*.*"))
    shared = [renderer.encode(), read_bytes(stage / "_quarto.yml"), *(read_bytes(path) for path in styles)]
    if renderer == "nbconvert":
        titles = sorted((page.as_posix(), title_of(stage, page)) for page in places(stage))
        shared += [package_digest().encode(), templates_digest().encode(), repr(titles).encode()]
    shared += [read_bytes(stage / LIBRARY / name) for name in SCRIPTS]
    return digest_bytes(*shared), {page.as_posix(): digest_bytes(_source(stage, page)) for page in pages}


def _source(stage: Path, page: Path) -> bytes:
    return read_page(stage, page).encode() if page.suffix == ".md" else read_bytes(stage / page)


def _install(built: Path, site: Path) -> None:
    """Replace the site by a copy of the one that was built, unless they are equal."""
    site = Path(os.path.realpath(site))
    make_folder(site.parent)
    for left in site.parent.glob(f"{_ASIDE}*"):  # by a build that was killed
        shutil.rmtree(left, ignore_errors=True)
    if _files(built) != _files(site):
        with TemporaryDirectory(dir=site.parent, prefix=_ASIDE) as aside:
            shutil.copytree(built, Path(aside) / site.name)
            replace_folder(Path(aside) / site.name, site)


def _mirror(source: Path, target: Path, names: Collection[Path], may_remove: Callable[[Path], bool]) -> bool:
    """Copy the files with these names that differ in size or time, and remove others; return whether one changed."""
    there = _files(target)
    gone = [name for name in there if name not in names and may_remove(name)]
    for name in gone:
        (target / name).unlink()
    changed = [name for name in names if there.get(name) != _state(source / name)]
    for name in changed:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)
    return bool(gone or changed)


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path.relative_to(folder): _state(path) for path in folder.rglob("*") if path.is_file()}


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _is_in(name: Path, folders: Iterable[Path]) -> bool:
    return any(folder in name.parents for folder in folders)
