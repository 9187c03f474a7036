"""Evidence about a session for the live-execution gate. Each part is read and verified at every decision."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from peak_trade.causality.check import check_causality, check_in_fresh_processes, check_panel
from peak_trade.causality.evaluation import can_be_imported
from peak_trade.causality.report import CausalityReport
from peak_trade.core.bars import Bars
from peak_trade.core.digest import digest_of
from peak_trade.core.errors import ConfigError, GovernanceError, PeakTradeError, SessionError
from peak_trade.core.time import Timeframe, iso
from peak_trade.data.sample import synthetic_bars
from peak_trade.diff.recording import recording_of
from peak_trade.diff.result import DiffResult, diff
from peak_trade.engine.inputs import Study
from peak_trade.engine.result import BacktestResult
from peak_trade.governance.evidence import Evidence, JournalFacts, OutOfSampleFacts, RiskFacts, ShadowFacts, VenueFacts
from peak_trade.governance.policy import read_policy
from peak_trade.governance.scope import Scope
from peak_trade.journal.events import BarEvent, Event, SessionEvent, SessionPhase
from peak_trade.journal.files import read_events, read_lines, read_manifest
from peak_trade.metrics import Measure
from peak_trade.risk.limits import RiskLimits
from peak_trade.sessions.config import SessionConfig
from peak_trade.sessions.feeds.live import LiveFeed
from peak_trade.sessions.manifest import history_of
from peak_trade.sessions.parts import filled_buffer
from peak_trade.sessions.sandbox.client import connect_sandbox, is_loopback, places_of, sandbox_fault
from peak_trade.sessions.store import check_journal, config_of, last_signature, session_ids, sessions_folder
from peak_trade.strategies.panel import PanelStrategy
from peak_trade.studies.backtest import backtest
from peak_trade.studies.diff import read_session
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.studies.rerun import rerun_record
from peak_trade.studies.risk.liveness import check_limits
from peak_trade.studies.run_files import RecordedRun, read_recorded
from peak_trade.studies.trials import deflated
from peak_trade.tracking.counting import not_trials
from peak_trade.tracking.queries import list_runs
from peak_trade.wiring.digests import user_strategies
from peak_trade.wiring.exchanges import sandbox_class
from peak_trade.wiring.feeds import FEEDS
from peak_trade.wiring.parts import restored
from peak_trade.wiring.portfolio import strategy_of
from peak_trade.wiring.portfolio_settings import (
    PortfolioRules,
    PortfolioSettings,
    StrategyEntry,
    entry_name,
    ordered,
    sleeve_keys,
)
from peak_trade.wiring.strategies import make_strategy

_N_BARS, _N_CUTS = 1_500, 20


def with_workspace(evidence: Evidence, policy: Path, n_sessions: int) -> Evidence:
    """Return evidence with the policy file and the journals of the last sessions."""
    file, fault = _policy(policy)
    return evidence.model_copy(
        update={"policy_file": file, "policy_fault": fault, "journals": journal_facts(n_sessions)}
    )


def with_session(
    evidence: Evidence, config: SessionConfig, clock: Callable[[], int], sandbox: Callable[[], Any] | None
) -> Evidence:
    """Return evidence with everything about one session; what can not be gathered is left out.

    Parameters
    ----------
    evidence : Evidence
        With the scope of the session.
    config : SessionConfig
    clock : callable
        Returns now by the machine's clock, ns UTC.
    sandbox : callable, optional
        Makes the client of the exchange's sandbox; see `exchange_facts`.

    """
    found = exchange_facts(config, clock, sandbox)
    is_causal, sentence = _causality(config)
    return evidence.model_copy(
        update={
            "risk": _risk_facts(config.risk),
            "venue": found.venue,
            "clock_offset_ms": found.clock_offset_ms,
            "data_age_bars": found.data_age_bars,
            "is_causal": is_causal,
            "causality": sentence,
            "out_of_sample": out_of_sample_facts(config, evidence.scope),
            "shadow": shadow_facts(config, evidence.scope),
        }
    )


def _policy(path: Path) -> tuple[str | None, str]:
    """Return the digest of a policy's file, or None and why it is no policy."""
    try:
        return read_policy(path).digest, ""
    except (ConfigError, GovernanceError) as error:
        return None, str(error)


def _risk_facts(limits: RiskLimits | None) -> RiskFacts | None:
    if limits is None:
        return None
    values: dict[str, float] = {}
    for name in limits.in_force:
        value: Any = limits
        for key in name.split("."):
            value = getattr(value, key)
        values[name] = float(value)
    silent = tuple(each.setting for each in check_limits(limits) if not each.is_live)
    return RiskFacts(limits=values, order_window=limits.order_window, silent=silent)


def _causality(config: SessionConfig) -> tuple[bool | None, str]:
    """Return whether every strategy of a session passes the check for look-ahead, and the results as a sentence.

    A panel strategy is checked on two symbols, of which each is rewritten in turn.
    """
    reports: list[CausalityReport] = []
    try:
        for entry in config.entries:
            reports += _reports(entry)
    except PeakTradeError as error:
        return None, str(error)
    found = [f"{each.name}: {each.verdict}, {each.n_rewrites} rewritten futures" for each in reports]
    return all(each.is_causal for each in reports), "; ".join(dict.fromkeys(found))


def _reports(entry: StrategyEntry) -> list[CausalityReport]:
    strategy = strategy_of(entry)
    n_bars = max(_N_BARS, 2 * strategy.warm_up + 500)
    if isinstance(strategy, PanelStrategy):
        bars = [replace(synthetic_bars(n_bars, place), symbol=f"{name}/USD") for place, name in enumerate("AB")]
        return check_panel(strategy, bars, n_cuts=_N_CUTS)
    if user_strategies(strategy) and can_be_imported(strategy):
        return [check_in_fresh_processes(entry.name, entry.parameters, synthetic_bars(n_bars), _N_CUTS)]
    return [check_causality(strategy, synthetic_bars(n_bars), n_cuts=_N_CUTS)]


_N_NEWEST = 2
"""Number of bars that are fetched to see how old the newest one is."""


@dataclass(frozen=True, slots=True)
class ExchangeFacts:
    """What an exchange shows: the venue, its clock minus the machine's in ms, and the age of its newest bar in bars.

    Of several symbols the one whose newest bar is the oldest counts.
    """

    venue: VenueFacts | None
    clock_offset_ms: float | None = None
    data_age_bars: float | None = None


def exchange_facts(config: SessionConfig, clock: Callable[[], int], sandbox: Callable[[], Any] | None) -> ExchangeFacts:
    """Return what the exchange of a session shows. Nothing is created there, and no key is returned.

    Parameters
    ----------
    config : SessionConfig
    clock : callable
        Returns now by the machine's clock, ns UTC.
    sandbox : callable, optional
        Makes the client of the sandbox; by default `connect_sandbox` with the keys of the environment.

    """
    try:
        host = f"https://{sandbox_class(config.exchange).access.host}"
    except ConfigError:
        return ExchangeFacts(None)
    try:
        with _client(config, sandbox) as client:
            fault = sandbox_fault(client, config.exchange)
            places = places_of(client)
            venue = VenueFacts(
                place=", ".join(sorted(places)) or "no address",
                is_sandbox=not fault,
                is_loopback=not fault and is_loopback(client),
                has_credentials=bool(client.apiKey and client.secret),
            )
            return _observed(config, clock, client, venue) if venue.is_sandbox else ExchangeFacts(venue)
    except ConfigError:
        return ExchangeFacts(VenueFacts(place=host, is_sandbox=True, is_loopback=False, has_credentials=False))


@contextmanager
def _client(config: SessionConfig, sandbox: Callable[[], Any] | None) -> Iterator[Any]:
    client = connect_sandbox(config.exchange, os.environ) if sandbox is None else sandbox()
    with closing(client.session):
        yield client


def _observed(config: SessionConfig, clock: Callable[[], int], client: Any, venue: VenueFacts) -> ExchangeFacts:
    """Ask the exchange for its time and its last bars; without an answer both stay unknown."""
    import ccxt

    timeframe = Timeframe.parse(config.timeframe)
    feed = LiveFeed(client, config.symbol_names, timeframe, clock, lambda seconds: True, _N_NEWEST)
    try:
        offset = feed.measure()
        client.load_markets()
        bars = feed.history()
    except (ccxt.BaseError, PeakTradeError):
        return ExchangeFacts(venue)
    now = offset.ts_event + round(offset.offset_ms * 1e6)
    newest = {bar.symbol: bar.ts_event for bar in bars}
    age = (now - min(newest.values())) / timeframe.ns if len(newest) == len(config.symbols) else None
    return ExchangeFacts(venue, offset.offset_ms, None if age is None else max(age, 0.0))


_MOST_RUNS = 50
"""Number of newest runs of a strategy, symbol and timeframe among which the one with its parameters is looked for."""


def out_of_sample_facts(config: SessionConfig, scope: Scope) -> OutOfSampleFacts | None:
    """Return the evidence of the newest recorded backtest with the strategy, parameters, symbol and code of a session.

    The run is made and measured again from its record: the events must be the recorded ones. For a portfolio it is a
    run of the portfolio, with the same entries, allocation and rebalancing too. None if there is no such run.
    """
    study: Study = "backtest" if config.portfolio is None else "portfolio"
    strategy = make_strategy(config.label, config.parameters).name if config.portfolio is None else None
    listed = list_runs(study, strategy, ", ".join(config.symbol_names), config.timeframe, limit=_MOST_RUNS)
    for run_id in listed["run_id"]:
        try:
            record = read_recorded(str(run_id))
            if record.study == study and record.tags.get("digest.code") == scope.code and _is_run_of(record, config):
                return _measured(record)
        except PeakTradeError:
            continue
    return None


def _is_run_of(record: RecordedRun, config: SessionConfig) -> bool:
    """Return whether a recorded run has the strategies of a session, and its portfolio if it has one."""
    arguments = restored(record.arguments)
    if config.portfolio is None:
        wanted = make_strategy(config.label, config.parameters)
        return [(type(each), each.digest()) for each in arguments["strategy"]] == [(type(wanted), wanted.digest())]
    settings = arguments["settings"]
    rules = {name: getattr(settings, name) for name in PortfolioRules.model_fields}
    return _resolved(settings.strategies) == _resolved(config.entries) and rules == dict(config.portfolio)


def _resolved(entries: Sequence[StrategyEntry]) -> list[tuple[StrategyEntry, type, str]]:
    """Return the entries without their parameters, each with the class and the digest of its strategy."""
    found = [(entry, strategy_of(entry)) for entry in ordered(entries)]
    return [
        (StrategyEntry.model_validate(dict(entry) | {"parameters": {}}), type(part), part.digest())
        for entry, part in found
    ]


def _measured(record: RecordedRun) -> OutOfSampleFacts | None:
    again = rerun_record(record)
    run = again.result
    if run is None or not again.is_equal:
        return None
    stats, (_, selection) = run.stats(), deflated(run)
    ratio = stats["sharpe"]
    return OutOfSampleFacts(
        run_id=record.run_id,
        events=again.events_digest,
        first=int(run.market.times[0]),
        last=int(run.market.times[-1]),
        n_trades=int(stats["n_trades"].value or 0),
        sharpe=ratio.value,
        sharpe_error=ratio.stderr,
        deflated_sharpe=selection["deflated_sharpe"].value,
        max_drawdown=_required(stats["max_drawdown"]),
        idle=_idle(record, run),
    )


def _idle(record: RecordedRun, run: BacktestResult) -> tuple[str, ...]:
    """Return the strategies of a portfolio that did not trade in a run of it; none for the run of one strategy."""
    if record.study != "portfolio":
        return ()
    traded = {(strategy, symbol) for _, strategy, symbol, quantity, _ in run.movements if quantity}
    entries = ordered(restored(record.arguments)["settings"].strategies)
    return tuple(entry_name(entry) for entry in entries if traded.isdisjoint(sleeve_keys([entry])))


def _required(measure: Measure) -> float:
    """Return the value of a measure; 1.0, the whole, where a drawdown has none."""
    return 1.0 if measure.value is None else measure.value


_DAY = 24 * 3_600 * 1_000_000_000


def shadow_facts(config: SessionConfig, scope: Scope) -> ShadowFacts | None:
    """Return the evidence of the newest shadow session that is like a session: read, verified and compared.

    Parameters
    ----------
    config : SessionConfig
        The session for which evidence is gathered.
    scope : Scope
        Its scope.

    Returns
    -------
    ShadowFacts or None
        Of the newest shadow session with the same strategies, parameters, symbols, timeframe and code that lasted a
        day; else of the newest one that is the same, else of the newest one. None without a shadow session.

    """
    best: ShadowFacts | None = None
    for name in reversed(session_ids()):
        facts = _facts_of(sessions_folder() / name, config, scope)
        if facts is not None and (best is None or _rank(facts) > _rank(best)):
            best = facts
        if best is not None and _rank(best) == (True, True):
            break
    if best is None or not best.is_same:
        return best
    return best.model_copy(update=_compared(sessions_folder() / best.session_id))


def journal_facts(n_sessions: int) -> tuple[JournalFacts, ...]:
    """Return the result of the verification of the last journals of the workspace, newest first."""
    found = []
    for name in session_ids()[::-1][:n_sessions]:
        folder = sessions_folder() / name
        try:
            verdict = check_journal(folder)
            head = last_signature(folder).hash
            found.append(JournalFacts(session_id=name, head=head, verdict=verdict.finding, is_intact=verdict.is_intact))
        except PeakTradeError as error:
            found.append(JournalFacts(session_id=name, head="", verdict=str(error), is_intact=False))
    return tuple(found)


def _rank(facts: ShadowFacts) -> tuple[bool, bool]:
    return facts.is_same, facts.last_recorded - facts.first_recorded >= _DAY


def _facts_of(folder: Path, config: SessionConfig, scope: Scope) -> ShadowFacts | None:
    """Return the facts of a shadow session without its diff; None for any other session and an unreadable one."""
    try:
        held, manifest = config_of(folder), read_manifest(folder)
        if held.mode != "shadow":
            return None
        recorded = [line.ts_recorded for line in read_lines(folder)]
        is_emulated = manifest.get("clock_is_emulated", False) is not False
        is_same = _is_same_session(held, config) and manifest["digests"]["code"] == scope.code
        return ShadowFacts(
            session_id=folder.name,
            head=last_signature(folder).hash,
            verdict=check_journal(folder).finding,
            first_recorded=min(recorded, default=0),
            last_recorded=max(recorded, default=0),
            is_clock_emulated=is_emulated,
            is_same=is_same and (is_emulated or _follows_a_live_session(held)),
            diff=None,
            n_differences=0,
        )
    except (PeakTradeError, KeyError, TypeError):
        return None


def _is_same_session(held: SessionConfig, config: SessionConfig) -> bool:
    """Return whether two sessions have the same strategies, parameters, symbols, timeframe and portfolio rules."""
    first, second = (
        (each.entries, each.symbol_names, each.timeframe, each.exchange, each.portfolio) for each in (held, config)
    )
    return first == second


def _follows_a_live_session(held: SessionConfig) -> bool:
    return held.follow is not None and FEEDS[config_of(sessions_folder() / held.follow).feed].is_live


def _compared(folder: Path) -> dict[str, object]:
    """Return the digest of the diff of a session against a backtest over its bars, and the number of root causes."""
    try:
        result = diff_with_backtest(folder)
    except PeakTradeError:
        return {"diff": None}
    roots = [asdict(each) for each in result.roots]
    content = [folder.name, result.verdict, [{name: str(value) for name, value in root.items()} for root in roots]]
    return {"diff": digest_of(content), "n_differences": len(roots)}


def diff_with_backtest(folder: Path) -> DiffResult:
    """Return the diff of a session against a backtest, or a portfolio run, with its settings over its journal's bars.

    Raises
    ------
    SessionError, DataError, StrategyError, ConfigError
        If the journal does not verify, has no traded bars, or the backtest can not be made.

    """
    config, events = config_of(folder), read_events(folder)
    bars, start = _bars_of(config, events)
    past = history_of(folder, config) or None
    with not_trials():
        if config.portfolio is None:
            result = backtest(
                make_strategy(config.label, config.parameters),
                bars,
                config.trading,
                instruments=config.instruments,
                risk=config.risk,
                history=past,
                start=start,
                causality_check=False,
            )
        else:
            settings = _portfolio_of(config, start)
            instruments = config.instruments
            result = run_portfolio(settings, bars, instruments=instruments, history=past, causality_check=False).run
    return diff(read_session(folder), recording_of(result, "backtest", config.risk))


def _portfolio_of(config: SessionConfig, start: str) -> PortfolioSettings:
    """Return the settings of a portfolio run that does what a session of a portfolio did from a close on."""
    assert config.portfolio is not None
    trading = {name: getattr(config.trading, name) for name in ("initial_cash", "costs", "execution", "seed")}
    session = {"strategies": config.entries, "timeframe": config.timeframe, "risk": config.risk, "start": start}
    return PortfolioSettings.parse(dict(config.portfolio) | trading | session, "session")


def _bars_of(config: SessionConfig, events: list[Event]) -> tuple[list[Bars], str]:
    """Return the bars of a session, one Bars per symbol, and the close time of the first traded one."""
    found = [event for event in events if isinstance(event, BarEvent)]
    started = next(
        (
            place
            for place, event in enumerate(events)
            if isinstance(event, SessionEvent) and event.phase is SessionPhase.STARTED
        ),
        len(events),
    )
    traded = next((event for event in events[started:] if isinstance(event, BarEvent)), None)
    if traded is None:
        raise SessionError("no bar was traded: a shadow session needs bars after its start.")
    return filled_buffer(config, found).bars(), iso(traded.ts_event)
