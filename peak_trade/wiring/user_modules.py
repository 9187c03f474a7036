"""Modules of a user that code reaches by its import statements, whatever this process has imported."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path
from typing import NamedTuple

from peak_trade.core.digest import digest_bytes

PACKAGE = "peak_trade"
_PACKAGE_FOLDER = str(Path(__file__).parents[1])
_STANDARD = tuple({f"{sysconfig.get_path(key)}{os.sep}" for key in ("stdlib", "platstdlib")})
_INSTALLED = {"site-packages", "dist-packages"}
_RUNS_TEXT = {"exec", "run_path", "spec_from_file_location"}
"""Functions that run code which no import statement names."""
_OTHER_NAMES = {"sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Packages by their module, of those that are often imported: finding others takes tenths of a second, once."""
_seen: dict[str, tuple[ModuleSpec, str]] = {}
"""Source of each imported module when it was read first: code that is edited later does not run before a reload."""


class _Import(NamedTuple):
    level: int
    module: str
    names: tuple[str, ...] = ()


@dataclass(slots=True)
class ReachedModules:
    """Modules that some code reaches by imports.

    `sources` has the text of each module of a user by name; the digest of its file where it has no text, as a compiled
    extension. `packages` has the versions of the installed packages that these modules import, and of those that the
    packages require. `without_source` has a sentence for each module, or import, whose text is not known. `edited` are
    the modules whose files were changed after this process had imported them.
    """

    sources: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    without_source: list[str] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)


def reached_modules(
    names: Iterable[str], code: Sequence[str] = (), folder: Path | None = None, *, as_imported: bool = True
) -> ReachedModules:
    """Return the modules of a user among `names`, and those that they and `code` import, at any depth.

    Parameters
    ----------
    names : iterable of str
        Names of modules, which count as a user's even if they are installed.
    code : sequence of str
        Texts without a module, such as the cells of a notebook.
    folder : Path, optional
        Folder whose modules come first. By default the working folder comes last.
    as_imported : bool
        Whether an imported module has the source that it had when this function saw it first. Otherwise it has the
        present source, which a new process would run.

    Notes
    -----
    Import statements count anywhere in a module except below `if TYPE_CHECKING`. So do `import_module("name")` and
    `__import__("name")`. The standard library, peak_trade and installed packages are not followed. A package that is
    installed in editable mode is a user's.

    """
    names = list(names)
    search = _Search(frozenset(name.partition(".")[0] for name in names), folder, as_imported)
    for text in code:
        search.follow(text, "", (), "a notebook")
    for name in names:
        search.add(name, ())
    search.finish()
    return search.found


def has_file(module: str) -> bool:
    """Return whether an imported module was read from a file; a module of notebook cells was not."""
    held = sys.modules.get(module)
    return bool(getattr(held, "__file__", None)) or hasattr(held, "__path__")


def is_installed(module: str) -> bool:
    """Return whether an imported module is of the standard library or an installed package; also one without a file."""
    if module == "__main__":
        return False
    place = getattr(sys.modules.get(module), "__file__", None)
    return place is None or _is_installed_place(place)


def package_versions(module: str) -> dict[str, str]:
    """Return the version of the package of a module, and of each package that it requires; empty if it has none."""
    found: dict[str, str] = {}
    waiting = list(_distributions_of(module.partition(".")[0]))
    while waiting:
        name = waiting.pop()
        known = _distribution(name)
        if known is not None and known[0] not in found:
            found[known[0]] = known[1]
            waiting += known[2]
    return found


class _Search:
    """A search along imports, breadth first."""

    def __init__(self, own: frozenset[str], folder: Path | None, as_imported: bool) -> None:
        self.found = ReachedModules()
        self._own = own - {PACKAGE}
        self._folder = None if folder is None else str(folder.resolve())
        self._as_imported = as_imported
        self._specs: dict[str, ModuleSpec | None] = {}
        self._waiting: list[tuple[str, tuple[str, ...]]] = []
        self._done: set[str] = set()

    def add(self, name: str, folders: tuple[str, ...]) -> None:
        """Add a module and the packages that hold it; `folders` are searched after all others."""
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            inner = ".".join(parts[:end])
            if inner not in self._done:
                self._done.add(inner)
                self._waiting.append((inner, folders))

    def finish(self) -> None:
        """Read the modules, and those that they import, until none is left."""
        while self._waiting:
            name, folders = self._waiting.pop()
            top = name.partition(".")[0]
            if top == PACKAGE:
                continue
            spec = self._spec(name, folders)
            if spec is None or spec.origin in ("built-in", "frozen"):
                continue
            if top not in self._own and spec.origin is not None and _is_installed_place(spec.origin):
                if not spec.origin.startswith(_STANDARD) or _INSTALLED & set(Path(spec.origin).parts):
                    self.found.packages |= package_versions(name)
                continue
            self._read(name, spec)

    def follow(self, text: str, package: str, folders: tuple[str, ...], where: str) -> None:
        """Add the modules that the imports of a text name; `package` is that of relative imports."""
        named, computed = imports_of(text)
        for each in named:
            base = _absolute(each, package)
            if base:
                self.add(base, folders)
                for name in each.names:
                    self._add_submodule(f"{base}.{name}", folders)
        self.found.without_source += [
            f"{where}, line {line}: {call} runs code that no import names" for line, call in computed
        ]

    def _add_submodule(self, name: str, folders: tuple[str, ...]) -> None:
        if name.partition(".")[0] in (PACKAGE, *sys.stdlib_module_names):
            return
        if name.endswith(".*"):
            text = self.found.sources.get(name[:-2]) or self._text_of(name[:-2], folders)
            for exported in _exported(text):
                self._add_submodule(f"{name[:-1]}{exported}", folders)
        elif self._spec(name, folders) is not None:
            self.add(name, folders)

    def _text_of(self, name: str, folders: tuple[str, ...]) -> str:
        spec = self._spec(name, folders)
        return "" if spec is None else _text(spec) or ""

    def _read(self, name: str, spec: ModuleSpec) -> None:
        if spec.origin is None or not Path(spec.origin).is_file():
            return
        text = _text(spec)
        if text is None:
            self.found.sources[name] = digest_bytes(Path(spec.origin).read_bytes())
            self.found.without_source.append(f"{name} is compiled")
            return
        if self._as_imported:
            present, text = text, _as_imported(name, spec, text)
            self.found.edited += [name] if text != present else []
        self.found.sources[name] = text
        is_package = spec.submodule_search_locations is not None
        package = name if is_package else name.rpartition(".")[0]
        if name == "__main__":
            package = str(getattr(sys.modules.get(name), "__package__", None) or "")
        roots = list(map(str, Path(spec.origin).parents))[name.count(".") + is_package :][:1]
        self.follow(text, package, tuple(roots), name)

    def _spec(self, name: str, folders: tuple[str, ...]) -> ModuleSpec | None:
        if name not in self._specs:
            self._specs[name] = self._found_spec(name, folders)
        return self._specs[name]

    def _found_spec(self, name: str, folders: tuple[str, ...]) -> ModuleSpec | None:
        parent = name.rpartition(".")[0]
        if parent:
            within = self._spec(parent, folders)
            loaded = _loaded_spec(name)
            if loaded is not None and (within is None or within is _loaded_spec(parent)):
                return loaded
            places = None if within is None else within.submodule_search_locations
            return None if places is None else PathFinder.find_spec(name, list(places))
        first = None if self._folder is None else PathFinder.find_spec(name, [self._folder])
        if first is not None and first.origin is not None:
            return first
        last = [*folders, self._folder or str(Path.cwd())]
        return _loaded_spec(name) or _findable(name) or PathFinder.find_spec(name, last)


def _loaded_spec(name: str) -> ModuleSpec | None:
    held = sys.modules.get(name)
    spec = getattr(held, "__spec__", None)
    if isinstance(spec, ModuleSpec) and spec.name == name:
        return spec
    place = getattr(held, "__file__", None)
    return None if place is None else ModuleSpec(name, SourceFileLoader(name, place), origin=place)


def _findable(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, AttributeError, ValueError):
        return None


def _text(spec: ModuleSpec) -> str | None:
    """Return the source of a module; None if it is compiled."""
    origin = str(spec.origin)
    if origin.endswith(".py") or isinstance(spec.loader, SourceFileLoader):
        try:
            return importlib.util.decode_source(Path(origin).read_bytes())
        except (OSError, SyntaxError, UnicodeDecodeError):
            return None
    return None


def _as_imported(name: str, spec: ModuleSpec, text: str) -> str:
    if getattr(sys.modules.get(name), "__spec__", None) is not spec:
        return text
    known = _seen.get(name)
    if known is None or known[0] is not spec:
        known = _seen[name] = spec, text
    return known[1]


@lru_cache(maxsize=4_096)
def _is_installed_place(place: str) -> bool:
    if not _INSTALLED.isdisjoint(Path(place).parts):
        return True
    return place.startswith((*_STANDARD, f"{site.getusersitepackages()}{os.sep}", f"{_PACKAGE_FOLDER}{os.sep}"))


def _absolute(each: _Import, package: str) -> str:
    """Return the name of an imported module without leading dots; empty if there is no such package."""
    if not each.level:
        return each.module
    parts = package.split(".")
    if not package or each.level > len(parts):
        return ""
    return ".".join([*parts[: len(parts) - each.level + 1], *filter(None, [each.module])])


@lru_cache(maxsize=1_024)
def imports_of(text: str) -> tuple[tuple[_Import, ...], tuple[tuple[int, str], ...]]:
    """Return the imports that a text names, and the line and the function of each that it does not name.

    A text that is not Python has none.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return (), ()
    visitor = _Visitor()
    visitor.visit(tree)
    return tuple(visitor.named), tuple(visitor.computed)


class _Visitor(ast.NodeVisitor):
    def __init__(self) -> None:
        self.named: list[_Import] = []
        self.computed: list[tuple[int, str]] = []

    def visit_Import(self, node: ast.Import) -> None:
        self.named += [_Import(0, each.name) for each in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.named.append(_Import(node.level, node.module or "", tuple(each.name for each in node.names)))

    def visit_If(self, node: ast.If) -> None:
        is_for_types = _last_name(node.test) == "TYPE_CHECKING"
        for each in [*([] if is_for_types else [node.test, *node.body]), *node.orelse]:
            self.visit(each)

    def visit_Call(self, node: ast.Call) -> None:
        call = _last_name(node.func)
        if call in ("import_module", "__import__"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                name = first.value.lstrip(".")
                self.named.append(_Import(len(first.value) - len(name), name))
            else:
                self.computed.append((node.lineno, call))
        elif call in _RUNS_TEXT and (call != "exec" or isinstance(node.func, ast.Name)):
            self.computed.append((node.lineno, call))
        self.generic_visit(node)


def _last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


@lru_cache(maxsize=256)
def _exported(text: str) -> tuple[str, ...]:
    """Return the names in the list `__all__` of a module."""
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return tuple(
        each.value
        for statement in statements
        if isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign)
        and "__all__" in {part.id for part in ast.walk(statement) if isinstance(part, ast.Name)}
        for each in ast.walk(statement)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    )


def _distributions_of(top: str) -> Iterator[str]:
    for name in (top, top.replace("_", "-"), _OTHER_NAMES.get(top, top)):
        if _distribution(name) is not None:
            return iter([name])
    if top in sys.stdlib_module_names:
        return iter(())
    return iter(_by_module().get(top, ()))


@cache
def _by_module() -> dict[str, list[str]]:
    return dict(packages_distributions())


@cache
def _distribution(name: str) -> tuple[str, str, tuple[str, ...]] | None:
    """Return name, version and requirements of an installed package; None if it is not installed."""
    try:
        needed = [each for each in requires(name) or () if "extra ==" not in each]
        plain = re.sub(r"[-_.]+", "-", name).lower()
        return plain, version(name), tuple(re.split(r"[^\w.-]", each, maxsplit=1)[0] for each in needed)
    except (PackageNotFoundError, ValueError):
        return None
