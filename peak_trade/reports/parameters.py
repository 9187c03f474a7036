"""The typed parameters of a notebook: read from its parameters cell, and held against what is asked for."""

from __future__ import annotations

import ast
import io
import json
import math
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peak_trade.core.errors import ConfigError, ReportError, did_you_mean

_TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool, "dict": dict}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a notebook: its type by name, whether it may be None, its default and its comment."""

    name: str
    type_name: str
    is_optional: bool
    default: Any
    comment: str

    @property
    def annotation(self) -> str:
        """The annotation as it stands in the cell: str, int, float, bool or dict, with `| None` when it may be."""
        return f"{self.type_name} | None" if self.is_optional else self.type_name


def read_parameters(source: str, where: str) -> dict[str, Parameter]:
    """Read the parameters of a cell: `name: type = default  # comment`, one a line.

    Raises
    ------
    ReportError
        If a line is something else, has no comment, a type that is not str, int, float, bool, dict (or one of these
        `| None`), or a default of another type.

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
            raise ReportError(f"{place}: write `name: type = default  # comment` and nothing else.")
        text = ast.unparse(node.annotation)
        type_name, _, rest = text.partition(" | ")
        if type_name not in _TYPES or rest not in ("", "None"):
            raise ReportError(f"{place}: the type was {text}; use {', '.join(_TYPES)}, or one of them with `| None`.")
        comment = comments.get(node.end_lineno or node.lineno, "")
        if not comment:
            raise ReportError(f"{place}: {node.target.id} has no comment; say what it means.")
        default = ast.literal_eval(node.value)
        parameter = Parameter(node.target.id, type_name, rest == "None", default, comment)
        found[parameter.name] = Parameter(
            parameter.name, type_name, parameter.is_optional, _checked(parameter, default, place), comment
        )
    return found


def resolve(parameters: Mapping[str, Parameter], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the value of every parameter: the one given, else its default.

    Parameters
    ----------
    parameters : mapping of name to Parameter
    given : mapping of name to value
        Each of exactly the parameter's type; an int is taken for a float, nothing else is converted.
    where : str
        Opens the message of an error.

    Raises
    ------
    ConfigError
        On a name that is no parameter (with the closest right one) or a value of another type.

    """
    for name in given:
        if name not in parameters:
            raise ConfigError(f"{where}: {name} is not a parameter. {did_you_mean(name, parameters)}")
    return {
        name: _checked(parameter, given[name], where) if name in given else parameter.default
        for name, parameter in parameters.items()
    }


def parse_assignments(parameters: Mapping[str, Parameter], assignments: list[str], where: str) -> dict[str, Any]:
    """Read `name=value` texts as the command line gives them, each by its parameter's type.

    `true` and `false` are bools, `none` is None where None may be, a dict is JSON; `name.key=value` sets one key of a
    dict parameter.

    Raises
    ------
    ConfigError
        On text without `=`, an unknown name, a name given twice, or a value that is not of the type.

    """
    given: dict[str, Any] = {}
    for assignment in assignments:
        left, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"{where}: parameter was {assignment!r}; write name=value, for example symbol=BTC/USDT.")
        name, dot, key = left.strip().partition(".")
        if name not in parameters:
            raise ConfigError(f"{where}: {name} is not a parameter. {did_you_mean(name, parameters)}")
        parameter = parameters[name]
        if dot and parameter.type_name == "dict":
            held = given.setdefault(name, {})
            if key in held:
                raise ConfigError(f"{where}: {name}.{key} was given twice. Give it once.")
            held[key] = _loose(text)
        elif name in given or dot:
            raise ConfigError(f"{where}: {left} was given twice, or is no dict. Give it once, as {name}=value.")
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


def _loose(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _checked(parameter: Parameter, value: Any, where: str) -> Any:
    if value is None and parameter.is_optional:
        return None
    if parameter.type_name == "float" and type(value) is int:
        value = float(value)
    is_number_off = isinstance(value, float) and not math.isfinite(value)
    if type(value) is not _TYPES[parameter.type_name] or is_number_off:
        raise ConfigError(_wrong_type(parameter, value, where))
    return value


def _wrong_type(parameter: Parameter, value: Any, where: str) -> str:
    examples = {"str": "text", "int": "20", "float": "0.5", "bool": "true or false", "dict": '{"fast": 10}'}
    return (
        f"{where}: {parameter.name} was {value!r}; it is {parameter.annotation} ({parameter.comment}): "
        f"write {examples[parameter.type_name]}."
    )
