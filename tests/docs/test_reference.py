"""What the docs name is what there is, and the other way round."""

import importlib
import re
from functools import cache
from pathlib import Path

import pytest

import peak_trade
from peak_trade.cli import reference as cli_page
from peak_trade.cli.app import root
from peak_trade.cli.reference import contexts
from peak_trade.journal.events import EVENT_CLASSES, CommandKind
from peak_trade.metrics import MEASURES
from peak_trade.observability.metrics import METRICS
from peak_trade.risk.codes import DenialCode
from peak_trade.wiring.strategies import STRATEGIES
from tests.docs import api_page, settings_page
from tests.roadmap import ROWS

ROOT = Path(__file__).parents[2]
DOCS = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").rglob("*.md")))
WORDS = set(re.findall(r"\w+", DOCS))
DOCUMENTED = ("peak_trade", "peak_trade.metrics", "peak_trade.tracking")

reference = cache(cli_page.reference)
interface = cache(api_page.page)
settings = cache(settings_page.page)


def test_the_command_line_reference_is_the_help_of_today():
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == reference(), "run `python -m peak_trade.cli.reference`"


@pytest.mark.parametrize("package", DOCUMENTED)
def test_every_public_name_of_a_documented_package_stands_in_the_docs(package):
    names = importlib.import_module(package).__all__
    assert [name for name in names if name not in WORDS] == []


def test_the_table_of_the_library_is_the_facade():
    library = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    table = library.split("## Names\n")[1].split("\n\n")[0]
    names = re.findall(r"^\| `pt\.(\w+)", table, flags=re.MULTILINE)
    assert sorted(names) == sorted(set(names)) == peak_trade.__all__


def test_the_pages_of_settings_and_of_the_public_interface_are_those_of_the_code():
    for module, page in ((settings_page, settings), (api_page, interface)):
        assert module.PAGE.read_text(encoding="utf-8") == page(), f"run `python -m {module.__name__}`"


NOT_SET = {"governance.evidence", "journal.proofs"}
"""Modules of values that are written by the program and read again, and that nobody sets."""


def test_every_setting_stands_on_the_page_with_its_meaning():
    shown = {table.place for section in settings_page.SECTIONS for table in section.tables}
    made = {f"{each.__module__}:{each.__name__}" for each in settings_page.settings_classes()}
    assert {place for place in made if place.removeprefix("peak_trade.").partition(":")[0] not in NOT_SET} == shown
    rows = [line.split("|") for line in settings().splitlines() if line.startswith("| `")]
    assert len(rows) > 150
    assert [cells[1] for cells in rows if not cells[4].strip()] == []


@pytest.mark.parametrize("package", DOCUMENTED)
def test_every_public_name_is_in_the_reference_with_its_docstring(package):
    entries = re.split(r"^##+ (?:(?:pt|peak_trade\.\w+)\.(\w+)\n\n)?", interface(), flags=re.MULTILINE)
    for name in importlib.import_module(package).__all__:
        (text,) = [text for heading, text in zip(entries[1::2], entries[2::2], strict=True) if heading == name]
        assert re.search(r"^[A-Z].*\.", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE), name


def test_every_public_member_has_a_meaning():
    rows = re.findall(r"^\| `([^|]+)` \| (.*) \|$", interface(), flags=re.MULTILINE)
    assert len(rows) > 100
    assert [name for name, text in rows if not text.strip()] == []


def test_every_option_has_a_help_and_stands_in_the_reference():
    page, n_seen = reference(), 0
    for context in contexts(root(), "peak-trade", None):
        text = page.split(f"## {context.command_path}\n")[1].split("\n## ")[0]
        for option in context.command.params:
            if option.param_type_name == "option" and not option.hidden:
                n_seen += 1
                assert option.help, f"{context.command_path} {option.opts[0]}"
                assert option.opts[0] in text, f"{context.command_path} {option.opts[0]}"
    assert n_seen > 200


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("execution/TELEMETRY_SPEC.md", [each.__struct_config__.tag for each in EVENT_CLASSES]),
        ("execution/TELEMETRY_SPEC.md", list(CommandKind)),
        ("risk.md", list(DenialCode)),
        ("obs/OBSERVABILITY_SETUP.md", [each.name for each in METRICS]),
        ("metrics.md", list(MEASURES)),
    ],
    ids=["events", "commands", "codes", "metrics", "measures"],
)
def test_every_event_code_and_metric_stands_on_its_page(page, names):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert len(names) > 3
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_strategy_stands_in_the_docs():
    assert [name for name in STRATEGIES if name not in WORDS] == []


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
