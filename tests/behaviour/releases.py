"""Results of the fixed runs at the last release: `python -m tests.behaviour.releases` pins those of `digests.json`.

The changelog has a section **Results** for the version after it, with one line for the runs whose results changed for
one reason: their names in backticks, a colon and the reason.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import peak_trade as pt
from tests.behaviour.fixed_runs import Summary, read_digests

PINNED = Path(__file__).with_name("released.json")
CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"


class Version(NamedTuple):
    """A section of the changelog."""

    name: str
    is_released: bool
    explained: Mapping[str, str]
    """The fixed runs that its section **Results** names, and the reason of each."""


def versions(text: str) -> list[Version]:
    """Return the versions of a changelog, newest first."""
    parts = re.split(r"^## (\S+)(.*)$", text, flags=re.MULTILINE)[1:]
    return [
        Version(name, "unreleased" not in rest, _explained(section))
        for name, rest, section in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]


def _explained(section: str) -> dict[str, str]:
    found = re.search(r"^\*\*Results\*\*\n(.*?)(?=^\*\*|\Z)", section, flags=re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^- (`.*?`): (.*?)(?=\n- |\n\n|\Z)", found[1] if found else "", flags=re.MULTILINE | re.DOTALL)
    return {name: reason.strip() for names, reason in lines for name in re.findall("`(.*?)`", names)}


def results(digests: Mapping[str, Summary]) -> dict[str, str]:
    """Return the digest of the numbers of each run."""
    return {name: facts["figures"] for name, facts in digests.items()}


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    """Return the runs that have other results, or are in one of the two only."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def main() -> int:
    """Pin the results of `digests.json` as those of the version of the package."""
    content = {"version": pt.__version__, "results": results(read_digests())}
    PINNED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
