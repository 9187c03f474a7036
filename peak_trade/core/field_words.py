"""The values that an annotated field takes, in words, and the documentation of fields below a class."""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from types import FunctionType, NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from peak_trade.core.errors import shown

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

LARGEST = 1e15
"""Amounts, prices and limits are below it: from there on, floats lose units."""
_NOUNS: dict[Any, str] = {
    int: "whole number",
    float: "number",
    bool: "true or false",
    str: "text",
    dict: "table",
    NoneType: "none",
    Any: "any value",
}


def values_in_words(annotation: Any, constraints: Sequence[Any] = ()) -> str:
    """Return in words which values an annotation with its constraints allows.

    >>> values_in_words(int | None), values_in_words(Literal["long", "short"])
    ('whole number or none', 'long or short')
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return values_in_words(parts[0], [*constraints, *_constraints(parts[1:])])
    if origin is Literal:
        return _joined([str(part) for part in parts])
    if origin in (tuple, list):
        return f"list of: {_joined([values_in_words(part) for part in parts if part is not Ellipsis])}"
    if origin in (Union, UnionType):
        return _joined([values_in_words(part, constraints if part is not NoneType else ()) for part in parts])
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _joined([str(member.value) for member in annotation])
    noun = getattr(annotation, "noun", None) or _NOUNS.get(origin or annotation)
    return f"{noun or getattr(annotation, '__name__', annotation)}{_bounds(constraints)}"


def fields_text(fields: Mapping[str, FieldInfo], meanings: Mapping[str, str]) -> str:
    """Return the fields of a class with their meanings as the section Parameters of its docstring."""
    lines = ["Parameters", "----------"]
    for name, field in fields.items():
        default = "" if field.is_required() else f", by default {default_in_words(field)}"
        lines.append(f"{name} : {values_in_words(field.annotation, field.metadata)}{default}")
        if name in meanings:
            lines.append(f"    {' '.join(meanings[name].split())}")
    return "\n".join(lines)


def meanings_of(cls: type[BaseModel]) -> dict[str, str]:
    """Return the descriptions of the fields of a class: those of `Field`, else the docstrings below them."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for field, after in pairwise([*_body(base), ast.Pass()]):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match after:
                    case ast.Expr(ast.Constant(str() as text)):
                        found[field.target.id] = inspect.cleandoc(text)
                    case _:
                        found.pop(field.target.id, None)
    meanings = {name: field.description or found.get(name) for name, field in cls.model_fields.items()}
    return {name: meaning for name, meaning in meanings.items() if meaning}


def _body(cls: type) -> list[ast.stmt]:
    """Return the statements of a class; a class of a cell of a notebook is found by its functions."""
    codes = [part.__code__ for part in vars(cls).values() if isinstance(part, FunctionType)]
    for file in (getattr(sys.modules.get(cls.__module__), "__file__", None), *(code.co_filename for code in codes)):
        found = _classes("".join(linecache.getlines(file or ""))).get(cls.__qualname__)
        if found is not None:
            return found.body
    return []


@lru_cache(maxsize=64)
def _classes(source: str) -> dict[str, ast.ClassDef]:
    """Return the classes of a source by their qualified names; none of what is no Python."""
    with warnings.catch_warnings(action="ignore", category=SyntaxWarning):  # Python warned when it compiled the source
        try:
            return dict(_within(ast.parse(source), ""))
        except SyntaxError:
            return {}


def _within(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for each in ast.iter_child_nodes(node):
        inner = prefix
        if isinstance(each, ast.ClassDef):
            yield prefix + each.name, each
            inner = f"{prefix}{each.name}."
        elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = prefix + each.name + ".<locals>."
        yield from _within(each, inner)


def default_in_words(field: FieldInfo) -> str:
    """Return in words the value of a field that is left out."""
    if field.default_factory is not None:
        return "empty"
    value = field.default.value if isinstance(field.default, Enum) else field.default
    return f"{type(value).__name__}()" if hasattr(value, "model_fields_set") else shown(value)


def _constraints(metadata: Sequence[Any]) -> list[Any]:
    return [each for part in metadata for each in getattr(part, "metadata", [part])]


def _bounds(constraints: Sequence[Any]) -> str:
    """Return the bounds in words: " from 0 to 1", " above 0", " from 1"; the bound of every number is left out."""
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    found = {key: getattr(part, key) for key in words for part in constraints if getattr(part, key, None) is not None}
    found = {key: bound for key, bound in found.items() if bound != LARGEST}
    return "".join(f" {word} {found[key]:g}" for key, word in words.items() if key in found)


def _joined(words: Sequence[str]) -> str:
    return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)
