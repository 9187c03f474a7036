"""Folders, Quarto configuration and cache files of a project."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from peak_trade.core.errors import ReportError
from peak_trade.core.files import read_text

SITE = Path("reports/site")
LIBRARY = Path("reports/lib")
HOME_PART = Path("reports/pages/_home.md")
"""Part of the home page that is written from the runs; `index.md` includes it."""
LAST_BUILD = Path("reports/pages/_built.md")
"""Line of the home page with the version, the commit and the time of the last build that changed a page."""
_INCLUDE = re.compile(r"^\{\{< include (\S+) >\}\}$", flags=re.MULTILINE)


def read_quarto(root: Path) -> dict[str, Any]:
    """Read `_quarto.yml`; ReportError if it is not YAML."""
    import yaml  # type: ignore[import-untyped]

    path = root / "_quarto.yml"
    try:
        content: dict[str, Any] = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise ReportError(f"{path}: this is not YAML: {error}") from None
    return content


def read_page(root: Path, page: Path, without: Path | None = None) -> str:
    """Return the Markdown of a page with the files that it includes, as Quarto reads it; `without` is left out.

    Raises
    ------
    ReportError
        If an included file is missing.

    """

    def included(found: re.Match[str]) -> str:
        part = page.parent / found[1]
        if part == without:
            return ""
        if not (root / part).is_file():
            raise ReportError(f"{root / page}: it includes {found[1]}, and there is no such file.")
        return read_text(root / part)

    return _INCLUDE.sub(included, read_text(root / page))


def read_cache(path: Path) -> dict[str, Any]:
    """Read a JSON file that can be rebuilt; empty if it is missing or incomplete."""
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
