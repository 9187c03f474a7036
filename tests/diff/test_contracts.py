"""Purity of the package, equal defaults in the notebook, and documentation of renamed JSON keys."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from peak_trade.diff import export
from peak_trade.diff.tolerances import TOLERANCE_BPS, TOLERANCE_MS
from peak_trade.reports.notebooks import read_notebook

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "peak_trade" / "diff").glob("*.py"))
IMPURE = {"datetime", "io", "logging", "os", "pathlib", "random", "shutil", "socket", "subprocess", "tempfile", "time"}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_diff_touches_no_disk_and_no_clock(path):
    assert not {name for name in imported(path) if name.split(".")[0] in IMPURE or name == "peak_trade.journal.files"}
    assert "open(" not in path.read_text(encoding="utf-8")


def test_the_notebook_has_the_default_tolerances():
    parameters = read_notebook(ROOT / "notebooks" / "shadow_vs_live_diff.ipynb").parameters
    assert parameters["tolerance_bps"].default == TOLERANCE_BPS
    assert parameters["tolerance_ms"].default == TOLERANCE_MS


def test_the_guide_lists_the_deprecated_keys():
    guide = (ROOT / "docs" / "shadow" / "SHADOW_REPLAY_GUIDE.md").read_text(encoding="utf-8")
    for old, new in export.DEPRECATED_KEYS.items():
        assert f"| `{old}` | `{new}` |" in guide
