"""State that the code of a strategy keeps between calls, in its process and in files, and its reset."""

from __future__ import annotations

import builtins
import errno
import io
import os
import random
import sysconfig
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from peak_trade.wiring.user_modules import is_installed

LARGEST_RESTORED = 2**26
"""Largest size of a file that is restored after a write, bytes."""
_CODE = (".py", ".pyc", ".so", ".pyd", ".nbi", ".nbc")
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/share/zoneinfo")
_INSTALLED = tuple(
    {str(Path(__file__).parents[1]), *(sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib"))}
)
_MOST_OBJECTS = 2_000
_MOST_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class _Saved:
    """One object that can change, with the function that compares it with its state of then, and one that resets it."""

    label: str
    is_same: Callable[[], bool]
    reset: Callable[[], None]


class KeptState:
    """The state that the code of a subject reaches, as it is when this object is made.

    Reached are the module variables, functions and classes that the code names, in the subject's module and in other
    modules that are not installed packages: their containers, arrays and attributes, default arguments, closures and
    `lru_cache`. Not reached are files, other processes, and state inside libraries.
    """

    def __init__(self, subject: object) -> None:
        self._saved: list[_Saved] = []
        self._seen: dict[int, object] = {}
        self._named: set[tuple[int, str]] = set()
        self._packages = {_package_of(part) for part in _classes(subject)} - _LIBRARIES
        self._save_global_random()
        self._visit(subject, type(subject).__name__)
        for part in _classes(subject):
            self._visit(part, part.__name__)

    def restore(self) -> tuple[str, ...]:
        """Reset what changed to the state at the start, and return the names of what changed."""
        changed = [each for each in self._saved if not each.is_same()]
        for each in changed:
            each.reset()
        return tuple(dict.fromkeys(each.label for each in changed))

    @contextmanager
    def as_before(self, subject: object) -> Iterator[None]:
        """Reset the state for a while; afterwards it is what it was when the block began."""
        now = KeptState(subject)
        self.restore()
        try:
            yield
        finally:
            now.restore()

    def _visit(self, value: object, label: str) -> None:
        if id(value) in self._seen or len(self._seen) >= _MOST_OBJECTS:
            return
        self._seen[id(value)] = value
        if isinstance(value, staticmethod | classmethod | MethodType):
            self._visit(value.__func__, label)
        elif isinstance(value, property):
            self._visit(value.fget, label)
        elif isinstance(value, FunctionType):
            self._visit_function(value, label)
        elif hasattr(value, "cache_clear") and hasattr(value, "cache_info") and hasattr(value, "__wrapped__"):
            self._save(label, lambda: value.cache_info().currsize == 0, value.cache_clear)
            self._visit(value.__wrapped__, label)
        elif isinstance(value, type):
            self._visit_class(value)
        elif isinstance(value, dict | list | set | deque | tuple):
            self._visit_container(value, label)
        elif isinstance(value, np.ndarray):
            if value.flags.writeable and value.nbytes <= _MOST_BYTES and not value.dtype.hasobject:
                before = value.copy()
                self._save(label, lambda: value.tobytes() == before.tobytes(), lambda: np.copyto(value, before))
        elif isinstance(value, np.random.Generator):
            generator = value.bit_generator
            drawn = generator.state
            self._save(label, lambda: generator.state == drawn, lambda: setattr(generator, "state", drawn))
        elif self._is_user(type(value).__module__) or hasattr(type(value), "fit"):
            for held in (getattr(value, "__dict__", None), getattr(value, "__pydantic_private__", None)):
                if held is not None:
                    self._visit_container(held, label)

    def _visit_function(self, function: FunctionType, label: str) -> None:
        if not self._is_user(function.__module__):
            return
        self._visit_container(function.__dict__, label)
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._visit(value, f"a default of {label}")
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._visit_cell(cell, name)
        self._visit_names(function.__globals__, sorted(set(_names(function.__code__))))

    def _visit_names(self, variables: dict[str, Any], names: Collection[str]) -> None:
        module = str(variables.get("__name__", ""))
        for name in names:
            if (id(variables), name) in self._named:
                continue
            self._named.add((id(variables), name))
            place = f"{module}.{name}"
            self._save_variable(variables, name, place)
            value = variables.get(name)
            if not isinstance(value, ModuleType):
                self._visit(value, place)
            elif self._is_user(value.__name__):
                self._visit_names(vars(value), names)

    def _visit_cell(self, cell: CellType, name: str) -> None:
        try:
            before = cell.cell_contents
        except ValueError:
            return

        def reset() -> None:
            cell.cell_contents = before

        self._save(name, lambda: cell.cell_contents is before, reset)
        self._visit(before, name)

    def _visit_class(self, part: type) -> None:
        if not self._is_user(part.__module__):
            return
        before = _attributes(part)

        def reset() -> None:
            now = _attributes(part)
            for name in now.keys() - before.keys():
                type.__delattr__(part, name)
            for name, value in before.items():
                if now.get(name) is not value:
                    type.__setattr__(part, name, value)

        self._save(f"{part.__name__}'s attributes", lambda: _is_same_mapping(_attributes(part), before), reset)
        for name, value in before.items():
            self._visit(value, f"{part.__name__}.{name}")
        for base in part.__mro__[1:]:
            self._visit(base, base.__name__)

    def _visit_container(self, held: Any, label: str) -> None:
        values = list(held.values()) if isinstance(held, dict) else list(held)
        if isinstance(held, dict):
            before = dict(held)
            self._save(label, lambda: _is_same_mapping(held, before), lambda: _refill(held, held.update, before))
        elif isinstance(held, set):
            self._save(label, lambda: held == set(values), lambda: _refill(held, held.update, values))
        elif isinstance(held, list | deque):
            self._save(label, lambda: _is_same_sequence(held, values), lambda: _refill(held, held.extend, values))
        for value in values[:_MOST_OBJECTS]:
            self._visit(value, label)

    def _save_global_random(self) -> None:
        drawn = random.getstate()
        self._save("random", lambda: random.getstate() == drawn, lambda: random.setstate(drawn))
        state, place = np.random.get_state(), _numpy_place()  # noqa: NPY002 - users draw from it
        self._save("numpy.random", lambda: _numpy_place() == place, lambda: np.random.set_state(state))  # noqa: NPY002

    def _save_variable(self, variables: dict[str, Any], name: str, label: str) -> None:
        is_set, before = name in variables, variables.get(name)

        def reset() -> None:
            if is_set:
                variables[name] = before
            else:
                del variables[name]

        self._save(label, lambda: (name in variables) == is_set and variables.get(name) is before, reset)

    def _save(self, label: str, is_same: Callable[[], bool], reset: Callable[[], None]) -> None:
        self._saved.append(_Saved(label, is_same, reset))

    def _is_user(self, module: str) -> bool:
        package = module.partition(".")[0]
        return package in self._packages or (package not in _LIBRARIES and not is_installed(module))


_LIBRARIES = frozenset({"peak_trade", "pydantic", "numpy", "pandas", "builtins", "typing", "abc"})


def _classes(subject: object) -> list[type]:
    return [part for part in type(subject).__mro__ if part.__module__ != "builtins"]


def _package_of(part: type) -> str:
    return part.__module__.partition(".")[0]


def _attributes(part: type) -> dict[str, Any]:
    return {name: value for name, value in vars(part).items() if not name.startswith("__") and name != "_abc_impl"}


def _is_same_mapping(now: dict[Any, Any], before: dict[Any, Any]) -> bool:
    return now.keys() == before.keys() and all(now[key] is value for key, value in before.items())


def _is_same_sequence(now: Collection[Any], before: Collection[Any]) -> bool:
    return len(now) == len(before) and all(a is b for a, b in zip(now, before, strict=True))


def _numpy_place() -> tuple[object, ...]:
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    return state["state"]["key"].tobytes(), state["state"]["pos"], state["has_gauss"], state["gauss"]


def _refill(held: Any, fill: Callable[[Any], None], before: Any) -> None:
    held.clear()
    fill(before)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _names(part)


class FileLog:
    """Files opened with `open` while they are watched, without code, installed packages and system files.

    Files in `hidden` seem not to exist until they are written.
    """

    def __init__(self, hidden: Collection[str] = ()) -> None:
        self._read: dict[str, None] = {}
        self._written: dict[str, bytes | None] = {}
        self._too_large: dict[str, None] = {}
        self._hidden = frozenset(hidden)
        self._shown: set[str] = set()

    @property
    def read(self) -> tuple[str, ...]:
        """Files that were read and never written."""
        return tuple(sorted(self._read.keys() - self._written.keys() - self._too_large.keys()))

    @property
    def written(self) -> tuple[str, ...]:
        """Files that were written."""
        return tuple(sorted({*self._written, *self._too_large}))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note the files that are opened meanwhile, by this thread and by those that start meanwhile.

        The files of other threads are not those of the subject: they are neither noted nor restored.
        """
        real_open, real_stat = io.open, os.stat
        others = {each.ident for each in threading.enumerate()} - {threading.get_ident()}

        def noted_open(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if threading.get_ident() not in others:
                self._note(file, mode)
            return real_open(file, mode, *arguments, **options)

        def noted_stat(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
            self._refuse(_place(path))
            return real_stat(path, *arguments, **options)

        _replace(noted_open, noted_stat if self._hidden else real_stat)
        try:
            yield
        finally:
            _replace(real_open, real_stat)

    def restore(self) -> None:
        """Give every written file the content that it had before, and remove new ones."""
        self._shown.clear()
        for place, content in self._written.items():
            if content is None:
                Path(place).unlink(missing_ok=True)
            else:
                Path(place).write_bytes(content)

    def _note(self, file: Any, mode: str) -> None:
        place = _place(file)
        if not place or place.endswith(_CODE) or place.startswith((*_SYSTEM, *_INSTALLED)):
            return
        if not any(letter in mode for letter in "wax+"):
            self._refuse(place)
            self._read[place] = None
            return
        self._shown.add(place)
        if place not in self._written:
            self._save(Path(place))

    def _save(self, path: Path) -> None:
        try:
            if path.stat().st_size > LARGEST_RESTORED:
                self._too_large[str(path)] = None
                return
            with io.FileIO(path) as file:
                self._written[str(path)] = file.readall()
        except FileNotFoundError:
            self._written[str(path)] = None

    def _refuse(self, place: str) -> None:
        if place in self._hidden and place not in self._shown:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place)


def _place(file: Any) -> str:
    return "" if isinstance(file, int) else os.path.abspath(os.fsdecode(file))


def _replace(open_: Any, stat: Any) -> None:
    vars(builtins)["open"] = vars(io)["open"] = open_
    vars(os)["stat"] = stat
