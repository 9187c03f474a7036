"""The blocks of the documents run as they stand; `blocks.py` says which and how."""

import importlib.util
import json
import os
import re
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import peak_trade as pt
from peak_trade.cli import main
from peak_trade.data.sample import SYMBOLS, sample_bars
from peak_trade.data.store import save_bars
from peak_trade.data.workspace import workspace as workspace_folder
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.gate import RiskGate
from peak_trade.risk.limits import RiskLimits
from peak_trade.wiring.feeds import FEEDS, FeedEntry
from tests.docs.blocks import PAGES, ROOT, blocks_of, run_page, runnable
from tests.examples import mostly_long
from tests.risk import cases

HOW_TO = ROOT / "docs" / "how-to"
PARTS = {HOW_TO / "own-gate.md", HOW_TO / "own-feed.md"}
"""Pages whose blocks are parts of the package; each has a test of its own."""

END = "2023-05-06"
"""End of the stored bars, three months, so that a page runs fast."""

MADE_BEFORE = (
    "backtest --strategy ma_crossover --symbol BTC/USDT --end 2023-03-01",
    "backtest --strategy ma_crossover --symbol BTC/USDT -p fast=10 --end 2023-03-01",
)
"""Commands before a page that names runs: the runs that it can mean."""
LIGHT = ("docs/library.md", "docs/trials.md", "docs/sweeps.md")
PAGES_THAT_RUN = sorted(
    (path.relative_to(ROOT).as_posix() for path in PAGES if path not in PARTS and runnable(path)),
    key=lambda name: (name not in LIGHT, name),
)


@pytest.fixture
def workspace(tmp_path, monkeypatch, empty_registry):
    """A workspace with sample bars, in which a reader gives the commands of a page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PEAK_TRADE_HOME", raising=False)
    registry = tmp_path / "mlflow.db"
    registry.write_bytes(empty_registry.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{registry}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of kernels
    monkeypatch.setenv("COLUMNS", "80")  # the pages show a terminal of this width
    monkeypatch.setattr(sys, "path", list(sys.path))  # a command adds the folder
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def named(argument):
    """Return an argument with RUN and OTHER as the last backtests, and SESSION as the last paper session."""
    if argument in ("RUN", "OTHER"):
        runs = pt.list_runs("backtest")["run_id"].tolist()
        return runs[("RUN", "OTHER").index(argument)]
    if argument == "SESSION":
        return max(path.name for path in (workspace_folder() / "sessions").glob("*_paper_*"))
    return argument


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_check_in_this_process")
@pytest.mark.parametrize("name", mostly_long(PAGES_THAT_RUN, 1))
def test_the_blocks_of_a_page_run(name, workspace, monkeypatch, capsys):
    path = ROOT / name
    text = path.read_text(encoding="utf-8")
    starts_empty = "$ peak-trade init" in text
    if "report run" in text:
        import papermill

        run = partial(papermill.execute_notebook, start_timeout=3_600)  # other work on the machine may take most of it
        monkeypatch.setattr(papermill, "execute_notebook", run)
    if not starts_empty:
        assert main(["init", "desk"]) == 0
        monkeypatch.chdir("desk")
        for symbol in SYMBOLS:
            bars = sample_bars(symbol)
            save_bars(bars if "--start 2024" in text else bars.between(end=END))
        capsys.readouterr()

    if not starts_empty and re.search(r"\b(?:RUN|SESSION)\b", text):
        for command in MADE_BEFORE:
            assert main(command.split()) == 0
        capsys.readouterr()

    def call(arguments):
        code = main([named(each) for each in arguments])
        told = capsys.readouterr()
        return code, told.out + told.err

    assert run_page(path, call, monkeypatch.chdir) >= 1


def test_the_output_of_the_readme_is_what_its_example_prints(home, capsys):
    blocks = blocks_of((ROOT / "README.md").read_text(encoding="utf-8"))
    (example,) = [block.body for block in blocks if block.language == "python"]
    exec(compile(example, "README.md", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out == next(block.body for block in blocks if block.language == "text")


def test_the_gate_of_the_page_denies_and_passes_its_orders():
    _, limit, measure, row, case = [
        block for block in blocks_of((HOW_TO / "own-gate.md").read_text()) if block.language != "console"
    ]
    names = {}
    exec(measure.body, names)
    exec(f"class Limits(RiskLimits):\n{limit.body}", names | vars(sys.modules[RiskLimits.__module__]), names)
    codes = SimpleNamespace(POSITION_NOTIONAL=DenialCode.ORDER_NOTIONAL)
    shown = vars(cases) | {"RiskGate": RiskGate, "DenialCode": codes, "order_gates": SimpleNamespace(**names)}
    gate, inputs = eval(f"({row.body})", shown)[0], eval(f"({case.body})", shown)[0]
    limits = names["Limits"](**inputs.limits)
    assert gate(*inputs.inputs(inputs.passed), limits) is None
    denial = gate(*inputs.inputs(inputs.denied), limits)
    assert (denial.observed, denial.limit) == (300.0, 250.0)


@pytest.mark.long
def test_the_feed_of_the_page_feeds_a_session(workspace, monkeypatch):
    feed, row, session, exchange = blocks_of((HOW_TO / "own-feed.md").read_text())
    (entry,) = eval(f"{{{row.body}}}", {"FeedEntry": FeedEntry}).values()
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(entry.place.partition(":")[0], None))
    exec(feed.body, vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(FEEDS, "lines", entry)
    bars = sample_bars("BTC/USDT", n_bars=12)
    rows = [
        {"close_time": time} | dict(zip(bars.frame.columns, values, strict=True))
        for time, values in zip(bars.times.tolist(), bars.frame.to_numpy().tolist(), strict=True)
    ]
    rows[3:3] = [rows[2]]  # twice
    Path("bars.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    names = {"__name__": "__main__"}
    exec(compile(session.body, "own-feed.md", "exec"), names)
    status = names["session"].status
    assert (status.n_bars, status.n_faults) == (10, 1)
    from peak_trade.wiring import exchanges

    monkeypatch.setattr(exchanges, "EXCHANGES", dict(exchanges.EXCHANGES))
    exec(exchange.body, {})
    assert exchanges.bar_source("bitstamp").page == 1_000
    assert exchanges.fee_preset("bitstamp")["maker_fee_bps"] == 30.0


def test_every_page_with_blocks_is_run():
    assert len(PAGES_THAT_RUN) > 15
    assert os.path.isdir(HOW_TO)
