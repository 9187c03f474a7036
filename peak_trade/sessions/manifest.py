"""The manifest of a session, and the check of stored bars against it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peak_trade.core.bars import Bars
from peak_trade.core.digest import digest_of, environment_digest
from peak_trade.core.errors import DataError, SessionError
from peak_trade.core.time import iso, parse_utc, to_ns
from peak_trade.journal.events import BarEvent
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.journal.versions import JOURNAL_VERSION
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.feeds.base import bar_events
from peak_trade.sessions.store import find_session
from peak_trade.wiring.digests import code_digest, data_digest
from peak_trade.wiring.feeds import FEEDS
from peak_trade.wiring.gates import declared_history


def make_manifest(
    session_id: str, config: SessionConfig, code: Sequence[Any], recording: Sequence[Bars] | None, history_start: int
) -> dict[str, Any]:
    """Return the content of a session's manifest; `code` are the parts of `code_digest`, `history_start` is ns UTC."""
    digests = {
        "config": config.digest(),
        "code": code_digest(code),
        "seed": digest_of(config.trading.seed),
        "environment": environment_digest(),
    }
    if recording is not None:
        digests["data"] = _data_digest(recording)
    return {
        "version": JOURNAL_VERSION,
        "session_id": session_id,
        "config": config.model_dump(mode="json"),
        "digests": digests,
        "versions": {"python": platform.python_version(), "ccxt": version("ccxt")},
        "seed": config.trading.seed,
        "clock": FEEDS[config.feed].clock,
        "history_start": iso(history_start),
    }


def with_history(manifest: dict[str, Any], config: SessionConfig, first: int, until: int) -> dict[str, Any]:
    """Return a manifest with the end and the digest of the declared return history, if the limits have one.

    `first` is the session's first close and `until` the last close of its history, ns UTC.
    """
    past = _load_history(config, first, until)
    if not past:
        return manifest
    digests = manifest["digests"] | {"history": _digest(past)}
    return manifest | {"digests": digests, "history_end": iso(max(int(part.times[-1]) for part in past))}


def history_of(folder: Path, config: SessionConfig) -> tuple[Bars, ...]:
    """Load the declared return history that a session started on; SessionError if the store has other bars now."""
    recorded = read_manifest(folder)
    wanted = recorded.get("digests", {}).get("history")
    if wanted is None:
        return ()
    until = to_ns(parse_utc(recorded["history_end"], "history_end"))
    try:
        past = _load_history(config, until, until)
    except DataError as error:
        raise SessionError(f"{folder.name}: the history that the session started on is gone. {error}") from None
    if _digest(past) != wanted:
        raise SessionError(
            f"{folder.name}: the store's history is not the one that the session started on; restore it, "
            "or start a new session."
        )
    return past


def first_bar(config: SessionConfig, recording: Sequence[Bars] | None, now: int) -> int:
    """Return the start of the history of a session without history bars, ns UTC; a shadow takes its session's."""
    if recording is not None:
        return min(int(part.times[0]) for part in recording)
    if config.follow is None:
        return now
    followed = read_manifest(find_session(config.follow)).get("history_start")
    return now if followed is None else to_ns(parse_utc(str(followed), "history_start"))


def check_against_store(folder: Path, recording: Sequence[Bars] | None) -> None:
    """Raise SessionError if the store's bars are not the manifest's, or a recorded bar is not the store's."""
    if recording is None:
        return
    if _data_digest(recording) != read_manifest(folder).get("digests", {}).get("data"):
        raise SessionError(
            f"{folder.name}: the store's bars are not the ones that the session started on; restore them, "
            "or start a new session."
        )
    stored = {(bar.ts_event, bar.symbol): bar for part in recording for bar in bar_events(part)}
    for event in read_events(folder):
        if isinstance(event, BarEvent) and event != stored.get((event.ts_event, event.symbol)):
            raise SessionError(
                f"{folder.name}: the journal holds a bar of {iso(event.ts_event)} that is not the store's. "
                "Start a new session."
            )


def _load_history(config: SessionConfig, first: int, until: int) -> tuple[Bars, ...]:
    return declared_history(config.risk, dict.fromkeys(config.symbol_names, config.exchange), first, until)


def _data_digest(recording: Sequence[Bars]) -> str:
    """Return the digest of a recording; that of one symbol is the digest of its bars."""
    return recording[0].digest() if len(recording) == 1 else data_digest(recording)


def _digest(past: tuple[Bars, ...]) -> str:
    return digest_of(sorted(part.digest() for part in past))
