"""The declared return history of a session: loaded at its start, and the same again when it is resumed or replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peak_trade.core.bars import Bars
from peak_trade.core.digest import digest_of
from peak_trade.core.errors import ConfigError, DataError, SessionError
from peak_trade.core.time import Timeframe, iso, parse_utc, to_ns
from peak_trade.journal.events import BarEvent
from peak_trade.journal.files import read_events, read_manifest
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.feeds.base import bar_events
from peak_trade.sessions.store import find_session
from peak_trade.wiring.gates import declared_history, require_sources


def check_sources(config: SessionConfig) -> None:
    """Refuse limits that need what the session can't have; ConfigError.

    A recording brings no order books. A live session whose own bars are its only history must start with enough days.
    """
    if config.feed == "recorded":
        require_sources(config.risk, "a recorded session")
    rules = None if config.risk is None else config.risk.var
    if config.feed != "live" or rules is None or rules.source != "run":
        return
    n_days = config.n_history * Timeframe.parse(config.timeframe).seconds // 86_400
    if n_days <= rules.min_days:
        raise ConfigError(
            f"risk.var.source was 'run': the {config.n_history} bars a live session starts with are {n_days} days, "
            f'and risk.var.min_days is {rules.min_days}. Name stored bars, for example source = "1d".'
        )


def with_history(manifest: dict[str, Any], config: SessionConfig, first: int, until: int) -> dict[str, Any]:
    """Return a manifest that names the declared history too, where limits have one: its end and its digest.

    `first` is the session's first close and `until` the last close of its history, ns UTC.
    """
    past = _load(config, first, until)
    if not past:
        return manifest
    digests = manifest["digests"] | {"history": _digest(past)}
    return manifest | {"digests": digests, "history_end": iso(max(int(part.times[-1]) for part in past))}


def history_of(folder: Path, config: SessionConfig) -> tuple[Bars, ...]:
    """Return the declared history that a session started on; SessionError when the store's bars are others now."""
    recorded = read_manifest(folder)
    wanted = recorded.get("digests", {}).get("history")
    if wanted is None:
        return ()
    until = to_ns(parse_utc(recorded["history_end"], "history_end"))
    try:
        past = _load(config, until, until)
    except DataError as error:
        raise SessionError(f"{folder.name}: the history that the session started on is gone. {error}") from None
    if _digest(past) != wanted:
        raise SessionError(
            f"{folder.name}: the store's history is not the one that the session started on; restore it, "
            "or start a new session."
        )
    return past


def _load(config: SessionConfig, first: int, until: int) -> tuple[Bars, ...]:
    return declared_history(config.risk, {config.symbol: config.exchange}, first, until)


def _digest(past: tuple[Bars, ...]) -> str:
    return digest_of(sorted(part.digest() for part in past))


def check_span(config: SessionConfig, recording: Bars | None) -> None:
    """Raise ConfigError when a recording has no bar from the start on."""
    if recording is None or config.start is None:
        return
    last = int(recording.times[-1])
    if last < to_ns(parse_utc(config.start, "start")):
        raise ConfigError(f"start was {config.start}: the last bar of the recording closes at {iso(last)}.")


def first_bar(config: SessionConfig, recording: Bars | None, now: int) -> int:
    """Return where the past of a session without history begins, ns UTC; a shadow's is its session's."""
    if recording is not None:
        return int(recording.times[0])
    if config.follow is None:
        return now
    followed = read_manifest(find_session(config.follow)).get("history_start")
    return now if followed is None else to_ns(parse_utc(str(followed), "history_start"))


def hold_against_store(folder: Path, recording: Bars | None) -> None:
    """Raise SessionError when the store's bars are not the manifest's, or a recorded bar is not the store's."""
    if recording is None:
        return
    if recording.digest() != read_manifest(folder).get("digests", {}).get("data"):
        raise SessionError(
            f"{folder.name}: the store's bars are not the ones that the session started on; restore them, "
            "or start a new session."
        )
    true = {bar.ts_event: bar for bar in bar_events(recording)}
    for event in read_events(folder):
        if isinstance(event, BarEvent) and event != true.get(event.ts_event):
            raise SessionError(
                f"{folder.name}: the journal holds a bar of {iso(event.ts_event)} that is not the store's. "
                "Start a new session."
            )
