"""Write docs/reference/api.md from signatures and docstrings: `python -m tests.docs.api_page`.

It reads what the interpreter has, because the docstrings of settings get their fields when the classes are made.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from peak_trade.core.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"
PACKAGES = ("peak_trade", "peak_trade.metrics", "peak_trade.tracking")
"""Packages whose public names are the interface of the library; a name of several stands in the first one."""
HEADER = """# Public interface

Written from signatures and docstrings by `python -m tests.docs.api_page`; a test compares the two. Do not edit.
[library.md](../library.md) has the same names of `peak_trade` by subject, with examples. Other modules are internal:
they may change in any version. Every class of [settings](settings.md) also has `parse(values, where)` and
`from_toml(path)`, which make one, and `digest()`.
"""
WIDTH = 110
_RULE = re.compile(r"^(\w[\w ]*)\n-{3,}\n", flags=re.MULTILINE)


def page() -> str:
    """Return the page of all public names, and of the results that the functions return."""
    lines, seen = [HEADER], {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        lines += [f"## {package}", "", first_paragraph(module), ""]
        for name in module.__all__:
            part = getattr(module, name)
            if not any(part is other for other in seen.values()):
                seen[name] = part
                lines += entry(shown_name(package, name), part)
    lines += ["## Results", "", "What the functions return. A result is made by a function and not by its class.", ""]
    for part in results(seen.values()):
        lines += entry(f"{part.__module__}.{part.__name__}", part, is_result=True)
    return "\n".join(lines).rstrip() + "\n"


def shown_name(package: str, name: str) -> str:
    """Return the name as a reader types it."""
    return f"{package.replace('peak_trade', 'pt', 1) if package == 'peak_trade' else package}.{name}"


def results(parts: Any) -> list[type]:
    """Return the classes of the package that public functions return and that are not public names, in order."""
    known, found = list(parts), []
    for part in known:
        if inspect.isfunction(part):
            names = re.findall(r"\w+", str(inspect.signature(part).return_annotation))
            for each in (resolved(part, name) for name in names):
                if inspect.isclass(each) and each.__module__.startswith("peak_trade.") and each not in [*known, *found]:
                    found.append(each)
    return sorted(found, key=lambda each: each.__name__)


def resolved(function: Any, name: str) -> Any:
    """Return what a name of an annotation stands for in the module of a function, None if nothing of the package."""
    function = inspect.unwrap(function)
    if name in function.__globals__:
        return function.__globals__[name]
    for node in nodes(inspect.getmodule(function)):
        if isinstance(node, ast.ImportFrom) and name in [alias.asname or alias.name for alias in node.names]:
            is_ours = (node.module or "").startswith("peak_trade")
            return getattr(importlib.import_module(node.module), name, None) if is_ours else None
    return None


def entry(name: str, part: Any, *, is_result: bool = False) -> Iterator[str]:
    """Yield the lines of one public name."""
    yield from (f"### {name}", "")
    if inspect.isclass(part):
        is_made = not (is_result or inspect.isabstract(part) or issubclass(part, Settings))
        if is_made:
            yield from (signature(part, name), "")
        yield from (markdown(inspect.getdoc(part) or ""), "")
        members = list(member_lines(part, has_fields=not issubclass(part, Settings)))
        if members:
            yield from (*members, "")
    elif callable(part):
        yield from (signature(part, name), "", markdown(inspect.getdoc(part) or ""), "")
    else:
        yield from (text_of_constant(name, part), "")


def signature(part: Any, name: str) -> str:
    """Return the signature in a block, one argument per line if it is long."""
    found = inspect.signature(part)
    found = found.replace(parameters=[each.replace(default=_Shown.of(each)) for each in found.parameters.values()])
    short = f"{name}{found}".replace("'", "")
    if len(short) <= WIDTH:
        return f"```text\n{short}\n```"
    shown, is_keyword_only = [], False
    for each in found.parameters.values():
        if each.kind is each.KEYWORD_ONLY and not is_keyword_only:
            shown, is_keyword_only = [*shown, "*"], True
        shown.append(str(each))
    result = "" if found.return_annotation is found.empty else f" -> {found.return_annotation}"
    lines = "".join(f"    {each},\n" for each in shown)
    return f"```text\n{name}(\n{lines}){result}\n```".replace("'", "")


class _Shown:
    """A default value that is shown as a reader can type it: a function by its name."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    @classmethod
    def of(cls, parameter: inspect.Parameter) -> Any:
        """Return what is shown for the default of a parameter."""
        default = parameter.default
        if default is parameter.empty or not inspect.isfunction(default):
            return default
        return cls("…" if default.__name__ == "<lambda>" else default.__name__)


def markdown(docstring: str) -> str:
    """Return a docstring of numpydoc as Markdown: its sections as lists, its examples as a block.

    >>> print(markdown("Do it.\\n\\nParameters\\n----------\\nn : int\\n    How often.\\n"))
    Do it.
    <BLANKLINE>
    *Parameters*
    <BLANKLINE>
    - `n` (int): How often.
    """
    head, *rest = _RULE.split(docstring)
    blocks = [head.strip()]
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        if title == "Examples":
            blocks.append(f"```text\n{body.strip()}\n```")
        elif title in ("Notes", "References", "See Also"):
            blocks += [f"*{title}*", body.strip()]
        else:
            blocks += [f"*{title}*", "\n".join(definitions(body))]
    return "\n\n".join(block for block in blocks if block)


def definitions(body: str) -> Iterator[str]:
    """Yield one item of a list per definition of a section: its name and type, and its indented text."""
    for part in re.split(r"\n(?=\S)", body.strip()):
        head, _, text = part.partition("\n")
        name, _, kind = head.partition(" : ")
        words = " ".join(text.split())
        yield f"- `{name.strip()}`{f' ({kind.strip()})' if kind else ''}{f': {words}' if words else ''}"


def member_lines(part: type, *, has_fields: bool) -> Iterator[str]:
    """Yield a table of the public members that the package defines, those of base classes included."""
    found: dict[str, tuple[str, str]] = {}
    for owner in reversed([each for each in part.__mro__ if each.__module__.startswith("peak_trade")]):
        if owner is Settings and part is not Settings:
            continue
        documented = attribute_docs(owner)
        fields = dataclasses.fields(owner) if dataclasses.is_dataclass(owner) and has_fields else ()
        for each in fields:
            if not each.name.startswith("_"):
                found[each.name] = (each.name, documented.get(each.name) or f"`{each.type}`")
        for name, member in vars(owner).items():
            if name.startswith("_") or name in ("description", "former_names", "model_config"):
                continue
            if isinstance(member, property | cached_property):
                found[name] = (name, summary(member))
            elif inspect.isfunction(member) or isinstance(member, classmethod | staticmethod):
                function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
                found[name] = (f"{name}{arguments(function)}", summary(function))
    if found:
        yield from ("| member | meaning |", "|------------------------------|----------------------------------------|")
        yield from (f"| `{cell(shown)}` | {cell(text)} |" for shown, text in found.values())


def arguments(function: Any) -> str:
    """Return the names of the arguments of a method."""
    shown = []
    for each in inspect.signature(function).parameters.values():
        if each.name not in ("self", "cls"):
            shown.append(each.name if each.default is each.empty else f"{each.name}={_Shown.of(each)!r}")
    return f"({', '.join(shown)})"


def summary(part: Any) -> str:
    """Return the first paragraph of a docstring in one line."""
    return " ".join((inspect.getdoc(part) or "").split("\n\n")[0].split())


def first_paragraph(module: ModuleType) -> str:
    """Return the first paragraph of the docstring of a module."""
    return summary(module)


def text_of_constant(name: str, value: Any) -> str:
    """Return the documentation of a constant, from the text below it in its module."""
    package, _, own = name.rpartition(".")
    for module in (importlib.import_module(package), *submodules(package)):
        found = attribute_docs(module)
        if own in found:
            return found[own]
    return f"`{type(value).__name__}`"


def submodules(package: str) -> Iterator[ModuleType]:
    """Yield the modules of a package and those of `peak_trade.core`, where its constants may be defined."""
    root = Path(__file__).parents[2]
    for folder in (package.replace(".", "/"), "peak_trade/core"):
        for path in sorted((root / folder).glob("*.py")):
            if not path.stem.startswith("__"):
                yield importlib.import_module(f"{folder.replace('/', '.')}.{path.stem}")


@cache
def tree(module: ModuleType) -> ast.Module:
    """Return the parsed source of a module."""
    return ast.parse(inspect.getsource(module))


@cache
def nodes(module: ModuleType) -> list[ast.ClassDef | ast.ImportFrom]:
    """Return the classes and the imports of names at any depth of a module, the outer ones first."""
    return [node for node in ast.walk(tree(module)) if isinstance(node, ast.ClassDef | ast.ImportFrom)]


def attribute_docs(owner: Any) -> dict[str, str]:
    """Return the text that stands below each attribute of a class or constant of a module."""
    module = owner if isinstance(owner, ModuleType) else inspect.getmodule(owner)
    if module is None:
        return {}
    node: Any = tree(module)
    if not isinstance(owner, ModuleType):
        named = [each for each in nodes(module) if isinstance(each, ast.ClassDef) and each.name == owner.__name__]
        if not named:
            return {}
        node = named[0]
    found = {}
    for statement, text in zip(node.body, node.body[1:], strict=False):
        is_text = (
            isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
        )
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else getattr(statement, "targets", [])
        if is_text:
            found |= {each.id: " ".join(text.value.value.split()) for each in targets if isinstance(each, ast.Name)}
    return found


def cell(text: str) -> str:
    """Return a text for a cell of a table."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", " ".join(text.split()).replace("|", "&#124;"))


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
