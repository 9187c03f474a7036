"""The trading state on disk: it survives a restart, and a named person changes it from another process."""

from __future__ import annotations

import json
from pathlib import Path

from peak_trade.core.digest import canonical_json
from peak_trade.core.errors import ConfigError
from peak_trade.core.files import write_text
from peak_trade.core.values import TradingState
from peak_trade.data.workspace import workspace
from peak_trade.journal.files import read_manifest
from peak_trade.risk.state import Control, climb, control_from_dict, control_to_dict
from peak_trade.sessions.config import SessionConfig

FILE_NAME = "trading_state.json"


def read_control(folder: Path) -> Control:
    """Return the trading state kept in a folder: active when there is none yet, halted when it can't be read."""
    try:
        text = (folder / FILE_NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return Control()
    except (OSError, UnicodeDecodeError):
        return control_from_dict({})
    try:
        record = json.loads(text)
    except ValueError:
        return control_from_dict({})
    return control_from_dict(record if isinstance(record, dict) else {})


def write_control(folder: Path, control: Control) -> None:
    """Keep the trading state in a folder: whole or not at all, and on disk before this returns."""
    file = folder / FILE_NAME
    if file.is_dir():
        raise ConfigError(f"{file} is a folder, so the trading state can't be kept there. Move it away.")
    write_text(file, canonical_json(control_to_dict(control)) + "\n")


def refuse_when_halted() -> Control:
    """Return the workspace's trading state; ConfigError while it is halted."""
    control = read_control(workspace())
    if control.state is TradingState.HALTED:
        raise ConfigError(f"trading is halted ({control.reason}). Bring it back with `peak-trade risk recover`.")
    return control


def state_to_start_in(config: SessionConfig, now: int) -> Control:
    """Return the workspace's trading state at `now`, ns UTC; ConfigError when a session may not start in it."""
    control = climb(refuse_when_halted(), now)
    if control.state is TradingState.REDUCING and config.risk is None:
        raise ConfigError(
            f"trading is reducing ({control.reason}), and a session without limits can't be held to that. Name a run "
            "file with a [risk] table, or bring trading back with `peak-trade risk recover`."
        )
    return control


def dated(control: Control, now: int, session_now: int | None) -> Control:
    """Return the workspace's control in a session's time.

    What has passed since it changed, up to `now` by the machine's clock, has passed up to `session_now` there (both ns
    UTC); None: the session's clock is the machine's.
    """
    if control.state is TradingState.ACTIVE and not control.recovered_at:
        return Control(throttled=control.throttled)
    shift = 0 if session_now is None else session_now - now
    return Control(
        state=control.state,
        reason=control.reason,
        changed_at=control.changed_at + shift,
        recovered_at=control.recovered_at and control.recovered_at + shift,
        ramp=control.ramp,
        throttled=control.throttled,
        ramp_stage=control.ramp_stage,
    )


def start_of(folder: Path) -> Control:
    """Return the trading state that a session started in, as its manifest records it."""
    record = read_manifest(folder).get("trading_state")
    return Control() if record is None else control_from_dict(record)
