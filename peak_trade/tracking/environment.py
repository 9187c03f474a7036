"""The environment of a run: versions of packages, the machine, and the commits of the code."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peak_trade.core.digest import ENVIRONMENT

GIT_WAIT_SECONDS = 5.0
"""Longest time that git may take to answer."""


def environment() -> dict[str, Any]:
    """Return the environment of this process as plain values.

    `version` is that of peak_trade; `python`, `system` and `machine` are those of the interpreter; `packages` maps each
    installed package to its version. `git` and `package_git` have the commit of the working folder and of peak_trade,
    and whether tracked files differ from it; both are empty outside a repository.
    """
    return {
        "version": version("peak_trade"),
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "packages": dict(_packages()),
        "git": _git(Path.cwd()),
        "package_git": dict(_package_git()),
    }


def provenance(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of an environment: the version of peak_trade, the commits, and whether files differ from them."""
    tags = {"package.version": found["version"]}
    for name, key in (("git", "git"), ("package", "package_git")):
        tags |= {f"{name}.{what}": str(value).lower() for what, value in found[key].items()}
    return tags


def changed_versions(recorded: Mapping[str, Any], imported: Mapping[str, str]) -> list[str]:
    """Return a sentence for each version that can change a number and is not the recorded one.

    `imported` are versions of other packages that the code of a user imports, by name.
    """
    now = environment()
    names = ("python", "system", "machine")
    pairs = [("peak_trade", recorded["version"], now["version"])]
    pairs += [(name, recorded[name], now[name]) for name in names]
    wanted = {name: recorded["packages"].get(name) for name in ENVIRONMENT}
    wanted |= {_normalised(name): number for name, number in imported.items()}
    pairs += [(name, number, now["packages"].get(name)) for name, number in wanted.items()]
    return [f"{name} is {is_ or 'not installed'}, the record has {was}." for name, was, is_ in pairs if was != is_]


@cache
def _packages() -> tuple[tuple[str, str], ...]:
    """Return normalised name and version of each installed package, from the names of its folder of metadata."""
    folders = [folder for entry in sys.path for folder in Path(entry or ".").glob("*.dist-info")]
    pairs = [folder.stem.rpartition("-") for folder in reversed(folders)]
    return tuple(sorted({_normalised(name): number for name, _, number in pairs}.items()))


def _normalised(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


@cache
def _package_git() -> tuple[tuple[str, Any], ...]:
    root = Path(__file__).parents[2]
    return tuple(_git(root).items()) if (root / ".git").exists() else ()


def _git(folder: Path) -> dict[str, Any]:
    """Return the commit of a folder's repository and whether its tracked files differ; empty when git has no answer."""
    words = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        answer = subprocess.run(
            words,
            cwd=folder,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_WAIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = answer.stdout.splitlines()
    commits = [line.split()[2] for line in lines if line.startswith("# branch.oid ")]
    return {"commit": commits[0], "dirty": any(not line.startswith("#") for line in lines)} if commits else {}
