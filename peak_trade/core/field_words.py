"""The values that an annotated field takes, in words, and the documentation of fields below a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from peak_trade.core.errors import shown

if TYPE_CHECKING:
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


def fields_text(fields: Mapping[str, FieldInfo]) -> str:
    """Return the fields of a class as the section Parameters of its docstring."""
    lines = ["Parameters", "----------"]
    for name, field in fields.items():
        default = "" if field.is_required() else f", by default {default_in_words(field)}"
        lines.append(f"{name} : {values_in_words(field.annotation, field.metadata)}{default}")
        if field.description:
            lines.append(f"    {' '.join(field.description.split())}")
    return "\n".join(lines)


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
