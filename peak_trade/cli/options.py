"""What several verbs take: key=value pairs."""

from __future__ import annotations

from collections.abc import Sequence

from peak_trade.core.errors import ConfigError


def pairs(given: Sequence[str] | None, option: str = "-p") -> dict[str, str]:
    """Read `key=value` texts; ConfigError on one without a key or given twice."""
    read: dict[str, str] = {}
    for text in given or ():
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ConfigError(f"{option} was {text!r}: write key=value, for example {option} fast=10.")
        if key in read:
            raise ConfigError(f"{option} {key} is given twice, as {read[key]} and as {value}. Give it once.")
        read[key] = value
    return read
