"""The coverage of a package is that of its branches, with those of compiled functions and of started processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peak_trade.core.errors import ConfigError
from peak_trade.health.coverage import DATA, branch_coverage, measure_coverage
from tests.health.test_rederivation import ROOT

PACKAGE = """
import sys
from numba import njit

@njit("int64(int64)")
def compiled(number):
    if number > 1:
        return 2
    return 1

def started(number):
    if number > 1:
        return 2
    return 1

def slow(number):
    if number > 1:
        return 2
    return 1

if __name__ == "__main__":
    started(int(sys.argv[1]))
"""
TESTS = """
import subprocess
import sys
import pytest
from peak_trade.engine.part import compiled, slow

def test_compiled():
    assert [compiled(1), compiled(2)] == [1, 2]

def test_started():
    subprocess.run([sys.executable, "-m", "peak_trade.engine.part", "2"], check=True)

@pytest.mark.long
def test_slow():
    assert slow(2) == 2

def test_that_fails():
    assert slow is None
"""


def test_the_coverage_of_a_package_is_that_of_its_branches():
    files = {
        "peak_trade/risk/a.py": {"covered_branches": 3, "num_branches": 4},
        "peak_trade/risk/deep/b.py": {"covered_branches": 0, "num_branches": 4},
        "peak_trade/core/c.py": {"covered_branches": 0, "num_branches": 0},
        "peak_trade/__init__.py": {"covered_branches": 2, "num_branches": 2},
    }
    report = {"files": {name: {"summary": summary} for name, summary in files.items()}}
    assert branch_coverage(report) == {"all": 0.5, "risk": 0.375}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one compiled function, one that a started process calls, and the settings of this one."""
    for name, text in (("peak_trade/__init__.py", ""), ("peak_trade/engine/__init__.py", ""),
                       ("peak_trade/engine/part.py", PACKAGE), ("tests/engine/test_part.py", TESTS)):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text("[tool.coverage.run]" + settings.partition("[tool.coverage.run]")[2])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return tmp_path


@pytest.mark.long
def test_branches_of_compiled_functions_of_long_tests_and_of_started_processes_are_measured(checkout, caplog):
    suite = ("-p", "no:cacheprovider", "-m", "not long", "tests")
    assert measure_coverage(checkout, suite) == {"all": 6 / 8, "engine": 6 / 8}
    part = json.loads((checkout / DATA / "coverage.json").read_text())["files"]["peak_trade/engine/part.py"]
    lines = PACKAGE.splitlines()
    for function, missing in zip(("started", "slow"), part["missing_branches"], strict=True):
        assert [lines[number - 1] for number in missing] == ["    if number > 1:", "    return 1"]
        assert missing[1] > lines.index(f"def {function}(number):")
    assert "tests failed while their coverage was measured: 1 failed, 2 passed" in caplog.text


@pytest.mark.long
def test_tests_that_can_not_run_are_one_line(checkout):
    with pytest.raises(ConfigError, match=r"^-m coverage run ended with code 4: .*Run `make test` to see why\.$"):
        measure_coverage(checkout, ("--no-such-option",))
