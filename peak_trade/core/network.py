"""Rules for every connection that leaves this machine: encrypted, except to the machine itself."""

from __future__ import annotations

import errno
import os
from urllib.parse import SplitResult, urljoin, urlsplit

from peak_trade.core.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts that are this machine."""

_QUOTED = 120


def is_protected(url: str) -> bool:
    """Return whether a URL names a host by https, or this machine by http."""
    parts = _split(url)
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))


def place_of(url: str, base: str = "") -> str:
    """Return scheme and host of a URL, which hold neither keys nor signatures.

    A relative URL is read against `base`. A URL without a host is "an unreadable address".
    """
    parts = _split(url, base)
    if not parts.hostname:
        return "an unreadable address"
    place = parts.netloc.rpartition("@")[2]
    return (f"{parts.scheme}://{place}" if parts.scheme else place)[:_QUOTED]


def _split(url: str, base: str = "") -> SplitResult:
    try:
        parts = urlsplit(urljoin(base, url))
        parts.port  # noqa: B018 - raises ValueError
    except ValueError:
        return urlsplit("")
    return parts


def unopened(host: str, port: int, option: str, error: OSError | UnicodeError) -> ConfigError:
    """Return the error of a port that could not be opened; `option` is the one that names another port."""
    code = error.errno if isinstance(error, OSError) else None
    if code is None or code < 0 or code == errno.EADDRNOTAVAIL:  # errors of names are negative
        return ConfigError(f"host {host!r} is not an address of this machine. Name one with --host.")
    return ConfigError(
        f"port {port} of {host} could not be opened ({os.strerror(code)}). Name another one with {option}."
    )
