"""Typed parameters of a notebook: declared in its parameters cell, and checked against given values."""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from peak_trade.core.dotted import value_of
from peak_trade.core.errors import ConfigError, ReportError, did_you_mean, quoted
from peak_trade.core.extras import require
from peak_trade.core.files import read_text, reason_of
from peak_trade.core.time import parse_utc

_TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool, "dict": dict}
_NUMBER = r"-?(?:inf|[\d_.]+(?:e\d+)?)"
_INTERVAL = re.compile(rf"([\[(])({_NUMBER}), ({_NUMBER})([\])])")
_DATE = "[date]"
FILES = ("[run file]", "[settings file]", "[portfolio file]", "[risk file]")
"""What a comment says of a text that names a file: a run file, one without limits and instruments, or another one."""
_RULE = re.compile(r"([\[(][^\])]*[\])]) (.*)")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a notebook. `type_name` is str, int, float, bool or dict; `is_optional` allows None, too.

    `values` are the values that it may have, as the comment states them: an interval such as `[0, 1]`, `(0, 1]` or
    `[1, inf)`, `[date]` for a UTC date or time, one of FILES for a file that `run_report` reads, or alternatives such
    as `[hmm | jump | rules]`; empty for any.
    """

    name: str
    type_name: str
    is_optional: bool
    default: Any
    comment: str
    values: str = ""

    @property
    def annotation(self) -> str:
        """The annotation in the cell, for example `str` or `str | None`."""
        return f"{self.type_name} | None" if self.is_optional else self.type_name


def read_parameters(source: str, where: str) -> dict[str, Parameter]:
    """Read the parameters of a cell, one per line: `name: type = default  # comment`.

    A comment may start with the values that are allowed, in brackets; see `Parameter`. The default always is.

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
        values, comment = _rule_of(comment, type_name, place)
        parameter = Parameter(node.target.id, type_name, rest == "None", default, comment)
        default = _checked(parameter, default, place)
        found[parameter.name] = replace(parameter, default=default, values=values)
    return found


def _rule_of(comment: str, type_name: str, place: str) -> tuple[str, str]:
    """Return the values in brackets at the start of a comment, and the rest of it; ReportError if they are none."""
    found = _RULE.fullmatch(comment)
    if found is None:
        return "", comment
    values, rest = found.groups()
    is_rule = _INTERVAL.fullmatch(values) if type_name in ("int", "float") else type_name == "str"
    if not is_rule:
        raise ReportError(
            f"{place}: the values were {values}. Write an interval such as [0, 1] or (0, inf) for a number, and "
            "[date], [run file] or [one | other] for text."
        )
    return values, rest


def _misfit(parameter: Parameter, value: Any) -> str:
    """Return what to give instead of a value that is not among those of its parameter; empty if it is."""
    if not parameter.values or parameter.values in FILES or value == parameter.default or value is None:
        return ""
    if parameter.values == _DATE:
        try:
            parse_utc(value)
        except ConfigError:
            return "a UTC date or time like 2024-03-10 or 2024-03-10T01:00"
        return ""
    interval = _INTERVAL.fullmatch(parameter.values)
    if interval is None:
        known = [part.strip() for part in parameter.values.strip("[]").split("|")]
        return "" if value in known else " or ".join([", ".join(known[:-1]), known[-1]] if known[1:] else known)
    opened, low, high, closed = interval.groups()
    is_above = value > float(low) if opened == "(" else value >= float(low)
    is_below = value < float(high) if closed == ")" else value <= float(high)
    return "" if is_above and is_below else f"a number in {parameter.values}"


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


def read_values(path: Path) -> dict[str, Any]:
    """Read the values of parameters from a YAML or JSON file; a date in it becomes ISO text.

    Raises
    ------
    ConfigError
        If the file can not be read, or is not a table of names and values.

    """
    require("a file of parameters", "yaml")
    import yaml  # type: ignore[import-untyped]

    try:
        content = yaml.safe_load(read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "it is not text in UTF-8"
        raise ConfigError(f"{path}: could not be read: {reason}. Check the path.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f", line {mark.line + 1}"
        reason = str(getattr(error, "problem", None) or error)
        raise ConfigError(f"{path}{place}: this is not YAML: {reason}. Write one `name: value` per line.") from None
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigError(f"{path}: this is not a table of parameters. Write one `name: value` per line.")
    return {name: without_dates(value) for name, value in content.items()}


def without_dates(value: Any) -> Any:
    """Return a value of a YAML or TOML file with each date and time in it as ISO text."""
    if isinstance(value, dict):
        return {name: without_dates(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_dates(each) for each in value]
    return value.isoformat() if isinstance(value, date) else value


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
    if instead := _misfit(parameter, value):
        raise ConfigError(f"{where}: {parameter.name} was {quoted(value)} ({parameter.comment}). Give {instead}.")
    return value


def _wrong_type(parameter: Parameter, value: Any, where: str) -> str:
    examples = {"str": "text", "int": "20", "float": "0.5", "bool": "true or false", "dict": '{"fast": 10}'}
    return (
        f"{where}: {parameter.name} was {value!r}; its type is {parameter.annotation} ({parameter.comment}). "
        f"Write {examples[parameter.type_name]}."
    )
