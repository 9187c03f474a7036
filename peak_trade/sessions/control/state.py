"""The trading state of the workspace on disk, and the one in which a session starts."""

from __future__ import annotations

import json
from pathlib import Path

from peak_trade.core.digest import canonical_json
from peak_trade.core.errors import ConfigError
from peak_trade.core.files import read_text, write_text
from peak_trade.core.values import TradingState
from peak_trade.data.workspace import workspace
from peak_trade.journal.files import read_manifest
from peak_trade.risk.state import Control, climb, control_from_dict, control_to_dict
from peak_trade.sessions.config import SessionConfig

FILE_NAME = "trading_state.json"


def read_control(folder: Path) -> Control:
    """Return the trading state of a folder: active if there is none yet, halted if it can not be read."""
    try:
        record = json.loads(read_text(folder / FILE_NAME))
    except FileNotFoundError:
        return Control()
    except (OSError, ValueError, RecursionError):
        return control_from_dict({})
    return control_from_dict(record if isinstance(record, dict) else {})


def write_control(folder: Path, control: Control) -> None:
    """Write the trading state to a folder, atomically and durably."""
    file = folder / FILE_NAME
    if file.is_dir():
        raise ConfigError(f"{file} is a folder, so the trading state can not be written. Move the folder away.")
    write_text(file, canonical_json(control_to_dict(control)) + "\n")


def refuse_when_halted() -> Control:
    """Return the workspace's trading state; ConfigError while it is halted."""
    control = read_control(workspace())
    if control.state is TradingState.HALTED:
        raise ConfigError(f"trading is halted ({control.reason}). Recover with `peak-trade risk recover`.")
    return control


def starting_control(config: SessionConfig, now: int) -> Control:
    """Return the workspace's trading state at `now`, ns UTC; ConfigError if a session can not start in it."""
    control = climb(refuse_when_halted(), now)
    if control.state is TradingState.REDUCING and config.risk is None:
        raise ConfigError(
            f"trading is reducing ({control.reason}), which a session without limits can not observe. Name a run "
            "file with a [risk] table, or recover with `peak-trade risk recover`."
        )
    return control


def in_session_time(control: Control, now: int, session_now: int | None) -> Control:
    """Return the workspace's control with its times on the clock of a session.

    The time since the last change is the same on both clocks: it ends at `now` on the machine's clock and at
    `session_now` on the session's, both ns UTC. None: the session's clock is the machine's.
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


def control_at_start(folder: Path) -> Control:
    """Return the trading state in which a session started, from its manifest."""
    record = read_manifest(folder).get("trading_state")
    return Control() if record is None else control_from_dict(record)
