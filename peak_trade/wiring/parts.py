"""Lookup of a part by its name in a table, or by `package.module:Name`."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from peak_trade.core.errors import ConfigError, did_you_mean


def find_class(kind: str, name: str, table: Mapping[str, str], base: type) -> Any:
    """Return the class of a name in the table, or of `package.module:Class`; the working folder is searched too.

    Parameters
    ----------
    kind : str
        What the part is, for messages: strategy, detector.
    name : str
    table : mapping of name to `package.module:Class`
    base : class that the part must subclass

    Raises
    ------
    ConfigError
        If there is none (with a suggestion), or it is abstract or not a subclass of `base`.

    """
    part, module = _find(kind, name, table, "Class", lambda value: isinstance(value, type) and issubclass(value, base))
    if not (isinstance(part, type) and issubclass(part, base)):
        article = "an" if base.__name__[0] in "AEIOU" else "a"
        raise ConfigError(
            f"{kind} {name}: {module}'s {_last(name)} is not {article} {base.__name__}. "
            f"Subclass {base.__module__}.{base.__qualname__}."
        )
    if inspect.isabstract(part):
        lacking = ", ".join(sorted(getattr(part, "__abstractmethods__", ())))
        raise ConfigError(f"{kind} {name}: {part.__name__} does not define {lacking}. Define it.")
    return part


def find_function(kind: str, name: str, table: Mapping[str, str]) -> Callable[..., Any]:
    """Return the function of a name in the table, or of `package.module:function`; see `find_class`."""
    part, module = _find(kind, name, table, "function", lambda value: isinstance(value, FunctionType))
    if not callable(part):
        raise ConfigError(f"{kind} {name}: {module}'s {_last(name)} is not a function. Name a function.")
    function: Callable[..., Any] = part
    return function


def _find(
    kind: str, name: str, table: Mapping[str, str], form: str, is_candidate: Callable[[Any], bool]
) -> tuple[Any, str]:
    place = table.get(name, name)
    if ":" not in place:
        raise ConfigError(
            f"{kind} {name} is not known. {did_you_mean(name, table)} Your own is named as package.module:{form}."
        )
    module_name, _, attribute = place.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"{kind} was {name!r}: write package.module:{form}, for example my_ideas:Mine.")
    module = _import(module_name, kind, name)
    if not hasattr(module, attribute):
        own = [key for key, value in vars(module).items() if is_candidate(value)]
        raise ConfigError(f"{kind} {name}: {module_name} has no {attribute}. {did_you_mean(attribute, own)}")
    return getattr(module, attribute), module_name


def _last(name: str) -> str:
    return name.rpartition(":")[2]


def _import(module_name: str, kind: str, name: str) -> ModuleType:
    with _cwd_first():
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
                raise ConfigError(
                    f"{kind} {name}: there is no module {module_name} here or among the installed packages."
                ) from None
            raise ConfigError(f"{kind} {name}: {module_name} needs {error.name}, which is not installed.") from None
        except Exception as error:
            raise ConfigError(
                f"{kind} {name}: {module_name} could not be imported ({type(error).__name__}: {error})."
            ) from error


@contextmanager
def _cwd_first() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(here)
