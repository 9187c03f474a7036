"""Run a session from its configuration, and resume one that was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peak_trade.core.bars import Bars
from peak_trade.core.errors import SessionError
from peak_trade.core.time import NS_PER_SECOND, Timeframe
from peak_trade.core.values import TradingState
from peak_trade.data.workspace import workspace
from peak_trade.journal.events import BarEvent
from peak_trade.journal.files import read_events
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.sinks import level_filter
from peak_trade.journal.telemetry import TelemetrySettings, make_sinks
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.risk.state import Control, control_to_dict
from peak_trade.sessions.config import MAX_BARS, SessionConfig, SessionContext
from peak_trade.sessions.control.commands import is_kill_pending
from peak_trade.sessions.control.state import (
    control_at_start,
    in_session_time,
    read_control,
    refuse_when_halted,
    starting_control,
)
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.feeds.base import Feed
from peak_trade.sessions.manifest import check_against_store, first_bar, history_of, make_manifest, with_history
from peak_trade.sessions.parts import (
    buffer_of,
    check_sources,
    check_span,
    evaluator,
    order_prefix,
    recording_of,
    risk_engine_of,
    venue_maker,
)
from peak_trade.sessions.runner import KILLED, Session, Status
from peak_trade.sessions.sandbox.client import (
    Connect,
    check_approval,
    client_of,
    connect_public,
    with_exchange_steps,
)
from peak_trade.sessions.store import check_journal, config_of, find_session, keys_folder, session_id, sessions_folder
from peak_trade.strategies.base import Strategy
from peak_trade.wiring.feeds import FEEDS
from peak_trade.wiring.strategies import make_strategy

_DAYS_WITHOUT_DURATION = 60
"""Days of bars for which a live session without a duration has room."""


@dataclass(frozen=True, slots=True)
class SessionResult:
    """The end of a session: its folder, the reason, the last status, and notes for the person who ran it."""

    folder: Path
    reason: str
    status: Status
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Controls:
    """Stop switch, status callback, clock and telemetry of a session."""

    switch: StopSwitch
    on_status: Callable[[Status], None]
    clock: Callable[[], int]
    telemetry: TelemetrySettings


def run_session(
    config: SessionConfig,
    *,
    switch: StopSwitch | None = None,
    on_start: Callable[[], None] = lambda: None,
    on_status: Callable[[Status], None] = lambda status: None,
    clock: Callable[[], int] = time.time_ns,
    telemetry: TelemetrySettings | None = None,
    connect: Connect = connect_public,
    sandbox: Callable[[], Any] | None = None,
) -> SessionResult:
    """Start a session and run it to its end.

    Parameters
    ----------
    config : SessionConfig
    switch : StopSwitch
        Stops it cleanly from outside.
    on_start : callable
        Called when the session is created, before its first bar.
    on_status : callable
        Called with the session's status after each bar.
    clock : callable
        Returns now, ns UTC.
    telemetry : TelemetrySettings
        Levels and sinks of the recording.
    connect : callable
        Yields the client of an exchange's public data, for a live feed.
    sandbox : callable
        Makes the client of an exchange's sandbox, as `connect_sandbox` does. Only tests pass one, until approvals
        exist.

    Raises
    ------
    ConfigError
        While the workspace's trading state is halted. For a testnet session: it needs an approval, and approvals do not
        exist yet.
    DataError, SessionError, StrategyError

    """
    check_approval(config, sandbox)
    workspace_state = starting_control(config, clock())
    controls = _controls(switch, on_status, clock, telemetry)
    check_sources(config)
    strategy = make_strategy(config.strategy, config.parameters)
    recording = recording_of(config)
    check_span(config, recording)
    with client_of(config, connect, sandbox) as client:
        config = config if client is None else with_exchange_steps(config, client, controls.switch)
        folder = _new_folder(config, datetime.fromtimestamp(clock() / NS_PER_SECOND, UTC))
        context = SessionContext(folder.name, config, clock, controls.switch.wait, recording, client)
        feed = FEEDS[config.feed].open(context)
        history = feed.history()
        starts = history[0].ts_event if history else first_bar(config, recording, clock())
        until = clock() if recording is None else int(recording.times[-1])
        content = make_manifest(folder.name, config, strategy, recording, starts)
        control = in_session_time(workspace_state, clock(), _session_time(config, history, recording))
        if control != Control():
            content["trading_state"] = control_to_dict(control)
        first = starts if history or config.follow is None else 0
        create_session(folder, with_history(content, config, first, until), WorkspaceKey(keys_folder()), clock)
        on_start()
        return _run(folder, context, strategy, feed, controls)


def resume_session(
    name: str,
    *,
    switch: StopSwitch | None = None,
    on_status: Callable[[Status], None] = lambda status: None,
    clock: Callable[[], int] = time.time_ns,
    telemetry: TelemetrySettings | None = None,
    connect: Connect = connect_public,
    sandbox: Callable[[], Any] | None = None,
) -> SessionResult:
    """Resume an interrupted session; SessionError if its journal does not verify. Options as of `run_session`."""
    folder = find_session(name)
    verdict = check_journal(folder)
    if not verdict.is_intact:
        raise SessionError(
            f"{folder.name}: the journal is {verdict.finding} ({verdict.message}); it can not be resumed. Start a new "
            "session."
        )
    config = config_of(folder)
    check_approval(config, sandbox)
    refuse_when_halted()
    controls = _controls(switch, on_status, clock, telemetry)
    recording = recording_of(config)
    check_against_store(folder, recording)
    strategy = make_strategy(config.strategy, config.parameters)
    with client_of(config, connect, sandbox) as client:
        context = SessionContext(folder.name, config, clock, controls.switch.wait, recording, client)
        return _run(folder, context, strategy, FEEDS[config.feed].open(context), controls)


def _controls(
    switch: StopSwitch | None,
    on_status: Callable[[Status], None],
    clock: Callable[[], int],
    telemetry: TelemetrySettings | None,
) -> _Controls:
    telemetry = telemetry or TelemetrySettings()
    telemetry.sinks.check()
    return _Controls(switch or StopSwitch(), on_status, clock, telemetry)


def _run(folder: Path, context: SessionContext, strategy: Strategy, feed: Feed, controls: _Controls) -> SessionResult:
    config, recording, telemetry = context.config, context.recording, controls.telemetry

    def stop_if_killed() -> None:
        if is_kill_pending(folder) or read_control(workspace()).state is TradingState.HALTED:
            controls.switch.stop(KILLED)

    def on_status(status: Status) -> None:
        controls.on_status(status)
        stop_if_killed()

    controls.switch.poll = stop_if_killed
    known = read_events(folder)
    context = replace(context, recorded=known)
    n_bars = len(recording) if recording is not None else len(known) + _n_expected(config) + _n_followed(config)
    with JournalWriter(
        folder,
        WorkspaceKey(keys_folder()),
        controls.clock,
        sinks=make_sinks(telemetry.sinks, folder),
        is_recorded=level_filter(telemetry.level),
        commit_seconds=telemetry.commit_seconds,
        checkpoint_every=telemetry.checkpoint_every,
    ) as journal:
        buffer = buffer_of(config, n_bars + 1)
        session = Session(
            buffer,
            evaluator(config, strategy),
            config.trading,
            journal,
            controls.clock,
            strategy.name,
            config.mode,
            make_venue=venue_maker(context),
            id_prefix=order_prefix(context),
            risk_engine=risk_engine_of(
                config, buffer, recording, control_at_start(folder), past=history_of(folder, config)
            ),
            recording=recording if config.evaluation == "whole" else None,
            duration=None if config.duration is None else config.duration * NS_PER_SECOND,
            switch=controls.switch,
            on_status=on_status,
            measures=telemetry.level == "full",
            is_live=FEEDS[config.feed].is_live,
        )
        reason = session.run(feed, known)
    notes = [f"A copy was dropped: {fault}." for fault in journal.dropped_sinks]
    if journal.n_unsigned:
        notes.append(
            f"{journal.n_unsigned} events at the end of the journal were not signed when the session resumed: no key "
            "shows who wrote them."
        )
    return SessionResult(folder, reason, session.status("stopped"), tuple(notes))


def _n_expected(config: SessionConfig) -> int:
    """Return the number of bars of a session without a recording: its history, its duration and a margin."""
    seconds = config.duration or _DAYS_WITHOUT_DURATION * 86_400
    return config.n_history + min(seconds // Timeframe.parse(config.timeframe).seconds, MAX_BARS) + 1_000


def _n_followed(config: SessionConfig) -> int:
    """Return the number of bars that the followed session has recorded, or will record from its recording."""
    if config.follow is None:
        return 0
    folder = find_session(config.follow)
    recording = recording_of(config_of(folder))
    return len(read_events(folder)) if recording is None else len(recording)


def _session_time(config: SessionConfig, history: Sequence[BarEvent], recording: Bars | None) -> int | None:
    """Return the start of a session in the time of its recording, ns UTC; None if bars close as time passes."""
    if config.follow is not None:
        followed = config_of(find_session(config.follow))
        return _session_time(followed, history, recording_of(followed))
    if recording is None:
        return None
    return history[-1].ts_event if history else int(recording.times[0]) - recording.timeframe.ns


def _new_folder(config: SessionConfig, moment: datetime) -> Path:
    name = session_id(moment, config.mode, config.strategy, config.symbol, config.timeframe)
    folder, n = sessions_folder() / name, 1
    while folder.exists():
        n += 1
        folder = sessions_folder() / f"{name}_{n}"
    return folder
