"""Every notebook runs on a small sample through nbval, which compares its typed results and nothing else.

This folder has one file per notebook: the parameters of its small run, and the typed results that it must show.
`make results` writes the typed results again; read the difference before you commit it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from peak_trade.reports.display import PLOTLY_MIME, RESULT_MIME

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
N_BARS = 1_500
NOT_COMPARED = ("text/html", "text/markdown", "text/plain", "image/png", "image/svg+xml", PLOTLY_MIME)
OPTIONS = {
    "nbval_lax": False,
    "nbval_current_env": True,
    "nbval_kernel_name": None,
    "nbval_sanitize_with": None,
    "nbval_cell_timeout": 120,
    "nbval_kernel_startup_timeout": 60,
    "nbdime": False,
}


def test_every_notebook_has_a_small_run():
    assert sorted(path.stem for path in HERE.glob("*.json")) == NOTEBOOKS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_shows_the_results_of_its_small_run(name, home, tmp_path, request, monkeypatch):
    from nbval.plugin import IPyNbFile, NbCellError

    from peak_trade.data.sample import SYMBOLS, sample_bars
    from peak_trade.data.store import save_bars

    for symbol in SYMBOLS:
        save_bars(sample_bars(symbol, n_bars=N_BARS))
    for option, value in OPTIONS.items():
        monkeypatch.setattr(request.config.option, option, value, raising=False)
    # nbval opens /dev/null for its kernel and never closes it.
    monkeypatch.setattr("nbval.kernel.open", lambda *_: subprocess.DEVNULL, raising=False)
    reference = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    shutil.copytree(ROOT / "config", tmp_path / "config")
    small = tmp_path / f"{name}.ipynb"
    small.write_text(json.dumps(small_run(name, reference)), encoding="utf-8")

    notebook = IPyNbFile.from_parent(request.session, path=small)
    notebook.skip_compare += NOT_COMPARED
    is_writing = bool(os.environ.get("PEAK_TRADE_WRITE_RESULTS"))
    shown: dict[str, list[Any]] = {}
    try:
        notebook.setup()
        for cell in notebook.collect():
            is_compared = cell.options["check"]
            cell.options["check"] = is_compared and not is_writing
            cell.runtest()
            given = [out["data"][RESULT_MIME] for out in cell.test_outputs if RESULT_MIME in out.get("data", {})]
            if given and is_compared:
                shown[cell.cell.id] = given
    except NbCellError as error:
        pytest.fail(f"{error}\n{error.source}\n{error.inner_traceback}", pytrace=False)
    finally:
        notebook.teardown()
    if is_writing:
        text = json.dumps({"parameters": reference["parameters"], "results": shown}, indent=1, ensure_ascii=False)
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    assert shown


def small_run(name: str, reference: dict[str, Any]) -> dict[str, Any]:
    """Return a notebook with the parameters of the small run, and its typed results as the outputs to compare with."""
    content: dict[str, Any] = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    cells = []
    for cell in content["cells"]:
        cells.append(cell)
        if cell["cell_type"] != "code":
            continue
        known = reference["results"].get(cell["id"], [])
        cell["execution_count"] = 1
        cell["outputs"] = [
            {"output_type": "display_data", "metadata": {}, "data": {RESULT_MIME: result}} for result in known
        ]
        if "parameters" in cell["metadata"].get("tags", []):
            given = "\n".join(f"{key} = {value!r}" for key, value in reference["parameters"].items())
            cells.append(cell | {"id": "small-run", "metadata": {}, "source": given, "outputs": []})
    return content | {"cells": cells}
