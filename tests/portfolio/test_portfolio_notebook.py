"""The notebook's cells run, and what they show agrees with the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peak_trade.data.sample import save_samples
from peak_trade.reports import display
from peak_trade.reports.display import RECORD_MIME

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "portfolio_backtest.ipynb"


@pytest.fixture
def records(home, monkeypatch):
    save_samples()
    shown: dict[str, dict] = {}

    def keep(thing, name, caption="", digits=display.DIGITS, formats=None):
        shown[name] = display.bundle(thing, name, digits, formats)[RECORD_MIME]

    monkeypatch.setattr(display, "show", keep)
    monkeypatch.chdir(ROOT)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {cell['id']}", "exec"), names)
    return shown, names["result"]


def test_the_notebook_shows_what_the_run_found(records):
    shown, result = records
    assert {
        "equity-by-strategy", "correlation-matrix", "risk-contributions", "drawdown-attribution", "weights",
        "rolling-correlation", "attribution", "correlations", "headline", "assumptions", "run",
    } <= set(shown)  # fmt: skip
    total = result.equity.iloc[-1] - result.settings.initial_cash
    assert shown["attribution"]["sums"]["pnl"] == pytest.approx(total, rel=1e-8)
    assert shown["attribution"]["sums"]["risk_share"] == pytest.approx(1.0, rel=1e-8)
    whole, *parts = shown["equity-by-strategy"]["traces"]
    assert whole["last"] == pytest.approx(sum(part["last"] for part in parts), rel=1e-7)
    assert len(shown["rolling-correlation"]["traces"]) == 3
    assert len(shown["run"]["rows"]) > 5
