"""`peak-trade regime` prints statistics, writes the transition plot and refuses bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.reports.notebooks import ReportRun, read_notebook
from peak_trade.reports.parameters import resolve

ROOT = Path(__file__).parents[2]

QUICK = ["-d", "min_bars=600", "-d", "window=1200", "-d", "refit_every=600", "-d", "n_starts=3"]
COMMAND = ["regime", "--strategy", "ma_crossover", "--symbol", "BTC/USDT", "--no-record"]


@pytest.fixture
def store(home: Path) -> Path:
    save_bars(sample_bars("BTC/USDT", n_bars=2_500))
    return home


@pytest.mark.long
def test_regime_prints_statistics_and_writes_the_transition_plot(store, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)  # workers of the tests have 80 columns, which fold measures
    assert main([*COMMAND, "--start", "2023-03-01", *QUICK, "--label-runs", "1"]) == 0
    printed = capsys.readouterr().out
    for part in (
        "The labels agree with those of 1 other seed in",
        "The labels agree with those of 1 other start bar in",
        "P(top > bottom | data)",
        "sharpe",
        "expected duration",
        "Transitions from one bar to the next",
        "Verdict: ",
    ):
        assert part in printed
    (folder,) = (store / "regimes").iterdir()
    assert {path.name for path in folder.iterdir()} == {"plotly.min.js", "page.js", "charts.js", "transitions.html"}
    page = (folder / "transitions.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http://www.w3.org", "")
    assert all(part in page for part in ('src="plotly.min.js"', 'src="page.js"', "peakTrade.draw("))


@pytest.mark.long
def test_regime_runs_the_notebook_with_the_same_parameters(store, capsys, monkeypatch):
    asked = {}

    def run_report(name, values, progress):
        notebook = read_notebook(ROOT / "notebooks" / f"{name}.ipynb")
        asked.update(resolve(notebook.parameters, values, name))
        return ReportRun(
            Path("reports/runs/r.ipynb"), name, "", "", "", "", asked, {}, "", 0.0,
            failed_cell=3 if asked["mode"] == "filter" else None, error="E: no",
        )  # fmt: skip

    monkeypatch.setattr("peak_trade.reports.notebooks.run_report", run_report)
    options = ["--detector", "rules", "--report", "-p", "fast=10"]
    assert main([*COMMAND, *options, "--mode", "switch", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == "reports/runs/r.ipynb"
    chosen = {"strategy": "ma_crossover", "symbol": "BTC/USDT", "detector": "rules", "mode": "switch"}
    assert asked.items() >= chosen.items()
    assert asked["strategy_parameters"] == {"fast": "10"}
    assert main([*COMMAND, *options, "--mode", "filter"]) == 2
    assert "code cell 3 failed: E: no" in capsys.readouterr().err


def test_regime_prints_json(store, capsys):
    assert main([*COMMAND, "--json", "--detector", "rules", "--noise", "2"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["regime"] for row in content["regimes"]] == ["bear", "sideways", "bull", "all"]
    assert 0.0 < content["p_value"] <= 1.0
    assert content["fallbacks"] == []
    assert content["cheating"] == content["lookahead_cost"]
    assert all(row["reading"] == row["timing"] for row in content["lookahead_cost"])
    assert all(row["stays"] == row["count"] for row in content["durations"])
    assert {row["noise"] for row in content["noise"]} == {"sign-flipped", "edge-free"}
    assert any("2 sign-flipped series are too few" in sentence for sentence in content["verdict"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-d", "n_states=1"], "n_states was 1"),
        (["-d", "n_state=2"], "Did you mean n_states"),
        (["-p", "fats=3"], "Did you mean fast"),
        ([], "2500 bars are too few for the hmm detector"),
        (["--start", "2031-01-01", *QUICK], "Start earlier"),
    ],
    ids=["one-state", "unknown-setting", "unknown-parameter", "too-few-bars", "late-start"],
)
def test_regime_refuses_bad_input_with_one_line(store, capsys, options, message):
    assert main([*COMMAND, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
