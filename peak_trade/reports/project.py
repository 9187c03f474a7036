"""Folders, Quarto configuration and cache files of a project."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from peak_trade.core.errors import ReportError
from peak_trade.core.files import read_text
from peak_trade.data.workspace import workspace
from peak_trade.reports.markup import markdown_text

SITE = Path("reports/site")
STYLES = (Path("reports/styles/plain.css"), Path("reports/styles/site.css"))
"""Style sheets of a project's pages, relative to its folder."""
LIBRARY = Path("reports/lib")
HOME_PART = Path("reports/pages/_home.md")
"""Part of the home page that is written from the runs; `index.md` includes it."""
ORIGIN_PART = Path("reports/pages/_built.md")
"""Line of the home page with the version of the package and the commit of the project; `index.md` includes it."""
_INCLUDE = re.compile(r"^\{\{< include (\S+) >\}\}$", flags=re.MULTILINE)


def read_quarto(root: Path) -> dict[str, Any]:
    """Read `_quarto.yml`; ReportError if it is not YAML."""
    import yaml  # type: ignore[import-untyped]

    path = root / "_quarto.yml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast
    try:
        content: dict[str, Any] = yaml.load(read_text(path), loader)
    except yaml.YAMLError as error:
        raise ReportError(f"{path}: this is not YAML: {error}") from None
    return content


def read_page(root: Path, page: Path) -> str:
    """Return the Markdown of a page with the files that it includes, as Quarto reads it.

    Raises
    ------
    ReportError
        If an included file is missing.

    """

    def included(found: re.Match[str]) -> str:
        part = page.parent / found[1]
        if not (root / part).is_file():
            raise ReportError(f"{root / page}: it includes {found[1]}, and there is no such file.")
        return read_text(root / part)

    return _INCLUDE.sub(included, read_text(root / page))


def without_folders(text: str, root: Path) -> str:
    """Return a text that names files relative to the project, and no home folder; see `machine_folders`.

    Folders are found as they are and as `markdown_text` writes them.
    """
    for written in (str, markdown_text):
        shown = {written(folder): name for folder, name in machine_folders(root).items()}
        if any(folder in text for folder in shown):  # the pattern is slow
            text = folder_pattern(shown, written("/")).sub(partial(_shown, shown), text)
    return text


def _shown(names: Mapping[str, str], found: re.Match[str]) -> str:
    name, slash = names[found[1]], found[2]
    return f"{name}{slash}" if name else "" if slash else "."


def folder_pattern(folders: Iterable[str], slash: str = "/") -> re.Pattern[str]:
    """Return the pattern of some folders in a text: the folder, then a slash or nothing."""
    longest_first = sorted(folders, key=len, reverse=True)
    return re.compile(rf"(?<![\w.~-])({'|'.join(map(re.escape, longest_first))})({re.escape(slash)}|(?![\w-]|\.\w))")


def machine_folders(root: Path) -> dict[str, str]:
    """Return the folders of this machine that a page must not name, each with what the page shows in its place.

    They are the folder of the project, the home folder, and those of the workspace, the packages and peak_trade if they
    are elsewhere.
    """
    found = {root.resolve(): ""}
    with suppress(RuntimeError):  # no home folder
        found.setdefault(Path.home(), "~")
    others = {workspace().resolve(): "workspace", Path(sys.prefix): "python", Path(__file__).parents[2]: "python"}
    found |= {folder: name for folder, name in others.items() if not any(folder.is_relative_to(each) for each in found)}
    return {str(folder): name for folder, name in found.items() if folder != Path(folder.anchor)}


def read_cache(path: Path) -> dict[str, Any]:
    """Read a JSON file that can be rebuilt; empty if it is missing or incomplete."""
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
