"""Statements of the cells of a notebook or of a script: which one defines a name, and which names it uses."""

from __future__ import annotations

import ast
import dis
import inspect
import linecache
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from peak_trade.core.digest import digest_of
from peak_trade.wiring.contents import is_plain

_LONGEST_ARRAY = 1_000_000
"""Most numbers of an array that is written out as a statement."""


class Statement(NamedTuple):
    """A statement of a cell: its first and last line, the names that it defines, and its text.

    `changed` are the names whose attributes or items it sets, or that decorate what it defines.
    """

    first: int
    last: int
    names: frozenset[str]
    text: str
    is_definition: bool
    """Whether it defines a class or function."""
    changed: frozenset[str]


class Names(NamedTuple):
    """Names of module variables that code reads, of attributes, and of imported modules, with those within it."""

    variables: frozenset[str]
    attributes: frozenset[str]
    modules: frozenset[str]


def without_magics(text: str) -> str:
    """Return the text of a cell with a blank line for each line that is a command of IPython."""
    return "\n".join("" if line.lstrip()[:1] in ("%", "!", "?") else line for line in text.splitlines())


@contextmanager
def executed_cells(texts: Sequence[str]) -> Iterator[None]:
    """Execute cells as a kernel does, in a module `__main__` of their own that is there while the block runs."""
    module = ModuleType("__main__")
    names = [f"cell {number} of record {id(module)}" for number in range(len(texts))]
    former = sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        for name, text in zip(names, texts, strict=True):
            linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
            exec(compile(text, name, "exec", dont_inherit=True), vars(module))
        yield
    finally:
        sys.modules["__main__"] = former
        for name in names:
            linecache.cache.pop(name, None)


def statement_of(code: CodeType) -> Statement | None:
    """Return the statement of a cell that holds the code of a function."""
    statements = _statements("".join(linecache.getlines(code.co_filename)))
    return next((each for each in statements if each.first <= code.co_firstlineno <= each.last), None)


_GENERATED = "<string>"
"""File name of the methods that `dataclass` and `namedtuple` write; a class with no others is found by its name."""


def statement_of_class(part: type) -> Statement | None:
    """Return the statement of a cell that defines a class."""
    codes = [each.__code__ for each in own_functions(part)]
    found = [statement_of(code) for code in codes]
    if not any(found) and all(code.co_filename == _GENERATED for code in codes):
        found = [each for each in _executed() if part.__name__ in each.names]
    return next(filter(None, reversed(found)), None)


def _executed() -> Iterator[Statement]:
    """Yield the statements of the cells or the script of this process, those that were executed first at the start."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script is not None:
        yield from _statements("".join(linecache.getlines(script)))
    for entry in list(linecache.cache.values()):
        if len(entry) == 4 and entry[1] is None:
            yield from _statements("".join(entry[2]))


@lru_cache(maxsize=1_024)
def _statements(text: str) -> tuple[Statement, ...]:
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    lines = text.splitlines(keepends=True)
    found = []
    for node in body:
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(each.lineno for each in decorators)])
        last = node.end_lineno or node.lineno
        is_definition = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        names = frozenset(_defined_by(node))
        changed = frozenset({_root(each) for each in (*_targets_of(node), *decorators)} - {""})
        found.append(Statement(first, last, names, "".join(lines[first - 1 : last]), is_definition, changed))
    return tuple(found)


def _defined_by(node: ast.stmt) -> Iterator[str]:
    """Yield the names of the module that a statement sets; not those within comprehensions."""
    targets = _targets_of(node)
    if targets and all(isinstance(each, ast.Name) for each in targets):
        yield from (each.id for each in targets if isinstance(each, ast.Name))
        return
    try:
        code = compile(ast.Module([node], []), "a cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return
    yield from (str(each.argval) for each in dis.get_instructions(code) if each.opname in _STORES)


_STORES = ("STORE_NAME", "STORE_GLOBAL")


def _targets_of(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.Assign | ast.Delete):
        return node.targets
    return [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []


def _root(node: ast.expr) -> str:
    """Return the name whose attribute or item an expression is, or calls; empty for any other expression."""
    inner = node.func if isinstance(node, ast.Call) else node
    is_part = isinstance(inner, ast.Attribute | ast.Subscript)
    while isinstance(inner, ast.Attribute | ast.Subscript):
        inner = inner.value
    return inner.id if is_part and isinstance(inner, ast.Name) else ""


@lru_cache(maxsize=1_024)
def names_of_text(text: str) -> Names:
    """Return the names that a statement uses; none if it can not be compiled."""
    try:
        return names_of(compile(text, "a cell", "exec", dont_inherit=True))
    except (SyntaxError, ValueError, RecursionError):
        return Names(frozenset(), frozenset(), frozenset())


@lru_cache(maxsize=1_024)
def names_of(code: CodeType) -> Names:
    """Return the names that code uses."""
    instructions = list(dis.get_instructions(code))
    loads = [each for each in instructions if each.opname.startswith("LOAD_")]
    modules = {str(each.argval) for each in instructions if each.opname == "IMPORT_NAME"}
    inner = [names_of(part) for part in code.co_consts if isinstance(part, CodeType)]
    own = {str(each.argval) for each in loads if "NAME" in each.opname or "GLOBAL" in each.opname}
    attributes = {str(each.argval) for each in loads if "ATTR" in each.opname or "METHOD" in each.opname}
    return Names(
        frozenset(own).union(*(each.variables for each in inner)),
        frozenset(attributes).union(*(each.attributes for each in inner)),
        frozenset(modules).union(*(each.modules for each in inner)),
    )


def assigned(name: str, value: Any) -> str:
    """Return the statement of a cell that defines a name; empty if none is known."""
    inner = _unwrapped(value)
    found = statement_of_class(inner) if isinstance(inner, type) else None
    if isinstance(inner, FunctionType) and inner.__globals__.get("__name__") == "__main__":
        found = statement_of(inner.__code__)
    if found is not None and name in found.names:
        return found.text
    others = [each for each in _executed() if name in each.names and not each.is_definition]
    alone = [each for each in others if each.names == {name}]
    return (alone or others)[-1].text if others else ""


def _unwrapped(value: Any) -> Any:
    """Return the function within the decorators of a function; anything else as it is."""
    try:
        return inspect.unwrap(value) if callable(value) and not isinstance(value, type) else value
    except ValueError:  # functions that name each other
        return value


def changing(name: str) -> list[str]:
    """Return the statements of cells that set attributes or items of a name, or decorate what they define with it."""
    return list(dict.fromkeys(each.text for each in _executed() if name in each.changed and name not in each.names))


def literal(name: str, value: Any) -> str:
    """Return a statement that gives a name its value, of numbers and text alone; empty for any other value."""
    if type(value) is np.ndarray and value.size <= _LONGEST_ARRAY and value.dtype.kind in "biuf":
        content = b64encode(np.ascontiguousarray(value).tobytes()).decode()
        bytes_ = f"__import__('base64').b64decode('{content}')"
        numbers = f"__import__('numpy').frombuffer({bytes_}, {value.dtype.str!r})"
        return f"{name} = {numbers}.reshape({value.shape}).copy()\n"
    try:
        if not is_plain(value):
            return ""
        text = repr(value)
    except (RecursionError, ValueError):  # more digits than a text may have
        return ""
    if "nan" in text or "inf" in text:
        text = f"(lambda nan, inf: {text})(float('nan'), float('inf'))"
    return "" if "nanj" in text or "infj" in text else f"{name} = {text}\n"


def functions_in(value: Any) -> Iterator[FunctionType]:
    """Yield the function of an attribute of a class, within its decorators."""
    inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    found = inspect.unwrap(inner) if callable(inner) and not isinstance(inner, type) else None
    if isinstance(found, FunctionType):
        yield found


def own_functions(part: type) -> list[FunctionType]:
    """Return the functions that the statement of a class defines."""
    found = [each for value in vars(part).values() for each in functions_in(value)]
    named = [each for each in found if each.__qualname__ == f"{part.__qualname__}.{each.__name__}"]
    return [each for each in named if each.__globals__.get("__name__") == part.__module__]


@lru_cache(maxsize=1_024)
def executed(text: str) -> str:
    """Return the digest of what a text executes: of its syntax tree without docstrings, of itself if it has none."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return digest_of(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [each for each in node.body if not _is_docstring(each)]
    return digest_of(ast.dump(tree))


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def code_content(code: CodeType) -> list[Any]:
    """Return what compiled code does as JSON has it, without its place and line numbers."""
    constants = [
        code_content(value)
        if isinstance(value, CodeType)
        else sorted(map(repr, value))
        if isinstance(value, frozenset)
        else repr(value)
        for value in code.co_consts
    ]
    return [code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames), list(code.co_freevars)]
