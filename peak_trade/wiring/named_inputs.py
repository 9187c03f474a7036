"""Digests of what plain values name: files, bars of the store, and modules of a user."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from peak_trade.core.digest import digest_bytes, digest_of, environment_digest, package_digest
from peak_trade.core.errors import ConfigError
from peak_trade.core.files import read_bytes
from peak_trade.core.settings import read_toml
from peak_trade.data.extra_columns import list_columns
from peak_trade.data.store import scan_store
from peak_trade.wiring.user_modules import reached_modules

_PART = re.compile(r"\s*[^\W\d][\w.]*:[^\W\d]\w*\s*")
"""Text that names a part of a user, `package.module:Name`."""


def inputs_digest(values: Mapping[str, Any]) -> str:
    """Return the digest of the arguments of a command, and of all that they name; equal commands have an equal one.

    These are the files and the files that TOML files name, the bars of the symbols, the modules of a user and what they
    import, this package and the environment.
    """
    files = named_files(values, Path())
    texts = {*texts_in(values), *(text for path in files.values() for text in texts_in(table_in(path)))}
    words = {word.strip() for text in texts for word in (text, *re.split("[,=]", text))}
    stored, _ = scan_store()
    reached = reached_modules(sorted(modules_in(words)), as_imported=False)
    return digest_of(
        [
            json.dumps(values, sort_keys=True, default=str),
            {text: file_digest(path) for text, path in files.items()},
            [[bars.exchange, bars.symbol, str(bars.timeframe), bars.digest] for bars in stored if bars.symbol in words],
            [[held.exchange, held.name, held.digest] for held in list_columns() if held.symbol in words],
            [sorted(reached.sources.items()), reached.packages],
            [package_digest(), environment_digest()],
        ]
    )


def named_files(values: Mapping[str, Any], root: Path) -> dict[str, Path]:
    """Return the files below a folder that values name, and the files that TOML files among them name, by text."""
    found: dict[str, Path] = {}
    waiting = texts_in(values)
    while waiting:
        text = waiting.pop()
        path = root / text
        if text not in found and os.path.isfile(path):
            found[text] = path
            waiting += texts_in(table_in(path))
    return found


def modules_in(texts: Iterable[str]) -> set[str]:
    """Return the modules of the parts of a user that texts name, as `package.module:Name` or in a list by comma."""
    return {part.strip().partition(":")[0] for text in texts for part in text.split(",") if _PART.fullmatch(part)}


def file_digest(path: Path) -> str:
    """Return the digest of a file; of a TOML file that of its values, which their order does not change."""
    table = table_in(path)
    return digest_of(json.dumps(table, sort_keys=True, default=str)) if table else digest_bytes(read_bytes(path))


def table_in(path: Path) -> Mapping[str, Any]:
    """Return the values of a TOML file; none for any other file."""
    try:
        return read_toml(path) if path.suffix == ".toml" else {}
    except ConfigError:
        return {}


def texts_in(value: Any) -> list[str]:
    """Return the texts and paths in a value, and in the tables and lists within it."""
    if isinstance(value, Mapping):
        return [text for each in value.values() for text in texts_in(each)]
    if isinstance(value, list | tuple):
        return [text for each in value for text in texts_in(each)]
    return [str(value)] if isinstance(value, str | Path) and str(value) else []
