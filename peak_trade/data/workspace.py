"""The workspace that runs write to, and a new one made from the package data."""

from __future__ import annotations

import os
import shutil
import tempfile
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
    """Make a folder with copies of the notebooks and run files and return the files; an error leaves no file.

    Raises
    ------
    ConfigError
        If the folder is a file, is not empty, or can not be written.

    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file. Name a folder that is new or empty.")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty. Name a folder that is new or empty.")
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=folder, prefix=".init-") as unfinished:
                _copy_package_data(Path(unfinished))
                for part in Path(unfinished).iterdir():
                    rename(part, folder / part.name)
        except OSError:
            if is_new:
                folder.rmdir()
            raise
    except OSError as error:
        raise ConfigError(f"{folder} could not be made: {error.strerror}. Choose another place.") from None
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _copy_package_data(target: Path) -> None:
    (target / "README.md").write_text(README, encoding="utf-8")
    for name in PACKAGE_DATA:
        source = package_data() / name
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns(*NOT_COPIED))
        elif source.is_file():
            shutil.copyfile(source, target / name)
