"""Folders, Quarto configuration and cache files of a project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peak_trade.core.errors import ReportError

SITE = Path("reports/site")
LIBRARY = Path("reports/lib")


def read_quarto(root: Path) -> dict[str, Any]:
    """Read `_quarto.yml`; ReportError if it is not YAML."""
    import yaml  # type: ignore[import-untyped]

    path = root / "_quarto.yml"
    try:
        content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ReportError(f"{path}: this is not YAML: {error}") from None
    return content


def read_cache(path: Path) -> dict[str, Any]:
    """Read a JSON file that can be rebuilt; empty if it is missing or incomplete."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
