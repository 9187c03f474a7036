"""Public names and the first lines of docstrings use the words of docs/glossary.md."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")

VERBS = {"book", "record", "share"}
"""Words that are verbs too; in a first line they are nouns after one of these."""
DETERMINERS = "a|the|one|its|each|every|this|of|from"


class Use(NamedTuple):
    """A public name or the first line of a docstring."""

    package: str
    place: str
    words: list[str]
    is_name: bool


def table(heading):
    """Return the rows of the table under a heading, as lists of cells."""
    section = GLOSSARY.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line[1:-1].split("|") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def listed(cell):
    return [word.strip(" `") for word in cell.split(",") if word.strip()]


TERMS = [term for row in table("Terms") for term in listed(row[0])]
BANNED = {phrase: row[0] for row in table("Terms") for phrase in listed(row[3])}
BANNED_IN_NAMES = {word: but for words, but in table("Names") for word in listed(words)}
ALL_BANNED = BANNED | BANNED_IN_NAMES
PACKAGES = {row[0]: set(listed(row[2])) for row in table("Words with one meaning")}
FIRST_WORDS = {phrase.split()[0] for phrase in (*ALL_BANNED, *PACKAGES)}


def words_of(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")


def names_in(node):
    """Return the public names that a module, a class or a function defines."""
    if isinstance(node, ast.FunctionDef):
        names = [argument.arg for argument in node.args.posonlyargs + node.args.args + node.args.kwonlyargs]
    elif isinstance(node, ast.ClassDef | ast.Module):
        targets = [s.target for s in node.body if isinstance(s, ast.AnnAssign)]
        targets += [target for s in node.body if isinstance(s, ast.Assign) for target in s.targets]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
    else:
        return []
    own = getattr(node, "name", "module")
    return [] if own.startswith("_") else [name for name in (own, *names) if not name.startswith("_")]


def uses_in(package, place, source):
    """Yield the public names and first docstring lines of a module; those of a private class are not public."""
    for node, is_private in definitions(ast.parse(source), False):
        where = f"{place}:{getattr(node, 'lineno', 1)}"
        for name in () if is_private else names_in(node):
            yield Use(package, f"{where} {name}", words_of(name), True)
        summary = (ast.get_docstring(node) or "").split("\n\n")[0]
        plain = re.sub(r"`[^`]*`", "code", summary).lower()
        yield Use(package, f"{where} {summary!r}", re.findall(r"[a-z][\w-]*", plain), False)


def definitions(node, is_private):
    """Yield a module and its classes and functions at any depth, each with whether it is in a private class."""
    if isinstance(node, ast.ClassDef):
        is_private = is_private or node.name.startswith("_")
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
        yield node, is_private
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for statement in getattr(node, block, ()) if not isinstance(node, ast.expr) else ():
            yield from definitions(statement, is_private)


def uses():
    folder = ROOT / "peak_trade"
    for path in sorted(folder.rglob("*.py")):
        package = path.relative_to(folder).parts[0].removesuffix(".py")
        place = path.relative_to(ROOT).as_posix()
        yield Use(package, place, words_of(path.stem), True)
        yield from uses_in(package, place, path.read_text(encoding="utf-8"))


def faults(use):
    """Yield (word, the term to use) for each word that the glossary does not allow in a name or first line."""
    if FIRST_WORDS.isdisjoint(use.words) and FIRST_WORDS.isdisjoint(word.removesuffix("s") for word in use.words):
        return
    text = f" {' '.join(use.words)} "
    for phrase, term in (ALL_BANNED if use.is_name else BANNED).items():
        if f" {phrase} " in text or f" {phrase}s " in text:
            yield phrase, term
    for word, packages in PACKAGES.items():
        noun = rf" {word}s? " if use.is_name or word not in VERBS else rf" (?:{DETERMINERS}) {word}s? "
        if use.package not in packages and f" {word}" in text and re.search(noun, text.replace(" one row per ", " ")):
            yield word, f"in {', '.join(sorted(packages)) or 'no package'} only"


def test_public_names_and_first_lines_use_the_words_of_the_glossary():
    strange = [f"{use.place}: {word} (use: {term})" for use in uses() for word, term in faults(use)]
    assert strange == []


def test_each_term_stands_once_in_alphabetical_order():
    assert len(TERMS) == len(set(TERMS))
    order = [row[0].lower().replace("_", " ") for row in table("Terms")]
    assert order == sorted(order)
    assert not set(BANNED) & set(TERMS)
    assert set(PACKAGES) <= set(TERMS)


@pytest.mark.parametrize(
    ("package", "source", "expected"),
    [
        ("engine", "class RiskDesk: ...", {"desk"}),
        ("engine", "def step(row): ...", {"row"}),
        ("engine", "class Bar:\n    share_out: int", {"share out", "share"}),
        ("engine", 'def bars():\n    "Return one row per bar."', set()),
        ("engine", 'def bars():\n    "Return the last row."', {"row"}),
        ("engine", 'def apply():\n    "Book a fill and record it."', set()),
        ("strategies", 'def apply():\n    "Return a book."', {"book"}),
        ("risk", 'def depth(book):\n    "Return the depth of the book."', set()),
        ("sessions", 'def qty():\n    "Apply two\\ngate rows."', {"qty", "gate row", "row"}),
        ("core", "def _hidden(tape): ...", set()),
    ],
)
def test_a_word_is_found_where_it_is_not_allowed(package, source, expected):
    assert {word for use in uses_in(package, "x.py", source) for word, _ in faults(use)} == expected


HYPHEN = re.compile(r"(?<![\w\-])-(?=\d)")
"""A hyphen in the place of the minus sign of a number."""


def numbers_with_a_hyphen(text: str) -> list[str]:
    """The cells of the tables of a document, without code and formulas, that have a number with a hyphen."""
    rows = [re.sub(r"`[^`]*`|\$[^$]*\$", "", line) for line in text.splitlines() if line.startswith("|")]
    return [cell.strip() for row in rows for cell in row.split("|") if HYPHEN.search(cell)]


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.stem)
def test_a_number_in_a_table_of_a_document_has_a_minus_sign(path):
    assert numbers_with_a_hyphen(path.read_text(encoding="utf-8")) == []


def test_a_planted_hyphen_is_found():
    assert numbers_with_a_hyphen("| a | -1.5 % |\n|---|---|\n| `-1` | $e^{-1}$ | 2024-01-01 |") == ["-1.5 %"]
