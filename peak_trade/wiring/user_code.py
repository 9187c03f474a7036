"""Code of a user that decides a run: the source of modules, and what the cells of a notebook define."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from pydantic import BaseModel

from peak_trade.core.digest import canonical_json, digest_of
from peak_trade.core.settings import Settings
from peak_trade.wiring.cells import (
    Statement,
    assigned,
    changing,
    code_content,
    executed,
    functions_in,
    literal,
    names_of,
    names_of_text,
    own_functions,
    statement_of,
    statement_of_class,
)
from peak_trade.wiring.contents import NUMBERS_AND_TEXT, closure_of, code_in, is_plain, parts_of, plain_digest
from peak_trade.wiring.user_modules import PACKAGE, has_file, is_installed, package_versions, reached_modules

_LIBRARIES = (PACKAGE, "pydantic", "abc", "builtins", "typing")
_MOST_OBJECTS = 100_000
"""Most objects within the names of a notebook whose content is read."""
_LONGEST_TEXT = 1_000
"""Most characters of a text whose content is the text itself, and not its digest."""


@dataclass(frozen=True, slots=True)
class UserCode:
    """The code of a user that decides a run.

    `modules` has the source of each module by name. `cells` has the statements that define the names of a notebook's
    cells, by name, in an order in which they can be executed; `contents` has what the names stand for. `packages` has
    the versions of the installed packages that the code imports. `without_source` has a sentence for each part whose
    source is not known, `notes` sentences on what a reader of a run has to know of its code.
    """

    modules: Mapping[str, str]
    cells: Mapping[str, str]
    contents: Mapping[str, Any]
    packages: Mapping[str, str]
    without_source: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def digest(self) -> str:
        """Return the SHA-256 of sources, contents and versions, as 64 hex digits."""
        return digest_of([dict(self.modules), dict(self.contents), dict(self.packages)])

    def executed_digest(self) -> str:
        """Return the SHA-256 of what the code executes, without comments and docstrings; empty if there is no code."""
        modules = {name: executed(text) for name, text in self.modules.items()}
        contents = {
            name: executed(held["statement"]) if isinstance(held, dict) else held
            for name, held in self.contents.items()
        }
        return digest_of([modules, contents]) if modules or contents else ""

    @property
    def not_rerunnable(self) -> str:
        """Why a run with this code can not be made again elsewhere, as a sentence; empty if it can."""
        if not self.without_source:
            return ""
        n_more = len(self.without_source) - 1
        more = f" ({n_more:,} more)" if n_more else ""
        return f"This run is not rerunnable: {self.without_source[0]}{more}."


def user_code(parts: Iterable[Any]) -> UserCode:
    """Return the code of a user among the parts of a run, and all code of a user that it reaches.

    Parameters
    ----------
    parts : iterable of Settings and functions
        Strategies and functions of the run. Settings within them count too; values of parameters do not.

    Notes
    -----
    A module from a file counts with its source and the modules that it imports, see `reached_modules`. A class or
    function of a notebook's cell counts with the statement that defines it, where that is not known with its compiled
    code, and with every name of a cell that it uses, recursively; data counts with its content. The closures of
    functions, and classes that are made within functions, count with what they hold.

    """
    walk = _Walk()
    for part in parts:
        if isinstance(part, Settings):
            for nested in nested_parts(part):
                walk.add_class(type(nested))
        elif part is not None:
            walk.content(part, "a function of the run")
    cells = walk.statements()
    reached = reached_modules(sorted(walk.modules), walk.texts)
    return UserCode(
        dict(sorted(reached.sources.items())),
        cells,
        walk.contents,
        reached.packages | walk.packages,
        tuple(dict.fromkeys([*walk.without_source, *reached.without_source])),
        tuple(
            f"The module {name} was edited after its import: this run has it as imported." for name in reached.edited
        ),
    )


def nested_parts(part: Settings) -> Iterator[Settings]:
    """Yield settings and all settings within them."""
    yield part
    for nested in nested_settings(part):
        yield from nested_parts(nested)


def nested_settings(part: Settings) -> Iterator[Settings]:
    """Yield the settings that are values of settings, or in a list of them."""
    for key in type(part).model_fields:
        value = getattr(part, key)
        for nested in value if isinstance(value, tuple | list) else (value,):
            if isinstance(nested, Settings):
                yield nested


@lru_cache(maxsize=256)
def user_classes(part: type) -> tuple[type, ...]:
    """Return a class and its base classes, without those of this package and of pydantic."""
    return tuple(base for base in part.__mro__ if is_users(base.__module__))


def is_users(module: str) -> bool:
    """Return whether a module is neither of this package nor of what it is built on."""
    return module.partition(".")[0] not in _LIBRARIES


class _Walk:
    """A walk from the parts of a run along the names that their code uses."""

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self.texts: list[str] = []
        self.contents: dict[str, Any] = {}
        self.packages: dict[str, str] = {}
        self.without_source: list[str] = []
        self._used: list[tuple[str, Any, Mapping[str, Any]]] = []
        self._submodules: dict[str, set[str]] = {}
        self._entered: dict[int, tuple[object, str]] = {}
        self._opened: dict[int, FunctionType] = {}
        self._within: set[int] = set()
        self._n_objects = 0

    def add_class(self, part: type) -> None:
        """Add the class of a part and its base classes, also of an installed package."""
        if is_users(part.__module__):
            if "<locals>" in part.__qualname__:
                self.without_source.append(f"{part.__name__} is a class within a function, which can not be imported")
            if _is_of_file(part):
                self.modules.add(part.__module__)
        for base in user_classes(part):
            self._class(base)

    def content(self, value: Any, name: str) -> Any:
        """Return the content of a value as JSON has it, and walk along the code in it; `name` is for messages."""
        if type(value) in NUMBERS_AND_TEXT and (not isinstance(value, str | bytes) or len(value) <= _LONGEST_TEXT):
            return repr(value)
        if isinstance(value, type):
            return ["class", self._class(value)]
        if isinstance(value, FunctionType):
            return ["function", self._function(value)]
        if isinstance(value, ModuleType):
            return ["module", self._module(value.__name__)]
        if id(value) in self._within:
            return ["itself"]
        self._n_objects += 1
        self._within.add(id(value))
        try:
            if is_plain(value):
                return [type(value).__name__, plain_digest(value)]
            parts = list(parts_of(value)) if self._n_objects <= _MOST_OBJECTS else None
            if parts is not None:
                found = [self.content(each, name) for each in parts]
                is_ordered = not isinstance(value, set | frozenset)
                return [self._class(type(value)), *(found if is_ordered else sorted(found, key=canonical_json))]
        except (TypeError, ValueError, AttributeError, RecursionError):
            pass
        finally:
            self._within.discard(id(value))
        self.without_source.append(f"the content of {name} is not known, a value of {type(value).__qualname__}")
        return ["unknown"]

    def statements(self) -> dict[str, str]:
        """Return the statements that define the names of cells that were reached, each after those that it uses."""
        cells: dict[str, str] = {}
        begun: set[str] = set()

        def add(name: str, value: Any, scope: Mapping[str, Any]) -> None:
            if name in begun:
                return
            begun.add(name)
            text = literal(name, value)
            if text:
                cells[name] = text
                return
            text = self._imported(name, value) or assigned(name, value)
            if not text:
                self.without_source.append(f"{name} has no source")
                return
            for number, each in enumerate([text, *changing(name)]):
                for used in sorted(names_of_text(each).variables & scope.keys()):
                    if not used.startswith("__"):
                        add(used, scope[used], scope)
                cells[f"{name} {number}" if number else name] = each

        for name, value, scope in self._used:
            add(name, value, scope)
        return cells

    def _imported(self, name: str, value: Any) -> str:
        """Return the import statement of a module, and of a class or function that is not of a cell."""
        if isinstance(value, ModuleType):
            self._module(value.__name__)
            inner = sorted(self._submodules.get(value.__name__, ()))
            return "".join([f"import {value.__name__} as {name}\n", *(f"import {each}\n" for each in inner)])
        if _is_importable(value):
            self._module(value.__module__)
            return f"from {value.__module__} import {value.__name__} as {name}\n"
        return ""

    def _module(self, name: str) -> str:
        if is_users(name):
            if has_file(name) and not is_installed(name):
                self.modules.add(name)
            else:
                self.packages |= package_versions(name)
        return name

    def _class(self, part: type) -> str:
        place, is_new = self._enter(part)
        if not is_new:
            return place
        is_of_file, statement = _is_of_file(part), None
        if not is_of_file:
            statement = statement_of_class(part)
            self._define(part, place, statement, [each.__code__ for each in own_functions(part)])
        is_made = not is_of_file or "<locals>" in part.__qualname__
        for name, value in vars(part).items():
            others = {each.__module__ for each in functions_in(value)} - {part.__module__}
            is_foreign = any(map(is_users, others))
            if is_foreign or (is_made and not name.startswith("__") and name not in _PYDANTIC_NAMES):
                self.contents[f"{place}.{name}"] = self.content(value, f"{place}.{name}")
        if is_made and issubclass(part, BaseModel):
            defaults = {name: field.default for name, field in part.model_fields.items()}
            self.contents[f"{place} defaults"] = self.content(defaults, f"the defaults of {place}")
        if is_made and is_dataclass(part):
            factories = {each.name: each.default_factory for each in fields(part)}
            made = {name: factory for name, factory in factories.items() if factory is not MISSING}
            self.contents[f"{place} factories"] = self.content(made, f"the factories of {place}")
        for base in (*part.__bases__, type(part)):
            self._class(base)
        return place

    def _function(self, function: FunctionType) -> str:
        place, is_new = self._enter(function)
        if id(function) in self._opened:
            return place
        self._opened[id(function)] = function
        is_of_file = _is_of_file(function)
        if is_new and not is_of_file:
            self._define(function, place, statement_of(function.__code__), [function.__code__])
        held = closure_of(function)
        if is_new and (not is_of_file or "<locals>" in function.__code__.co_qualname):
            held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        else:  # a function of a library may hold one of a user, as `contextlib.contextmanager` does
            held = [part for each in held for part in code_in(each) if is_users(_module_of(part))]
        if held:
            self.contents[f"{place} holds"] = [self.content(each, place) for each in held]
        return place

    def _enter(self, part: type | FunctionType) -> tuple[str, bool]:
        """Return the place of a class or function, and whether to walk along it: once, if a user wrote it."""
        module = _module_of(part)
        place = f"{module}:{part.__qualname__}"
        if id(part) in self._entered:
            return self._entered[id(part)][1], False
        if not is_users(module):
            return place, False
        n_alike = sum(known.startswith(place) for _, known in self._entered.values())
        place = f"{place} {n_alike + 1}" if n_alike else place
        self._entered[id(part)] = part, place
        if _is_of_file(part):
            self._module(module)
            return place, module in self.modules
        return place, _is_of_cell(part)

    def _define(
        self, part: type | FunctionType, place: str, statement: Statement | None, codes: Sequence[CodeType]
    ) -> None:
        """Add a class or function of a cell, and the names that it uses."""
        self.contents[place] = list(map(code_content, codes)) if statement is None else {"statement": statement.text}
        found = [*map(names_of, codes), *([] if statement is None else [names_of_text(statement.text)])]
        attributes = frozenset().union(*(each.attributes for each in found))
        names = frozenset().union(*(each.variables for each in found))
        imports = sorted(frozenset().union(*(each.modules for each in found)))
        self.texts.append("\n".join(f"import {each}" for each in imports) if statement is None else statement.text)
        scope = _scope_of(part)
        for name in sorted(names & scope.keys() - {part.__name__}):
            if not name.startswith("__"):
                self._use(name, scope, attributes)
        if part.__qualname__ == part.__name__ and part.__name__.isidentifier() and _is_module(scope):
            self._used.append((part.__name__, part, scope))

    def _use(self, name: str, scope: Mapping[str, Any], attributes: frozenset[str]) -> None:
        """Add the content of a name of a cell; of a module also its inner modules among `attributes`."""
        value, place = scope[name], f"{scope.get('__name__', '')}:{name} ="
        if isinstance(value, ModuleType):
            inner = self._submodules.setdefault(value.__name__, set())
            waiting = [value.__name__]
            while waiting:
                outer = waiting.pop()
                found = {f"{outer}.{each}" for each in attributes} & sys.modules.keys() - inner
                found = {each for each in found if is_users(each) and not is_installed(each)}
                inner |= found
                waiting += found
            self.modules |= inner
        if place not in self.contents:
            self.contents[place] = ""
            n_unknown = len(self.without_source)
            self.contents[place] = self.content(value, name)
            if _is_module(scope):
                self._used.append((name, value, scope))
            if len(self.without_source) > n_unknown:
                self._use_statement(place, assigned(name, value), scope)

    def _use_statement(self, place: str, text: str, scope: Mapping[str, Any]) -> None:
        """Add the statement that defines a value of unknown content, and the names that it uses."""
        self.contents[f"{place} by"] = {"statement": text}
        found = names_of_text(text)
        for name in sorted(found.variables & scope.keys()):
            if not name.startswith("__"):
                self._use(name, scope, found.attributes)


_PYDANTIC_NAMES = ("_abc_impl", "model_config", "model_fields")


def _scope_of(part: type | FunctionType) -> Mapping[str, Any]:
    """Return the variables of the module of a class or function."""
    if isinstance(part, FunctionType):
        return part.__globals__
    if _is_made_in_library(part):
        return {}
    own = own_functions(part)
    return own[0].__globals__ if own else vars(sys.modules.get(part.__module__, ModuleType("")))


def _module_of(part: type | FunctionType) -> str:
    """Return the name of the module whose code a class or function is; that of a decorator for what it returns."""
    return str(part.__globals__.get("__name__") if isinstance(part, FunctionType) else part.__module__)


def _is_module(scope: Mapping[str, Any]) -> bool:
    """Return whether variables are those of a module, and not of a namespace in which a library executes text."""
    return "__spec__" in scope


def _is_importable(value: Any) -> bool:
    """Return whether an import statement gives a value, because a module has it by the name that it has itself."""
    module, name = (str(getattr(value, each, "")) for each in ("__module__", "__name__"))
    is_outermost = name == getattr(value, "__qualname__", "")
    return is_outermost and module != "__main__" and getattr(sys.modules.get(module), name, None) is value


def _is_of_file(part: type | FunctionType) -> bool:
    scope = _scope_of(part)
    return bool(scope.get("__file__")) and scope.get("__name__") != "__main__"


def _is_made_in_library(part: type | FunctionType) -> bool:
    """Return whether a class names the library that made it as its module, as `dataclasses.make_dataclass` does."""
    if isinstance(part, FunctionType) or part.__module__ not in sys.stdlib_module_names:
        return False
    return not _is_importable(part) and bool(own_functions(part))


def _is_of_cell(part: type | FunctionType) -> bool:
    if _is_made_in_library(part):
        return "<locals>" not in part.__qualname__
    top = _module_of(part).partition(".")[0]
    if top in (*_LIBRARIES, *sys.stdlib_module_names) or _is_of_file(part):
        return False
    return isinstance(part, FunctionType) or top == "__main__" or bool(own_functions(part))
