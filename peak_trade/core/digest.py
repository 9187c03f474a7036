"""Content digests: equal content has an equal digest in every process, under any hash seed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

_READING = Lock()
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(content: Any) -> str:
    """Return content as JSON with sorted keys and no blanks; ValueError for NaN and infinities."""
    return _CANONICAL.encode(content)


def digest_of(content: Any) -> str:
    """Return the SHA-256 of the canonical JSON of content, as 64 hex digits."""
    return digest_bytes(canonical_json(content).encode())


def digest_bytes(*chunks: bytes) -> str:
    """Return the SHA-256 of the concatenated chunks, as 64 hex digits."""
    return digest_chunks(chunks)


def digest_chunks(chunks: Iterable[bytes | memoryview]) -> str:
    """Return the SHA-256 of the concatenated chunks, as 64 hex digits; one chunk at a time is in memory."""
    state = hashlib.sha256()
    for chunk in chunks:
        state.update(chunk)
    return state.hexdigest()


def package_digest() -> str:
    """Return the digest of every source file of the installed peak_trade package."""
    root = Path(__file__).parents[1]
    return _sources_digest(root, frozenset(_stamped(str(root))))


def _stamped(folder: str) -> Iterator[tuple[str, int, int]]:
    """Yield path, time of change and size of each source file below a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                status = entry.stat()
                yield entry.path, status.st_mtime_ns, status.st_size
            elif entry.name != "__pycache__" and entry.is_dir():
                yield from _stamped(entry.path)


@lru_cache(maxsize=1)
def _sources_digest(root: Path, stamped: frozenset[tuple[str, int, int]]) -> str:
    chunks: list[bytes] = []
    for name, path in sorted((Path(path).relative_to(root).as_posix(), path) for path, _, _ in stamped):
        chunks += [name.encode(), Path(path).read_bytes()]
    return digest_bytes(*chunks)


ENVIRONMENT = (
    "numpy",
    "pandas",
    "numba",
    "llvmlite",
    "pyarrow",
    "scipy",
    "jumpmodels",
    "scikit-learn",
    "skfolio",
    "cvxpy-base",
    "clarabel",
)
"""Packages whose versions can change a number: those that compute, and the compilers and solvers that they use."""


def installed_version(name: str) -> str:
    """Return the version of an installed package. Threads that read versions at once would not find all packages."""
    with _READING:
        return version(name)


@cache
def environment_digest() -> str:
    """Return the digest of Python's version, operating system, architecture and each package of ENVIRONMENT."""
    machine = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    return digest_of(machine | {name: installed_version(name) for name in ENVIRONMENT})
