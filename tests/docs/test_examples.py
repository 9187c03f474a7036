"""The tutorial's commands and the docs' Python run as they stand."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from peak_trade.cli import main
from tests.examples import mostly_long

ROOT = Path(__file__).parents[2]


def blocks(path, language):
    text = (ROOT / path).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.long
@pytest.mark.usefixtures("_check_in_this_process")
def test_the_tutorial_works_as_it_is_written(tmp_path, monkeypatch, capsys, empty_registry):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PEAK_TRADE_HOME", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{_copied(empty_registry, tmp_path)}")
    (idea,) = blocks("docs/tutorial.md", "python")
    n_run = 0
    for block in blocks("docs/tutorial.md", "console"):
        expected = [line for line in block.splitlines() if not line.startswith("$ ")]
        for line in block.splitlines():
            if not line.startswith("$ "):
                continue
            command, *arguments = shlex.split(line.removeprefix("$ "))
            if command == "cd":
                monkeypatch.chdir(arguments[0])
                Path("my_ideas.py").write_text(idea, encoding="utf-8")
                continue
            assert command == "peak-trade"
            exit_code = main(arguments)
            told = capsys.readouterr()
            assert exit_code == (2 if expected else 0), told.err
            assert not expected or told.err.splitlines() == expected
            n_run += 1
    sys.modules.pop("my_ideas", None)
    assert n_run >= 8


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_check_in_this_process")
def test_the_hour_in_jupyterlab_works_as_it_is_written(tmp_path, monkeypatch, capsys, empty_registry):
    """Commands run in this process, and cells one after another in one namespace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PEAK_TRADE_HOME", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{_copied(empty_registry, tmp_path)}")
    text = (ROOT / "docs" / "jupyterlab.md").read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))  # a command adds the folder
    names = {"__name__": "__main__"}
    n_run = 0
    for language, block in re.findall(r"^```(console|python)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        n_run += 1
        if language == "python":
            exec(compile(block, "jupyterlab.md", "exec"), names)
            continue
        for line in block.splitlines():
            command, *arguments = shlex.split(line.removeprefix("$ "))
            if command == "cd":
                monkeypatch.chdir(arguments[0])
            elif arguments[:2] != ["report", "run"]:  # a kernel; tests/cli/test_new.py runs such a notebook
                assert (command, main(arguments)) == ("peak-trade", 0), capsys.readouterr().err
    sys.modules.pop("fast_reversal", None)
    assert n_run >= 15
    assert (tmp_path / "research" / "first.html").is_file()
    assert names["stats"]["n_fills"] == len(names["result"].fills)


@pytest.mark.parametrize(
    "path", mostly_long(["README.md", "docs/library.md", "docs/trials.md", "docs/out_of_sample.md"], 1)
)
def test_the_python_in_the_docs_runs(path, home, capsys):
    found = blocks(path, "python")
    assert found
    for block in found:
        exec(compile(block, f"<{path}>", "exec"), {"__name__": "example"})


def test_the_output_of_the_readme_is_what_its_example_prints(home, capsys):
    (example,) = blocks("README.md", "python")
    exec(compile(example, "README.md", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out == blocks("README.md", "text")[0]


def _copied(registry, folder):
    target = folder / "mlflow.db"
    target.write_bytes(registry.read_bytes())
    return target
