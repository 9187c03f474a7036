"""docs/architecture.md and README.md describe the packages and places that exist."""

import re
from pathlib import Path

import pytest

from tests.docs.module_map import PAGE, ROOT, layers, with_modules

TEXT = PAGE.read_text(encoding="utf-8")
PLACES = TEXT.split("## Where to change what\n")[1].split("\n## ")[0]


def test_the_map_of_modules_is_current():
    assert with_modules(TEXT) == TEXT, "run `python -m tests.docs.module_map`"


def test_the_layers_table_is_the_import_contract():
    section = TEXT.split("## Layers\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert [re.findall(r"`(\w+)`", cell) for cell in cells] == layers()


def test_the_layers_of_the_readme_are_the_import_contract():
    (block,) = re.findall(r"```text\n(cli .*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    rows = [re.split(r" {2,}", line)[0].split(" | ") for line in block.splitlines()]
    assert rows == layers()


def test_every_package_belongs_to_a_layer():
    packages = {path.parent.name for path in (ROOT / "peak_trade").glob("*/__init__.py")}
    assert packages == {package for layer in layers() for package in layer}


def places(text):
    """Yield (path, names) for each path in backticks, with the names that `NAME` in `path` says it defines."""
    for names, path in re.findall(r"((?:`[\w.]+`(?:,| and) )*`[\w.]+` in )?`([\w./]+(?:/|\.\w+))`", text):
        yield path, re.findall(r"`([\w.]+)`", names)


def missing(path, names):
    """Return what a place of the table does not have: a module has what it defines, another file its words."""
    target = ROOT / path
    if not target.exists():
        return [path]
    content = target.read_text(encoding="utf-8") if target.is_file() else ""
    defined = r"^(?:(?:async )?def |class )?{}\b(?=[(:\[]| *[:=])" if target.suffix == ".py" else r"\b{}\b"
    return [name for name in names if not re.search(defined.format(re.escape(name)), content, flags=re.MULTILINE)]


def test_every_place_of_the_table_exists():
    found = list(places(PLACES))
    assert len(found) > 40
    assert [(path, names) for path, names in found if missing(path, names)] == []


@pytest.mark.parametrize("row", [line for line in PLACES.splitlines() if line.startswith("| ")][1:])
def test_every_row_of_the_table_names_a_place(row):
    assert list(places(row.split("|")[2]))


def test_a_wrong_place_is_found():
    assert list(places("`X` and `Y` in `peak_trade/nowhere.py`, `docs/`")) == [
        ("peak_trade/nowhere.py", ["X", "Y"]),
        ("docs/", []),
    ]
    assert missing("peak_trade/nowhere.py", []) == ["peak_trade/nowhere.py"]
    assert missing("README.md", ["no_such_name"]) == ["no_such_name"]
    assert missing("docs/", []) == []
    assert missing("peak_trade/core/calendar.py", ["Period", "period_of", "NS_PER_DAY"]) == []
    assert missing("peak_trade/core/calendar.py", ["Timeframe", "instant", "np"]) == ["Timeframe", "instant", "np"]


def test_every_named_command_of_the_table_exists():
    for module in re.findall(r"`python -m ([\w.]+)`", PLACES):
        assert Path(ROOT, *module.split(".")).with_suffix(".py").exists(), module
