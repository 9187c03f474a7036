"""New strategies and notebooks work as they are written, and a wrong name writes nothing."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.reports.display import RESULT_MIME
from peak_trade.reports.notebooks import list_report_runs, read_notebook
from tests.forking import start_forked


@pytest.fixture
def folder(tmp_path, monkeypatch):
    place = tmp_path / "mine"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", list(sys.path))  # a command adds the folder
    yield place
    sys.modules.pop("fast_reversal", None)


UNUSED = ("cacheprovider", "schemathesis", "benchmark", "xdist", "anyio")
"""Plugins of pytest that a new test does without."""


def outcome_of_tests(name: str, *options: str) -> tuple[int, str]:
    """Run the tests of a file in a forked process; return the exit code and what it prints."""

    def work():
        with Path("printed").open("w") as printed, redirect_stdout(printed):
            sys.exit(pytest.main(["-q", *(f"-pno:{plugin}" for plugin in UNUSED), *options, name]))

    process = start_forked(work)
    process.join()
    return process.exitcode, Path("printed").read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.usefixtures("_check_in_this_process")
def test_a_new_strategy_passes_its_test_and_the_check_for_look_ahead(folder, home, capsys):
    assert main(["new", "strategy", "fast_reversal"]) == 0
    told = capsys.readouterr().out
    assert "peak-trade check strategy fast_reversal:FastReversal" in told
    assert main(["check", "strategy", "fast_reversal:FastReversal", "--bars", "400", "--cuts", "5"]) == 0
    code, printed = outcome_of_tests("test_fast_reversal.py")
    assert code == 0, printed
    assert "4 passed" in printed


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_the_test_of_a_new_strategy_finds_look_ahead(folder, home):
    assert main(["new", "strategy", "slow_reversal"]) == 0
    path = Path("slow_reversal.py")
    path.write_text(path.read_text(encoding="utf-8").replace("(close > mean)", "(close.shift(-1) > mean)"))
    code, printed = outcome_of_tests("test_slow_reversal.py", "-k", "look_ahead")
    assert code == 1
    assert "test_it_does_not_look_ahead" in printed


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_the_cells_of_a_new_notebook_show_its_parts(folder, home, monkeypatch):
    from peak_trade.data.sample import sample_bars
    from peak_trade.data.store import save_bars

    shown: list[dict[str, object]] = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle))
    save_bars(sample_bars("BTC/USDT", n_bars=1_500))
    assert main(["new", "notebook", "study"]) == 0
    names = {"__name__": "__main__"}
    for cell in json.loads(Path("study.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile(cell["source"].replace("record: bool = True", "record: bool = False"), "cell", "exec"), names)
    found = [bundle[RESULT_MIME]["name"] for bundle in shown if RESULT_MIME in bundle]
    assert found[:3] == ["provenance", "answer", "equity"]
    assert found[-1] == "run"


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_a_new_notebook_runs_as_it_is_written(folder, registry, capsys):
    from peak_trade.data.sample import sample_bars
    from peak_trade.data.store import save_bars

    save_bars(sample_bars("BTC/USDT", n_bars=1_500))
    assert main(["new", "notebook", "my-study"]) == 0
    assert read_notebook(Path("my-study.ipynb")).title == "My study"
    assert main(["report", "run", "my-study.ipynb", "-p", "record=false"]) == 0, capsys.readouterr().err
    (run,) = list_report_runs(folder)
    assert not run.is_failed
    assert len(run.run_id) == 16


def test_a_new_notebook_lies_with_the_others(folder):
    Path("notebooks").mkdir()
    assert main(["new", "notebook", "study"]) == 0
    assert Path("notebooks/study.ipynb").is_file()


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("strategy", "class", "class is a word of Python"),
        ("strategy", "match", "match is a word of Python"),
        ("strategy", "numpy", "numpy is the name of an installed module"),
        ("strategy", "json", "json is the name of an installed module"),
        ("strategy", "ma_crossover", "ma_crossover is a strategy of peak_trade"),
        ("strategy", "Reversal", "the name was 'Reversal'"),
        ("strategy", "../reversal", "the name was '../reversal'"),
        ("strategy", "x" * 300, "the name was"),
        ("strategy", "taken", "taken.py exists"),
        ("strategy", "tested", "test_tested.py exists"),
        ("notebook", "1st", "the name was '1st'"),
        ("notebook", "a b", "the name was 'a b'"),
        ("notebook", "taken", "taken.ipynb exists"),
    ],
)
def test_a_name_that_is_wrong_or_taken_writes_nothing(folder, capsys, kind, name, message):
    for taken in ("taken.py", "test_tested.py", "taken.ipynb"):
        Path(taken).write_text("kept", encoding="utf-8")
    assert main(["new", kind, name]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert {path.name: path.read_text(encoding="utf-8") for path in Path().iterdir()} == dict.fromkeys(
        ("taken.py", "test_tested.py", "taken.ipynb"), "kept"
    )


@pytest.mark.parametrize("place", ["missing", "/proc", "taken"])
def test_a_folder_that_cannot_be_written_is_refused(folder, capsys, place):
    Path("taken").write_text("", encoding="utf-8")
    assert main(["new", "strategy", "reversal", "--folder", place]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["taken"]


def test_nothing_is_left_when_the_second_file_fails(folder, monkeypatch, capsys):
    from peak_trade.core import files
    from peak_trade.studies import new_files

    def create(path: Path, content: bytes) -> None:
        if path.name.startswith("test_"):
            raise OSError(28, "No space left on device")
        files.create_file(path, content)

    monkeypatch.setattr(new_files, "create_file", create)
    assert main(["new", "strategy", "reversal"]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_the_files_are_listed_as_json(folder, capsys):
    assert main(["new", "strategy", "reversal", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == ["reversal.py", "test_reversal.py"]
