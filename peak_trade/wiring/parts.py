"""Lookup of a part by its name in a table, or by `package.module:Name`, and parts as plain values."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import sys
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, is_dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from types import FunctionType, ModuleType
from typing import Annotated, Any, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from peak_trade.core.errors import ConfigError, a_kind, did_you_mean
from peak_trade.core.files import read_bytes, write_bytes
from peak_trade.core.settings import Settings
from peak_trade.wiring.cells import executed_cells

_SEARCHING = Lock()  # importlib empties its caches in one thread only: a second one fails with a KeyError


def find_class(kind: str, name: str, table: Mapping[str, str], base: type, *others: type) -> Any:
    """Return the class of a name in the table, or of `package.module:Class`; the working folder is searched too.

    Parameters
    ----------
    kind : str
        What the part is, for messages: strategy, detector.
    name : str
    table : mapping of name to `package.module:Class`
    base, *others : classes of which the part must subclass one

    Raises
    ------
    ConfigError
        If there is none (with a suggestion), or it is abstract or not a subclass of one of them.

    """
    bases = (base, *others)
    part, module = _find(kind, name, table, "Class", lambda value: isinstance(value, type) and issubclass(value, bases))
    if not (isinstance(part, type) and issubclass(part, bases)):
        raise ConfigError(
            f"{kind} {name}: {module}'s {_last(name)} is not {a_kind(base)}. "
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


def class_path(part: type) -> str:
    """Return `package.module:Class` of a class."""
    return f"{part.__module__}:{part.__qualname__}"


def described(value: Any) -> Any:
    """Return a value as JSON has it, so that `restored` returns an equal one.

    Settings, such as strategies and limits, become `{"part": "package.module:Class", "values": …, "parts": …}` at any
    depth: `parts` are the values that are settings or hold some. A class becomes one without values.
    """
    if isinstance(value, type):
        return {"part": class_path(value)}
    if isinstance(value, Settings):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        parts = {name: described(part) for name, part in fields.items() if _holds_settings(part)}
        plain = value.model_dump(mode="json")
        values = {name: plain[name] for name in fields if name in plain and name not in parts}
        return {"part": class_path(type(value)), "values": values} | ({"parts": parts} if parts else {})
    if isinstance(value, Mapping):
        return {name: described(part) for name, part in value.items()}
    if isinstance(value, list | tuple | range):
        return [described(part) for part in value]
    if hasattr(value, "tolist"):  # numbers, arrays and series
        return described(value.tolist())
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def restored(content: Any) -> Any:
    """Return the value that `described` wrote; lists become tuples.

    Raises
    ------
    ConfigError
        If a class is not there, or does not accept a value any more.

    """
    if isinstance(content, list):
        return tuple(restored(part) for part in content)
    if not isinstance(content, Mapping):
        return content
    if "part" not in content or content.keys() - {"part", "values", "parts"}:
        return {name: restored(part) for name, part in content.items()}
    part = _class_at(content["part"])
    if "values" not in content:
        return part
    fields = part.model_fields
    values = {name: _plain_field(fields.get(name), value) for name, value in content["values"].items()}
    for name, value in content.get("parts", {}).items():
        field, found = fields.get(name), restored(value)
        values[name] = list(found) if field is not None and get_origin(field.annotation) is list else found
    return part.parse(values, content["part"])


@contextmanager
def recorded_code(sources: Mapping[str, str], cells: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Make the code of a user importable while the block runs; yield a note if modules come from the given sources.

    Parameters
    ----------
    sources : mapping of path to text
        The path of each module below the folder that is searched, such as `my_package/my_ideas.py`.
    cells : sequence of str
        Statements of the cells of a notebook, which are executed as `__main__`.

    Notes
    -----
    If each module can be imported and has the given source, it is imported from where it is. Otherwise all of them come
    from the given sources; afterwards the modules of the process are the former ones.

    Raises
    ------
    ConfigError
        If a module or a cell fails.

    """
    with _recorded_modules(sources) as notes, ExitStack() as stack:
        if cells:
            try:
                stack.enter_context(executed_cells(cells))
            except Exception as error:
                raise ConfigError(
                    f"the cells of its notebook could not be executed ({type(error).__name__}: {error})."
                ) from error
        yield notes


@contextmanager
def _recorded_modules(sources: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    names = {_module_of(path): path for path in sources}
    texts = {name: _source_here(name) for name in names}
    changed = [name for name, path in names.items() if texts[name] != sources[path]]
    if not changed:
        yield ()
        return
    absent = [name for name in changed if texts[name] is None]
    what = f"{absent[0]} can not be imported here" if absent else f"{changed[0]} has another source here"
    tops = {name.partition(".")[0] for name in names}
    former = {name: part for name, part in sys.modules.items() if name.partition(".")[0] in tops}
    with TemporaryDirectory() as folder:
        for path, text in sources.items():
            encoding, _ = tokenize.detect_encoding(BytesIO(text.encode()).readline)
            write_bytes(Path(folder, path), text.encode(encoding))
        for name in former:
            del sys.modules[name]
        try:
            with _searching(str(Path.cwd())), _searching(folder):
                for name in names:
                    _import(name, "module", name, Path(folder))
                yield (f"The module {what}: the recorded source ran.",)
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
                del sys.modules[name]
            sys.modules.update(former)


def _module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _source_here(name: str) -> str | None:
    """Return the source of a module that can be imported; None for any other."""
    with _searching(str(Path.cwd())):
        try:
            found = importlib.util.find_spec(name)
            origin = None if found is None else found.origin
            return None if origin is None else importlib.util.decode_source(read_bytes(Path(origin)))
        except Exception:  # code of a user's package
            return None


def _holds_settings(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_settings, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_settings, value))
    return isinstance(value, Settings)


def _plain_field(field: FieldInfo | None, content: Any) -> Any:
    """Return the value of a field from JSON; content that the field does not accept, for `parse` to name."""
    if field is None:
        return content
    annotation: Any = Annotated[field.annotation, field]
    try:
        return TypeAdapter(annotation).validate_json(json.dumps(content))
    except ValidationError:
        return content


def _class_at(path: str) -> type[Settings]:
    module_name, _, names = path.partition(":")
    found: Any = _import(module_name, "part", path)
    for name in names.split("."):
        found = getattr(found, name, None)
    if not (isinstance(found, type) and issubclass(found, Settings)):
        raise ConfigError(f"part {path}: {module_name} has no class {names} of settings.")
    return found


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


def _import(module_name: str, kind: str, name: str, folder: Path | None = None) -> ModuleType:
    with nullcontext() if module_name in sys.modules else _searching(str(folder or Path.cwd())):
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
def _searching(folder: str) -> Iterator[None]:
    """Search a folder for modules first while the block runs.

    Each change makes a new list, because a thread that reads the present one would miss a folder where it shrinks.
    """
    with _SEARCHING:
        sys.path = [folder, *sys.path]
        importlib.invalidate_caches()
    try:
        yield
    finally:
        with _SEARCHING:
            rest = list(sys.path)
            rest.remove(folder)
            sys.path = rest
