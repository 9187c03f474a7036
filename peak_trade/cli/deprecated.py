"""Former names of options and JSON keys, valid for one version; a note names the current ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from peak_trade.cli.output import note

OPTIONS: Mapping[str, Mapping[str, str]] = {
    "session run": {"--beside": "--follow"},
    "audit tidy": {"--config": "--telemetry"},
}
"""Former names of the options of a verb and their current names. Remove them with the next version."""

RUN_KEYS: Mapping[str, str] = {"standing": "risk_status", "why": "no_trade_reason"}
"""Former JSON keys of a run and the keys that replace them. Remove them with the next version."""

SESSION_KEYS: Mapping[str, str] = {"strategy": "strategies", "symbol": "symbols"}
"""Former JSON keys of a session, whose values are texts, and the lists that replace them. Remove them likewise."""


def with_current_options(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command line with the current names of options, and note each former name."""
    verb = [word for word in arguments[:2] if not word.startswith("-")]
    renamed = OPTIONS.get(" ".join(verb)) or OPTIONS.get(verb[0] if verb else "") or {}
    end = arguments.index("--") if "--" in arguments else len(arguments)
    current = []
    for word in arguments[:end]:
        name, separator, value = word.partition("=")
        if name in renamed:
            note(f"{name} is deprecated and will be removed in the next version. Use {renamed[name]}.")
            word = f"{renamed[name]}{separator}{value}"
        current.append(word)
    return [*current, *arguments[end:]]


def with_former_keys(content: dict[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """Add each renamed key of JSON content under its former name, too, and note the former names.

    `renamed` maps former to current keys. A key of an inner mapping, or of the mappings in an inner list, is written as
    `outer.inner`; its outer keys are current ones.
    """
    note_former_keys(renamed)
    for former, current in renamed.items():
        outer, _, key = current.rpartition(".")
        for parent in _mappings(content, outer):
            parent[former.rpartition(".")[2]] = parent[key]
    return content


def _mappings(content: Any, path: str) -> Iterator[dict[str, Any]]:
    if isinstance(content, list):
        for each in content:
            yield from _mappings(each, path)
    elif not path:
        yield content
    else:
        key, _, rest = path.partition(".")
        yield from _mappings(content[key], rest)


def note_former_keys(renamed: Mapping[str, str]) -> None:
    """Note that JSON content has former names of keys."""
    names = ", ".join(f"{former} (use {current})" for former, current in renamed.items())
    note(f"these JSON keys are deprecated and will be removed in the next version: {names}.")
