"""New files of a user: a strategy with its test, and a notebook."""

from __future__ import annotations

import json
import keyword
import os
import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from peak_trade.core.errors import ConfigError, quoted
from peak_trade.core.files import create_file, read_text, reason_of
from peak_trade.wiring.strategies import STRATEGIES

TEMPLATES = Path(__file__).with_name("templates")
LONGEST_NAME = 60
"""Largest number of letters of a name."""


def new_strategy(name: str, folder: Path) -> list[Path]:
    """Write a strategy that works, and its test, and return both files.

    Parameters
    ----------
    name : str
        Name of the module in lower case, for example `reversal`; its class is `Reversal`.
    folder : Path
        An existing folder, on whose path the test is run.

    Raises
    ------
    ConfigError
        If the name is not that of a new module, one of the files exists, or the folder can not be written.

    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or len(name) > LONGEST_NAME:
        raise ConfigError(
            f"the name was {quoted(name)}. Start it with a small letter, then use small letters, digits and _, like "
            "fast_reversal."
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise ConfigError(f"{name} is a word of Python. Choose another name, like my_{name}.")
    if name in STRATEGIES:
        raise ConfigError(f"{name} is a strategy of peak_trade. Choose another name, like my_{name}.")
    if name in sys.stdlib_module_names or (not (folder / f"{name}.py").exists() and find_spec(name) is not None):
        raise ConfigError(f"{name} is the name of an installed module. Choose another name, like my_{name}.")
    words = {"name": name, "title": _title(name), "cls": "".join(part.capitalize() for part in name.split("_"))}
    return _written(
        {folder / f"{name}.py": _filled("strategy", words), folder / f"test_{name}.py": _filled("test_strategy", words)}
    )


def new_notebook(name: str, folder: Path) -> list[Path]:
    """Write a notebook that backtests a strategy and that `report run` takes, and return its file.

    Raises
    ------
    ConfigError
        If the name is malformed, the file exists, or the folder can not be written.

    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) or len(name) > LONGEST_NAME:
        raise ConfigError(
            f"the name was {quoted(name)}. Start it with a letter, then use letters, digits, - and _, like reversal_1."
        )
    content = json.loads(read_text(TEMPLATES / "notebook.json"))
    content["cells"][0]["source"] = f'---\ntitle: "{_title(name)}"\nversion: "1.0"\n---'
    return _written({folder / f"{name}.ipynb": json.dumps(content, indent=1, ensure_ascii=False) + "\n"})


def _title(name: str) -> str:
    return name.replace("_", " ").replace("-", " ").capitalize()


def _filled(template: str, words: Mapping[str, Any]) -> str:
    text = read_text(TEMPLATES / f"{template}.py.txt")
    for key, word in words.items():
        text = text.replace(f"{{{key}}}", word)
    return text


def _written(files: Mapping[Path, str]) -> list[Path]:
    """Create the files, or none of them."""
    folder = next(iter(files)).parent
    if not os.path.isdir(folder):
        raise ConfigError(f"{folder}: there is no such folder. Make it first.")
    for path in files:
        if os.path.lexists(path):
            raise ConfigError(f"{path} exists. Choose another name, or move that file.")
    made: list[Path] = []
    try:
        for path, text in files.items():
            create_file(path, text.encode())
            made.append(path)
    except OSError as error:
        for path in made:
            path.unlink(missing_ok=True)
        raise ConfigError(f"{folder} could not be written: {reason_of(error)}. Choose another folder.") from None
    return made
