"""The package data, and a workspace made from it."""

import os
from pathlib import Path

import pytest

from peak_trade.cli import main
from peak_trade.core.errors import ConfigError
from peak_trade.core.settings import Settings
from peak_trade.data.workspace import make_workspace, package_data
from peak_trade.engine.settings import BacktestSettings
from tests.examples import mostly_long

RUN_FILES = sorted((package_data() / "config").glob("backtest*_example.toml"))


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: path.stem)
def test_every_example_run_file_is_read_as_it_stands(path):
    settings: Settings = BacktestSettings.from_toml(path)
    assert settings.digest()


def test_the_plain_example_states_the_defaults():
    assert BacktestSettings.from_toml(package_data() / "config" / "backtest_example.toml") == BacktestSettings()


def test_init_makes_a_workspace_with_run_files(tmp_path, capsys):
    folder = tmp_path / "deep" / "research"
    assert main(["init", str(folder)]) == 0
    assert "peak-trade data sample" in capsys.readouterr().out
    assert (folder / "README.md").is_file()
    assert {path.name for path in (folder / "config").iterdir()} >= {path.name for path in RUN_FILES}
    assert [path.name for path in folder.parent.iterdir()] == ["research"]


def test_init_fills_the_empty_folder_that_one_stands_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "."]) == 0
    assert Path("config").is_dir()
    assert not list(Path().glob(".*"))


def test_init_leaves_nothing_behind_when_copying_fails(tmp_path, monkeypatch, capsys):
    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copytree", full_disk)
    assert main(["init", str(tmp_path / "research")]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("n_moved", mostly_long([0, 1, 3], 1))
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "stop"])
@pytest.mark.parametrize("is_new", mostly_long([True, False], 1), ids=["new", "empty"])
def test_init_leaves_nothing_behind_when_it_ends_half_way(tmp_path, monkeypatch, n_moved, error, is_new):
    moved: list[Path] = []

    def move(source: Path, target: Path) -> None:
        if len(moved) == n_moved:
            raise error
        moved.append(target)
        os.rename(source, target)

    monkeypatch.setattr("peak_trade.data.workspace.rename", move)
    folder = tmp_path / "deep" / "research"
    if not is_new:
        folder.mkdir(parents=True)
    with pytest.raises((ConfigError, KeyboardInterrupt)) as raised:
        make_workspace(folder)
    assert isinstance(raised.value, KeyboardInterrupt) or "No space left on device" in str(raised.value)
    assert len(moved) == n_moved
    assert list(tmp_path.rglob("*")) == ([] if is_new else [folder.parent, folder])


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
