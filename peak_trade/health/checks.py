"""Checks of the health of the tests: run the suite again and again, and keep every outcome in a file of the workspace.

Each run has another order of tests, hash seed and seed of Hypothesis. Files are named by the time of their first run,
so that the last name is the latest check. A file is written again after each run, and an interrupted check keeps the
runs that ended.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeVar

import msgspec
from msgspec import structs

from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.files import make_folder, read_bytes, write_bytes
from peak_trade.core.progress import OnProgress, progress
from peak_trade.data.workspace import workspace
from peak_trade.health.coverage import measure_coverage
from peak_trade.health.processes import last_line, run_command

FOLDER = "health"
"""Folder of the workspace that holds the files."""
Outcome = Literal["passed", "failed", "skipped"]
Found = TypeVar("Found")


class Attempt(msgspec.Struct, frozen=True):
    """One test in one run: its outcome, its duration in seconds with fixtures, and why it failed or was skipped."""

    outcome: Outcome
    seconds: float
    reason: str = ""


class SuiteRun(msgspec.Struct, frozen=True):
    """One run of the suite: its seed, start (ISO 8601, UTC), seconds of wall-clock time, and outcomes by test id."""

    seed: int
    started: str
    seconds: float
    tests: dict[str, Attempt]


class CiRun(msgspec.Struct, frozen=True, rename="camel"):
    """A run of continuous integration, as `gh run list --json createdAt,conclusion,headSha` prints it.

    `conclusion` is "success", "failure", "cancelled" and so on, and empty while the run goes on.
    """

    created_at: str
    conclusion: str
    head_sha: str = ""


class Health(msgspec.Struct, frozen=True):
    """A health check.

    `machine` names the system, its cores and their load. `coverage` is the fraction of branches that the tests reach,
    by package; it is empty when it was not measured.
    """

    profile: str
    commit: str
    python: str
    machine: str
    runs: tuple[SuiteRun, ...]
    coverage: dict[str, float] = {}
    ci: tuple[CiRun, ...] = ()

    @property
    def started(self) -> str:
        """Time of the first run, ISO 8601 in UTC."""
        return self.runs[0].started


def save(health: Health) -> Path:
    """Write a check into the workspace, over an earlier file of the same start, and return its path."""
    stamp = health.started.replace("-", "").replace(":", "").replace("T", "_").rstrip("Z")
    path = workspace() / FOLDER / f"{stamp}_{health.profile}.json"
    make_folder(path.parent)
    write_bytes(path, msgspec.json.encode(health))
    return path


def load(path: Path) -> Health:
    """Read a check; DataError that names the file if it is none."""
    return decoded(path, Health)


def latest(profile: str | None = None) -> Health | None:
    """Return the latest check of the workspace, or of one profile; None if there is none."""
    paths = sorted((workspace() / FOLDER).glob(f"*_{profile or '*'}.json"))
    return load(paths[-1]) if paths else None


def read_ci_history(path: Path) -> tuple[CiRun, ...]:
    """Read runs of continuous integration from a file; see `CiRun`. DataError if it is no list of them."""
    return tuple(decoded(path, list[CiRun]))


def durations(runs: Sequence[SuiteRun]) -> Mapping[str, list[float]]:
    """Return, by test, its seconds in the runs that did not skip it."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, test in run.tests.items():
            if test.outcome != "skipped":
                found.setdefault(name, []).append(test.seconds)
    return found


def decoded(path: Path, kind: type[Found]) -> Found:
    """Return the content of a JSON file as a kind of value; DataError that names the file if it is none."""
    try:
        return msgspec.json.decode(read_bytes(path), type=kind)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}. Check the path.") from None
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise DataError(f"{path}: {error}. Remove the file, or name another one.") from None


PROFILES = {"smoke": ("-m", "smoke", "-p", "no:xdist"), "full": ("-n", "2", "--dist", "worksteal")}
"""Arguments of pytest by profile: the fastest tests, or the default suite on two processes."""
PLUGIN = "tests.shuffled"
"""Module of the checkout that shuffles the tests and writes their outcomes."""


def require_checkout(root: Path, needs_coverage: bool = False) -> None:
    """Raise ConfigError unless root is a checkout of peak_trade whose suite can run."""
    is_checkout = (root / f"{PLUGIN.replace('.', '/')}.py").is_file() and (root / "peak_trade").is_dir()
    if not is_checkout:
        raise ConfigError(f"{root}: this folder has no tests of peak_trade. Run the command in a checkout.")
    for name in ("pytest", *(["coverage"] if needs_coverage else [])):
        if find_spec(name) is None:
            raise ConfigError(f"{name} is not installed. Run `make env`, and use the environment that it makes.")


def check_health(
    root: Path,
    profile: str = "smoke",
    n_runs: int = 10,
    seed: int = 1,
    has_coverage: bool = False,
    ci: Sequence[CiRun] = (),
    on_saved: Callable[[Health, Path], None] = lambda health, path: None,
) -> Health:
    """Run the suite n_runs times and return the check, which is saved after each run.

    Parameters
    ----------
    root : Path
        A checkout of peak_trade.
    profile : str
        A key of `PROFILES`.
    n_runs : int
        Number of runs, at least 1. Run k has the seed `seed + k`, for k from 0: the order of the tests,
        PYTHONHASHSEED, and the examples of Hypothesis follow from it.
    has_coverage : bool
        Measure the coverage of branches in three more runs; see `measure_coverage`.
    ci : sequence of CiRun
        The history of continuous integration, which is kept in the check.
    on_saved : callable
        Called with the check and its path after each run.

    Raises
    ------
    ConfigError
        If root is not a checkout, or pytest could not run its tests.

    """
    require_checkout(root, has_coverage)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    health = Health(profile, commit_of(root), platform.python_version(), machine, (), ci=tuple(ci))
    with progress(f"{profile} suite", "tests") as on_progress:
        for number in range(n_runs):
            run = _run(root, PROFILES[profile], seed + number, _share(on_progress, number, n_runs))
            health = structs.replace(health, runs=(*health.runs, run))
            on_saved(health, save(health))
    if has_coverage:
        health = structs.replace(health, coverage=measure_coverage(root, PROFILES[profile]))
        on_saved(health, save(health))
    return health


def _share(on_progress: OnProgress, number: int, n_runs: int) -> OnProgress:
    return lambda done, total: on_progress(number * total + done, n_runs * total)


def commit_of(root: Path) -> str:
    """Return the commit of a checkout, with `-dirty` if files differ from it; "unknown" without git."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=8", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _run(root: Path, arguments: Sequence[str], seed: int, on_progress: OnProgress) -> SuiteRun:
    """Run the suite once."""
    started, before = datetime.now(UTC), time.monotonic()
    outer = ("PYTEST_ADDOPTS", "PYTEST_XDIST", "PYTEST_CURRENT_TEST")  # of a test that checks the health
    environment = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
    environment |= {"PYTHONHASHSEED": str(seed)}
    with TemporaryDirectory() as folder:
        outcomes = Path(folder) / "outcomes.jsonl"
        command = [sys.executable, "-m", "pytest", *arguments, "-p", PLUGIN, "--tb=no", "--no-header"]
        command += [f"--shuffle-seed={seed}", f"--hypothesis-seed={seed}", f"--outcomes={outcomes}"]

        def report() -> None:
            total, tests = read_outcomes(outcomes)
            on_progress(len(tests), max(total, len(tests), 1))

        code, printed = run_command(command, root, environment, report)
        _, tests = read_outcomes(outcomes)
    if code not in (0, 1) or not tests:
        raise ConfigError(f"pytest ended with code {code}: {last_line(printed)}. Run `make test` to see why.")
    return SuiteRun(seed, f"{started:%Y-%m-%dT%H:%M:%SZ}", round(time.monotonic() - before, 2), tests)


def read_outcomes(outcomes: Path) -> tuple[int, dict[str, Attempt]]:
    """Return the number of tests of a run, and the outcomes that are written so far, by test."""
    if not outcomes.is_file():
        return 0, {}
    lines = outcomes.read_text(encoding="utf-8").split("\n")[:-1]  # the last one may be half written
    rows = [json.loads(line) for line in lines]
    total = next((row["n_tests"] for row in rows if "n_tests" in row), 0)
    return total, {row.pop("test"): Attempt(**row) for row in rows if "test" in row}
