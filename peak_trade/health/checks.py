"""Checks of the health of the tests: run the suite again and again, and keep every outcome in a file of the workspace.

Each run has another order of tests, hash seed and seed of Hypothesis. Files are named by the time of their first run,
so that the last name is the latest check. A file is written again after each run, and an interrupted check keeps the
runs that ended.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import structs

from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.files import make_folder, read_bytes, write_bytes
from peak_trade.core.progress import OnProgress, progress
from peak_trade.data.workspace import workspace

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
    return _decoded(path, Health)


def latest(profile: str | None = None) -> Health | None:
    """Return the latest check of the workspace, or of one profile; None if there is none."""
    paths = sorted((workspace() / FOLDER).glob(f"*_{profile or '*'}.json"))
    return load(paths[-1]) if paths else None


def read_ci_history(path: Path) -> tuple[CiRun, ...]:
    """Read runs of continuous integration from a file; see `CiRun`. DataError if it is no list of them."""
    return tuple(_decoded(path, list[CiRun]))


def durations(runs: Sequence[SuiteRun]) -> Mapping[str, list[float]]:
    """Return, by test, its seconds in the runs that did not skip it."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, test in run.tests.items():
            if test.outcome != "skipped":
                found.setdefault(name, []).append(test.seconds)
    return found


def _decoded(path: Path, kind: type[Found]) -> Found:
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
POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
"""Time that pytest has to end after Ctrl-C before it is killed."""


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
        Measure the coverage of branches in one more run.
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
    health = Health(profile, _commit(root), platform.python_version(), machine, (), ci=tuple(ci))
    with progress(f"{profile} suite", "tests") as on_progress:
        for number in range(n_runs):
            run = _run(root, PROFILES[profile], seed + number, _share(on_progress, number, n_runs))
            health = structs.replace(health, runs=(*health.runs, run))
            on_saved(health, save(health))
    if has_coverage:
        health = structs.replace(health, coverage=_coverage(root, PROFILES[profile]))
        on_saved(health, save(health))
    return health


def _share(on_progress: OnProgress, number: int, n_runs: int) -> OnProgress:
    return lambda done, total: on_progress(number * total + done, n_runs * total)


def _commit(root: Path) -> str:
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=8", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _run(root: Path, arguments: Sequence[str], seed: int, on_progress: OnProgress) -> SuiteRun:
    """Run the suite once in a process group of its own, which Ctrl-C ends too."""
    started, before = datetime.now(UTC), time.monotonic()
    outer = ("PYTEST_ADDOPTS", "PYTEST_XDIST", "PYTEST_CURRENT_TEST")  # of a test that checks the health
    environment = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
    environment |= {"PYTHONHASHSEED": str(seed)}
    with TemporaryDirectory() as folder:
        outcomes = Path(folder) / "outcomes.jsonl"
        command = [sys.executable, "-m", "pytest", *arguments, "-p", PLUGIN, "--tb=no", "--no-header"]
        command += [f"--shuffle-seed={seed}", f"--hypothesis-seed={seed}", f"--outcomes={outcomes}"]
        with _started(command, root, environment, Path(folder) / "printed") as process:
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
                total, tests = _read(outcomes)
                on_progress(len(tests), max(total, len(tests), 1))
        _, tests = _read(outcomes)
        printed = (Path(folder) / "printed").read_text(encoding="utf-8", errors="replace")
    if process.returncode not in (0, 1) or not tests:
        last = (printed.strip().splitlines() or ["it printed nothing"])[-1]
        raise ConfigError(f"pytest ended with code {process.returncode}: {last}. Run `make test` to see why.")
    return SuiteRun(seed, f"{started:%Y-%m-%dT%H:%M:%SZ}", round(time.monotonic() - before, 2), tests)


@contextmanager
def _started(
    command: list[str], root: Path, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in a process group of its own, and end the group with the block."""
    with log.open("wb") as printed:
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        for number in (signal.SIGINT, signal.SIGKILL):
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_SECONDS)


def _read(outcomes: Path) -> tuple[int, dict[str, Attempt]]:
    """Return the number of tests of a run, and the outcomes that are written so far."""
    if not outcomes.is_file():
        return 0, {}
    lines = outcomes.read_text(encoding="utf-8").split("\n")[:-1]  # the last one may be half written
    rows = [json.loads(line) for line in lines]
    total = next((row["n_tests"] for row in rows if "n_tests" in row), 0)
    return total, {row.pop("test"): Attempt(**row) for row in rows if "test" in row}


def _coverage(root: Path, arguments: Sequence[str]) -> dict[str, float]:
    """Return the fraction of branches that one run of the tests reaches, by package, and of all of them."""
    own = [part for part in arguments if part not in ("-n", "2", "--dist", "worksteal")]
    with TemporaryDirectory() as folder:
        environment = os.environ | {"COVERAGE_FILE": f"{folder}/data"}
        run = [sys.executable, "-m", "coverage", "run", "--branch", "--source=peak_trade", "-m", "pytest", *own]
        written = f"{folder}/coverage.json"
        for command in (run, [sys.executable, "-m", "coverage", "json", "-q", "-o", written]):
            with _started(command, root, environment, Path(folder) / "printed") as process:
                process.wait()
        if not Path(written).is_file():
            raise ConfigError("coverage wrote no report. Run `coverage run -m pytest -m smoke` to see why.")
        return branch_coverage(json.loads(Path(written).read_text(encoding="utf-8")))


def branch_coverage(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the fraction of branches that were reached, by package and "all", from the JSON report of coverage.py."""
    reached, known = defaultdict[str, int](int), defaultdict[str, int](int)
    for name, file in report["files"].items():
        parts = Path(name).parts
        for package in ("all", *parts[1:-1][:1]):
            reached[package] += file["summary"]["covered_branches"]
            known[package] += file["summary"]["num_branches"]
    return {package: reached[package] / known[package] for package in sorted(known) if known[package]}
