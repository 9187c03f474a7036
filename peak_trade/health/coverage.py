"""Coverage of branches by package, from three runs: the suite, long tests, and tests without the compiler of numba.

The second run has the long tests of the packages that need a coverage. A compiled function runs no Python, so that
these runs do not see its branches: the third one has the tests of the packages with compiled functions, with
NUMBA_DISABLE_JIT=1, the same functions as plain Python. It leaves out the tests of vectorbt, which is compiled too and
takes hours then. Processes that tests start are measured, too. The settings are in `pyproject.toml`; the data stay in
`build/coverage`, so that `coverage html` shows the lines.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peak_trade.core.errors import ConfigError
from peak_trade.health.processes import last_line, run_command

DATA = Path("build/coverage")
COMPILED = tuple(f"tests/{name}" for name in ("engine", "indicators", "regimes", "risk", "strategies"))
"""Tests of the packages with functions that numba compiles."""
WITHOUT_COMPILER = ("-k", "not vectorbt and not second_opinion")
"""Arguments of pytest that leave out the tests of libraries that take hours without their compiler."""
LONG = ("-m", "long and not crash and not browser")
"""Arguments of pytest for the long tests."""
LEAST_COVERAGE = 0.9
"""Fraction of branches that the tests have to reach, in the packages below."""
REQUIRED = ("diff", "engine", "governance", "journal", "risk", "sessions")


def measure_coverage(root: Path, arguments: Sequence[str]) -> dict[str, float]:
    """Return the fraction of branches that the tests reach, by package, and of all of them as "all".

    Parameters
    ----------
    root : Path
        A checkout of peak_trade.
    arguments : sequence of str
        Arguments of pytest for the first run; the other two have them, too, and their folders of tests. A test that
        fails is a warning, because its branches may be missing.

    Raises
    ------
    ConfigError
        If a run measured nothing, for example because pytest could not run.

    """
    coverage = [sys.executable, "-m", "coverage"]
    test = [*coverage, "run", "-m", "pytest", *arguments]
    required = [f"tests/{name}" for name in REQUIRED if (root / "tests" / name).is_dir()]
    compiled = [folder for folder in COMPILED if (root / folder).is_dir()]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_XDIST", "COV_"))}
    environment |= {"NUMBA_JIT_COVERAGE": "0"}  # numba marks each line that it compiles, whether it runs or not
    (root / DATA).mkdir(parents=True, exist_ok=True)
    written = root / DATA / "coverage.json"
    for command, others in (
        ([*coverage, "erase"], {}),
        (test, {}),
        ([*test, *required, *LONG], {}),
        ([*test, *compiled, *WITHOUT_COMPILER], {"NUMBA_DISABLE_JIT": "1"}),
        ([*coverage, "combine", "--quiet"], {}),
        ([*coverage, "json", "--quiet", "-o", str(written)], {}),
    ):
        code, printed = run_command(command, root, environment | others)
        if code not in ((0, 1, 5) if "pytest" in command else (0,)):  # 5: no test of these folders is chosen
            words = " ".join(command[1:4])
            raise ConfigError(f"{words} ended with code {code}: {last_line(printed)}. Run `make test` to see why.")
        if code == 1:
            failed = last_line(printed).strip("= ")
            logging.getLogger("peak_trade").warning(f"tests failed while their coverage was measured: {failed}")
    return branch_coverage(json.loads(written.read_text(encoding="utf-8")))


def branch_coverage(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the fraction of branches that were reached, by package and "all", from the JSON report of coverage.py."""
    reached, known = defaultdict[str, int](int), defaultdict[str, int](int)
    for name, file in report["files"].items():
        parts = Path(name).parts
        for package in ("all", *parts[1:-1][:1]):
            reached[package] += file["summary"]["covered_branches"]
            known[package] += file["summary"]["num_branches"]
    return {package: reached[package] / known[package] for package in sorted(known) if known[package]}
