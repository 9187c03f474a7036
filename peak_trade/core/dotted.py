"""Nested mappings as one mapping of dotted names and back, and the values that texts stand for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping as one mapping of dotted names to values; an empty mapping inside is a value.

    Examples
    --------
    >>> flat({"costs": {"fee_bps": 10.0}, "seed": 0})
    {'costs.fee_bps': 10.0, 'seed': 0}

    """
    found: dict[str, Any] = {}
    for name, value in nested.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
    return found


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested mapping of dotted names; `flat` of it is the mapping given."""
    found: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        group = found
        for parent in parents:
            group = group.setdefault(parent, {})
        group[last] = value
    return found


def value_of(text: Any) -> Any:
    """Return the value of a text: that of its JSON, else the text itself. Other values are returned as they are."""
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text
