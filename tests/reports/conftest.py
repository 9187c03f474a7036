"""A project folder with a trivial notebook, and executed notebooks written without a kernel."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from peak_trade.metrics.measure import Measure
from peak_trade.reports.answer import Answer, DataKind, Finding, Provenance, Tile
from peak_trade.reports.display import bundle
from peak_trade.reports.views import backtest as view

ROOT = Path(__file__).parents[2]

FRONT = '---\ntitle: "Tiny"\nversion: "1.2"\n---'
PARAMETERS = "n: int = 2  # how many\n"
CALL = "from peak_trade.reports.display import show\nshow({'n': n, 'inverse': 1 / n}, 'answer')\n"


def notebook(*sources: str, parameters: str = PARAMETERS) -> dict[str, Any]:
    cells: list[dict[str, Any]] = [{"cell_type": "raw", "id": "front", "metadata": {}, "source": FRONT}]
    for place, source in enumerate((parameters, *sources)):
        cells.append(
            {
                "cell_type": "code",
                "id": f"cell-{place}",
                "metadata": {"tags": ["parameters"]} if place == 0 else {},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
        )
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def documents() -> list[Path]:
    """The documents of the sidebars."""
    sidebars = (ROOT / "_quarto.yml").read_text(encoding="utf-8").partition("  sidebar:\n")[2]
    names = re.findall(r"^ +- (docs/\S+\.md)$", sidebars, flags=re.MULTILINE)
    return [Path(name) for name in names]


def make_project(root: Path) -> Path:
    """Make a project folder with the notebooks of this one, a trivial notebook and short documents."""
    shutil.copytree(ROOT / "reports" / "styles", root / "reports" / "styles")
    for name in ("_quarto.yml", "index.md"):
        shutil.copyfile(ROOT / name, root / name)
    (root / "docs").mkdir()
    (root / "docs" / "README.md").write_text("# Documents\n\nSee [metrics](metrics.md#a-table).\n", encoding="utf-8")
    (root / "docs" / "metrics.md").write_text(
        "# Metrics\n\n## A table\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n![a picture](pictures/one.png)\n",
        encoding="utf-8",
    )
    (root / "docs" / "pictures").mkdir()
    (root / "docs" / "pictures" / "one.png").write_bytes(b"\x89PNG")
    for path in documents():
        if not (root / path).is_file():
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_text(f"# The {path.stem}\n\n## A part\n\nWords of {path.stem}.\n", encoding="utf-8")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    (root / "notebooks" / "tiny.ipynb").write_text(json.dumps(notebook(CALL)), encoding="utf-8")
    return root


@pytest.fixture
def project(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = make_project(tmp_path / "project")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def executed(project: Path) -> Callable[..., Path]:
    """Write executed notebooks without a kernel: one figure and one table each, or a failed cell."""
    return partial(write_executed, project)


def write_executed(
    project: Path, slug: str, error: str = "", symbol: str = "BTC/USDT", when: str = "2024-06-01T00:00:00Z"
) -> Path:
    content = notebook("draw()", "never()", parameters='symbol: str = "BTC/USDT"  # what\n')
    outputs: list[dict[str, Any]] = json.loads(_outputs())
    if error:
        outputs = [{"output_type": "error", "ename": "E", "evalue": error, "traceback": [f"\x1b[31m{error}\x1b[0m"]}]
    content["cells"][2]["outputs"] = outputs
    content["cells"].insert(2, {"cell_type": "markdown", "id": "heading", "metadata": {}, "source": "## A heading"})
    content["metadata"]["peak_trade"] = {
        "notebook": "tiny",
        "title": "Tiny",
        "version": "1.2",
        "notebook_digest": "ab" * 32,
        "key": slug,
        "parameters": {"symbol": symbol, "strategy": "ma_crossover"},
        "digests": {"notebook": "ab" * 32, "data": "cd" * 32},
        "executed_at": when,
        "seconds": 1.0,
        "failed_cell": 2 if error else None,
        "error": f"E: {error}" if error else "",
    }
    path = project / "reports" / "runs" / f"{slug}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@cache
def _outputs() -> str:
    """Return the outputs of an executed cell as JSON: a figure, a table and bare HTML."""
    hours = pd.date_range("2024-01-01", periods=500, freq="h", tz="UTC")
    equity = pd.Series(np.linspace(1e4, 1.2e4, 500), index=hours)
    shown = [
        bundle(view.equity_and_drawdown(equity), "equity"),
        bundle(pd.DataFrame({"measure": ["a < b"], "value": [0.5]}), "numbers"),
        {"text/html": "<b>bare html</b>", "text/plain": "bare"},
    ]
    return json.dumps([{"output_type": "display_data", "metadata": {}, "data": out} for out in shown])


def answered(name: str, kind: DataKind = DataKind.GENERATED) -> list[dict[str, Any]]:
    """Outputs of an answer and of its provenance, with the name in each of their texts."""
    tiles = (
        Tile(name, "1", Measure(1.0, 10)),
        Tile("Net return", "+72.9%", Measure(0.7286, 10)),
        Tile("Sharpe ratio, a year", "0.94", Measure(0.94, 10, 0.71)),
        Tile("Max drawdown", "-1%", Measure(0.01, 10)),
    )
    answer = Answer(f"Verdict {name}", Finding.NOT_SHOWN, f"Sentence {name}", tiles=tiles)
    shown = [bundle(answer, "answer"), bundle(Provenance(name, (kind,), ("span", f"{name} bars")), "provenance")]
    return [{"output_type": "display_data", "metadata": {}, "data": data} for data in shown]
