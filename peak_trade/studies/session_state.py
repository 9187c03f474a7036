"""The trading state that a session starts in: the workspace's, in the session's own time."""

from __future__ import annotations

from pathlib import Path

from peak_trade.core.errors import ConfigError
from peak_trade.core.values import TradingState
from peak_trade.data.workspace import workspace
from peak_trade.journal.files import read_manifest
from peak_trade.risk.state import Control, climb, from_record
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.trading_state import read_control


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
    return Control() if record is None else from_record(record)
