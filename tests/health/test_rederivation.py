"""Notebooks run again from the last commit alone, and one that shows other results or nothing does not count."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.core.errors import ConfigError
from peak_trade.health import rederivation
from peak_trade.health.checks import Attempt
from peak_trade.health.rederivation import Rederivation, latest_rederivation, main, rederive
from peak_trade.health.report import rederivation_section

ROOT = Path(__file__).parents[2]
ATTEMPTS = st.builds(Attempt, st.sampled_from(["passed", "failed", "skipped"]), st.just(1.0), st.just("why"))
TESTS = """
import os
import pytest

@pytest.mark.parametrize("name", ["equal", "other", "left"])
def test_in_a_kernel(name):
    if name == "left":
        pytest.skip("no such program")
    assert name == "equal", "other results"
    assert "PEAK_TRADE_HOME" not in os.environ
"""


MAKEFILE = """
env:
	mkdir -p .venv/bin
	printf '#!/bin/sh\\nexec {} "$$@"\\n' > .venv/bin/python
	chmod +x .venv/bin/python
"""


def derived(notebooks: dict[str, Attempt]) -> Rederivation:
    return Rederivation("2024-01-01T00:00:00Z", "abc", "3.11", 1.0, notebooks)


@given(st.dictionaries(st.sampled_from("abcdef"), ATTEMPTS, min_size=1))
def test_the_share_is_that_of_the_notebooks_that_passed(notebooks):
    found = derived(notebooks)
    n_passed = [each.outcome for each in notebooks.values()].count("passed")
    assert found.fraction == n_passed / len(notebooks)
    shown = rederivation_section(found)
    assert shown.count("equal results |") == n_passed
    assert all(f"| {name} |" in shown for name in notebooks)


@pytest.fixture
def checkout(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed checkout with four notebooks, whose environment is this one."""
    root = tmp_path / "checkout"
    for folder in ("tests/notebooks", "peak_trade", "notebooks"):
        (root / folder).mkdir(parents=True)
    shutil.copyfile(ROOT / "tests" / "shuffled.py", root / "tests" / "shuffled.py")
    (root / "peak_trade" / "__init__.py").touch()
    (root / "tests" / "notebooks" / "test_notebooks.py").write_text(TESTS)
    for name in ("equal", "other", "left", "untested"):
        (root / "notebooks" / f"{name}.ipynb").touch()
    (root / ".gitignore").write_text("build/\n.venv/\n")
    (root / "Makefile").write_text(MAKEFILE.format(sys.executable))
    (root / "pytest.ini").write_text(
        "[pytest]\nmarkers = long\naddopts = -p _hypothesis_pytestplugin -p no:cacheprovider\n"
    )
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Add"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.chdir(root)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)  # the plugin keeps no outcomes in a worker
    monkeypatch.setattr(rederivation, "OWN", tuple(name for name in rederivation.OWN if name != "PYTEST"))
    return root


@pytest.mark.long
def test_notebooks_run_in_a_clone_of_the_last_commit(checkout, capsys):
    (checkout / "notebooks" / "left.ipynb").unlink()  # not committed, so not in the clone
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert "not committed are left out" in told.err
    assert "1 of 4 published notebooks (25 %) showed equal results in a clean clone." in told.out
    found = latest_rederivation()
    assert found is not None
    assert {name: each.outcome for name, each in found.notebooks.items()} == {
        "equal": "passed", "left": "skipped", "other": "failed", "untested": "failed",
    }  # fmt: skip
    assert found.notebooks["left"].reason == "no such program"
    assert found.notebooks["untested"].reason == "no test runs this notebook"
    assert (checkout / rederivation.CLONE).is_dir()


@pytest.mark.long
def test_the_clone_is_removed_when_all_results_are_equal(checkout):
    for name in ("other", "left", "untested"):
        (checkout / "notebooks" / f"{name}.ipynb").unlink()
    git = ["git", "-C", str(checkout), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "commit", "--quiet", "--all", "--message", "Remove"], check=True)
    assert rederive(checkout).fraction == 1.0
    assert not (checkout / rederivation.CLONE).exists()


def test_an_environment_that_can_not_be_made_is_one_line(checkout, home):
    git = ["git", "-C", str(checkout), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (checkout / "Makefile").write_text("env:\n\t@echo no such package\n\t@false\n")
    subprocess.run([*git, "commit", "--quiet", "--all", "--message", "Break"], check=True)
    with pytest.raises(SystemExit, match=r"rederive: make env .* ended with code 2 in .*Run it there to see why\.$"):
        main()
    assert not home.exists()


def test_outside_a_checkout_nothing_is_cloned(tmp_path, home, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="Run the command in a checkout"):
        rederive(tmp_path)
    assert not (tmp_path / rederivation.CLONE).exists()
    assert latest_rederivation() is None


def test_the_clone_gets_nothing_of_this_environment():
    own = str(Path(sys.prefix) / "bin")
    given_to_it = rederivation._environment(
        {"PATH": f"/a:{own}:/b", "PYTHONPATH": "x", "PEAK_TRADE_HOME": "y", "MAKEFLAGS": "-k", "UV_INDEX": "z"}
    )
    assert given_to_it == {"PATH": "/a:/b", "UV_INDEX": "z"}


def test_every_notebook_has_typed_results_to_compare_with():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert json.loads((ROOT / "tests" / "notebooks" / f"{path.stem}.json").read_text())["results"], path.stem
