"""Check of arguments against the annotations of the function or the class that they are given to."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import itertools
import math
import operator
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from numbers import Integral, Real
from typing import Annotated, Any, Literal, NamedTuple, ParamSpec, TypeVar, get_args, get_origin

from peak_trade.core.errors import ConfigError, a_kind, quoted, shown

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_NUMBERS: Mapping[Any, type] = {int: Integral, float: Real}
_BOUNDS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "ge": (operator.ge, "of at least {:,}"),
    "gt": (operator.gt, "above {:,}"),
    "le": (operator.le, "of at most {:,}"),
    "lt": (operator.lt, "below {:,}"),
    "allow_inf_nan": (lambda value, is_allowed: is_allowed or math.isfinite(value), "that is finite"),
}
"""Comparison of a number with each kind of bound, and its words."""
_PHRASES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    Any: "a value",
    dict: "a dict",
    collections.abc.Mapping: "a dict",
    collections.abc.Callable: "a function",
}


class _Misfit(NamedTuple):
    """A value that is not of the annotated form: its place, for example `bars[1]`, the value and the form."""

    place: str
    value: object
    form: Any


def checks_arguments(
    **expected: str,
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Return a decorator that checks the types of a function's arguments before every call.

    Values of sequences and mappings, and the bounds of annotated numbers, are checked too. A whole number of numpy is
    an int, and any real number a float; True and False are neither. A class whose values are often given in a wrong
    place says what to do in `remedy`.

    Parameters
    ----------
    **expected
        What to give for an argument, where its annotation alone does not say it well.

    Raises
    ------
    ConfigError
        From the decorated function, on an argument of another type: which one, what it was, what to give.

    Examples
    --------
    >>> @checks_arguments()
    ... def mean(values: Sequence[float]) -> float:
    ...     return sum(values) / len(values)
    >>> mean([1.0, "2"])
    Traceback (most recent call last):
    peak_trade.core.errors.ConfigError: mean: values[1] was '2': give a number.

    """

    def decorator(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        signature = inspect.signature(function)
        name = getattr(function, "__name__", "function")

        @functools.cache
        def forms() -> Mapping[str, Any]:
            single = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
            return _forms(function, [each.name for each in signature.parameters.values() if each.kind in single])

        @functools.wraps(function)
        def checked(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
            _check(name, signature.bind(*arguments, **named).arguments, forms(), expected)
            return function(*arguments, **named)

        return checked

    return decorator


def check_fields(value: Any, **expected: str) -> None:
    """Check the types of the fields of a dataclass; see `checks_arguments`."""
    part: Any = type(value)
    given = {field.name: getattr(value, field.name) for field in dataclasses.fields(part)}
    _check(part.__name__, given, _field_forms(part), expected)


@functools.cache
def _field_forms(part: Any) -> Mapping[str, Any]:
    return _resolved(part)


def _forms(function: Callable[..., Any], names: Sequence[str]) -> Mapping[str, Any]:
    """Return the annotations of arguments; that of the result may name a type that is imported for type checkers."""
    own = inspect.get_annotations(function)
    annotated = types.SimpleNamespace(__annotations__={name: own[name] for name in names if name in own})
    return _resolved(annotated, inspect.unwrap(function).__globals__)


def _resolved(annotated: Any, names: dict[str, Any] | None = None) -> Mapping[str, Any]:
    """Return annotations as types; pandas is imported for one that names it where a module imports it in functions."""
    try:
        return typing.get_type_hints(annotated, names, include_extras=True)
    except NameError as error:
        if error.name != "pd":
            raise
    import pandas as pd

    return typing.get_type_hints(annotated, names, {"pd": pd}, include_extras=True)


def _check(where: str, values: Mapping[str, object], forms: Mapping[str, Any], expected: Mapping[str, str]) -> None:
    for name, form in forms.items():
        misfit = _misfit(name, values[name], form) if name in values else None
        if misfit is not None:
            phrase = expected.get(name) or _phrase(misfit.form)
            remedy = getattr(type(misfit.value), "remedy", "")
            message = f"{where}: {misfit.place} was {shown(misfit.value)}: give {phrase}{_example(misfit)}. {remedy}"
            raise ConfigError(message.rstrip())


def _misfit(place: str, value: object, form: Any) -> _Misfit | None:
    """Return the first part of a value that is not of a form; None when all of it is."""
    origin, parts = get_origin(form), get_args(form)
    if origin in (typing.Union, types.UnionType):
        found = [_misfit(place, value, part) for part in parts]
        inner = [misfit for misfit in found if misfit is not None and misfit.place != place]
        return None if None in found else inner[0] if inner else _Misfit(place, value, form)
    if origin is collections.abc.Mapping and isinstance(value, Mapping):
        keys = ((f"a key of {place}", key, parts[0]) for key in value)
        values = ((f"{place}[{quoted(key)}]", item, parts[1]) for key, item in value.items())
        return _first_misfit(itertools.chain(keys, values))
    if origin is collections.abc.Sequence and isinstance(value, Sequence) and not isinstance(value, str | bytes):
        items = () if parts[0] is Any else value
        return _first_misfit((f"{place}[{row}]", item, parts[0]) for row, item in enumerate(items))
    return None if _is_of(value, form, origin, parts) else _Misfit(place, value, form)


def _first_misfit(parts: Iterable[tuple[str, object, Any]]) -> _Misfit | None:
    misfits = (_misfit(place, value, form) for place, value, form in parts)
    return next((misfit for misfit in misfits if misfit is not None), None)


def _is_of(value: Any, form: Any, origin: Any, parts: tuple[Any, ...]) -> bool:
    if form is Any:
        return True
    if origin is Annotated:
        return _misfit("", value, parts[0]) is None and all(
            compare(value, bound) for compare, _, bound in _bounds(parts)
        )
    if form is None or form is type(None):
        return value is None
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin is type:
        return isinstance(value, type) and issubclass(value, parts[0])
    if form in _NUMBERS:
        return isinstance(value, _NUMBERS[form]) and not isinstance(value, bool) and (form is int or _is_float(value))
    if origin in (collections.abc.Sequence, collections.abc.Mapping):
        return False
    is_of: bool = isinstance(value, origin or form)
    return is_of and not (origin is collections.abc.Callable and isinstance(value, type))


def _is_float(value: Any) -> bool:
    with suppress(OverflowError):
        float(value)
        return True
    return False


def _bounds(parts: tuple[Any, ...]) -> list[tuple[Callable[[Any, Any], bool], str, Any]]:
    """Return the comparison, its words and the number of each bound of an annotated number."""
    known = [bound for field in parts[1:] for bound in getattr(field, "metadata", ())]
    return [(*_BOUNDS[key], getattr(bound, key)) for bound in known for key in _BOUNDS if hasattr(bound, key)]


def _phrase(form: Any) -> str:
    """Return the form of a value as words: a Strategy, a list of Bars, text."""
    origin, parts = get_origin(form), get_args(form)
    if origin in (typing.Union, types.UnionType):
        return _listed([_phrase(part) for part in parts if part is not type(None)])
    if origin is Literal:
        return _listed([repr(part) for part in parts])
    if origin is type:
        return f"a subclass of {parts[0].__name__}"
    if origin is Annotated:
        bounds = " and ".join(words.format(bound) for _, words, bound in _bounds(parts))
        return f"{_phrase(parts[0])} {bounds}".rstrip()
    if origin is collections.abc.Sequence:
        item = _phrase(parts[0]).removeprefix("a ").removeprefix("an ")
        return f"a list of {item}" + ("" if item.endswith(("s", "text")) else "s")
    phrase = _PHRASES.get(origin or form)
    return phrase or a_kind(form)


def _listed(phrases: Sequence[str]) -> str:
    return " or ".join([", ".join(phrases[:-1]), phrases[-1]] if len(phrases) > 1 else phrases)


def _example(misfit: _Misfit) -> str:
    """Return an example that is close to what was given; empty when there is none."""
    place, value, form = misfit
    wanted = [part for part in (get_args(form) or (form,)) if isinstance(part, type) and part is not type(None)]
    if isinstance(value, type) and any(issubclass(value, part) for part in wanted):
        return f", for example {value.__name__}()"
    if isinstance(value, dict) and len(wanted) == 1 and not issubclass(wanted[0], collections.abc.Sequence):
        return f", for example {wanted[0].__name__}(**{place})"
    return ""
