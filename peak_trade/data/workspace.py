"""The workspace that runs write to, and a new one made from the package data."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from peak_trade.core.errors import ConfigError
from peak_trade.core.files import rename

PACKAGE_DATA = (
    "config",
    "notebooks",
    "reports/styles",
    "_quarto.yml",
    "index.md",
    "docs",
    "CHANGELOG.md",
)
NOT_COPIED = ("__pycache__", ".ipynb_checkpoints", ".*")
README = """# A peak_trade workspace

`config/` holds run files, `notebooks/` the research notebooks. What runs write goes to `.peak_trade/` in this folder.

    peak-trade data sample
    peak-trade backtest --strategy ma_crossover --symbol BTC/USDT
    peak-trade report run strategy_backtest
    peak-trade site build
    peak-trade runs list
"""


def workspace() -> Path:
    """Return the workspace folder: PEAK_TRADE_HOME, by default `.peak_trade` in the current folder.

    The folder may be missing; the first write to it makes it.
    """
    named = os.environ.get("PEAK_TRADE_HOME")
    return Path(named).expanduser() if named else Path(".peak_trade")


def package_data() -> Path:
    """Return the folder with `config/` and `notebooks/`: the repository, or the copy in the installed package."""
    package = Path(__file__).parents[1]
    installed = package / "_package_data"
    return installed if installed.is_dir() else package.parent


def make_workspace(folder: Path) -> list[Path]:
    """Make a folder with copies of the notebooks and run files and return the files.

    An error or an interruption half way removes what was made, with the folders above that were made for it.

    Raises
    ------
    ConfigError
        If the folder is a file, is not empty, or can not be written.

    """
    with filled_folder(folder, ".init-") as unfinished:
        _copy_package_data(unfinished)
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def filled_folder(folder: Path, prefix: str) -> Iterator[Path]:
    """Yield a temporary folder, whose name has a prefix; its content is moved into a new folder when the block ends.

    An error or an interruption half way removes what was made, with the folders above that were made for it.

    Raises
    ------
    ConfigError
        If the folder is a file, is not empty, or can not be written.

    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file. Name a folder that is new or empty.")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty. Name a folder that is new or empty.")
    new_folders = [each for each in (folder, *folder.parents) if not each.exists()]
    moved: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=prefix) as unfinished:
            yield Path(unfinished)
            for part in Path(unfinished).iterdir():
                moved.append(folder / part.name)
                rename(part, moved[-1])
    except BaseException as error:
        _remove(moved, new_folders)
        if not isinstance(error, OSError):
            raise
        raise ConfigError(f"{folder} could not be made: {error.strerror}. Choose another place.") from None


@contextmanager
def workspace_at(folder: Path) -> Iterator[None]:
    """Make a folder the workspace of this process while the block runs."""
    former = os.environ.get("PEAK_TRADE_HOME")
    os.environ["PEAK_TRADE_HOME"] = str(folder.resolve())
    try:
        yield
    finally:
        if former is None:
            del os.environ["PEAK_TRADE_HOME"]
        else:
            os.environ["PEAK_TRADE_HOME"] = former


def _remove(parts: Sequence[Path], folders: Sequence[Path]) -> None:
    for part in parts:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _copy_package_data(target: Path) -> None:
    (target / "README.md").write_text(README, encoding="utf-8")
    for name in PACKAGE_DATA:
        source = package_data() / name
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns(*NOT_COPIED))
        elif source.is_file():
            shutil.copyfile(source, target / name)
