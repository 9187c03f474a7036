"""Mutation testing: change one line of the package at a time and report which tests fail.

`python tests/risk/mutants.py FOLDER` reads a list of mutants as JSON, applies each to a copy of the package below
FOLDER and runs its tests there, two at a time. The libraries are imported once; every mutant runs in its own
fork, which imports the changed package. Prints the exit code of pytest for each as JSON; 0 is a surviving mutant.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import NamedTuple, NoReturn

ROOT = Path(__file__).parents[2]
_COPIED = (
    "peak_trade",
    "tests/risk",
    "tests/conftest.py",
    "tests/examples.py",
    "tests/replacing.py",
    "tests/tolerances.py",
    "config",
    "conftest.py",
    "pyproject.toml",
)
_N_AT_ONCE = 2
_FAILED, _NOT_THE_COPY = 99, 98


class Mutant(NamedTuple):
    """A change of one place in one file below peak_trade, and the tests of which at least one must fail."""

    path: str
    old: str
    new: str
    tests: str

    @property
    def name(self) -> str:
        """Label of the mutant in the test report."""
        return f"{self.path}: {self.old.strip()[:60]} -> {self.new.strip()[:60] or 'nothing'}"

    @property
    def count(self) -> int:
        """Number of occurrences of the old text; any number but one means that the list is outdated."""
        return (ROOT / "peak_trade" / self.path).read_text(encoding="utf-8").count(self.old)


def apply(mutant: Mutant, folder: Path) -> None:
    """Copy the package into a folder and change it there."""
    for name in _COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.tmp.*", "*.pyc.*"))  # being written
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    broken = folder / "peak_trade" / mutant.path
    text = broken.read_text(encoding="utf-8")
    broken.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


def _preload() -> None:
    import hypothesis
    import numba
    import numpy
    import pandas
    import pydantic
    import pytest
    import scipy.stats
    import typer

    assert "peak_trade" not in sys.modules, [hypothesis, numba, numpy, pandas, pydantic, pytest, scipy.stats, typer]


def _run(mutant: Mutant, folder: Path) -> int:
    import pytest

    apply(mutant, folder)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.stdout = (folder / "output.txt").open("w", encoding="utf-8")
    nodes = [f"tests/risk/{node}" for node in mutant.tests.split()]
    options = ["-x", "-n0", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib"]
    code = int(pytest.main([*nodes, *options, "-W", "ignore::pytest.PytestAssertRewriteWarning"]))
    is_the_copy = Path(sys.modules["peak_trade"].__file__ or "").is_relative_to(folder)
    return code if is_the_copy else _NOT_THE_COPY


def main(folder: Path) -> None:
    """Run the mutants from standard input."""
    mutants = [Mutant(*fields) for fields in json.load(sys.stdin)]
    _preload()
    codes: dict[int, int] = {}
    running: dict[int, int] = {}
    for place, mutant in enumerate(mutants):
        if len(running) == _N_AT_ONCE:
            _collect(running, codes)
        process = os.fork()
        if process == 0:
            _end_with(mutant, folder / str(place))
        running[process] = place
    while running:
        _collect(running, codes)
    print(json.dumps([codes[place] for place in range(len(mutants))]))  # noqa: T201


def _end_with(mutant: Mutant, folder: Path) -> NoReturn:
    code = _FAILED
    try:
        code = _run(mutant, folder)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _collect(running: dict[int, int], codes: dict[int, int]) -> None:
    process, status = os.wait()
    codes[running.pop(process)] = os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
