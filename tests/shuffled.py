"""A plugin of pytest for `peak-trade health`: shuffles tests by a seed, and writes the outcome of each as a JSON line.

The modules are shuffled, and the tests within each module; so fixtures of a module are made once, as in any run. Every
process of pytest-xdist has the same order. The examples of Hypothesis follow its seed instead of the name of the test.
"""

from __future__ import annotations

import json
import os
import random
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import settings


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("health")
    group.addoption("--shuffle-seed", type=int, metavar="N", help="Shuffle the tests by this seed.")
    group.addoption("--outcomes", type=Path, metavar="FILE", help="Write the outcome of each test, one JSON line each.")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.outcomes is not None and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(Outcomes(config.option.outcomes))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Draw other examples than those that follow from the names of the tests."""
    if session.config.option.shuffle_seed is not None:
        settings.register_profile("other-seeds", settings.default, derandomize=False)
        settings.load_profile("other-seeds")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.shuffle_seed is not None:
        items[:] = shuffled(items, config.option.shuffle_seed)


def shuffled(items: list[pytest.Item], seed: int) -> list[pytest.Item]:
    """Return the tests in another order; those of one module stay together."""
    draw = random.Random(seed)
    modules = [list(members) for _, members in groupby(items, key=lambda item: item.path)]
    draw.shuffle(modules)
    for members in modules:
        draw.shuffle(members)
    return [item for members in modules for item in members]


class Outcomes:
    """Writes the number of tests, then a line per test once its fixtures are torn down."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w", encoding="utf-8")
        self.reports: dict[str, list[pytest.TestReport]] = {}

    def write(self, **values: object) -> None:
        self.file.write(f"{json.dumps(values)}\n")
        self.file.flush()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:
            self.write(n_tests=len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self.write(n_tests=len(ids))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        reports = self.reports.setdefault(report.nodeid, [])
        reports.append(report)
        if report.when == "teardown":
            del self.reports[report.nodeid]
            self.write(test=report.nodeid, **outcome_of(reports))

    def pytest_sessionfinish(self) -> None:
        for name, reports in self.reports.items():  # of a process that ended in the middle of a test
            self.write(test=name, **outcome_of(reports))
        self.file.close()


def outcome_of(reports: list[pytest.TestReport]) -> dict[str, object]:
    """Return the outcome, seconds and reason of a test from the reports of its set-up, call and tear-down."""
    failed = [report for report in reports if report.failed]
    skipped = [report for report in reports if report.skipped and not hasattr(report, "wasxfail")]
    outcome = "failed" if failed else "skipped" if skipped else "passed"
    reason = next((reason_of(report) for report in failed or skipped), "")
    return {"outcome": outcome, "seconds": round(sum(report.duration for report in reports), 4), "reason": reason}


def reason_of(report: pytest.TestReport) -> str:
    """Return why a test failed or was skipped, as one line."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ").splitlines()[0]
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = str(crash.message if crash else report.longrepr).strip().splitlines()
    return lines[0] if lines else ""
