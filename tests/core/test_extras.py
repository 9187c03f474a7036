"""Optional packages: the table agrees with pyproject.toml, and a part that needs a missing one says so at first."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

import peak_trade as pt
from peak_trade.cli import main
from peak_trade.core.errors import ConfigError
from peak_trade.core.executor import Executor
from peak_trade.core.extras import EXTRAS, require
from peak_trade.data.sample import sample_bars
from peak_trade.data.store import save_bars
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.tracking import record_run
from tests.examples import mostly_long
from tests.tracking.test_registry import run_of

ROOT = Path(__file__).parents[2]
PACKAGES = {"distributed": "dask", "yaml": "pyyaml"}
"""Distributions of modules whose name is another one."""
UNDER_DOORS = {"observability/exporter.py", "observability/exposition.py", "site/server.py"}
"""Modules that need an extra as soon as they are imported; the verbs that import them check it first."""
STUDY = "--strategy ma_crossover --symbol BTC/USDT"
DOORS = {
    f"backtest {STUDY} --second-opinion": "vectorbt",
    f"regime {STUDY} --report": "papermill",
    f"sweep {STUDY} -p fast=5,6 -p slow=20 --method search --sets 2": "optuna",
    f"sweep {STUDY} -p fast=5,6 -p slow=20 --cluster tcp://127.0.0.1:8786": "distributed",
    f"session run --feed recorded {STUDY} --timeframe 1h --metrics-port 9108": "prometheus_client",
    "runs sync": "mlflow",
    "alerts rehearse example": "yaml",
    "metrics serve --port 0": "prometheus_client",
    "report run own.ipynb": "ipykernel",
    "report run own.ipynb -f values.yaml": "yaml",
    "site build": "nbconvert",
    "site serve --port 0": "fastapi",
}
"""Commands that need an extra, and a module of it that is missing."""


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", each)[0] for each in requirements}


def test_the_table_names_the_extra_that_installs_each_module():
    extras = {name: names(found) for name, found in project()["optional-dependencies"].items()}
    for module, extra in EXTRAS.items():
        package = PACKAGES.get(module, module.replace("_", "-"))
        assert package in extras[extra], f"{module} is not in the extra {extra}"
        assert package not in names(project()["dependencies"]), f"{module} is in the core"


def test_the_table_has_every_package_of_an_extra_that_is_imported():
    extras = project()["optional-dependencies"]
    optional = set().union(*(names(extras[each]) for each in extras if each not in ("all", "dev")))
    modules = {PACKAGES.get(module, module.replace("_", "-")) for module in EXTRAS}
    assert optional - modules == {"jupyterlab"}


def test_the_extra_all_has_every_other_extra_of_users():
    extras = project()["optional-dependencies"]
    assert extras["all"] == [f"peak-trade[{','.join(sorted(extras.keys() - {'all', 'dev'}))}]"]


def test_the_core_imports_no_extra_when_it_is_imported():
    package = ROOT / "peak_trade"
    at_once = re.compile(rf"^(?:import|from) (?:{'|'.join(EXTRAS)})\b", re.MULTILINE)
    sources = {path.relative_to(package).as_posix(): path.read_text("utf-8") for path in package.rglob("*.py")}
    assert {name for name, source in sources.items() if at_once.search(source)} == UNDER_DOORS


@pytest.mark.parametrize("module", EXTRAS)
def test_a_missing_module_is_an_error_that_installs_its_extra(module, monkeypatch):
    require("this", module)
    monkeypatch.setitem(sys.modules, module, None)
    command = re.escape(f'pip install "peak-trade[{EXTRAS[module]}]"')
    with pytest.raises(ConfigError, match=f"this needs the package {module}. Install it with `{command}`"):
        require("this", module)


@pytest.mark.parametrize("words", mostly_long(DOORS, 5))
def test_a_verb_without_its_extra_is_refused_before_it_does_anything(words, registry, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("values.yaml").write_text("a: 1\n", encoding="utf-8")
    Path("own.ipynb").write_text('{"nbformat": 4, "cells": [], "metadata": {}}', encoding="utf-8")
    save_bars(sample_bars("BTC/USDT", n_bars=60))
    record_run(run_of("aa11"))
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setitem(sys.modules, DOORS[words], None)
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    extra = "observability" if words.startswith("alerts") else EXTRAS[DOORS[words]]
    assert err.count("\n") == 1
    assert f'needs the package {DOORS[words]}. Install it with `pip install "peak-trade[{extra}]"`.' in err
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock" and path not in before
    ] == []


def test_the_library_names_the_extra_too(registry, monkeypatch):
    bars = sample_bars("BTC/USDT", n_bars=200)
    result = pt.backtest(pt.make_strategy("buy_and_hold"), bars)
    for name in ("vectorbt", "optuna", "distributed", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"peak-trade\[lab\]"):
        pt.second_opinion(result)
    with pytest.raises(ConfigError, match=r"peak-trade\[dask\]"):
        Executor(cluster="tcp://127.0.0.1:8786")
    with pytest.raises(ConfigError, match=r"peak-trade\[optuna\]"):
        pt.sweep(MaCrossover, {"fast": [5, 6], "slow": [20]}, bars, method="search", n_sets=2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"peak-trade\[lab\]"):
        pt.record(result)


def test_runs_are_recorded_and_listed_without_mlflow(registry, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    pt.record(pt.backtest(pt.make_strategy("buy_and_hold"), sample_bars("BTC/USDT", n_bars=200)))
    runs = pt.list_runs()
    assert runs["strategy"].tolist() == ["buy_and_hold"]
    assert main(["runs", "show", runs["run_id"][0]]) == 0
