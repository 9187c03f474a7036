"""Re-derivation of the notebooks: a clean clone, a fresh environment, and the typed results compared.

`python -m peak_trade.health.rederivation` is what `make rederive` runs. Each notebook runs in a kernel of its own with
the parameters of its file in `tests/notebooks/`, and has to show the typed results of that file. Nothing is taken from
the checkout but its last commit: the clone makes its environment from the lock file, and its data from a seed.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from peak_trade.core.errors import ConfigError, PeakTradeError
from peak_trade.core.files import make_folder, write_bytes
from peak_trade.data.workspace import workspace
from peak_trade.health.checks import FOLDER, PLUGIN, Attempt, commit_of, decoded, read_outcomes, require_checkout
from peak_trade.health.processes import last_line, run_command

CLONE = Path("build/rederive")
NOTEBOOKS = ("tests/notebooks", "-k", "in_a_kernel", "-m", "long or not long")
"""Arguments of pytest for the tests that compare the typed results of each notebook."""
OWN = ("PYTHON", "PYTEST", "PEAK_TRADE", "VIRTUAL_ENV", "UV_PROJECT", "NUMBA", "MLFLOW", "JUPYTER", "IPYTHON", "MAKE")
"""Beginnings of the names of the environment variables that the clone does not get."""


class Rederivation(msgspec.Struct, frozen=True):
    """The published notebooks in a clean clone: by name, whether each showed its published results again, or why not.

    `started` is ISO 8601 in UTC, and `seconds` the wall-clock time with the making of the environment.
    """

    started: str
    commit: str
    python: str
    seconds: float
    notebooks: dict[str, Attempt]

    @property
    def n_equal(self) -> int:
        """Number of notebooks that showed the published results; one that was skipped did not."""
        return sum(each.outcome == "passed" for each in self.notebooks.values())

    @property
    def fraction(self) -> float:
        """Fraction of the published notebooks that showed their published results again."""
        return self.n_equal / len(self.notebooks)

    @property
    def verdict(self) -> str:
        """One sentence: how many notebooks showed their published results again."""
        counted = f"{self.n_equal} of {len(self.notebooks)} published notebooks ({100 * self.fraction:.0f} %)"
        return f"{counted} showed equal results in a clean clone."


def latest_rederivation() -> Rederivation | None:
    """Return the latest re-derivation in the workspace; None if there is none."""
    return decoded(_path(), Rederivation) if _path().is_file() else None


def rederive(root: Path) -> Rederivation:
    """Run every notebook of the last commit of a checkout in a clean clone, and keep the result in the workspace.

    The clone is in `build/rederive`. It is removed at the end, unless a notebook showed other results.

    Raises
    ------
    ConfigError
        If root is not a checkout under git, or the clone, its environment or its tests could not be made to run.

    """
    require_checkout(root)
    started, before = datetime.now(UTC), time.monotonic()
    clone, environment = root / CLONE, _environment(os.environ)
    shutil.rmtree(clone, ignore_errors=True)
    _run(["git", "clone", "--quiet", root, clone], root, environment)
    major, minor = sys.version_info[:2]
    python = Path(sys.base_prefix) / "bin" / f"python{major}.{minor}"
    _run(["make", "env", f"PYTHON={python}"], clone, environment)
    outcomes = clone / "build" / "outcomes.jsonl"
    outcomes.parent.mkdir()
    test: list[str | Path] = [
        clone / ".venv/bin/python",
        "-m",
        "pytest",
        *NOTEBOOKS,
        "-p",
        PLUGIN,
        f"--outcomes={outcomes}",
        "--tb=line",
    ]
    printed = _run(test, clone, environment, (0, 1))
    tests = read_outcomes(outcomes)[1]
    names = sorted(path.stem for path in (clone / "notebooks").glob("*.ipynb"))
    found = {name: _outcome_of(name, tests) for name in names}
    if not found:
        raise ConfigError(f"{root}: the last commit has no notebooks, and pytest said: {last_line(printed)}")
    result = Rederivation(
        started=f"{started:%Y-%m-%dT%H:%M:%SZ}",
        commit=commit_of(clone),
        python=f"{major}.{minor}.{sys.version_info.micro}",
        seconds=round(time.monotonic() - before, 1),
        notebooks=found,
    )
    make_folder(_path().parent)
    write_bytes(_path(), msgspec.json.encode(result))
    if result.n_equal == len(found):
        shutil.rmtree(clone)
    return result


def _path() -> Path:
    return workspace() / FOLDER / "rederivation.json"


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the clone: without what belongs to this one, and without its programs on PATH."""
    kept = {name: value for name, value in given.items() if not name.startswith(OWN)}
    own = str(Path(sys.prefix) / "bin")
    return kept | {"PATH": os.pathsep.join(part for part in given["PATH"].split(os.pathsep) if part != own)}


def _run(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str], good: tuple[int, ...] = (0,)
) -> str:
    code, printed = run_command(command, folder, environment)
    if code not in good:
        words = " ".join(map(str, command[:4]))
        raise ConfigError(f"{words} ended with code {code} in {folder}: {last_line(printed)}. Run it there to see why.")
    return printed


def _outcome_of(name: str, tests: Mapping[str, Attempt]) -> Attempt:
    found = [attempt for test, attempt in tests.items() if test.endswith(f"[{name}]")]
    return found[0] if found else Attempt("failed", 0.0, "no test runs this notebook")


def main() -> None:
    """Run the notebooks of this checkout in a clean clone and print what each one showed."""
    try:
        if commit_of(Path.cwd()).endswith("-dirty"):
            sys.stderr.write("The clone has the last commit; changes that are not committed are left out.\n")
        found = rederive(Path.cwd())
    except PeakTradeError as error:
        sys.exit(f"rederive: {error}")
    for name, each in found.notebooks.items():
        told = {"passed": "equal results", "skipped": f"not run: {each.reason}"}.get(each.outcome, each.reason)
        sys.stdout.write(f"{name}: {told}, {each.seconds:.1f} s\n")
    sys.stdout.write(f"{found.verdict} Commit {found.commit}, {found.seconds:.0f} s.\n")
    sys.exit(found.n_equal < len(found.notebooks))


if __name__ == "__main__":
    main()
