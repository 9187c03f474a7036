"""Former names of options and JSON keys, valid for one version; a note names the current ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from peak_trade.cli.output import note

OPTIONS: Mapping[str, Mapping[str, str]] = {"session run": {"--beside": "--follow"}}
"""Former names of the options of a verb and their current names. Remove them with the next version."""


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


def with_former_keys(content: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """Return JSON content with each renamed key under its former name, too, and note the former names."""
    note_former_keys(renamed)
    return {**content, **{former: content[current] for former, current in renamed.items()}}


def note_former_keys(renamed: Mapping[str, str]) -> None:
    """Note that JSON content has former names of keys."""
    names = ", ".join(f"{former} (use {current})" for former, current in renamed.items())
    note(f"these JSON keys are deprecated and will be removed in the next version: {names}.")
