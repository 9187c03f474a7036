"""Run a session: build what its configuration names, run it, take it up again after a kill."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peak_trade.core.bars import Bars
from peak_trade.core.digest import digest_of, environment_digest, package_digest
from peak_trade.core.errors import SessionError
from peak_trade.core.time import NS_PER_SECOND, Timeframe, iso
from peak_trade.core.values import TradingState
from peak_trade.data.fetching import connect as connect_public
from peak_trade.data.store import load_bars
from peak_trade.data.workspace import workspace
from peak_trade.engine.market import Market
from peak_trade.engine.risk_engine import RiskEngine
from peak_trade.engine.sleeve import Sleeve
from peak_trade.journal.events import BarEvent
from peak_trade.journal.files import read_events
from peak_trade.journal.keys import WorkspaceKey
from peak_trade.journal.telemetry import TelemetrySettings, level_filter, make_sinks
from peak_trade.journal.writer import JournalWriter, create_session
from peak_trade.risk.state import Control, control_to_dict
from peak_trade.sessions.bar_buffer import BarBuffer, BufferedHistory, Evaluate
from peak_trade.sessions.config import MAX_BARS, SessionConfig
from peak_trade.sessions.control.commands import is_kill_pending
from peak_trade.sessions.control.state import dated, read_control, refuse_when_halted, start_of, state_to_start_in
from peak_trade.sessions.control.stop_switch import StopSwitch
from peak_trade.sessions.feeds.base import Feed
from peak_trade.sessions.feeds.make import feed_of
from peak_trade.sessions.history import (
    check_sources,
    check_span,
    first_bar,
    history_of,
    hold_against_store,
    with_history,
)
from peak_trade.sessions.runner import KILLED, Session, Status
from peak_trade.sessions.sandbox.client import Connect, check_approval, client_of, on_the_exchange_grid
from peak_trade.sessions.sandbox.dialects import DIALECTS
from peak_trade.sessions.sandbox.venue import SandboxVenue, id_prefix
from peak_trade.sessions.store import check_journal, config_of, find_session, keys_folder, session_id, sessions_folder
from peak_trade.strategies.base import Strategy
from peak_trade.wiring.digests import strategy_digest
from peak_trade.wiring.gates import gate_chain, make_risk_engine, source_of
from peak_trade.wiring.sleeves import sleeve_for
from peak_trade.wiring.strategies import make_strategy

MANIFEST_VERSION = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session ended: its folder, why, where it stood then, and sentences on what somebody should know."""

    folder: Path
    reason: str
    status: Status
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Surroundings:
    switch: StopSwitch
    on_status: Callable[[Status], None]
    clock: Callable[[], int]
    telemetry: TelemetrySettings


def run_session(
    config: SessionConfig,
    *,
    switch: StopSwitch | None = None,
    on_status: Callable[[Status], None] = lambda status: None,
    clock: Callable[[], int] = time.time_ns,
    telemetry: TelemetrySettings | None = None,
    connect: Connect = connect_public,
    sandbox: Callable[[], Any] | None = None,
) -> Outcome:
    """Start a session and run it to its end.

    Parameters
    ----------
    config : SessionConfig
    switch : StopSwitch
        Stops it cleanly from outside.
    on_status : callable
        Called with where the session stands after each bar.
    clock : callable
        Returns now, ns UTC.
    telemetry : TelemetrySettings
        Levels and sinks of the recording.
    connect : callable
        Yields the client of an exchange's public data, for a live feed.
    sandbox : callable
        Makes the client of an exchange's sandbox, as `connect_sandbox` does. Only tests hand one over: no verb does,
        until an approval can be given.

    Raises
    ------
    ConfigError
        While the workspace's trading state is halted. For a testnet session: it needs an approval, and there is no way
        to give one yet.
    DataError, SessionError, StrategyError

    """
    check_approval(config, sandbox)
    workspace_state = state_to_start_in(config, clock())
    here = _Surroundings(switch or StopSwitch(), on_status, clock, telemetry or TelemetrySettings())
    here.telemetry.sinks.check()
    check_sources(config)
    strategy = make_strategy(config.strategy, config.parameters)
    recording = _recording(config)
    check_span(config, recording)
    with client_of(config, connect, sandbox) as client:
        config = config if client is None else on_the_exchange_grid(config, client, here.switch)
        feed = feed_of(config, recording, client, here.clock, here.switch.wait)
        folder = _new_folder(config, datetime.fromtimestamp(clock() / NS_PER_SECOND, UTC))
        history = feed.history()
        starts = history[0].ts_event if history else first_bar(config, recording, clock())
        until = clock() if recording is None else int(recording.times[-1])
        content = manifest(folder.name, config, strategy, recording, starts)
        control = dated(workspace_state, clock(), _session_time(config, history, recording))
        if control != Control():
            content["trading_state"] = control_to_dict(control)
        first = starts if history or config.follow is None else 0
        signer = WorkspaceKey(keys_folder())
        create_session(folder, with_history(content, config, first, until), signer, clock)
        return _run(folder, config, strategy, recording, feed, client, here)


def resume_session(
    name: str,
    *,
    switch: StopSwitch | None = None,
    on_status: Callable[[Status], None] = lambda status: None,
    clock: Callable[[], int] = time.time_ns,
    telemetry: TelemetrySettings | None = None,
    connect: Connect = connect_public,
    sandbox: Callable[[], Any] | None = None,
) -> Outcome:
    """Take up a session that was interrupted, from its journal; SessionError when it does not verify."""
    folder = find_session(name)
    verdict = check_journal(folder)
    if not verdict.is_intact:
        raise SessionError(f"{folder.name}: the journal is {verdict.finding} ({verdict.message}); it can't be resumed.")
    config = config_of(folder)
    check_approval(config, sandbox)
    refuse_when_halted()
    here = _Surroundings(switch or StopSwitch(), on_status, clock, telemetry or TelemetrySettings())
    here.telemetry.sinks.check()
    recording = _recording(config)
    hold_against_store(folder, recording)
    strategy = make_strategy(config.strategy, config.parameters)
    with client_of(config, connect, sandbox) as client:
        return _run(
            folder,
            config,
            strategy,
            recording,
            feed_of(config, recording, client, here.clock, here.switch.wait),
            client,
            here,
        )


def evaluator(config: SessionConfig, strategy: Strategy) -> Evaluate:
    """Return the function that evaluates a strategy exactly as a backtest does."""
    instruments = {config.symbol: config.instrument.instrument(config.symbol)}

    def evaluate(bars: Bars) -> Sleeve:
        return sleeve_for(strategy, strategy.name, bars, Market.of([bars], instruments), config.trading, 1.0, 0)

    return evaluate


def risk_engine_of(
    config: SessionConfig,
    buffer: BarBuffer,
    recording: Bars | None,
    control: Control | None = None,
    *,
    past: Sequence[Bars] = (),
) -> RiskEngine:
    """Return the session's risk engine, in the trading state `control` (active by default).

    Its daily histories consist of `past`, the declared source, extended by the session's bars.
    """
    limits = config.risk
    if limits is None or recording is not None:
        return make_risk_engine(limits, [] if recording is None else [recording], control, past=past)
    history = BufferedHistory(buffer, *source_of(limits), past)
    return RiskEngine(gate_chain(limits), limits, daily_history=history, control=control)


def manifest(
    name: str, config: SessionConfig, strategy: Strategy, recording: Bars | None, history_start: int
) -> dict[str, Any]:
    """Return what a session's manifest holds; nothing in it ever changes."""
    digests = {
        "config": config.digest(),
        "code": digest_of([package_digest(), [strategy_digest(strategy)]]),
        "seed": digest_of(config.trading.seed),
        "environment": environment_digest(),
    }
    if recording is not None:
        digests["data"] = recording.digest()
    return {
        "version": MANIFEST_VERSION,
        "session_id": name,
        "config": config.model_dump(mode="json"),
        "digests": digests,
        "versions": {"python": platform.python_version(), "ccxt": version("ccxt")},
        "seed": config.trading.seed,
        "clock": _CLOCKS[config.feed],
        "history_start": iso(history_start),
    }


_CLOCKS = {
    "recorded": "the recording's close times",
    "live": "the machine's, offset measured",
    "follow": "the machine's, offset not measured: the bars are those of the session that is followed",
}


def _run(
    folder: Path,
    config: SessionConfig,
    strategy: Strategy,
    recording: Bars | None,
    feed: Feed,
    client: Any,
    here: _Surroundings,
) -> Outcome:
    telemetry = here.telemetry

    def look() -> None:
        if is_kill_pending(folder) or read_control(workspace()).state is TradingState.HALTED:
            here.switch.stop(KILLED)

    def on_status(status: Status) -> None:
        here.on_status(status)
        look()

    here.switch.look = look
    timeframe = Timeframe.parse(config.timeframe)
    known = read_events(folder)
    room = len(known) + config.n_history + _n_expected(config, timeframe) + _n_followed(config)
    if recording is not None:
        room = len(recording)
    with JournalWriter(
        folder,
        WorkspaceKey(keys_folder()),
        here.clock,
        sinks=make_sinks(telemetry.sinks, folder),
        is_recorded=level_filter(telemetry.level),
        commit_seconds=telemetry.commit_seconds,
        checkpoint_every=telemetry.checkpoint_every,
    ) as journal:
        buffer = BarBuffer(config.instrument.instrument(config.symbol), timeframe, room + 1, config.exchange)
        is_sandbox = config.mode == "testnet"
        prefix = id_prefix(folder.name) if is_sandbox else "o-"

        def make_venue(market: Market) -> SandboxVenue:
            dialect = DIALECTS[config.exchange](client, market.columns[0].instrument)
            return SandboxVenue(dialect, market, prefix, here.switch.wait, known)

        session = Session(
            buffer,
            evaluator(config, strategy),
            config.trading,
            journal,
            here.clock,
            strategy.name,
            config.mode,
            make_venue=make_venue if is_sandbox else None,
            id_prefix=prefix,
            risk_engine=risk_engine_of(config, buffer, recording, start_of(folder), past=history_of(folder, config)),
            recording=recording if config.evaluation == "whole" else None,
            duration=None if config.duration is None else config.duration * NS_PER_SECOND,
            switch=here.switch,
            on_status=on_status,
            measures=telemetry.level == "full",
            is_live=config.feed == "live",
        )
        reason = session.run(feed, known)
    notes = [f"A copy was dropped: {fault}." for fault in journal.dropped_sinks]
    if journal.n_unsigned:
        notes.append(
            f"{journal.n_unsigned} events at the end of its journal were not signed when it was taken up: no key "
            "vouches for who wrote them."
        )
    return Outcome(folder, reason, session.status("stopped"), tuple(notes))


_DAYS_WITHOUT_DURATION = 60


def _n_expected(config: SessionConfig, timeframe: Timeframe) -> int:
    seconds = config.duration or _DAYS_WITHOUT_DURATION * 86_400
    return min(seconds // timeframe.seconds, MAX_BARS) + 1_000


def _n_followed(config: SessionConfig) -> int:
    """Return how many bars the session that is followed has recorded, or will from its recording."""
    if config.follow is None:
        return 0
    folder = find_session(config.follow)
    recording = _recording(config_of(folder))
    return len(read_events(folder)) if recording is None else len(recording)


def _recording(config: SessionConfig) -> Bars | None:
    if config.feed != "recorded":
        return None
    return load_bars(config.symbol, config.timeframe, config.exchange or None, None, config.end)


def _session_time(config: SessionConfig, history: Sequence[BarEvent], recording: Bars | None) -> int | None:
    """Return where a session starts in the time of its recording, ns UTC; None where bars close as time passes."""
    if config.follow is not None:
        followed = config_of(find_session(config.follow))
        return _session_time(followed, history, _recording(followed))
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
