"""The declared return history of a session: loaded at its start, and the same again when it is resumed or replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peak_trade.core.bars import Bars
from peak_trade.core.digest import digest_of
from peak_trade.core.errors import ConfigError, DataError, SessionError
from peak_trade.core.time import Timeframe, iso, parse_utc, to_ns
from peak_trade.journal.files import read_manifest
from peak_trade.sessions.config import SessionConfig
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
