"""Run a session from its configuration, and resume one that was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

from peak_trade.causality.short import naming_look_ahead
from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import IntArray
from peak_trade.core.bars import Bars
from peak_trade.core.causality import outcomes_of
from peak_trade.core.described import Described
from peak_trade.core.errors import SessionError
from peak_trade.core.progress import progress
from peak_trade.core.time import NS_PER_SECOND, Timeframe, iso, parse_utc, to_ns
from peak_trade.core.values import TradingState
from peak_trade.data.holdout import is_holdout_sentence
from peak_trade.data.workspace import workspace
from peak_trade.governance.grant import Grant
from peak_trade.journal.events import BarEvent
from peak_trade.journal.files import journal_version, read_events, read_manifest
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.session_chain import ensure_started, start_session
from peak_trade.journal.sinks import level_filter
from peak_trade.journal.telemetry import TelemetrySettings, make_sinks
from peak_trade.journal.writer import JournalWriter, SessionExistsError
from peak_trade.metrics.e_values import EdgeTest
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
from peak_trade.sessions.edge import EDGE_TEST, WITH_EDGE_TEST, edge_of
from peak_trade.sessions.feeds.base import Feed
from peak_trade.sessions.manifest import check_against_store, first_bar, history_of, make_manifest, with_history
from peak_trade.sessions.parts import (
    buffer_of,
    check_orders,
    check_sources,
    check_span,
    check_strategies,
    closes_of,
    order_prefix,
    recording_of,
    risk_engine_of,
    sleeves_of,
    venue_maker,
)
from peak_trade.sessions.runner import KILLED, Session, Status
from peak_trade.sessions.sandbox.admission import Admission, admission_of
from peak_trade.sessions.sandbox.client import (
    Connect,
    check_sandbox_config,
    client_of,
    connect_public,
    with_exchange_steps,
)
from peak_trade.sessions.store import check_journal, config_of, find_session, keys_folder, session_id, sessions_folder
from peak_trade.tracking.counting import counted
from peak_trade.tracking.trials import Evaluation, Observations
from peak_trade.wiring.digests import user_code_digest
from peak_trade.wiring.feeds import FEEDS
from peak_trade.wiring.portfolio import code_of, strategy_of

_DAYS_WITHOUT_DURATION = 60
"""Days of bars for which a live session without a duration has room."""


@dataclass(frozen=True, slots=True, repr=False)
class SessionResult(Described):
    """The end of a session: its folder, the reason, the last status, and notes for the person who ran it."""

    folder: Path
    reason: str
    status: Status
    notes: tuple[str, ...] = ()

    def description(self) -> tuple[str, dict[str, object]]:
        """Return why the session ended, and its last status."""
        status = self.status
        return (
            f"SessionResult: {self.folder.name}",
            {
                "ended": self.reason,
                "mode": status.mode,
                "trading state": status.state,
                "bars": f"{status.n_bars:,}" + (f", last {iso(status.last_bar)}" if status.last_bar else ""),
                "equity": f"{status.equity:,.2f}",
                "PnL": f"{status.pnl:+,.2f}",
                "position": f"{status.position:,.6g}",
                "fills": f"{status.n_fills:,}",
                "open orders": f"{status.n_open_orders:,}",
                "denials": f"{status.n_denials:,}",
                "feed faults": f"{status.n_faults:,}" if status.n_faults else "",
                "notes": shorten(" ".join(self.notes), 160, placeholder=" …"),
            },
        )


@dataclass(frozen=True, slots=True)
class _Controls:
    """Stop switch, status callback, clock and telemetry of a session."""

    switch: StopSwitch
    on_status: Callable[[Status], None]
    clock: Callable[[], int]
    telemetry: TelemetrySettings


@checks_arguments()
def run_session(
    config: SessionConfig,
    *,
    switch: StopSwitch | None = None,
    on_start: Callable[[Path], None] = lambda folder: None,
    on_status: Callable[[Status], None] = lambda status: None,
    clock: Callable[[], int] = time.time_ns,
    telemetry: TelemetrySettings | None = None,
    connect: Connect = connect_public,
    grant: Grant | None = None,
    sandbox: Callable[[], Any] | None = None,
    edge_test: EdgeTest | None = None,
    causality_check: bool = True,
    on_note: Callable[[str], None] = lambda text: None,
) -> SessionResult:
    """Start a session and run it to its end.

    Parameters
    ----------
    config : SessionConfig
    switch : StopSwitch
        Stops it cleanly from outside.
    on_start : callable
        Called with the folder of the session when it is created, before its first bar.
    on_status : callable
        Called with the session's status after each bar.
    clock : callable
        Returns now, ns UTC.
    telemetry : TelemetrySettings
        Levels and sinks of the recording.
    connect : callable
        Yields the client of an exchange's public data, for a live feed.
    grant : Grant
        Permission of the live-execution gate, see `studies.readiness`. A session at an exchange's sandbox needs one.
    sandbox : callable
        Makes the client of the exchange's sandbox; by default `connect_sandbox` with the keys of the environment. It
        must send to the place that the gate has seen.
    edge_test : EdgeTest
        Settings of the evidence of an edge that a paper or shadow session carries; see `sessions.edge`. The manifest
        has them, so they are fixed before the first bar.
    causality_check : bool
        Whether to check a user's strategy for look-ahead, in short. The manifest has the outcome, and the session does
        not depend on it.
    on_note : callable
        Called with the outcome of the check as a sentence, before `on_start`.

    Raises
    ------
    ConfigError
        While the workspace's trading state is halted.
    GovernanceError
        If the session trades at a sandbox and has no grant, or its grant does not admit it.
    DataError, SessionError, StrategyError

    """
    check_sandbox_config(config)
    folder = _new_folder(config, datetime.fromtimestamp(clock() / NS_PER_SECOND, UTC))
    admission, asked = admission_of(config, grant, folder.name, clock), config.digest()
    workspace_state = starting_control(config, clock())
    controls = _controls(switch, on_status, clock, telemetry)
    check_sources(config)
    check_orders(config)
    strategies = [strategy_of(entry) for entry in config.entries]
    recording = recording_of(config)
    check_span(config, recording)
    with client_of(config, connect, sandbox) as client:
        config = config if client is None else with_exchange_steps(config, client, controls.switch)
        context = SessionContext(folder.name, config, clock, controls.switch.wait, recording, client, admission)
        feed = FEEDS[config.feed].open(context)
        history = feed.history()
        starts = history[0].ts_event if history else first_bar(config, recording, clock())
        until = clock() if recording is None else max(int(part.times[-1]) for part in recording)
        content = make_manifest(folder.name, config, code_of(config.entries, config.portfolio), recording, starts)
        if config.mode in WITH_EDGE_TEST and config.portfolio is None:
            content[EDGE_TEST] = (edge_test or EdgeTest()).model_dump(mode="json")
        holdouts = [note for part in recording or () for note in part.notes if is_holdout_sentence(note)]
        if holdouts:
            content["holdouts"] = holdouts
        if clock is not time.time_ns:
            content["clock_is_emulated"] = True
        control = in_session_time(workspace_state, clock(), _session_time(config, history, recording))
        if control != Control():
            content["trading_state"] = control_to_dict(control)
        outcomes = check_strategies(config, strategies, recording, history, causality_check)
        if outcomes:
            content["causality"] = [each.to_dict() for each in outcomes]
        if admission is not None:
            content |= {"approved_config": asked, "decision": admission.grant.decision}
            content["governance_log"] = admission.grant.log_id
            admission.use()
        first = starts if history or config.follow is None else 0
        content = with_history(content, config, first, until)
        while True:
            try:
                start_session(folder, content, WorkspaceKey(keys_folder()), clock)
                break
            except SessionExistsError:  # a session that started in the same second took the name
                if admission is not None:  # its approval is used up under this name
                    raise
                folder = _new_folder(config, datetime.fromtimestamp(clock() / NS_PER_SECOND, UTC))
                content = content | {"session_id": folder.name}
        for each in outcomes:
            on_note(each.sentence)
        on_start(folder)
        return _run(folder, replace(context, session_id=folder.name), feed, controls)


def resume_session(
    name: str,
    *,
    switch: StopSwitch | None = None,
    on_start: Callable[[Path], None] = lambda folder: None,
    on_status: Callable[[Status], None] = lambda status: None,
    clock: Callable[[], int] = time.time_ns,
    telemetry: TelemetrySettings | None = None,
    connect: Connect = connect_public,
    grant: Grant | None = None,
    sandbox: Callable[[], Any] | None = None,
) -> SessionResult:
    """Resume an interrupted session; options as of `run_session`.

    SessionError if it is a copy outside the workspace, or its journal does not verify.
    """
    folder = find_session(name)
    if folder.parent.resolve() != sessions_folder().resolve():
        raise SessionError(
            f"{folder.name}: this folder is outside the workspace, so it is a copy, and a copy can not be resumed. "
            "Resume the session by its id."
        )
    verdict = check_journal(folder)
    if not verdict.is_intact:
        raise SessionError(
            f"{folder.name}: the journal is {verdict.finding} ({verdict.message}); it can not be resumed. Start a new "
            "session."
        )
    config = config_of(folder)
    check_sandbox_config(config)
    admission = admission_of(config, grant, folder.name, clock, approved_config(folder))
    refuse_when_halted()
    controls = _controls(switch, on_status, clock, telemetry)
    recording = recording_of(config)
    check_against_store(folder, recording)
    ensure_started(folder, WorkspaceKey(keys_folder()), clock())
    with client_of(config, connect, sandbox) as client:
        if admission is not None:
            admission.use()
        context = SessionContext(folder.name, config, clock, controls.switch.wait, recording, client, admission)
        feed = FEEDS[config.feed].open(context)
        on_start(folder)
        return _run(folder, context, feed, controls)


def approved_config(folder: Path) -> str:
    """Return the digest of the configuration that the approval of a session binds, from its manifest; empty if none."""
    return str(read_manifest(folder).get("approved_config", ""))


def _lapse_of(admission: Admission | None) -> Callable[[], str]:
    return (lambda: "") if admission is None else admission.fault


def _controls(
    switch: StopSwitch | None,
    on_status: Callable[[Status], None],
    clock: Callable[[], int],
    telemetry: TelemetrySettings | None,
) -> _Controls:
    telemetry = telemetry or TelemetrySettings()
    telemetry.sinks.check()
    return _Controls(switch or StopSwitch(), on_status, clock, telemetry)


def _run(folder: Path, context: SessionContext, feed: Feed, controls: _Controls) -> SessionResult:
    config, recording, telemetry = context.config, context.recording, controls.telemetry

    def stop_if_killed() -> None:
        if is_kill_pending(folder) or read_control(workspace()).state is TradingState.HALTED:
            controls.switch.stop(KILLED.reason, KILLED.cause)

    def on_status(status: Status) -> None:
        if status.n_bars:
            equity_at[status.last_bar] = status.equity
        controls.on_status(status)
        if recording is not None:
            on_progress(status.n_bars, max(status.n_bars, n_traded))
        stop_if_killed()

    controls.switch.poll = stop_if_killed
    equity_at: dict[int, float] = {}
    known = read_events(folder)
    context = replace(context, recorded=known)
    times = None if recording is None else closes_of(recording)
    n_bars = len(times) if times is not None else len(known) + _n_expected(config) + _n_followed(config)
    outcomes = outcomes_of(read_manifest(folder))
    n_traded = 0 if times is None else int((times >= _start_of(config)).sum())
    with (
        _counted_as_trial(folder, config, recording, times, equity_at),
        naming_look_ahead(outcomes),
        controls.switch.on_terminate(),
        progress("session") as on_progress,
        JournalWriter(
            folder,
            WorkspaceKey(keys_folder()),
            controls.clock,
            sinks=make_sinks(telemetry.sinks, folder),
            is_recorded=level_filter(telemetry.level),
            commit_seconds=telemetry.commit_seconds,
            checkpoint_every=telemetry.checkpoint_every,
        ) as journal,
    ):
        buffer = buffer_of(config, n_bars + 1)
        session = Session(
            buffer,
            sleeves_of(config, buffer, recording if config.evaluation == "whole" else None),
            config.trading,
            journal,
            controls.clock,
            config.mode,
            make_venue=venue_maker(context),
            id_prefix=order_prefix(context),
            risk_engine=risk_engine_of(
                config, buffer, recording, control_at_start(folder), past=history_of(folder, config)
            ),
            duration=None if config.duration is None else config.duration * NS_PER_SECOND,
            switch=controls.switch,
            on_status=on_status,
            measures=telemetry.level == "full",
            is_live=FEEDS[config.feed].is_live,
            find_lapse=_lapse_of(context.admission),
            repeats_exits=journal_version(folder) > 1,
        )
        reason = session.run(feed, known)
    notes = [*(each.sentence for each in outcomes), *read_manifest(folder).get("holdouts", ())]
    edge = edge_of(folder)
    notes += [] if edge is None else [edge.sentence]
    notes += [f"A copy was dropped: {fault}." for fault in journal.dropped_sinks]
    if journal.n_unsigned:
        notes.append(
            f"{journal.n_unsigned} events at the end of the journal were not signed when the session resumed: no key "
            "shows who wrote them."
        )
    return SessionResult(folder, reason, session.status("stopped"), tuple(notes))


@contextmanager
def _counted_as_trial(
    folder: Path,
    config: SessionConfig,
    recording: Sequence[Bars] | None,
    times: IntArray | None,
    equity_at: Mapping[int, float],
) -> Iterator[None]:
    """Count a session over a recording as a trial; `equity_at` is equity by close time, ns UTC, when the block ends."""
    if recording is None or times is None:
        yield
        return
    digests, code = read_manifest(folder)["digests"], user_code_digest(code_of(config.entries, config.portfolio))
    with counted(Evaluation.of([digests["config"]], code, digests["data"], recording, times)) as trial:
        yield
        if equity_at:
            traded, equity = np.array(list(equity_at), np.int64), np.array(list(equity_at.values()))
            trial.evaluation = replace(trial.evaluation, first=int(traded[0]), last=int(traded[-1]))
            trial.observe = partial(Observations.of_equity, equity, traded, recording[0].timeframe)


def _start_of(config: SessionConfig) -> int:
    """Return the first instant at which bars of a recording are traded, ns UTC."""
    return 0 if config.start is None else to_ns(parse_utc(config.start, "start"))


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
    return len(read_events(folder)) if recording is None else len(closes_of(recording))


def _session_time(config: SessionConfig, history: Sequence[BarEvent], recording: Sequence[Bars] | None) -> int | None:
    """Return the start of a session in the time of its recording, ns UTC; None if bars close as time passes."""
    if config.follow is not None:
        followed = config_of(find_session(config.follow))
        return _session_time(followed, history, recording_of(followed))
    if recording is None:
        return None
    return history[-1].ts_event if history else first_bar(config, recording, 0) - recording[0].timeframe.ns


def _new_folder(config: SessionConfig, moment: datetime) -> Path:
    name = session_id(moment, config.mode, config.label, config.symbol_names, config.timeframe)
    folder, n = sessions_folder() / name, 1
    while folder.exists():
        n += 1
        folder = sessions_folder() / f"{name}_{n}"
    return folder
