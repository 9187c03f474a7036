"""What the docs name is what there is, and the other way round."""

import importlib
import re
from pathlib import Path

import pytest

import peak_trade
from peak_trade.cli.reference import reference
from peak_trade.wiring.strategies import STRATEGIES
from tests.roadmap import ROWS

ROOT = Path(__file__).parents[2]
DOCS = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").rglob("*.md")))
DOCUMENTED = ("peak_trade", "peak_trade.metrics", "peak_trade.tracking")


def test_the_command_line_reference_is_the_help_of_today():
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == reference(), "run `python -m peak_trade.cli.reference`"


@pytest.mark.parametrize("package", DOCUMENTED)
def test_every_public_name_of_a_documented_package_stands_in_the_docs(package):
    names = importlib.import_module(package).__all__
    assert [name for name in names if not re.search(rf"\b{re.escape(name)}\b", DOCS)] == []


def test_the_table_of_the_library_is_the_facade():
    library = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    table = library.split("## Names\n")[1].split("\n\n")[0]
    names = re.findall(r"^\| `pt\.(\w+)", table, flags=re.MULTILINE)
    assert sorted(names) == sorted(set(names)) == peak_trade.__all__


def test_every_strategy_stands_in_the_docs():
    assert [name for name in STRATEGIES if not re.search(rf"\b{name}\b", DOCS)] == []


def test_every_verb_has_an_example_and_states_its_exit_codes():
    pages = re.findall(r"## (peak-trade [^\n]+)\n\n```text\n(.*?)```", reference(), flags=re.DOTALL)
    verbs = [(path, text) for path, text in pages if "\nCommands:" not in text]
    assert len(verbs) >= 10
    assert [path for path, text in verbs if "Example" not in text or "Exits 0" not in text] == []


def test_what_the_roadmap_names_as_shown_exists():
    roadmap = (ROOT / "docs" / "roadmaps" / "REBOOT_ROADMAP_V2.md").read_text(encoding="utf-8")
    rows = [*(row for row in roadmap.splitlines() if row.startswith("| ")), *(" ".join(row.commands) for row in ROWS)]
    tests = {path for row in rows for path in re.findall(r"(tests/[\w/]+(?:\.py)?)", row)}
    assert [path for path in sorted(tests) if not (ROOT / path).exists()] == []
    verbs = set(re.findall(r"^## (peak-trade [^\n]+)", reference(), flags=re.MULTILINE))
    named = {verb for row in rows for verb in re.findall(r"`(peak-trade \w+(?: (?:list|run|export|serve))?)", row)}
    assert named - verbs == set()


def test_the_version_stands_in_the_changelog():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {peak_trade.__version__}" in changes
