"""Content digests: equal content has an equal digest in every process, under any hash seed."""

from __future__ import annotations

import hashlib
import json
import sys
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any


def canonical_json(content: Any) -> str:
    """Return content as JSON with sorted keys and no blanks; ValueError for NaN and infinities."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(content: Any) -> str:
    """Return the SHA-256 of the canonical JSON of content, as 64 hex digits."""
    return digest_bytes(canonical_json(content).encode())


def digest_bytes(*chunks: bytes) -> str:
    """Return the SHA-256 of the concatenated chunks, as 64 hex digits."""
    state = hashlib.sha256()
    for chunk in chunks:
        state.update(chunk)
    return state.hexdigest()


def package_digest() -> str:
    """Return the digest of every source file of the installed peak_trade package."""
    root = Path(__file__).parents[1]
    stamped = ((path, path.stat()) for path in root.rglob("*.py"))
    return _sources_digest(root, frozenset((path, stat.st_mtime_ns, stat.st_size) for path, stat in stamped))


@lru_cache(maxsize=1)
def _sources_digest(root: Path, stamped: frozenset[tuple[Path, int, int]]) -> str:
    chunks: list[bytes] = []
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path, _, _ in stamped):
        chunks += [name.encode(), path.read_bytes()]
    return digest_bytes(*chunks)


ENVIRONMENT = ("numpy", "pandas", "numba", "pyarrow", "scipy", "jumpmodels", "scikit-learn", "skfolio")
"""Packages whose versions can change a number."""


@cache
def environment_digest() -> str:
    """Return the digest of the Python version and of every package that can change a number."""
    python = ".".join(map(str, sys.version_info[:3]))
    return digest_of({"python": python} | {name: version(name) for name in ENVIRONMENT})
