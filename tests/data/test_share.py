"""What comes with the package, and the workspace made from it."""

from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.core.settings import Settings
from peak_trade.data.share import share
from peak_trade.engine.settings import BacktestSettings

RUN_FILES = sorted((share() / "config").glob("backtest*_example.toml"))


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: path.stem)
def test_every_example_run_file_is_read_as_it_stands(path):
    settings: Settings = BacktestSettings.from_toml(path)
    assert settings.digest()


def test_the_plain_example_states_the_defaults():
    assert BacktestSettings.from_toml(share() / "config" / "backtest_example.toml") == BacktestSettings()


def test_init_makes_a_workspace_with_run_files(tmp_path, capsys):
    folder = tmp_path / "deep" / "research"
    assert main(["init", str(folder)]) == 0
    assert "peak-trade data sample" in capsys.readouterr().out
    assert (folder / "README.md").is_file()
    assert {path.name for path in (folder / "config").iterdir()} >= {path.name for path in RUN_FILES}
    assert [path.name for path in folder.parent.iterdir()] == ["research"]


def test_init_fills_an_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    assert main(["init", str(tmp_path / "empty")]) == 0
    assert (tmp_path / "empty" / "config").is_dir()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_init_refuses_what_holds_something_with_one_line_and_leaves_it(tmp_path, capsys, kind):
    taken = tmp_path / "taken"
    kept: Path = taken if kind == "file" else taken / "kept.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    assert main(["init", str(taken)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Name a folder that is new or empty." in error
    assert kept.read_text() == "mine"
