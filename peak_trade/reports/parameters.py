"""Typed parameters of a notebook: declared in its parameters cell, and checked against given values."""

from __future__ import annotations

import ast
import io
import json
import math
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peak_trade.core.dotted import value_of
from peak_trade.core.errors import ConfigError, ReportError, did_you_mean

_TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool, "dict": dict}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a notebook. `type_name` is str, int, float, bool or dict; `is_optional` allows None, too."""

    name: str
    type_name: str
    is_optional: bool
    default: Any
    comment: str

    @property
    def annotation(self) -> str:
        """The annotation in the cell, for example `str` or `str | None`."""
        return f"{self.type_name} | None" if self.is_optional else self.type_name


def read_parameters(source: str, where: str) -> dict[str, Parameter]:
    """Read the parameters of a cell, one per line: `name: type = default  # comment`.

    Raises
    ------
    ReportError
        If a line has another form, no comment, a type other than str, int, float, bool and dict, each with or without
        `| None`, or a default of another type.

    """
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found: dict[str, Parameter] = {}
    for node in ast.parse(source).body:
        place = f"{where}, parameters cell, line {node.lineno}"
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None):
            raise ReportError(
                f"{place}: {ast.unparse(node)!r} is not a parameter. Write `name: type = default  # comment`."
            )
        text = ast.unparse(node.annotation)
        type_name, _, rest = text.partition(" | ")
        if type_name not in _TYPES or rest not in ("", "None"):
            raise ReportError(f"{place}: the type was {text}; use {', '.join(_TYPES)}, or one of them with `| None`.")
        comment = comments.get(node.end_lineno or node.lineno, "")
        if not comment:
            raise ReportError(f"{place}: {node.target.id} has no comment. Add one that says what it means.")
        default = ast.literal_eval(node.value)
        parameter = Parameter(node.target.id, type_name, rest == "None", default, comment)
        found[parameter.name] = Parameter(
            parameter.name, type_name, parameter.is_optional, _checked(parameter, default, place), comment
        )
    return found


def resolve(parameters: Mapping[str, Parameter], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the value of each parameter: the given value or the default.

    Parameters
    ----------
    parameters : mapping of name to Parameter
    given : mapping of name to value
        Each of the type of its parameter. An int is accepted for a float; nothing else is converted.
    where : str
        Start of an error message.

    Raises
    ------
    ConfigError
        If a name is not a parameter (the message has the closest name) or a value has another type.

    """
    for name in given:
        if name not in parameters:
            raise ConfigError(f"{where}: {name} is not a parameter. {did_you_mean(name, parameters)}")
    return {
        name: _checked(parameter, given[name], where) if name in given else parameter.default
        for name, parameter in parameters.items()
    }


def parse_assignments(parameters: Mapping[str, Parameter], assignments: list[str], where: str) -> dict[str, Any]:
    """Read `name=value` assignments of the command line, each by the type of its parameter.

    `true` and `false` are bools, `none` is None for an optional parameter, a dict is JSON. `name.key=value` sets one
    key of a dict parameter.

    Raises
    ------
    ConfigError
        If an assignment has no `=`, a name is unknown or given twice, or a value has another type.

    """
    given: dict[str, Any] = {}
    for assignment in assignments:
        left, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"{where}: parameter was {assignment!r}. Write name=value, for example symbol=BTC/USDT.")
        name, dot, key = left.strip().partition(".")
        if name not in parameters:
            raise ConfigError(f"{where}: {name} is not a parameter. {did_you_mean(name, parameters)}")
        parameter = parameters[name]
        if dot and parameter.type_name == "dict":
            values = given.setdefault(name, {})
            if key in values:
                raise ConfigError(f"{where}: {name}.{key} was given twice. Give it once.")
            values[key] = value_of(text)
        elif dot:
            raise ConfigError(f"{where}: {name} is not a dict, so it has no key {key}. Write {name}=value.")
        elif name in given:
            raise ConfigError(f"{where}: {name} was given twice. Give it once.")
        else:
            given[name] = _parsed(parameter, text, where)
    return given


def _parsed(parameter: Parameter, text: str, where: str) -> Any:
    if parameter.is_optional and text.lower() == "none":
        return None
    try:
        if parameter.type_name == "bool":
            return {"true": True, "false": False}[text.lower()]
        if parameter.type_name == "dict":
            return _checked(parameter, json.loads(text), where)
        return _checked(parameter, _TYPES[parameter.type_name](text), where)
    except (ValueError, KeyError):
        raise ConfigError(_wrong_type(parameter, text, where)) from None


def _checked(parameter: Parameter, value: Any, where: str) -> Any:
    if value is None and parameter.is_optional:
        return None
    if parameter.type_name == "float" and type(value) is int:
        value = float(value)
    is_not_finite = isinstance(value, float) and not math.isfinite(value)
    if type(value) is not _TYPES[parameter.type_name] or is_not_finite:
        raise ConfigError(_wrong_type(parameter, value, where))
    return value


def _wrong_type(parameter: Parameter, value: Any, where: str) -> str:
    examples = {"str": "text", "int": "20", "float": "0.5", "bool": "true or false", "dict": '{"fast": 10}'}
    return (
        f"{where}: {parameter.name} was {value!r}; its type is {parameter.annotation} ({parameter.comment}). "
        f"Write {examples[parameter.type_name]}."
    )
