"""Measure the code structure and the prose of a checkout: `python -m benchmarks.structure [--root DIR] [--json]`.

Nothing is imported from the checkout: Python files are parsed, Markdown files and notebooks are read as text. The same
script therefore measures any version of the repository. `--show docstrings|documents|errors|help` lists the texts that
match a pattern of PATTERNS, one per line with its file and line.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "peak_trade"
KINDS = ("summaries", "docstrings", "documents", "errors", "help")
NOUN = (
    r"(?:row|record|line|column|event|value|number|figure|order|file|page|step|bar|symbol|book|entry|point|message|"
    r"cell|day|run|table|trace|name|digest|chance|list|set|series|dict|array|frame|folder|section|test|request|"
    r"signal|fill|trade|measure|result|call|key|report|block|trial|fit|draw|path|copy|summary|fold)"
)
MIN_WORDS = 8
"""Shortest paragraph that counts: headings, table rows of figures and lists of names are not prose."""
TIME = r"(?:second|minute|hour|day|night|week|month|quarter|year)"

PATTERNS: dict[str, str] = {
    # "the fast one beside the slow one", "detect beside the plain strategy": with, next to, along with
    "beside": r"\bbeside\b",
    # "what tells the regime", "nothing it was told of", "told apart": detect, report, distinguish
    "tell": r"\b(?:tells?|told|telling)\b",
    # "computed anew": again
    "anew": r"\banew\b",
    # "a row an event", "one column a symbol": one row per event. Rates of time ("a fraction a year") are standard
    "one a X": rf"\b(?:an?|(?:one|two|three)(?: \w+)?) {NOUN} an? (?!{TIME}\b)\w+"
    rf"|\b(?:row|record|line|column|event)s? an? {TIME}\b"
    r"|\bone an? (?:row|record|line|column|event|bar|symbol|book|file|page|order|day|run|figure|cell)\b",
    # "held against the limits", "held to it", "a test holds it to that": checked against, compared with
    "held against": r"\b(?:hold|holds|held|holding) (?!back\b)(?:[\w']+ ){0,5}?against\b"
    r"|\b(?:held|holding) to (?!maturity\b|the (?:end|last|close)\b)\w"
    r"|\bholds? (?:\w+ ){1,4}to (?:it|them|that|this|these|its|the|their|a|\d)",
    # "a session that is taken up again", "takes up its journal": resumed. "takes up space" is standard
    "taken up": r"\b(?:take|takes|taken|took|taking) up\b(?! (?:to|space|room|memory|most|half|\d))",
    # "ask less bid", "live less shadow": minus. "less than", "less often", "no less" are standard
    "less": r"(?<!\bthe )(?<!\bno )(?<!\bor )(?<!\bmuch )(?<!\bfar )(?<!\beven )(?<!\bmatters )(?<!\bcosts )"
    r"(?<!\bis )(?<!\bare )(?<!\bbe )\bless (?:(?:the|a|an|its|their|our|ours|what|that of|one|two|three|bid|shadow|"
    r"fees|costs|actual|expected|cash|initial|risk-free|CODE|[A-Z]_\w+)\b|[-−]?\d+(?:\.\d+)?\b)"
    r"(?! than\b)(?! likely\b)",
    # "a value that can't be": an invalid value. "can't be read" is standard, if informal
    "can't be": r"\bcan['’]t be(?= ?(?:[.,;:)]|$))",
    # "somebody else's log", "nobody was told": a user, external, no one
    "somebody": r"\b(?:somebody|nobody|anybody|everybody)\b",
    # "drop or mend that bar": fix
    "mend": r"\b(?:mend|mends|mended|mending)\b",
    # "10000 unless given": the default is 10000
    "unless given": r"\bunless given\b",
    # "gates that say no with numbers": deny, refuse
    "says no": r"\b(?:say|says|said|saying) no\b(?! (?:more|longer|such)\b)",
    # "used as a witness": second opinion, reference implementation
    "witness": r"\bwitness(?:es|ed)?\b",
    # "orders matched by sight": heuristically
    "by sight": r"\bby sight\b",
    # "equity is asked of the loop": read from, requested from
    "asked of": r"\b(?:ask|asks|asked|asking) of\b",
    # "asks a row of gates": gate chain
    "row of gates": r"\brows? of gates\b",
    # "there is no number": NaN, undefined
    "no number": r"\b(?:is|was|has|with|be) no number\b(?! of\b)",
    # "counts once, for ever": permanently
    "for ever": r"\bfor ever\b",
    # "a feed has a room of its own", "gives a room": package, module, place. "room for" and "room left" are standard
    "a room": r"\b(?:a|its|the|one|own|each) rooms?\b(?! (?:for|to|left|under|in)\b)",
    # "which order is which of the other", "the law that it must keep": restated property or relation
    "keeps a law": r"\b(?:is|was|are) which\b|\blaws? that \w+ must\b"
    r"|\b(?:keep|keeps|kept) (?:a|the|its|every|this) laws?\b",
    # "lets the desk know", "lets a reader know": apply, report
    "let know": r"\blets? (?:\w+ ){1,3}know\b",
    # "passed over at next to no cost": cheaply
    "next to no": r"\bnext to no\b",
    # "what a run leaves behind": result, output
    "leaves behind": r"\bleaves? behind\b",
    # "not one of our making", "of somebody's making": external
    "of X making": r"\bof (?:\w+ ){0,2}(?:own|our|ours|else's|its|one's) making\b",
}
"""Name to regular expression of each phrase that plain technical English puts otherwise; code is left out first."""

# "What names a session", "How one is built", "Whether it is open" as a first line: noun phrase or imperative
QUESTION = re.compile(r"^(?:What|How|Who|Whose|Whether|Where|When|Which)\b")
# "Whether the order is open" is the standard first line of a boolean property
QUESTION_OF_PROPERTY = re.compile(r"^(?:What|How|Who|Whose|Where|When|Which)\b")
_COMPILED = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in PATTERNS.items()}
SUMMARY = "question as summary"
_MARKS = (ast.expr_context, ast.operator, ast.cmpop, ast.unaryop, ast.boolop)
"""Nodes such as Load and Add, which stand in most expressions and say nothing here."""
_LEAVES = (ast.Name, ast.Constant)
_WITH_BLOCKS = (ast.mod, ast.stmt, ast.excepthandler, ast.match_case)
_TABLE_PLACE = re.compile(rf"{PACKAGE}(?:\.\w+)+(?::\w+)?")
_HTML = re.compile(r"<[a-z]")
_MARKED = re.compile(r"#\s*(?:fmt:\s*skip|type:\s*ignore)")


@dataclass(frozen=True, slots=True)
class Text:
    """One docstring, paragraph, message or help text.

    `role` is what a docstring documents: "object" (a module, class or function), "property" or "attribute". It is ""
    for other texts.
    """

    kind: str
    file: str
    line: int
    text: str
    role: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """One parsed file of the package."""

    path: Path
    file: str
    module: str
    text: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def part(self) -> str:
        """Top-level folder, or the package itself for its own files."""
        names = Path(self.file).parts
        return names[1] if len(names) > 2 else PACKAGE


def read_sources(root: Path) -> list[Source]:
    """Parse every Python file of the package."""
    found = []
    for path in sorted((root / PACKAGE).rglob("*.py")):
        file = path.relative_to(root)
        names = file.with_suffix("").parts
        module = ".".join(names[:-1] if names[-1] == "__init__" else names)
        text = path.read_text(encoding="utf-8")
        found.append(Source(path, file.as_posix(), module, text, ast.parse(text)))
    if not found:
        raise SystemExit(f"{root}: there is no package {PACKAGE} here; name a checkout with --root.")
    return found


# Structure


def line_count(text: str) -> int:
    """Count lines as `wc -l` does."""
    return text.count("\n")


@cache
def _walked(tree: ast.Module) -> tuple[tuple[ast.AST, ...], dict[int, int]]:
    """Return the nodes of a module, outer ones first, and by node the line of the innermost function around it."""
    nodes: list[ast.AST] = [tree]
    owners: dict[int, int] = {}
    for node in nodes:  # which grows as it is walked
        if isinstance(node, _LEAVES):
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            owners[id(node)] = node.lineno
        line = owners.get(id(node))
        children = [child for child in _children(node) if not isinstance(child, _MARKS)]
        nodes += children
        if line is not None:
            owners.update((id(child), line) for child in children)
    return tuple(nodes), owners


def _children(node: ast.AST) -> Iterator[ast.AST]:
    for value in vars(node).values():
        if isinstance(value, ast.AST):
            yield value
        elif isinstance(value, list):
            yield from (item for item in value if isinstance(item, ast.AST))


def _nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    return _walked(tree)[0]


def packages(sources: list[Source]) -> list[dict[str, Any]]:
    """Return lines, files and share of each top-level package, largest first."""
    lines: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for source in sources:
        lines[source.part] += line_count(source.text)
        files[source.part] += 1
    total = lines.total()
    return [
        {"package": name, "lines": count, "files": files[name], "percent": percent(count, total)}
        for name, count in lines.most_common()
    ]


def importers(sources: list[Source]) -> dict[str, set[str]]:
    """Return the modules that import each module: by a statement anywhere, or by a string that names it in a table."""
    known = {source.module for source in sources}
    found: dict[str, set[str]] = {source.module: set() for source in sources if not source.is_package}
    for source in sources:
        docstrings = {id(node) for node, _ in _strings_standing_alone(source.tree)}
        for node in _nodes(source.tree):
            for module in _imported(node, source, known, docstrings):
                if module in found and module != source.module:
                    found[module].add(source.module)
    return found


def _imported(node: ast.AST, source: Source, known: set[str], docstrings: set[int]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node, source)
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            yield inner if inner in known else base
    elif _text_of(node) and id(node) not in docstrings and _TABLE_PLACE.fullmatch(_text_of(node)):
        yield _text_of(node).partition(":")[0]


def _text_of(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _absolute(node: ast.ImportFrom, source: Source) -> str:
    if not node.level:
        return node.module or ""
    names = source.module.split(".")
    names = names[: len(names) - node.level + (1 if source.is_package else 0)]
    return ".".join([*names, node.module] if node.module else names)


def one_importer(sources: list[Source]) -> list[dict[str, str]]:
    """Return the modules with exactly one importer; `reason` says why that is expected, "" when it is not."""
    by_module = importers(sources)
    wired = {module for module, names in by_module.items() if any(n.startswith(f"{PACKAGE}.wiring") for n in names)}
    found = []
    for module, names in sorted(by_module.items()):
        if len(names) == 1:
            if module.startswith(f"{PACKAGE}.cli."):
                reason = "command-line verb"
            elif module.startswith(f"{PACKAGE}.reports.views."):
                reason = "report view"
            elif module in wired:
                reason = "part in a wiring table"
            else:
                reason = ""
            found.append({"module": module, "importer": next(iter(names)), "reason": reason})
    return found


def import_lines(sources: list[Source]) -> int:
    """Count the lines of import statements, every line of a statement of several lines."""
    count = 0
    for source in sources:
        lines: set[int] = set()
        for node in _nodes(source.tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        count += len(lines)
    return count


def constructs(sources: list[Source]) -> dict[str, list[str]]:
    """Return the places of each construct that the structure is to have few of."""
    found: dict[str, list[str]] = {
        "isinstance(…, SandboxVenue)": [],
        "global statements": [],
        "# fmt: skip": [],
        "type: ignore": [],
        f"imports of {PACKAGE} inside functions": [],
        "f-strings that build HTML": [],
        "atomic-write implementations": [],
        "definitions of FloatArray": [],
        "classes named Instrument": [],
        "private members of other packages": [],
    }
    names = list(found)
    for source in sources:
        places: dict[str, set[int]] = {name: set() for name in names}
        for node in _nodes(source.tree):
            if isinstance(node, ast.Call) and _is_sandbox_check(node):
                places[names[0]].add(node.lineno)
            elif isinstance(node, ast.Global):
                places[names[1]].add(node.lineno)
            elif isinstance(node, ast.JoinedStr) and _is_html(node):
                places[names[5]].add(node.lineno)
            elif isinstance(node, ast.ClassDef) and node.name == "Instrument":
                places[names[8]].add(node.lineno)
            elif isinstance(node, ast.stmt) and _is_float_array(node):
                places[names[7]].add(node.lineno)
        places[names[4]].update(_inner_imports(source.tree))
        places[names[6]].update(_atomic_writers(source.tree))
        places[names[9]].update(_private_members(source.tree))
        for line, comment in _comments(source.text) if _MARKED.search(source.text) else ():
            if re.search(r"#\s*fmt:\s*skip", comment):
                places[names[2]].add(line)
            if re.search(r"#\s*type:\s*ignore", comment):
                places[names[3]].add(line)
        for name in names:
            found[name] += [f"{source.file}:{line}" for line in sorted(places[name])]
    return found


def _is_sandbox_check(node: ast.Call) -> bool:
    return (
        isinstance(node.func, ast.Name)
        and node.func.id == "isinstance"
        and len(node.args) == 2
        and any(_last_name(inner) == "SandboxVenue" for inner in ast.walk(node.args[1]))
    )


def _last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _is_html(node: ast.JoinedStr) -> bool:
    return any(_HTML.search(_text_of(part)) for part in node.values)


def _defined_name(node: ast.AST) -> str:
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        return _last_name(node.targets[0])
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return _last_name(node.target)
    return _last_name(getattr(node, "name", node)) if node.__class__.__name__ == "TypeAlias" else ""


def _is_float_array(node: ast.AST) -> bool:
    """Return whether a statement defines FloatArray, or its type under another name."""
    name, value = _defined_name(node), getattr(node, "value", None)
    is_type = name and isinstance(value, ast.Subscript) and ast.unparse(value) == "NDArray[np.float64]"
    return name == "FloatArray" or bool(is_type)


def _inner_imports(tree: ast.Module) -> Iterator[int]:
    nodes, owners = _walked(tree)
    for node in nodes:
        if id(node) not in owners:
            continue
        if isinstance(node, ast.ImportFrom):
            is_ours = bool(node.level) or (node.module or "").split(".")[0] == PACKAGE
        elif isinstance(node, ast.Import):
            is_ours = any(a.name.split(".")[0] == PACKAGE for a in node.names)
        else:
            continue
        if is_ours:
            yield node.lineno


def _atomic_writers(tree: ast.Module) -> Iterator[int]:
    """Yield the line of each innermost function that renames a file into place."""
    nodes, owners = _walked(tree)
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_rename(node, node.func):
            yield owners.get(id(node), node.lineno)


def _is_rename(node: ast.Call, function: ast.Attribute) -> bool:
    if function.attr not in ("replace", "rename"):
        return False
    if isinstance(function.value, ast.Name) and function.value.id == "os":
        return True
    if len(node.args) != 1 or node.keywords or isinstance(node.args[0], (ast.Constant, ast.JoinedStr, ast.Dict)):
        return False  # str.replace, datetime.replace, dataclasses.replace, Series.rename("name")
    return function.attr == "replace" or isinstance(function.value, ast.Name)


def _private_members(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that use a name with one leading underscore of a package other than ours."""
    modules: set[str] = set()
    for node in _nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] != PACKAGE:
                    modules.add(alias.asname or alias.name.split(".")[0])
                    if any(_is_private(name) for name in alias.name.split(".")):
                        yield node.lineno
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] != PACKAGE:
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            if any(_is_private(name) for name in names):
                yield node.lineno
    for node in _nodes(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            value: ast.expr = node.value
            while isinstance(value, ast.Attribute):
                value = value.value
            if isinstance(value, ast.Name) and value.id in modules:
                yield node.lineno


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


# Prose


def read_texts(root: Path, sources: list[Source]) -> list[Text]:
    """Return every docstring, error message and help text of the package and every paragraph of the documents."""
    found: list[Text] = []
    for source in sources:
        found += _docstrings(source)
        found += _errors(source)
        found += _help_texts(source)
    return [*found, *_documents(root)]


@cache
def _strings_standing_alone(tree: ast.Module) -> tuple[tuple[ast.Constant, str], ...]:
    """Return the string statements of a module and their roles: "object", "property" or "attribute"."""
    found = []
    for node in _nodes(tree):
        if not isinstance(node, _WITH_BLOCKS):
            continue
        for block in (getattr(node, "body", None), getattr(node, "orelse", None)):
            for position, statement in enumerate(block if isinstance(block, list) else []):
                value = statement.value if isinstance(statement, ast.Expr) else None
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    owns = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
                    marks = [_last_name(mark) for mark in getattr(node, "decorator_list", [])]
                    role = "property" if any(mark.endswith("property") for mark in marks) else "object"
                    found.append((value, role if owns and position == 0 else "attribute"))
    return tuple(found)


def _docstrings(source: Source) -> Iterator[Text]:
    for node, role in _strings_standing_alone(source.tree):
        text = str(node.value).strip()
        yield Text("docstrings", source.file, node.lineno, text, role)
        summary = re.split(r"\n\s*\n", text, maxsplit=1)[0]
        yield Text("summaries", source.file, node.lineno, summary, role)


def _errors(source: Source) -> Iterator[Text]:
    seen: set[int] = set()
    for node in _nodes(source.tree):
        calls = []
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            calls.append(node.exc)
        elif isinstance(node, ast.Call) and _last_name(node.func).endswith(("Error", "Exception", "BadParameter")):
            calls.append(node)
        for call in calls:
            text = " ".join(filter(None, (_literal(argument) for argument in call.args)))
            if id(call) not in seen and re.search(r"[a-z]{2,} [a-z]", text):
                seen.add(id(call))
                yield Text("errors", source.file, call.lineno, text)


def _literal(node: ast.expr) -> str:
    """Return the text of a literal, with CODE for each value that is filled in; "" when there is none."""
    if isinstance(node, ast.Constant):
        return _text_of(node)
    if isinstance(node, ast.JoinedStr):
        return "".join(_literal(part) if isinstance(part, ast.Constant) else "CODE" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _literal(node.left) + _literal(node.right)
    if isinstance(node, ast.IfExp):
        return f"{_literal(node.body)} {_literal(node.orelse)}"
    return ""


def _help_texts(source: Source) -> Iterator[Text]:
    constants = {
        _defined_name(node): _literal(node.value)
        for node in source.tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
    }
    for node in _nodes(source.tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg in ("help", "short_help", "epilog"):
                    text = _literal(keyword.value) or constants.get(_last_name(keyword.value), "")
                    if text:
                        yield Text("help", source.file, keyword.value.lineno, text)
        elif isinstance(node, ast.FunctionDef) and source.part == "cli" and _is_command(node):
            docstring = ast.get_docstring(node)
            if docstring:
                yield Text("help", source.file, node.body[0].lineno, docstring)


def _is_command(node: ast.FunctionDef) -> bool:
    if any(_last_name(getattr(mark, "func", mark)) in ("command", "callback") for mark in node.decorator_list):
        return True
    arguments = [*node.args.args, *node.args.kwonlyargs]
    return not node.name.startswith("_") and any(
        _last_name(inner) in ("Option", "Argument")
        for argument in arguments
        if argument.annotation is not None
        for inner in ast.walk(argument.annotation)
    )


def _documents(root: Path) -> Iterator[Text]:
    files = [root / name for name in ("README.md", "CHANGELOG.md", "index.md")]
    for path in [*files, *sorted((root / "docs").rglob("*.md"))]:
        if path.is_file():
            yield from _paragraphs(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
    for path in sorted((root / "notebooks").rglob("*.ipynb")):
        if ".ipynb_checkpoints" not in path.parts:
            for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
                if cell["cell_type"] == "markdown":
                    name = f"{path.relative_to(root).as_posix()}[{number}]"
                    yield from _paragraphs(name, "".join(cell["source"]))


def _paragraphs(file: str, text: str) -> Iterator[Text]:
    """Yield paragraphs, list items and table rows of MIN_WORDS or more, without code, front matter and comments."""

    def blank(match: re.Match[str]) -> str:
        return "\n" * match.group().count("\n")

    text = re.sub(r"\A---\n.*?\n---\n", blank, text, flags=re.DOTALL)
    text = re.sub(r"^ *(```|~~~).*?^ *\1[^\n]*$", blank, text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", blank, text, flags=re.DOTALL)
    start, block = 0, list[str]()
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        begins = re.match(r"\s*(?:[-*+] |\d+\. |\||#{1,6} )", line)
        if block and (not line.strip() or begins):
            paragraph = Text("documents", file, start, "\n".join(block))
            if len(prose(paragraph.text).split()) >= MIN_WORDS:
                yield paragraph
            block = []
        if line.strip() and not re.fullmatch(r"[\s|:=-]+", line):
            start = start if block else number
            block.append(line)


@cache
def prose(text: str) -> str:
    """Return a text on one line, without code: examples, code spans, addresses and the underlines of headings."""
    lines: list[str] = []
    is_example = False
    for line in text.split("\n"):
        stripped = line.strip()
        is_example = stripped.startswith((">>>", "...")) or (is_example and bool(stripped))
        if not is_example and not re.fullmatch(r"[-=~]{3,}", stripped):
            lines.append(stripped)
    joined = " ".join(lines)
    joined = re.sub(r"``.+?``|`[^`]+`|\$\$.+?\$\$|\$[^$]+\$", "CODE", joined)
    joined = re.sub(r"\]\([^)]*\)|https?://\S+", "]", joined)
    joined = re.sub(r"(?<!\w)--?[a-z][\w-]*", "CODE", joined)
    return re.sub(r"\s+", " ", joined.replace("*", "").replace("|", ";")).strip()


def matches(text: Text) -> dict[str, str]:
    """Return the name of each pattern that a text matches, with the words around the first match."""
    plain = prose(text.text)
    found = dict(_phrases(plain))
    question = QUESTION if text.role == "object" else QUESTION_OF_PROPERTY
    if (text.role in ("object", "property") or text.kind == "help") and question.search(plain):
        found[SUMMARY] = plain[:80]
    return found


@cache
def _phrases(plain: str) -> tuple[tuple[str, str], ...]:
    found = []
    for name, pattern in _COMPILED.items():
        match = pattern.search(plain)
        if match:
            found.append((name, plain[max(0, match.start() - 40) : match.end() + 40]))
    return tuple(found)


# Report


def percent(part: int, whole: int) -> float:
    return round(100.0 * part / whole, 1) if whole else 0.0


def measure(root: Path) -> dict[str, Any]:
    """Return every figure of a checkout as one JSON value."""
    sources = read_sources(root)
    texts = read_texts(root, sources)
    rows = packages(sources)
    lines = sum(row["lines"] for row in rows)
    single = one_importer(sources)
    n_import_lines = import_lines(sources)
    n_texts: Counter[str] = Counter()
    n_odd: Counter[str] = Counter()
    by_pattern: dict[str, Counter[str]] = {name: Counter() for name in (*PATTERNS, SUMMARY)}
    docstrings, odd_docstrings = Counter[str](), Counter[str]()
    part_of = {source.file: source.part for source in sources}
    for text in texts:
        found = matches(text)
        n_texts[text.kind] += 1
        n_odd[text.kind] += bool(found)
        for name in found:
            by_pattern[name][text.kind] += 1
        if text.kind == "docstrings":
            docstrings[part_of[text.file]] += 1
            odd_docstrings[part_of[text.file]] += bool(found)
    for row in rows:
        row["idiom_percent"] = percent(odd_docstrings[row["package"]], docstrings[row["package"]])
    places = constructs(sources)
    return {
        "lines": lines,
        "files": len(sources),
        "modules": sum(not source.is_package for source in sources),
        "largest_package": rows[0],
        "packages": rows,
        "one_importer": {
            "all": len(single),
            "without_verbs_views_and_parts": sum(not row["reason"] for row in single),
            "modules": single,
        },
        "import_lines": {"lines": n_import_lines, "percent": percent(n_import_lines, lines)},
        "constructs": {name: len(found) for name, found in places.items()},
        "construct_places": places,
        "idioms": {
            kind: {"texts": n_texts[kind], "odd": n_odd[kind], "percent": percent(n_odd[kind], n_texts[kind])}
            for kind in KINDS
        },
        "patterns": {name: {kind: counts[kind] for kind in KINDS} for name, counts in by_pattern.items()},
    }


def table(figures: dict[str, Any]) -> str:
    """Return the figures as plain text."""
    largest, single, imports = figures["largest_package"], figures["one_importer"], figures["import_lines"]
    out = [
        f"{'lines of ' + PACKAGE:48}{figures['lines']:>8,}",
        f"{'files':48}{figures['files']:>8,}",
        f"{'modules (files other than __init__)':48}{figures['modules']:>8,}",
        f"{'largest package: ' + largest['package']:48}{largest['percent']:>8} %",
        f"{'modules with exactly one importer':48}{single['all']:>8}",
        f"{'  without CLI verbs, report views, wired parts':48}{single['without_verbs_views_and_parts']:>8}",
        f"{'lines of import statements':48}{imports['percent']:>8} %  ({imports['lines']:,} lines)",
        *(f"{name:48}{count:>8}" for name, count in figures["constructs"].items()),
        "",
        f"{'package':24}{'lines':>8}{'files':>8}{'%':>8}{'odd docstrings, %':>20}",
        *(
            f"{row['package']:24}{row['lines']:>8,}{row['files']:>8}{row['percent']:>8}{row['idiom_percent']:>20}"
            for row in figures["packages"]
        ),
        "",
        f"{'odd idioms':24}{'texts':>8}{'odd':>8}{'%':>8}",
        *(f"{kind:24}{row['texts']:>8,}{row['odd']:>8}{row['percent']:>8}" for kind, row in figures["idioms"].items()),
        "",
        f"{'texts that match':24}" + "".join(f"{kind:>12}" for kind in KINDS),
        *(
            f"{name:24}" + "".join(f"{counts[kind]:>12}" for kind in KINDS)
            for name, counts in figures["patterns"].items()
        ),
        "",
        "modules with exactly one importer",
    ]
    by_reason: dict[str, list[str]] = defaultdict(list)
    for row in single["modules"]:
        by_reason[row["reason"]].append(f"  {row['module']}  <-  {row['importer']}")
    for reason in sorted(by_reason):
        out += [f" {reason or 'other'} ({len(by_reason[reason])})", *by_reason[reason]]
    return "\n".join(out)


def listing(root: Path, kind: str) -> str:
    """Return the texts of one kind that match a pattern, one line per pattern that matches."""
    return "\n".join(
        f"{text.file}:{text.line}: {name}: {words}"
        for text in read_texts(root, read_sources(root))
        if text.kind == kind
        for name, words in matches(text).items()
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure the code structure and the prose of a checkout.")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="Checkout to measure.")
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    parser.add_argument("--show", choices=KINDS, help="List the texts of one kind that match a pattern.")
    given = parser.parse_args(arguments)
    if given.show:
        out = listing(given.root, given.show)
    else:
        figures = measure(given.root)
        out = json.dumps(figures, indent=1, ensure_ascii=False) if given.json else table(figures)
    sys.stdout.write(out + "\n")


if __name__ == "__main__":
    main()
