"""Every notebook runs on a small sample and shows the typed results of its file.

This folder has one file per notebook: the parameters of its small run, and the typed results that it must show.
`make results` writes the typed results again; read the difference before you commit it. The default suite runs the
cells in its own process; `make test-slow` runs each notebook through nbval, in a kernel of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from peak_trade.core.errors import ConfigError
from peak_trade.reports.display import PLOTLY_MIME, RESULT_MIME
from peak_trade.reports.downloads import DATA_MIME

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
N_BARS = 1_500
PROGRAMS = {"alert_rehearsal": "promtool"}
"""Notebooks that need a program on PATH; `make test-slow` runs them."""
RUNS = [pytest.param(name, marks=pytest.mark.long) if name in PROGRAMS else name for name in NOTEBOOKS]
NOT_COMPARED = ("text/html", "text/markdown", "text/plain", "image/png", "image/svg+xml", PLOTLY_MIME, DATA_MIME)
OPTIONS = {
    "nbval_lax": False,
    "nbval_current_env": True,
    "nbval_kernel_name": None,
    "nbval_sanitize_with": None,
    "nbval_cell_timeout": 3_600,  # no test is timed: other work on the machine may take most of it
    "nbval_kernel_startup_timeout": 3_600,
    "nbdime": False,
}


def test_every_notebook_has_a_small_run():
    assert sorted(path.stem for path in HERE.glob("*.json")) == NOTEBOOKS


@pytest.fixture
def small(name, home, tmp_path, monkeypatch) -> Path:
    """The notebook with the parameters of its small run, in a folder with the shipped settings; the bars are stored."""
    if name in PROGRAMS and shutil.which(PROGRAMS[name]) is None:
        pytest.skip(f"{PROGRAMS[name]} is not installed: apt-get install prometheus")
    from peak_trade.data.sample import SYMBOLS, sample_bars
    from peak_trade.data.store import save_bars

    for symbol in SYMBOLS:
        save_bars(sample_bars(symbol, n_bars=N_BARS))
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"{name}.ipynb"
    path.write_text(json.dumps(small_run(name, reference_of(name))), encoding="utf-8")
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RUNS)
def test_notebook_shows_the_results_of_its_small_run(name, small, monkeypatch):
    shown: dict[str, list[Any]] = {}
    outputs: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: outputs.append(bundle))
    names = {"__name__": "__main__"}
    for cell in json.loads(small.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            outputs.clear()
            exec(compile("".join(cell["source"]), f"{name}, cell {cell['id']}", "exec"), names)
            found = [output[RESULT_MIME] for output in outputs if RESULT_MIME in output]
            if found and "nbval-ignore-output" not in cell["metadata"].get("tags", []):
                shown[cell["id"]] = json.loads(json.dumps(found))
    reference = reference_of(name)
    if os.environ.get("PEAK_TRADE_WRITE_RESULTS"):
        text = json.dumps({"parameters": reference["parameters"], "results": shown}, indent=1, ensure_ascii=False)
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    else:
        assert shown
        assert shown == reference["results"]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_shows_the_same_results_in_a_kernel(name, small, request, monkeypatch):
    from nbval.plugin import IPyNbFile, NbCellError

    for option, value in OPTIONS.items():
        monkeypatch.setattr(request.config.option, option, value, raising=False)
    # nbval opens /dev/null for its kernel and never closes it.
    monkeypatch.setattr("nbval.kernel.open", lambda *_: subprocess.DEVNULL, raising=False)
    notebook = IPyNbFile.from_parent(request.session, path=small)
    notebook.skip_compare += NOT_COMPARED
    compared = set()
    try:
        notebook.setup()
        for cell in notebook.collect():
            cell.runtest()
            if cell.options["check"] and any(RESULT_MIME in out.get("data", {}) for out in cell.test_outputs):
                compared.add(cell.cell.id)
    except NbCellError as error:
        pytest.fail(f"{error}\n{error.source}\n{error.inner_traceback}", pytrace=False)
    finally:
        notebook.teardown()
    assert compared == reference_of(name)["results"].keys()


def reference_of(name: str) -> dict[str, Any]:
    reference: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return reference


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


@pytest.mark.filterwarnings("ignore")
def test_a_backtest_with_a_run_file_is_that_of_the_notebook(home, tmp_path, monkeypatch):
    """Stops, costs, limits and instruments of a run file reach the page, and parameters override the file."""
    import peak_trade as pt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: None)
    bars = pt.sample_bars("BTC/USDT", n_bars=N_BARS)
    from peak_trade.data.store import save_bars

    save_bars(bars)
    lines = ["initial_cash = 5000", "[costs]", "fee_bps = 2.0", "[execution]", "stop_loss = 0.02", "[risk]"]
    Path("run.toml").write_text("\n".join([*lines, "max_order_notional = 4900"]), encoding="utf-8")
    names = {"__name__": "__main__"}
    given = "config = 'run.toml'\nslippage_bps = 1.0\nrecord = False"
    content = json.loads((ROOT / "notebooks" / "strategy_backtest.ipynb").read_text(encoding="utf-8"))
    parameters, run = ("".join(cell["source"]) for cell in content["cells"] if cell["id"] in ("parameters", "run"))
    for source in (parameters, given, run):
        exec(compile(source, "cell", "exec"), names)
    file = pt.read_run_file("run.toml", {"costs": {"slippage_bps": 1.0}})
    rule = pt.make_strategy("ma_crossover")
    alone = pt.backtest(rule, bars, file.settings, instruments=file.instruments, risk=file.risk)
    assert names["result"].run_id == alone.run_id
    assert (alone.settings.costs.fee_bps, alone.settings.costs.slippage_bps) == (2.0, 1.0)
    assert len(alone.denials) > 0
    with pytest.raises(ConfigError, match=r"regime_study takes no table \[risk\] of a run file"):
        file.settings_alone("regime_study")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["portfolio_backtest"])
def test_the_notebook_of_portfolios_takes_panel_strategies(name, small, monkeypatch):
    """Each symbol of a panel strategy has its own line, and the lines sum to the portfolio at every bar."""
    shown: dict[str, Any] = {}
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.update({len(shown): bundle}))
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in json.loads(small.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            exec(compile(source.replace("multi_strategy_example", "panel_example"), cell["id"], "exec"), names)
    result = names["result"]
    sleeves = {("pairs", "BTC/USDT"), ("pairs", "ETH/USDT"), ("trend", "SOL/USDT")}
    sleeves |= {("ranking", symbol) for symbol in ("BTC/USDT", "ETH/USDT", "SOL/USDT")}
    assert set(result.pnl.columns) == sleeves
    earned = result.equity - names["settings"].initial_cash
    assert (abs(result.pnl.sum(axis=1) - earned) <= 1e-9 * names["settings"].initial_cash).all()
    (table,) = [
        bundle[RESULT_MIME] for bundle in shown.values() if bundle.get(RESULT_MIME, {}).get("name") == "attribution"
    ]
    assert "ranking" in json.dumps(table)
    assert result.run.fill_list
