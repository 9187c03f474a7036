"""Publication of a built site: sealed versions in a folder that GitHub Pages or any other static host serves.

The folder has one folder per version, named by its time and by the digest of its files, and `index.html`, which leads
to the newest. `manifest.json` of a version has the SHA-256 of each of its files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from peak_trade.core.digest import digest_bytes, digest_of
from peak_trade.core.errors import ReportError
from peak_trade.core.files import create_file, make_folder, read_bytes, read_text, rename, sync_folder, write_text
from peak_trade.data.workspace import workspace
from peak_trade.reports.markup import render
from peak_trade.reports.project import SITE, read_cache
from peak_trade.site.build import site_lock
from peak_trade.site.check import check_site

KEPT = 5
"""Number of versions that are kept."""
MANIFEST = "manifest.json"
INDEX = "index.html"
NO_JEKYLL = ".nojekyll"
"""Empty file that lets GitHub Pages serve the files as they are."""
BY_HOST = (".git", "CNAME")
"""Files of a checkout for GitHub Pages, which stay as they are."""
_ASIDE = ".publish-"
"""Start of the name of a version until it is complete, and of one that is being removed."""
_TIME = "%Y%m%d_%H%M%S"
_VERSION = re.compile(r"\d{8}_\d{6}_([0-9a-f]{16})")
_MARK = '<meta name="generator" content="peak-trade site publish">'


@dataclass(frozen=True, slots=True)
class Publication:
    """A published version, the number of its files, and the versions that were removed.

    `is_new` is False if the newest version has the same files already; nothing was copied then.
    """

    folder: Path
    version: str
    n_files: int
    is_new: bool
    versions: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """The versions in a folder, the oldest first, and a sentence for each fault."""

    versions: tuple[str, ...]
    faults: tuple[str, ...]


def publish_site(to: Path, keep: int = KEPT, root: Path = Path()) -> Publication:
    """Copy the built site as a new version into a folder, lead `index.html` to it and remove old versions.

    Parameters
    ----------
    to : Path
        A folder that is new, empty, or was published to before.
    keep : int
        Number of versions that are kept, the new one included.
    root : Path
        The project folder.

    Raises
    ------
    ReportError
        If the site is not built or has faults, or the folder is not one for versions. Nothing has changed then.

    """
    with site_lock(root):
        site = root / SITE
        if not (site / INDEX).is_file():
            raise ReportError(f"{site / INDEX}: there is no such file. Build the site with `peak-trade site build`.")
        faults = check_site(site, root)
        if faults:
            others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            raise ReportError(f"{site}: {faults[0]}{others} Fix the source, then run `peak-trade site build`.")
        to = Path(os.path.realpath(to))
        _refuse_other_folders(to, root)
        contents = {name: read_bytes(path) for name, path in _shown_files(site).items()}
        files = {name: digest_bytes(content) for name, content in contents.items()}
        is_made = not to.exists()
        try:
            make_folder(to)
            return _publish(to, keep, contents, files)
        except BaseException:
            if is_made and to.is_dir() and not any(to.iterdir()):
                to.rmdir()
            raise


def verify_publication(folder: Path) -> Verification:
    """Compare the files of each version with its manifest, and the manifest with the name of the version.

    Raises
    ------
    ReportError
        If the folder has no versions.

    """
    versions = _versions(folder) if folder.is_dir() else []
    if not versions:
        raise ReportError(f"{folder}: there is no published version. Publish with `peak-trade site publish --to DIR`.")
    faults = [f"{version}: {fault}" for version in versions for fault in _version_faults(folder / version)]
    if not (folder / INDEX).is_file() or f'href="{versions[-1]}/' not in read_text(folder / INDEX):
        faults.append(f"{INDEX} does not lead to {versions[-1]}, the newest version.")
    return Verification(tuple(versions), tuple(faults))


def _publish(to: Path, keep: int, contents: Mapping[str, bytes], files: Mapping[str, str]) -> Publication:
    for left in to.glob(f"{_ASIDE}*"):  # by a publication that was killed
        shutil.rmtree(left, ignore_errors=True)
    versions, digest = _versions(to), digest_of(files)[:16]
    is_new = not versions or not versions[-1].endswith(digest) or bool(_version_faults(to / versions[-1]))
    if is_new:
        versions.append(f"{_next_time(versions)}_{digest}")
        manifest = json.dumps({"files": files}, indent=1, sort_keys=True).encode()
        _write_version(to / versions[-1], {**contents, MANIFEST: manifest})
    removed, kept = versions[:-keep], versions[-keep:]
    write_text(to / NO_JEKYLL, "")
    write_text(to / INDEX, render("published.html.j2", versions=kept[::-1]))
    for version in removed:
        with TemporaryDirectory(dir=to, prefix=_ASIDE, ignore_cleanup_errors=True) as aside:
            rename(to / version, Path(aside) / version)
    return Publication(to, versions[-1], len(files), is_new, tuple(kept), tuple(removed))


def _write_version(target: Path, contents: Mapping[str, bytes]) -> None:
    with TemporaryDirectory(dir=target.parent, prefix=_ASIDE) as aside:
        folder = Path(aside) / target.name
        for name, content in contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            create_file(folder / name, content)
        for made in folder.rglob("*/"):
            sync_folder(made)
        sync_folder(folder)
        rename(folder, target)


def _next_time(versions: list[str]) -> str:
    """Return the time of a new version: now, or one second after the last version if the clock is behind it."""
    now = datetime.now(UTC)
    if versions:
        last = datetime.strptime(versions[-1][:15], _TIME).replace(tzinfo=UTC)
        now = max(now, last + timedelta(seconds=1))
    return now.strftime(_TIME)


def _versions(folder: Path) -> list[str]:
    """Return the names of the versions in a folder, the oldest first."""
    return sorted(path.name for path in folder.iterdir() if _VERSION.fullmatch(path.name) and path.is_dir())


def _shown_files(folder: Path) -> dict[str, Path]:
    """Return the files of a site by name; hidden ones are not shown."""
    files = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name.as_posix(): path
        for name, path in files.items()
        if not any(part.startswith(".") for part in name.parts) and name.as_posix() != MANIFEST
    }


def _version_faults(folder: Path) -> list[str]:
    sealed = read_cache(folder / MANIFEST).get("files")
    if not isinstance(sealed, dict):
        return [f"{MANIFEST} is missing or unreadable."]
    if digest_of(sealed)[:16] != folder.name[-16:]:
        return [f"{MANIFEST} is not the one that this version was sealed with."]
    found = {name: digest_bytes(read_bytes(path)) for name, path in _shown_files(folder).items()}
    faults = [f"{name} is missing." for name in sealed.keys() - found.keys()]
    faults += [f"{name} was added." for name in found.keys() - sealed.keys()]
    return sorted(faults + [f"{name} was changed." for name in found.keys() & sealed if found[name] != sealed[name]])


def _refuse_other_folders(to: Path, root: Path) -> None:
    project, home = root.resolve(), workspace().resolve()
    if to.exists() and not to.is_dir():
        raise ReportError(f"{to} is a file. Name a folder.")
    if project.is_relative_to(to) or home.is_relative_to(to):
        raise ReportError(f"{to}: it holds the project or its workspace. Name a folder for the site alone.")
    if to.is_relative_to(home) or (to.is_relative_to(project) and to.parent != project):
        raise ReportError(f"{to} is inside of a folder of the project. Name one outside, or a new one directly in it.")
    for path in sorted(to.iterdir()) if to.is_dir() else ():
        is_ours = path.name in (NO_JEKYLL, *BY_HOST) or path.name.startswith(_ASIDE)
        is_ours |= bool(_VERSION.fullmatch(path.name)) and (path / MANIFEST).is_file()
        is_ours |= path.name == INDEX and path.is_file() and _MARK in read_text(path)
        if not is_ours:
            raise ReportError(
                f"{to}: {path.name} was not written by `peak-trade site publish`. Name a new or empty folder."
            )
